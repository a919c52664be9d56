"""Cores on virtual time over links of fixed delay, each charged for its computing: what ``bench regions`` runs.

A member works in rounds as its shell does: it takes all events that wait, does one chunk of work, flushes, and sends
when the round's computing is over; what arrives meanwhile waits for the next round. Times are integers in
microseconds; a core sees whole milliseconds. Messages cross in their canonical encoding. Nothing is lost and no
member fails: the figures are those of a committee that works.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from time import thread_time_ns
from types import TracebackType
from typing import Any, Final

from mpc_sequencer.bench.costs import ROUND, SYNC, cost_us
from mpc_sequencer.bench.floor import Geometry
from mpc_sequencer.bench.meter import Meter
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import (
    UNBINDING,
    Append,
    Broadcast,
    Effect,
    Event,
    FromClient,
    FromPeer,
    PeerUp,
    Persist,
    Reply,
    Send,
)
from mpc_sequencer.core.messages import ClientReply, ClientRequest, PeerMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.transcript import BlockEntry
from mpc_sequencer.core.types import Block
from mpc_sequencer.sim.deployment import START_MS, Deployment
from threshold import coin

BASES_KEPT: Final = 64


@dataclass(slots=True)
class _Member:
    core: NodeCore
    coin_base: Callable[..., Any]
    """Its own cache of block coins' points: members of one process must not do each other's work."""
    inbox: list[tuple[str, Event]] = field(default_factory=list)
    busy: bool = False
    alarm: int = 0


@dataclass(slots=True)
class Spent:
    """Where computing went, over all members: how often, and with ``measured`` the microseconds, by kind."""

    counts: Counter[str] = field(default_factory=Counter)
    us: Counter[str] = field(default_factory=Counter)
    rounds_ns: int = 0
    wire_ns: int = 0
    """Encoding once and decoding at each receiver, of all messages."""
    messages: int = 0
    message_bytes: int = 0


class Wan:
    """All members of ``deployment`` at the places of ``geometry``. A context manager: the run goes on and cryptographic
    calls are counted while it is open; it may be closed, and opened again later.

    ``costs`` is the table that computing is charged by, empty for none, None for the time really taken; ``timed`` times
    cryptographic calls though a table charges. ``on_reply`` gets (time, client, member, reply) when a reply reaches its
    client.
    """

    def __init__(
        self,
        deployment: Deployment,
        geometry: Geometry,
        costs: Mapping[str, int] | None,
        on_reply: Callable[[int, int, int, ClientReply], None],
        *,
        timed: bool = False,
    ) -> None:
        self.now_us = 0
        self.blocks: list[Block] = []
        """Final blocks, as member 0 logs them."""
        self.spent = Spent()
        self._geometry = geometry
        self._costs = costs
        self._on_reply = on_reply
        self.meter = Meter(timed=costs is None or timed)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._made = 0
        self._shared_base = coin._base
        self.members = [
            _Member(
                NodeCore(
                    deployment.committee,
                    node,
                    deployment.signers[node],
                    deployment.shares[node],
                    deployment.inputs,
                    entropy=bytes((node,)) * 32,
                ),
                lru_cache(maxsize=BASES_KEPT)(coin._base.__wrapped__),
            )
            for node in range(deployment.committee.n)
        ]

    def __enter__(self) -> Wan:
        self.meter.__enter__()
        if self._made:
            return self  # opened again: the run goes on
        for node, member in enumerate(self.members):
            self._carry_out(node, member.core.start(START_MS))
            member.inbox = [("PeerUp", PeerUp(peer)) for peer in range(len(self.members)) if peer != node]
            self._begin(node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.meter.__exit__()
        coin._base = self._shared_base

    # --- time -----------------------------------------------------------------------------------------------------
    def at(self, time_us: int, action: Callable[[], None]) -> None:
        """Do ``action`` at a virtual time."""
        self._made += 1
        heapq.heappush(self._queue, (time_us, self._made, action))

    def run(self, until: Callable[[], bool], limit_us: int) -> bool:
        """Go on until ``until()`` holds; False where it does not within ``limit_us`` more microseconds."""
        end_us = self.now_us + limit_us
        while not until():
            if not self._queue or self._queue[0][0] > end_us:
                self.now_us = end_us
                return False
            self.now_us, _, action = heapq.heappop(self._queue)
            action()
        return True

    # --- clients --------------------------------------------------------------------------------------------------
    def submit(self, client: int, node: int, request: ClientRequest) -> None:
        """A request that ``client`` sends to ``node`` now."""
        frame = encode(request)
        began_ns = thread_time_ns()
        event = FromClient(client, decode(ClientRequest, frame))
        self.spent.wire_ns += thread_time_ns() - began_ns
        delay_us = self._geometry.client_us[client][node]
        self.at(self.now_us + delay_us, partial(self._arrive, node, type(request).__name__, event))

    # --- members --------------------------------------------------------------------------------------------------
    def _arrive(self, node: int, kind: str, event: Event) -> None:
        self.members[node].inbox.append((kind, event))
        self._begin(node)

    def _begin(self, node: int) -> None:
        member = self.members[node]
        if not member.busy:
            member.busy = True
            member.alarm += 1
            self.at(self.now_us, partial(self._round, node))

    def _round(self, node: int) -> None:
        member, clock_ms = self.members[node], START_MS + self.now_us // 1_000
        core = member.core
        taken, member.inbox = member.inbox, []
        coin._base = member.coin_base  # type: ignore[assignment]
        calls_before = Counter(self.meter.calls)
        began_ns = thread_time_ns()
        effects: list[Effect] = []
        done: Counter[str] = Counter()
        for kind, event in taken:
            done[kind] += 1
            effects += self._timed(kind, lambda event=event: core.step(event, clock_ms))  # type: ignore[misc]
        if core.has_work():
            done["work"] += 1
            effects += self._timed("work", lambda: core.work(clock_ms))
        done[ROUND] += 1
        effects += self._timed(ROUND, lambda: core.flush(clock_ms))
        if any(isinstance(one, Persist) and not isinstance(one.record, UNBINDING) for one in effects):
            done[SYNC] += 1
        took_ns = thread_time_ns() - began_ns
        self.spent.rounds_ns += took_ns
        done += self.meter.calls - calls_before
        self.spent.counts += done
        cost = took_ns // 1_000 if self._costs is None else cost_us(done, self._costs)
        self.at(self.now_us + cost, partial(self._sent, node, effects))

    def _timed(self, kind: str, call: Callable[[], list[Effect]]) -> list[Effect]:
        """``call``, its time without the cryptographic calls inside noted under ``kind`` where time is measured."""
        if self._costs is not None:
            return call()
        crypto_ns, began_ns = self.meter.total_ns, thread_time_ns()
        result = call()
        self.spent.us[kind] += (thread_time_ns() - began_ns - self.meter.total_ns + crypto_ns) // 1_000
        return result

    def _sent(self, node: int, effects: list[Effect]) -> None:
        """A round is over: what it made leaves, and the next begins or waits."""
        self._carry_out(node, effects)
        member = self.members[node]
        member.busy = False
        if member.inbox or member.core.has_work():
            self._begin(node)
            return
        wake_us = max(self.now_us, (member.core.wake_at_ms() - START_MS) * 1_000)
        self.at(wake_us, partial(self._alarm, node, member.alarm))

    def _alarm(self, node: int, alarm: int) -> None:
        if self.members[node].alarm == alarm:
            self._begin(node)

    def _carry_out(self, node: int, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Broadcast(message):
                    self._transmit(node, [peer for peer in range(len(self.members)) if peer != node], message)
                case Send(peer, message):
                    self._transmit(node, [peer], message)
                case Reply(client, reply):
                    delay_us = self._geometry.client_us[client][node]
                    arrived: ClientReply = decode(ClientReply, encode(reply))
                    self.at(self.now_us + delay_us, partial(self._replied, client, node, arrived))
                case Append(BlockEntry(block)) if node == 0:
                    self.blocks.append(block)

    def _replied(self, client: int, node: int, reply: ClientReply) -> None:
        self._on_reply(self.now_us, client, node, reply)

    def _transmit(self, sender: int, receivers: list[int], sent: PeerMessage) -> None:
        began_ns = thread_time_ns()
        frame = encode(sent)
        encoded_ns = thread_time_ns()
        message: PeerMessage = decode(PeerMessage, frame)
        self.spent.wire_ns += encoded_ns - began_ns + len(receivers) * (thread_time_ns() - encoded_ns)
        kind = type(message).__name__
        self.spent.messages += len(receivers)
        self.spent.message_bytes += len(receivers) * len(frame)
        for receiver in receivers:
            arrival_us = self.now_us + self._geometry.one_way_us[sender][receiver]
            self.at(arrival_us, partial(self._arrive, receiver, kind, FromPeer(sender, message)))

    def measured_us(self) -> dict[str, float]:
        """Mean microseconds by kind of work; of cryptographic calls too. Empty unless time is measured."""
        spent = self.spent.us + Counter({name: ns // 1_000 for name, ns in self.meter.spent_ns.items()})
        return {kind: round(us / self.spent.counts[kind], 1) for kind, us in sorted(spent.items())}
