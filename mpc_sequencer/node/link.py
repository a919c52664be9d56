"""One TLS connection that carries frames: reads in large pieces, writes in coalesced ones, bounded in all it
holds.

:meth:`Link.queue` never blocks. What is queued while a write is under way leaves together in the next one, up
to
:data:`WRITE_BYTES`. A side that is slow costs only itself: the queue's bounds, the time a piece may take to
be written, the time a begun frame may take to arrive, and the time until the first frame each end the link,
and nothing else waits for it. Faults in what arrives (:class:`ProtocolError`) end the link with that fault
recorded, after a last frame where the owner has one to send.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.node.framing import FrameSplitter

WRITE_BYTES: Final = 64 << 10
READ_BYTES: Final = 64 << 10
WRITE_TIMEOUT_S: Final = 10.0  # for one piece of at most WRITE_BYTES
FRAME_TIMEOUT_S: Final = 20.0  # for a frame that has begun
FAREWELL_TIMEOUT_S: Final = 2.0
CLOSE_TIMEOUT_S: Final = 1.0
FAREWELL_DISCARD_BYTES_MAX: Final = 8 << 20
KEEPALIVE_IDLE_S: Final = 5
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_PROBES: Final = 3
TCP_USER_TIMEOUT_MS: Final = 20_000

TlsStream = trio.SSLStream[trio.SocketStream]
Deliver = Callable[[list[bytes]], Awaitable[None]]
Farewell = Callable[[ProtocolError], bytes]
STREAM_ERRORS: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


def set_keepalive(stream: trio.SocketStream) -> None:
    """Let the kernel notice a dead host: probes on an idle connection, a bound on unacknowledged data."""
    options = (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", KEEPALIVE_PROBES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", TCP_USER_TIMEOUT_MS),
    )
    for level, name, value in options:
        if hasattr(socket, name):  # not every system has them all
            stream.setsockopt(level, getattr(socket, name), value)


class Link:
    """A handshaken stream. Create it, :meth:`run` it in one task, :meth:`queue` from anywhere."""

    def __init__(
        self,
        stream: TlsStream,
        *,
        queue_messages_max: int,
        queue_bytes_max: int,
        frame_bytes_max: int,
        first_frame_timeout_s: float,
        idle_timeout_s: float = math.inf,
    ) -> None:
        self._stream = stream
        self._queue_messages_max = queue_messages_max
        self._queue_bytes_max = queue_bytes_max
        self._frame_bytes_max = frame_bytes_max
        self._first_frame_timeout_s = first_frame_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._frames: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake = trio.Event()
        self._drained = trio.Event()
        self._last_queued = False
        self._scope = trio.CancelScope()
        self.reason = ""
        """Why the link ended; empty while it lives."""
        self.fault: ProtocolError | None = None
        """What the other side did wrong, where that ended the link."""
        self.done = trio.Event()
        """Set by the owner once it has dealt with the link's end."""

    def queue(self, frame: bytes) -> bool:
        """Queue a frame without blocking. False where the link is ending, or ends as its queue is full."""
        if self.reason or self._last_queued:
            return False
        if (
            len(self._frames) >= self._queue_messages_max
            or self._queued_bytes + len(frame) > self._queue_bytes_max
        ):
            self.close("its queue overflowed")
            return False
        self._frames.append(frame)
        self._queued_bytes += len(frame)
        self._wake.set()
        return True

    def close(self, reason: str) -> None:
        """End the link now; what is queued is dropped."""
        if not self.reason:
            self.reason = reason
        self._scope.cancel()

    async def run(self, deliver: Deliver, farewell: Farewell | None = None) -> None:
        """Serve the link until it ends; ``deliver`` gets the frames of each read, in order.

        Its :class:`ProtocolError` ends the link, and ``farewell`` makes the last frame. The stream is closed
        on return, and on cancellation.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read(deliver)
                    if self.fault is not None and farewell is not None:
                        await self._say_farewell(farewell(self.fault))
                    nursery.cancel_scope.cancel()
        finally:
            await self._close_stream()

    async def turn_away(self, last: bytes) -> None:
        """Send one frame, in place of serving the link, and close."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._say_farewell(last)
                    nursery.cancel_scope.cancel()
        finally:
            await self._close_stream()

    async def _read(self, deliver: Deliver) -> None:
        # one scope whose deadline moves: one for each read would cost as much as the read's own system call
        with trio.CancelScope(deadline=trio.current_time() + self._first_frame_timeout_s) as scope:
            await self._read_until_silent(deliver, scope)
        if scope.cancelled_caught:
            self.reason = self.reason or "the other side was silent too long"

    async def _read_until_silent(self, deliver: Deliver, scope: trio.CancelScope) -> None:
        splitter = FrameSplitter(self._frame_bytes_max)
        deadline = scope.deadline
        delivered = False
        while True:
            if scope.deadline != deadline:
                scope.deadline = deadline
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except STREAM_ERRORS:
                self.reason = self.reason or "the connection broke"
                return
            if not data:
                self.reason = "the other side closed it"
                return
            was_partial = splitter.partial
            frames = splitter.feed(data)
            try:
                if frames:
                    scope.deadline = math.inf  # being held back here is no silence of the other side
                    await deliver(frames)
                if splitter.fault is not None:
                    raise splitter.fault
            except ProtocolError as error:
                self.fault = error
                return
            delivered = delivered or bool(frames)
            if not delivered:
                continue
            if not splitter.partial:
                deadline = trio.current_time() + self._idle_timeout_s
            elif frames or not was_partial:
                deadline = trio.current_time() + FRAME_TIMEOUT_S

    async def _write(self) -> None:
        with trio.CancelScope() as scope:
            try:
                await self._write_until_done(scope)
            except STREAM_ERRORS:
                self.close("the connection broke")
        if scope.cancelled_caught:
            self.close("the other side read too slowly")

    async def _write_until_done(self, scope: trio.CancelScope) -> None:
        """Write what is queued; the scope's deadline is WRITE_TIMEOUT_S ahead of the last piece begun, none while
        there is nothing to write."""
        while True:
            while self._frames:
                chunk = memoryview(self._take())
                for start in range(0, len(chunk), WRITE_BYTES):
                    scope.deadline = trio.current_time() + WRITE_TIMEOUT_S
                    await self._stream.send_all(chunk[start : start + WRITE_BYTES])
            scope.deadline = math.inf
            if self._last_queued:
                self._drained.set()
                return
            self._wake = trio.Event()
            await self._wake.wait()

    def _take(self) -> bytes:
        """The frames of the next write: as many as fit into WRITE_BYTES, at least one."""
        frames = self._frames
        taken = [frames.popleft()]
        size = len(taken[0])
        while frames and size + len(frames[0]) <= WRITE_BYTES:
            taken.append(frames.popleft())
            size += len(taken[-1])
        self._queued_bytes -= size
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _say_farewell(self, last: bytes) -> None:
        """Write out the queue and ``last``, then discard what still arrives until the other side closes.

        Closing with unread data would reset the connection and could take the last frame with it.
        """
        with trio.move_on_after(FAREWELL_TIMEOUT_S):
            if not self.queue(last):
                return
            self._last_queued = True
            self._wake.set()
            await self._drained.wait()
            transport = self._stream.transport_stream
            try:
                await transport.send_eof()
                discarded = 0
                while discarded < FAREWELL_DISCARD_BYTES_MAX and (
                    data := await transport.receive_some(READ_BYTES)
                ):
                    discarded += len(data)
            except STREAM_ERRORS:
                return

    async def _close_stream(self) -> None:
        self.reason = self.reason or str(self.fault or "it was closed here")
        self._frames.clear()
        try:
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                await self._stream.aclose()
        except STREAM_ERRORS:
            # the other side was gone already; the socket is closed all the same
            return
