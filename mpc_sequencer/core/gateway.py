"""The clients' side of a member: admission in small steps, receipts, and what became of watched orders.

Submissions and fetched bodies queue per source and are taken in turn, a few orders at a time, so that neither a
client that sends thousands nor a peer that serves them holds up the rest or blocks a step for long. An answer goes
out only when all orders of its request are judged, and after their receipts are on disk.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Effect, Reply
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import (
    ExecutedRow,
    OrdersExecuted,
    OrdersFilled,
    OrdersFinal,
    Submit,
    SubmitReply,
    SubmitResult,
)
from mpc_sequencer.core.types import Envelope, Receipt
from threshold import ThresholdError

ORDERS_PER_TURN: Final = 32
_TEXT_CHARACTERS: Final = 250

QUEUED_ORDERS_PER_CLIENT_MAX: Final = 4_096
QUEUED_BYTES_PER_CLIENT_MAX: Final = 4 << 20
"""Of ciphertexts: as many orders, with room to spare, unless they are large ones."""

Admit = Callable[[Envelope, bytes], tuple[Receipt | None, str]]
"""Admission of a client's envelope with its order id: the receipt, and a code where it is a duplicate."""


@dataclass(slots=True)
class _Request:
    """A submission that is being judged."""

    client: int
    submit: Submit
    order_ids: list[bytes]
    results: list[SubmitResult] = field(default_factory=list)


