"""Self-trade prevention before an auction (docs/protocol-execution.md, "Self-trade prevention").

An auction knows no arrival, so it is decided by draw who came first: each new order with a mode meets those orders of
its own account on the other side that it could trade with, resting ones and new ones of an earlier draw. Where
orders arrive one after the other the prevention is part of matching.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpc_sequencer.core.actions import BUY, CANCEL_BOTH, CANCEL_MAKER, CANCEL_TAKER
from mpc_sequencer.market import types
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.openorder import EARLIER, KEPT, OpenOrder
from mpc_sequencer.market.types import STATUS_RESTING


def crosses(order: OpenOrder, other: OpenOrder) -> bool:
    """Whether two orders of one market could trade with each other."""
    if order.side == other.side:
        return False
    if order.side == BUY:
        return order.price_ticks >= other.price_ticks
    return order.price_ticks <= other.price_ticks


def prevent(context: Context, new: Sequence[OpenOrder]) -> list[OpenOrder]:
    """End orders of one market whose account would trade with itself, among ``new`` (none of them post-only) and
    resting ones; the resting ones it ended. An ended order has a code."""
    modes = {order.account for order in new if order.self_trade}
    if not modes:
        return []
    ended: list[OpenOrder] = []
    earlier: dict[bytes, list[OpenOrder]] = {}
    for order in sorted((one for one in new if one.account in modes), key=lambda one: context.draw(one.order_id)):
        if order.self_trade:
            ended += _prevent_one(context, order, earlier.get(order.account, ()))
        if not order.code:
            earlier.setdefault(order.account, []).append(order)
    return ended


def _prevent_one(context: Context, order: OpenOrder, earlier: Iterable[OpenOrder]) -> list[OpenOrder]:
    resting = [
        other
        for other in context.state.orders.of_account(order.account).values()
        if other.status == STATUS_RESTING and other.market == order.market
    ]
    met = [other for other in (*resting, *earlier) if not other.code and crosses(order, other)]
    if not met:
        return []
    if order.self_trade in (CANCEL_TAKER, CANCEL_BOTH):
        order.code = types.SELF_TRADE
    if order.self_trade == CANCEL_BOTH:
        met = [min(met, key=lambda other: _rank(context, other))]
    elif order.self_trade != CANCEL_MAKER:
        met = []
    ended = []
    for other in met:
        other.code = types.SELF_TRADE
        if other.status == STATUS_RESTING:
            context.state.orders.remove(other)
            ended.append(other)
    return ended


def _rank(context: Context, other: OpenOrder) -> tuple[int, bool, int, bytes]:
    """Smaller meets first: the better price, resting before new, the earlier."""
    price = -other.price_ticks if other.side == BUY else other.price_ticks
    return price, other.origin not in (EARLIER, KEPT), other.sequence, context.draw(other.order_id)
