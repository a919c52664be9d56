"""The state of a dark market's book, as it is kept, and what is checked of one that is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import DarkOrder, MarketNumber
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Hash32, NodeIndex, Uint, Value
from mpc_sequencer.dark import degree
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import ELEMENT_BYTES, from_bytes
from mpc_sequencer.dark.messages import BAD_OPENED_MAX, ORDERS_PER_BATCH_MAX, OrderIndex, OutcomeValue
from mpc_sequencer.dark.orders import check_boxes, check_terms

if TYPE_CHECKING:
    from mpc_sequencer.dark.keys import AgreedKeys
    from mpc_sequencer.dark.params import DarkParams

REPORTS: Final = 1
OPENINGS: Final = 2
RUN: Final = 3

Flag = Annotated[int, Meta(ge=0, le=1)]
Places = Annotated[tuple[OrderIndex, ...], Meta(max_length=BAD_OPENED_MAX)]


class HeldOrder(Value, frozen=True):
    """An order that has not ended, with the executed height at which it was accepted."""

    order_id: Hash32
    height: Uint
    action: DarkOrder


class ReportState(Value, frozen=True):
    """A report that counted: the orders that it showed to be ``bad``, and whether it was ``full`` of such."""

    party: NodeIndex
    word_hash: Hash32
    shares: Annotated[bytes, Meta(max_length=ORDERS_PER_BATCH_MAX * ELEMENT_BYTES)]
    bad: Places
    full: Flag


class OpeningsState(Value, frozen=True):
    """Openings that counted: the orders that they showed to be dealt ``off`` the polynomial."""

    party: NodeIndex
    word_hash: Hash32
    off: Places
    full: Flag


class ResultState(Value, frozen=True):
    """A result that counted."""

    party: NodeIndex
    word_hash: Hash32
    outcome: OutcomeValue | None


Orders = Annotated[tuple[HeldOrder, ...], Meta(max_length=ORDERS_PER_BATCH_MAX)]
Parties = Annotated[tuple[NodeIndex, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]
_MEMBERS: Final = Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)


class BatchState(Value, frozen=True):
    """The batch under way: the orders that are left of it, who is expected to speak in its phase, and what counted.
    ``seed`` is of the weights of the degree check. In RUN ``reports`` and ``openings`` are empty."""

    number: Uint
    keys: Hash32
    phase: Annotated[int, Meta(ge=REPORTS, le=RUN)]
    part: Uint
    opened_ms: Uint
    seed: Hash32
    orders: Annotated[tuple[HeldOrder, ...], Meta(min_length=1, max_length=ORDERS_PER_BATCH_MAX)]
    speakers: Parties
    reports: Annotated[tuple[ReportState, ...], _MEMBERS] = ()
    openings: Annotated[tuple[OpeningsState, ...], _MEMBERS] = ()
    results: Annotated[tuple[ResultState, ...], _MEMBERS] = ()

    def words(self) -> tuple[ReportState | OpeningsState | ResultState, ...]:
        """What counted in the phase."""
        if self.phase == REPORTS:
            return self.reports
        return self.openings if self.phase == OPENINGS else self.results


class BookState(Value, frozen=True):
    """``number`` is the last batch that was closed; ``held`` are the orders of the next one, which closes at
    ``closes_ms`` (0 where none is held)."""

    market: MarketNumber
    number: Uint = 0
    closes_ms: Uint = 0
    held: Orders = ()
    batch: BatchState | None = None


@dataclass(frozen=True, slots=True)
class EndedOrder:
    """An order that has ended with an outcome ``code``; ``side`` and ``lots`` (above 0) where it traded, else 0."""

    order_id: bytes
    account: bytes
    quote_tick_lots: int
    base_lots: int
    code: str
    side: int
    lots: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Orders of one batch that have ended together: all that were left, at the clearing price where the batch traded,
    or those that were dropped before."""

    market: int
    batch: int
    price_ticks: int | None
    volume_lots: int
    orders: tuple[EndedOrder, ...]


# --- loading --------------------------------------------------------------------------------------------------------


def check_book(state: BookState, params: DarkParams, keys: AgreedKeys | None) -> None:
    """Raises ``ValueError`` for a state that no book comes to."""
    batch = state.batch
    orders = (*(batch.orders if batch else ()), *state.held)
    if orders and keys is None:
        raise ValueError(f"market {state.market} holds orders without keys")
    if max(len(state.held), len(batch.orders) if batch else 0) > params.orders_max:
        raise ValueError(f"market {state.market} holds more than {params.orders_max} orders")
    if len({one.order_id for one in orders}) != len(orders) or bool(state.closes_ms) != bool(state.held):
        raise ValueError(f"market {state.market} holds an order twice, or closes without any")
    for part in (state.held, batch.orders if batch else ()):
        if any((one.height, one.order_id) >= (other.height, other.order_id) for one, other in pairwise(part)):
            raise ValueError(f"market {state.market} holds orders out of order")
    for one in orders:
        action = one.action
        assert keys is not None
        if action.market != state.market or action.keys != keys.id or not check_terms(params, keys, action):
            raise ValueError(f"market {state.market} holds the order {one.order_id.hex()}, which it would refuse")
        if not check_boxes(action):
            raise ValueError(f"the order {one.order_id.hex()} has a box that is none")
    if batch is not None and keys is not None:
        _check_batch(state, batch, params, keys)


def _check_batch(state: BookState, batch: BatchState, params: DarkParams, keys: AgreedKeys) -> None:
    holders = [party for party, key in enumerate(keys.box_keys) if key]
    least = params.parties - params.faults_t
    words = [said.party for said in batch.words()]
    reporters = [report.party for report in batch.reports]
    wrong = (
        batch.number != state.number
        or batch.keys != keys.id
        or list(batch.speakers) != sorted(set(batch.speakers))
        or not set(batch.speakers) <= set(holders)
        or len(set(words)) != len(words)
        or not set(words) <= set(batch.speakers)
        or len(set(reporters)) != len(reporters)
        or not set(reporters) <= set(holders)
    )
    if batch.phase == REPORTS:
        wrong = wrong or bool(batch.openings or batch.results) or list(batch.speakers) != holders
    elif batch.phase == OPENINGS:
        wrong = wrong or bool(batch.results) or len(reporters) < least or not batch.speakers
        wrong = wrong or any(report.bad or report.full for report in batch.reports)
    else:
        wrong = wrong or bool(batch.reports or batch.openings or batch.part) or len(batch.speakers) < least
    shown = [(report.bad, report.full) for report in batch.reports]
    shown += [(said.off, said.full) for said in batch.openings]
    for places, full in shown:
        wrong = wrong or any(one >= other for one, other in pairwise(places))
        wrong = wrong or bool(places and places[-1] >= len(batch.orders)) or full > len(places) // BAD_OPENED_MAX
    if wrong:
        raise ValueError(f"batch {batch.number} of market {state.market} is in a state that none comes to")
    try:
        shares = {report.party: from_bytes(report.shares, len(batch.orders)) for report in batch.reports}
        disputed, bad = degree.disputes(params, shares) if batch.phase == OPENINGS else ({}, frozenset[int]())
    except (ProtocolError, Undecodable) as error:
        raise ValueError(f"batch {batch.number} of market {state.market}: {error}") from None
    undisputed = set(batch.speakers) - frozenset[int]().union(*disputed.values())
    if bad or (undisputed and batch.phase == OPENINGS):
        raise ValueError(f"batch {batch.number} of market {state.market} is in dispute about nothing")
