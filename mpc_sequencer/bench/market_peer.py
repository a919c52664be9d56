"""A peer to measure beside: `lightmatchingengine`, a continuous price-time matching engine in plain Python.

It has no accounts, balances, fees, signatures or state roots, and no IOC orders: what is left of those is cancelled
after they were added. It is a development dependency only; where it is not installed, measurements name it as absent.
Its matching is the rule of a SHUFFLE market, so that fed with the same orders in the same sequence it must trade the
same: each of its fills is compared.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
from collections.abc import Sequence
from time import thread_time_ns
from typing import Any, Final

from mpc_sequencer.bench.market_flow import Batch

PACKAGE: Final = "lightmatchingengine"
_SYMBOL: Final = "m"
_SIDES: Final = (2, 1)  # by whether it buys

Row = tuple[bytes, int, int, int]


def peer_name() -> str:
    """The package and, where it is installed, its version."""
    try:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return PACKAGE


class Peer:
    """One engine of the peer with one book. Raises ``ImportError`` where the package is not installed."""

    def __init__(self) -> None:
        self._module: Any = importlib.import_module(f"{PACKAGE}.{PACKAGE}")
        self._engine = self._module.LightMatchingEngine()
        self._names: dict[int, bytes] = {}

    def load(self, batch: Batch, sequence: Sequence[int]) -> None:
        """Let orders rest that meet nobody: laid into its book directly, as adding them would look at all levels for
        each."""
        book = self._engine.order_books.setdefault(_SYMBOL, self._module.OrderBook())
        prices, lots, buys = batch.prices.tolist(), batch.lots.tolist(), batch.buys.tolist()
        for at in sequence:
            self._engine.curr_order_id += 1
            number = self._engine.curr_order_id
            order = self._module.Order(number, _SYMBOL, prices[at], lots[at], _SIDES[buys[at]])
            (book.bids if buys[at] else book.asks).setdefault(prices[at], []).append(order)
            book.order_id_map[number] = order
            self._names[number] = batch.prepared[at].order_id

    def run(self, batch: Batch, sequence: Sequence[int]) -> tuple[int, list[Row]]:
        """Add the orders in their ``sequence``: nanoseconds of the processor, and the fills as sorted rows (order id,
        price, lots, maker)."""
        prices, lots, buys = batch.prices.tolist(), batch.lots.tolist(), batch.buys.tolist()
        calls = [(prices[at], lots[at], _SIDES[buys[at]], bool(batch.rests[at])) for at in sequence]
        add, cancel = self._engine.add_order, self._engine.cancel_order
        done = []
        gc.collect()
        began_ns = thread_time_ns()
        for price, size, side, rests in calls:
            order, trades = add(_SYMBOL, price, size, side)
            if order.leaves_qty and not rests:
                cancel(order.order_id, _SYMBOL)
            done.append((order.order_id, trades))
        spent_ns = thread_time_ns() - began_ns
        for at, (number, _) in zip(sequence, done, strict=True):
            self._names[number] = batch.prepared[at].order_id
        return spent_ns, self._rows(done)

    def _rows(self, done: Sequence[tuple[int, Sequence[Any]]]) -> list[Row]:
        """Trades by order, price and role."""
        summed: dict[tuple[int, int, int], int] = {}
        for number, trades in done:
            for trade in trades:
                key = trade.order_id, trade.trade_price, int(trade.order_id != number)
                summed[key] = summed.get(key, 0) + trade.trade_qty
        return sorted((self._names[number], price, lots, maker) for (number, price, maker), lots in summed.items())
