"""A cluster under a fault plan: links that break and stall, clocks that are off, members that crash or lie."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import Effect, Event, FromPeer, PeerDown, PeerUp
from mpc_sequencer.core.messages import PeerMessage
from mpc_sequencer.sim.byzantine import BEHAVIOURS, Behaviour
from mpc_sequencer.sim.cluster import Cluster
from mpc_sequencer.sim.deployment import START_MS, Deployment
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.network import FAULTS_BEGIN_MS, FAULTS_END_MS, NOTICE_MS_MAX, FaultPlan, LinkFault, Links, Pair


@dataclass(frozen=True, slots=True)
class Sent:
    """One message on the wire. ``arrival_ms`` is None where the link was down; one in flight at a break is lost too."""

    sender: int
    receiver: int
    sent_ms: int
    arrival_ms: int | None
    message: PeerMessage


class CoreFailed(Exception):
    """An honest member's core raised: nothing peers and clients send may do that."""

    def __init__(self, node: int, error: Exception) -> None:
        super().__init__(f"member {node}: {type(error).__name__}: {error}")
        self.node = node


class Simulation(Cluster):
    """The cluster of a run. ``observe(node, effect)`` sees every effect of every member before it is carried out;
    ``trace(sent)`` every message."""

    def __init__(
        self,
        deployment: Deployment,
        plan: FaultPlan,
        *,
        seed: int,
        observe: Callable[[int, Effect], None],
        trace: Callable[[Sent], None] | None = None,
    ) -> None:
        self.plan = plan
        self.links = Links(plan, START_MS, random.Random(f"{seed}/links"))
        self.behaviours: dict[int, Behaviour] = {}
        self._observer = observe
        self._trace = trace
        self._digest = hashlib.sha256()
        self._encoded: tuple[PeerMessage, bytes, PeerMessage] | None = None
        self._dead: set[int] = set()
        super().__init__(deployment, seed=seed, skew_ms=plan.skew_ms, twinned=plan.twinned)
        for node, name in plan.behaviours:
            rng = random.Random(f"{seed}/{node}/{name}")
            self.behaviours[node] = BEHAVIOURS[name](node, self.cores[node], deployment, rng)
            self.cores[node].standing.heeds_own_words = False
            for down_ms, up_ms in self.behaviours[node].restarts_ms(FAULTS_BEGIN_MS, FAULTS_END_MS):
                self.call(START_MS + down_ms, partial(self.stop, node))
                self.call(START_MS + up_ms, partial(self._forget, node))
        for fault in plan.breaks:
            self._schedule_break(fault)
        for cut in plan.one_ways:
            self.call(START_MS + cut.until_ms, partial(self._remake, cut.pairs))
        for jump in plan.jumps:
            clock = self.hosts[jump.node].clock
            self.call(START_MS + jump.at_ms, partial(clock.step, jump.by_ms))
            self.call(START_MS + jump.until_ms, partial(clock.step, -jump.by_ms))
        for node, at_ms in plan.crashes:
            self.call(START_MS + at_ms, partial(self.stop, node))

    @property
    def digest(self) -> bytes:
        """SHA-256 over everything sent so far, with times: equal digests mean equal runs."""
        return self._digest.digest()

    # --- members ------------------------------------------------------------------------------------------------
    def _turn(self, place: int, events: Sequence[Event]) -> None:
        behaviour = self.behaviours.get(place)
        if behaviour is None:
            try:
                super()._turn(place, events)
            except Exception as error:
                raise CoreFailed(self.hosts[place].node, error) from error
            return
        if place not in self._dead:
            self._byzantine_turn(place, behaviour, events)

    def _byzantine_turn(self, node: int, behaviour: Behaviour, events: Sequence[Event]) -> None:
        """A lying member may break its own core; it then falls silent."""
        let_in: list[Event] = []
        extra: list[tuple[int, PeerMessage]] = []
        try:
            for event in events or (None,):
                behaviour.before_turn()
                bent = None if event is None else behaviour.incoming(event)
                if bent is not None:
                    let_in.append(bent)
                extra += behaviour.extra(self.clock_ms(node))
            super()._turn(node, let_in)
        except (AssertionError, LookupError, ValueError) as error:
            self._dead.add(node)
            self._digest.update(repr((node, type(error).__name__)).encode())
            return
        for receiver, message in extra:
            self._put(node, receiver, message, behaviour.delay_ms())

    def _observe(self, node: int, effect: Effect) -> None:
        self._observer(node, effect)

    def stop(self, node: int) -> None:
        """The host goes down: its links break with everything in flight, and what it had not taken in is gone."""
        host = self.hosts[node]
        host.up = False
        host.inbox.clear()
        self._break(self._pairs_of(node))

    def _forget(self, node: int) -> None:
        """The host comes up with an empty disk and a core that knows nothing."""
        host = self.hosts[node] = Host(node, node, self._new_core(node), self.hosts[node].clock)
        self.behaviours[node].core = host.core
        host.core.standing.heeds_own_words = False
        self._carry_out(node, host.start(self.now_ms))
        self._alarm(host, self.now_ms)
        self._restore(self._pairs_of(node))

    def _pairs_of(self, place: int) -> tuple[Pair, ...]:
        return tuple((min(place, peer), max(place, peer)) for peer in range(len(self.hosts)) if peer != place)

    # --- links --------------------------------------------------------------------------------------------------
    def _schedule_break(self, fault: LinkFault) -> None:
        self.call(START_MS + fault.at_ms, partial(self._break, fault.pairs))
        self.call(START_MS + fault.until_ms, partial(self._restore, fault.pairs))

    def split(self, broken: Iterable[Pair], restored: Iterable[Pair]) -> None:
        """Break links between places, and restore others, now."""
        self._break(tuple(sorted(broken)))
        self._restore(tuple(sorted(restored)))

    def _notice_ms(self) -> int:
        return self._rng.randint(0, NOTICE_MS_MAX)

    def _break(self, pairs: tuple[Pair, ...]) -> None:
        for pair in pairs:
            if self.links.break_link(pair, self.now_ms):
                generation = self.links.generation(*pair)
                for place, peer in (pair, pair[::-1]):
                    self.call(self.now_ms + self._notice_ms(), partial(self._notice, place, peer, generation))

    def _notice(self, place: int, peer: int, generation: int) -> None:
        """An end of a broken link sees it, unless the link stands again (it has then been told)."""
        if not self.links.is_up(place, peer) and self.links.generation(place, peer) == generation:
            self._hand(place, PeerDown(self.hosts[peer].node))

    def _remake(self, pairs: tuple[Pair, ...]) -> None:
        """The ends of links that were cut one way give them up and make new ones at once."""
        both = tuple(sorted({(min(pair), max(pair)) for pair in pairs}))
        self._break(both)
        self._restore(both)

    def _restore(self, pairs: tuple[Pair, ...]) -> None:
        for pair in pairs:
            if self.links.restore(pair):
                for place, peer in (pair, pair[::-1]):
                    self._hand(place, PeerDown(self.hosts[peer].node))
                    self._hand(place, PeerUp(self.hosts[peer].node))
                    for message in self.links.unacknowledged(place, peer):
                        self._put(place, peer, message, 0)

    def _transmit(self, sender: int, receiver: int, message: PeerMessage) -> None:
        if sender == receiver:
            return
        behaviour = self.behaviours.get(sender)
        if behaviour is None:
            self._put(sender, receiver, message, 0)
            return
        for one in behaviour.outgoing(receiver, message):
            self._put(sender, receiver, one, behaviour.delay_ms())

    def _put(self, sender: int, receiver: int, message: PeerMessage, extra_ms: int) -> None:
        self.messages += 1
        frame, arrived = self._across(message)
        self._digest.update(b"%d %d %d %d " % (self.now_ms, sender, receiver, len(frame)) + frame)
        if not self.links.is_up(sender, receiver) or self.links.is_cut(sender, receiver, self.now_ms):
            if self._trace is not None:
                self._trace(Sent(sender, receiver, self.now_ms, None, message))
            return
        generation = self.links.generation(sender, receiver)
        arrival_ms = self.links.arrival_ms(sender, receiver, self.now_ms + extra_ms, message)
        if self._trace is not None:
            self._trace(Sent(sender, receiver, self.now_ms, arrival_ms, message))
        self.call(arrival_ms, partial(self._arrive, sender, receiver, generation, arrived))

    def _arrive(self, sender: int, receiver: int, generation: int, message: PeerMessage) -> None:
        if self.links.generation(sender, receiver) == generation:
            self._hand(receiver, FromPeer(self.hosts[sender].node, message))

    def _across(self, message: PeerMessage) -> tuple[bytes, PeerMessage]:
        """The message's frame and what the strict decoder makes of it; a broadcast is encoded once."""
        if self._encoded is None or self._encoded[0] is not message:
            frame = encode(message)
            self._encoded = (message, frame, decode(PeerMessage, frame))
        return self._encoded[1:]
