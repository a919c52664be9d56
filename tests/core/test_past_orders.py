"""Bodies of orders that are over are let go: what stays known of them, what keeps a body, how much memory is left."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from core_kit import answers, refused, submit, variant

from mpc_sequencer.core import limits, status
from mpc_sequencer.core.messages import OrderQuery, OrderReply
from mpc_sequencer.core.past import BUCKET_MS, PastOrders
from mpc_sequencer.core.pool import KEEP_AFTER_EXPIRY_MS, STALE_EXPIRIES_MIN, Pool
from mpc_sequencer.core.types import Envelope, Receipt
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.checkers.bounds import OVERDUE_HEIGHTS
from mpc_sequencer.sim.deployment import START_MS

D = make_deployment(4)
NOW = START_MS
LIFE_MS = 60_000
KEPT = 4
RECEIPT = Receipt(3, 1, b"\x07" * 32, 2, 12, NOW, b"\x05" * 65)


def pool() -> Pool:
    return Pool(D.committee, {trader.address: 100 * limits.ORDER_CHARGE_WEI for trader in D.traders})


def order(life_ms: int = LIFE_MS) -> Envelope:
    return D.envelope(D.traders[0], D.label(D.traders[0].address, NOW, life_ms=life_ms), b"anything")


def sequenced(held: Pool, envelope: Envelope, height: int) -> bytes:
    order_id = held.admit(envelope, NOW).order.order_id
    held.sequence(order_id, height)
    return order_id


@pytest.fixture
def few_kept() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BODIES_KEPT_HEIGHTS", KEPT)
        patch.setattr(status, "OUTCOMES_KEPT", 2)
        yield


# --- the record --------------------------------------------------------------------------------------------------


def test_a_past_order_keeps_its_height_and_the_whole_receipt_until_its_time_is_over() -> None:
    held = PastOrders()
    held.add(RECEIPT.order_id, 9, RECEIPT, NOW + 5_000)
    held.add(b"\x08" * 32, 10, None, NOW + 9_000)
    for _ in range(2):
        found = held.get(RECEIPT.order_id)
        assert found is not None
        assert (found.sequenced_height, found.receipt) == (9, RECEIPT)
        held.forget(NOW + 5_000)
    held.forget(NOW + 5_000 + BUCKET_MS)
    assert (held.get(RECEIPT.order_id), len(held)) == (None, 1)
    unreceipted = held.pop(b"\x08" * 32)
    assert unreceipted is not None
    assert (unreceipted.sequenced_height, unreceipted.receipt) == (10, None)
    held.forget(NOW + 90_000)
    assert len(held) == 0
    assert not held._buckets


# --- the pool ----------------------------------------------------------------------------------------------------


def test_a_body_goes_with_its_variants_and_its_order_stays_known_until_its_window_has_ended() -> None:
    held, envelope = pool(), order()
    order_id = sequenced(held, envelope, 7)
    held.retire(6, 0)
    assert order_id in held
    held.retire(7, 0)
    assert held.get(order_id) is held.find(order_id) is held.find(envelope.envelope_hash()) is None
    assert (len(held), held.past_orders, held.pending) == (0, 1, 0)
    assert held.sequenced_height(order_id) == 7
    assert held.knows(order_id)
    assert held.charged_wei == {D.traders[0].address: limits.ORDER_CHARGE_WEI}, "what is charged stays charged"
    held.expire(NOW + LIFE_MS + KEEP_AFTER_EXPIRY_MS - BUCKET_MS, 7, 0)
    assert held.knows(order_id)
    held.expire(NOW + LIFE_MS + KEEP_AFTER_EXPIRY_MS + 2 * BUCKET_MS, 7, 0)
    assert not held.knows(order_id)
    assert held.sequenced_height(order_id) is None


@pytest.mark.parametrize("reason", ["an unfinished block", "an own list outside final blocks"])
def test_a_body_that_may_still_be_needed_stays(reason: str) -> None:
    held = pool()
    order_id = sequenced(held, order(), 7)
    pooled = held.get(order_id)
    assert pooled is not None
    listed_through = 3
    if reason == "an unfinished block":
        held.pin([order_id])
    else:
        pooled.list_number = 4
    held.retire(300, listed_through)
    for turn in range(1, 5):
        held.expire(NOW + LIFE_MS + turn * KEEP_AFTER_EXPIRY_MS, 7, listed_through)
    assert order_id in held
    held.unpin([order_id])
    held.retire(300, listed_through + 1)
    assert order_id not in held


def test_a_past_order_that_a_block_lifts_again_is_neither_pending_nor_charged_again() -> None:
    held, envelope = pool(), order()
    order_id = sequenced(held, envelope, 7)
    held.retire(7, 0)
    charged = dict(held.charged_wei)
    with refused("intake.sequenced"):
        held.fetched(envelope, NOW)
    held.fetched(envelope, NOW + LIFE_MS, needed=True)
    assert held.find(order_id) == envelope
    assert (held.pending, len(held), held.past_orders) == (0, 1, 0)
    held.sequence(order_id, 400)
    assert held.charged_wei == charged
    held.expire(NOW + LIFE_MS, 7, 0)
    held.retire(400, 0)
    assert (held.pending, len(held), held.past_orders) == (0, 0, 1)


def test_what_is_left_of_past_orders_in_the_queue_of_expiries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    held, envelope = pool(), order()
    first = held.admit(envelope, NOW).order
    for number in range(2 * STALE_EXPIRIES_MIN):
        held._expiry.append((NOW + number, number.to_bytes(32, "big")))
    held.expire(NOW - 1, 0, 0)
    assert held._expiry == [(first.facts.valid_until_ms, first.order_id)]


# --- a member ----------------------------------------------------------------------------------------------------


def run_orders(cluster: Cluster, count: int) -> list[Envelope]:
    d, sent = cluster.deployment, []
    for number in range(count):
        envelope = d.order(d.traders[number % len(d.traders)], cluster.now_ms)
        for node in range(d.committee.n):
            submit(cluster, node, envelope, client=5)
        sent.append(envelope)
        cluster.run(300)
    cluster.run(2_000)
    return sent


def test_memory_of_bodies_does_not_grow_with_blocks(few_kept: None) -> None:
    cluster = Cluster(make_deployment(4))
    sent = run_orders(cluster, 30)
    for core in cluster.cores:
        assert core.chain.final_height > 30
        assert len(core.pool) <= KEPT + OVERDUE_HEIGHTS
        assert core.pool.past_orders == len(sent) - len(core.pool)
        assert len(core.board._outcomes) == 2


def test_a_duplicate_of_a_past_order_gets_the_first_receipt_again(few_kept: None) -> None:
    cluster = Cluster(make_deployment(4))
    d = cluster.deployment
    first = run_orders(cluster, 12)[0]
    assert cluster.cores[1].pool.past(first.order_id()) is not None
    given = next(one for one in answers(cluster, 5) if one.order_id == first.order_id() and one.receipt.node == 1)
    pending = cluster.cores[1].pool.pending
    submit(cluster, 1, first, variant(d, 0, first, 99))
    submit(cluster, 1, msgspec.structs.replace(first, sponsor_signature=bytes(64) + b"\x1b"))
    cluster.run(500)
    again, of_variant, forged = answers(cluster)
    assert again.code == of_variant.code == "intake.duplicate"
    assert again.receipt == of_variant.receipt == given.receipt
    assert forged.receipt is None
    assert forged.code.startswith("signature")
    assert cluster.cores[1].pool.pending == pending
    assert first.order_id() not in cluster.cores[1].pool


def test_a_past_order_s_outcome_comes_from_the_disk(few_kept: None) -> None:
    cluster = Cluster(make_deployment(4))
    sent = run_orders(cluster, 12)
    for envelope in sent:
        cluster.request(2, OrderQuery(1, envelope.order_id()), 9)
    cluster.run(50)
    told = [reply for _, reply in cluster.replies[9] if isinstance(reply, OrderReply)]
    assert [(one.order_id, one.state) for one in told] == [(one.order_id(), "executed") for one in sent]


def test_a_member_that_comes_back_behind_gets_bodies_that_nobody_holds_any_more_from_logs(few_kept: None) -> None:
    cluster = Cluster(make_deployment(4))
    run_orders(cluster, 4)
    cluster.stop(3)
    missed = run_orders(cluster, 20)
    assert missed[0].order_id() not in cluster.cores[0].pool
    cluster.restart(3)
    cluster.run(8_000)
    assert cluster.cores[3].execution.executed_height == cluster.cores[0].execution.executed_height
    assert cluster.cores[3].board.sequenced == 24


def test_a_snapshot_after_many_orders_holds_no_bodies_of_past_ones(few_kept: None) -> None:
    cluster = Cluster(make_deployment(4))
    sent = run_orders(cluster, 12)
    host = cluster.hosts[1]
    host.disk.take_snapshot(host.core)
    assert host.disk.snapshot is not None
    assert sent[0].ciphertext not in host.disk.snapshot
    cluster.stop(1)
    cluster.restart(1)
    cluster.run(2_000)
    submit(cluster, 1, sent[0])
    cluster.run(500)
    assert answers(cluster)[-1].code == "intake.sequenced"
