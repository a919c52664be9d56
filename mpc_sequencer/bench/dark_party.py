"""One party of the dark benchmark: a process that holds its shares, its links to the others, and runs sessions.

The links are the members' own: TLS 1.3 with pinned certificates on loopback TCP, one link per pair, frames as between
nodes (:mod:`mpc_sequencer.node.link`). A delay is put on every message before it is queued on its links. The process
does what it is told over a pipe, one thing at a time, and answers each: :class:`Load` a batch, make ready for an
:class:`Attempt`, start its masks, start its clearing. Garbage is collected between these, not within.

What a member does beside: it signs what it says, logs the attempt before its first message, and has other work.
"""

from __future__ import annotations

import gc
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic_ns, process_time_ns
from typing import Any, Final

import trio

from mpc_sequencer.dark.clearing import Batch, Plan, clear, prepare
from mpc_sequencer.dark.field import SharedRows
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.program import Program
from mpc_sequencer.dark.prss import Prss, PrssKeys, Subset, prss_context
from mpc_sequencer.dark.session import Aborted, Begin, Blame, Clock, DarkSession, Done, Effect, Expired, Heard, Say
from mpc_sequencer.dark.transcript import MESSAGE_BYTES_MAX
from mpc_sequencer.node import tls
from mpc_sequencer.node.framing import frame
from mpc_sequencer.node.link import Link, TlsStream
from mpc_sequencer.node.peer_network import handshake

HOST: Final = "127.0.0.1"
LINKED_S_MAX: Final = 60.0
SESSION_S_MAX: Final = 60.0
_QUEUE_BYTES_MAX: Final = 64 << 20
_QUEUE_MESSAGES_MAX: Final = 4_096

