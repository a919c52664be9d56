"""A member's service for clients: requests in, replies out, every client bounded by itself.

A request that does not decode is answered with ``Refused`` and the connection closed. A client that does not
read its replies overflows its own queue and is closed; one that floods is held back by the channel its
requests go to.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from mpc_sequencer.core import codec, limits, messages
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.node.framing import frame
from mpc_sequencer.node.link import Link, TlsStream, set_keepalive
from mpc_sequencer.node.link_events import (
    EVENTS_MAX,
    ClientEvent,
    ClientGone,
    ClientRequestEvent,
    TransportCounters,
    emit,
)

CLIENT_QUEUE_BYTES_MAX: Final = 8 << 20
CLIENT_FRAME_BYTES_MAX: Final = 1 << 20  # SUBMIT_ENVELOPES_MAX of the usual size, or SUBMIT_BYTES_MAX of larger ones
FIRST_REQUEST_TIMEOUT_S: Final = 10.0
CLIENT_IDLE_TIMEOUT_S: Final = 600.0
REFUSED_TEXT_CHARACTERS_MAX: Final = 256
REFUSED_CODE_CHARACTERS_MAX: Final = 64

log: Final = logging.getLogger(__name__)


class ClientServer:
    """Service for clients. :meth:`reply` never blocks and may be called from any task."""

    def __init__(self, counters: TransportCounters) -> None:
        self._links: dict[int, Link] = {}
        self._next_id = 1
        self._turned_away = 0
        self._counters = counters
        self._send_event, self.events = trio.open_memory_channel[ClientEvent](EVENTS_MAX)

    @property
    def connected(self) -> int:
        """Clients with an open connection."""
        return len(self._links)

    def reply(self, client_id: int, data: bytes) -> bool:
        """Queue an encoded reply. False where the client is gone, or is closed for a full queue."""
        link = self._links.get(client_id)
        return link is not None and link.queue(frame(data))

    async def accept(self, stream: TlsStream) -> None:
        """Serve one client until it goes."""
        client_id, self._next_id = self._next_id, self._next_id + 1
        set_keepalive(stream.transport_stream)
        link = Link(
            stream,
            queue_messages_max=limits.CLIENT_QUEUE_MESSAGES_MAX,
            queue_bytes_max=CLIENT_QUEUE_BYTES_MAX,
            frame_bytes_max=CLIENT_FRAME_BYTES_MAX,
            first_frame_timeout_s=FIRST_REQUEST_TIMEOUT_S,
            idle_timeout_s=CLIENT_IDLE_TIMEOUT_S,
        )
        if len(self._links) >= limits.CLIENTS_MAX:
            await self._turn_away(link)
            return
        self._links[client_id] = link
        self._counters.client_links += 1
        known = False

        async def deliver(frames: list[bytes]) -> None:
            nonlocal known
            for data in frames:
                request: messages.ClientRequest = codec.decode(
                    messages.ClientRequest, data, bytes_max=CLIENT_FRAME_BYTES_MAX
                )
                known = True
                await emit(self._send_event, ClientRequestEvent(client_id, request), link)

        try:
            await link.run(deliver, _refusal)
        finally:
            del self._links[client_id]
            if link.fault is not None:
                self._counters.client_faults += 1
            log.debug("client %d is gone: %s", client_id, link.fault or link.reason)
            if known:
                await emit(self._send_event, ClientGone(client_id), link)

    async def _turn_away(self, link: Link) -> None:
        """Say why, and close; past CLIENTS_MAX of these at once, close without a word."""
        self._counters.client_refused += 1
        if self._turned_away >= limits.CLIENTS_MAX:
            link.close("too many clients")
        self._turned_away += 1
        try:
            fault = ProtocolError(
                "intake.full", "clients", limits.CLIENTS_MAX, f"fewer than {limits.CLIENTS_MAX}"
            )
            await link.turn_away(_refusal(fault))
        finally:
            self._turned_away -= 1


def _refusal(fault: ProtocolError) -> bytes:
    text = REFUSED_TEXT_CHARACTERS_MAX
    refused = messages.Refused(
        fault.code[:REFUSED_CODE_CHARACTERS_MAX], fault.field[:text], fault.seen[:text], fault.expected[:text]
    )
    return frame(codec.encode(refused))
