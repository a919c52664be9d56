"""The asynchronous client (trio): persistent links to the members, submission, receipts, and waiting for
outcomes.

What it relies on: an envelope is checked in full before it is sent, so a refusal for its form never costs a
round trip; every receipt is verified; finality and outcomes count when f+1 members report the same. A
member that is down or lies delays nothing as long as f+1 honest ones of those the client talks to answer.
After a reconnect, every order that has no outcome yet is submitted again: a duplicate gets the first
receipt again, and reports start anew. An order without an outcome after RESEND_S is sent again to the members
that have not reported one, ever more seldom: a member may have been recovering, or have forgotten who watched.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from mpc_sequencer.client.committee_key import CommitteeKey, KeyProofs, own_committee, require_key
from mpc_sequencer.client.errors import MemberFault, NotConnected, Refusal, TimedOut
from mpc_sequencer.client.keysearch import KEY_S_MAX, KeySearch, Progress
from mpc_sequencer.client.link import Connector, MemberLink
from mpc_sequencer.client.questions import REPLY_S_MAX, Answer, Questions
from mpc_sequencer.client.receipts import ReceiptStore, check_receipt
from mpc_sequencer.client.tracker import (
    ORDERS_MAX,
    OrderRecord,
    OrderTracker,
    Predicate,
    Submission,
    closing_refusal,
    is_executed,
    is_final,
    refusal_of,
    submission_of,
)
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import check_envelope
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import SUBMIT_ENVELOPES_MAX
from mpc_sequencer.core.messages import (
    ClientReply,
    ExecutedRow,
    KeyQuery,
    KeyReply,
    OrderQuery,
    OrderReply,
    OrdersExecuted,
    OrdersFilled,
    OrdersFinal,
    Refused,
    StatusQuery,
    StatusReply,
    Submit,
    SubmitReply,
)
from mpc_sequencer.core.types import Envelope, KeyCertificate, Receipt
from threshold import ThresholdError

FAULTS_KEPT_MAX: Final = 256
SEQUENCED: Final = "intake.sequenced"
RESEND_TICK_S: Final = 0.5


class SequencerClient:
    """A trader's connection to the committee; made by :func:`open_sequencer`."""

    def __init__(
        self,
        committee: Committee,
        connector: Connector,
        nodes: Sequence[int],
        *,
        receipts: ReceiptStore | None = None,
        orders_max: int = ORDERS_MAX,
    ) -> None:
        if not nodes or len(set(nodes)) != len(nodes) or not all(0 <= node < committee.n for node in nodes):
            raise ValueError(f"nodes are distinct members of 0 .. {committee.n - 1}, not {list(nodes)}")
        self.committee = own_committee(committee)
        """Seal with this one: it learns the threshold key, which the committee file may not have."""
        self.known: CommitteeKey | None = None
        """The key that a member proved."""
        self._proofs = KeyProofs(self.committee)
        self.nodes = tuple(nodes)
        self.tracker = OrderTracker(committee.f, orders_max)
        self.faults: list[MemberFault] = []
        """Proven misbehaviour of members, the first FAULTS_KEPT_MAX."""
        self._store = receipts
        self._links = {
            node: MemberLink(node, connector, connected=self._on_connected, deliver=self._on_reply)
            for node in nodes
        }
        self._questions = Questions(self._links)
        self._sent: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._changed = trio.Event()

    # ----------------------------------------------------------------------------------------------- lifetime

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all links up until cancelled."""
        async with trio.open_nursery() as nursery:
            for link in self._links.values():
                nursery.start_soon(link.run)
            nursery.start_soon(self._send_again)
            task_status.started()

    def connected(self) -> list[int]:
        """Members the client is connected to now."""
        return [node for node, link in self._links.items() if link.up.is_set()]

    def failure(self, node: int) -> str | None:
        """Why the last connection to ``node``, or attempt at one, ended; None while there was none."""
        return self._links[node].failure

    async def wait_connected(self, count: int, timeout_s: float = REPLY_S_MAX) -> list[int]:
        """Wait until ``count`` members are connected; raises :class:`NotConnected`."""
        with trio.move_on_after(timeout_s):
            while len(self.connected()) < count:
                await self._wait_change(0.05)
        up = self.connected()
        if len(up) < count:
            down = next(node for node, link in self._links.items() if not link.up.is_set())
            why = self._links[down].failure or "no answer yet"
            raise NotConnected(
                f"reached {len(up)} of the {count} members needed; node {down}: {why}",
                "check that the nodes run (`mpcseq node status`) and that the committee file is theirs",
            )
        return up

    # --------------------------------------------------------------------------------------------- submission

    def check(self, envelope: Envelope, now_ms: int | None = None) -> bytes:
        """Every check a member makes of an envelope alone; returns the order id or raises the refusal, or
        :class:`~.errors.KeyPending` before :meth:`key`."""
        require_key(self.committee)
        return check_envelope(self.committee, envelope, _now_ms() if now_ms is None else now_ms).order_id

    def send(self, envelopes: Sequence[Envelope], *, checked: bool = False) -> list[bytes]:
        """Send envelopes to every connected member without waiting for answers; returns their order ids.

        ``checked`` says that the caller made these envelopes itself with this library just now. Raises the
        refusal of the first bad envelope, before any is sent; :class:`~.errors.KeyPending`;
        :class:`~.errors.TooManyOrders`; :class:`NotConnected`.
        """
        now_ms = _now_ms()
        order_ids = [e.order_id() if checked else self.check(e, now_ms) for e in envelopes]
        up = self.connected()
        if not up:
            raise NotConnected("no member is connected", "wait for a connection first")
        now_ns = time.monotonic_ns()
        for order_id, envelope in zip(order_ids, envelopes, strict=True):
            self.tracker.add(order_id, envelope, up, now_ns)
        for node in up:
            self._submit_to(node, list(zip(order_ids, envelopes, strict=True)))
        return order_ids

    async def submit(self, envelopes: Sequence[Envelope], timeout_s: float = REPLY_S_MAX) -> list[Submission]:
        """Send envelopes and wait until every connected member answered, or ``timeout_s`` passed.

        Raises as :meth:`send`; :class:`TimedOut` when an order got neither a receipt nor a refusal from
        anybody.
        """
        order_ids = self.send(envelopes)
        records = [self.tracker.orders[order_id] for order_id in order_ids]

        def answered(record: OrderRecord) -> bool:
            asked = record.nodes & set(self.connected())
            return all(map(record.answered_by, asked)) and any(map(record.answered_by, record.nodes))

        await self._wait_all(records, answered, timeout_s)
        silent = [record for record in records if not any(map(record.answered_by, record.nodes))]
        if silent:
            raise TimedOut(f"{len(silent)} orders got no answer within {timeout_s:g} s", "submit them again")
        return [submission_of(record) for record in records]

    def _submit_to(self, node: int, orders: Sequence[tuple[bytes, Envelope]]) -> None:
        for start in range(0, len(orders), SUBMIT_ENVELOPES_MAX):
            chunk = orders[start : start + SUBMIT_ENVELOPES_MAX]
            request = self._questions.next_number()
            if self._links[node].send(Submit(request, tuple(envelope for _, envelope in chunk), True)):
                self._sent[node, request] = tuple(order_id for order_id, _ in chunk)
                continue
            for order_id, _ in chunk:  # its queue is full: it gets the order from the others, or later
                self.tracker.orders[order_id].nodes -= {node}

    async def _send_again(self) -> None:
        while True:
            await trio.sleep(RESEND_TICK_S)
            now_ns = time.monotonic_ns()
            for node in self.connected():
                self._submit_again(node, self.tracker.overdue(node, now_ns), now_ns)

    def _submit_again(self, node: int, records: Sequence[OrderRecord], now_ns: int) -> None:
        """Send orders to a member that may have had them."""
        for record in records:
            record.nodes |= {node}
            record.sent_again(node, now_ns)
        self._submit_to(node, [(record.order_id, record.envelope) for record in records])

    # ------------------------------------------------------------------------------------------------ waiting

    async def wait_final(self, order_ids: Iterable[bytes], timeout_s: float) -> list[OrderRecord]:
        """Wait until f+1 members report each order in one final block; raises :class:`TimedOut`, or the
        refusal of an order that every member refused.
        """
        return await self._wait_orders(order_ids, is_final, "final", timeout_s)

    async def wait_executed(self, order_ids: Iterable[bytes], timeout_s: float) -> list[OrderRecord]:
        """As :meth:`wait_final`, until f+1 members report the same outcome of each order."""
        return await self._wait_orders(order_ids, is_executed, "executed", timeout_s)

    async def _wait_orders(
        self, order_ids: Iterable[bytes], reached: Predicate, state: str, timeout_s: float
    ) -> list[OrderRecord]:
        records = [self.tracker.orders[order_id] for order_id in order_ids]
        await self._wait_all(records, lambda record: reached(record) or record.refused, timeout_s)
        for record in records:
            if record.refused and not reached(record):
                raise refusal_of(record)
        missing = [record for record in records if not reached(record)]
        if missing:
            raise TimedOut(
                f"{len(missing)} of {len(records)} orders were not {state} within {timeout_s:g} s",
                "they may still be: look again with `mpcseq order status`",
            )
        return records

    async def _wait_all(self, records: Sequence[OrderRecord], done: Predicate, timeout_s: float) -> None:
        waiting = list(records)
        with trio.move_on_after(timeout_s):
            while waiting := [record for record in waiting if not done(record)]:
                await self._wait_change(0.25)

    async def _wait_change(self, poll_s: float) -> None:
        with trio.move_on_after(poll_s):
            await self._changed.wait()

    # ------------------------------------------------------------------------------------------------ queries

    async def status(self, node: int, timeout_s: float = REPLY_S_MAX) -> StatusReply:
        """A member's view of itself; raises :class:`NotConnected` or :class:`TimedOut`."""
        reply = await self._questions.ask(node, StatusQuery(self._questions.next_number()), timeout_s)
        if not isinstance(reply, StatusReply) or reply.node != node:
            raise self._fault(node, ProtocolError("member.sender", "StatusReply.node", type(reply).__name__, node))
        return reply

    async def order(self, node: int, order_id: bytes, timeout_s: float = REPLY_S_MAX) -> OrderReply:
        """What a member says of an order; raises :class:`NotConnected` or :class:`TimedOut`."""
        reply = await self._questions.ask(node, OrderQuery(self._questions.next_number(), order_id), timeout_s)
        if not isinstance(reply, OrderReply) or reply.order_id != order_id:
            raise self._fault(node, ProtocolError("member.sender", "OrderReply.order_id", "another order", order_id))
        return reply

    async def key(self, timeout_s: float = KEY_S_MAX, progress: Progress | None = None) -> CommitteeKey:
        """The threshold key, proven by q members' signatures; :attr:`committee` seals and checks with it from then on.

        Waits while its generation goes on, and tells ``progress`` the phase that it waits for. A member whose
        certificate does not hold is among :attr:`faults`, and the others are asked. Raises :class:`~.errors.KeyPending`
        after ``timeout_s``, and :class:`MemberFault` where all members lied. Cancelled, it changes nothing.
        """
        return await KeySearch(self, progress).run(timeout_s)

    async def key_reply(self, node: int, timeout_s: float = REPLY_S_MAX) -> KeyReply:
        """What a member says of the key, unproven. Raises :class:`NotConnected` or :class:`TimedOut`."""
        reply = await self._questions.ask(node, KeyQuery(self._questions.next_number()), timeout_s)
        if not isinstance(reply, KeyReply):
            raise self._fault(node, ProtocolError("member.sender", "KeyReply", type(reply).__name__, "KeyReply"))
        return reply

    def check_key(self, node: int, certificate: KeyCertificate) -> CommitteeKey:
        """Check a certificate that member ``node`` sent. Raises :class:`MemberFault` naming the member."""
        try:
            return self._proofs.check(certificate)
        except (ProtocolError, ThresholdError) as refusal:
            raise self._fault(node, refusal) from None

    def take_key(self, node: int, certificate: KeyCertificate) -> CommitteeKey:
        """As :meth:`check_key`, and use its key from now on where none is known."""
        key = self.check_key(node, certificate)
        if self.committee.keys is None:
            self.known = self._proofs.take(certificate)
        return key

    # ------------------------------------------------------------------------------------------- what arrives

    def _on_connected(self, node: int) -> None:
        for key in [key for key in self._sent if key[0] == node]:
            del self._sent[key]
        open_orders = [record for record in self.tracker.unexecuted.values() if not record.refused]
        self._submit_again(node, open_orders, time.monotonic_ns())
        self._notify()

    def _on_reply(self, node: int, reply: ClientReply) -> None:
        now_ns = time.monotonic_ns()
        if isinstance(reply, SubmitReply):
            self._on_submit_reply(node, reply, now_ns)
        elif isinstance(reply, OrdersFinal):
            self.tracker.final(node, reply.height, reply.block_id, reply.order_ids, now_ns)
        elif isinstance(reply, OrdersExecuted):
            self.tracker.executed(node, reply.height, reply.rows, now_ns)
        elif isinstance(reply, OrdersFilled):
            self.tracker.filled(node, reply.height, reply.rows)
        elif isinstance(reply, OrderReply | StatusReply | KeyReply):
            self._on_answer(node, reply)
        elif isinstance(reply, Refused):
            raise self._fault(node, closing_refusal(reply))
        self._notify()

    def _on_submit_reply(self, node: int, reply: SubmitReply, now_ns: int) -> None:
        sent = self._sent.pop((node, reply.request), None)
        if sent is None or len(sent) != len(reply.results):
            expected = f"{len(sent)} results" if sent else "a request"
            raise self._fault(
                node, ProtocolError("wire.bound", "SubmitReply.results", len(reply.results), expected)
            )
        kept: list[tuple[Envelope, Receipt]] = []
        for order_id, result in zip(sent, reply.results, strict=True):
            record = self.tracker.orders.get(order_id)
            if record is None:
                continue
            if result.code and record.executed is None and (result.receipt or result.code == SEQUENCED):
                # It was here before: what was reported before this link existed is not reported again.
                self._links[node].send(OrderQuery(self._questions.next_number(), order_id))
            if result.receipt is None:
                if result.code == SEQUENCED:
                    self.tracker.sequenced(node, order_id)
                elif result.order_id == order_id:
                    self.tracker.refusal(node, result)
                continue
            if result.receipt == record.receipts.get(node):
                continue
            try:
                check_receipt(self.committee, result.receipt, order_id, node)
            except MemberFault as fault:
                raise self._fault(node, fault.refusal) from None
            if self.tracker.receipt(node, result.receipt, now_ns):
                kept.append((record.envelope, result.receipt))
        if self._store is not None:
            self._store.append(kept)

    def _on_answer(self, node: int, reply: Answer) -> None:
        if isinstance(reply, OrderReply) and reply.state == "executed":
            row = ExecutedRow(
                reply.order_id, reply.code, reply.filled_lots, reply.price_ticks, reply.notional
            )
            self.tracker.executed(node, reply.height, (row,), time.monotonic_ns())
        self._questions.answered(node, reply)

    def _fault(self, node: int, refusal: Refusal) -> MemberFault:
        fault = MemberFault(node, refusal)
        if len(self.faults) < FAULTS_KEPT_MAX:
            self.faults.append(fault)
        return fault

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def open_sequencer(
    committee: Committee,
    connector: Connector,
    nodes: Sequence[int] | None = None,
    *,
    receipts: ReceiptStore | None = None,
    orders_max: int = ORDERS_MAX,
) -> AsyncIterator[SequencerClient]:
    """A client with running links to ``nodes`` (all members by default); leaving the block closes them."""
    chosen = range(committee.n) if nodes is None else nodes
    client = SequencerClient(committee, connector, list(chosen), receipts=receipts, orders_max=orders_max)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        yield client
        nursery.cancel_scope.cancel()
