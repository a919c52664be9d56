"""Runs in which the committee is replaced: who is to follow whom and when, who is faulty meanwhile, who joins.

What operators want is a list of *wishes*: from some time on, all members' operators want one committee to follow. A
wish may come long after the rotation before it, in the middle of it (an approval that changes), or name the committee
as it was (a rotation called off, or undone where it came too late). Operators of every epoch ask for the last wish
until their committee is the one it names.

The faults are those of any run among all people, members and joiners alike, moved behind a key generation where the
run begins with one. Of every committee that may come about at most f members are faulty, and no more are down at a
time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.sim.byzantine import BEHAVIOURS, KEY_BEHAVIOURS, ROTATION_BEHAVIOURS
from mpc_sequencer.sim.generation import Pace
from mpc_sequencer.sim.network import FAULTS_BEGIN_MS, FaultPlan, make_plan
from mpc_sequencer.sim.outages import Outage
from mpc_sequencer.sim.plan import HOST_FAULTS, MemberFaults

KINDS: Final = (
    "grow",
    "replace_one",
    "replace_all",
    "threshold",
    "shrink",
    "replace_some",
    "changed",
    "twice",
    "called_off",
    "refresh",
)
GROWS_BY: Final = 3
GENERATED_EVERY: Final = 3
GENERATION_MS: Final = 1_500
"""Where the key is generated, everything else is so much later."""
REFRESH_MS: Final = (300, 900)
EPOCH_AWAITED: Final = "epoch"
"""Outages that wait for a host's member to begin an epoch."""
LOAD_LEADS_MS: Final = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """From ``at_ms`` after the start on operators want these people, with this threshold."""

    at_ms: int
    people: tuple[int, ...]
    threshold: int

    @property
    def faults(self) -> int:
        return (len(self.people) - 1) // 3


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """A run's rotations and its faults. People are members, then joiners."""

    kind: str
    faults: FaultPlan
    joiners: int
    wishes: tuple[Wish, ...]
    joins: tuple[tuple[int, int], ...]
    """(person, time): who begins to follow when."""
    generated: bool
    refresh_ms: int

    def summary(self) -> str:
        """One line for people."""
        sizes = " -> ".join(f"{len(one.people)}/{one.threshold}@{one.at_ms}" for one in self.wishes)
        key = "generated" if self.generated else "given"
        return f"{self.kind} {sizes}, key {key}, {self.faults.summary()}"


