"""Links between members as TCP gives them, and the plan by which they fail: a function of the seed.

A link is ordered and loses nothing while it stands. It fails in three ways. It *breaks*: everything in flight and
everything sent until it stands again is lost, and both ends are told, each a little later. It *stalls* in one
direction: what is sent waits for the end of the stall, then arrives in order (TCP sends it again). It is *cut one
way*: what goes in one direction is lost while the other still arrives, until the ends give the link up and make a new
one. A lost packet is none of these: TCP sends it again, so it and all behind it are late by a retransmission time-out.
Messages of different links overlap freely; *reorder* lets those of one link overtake each other too, which TCP never
does and members bear all the same. *Duplicates*: at a new link its ends send again what they had no acknowledgement
for, of which a part had arrived.

Latencies are those of a local network or p50 round trips between cloud regions (``regions.json``), with jitter.
"""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.messages import PeerMessage
from mpc_sequencer.sim.outages import NO_HOST_FAULTS, HostPlan, draw_hosts
from mpc_sequencer.sim.plan import EVERY_FAULT_KIND, MemberFaults, chain_blind, chain_late_ms, member_faults

FAULTS_BEGIN_MS: Final = 200
FAULTS_END_MS: Final = 3_000
"""When, after the start, the last fault of the network is over: the network is healed."""
LAN_MS: Final = (1, 5)
JITTER_MS_MAX: Final = 80
NOTICE_MS_MAX: Final = 150
"""How long an end of a broken link may take to notice."""
SKEW_WITHIN_MS: Final = limits.BLOCK_TIME_SKEW_MS_MAX // 8
"""Clocks within this serve: a leader's own margin, old heads and delays take the rest of the allowed skew."""
JUMP_MS_MAX: Final = 2_200
"""A correct member's clock may be set by so much for a while, forwards or back, if it serves again at the heal."""
JUMP_BEYOND_MS_MAX: Final = 8_000
LOSS_PERCENT_MAX: Final = 5
RETRANSMISSION_MS: Final = 200
"""TCP's least time-out; it doubles when the same packet is lost again."""
RETRANSMISSIONS_MAX: Final = 3
UNACKNOWLEDGED_MS: Final = 60
"""What arrived this long before a break may not be acknowledged yet."""
UNACKNOWLEDGED_MESSAGES_MAX: Final = 64
SKEW_BEYOND_MS: Final = (limits.BLOCK_TIME_SKEW_MS_MAX * 5 // 4, limits.BLOCK_TIME_SKEW_MS_MAX * 2)

Pair = tuple[int, int]


@lru_cache(maxsize=1)
def region_round_trips_ms() -> dict[str, dict[str, float]]:
    """p50 round trips in ms by region and region."""
    content = json.loads(Path(__file__).with_name("regions.json").read_text(encoding="utf-8"))
    table: dict[str, dict[str, float]] = content["round_trip_ms"]
    return table


@cache
def one_way_ms(one: str, other: str) -> int:
    """Half the round trip between two regions, at least 1 ms."""
    return max(1, round(region_round_trips_ms()[one][other] / 2))


@dataclass(frozen=True, slots=True)
class LinkFault:
    """Links that fail from ``at_ms`` until ``until_ms`` after the start. A break is of unordered pairs (low, high), a
    stall or a one-way cut of (sender, receiver)."""

    at_ms: int
    until_ms: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class ClockJump:
    """A member's clock is set by ``by_ms`` (negative: back) at ``at_ms`` and set right again at ``until_ms``."""

    node: int
    at_ms: int
    until_ms: int
    by_ms: int


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
    """(member, time): crash-stop."""
    behaviours: tuple[tuple[int, str], ...]
    """(member, name of a Byzantine behaviour)"""
    beyond_skew: tuple[int, ...]
    """Members whose clocks are off by more than the protocol allows: they count as faulty."""
    one_ways: tuple[LinkFault, ...] = ()
    jumps: tuple[ClockJump, ...] = ()
    loss_percent: int = 0
    reorder: bool = False
    duplicates: bool = False
    twinned: tuple[int, ...] = ()
    """Members that run twice, both times by the rules and with the same keys: together they are Byzantine."""

    hosts: HostPlan = NO_HOST_FAULTS
    chain_late_ms: tuple[int, ...] = ()
    """By member: how late its chain node is."""
    chain_blind: frozenset[int] = frozenset()
    """Correct members whose chain node is dead."""
    end_ms: int = FAULTS_END_MS
    """When the network is healed."""

    @classmethod
    def quiet(cls, nodes: int) -> FaultPlan:
        """Nothing goes wrong on a local network of ``nodes`` members without jitter and skew."""
        return cls(
            regions=(),
            jitter_ms=0,
            skew_ms=(0,) * nodes,
            breaks=(),
            stalls=(),
            crashes=(),
            behaviours=(),
            beyond_skew=(),
        )

    @property
    def byzantine(self) -> frozenset[int]:
        """Members that do not keep to the protocol. All others are honest, the crashed ones included."""
        return frozenset(node for node, _ in self.behaviours).union(self.twinned)

    @property
    def wiped(self) -> frozenset[int]:
        """Members that lose their journal: honest, but not correct."""
        return frozenset(one.node for one in self.hosts.outages if one.lost in ("journal", "disk"))

    @property
    def robbed(self) -> frozenset[int]:
        """Members that lose their secrets and nothing else: correct, but their share of the key may be gone."""
        return frozenset(one.node for one in self.hosts.outages if one.lost == "vault")

    @property
    def faulty(self) -> frozenset[int]:
        """At most f members that need not make progress; the others are *correct*."""
        return self.byzantine | {node for node, _ in self.crashes} | set(self.beyond_skew) | self.wiped

    def summary(self) -> str:
        """One line for people."""
        parts = [f"{name}@{node}" for node, name in self.behaviours] + [f"twins@{node}" for node in self.twinned]
        parts += [f"crash@{node}" for node, _ in self.crashes] + [f"clock@{node}" for node in self.beyond_skew]
        parts += ["regions" if self.regions else "lan", f"jitter {self.jitter_ms} ms"]
        parts.append(f"{len(self.breaks)} breaks, {len(self.stalls)} stalls, {len(self.one_ways)} one-way cuts")
        parts.append(f"{len(self.jumps)} clock jumps, {self.loss_percent}% loss")
        parts += [f"wipe@{node}" for node in sorted(self.wiped)]
        parts += [f"vault@{node}" for node in sorted(self.robbed)]
        outages = [one for one in self.hosts.outages if not one.lost]
        if outages:
            parts.append(f"{len(outages)} outages of {len({one.node for one in outages})} members")
        parts += [f"blind@{node}" for node in sorted(self.chain_blind)]
        if any(self.chain_late_ms):
            parts.append(f"chain late by {max(self.chain_late_ms)} ms")
        if self.hosts.slow_disks:
            parts.append(f"{len(self.hosts.slow_disks)} slow disks")
        parts += [name for name in ("reorder", "duplicates") if getattr(self, name)]
        return ", ".join(parts)


def make_plan(
    seed: int, nodes: int, faults: frozenset[str], *, members: MemberFaults | None = None, spare: int | None = None
) -> FaultPlan:
    """Draw the faults of a run. ``faults`` holds names of :data:`EVERY_FAULT_KIND`. ``members``: who is faulty,
    where that is not to be drawn, and ``spare`` how many more may be down at a time then."""
    rng = random.Random(f"{seed}/{nodes}/network")
    unknown = faults - EVERY_FAULT_KIND
    if unknown:
        raise ValueError(f"unknown faults {sorted(unknown)}, expected some of {sorted(EVERY_FAULT_KIND)}")
    members = member_faults(seed, nodes, faults) if members is None else members
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
    one_ways = [_one_way(rng, nodes) for _ in range(rng.randint(0, 2))] if "one_way" in faults else []
    jumps = _jumps(rng, nodes) if "jumps" in faults else []
    jumps = [jump for jump in jumps if jump.node not in members.beyond_skew]
    jumps += [_wild_jump(rng, node) for node in members.beyond_skew]
    return FaultPlan(
        regions=regions,
        jitter_ms=jitter_ms,
        skew_ms=tuple(skew_ms),
        breaks=tuple(breaks),
        stalls=tuple(stalls),
        crashes=crashes,
        behaviours=members.behaviours,
        beyond_skew=members.beyond_skew,
        one_ways=tuple(one_ways),
        jumps=tuple(jumps),
        loss_percent=rng.choice((0, 0, 1, LOSS_PERCENT_MAX)) if "loss" in faults else 0,
        reorder="reorder" in faults and rng.random() < 0.3,
        duplicates="duplicates" in faults and rng.random() < 0.7,
        chain_late_ms=chain_late_ms(seed, nodes, faults),
        chain_blind=chain_blind(seed, nodes, faults),
        hosts=draw_hosts(seed, nodes, faults, members, (FAULTS_BEGIN_MS, FAULTS_END_MS), spare=spare),
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


def _one_way(rng: random.Random, nodes: int) -> LinkFault:
    """One direction of one link, or everything from some members to the rest."""
    at_ms, until_ms = _window(rng, 900)
    group = rng.sample(range(nodes), rng.choice((1, 1, rng.randint(1, nodes - 1))))
    rest = [node for node in range(nodes) if node not in group]
    crossing = tuple((one, other) for one in group for other in rest)
    return LinkFault(at_ms, until_ms, rng.choice((crossing[:1], crossing)))


def _jumps(rng: random.Random, nodes: int) -> list[ClockJump]:
    """Clocks that are set and set right. A clock that is set back again stands still until time has caught up, so a
    jump forwards ends that much earlier for the clock to serve at the heal."""
    jumps = []
    for node in rng.sample(range(nodes), rng.randint(0, nodes)):
        by_ms = rng.choice((-1, 1)) * rng.randint(50, JUMP_MS_MAX)
        last_ms = FAULTS_END_MS - max(by_ms, 0)
        at_ms = rng.randint(FAULTS_BEGIN_MS, last_ms - 100)
        jumps.append(ClockJump(node, at_ms, rng.randint(at_ms + 50, last_ms), by_ms))
    return jumps


def _wild_jump(rng: random.Random, node: int) -> ClockJump:
    by_ms = rng.choice((-1, 1)) * rng.randint(JUMP_MS_MAX, JUMP_BEYOND_MS_MAX)
    at_ms, until_ms = _window(rng, FAULTS_END_MS)
    return ClockJump(node, at_ms, until_ms, by_ms)


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
    _sent: dict[Pair, deque[tuple[int, PeerMessage]]] = field(default_factory=dict)
    """By direction: the last messages and when they arrive, where duplicates are planned."""

    def generation(self, one: int, other: int) -> int:
        """Grows with every break: what was sent under an earlier one is lost."""
        return self._generation.get(_pair(one, other), 0)

    def is_up(self, one: int, other: int) -> bool:
        return _pair(one, other) not in self._down

    def is_cut(self, sender: int, receiver: int, now_ms: int) -> bool:
        """Whether what is sent now is lost by a one-way cut."""
        since_ms = now_ms - self.start_ms
        for cut in self.plan.one_ways:
            if cut.at_ms <= since_ms < cut.until_ms and (sender, receiver) in cut.pairs:
                return True
        return False

    def carries(self, sender: int, receiver: int, now_ms: int) -> int | None:
        """The generation under which what is sent now goes; None where it is lost at once."""
        pair = _pair(sender, receiver)
        if pair in self._down or (self.plan.one_ways and self.is_cut(sender, receiver, now_ms)):
            return None
        return self._generation.get(pair, 0)

    def break_link(self, pair: Pair, now_ms: int) -> bool:
        """True where the link stood until now."""
        self._down[pair] = self._down.get(pair, 0) + 1
        if self._down[pair] > 1:
            return False
        self._generation[pair] = self._generation.get(pair, 0) + 1
        for direction in (pair, pair[::-1]):
            self._last_arrival_ms.pop(direction, None)
            if direction in self._sent:
                late = [one for one in self._sent[direction] if one[0] > now_ms - UNACKNOWLEDGED_MS]
                self._sent[direction] = deque(late, UNACKNOWLEDGED_MESSAGES_MAX)
        return True

    def restore(self, pair: Pair) -> bool:
        """True where the link stands again."""
        self._down[pair] -= 1
        if self._down[pair]:
            return False
        del self._down[pair]
        return True

    def forget_sent(self, sender: int) -> None:
        """The sender's process is gone, and what it would send again with it."""
        for direction in [one for one in self._sent if one[0] == sender]:
            del self._sent[direction]

    def unacknowledged(self, sender: int, receiver: int) -> list[PeerMessage]:
        """What the sender sends again over a link that has just been made."""
        return [message for _, message in self._sent.pop((sender, receiver), ())]

    def arrival_ms(self, sender: int, receiver: int, now_ms: int, message: PeerMessage) -> int:
        """When a message sent now arrives: in the order of its link, unless the plan reorders."""
        leaves_ms = now_ms
        for stall in self.plan.stalls:
            if stall.at_ms <= now_ms - self.start_ms < stall.until_ms and (sender, receiver) in stall.pairs:
                leaves_ms = max(leaves_ms, self.start_ms + stall.until_ms)
        arrival_ms = leaves_ms + self._delay_ms(sender, receiver) + self._retransmission_ms(now_ms)
        if not self.plan.reorder:
            arrival_ms = max(arrival_ms, self._last_arrival_ms.get((sender, receiver), 0))
            self._last_arrival_ms[sender, receiver] = arrival_ms
        if self.plan.duplicates:
            kept = self._sent.setdefault((sender, receiver), deque(maxlen=UNACKNOWLEDGED_MESSAGES_MAX))
            kept.append((arrival_ms, message))
        return arrival_ms

    def _retransmission_ms(self, now_ms: int) -> int:
        late_ms = 0
        if self.plan.loss_percent and now_ms - self.start_ms < FAULTS_END_MS:
            for turn in range(RETRANSMISSIONS_MAX):
                if self.rng.random() * 100 >= self.plan.loss_percent:
                    break
                late_ms += RETRANSMISSION_MS << turn
        return late_ms

    def _delay_ms(self, sender: int, receiver: int) -> int:
        base_ms = _draw(self.rng, *LAN_MS)
        if self.plan.regions:
            base_ms = one_way_ms(self.plan.regions[sender], self.plan.regions[receiver])
        return base_ms + (_draw(self.rng, 0, self.plan.jitter_ms) if self.plan.jitter_ms else 0)


def _draw(rng: random.Random, low: int, high: int) -> int:
    """``rng.randint(low, high)``, the same draw, without what that checks: a run takes some 100,000 of them."""
    width = high - low + 1
    bits = width.bit_length()
    drawn = rng.getrandbits(bits)
    while drawn >= width:
        drawn = rng.getrandbits(bits)
    return low + drawn


def _pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)
