"""A member's links to the other members.

A member dials the members of higher index and is dialled by those of lower, so two members have one link. It
begins with a ``PeerHello`` both ways, which must name this deployment and the member the certificate belongs
to. A new link of a peer replaces its old one, which may be dead without anybody knowing. Lost links are
dialled again after a pause that doubles up to a bound, with jitter. The bound is low while nobody listens, for an
attempt costs next to nothing then and a member that comes back can do nothing until it is dialled; it is higher after
a handshake or a link that failed. A peer that sends what does not decode is kept out for :data:`PEER_PAUSE_S`.
"""

from __future__ import annotations

import logging
import random
import ssl
from typing import Final

import trio

from mpc_sequencer.core import codec, limits, messages
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.node import tls
from mpc_sequencer.node.config import CommitteeFile
from mpc_sequencer.node.framing import frame
from mpc_sequencer.node.link import Link, TlsStream, set_keepalive
from mpc_sequencer.node.link_events import (
    EVENTS_MAX,
    PeerDown,
    PeerEvent,
    PeerMessage,
    PeerUp,
    TransportCounters,
    emit,
)

PEER_QUEUE_BYTES_MAX: Final = 32 << 20
HANDSHAKE_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
HELLO_TIMEOUT_S: Final = 5.0
BACKOFF_S_MIN: Final = 0.05
BACKOFF_S_MAX: Final = 3.0
UNREACHED_BACKOFF_S_MAX: Final = 0.4  # where nobody listens
LINK_STABLE_S: Final = 5.0  # a link that lived this long resets the backoff
PEER_PAUSE_S: Final = 10.0

log: Final = logging.getLogger(__name__)


