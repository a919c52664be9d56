"""Which dark orders a batch has, from the log alone, and a party's door for the bundles they come in.

The rule. What concerns a batch's inputs is logged in five phases, whose ends the log gives (heights, not clocks), and
everything said in a phase may be answered in the next::

    ORDERS         the orders: terms and signature
    COMPLAINTS     "nothing came" (MISSING), signed by the party
    DELIVERIES     the sealed bundle, against such a complaint
    OBJECTIONS     "what came is bad" (BAD), signed by the party
    OPENINGS       that one bundle in the open, against such a complaint

Acknowledgements count in all phases. :func:`fixed_orders` walks over the log's items and gives the batch: an order is
in it where it is valid, no more than t parties complained, every complaint was answered, and all but the *absent*
parties hold its shares. Absent are at most t parties, the same ones for the whole batch, for a party that lacks one row
can compute nothing. It is a pure function: every member and auditor has the same batch before anything is computed.

Silence is not a complaint: it opens nothing and stops nothing, and a party that was silent is one of the absent. An
honest party that is up always ends an order's phases with its shares, or the order is refused: where nothing came it
complains, where the answer is bad it objects, and there is a phase for each. One that objects does so because the
trader signed for bad bytes, so what is then opened harms no honest trader (see :mod:`mpc_sequencer.dark.bundles`).

An answer counts only where it is what the trader signed for; a false one, whoever logs it, changes nothing. That the
deposit is locked and the nonce is fresh in the trader's account is the state's to say: who calls :func:`fixed_orders`
leaves out orders that are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark.bundles import (
    check_acknowledgement,
    check_complaint,
    check_delivery,
    check_opened,
    check_order,
    check_window,
    open_delivery,
)
from mpc_sequencer.dark.field import SharedRows
from mpc_sequencer.dark.inputs import (
    BAD,
    COMPLAINT_NAMES,
    MISSING,
    Acknowledgement,
    BatchContext,
    Complaint,
    DarkOrder,
    Delivery,
    OpenedBundle,
)
from mpc_sequencer.dark.layout import Layout

DELIVERIES_AHEAD_PER_TRADER_MAX: Final = 8
"""Delivered orders of one trader that a party keeps before the log has them."""
DELIVERIES_AHEAD_FACTOR: Final = 2
"""Delivered orders that a party keeps in all, in full batches."""


class Phase(IntEnum):
    """Where in the log an item stands."""

    ORDERS = 0
    COMPLAINTS = 1
    DELIVERIES = 2
    OBJECTIONS = 3
    OPENINGS = 4


LogItem = DarkOrder | Acknowledgement | Complaint | Delivery | OpenedBundle


@dataclass(frozen=True, slots=True)
class Fixed:
    """A batch's inputs: ``order_ids`` in log order, the parties that are absent from the computation, the refused
    orders with their codes, and the items of the log that broke a rule with theirs."""

    order_ids: tuple[bytes, ...]
    absent: frozenset[int]
    refused: tuple[tuple[bytes, str], ...]
    ignored: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class Standing:
    """What the log says of one order: who holds its shares, and who complained of what and was answered."""

    order: DarkOrder
    served: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    delivered: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)
    opened: dict[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def complainants(self) -> set[int]:
        return self.missing | self.bad

    @property
    def unanswered(self) -> set[int]:
        """Of those that complained: nothing came and nothing was logged, or a bad bundle was not opened."""
        return (self.missing - self.delivered - self.served) | (self.bad - self.opened.keys())


class BatchLog:
    """The log's items about one batch, applied in turn. A refused item raises ProtocolError and changes nothing."""

    def __init__(self, context: BatchContext) -> None:
        self.context = context
        self.phase = Phase.ORDERS
        self.standings: dict[bytes, Standing] = {}
        self._nonces: dict[tuple[bytes, int], bytes] = {}

    def apply(self, phase: Phase, item: LogItem) -> None:
        """Take up the next item. Raises ``dark.phase`` for one that comes too late, ``ValueError`` where the log's
        phases go back."""
        if phase < self.phase:
            raise ValueError(f"phase {phase.name} after {self.phase.name}")
        self.phase = phase
        if isinstance(item, DarkOrder):
            self._order(item)
        elif isinstance(item, Acknowledgement):
            self._acknowledged(item)
        elif isinstance(item, Complaint):
            self._complaint(item)
        elif isinstance(item, Delivery):
            self._delivery(item)
        else:
            self._opened(item)

    def fixed(self, time_ms: int) -> Fixed:
        """The batch as the log stands; ``time_ms`` is the block time of its close."""
        chosen: list[bytes] = []
        absent: frozenset[int] = frozenset()
        refused: list[tuple[bytes, str]] = []
        params = self.context.params
        for order_id, standing in self.standings.items():
            silent = absent | (frozenset(range(params.parties)) - standing.served)
            code = self._refusal(standing, time_ms)
            if code is None and len(silent) > params.faults_t:
                code = "dark.unacknowledged"
            if code is None and len(chosen) == params.orders_max:
                code = "dark.batch_full"
            if code is None:
                chosen.append(order_id)
                absent = silent
            else:
                refused.append((order_id, code))
        return Fixed(tuple(chosen), absent, tuple(refused), ())

    def _refusal(self, standing: Standing, time_ms: int) -> str | None:
        try:
            check_window(standing.order.terms, time_ms)
        except ProtocolError as error:
            return error.code
        if len(standing.complainants) > self.context.params.faults_t:
            return "dark.complaints"
        return "dark.unanswered" if standing.unanswered else None

    def _standing(self, order_id: bytes) -> Standing:
        standing = self.standings.get(order_id)
        if standing is None:
            raise ProtocolError("dark.unknown_order", "order_id", order_id, "an order of this batch in the log")
        return standing

    def _until(self, last: Phase, what: str) -> None:
        if self.phase > last:
            raise ProtocolError("dark.phase", what, self.phase.name, f"{last.name} at the latest")

    def _order(self, order: DarkOrder) -> None:
        self._until(Phase.ORDERS, "DarkOrder")
        check_order(self.context, order)
        terms, order_id = order.terms, order.order_id()
        first = self._nonces.get((terms.trader, terms.nonce))
        if first is not None:
            raise ProtocolError("dark.duplicate", "DarkTerms.nonce", terms.nonce, f"one order, {first.hex()}")
        self._nonces[terms.trader, terms.nonce] = order_id
        self.standings[order_id] = Standing(order)

    def _acknowledged(self, item: Acknowledgement) -> None:
        check_acknowledgement(self.context, item)
        standings = [self._standing(order_id) for order_id in item.order_ids]
        for standing in standings:
            standing.served.add(item.party)

    def _complaint(self, item: Complaint) -> None:
        check_complaint(self.context, item)
        self._until(Phase.COMPLAINTS if item.kind == MISSING else Phase.OBJECTIONS, COMPLAINT_NAMES[item.kind])
        standing = self._standing(item.order_id)
        said = standing.missing if item.kind == MISSING else standing.bad
        if item.party in said or item.party in standing.served:
            raise ProtocolError("dark.repeated", "Complaint.party", item.party, "one word of a party about an order")
        said.add(item.party)

    def _delivery(self, item: Delivery) -> None:
        self._until(Phase.DELIVERIES, "Delivery")
        standing = self._standing(item.order.order_id())
        if item.party not in standing.missing - standing.delivered:
            raise ProtocolError("dark.uncalled", "Delivery.party", item.party, "a party whose complaint is open")
        check_delivery(self.context, item)
        standing.delivered.add(item.party)

    def _opened(self, item: OpenedBundle) -> None:
        standing = self._standing(item.order_id)
        if item.party not in standing.bad - standing.opened.keys():
            raise ProtocolError("dark.uncalled", "OpenedBundle.party", item.party, "a party whose complaint is open")
        standing.opened[item.party] = check_opened(self.context, standing.order, item)
        standing.served.add(item.party)


