"""One dark market's orders and its batch under way: a state machine over executed heights.

The rule (docs/dark.md, "A batch in the log"). Orders that were accepted are *held*, ascending by height, then order id.
A batch closes when ``interval_ms`` of block time have passed since the height of its first order and no other batch is
under way; all held orders are in it, and the next ones are held for the next. Then:

==========  =====================================  =====================================================================
phase       who is expected to speak               what follows when all have spoken or DARK_WINDOW_MS are over
==========  =====================================  =====================================================================
REPORTS     parties with a box key (ReportSaid)    orders with a box that was shown to be bad are dropped. Fewer than
                                                   n - t reports: the batch is void. Where a report was full of boxes
                                                   shown to be bad, another part on what is left, for it may know of
                                                   more. Else the degree check: orders on no polynomial are dropped;
                                                   where others are in dispute, OPENINGS, else RUN
OPENINGS    parties in dispute (OpeningsSaid)      orders that an opened box shows to be dealt off the polynomial are
                                                   dropped, all others stay. Where a word was full of such boxes,
                                                   another part for whoever said it; else RUN
RUN         those who reported (ResultSaid)        t + 1 equal outcomes, in the order of the log the first: settled. All
                                                   have spoken without, or DARK_RUN_MS are over: void
==========  =====================================  =====================================================================

So with at most t corrupt parties every batch ends, and ends settled where n - t honest ones speak in time; an order is
dropped only by a box of its trader's making. A full word that shows something else in any entry brings no other part,
so each part drops at least BAD_OPENED_MAX orders and a liar cannot make more parts than there are such boxes.

State is one immutable value (:class:`BookState`), replaced as a whole: a word that does not count leaves it as it is.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark import codes, degree, tags
from mpc_sequencer.dark.bookstate import (
    OPENINGS,
    REPORTS,
    RUN,
    BatchState,
    BookState,
    Ended,
    EndedOrder,
    HeldOrder,
    OpeningsState,
    ReportState,
    ResultState,
)
from mpc_sequencer.dark.facts import BatchFacts, is_consistent, price_of
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements, from_bytes
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import BAD_OPENED_MAX, OpenedBox, OpeningsSaid, OutcomeValue, ReportSaid, ResultSaid
from mpc_sequencer.dark.orders import Parties, check_terms, dark_params, judge_opened

if TYPE_CHECKING:
    from mpc_sequencer.core.actions import DarkOrder
    from mpc_sequencer.dark.keys import AgreedKeys
    from mpc_sequencer.market.types import DarkGrid

BatchWord = ReportSaid | OpeningsSaid | ResultSaid

_WORDS: Final = {REPORTS: ReportSaid, OPENINGS: OpeningsSaid, RUN: ResultSaid}


class Book:
    """The orders of dark market ``market`` under ``parties``. Raises ``ValueError`` where they cannot compute it."""

    def __init__(self, market: int, grid: DarkGrid, parties: Parties, state: BookState) -> None:
        self.market = market
        self.grid = grid
        self.parties = parties
        self.params = dark_params(grid, parties)
        self.state = state
        self._disputed: tuple[BatchState | None, dict[int, frozenset[int]]] = (None, {})
        self._digest: tuple[BookState | None, bytes] = (None, b"")

    # --- orders -----------------------------------------------------------------------------------------------------

    def refusal(self, action: DarkOrder, keys: AgreedKeys | None) -> str | None:
        """Why an order cannot be held now (an outcome code), or None."""
        if keys is None or action.keys != keys.id:
            return codes.DARK_KEYS
        if not check_terms(self.params, keys, action):
            return codes.DARK_TERMS
        held = self.state.held
        if len(held) >= self.grid.orders_max:
            return codes.DARK_FULL
        if sum(one.action.account == action.account for one in held) >= limits.DARK_ORDERS_PER_ACCOUNT_MAX:
            return codes.DARK_ACCOUNT_FULL
        return None

    def accept(self, order_id: bytes, action: DarkOrder, height: int, time_ms: int) -> None:
        """Hold an order that :meth:`refusal` let pass, at its executed height and that block's time."""
        held, place = self.state.held, (height, order_id)
        at = bisect_left(held, place, key=lambda one: (one.height, one.order_id))
        closes_ms = self.state.closes_ms if held else time_ms + self.grid.interval_ms
        one = HeldOrder(order_id, height, action)
        self.state = replace(self.state, held=(*held[:at], one, *held[at:]), closes_ms=closes_ms)

    def orders(self) -> Iterable[HeldOrder]:
        """All orders that have not ended."""
        batch = self.state.batch
        return (*(batch.orders if batch else ()), *self.state.held)

    def end_all(self, code: str) -> list[Ended]:
        """Every order ends, under way or held."""
        ended = [] if self.state.batch is None else self._end(code)
        if self.state.held:
            number = self.state.number + 1
            ended.append(_ended(self.market, number, self.state.held, code))
            self.state = replace(self.state, number=number, held=(), closes_ms=0)
        return ended

    # --- words ------------------------------------------------------------------------------------------------------

    def takes(self, party: int, word: BatchWord, keys: AgreedKeys | None) -> bool:
        """Whether a word counts now: it is of the batch, the phase and the part under way, its author is expected to
        speak and has not yet, and its places are those of orders, ascending."""
        batch = self.state.batch
        if keys is None or batch is None or type(word) is not _WORDS[batch.phase] or word.batch != batch.number:
            return False
        if party not in batch.speakers or any(said.party == party for said in batch.words()):
            return False
        if isinstance(word, ResultSaid):
            return True
        if word.part != batch.part:
            return False
        opened = word.bad if isinstance(word, ReportSaid) else word.opened
        places = [one.index for one in opened]
        if any(one >= other for one, other in pairwise(places)) or (places and places[-1] >= len(batch.orders)):
            return False
        return isinstance(word, OpeningsSaid) or _elements(word.shares, len(batch.orders)) is not None

    def hear(self, party: int, word: BatchWord, payload: bytes, keys: AgreedKeys | None) -> None:
        """Take up a word; one that does not count changes nothing."""
        batch = self.state.batch
        if batch is None or keys is None or not self.takes(party, word, keys):
            return
        word_hash = hashlib.sha256(payload).digest()
        if isinstance(word, ReportSaid):
            bad = self._shown_bad(batch, party, word.bad, keys)
            full = len(bad) == len(word.bad) == BAD_OPENED_MAX
            report = ReportState(party, word_hash, word.shares, bad, int(full))
            batch = replace(batch, reports=(*batch.reports, report))
        elif isinstance(word, OpeningsSaid):
            off = self._shown_off(batch, party, word.opened, keys)
            full = len(off) == len(word.opened) == BAD_OPENED_MAX
            batch = replace(batch, openings=(*batch.openings, OpeningsState(party, word_hash, off, int(full))))
            self._disputed = (batch, self.disputed())
        else:
            batch = replace(batch, results=(*batch.results, ResultState(party, word_hash, word.outcome)))
        self.state = replace(self.state, batch=batch)

    def _shown_bad(
        self, batch: BatchState, party: int, opened: Iterable[OpenedBox], keys: AgreedKeys
    ) -> tuple[int, ...]:
        """Of what a report opens, the orders whose box is shown to hold no row."""
        key = keys.box_keys[party]
        bad = []
        for one in opened:
            holds, row = judge_opened(self.params, batch.orders[one.index].action, party, key, one)
            if holds and row is None:
                bad.append(one.index)
        return tuple(bad)

    def _shown_off(
        self, batch: BatchState, party: int, opened: Iterable[OpenedBox], keys: AgreedKeys
    ) -> tuple[int, ...]:
        """Of what a party in dispute opens, the orders that were dealt off the polynomial, or as no row at all."""
        key, disputed, shares = keys.box_keys[party], self.disputed(), _shares(batch)
        column_weights = degree.weights(self.params, batch.seed)
        off = []
        for one in opened:
            if party not in disputed.get(one.index, ()):
                continue
            holds, row = judge_opened(self.params, batch.orders[one.index].action, party, key, one)
            if holds and (
                row is None or degree.is_dealt_off(self.params, shares, one.index, party, row, column_weights)
            ):
                off.append(one.index)
        return tuple(off)

    def disputed(self) -> dict[int, frozenset[int]]:
        """In OPENINGS: by order index the parties whose shares are off the polynomial of the others."""
        batch = self.state.batch
        if batch is None or batch.phase != OPENINGS:
            return {}
        if self._disputed[0] is not batch:
            self._disputed = batch, degree.disputes(self.params, _shares(batch))[0]
        return self._disputed[1]

    # --- transitions ------------------------------------------------------------------------------------------------

    def advance(self, time_ms: int, keys: AgreedKeys | None) -> list[Ended]:
        """Take every transition that applies at block time ``time_ms``."""
        ended: list[Ended] = []
        while keys is not None:
            batch = self.state.batch
            if batch is None:
                if not self.state.held or time_ms < self.state.closes_ms:
                    break
                self._close(time_ms, keys)
            elif batch.phase == RUN:
                settled = self._outcome(batch)
                if settled is None and not self._is_over(batch, time_ms):
                    break
                ended += self._end(codes.DARK_ABORTED) if settled is None else self._settle(batch, settled)
            elif not self._is_over(batch, time_ms):
                break
            else:
                ended += self._close_reports(time_ms) if batch.phase == REPORTS else self._close_openings(time_ms)
        return ended

    def due_ms(self, keys: AgreedKeys | None) -> int | None:
        """The earliest block time at which something follows without words."""
        batch = self.state.batch
        if keys is None or (batch is None and not self.state.held):
            return None
        if batch is None:
            return self.state.closes_ms
        return batch.opened_ms + (limits.DARK_RUN_MS if batch.phase == RUN else limits.DARK_WINDOW_MS)

    def _is_over(self, batch: BatchState, time_ms: int) -> bool:
        due_ms = batch.opened_ms + (limits.DARK_RUN_MS if batch.phase == RUN else limits.DARK_WINDOW_MS)
        return time_ms >= due_ms or {said.party for said in batch.words()} >= set(batch.speakers)

    def _close(self, time_ms: int, keys: AgreedKeys) -> None:
        number, orders = self.state.number + 1, self.state.held
        seed = degree.degree_seed(keys.id, self.market, number, [one.order_id for one in orders])
        speakers = tuple(party for party, key in enumerate(keys.box_keys) if key)
        batch = BatchState(number, keys.id, REPORTS, 0, time_ms, seed, orders, speakers)
        self.state = replace(self.state, number=number, held=(), closes_ms=0, batch=batch)

    def _close_reports(self, time_ms: int) -> list[Ended]:
        """What follows from the reports."""
        batch = self._under_way()
        shown = {index for report in batch.reports for index in report.bad}
        ended = self._drop(shown)
        if self.state.batch is None:
            return ended
        batch = self.state.batch
        if len(batch.reports) < self.params.parties - self.params.faults_t:
            return ended + self._end(codes.DARK_ABORTED)
        if any(report.full for report in batch.reports):
            self._enter(replace(batch, part=batch.part + 1, reports=()), time_ms)
            return ended
        disputed, bad = degree.disputes(self.params, _shares(batch))
        ended += self._drop(bad)
        if self.state.batch is not None:
            batch = self.state.batch
            speakers = frozenset[int]().union(*disputed.values())
            if speakers:
                self._enter(replace(batch, phase=OPENINGS, part=0, speakers=tuple(sorted(speakers))), time_ms)
            else:
                self._start(time_ms)
        return ended

    def _close_openings(self, time_ms: int) -> list[Ended]:
        """What follows from the boxes that were opened."""
        batch = self._under_way()
        full = {said.party for said in batch.openings if said.full}
        ended = self._drop({index for said in batch.openings for index in said.off})
        if self.state.batch is None:
            return ended
        batch = self.state.batch
        again = full & frozenset[int]().union(*self.disputed().values())
        if again:
            speakers = tuple(sorted(again))
            self._enter(replace(batch, part=batch.part + 1, openings=(), speakers=speakers), time_ms)
        else:
            self._start(time_ms)
        return ended

    def _start(self, time_ms: int) -> None:
        """The computation begins: of the reports only their authors still matter."""
        batch = self._under_way()
        speakers = tuple(sorted(report.party for report in batch.reports))
        self._enter(replace(batch, phase=RUN, part=0, speakers=speakers, reports=(), openings=()), time_ms)

    def _outcome(self, batch: BatchState) -> OutcomeValue | None:
        """What t + 1 participants say, in the order of the log the first."""
        votes: dict[OutcomeValue, int] = {}
        for said in batch.results:
            if said.outcome is not None:
                votes[said.outcome] = votes.get(said.outcome, 0) + 1
                if votes[said.outcome] > self.params.faults_t:
                    return said.outcome
        return None

    def _settle(self, batch: BatchState, outcome: OutcomeValue) -> list[Ended]:
        if not is_consistent(self.params, _deposits(batch), outcome):
            return self._end(codes.DARK_ABORTED)
        fills = {fill.order: fill for fill in outcome.fills}
        orders = []
        for index, one in enumerate(batch.orders):
            fill = fills.get(index)
            if fill is not None:
                orders.append(_ended_order(one, codes.FILLED, fill.side, fill.lots))
            else:
                orders.append(_ended_order(one, codes.DARK_REJECTED if index in outcome.rejected else codes.UNFILLED))
        price_ticks = price_of(self.params, outcome)
        self.state = replace(self.state, batch=None)
        return [Ended(self.market, batch.number, price_ticks, outcome.volume_lots, tuple(orders))]

    def _end(self, code: str) -> list[Ended]:
        """All orders of the batch end without a trade."""
        batch = self._under_way()
        self.state = replace(self.state, batch=None)
        return [_ended(self.market, batch.number, batch.orders, code)]

    def _drop(self, dropped: Collection[int]) -> list[Ended]:
        """Orders end for what their traders dealt; without any left the batch does."""
        batch = self._under_way()
        if not dropped:
            return []
        gone = tuple(one for index, one in enumerate(batch.orders) if index in dropped)
        left = [index for index in range(len(batch.orders)) if index not in dropped]
        reports = tuple(replace(report, shares=_select(report.shares, left), bad=()) for report in batch.reports)
        kept = replace(batch, orders=tuple(batch.orders[index] for index in left), reports=reports)
        kept = replace(kept, openings=tuple(replace(said, off=()) for said in batch.openings))
        self.state = replace(self.state, batch=kept if left else None)
        return [_ended(self.market, batch.number, gone, codes.DARK_BAD)]

    def _enter(self, batch: BatchState, time_ms: int) -> None:
        self.state = replace(self.state, batch=replace(batch, opened_ms=time_ms))

    def _under_way(self) -> BatchState:
        batch = self.state.batch
        assert batch is not None
        return batch

    # --- what it says of itself -------------------------------------------------------------------------------------

    def facts(self) -> BatchFacts | None:
        """The batch to compute, in RUN."""
        batch = self.state.batch
        if batch is None or batch.phase != RUN:
            return None
        ids = tuple(one.order_id for one in batch.orders)
        names = (self.parties.topic, self.parties.epoch, batch.keys, self.market, batch.number)
        return BatchFacts(self.params, *names, batch.speakers, ids, _deposits(batch))

    def digest(self) -> bytes:
        """32 bytes over the whole state: orders by their ids, words by the hash of their payloads. Computed anew only
        where the state has changed, in time that grows with the orders' number alone."""
        if self._digest[0] is not self.state:
            state, batch = self.state, self.state.batch
            held = tags.HELD(*(one.height.to_bytes(8, "big") + one.order_id for one in state.held))
            under_way: tuple[object, ...] = ()
            if batch is not None:
                orders = tags.HELD(*(one.height.to_bytes(8, "big") + one.order_id for one in batch.orders))
                said: tuple[ReportState | OpeningsState | ResultState, ...]
                said = (*batch.reports, *batch.openings, *batch.results)
                words = tuple((one.party, one.word_hash) for one in said)
                numbers = (batch.phase, batch.part, batch.opened_ms)
                under_way = (batch.keys, *numbers, batch.seed, orders, batch.speakers, words)
            summary = (state.market, state.number, state.closes_ms, held, under_way)
            self._digest = state, tags.BOOK(encode(summary))
        return self._digest[1]


def _elements(data: bytes, count: int) -> Elements | None:
    try:
        return from_bytes(data, count)
    except ProtocolError:
        return None


def _shares(batch: BatchState) -> dict[int, Elements]:
    return {report.party: from_bytes(report.shares, len(batch.orders)) for report in batch.reports}


def _select(shares: bytes, left: Iterable[int]) -> bytes:
    return b"".join(shares[index * ELEMENT_BYTES : (index + 1) * ELEMENT_BYTES] for index in left)


def _deposits(batch: BatchState) -> tuple[Deposit, ...]:
    return tuple(Deposit(one.action.quote_tick_lots, one.action.base_lots) for one in batch.orders)


def _ended_order(one: HeldOrder, code: str, side: int = 0, lots: int = 0) -> EndedOrder:
    action = one.action
    return EndedOrder(one.order_id, action.account, action.quote_tick_lots, action.base_lots, code, side, lots)


def _ended(market: int, batch: int, orders: Iterable[HeldOrder], code: str) -> Ended:
    return Ended(market, batch, None, 0, tuple(_ended_order(one, code) for one in orders))
