"""The asynchronous client (trio): persistent links to the members, submission, receipts, and waiting for
outcomes.

What it relies on: an envelope is checked in full before it is sent, so a refusal for its form never costs a
round trip; every receipt is verified; finality and outcomes count when f+1 members report the same. A
member that is down or lies delays nothing as long as f+1 honest ones of those the client talks to answer.
After a reconnect, every order that has no outcome yet is submitted again: a duplicate gets the first
receipt again, and reports start anew. An order without an outcome after RESEND_S is sent again to the members
that have not reported one, ever more seldom: a member may have been recovering, or have forgotten who watched.

A committee may be replaced (docs/epochs.md). The client follows the proofs that members show it; a *node* here is a
member's place (:mod:`mpc_sequencer.client.roster`): its index in the first committee, or what follows for who joined
later. f+1 are counted among the newest committee, and what a member signed is judged by the epoch that it names.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from mpc_sequencer.client.committee_key import require_key
from mpc_sequencer.client.errors import MemberFault, NotConnected, TimedOut
from mpc_sequencer.client.link import Connector, Newcomers, open_member
from mpc_sequencer.client.member_client import MemberClient
from mpc_sequencer.client.questions import REPLY_S_MAX, Answer
from mpc_sequencer.client.receipts import ReceiptStore, check_receipt
from mpc_sequencer.client.tracker import LEAVING, ORDERS_MAX, OrderRecord, OrderTracker, Submission
from mpc_sequencer.client.verdicts import Predicate, is_ended, is_executed, is_final, refusal_of, submission_of
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import check_envelope
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import SUBMIT_BYTES_MAX, SUBMIT_ENVELOPES_MAX
from mpc_sequencer.core.messages import (
    ClientReply,
    ExecutedRow,
    OrderQuery,
    OrderReply,
    OrdersExecuted,
    OrdersFilled,
    OrdersFinal,
    Refused,
    Submit,
    SubmitReply,
)
from mpc_sequencer.core.types import Envelope, Receipt

FAULTS_KEPT_MAX: Final = 256
SEQUENCED: Final = "intake.sequenced"
RESEND_TICK_S: Final = 0.5


class SequencerClient(MemberClient):
    """A trader's connection to the committee; made by :func:`open_sequencer`."""

    def __init__(
        self,
        committee: Committee,
        connector: Connector,
        nodes: Sequence[int] | None = None,
        *,
        receipts: ReceiptStore | None = None,
        orders_max: int = ORDERS_MAX,
        newcomers: Newcomers = open_member,
    ) -> None:
        super().__init__(committee, connector, nodes, newcomers)
        self.tracker = OrderTracker(committee.f, orders_max)
        self._store = receipts
        self._sent: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._unjudged: dict[int, set[bytes]] = {}
        """Orders for which a member gave receipts of an epoch that is not known yet."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all links up until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(super().run)
            nursery.start_soon(self._send_again)
            task_status.started()

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
        for chunk in requests_of(orders):
            request = self._questions.next_number()
            link = self._links.get(node)
            if link is not None and link.send(Submit(request, tuple(envelope for _, envelope in chunk), True)):
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

    async def wait_ended(self, order_ids: Iterable[bytes], timeout_s: float) -> list[OrderRecord]:
        """As :meth:`wait_final`, until f+1 members report how each order ended: one that rests goes on until it is
        filled or cancelled, one in a dark market until its batch is over."""
        return await self._wait_orders(order_ids, is_ended, "at their end", timeout_s)

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

    # ------------------------------------------------------------------------------------------- what arrives

    def _on_connected(self, node: int) -> None:
        for key in [key for key in self._sent if key[0] == node]:
            del self._sent[key]
        open_orders = [record for record in self.tracker.unexecuted.values() if not record.refused]
        self._submit_again(node, open_orders, time.monotonic_ns())
        for record in list(self.tracker.open.values()):  # what came while nobody was there to be told
            self._ask_order(node, record)
        self._notify()

    def _ask_order(self, node: int, record: OrderRecord) -> None:
        """Have a member tell what has become of an order, and what will."""
        history = record.history()
        after_height = history[-1].height if history else 0
        link = self._links.get(node)
        if link is not None:
            link.send(OrderQuery(self._questions.next_number(), record.order_id, after_height, True))

    def _on_committee(self) -> None:
        """Another committee is proven; its new members get the open orders when their links are up."""
        now_ns = time.monotonic_ns()
        if self._store is not None:
            self._store.follow(self.committee)
        self.tracker.succeed(self.roster.places, self.committee.f, now_ns)
        for key in [key for key in self._sent if key[0] not in self._links]:
            del self._sent[key]
        unjudged, self._unjudged = self._unjudged, {}
        for node, order_ids in unjudged.items():
            if node in self.connected():
                orders = self.tracker.orders
                self._submit_again(node, [orders[one] for one in sorted(order_ids) if one in orders], now_ns)
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
            self.tracker.filled(node, reply.height, reply.rows, now_ns)
        else:
            self._on_answer(node, reply)
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
                self._ask_order(node, record)
            if result.receipt is None:
                if result.code == SEQUENCED:
                    self.tracker.sequenced(node, order_id)
                elif result.order_id == order_id:
                    self.tracker.refusal(node, result)
                    if result.code in LEAVING:
                        self._members.ask(node)
                continue
            if result.receipt == record.receipts.get(node) or not self._judge(node, result.receipt, order_id):
                continue
            if self.tracker.receipt(node, result.receipt, now_ns):
                kept.append((record.envelope, result.receipt))
        if self._store is not None:
            self._store.append(kept)

    def _judge(self, node: int, receipt: Receipt, order_id: bytes) -> bool:
        """Check a receipt by the epoch that it names; False where that is a later one than is known, which the member
        is asked to prove. Raises :class:`MemberFault`."""
        if receipt.epoch > self.committee.epoch:
            self._unjudged.setdefault(node, set()).add(order_id)
            self._members.ask(node)
            return False
        committee = self.roster.committee(receipt.epoch) or self.committee
        index = self.roster.index(node, committee.epoch)
        try:
            check_receipt(committee, receipt, order_id, -1 if index is None else index)
        except MemberFault as fault:
            raise self._fault(node, fault.refusal) from None
        return True

    def _on_answer(self, node: int, reply: Answer | Refused) -> None:
        if isinstance(reply, OrderReply) and reply.state == "executed":
            self._on_order(node, reply)
        super()._on_answer(node, reply)

    def _on_order(self, node: int, reply: OrderReply) -> None:
        row = ExecutedRow(
            order_id=reply.order_id,
            code=reply.code,
            filled_lots=reply.filled_lots,
            price_ticks=reply.price_ticks,
            notional=reply.notional,
            fee=reply.fee,
            remaining_lots=reply.remaining_lots,
        )
        self.tracker.executed(node, reply.height, (row,), time.monotonic_ns())
        for height, update in reply.updates:
            if update.order_id != reply.order_id:
                fault = ProtocolError("member.sender", "OrderReply.updates", update.order_id, reply.order_id.hex())
                raise self._fault(node, fault)
            self.tracker.filled(node, height, (update,), time.monotonic_ns())
        link = self._links.get(node)
        if reply.more and reply.updates and link is not None:
            after_height = reply.updates[-1][0]
            link.send(OrderQuery(self._questions.next_number(), reply.order_id, after_height, True))


def requests_of(orders: Sequence[tuple[bytes, Envelope]]) -> Iterator[list[tuple[bytes, Envelope]]]:
    """Orders in groups that a request may hold: SUBMIT_ENVELOPES_MAX, and SUBMIT_BYTES_MAX of ciphertexts."""
    chunk: list[tuple[bytes, Envelope]] = []
    size = 0
    for one in orders:
        size += len(one[1].ciphertext)
        if chunk and (len(chunk) == SUBMIT_ENVELOPES_MAX or size > SUBMIT_BYTES_MAX):
            yield chunk
            chunk, size = [], len(one[1].ciphertext)
        chunk.append(one)
    if chunk:
        yield chunk


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
    newcomers: Newcomers = open_member,
) -> AsyncIterator[SequencerClient]:
    """A client with running links to ``nodes`` of ``committee``, the first that it knows (all members by default), and
    of those that follow; leaving the block closes them. ``newcomers`` connects to members that a proof names."""
    client = SequencerClient(
        committee, connector, nodes, receipts=receipts, orders_max=orders_max, newcomers=newcomers
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        yield client
        nursery.cancel_scope.cancel()
