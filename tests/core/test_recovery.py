"""Members that lose power and come back: by snapshot, journal and log, by their peers, or with nothing left."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from core_kit import check_safety, results, submit

from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core import limits
from mpc_sequencer.core.catchup import CatchUp
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import (
    AdmittedRecord,
    HeadRecord,
    HeldRecord,
    ListRecord,
    ProposalRecord,
    Record,
    ResumedRecord,
    VoteRecord,
)
from mpc_sequencer.core.messages import FetchLog, LogSlice, OrderQuery, OrderReply
from mpc_sequencer.core.recovery import Relog, dump, recover
from mpc_sequencer.core.transcript import EnvelopeEntry, LogEntry, entry_key
from mpc_sequencer.core.types import NOTARIZE
from mpc_sequencer.sim import Cluster, Network, make_deployment


def load(cluster: Cluster, rng: random.Random, orders: int) -> None:
    """Orders to members that are up, some of them to two."""
    up = [host.node for host in cluster.hosts if host.up]
    for _ in range(orders):
        trader = rng.choice(cluster.deployment.traders)
        price_ticks = 618_000 + rng.randint(-5, 5)
        order = cluster.deployment.order(trader, cluster.now_ms, side=rng.choice((1, 2)), price_ticks=price_ticks)
        for node in {rng.choice(up), rng.choice(up)}:
            submit(cluster, node, order)


def drive(cluster: Cluster, rng: random.Random, turns: int, orders: int = 3) -> None:
    for _ in range(turns):
        load(cluster, rng, rng.randint(0, orders))
        cluster.run(rng.randint(5, 120))


def check_all(cluster: Cluster) -> None:
    """Everything is executed alike everywhere, nobody is accused, every log passes its audit."""
    assert not cluster.faults and not cluster.evidence
    for _ in range(30):  # a heartbeat block may be on its way
        if len({core.chain.final_id for core in cluster.cores}) == 1:
            break
        cluster.run(100)
    heads = {(core.chain.final_id, core.execution.executed_height) for core in cluster.cores}
    assert len(heads) == 1, heads
    assert len({core.execution.engine.state_root() for core in cluster.cores}) == 1
    assert len({core.board.sequenced for core in cluster.cores}) == 1
    for log in cluster.logs:
        keys = [entry_key(entry) for entry in log]
        assert not [key for key, times in Counter(keys).items() if times > 1], "an entry is in the log twice"
        assert not audit(cluster, log)


def audit(cluster: Cluster, log: list[LogEntry]) -> list[str]:
    verdict = Audit(cluster.deployment.committee)
    for index, entry in enumerate(log):
        verdict.recorder.entry_index = index
        verdict.add(decode(LogEntry, encode(entry)))
    verdict.finish()
    return [f"{finding.code}: {finding.detail}" for finding in verdict.recorder.findings]


def signed_once(records: list[Record]) -> None:
    """One vote of a kind a view, none against another; one list of a number."""
    votes: dict[tuple[int, int], bytes] = {}
    lists: dict[tuple[int, int], bytes] = {}
    for record in records:
        if isinstance(record, VoteRecord):
            vote = record.vote
            assert votes.setdefault((vote.kind, vote.view), vote.block_id) == vote.block_id
        elif isinstance(record, ListRecord):
            one = record.order_list
            assert lists.setdefault((one.incarnation, one.number), one.struct_hash()) == one.struct_hash()
    for kind, view in votes:
        assert not (kind == 2 and (3, view) in votes), "nullify and finalize in one view"


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


# --- catching up ------------------------------------------------------------------------------------------------------
@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members keep few final blocks in memory, so that a late one needs their logs."""
    monkeypatch.setattr(limits, "BLOCKS_KEPT_HEIGHTS", 4)


def behind(seed: int, turns: int = 40) -> tuple[Cluster, random.Random]:
    """A committee whose member 3 has been away for long, with a pool that has forgotten."""
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed)
    drive(cluster, rng, 3)
    cluster.stop(3)
    for _ in range(turns):
        load(cluster, rng, 2)
        cluster.run(120)
    for core in cluster.cores[:3]:
        for order_id in [i for i, pooled in core.pool._orders.items() if pooled.sequenced_height]:
            del core.pool._orders[order_id]
        core.pool._expiry = [row for row in core.pool._expiry if row[1] in core.pool._orders]
    return cluster, rng


def test_a_member_far_behind_catches_up_from_a_peers_log(short_memory: None) -> None:
    cluster, _ = behind(1)
    missing = cluster.cores[0].chain.final_height - cluster.cores[3].chain.final_height
    assert missing > 2 * limits.BLOCKS_KEPT_HEIGHTS
    cluster.restart(3)
    cluster.run(10_000)
    check_all(cluster)


