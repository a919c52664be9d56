"""The rules that an outside engine's answer must keep, whatever its way of matching; pure, and nothing is believed.

1. *Height.* Answers come in the order of the batches, one each.
2. *Known.* A fill or an end names an order that is open: of an earlier height and not ended, or of this batch.
3. *Form.* Rows are strictly ascending, so that equal answers are equal bytes; codes are codes of the outcome table.
4. *Limits.* No fill is worse than its order's limit (of a market order or stop, its protection price).
5. *Quantity.* No order is filled beyond its open lots, and none that is filled wholly ends besides.
6. *Conservation.* In every market, at every price, buys and sells trade the same lots: so what sellers give of the base
   asset is what buyers get, and what buyers pay of the quote asset is what sellers get, fees apart.
7. *At once.* Of this batch's orders that may not rest (IOC, FOK) none stays open, and a FOK is filled wholly or not at
   all.
8. *Solvency.* What an order pays, fee included, is within what its lock for these lots releases: no balance can fall
   below zero. (By 4 and 5 it always is; it is checked all the same, for it is what the money rests on.)

One code per cause. A refused answer leaves the book as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import BUY, FOK, IOC
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.market import Market
from mpc_sequencer.market.fees import fee_units, lock_units
from mpc_sequencer.matching.values import Answer, Ended, FairBatch, FillRow, OrderRow, to_text

END_CODES: Final = frozenset({"unfilled", "partly_filled", "self_trade", "post_only"})
"""What may end an order in an engine; cancellations and expiry come with the batch."""


@dataclass(frozen=True, slots=True)
class OpenRow:
    """An open order as the seam knows it."""

    row: OrderRow
    open_lots: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """An answer that keeps the rules: the orders it changed, as they are afterwards (None: not open any more)."""

    answer: Answer
    changed: Mapping[str, OpenRow | None]
    answers_hash: bytes


def value_units(market: Market, price_ticks: int, lots: int) -> int:
    """What ``lots`` at ``price_ticks`` are worth in quote units."""
    return price_ticks * lots * market.quote_units_per_tick_lot


def fee_of(market: Market, units: int, maker: int) -> int:
    """The fee on a row worth ``units`` quote units."""
    return fee_units(units, market.maker_fee_ppm if maker else market.taker_fee_ppm)


class ExternalBook:
    """The open orders of all markets as batches and accepted answers leave them."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self._markets = {market.id: market for market in markets}
        self.open: dict[str, OpenRow] = {}
        self.batch: FairBatch | None = None
        """The batch that waits for its answer."""
        self.height = 0
        """The last height with an accepted answer."""
        self.answers_hash = ZERO_HASH
        """Over all accepted answers."""

    def go_on(self, height: int, answers_hash: bytes, rows: Iterable[OpenRow]) -> None:
        """Take up what an earlier book had open after its last accepted answer, that of ``height``."""
        self.open = {one.row.order_id: one for one in rows}
        self.height, self.answers_hash = height, answers_hash

    def begin(self, batch: FairBatch) -> list[OpenRow]:
        """Take the next height's batch; the earlier orders that ended with it. Raises :class:`ProtocolError`
        (``match.height``, ``match.unknown_order``, ``match.market``), changing nothing."""
        if self.batch is not None or batch.height <= self.height:
            expected = f"above {self.height}, with no answer outstanding"
            raise ProtocolError("match.height", "FairBatch.height", batch.height, expected)
        fresh = {row.order_id: OpenRow(row, row.quantity_lots) for row in batch.orders}
        if len(fresh) != len(batch.orders) or fresh.keys() & self.open.keys():
            raise ProtocolError("match.unknown_order", "FairBatch.orders", batch.height, "ids that are new")
        for row in batch.orders:
            if row.market not in self._markets:
                raise ProtocolError("match.market", "OrderRow.market", row.market, sorted(self._markets))
        ended = [self.open[one] for one in batch.ended if one in self.open]
        for one in ended:
            del self.open[one.row.order_id]
        self.open.update(fresh)
        self.batch = batch
        return ended

    def check(self, answer: Answer) -> Accepted:
        """Judge the answer to the batch that waits; raises :class:`ProtocolError` (``match.*``) and changes nothing."""
        if self.batch is None or answer.height != self.batch.height:
            expected = "no answer" if self.batch is None else self.batch.height
            raise ProtocolError("match.height", "Answer.height", answer.height, expected)
        self._check_form(answer)
        changed: dict[str, OpenRow | None] = {}
        for fill in answer.fills:
            changed[fill.order_id] = self._fill(fill, changed)
        self._check_conservation(answer.fills)
        for one in answer.ended:
            self._check_end(one, changed)
            changed[one.order_id] = None
        self._check_at_once(changed)
        after = {order_id: row if row is not None and row.open_lots else None for order_id, row in changed.items()}
        sealed = domains.ANSWERS(self.answers_hash, to_text(answer).encode())
        return Accepted(answer, after, sealed)

    def take(self, accepted: Accepted) -> None:
        """Go on with an answer that :meth:`check` accepted just now."""
        for order_id, row in accepted.changed.items():
            if row is None:
                self.open.pop(order_id, None)
            else:
                self.open[order_id] = row
        self.height, self.answers_hash, self.batch = accepted.answer.height, accepted.answers_hash, None

    def market(self, row: OrderRow) -> Market:
        """The market of an open order."""
        return self._markets[row.market]

    # --- the rules ----------------------------------------------------------------------------------------------
    @staticmethod
    def _check_form(answer: Answer) -> None:
        keys = [(one.order_id, one.price_ticks, one.maker) for one in answer.fills]
        if any(first >= second for first, second in pairwise(keys)):
            raise ProtocolError("match.order", "Answer.fills", answer.height, "rows strictly ascending")
        names = [one.order_id for one in answer.ended]
        if any(first >= second for first, second in pairwise(names)):
            raise ProtocolError("match.order", "Answer.ended", answer.height, "rows strictly ascending")

    def _known(self, order_id: str, changed: Mapping[str, OpenRow | None], field: str) -> OpenRow:
        found = changed[order_id] if order_id in changed else self.open.get(order_id)
        if found is None:
            raise ProtocolError("match.unknown_order", field, order_id, "an open order")
        return found

    def _fill(self, fill: FillRow, changed: Mapping[str, OpenRow | None]) -> OpenRow:
        held = self._known(fill.order_id, changed, "FillRow.order_id")
        row, market = held.row, self._markets[held.row.market]
        buys = row.side == BUY
        if fill.price_ticks > row.price_ticks if buys else fill.price_ticks < row.price_ticks:
            bound = "at most" if buys else "at least"
            raise ProtocolError("match.limit", "FillRow.price_ticks", fill.price_ticks, f"{bound} {row.price_ticks}")
        if fill.quantity_lots > held.open_lots:
            expected = f"at most {held.open_lots} open lots"
            raise ProtocolError("match.quantity", "FillRow.quantity_lots", fill.quantity_lots, expected)
        left = held.open_lots - fill.quantity_lots
        units = value_units(market, fill.price_ticks, fill.quantity_lots)
        fee = fee_of(market, units, fill.maker)
        lock = lock_units(market, row.side, row.price_ticks, held.open_lots)
        released = lock - lock_units(market, row.side, row.price_ticks, left)
        pays = units + fee if buys else fill.quantity_lots * market.base_units_per_lot
        if pays > released or fee > units:
            raise ProtocolError("match.solvency", "FillRow", pays, f"at most {released} units, locked for it")
        return replace(held, open_lots=left)

    def _check_conservation(self, fills: Iterable[FillRow]) -> None:
        balance: dict[tuple[int, int], int] = {}
        for fill in fills:
            row = self.open[fill.order_id].row
            key = (row.market, fill.price_ticks)
            balance[key] = balance.get(key, 0) + (fill.quantity_lots if row.side == BUY else -fill.quantity_lots)
        for (market, price_ticks), lots in balance.items():
            if lots:
                field = f"market {market} at {price_ticks} ticks"
                raise ProtocolError("match.conservation", field, f"{lots:+} lots bought", "as many bought as sold")

    def _check_end(self, one: Ended, changed: Mapping[str, OpenRow | None]) -> None:
        held = self._known(one.order_id, changed, "Ended.order_id")
        if one.code not in END_CODES:
            raise ProtocolError("match.end", "Ended.code", one.code, sorted(END_CODES))
        if not held.open_lots:
            raise ProtocolError("match.end", "Ended.order_id", one.order_id, "an order with open lots")
        if held.row.time_in_force == FOK and held.open_lots != held.row.quantity_lots:
            raise ProtocolError("match.at_once", "Ended.order_id", one.order_id, "a FOK filled wholly or not at all")

    def _check_at_once(self, changed: Mapping[str, OpenRow | None]) -> None:
        for row in self.batch.orders if self.batch is not None else ():
            if row.time_in_force not in (IOC, FOK):
                continue
            after = changed.get(row.order_id, self.open[row.order_id])
            if after is not None and after.open_lots:
                raise ProtocolError("match.at_once", "Answer", row.order_id, "filled or ended: it may not rest")
