"""The member's end of the seam: a WebSocket that sends batches and takes answers; loopback unless told otherwise.

One consumer at a time. After its :class:`~.values.Resume` it gets the batches from that height on, each once a
connection, and again in the next one (at least once, with heights to tell), at most UNANSWERED_MAX ahead of the
accepted answers. Answers to heights that have one already are compared: the same is accepted again, another is refused.
A refused answer changes nothing. Who sends what is no frame of the protocol is told so and let go.

There is no encryption and no password: whoever reaches the port may answer (no web page, though: a browser names its
origin, and is refused). Nothing that is answered moves this member's money or enters its results; members' answers are
compared by ``answers_hash``.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.matching.store import StreamStore
from mpc_sequencer.matching.values import (
    FRAME_BYTES_MAX,
    PROTOCOL_VERSION,
    Answer,
    AnswerAccepted,
    AnswerRefused,
    FairBatch,
    Frame,
    FromEngine,
    Hello,
    Resume,
    from_text,
    to_text,
)

UNANSWERED_MAX: Final = 64
FIRST_FRAME_S_MAX: Final = 10.0
FRAMES_BUFFERED_MAX: Final = 4
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013

logger = logging.getLogger("mpc_sequencer.node")


class MatchingStream:
    """Serves one member's store."""

    def __init__(self, store: StreamStore, genesis_id: bytes) -> None:
        self._store = store
        self._genesis_id = genesis_id
        self._news = trio.Event()
        self._busy = False

    async def add(self, batch: FairBatch) -> None:
        """An executed height; on disk when it returns. Raises ``OSError``."""
        await trio.to_thread.run_sync(self._store.write_batch, batch)
        self._store.begin_next()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def serve(
        self, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled; ``task_status`` gets the port."""
        async with trio.open_nursery() as nursery:
            server = await nursery.start(
                partial(
                    serve_websocket,
                    self._connection,
                    host,
                    port,
                    None,
                    message_queue_size=FRAMES_BUFFERED_MAX,
                    max_message_size=FRAME_BYTES_MAX,
                )
            )
            task_status.started(server.port)

    async def _connection(self, request: WebSocketRequest) -> None:
        if any(name.lower() == b"origin" for name, _ in request.headers):
            await request.reject(403)
            return
        link = await request.accept()
        if self._busy:
            await link.aclose(TRY_AGAIN_LATER, "match.consumer: another engine is connected")
            return
        self._busy = True
        try:
            await self._serve(link)
        except* ConnectionClosed:
            logger.info("the outside engine has gone")
        except* ProtocolError as group:
            error = _first(group)
            await link.aclose(POLICY_VIOLATION, f"{error.code}: {error.field}"[:120])
        finally:
            self._busy = False

    async def _serve(self, link: WebSocketConnection) -> None:
        first, waiting = self._store.bounds()
        await _send(link, Hello(PROTOCOL_VERSION, self._genesis_id.hex(), first, waiting))
        with trio.move_on_after(FIRST_FRAME_S_MAX) as scope:
            frame = from_text(FromEngine, await link.get_message())
        if scope.cancelled_caught or not isinstance(frame, Resume):
            raise ProtocolError("match.frame", "frame", "another", "Resume, first")
        if frame.from_height <= self._store.pruned:
            # what it lacks is not kept any more, and without it its book would be another one
            raise ProtocolError("match.height", "Resume.from_height", frame.from_height, f"above {self._store.pruned}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_batches, link, frame.from_height)
            try:
                while True:
                    await self._answer(link, from_text(FromEngine, await link.get_message()))
            finally:
                nursery.cancel_scope.cancel()

    async def _send_batches(self, link: WebSocketConnection, height: int) -> None:
        unanswered: list[int] = []
        while True:
            news = self._news
            unanswered = [one for one in unanswered if one > self._store.book.height]
            batch = self._store.batch_from(height) if len(unanswered) < UNANSWERED_MAX else None
            if batch is None:
                await news.wait()
                continue
            await _send(link, batch)
            unanswered.append(batch.height)
            height = batch.height + 1

    async def _answer(self, link: WebSocketConnection, frame: FromEngine) -> None:
        if not isinstance(frame, Answer):
            raise ProtocolError("match.frame", "frame", "Resume", "an answer")
        try:
            accepted_hash = await self._take(frame)
        except ProtocolError as error:
            logger.warning("the outside engine's answer to height %d is refused: %s", frame.height, error)
            text = (error.field[:250], error.seen[:250], error.expected[:250])
            await _send(link, AnswerRefused(frame.height, error.code, *text))
        else:
            await _send(link, AnswerAccepted(frame.height, accepted_hash.hex()))

    async def _take(self, answer: Answer) -> bytes:
        """The hash over all answers up to the newest (of one that was accepted before: zeros, it is not kept)."""
        held = self._store.answer(answer.height)
        if held is not None:
            if held != answer:
                raise ProtocolError("match.repeated", "Answer", answer.height, "the answer that was accepted")
            return self._store.book.answers_hash if answer.height == self._store.book.height else ZERO_HASH
        accepted = self._store.book.check(answer)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._store.write_answer, answer)
            self._store.take(accepted)
            if self._store.overdue:
                await trio.to_thread.run_sync(self._store.prune)
        self._wake()
        return accepted.answers_hash


def _first(error: BaseException) -> ProtocolError:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ProtocolError)
    return error


async def _send(link: WebSocketConnection, value: Frame) -> None:
    await link.send_message(to_text(value))
