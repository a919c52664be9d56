"""A persistent link to one member: connect, send what is asked for, hand on replies, connect again.

Theory of operation: one task per member. While connected, a writer drains a bounded queue of requests and a
reader hands every reply to ``deliver``. When the connection ends, for whatever reason, the link waits
(exponentially longer, with a bound) and connects again; ``connected`` is called first thing, so that its
owner can send again what is still open. Requests queued for a connection that ended are dropped: the owner
knows better what is still worth sending.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import trio

from mpc_sequencer.client.errors import MemberFault
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.messages import ClientReply, ClientRequest
from mpc_sequencer.core.types import NextMember
from mpc_sequencer.node import tls
from mpc_sequencer.node.client_link import LinkError, open_client
from mpc_sequencer.node.config import CommitteeFile, parse_endpoint

RECONNECT_FIRST_S: Final = 0.1
RECONNECT_S_MAX: Final = 2.0
CONNECT_S_MAX: Final = 10.0
REQUESTS_QUEUED_MAX: Final = 512


class ClientConnection(Protocol):
    """An open connection to a member, as :func:`mpc_sequencer.node.transport.open_client` gives it."""

    async def send(self, *requests: ClientRequest) -> None:
        """Send requests, in order."""

    def __aiter__(self) -> AsyncIterator[ClientReply]:
        """Replies until the member closes."""


Connector = Callable[[int], AbstractAsyncContextManager[ClientConnection]]
"""Opens a connection to a member by its index; raises ``OSError``, trio's stream errors or a refusal."""


Newcomers = Callable[[NextMember], AbstractAsyncContextManager[ClientConnection]]
"""Opens a connection to a member that the proof of an epoch names; raises as a Connector does."""


def open_member(member: NextMember) -> AbstractAsyncContextManager[ClientConnection]:
    """A connection over TLS 1.3 to a member as the proof of its epoch names it. Raises :class:`LinkError` where the
    certificate that it has for the member is not of the member's log key."""
    host, port = parse_endpoint(member.endpoint, "NextMember.endpoint")
    try:
        carried = tls.certificate_key(member.tls_certificate)
    except ValueError as error:
        raise LinkError(f"no certificate is known of the member at {member.endpoint}: {error}") from None
    if carried != member.log_key:
        raise LinkError(f"the certificate known of the member at {member.endpoint} is not of its log key")
    return open_client(host, port, member.tls_certificate)


def connector_to(file: CommitteeFile) -> Connector:
    """Connections over TLS 1.3 to the members of a committee file, each pinned to its certificate."""

    def connect(node: int) -> AbstractAsyncContextManager[ClientConnection]:
        host, port = file.endpoints[node]
        return open_client(host, port, file.certificates[node])

    return connect


CONNECTION_ERRORS: Final = (
    OSError,
    ProtocolError,
    ConfigError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    LinkError,
)


class MemberLink:
    """The link to member ``node``. Run :meth:`run` in a nursery; cancelling it closes the connection."""

    def __init__(
        self,
        node: int,
        connector: Connector,
        *,
        connected: Callable[[int], None],
        deliver: Callable[[int, ClientReply], None],
    ) -> None:
        self.node = node
        self._connector = connector
        self._connected = connected
        self._deliver = deliver
        self._requests: trio.MemorySendChannel[ClientRequest] | None = None
        self.up = trio.Event()
        """Set while connected; a new event replaces it when the connection ends."""
        self.failure: str | None = None
        """Why the last connection, or attempt at one, ended."""
        self.connections = 0

    def send(self, request: ClientRequest) -> bool:
        """Queue a request for the present connection; False where there is none or its queue is full."""
        if self._requests is None:
            return False
        try:
            self._requests.send_nowait(request)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        pause_s = RECONNECT_FIRST_S
        while True:
            began_s = trio.current_time()
            try:
                await self._serve()
                self.failure = "the member closed the connection"
            except* CONNECTION_ERRORS as group:
                self.failure = str(_leaf(group)) or type(_leaf(group)).__name__
            except* MemberFault as group:
                self.failure = str(_leaf(group))
            if trio.current_time() - began_s > RECONNECT_S_MAX:
                pause_s = RECONNECT_FIRST_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RECONNECT_S_MAX)

    async def _serve(self) -> None:
        sender, receiver = trio.open_memory_channel[ClientRequest](REQUESTS_QUEUED_MAX)
        with trio.fail_after(CONNECT_S_MAX):
            manager = self._connector(self.node)
            connection = await manager.__aenter__()
        try:
            self._requests = sender
            self.connections += 1
            self.failure = None
            self._connected(self.node)
            self.up.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_write, connection, receiver)
                async for reply in connection:
                    self._deliver(self.node, reply)
                nursery.cancel_scope.cancel()
        finally:
            self._requests = None
            self.up = trio.Event()
            sender.close()
            receiver.close()
            with trio.CancelScope(deadline=trio.current_time() + CONNECT_S_MAX, shield=True):
                await manager.__aexit__(None, None, None)


async def _write(connection: ClientConnection, requests: trio.MemoryReceiveChannel[ClientRequest]) -> None:
    async for request in requests:
        await connection.send(request)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
