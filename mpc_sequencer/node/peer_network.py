"""A member's links to the other members, in whatever epochs they are.

Who dials whom says :mod:`mpc_sequencer.node.directory`, so two members have one link. It begins with a ``PeerHello``
both ways, which must name this deployment, and says in which epoch its sender is; who goes over says a new one on every
link, and what it sends after it is of the new epoch. So both ends know what a message between them can mean:

======================  =========================================================================================
the other end is        what passes
======================  =========================================================================================
in the same epoch       from members everything; from joiners questions, and their messages of the key session;
                        broadcasts go to members, and members' to joiners too
in an earlier epoch     its question for the log, which it gets as a visitor, and what it needs to end its epoch
in a later epoch        its log, and signatures over the last settlement range, if it is a member here as well
======================  =========================================================================================

The rest is passed over: it was sent before its sender knew. An epoch is each end's own word and is taken as such: who
names a later one only says that its log is to be asked for, who names an earlier one gets no protocol messages.

A new link of a peer replaces its old one, which may be dead without anybody knowing. Lost links are dialled again after
a pause that doubles up to a bound, with jitter. The bound is low while nobody listens, for an attempt costs next to
nothing then and a member that comes back can do nothing until it is dialled; it is higher after a handshake or a link
that failed. A peer that sends what does not decode is kept out for :data:`PEER_PAUSE_S`.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import trio

from mpc_sequencer.core import codec, limits, messages
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.peers import ACROSS_EPOCHS, VISITORS_MESSAGES
from mpc_sequencer.node import tls
from mpc_sequencer.node.directory import VISITOR, Directory, Peer
from mpc_sequencer.node.framing import frame
from mpc_sequencer.node.link import Link, TlsStream, set_keepalive
from mpc_sequencer.node.link_events import (
    EVENTS_MAX,
    PeerAhead,
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
CALLER_BACKOFF_S_MAX: Final = 1.0  # where this member has no place yet, and waits to be let in
LINK_STABLE_S: Final = 5.0  # a link that lived this long resets the backoff
PEER_PAUSE_S: Final = 10.0

log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Standing:
    """A link whose other end has said in which epoch it is."""

    key: bytes
    link: Link
    epoch: int


class PeerNetwork:
    """Links to the other members. :meth:`send` and :meth:`broadcast` never block and may be called from any
    task.
    """

    def __init__(
        self, genesis_id: bytes, directory: Directory, log_seed: bytes, counters: TransportCounters
    ) -> None:
        self._genesis_id = genesis_id
        self._directory = directory
        self._context = tls.peer_context(log_seed, directory.certificates)
        self._links: set[Link] = set()
        """All, with those that have said no hello yet."""
        self._standing: dict[bytes, _Standing] = {}
        self._paused_until: dict[bytes, float] = {}
        self._dialling: set[bytes] = set()
        self._nursery: trio.Nursery | None = None
        self._counters = counters
        self._send_event, self.events = trio.open_memory_channel[PeerEvent](EVENTS_MAX)

    @property
    def connected(self) -> tuple[int, ...]:
        """The members of this epoch with a standing link, ascending."""
        numbers = (self._directory.number(key) for key in self._standing)
        return tuple(sorted(number for number in numbers if number < self._directory.committee.n))

    # --- epochs -------------------------------------------------------------------------------------------------
    def enter(self, committee: Committee) -> list[PeerEvent]:
        """This member is in the epoch of ``committee`` from now on: says so on every link, and what each standing one
        is to it. What it sends after this is of that epoch."""
        self._directory.enter(committee)
        self._follow()
        hello = self._hello()
        for link in self._links:
            link.queue(hello)
        events = (self._meeting(standing) for standing in self._standing.values() if not standing.link.reason)
        return [event for event in events if event is not None]

    def know_joiners(self) -> None:
        """Let those in whom a rotation of this epoch has named since the last call."""
        self._directory.know_joiners()
        self._follow()

    def _follow(self) -> None:
        tls.trust(self._context, self._directory.certificates)
        self._dial_all()

    def _hello(self) -> bytes:
        return frame(codec.encode(messages.PeerHello(self._genesis_id, self._directory.epoch)))

    def _meeting(self, standing: _Standing) -> PeerEvent | None:
        """What a link is to this member, when it is new or one of its ends has gone over."""
        epoch, number = self._directory.epoch, self._directory.number(standing.key)
        if standing.epoch > epoch:
            return PeerAhead(number, epoch) if number < self._directory.committee.n else None
        if standing.epoch < epoch:
            return PeerUp(self._directory.visitor(standing.key), epoch)
        return PeerUp(number, epoch) if number < VISITOR else None

    # --- sending ------------------------------------------------------------------------------------------------
    def send(self, node: int, data: bytes, *, across: bool = False) -> bool:
        """Queue an encoded message for ``node``. False where there is no link to it, its other end is in another epoch
        and the message is not of those that pass ``across``, or its queue overflowed and it ends.
        """
        standing = self._known_as(node)
        if standing is None or (standing.epoch != self._directory.epoch and not across):
            return False
        return standing.link.queue(frame(data))

    def _known_as(self, node: int) -> _Standing | None:
        for standing in self._standing.values():
            visiting = standing.epoch < self._directory.epoch
            called = self._directory.visitor if visiting else self._directory.number
            if node in (called(standing.key), self._directory.number(standing.key)):
                return standing
        return None

    def broadcast(self, data: bytes) -> None:
        """Queue an encoded message for every peer of this epoch with a standing link."""
        framed = frame(data)
        for standing in self._audience():
            standing.link.queue(framed)

    def _audience(self) -> Iterator[_Standing]:
        bound = VISITOR if self._directory.is_member else self._directory.committee.n
        for standing in self._standing.values():
            if standing.epoch == self._directory.epoch and self._directory.number(standing.key) < bound:
                yield standing

    # --- links --------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Keep the links that this member is to dial until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._dial_all()
            await trio.sleep_forever()

    def _dial_all(self) -> None:
        if self._nursery is None:
            return
        for peer in self._directory.dialled():
            if peer.log_key not in self._dialling:
                self._dialling.add(peer.log_key)
                self._nursery.start_soon(self._dial, peer.log_key)

    async def accept(self, stream: TlsStream, key: bytes) -> None:
        """Serve a link that the peer of that key opened, or refuse it."""
        if not self._directory.answers(key) or trio.current_time() < self._paused_until.get(key, 0.0):
            self._counters.peer_refused += 1
            await trio.aclose_forcefully(stream)
            return
        await self._serve(stream, key)

    async def _dial(self, key: bytes) -> None:
        """Dial a peer again and again, as long as that is this member's part."""
        backoff_s = BACKOFF_S_MIN
        while (peer := self._directory.to_dial(key)) is not None:
            if (standing := self._standing.get(key)) is not None:
                await standing.link.done.wait()  # it came from the other side, before the epoch changed
                continue
            await trio.sleep_until(self._paused_until.get(key, 0.0))
            started = trio.current_time()
            transport = await self._reach(peer)
            backoff_s_max = UNREACHED_BACKOFF_S_MAX if transport is None else BACKOFF_S_MAX
            if not self._directory.is_member:
                backoff_s_max = min(backoff_s_max, CALLER_BACKOFF_S_MAX)
            if transport is not None and (stream := await self._prove(transport, peer)) is not None:
                await self._serve(stream, key)
            if trio.current_time() - started >= LINK_STABLE_S:
                backoff_s = BACKOFF_S_MIN
            # jitter, so that members that lost each other together do not come back together
            await trio.sleep(min(backoff_s, backoff_s_max) * random.uniform(0.5, 1.0))
            backoff_s = max(backoff_s, min(2 * backoff_s, backoff_s_max))
        self._dialling.discard(key)

    async def _reach(self, peer: Peer) -> trio.SocketStream | None:
        assert peer.endpoint is not None, "only who has an address is dialled"
        host, port = peer.endpoint
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                return await trio.open_tcp_stream(host, port)
        except (OSError, trio.TooSlowError) as error:
            name = self._directory.named(peer.log_key)
            log.debug("%s at %s:%d cannot be reached: %s", name, host, port, error)
            return None

    async def _prove(self, transport: trio.SocketStream, peer: Peer) -> TlsStream | None:
        """The stream once the TLS handshake has shown that this is the peer's own certificate."""
        stream = trio.SSLStream(transport, self._context, https_compatible=True)
        pinned = False
        try:
            pinned = await handshake(stream) and tls.check_pin(stream, peer.certificate)
        finally:
            if not pinned:
                await trio.aclose_forcefully(stream)
        if pinned:
            return stream
        self._counters.handshakes_failed += 1
        host, port = peer.endpoint or ("", 0)
        log.warning("what listens at %s:%d did not prove to be %s", host, port, self._directory.named(peer.log_key))
        return None

    async def _serve(self, stream: TlsStream, key: bytes) -> None:
        set_keepalive(stream.transport_stream)
        link = Link(
            stream,
            queue_messages_max=limits.PEER_QUEUE_MESSAGES_MAX,
            queue_bytes_max=PEER_QUEUE_BYTES_MAX,
            frame_bytes_max=limits.FRAME_BYTES_MAX,
            first_frame_timeout_s=HELLO_TIMEOUT_S,
        )
        link.queue(self._hello())
        self._links.add(link)

        async def deliver(frames: list[bytes]) -> None:
            await self._deliver(key, link, frames)

        try:
            await link.run(deliver)
        finally:
            self._links.discard(link)
            await self._end(key, link)

    async def _end(self, key: bytes, link: Link) -> None:
        if link.fault is not None:
            self._counters.peer_faults += 1
            self._paused_until[key] = trio.current_time() + PEER_PAUSE_S
            log.warning("%s sent what breaks the protocol: %s", self._directory.named(key), link.fault)
        standing = self._standing.get(key)
        if standing is not None and standing.link is link:
            reason = str(link.fault or link.reason)
            log.info("link to %s is down: %s", self._directory.named(key), reason)
            try:
                await self._send_event.send(PeerDown(self._directory.number(key), reason, self._directory.epoch))
            except trio.BrokenResourceError:
                log.debug("nobody listens for the links' events any more")
            finally:
                del self._standing[key]
        link.done.set()

    # --- receiving ----------------------------------------------------------------------------------------------
    async def _deliver(self, key: bytes, link: Link, frames: list[bytes]) -> None:
        for data in frames:
            message: messages.PeerMessage = codec.decode(messages.PeerMessage, data)
            standing = self._standing.get(key)
            known = standing is not None and standing.link is link
            if isinstance(message, messages.PeerHello):
                self._check_hello(standing if known else None, message)
                await self._register(key, link, message.epoch)
            elif standing is None or not known:
                raise ProtocolError("wire.type", "PeerMessage", type(message).__name__, "PeerHello first")
            elif (event := self._arrival(standing, message)) is not None:
                await emit(self._send_event, event, link)
            else:
                self._counters.peer_passed_over += 1

    def _check_hello(self, standing: _Standing | None, hello: messages.PeerHello) -> None:
        if hello.genesis != self._genesis_id:
            raise ProtocolError("epoch.unknown", "PeerHello.genesis", hello.genesis, self._genesis_id.hex())
        if standing is not None and hello.epoch <= standing.epoch:
            expected = f"one hello for each link, or a later epoch than {standing.epoch}"
            raise ProtocolError("wire.type", "PeerHello.epoch", hello.epoch, expected)

    def _arrival(self, standing: _Standing, message: messages.PeerMessage) -> PeerEvent | None:
        """What a message is to this member; None where it is nothing."""
        epoch, number = self._directory.epoch, self._directory.number(standing.key)
        member = number < self._directory.committee.n
        if standing.epoch > epoch:
            passes = member and isinstance(message, ACROSS_EPOCHS)
        elif standing.epoch < epoch:
            number, passes = self._directory.visitor(standing.key), isinstance(message, messages.FetchLog)
        else:
            passes = member or (number < VISITOR and isinstance(message, VISITORS_MESSAGES))
        return PeerMessage(number, message, epoch) if passes else None

    async def _register(self, key: bytes, link: Link, epoch: int) -> None:
        """A link's other end has said in which epoch it is, for the first time or once it has gone over."""
        while (older := self._standing.get(key)) is not None and older.link is not link:
            older.link.close("a new link replaced it")
            await older.link.done.wait()
        if older is None:
            self._counters.peer_links += 1
            log.info("link to %s, in epoch %d, is up", self._directory.named(key), epoch)
        else:
            log.info("%s is in epoch %d now", self._directory.named(key), epoch)
        standing = self._standing[key] = _Standing(key, link, epoch)
        event = self._meeting(standing)
        if event is not None:
            await emit(self._send_event, event, link)


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
