"""Cores joined by a simulated network on virtual time.

Every run is a function of its seed: delays come from a seeded generator, events of one instant keep their order of
making, and the cores themselves are deterministic. Messages between two members may overtake each other as far as
their delays allow; a message to or from a stopped member is lost, as is one whose (sender, receiver) pair is cut.

Messages cross the network in their canonical encoding and are decoded strictly, so the codec is under test as well.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import (
    Append,
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
    Reply,
    Send,
    Settle,
)
from mpc_sequencer.core.messages import ClientReply, ClientRequest, PeerMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.transcript import LogEntry
from mpc_sequencer.sim.deployment import START_MS, Deployment


@dataclass(slots=True)
class Network:
    """Delays and cuts. ``delay_ms(rng, sender, receiver)`` gives one message's delay."""

    delay_ms: Callable[[random.Random, int, int], int] = lambda rng, _s, _r: rng.randint(1, 5)
    cut: set[tuple[int, int]] = field(default_factory=set)
    tamper: Callable[[int, int, PeerMessage], PeerMessage | None] = lambda _s, _r, message: message
    """What a Byzantine sender's wire does to a message: another one, or None to drop it."""
    skew_ms: dict[int, int] = field(default_factory=dict)
    """By member: how far its clock is ahead of virtual time."""


class Cluster:
    """All members of a deployment, their logs, faults, replies and settlements."""

    def __init__(self, deployment: Deployment, *, seed: int = 0, network: Network | None = None) -> None:
        self.deployment = deployment
        self.network = network or Network()
        self.now_ms = START_MS
        self._rng = random.Random(seed)
        self._queue: list[tuple[int, int, int, Event | Callable[[], None] | None]] = []
        self._made = 0
        self.cores = [
            NodeCore(
                deployment.committee,
                node,
                deployment.signers[node],
                deployment.shares[node],
                deployment.inputs,
                entropy=self._rng.randbytes(32),
            )
            for node in range(deployment.committee.n)
        ]
        self.stopped: set[int] = set()
        self.logs: list[list[LogEntry]] = [[] for _ in self.cores]
        self.records: list[list[object]] = [[] for _ in self.cores]
        self.faults: list[tuple[int, Fault]] = []
        self.evidence: list[tuple[int, Evidence]] = []
        self.replies: dict[int, list[tuple[int, ClientReply]]] = {}
        self.settlements: list[tuple[int, Settle]] = []
        self.messages = 0
        self._wake_ms: dict[int, int] = {}
        for node in range(len(self.cores)):
            self._carry_out(node, self.cores[node].start(self.clock_ms(node)))
            for peer in range(len(self.cores)):
                if peer != node:
                    self.at(self.now_ms, node, PeerUp(peer))

    # --- input --------------------------------------------------------------------------------------------------
    def at(self, time_ms: int, node: int, event: Event | None) -> None:
        """Hand ``event`` to a member at a virtual time (None only wakes it)."""
        self._made += 1
        heapq.heappush(self._queue, (time_ms, self._made, node, event))

    def call(self, time_ms: int, action: Callable[[], None]) -> None:
        """Do ``action`` at a virtual time: what happens to the network or to hosts."""
        self._made += 1
        heapq.heappush(self._queue, (time_ms, self._made, 0, action))

    def clock_ms(self, node: int) -> int:
        """What a member's clock shows now."""
        return self.now_ms + self.network.skew_ms.get(node, 0)

    def request(self, node: int, request: ClientRequest, client: int = 1) -> None:
        """A client's request, now."""
        self.at(self.now_ms, node, FromClient(client, decode(ClientRequest, encode(request))))

    def leave(self, node: int, client: int = 1) -> None:
        self.at(self.now_ms, node, ClientGone(client))

    def stop(self, node: int) -> None:
        """The member is gone for good; the others see their links to it fall."""
        self.stopped.add(node)
        for peer in range(len(self.cores)):
            if peer != node:
                self.at(self.now_ms, peer, PeerDown(node))

    # --- running ------------------------------------------------------------------------------------------------
    def run(self, duration_ms: int, until: Callable[[Cluster], bool] | None = None) -> bool:
        """Advance virtual time by up to ``duration_ms``; True once ``until`` holds."""
        end_ms = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end_ms:
            time_ms, _, node, event = heapq.heappop(self._queue)
            self.now_ms = max(self.now_ms, time_ms)
            if callable(event):
                event()
            elif node in self.stopped or (event is None and self._wake_ms.get(node) != time_ms):
                continue
            else:
                self._turn(node, event)
            if until is not None and until(self):
                return True
        self.now_ms = end_ms
        return until is not None and until(self)

    def _turn(self, node: int, event: Event | None) -> None:
        core, clock_ms = self.cores[node], self.clock_ms(node)
        effects: list[Effect] = []
        if event is not None:
            effects += core.step(event, clock_ms)
        while core.has_work():
            effects += core.work(clock_ms)
        effects += core.flush(clock_ms)
        while core.has_work():
            effects += core.work(clock_ms)
            effects += core.flush(clock_ms)
        self._carry_out(node, effects)
        self._wake_ms[node] = core.wake_at_ms() - clock_ms + self.now_ms
        self.at(self._wake_ms[node], node, None)

    def _observe(self, node: int, effect: Effect) -> None:
        """For checkers: called with each effect before it is carried out."""

    def _carry_out(self, node: int, effects: list[Effect]) -> None:
        for effect in effects:
            self._observe(node, effect)
            match effect:
                case Append(entry):
                    self.logs[node].append(entry)
                case Persist(record):
                    self.records[node].append(record)
                case Broadcast(message):
                    for peer in range(len(self.cores)):
                        if peer != node:
                            self._transmit(node, peer, message)
                case Send(peer, message):
                    self._transmit(node, peer, message)
                case Reply(client, reply):
                    self.replies.setdefault(client, []).append((node, decode(ClientReply, encode(reply))))
                case Settle():
                    self.settlements.append((node, effect))
                case Evidence():
                    self.evidence.append((node, effect))
                case Fault():
                    self.faults.append((node, effect))

    def _transmit(self, sender: int, receiver: int, message: PeerMessage) -> None:
        self.messages += 1
        if (sender, receiver) in self.network.cut or receiver == sender:
            return
        sent = self.network.tamper(sender, receiver, message)
        if sent is None:
            return
        delay_ms = self.network.delay_ms(self._rng, sender, receiver)
        arrived: PeerMessage = decode(PeerMessage, encode(sent))
        self.at(self.now_ms + delay_ms, receiver, FromPeer(sender, arrived))
