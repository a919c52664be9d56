"""Orders one after the other: continuous matching by price and time, for SHUFFLE and RECEIVE markets.

The rule (docs/protocol-execution.md, "One after the other"). Each new order in its turn trades with the resting orders
of the other side whose limits it meets, best price first and within a price the one that came to rest first, each time
at the resting order's price; so both sides get their limit or better. What is left of an order that may rest then
comes to rest itself, behind all others of its price, and later orders of the same height meet it like any other. This
is the price-time priority of the exchanges' continuous sessions; only the sequence of the orders is the market's policy
and not their arrival at one machine.

An iceberg is at its place only with what it shows; when that is used up, it shows the next part behind all others of
its price. Its parts are bounded (ICEBERG_PARTS_MAX), so what an arrival costs is bounded by what it fills.

An arriving order's trades never get better in price, and a resting order trades at its own limit alone, which is its
worst; so an order's lots per price need no table: a trade adds to the last row or begins a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from mpc_sequencer.core.actions import BUY, CANCEL_BOTH, CANCEL_MAKER, CANCEL_TAKER, FOK, SELL
from mpc_sequencer.core.limits import FOK_LEVELS_MAX
from mpc_sequencer.market import types
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.openorder import EARLIER, KEPT, OpenOrder
from mpc_sequencer.market.selftrade import crosses
from mpc_sequencer.market.settle import settle
from mpc_sequencer.market.terms import may_rest
from mpc_sequencer.market.types import STATUS_RESTING, Market


def run_continuous(context: Context, market: Market, arrivals: Iterable[OpenOrder]) -> None:
    """Let new orders of one market, whose locks are made, meet its book in the sequence given."""
    arrived = list(arrivals)
    matching = _Matching(context, market)
    for order in arrived:
        matching.arrive(order)
    if matching.last_price_ticks is not None:
        context.state.set_reference_price(market.id, matching.last_price_ticks)
        context.clearing.append((market.id, matching.last_price_ticks, matching.volume_lots))
    context.fills.append(settle(context, market, (*arrived, *matching.changed.values())))


class _Matching:
    """A market's trades of one height; the resting orders they change, by id."""

    __slots__ = ("_book", "_state", "changed", "last_price_ticks", "volume_lots")

    def __init__(self, context: Context, market: Market) -> None:
        self._state = context.state
        self._book = context.state.orders.books[market.id]
        self.changed: dict[bytes, OpenOrder] = {}
        self.volume_lots = 0
        self.last_price_ticks: int | None = None

    def arrive(self, order: OpenOrder) -> None:
        other_side = SELL if order.side == BUY else BUY
        if order.post_only and self._book.first(other_side, order.price_ticks) is not None:
            order.code = types.POST_ONLY
            return
        if order.time_in_force == FOK and not self._fills_whole(order, other_side):
            return
        while order.filled_lots < order.quantity_lots:
            met = self._book.first(other_side, order.price_ticks)
            if met is None:
                break
            if order.self_trade and met.account == order.account:
                self._prevent(order, met)
                if order.code:
                    return
            else:
                self._trade(order, met)
        if order.filled_lots < order.quantity_lots and may_rest(order.time_in_force):
            self._state.rest_order(order)

    def _trade(self, order: OpenOrder, met: OpenOrder) -> None:
        lots = min(order.remaining_lots, met.shown_lots if met.display_lots else met.remaining_lots)
        order.trade(met.price_ticks, lots, maker=0)
        met.trade(met.price_ticks, lots, maker=1)
        order.filled_lots += lots
        self._note(met)
        self._state.orders.take(met, lots)
        if met.display_lots and not met.shown_lots and met.filled_lots < met.quantity_lots:
            self._book.show_next(met)
            met.sequence = self._state.next_sequence(met.market)
        self.volume_lots += lots
        self.last_price_ticks = met.price_ticks

    def _prevent(self, order: OpenOrder, met: OpenOrder) -> None:
        """Keep an arrival from trading with its own account, as its mode says."""
        if order.self_trade in (CANCEL_MAKER, CANCEL_BOTH):
            met.code = types.SELF_TRADE
            self._note(met)
            self._state.orders.remove(met)
        if order.self_trade in (CANCEL_TAKER, CANCEL_BOTH):
            order.code = types.SELF_TRADE

    def _note(self, met: OpenOrder) -> None:
        if met.origin in (EARLIER, KEPT):
            self.changed[met.order_id] = met

    def _fills_whole(self, order: OpenOrder, other_side: int) -> bool:
        """Whether an arriving fill-or-kill order finds all its lots within FOK_LEVELS_MAX levels at its limit or
        better. Own orders that prevention would end do not count; where it would end the arrival, levels from the
        best own order on do not."""
        wanted_lots = order.remaining_lots
        own: dict[int, int] = {}
        if order.self_trade:
            for other in self._state.orders.of_account(order.account).values():
                if other.status == STATUS_RESTING and other.market == order.market and crosses(order, other):
                    own[other.price_ticks] = own.get(other.price_ticks, 0) + other.remaining_lots
        for price_ticks, level in islice(self._book.levels(other_side), FOK_LEVELS_MAX):
            beyond = price_ticks > order.price_ticks if order.side == BUY else price_ticks < order.price_ticks
            if beyond or (price_ticks in own and order.self_trade != CANCEL_MAKER):
                return False
            wanted_lots -= level.lots - own.get(price_ticks, 0)
            if wanted_lots <= 0:
                return True
        return False