def fixed_orders(context: BatchContext, log_items: Iterable[tuple[Phase, LogItem]], time_ms: int) -> Fixed:
    """The batch that a closed log fixes. ``time_ms`` is the block time at the close. Items that break a rule are passed
    over and reported by their place with their code."""
    log, ignored = BatchLog(context), []
    for place, (phase, item) in enumerate(log_items):
        try:
            log.apply(phase, item)
        except ProtocolError as error:
            ignored.append((place, error.code))
    fixed = log.fixed(time_ms)
    return Fixed(fixed.order_ids, fixed.absent, fixed.refused, tuple(ignored))


class Intake:
    """Party ``party``'s door in one batch. ``secret`` is its X25519 key (32 bytes), ``signer`` its consensus key.

    Deliveries come in any number and order; the log is taken up item by item. Shows nothing secret."""

    def __init__(self, context: BatchContext, party: int, secret: bytes, signer: Signer) -> None:
        if signer.address != context.members[party]:
            raise ValueError(f"the signer is not party {party}")
        self.context = context
        self.party = party
        self.log = BatchLog(context)
        self._secret = secret
        self._signer = signer
        self._shares: dict[bytes, bytes] = {}
        self._ahead: dict[bytes, set[bytes]] = {}
        self._bad: dict[bytes, str] = {}
        self._told: set[bytes] = set()

    def __repr__(self) -> str:
        return f"Intake(batch={self.context.batch}, party={self.party}, orders={len(self._shares)})"

    def __reduce__(self) -> str:
        raise TypeError("an intake cannot be pickled")

    @property
    def bad(self) -> dict[bytes, str]:
        """Orders whose trader signed for a bad bundle of this party, with the code of what is wrong."""
        return dict(self._bad)

    def deliver(self, delivery: Delivery) -> None:
        """Take a sealed bundle from the trader, or from whoever passes it on. Raises ProtocolError, and keeps nothing,
        where it is not this party's or the trader did not sign for it: then nothing has come. A bundle that the trader
        signed for and that is bad raises too; :meth:`complaints` says so in public."""
        order_id = delivery.order.order_id()
        if delivery.party != self.party:
            raise ProtocolError("dark.party", "Delivery.party", delivery.party, self.party)
        if order_id in self._shares or order_id in self._bad:
            raise ProtocolError("dark.delivered", "order_id", order_id, "one delivery of an order")
        ahead, trader = order_id not in self.log.standings, delivery.order.terms.trader
        if ahead:
            self._check_room(trader)
            check_order(self.context, delivery.order)
        check_delivery(self.context, delivery)
        if ahead:
            self._ahead.setdefault(trader, set()).add(order_id)
        self._open(order_id, delivery)

    def logged(self, phase: Phase, item: LogItem) -> None:
        """Take up the next item of the log. Raises ProtocolError as :meth:`BatchLog.apply` does; whatever was wrong
        with this party's own answered bundle shows in :attr:`bad` and :meth:`complaints`."""
        self.log.apply(phase, item)
        if isinstance(item, DarkOrder):
            ahead = self._ahead.get(item.terms.trader, set())
            ahead.discard(item.order_id())
            if not ahead:
                self._ahead.pop(item.terms.trader, None)
        elif isinstance(item, Delivery) and item.party == self.party:
            order_id = item.order.order_id()
            if order_id not in self._shares and order_id not in self._bad:
                try:
                    self._open(order_id, item)
                except ProtocolError as error:
                    assert self._bad[order_id] == error.code
        elif isinstance(item, OpenedBundle) and item.party == self.party:
            self._shares.setdefault(item.order_id, self.log.standings[item.order_id].opened[self.party])

    def acknowledge(self) -> Acknowledgement | None:
        """A signed word about logged orders whose shares are here and of which none was given, LIST_ENTRIES_MAX of them
        at a time; None for none."""
        held = [one for one in self.log.standings if one in self._shares and one not in self._told]
        held = held[: limits.LIST_ENTRIES_MAX]
        if not held:
            return None
        self._told.update(held)
        context = self.context
        blank = Acknowledgement(
            context.epoch, context.batch, context.market, self.party, tuple(held), NO_SIGNATURE
        )
        return Acknowledgement(
            *(blank.epoch, blank.batch, blank.market, blank.party, blank.order_ids),
            self._signer.sign_digest(context.digest(blank.struct_hash())),
        )

    def complaints(self) -> tuple[Complaint, ...]:
        """Signed complaints about logged orders without good shares here, as the log's phase allows them: to be asked
        for once the traders have had time to deliver, and again after each phase. Those that the log has are not
        repeated."""
        said = []
        for order_id, standing in self.log.standings.items():
            if order_id in self._shares:
                continue
            if order_id in self._bad:
                if self.party not in standing.bad and self.log.phase <= Phase.OBJECTIONS:
                    said.append(self._complain(order_id, BAD))
            elif self.party not in standing.missing and self.log.phase <= Phase.COMPLAINTS:
                said.append(self._complain(order_id, MISSING))
        return tuple(said)

    def rows(self, order_ids: tuple[bytes, ...]) -> SharedRows:
        """This party's shares of the batch's orders. Raises ``dark.absent`` where it lacks one: it then stays out."""
        for order_id in order_ids:
            if order_id not in self._shares:
                raise ProtocolError("dark.absent", "order_id", order_id, "shares of every order of the batch")
        columns = Layout.of(self.context.params).columns
        return SharedRows.from_bytes(b"".join(self._shares[one] for one in order_ids), len(order_ids), columns)

    def _open(self, order_id: bytes, delivery: Delivery) -> None:
        try:
            self._shares[order_id] = open_delivery(self.context, self.party, self._secret, delivery)
        except ProtocolError as error:
            self._bad[order_id] = error.code
            raise

    def _complain(self, order_id: bytes, kind: int) -> Complaint:
        context = self.context
        terms = (context.epoch, context.batch, context.market, self.party, order_id, kind)
        blank = Complaint(*terms, NO_SIGNATURE)  # type: ignore[arg-type]
        signature = self._signer.sign_digest(context.digest(blank.struct_hash()))
        return Complaint(*terms, signature)  # type: ignore[arg-type]

    def _check_room(self, trader: bytes) -> None:
        held, of_trader = sum(map(len, self._ahead.values())), len(self._ahead.get(trader, ()))
        most = DELIVERIES_AHEAD_FACTOR * self.context.params.orders_max
        if held >= most:
            raise ProtocolError("dark.full", "Delivery", held, f"at most {most} orders ahead of the log")
        if of_trader >= DELIVERIES_AHEAD_PER_TRADER_MAX:
            expected = f"at most {DELIVERIES_AHEAD_PER_TRADER_MAX} orders of a trader ahead of the log"
            raise ProtocolError("dark.trader_full", "DarkTerms.trader", of_trader, expected)
