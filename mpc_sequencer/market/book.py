"""One market's resting orders, by price level.

Levels are kept sorted, so the best one is at hand whatever the number of levels; a level holds its orders'
lots by order id and their sum, so a walk over levels never looks at orders. Within a level orders keep the
sequence in which they were added, and the first is at hand however many left before it: a plain dict would
pass over the places of all those. After every height the book is uncrossed: a resting buy at or above a
resting sell would have traded, by an auction's maximal volume as by matching on arrival.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice

import msgspec
from sortedcontainers import SortedDict

from mpc_sequencer.core.actions import BUY
from mpc_sequencer.market.types import OrderValue


class Level:
    """The resting orders of one side at one price: remaining lots by order id, first added first, and their
    sum."""

    __slots__ = ("lots", "orders")

    def __init__(self) -> None:
        self.orders: OrderedDict[bytes, int] = OrderedDict()
        self.lots = 0


class Book:
    """The resting orders of one market. ``index`` (order id to order) is shared by all markets of an
    engine."""

    __slots__ = ("_asks", "_bids", "_index")

    def __init__(self, index: dict[bytes, OrderValue]) -> None:
        self._index = index
        self._bids: SortedDict[int, Level] = SortedDict()
        self._asks: SortedDict[int, Level] = SortedDict()

    def add(self, order_id: bytes, order: OrderValue) -> None:
        """Put a new resting order into the book. Raises ``ValueError`` where the id rests already.

        An order id commits to a plaintext and so to a nonce, which is used once: no batch gets here twice.
        """
        if order_id in self._index:
            raise ValueError(f"order {order_id.hex()} rests already")
        self._index[order_id] = order
        side = self._side(order.side)
        level = side.get(order.price_ticks)
        if level is None:
            level = side[order.price_ticks] = Level()
        level.orders[order_id] = order.remaining_lots
        level.lots += order.remaining_lots

    def reduce(self, order_id: bytes, lots: int) -> None:
        """Take ``lots`` filled lots off a resting order; it leaves the book when none remain."""
        order = self._index[order_id]
        side = self._side(order.side)
        level = side[order.price_ticks]
        remaining_lots = order.remaining_lots - lots
        level.lots -= lots
        if remaining_lots:
            level.orders[order_id] = remaining_lots
            self._index[order_id] = msgspec.structs.replace(order, filled_lots=order.filled_lots + lots)
            return
        del level.orders[order_id], self._index[order_id]
        if not level.orders:
            del side[order.price_ticks]

    def bids(self) -> Iterator[tuple[int, Level]]:
        """Buy levels ``(price_ticks, level)``, highest first; the book must not change meanwhile."""
        return ((price_ticks, self._bids[price_ticks]) for price_ticks in reversed(self._bids))

    def asks(self) -> Iterator[tuple[int, Level]]:
        """Sell levels ``(price_ticks, level)``, lowest first; the book must not change meanwhile."""
        return ((price_ticks, self._asks[price_ticks]) for price_ticks in self._asks)

    def first(self, side: int, limit_ticks: int) -> bytes | None:
        """The id of the order of ``side`` that is first by price, then by time; None where none is at
        ``limit_ticks`` or better for whoever trades with it (a buy at or above, a sell at or below)."""
        levels = self._side(side)
        if not levels:
            return None
        price_ticks, level = levels.peekitem(-1 if side == BUY else 0)
        meets = price_ticks >= limit_ticks if side == BUY else price_ticks <= limit_ticks
        return next(iter(level.orders)) if meets else None

    def depth(self, levels_max: int) -> Mapping[str, tuple[tuple[int, int, int], ...]]:
        """The best ``levels_max`` levels of either side as rows ``(price_ticks, lots, orders)``, for
        display."""
        return {
            name: tuple((price, level.lots, len(level.orders)) for price, level in islice(side, levels_max))
            for name, side in (("bids", self.bids()), ("asks", self.asks()))
        }

    def is_crossed(self) -> bool:
        """Whether the best buy is at or above the best sell; never so between heights."""
        return bool(self._bids and self._asks) and self._bids.peekitem(-1)[0] >= self._asks.peekitem(0)[0]

    def _side(self, side: int) -> SortedDict[int, Level]:
        return self._bids if side == BUY else self._asks
