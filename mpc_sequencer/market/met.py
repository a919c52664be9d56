"""Resting orders that an auction in columns meets, a price level at a time.

The rule is that of :mod:`~mpc_sequencer.market.settle`; but lots and money are a level's arrays, each order is looked
at once, to say what is left of it, and fills and updates are made when somebody asks for them. Amounts are Python's
integers where an int64 could not hold them, so nothing here has a bound.
Orders that hide lots, and those of this height that keep an earlier one's place, are left to the other way.
"""

from __future__ import annotations

import numpy as np

from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY
from mpc_sequencer.market import types
from mpc_sequencer.market.book import Level
from mpc_sequencer.market.columns import fee_parts, lock_parts
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.ledger_columns import SAFE, Amounts, Ints, Trades, exact, scaled
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.types import Fill, Market, Update


class Met:
    """Orders of earlier heights of one level, by the places they hold there, what each trades (1 or more lots), and
    what that costs it."""

    __slots__ = ("fees", "left_lots", "level", "lots", "orders", "places", "price_ticks")

    def __init__(self, level: Level, places: Ints, lots: Ints) -> None:
        self.level = level
        self.places = places
        self.lots = lots
        self.orders: list[OpenOrder] = []
        self.price_ticks = 0
        self.left_lots: list[int] = []
        self.fees: list[int] = []

    def settle(self, context: Context, market: Market, price_ticks: int, trades: Trades) -> None:
        """Trade at ``price_ticks``: the book and fees follow, and ``trades`` has what is to be paid and freed."""
        self.price_ticks = price_ticks
        handles = np.frombuffer(self.level.handles, dtype=np.int64)[self.places]
        before: Amounts = np.frombuffer(self.level.left_lots, dtype=np.int64)[self.places]
        lots: Amounts = self.lots
        if self.level.lots >= SAFE:  # an int64 holds the open lots of each order, but not of all
            before, lots = before.astype(object), lots.astype(object)
        left = before - lots
        first = self.level.first()
        base, quote = market.base_asset, market.quote_asset
        fee, unit = fee_parts(market, market.maker_fee_ppm), market.quote_units_per_tick_lot
        values = exact(scaled(lots, price_ticks), unit + fee.whole + 1)
        fees = values * fee.whole + fee.floors(values)
        bases = scaled(lots, market.base_units_per_lot)
        if first.side == BUY:
            lock = lock_parts(market)
            total = exact(scaled(before, first.price_ticks), unit + lock.whole + 1)
            after = left.astype(total.dtype) * first.price_ticks
            released = (total - after) * (unit + lock.whole) + lock.ceilings(total) - lock.ceilings(after)
            trades.add(quote, base, handles, values * unit + fees, released, bases)
        else:
            trades.add(base, quote, handles, bases, bases, values * unit - fees)
        self.fees, self.left_lots = fees.tolist(), left.tolist()
        if any(self.fees):
            context.state.ledger.receive(context.state.fee_account, quote, sum(self.fees))
        self.orders = context.state.orders.take_level(first, self.places.tolist(), self.lots.tolist())

    def fills(self, height: int) -> list[Fill]:
        """Their fills."""
        price_ticks, market, side = self.price_ticks, self.orders[0].market, self.orders[0].side
        return [
            Fill(
                height, market, order.order_id, order.account, side, price_ticks, lots,
                fee.to_bytes(AMOUNT_BYTES, "big"), 1,
            )
            for order, lots, fee in zip(self.orders, self.lots.tolist(), self.fees, strict=True)
        ]  # fmt: skip

    def note(self, updates: dict[bytes, Update]) -> None:
        """Note what is told of them."""
        price_ticks, market = self.price_ticks, self.orders[0].market
        for order, lots, fee, left in zip(
            self.orders, self.lots.tolist(), self.fees, self.left_lots, strict=True
        ):
            code = types.PARTLY_FILLED if left else types.FILLED
            updates[order.order_id] = Update(
                order.order_id, order.account, market, code, lots, price_ticks, price_ticks * lots, fee, left
            )
