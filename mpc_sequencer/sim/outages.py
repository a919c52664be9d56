"""Hosts that go down and come back, and disks that are slow or full: a plan, a function of the seed.

An outage has a cause. *power*: what the disk had not made durable may be lost. *kill*: the process dies and the machine
does not, so the journal keeps what was written. *full*: the disk refuses to write, so the process stops, and comes back
when there is space. It strikes at a moment: *between* two rounds; *writing*, when a part of a round's records is
written and nothing of the round leaves; or *sending*, when all is durable and a first part of the messages has left.
The round is one that writes anything, or the first that binds the member: by a vote, a block it votes for, or a receipt
whose list is still open. And the disk may be *lost* with it: the journal with the snapshot, or the audit log too.

Two rules. Members that are down or faulty are at most f at any time, but for power cuts, which take some or all of the
honest ones within CUT_WITHIN_MS. Who loses its journal is one of the f faulty for the whole run, and loses it once:
agreement holds through more outages than these, but a run that always stands still shows little.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.effects import (
    AdmittedRecord,
    Append,
    Effect,
    HeldKeyRecord,
    KeepSecret,
    KeyRecord,
    ListRecord,
    Persist,
    ProposalRecord,
    Record,
    VoteRecord,
)
from mpc_sequencer.sim.plan import RESTART_FAULTS, MemberFaults

CUT_WITHIN_MS: Final = 40
DOWN_MS: Final = ((2, 30), (2, 30), (50, 400), (500, 1_500))
"""How long an outage lasts: drawn from one of these."""
SYNC_MS: Final = (20, 400)
OUTAGES_TRIED_PER_MEMBER: Final = 2
SNAPSHOTS_PER_MEMBER_MAX: Final = 3
SNAPSHOT_WRITE_MS_MAX: Final = 120
WAIT_MS: Final = 60
"""How much later an outage ends that has to wait for a round."""
LINGER_MS_MAX: Final = 20
"""What left a host before it went down is under way for so long; then its links are down."""
MOMENTS: Final = ("between", "writing", "sending", "sending", "sending")
AWAITED: Final[dict[str, type[Record] | None]] = {
    "": None,
    "vote": VoteRecord,
    "proposal": ProposalRecord,
    "receipt": AdmittedRecord,
}
"""Rounds that are struck, by what they write."""
KEY_AWAITED: Final[dict[str, type[Record] | type[KeepSecret]]] = {
    "key-message": HeldKeyRecord,
    "key": KeyRecord,
    "secret": KeepSecret,
}
"""And those of a key generation."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A host that is down until ``until_ms``, from ``at_ms`` on or from its first round thereafter that has something
    to write (then not at all where there is none). Times are ms after the start."""

    node: int
    at_ms: int
    until_ms: int
    cause: str
    moment: str
    part_percent: int
    """How much of a round's records or messages got through."""
    linger_ms: int
    awaits: str = ""
    """Of which kind of AWAITED or KEY_AWAITED the round is that is struck."""
    lost: str = ""
    """"journal" or "disk", or "vault" for the secrets alone; empty where nothing is."""
    write_number: int = 0
    """Strikes the round that writes the so-manieth secret or record of this host, right after that one, whenever that
    is, and lasts ``until_ms - at_ms``; 0: see above."""

    def strikes(self, effects: Iterable[Effect], written: int, writes: int) -> bool:
        """Whether a round that brought this forth is one that the outage waits for: ``writes`` of its effects are
        secrets and records, ``written`` were before."""
        if self.write_number:
            return written < self.write_number <= written + writes
        if self.awaits == "secret":
            return any(isinstance(effect, KeepSecret) for effect in effects)
        awaited = KEY_AWAITED.get(self.awaits) or AWAITED[self.awaits]
        if awaited is None:
            return any(isinstance(effect, Append | Persist) for effect in effects)
        records = [effect.record for effect in effects if isinstance(effect, Persist)]
        if awaited is AdmittedRecord and any(isinstance(record, ListRecord) for record in records):
            return False
        return any(isinstance(record, awaited) for record in records)


