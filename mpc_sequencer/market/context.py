"""What the steps of one height share: the state they change, the height's terms, and what they have found so far.

Until all orders are in, open orders that end are only noted in ``ended`` and not taken out of the books: a sequence
for a RECEIVE market comes from outside, and where it is refused the height must not have happened. Balances and nonces
do move before that, from a savepoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpc_sequencer.core import domains
from mpc_sequencer.market.fees import lock_asset, lock_units
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.state import State
from mpc_sequencer.market.types import Fill, Outcome, Update

if TYPE_CHECKING:
    from mpc_sequencer.market.columns import Rows


class Draws(dict[bytes, bytes]):
    """The height's draw of each order id, computed when first asked for."""

    def __init__(self, coin: bytes) -> None:
        super().__init__()
        self._coin = coin

    def __missing__(self, order_id: bytes) -> bytes:
        draw = self[order_id] = domains.DRAW(self._coin, order_id)
        return draw


class Context:
    """One height under way on ``state``."""

    __slots__ = (
        "clearing", "columns", "dark_fills", "draw", "ended", "entered", "fills", "height", "kept", "later", "opened",
        "outcomes", "state", "time_ms", "updates", "waiting",
    )  # fmt: skip

    def __init__(self, state: State, height: int, time_ms: int, coin: bytes) -> None:
        self.state = state
        self.height = height
        self.time_ms = time_ms
        self.draw = Draws(coin).__getitem__
        self.ended: dict[bytes, tuple[OpenOrder, str]] = {}
        """Orders of earlier heights that expire or are cancelled or replaced in this one, and with which code."""
        self.entered: dict[int, list[OpenOrder]] = {}
        """New orders by market, but for stops and those that keep an earlier one's place."""
        self.waiting: list[OpenOrder] = []
        """New stops."""
        self.kept: list[tuple[OpenOrder, OpenOrder]] = []
        """New orders that keep a place, and whose."""
        self.opened: Counter[bytes] = Counter()
        """By how many the open orders of an account have changed."""
        self.outcomes: dict[bytes, Outcome] = {}
        self.updates: dict[bytes, Update] = {}
        self.columns: dict[int, Rows] = {}
        """New orders in columns, by market."""
        self.fills: list[list[Fill] | Callable[[], list[Fill]]] = []
        """Per market that was cleared, ascending; where they are columns still, what makes them."""
        self.dark_fills: list[Fill] = []
        """Of dark markets, whose step is the last."""
        self.later: list[Callable[[], None]] = []
        """What notes the outcomes of orders that are in columns still."""
        self.clearing: list[tuple[int, int, int]] = []

    def close(self, order_id: bytes, code: str, account: bytes | None, market_id: int | None) -> None:
        """Note the outcome of an action of the batch that trades nothing."""
        self.outcomes[order_id] = Outcome(order_id, code, account, market_id, 0, None, 0, 0)

    def end(self, order: OpenOrder, code: str) -> None:
        """End an order of an earlier height, before this one's orders enter: its lock is free at once."""
        self.ended[order.order_id] = order, code
        self.opened[order.account] -= 1
        self.release(order)
        self.updates[order.order_id] = Update(
            order.order_id, order.account, order.market, code, 0, None, 0, 0, remaining_lots=0
        )

    def all_fills(self) -> tuple[Fill, ...]:
        """The height's fills."""
        fills = [fill for part in self.fills for fill in (part() if callable(part) else part)]
        if self.dark_fills:
            fills += sorted(self.dark_fills, key=lambda fill: fill.order_id)
            fills.sort(key=lambda fill: fill.market)  # those of a market stay in their sequence
        return tuple(fills)

    def all_outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes of the whole batch, by order id."""
        for note in self.later:
            note()
        self.later.clear()
        outcomes = self.outcomes
        return tuple([outcomes[order_id] for order_id in sorted(outcomes)])

    def is_open(self, order: OpenOrder | None) -> bool:
        """Whether an order of an earlier height is open still."""
        return order is not None and order.order_id not in self.ended

    def release(self, order: OpenOrder) -> None:
        """Free what the order's open lots keep locked."""
        market = self.state.markets[order.market]
        amount = lock_units(market, order.side, order.price_ticks, order.remaining_lots)
        self.state.ledger.release(order.account, lock_asset(market, order.side), amount)