def rotated_plan(seed: int, nodes: int, faults: frozenset[str]) -> RotationPlan:
    """Draw a run in which the committee is replaced."""
    rng = random.Random(f"{seed}/{nodes}/rotation")
    kind = KINDS[seed % len(KINDS)]
    generated = seed // len(KINDS) % GENERATED_EVERY == 0
    begin_ms = FAULTS_BEGIN_MS + (GENERATION_MS if generated else 0)
    begin_ms += limits.KEY_REFRESH_MS_MIN if kind == "refresh" else 0  # no refresh comes sooner
    wishes, joiners = _wishes(rng, kind, nodes, begin_ms)
    people = nodes + joiners
    committees = [tuple(range(nodes)), *(one.people for one in wishes)]
    members = _faulty(rng, seed, people, committees, faults)
    spare = min((len(one) - 1) // 3 - len(members.faulty & set(one)) for one in committees)
    pace = Pace(begin_ms, rng.choice((1, 1, 1, 2)), 1)
    plan = make_plan(seed, people, faults, members=members, spare=spare)
    plan = pace.moved_plan(plan, lambda one: _outage(one, rng))
    joins = {one: rng.randint(0, begin_ms + rng.choice((0, 500, 2_500))) for one in range(nodes, people)}
    hosts = tuple(one for one in plan.hosts.outages if one.at_ms > joins.get(one.node, 0))
    snapshots = tuple(one for one in plan.hosts.snapshots if one.at_ms > joins.get(one.node, 0))
    plan = replace(plan, hosts=replace(plan.hosts, outages=hosts, snapshots=snapshots))
    refresh_ms = rng.randint(*REFRESH_MS) + begin_ms - FAULTS_BEGIN_MS if kind == "refresh" else 0
    return RotationPlan(kind, plan, joiners, wishes, tuple(sorted(joins.items())), generated, refresh_ms)


# --- who follows ----------------------------------------------------------------------------------------------------
def _wishes(rng: random.Random, kind: str, nodes: int, begin_ms: int) -> tuple[tuple[Wish, ...], int]:
    """The wishes, and how many join."""
    old = list(range(nodes))
    at_ms = begin_ms + rng.choice((0, rng.randint(0, 600), rng.randint(0, 2_000)))
    later_ms = at_ms + rng.choice((rng.randint(0, 150), rng.randint(100, 900), rng.randint(600, 2_500)))
    grown = list(range(nodes + GROWS_BY))
    few = rng.randint(2, nodes - 1)
    some = rng.sample(old, nodes - few) + [nodes + one for one in range(few)]
    one_less = [*sorted({*old} - {rng.choice(old)}), nodes]
    match kind:
        case "grow" | "refresh":
            chosen = [grown]
        case "replace_one":
            chosen = [one_less]
        case "replace_all":
            chosen = [[nodes + one for one in old]]
        case "threshold":
            return (_wish(rng, at_ms, old, other_than=_threshold(nodes)),), 0
        case "shrink":
            chosen = [sorted(rng.sample(old, nodes - GROWS_BY))] if nodes - GROWS_BY >= 4 else [grown, some[:nodes]]
        case "replace_some":
            chosen = [sorted(some)]
        case "changed":
            chosen = [one_less, grown]
        case "twice":
            chosen = [sorted(some), grown]
        case _:
            chosen = [rng.choice((one_less, grown, sorted(some))), old]
    times = (at_ms, later_ms)
    wishes = tuple(_wish(rng, time_ms, sorted(one)) for time_ms, one in zip(times, chosen, strict=False))
    if kind == "called_off":
        wishes = (wishes[0], replace(wishes[1], threshold=_threshold(nodes)))
    return wishes, max(max(one.people) for one in wishes) + 1 - nodes if max(map(max, chosen)) >= nodes else 0


def _threshold(n: int) -> int:
    """As :func:`mpc_sequencer.sim.deployment.make_deployment` has it."""
    return n - (n - 1) // 3


def _wish(rng: random.Random, at_ms: int, people: list[int], *, other_than: int | None = None) -> Wish:
    n = len(people)
    f = (n - 1) // 3
    allowed = [t for t in range(f + 1, n - f + 1) if t != other_than]
    threshold = rng.choice((_threshold(n), rng.choice(allowed))) if other_than is None else rng.choice(allowed)
    return Wish(at_ms, tuple(sorted(people)), threshold)


# --- who is faulty ----------------------------------------------------------------------------------------------------
def _faulty(
    rng: random.Random, seed: int, people: int, committees: list[tuple[int, ...]], faults: frozenset[str]
) -> MemberFaults:
    """Faulty people, at most f of every committee; each kind in its turn."""
    kinds = [one for one in (*ROTATION_BEHAVIOURS, *KEY_BEHAVIOURS, *BEHAVIOURS, *HOST_FAULTS) if one in faults]
    order = rng.sample(range(people), people)
    chosen: list[int] = []
    for one in order if kinds else ():
        tried = {*chosen, one}
        if all(len(tried & set(committee)) <= (len(committee) - 1) // 3 for committee in committees):
            chosen.append(one)
    if seed // len(KINDS) % 4 == 3:
        chosen = chosen[: rng.randrange(len(chosen) + 1)]  # room for hosts that go down
    first = seed // len(KINDS) + seed
    given = [
        (one, kinds[first % len(kinds)] if not turn else rng.choice(kinds)) for turn, one in enumerate(chosen)
    ]
    return MemberFaults(
        crashed=tuple(sorted(one for one, kind in given if kind == "crash")),
        beyond_skew=tuple(sorted(one for one, kind in given if kind == "clock")),
        behaviours=tuple(sorted((one, kind) for one, kind in given if kind not in HOST_FAULTS)),
        wiped=tuple(sorted(one for one, kind in given if kind == "wipe")),
    )


# --- when ----------------------------------------------------------------------------------------------------------
def _outage(one: Outage, rng: random.Random) -> Outage:
    if one.moment == "between" or one.cause == "full":
        return one
    kinds = (one.awaits, EPOCH_AWAITED, "key-message", "secret")
    return replace(one, awaits=rng.choice(kinds))
