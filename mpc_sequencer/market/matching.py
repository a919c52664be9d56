"""Orders one after the other: continuous matching by price and time, for SHUFFLE and RECEIVE markets.

The rule (docs/protocol-execution.md, "One after the other"). Each new order in its turn trades with the
resting orders of the other side whose limits it meets, best price first and within a price the one that came
to rest first, each time at the resting order's price; so both sides get their limit or better. What is left of
a GTC order then comes to rest itself, behind all others of its price, and later orders of the same height meet
it like any other. This is the price-time priority of the exchanges' continuous sessions; only the sequence of
the orders is the market's policy and not their arrival at one machine.

An arriving order's trades never get better in price, and a resting order trades at its own limit alone, which is
its worst; so an order's lots per price need no table: a trade adds to the last row or begins a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mpc_sequencer.core.actions import BUY, GTC, SELL, Order
from mpc_sequencer.market.state import State
from mpc_sequencer.market.types import OrderValue


@dataclass(slots=True)
class Traded:
    """What one order traded in a height: ``rows`` of ``[price_ticks, lots, maker]``, best price first, as taker before
    as maker."""

    order: Order | OrderValue
    rows: list[list[int]] = field(default_factory=list)

    def add(self, price_ticks: int, lots: int, maker: int) -> None:
        """Add a trade, at the last trade's price or a worse one."""
        if self.rows and self.rows[-1][0] == price_ticks and self.rows[-1][2] == maker:
            self.rows[-1][1] += lots
        else:
            self.rows.append([price_ticks, lots, maker])


@dataclass(slots=True)
class Matching:
    """A market's trades of one height, by order id; the last trade's price (None without a trade)."""

    traded: dict[bytes, Traded] = field(default_factory=dict)
    volume_lots: int = 0
    last_price_ticks: int | None = None


def match(state: State, arrivals: Iterable[tuple[bytes, Order]]) -> Matching:
    """Let new orders of one market, whose locks are made, meet its book in the sequence given.

    Books and reference prices of ``state`` follow, its ledger does not. An arrival costs the orders it fills and
    the logarithm of the book's levels.
    """
    made = Matching()
    for order_id, order in arrivals:
        left_lots = _arrive(state, order_id, order, made)
        if left_lots and order.time_in_force == GTC:
            state.rest_order(order_id, order, left_lots)
    return made


def _arrive(state: State, order_id: bytes, order: Order, made: Matching) -> int:
    """Trade one new order with what rests; the lots left."""
    book = state.books[order.market]
    other_side = SELL if order.side == BUY else BUY
    left_lots = order.quantity_lots
    while left_lots:
        resting_id = book.first(other_side, order.price_ticks)
        if resting_id is None:
            break
        resting = state.orders[resting_id]
        price_ticks, lots = resting.price_ticks, min(left_lots, resting.remaining_lots)
        for maker, one_id, one in ((0, order_id, order), (1, resting_id, resting)):
            traded = made.traded.get(one_id)
            if traded is None:
                traded = made.traded[one_id] = Traded(one)
            traded.add(price_ticks, lots, maker)
        state.reduce_order(resting_id, lots)
        left_lots -= lots
        made.volume_lots += lots
        made.last_price_ticks = price_ticks
    return left_lots
