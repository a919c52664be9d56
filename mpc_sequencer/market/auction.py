"""One AUCTION market's height: who takes part, the clearing, and what becomes of the rest.

The steps of docs/protocol-execution.md, "Auction": self-trade prevention; clearing in rounds, until every fill-or-kill
order that takes part is filled wholly; what is left lapses or rests; then post-only orders, which never take part:
an auction has no takers to wait for, so "would trade at once" means at the price it just made, or against what rests
now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpc_sequencer.core.actions import BUY, FOK, SELL
from mpc_sequencer.core.limits import FOK_ROUNDS_MAX
from mpc_sequencer.market import types
from mpc_sequencer.market.clearing import Clearing, Given, NewOrders, clear
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.openorder import EARLIER, KEPT, OpenOrder
from mpc_sequencer.market.selftrade import prevent
from mpc_sequencer.market.settle import settle
from mpc_sequencer.market.terms import may_rest
from mpc_sequencer.market.types import STATUS_RESTING, Market

_RESTED = (EARLIER, KEPT)


def run_auction(context: Context, market: Market, new: Sequence[OpenOrder]) -> None:
    """Clear one market that got ``new`` orders, whose locks are made."""
    taking = [order for order in new if not order.post_only]
    changed = prevent(context, taking)
    live = [order for order in taking if not order.code]
    clearing, live = _clear_whole(context, market, live)
    if clearing is not None:
        changed += apply_given(context, clearing.price_ticks, clearing.given)
        context.state.set_reference_price(market.id, clearing.price_ticks)
        context.clearing.append((market.id, clearing.price_ticks, clearing.volume_lots))
    for order in live:
        if order.filled_lots < order.quantity_lots and may_rest(order.time_in_force):
            context.state.rest_order(order)
    price_ticks = None if clearing is None else clearing.price_ticks
    post(context, [order for order in new if order.post_only], price_ticks)
    context.fills.append(settle(context, market, (*new, *changed)))


def _clear_whole(
    context: Context, market: Market, live: list[OpenOrder]
) -> tuple[Clearing | None, list[OpenOrder]]:
    """The clearing in which every fill-or-kill order that takes part is filled wholly, and who of ``live`` does."""
    for _ in range(FOK_ROUNDS_MAX):
        clearing = _clear(context, market, live)
        given = {} if clearing is None else {order.order_id: lots for order, lots in clearing.given}
        short = {
            order.order_id
            for order in live
            if order.time_in_force == FOK and given.get(order.order_id, 0) < order.remaining_lots
        }
        if not short:
            return clearing, live
        live = [order for order in live if order.order_id not in short]
    live = [order for order in live if order.time_in_force != FOK]
    return _clear(context, market, live), live


def _clear(context: Context, market: Market, live: Sequence[OpenOrder]) -> Clearing | None:
    by_price = by_side_and_price(live)
    book = context.state.orders.books[market.id]
    return clear(
        book.levels(BUY),
        book.levels(SELL),
        by_price[BUY],
        by_price[SELL],
        reference_price_ticks=context.state.reference_prices_ticks[market.id],
        draw=context.draw,
    )


def by_side_and_price(orders: Iterable[OpenOrder]) -> dict[int, dict[int, NewOrders]]:
    """New orders as the clearing takes them."""
    gathered: dict[int, dict[int, list[OpenOrder]]] = {BUY: {}, SELL: {}}
    for order in orders:
        gathered[order.side].setdefault(order.price_ticks, []).append(order)
    return {
        side: {price: NewOrders(sum(one.remaining_lots for one in at), at) for price, at in levels.items()}
        for side, levels in gathered.items()
    }


def apply_given(context: Context, price_ticks: int, given: Given) -> list[OpenOrder]:
    """Note who traded what at the clearing price; the resting orders among them."""
    traded = []
    for order, lots in given:
        order.trade(price_ticks, lots, int(order.origin in _RESTED))
        if order.status == STATUS_RESTING:
            context.state.orders.take(order, lots)
            traded.append(order)
        else:
            order.filled_lots += lots
    return traded


def post(context: Context, orders: list[OpenOrder], price_ticks: int | None) -> None:
    """Let post-only orders rest by draw where none would have traded, at the clearing price or with what rests."""
    book = context.state.orders.books
    for order in sorted(orders, key=lambda one: context.draw(one.order_id)) if len(orders) > 1 else orders:
        through = price_ticks is not None and (
            order.price_ticks >= price_ticks if order.side == BUY else order.price_ticks <= price_ticks
        )
        other_side = SELL if order.side == BUY else BUY
        if through or book[order.market].first(other_side, order.price_ticks) is not None:
            order.code = types.POST_ONLY
        else:
            context.state.rest_order(order)
