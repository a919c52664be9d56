"""Links between members as TCP gives them, and the plan by which they fail: a function of the seed.

A link is ordered and loses nothing while it stands. It fails in two ways only. It *breaks*: everything in flight and
everything sent until it stands again is lost, and both ends are told, each a little later. It *stalls* in one
direction: what is sent waits for the end of the stall, then arrives in order (TCP sends it again). Loss without a
break does not exist over TCP, so it is not simulated. Messages of different links overtake each other.

Latencies are those of a local network or p50 round trips between cloud regions (``regions.json``), with jitter.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.sim.plan import FAULT_KINDS, member_faults

FAULTS_BEGIN_MS: Final = 200
FAULTS_END_MS: Final = 3_000
"""When, after the start, the last fault of the network is over: the network is healed."""
LAN_MS: Final = (1, 5)
JITTER_MS_MAX: Final = 80
NOTICE_MS_MAX: Final = 150
"""How long an end of a broken link may take to notice."""
SKEW_WITHIN_MS: Final = limits.BLOCK_TIME_SKEW_MS_MAX // 8
"""Clocks within this serve: a leader's own margin, old heads and delays take the rest of the allowed skew."""
SKEW_BEYOND_MS: Final = (limits.BLOCK_TIME_SKEW_MS_MAX * 5 // 4, limits.BLOCK_TIME_SKEW_MS_MAX * 2)

Pair = tuple[int, int]


@lru_cache(maxsize=1)
def region_round_trips_ms() -> dict[str, dict[str, float]]:
    """p50 round trips in ms by region and region."""
    content = json.loads(Path(__file__).with_name("regions.json").read_text(encoding="utf-8"))
    table: dict[str, dict[str, float]] = content["round_trip_ms"]
    return table


@dataclass(frozen=True, slots=True)
class LinkFault:
    """Links that fail from ``at_ms`` until ``until_ms`` after the start. A break is of unordered pairs (low, high), a
    stall of (sender, receiver)."""

    at_ms: int
    until_ms: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Everything that goes wrong in a run. Times are ms after its start; members are indices."""

    regions: tuple[str, ...]
    """By member; empty on a local network."""
    jitter_ms: int
    skew_ms: tuple[int, ...]
    breaks: tuple[LinkFault, ...]
    stalls: tuple[LinkFault, ...]
    crashes: tuple[tuple[int, int], ...]
    """(member, time): crash-stop. A restart of the member belongs beside it."""
    behaviours: tuple[tuple[int, str], ...]
    """(member, name of a Byzantine behaviour)"""
    beyond_skew: tuple[int, ...]
    """Members whose clocks are off by more than the protocol allows: they count as faulty."""

    @property
    def byzantine(self) -> frozenset[int]:
        """Members that do not keep to the protocol. All others are honest, the crashed ones included."""
        return frozenset(node for node, _ in self.behaviours)

    @property
    def faulty(self) -> frozenset[int]:
        """At most f members that need not make progress; the others are *correct*."""
        return self.byzantine | {node for node, _ in self.crashes} | set(self.beyond_skew)

    def summary(self) -> str:
        """One line for people."""
        parts = [f"{name}@{node}" for node, name in self.behaviours]
        parts += [f"crash@{node}" for node, _ in self.crashes] + [f"clock@{node}" for node in self.beyond_skew]
        parts += ["regions" if self.regions else "lan", f"jitter {self.jitter_ms} ms"]
        parts.append(f"{len(self.breaks)} breaks, {len(self.stalls)} stalls")
        return ", ".join(parts)


def make_plan(seed: int, nodes: int, faults: frozenset[str]) -> FaultPlan:
    """Draw the faults of a run. ``faults`` holds names of :data:`FAULT_KINDS` and of Byzantine behaviours."""
    rng = random.Random(f"{seed}/{nodes}/network")
    unknown = faults - FAULT_KINDS
    if unknown:
        raise ValueError(f"unknown faults {sorted(unknown)}, expected some of {sorted(FAULT_KINDS)}")
    members = member_faults(seed, nodes, faults)
    names = sorted(region_round_trips_ms())
    regions = tuple(rng.choice(names) for _ in range(nodes)) if "regions" in faults and rng.random() < 0.4 else ()
    skew_ms = [rng.randint(-SKEW_WITHIN_MS, SKEW_WITHIN_MS) if "skew" in faults else 0 for _ in range(nodes)]
    for node in members.beyond_skew:
        skew_ms[node] = rng.choice((-1, 1)) * rng.randint(*SKEW_BEYOND_MS)
    breaks: list[LinkFault] = []
    if "links" in faults:
        breaks += [_flap(rng, nodes) for _ in range(rng.randint(0, nodes))]
    if "partitions" in faults:
        breaks += _partitions(rng, nodes)
    stalls = [_stall(rng, nodes) for _ in range(rng.randint(0, 3))] if "stalls" in faults else []
    crashes = tuple((node, rng.randint(FAULTS_BEGIN_MS, FAULTS_END_MS)) for node in members.crashed)
    jitter_ms = rng.choice((0, 2, 20, JITTER_MS_MAX)) if "jitter" in faults else 0
    return FaultPlan(
        regions=regions,
        jitter_ms=jitter_ms,
        skew_ms=tuple(skew_ms),
        breaks=tuple(breaks),
        stalls=tuple(stalls),
        crashes=crashes,
        behaviours=members.behaviours,
        beyond_skew=members.beyond_skew,
    )


def _window(rng: random.Random, length_ms_max: int) -> tuple[int, int]:
    at_ms = rng.randint(FAULTS_BEGIN_MS, FAULTS_END_MS - 50)
    return at_ms, min(FAULTS_END_MS, at_ms + rng.randint(30, length_ms_max))


def _flap(rng: random.Random, nodes: int) -> LinkFault:
    low, high = sorted(rng.sample(range(nodes), 2))
    return LinkFault(*_window(rng, 400), ((low, high),))


def _crossing(group: set[int], nodes: int) -> tuple[Pair, ...]:
    return tuple((a, b) for a in range(nodes) for b in range(a + 1, nodes) if (a in group) != (b in group))


def _partitions(rng: random.Random, nodes: int) -> list[LinkFault]:
    """None, one that stands, or one that moves from group to group."""
    steps = rng.choice((0, 1, 1, 4))
    if not steps:
        return []
    at_ms = rng.randint(FAULTS_BEGIN_MS, FAULTS_END_MS // 2)
    length_ms = rng.randint(200, FAULTS_END_MS - at_ms) // steps
    size = rng.randint(1, nodes // 2)
    return [
        LinkFault(
            at_ms + step * length_ms,
            at_ms + (step + 1) * length_ms,
            _crossing(set(rng.sample(range(nodes), size)), nodes),
        )
        for step in range(steps)
    ]


def _stall(rng: random.Random, nodes: int) -> LinkFault:
    """One direction of one link, or all that one member sends or hears."""
    at_ms, until_ms = _window(rng, 1_200)
    node, other = rng.sample(range(nodes), 2)
    peers = [peer for peer in range(nodes) if peer != node]
    pairs = rng.choice(([(node, other)], [(node, peer) for peer in peers], [(peer, node) for peer in peers]))
    return LinkFault(at_ms, until_ms, tuple(pairs))


@dataclass(slots=True)
class Links:
    """The state of all links of a run. Times are virtual, in ms."""

    plan: FaultPlan
    start_ms: int
    rng: random.Random
    _down: dict[Pair, int] = field(default_factory=dict)
    """Pairs that are down, with how many breaks hold them."""
    _generation: dict[Pair, int] = field(default_factory=dict)
    _last_arrival_ms: dict[Pair, int] = field(default_factory=dict)

    def generation(self, one: int, other: int) -> int:
        """Grows with every break: what was sent under an earlier one is lost."""
        return self._generation.get(_pair(one, other), 0)

    def is_up(self, one: int, other: int) -> bool:
        return _pair(one, other) not in self._down

    def break_link(self, pair: Pair) -> bool:
        """True where the link stood until now."""
        self._down[pair] = self._down.get(pair, 0) + 1
        if self._down[pair] > 1:
            return False
        self._generation[pair] = self._generation.get(pair, 0) + 1
        self._last_arrival_ms.pop(pair, None)
        self._last_arrival_ms.pop((pair[1], pair[0]), None)
        return True

    def restore(self, pair: Pair) -> bool:
        """True where the link stands again."""
        self._down[pair] -= 1
        if self._down[pair]:
            return False
        del self._down[pair]
        return True

    def arrival_ms(self, sender: int, receiver: int, now_ms: int) -> int:
        """When a message sent now arrives, in the order of its link."""
        leaves_ms = now_ms
        for stall in self.plan.stalls:
            if (sender, receiver) in stall.pairs and stall.at_ms <= now_ms - self.start_ms < stall.until_ms:
                leaves_ms = max(leaves_ms, self.start_ms + stall.until_ms)
        arrival_ms = leaves_ms + self._delay_ms(sender, receiver)
        arrival_ms = max(arrival_ms, self._last_arrival_ms.get((sender, receiver), 0))
        self._last_arrival_ms[sender, receiver] = arrival_ms
        return arrival_ms

    def _delay_ms(self, sender: int, receiver: int) -> int:
        base_ms = self.rng.randint(*LAN_MS)
        if self.plan.regions:
            trips = region_round_trips_ms()
            base_ms = max(1, round(trips[self.plan.regions[sender]][self.plan.regions[receiver]] / 2))
        return base_ms + (self.rng.randint(0, self.plan.jitter_ms) if self.plan.jitter_ms else 0)


def _pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)
