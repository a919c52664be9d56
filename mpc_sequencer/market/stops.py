"""Stops that wait for their trigger, and those that have met it.

A buy's trigger is a reference price at or above its stop price, a sell's one at or below (docs/protocol-execution.md,
"Stops"). Waiting stops are sorted by stop price per market and side, so a height touches only those it triggers. A
triggered stop joins a later height: none acts in the height that triggered it, so no height can run in a circle.
"""

from __future__ import annotations

from collections.abc import Callable

from sortedcontainers import SortedDict

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.limits import TRIGGERED_PER_HEIGHT_MAX
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.types import STATUS_TRIGGERED, STATUS_WAITING


def is_triggered(order: OpenOrder, reference_price_ticks: int) -> bool:
    """Whether the market's price has met the stop's."""
    if order.side == BUY:
        return reference_price_ticks >= order.stop_ticks
    return reference_price_ticks <= order.stop_ticks


class Stops:
    """All stops of an engine."""

    __slots__ = ("_waiting", "triggered")

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], SortedDict[int, dict[bytes, OpenOrder]]] = {}
        self.triggered: dict[bytes, OpenOrder] = {}
        """By order id."""

    def add(self, order: OpenOrder) -> None:
        """Take a stop as its status says."""
        if order.status == STATUS_TRIGGERED:
            self.triggered[order.order_id] = order
            return
        levels = self._waiting.setdefault((order.market, order.side), SortedDict())
        levels.setdefault(order.stop_ticks, {})[order.order_id] = order

    def remove(self, order: OpenOrder) -> None:
        """Forget a stop."""
        if order.status == STATUS_TRIGGERED:
            del self.triggered[order.order_id]
            return
        levels = self._waiting[order.market, order.side]
        del levels[order.stop_ticks][order.order_id]
        if not levels[order.stop_ticks]:
            del levels[order.stop_ticks]

    def trigger(self, market_id: int, reference_price_ticks: int) -> list[OpenOrder]:
        """Trigger the market's waiting stops that the reference price meets; these."""
        met: list[OpenOrder] = []
        for side, end in ((BUY, 0), (SELL, -1)):
            levels = self._waiting.get((market_id, side))
            while levels:
                stop_ticks = levels.peekitem(end)[0]
                if stop_ticks > reference_price_ticks if side == BUY else stop_ticks < reference_price_ticks:
                    break
                met += levels.pop(stop_ticks).values()
        for order in met:
            assert order.status == STATUS_WAITING
            order.status = STATUS_TRIGGERED
            self.triggered[order.order_id] = order
        return met

    def joining(self, draw: Callable[[bytes], bytes]) -> list[OpenOrder]:
        """The triggered stops that may join a height: TRIGGERED_PER_HEIGHT_MAX of them, the first by draw."""
        if len(self.triggered) <= TRIGGERED_PER_HEIGHT_MAX:
            return list(self.triggered.values())
        first = sorted(self.triggered, key=draw)[:TRIGGERED_PER_HEIGHT_MAX]
        return [self.triggered[order_id] for order_id in first]
