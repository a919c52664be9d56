"""A client's connection to one member: requests out, replies in, the member's certificate pinned.

``async with open_client(host, port, certificate) as link`` gives a :class:`ClientLink`; iterate it for
replies. A connection that cannot be made, is not to the pinned member, or breaks raises :class:`LinkError`; a
reply that does not decode is the member's fault and raises :class:`~mpc_sequencer.core.errors.ProtocolError`.
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from mpc_sequencer.core import codec, limits, messages
from mpc_sequencer.node import tls
from mpc_sequencer.node.framing import FrameSplitter, frame
from mpc_sequencer.node.link import CLOSE_TIMEOUT_S, READ_BYTES, STREAM_ERRORS, TlsStream, set_keepalive

CLIENT_CONNECT_TIMEOUT_S: Final = 10.0


class LinkError(Exception):
    """The connection to a member could not be made, or broke."""


class ClientLink:
    """An open connection. Several tasks may :meth:`send`; one task iterates the replies.

    Iteration ends when the member closes. Cancelling a ``send`` half-way breaks the connection; cancelling
    the iteration loses nothing.
    """

    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream
        self._lock = trio.Lock()
        self._splitter = FrameSplitter(limits.FRAME_BYTES_MAX)
        self._frames: deque[bytes] = deque()

    async def send(self, *requests: messages.ClientRequest) -> None:
        """Send requests, in one write. Blocks while the member does not read. Raises :class:`LinkError`."""
        await self.send_encoded([codec.encode(request) for request in requests])

    async def send_encoded(self, requests: Sequence[bytes]) -> None:
        """Send requests that are encoded already, in one write."""
        data = b"".join([frame(request) for request in requests])
        async with self._lock:
            try:
                await self._stream.send_all(data)
            except STREAM_ERRORS as error:
                raise LinkError("the connection to the member broke") from error

    def __aiter__(self) -> ClientLink:
        return self

    async def __anext__(self) -> messages.ClientReply:
        while not self._frames:
            if self._splitter.fault is not None:
                raise self._splitter.fault
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except trio.ClosedResourceError:
                raise StopAsyncIteration from None
            except trio.BrokenResourceError as error:
                raise LinkError("the connection to the member broke") from error
            if not data:
                if self._splitter.partial:
                    raise LinkError("the member closed the connection within a reply")
                raise StopAsyncIteration
            self._frames.extend(self._splitter.feed(data))
        reply: messages.ClientReply = codec.decode(messages.ClientReply, self._frames.popleft())
        return reply


@asynccontextmanager
async def open_client(
    host: str, port: int, certificate: bytes, *, timeout_s: float = CLIENT_CONNECT_TIMEOUT_S
) -> AsyncIterator[ClientLink]:
    """Connect to the member whose certificate (DER, of the committee file) this is. Raises
    :class:`LinkError`.
    """
    stream = await _connect(host, port, certificate, timeout_s)
    try:
        yield ClientLink(stream)
    finally:
        try:
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                await stream.aclose()
        except STREAM_ERRORS:
            # the member was gone first; the socket is closed all the same
            pass


def _reason(error: OSError) -> str:
    """The first attempt's failure, where there were several: a name may have several addresses."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    first = cause if isinstance(cause, OSError) else error
    return os.strerror(first.errno) if first.errno is not None and first.errno > 0 else first.strerror or str(first)


async def _connect(host: str, port: int, certificate: bytes, timeout_s: float) -> TlsStream:
    where = f"{host}:{port}"
    with trio.move_on_after(timeout_s):
        try:
            transport = await trio.open_tcp_stream(host, port)
        except OSError as error:
            raise LinkError(f"no member can be reached at {where}: {_reason(error)}") from error
        stream = trio.SSLStream(transport, tls.client_context([certificate]), https_compatible=True)
        try:
            await stream.do_handshake()
            pinned = tls.check_pin(stream, certificate)
        except (*STREAM_ERRORS, ssl.SSLError) as error:
            await trio.aclose_forcefully(stream)
            if isinstance(error.__cause__ or error, ssl.SSLCertVerificationError):
                raise LinkError(f"what listens at {where} is not the member of the committee file") from error
            cause = str(error.__cause__ or error)
            raise LinkError(f"the TLS handshake with {where} failed: {cause}") from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if not pinned:
            await trio.aclose_forcefully(stream)
            raise LinkError(f"what listens at {where} is not the member of the committee file")
        set_keepalive(transport)
        return stream
    raise LinkError(f"no member answered at {where} within {timeout_s:g} s")
