"""The uniform-price auction of one market: one price, one volume, and who trades.

The rule (docs/protocol-execution.md, "Uniform price" and "Rationing"). With D(p) the lots of buys at p or
above and S(p) those of sells at p or below, the price maximises the volume V = min(D, S), then minimises
|I| = |D - S|, then follows the market's pressure, then stays as near the reference price as it can: the
opening-auction rule of the large exchanges.

The construction looks at no price but those of levels that trade, and two more on either side. Matching the
best buys with the best sells until the next two do not cross takes out V lots of each side; let ``low`` be
the last sell level and ``high`` the last buy level so matched. D(p) >= V exactly where p <= high and S(p)
>= V exactly where p >= low, so [low, high] are the prices of maximal volume. There D - S is the same as in
the book that is left, and that book is uncrossed, with best buy ``bid`` and best sell ``ask``, bid < ask:

* prices strictly between bid and ask have I = 0; where such a price is in [low, high], all of them that are
  form the interval;
* else, where bid = high, all of [low, high] has more to buy, least at its upper end; where ask = low, the
  mirror image;
* else ask = bid + 1 and both are inside: I is bid's lots at bid and minus ask's lots at ask, and the lesser
  decides. Where they are equal the interval reaches from the next buy level to the next sell level.

Both sides then give out V lots by price priority; for the side with less at the price that is all it has.
Only at the one level V cuts through is anybody rationed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_sequencer.core.limits import PRICE_TICKS_MAX
from mpc_sequencer.market.book import Level
from mpc_sequencer.market.openorder import OpenOrder

Given = list[tuple[OpenOrder, int]]  # orders and the lots they trade
Draw = Callable[[bytes], bytes]  # order id to the height's draw

_BELOW_ALL_TICKS: Final = 0
_ABOVE_ALL_TICKS: Final = PRICE_TICKS_MAX + 1


class NewOrders:
    """The new orders of one side at one price: the sum of their lots, and either themselves or their rows in columns
    (:mod:`~mpc_sequencer.market.columns`)."""

    __slots__ = ("lots", "orders", "rows")

    def __init__(self, lots: int, orders: Sequence[OpenOrder], rows: Any = None) -> None:
        self.lots = lots
        self.orders = orders
        self.rows = rows


class PriceLevel:
    """All of one side at one price, resting and new."""

    __slots__ = ("lots", "new", "price_ticks", "resting")

    def __init__(self, price_ticks: int, resting: Level | None, new: NewOrders) -> None:
        self.price_ticks = price_ticks
        self.resting = resting
        self.new = new
        self.lots = new.lots + (0 if resting is None else resting.lots)

    def resting_orders(self) -> Sequence[OpenOrder]:
        return () if self.resting is None else self.resting.orders()


@dataclass(frozen=True, slots=True)
class Clearing:
    """A market's clearing: price, volume, and the lots each order that trades gets."""

    price_ticks: int
    volume_lots: int
    given: Given


def clear(
    bids: Iterable[tuple[int, Level]],
    asks: Iterable[tuple[int, Level]],
    new_buys: Mapping[int, NewOrders],
    new_sells: Mapping[int, NewOrders],
    *,
    reference_price_ticks: int,
    draw: Draw,
) -> Clearing | None:
    """Clear one market; None where nothing trades.

    ``bids`` and ``asks`` are the resting levels, best first, and are read only as far as needed; new orders
    come by price. ``draw`` is asked only for orders tied for a remainder.
    """
    crossed = cross(bids, asks, new_buys, new_sells, reference_price_ticks)
    if crossed is None:
        return None
    given = [row for levels in (crossed.buys, crossed.sells) for row in _give_out(levels, crossed.volume_lots, draw)]
    return Clearing(crossed.price_ticks, crossed.volume_lots, given)


@dataclass(frozen=True, slots=True)
class Crossed:
    """Price and volume, and the levels of either side that trade, best first; only the last may not do so wholly."""

    price_ticks: int
    volume_lots: int
    buys: Sequence[PriceLevel]
    sells: Sequence[PriceLevel]


def cross(
    bids: Iterable[tuple[int, Level]],
    asks: Iterable[tuple[int, Level]],
    new_buys: Mapping[int, NewOrders],
    new_sells: Mapping[int, NewOrders],
    reference_price_ticks: int,
) -> Crossed | None:
    """Where the two sides meet; None where they do not."""
    buy_side = _Cursor(_merged(bids, new_buys, descending=True))
    sell_side = _Cursor(_merged(asks, new_sells, descending=False))
    volume_lots = _match(buy_side, sell_side)
    if not volume_lots:
        return None
    buys, sells = tuple(buy_side.taken), tuple(sell_side.taken)
    return Crossed(_price(buy_side, sell_side, reference_price_ticks), volume_lots, buys, sells)


def _merged(
    resting: Iterable[tuple[int, Level]], new: Mapping[int, NewOrders], *, descending: bool
) -> Iterator[PriceLevel]:
    """Resting and new orders as one sequence of levels, best first."""
    waiting = sorted(new, reverse=not descending)  # best last, to be popped
    for price_ticks, level in resting:
        while waiting and (waiting[-1] > price_ticks if descending else waiting[-1] < price_ticks):
            better = waiting.pop()
            yield PriceLevel(better, None, new[better])
        at_level = bool(waiting) and waiting[-1] == price_ticks
        yield PriceLevel(price_ticks, level, new[waiting.pop()] if at_level else _NONE_NEW)
    while waiting:
        better = waiting.pop()
        yield PriceLevel(better, None, new[better])