PREPARE: Final = "prepare"
CLEAR: Final = "clear"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a party's process starts with: who it is, its keys, and everyone's certificate."""

    parties: int
    faults_t: int
    party: int
    keys: dict[Subset, bytes]
    log_seed: bytes
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """A batch: this party's ``rows``, 12 bytes an element; the ``deposit`` of each order; the rest as in ``Batch``."""

    params: DarkParams
    plan: Plan
    rows: bytes
    columns: int
    deposit: Deposit
    coin: bytes
    priority: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at the loaded batch, its number never used before, over a network of that delay (one way)."""

    number: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Start:
    """Start a part of the attempt: PREPARE or CLEAR."""

    part: str


@dataclass(frozen=True, slots=True)
class Ran:
    """A part is done here: at ``ended_ns`` of the machine's monotonic clock, after ``cpu_ns`` of this process.
    ``bytes_sent`` counts frames to all others, with their lengths and without TLS."""

    ended_ns: int
    cpu_ns: int
    rounds: int
    bytes_sent: int
    outcome: Any


def serve(connection: Connection, setup: Setup) -> None:
    """The process; it ends when the other end of the pipe closes."""
    trio.run(_until_closed, connection, setup)


async def _until_closed(connection: Connection, setup: Setup) -> None:
    try:
        await _Party(connection, setup).run()
    except* (EOFError, BrokenPipeError):
        pass


class _Party:
    def __init__(self, connection: Connection, setup: Setup) -> None:
        self._connection = connection
        self._setup = setup
        self._links: dict[int, Link] = {}
        self._linked = trio.Event()
        self._session: DarkSession[Any] | None = None
        self._ended = trio.Event()
        self._result: tuple[int, Any] = (0, None)
        self._wrong = ""
        self._bytes_sent = 0
        self._delay_s = 0.0
        self._held: deque[tuple[float, bytes]] = deque()
        self._holding = trio.Event()

    # --- the network ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        setup = self._setup
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._release)
            nursery.start_soon(partial(trio.serve_listeners, self._accept, listeners, handler_nursery=nursery))
            self._connection.send(listeners[0].socket.getsockname()[1])
            ports = await self._told()
            for other in range(setup.party):
                nursery.start_soon(self._dial, other, ports[other])
            with trio.fail_after(LINKED_S_MAX):
                await self._linked.wait()
            self._connection.send(None)
            await self._obey()

    async def _accept(self, transport: trio.SocketStream) -> None:
        setup = self._setup
        context = tls.server_context(setup.log_seed, setup.certificates)
        stream = trio.SSLStream(transport, context, server_side=True, https_compatible=True)
        if not await handshake(stream) or not tls.check_alpn(stream):
            return
        certificate = tls.peer_certificate(stream)
        if certificate in setup.certificates:
            await self._serve_link(setup.certificates.index(certificate), stream)

    async def _dial(self, other: int, port: int) -> None:
        setup = self._setup
        transport = await trio.open_tcp_stream(HOST, port)
        context = tls.peer_context(setup.log_seed, setup.certificates)
        stream = trio.SSLStream(transport, context, https_compatible=True)
        if not await handshake(stream) or not tls.check_pin(stream, setup.certificates[other]):
            raise RuntimeError(f"what listens for party {other} is not that party")
        await self._serve_link(other, stream)

    async def _serve_link(self, other: int, stream: TlsStream) -> None:
        link = self._links[other] = Link(
            stream,
            queue_messages_max=_QUEUE_MESSAGES_MAX,
            queue_bytes_max=_QUEUE_BYTES_MAX,
            frame_bytes_max=MESSAGE_BYTES_MAX,
            first_frame_timeout_s=float("inf"),
        )
        if len(self._links) == self._setup.parties - 1:
            self._linked.set()
        await link.run(partial(self._deliver, other))
        self._fail(f"the link to party {other} ended: {link.reason}")

    async def _deliver(self, other: int, frames: list[bytes]) -> None:
        for message in frames:
            if self._session is not None:
                self._apply(self._session.step(Heard(other, message)))

    def _say(self, message: bytes) -> None:
        framed = frame(message)
        self._bytes_sent += len(framed) * len(self._links)
        if self._delay_s:
            self._held.append((trio.current_time() + self._delay_s, framed))
            self._holding.set()
        else:
            self._queue(framed)

    def _queue(self, framed: bytes) -> None:
        for link in self._links.values():
            link.queue(framed)

    async def _release(self) -> None:
        """Queue what was held back, when its time has come; all messages are held equally long, so none overtakes."""
        while True:
            while self._held:
                due, framed = self._held[0]
                await trio.sleep_until(due)
                self._held.popleft()
                self._queue(framed)
            self._holding = trio.Event()
            await self._holding.wait()

    # --- what the parent tells ------------------------------------------------------------------------------------

    async def _told(self) -> Any:
        return await trio.to_thread.run_sync(self._connection.recv, abandon_on_cancel=True)

    async def _obey(self) -> None:
        setup = self._setup
        keys = PrssKeys(setup.parties, setup.faults_t, setup.party, setup.keys)
        load, batch = None, None
        shared, number, stock = None, 0, None
        while True:
            told = await self._told()
            if isinstance(told, Load):
                load, batch = told, _batch_of(told)
                answer: Any = None
            elif isinstance(told, Attempt):
                assert load is not None
                number, self._delay_s = told.number, told.delay_s
                context = prss_context(bytes(32), 1, 1, 1, number)
                prss = Prss(keys, setup.parties, setup.faults_t, setup.party, context)
                shared = Shared(prss, setup.faults_t)
                self._open(number, PREPARE, prepare(load.params, load.plan, shared))
                answer = None
            else:
                assert load is not None and batch is not None and shared is not None
                answer = await self._run()
                if told.part == PREPARE and isinstance(answer, Ran):
                    stock, answer = answer.outcome, replace(answer, outcome=None)
                    self._open(number, CLEAR, clear(load.params, load.plan, shared, batch, stock))
            self._connection.send(answer)

    def _open(self, number: int, part: str, program: Program[Any]) -> None:
        """A session that keeps what the others say, and says nothing yet."""
        setup = self._setup
        name = number.to_bytes(16, "big") + part.encode().ljust(16)
        self._session = DarkSession(name, setup.party, setup.parties, setup.faults_t, program)
        self._ended = trio.Event()
        self._bytes_sent = 0
        self._wrong = ""
        gc.collect()
        gc.freeze()

    async def _run(self) -> Ran | str:
        """Begin the session that is open, and wait for its end; what went wrong, in words, where anything did."""
        session = self._session
        assert session is not None
        cpu_ns = process_time_ns()
        self._apply(session.step(Begin()))
        with trio.move_on_after(SESSION_S_MAX) as scope:
            await self._ended.wait()
        if scope.cancelled_caught:
            self._apply(session.step(Expired()))
        if self._wrong:
            return self._wrong
        ended_ns, outcome = self._result
        return Ran(ended_ns, process_time_ns() - cpu_ns, session.round + 1, self._bytes_sent, outcome)

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(_, message):
                    self._say(message)
                case Done(outcome):
                    self._result = monotonic_ns(), outcome
                    self._ended.set()
                case Blame() | Aborted():
                    self._fail(repr(effect))
                case Clock():
                    pass  # parties here are slow, not silent: the session's own time is bounded

    def _fail(self, text: str) -> None:
        self._wrong = self._wrong or f"party {self._setup.party}: {text}"
        self._ended.set()


def _batch_of(load: Load) -> Batch:
    rows = SharedRows.from_bytes(load.rows, len(load.priority), load.columns)
    return Batch(rows, (load.deposit,) * len(load.priority), load.coin, load.priority)
