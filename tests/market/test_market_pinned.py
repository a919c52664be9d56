"""Heights whose roots and results are pinned: a change of any encoding, tag or rule they touch shows here.

The same scenario runs through the slow model, so the figures are those of the text and not only of the
engine.
"""

from __future__ import annotations

import hashlib

import pytest

from mpc_sequencer.market import RECEIVE, SHUFFLE, genesis_result, result_hash
from tests.market import desk, naive

GENESIS_ROOT = "498b81917782d1dfe19957d3e49ab6133fd92ccf68dcd09c11ad1aa5a347b6a3"
GENESIS_RESULT = "a549d26d8edd91ca5c344f8c0dc7474092d2eba0cd97b505dbe7c2f59b5a2448"
# per height: state root, fills root, result
HEIGHTS = [
    (
        "12dbffba7f7bf65bc763995aed87509ddcef0119fb8fdbf4a769cd75aff3bd74",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "355d8300f0dc51caec9a00c50a09b5108eed325fa46a50eec47af6e648a9a997",
    ),
    (
        "63ae11ff79e92388859036e594a565d6d7fe60df04ca3d132cb641184529f0b5",
        "d7221f0cb2143cac481bf1a28b7d0cf2bbecd56d444d2b81ad3dd6516ebc993d",
        "fd230dd16854504e0b9e55d5223135e58fb6e60714ad72851076fa4f8f342b54",
    ),
]
DUMP_SHA256 = "b02d396d1a501c2a3101e42137b5f508dfcc1b0c73068c086bd782a4ec07d61e"
# per policy: genesis state root; state and fills root of each height
POLICY_HEIGHTS = {
    SHUFFLE: [
        "87908725e47aabf17cd21e215d02a155b31996681f974605338a352d0cdba739",
        "4bf82e29b48a3b26196f853fb95c669ab8a1031c60c8e3fb3909380798188a7c",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "a9288ffa3a403b49997df13b07fcbc19e870a7f71cbc0bcb63c5d28af6d84321",
        "013a179c6809ad6752f716feb01f7f9975aa4be9ae8adaed7c54d8ba516f0a1f",
    ],
    RECEIVE: [
        "87908725e47aabf17cd21e215d02a155b31996681f974605338a352d0cdba739",
        "2fd7c7379c2fe3de0417c8de908753fec585fc6b07894cccb85936ef740a49fa",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c6984f981ce87c4d1e538e73f6b56e013dafc355a7b3af9bd13959f818026b9d",
        "ed85806f37bb0d224ca26a5674cc9719f4d5c01d1467c152ed6cfe203b60b761",
    ],
}

BATCHES = [
    [
        desk.sealed("maker buys", 0, desk.buy(0, 1, 10, 5)),
        desk.sealed("maker sells", 1, desk.sell(1, 1, 11, 7)),
    ],
    [
        desk.sealed("taker sells", 2, desk.sell(2, 3, 9, 3, ioc=True)),
        desk.sealed("leaves", 3, desk.withdrawal(3, 1, desk.BASE, 1000)),
    ],
]


POLICY_BATCHES = [
    [desk.sell(1, 1, 11, 2), desk.sell(2, 1, 11, 2), desk.sell(3, 1, 12, 5), desk.buy(4, 1, 9, 3)],
    [
        desk.buy(0, 1, 12, 3),
        desk.buy(4, 2, 11, 2, ioc=True),
        desk.sell(1, 2, 9, 1),
        desk.withdrawal(3, 2, desk.BASE, 7),
    ],
]


@pytest.mark.parametrize("policy", [SHUFFLE, RECEIVE])
def test_roots_of_markets_without_an_auction_are_the_pinned_ones(policy):
    markets = desk.markets(policy)
    made, model = desk.engine(markets), naive.Model(markets, desk.ASSETS, price_max=20)
    for account in desk.ACCOUNTS:
        for asset in desk.ASSETS:
            model.credit(account, asset, 10**9)
    roots = [made.state_root().hex()]
    for height, actions in enumerate(POLICY_BATCHES, 1):
        prepared = [desk.prepared((height, i), action) for i, action in enumerate(actions)]
        executed = made.execute(height, desk.TIME_MS, desk.COIN, prepared, desk.received)
        assert model.execute(height, desk.TIME_MS, desk.COIN, prepared, desk.received)[:2] == (
            executed.state_root, executed.fills_root,
        )  # fmt: skip
        roots += [executed.state_root.hex(), executed.fills_root.hex()]
    assert len({fill.price_ticks for fill in executed.fills}) > 1
    assert roots == POLICY_HEIGHTS[policy]


def test_roots_and_results_are_the_pinned_ones():
    made = desk.engine()
    model = naive.Model(desk.MARKETS, desk.ASSETS, price_max=20)
    for account in desk.ACCOUNTS:
        for asset in desk.ASSETS:
            model.credit(account, asset, 10**9)
    result = genesis_result(made.state_root())
    assert (made.state_root().hex(), result.hex()) == (GENESIS_ROOT, GENESIS_RESULT)
    for height, (batch, pinned) in enumerate(zip(BATCHES, HEIGHTS, strict=True), 1):
        prepared = [made.prepare(order) for order in batch]
        executed = made.execute(height, desk.TIME_MS, desk.COIN, prepared)
        result = result_hash(result, height, executed.state_root, executed.fills_root)
        assert (executed.state_root.hex(), executed.fills_root.hex(), result.hex()) == pinned
        state_root, fills_root, *_ = model.execute(height, desk.TIME_MS, desk.COIN, prepared)
        assert (state_root, fills_root) == (executed.state_root, executed.fills_root)
    assert hashlib.sha256(made.dump()).hexdigest() == DUMP_SHA256
