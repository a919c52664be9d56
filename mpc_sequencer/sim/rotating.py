"""The cluster of a run in which the committee is replaced: people join, go over one by one, and change numbers.

People have places for good: members of the first epoch the first ones, joiners those after them. What is a
:class:`~mpc_sequencer.sim.simulation.Simulation` with one epoch is one with several here: links carry what
:mod:`mpc_sequencer.sim.epochs` lets pass, and a liar's hand goes over with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from mpc_sequencer.core.effects import Append, Broadcast, Effect, PeerDown, Persist, Send
from mpc_sequencer.core.messages import PeerMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.sim.byzantine import BEHAVIOURS, KEY_BEHAVIOURS, ROTATION_BEHAVIOURS
from mpc_sequencer.sim.deployment import START_MS, Deployment
from mpc_sequencer.sim.epochs import STRANGER, Crossing, arrival, hears, meeting, number_of, passes, place_of
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.network import Pair
from mpc_sequencer.sim.outages import Outage
from mpc_sequencer.sim.rotations import EPOCH_AWAITED, RotationPlan
from mpc_sequencer.sim.simulation import Sent, Simulation


class RotatingSimulation(Simulation):
    """See the module's text. ``begun(host)`` is called when a host's member has begun an epoch."""

    kinds = BEHAVIOURS | KEY_BEHAVIOURS | ROTATION_BEHAVIOURS

    def __init__(
        self,
        deployment: Deployment,
        plan: RotationPlan,
        *,
        seed: int,
        observe: Callable[[int, Effect], None],
        trace: Callable[[Sent], None] | None = None,
        begun: Callable[[Host], None] = lambda host: None,
    ) -> None:
        self._begun = begun
        members = deployment.committee.n
        liars = plan.faults.behaviours
        waiting = tuple(one for one in plan.faults.hosts.outages if one.awaits == EPOCH_AWAITED)
        others = tuple(one for one in plan.faults.hosts.outages if one.awaits != EPOCH_AWAITED)
        jumps = tuple(one for one in plan.faults.jumps if one.node < members)
        first = replace(plan.faults, behaviours=(), jumps=jumps, hosts=replace(plan.faults.hosts, outages=others))
        super().__init__(deployment, first, seed=seed, observe=observe, trace=trace)
        self.plan = self.links.plan = plan.faults
        self.epochs = True
        self._writes += [0] * plan.joiners
        for person in range(members, members + plan.joiners):
            host = Host(person, person, self._fresh_core(person), up=False)
            host.clock.skew_ms = plan.faults.skew_ms[person]
            self.hosts.append(host)
        for jump in plan.faults.jumps:
            if jump.node >= members:
                self._schedule_jump(jump)
        for person, at_ms in plan.joins:
            self._break(self._pairs_of(person))
            self.call(START_MS + at_ms, partial(self._begin_to_follow, person))
        self._at_cutover: dict[int, Outage] = {}
        """Outages that wait for their host's member to begin an epoch, by place."""
        for outage in waiting:
            self.call(START_MS + outage.at_ms, partial(self._await_cutover, outage))
        for person, name in liars:
            self._corrupt(person, name, seed)

    def _lie_through(self, node: int, core: NodeCore) -> None:
        self.behaviours[node].rebind(core)
        super()._lie_through(node, core)

    def _schedule_loss(self, node: int, down_ms: int, up_ms: int) -> None:
        self.call(START_MS + down_ms, partial(self._lose, node, up_ms - down_ms))

    # --- people -------------------------------------------------------------------------------------------------
    def _fresh_core(self, node: int) -> NodeCore:
        committee = self.deployment.committee
        if node < committee.n:
            return super()._fresh_core(node)
        return self.deployment.core(node, committee, self._rng.randbytes(32))

    def _begin_to_follow(self, person: int) -> None:
        host = self.hosts[person]
        host.up = True
        self._begin_life(host)
        self._call_on(host, frozenset())

    def _lose(self, person: int, down_ms: int) -> None:
        """Goes down and comes back with an empty disk, unless it does not follow yet."""
        if self.hosts[person].up:
            self.stop(person)
            self.call(self.now_ms + down_ms, partial(self._forget, person))

    def restart(self, node: int, *, damaged: bool = False) -> None:
        """Two outages of one host may overlap where one of them waited for an epoch: it comes up once."""
        if self.hosts[node].up:
            self._restore(self._pairs_of(node))
        else:
            super().restart(node, damaged=damaged)

    def wish(self, target: NextCommittee) -> None:
        """All operators want ``target`` to follow, where it is not their committee."""
        self.approve(target, [host.place for host in self.hosts if host.core.node < host.core.committee.n])

    def _await_cutover(self, outage: Outage) -> None:
        self._at_cutover.setdefault(outage.node, outage)

    # --- epochs -------------------------------------------------------------------------------------------------
    def _go_over(self, host: Host) -> None:
        behaviour = self.behaviours.get(host.place)
        if behaviour is not None and not behaviour.goes_over():
            return
        outage = self._at_cutover.pop(host.place, None)
        if outage is None:
            super()._go_over(host)
            return
        if outage.part_percent:  # its snapshot is written, and nothing of the new epoch leaves
            host.succeed(self._epoch_core, self.now_ms)
            self.began(host)
        struck = replace(outage, until_ms=self.now_ms - START_MS + outage.until_ms - outage.at_ms)
        self._strike(host, struck)
        self.call(START_MS + struck.until_ms, partial(self._end_outage, struck))

    def began(self, host: Host) -> None:
        self.links.forget_sent(host.place)
        if host.place in self.behaviours:
            self._lie_through(host.place, host.core)
        self._begun(host)

    # --- links --------------------------------------------------------------------------------------------------
    def _link(self, host: Host, other: Host) -> None:
        if self.links.is_up(host.place, other.place):
            super()._link(host, other)

    def _notice(self, place: int, peer: int, generation: int) -> None:
        if not self.links.is_up(place, peer) and self.links.generation(place, peer) == generation:
            self._hand_down(place, peer)

    def _hand_down(self, place: int, peer: int) -> None:
        number = number_of(self.hosts[peer], self.hosts[place])
        if number < STRANGER:
            self._hand(place, PeerDown(number))

    def _restore(self, pairs: tuple[Pair, ...]) -> None:
        for pair in pairs:
            if not self.links.restore(pair):
                continue
            one, other = (self.hosts[place] for place in pair)
            for (place, peer), event in zip((pair, pair[::-1]), meeting(one, other), strict=True):
                self._hand_down(place, peer)
                if event is not None:
                    self._hand(place, event)
                for message in self.links.unacknowledged(place, peer):
                    self._put(place, peer, message, 0)

    def _addressed(self, host: Host, effects: Iterable[Effect]) -> list[Effect]:
        leaving: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Broadcast):
                heard = [number_of(self.hosts[place], host) for place in hears(self.hosts, host)]
                leaving += [Send(number, effect.message) for number in heard]
            elif not isinstance(effect, Append | Persist):
                leaving.append(effect)
        return leaving

    def _transmit(self, sender: int, receiver: int, message: PeerMessage) -> None:
        if sender == receiver:
            return
        behaviour = self.behaviours.get(sender)
        if behaviour is None:
            self._put(sender, receiver, message, 0)
            return
        for one in behaviour.outgoing(number_of(self.hosts[receiver], self.hosts[sender]), message):
            self._put(sender, receiver, one, behaviour.delay_ms())

    def _put(self, sender: int, receiver: int, message: PeerMessage, extra_ms: int) -> None:
        if passes(self.hosts[sender], self.hosts[receiver], message):
            super()._put(sender, receiver, message, extra_ms)

    def _send_extra(self, place: int, number: int, message: PeerMessage, extra_ms: int) -> None:
        """What a liar adds, to whom it knows by that number."""
        for receiver in place_of(self.hosts, number, self.hosts[place]):
            if receiver != place:
                self._put(place, receiver, message, extra_ms)

    def _across(self, sender: int, message: PeerMessage) -> tuple[bytes, Any]:
        frame, arrived = super()._across(sender, message)
        return frame, Crossing(sender, self.hosts[sender].epoch, arrived.message)

    def _arrive(self, sender: int, receiver: int, generation: int, message: Any) -> None:
        if self.links.generation(sender, receiver) != generation:
            return
        host = self.hosts[receiver]
        event = arrival(message, self.hosts, host) if host.up else None
        if event is not None:
            self._hand(receiver, event)
