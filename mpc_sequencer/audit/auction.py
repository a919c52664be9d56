"""An auction market's part of a height (docs/protocol-execution.md, "Auction"): self-trade prevention, clearings
until no fill-or-kill order is filled in part, then post-only orders one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mpc_sequencer.audit.clearing import Interest, clear, crossing
from mpc_sequencer.audit.state import OpenOrder
from mpc_sequencer.audit.terms import may_rest
from mpc_sequencer.audit.trades import Traded
from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import (
    BUY,
    CANCEL_BOTH,
    CANCEL_MAKER,
    CANCEL_TAKER,
    FOK,
    SELF_TRADE_ALLOWED,
    SELL,
)

Orders = Mapping[bytes, OpenOrder]
Draw = Callable[[bytes], bytes]


def auction(resting: Orders, new: Orders, reference_ticks: int, draw: Draw) -> Traded:
    """Clear a market's ``resting`` and ``new`` orders."""
    made = Traded()
    drawn = [new[order_id] for order_id in sorted(new, key=draw)]
    takers = {order.order_id: order for order in drawn if not order.terms.post_only}
    made.ended = prevent_self_trades(resting, takers, draw)
    book = {order_id: order for order_id, order in resting.items() if order_id not in made.ended}
    takers = {order_id: order for order_id, order in takers.items() if order_id not in made.ended}
    price_ticks, fills = _clear_in_rounds(book, takers, made, reference_ticks, draw)
    made.price_ticks = price_ticks
    if price_ticks is not None:
        for order_id, lots in fills.items():
            made.add(order_id, price_ticks, order_id in book, lots)
    for order_id, order in (book | takers).items():
        left_lots = order.remaining_lots - fills.get(order_id, 0)
        if left_lots and (order_id in book or (may_rest(order.terms) and order_id not in made.ended)):
            _rest(made, order, left_lots)
    _rest_post_only([order for order in drawn if order.terms.post_only], book | takers, made)
    return made


def _rest(made: Traded, order: OpenOrder, left_lots: int) -> None:
    made.book[order.order_id] = (0, min(order.terms.display_lots, left_lots))


# --- a. self-trade prevention ----------
def prevent_self_trades(resting: Orders, takers: Orders, draw: Draw) -> dict[bytes, str]:
    """Who is ended so that no account trades with itself. ``takers`` are the new orders, by draw; of two orders that
    would meet, the newer one's mode counts."""
    ended: dict[bytes, str] = {}
    earlier: dict[bytes, list[OpenOrder]] = {}
    trading = {order.account for order in takers.values() if order.terms.self_trade != SELF_TRADE_ALLOWED}
    for order in resting.values():
        if order.account in trading:
            earlier.setdefault(order.account, []).append(order)
    for order_id, order in takers.items():
        own = earlier.setdefault(order.account, [])
        mode = order.terms.self_trade
        met = [other for other in own if other.order_id not in ended and _cross(order, other)]
        own.append(order)
        if mode == SELF_TRADE_ALLOWED or not met:
            continue
        if mode == CANCEL_MAKER:
            ended |= {other.order_id: "self_trade" for other in met}
        if mode == CANCEL_BOTH:
            first = min(met, key=lambda other: _precedence(other, other.order_id in takers, draw))
            ended[first.order_id] = "self_trade"
        if mode in (CANCEL_TAKER, CANCEL_BOTH):
            ended[order_id] = "self_trade"
    return ended


def _cross(order: OpenOrder, other: OpenOrder) -> bool:
    """Whether two orders are of different sides and their limits meet."""
    if order.terms.side == other.terms.side:
        return False
    buy, sell = (order, other) if order.terms.side == BUY else (other, order)
    return buy.terms.price_ticks >= sell.terms.price_ticks


def _precedence(other: OpenOrder, is_new: bool, draw: Draw) -> tuple[int, bool, int, bytes]:
    """Smaller is met first: the best price, what rests, the sequence, the draw."""
    price_ticks = other.terms.price_ticks
    return (
        -price_ticks if other.terms.side == BUY else price_ticks,
        is_new,
        other.sequence,
        draw(other.order_id),
    )


# --- b. clearing ----------
def _clear_in_rounds(
    book: Orders, takers: Orders, made: Traded, reference_ticks: int, draw: Draw
) -> tuple[int | None, dict[bytes, int]]:
    """Price and fills of the clearing in which every fill-or-kill order that takes part is filled wholly; the others
    are noted as ended."""
    removals = 0
    while True:
        taking_part = {order_id: order for order_id, order in takers.items() if order_id not in made.ended}
        cleared = clear(_interests(book, taking_part), reference_ticks, draw)
        price_ticks, fills = cleared or (None, {})
        killers = [order for order in taking_part.values() if order.terms.time_in_force == FOK]
        failed = [order for order in killers if fills.get(order.order_id, 0) != order.remaining_lots]
        if not failed:
            return price_ticks, fills
        removals += 1
        for order in killers if removals == limits.FOK_ROUNDS_MAX else failed:
            made.ended[order.order_id] = "unfilled"


def _interests(book: Orders, takers: Orders) -> list[Interest]:
    """What resting and new orders bring to a clearing, without the resting orders that cannot take part."""
    between = crossing(
        (order.terms.side, order.terms.price_ticks) for orders in (book, takers) for order in orders.values()
    )
    if between is None:
        return []
    best_sell, best_buy = between
    return [
        _interest(order, resting=True)
        for order in book.values()
        if (order.terms.price_ticks >= best_sell if order.terms.side == BUY else order.terms.price_ticks <= best_buy)
    ] + [_interest(order, resting=False) for order in takers.values()]


def _interest(order: OpenOrder, *, resting: bool) -> Interest:
    terms, lots = order.terms, order.remaining_lots
    shown_lots = min(terms.display_lots, lots) if terms.display_lots else lots
    return Interest(order.order_id, terms.side, terms.price_ticks, lots, resting, shown_lots)


# --- b.6 post-only ----------
def _rest_post_only(orders: list[OpenOrder], others: Orders, made: Traded) -> None:
    """Rest post-only orders, which come by draw, where nothing could have traded with them."""
    limits_ticks: dict[int, list[int]] = {BUY: [], SELL: []}
    for order_id in made.book:
        limits_ticks[others[order_id].terms.side].append(others[order_id].terms.price_ticks)
    for order in orders:
        own, price_ticks = order.terms.price_ticks, made.price_ticks
        if order.terms.side == BUY:
            reached = price_ticks is not None and own >= price_ticks
            crosses = own >= min(limits_ticks[SELL], default=own + 1)
        else:
            reached = price_ticks is not None and own <= price_ticks
            crosses = own <= max(limits_ticks[BUY], default=own - 1)
        if reached or crosses:
            made.ended[order.order_id] = "post_only"
        else:
            _rest(made, order, order.remaining_lots)
            limits_ticks[order.terms.side].append(own)