_NONE_NEW: Final = NewOrders(0, ())


class _Cursor:
    """One side of the book, best first: the levels matched so far, the first one with lots left, and how
    many."""

    __slots__ = ("_levels", "left_lots", "level", "taken")

    def __init__(self, levels: Iterator[PriceLevel]) -> None:
        self._levels = levels
        self.taken: list[PriceLevel] = []
        self.advance()

    def advance(self) -> None:
        self.level = next(self._levels, None)
        self.left_lots = 0 if self.level is None else self.level.lots

    def take(self, lots: int) -> None:
        level = self.level
        if level is not None and (not self.taken or self.taken[-1] is not level):
            self.taken.append(level)
        self.left_lots -= lots
        if not self.left_lots:
            self.advance()

    def price_ticks_or(self, none_left: int) -> int:
        return none_left if self.level is None else self.level.price_ticks


def _match(buy_side: _Cursor, sell_side: _Cursor) -> int:
    """Match best with best until the two do not cross; the volume in lots."""
    volume_lots = 0
    while (
        buy_side.level is not None
        and sell_side.level is not None
        and buy_side.level.price_ticks >= sell_side.level.price_ticks
    ):
        lots = min(buy_side.left_lots, sell_side.left_lots)
        volume_lots += lots
        buy_side.take(lots)
        sell_side.take(lots)
    return volume_lots


def _price(buy_side: _Cursor, sell_side: _Cursor, reference_price_ticks: int) -> int:
    """The clearing price after :func:`_match`, as the module's docstring derives it."""
    low, high = sell_side.taken[-1].price_ticks, buy_side.taken[-1].price_ticks
    bid, ask = buy_side.price_ticks_or(_BELOW_ALL_TICKS), sell_side.price_ticks_or(_ABOVE_ALL_TICKS)
    first, last = max(low, bid + 1), min(high, ask - 1)
    if first <= last:
        return min(max(reference_price_ticks, first), last)
    if bid == high:
        return high
    if ask == low:
        return low
    if buy_side.left_lots != sell_side.left_lots:
        return bid if buy_side.left_lots < sell_side.left_lots else ask
    buy_side.advance()
    sell_side.advance()
    first = max(low, buy_side.price_ticks_or(_BELOW_ALL_TICKS) + 1)
    last = min(high, sell_side.price_ticks_or(_ABOVE_ALL_TICKS) - 1)
    return min(max(reference_price_ticks, first), last)


def _give_out(levels: Iterable[PriceLevel], volume_lots: int, draw: Draw) -> Given:
    """``volume_lots`` by price priority over ``levels``, of which only the last may not be covered."""
    given: Given = []
    left_lots = volume_lots
    for level in levels:
        if level.lots <= left_lots:
            given += [(order, order.remaining_lots) for order in level.resting_orders()]
            given += [(order, order.remaining_lots) for order in level.new.orders]
            left_lots -= level.lots
        else:
            given += _ration_level(level, left_lots, draw)
            break
    return given


def shown_lots(order: OpenOrder) -> int:
    """What an order shows of itself in an auction."""
    remaining_lots = order.remaining_lots
    return min(order.display_lots, remaining_lots) if order.display_lots else remaining_lots


def _ration_level(level: PriceLevel, available_lots: int, draw: Draw) -> Given:
    """Give out less than a level asks for: what is shown before what is hidden, resting before new in each."""
    resting = level.resting_orders()
    orders = {order.order_id: order for order in (*resting, *level.new.orders)}
    given: dict[bytes, int] = {}
    left_lots = available_lots
    for hidden in (False, True):
        for group in (resting, level.new.orders):
            asked = {
                order.order_id: order.remaining_lots - shown_lots(order) if hidden else shown_lots(order)
                for order in group
                if order.display_lots or not hidden
            }
            asked_lots = sum(asked.values())
            if not left_lots or not asked_lots:
                continue
            if asked_lots > left_lots:
                asked = ration(asked, asked_lots, left_lots, draw)
                asked_lots = left_lots
            left_lots -= asked_lots
            for order_id, lots in asked.items():
                given[order_id] = given.get(order_id, 0) + lots
    return [(orders[order_id], lots) for order_id, lots in given.items() if lots]


def ration(group: Mapping[bytes, int], group_lots: int, available_lots: int, draw: Draw) -> dict[bytes, int]:
    """``available_lots`` (less than ``group_lots``, the group's sum) pro rata, by largest remainder, ties
    by draw.

    An order never gets more than it asked for: its exact share is below its quantity, so the floor is too,
    and at most one lot is added. Orders that get nothing are left out.
    """
    given: dict[bytes, int] = {}
    remainders: list[tuple[int, bytes]] = []
    left_lots = available_lots
    for order_id, lots in group.items():
        share, remainder = divmod(lots * available_lots, group_lots)
        remainders.append((remainder, order_id))
        if share:
            given[order_id] = share
            left_lots -= share
    if not left_lots:
        return given
    cutoff = sorted((remainder for remainder, _ in remainders), reverse=True)[left_lots - 1]
    lucky = [order_id for remainder, order_id in remainders if remainder > cutoff]
    tied = [order_id for remainder, order_id in remainders if remainder == cutoff]
    if len(lucky) + len(tied) > left_lots:
        tied = sorted(tied, key=draw)[: left_lots - len(lucky)]
    for order_id in lucky + tied:
        given[order_id] = given.get(order_id, 0) + 1
    return given
