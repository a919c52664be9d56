"""Small runs in which a committee of four is replaced, with nothing drawn at random but the load."""

from __future__ import annotations

from dataclasses import replace

from mpc_sequencer.sim.network import make_plan
from mpc_sequencer.sim.outages import HostPlan, Outage
from mpc_sequencer.sim.rotations import EPOCH_AWAITED, RotationPlan, Wish

MEMBERS = 4
NEXT = (1, 2, 3, 4)
"""One member leaves, one joins."""
BACK = (0, 1, 2, 3)
AT_MS = 250
END_MS = 1_200


def rotation(
    *wishes: Wish,
    seed: int = 0,
    liars: tuple[tuple[int, str], ...] = (),
    outages: tuple[Outage, ...] = (),
    generated: bool = False,
    joins_ms: int = 0,
    jitter_ms: int = 0,
) -> RotationPlan:
    """What operators want (else NEXT), liars and outages."""
    wanted = wishes or (Wish(AT_MS, NEXT, 3),)
    people = max(max(one.people) for one in wanted) + 1
    quiet = make_plan(seed, people, frozenset())
    faults = replace(quiet, behaviours=liars, hosts=HostPlan(outages=outages), end_ms=END_MS)
    faults = replace(faults, jitter_ms=jitter_ms)
    joins = tuple((person, joins_ms) for person in range(MEMBERS, people))
    return RotationPlan("drawn by hand", faults, people - MEMBERS, wanted, joins, generated, 0)


def at_cutover(node: int, *, written: bool, lasts_ms: int = 200) -> Outage:
    """A loss of power when a member is to begin an epoch: before its snapshot is written, or right after."""
    return Outage(node, 1, 1 + lasts_ms, "power", "writing", 100 * written, 0, EPOCH_AWAITED)
