"""Attack: the same sealed order again: at the same door, at others, through a member's list, early and late.

An order is batched once and charged once. While its window lasts its id is remembered; after that no door takes it.

Evidence: none: the envelope is answered with `intake.duplicate`, `intake.sequenced` or `label.expired`; to list a
batched order again is within the rules and does nothing.
"""

import msgspec
from core_kit import all_sequenced, answers, check_safety, make_head, make_list, sequenced, submit
from evidence_kit import evidence_left

from mpc_sequencer.core.effects import FromPeer
from mpc_sequencer.core.messages import HeadMessage, ListMessage
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment


def test_a_replay_at_every_door_is_one_order_and_each_door_repeats_its_first_receipt() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    order = d.order(d.traders[0], cluster.now_ms)
    ids = {order.order_id()}
    submit(cluster, 0, order, order, client=7)
    assert cluster.run(5_000, until=all_sequenced(ids, set(range(4))))
    cluster.run(3_000)
    submit(cluster, 0, order, client=7)
    for node in range(1, 4):
        submit(cluster, node, order, client=8)
    cluster.run(5_000)
    first, second, third = answers(cluster, 7)
    assert [one.code for one in (first, second, third)] == ["", "intake.duplicate", "intake.duplicate"]
    assert first.receipt is not None
    assert first.receipt == second.receipt == third.receipt
    assert {one.code for one in answers(cluster, 8)} == {"intake.duplicate"}
    for node in range(4):
        assert sequenced(cluster, node) == [order.order_id()]
        assert cluster.cores[node].pool.charged_wei[d.traders[0].address] == 10**12
    check_safety(cluster)
    assert evidence_left(cluster) == set()


def test_a_replay_after_the_window_is_expired_at_the_door() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    label = d.label(d.traders[0].address, cluster.now_ms, life_ms=3_000)
    order = d.envelope(d.traders[0], label, b"anything")
    submit(cluster, 0, order)
    cluster.run(38_000)
    assert order.order_id() not in cluster.cores[0].pool, "long gone"
    submit(cluster, 0, order, client=2)
    cluster.run(5_000)
    assert [one.code for one in answers(cluster, 2)] == ["label.expired"]
    assert sequenced(cluster, 0) == [order.order_id()]
    assert evidence_left(cluster) == set()


def test_a_member_that_lists_a_sequenced_order_again_lifts_nothing() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    order = d.order(d.traders[0], cluster.now_ms)
    submit(cluster, 0, order)
    assert cluster.run(5_000, until=all_sequenced({order.order_id()}, set(range(4))))
    cluster.run(3_000)
    liar = 3
    cluster.stop(liar)
    last = cluster.cores[0].lists.held_through(liar)
    again = make_list(d, liar, last[0] + 1, last[1], (order.order_id(), b"\x07" * 32))
    head = make_head(d, liar, cluster.cores[0].simplex.view, cluster.now_ms, again)
    for node in range(3):
        cluster.at(cluster.now_ms, node, FromPeer(liar, ListMessage(again)))
        cluster.at(cluster.now_ms, node, FromPeer(liar, HeadMessage(msgspec.structs.replace(head))))
    fresh = d.order(d.traders[1], cluster.now_ms)
    submit(cluster, 0, fresh)
    cluster.run(20_000)
    for node in range(3):
        assert sequenced(cluster, node) == [order.order_id(), fresh.order_id()]
    assert evidence_left(cluster) == set()


def test_the_door_refuses_what_was_sequenced_though_the_body_is_forgotten() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    order = d.order(d.traders[0], cluster.now_ms)
    submit(cluster, 0, order)
    assert cluster.run(5_000, until=all_sequenced({order.order_id()}, set(range(4))))
    cluster.run(1_000)
    pool = cluster.cores[1].pool
    pool._orders.pop(order.order_id())
    submit(cluster, 1, order, client=2)
    cluster.run(10)
    assert [one.code for one in answers(cluster, 2)] == ["intake.sequenced"]
    assert ZERO_HASH not in pool
    assert evidence_left(cluster) == set()
