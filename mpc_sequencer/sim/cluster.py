"""Cores joined by a simulated network on virtual time.

Every run is a function of its seed: delays come from a seeded generator, events of one instant keep their order of
making, and the cores themselves are deterministic. What reaches a member within one millisecond it takes in one
round, as the runner does. A message to or from a stopped member is lost; what else may befall one on its way is
:mod:`mpc_sequencer.sim.wire`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.cutover import starts_of
from mpc_sequencer.core.effects import (
    Append,
    Approve,
    Broadcast,
    ClientGone,
    Effect,
    Event,
    Evidence,
    Fault,
    FromClient,
    FromPeer,
    PeerDown,
    PeerUp,
    Persist,
    Recall,
    Record,
    Reply,
    Send,
    ServeLog,
    Settle,
)
from mpc_sequencer.core.messages import ClientReply, ClientRequest, PeerMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.rotation import follow_all
from mpc_sequencer.core.transcript import LogEntry
from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.sim.agenda import Agenda
from mpc_sequencer.sim.deployment import NOTHING, START_MS, Deployment
from mpc_sequencer.sim.epochs import STRANGER, Crossing, arrival, hears, meeting, number_of, passes, place_of
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.wire import Network

DIAL_MS: Final = 500
"""How often who follows the log without a place calls on members that do not know it."""
WRITTEN: Final = (Append, Persist)
"""Effects that a host writes and does not send."""


class Cluster:
    """All members of a deployment, their hosts, faults, replies and settlements. ``skew_ms`` is by member: how far its
    clock is ahead of virtual time. Members in ``twinned`` run twice, under one identity.

    Hosts have places: a member's number is the place of its first host, second hosts follow in the order of
    ``twinned``. Events are scheduled by place; cores know members only.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        seed: int = 0,
        network: Network | None = None,
        skew_ms: Sequence[int] = (),
        twinned: Sequence[int] = (),
    ) -> None:
        self.deployment = deployment
        self.network = network or Network()
        self.now_ms = START_MS
        self._rng = random.Random(seed)
        self._agenda: Agenda[tuple[int, Event | Crossing | Callable[[], None] | None]] = Agenda()
        """What happens, each with its place."""
        self.faults: list[tuple[int, Fault]] = []
        self.evidence: list[tuple[int, Evidence]] = []
        self.replies: dict[int, list[tuple[int, ClientReply]]] = {}
        self.settlements: list[tuple[int, Settle]] = []
        self.messages = 0
        members = (*range(deployment.committee.n), *twinned)
        self.hosts = [Host(place, node, self._new_core(node)) for place, node in enumerate(members)]
        self.epochs = False
        """Whether hosts may be in different epochs, or follow without a place: links are looked at more closely."""
        for host in self.hosts:
            host.core.standing.heeds_own_words = host.node not in twinned
        for host, ahead_ms in zip(self.hosts, skew_ms, strict=False):
            host.clock.skew_ms = ahead_ms
        for host in self.hosts:
            self._conclude(host, host.start(self.now_ms))
            for peer in range(deployment.committee.n):
                if peer != host.node:
                    self.at(self.now_ms, host.place, PeerUp(peer))

    def _new_core(self, node: int, vault: Mapping[str, bytes] = NOTHING) -> NodeCore:
        """A core of member ``node`` in the first epoch that remembers nothing but what its vault holds."""
        return self.deployment.first_core(node, self._rng.randbytes(32), vault)

    def _epoch_core(self, host: Host, committee: Committee) -> NodeCore:
        """A core of the host's member, or of who follows, for the committee of any epoch."""
        return self.deployment.core(host.node, committee, self._rng.randbytes(32), host.disk.vault)

    def join(self, joiner: int) -> Host:
        """A person of the deployment who is no member begins to follow the log; its host."""
        self.epochs = True
        committee = self.deployment.committee
        person = committee.n + joiner
        core = self.deployment.core(person, committee, self._rng.randbytes(32))
        host = Host(len(self.hosts), person, core)
        self.hosts.append(host)
        self._conclude(host, host.start(self.now_ms))
        self._call_on(host, frozenset())
        return host

    def _call_on(self, host: Host, known: frozenset[int]) -> None:
        """Who follows dials every member again and again: one that does not know it yet takes no link from it."""
        knows = {other.place for other in self.hosts if other.node != host.node and number_of(host, other) < STRANGER}
        for other in self.hosts:
            if host.up and other.up and other.place in knows - known:
                self._link(host, other)
        if host.core.node >= host.core.committee.n:
            self.call(self.now_ms + DIAL_MS, partial(self._call_on, host, frozenset(knows)))

    def approve(self, target: NextCommittee, nodes: Sequence[int]) -> None:
        """The operators of these members want ``target`` to follow."""
        self.epochs = True
        for node in nodes:
            self.at(self.now_ms, node, Approve(target))

    # --- members ------------------------------------------------------------------------------------------------
    @property
    def cores(self) -> list[NodeCore]:
        """By member; of a twinned one the first."""
        return [host.core for host in self.hosts[: self.deployment.committee.n]]

    @property
    def logs(self) -> list[list[LogEntry]]:
        """The audit logs, by member."""
        return [host.disk.log for host in self.hosts[: self.deployment.committee.n]]

    @property
    def records(self) -> list[list[Record]]:
        """The journals, by member."""
        return [host.disk.records for host in self.hosts[: self.deployment.committee.n]]

    @property
    def stopped(self) -> set[int]:
        """Members whose host is down."""
        return {host.node for host in self.hosts if not host.up}

    def places(self, node: int) -> list[int]:
        """Where a member runs."""
        return [host.place for host in self.hosts if host.node == node]

    def clock_ms(self, node: int) -> int:
        """What a member's clock shows now."""
        return self.hosts[node].clock.read_ms(self.now_ms)

    # --- input --------------------------------------------------------------------------------------------------
    def at(self, time_ms: int, place: int, event: Event | Crossing | None) -> None:
        """Hand ``event`` to a host at a virtual time (None only sees whether it is due)."""
        self._agenda.add(time_ms, (place, event))

    def call(self, time_ms: int, action: Callable[[], None]) -> None:
        """Do ``action`` at a virtual time: what happens to the network or to hosts."""
        self._agenda.add(time_ms, (0, action))

    def request(self, node: int, request: ClientRequest, client: int = 1) -> None:
        """A client's request, now."""
        for place in self.places(node):
            self.at(self.now_ms, place, FromClient(client, decode(ClientRequest, encode(request))))

    def leave(self, node: int, client: int = 1) -> None:
        self.at(self.now_ms, node, ClientGone(client))

    def stop(self, node: int) -> None:
        """The member's machine loses power; the others see their links to it fall."""
        self.hosts[node].power_off(self._rng)
        for peer in range(len(self.hosts)):
            if peer != node:
                self.at(self.now_ms, peer, PeerDown(node))

    def restart(self, node: int, *, damaged: bool = False) -> None:
        """A stopped member's machine comes up again; links to all members that are up follow."""
        host = self.hosts[node]
        self._come_up(host, damaged)
        if self.epochs:
            self._meet(host)
            return
        for other in self.hosts:
            if other.node != node and other.up:
                self.at(self.now_ms, node, PeerUp(other.node))
                self.at(self.now_ms, other.place, PeerUp(node))

    # --- running ------------------------------------------------------------------------------------------------
    def run(self, duration_ms: int, until: Callable[[Cluster], bool] | None = None) -> bool:
        """Advance virtual time by up to ``duration_ms``; True once ``until`` holds."""
        end_ms = self.now_ms + duration_ms
        while (due := self._agenda.take(end_ms)) is not None:
            time_ms, (place, what) = due
            self.now_ms = max(self.now_ms, time_ms)
            if what is None:
                if not self._round(self.hosts[place]):
                    continue
            elif callable(what):
                what()
            else:
                self._hand(place, what)
                continue
            if until is not None and until(self):
                return True
        self.now_ms = end_ms
        return until is not None and until(self)

    def _meet(self, host: Host) -> None:
        """Links of a host that has come up, or begun an epoch, to all that are up."""
        for other in self.hosts:
            if other.node != host.node and other.up:
                self._link(host, other)

    def _link(self, host: Host, other: Host) -> None:
        """Both ends of a new link see who is there, by what each of them is when it sees it."""
        for one, them in ((host, other), (other, host)):
            self.call(self.now_ms, partial(self._see, one, them))

    def _see(self, host: Host, other: Host) -> None:
        event = meeting(host, other)[0] if other.up else None
        if event is not None:
            self._hand(host.place, event)

    def _hand(self, place: int, event: Event | Crossing) -> None:
        """Put an event into a host's inbox; its round takes all that arrives at this instant."""
        host = self.hosts[place]
        if isinstance(event, Crossing):
            arrived = arrival(event, self.hosts, host) if host.up else None
            if arrived is None:
                return
            event = arrived
        if host.up:
            host.inbox.append(event)
            self._alarm(host, self.now_ms)

    def _alarm(self, host: Host, time_ms: int) -> None:
        """Have a round of the host at ``time_ms`` at the latest."""
        if host.alarm_ms is None or time_ms < host.alarm_ms:
            host.alarm_ms = time_ms
            self.at(time_ms, host.place, None)

    def _round(self, host: Host) -> bool:
        """The host's round, where one is due now; False for an alarm that another one overtook, or while it syncs."""
        if host.alarm_ms != self.now_ms:
            return False
        host.alarm_ms = None
        if not host.up or host.busy:
            return False
        if host.inbox or host.wake_ms is None or host.wake_ms <= self.now_ms:
            events, host.inbox = host.inbox, []
            self._turn(host.place, events)
        if host.wake_ms is not None and not host.busy:
            self._alarm(host, host.wake_ms)
        return True

    def _turn(self, place: int, events: Sequence[Event]) -> None:
        host = self.hosts[place]
        self._conclude(host, host.turn(events, self.now_ms))
        if host.core.over and host.up and not host.busy:
            self._go_over(host)

    def _go_over(self, host: Host) -> None:
        """The host's member begins its next epoch."""
        effects = host.succeed(self._epoch_core, self.now_ms)
        self.began(host)
        self._conclude(host, effects)
        self._meet(host)
        self._alarm(host, self.now_ms)

    def began(self, host: Host) -> None:
        """For runs that watch: a host's member is in its next epoch."""

    def _come_up(self, host: Host, damaged: bool) -> None:
        """The first round of a host's new life; to open the journal makes it durable."""
        self._sync(host)
        damaged = damaged or host.disk.damaged
        starts = starts_of(host.disk.snapshot) if host.disk.snapshot is not None and not damaged else ()
        if starts or host.node >= self.deployment.committee.n:
            core = self._epoch_core(host, follow_all(self.deployment.committee, starts))
        else:
            core = self._new_core(host.node, host.disk.vault)
        effects = host.power_on(core, self._epoch_core, self.now_ms, damaged=damaged)
        self._conclude(host, effects)
        self._alarm(host, self.now_ms)

    # --- persist, then send -------------------------------------------------------------------------------------
    def _conclude(self, host: Host, effects: list[Effect]) -> None:
        """Keep what a round brought forth; send when it is durable."""
        if not self._keep(host, effects):
            host.disk.conclude()
            self._carry_out(host.place, effects)
            return
        sync_ms = self._sync_ms(host)
        if sync_ms:
            host.busy = True
            self.call(self.now_ms + sync_ms, partial(self._synced, host, host.boots, effects))
        else:
            self._sync(host)
            self._carry_out(host.place, effects)

    def _synced(self, host: Host, boots: int, effects: list[Effect]) -> None:
        """A slow sync has ended, unless the host went down meanwhile."""
        if not host.busy or host.boots != boots:
            return
        host.busy = False
        self._sync(host)
        self._carry_out(host.place, effects)
        self._alarm(host, self.now_ms)

    def _sync_ms(self, host: Host) -> int:
        """How long a sync of the host's journal takes now."""
        return 0

    def _keep(self, host: Host, effects: Sequence[Effect]) -> bool:
        """Write; whether it must be synced."""
        disk = host.disk
        logged = len(disk.log)
        must_sync = disk.keep(effects, self.now_ms)
        if len(disk.log) > logged:
            for entry in disk.log[logged:]:
                self._observe(host.node, Append(entry))
        return must_sync

    def _sync(self, host: Host) -> None:
        synced = host.disk.synced
        host.disk.sync()
        host.disk.conclude()
        for record in host.disk.records[synced : host.disk.synced]:
            self._observe(host.node, Persist(record))

    def _observe(self, node: int, effect: Effect) -> None:
        """For checkers: called with log entries as they are written, with journal records as they become durable, and
        with everything else before it is carried out."""

    def _carry_out(self, place: int, effects: list[Effect]) -> None:
        """Send what a turn brought forth; the host has kept what is to be kept."""
        node = self.hosts[place].node
        self.hosts[place].disk.erase(effects)
        for effect in effects:
            if isinstance(effect, WRITTEN):
                continue
            self._observe(node, effect)
            if isinstance(effect, Broadcast):
                for receiver in self._hearers(place):
                    self._transmit(place, receiver, effect.message)
                continue
            match effect:
                case Send(peer, message):
                    for receiver in self._known_places(place, peer):
                        self._transmit(place, receiver, message)
                case ServeLog(peer, asked):
                    for receiver in self._known_places(place, peer):
                        self._transmit(place, receiver, self.hosts[place].disk.serve(asked))
                case Reply(client, reply):
                    self.replies.setdefault(client, []).append((node, decode(ClientReply, encode(reply))))
                case Recall(client, otherwise):
                    self.replies.setdefault(client, []).append((node, self.hosts[place].disk.recall(otherwise)))
                case Settle():
                    self.settlements.append((node, effect))
                case Evidence():
                    self.evidence.append((node, effect))
                case Fault():
                    self.faults.append((node, effect))

    def _hearers(self, place: int) -> list[int]:
        """The places that a broadcast of the host there goes to."""
        sender = self.hosts[place]
        if self.epochs:
            return hears(self.hosts, sender)
        return [host.place for host in self.hosts if host.node != sender.node]

    def _known_places(self, place: int, peer: int) -> list[int]:
        """Where the peer runs that the member at ``place`` calls by that number."""
        return place_of(self.hosts, peer, self.hosts[place]) if self.epochs else self.places(peer)

    def _transmit(self, sender: int, receiver: int, message: PeerMessage) -> None:
        self.messages += 1
        if receiver == sender:
            return
        if self.epochs and not passes(self.hosts[sender], self.hosts[receiver], message):
            return
        carried = self.network.carry(self._rng, sender, receiver, message)
        if carried is None:
            return
        delay_ms, arrived = carried
        event = Crossing(sender, self.hosts[sender].epoch, arrived) if self.epochs else FromPeer(sender, arrived)
        self.at(self.now_ms + delay_ms, receiver, event)
