"""One market's resting orders, by price level.

Levels are kept sorted, so the best one is at hand whatever the number of levels; a level holds its orders and the sum
of their lots, so a walk over levels never looks at orders. Within a level orders keep the sequence in which they came,
a place each; places that orders leave are passed over once and given up when they are the most. An order that takes
another's place has just that. After every height the book is uncrossed: a
resting buy at or above a resting sell would have traded, by an auction's maximal volume as by matching on arrival.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from sortedcontainers import SortedDict

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.market.openorder import OpenOrder

NO_HANDLE: Final = -1
"""Of an order whose account's place in the ledger nobody asks for."""
_GONE_MIN: Final = 32


class Level:
    """The resting orders of one side at one price in the sequence in which they came, a place each: orders, their
    remaining lots and their accounts' handles, side by side, so that lots and accounts are read without the orders. A
    place that was left holds None and no lots, until there are many. ``lots`` is the sum of the remaining lots, and
    ``hidden_lots`` how many of these no order shows."""

    __slots__ = ("_first", "count", "handles", "hidden_lots", "left_lots", "lots", "places")

    def __init__(self) -> None:
        self.places: list[OpenOrder | None] = []
        self.left_lots = array("q")
        self.handles = array("q")
        self.count = 0
        self.lots = 0
        self.hidden_lots = 0
        self._first = 0

    def orders(self) -> list[OpenOrder]:
        """First come first."""
        return [order for order in self.places if order is not None]

    def first(self) -> OpenOrder:
        """The order that came first of those here, of which there is one."""
        while (order := self.places[self._first]) is None:
            self._first += 1
        return order

    def append(self, order: OpenOrder, handle: int) -> None:
        """Put an order last; its ticket is its place."""
        left_lots = order.quantity_lots - order.filled_lots
        order.ticket = len(self.places)
        self.places.append(order)
        self.left_lots.append(left_lots)
        self.handles.append(handle)
        self.count += 1
        self.lots += left_lots

    def drop(self, place: int) -> None:
        """Leave a place, with what lots it has."""
        self.lots -= self.left_lots[place]
        self.left_lots[place] = 0
        self.places[place] = None
        self.count -= 1

    def close_ranks(self) -> None:
        """Forget places that were left, where they are more than those that are held."""
        if len(self.places) < 2 * self.count + _GONE_MIN:
            return
        held = [place for place, order in enumerate(self.places) if order is not None]
        self.left_lots = array("q", [self.left_lots[place] for place in held])
        self.handles = array("q", [self.handles[place] for place in held])
        orders = self.orders()
        for place, order in enumerate(orders):
            order.ticket = place
        self.places, self._first = [*orders], 0


