"""A cluster under a fault plan: links that break and stall, clocks that are off, members that crash or lie."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import (
    Append,
    Broadcast,
    Effect,
    Event,
    FromPeer,
    KeepSecret,
    PeerDown,
    PeerUp,
    Persist,
    Send,
)
from mpc_sequencer.core.messages import PeerMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.sim.byzantine import BEHAVIOURS, KEY_BEHAVIOURS, Behaviour
from mpc_sequencer.sim.cluster import WRITTEN, Cluster
from mpc_sequencer.sim.deployment import START_MS, Deployment
from mpc_sequencer.sim.host import Host, PreparedSnapshot
from mpc_sequencer.sim.network import (
    FAULTS_BEGIN_MS,
    FAULTS_END_MS,
    NOTICE_MS_MAX,
    ClockJump,
    FaultPlan,
    LinkFault,
    Links,
    Pair,
)
from mpc_sequencer.sim.outages import SYNC_MS, Outage, SnapshotTime

RECORDED: Final = (Persist, KeepSecret)
"""Effects that an outage may strike between."""


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

    kinds: ClassVar[Mapping[str, type[Behaviour]]] = BEHAVIOURS | KEY_BEHAVIOURS
    """How members may lie, by name."""

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
        self._encoded: tuple[PeerMessage, int, bytes, FromPeer] | None = None
        self._dead: set[int] = set()
        self._armed: dict[int, Outage] = {}
        """Outages that wait for their host's next round, by place."""
        self._writes = [0] * deployment.committee.n
        """By member: secrets and records written so far."""
        for outage in plan.hosts.outages:
            if not outage.at_ms:
                self._armed[outage.node] = outage
        self._disk_rng = random.Random(f"{seed}/disks")
        super().__init__(deployment, seed=seed, skew_ms=plan.skew_ms, twinned=plan.twinned)
        for node, name in plan.behaviours:
            self._corrupt(node, name, seed)
        for fault in plan.breaks:
            self._schedule_break(fault)
        for cut in plan.one_ways:
            self.call(START_MS + cut.until_ms, partial(self._remake, cut.pairs))
        for jump in plan.jumps:
            self._schedule_jump(jump)
        for node, at_ms in plan.crashes:
            self.call(START_MS + at_ms, partial(self.stop, node))
        for outage in plan.hosts.outages:
            if outage.at_ms:
                self.call(START_MS + outage.at_ms, partial(self._begin_outage, outage))
            if not outage.write_number:  # else it ends when it has lasted as long
                self.call(START_MS + outage.until_ms, partial(self._end_outage, outage))
        for snapshot in plan.hosts.snapshots:
            self.call(START_MS + snapshot.at_ms, partial(self._snapshot, snapshot))

    @property
    def digest(self) -> bytes:
        """SHA-256 over everything sent so far, with times: equal digests mean equal runs."""
        return self._digest.digest()

    # --- members ------------------------------------------------------------------------------------------------
    def _corrupt(self, node: int, name: str, seed: int) -> None:
        """The member lies from now on."""
        core = self.hosts[node].core
        behaviour = self.kinds[name](node, core, self.deployment, random.Random(f"{seed}/{node}/{name}"))
        self.behaviours[node] = behaviour
        self._lie_through(node, core)
        for down_ms, up_ms in behaviour.restarts_ms(FAULTS_BEGIN_MS, FAULTS_END_MS):
            self._schedule_loss(node, down_ms, up_ms)

    def _lie_through(self, node: int, core: NodeCore) -> None:
        """The liar's hand is on this core of its member."""
        self.behaviours[node].core = core
        core.standing.heeds_own_words = False

    def _schedule_loss(self, node: int, down_ms: int, up_ms: int) -> None:
        """The liar's host goes down, and comes back with an empty disk."""
        self.call(START_MS + down_ms, partial(self.stop, node))
        self.call(START_MS + up_ms, partial(self._forget, node))

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
        else:
            self.hosts[place].wake_ms = None

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
            self._send_extra(node, receiver, message, behaviour.delay_ms())

    def _observe(self, node: int, effect: Effect) -> None:
        self._observer(node, effect)

    # --- hosts --------------------------------------------------------------------------------------------------
    def stop(self, node: int) -> None:
        """The host goes down: its links break with everything in flight, and what it had not taken in is gone."""
        if self.hosts[node].up:
            self._go_down(self.hosts[node], kill=False)
            self._break(self._pairs_of(node))

    def restart(self, node: int, *, damaged: bool = False) -> None:
        """The host comes up again with what its disk has; links to those that are up follow."""
        try:
            self._come_up(self.hosts[node], damaged)
        except Exception as error:
            raise CoreFailed(node, error) from error
        self._restore(self._pairs_of(node))

    def _go_down(self, host: Host, *, kill: bool) -> None:
        self._armed.pop(host.place, None)
        host.power_off(self._rng, kill=kill)
        self.links.forget_sent(host.place)

    def _begin_outage(self, outage: Outage) -> None:
        if outage.moment == "between":
            self._strike(self.hosts[outage.node], outage)
        else:
            self._armed[outage.node] = outage

    def _end_outage(self, outage: Outage) -> None:
        """Back where it went down. An outage that found no round to strike does not come any more, unless it takes the
        disk: then it comes now."""
        waited = self._armed.pop(outage.node, None) is not None
        if waited and outage.lost:
            self._strike(self.hosts[outage.node], outage)
        if not waited or outage.lost:
            damaged = outage.lost in ("journal", "disk")
            self.call(self.now_ms, partial(self.restart, outage.node, damaged=damaged))

    def _conclude(self, host: Host, effects: list[Effect]) -> None:
        outage = self._armed.get(host.place)
        written = self._writes[host.node]
        self._writes[host.node] = written + sum(isinstance(one, RECORDED) for one in effects)
        if outage is None or not outage.strikes(effects, written, self._writes[host.node] - written):
            super()._conclude(host, effects)
            return
        writes = _writes(effects)
        if outage.moment == "writing":
            appends: list[Effect] = [one for one in effects if isinstance(one, Append)]
            if outage.write_number:
                self._keep(host, appends + writes[: outage.write_number - written])
            else:
                writes = appends + writes
                self._keep(host, writes[: len(writes) * outage.part_percent // 100])
        else:
            self._keep(host, effects)
            self._sync(host)
            leaving = self._addressed(host, effects)
            self._carry_out(host.place, leaving[: len(leaving) * outage.part_percent // 100])
        self._strike(host, outage)

    def _addressed(self, host: Host, effects: Iterable[Effect]) -> list[Effect]:
        """What leaves, message by message: a broadcast may reach some and not others."""
        leaving: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Broadcast):
                leaving += [Send(peer, effect.message) for peer in range(len(self.cores)) if peer != host.node]
            elif not isinstance(effect, WRITTEN):
                leaving.append(effect)
        return leaving

    def _strike(self, host: Host, outage: Outage) -> None:
        """The host goes down; what has left is under way for a moment more."""
        self._go_down(host, kill=outage.cause != "power")
        if outage.lost == "vault":
            host.disk.vault.clear()
        elif outage.lost:
            host.disk.wipe(keep_log=outage.lost == "journal")
        until_ms = START_MS + outage.until_ms
        if outage.write_number:
            until_ms = self.now_ms + outage.until_ms - outage.at_ms
            self.call(until_ms, partial(self._end_outage, outage))
        linger_ms = min(outage.linger_ms, until_ms - 1 - self.now_ms)
        self.call(self.now_ms + max(0, linger_ms), partial(self._break, self._pairs_of(host.place)))

    def _snapshot(self, planned: SnapshotTime) -> None:
        """Prepared between two rounds; written unless the host goes down before."""
        host = self.hosts[planned.node]
        if host.up and not host.busy:
            prepared = host.disk.prepare_snapshot(host.core)
            written = partial(self._snapshot_written, host, host.boots, prepared)
            self.call(self.now_ms + planned.write_ms, written)

    def _snapshot_written(self, host: Host, boots: int, prepared: PreparedSnapshot) -> None:
        if host.up and host.boots == boots:
            host.disk.finish_snapshot(prepared)

    def _sync_ms(self, host: Host) -> int:
        since_ms = self.now_ms - START_MS
        disks = self.plan.hosts.slow_disks
        slow = any(one.node == host.place and one.at_ms <= since_ms < one.until_ms for one in disks)
        return self._disk_rng.randint(*SYNC_MS) if slow else 0

    def _forget(self, node: int) -> None:
        """The host comes up with an empty disk and a core that knows nothing."""
        host = self.hosts[node] = Host(node, node, self._fresh_core(node), self.hosts[node].clock)
        self._lie_through(node, host.core)
        self._begin_life(host)

    def _fresh_core(self, node: int) -> NodeCore:
        """A core in the first epoch that remembers nothing."""
        return self._new_core(node)

    def _begin_life(self, host: Host) -> None:
        """A host's first round; links to those that are up follow."""
        self._conclude(host, host.start(self.now_ms))
        self._alarm(host, self.now_ms)
        self._restore(self._pairs_of(host.place))

    def _pairs_of(self, place: int) -> tuple[Pair, ...]:
        return tuple((min(place, peer), max(place, peer)) for peer in range(len(self.hosts)) if peer != place)

    # --- links --------------------------------------------------------------------------------------------------
    def _schedule_break(self, fault: LinkFault) -> None:
        self.call(START_MS + fault.at_ms, partial(self._break, fault.pairs))
        self.call(START_MS + fault.until_ms, partial(self._restore, fault.pairs))

    def _schedule_jump(self, jump: ClockJump) -> None:
        clock = self.hosts[jump.node].clock
        self.call(START_MS + jump.at_ms, partial(clock.step, jump.by_ms))
        self.call(START_MS + jump.until_ms, partial(clock.step, -jump.by_ms))

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

    def _send_extra(self, place: int, number: int, message: PeerMessage, extra_ms: int) -> None:
        """What a liar adds to its own messages."""
        self._put(place, number, message, extra_ms)

    def _put(self, sender: int, receiver: int, message: PeerMessage, extra_ms: int) -> None:
        self.messages += 1
        frame, arrived = self._across(sender, message)
        self._digest.update(b"%d %d %d %d " % (self.now_ms, sender, receiver, len(frame)) + frame)
        generation = self.links.carries(sender, receiver, self.now_ms)
        if generation is None:
            if self._trace is not None:
                self._trace(Sent(sender, receiver, self.now_ms, None, message))
            return
        arrival_ms = self.links.arrival_ms(sender, receiver, self.now_ms + extra_ms, message)
        if self._trace is not None:
            self._trace(Sent(sender, receiver, self.now_ms, arrival_ms, message))
        self.call(arrival_ms, partial(self._arrive, sender, receiver, generation, arrived))

    def _arrive(self, sender: int, receiver: int, generation: int, arrived: FromPeer) -> None:
        if self.links.generation(sender, receiver) == generation:
            self._hand(receiver, arrived)

    def _across(self, sender: int, message: PeerMessage) -> tuple[bytes, FromPeer]:
        """The message's frame and what its receivers get of it, by the strict decoder; a broadcast is encoded once."""
        held = self._encoded
        if held is None or held[0] is not message or held[1] != sender:
            frame = encode(message)
            held = (message, sender, frame, FromPeer(self.hosts[sender].node, decode(PeerMessage, frame)))
            self._encoded = held
        return held[2:]


def _writes(effects: Iterable[Effect]) -> list[Effect]:
    """The secrets and records that a round writes, secrets first."""
    listed = list(effects)
    secrets: list[Effect] = [one for one in listed if isinstance(one, KeepSecret)]
    return secrets + [one for one in listed if isinstance(one, Persist)]
