"""What has arrived and waits for the next round: events of peers and of clients, in the core's terms, bounded."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable
from typing import Final

import trio

from mpc_sequencer.core import effects as core_effects
from mpc_sequencer.node import transport as wires

PEER_EVENTS_PER_ROUND: Final = 256
CLIENT_EVENTS_PER_ROUND: Final = 64
INBOX_EVENTS_MAX: Final = 4_096


class Inbox:
    """Events from the wires in the core's terms; peers go before clients. What peers said to an epoch that is over is
    dropped: they say it again, or it says nothing in the next one."""

    def __init__(self, epoch: int = 0) -> None:
        self._epoch = epoch
        self.peers: deque[core_effects.Event] = deque()
        self.clients: deque[core_effects.Event] = deque()
        self._arrived = trio.Event()
        self._room = trio.Event()

    def put(self, queue: deque[core_effects.Event], event: core_effects.Event) -> None:
        queue.append(event)
        self._arrived.set()

    async def pump(
        self,
        channel: trio.MemoryReceiveChannel[wires.PeerEvent] | trio.MemoryReceiveChannel[wires.ClientEvent],
        queue: deque[core_effects.Event],
    ) -> None:
        """Move a channel's events here, holding back while the queue is full."""
        while True:
            event: wires.PeerEvent | wires.ClientEvent = await channel.receive()
            with contextlib.suppress(trio.WouldBlock):
                while True:
                    if getattr(event, "epoch", self._epoch) == self._epoch:
                        self.put(queue, _in_core_terms(event))
                    event = channel.receive_nowait()
            while len(queue) >= INBOX_EVENTS_MAX:
                self._room = trio.Event()
                await self._room.wait()

    def take(self) -> list[core_effects.Event]:
        """Some events of both kinds."""
        peers = min(len(self.peers), PEER_EVENTS_PER_ROUND)
        clients = min(len(self.clients), CLIENT_EVENTS_PER_ROUND)
        taken = [self.peers.popleft() for _ in range(peers)]
        taken += [self.clients.popleft() for _ in range(clients)]
        self._room.set()
        return taken

    def enter(self, epoch: int, peers: Iterable[wires.PeerEvent]) -> None:
        """Another epoch has begun: ``peers`` are whose links stand. What the chain has said stays: it is not said
        again, and what it says next goes on from it."""
        kept = [one for one in self.peers if isinstance(one, core_effects.SettlementSeen | core_effects.ChainSeen)]
        self._epoch = epoch
        self.peers.clear()
        self.peers.extend(kept)
        self.peers.extend(_in_core_terms(event) for event in peers)
        self._room.set()
        self._arrived.set()

    def wake(self) -> None:
        """Have a round though nothing has arrived."""
        self._arrived.set()

    def __bool__(self) -> bool:
        return bool(self.peers or self.clients)

    async def wait(self, seconds: float) -> None:
        """Until something arrives, or for so long."""
        with trio.move_on_after(seconds):
            if not self:
                self._arrived = trio.Event()
                await self._arrived.wait()


def _in_core_terms(event: wires.PeerEvent | wires.ClientEvent) -> core_effects.Event:
    match event:
        case wires.PeerMessage(node, message):
            return core_effects.FromPeer(node, message)
        case wires.ClientRequestEvent(client, request):
            return core_effects.FromClient(client, request)
        case wires.PeerUp(node):
            return core_effects.PeerUp(node)
        case wires.PeerAhead(node):
            return core_effects.PeerAhead(node)
        case wires.PeerDown(node, _):
            return core_effects.PeerDown(node)
        case wires.ClientGone(client):
            return core_effects.ClientGone(client)
