"""Attack: once an order is opened anybody can read its plaintext, account signature included, and seal it
again.

Under another label the account's signature does not fit (``label``), with the label's hash replaced it is
not the account's (``signature``), and under the same label the nonce is used (``nonce_consumed``): the
order trades once.

Evidence: none: anybody may seal what is public and no member signs it; the log opens it for everybody, with its outcome
(`label`, `signature`, `nonce_consumed`).
"""

from __future__ import annotations

import pytest
from core_kit import all_sequenced, submit
from evidence_kit import evidence_left, outcomes
from msgspec.structs import replace

from mpc_sequencer.core.actions import label_hash
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.transcript import OpenedEntry
from mpc_sequencer.market import BatchOrder
from mpc_sequencer.sim import Cluster, make_deployment
from tests.market import desk

OTHER_LABEL = b"\x03" + bytes(100)
ACTION = desk.sell(0, 4, 10, 2, ioc=True)
OPENED = desk.plaintext(0, ACTION)
REHASHED = OPENED[:2] + encode(replace(ACTION, label_hash=label_hash(OTHER_LABEL))) + OPENED[-67:]

RESEALED = [
    (OTHER_LABEL, OPENED, "label"),
    (OTHER_LABEL, REHASHED, "signature"),
    (desk.LABEL, OPENED, "nonce_consumed"),
]


@pytest.mark.parametrize(("label", "plaintext", "code"), RESEALED)
def test_an_opened_order_resealed_does_not_trade_again(label, plaintext, code):
    made = desk.engine()
    bid = desk.sealed("bid", 1, desk.buy(1, 1, 10, 100))
    first = BatchOrder(desk.order_id("first"), desk.LABEL, OPENED)
    result = made.execute(1, desk.TIME_MS, desk.COIN, [made.prepare(bid), made.prepare(first)])
    assert desk.codes(result)[first.order_id] == "filled"
    before = made.dump()
    again = BatchOrder(desk.order_id("again"), label, plaintext)
    result = made.execute(2, desk.TIME_MS, desk.COIN, [made.prepare(again)])
    assert desk.codes(result) == {again.order_id: code}
    assert (result.fills, result.deltas) == ((), ())
    assert made.dump() == before


def test_resealed_into_the_same_batch_only_one_of_them_trades():
    made = desk.engine()
    batch = [made.prepare(desk.sealed("bid", 1, desk.buy(1, 1, 10, 100)))]
    batch += [made.prepare(BatchOrder(desk.order_id(i), desk.LABEL, OPENED)) for i in range(5)]
    codes = sorted(desk.codes(made.execute(1, desk.TIME_MS, desk.COIN, batch)).values())
    assert codes == ["filled"] + ["nonce_consumed"] * 4 + ["partly_filled"]


def test_a_used_nonce_stays_used_after_it_left_the_window():
    made = desk.engine()
    for height, nonce in enumerate((4, 2000), 1):
        made.execute(height, desk.TIME_MS, desk.COIN, [made.prepare(desk.sealed(nonce, 0, desk.sell(0, nonce, 10, 1)))])
    again = made.prepare(BatchOrder(desk.order_id("again"), desk.LABEL, OPENED))
    assert desk.codes(made.execute(3, desk.TIME_MS, desk.COIN, [again])) == {desk.order_id("again"): "nonce_consumed"}


def test_in_a_committee_what_was_opened_and_is_sealed_again_is_batched_and_does_nothing() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    order = d.order(d.traders[0], cluster.now_ms)
    submit(cluster, 0, order)
    cluster.run(2_000)
    opened = next(one.opened for one in cluster.logs[1] if isinstance(one, OpenedEntry))
    public = opened.padded[4 : 4 + int.from_bytes(opened.padded[:4], "big")]
    thief = d.traders[1]
    resealed = d.envelope(thief, d.label(thief.address, cluster.now_ms), public)
    submit(cluster, 1, resealed)
    assert cluster.run(5_000, until=all_sequenced({resealed.order_id()}, set(range(4))))
    cluster.run(2_000)
    assert outcomes(cluster) == {order.order_id(): {"resting"}, resealed.order_id(): {"label"}}
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