@dataclass(frozen=True, slots=True)
class SlowDisk:
    """A host's syncs take SYNC_MS."""

    node: int
    at_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class SnapshotTime:
    """A host prepares a snapshot at ``at_ms`` and has written it ``write_ms`` later."""

    node: int
    at_ms: int
    write_ms: int


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What befalls hosts."""

    outages: tuple[Outage, ...] = ()
    slow_disks: tuple[SlowDisk, ...] = ()
    snapshots: tuple[SnapshotTime, ...] = ()


NO_HOST_FAULTS: Final = HostPlan()


def draw_hosts(
    seed: int,
    nodes: int,
    faults: frozenset[str],
    members: MemberFaults,
    window_ms: tuple[int, int],
    *,
    spare: int | None = None,
) -> HostPlan:
    """Draw what befalls hosts within ``window_ms`` (begin, end). ``spare`` is how many may be down at a time beside the
    faulty ones, where that is not f less those."""
    if not (faults & RESTART_FAULTS or members.wiped):
        return NO_HOST_FAULTS
    draw = _Draw(seed, nodes, faults, members, window_ms)
    draw.spare = draw.spare if spare is None else spare
    rng = draw.rng
    for node in members.wiped:
        draw.add(draw.outage(node, rng.choice(("power", "kill")), lost=rng.choice(("journal", "disk"))))
    if "powercut" in faults and rng.random() < (0.3 if draw.spare else 0.6):
        draw.power_cut()
    if draw.spare:
        if "full_disk" in faults and rng.random() < 0.5:
            draw.add(draw.outage(rng.choice(draw.able), "full"))
        if faults & {"restart", "torn"}:
            for _ in range(rng.randint(1, OUTAGES_TRIED_PER_MEMBER * len(draw.able))):
                draw.add(draw.outage(rng.choice(draw.able), draw.cause()))
    slow = []
    if "slow_disk" in faults:
        for node in rng.sample(draw.able, rng.randint(0, max(1, len(draw.able) // 2))):
            at_ms = rng.randint(draw.begin_ms, draw.end_ms - 200)
            slow.append(SlowDisk(node, at_ms, min(draw.end_ms, at_ms + rng.randint(200, 2_000))))
    snapshots = [
        SnapshotTime(node, rng.randint(draw.begin_ms // 2, draw.end_ms), rng.randint(0, SNAPSHOT_WRITE_MS_MAX))
        for node in (*draw.able, *members.wiped)
        for _ in range(rng.randint(0, SNAPSHOTS_PER_MEMBER_MAX))
    ]
    return HostPlan(tuple(sorted(draw.outages, key=lambda one: one.at_ms)), tuple(slow), tuple(snapshots))


class _Draw:
    """Outages drawn so far, and what may still be added."""

    def __init__(
        self, seed: int, nodes: int, faults: frozenset[str], members: MemberFaults, window_ms: tuple[int, int]
    ) -> None:
        self.rng = random.Random(f"{seed}/{nodes}/hosts")
        self.begin_ms, self.end_ms = window_ms
        self.torn = "torn" in faults
        self.faulty = members.faulty
        self.able = [node for node in range(nodes) if node not in members.faulty]
        """Members that may go down and stay correct."""
        self.spare = (nodes - 1) // 3 - len(members.faulty)
        self.cutable = sorted({*self.able, *members.beyond_skew, *members.wiped})
        self.outages: list[Outage] = []

    def cause(self) -> str:
        return self.rng.choice(("power", "kill")) if self.torn else "kill"

    def outage(self, node: int, cause: str, *, lost: str = "") -> Outage:
        """An outage of a member at any time."""
        rng = self.rng
        at_ms = rng.randint(self.begin_ms, self.end_ms - 120)
        until_ms = min(self.end_ms - 20, at_ms + rng.randint(*rng.choice(DOWN_MS)))
        moment = "writing" if cause == "full" else rng.choice(MOMENTS) if self.torn else "between"
        awaits = rng.choice(tuple(AWAITED)) if moment != "between" and cause != "full" else ""
        if moment != "between":
            until_ms = min(self.end_ms - 20, until_ms + WAIT_MS)
        linger_ms = rng.randint(0, LINGER_MS_MAX)
        return Outage(node, at_ms, until_ms, cause, moment, self.part_percent(), linger_ms, awaits, lost)

    def part_percent(self) -> int:
        return self.rng.choice((0, self.rng.randint(0, 100), self.rng.randint(0, 100), 100))

    def add(self, one: Outage) -> None:
        """Take it, where it is of another time than that member's others and not one too many."""
        among = [held for held in self.outages if held.at_ms <= one.until_ms and one.at_ms <= held.until_ms]
        others = {held.node for held in among} - self.faulty
        if one.node not in {held.node for held in among} and len(others) < max(self.spare, bool(one.lost)):
            self.outages.append(one)

    def power_cut(self) -> None:
        """Some or all go down at once; a member that is down then anyway stays out of it."""
        rng = self.rng
        begin_ms = rng.randint(self.begin_ms, self.end_ms - 200)
        down = self.cutable if rng.random() < 0.6 else rng.sample(self.cutable, rng.randint(1, len(self.cutable)))
        for node in down:
            at_ms = begin_ms + rng.randint(0, CUT_WITHIN_MS)
            until_ms = min(self.end_ms - 20, at_ms + rng.randint(*rng.choice(DOWN_MS)))
            if not _overlaps(self.outages, node, at_ms, until_ms):
                moment = rng.choice(MOMENTS) if self.torn else "between"
                linger_ms = rng.randint(0, LINGER_MS_MAX)
                part_percent = self.part_percent()
                self.outages.append(Outage(node, at_ms, until_ms, "power", moment, part_percent, linger_ms))


def _overlaps(outages: Iterable[Outage], node: int, at_ms: int, until_ms: int) -> bool:
    return any(one.node == node and one.at_ms <= until_ms and at_ms <= one.until_ms for one in outages)