class Book:
    """The resting orders of one market. ``shows_anew`` is False where what an iceberg shows is used up before it shows
    more (in time priority), True where it always shows as much as it can (under AUCTION)."""

    __slots__ = ("_asks", "_bids", "_shows_anew")

    def __init__(self, shows_anew: bool) -> None:
        self._shows_anew = shows_anew
        self._bids: SortedDict[int, Level] = SortedDict()
        self._asks: SortedDict[int, Level] = SortedDict()

    def add(self, order: OpenOrder, handle: int = NO_HANDLE) -> None:
        """Put an order into the book, last of its price; ``handle`` is its account's."""
        level = self._level(order.side, order.price_ticks)
        level.append(order, handle)
        if order.display_lots:
            level.hidden_lots += order.hidden_lots

    def add_all(self, orders: Iterable[OpenOrder], handles: Iterable[int]) -> None:
        """:meth:`add` for orders that hide nothing."""
        levels: dict[tuple[int, int], Level] = {}
        for order, handle in zip(orders, handles, strict=True):
            key = order.side, order.price_ticks
            level = levels.get(key)
            if level is None:
                level = levels[key] = self._level(*key)
            level.append(order, handle)

    def remove(self, order: OpenOrder) -> None:
        """Take an order out, with what it has left."""
        level = self._side(order.side)[order.price_ticks]
        level.hidden_lots -= order.hidden_lots
        self._drop(order, level)

    def swap(self, old: OpenOrder, new: OpenOrder) -> None:
        """Put ``new`` (of the same account, side and price) in the place of ``old``."""
        level = self._side(old.side)[old.price_ticks]
        place = new.ticket = old.ticket
        level.places[place] = new
        level.lots += new.remaining_lots - level.left_lots[place]
        level.left_lots[place] = new.remaining_lots
        level.hidden_lots += new.hidden_lots - old.hidden_lots

    def take(self, order: OpenOrder, lots: int) -> None:
        """Take ``lots`` filled lots off a resting order; it leaves the book when none remain."""
        level = self._side(order.side)[order.price_ticks]
        hidden_lots = order.hidden_lots
        level.lots -= lots
        level.left_lots[order.ticket] -= lots
        order.filled_lots += lots
        if order.display_lots:
            shown_lots = order.display_lots if self._shows_anew else order.shown_lots - lots
            order.shown_lots = min(shown_lots, order.remaining_lots)
            level.hidden_lots += order.hidden_lots - hidden_lots
        if order.filled_lots == order.quantity_lots:
            self._drop(order, level)

    def take_level(
        self, side: int, price_ticks: int, places: Sequence[int], lots: Sequence[int]
    ) -> tuple[list[OpenOrder], list[OpenOrder]]:
        """:meth:`take` at many places of one side and price, which hide nothing; the orders, and those that leave."""
        level = self._side(side)[price_ticks]
        held, left_lots = level.places, level.left_lots
        orders: list[OpenOrder] = []
        done: list[OpenOrder] = []
        for place, some in zip(places, lots, strict=True):
            order = held[place]
            assert order is not None, "lots are where an order is"
            orders.append(order)
            order.filled_lots += some
            left = left_lots[place] = left_lots[place] - some
            if order.display_lots:
                order.shown_lots = left  # all of it, as it hid nothing before
            if not left:
                held[place] = None
                done.append(order)
        level.lots -= sum(lots)
        level.count -= len(done)
        self._tidy(side, price_ticks, level)
        return orders, done

    def show_next(self, order: OpenOrder) -> None:
        """Let an iceberg whose shown part is used up show the next, last of its price."""
        level = self._side(order.side)[order.price_ticks]
        level.hidden_lots -= order.hidden_lots
        order.shown_lots = min(order.display_lots, order.remaining_lots)
        level.hidden_lots += order.hidden_lots
        handle = level.handles[order.ticket]
        level.drop(order.ticket)
        level.append(order, handle)
        level.close_ranks()

    def levels(self, side: int) -> Iterator[tuple[int, Level]]:
        """Levels ``(price_ticks, level)`` of ``side``, best first; the book must not change meanwhile."""
        held = self._side(side)
        prices = reversed(held) if side == BUY else iter(held)
        return ((price_ticks, held[price_ticks]) for price_ticks in prices)

    def first(self, side: int, limit_ticks: int) -> OpenOrder | None:
        """The order of ``side`` that is first by price, then by time; None where none is at ``limit_ticks`` or better
        for whoever trades with it (a buy at or above, a sell at or below)."""
        levels = self._side(side)
        if not levels:
            return None
        price_ticks, level = levels.peekitem(-1 if side == BUY else 0)
        meets = price_ticks >= limit_ticks if side == BUY else price_ticks <= limit_ticks
        return level.first() if meets else None

    def depth(self, levels_max: int) -> Mapping[str, tuple[tuple[int, int, int], ...]]:
        """The best ``levels_max`` levels of either side as rows ``(price_ticks, shown lots, orders)``, for display."""
        return {
            name: tuple(
                (price, level.lots - level.hidden_lots, level.count)
                for price, level in islice(self.levels(side), levels_max)
            )
            for name, side in (("bids", BUY), ("asks", SELL))
        }

    def is_crossed(self) -> bool:
        """Whether the best buy is at or above the best sell; never so between heights."""
        return bool(self._bids and self._asks) and self._bids.peekitem(-1)[0] >= self._asks.peekitem(0)[0]

    def _level(self, side: int, price_ticks: int) -> Level:
        levels = self._side(side)
        level = levels.get(price_ticks)
        if level is None:
            level = levels[price_ticks] = Level()
        return level

    def _drop(self, order: OpenOrder, level: Level) -> None:
        level.drop(order.ticket)
        self._tidy(order.side, order.price_ticks, level)

    def _tidy(self, side: int, price_ticks: int, level: Level) -> None:
        if not level.count:
            del self._side(side)[price_ticks]
        else:
            level.close_ranks()

    def _side(self, side: int) -> SortedDict[int, Level]:
        return self._bids if side == BUY else self._asks
