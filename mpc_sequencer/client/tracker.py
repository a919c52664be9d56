"""What a trader knows of its orders, from reports of members of which up to f lie: a pure state machine.

A receipt counts when its signature does. That an order is final, executed or filled later counts when f+1
members report the same: one of them is honest. Each member's first report of a kind about an order counts,
so a member cannot outvote the others by repeating itself; what contradicts the agreed value is that
member's fault.

States move forward only: ``submitted`` -> ``final`` -> ``executed``; ``refused`` is for an order that no
member it was sent to took or will take. A member that says an order is sequenced already has not refused it: after a
restart it remembers that and no receipt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from mpc_sequencer.client.errors import TooManyOrders
from mpc_sequencer.client.reports import ExecutedReport, FillReport, FinalReport, report_of
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import ExecutedRow, SubmitResult
from mpc_sequencer.core.types import Envelope, Receipt

ORDERS_MAX: Final = 200_000
UPDATES_PER_MEMBER_MAX: Final = 8_192
"""Reports of what later heights did to an order that are taken from one member: a liar fills only its own share."""
FAULTS_KEPT_MAX: Final = 256
EARLIER_RECEIPTS_MAX: Final = 64
KEY_PENDING: Final = "key.pending"
CUTOVER: Final = "intake.cutover"
LEAVING: Final = frozenset({"intake.leaving", "epoch.unknown"})
"""Refusals of a member whose epoch ends: the next committee's members are to be asked."""
NEVER_FINAL: Final = LEAVING | {KEY_PENDING, CUTOVER}
"""Refusals that never end an order: what they lack comes, the threshold key or the next committee or epoch."""
PASSING: Final = frozenset(
    {"intake.full", "intake.lists_full", "intake.recovering", "intake.sponsor_full", KEY_PENDING, CUTOVER}
)
"""Refusals that say something about the member's present state and nothing about the order."""

RESEND_MS: Final = 5_000
"""The age of an order at which it is sent again; then at twice that age, and so on."""
RESEND_ORDERS_MAX: Final = 128
"""To one member at once, so that a committee that is late is not made later."""
_RESEND_NS: Final = RESEND_MS * 1_000_000

Report = TypeVar("Report", FinalReport, ExecutedReport)


@dataclass(slots=True)
class OrderRecord:
    """One order as this client sees it. Times are nanoseconds of the caller's monotonic clock, None until
    it happened.
    """

    order_id: bytes
    envelope: Envelope
    nodes: frozenset[int]
    submitted_ns: int
    receipts: dict[int, Receipt] = field(default_factory=dict)
    """The latest of each member."""
    earlier_receipts: list[Receipt] = field(default_factory=list)
    """Other receipts that members gave: a member that lost its disk and came back gives new ones."""
    refusals: dict[int, SubmitResult] = field(default_factory=dict)
    sequenced: set[int] = field(default_factory=set)
    """Members that said it is sequenced already when it was sent to them."""
    final: FinalReport | None = None
    executed: ExecutedReport | None = None
    updates: list[ExecutedReport] = field(default_factory=list)
    """What later heights did to it while it was open, ascending by height: fills, and its end."""
    first_receipt_ns: int | None = None
    receipts_ns: int | None = None
    """When f+1 members had given a receipt, so at least one honest member is bound."""
    final_ns: int | None = None
    executed_ns: int | None = None
    ended_ns: int | None = None
    final_reports: dict[int, FinalReport] = field(default_factory=dict, repr=False)
    executed_reports: dict[int, ExecutedReport] = field(default_factory=dict, repr=False)
    again_ns: dict[int, int] = field(default_factory=dict, repr=False)
    """When to send it again, by member."""
    update_reports: dict[ExecutedReport, set[int]] = field(default_factory=dict, repr=False)
    updates_of: Counter[int] = field(default_factory=Counter, repr=False)
    """How many of these each member has made."""

    @property
    def refused(self) -> bool:
        """Whether every member it was sent to refused it, and none for want of the threshold key, of its place or of
        the next epoch."""
        taken = self.receipts or self.sequenced or self.final or self.executed
        waits = any(refusal.code in NEVER_FINAL for refusal in self.refusals.values())
        return bool(self.nodes) and not taken and not waits and len(self.refusals) >= len(self.nodes)

    def answered_by(self, node: int) -> bool:
        """Whether a member said what it did with it."""
        return node in self.receipts or node in self.refusals or node in self.sequenced

    def wants(self, node: int) -> bool:
        """Whether sending it to a member again may bring news."""
        refusal = self.refusals.get(node)
        done = self.refused or node in self.executed_reports
        return not done and (refusal is None or refusal.code in PASSING)

    def sent_again(self, node: int, now_ns: int) -> None:
        """Put the next time off until it is twice as old."""
        self.again_ns[node] = now_ns + max(now_ns - self.submitted_ns, _RESEND_NS)

    @property
    def state(self) -> str:
        """``submitted``, ``receipt``, ``final``, ``executed`` or ``refused``."""
        if self.executed is not None:
            return "executed"
        if self.final is not None:
            return "final"
        if self.receipts:
            return "receipt"
        return "refused" if self.refused else "submitted"

    @property
    def filled_lots(self) -> int:
        """Lots filled so far."""
        return sum(lots for _, lots, _, _ in self.fills())

    @property
    def notional_tick_lots(self) -> int:
        """The sum of price in ticks times lots over all fills so far."""
        return sum(notional for _, _, _, notional in self.fills())

    def history(self) -> list[ExecutedReport]:
        """What each height made of it, as f+1 members reported."""
        return [*([] if self.executed is None else [self.executed]), *self.updates]

    @property
    def fee_units(self) -> int:
        """Fees so far, in units of the quote asset."""
        return sum(one.fee_units for one in self.history())

    @property
    def open_lots(self) -> int | None:
        """What is open of it; 0 where it has ended or waits in the dark, None before its outcome is known."""
        history = self.history()
        return history[-1].remaining_lots if history else None

    @property
    def end(self) -> str | None:
        """The code it ended with; None while it is open, or its outcome is not known."""
        history = self.history()
        return history[-1].code if history and not history[-1].open else None

    def fills(self) -> list[FillReport]:
        """What each height filled of it, as f+1 members reported."""
        return [
            (one.height, one.filled_lots, one.price_ticks, one.notional_tick_lots)
            for one in self.history()
            if one.filled_lots > 0
        ]


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of one submitted envelope at the door: its receipts by member, and refusals by member."""

    order_id: bytes
    receipts: dict[int, Receipt]
    refusals: dict[int, ProtocolError]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Member ``node`` reported ``seen`` where f+1 members reported ``agreed``."""

    node: int
    order_id: bytes
    seen: str
    agreed: str