class Gateway:
    """Queues of submissions by client, and watches by order."""

    def __init__(self, admit: Admit) -> None:
        self._admit = admit
        self._queues: dict[int, deque[_Request]] = {}
        self._waiting: Counter[bytes] = Counter()
        self._waiting_of: Counter[int] = Counter()
        self._bytes_of: Counter[int] = Counter()
        self._watchers: dict[bytes, list[int]] = {}
        self._watched: dict[int, set[bytes]] = {}
        self.effects: list[Effect] = []

    # --- submissions --------------------------------------------------------------------------------------------
    def submit(self, client: int, submit: Submit) -> None:
        """Queue a submission behind the client's earlier ones; refuse it whole where too much is queued already."""
        waiting = self._waiting_of[client] + len(submit.envelopes)
        size = self._bytes_of[client] + sum(len(envelope.ciphertext) for envelope in submit.envelopes)
        if waiting > QUEUED_ORDERS_PER_CLIENT_MAX or size > QUEUED_BYTES_PER_CLIENT_MAX:
            expected = f"at most {QUEUED_ORDERS_PER_CLIENT_MAX} of one client, {QUEUED_BYTES_PER_CLIENT_MAX} bytes"
            error = ProtocolError("intake.full", "envelopes", f"{waiting} with {size} bytes", expected)
            results = tuple(_refusal(envelope.order_id(), error) for envelope in submit.envelopes)
            self.effects.append(Reply(client, SubmitReply(request=submit.request, results=results)))
            return
        order_ids = [envelope.order_id() for envelope in submit.envelopes]
        self._waiting.update(order_ids)
        self._waiting_of[client], self._bytes_of[client] = waiting, size
        self._queues.setdefault(client, deque()).append(_Request(client, submit, order_ids))

    def __contains__(self, order_id: bytes) -> bool:
        """Whether a queued submission brings the order: its body need not be fetched."""
        return order_id in self._waiting

    def _done(self, client: int, request: _Request, start: int, stop: int | None) -> None:
        """Orders of a client's request are judged, or are to be judged no more."""
        order_ids = request.order_ids[start:stop]
        self._bytes_of[client] -= sum(len(envelope.ciphertext) for envelope in request.submit.envelopes[start:stop])
        for order_id in order_ids:
            if self._waiting[order_id] == 1:
                del self._waiting[order_id]
            else:
                self._waiting[order_id] -= 1
        self._waiting_of[client] -= len(order_ids)
        if not self._waiting_of[client]:
            del self._waiting_of[client], self._bytes_of[client]

    def gone(self, client: int) -> None:
        """A client left: its queue and watches go."""
        for request in self._queues.pop(client, ()):
            self._done(client, request, len(request.results), None)
        self._waiting_of.pop(client, None)
        for order_id in self._watched.pop(client, ()):
            watchers = self._watchers[order_id]
            watchers.remove(client)
            if not watchers:
                del self._watchers[order_id]

    def inherit(self, before: Gateway) -> None:
        """Go on with the clients of the epoch before: what they have submitted is judged in this one, what they watch
        they are told of."""
        self._queues, self._watchers, self._watched = before._queues, before._watchers, before._watched
        self._waiting, self._waiting_of, self._bytes_of = before._waiting, before._waiting_of, before._bytes_of

    def has_work(self) -> bool:
        return bool(self._queues)

    def work(self) -> None:
        """One turn: ORDERS_PER_TURN orders of the client whose turn it is."""
        if not self._queues:
            return
        client = next(iter(self._queues))
        queue = self._queues.pop(client)
        request = queue[0]
        start = len(request.results)
        stop = start + ORDERS_PER_TURN
        turn = zip(request.submit.envelopes[start:stop], request.order_ids[start:stop], strict=True)
        for envelope, order_id in turn:
            request.results.append(self._judge(client, envelope, order_id, request.submit.watch))
        self._done(client, request, start, stop)
        if len(request.results) == len(request.submit.envelopes):
            queue.popleft()
            reply = SubmitReply(request=request.submit.request, results=tuple(request.results))
            self.effects.append(Reply(client, reply))
        if queue:
            self._queues[client] = queue

    def _judge(self, client: int, envelope: Envelope, order_id: bytes, watch: bool) -> SubmitResult:
        try:
            receipt, code = self._admit(envelope, order_id)
        except (ProtocolError, ThresholdError) as error:
            return _refusal(order_id, error)
        if watch:
            self._watch(client, order_id)
        return SubmitResult(order_id=order_id, receipt=receipt, code=code, field="", seen="", expected="")

    # --- watches ------------------------------------------------------------------------------------------------
    def watch(self, client: int, order_id: bytes, lasting: bool) -> None:
        """Tell a client from now on what becomes of an order that is open (``lasting``) or still to be executed; one
        that has ended is not watched."""
        if lasting or order_id in self._watchers or order_id in self._waiting:
            self._watch(client, order_id)

    def _watch(self, client: int, order_id: bytes) -> None:
        watched = self._watched.setdefault(client, set())
        if order_id not in watched and len(watched) < limits.CLIENT_WATCH_ORDERS_MAX:
            watched.add(order_id)
            self._watchers.setdefault(order_id, []).append(client)

    def _unwatch(self, order_id: bytes) -> None:
        for client in self._watchers.pop(order_id, ()):
            self._watched[client].discard(order_id)

    def _by_client(self, order_ids: Iterable[bytes]) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {}
        for order_id in order_ids:
            for client in self._watchers.get(order_id, ()):
                found.setdefault(client, []).append(order_id)
        return found

    def final(self, height: int, block_id: bytes, order_ids: Iterable[bytes]) -> None:
        """Tell watchers that a final block sequenced their orders."""
        for client, mine in self._by_client(order_ids).items():
            self.effects.append(Reply(client, OrdersFinal(height, block_id, tuple(mine))))

    def executed(self, height: int, rows: dict[bytes, ExecutedRow], lasting: set[bytes]) -> None:
        """Tell watchers what became of a height's orders; watches of orders not ``lasting`` (resting) end."""
        for client, mine in self._by_client(rows).items():
            self.effects.append(Reply(client, OrdersExecuted(height, tuple(rows[i] for i in mine))))
        for order_id in rows:
            if order_id not in lasting:
                self._unwatch(order_id)

    def filled(self, height: int, rows: dict[bytes, ExecutedRow], lasting: set[bytes]) -> None:
        """Tell watchers that earlier, resting orders were filled."""
        for client, mine in self._by_client(rows).items():
            self.effects.append(Reply(client, OrdersFilled(height, tuple(rows[i] for i in mine))))
        for order_id in rows:
            if order_id not in lasting:
                self._unwatch(order_id)


def _refusal(order_id: bytes, error: ProtocolError | ThresholdError) -> SubmitResult:
    return SubmitResult(
        order_id=order_id,
        receipt=None,
        code=error.code,
        field=error.field[:_TEXT_CHARACTERS],
        seen=error.seen[:_TEXT_CHARACTERS],
        expected=error.expected[:_TEXT_CHARACTERS],
    )