def test_a_member_with_an_empty_disk_joins_from_the_first_block(short_memory: None) -> None:
    cluster, _ = behind(2)
    cluster.hosts[3].disk.wipe(keep_log=False)
    cluster.restart(3, damaged=True)
    cluster.run(12_000)
    check_all(cluster)
    assert len(results(cluster, 3)) == len(results(cluster, 0))


Tamper = Callable[[LogSlice], LogSlice]


def _cut(answer: LogSlice) -> LogSlice:
    return LogSlice(answer.entries[:3] + answer.entries[60:], answer.next_position)


def _flip(answer: LogSlice) -> LogSlice:
    bent = tuple(entry[:-1] + bytes((entry[-1] ^ 1,)) for entry in answer.entries)
    return LogSlice(bent, answer.next_position)


def _swap(answer: LogSlice) -> LogSlice:
    return LogSlice(tuple(reversed(answer.entries)), answer.next_position)


def _garbage(answer: LogSlice) -> LogSlice:
    return LogSlice((b"\x00",), answer.next_position)


def _nothing(answer: LogSlice) -> LogSlice:
    return LogSlice((), answer.next_position)


@pytest.mark.parametrize("tamper", [_cut, _flip, _swap, _garbage, _nothing])
def test_a_lying_log_costs_its_sender_the_question_and_nobody_the_state(short_memory: None, tamper: Tamper) -> None:
    cluster, _ = behind(3)
    liars = {0}
    asked: list[int] = []

    def bend(sender: int, receiver: int, message):  # type: ignore[no-untyped-def]
        if isinstance(message, LogSlice):
            asked.append(sender)
            return tamper(message) if sender in liars else message
        return message

    cluster.network.tamper = bend
    cluster.restart(3)
    seen = cluster.cores[3].catchup.seen
    cluster.cores[3].catchup.seen = lambda node, height: seen(0, height)  # type: ignore[method-assign]
    cluster.run(15_000)
    assert asked[0] == 0 and set(asked) != {0}, "the next member was asked"
    assert all(fault.node in liars for _, fault in cluster.faults)
    check_safety(cluster)
    cluster.faults.clear()
    check_all(cluster)


def test_a_slice_that_nobody_asked_for_is_dropped() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(100)
    core = cluster.cores[0]
    before = dump(core)[0]
    core.catchup.on_slice(1, LogSlice((b"\x00",), 7))
    assert not core.catchup.has_work() and dump(core)[0] == before
    assert isinstance(core.catchup, CatchUp)


def test_a_silent_peer_is_passed_over(short_memory: None) -> None:
    cluster, _ = behind(4)
    cluster.network.tamper = lambda sender, _, m: None if sender == 0 and isinstance(m, LogSlice) else m
    cluster.restart(3)
    cluster.run(15_000)
    check_all(cluster)


def test_serving_names_the_start_of_a_height() -> None:
    rng = random.Random(9)
    cluster = Cluster(make_deployment(4, seed=9), seed=9)
    drive(cluster, rng, 10)
    cluster.run(3_000)
    disk = cluster.hosts[0].disk
    for height in range(1, cluster.cores[0].chain.final_height + 1):
        answer = disk.serve(FetchLog(height, 0))
        block = next(e for e in (decode(LogEntry, d) for d in answer.entries) if type(e).__name__ == "BlockEntry")
        assert block.block.header.height == height
    assert disk.serve(FetchLog(10_000, 0)) == LogSlice((), 0)


# --- what the journal must say --------------------------------------------------------------------------------------
def test_a_voted_block_is_on_disk_before_the_vote() -> None:
    rng = random.Random(3)
    cluster = Cluster(make_deployment(4, seed=3), seed=3)
    drive(cluster, rng, 6)
    for records in cluster.records:
        blocks: set[bytes] = set()
        for record in records:
            if isinstance(record, ProposalRecord):
                blocks.add(record.block.header.block_id())
            elif isinstance(record, VoteRecord) and record.vote.kind == NOTARIZE:
                assert record.vote.block_id in blocks


def test_a_list_is_on_disk_after_the_bodies_it_names() -> None:
    rng = random.Random(4)
    cluster = Cluster(make_deployment(4, seed=4), seed=4)
    drive(cluster, rng, 8)
    listed = 0
    for records in cluster.records:
        bodies: set[bytes] = set()
        for record in records:
            if isinstance(record, AdmittedRecord | HeldRecord):
                bodies.add(record.envelope.order_id())
            elif isinstance(record, ListRecord):
                listed += len(record.order_list.entries)
                assert bodies.issuperset(record.order_list.entries)
    assert listed > 20


def test_a_full_list_is_cut_only_after_the_body_that_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIST_ENTRIES_MAX", 2)
    test_a_list_is_on_disk_after_the_bodies_it_names()


