"""Resting orders that an auction in columns meets, a price level at a time.

The rule is that of :mod:`~mpc_sequencer.market.settle`; but each order is looked at once, for its lots and its money,
and fills and updates are made when somebody asks for them. Amounts are Python's integers, so nothing here has a bound.
Orders that hide lots, and those of this height that keep an earlier one's place, are left to the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY
from mpc_sequencer.core.limits import PPM
from mpc_sequencer.market import types
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.types import Fill, Market, Update


class Met:
    """Orders of earlier heights of one side and price, what each trades (1 or more lots), and what that costs it."""

    __slots__ = ("fees", "left_lots", "lots", "orders", "price_ticks")

    def __init__(self, orders: Sequence[OpenOrder], lots: Sequence[int]) -> None:
        self.orders = orders
        self.lots = lots
        self.price_ticks = 0
        self.left_lots: list[int] = []
        self.fees: list[int] = []

    def settle(self, context: Context, market: Market, price_ticks: int) -> None:
        """Trade at ``price_ticks``: books, balances, locks and fees follow."""
        self.price_ticks = price_ticks
        unit, base_units = market.quote_units_per_tick_lot, market.base_units_per_lot
        values = [price_ticks * lots * unit for lots in self.lots]
        fees = self.fees = [value * market.maker_fee_ppm // PPM for value in values]
        before = [order.quantity_lots - order.filled_lots for order in self.orders]
        left = self.left_lots = [open_lots - lots for open_lots, lots in zip(before, self.lots, strict=True)]
        accounts = [order.account for order in self.orders]
        bases = [lots * base_units for lots in self.lots]
        ledger, base, quote = context.state.ledger, market.base_asset, market.quote_asset
        if self.orders[0].side == BUY:
            locks = zip(self._locks(market, before), self._locks(market, left), strict=True)
            released = [first - last for first, last in locks]
            paid = [value + fee for value, fee in zip(values, fees, strict=True)]
            ledger.trade(quote, base, accounts, zip(paid, released, bases, strict=True))
        else:
            got = [value - fee for value, fee in zip(values, fees, strict=True)]
            ledger.trade(base, quote, accounts, zip(bases, bases, got, strict=True))
        if any(fees):
            ledger.receive(context.state.fee_account, quote, sum(fees))
        context.state.orders.take_level(self.orders, self.lots)

    def _locks(self, market: Market, open_lots: Sequence[int]) -> list[int]:
        """What buys at the level's price lock (see :func:`~mpc_sequencer.market.fees.lock_units`)."""
        cost_units = self.orders[0].price_ticks * market.quote_units_per_tick_lot
        rate_ppm = max(market.maker_fee_ppm, market.taker_fee_ppm)
        return [lots * cost_units - -lots * cost_units * rate_ppm // PPM for lots in open_lots]

    def fills(self, height: int) -> list[Fill]:
        """Their fills."""
        price_ticks, market, side = self.price_ticks, self.orders[0].market, self.orders[0].side
        return [
            Fill(
                height, market, order.order_id, order.account, side, price_ticks, lots,
                fee.to_bytes(AMOUNT_BYTES, "big"), 1,
            )
            for order, lots, fee in zip(self.orders, self.lots, self.fees, strict=True)
        ]  # fmt: skip

    def note(self, updates: dict[bytes, Update]) -> None:
        """Note what is told of them."""
        price_ticks, market = self.price_ticks, self.orders[0].market
        for order, lots, fee, left in zip(self.orders, self.lots, self.fees, self.left_lots, strict=True):
            code = types.PARTLY_FILLED if left else types.FILLED
            updates[order.order_id] = Update(
                order.order_id, order.account, market, code, lots, price_ticks, price_ticks * lots, fee, left
            )
