"""What a member's port reports to the runner, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from mpc_sequencer.core import messages
from mpc_sequencer.node.link import Link

EVENTS_MAX: Final = 2_048  # of each channel the runner reads


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A link to a member stands; what is sent to it from now on arrives unless the link breaks."""

    node: int


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The link is gone, and with it whatever was still queued."""

    node: int
    reason: str


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """A decoded message of an authenticated member (any of ``messages.PeerMessage`` but a hello)."""

    node: int
    message: messages.PeerMessage


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
    client_links: int = 0
    client_faults: int = 0
    client_refused: int = 0


PeerEvent = PeerUp | PeerDown | PeerMessage
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