def test_a_torn_tail_costs_nothing_that_was_said() -> None:
    """The journal is cut at every record after the last sync; the rest comes back."""
    rng = random.Random(8)
    network = Network()
    cluster = Cluster(make_deployment(4, seed=8), seed=8, network=network)
    drive(cluster, rng, 6)
    host = cluster.hosts[2]
    host.disk.records += [HeadRecord(cluster.cores[2].lists.heads(2)[0][0])] * 3
    whole = list(host.disk.records)
    for cut in range(host.disk.synced, len(whole) + 1):
        core = cluster._new_core(2)
        recover(core, None, [encode(record) for record in whole[:cut]], (), cluster.now_ms)
        assert core.own_lists.number == cluster.cores[2].own_lists.number
        votes = {(v.kind, v.view): v for v in core.simplex.kept_votes()}
        assert votes.items() >= {(v.kind, v.view): v for v in cluster.cores[2].simplex.kept_votes()}.items()


def test_a_snapshot_of_another_member_is_refused() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(100)
    data, _ = dump(cluster.cores[0])
    with pytest.raises(ValueError, match="another member"):
        recover(cluster._new_core(1), data, (), (), cluster.now_ms)
    other = Cluster(make_deployment(4, seed=77))
    with pytest.raises(ValueError, match="another"):
        recover(other._new_core(0), data, (), (), cluster.now_ms)


def test_a_batch_whose_bundles_the_others_forgot_is_opened_from_a_log() -> None:
    """Members 0 and 1 open a height and restart: nobody remembers bundles, but their logs have them."""
    rng = random.Random(11)
    cluster = Cluster(make_deployment(4, seed=11), seed=11)
    drive(cluster, rng, 4)
    cluster.stop(3)
    drive(cluster, rng, 4)
    cluster.run(3_000)
    for core in cluster.cores[:3]:
        core.reveal._own_bundles.clear()
    cluster.restart(3)
    cluster.run(10_000)
    check_all(cluster)


@pytest.mark.parametrize("seed", range(4))
def test_power_is_lost_and_one_disk_with_it_and_what_q_voted_for_is_still_there(seed: int) -> None:
    """After a loss of power one member does not come back for long: what only it had said must be on others' disks."""
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed, network=Network(delay_ms=lambda r, _s, _t: 20))
    drive(cluster, rng, 8)
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    submit(cluster, 3, order)
    notarized = lambda c: any(v.kind == 3 for core in c.cores[:3] for v in core.simplex.kept_votes())  # noqa: E731
    cluster.run(3_000, until=lambda c: all(order.order_id() in c.cores[n].pool for n in range(4)) and notarized(c))
    for node in range(4):
        cluster.stop(node)
    for node in range(3):
        cluster.restart(node)
    cluster.run(20_000)
    heads = {core.chain.final_id for core in cluster.cores[:3]}
    assert len(heads) == 1 and not any(core.simplex.unfinalized() for core in cluster.cores[:3])
    late = cluster.deployment.order(cluster.deployment.traders[1], cluster.now_ms)
    submit(cluster, 0, late)
    assert cluster.run(20_000, until=lambda c: c.cores[1].pool.get(late.order_id()) is not None
                       and c.cores[1].pool.get(late.order_id()).sequenced_height > 0)  # type: ignore[union-attr]


def test_bodies_that_expired_while_all_were_down_are_still_there_for_a_final_block() -> None:
    rng = random.Random(2)
    cluster = Cluster(make_deployment(4, seed=2), seed=2)
    drive(cluster, rng, 6)
    for node in range(4):
        cluster.stop(node)
    cluster.now_ms += 400_000
    cluster.run(10)
    for node in range(4):
        cluster.restart(node)
    cluster.run(20_000)
    check_all(cluster)
    late = cluster.deployment.order(cluster.deployment.traders[1], cluster.now_ms)
    submit(cluster, 0, late)
    cluster.run(10_000)
    assert cluster.cores[2].pool.get(late.order_id()).sequenced_height > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(4))
def test_a_certificate_that_moved_a_member_on_outlasts_a_crash(seed: int) -> None:
    """A Byzantine signer may forget its vote; without the certificate the others' finalize votes would lead nowhere."""
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed, network=Network(delay_ms=lambda r, _s, _t: 15))
    drive(cluster, rng, 14)
    assert any(core.simplex.kept_certificates() for core in cluster.cores)
    for node, core in enumerate(cluster.cores):
        before = core.simplex.kept_certificates()
        if seed % 2:
            cluster.hosts[node].disk.take_snapshot(core)
        cluster.stop(node)
        again = cluster._new_core(node)
        disk = cluster.hosts[node].disk
        recover(again, disk.snapshot, [encode(r) for r in disk.records[disk.snapshot_record :]], (), cluster.now_ms)
        assert {(c.kind, c.view) for c in again.simplex.kept_certificates()} == {(c.kind, c.view) for c in before}
        assert again.simplex.view == core.simplex.view
