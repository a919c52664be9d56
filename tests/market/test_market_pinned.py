"""Two heights whose roots and results are pinned: a change of any encoding, tag or rule they touch shows
here.

The same scenario runs through the slow model, so the figures are those of the text and not only of the
engine.
"""

from __future__ import annotations

import hashlib

from mpc_sequencer.market import genesis_result, result_hash
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
DUMP_SHA256 = "e96e4e0cb9d8c455a31aeef926ba3ad6172de56f772bf563a0824fab1cee0c73"

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