class OrderTracker:
    """All orders of one client. Every method is synchronous and raises nothing on what members report."""

    def __init__(self, f: int, orders_max: int = ORDERS_MAX) -> None:
        self._enough = f + 1
        self._orders_max = orders_max
        self.orders: dict[bytes, OrderRecord] = {}
        self.contradictions: list[Contradiction] = []
        self.unexecuted: dict[bytes, OrderRecord] = {}
        self.open: dict[bytes, OrderRecord] = {}
        """Orders that rest, or wait for their trigger or their dark batch."""
        self._counted: frozenset[int] | None = None
        """Members whose reports count; None for whoever reports."""

    def succeed(self, members: Iterable[int], f: int, now_ns: int) -> None:
        """Another committee has begun: from now on reports of its ``members`` count, f+1 of them, and of reports so far
        theirs. What was agreed stays."""
        self._enough, self._counted = f + 1, frozenset(members)
        for record in self.orders.values():
            record.nodes &= self._counted
            for reports in (record.refusals, record.final_reports, record.executed_reports):
                for node in [node for node in reports if node not in self._counted]:
                    del reports[node]
            for update, voters in list(record.update_reports.items()):
                voters &= self._counted
                self._count_update(record, update, now_ns)
        for record in list(self.unexecuted.values()):
            self._count_final(record, now_ns)
            self._count_executed(record, now_ns)

    def add(self, order_id: bytes, envelope: Envelope, nodes: Iterable[int], now_ns: int) -> OrderRecord:
        """Start to track an order; one that is tracked already keeps its record. Raises
        :class:`TooManyOrders`.
        """
        known = self.orders.get(order_id)
        if known is not None:
            known.nodes |= frozenset(nodes)
            return known
        if len(self.orders) >= self._orders_max:
            raise TooManyOrders(
                f"this client tracks {self._orders_max} orders already",
                "forget executed orders, or use another client",
            )
        record = OrderRecord(order_id, envelope, frozenset(nodes), now_ns)
        self.orders[order_id] = self.unexecuted[order_id] = record
        return record

    def forget(self, order_id: bytes) -> None:
        """Drop an order; later reports about it are ignored."""
        self.orders.pop(order_id, None)
        self.unexecuted.pop(order_id, None)
        self.open.pop(order_id, None)

    def receipt(self, node: int, receipt: Receipt, now_ns: int) -> bool:
        """Take a verified receipt; False when the order is unknown or the receipt a repetition."""
        record = self.orders.get(receipt.order_id)
        if record is None:
            return False
        held = record.receipts.get(node)
        if held is not None:
            return self._second_receipt(record, node, receipt)
        record.receipts[node] = receipt
        record.refusals.pop(node, None)
        if record.first_receipt_ns is None:
            record.first_receipt_ns = now_ns
        counted = record.receipts.keys() if self._counted is None else record.receipts.keys() & self._counted
        if record.receipts_ns is None and len(counted) >= self._enough:
            record.receipts_ns = now_ns
        return True

    @staticmethod
    def _second_receipt(record: OrderRecord, node: int, receipt: Receipt) -> bool:
        """Another receipt of one member: both stand for what it promised when."""
        held, earlier = record.receipts[node], record.earlier_receipts
        if receipt == held or receipt in earlier or len(earlier) >= EARLIER_RECEIPTS_MAX:
            return False
        newer = (receipt.epoch, receipt.incarnation) > (held.epoch, held.incarnation)
        earlier.append(held if newer else receipt)
        if newer:
            record.receipts[node] = receipt
        return True

    def sequenced(self, node: int, order_id: bytes) -> None:
        """A member says that the order is sequenced already."""
        record = self.orders.get(order_id)
        if record is not None:
            record.sequenced.add(node)
            record.refusals.pop(node, None)

    def refusal(self, node: int, result: SubmitResult) -> OrderRecord | None:
        """Take a member's refusal; returns the record."""
        record = self.orders.get(result.order_id)
        if record is not None and node not in record.receipts:
            record.refusals[node] = result
        return record

    def overdue(self, node: int, now_ns: int) -> list[OrderRecord]:
        """The oldest orders that are to be sent to a member again now, at most RESEND_ORDERS_MAX."""
        found: list[OrderRecord] = []
        for record in self.unexecuted.values():
            first_ns = record.submitted_ns + _RESEND_NS
            if len(found) >= RESEND_ORDERS_MAX or first_ns > now_ns:
                break  # the others are younger
            if record.again_ns.get(node, first_ns) <= now_ns and record.wants(node):
                found.append(record)
        return found

    def final(self, node: int, height: int, block_id: bytes, order_ids: Iterable[bytes], now_ns: int) -> int:
        """Take a report of finality; returns how many orders became final by it."""
        report = (height, block_id)
        count = 0
        for order_id in order_ids:
            record = self.orders.get(order_id)
            if record is not None and self._heard(record.final_reports, node, report, record.final, order_id):
                count += self._count_final(record, now_ns)
        return count

    def executed(self, node: int, height: int, rows: Iterable[ExecutedRow], now_ns: int) -> int:
        """Take a report of outcomes; returns how many orders became executed by it."""
        count = 0
        for row in rows:
            record = self.orders.get(row.order_id)
            if record is None:
                continue
            report = report_of(height, row)
            if self._heard(record.executed_reports, node, report, record.executed, row.order_id):
                count += self._count_executed(record, now_ns)
        return count

    def _count_final(self, record: OrderRecord, now_ns: int) -> bool:
        """Whether enough members agree on an order's block by now that did not before."""
        agreed = self._agreed(record.final_reports, record.order_id) if record.final is None else None
        if agreed is None:
            return False
        record.final, record.final_ns, record.final_reports = agreed, now_ns, {}
        return True

    def _count_executed(self, record: OrderRecord, now_ns: int) -> bool:
        """As :meth:`_count_final`, for its outcome."""
        agreed = self._agreed(record.executed_reports, record.order_id) if record.executed is None else None
        if agreed is None:
            return False
        record.executed, record.executed_ns, record.executed_reports = agreed, now_ns, {}
        self.unexecuted.pop(record.order_id, None)
        if record.end is None:
            self.open[record.order_id] = record
        elif record.ended_ns is None:
            record.ended_ns = now_ns
        return True

    def filled(self, node: int, height: int, rows: Iterable[ExecutedRow], now_ns: int | None = None) -> None:
        """Take a report of what a later height did to open orders: filled them, or ended them."""
        for row in rows:
            record = self.orders.get(row.order_id)
            if record is None:
                continue
            key = report_of(height, row)
            if not self._counts(node) or node in record.update_reports.get(key, ()):
                continue
            if record.updates_of[node] >= UPDATES_PER_MEMBER_MAX:
                continue
            record.updates_of[node] += 1
            record.update_reports.setdefault(key, set()).add(node)
            self._count_update(record, key, now_ns)

    def _count_update(self, record: OrderRecord, update: ExecutedReport, now_ns: int | None) -> None:
        if len(record.update_reports[update]) < self._enough or update in record.updates:
            return
        record.updates.append(update)
        record.updates.sort()
        if record.end is not None:
            self.open.pop(record.order_id, None)
            record.ended_ns = now_ns if record.ended_ns is None else record.ended_ns

    def _counts(self, node: int) -> bool:
        return self._counted is None or node in self._counted

    def _heard(
        self, reports: dict[int, Report], node: int, report: Report, agreed: Report | None, order_id: bytes
    ) -> bool:
        """Take a member's first report of a kind; whether it is one to count."""
        if not self._counts(node):
            return False
        if agreed is not None:
            if report != agreed:
                self._contradicted(node, order_id, report, agreed)
            return False
        return reports.setdefault(node, report) is report

    def _agreed(self, reports: dict[int, Report], order_id: bytes) -> Report | None:
        """What f+1 members report; who reports something else contradicts them."""
        if len(reports) < self._enough:
            return None
        for report in set(reports.values()):
            if sum(other == report for other in reports.values()) >= self._enough:
                for node, seen in reports.items():
                    if seen != report:
                        self._contradicted(node, order_id, seen, report)
                return report
        return None

    def _contradicted(self, node: int, order_id: bytes, seen: object, agreed: object) -> None:
        if len(self.contradictions) < FAULTS_KEPT_MAX:
            self.contradictions.append(Contradiction(node, order_id, repr(seen), repr(agreed)))
