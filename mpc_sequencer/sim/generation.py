"""Runs that begin with a key generation: their plan of faults, and the way to the key.

The plan is that of any run with its times moved: a generation on a good network is over after some tenths of a
second, and one that waits for silent members takes windows of KEY_WINDOW_MS. So faults come in one of three paces:
*quick*, pressed into the generation; as they are; or *slow*, spread over windows. No pace makes a fault longer:
what befalls an honest member is over well within a window, so it is timely and must have its share of the key.

Outages strike rounds that write key messages, the key or a secret; and where a disk is lost, in one seed in
ROBBED_EVERY it is the vault with the secrets, and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from mpc_sequencer.core import keys, limits
from mpc_sequencer.core.types import KeyCertificate
from mpc_sequencer.sim.cluster import Cluster
from mpc_sequencer.sim.deployment import Deployment
from mpc_sequencer.sim.network import FAULTS_BEGIN_MS, FAULTS_END_MS, FaultPlan, make_plan
from mpc_sequencer.sim.outages import AWAITED, KEY_AWAITED, HostPlan, Outage

KEY_MS_MAX: Final = 120_000
"""From the heal until a correct member has the key: two attempts in which every phase takes its window."""
TIMELY_MS: Final = limits.KEY_WINDOW_MS // 2
"""Who is away for less than this at a time speaks in every window."""
ROBBED_EVERY: Final = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """Times after FAULTS_BEGIN_MS are multiplied by ``numerator / denominator``, lengths divided by ``denominator``."""

    begin_ms: int
    numerator: int
    denominator: int

    def at(self, time_ms: int) -> int:
        return self.begin_ms + max(0, time_ms - FAULTS_BEGIN_MS) * self.numerator // self.denominator

    def moved(self, fault: Any) -> Any:
        """A fault with ``at_ms`` and ``until_ms``, at its new time."""
        at_ms = self.at(fault.at_ms)
        length_ms = max(1, (fault.until_ms - fault.at_ms) // self.denominator)
        return replace(fault, at_ms=at_ms, until_ms=at_ms + length_ms)

    def moved_plan(self, plan: FaultPlan, outage: Callable[[Outage], Outage]) -> FaultPlan:
        """A plan with all its faults at their new times, its outages as ``outage`` bends them then, in their order."""
        hosts = plan.hosts
        return replace(
            plan,
            breaks=tuple(self.moved(one) for one in plan.breaks),
            stalls=tuple(self.moved(one) for one in plan.stalls),
            one_ways=tuple(self.moved(one) for one in plan.one_ways),
            jumps=tuple(self.moved(one) for one in plan.jumps),
            crashes=tuple((node, self.at(at_ms)) for node, at_ms in plan.crashes),
            hosts=HostPlan(
                outages=tuple(outage(self.moved(one)) for one in hosts.outages),
                slow_disks=tuple(self.moved(one) for one in hosts.slow_disks),
                snapshots=tuple(replace(one, at_ms=self.at(one.at_ms)) for one in hosts.snapshots),
            ),
            end_ms=max(FAULTS_END_MS, self.at(FAULTS_END_MS)),
        )


QUICK: Final = Pace(5, 1, 6)
PACES: Final = (QUICK, QUICK, Pace(FAULTS_BEGIN_MS, 1, 1), Pace(FAULTS_BEGIN_MS, 8, 1))


def generated_plan(seed: int, nodes: int, faults: frozenset[str]) -> FaultPlan:
    """Draw the faults of a run that begins with a key generation."""
    rng = random.Random(f"{seed}/{nodes}/generation")
    pace = rng.choice(PACES)
    plan = make_plan(seed, nodes, faults)
    return pace.moved_plan(plan, lambda one: _outage(one, rng))


def _outage(one: Outage, rng: random.Random) -> Outage:
    kinds = (*AWAITED, *KEY_AWAITED, *KEY_AWAITED)
    awaits = rng.choice(kinds) if one.moment != "between" and one.cause != "full" else one.awaits
    lost = "vault" if one.lost and not rng.randrange(ROBBED_EVERY) else one.lost
    return replace(one, awaits=awaits, lost=lost)


def untimely(plan: FaultPlan) -> frozenset[int]:
    """Members of whom the key generation may miss a message: faulty ones, those that lose their secrets, and those
    that are down, cut off or stalled for TIMELY_MS or more at a time."""
    away = {one.node for one in plan.hosts.outages if one.until_ms - one.at_ms >= TIMELY_MS}
    for fault in (*plan.breaks, *plan.stalls, *plan.one_ways):
        if fault.until_ms - fault.at_ms >= TIMELY_MS:
            away |= {node for pair in fault.pairs for node in pair}
    return plan.faulty | plan.robbed | away


def establish(deployment: Deployment, certificate: KeyCertificate) -> None:
    """Take the key as a client does, who asked a member for it and checks what it says."""
    keys.establish(deployment.committee, certificate)


def key_at(cluster: Cluster, members: frozenset[int]) -> KeyCertificate | None:
    """The key as the first of these members that has it tells it; None where none is up and has it."""
    for node in sorted(members - cluster.stopped):
        certificate = cluster.cores[node].keygen.certificate
        if certificate is not None:
            return certificate
    return None
