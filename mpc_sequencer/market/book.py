"""One market's resting orders, by price level.

Levels are kept sorted, so the best one is at hand whatever the number of levels; a level holds its orders and the sum
of their lots, so a walk over levels never looks at orders. Within a level orders keep the sequence in which they came,
by a ticket of the book's own, and the first is at hand however many left before it: a plain dict would pass over the
places of all those. An order that takes another's place takes its ticket. After every height the book is uncrossed: a
resting buy at or above a resting sell would have traded, by an auction's maximal volume as by matching on arrival.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from sortedcontainers import SortedDict

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.market.openorder import OpenOrder


class Level:
    """The resting orders of one side at one price by ticket, first come first; the sum of their remaining lots, and how
    many of these no order shows."""

    __slots__ = ("hidden_lots", "lots", "orders")

    def __init__(self) -> None:
        self.orders: OrderedDict[int, OpenOrder] = OrderedDict()
        self.lots = 0
        self.hidden_lots = 0


class Book:
    """The resting orders of one market. ``shows_anew`` is False where what an iceberg shows is used up before it shows
    more (in time priority), True where it always shows as much as it can (under AUCTION)."""

    __slots__ = ("_asks", "_bids", "_shows_anew", "_tickets")

    def __init__(self, shows_anew: bool) -> None:
        self._shows_anew = shows_anew
        self._tickets = 0
        self._bids: SortedDict[int, Level] = SortedDict()
        self._asks: SortedDict[int, Level] = SortedDict()

    def add(self, order: OpenOrder) -> None:
        """Put an order into the book, last of its price."""
        side = self._side(order.side)
        level = side.get(order.price_ticks)
        if level is None:
            level = side[order.price_ticks] = Level()
        self._tickets = order.ticket = self._tickets + 1
        level.orders[order.ticket] = order
        level.lots += order.quantity_lots - order.filled_lots
        if order.display_lots:
            level.hidden_lots += order.hidden_lots

    def add_all(self, orders: Iterable[OpenOrder]) -> None:
        """:meth:`add` for orders that hide nothing."""
        levels: dict[tuple[int, int], Level] = {}
        ticket = self._tickets
        for order in orders:
            key = order.side, order.price_ticks
            level = levels.get(key)
            if level is None:
                side = self._side(order.side)
                level = side.get(order.price_ticks)
                if level is None:
                    level = side[order.price_ticks] = Level()
                levels[key] = level
            ticket += 1
            order.ticket = ticket
            level.orders[ticket] = order
            level.lots += order.quantity_lots - order.filled_lots
        self._tickets = ticket

    def remove(self, order: OpenOrder) -> None:
        """Take an order out, with what it has left."""
        side = self._side(order.side)
        level = side[order.price_ticks]
        level.lots -= order.quantity_lots - order.filled_lots
        level.hidden_lots -= order.hidden_lots
        del level.orders[order.ticket]
        if not level.orders:
            del side[order.price_ticks]

    def swap(self, old: OpenOrder, new: OpenOrder) -> None:
        """Put ``new`` (of the same side and price) in the place of ``old``."""
        level = self._side(old.side)[old.price_ticks]
        new.ticket = old.ticket
        level.orders[new.ticket] = new
        level.lots += new.remaining_lots - old.remaining_lots
        level.hidden_lots += new.hidden_lots - old.hidden_lots

    def take(self, order: OpenOrder, lots: int) -> None:
        """Take ``lots`` filled lots off a resting order; it leaves the book when none remain."""
        side = self._side(order.side)
        level = side[order.price_ticks]
        hidden_lots = order.hidden_lots
        level.lots -= lots
        order.filled_lots += lots
        if order.display_lots:
            shown_lots = order.display_lots if self._shows_anew else order.shown_lots - lots
            order.shown_lots = min(shown_lots, order.remaining_lots)
            level.hidden_lots += order.hidden_lots - hidden_lots
        if order.filled_lots == order.quantity_lots:
            del level.orders[order.ticket]
            if not level.orders:
                del side[order.price_ticks]

    def take_level(self, orders: Sequence[OpenOrder], lots: Sequence[int]) -> None:
        """:meth:`take` for many orders of one side and price that hide nothing."""
        side = self._side(orders[0].side)
        price_ticks = orders[0].price_ticks
        level = side[price_ticks]
        held = level.orders
        level.lots -= sum(lots)
        if not level.lots:
            del side[price_ticks]
        for order, some in zip(orders, lots, strict=True):
            order.filled_lots += some
            if order.display_lots:
                order.shown_lots = order.quantity_lots - order.filled_lots  # all of it, as it hid nothing before
            if level.lots and order.filled_lots == order.quantity_lots:
                del held[order.ticket]

    def show_next(self, order: OpenOrder) -> None:
        """Let an iceberg whose shown part is used up show the next, last of its price."""
        level = self._side(order.side)[order.price_ticks]
        del level.orders[order.ticket]
        level.hidden_lots -= order.hidden_lots
        order.shown_lots = min(order.display_lots, order.remaining_lots)
        level.hidden_lots += order.hidden_lots
        self._tickets = order.ticket = self._tickets + 1
        level.orders[order.ticket] = order

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
        return next(iter(level.orders.values())) if meets else None

    def depth(self, levels_max: int) -> Mapping[str, tuple[tuple[int, int, int], ...]]:
        """The best ``levels_max`` levels of either side as rows ``(price_ticks, shown lots, orders)``, for display."""
        return {
            name: tuple(
                (price, level.lots - level.hidden_lots, len(level.orders))
                for price, level in islice(self.levels(side), levels_max)
            )
            for name, side in (("bids", BUY), ("asks", SELL))
        }

    def is_crossed(self) -> bool:
        """Whether the best buy is at or above the best sell; never so between heights."""
        return bool(self._bids and self._asks) and self._bids.peekitem(-1)[0] >= self._asks.peekitem(0)[0]

    def _side(self, side: int) -> SortedDict[int, Level]:
        return self._bids if side == BUY else self._asks