class PeerNetwork:
    """Links to the other members. :meth:`send` and :meth:`broadcast` never block and may be called from any
    task.
    """

    def __init__(self, file: CommitteeFile, index: int, log_seed: bytes, counters: TransportCounters) -> None:
        self._file = file
        self._index = index
        self._context = tls.peer_context(log_seed, file.certificates)
        self._hello = frame(codec.encode(messages.PeerHello(file.committee.genesis_id, index)))
        self._links: dict[int, Link] = {}
        self._paused_until: dict[int, float] = {}
        self._counters = counters
        self._send_event, self.events = trio.open_memory_channel[PeerEvent](EVENTS_MAX)

    @property
    def connected(self) -> tuple[int, ...]:
        """The members with a standing link, ascending."""
        return tuple(sorted(self._links))

    def send(self, node: int, data: bytes) -> bool:
        """Queue an encoded message for ``node``. False where there is no link, or its queue overflowed and it
        ends.
        """
        link = self._links.get(node)
        return link is not None and link.queue(frame(data))

    def broadcast(self, data: bytes) -> None:
        """Queue an encoded message for every member with a standing link."""
        framed = frame(data)
        for link in self._links.values():
            link.queue(framed)

    async def run(self) -> None:
        """Keep links to the members of higher index until cancelled."""
        async with trio.open_nursery() as nursery:
            for node in range(self._index + 1, self._file.committee.n):
                nursery.start_soon(self._dial, node)
            await trio.sleep_forever()

    async def accept(self, stream: TlsStream, node: int) -> None:
        """Serve a link that the member ``node`` opened, or refuse it."""
        if node >= self._index or trio.current_time() < self._paused_until.get(node, 0.0):
            self._counters.peer_refused += 1
            await trio.aclose_forcefully(stream)
            return
        await self._serve(stream, node)

    async def _dial(self, node: int) -> None:
        backoff_s = BACKOFF_S_MIN
        while True:
            await trio.sleep_until(self._paused_until.get(node, 0.0))
            started = trio.current_time()
            transport = await self._reach(node)
            backoff_s_max = UNREACHED_BACKOFF_S_MAX if transport is None else BACKOFF_S_MAX
            if transport is not None and (stream := await self._prove(transport, node)) is not None:
                await self._serve(stream, node)
            if trio.current_time() - started >= LINK_STABLE_S:
                backoff_s = BACKOFF_S_MIN
            # jitter, so that members that lost each other together do not come back together
            await trio.sleep(min(backoff_s, backoff_s_max) * random.uniform(0.5, 1.0))
            backoff_s = max(backoff_s, min(2 * backoff_s, backoff_s_max))

    async def _reach(self, node: int) -> trio.SocketStream | None:
        host, port = self._file.endpoints[node]
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                return await trio.open_tcp_stream(host, port)
        except (OSError, trio.TooSlowError) as error:
            log.debug("member %d at %s:%d cannot be reached: %s", node, host, port, error)
            return None

    async def _prove(self, transport: trio.SocketStream, node: int) -> TlsStream | None:
        """The stream once the TLS handshake has shown that this is the member's own certificate."""
        host, port = self._file.endpoints[node]
        stream = trio.SSLStream(transport, self._context, https_compatible=True)
        pinned = False
        try:
            pinned = await handshake(stream) and tls.check_pin(stream, self._file.certificates[node])
        finally:
            if not pinned:
                await trio.aclose_forcefully(stream)
        if pinned:
            return stream
        self._counters.handshakes_failed += 1
        log.warning("what listens at %s:%d did not prove to be member %d", host, port, node)
        return None

    async def _serve(self, stream: TlsStream, node: int) -> None:
        set_keepalive(stream.transport_stream)
        link = Link(
            stream,
            queue_messages_max=limits.PEER_QUEUE_MESSAGES_MAX,
            queue_bytes_max=PEER_QUEUE_BYTES_MAX,
            frame_bytes_max=limits.FRAME_BYTES_MAX,
            first_frame_timeout_s=HELLO_TIMEOUT_S,
        )
        link.queue(self._hello)

        async def deliver(frames: list[bytes]) -> None:
            await self._deliver(node, link, frames)

        try:
            await link.run(deliver)
        finally:
            await self._end(node, link)

    async def _end(self, node: int, link: Link) -> None:
        if link.fault is not None:
            self._counters.peer_faults += 1
            self._paused_until[node] = trio.current_time() + PEER_PAUSE_S
            log.warning("member %d sent what breaks the protocol: %s", node, link.fault)
        if self._links.get(node) is link:
            reason = str(link.fault or link.reason)
            log.info("link to member %d is down: %s", node, reason)
            try:
                await self._send_event.send(PeerDown(node, reason))
            except trio.BrokenResourceError:
                log.debug("nobody listens for the links' events any more")
            finally:
                del self._links[node]
        link.done.set()

    async def _deliver(self, node: int, link: Link, frames: list[bytes]) -> None:
        for data in frames:
            message: messages.PeerMessage = codec.decode(messages.PeerMessage, data)
            if isinstance(message, messages.PeerHello):
                self._check_hello(node, link, message)
                await self._register(node, link)
            elif self._links.get(node) is not link:
                raise ProtocolError("wire.type", "PeerMessage", type(message).__name__, "PeerHello first")
            else:
                await emit(self._send_event, PeerMessage(node, message), link)

    def _check_hello(self, node: int, link: Link, hello: messages.PeerHello) -> None:
        if self._links.get(node) is link:
            raise ProtocolError("wire.type", "PeerMessage", "PeerHello", "one hello for each link")
        if hello.node != node:
            raise ProtocolError("member.sender", "PeerHello.node", hello.node, node)
        genesis_id = self._file.committee.genesis_id
        if hello.genesis != genesis_id:
            raise ProtocolError("epoch.unknown", "PeerHello.genesis", hello.genesis, genesis_id.hex())

    async def _register(self, node: int, link: Link) -> None:
        while (older := self._links.get(node)) is not None:
            older.close("a new link replaced it")
            await older.done.wait()
        self._links[node] = link
        self._counters.peer_links += 1
        log.info("link to member %d is up", node)
        await emit(self._send_event, PeerUp(node), link)


async def handshake(stream: TlsStream) -> bool:
    """Whether the TLS handshake succeeded in time."""
    try:
        with trio.fail_after(HANDSHAKE_TIMEOUT_S):
            await stream.do_handshake()
    except (
        trio.BrokenResourceError,
        trio.ClosedResourceError,
        trio.TooSlowError,
        ssl.SSLError,
        OSError,
    ) as error:
        log.debug("a handshake failed: %s", error.__cause__ or error)
        return False
    return True
