"""Uniform price and rationing of one market (docs/protocol-execution.md, "Auction"), by plain lists.

Supply and demand change only at limits, so prices fall into segments on which both are constant; the rules
are applied to the segments. Shares are fractions until they are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.limits import PRICE_TICKS_MAX


@dataclass(frozen=True, slots=True)
class Interest:
    """What one order brings to a clearing."""

    order_id: bytes
    side: int
    limit_ticks: int
    quantity_lots: int
    """What is open of it, hidden lots included."""
    resting: bool
    shown_lots: int
    """The part that goes before hidden lots where a level is rationed; of an order that hides nothing, all."""


def crossing(limits: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """The lowest sell and the highest buy limit of (side, limit in ticks) pairs; None unless they cross.

    Volume is 0 at every price outside of them, so orders with limits beyond them take no part in a clearing.
    """
    limits = list(limits)
    lowest_sell = min((limit for side, limit in limits if side == SELL), default=None)
    highest_buy = max((limit for side, limit in limits if side == BUY), default=None)
    if lowest_sell is None or highest_buy is None or lowest_sell > highest_buy:
        return None
    return lowest_sell, highest_buy


def clear(
    orders: Sequence[Interest], reference_ticks: int, draw: Callable[[bytes], bytes]
) -> tuple[int, dict[bytes, int]] | None:
    """The clearing price in ticks and the lots each order fills (none of them 0); None without a fill.

    ``draw`` gives an order id's draw.
    """
    between = crossing((order.side, order.limit_ticks) for order in orders)
    if between is None:
        return None
    best_sell, best_buy = between
    buys = [order for order in orders if order.side == BUY and order.limit_ticks >= best_sell]
    sells = [order for order in orders if order.side == SELL and order.limit_ticks <= best_buy]
    price_ticks = _uniform_price(buys, sells, best_sell, best_buy, reference_ticks)
    buys = [order for order in buys if order.limit_ticks >= price_ticks]
    sells = [order for order in sells if order.limit_ticks <= price_ticks]
    volume_lots = min(_lots(buys), _lots(sells))
    # The side with less fills wholly: rationing it gives every order all of its quantity.
    fills = _ration(buys, volume_lots, draw, best_first=-1) | _ration(sells, volume_lots, draw, best_first=1)
    return price_ticks, {order_id: lots for order_id, lots in fills.items() if lots}


def _lots(orders: Sequence[Interest]) -> int:
    return sum(order.quantity_lots for order in orders)


def _uniform_price(
    buys: Sequence[Interest], sells: Sequence[Interest], lowest: int, highest: int, reference_ticks: int
) -> int:
    segments = _segments(buys, sells, lowest, highest)
    volume = max(min(demand, supply) for _, _, demand, supply in segments)
    segments = [segment for segment in segments if min(segment[2], segment[3]) == volume]
    imbalance = min(abs(demand - supply) for _, _, demand, supply in segments)
    segments = [segment for segment in segments if abs(segment[2] - segment[3]) == imbalance]
    low, high = segments[0][0], segments[-1][1]
    if all(demand > supply for _, _, demand, supply in segments):
        return high
    if all(demand < supply for _, _, demand, supply in segments):
        return low
    return min(max(reference_ticks, low), high)


def _segments(
    buys: Sequence[Interest], sells: Sequence[Interest], lowest: int, highest: int
) -> list[tuple[int, int, int, int]]:
    """(first price, last price, demand, supply) for the prices ``lowest..highest``, ascending."""
    demand_falls: dict[int, int] = {}
    supply_rises: dict[int, int] = {}
    for order in buys:
        demand_falls[order.limit_ticks + 1] = demand_falls.get(order.limit_ticks + 1, 0) + order.quantity_lots
    for order in sells:
        supply_rises[order.limit_ticks] = supply_rises.get(order.limit_ticks, 0) + order.quantity_lots
    starts = sorted(start for start in {lowest, *demand_falls, *supply_rises} if lowest <= start <= highest)
    ends = [start - 1 for start in starts[1:]] + [min(highest, PRICE_TICKS_MAX)]
    demand, supply = _lots(buys), 0
    segments = []
    for start, end in zip(starts, ends, strict=True):
        demand -= demand_falls.get(start, 0)
        supply += supply_rises.get(start, 0)
        segments.append((start, end, demand, supply))
    return segments


def _ration(
    orders: Sequence[Interest], volume_lots: int, draw: Callable[[bytes], bytes], *, best_first: int
) -> dict[bytes, int]:
    """Give ``volume_lots`` to one side: by limit; at one limit what rests and is shown, what is new and is shown, what
    rests hidden, what is new and hidden; pro rata where it runs out."""
    groups: dict[tuple[int, bool, bool], dict[bytes, int]] = {}
    for order in orders:
        for hidden, lots in ((False, order.shown_lots), (True, order.quantity_lots - order.shown_lots)):
            place = (best_first * order.limit_ticks, hidden, not order.resting)
            groups.setdefault(place, {})[order.order_id] = lots
    left = volume_lots
    fills: dict[bytes, int] = {}
    for place in sorted(groups):
        group = groups[place]
        given = min(left, sum(group.values()))
        for order_id, lots in _pro_rata(group, given, draw).items():
            fills[order_id] = fills.get(order_id, 0) + lots
        left -= given
    return fills


def _pro_rata(group: Mapping[bytes, int], lots: int, draw: Callable[[bytes], bytes]) -> dict[bytes, int]:
    """``lots`` among a group in proportion to its orders' lots; what is left goes to the largest remainders."""
    total = sum(group.values())
    if lots in (0, total):
        return dict(group) if lots else {}
    parts = {order_id: Fraction(own * lots, total) for order_id, own in group.items()}
    fills = {order_id: floor(part) for order_id, part in parts.items()}
    left = lots - sum(fills.values())
    for order_id in sorted(fills, key=lambda order_id: (fills[order_id] - parts[order_id], draw(order_id)))[:left]:
        fills[order_id] += 1
    return fills
