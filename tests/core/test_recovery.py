"""Members that lose power and come back: by snapshot, journal and log, or with nothing left."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from core_kit import submit
from recovery_kit import audit, check_all, drive, load, signed_once

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import (
    AdmittedRecord,
    HeadRecord,
    HeldRecord,
    ListRecord,
    Record,
    ResumedRecord,
    VoteRecord,
)
from mpc_sequencer.core.messages import OrderQuery, OrderReply
from mpc_sequencer.core.recovery import Relog, dump, recover
from mpc_sequencer.core.transcript import EnvelopeEntry, entry_key
from mpc_sequencer.sim import Cluster, Network, make_deployment


@pytest.fixture
def sent_votes(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[Record]]:
    """Everything members have put into their journals, also what a later life no longer has."""
    kept: dict[int, list[Record]] = {}
    write = Cluster._carry_out

    def carry_out(self: Cluster, node: int, effects: list) -> None:  # type: ignore[type-arg]
        kept.setdefault(node, []).extend(e.record for e in effects if type(e).__name__ == "Persist")
        write(self, node, effects)

    monkeypatch.setattr(Cluster, "_carry_out", carry_out)
    return kept


@pytest.mark.parametrize("seed", range(6))
def test_members_crash_and_come_back_again_and_again(seed: int, sent_votes: dict[int, list[Record]]) -> None:
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed)
    for _ in range(5):
        drive(cluster, rng, 4)
        if rng.random() < 0.5:
            host = rng.choice(cluster.hosts)
            host.disk.take_snapshot(host.core)
        victim = rng.randrange(4)
        cluster.stop(victim)
        drive(cluster, rng, rng.randint(0, 12), 2)
        cluster.restart(victim)
    cluster.run(8_000)
    check_all(cluster)
    for records in sent_votes.values():
        signed_once(records)


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_committee_loses_power_at_once_and_nothing_durable_is_lost(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed)
    drive(cluster, rng, 6)
    load(cluster, rng, 8)
    cluster.run(rng.randint(10, 150))
    receipts = {
        result.order_id
        for answers in cluster.replies.values()
        for _, reply in answers
        for result in getattr(reply, "results", ())
        if result.receipt is not None
    }
    for node in range(4):
        cluster.stop(node)
    cluster.run(50)
    for node in range(4):
        cluster.restart(node)
    cluster.run(15_000)
    check_all(cluster)
    for core in cluster.cores:
        sequenced = {e.order_id for h in range(1, core.chain.final_height + 1) for e in _batch(core, h)}
        assert receipts <= sequenced


def _batch(core, height):  # type: ignore[no-untyped-def]
    entry = core.chain.final_entry(height)
    return entry.block.batch if entry else ()


def test_a_member_comes_back_with_its_receipts_its_open_list_and_its_view() -> None:
    cluster = Cluster(make_deployment(4))
    network = cluster.network
    rng = random.Random(0)
    drive(cluster, rng, 4)
    network.cut = {(a, b) for a in range(4) for b in range(4) if a != b}
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    cluster.hosts[2].disk.take_snapshot(cluster.cores[2])
    submit(cluster, 2, order)
    cluster.run(1)
    before = cluster.cores[2]
    receipt = before.pool.get(order.order_id()).receipt  # type: ignore[union-attr]
    assert receipt is not None and before.own_lists.open_ids in ((), (order.order_id(),))
    cluster.stop(2)
    cluster.restart(2)
    after = cluster.cores[2]
    held = after.pool.get(order.order_id())
    assert held is not None and held.receipt == receipt
    assert after.simplex.view == before.simplex.view
    cluster.run(30)
    lists = cluster.cores[2].lists.between(2, receipt.list_number - 1, receipt.list_number)
    assert lists is not None and order.order_id() in lists[0][0].entries


@pytest.mark.parametrize("seed", range(3))
def test_a_snapshot_gives_back_exactly_the_state_it_was_taken_of(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed)
    drive(cluster, rng, 8)
    core = cluster.cores[1]
    data, _ = dump(core)
    again = cluster._new_core(1)
    recover(again, data, (), (), core.now_ms)
    assert dump(again)[0] == data


def test_a_log_brings_again_the_body_of_an_order_that_is_lifted_again_after_it_expired() -> None:
    """Late lists name an order that was batched and executed: who reads on from a snapshot lacks its body."""
    cluster = Cluster(make_deployment(4), network=Network(delay_ms=lambda rng, _s, _r: rng.randint(20, 40)))
    d, host = cluster.deployment, cluster.hosts[3]
    taken = []
    for turn in range(24):
        trader = d.traders[turn % 4]
        label = d.label(trader.address, cluster.now_ms, life_ms=100 + 10 * turn)
        order = d.envelope(trader, label, d.plaintext(trader, d.limit_order(trader, label)))
        for node in (0, 1):
            submit(cluster, node, order)
        for _ in range(8):
            cluster.run(20)
            taken.append(host.disk.prepare_snapshot(host.core))
    cluster.run(2_000)
    envelopes = Counter(entry_key(entry) for entry in host.disk.log if isinstance(entry, EnvelopeEntry))
    assert max(envelopes.values()) > 1, "some order was lifted again"
    assert not audit(cluster, host.disk.log)
    for prepared in taken:
        core = cluster._new_core(3)
        recover(core, prepared.data, (), [encode(one) for one in host.disk.log[prepared.entry :]], cluster.now_ms)
        assert core.chain.final_height == host.core.chain.final_height


def test_what_the_log_holds_twice_is_passed_over_twice() -> None:
    relog = Relog([("a",), ("a",), ("b",)])
    assert [relog.is_news(key) for key in (("a",), ("b",), ("a",), ("a",), ("b",))] == [False, False, False, True, True]
    assert not relog


@pytest.mark.parametrize("keep_log", [True, False])
def test_a_member_that_lost_its_disk_signs_nothing_until_its_peers_have_moved_on(keep_log: bool) -> None:
    rng = random.Random(5)
    cluster = Cluster(make_deployment(4, seed=5), seed=5)
    drive(cluster, rng, 6)
    view = cluster.cores[3].simplex.view
    cluster.stop(3)
    cluster.hosts[3].disk.wipe(keep_log=keep_log)
    cluster.restart(3, damaged=True)
    core = cluster.cores[3]
    assert core.standing.muted
    drive(cluster, rng, 20)
    cluster.run(8_000)
    assert not core.standing.muted and core.standing.incarnation == 1
    drive(cluster, rng, 12)
    cluster.run(3_000)
    floor_view = core.standing.floor_view
    assert floor_view >= view
    records = cluster.records[3]
    resumed = next(index for index, record in enumerate(records) if isinstance(record, ResumedRecord))
    votes = [record.vote for record in records if isinstance(record, VoteRecord)]
    assert votes and all(vote.view > floor_view for vote in votes)
    lists = [record.order_list for record in records if isinstance(record, ListRecord)]
    assert lists and [one.number for one in lists] == list(range(1, len(lists) + 1))
    assert {one.incarnation for one in lists} == {1}
    assert not any(isinstance(r, VoteRecord | ListRecord | HeadRecord | AdmittedRecord) for r in records[:resumed])
    check_all(cluster)
    assert cluster.cores[0].chain.final_state.incarnations == (0, 0, 0, 1)


def test_a_second_loss_in_an_epoch_leaves_votes_but_no_lists() -> None:
    rng = random.Random(6)
    cluster = Cluster(make_deployment(4, seed=6), seed=6)
    for _ in range(2):
        drive(cluster, rng, 6)
        cluster.stop(1)
        cluster.hosts[1].disk.wipe(keep_log=False)
        cluster.restart(1, damaged=True)
        drive(cluster, rng, 12)
        cluster.run(8_000)
    assert cluster.cores[1].chain.final_state.incarnations == (0, 1, 0, 0)
    assert not cluster.cores[1].standing.may_list() and not cluster.cores[1].standing.may_sign_heads()
    assert not any(isinstance(record, ListRecord) for record in cluster.records[1])
    assert any(isinstance(record, VoteRecord) for record in cluster.records[1])
    assert {fault.code for _, fault in cluster.faults} == {"incarnation.spent"}


def test_an_order_that_was_held_for_a_block_and_then_promised_is_in_the_open_list_again() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.network.cut = {(a, b) for a in range(4) for b in range(4)}
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    submit(cluster, 2, order)
    cluster.run(1)
    admitted = next(record for record in cluster.records[2] if isinstance(record, AdmittedRecord))
    core = cluster._new_core(2)
    recover(core, None, [encode(HeldRecord(order, 0)), encode(admitted)], (), cluster.now_ms)
    assert core.own_lists.open_ids == (order.order_id(),)


def test_an_order_executed_before_a_snapshot_is_not_unknown_after_a_crash() -> None:
    rng = random.Random(8)
    cluster = Cluster(make_deployment(4, seed=8), seed=8)
    drive(cluster, rng, 12)
    cluster.run(2_000)
    executed = [order_id for order_id in cluster.cores[1].board._outcomes]
    host = cluster.hosts[1]
    host.disk.take_snapshot(host.core)
    drive(cluster, rng, 6)
    cluster.run(2_000)
    executed += [order_id for order_id in cluster.cores[1].board._outcomes if order_id not in executed]

    def told() -> list[OrderReply]:
        cluster.replies[9] = []
        for order_id in [*executed, bytes(32)]:
            cluster.request(1, OrderQuery(1, order_id), 9)
        cluster.run(50)
        return [reply for _, reply in cluster.replies[9] if isinstance(reply, OrderReply)]

    before = told()
    cluster.stop(1)
    cluster.restart(1)
    cluster.run(2_000)
    known = cluster.cores[1].board._outcomes
    assert 0 < sum(order_id in known for order_id in executed) < len(executed), "some only its disk knows"
    assert told() == before
    assert {one.state for one in before} == {"executed", "unknown"}


def test_intake_says_that_it_recovers() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(50)
    cluster.stop(0)
    cluster.hosts[0].disk.wipe(keep_log=True)
    cluster.restart(0, damaged=True)
    cluster.run(10)
    submit(cluster, 0, cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms))
    cluster.run(5)
    replies = [r for answers in cluster.replies.values() for node, reply in answers for r in reply.results if node == 0]
    assert [(r.receipt, r.code) for r in replies] == [(None, "intake.recovering")]
