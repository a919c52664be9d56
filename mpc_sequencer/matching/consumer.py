"""The outside engine's end of the seam: connect, resume, and answer every batch with what an engine makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trio_websocket import WebSocketConnection, open_websocket_url

from mpc_sequencer.core.errors import CODES, ProtocolError
from mpc_sequencer.matching.values import (
    BATCH_BYTES_MAX,
    Answer,
    AnswerAccepted,
    AnswerRefused,
    FairBatch,
    FromMember,
    Hello,
    MatchingEngine,
    Resume,
    from_text,
    to_text,
)


class MatchingLink:
    """A connection to a member's stream. ``hello`` is what the member said first."""

    def __init__(self, link: WebSocketConnection, hello: Hello) -> None:
        self._link = link
        self.hello = hello

    async def send(self, frame: Resume | Answer) -> None:
        """Send a frame. Raises ``trio_websocket.ConnectionClosed``."""
        await self._link.send_message(to_text(frame))

    async def receive(self) -> Any:
        """The member's next frame. Raises :class:`ProtocolError` for what is none, and
        ``trio_websocket.ConnectionClosed``."""
        return from_text(FromMember, await self._link.get_message(), bytes_max=BATCH_BYTES_MAX)


@asynccontextmanager
async def open_matching(url: str) -> AsyncIterator[MatchingLink]:
    """Connect to a member's stream (``ws://127.0.0.1:port``). Raises ``trio_websocket.HandshakeError`` and, where the
    member says something else than hello, :class:`ProtocolError`."""
    async with open_websocket_url(url, max_message_size=BATCH_BYTES_MAX) as link:
        hello = from_text(FromMember, await link.get_message())
        if not isinstance(hello, Hello):
            raise ProtocolError("match.frame", "frame", type(hello).__name__, "Hello")
        yield MatchingLink(link, hello)


async def run_engine(link: MatchingLink, engine: MatchingEngine, from_height: int) -> None:
    """Answer batches from ``from_height`` on, until the connection closes or the task is cancelled.

    The engine sees each height once and in order, whatever is sent again. Raises :class:`ProtocolError` with the
    member's code where it refuses an answer: an engine that goes on after that would match orders that are not there.
    """
    done = from_height - 1
    await link.send(Resume(from_height))
    while True:
        frame = await link.receive()
        if isinstance(frame, FairBatch) and frame.height > done:
            await link.send(engine.match(frame))
            done = frame.height
        elif isinstance(frame, AnswerRefused):
            code = frame.code if frame.code in CODES else "match.refused"
            raise ProtocolError(code, frame.field, frame.seen, frame.expected)
        elif not isinstance(frame, AnswerAccepted | FairBatch):
            raise ProtocolError("match.frame", "frame", type(frame).__name__, "a batch, or what became of an answer")
