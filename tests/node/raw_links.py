"""TLS connections that say what a test wants, byte by byte: a hostile member's, joiner's or client's."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio


@asynccontextmanager
async def raw_link(endpoint: tuple[str, int], context: ssl.SSLContext) -> AsyncIterator[Any]:
    """A TLS connection to who listens there, below everything that a member says over it."""
    tcp = await trio.open_tcp_stream(*endpoint)
    stream = trio.SSLStream(tcp, context, https_compatible=True)
    await stream.do_handshake()
    try:
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


async def closed(stream: Any) -> bool:
    """Read until the other side closes."""
    try:
        while await stream.receive_some(65_536):
            pass
    except (trio.BrokenResourceError, ssl.SSLError):
        pass
    return True
