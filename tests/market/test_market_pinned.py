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
        "6c90720ab26de9d915547dabebd8b08bfac4782347903c01c8042d5243071fe9",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "126a1541fdcd1fc65306aa29ba6aa392fc3f07725acc47ee5f4ca68efe049f41",
    ),
    (
        "5d4d05974fe2afd9d4a73cd49e6cdb7aab67e38242ec86b91a087a91a83c23d7",
        "830fab11a2a002e551b3280bce0bd2fde9ad8d4a6aa5df77ab83cacccc90a80c",
        "e25f0afcefb6132c2c1cdd93fd7560f003fea8d030ec8f6ea76ca6f8f0673915",
    ),
]
DUMP_SHA256 = "122a9ace57df9e5ca853db1342d5d96d3623140b6b983709355ab088a5517f33"
# per policy: genesis state root; state and fills root of each height
POLICY_HEIGHTS = {
    SHUFFLE: [
        "87908725e47aabf17cd21e215d02a155b31996681f974605338a352d0cdba739",
        "f6b743f45f7102f8d39789921f63ac71ed2cb19af23935ce67c75c1c6f6299df",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "de91b9f8c4ef78e5f56ec3629e09412a06029620c5f18f4814866b68c54370e8",
        "83e685eb730851b97034002e00b50cac94b1e9d699ebe97994f8c6e85ac5059f",
    ],
    RECEIVE: [
        "87908725e47aabf17cd21e215d02a155b31996681f974605338a352d0cdba739",
        "d0e0f545c68d3b67c23749b43bc97a0a02ad1399a7d11f9ce72aae039665f6bb",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "b05476b7775e2755bedb0d490037835ff30b2ced7e23214c69401a75727a2c49",
        "1ab8cf5eee0a843867bcb9df76d5e0cde415d1298ac9469826f2036c76117b8e",
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
        executed = made.execute(height, desk.COIN, prepared, desk.received)
        assert model.execute(height, desk.COIN, prepared, desk.received)[:2] == (
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
        executed = made.execute(height, desk.COIN, prepared)
        result = result_hash(result, height, executed.state_root, executed.fills_root)
        assert (executed.state_root.hex(), executed.fills_root.hex(), result.hex()) == pinned
        state_root, fills_root, *_ = model.execute(height, desk.COIN, prepared)
        assert (state_root, fills_root) == (executed.state_root, executed.fills_root)
    assert hashlib.sha256(made.dump()).hexdigest() == DUMP_SHA256
