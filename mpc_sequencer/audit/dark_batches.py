"""One dark market's orders and batches, from the words in the log (docs/dark.md, "A batch in the log").

Orders wait; a batch closes an interval of block time after its first one came, and its members report on their boxes,
open those in dispute, and say what their computation came to. A phase is over when all that it awaits have spoken, or
at its time. An order ends when its trader is shown to have dealt badly, or with its batch.

What the log shows of members beside is kept in ``named``, for the report: it is no fault of the log.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from mpc_sequencer.audit.dark_keys import KeyAgreement, u64
from mpc_sequencer.audit.dark_orders import (
    DarkParties,
    are_terms,
    degree_seed,
    due_share,
    elements_in,
    off_the_polynomial,
    shown_by,
    sizes,
    weigh,
)
from mpc_sequencer.audit.dark_outcomes import Computation, may_settle, price_ticks
from mpc_sequencer.audit.dark_state import (
    OPENINGS,
    REPORTS,
    RUN,
    Batch,
    Computed,
    DarkEnd,
    DarkEnds,
    DarkOrderHeld,
    Said,
)
from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.core.codec import encode
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import BAD_OPENED_MAX, OpeningsSaid, OutcomeValue, ReportSaid, ResultSaid
from mpc_sequencer.market.types import Market

BatchWord = ReportSaid | OpeningsSaid | ResultSaid
_SAID_IN: Final = {REPORTS: ReportSaid, OPENINGS: OpeningsSaid, RUN: ResultSaid}


class DarkBook:
    """The orders and batches of one market while its committee is ``parties``."""

    def __init__(self, market: Market, parties: DarkParties, number: int = 0) -> None:
        assert market.dark is not None, "a dark market has a grid"
        self.market = market
        self.grid = market.dark
        self.parties = parties
        self.params = sizes(market.dark, parties)
        self.number = number
        self.waiting: list[DarkOrderHeld] = []
        self._closes_ms = 0
        self._batch: Batch | None = None
        self.computed: dict[tuple[int, int], Computed] = {}
        """By (epoch, batch) the batches whose computation has begun, until they are taken from here."""
        self.named: Counter[tuple[int, int, int, str]] = Counter()
        """By (epoch, batch, party, what): what members said that was shown to be wrong."""

    # --- orders ----------
    def refusal(self, keys: KeyAgreement, action: DarkOrder) -> str | None:
        """The outcome code of an order that cannot wait here, None where it can."""
        if keys.keys_id != action.keys or not any(keys.keys_id):
            return "dark_keys"
        if not are_terms(self.params, keys.box_keys, action):
            return "dark_terms"
        if len(self.waiting) >= self.grid.orders_max:
            return "dark_full"
        own = [one for one in self.waiting if one.action.account == action.account]
        return "dark_account_full" if len(own) >= limits.DARK_ORDERS_PER_ACCOUNT_MAX else None

    def wait(self, order_id: bytes, action: DarkOrder, height: int, time_ms: int) -> None:
        """Let an order that was not refused wait for its batch."""
        if not self.waiting:
            self._closes_ms = time_ms + self.grid.interval_ms
        self.waiting.append(DarkOrderHeld(height, order_id, action))
        self.waiting.sort(key=lambda one: (one.height, one.order_id))

    def abandon(self) -> list[DarkEnds]:
        """The committee has changed: all orders end."""
        ends = [] if self._batch is None else [self._finish("dark_epoch", "epoch")]
        if self.waiting:
            self.number += 1
            ends.append(self._ends("epoch", [(one, "dark_epoch") for one in self.waiting]))
            self.waiting = []
        return ends

    # --- words ----------
    def hear(self, keys: KeyAgreement, party: int, word: BatchWord, payload: bytes) -> bool:
        """Take up a member's word; whether it counts. One that does not changes nothing."""
        batch = self._batch
        if batch is None or type(word) is not _SAID_IN[batch.phase] or word.batch != batch.number:
            return False
        if party not in batch.speakers or party in batch.heard():
            return False
        said = Said(hashlib.sha256(payload).digest())
        if isinstance(word, ResultSaid):
            said.outcome = word.outcome
            self.computed[self.parties.epoch, batch.number].hear(party, word.outcome)
        elif isinstance(word, ReportSaid):
            said.shares = elements_in(word.shares, len(batch.orders))
            if word.part != batch.part or said.shares is None or not self._are_places(word.bad):
                return False
            said.against = self._bad_boxes(batch, keys, party, word)
            said.full = len(said.against) == len(word.bad) == BAD_OPENED_MAX
        else:
            if word.part != batch.part or not self._are_places(word.opened):
                return False
            said.against = self._dealt_off(batch, keys, party, word)
            said.full = len(said.against) == len(word.opened) == BAD_OPENED_MAX
        batch.heard()[party] = said
        return True

    def _are_places(self, opened: Sequence[object]) -> bool:
        """Whether openings name orders of the batch, ascending."""
        assert self._batch is not None
        places = [getattr(one, "index") for one in opened]  # noqa: B009
        return places == sorted(set(places)) and all(place < len(self._batch.orders) for place in places)

    def _bad_boxes(self, batch: Batch, keys: KeyAgreement, party: int, word: ReportSaid) -> frozenset[int]:
        """The orders that a report shows to have a box without a row."""
        bad = set()
        for one in word.bad:
            shown = shown_by(self.params, batch.orders[one.index].action, party, keys.box_keys[party], one)
            if shown is not None and shown.row is None:
                bad.add(one.index)
            else:
                self._name(batch, party, "complaint")
        return frozenset(bad)

    def _dealt_off(self, batch: Batch, keys: KeyAgreement, party: int, word: OpeningsSaid) -> frozenset[int]:
        """The orders that a party in dispute shows to have been dealt to it off the polynomial, or as no row."""
        off, shares = set(), self._shares(batch)
        for one in word.opened:
            if party not in batch.off.get(one.index, ()):
                continue
            shown = shown_by(self.params, batch.orders[one.index].action, party, keys.box_keys[party], one)
            if shown is None:
                continue
            due = due_share(self.params, shares, one.index, party)
            if shown.row is None or weigh(self.params, batch.seed, shown.row) != due:
                off.add(one.index)
        return frozenset(off)

    @staticmethod
    def _shares(batch: Batch) -> dict[int, Elements]:
        return {party: said.shares for party, said in batch.said[REPORTS].items() if said.shares is not None}

    def _name(self, batch: Batch, party: int, what: str) -> None:
        self.named[self.parties.epoch, batch.number, party, what] += 1

    # --- phases ----------
    def advance(self, time_ms: int, keys: KeyAgreement) -> list[DarkEnds]:
        """All that follows at a height's block time."""
        ends: list[DarkEnds] = []
        if not any(keys.keys_id):
            return ends
        while True:
            batch = self._batch
            if batch is None:
                if not self.waiting or time_ms < self._closes_ms:
                    return ends
                self._close(time_ms, keys)
            elif batch.phase == RUN:
                ended = self._judge_results(batch, time_ms)
                if ended is None:
                    return ends
                ends.append(ended)
            elif not self._is_over(batch, time_ms):
                return ends
            elif batch.phase == REPORTS:
                ends += self._judge_reports(batch, time_ms)
            else:
                ends += self._judge_openings(batch, time_ms)

    @staticmethod
    def _is_over(batch: Batch, time_ms: int) -> bool:
        window_ms = limits.DARK_RUN_MS if batch.phase == RUN else limits.DARK_WINDOW_MS
        return time_ms >= batch.opened_ms + window_ms or batch.heard().keys() >= set(batch.speakers)

    def _close(self, time_ms: int, keys: KeyAgreement) -> None:
        self.number += 1
        seed = degree_seed(keys.keys_id, self.market.id, self.number, [one.order_id for one in self.waiting])
        speakers = tuple(party for party in range(self.parties.count) if keys.box_keys[party])
        self._batch = Batch(self.number, keys.keys_id, seed, self.waiting, speakers, time_ms)
        self.waiting, self._closes_ms = [], 0

    def _judge_reports(self, batch: Batch, time_ms: int) -> list[DarkEnds]:
        reports = batch.heard()
        again = any(said.full for said in reports.values())
        ends = self._drop(batch, frozenset().union(*(said.against for said in reports.values())))
        if self._batch is None:
            return ends
        if len(reports) < self.params.parties - self.params.faults_t:
            return [*ends, self._finish("dark_aborted", "void")]
        if again:
            batch.said[REPORTS] = {}
            batch.part, batch.opened_ms = batch.part + 1, time_ms
            return ends
        found = off_the_polynomial(self.params, self._shares(batch))
        ends += self._drop(batch, frozenset(index for index, off in enumerate(found) if off is None))
        if self._batch is None:
            return ends
        batch.off = {index: off for index, off in enumerate(off for off in found if off is not None) if off}
        if batch.off:
            batch.phase, batch.part, batch.opened_ms = OPENINGS, 0, time_ms
            batch.speakers = tuple(sorted(frozenset().union(*batch.off.values())))
        else:
            self._begin_run(batch, time_ms)
        return ends

    def _judge_openings(self, batch: Batch, time_ms: int) -> list[DarkEnds]:
        spoken = batch.heard()
        full = {party for party, said in spoken.items() if said.full}
        dropped = frozenset().union(*(said.against for said in spoken.values()))
        ends = self._drop(batch, dropped)
        if self._batch is None:
            return ends
        again = full & frozenset().union(*batch.off.values())
        if again:
            batch.said[OPENINGS] = {}
            batch.part, batch.opened_ms = batch.part + 1, time_ms
            batch.speakers = tuple(sorted(again))
            return ends
        for parties in batch.off.values():
            for party in parties:
                self._name(batch, party, "share")
        self._begin_run(batch, time_ms)
        return ends

    def _begin_run(self, batch: Batch, time_ms: int) -> None:
        batch.speakers = tuple(sorted(batch.said[REPORTS]))
        batch.said = {REPORTS: {}, OPENINGS: {}, RUN: {}}
        batch.off = {}
        batch.phase, batch.part, batch.opened_ms = RUN, 0, time_ms
        self.computed[self.parties.epoch, batch.number] = Computed(self._computation(batch))

    def _computation(self, batch: Batch) -> Computation:
        return Computation(
            self.params,
            self.parties.topic,
            self.parties.epoch,
            self.market.id,
            batch.number,
            batch.speakers,
            tuple(one.order_id for one in batch.orders),
            tuple(Deposit(one.action.quote_tick_lots, one.action.base_lots) for one in batch.orders),
        )

    def _judge_results(self, batch: Batch, time_ms: int) -> DarkEnds | None:
        """How the batch ends; None while that is open."""
        votes = Counter[OutcomeValue]()
        for said in batch.heard().values():
            if said.outcome is None:
                continue
            votes[said.outcome] += 1
            if votes[said.outcome] == self.params.faults_t + 1:
                return self._settle(batch, said.outcome)
        return self._finish("dark_aborted", "void") if self._is_over(batch, time_ms) else None

    def _settle(self, batch: Batch, outcome: OutcomeValue) -> DarkEnds:
        self.computed[self.parties.epoch, batch.number].decided = outcome
        for party, said in batch.heard().items():
            if said.outcome not in (None, outcome):
                self._name(batch, party, "result")
        if not may_settle(self._computation(batch), outcome):
            return self._finish("dark_aborted", "void")
        fills = {fill.order: fill for fill in outcome.fills}
        ends = []
        for index, one in enumerate(batch.orders):
            if index in fills:
                ends.append(DarkEnd(one.order_id, one.action, "filled", fills[index].side, fills[index].lots))
            else:
                code = "dark_rejected" if index in outcome.rejected else "unfilled"
                ends.append(DarkEnd(one.order_id, one.action, code))
        self._over()
        price = price_ticks(self.params, outcome)
        return DarkEnds(self.market.id, "settled", price, outcome.volume_lots, tuple(ends))

    def _drop(self, batch: Batch, dropped: frozenset[int]) -> list[DarkEnds]:
        """End orders that were dealt badly; the others keep their order, and what was said of them."""
        if not dropped:
            return []
        ends = self._ends("dropped", [(batch.orders[index], "dark_bad") for index in sorted(dropped)])
        left = [index for index in range(len(batch.orders)) if index not in dropped]
        batch.orders = [batch.orders[index] for index in left]
        for said in batch.said[REPORTS].values():
            if said.shares is not None:
                said.shares = said.shares[left]
        batch.off = {place: batch.off[index] for place, index in enumerate(left) if index in batch.off}
        if not left:
            self._over()
        return [ends]

    def _finish(self, code: str, how: str) -> DarkEnds:
        assert self._batch is not None
        orders = self._batch.orders
        self._over()
        return self._ends(how, [(one, code) for one in orders])

    def _over(self) -> None:
        """The batch under way has ended."""
        assert self._batch is not None
        computed = self.computed.get((self.parties.epoch, self._batch.number))
        if computed is not None:
            computed.over = True
        self._batch = None

    def _ends(self, how: str, orders: Iterable[tuple[DarkOrderHeld, str]]) -> DarkEnds:
        ended = tuple(DarkEnd(one.order_id, one.action, code) for one, code in orders)
        return DarkEnds(self.market.id, how, None, 0, ended)

    # --- what the state root says of it ----------
    def digest(self) -> bytes:
        """32 bytes over the orders and the batch under way."""

        def named(orders: Iterable[DarkOrderHeld]) -> bytes:
            return tags.HELD(*(u64(one.height) + one.order_id for one in orders))

        under_way: list[object] = []
        batch = self._batch
        if batch is not None:
            words = [[party, said.word_hash] for phase in batch.said.values() for party, said in phase.items()]
            under_way = [batch.keys_id, batch.phase, batch.part, batch.opened_ms, batch.seed, named(batch.orders)]
            under_way += [list(batch.speakers), words]
        closes_ms = self._closes_ms if self.waiting else 0
        return tags.BOOK(encode([self.market.id, self.number, closes_ms, named(self.waiting), under_way]))
