"""Members that go down and come back in simulated runs: what strikes them, and that a broken recovery is noticed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from keys_kit import outage

from mpc_sequencer.core import catchup, recovery, replay
from mpc_sequencer.core.agreement.simplex import Simplex
from mpc_sequencer.core.effects import (
    Append,
    Broadcast,
    ListRecord,
    Persist,
    ProposalRecord,
    ResumedRecord,
    Send,
    VoteRecord,
)
from mpc_sequencer.core.messages import VoteMessage
from mpc_sequencer.core.recovery import Relog
from mpc_sequencer.core.standing import Standing
from mpc_sequencer.core.transcript import GenesisEntry
from mpc_sequencer.core.types import NO_SIGNATURE, NOTARIZE, Vote
from mpc_sequencer.sim.checkers.lives import Durable, own_vote
from mpc_sequencer.sim.deployment import START_MS
from mpc_sequencer.sim.host import Disk, PreparedSnapshot
from mpc_sequencer.sim.network import FAULTS_BEGIN_MS, FAULTS_END_MS, FaultPlan, make_plan
from mpc_sequencer.sim.outages import CUT_WITHIN_MS, SYNC_MS, HostPlan, Outage, SlowDisk, SnapshotTime
from mpc_sequencer.sim.plan import RESTART_FAULTS, parse_faults
from mpc_sequencer.sim.run import Harness, simulate

ALL = parse_faults("all")
QUIET = FaultPlan.quiet(4)


def run_with(*outages: Outage, **more: Any) -> Harness:
    """A run in which only these things happen; it must break no promise."""
    harness = Harness(5, 4, frozenset(), plan=replace(QUIET, hosts=HostPlan(outages, **more)))
    assert harness.run().violations == ()
    return harness


# --- plans ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("nodes", [4, 7, 13])
def test_at_most_f_are_down_or_faulty_unless_the_power_is_cut(nodes: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        plan = make_plan(seed, nodes, ALL - {"powercut"})
        for at_ms in range(FAULTS_BEGIN_MS, FAULTS_END_MS, 5):
            down = {one.node for one in plan.hosts.outages if one.at_ms <= at_ms <= one.until_ms}
            assert len(down | plan.faulty) <= (nodes - 1) // 3
        for one in plan.hosts.outages:
            assert FAULTS_BEGIN_MS <= one.at_ms < one.until_ms < FAULTS_END_MS
            assert one.node not in plan.byzantine
            seen.update((one.cause, one.moment, one.lost))
    assert set(seen) >= {"power", "kill", "full", "between", "writing", "sending"}
    assert seen["journal"] + seen["disk"]


def test_a_power_cut_takes_the_honest_ones_together() -> None:
    whole = 0
    for seed in range(60):
        plan = make_plan(seed, 4, frozenset({"powercut"}))
        times = sorted(one.at_ms for one in plan.hosts.outages)
        assert not times or times[-1] - times[0] <= CUT_WITHIN_MS
        whole += len(times) == 4
    assert 5 < whole < 50


def test_without_host_faults_nobody_goes_down() -> None:
    for seed in range(20):
        assert make_plan(seed, 7, ALL - RESTART_FAULTS - {"wipe"}).hosts == HostPlan()


# --- hosts ----------------------------------------------------------------------------------------------------------
def _vote(view: int) -> Persist:
    return Persist(VoteRecord(Vote(NOTARIZE, 0, view, b"\x01" * 32, 1, NO_SIGNATURE)))


def test_a_killed_process_leaves_its_journal_and_a_loss_of_power_only_what_was_synced() -> None:
    kept: dict[str, set[int]] = {"kill": set(), "power": set()}
    for seed in range(30):
        for cause, lengths in kept.items():
            disk = Disk()
            disk.keep([_vote(1), Append(GenesisEntry(bytes(32), bytes(32)))], 0)
            disk.sync()
            disk.sign_log(1)
            disk.keep([_vote(2), _vote(3), Append(GenesisEntry(bytes(32), b"\x01" * 32))], 1)
            (disk.stop_process if cause == "kill" else disk.tear)(random.Random(seed))
            lengths.add(len(disk.records))
            assert len(disk.log) == 1, "a round that is not over is under no checkpoint"
    assert kept == {"kill": {3}, "power": {1, 2, 3}}


def test_a_snapshot_counts_once_it_is_written() -> None:
    disk = Disk()
    disk.keep([_vote(1), Append(GenesisEntry(bytes(32), bytes(32)))], 0)
    disk.finish_snapshot(PreparedSnapshot(b"state", 1, 1, 1, {}, {}))
    assert (disk.snapshot, disk.checkpointed, disk.damaged) == (b"state", 1, False)
    disk.log.clear()
    assert disk.damaged


@pytest.mark.parametrize(("moment", "percent"), [("writing", 60), ("sending", 0), ("sending", 100)])
def test_a_host_that_is_struck_amid_a_round_says_the_part_that_has_left(moment: str, percent: int) -> None:
    struck = outage(1, 500, 1_500, moment=moment, part_percent=percent, awaits="vote")
    harness = Harness(5, 4, frozenset(), plan=replace(QUIET, hosts=HostPlan((struck,))))
    sent: list[int] = []

    def see(now_ms: int, node: int, effect: Any) -> None:
        if isinstance(effect, Send) and own_vote(node, effect) and node == 1 and now_ms < START_MS + 1_500:
            sent.append(now_ms)

    harness.observers.append(see)
    assert harness.run().violations == ()
    assert harness.simulation is not None and harness.simulation.hosts[1].boots == 1
    struck_ms = max(sent, default=0)
    assert (percent == 100) == (sum(at_ms == struck_ms for at_ms in sent) >= 3), "to each of the others, or to none"


def test_a_slow_disk_holds_up_what_a_round_sends() -> None:
    times: dict[bytes, list[int]] = {}
    harness = Harness(5, 4, frozenset(), plan=replace(QUIET, hosts=HostPlan(slow_disks=(SlowDisk(2, 200, 3_000),))))

    def see(now_ms: int, node: int, effect: Any) -> None:
        if node == 2 and isinstance(effect, Broadcast) and isinstance(effect.message, VoteMessage):
            times.setdefault(effect.message.vote.signature, []).append(now_ms)

    harness.observers.append(see)
    assert harness.run().violations == ()
    slow_ms = range(START_MS + 200, START_MS + 3_000)
    rounds = sorted({at_ms[0] for at_ms in times.values() if at_ms[0] in slow_ms})
    gaps = [later - earlier for earlier, later in pairwise(rounds)]
    assert gaps and min(gaps) >= SYNC_MS[0]


@pytest.mark.parametrize("cause", ["power", "kill", "full"])
@pytest.mark.parametrize("moment", ["between", "writing", "sending"])
def test_any_member_may_stop_at_any_moment_and_comes_back(cause: str, moment: str) -> None:
    terms = {"cause": cause, "moment": moment}
    harness = run_with(
        outage(0, 400, 700, **terms), outage(1, 800, 900, **terms), outage(0, 1_200, 2_000, **terms),
        snapshots=(SnapshotTime(0, 300, 20), SnapshotTime(1, 700, 150)),
    )
    assert harness.simulation is not None
    assert [host.boots for host in harness.simulation.hosts] == [2, 1, 0, 0]
    assert harness.simulation.hosts[0].disk.snapshot is not None


@pytest.mark.parametrize("lost", ["journal", "disk"])
def test_who_loses_its_journal_signs_again_as_the_next_incarnation(lost: str) -> None:
    harness = run_with(outage(3, 900, 1_100, lost=lost))
    assert harness.simulation is not None
    disk = harness.simulation.hosts[3].disk
    records = disk.records
    resumed = next(index for index, record in enumerate(records) if isinstance(record, ResumedRecord))
    lists = [record.order_list for record in records if isinstance(record, ListRecord)]
    assert lists and {one.incarnation for one in lists} == {1}
    assert not any(isinstance(record, VoteRecord | ListRecord) for record in records[:resumed])
    assert disk.logs_lost == (lost == "disk")


# --- seeds ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", sorted(RESTART_FAULTS | {"wipe"}))
def test_a_kind_of_outage_alone_breaks_no_promise(kind: str) -> None:
    for seed in (1, 2):
        assert simulate(seed, 4, frozenset({kind})).violations == ()


# --- mutations ------------------------------------------------------------------------------------------------------
SEEDS = 12


@dataclass(frozen=True)
class Mutation:
    """A broken rule of recovery, the faults it needs, and the checkers of which one must notice."""

    name: str
    apply: Callable[[pytest.MonkeyPatch], None]
    checkers: set[str]
    faults: str
    first_seed: int = 0
    """No earlier one shows it."""


def _forgets_votes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Simplex, "recall_vote", lambda self, vote: None)


def _forgets_open_list(patch: pytest.MonkeyPatch) -> None:
    honest = recovery.restore

    def restore(core: Any, *arguments: Any) -> None:
        honest(core, *arguments)
        core.own_lists._open.clear()

    patch.setattr(recovery, "restore", restore)


def _snapshots_before_the_log(patch: pytest.MonkeyPatch) -> None:
    def finish(self: Disk, prepared: PreparedSnapshot) -> None:
        self.snapshot, self.snapshot_record, self.snapshot_entry = prepared.data, prepared.record, prepared.entry

    patch.setattr(Disk, "finish_snapshot", finish)


def _signs_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Standing, "mute", lambda self: None)


def _votes_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Standing, "may_vote", lambda self, view: True)


def _numbers_again(patch: pytest.MonkeyPatch) -> None:
    honest = Standing.flush

    def flush(self: Standing) -> None:
        honest(self)
        if self.incarnation:
            self.incarnation = 0
            self._core.own_lists.begin(0)

    patch.setattr(Standing, "flush", flush)


def _logs_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Relog, "is_news", lambda self, key: True)


def _believes_logs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replay, "check_certified", lambda *arguments: None)
    patch.setattr(catchup, "AHEAD_HEIGHTS_MIN", 1)


def _sends_before_it_syncs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Disk, "sync", lambda self: None)


def _sends_before_it_syncs_unwatched(patch: pytest.MonkeyPatch) -> None:
    _sends_before_it_syncs(patch)
    patch.setattr(Durable, "sees", frozenset())


TORN = "restart,torn,powercut,slow_disk"
MUTATIONS = [
    Mutation("votes are not recalled", _forgets_votes, {"signed-once", "accusation"}, TORN, 29),
    Mutation("the open list is not restored", _forgets_open_list, {"receipts", "audit"}, TORN),
    Mutation("a snapshot before the log's checkpoint", _snapshots_before_the_log, {"recovered", "receipts"}, TORN),
    Mutation("a damaged member is not muted", _signs_at_once, {"signed-once", "accusation"}, "wipe"),
    Mutation("a damaged member votes at once", _votes_at_once, {"signed-once", "accusation"}, "wipe,torn", 80),
    Mutation("numbers again without an incarnation", _numbers_again, {"signed-once", "accusation"}, "wipe"),
    Mutation("logs again what the log holds", _logs_again, {"log"}, TORN),
    Mutation("catches up without certificates", _believes_logs, {"certificate"}, "false_logs,restarts,links", 50),
    Mutation("sends before it syncs", _sends_before_it_syncs, {"durable"}, TORN),
    Mutation("sends before it syncs, as it shows", _sends_before_it_syncs_unwatched, {"signed-once"}, TORN, 12),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_recovery_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.apply(monkeypatch)
    noticed: set[str] = set()
    for seed in range(mutation.first_seed, mutation.first_seed + SEEDS):
        noticed |= {one.checker for one in simulate(seed, 4, parse_faults(mutation.faults)).violations}
        if noticed & mutation.checkers:
            return
    pytest.fail(f"{SEEDS} seeds, noticed only by {sorted(noticed)}")


def short_cuts(seed: int) -> FaultPlan:
    """Members are struck while they propose or vote, and are back before the view is over."""
    struck = [
        outage(node, 300 + 600 * node + 41 * seed, 380 + 600 * node + 41 * seed, moment="sending", part_percent=35,
               awaits="proposal", linger_ms=10)
        for node in range(4)
    ]
    return replace(QUIET, hosts=HostPlan(tuple(struck)))


def cut_with_a_lost_disk(seed: int) -> FaultPlan:
    """All lose power amid a slow round of agreement, and one of them its disk."""
    at_ms = 700 + 90 * seed
    struck = [outage(node, at_ms + node, at_ms + 200, lost="" if node else "disk") for node in range(4)]
    return replace(QUIET, jitter_ms=80, hosts=HostPlan(tuple(struck)))


def _keeps_no_lists_of_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "_rests_on", lambda core, block: (ProposalRecord(block),))


DIRECTED = [
    (short_cuts, _forgets_votes, "signed-once"),
    (cut_with_a_lost_disk, _keeps_no_lists_of_others, "progress"),
]


@pytest.mark.parametrize(("plan", "breaks", "checker"), DIRECTED, ids=lambda one: getattr(one, "__name__", one))
def test_rare_moments_are_borne_and_a_build_that_does_not_bear_them_is_caught(
    plan: Callable[[int], FaultPlan],
    breaks: Callable[[pytest.MonkeyPatch], None],
    checker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(SEEDS):
        assert Harness(seed, 4, frozenset(), plan=plan(seed)).run().violations == ()
    breaks(monkeypatch)
    for seed in range(SEEDS):
        if checker in {one.checker for one in Harness(seed, 4, frozenset(), plan=plan(seed)).run().violations}:
            return
    pytest.fail(f"{SEEDS} seeds did not show it")
