"""What a member's port reports to the runner, and what it counts.

Peers are numbered as in the epoch that this member is in (:mod:`mpc_sequencer.node.directory`). An event says which
epoch that was when it was made: one that is still on its way when the member goes over names nobody any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from mpc_sequencer.core import messages
from mpc_sequencer.node.link import Link

EVENTS_MAX: Final = 2_048  # of each channel the runner reads


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A link to a peer of this epoch stands, or to one in an earlier epoch; what is sent to it from now on arrives
    unless the link breaks."""

    node: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class PeerAhead:
    """A link to a member that is in a later epoch stands."""

    node: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The link is gone, and with it whatever was still queued."""

    node: int
    reason: str
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """A decoded message of an authenticated peer (any of ``messages.PeerMessage`` but a hello)."""

    node: int
    message: messages.PeerMessage
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ClientRequestEvent:
    """A decoded request. Client ids are never reused in a process."""

    client_id: int
    request: messages.ClientRequest


@dataclass(frozen=True, slots=True)
class ClientGone:
    """The client's connection is closed; replies to it are dropped."""

    client_id: int


@dataclass(slots=True)
class TransportCounters:
    """What happened at this member's port since it started."""

    handshakes_failed: int = 0
    peer_links: int = 0
    peer_faults: int = 0
    peer_refused: int = 0
    peer_passed_over: int = 0
    """Messages that say nothing between the epochs of the two ends, or from who has no place in this one."""
    client_links: int = 0
    client_faults: int = 0
    client_refused: int = 0


PeerEvent = PeerUp | PeerAhead | PeerDown | PeerMessage
ClientEvent = ClientRequestEvent | ClientGone
Event = TypeVar("Event")


async def emit(channel: trio.MemorySendChannel[Event], event: Event, link: Link) -> None:
    """Send without a scheduling point while there is room: a read may hold hundreds of messages."""
    try:
        try:
            channel.send_nowait(event)
        except trio.WouldBlock:
            await channel.send(event)
    except trio.BrokenResourceError:
        link.close("nobody listens for its messages any more")
