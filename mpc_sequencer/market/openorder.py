"""An order inside the engine: what the state tree holds of it, and what a height under way notes on it."""

from __future__ import annotations

from typing import Final, cast

import msgspec

from mpc_sequencer.core.actions import Order
from mpc_sequencer.market.types import OrderStatus, OrderValue

EARLIER: Final = 0
"""It was open before the height: in the book, where it pays as maker, or as a stop that waits."""
KEPT: Final = 1
"""It came in this height and took an earlier order's place in the book, with its time."""
NEW: Final = 2
"""It came in this height."""
JOINED: Final = 3
"""A stop that triggered in an earlier height and is new to the market in this one."""

CLOSED: Final = 0
"""The status of an order that is not open, or not yet."""


class OpenOrder(msgspec.Struct, eq=False, gc=False):
    """A mutable order; fields as in :class:`~.types.OrderValue`. ``rows`` are its trades of the height under way as
    ``[price_ticks, lots, maker]``, best price first, as taker before as maker; ``code`` says why it ended where neither
    its trades nor its time in force do. (Nothing in it refers to other orders, so the collector need not look.)"""

    order_id: bytes
    account: bytes
    nonce: int
    market: int
    client_id: int
    side: int
    kind: int
    time_in_force: int
    post_only: int
    self_trade: int
    price_ticks: int
    stop_ticks: int
    quantity_lots: int
    display_lots: int
    expires_ms: int
    filled_lots: int
    origin: int
    shown_lots: int = 0
    sequence: int = 0
    status: int = CLOSED
    ticket: int = 0
    code: str = ""
    rows: list[list[int]] | None = None

    @property
    def remaining_lots(self) -> int:
        """What is open of it."""
        return self.quantity_lots - self.filled_lots

    @property
    def hidden_lots(self) -> int:
        """What an iceberg in the book has and does not show."""
        return self.quantity_lots - self.filled_lots - self.shown_lots if self.display_lots else 0

    def trade(self, price_ticks: int, lots: int, maker: int) -> None:
        """Note a trade at the last trade's price or a worse one; what is filled is counted by who calls."""
        rows = self.rows
        if rows is None:
            self.rows = [[price_ticks, lots, maker]]
        elif rows[-1][0] == price_ticks and rows[-1][2] == maker:
            rows[-1][1] += lots
        else:
            rows.append([price_ticks, lots, maker])

    def settled(self) -> None:
        """Forget the height."""
        self.origin, self.code, self.rows = EARLIER, "", None

    def value(self) -> OrderValue:
        """Its value in the state tree."""
        return OrderValue(
            account=self.account,
            nonce=self.nonce,
            market=self.market,
            client_id=self.client_id,
            side=self.side,
            kind=self.kind,
            time_in_force=self.time_in_force,
            post_only=self.post_only,
            self_trade=self.self_trade,
            price_ticks=self.price_ticks,
            stop_ticks=self.stop_ticks,
            quantity_lots=self.quantity_lots,
            filled_lots=self.filled_lots,
            display_lots=self.display_lots,
            shown_lots=self.shown_lots,
            expires_ms=self.expires_ms,
            sequence=self.sequence,
            status=cast(OrderStatus, self.status),
        )


def opened(order_id: bytes, order: Order, filled_lots: int, origin: int) -> OpenOrder:
    """The open order an action makes; ``filled_lots`` is what a replaced one had filled."""
    return OpenOrder(
        order_id,
        order.account,
        order.nonce,
        order.market,
        order.client_id,
        order.side,
        order.kind,
        order.time_in_force,
        order.post_only,
        order.self_trade,
        order.price_ticks,
        order.stop_ticks,
        order.quantity_lots,
        order.display_lots,
        order.expires_ms,
        filled_lots,
        origin,
    )


def of_value(order_id: bytes, value: OrderValue) -> OpenOrder:
    """The order a state value describes."""
    return OpenOrder(
        order_id=order_id,
        account=value.account,
        nonce=value.nonce,
        market=value.market,
        client_id=value.client_id,
        side=value.side,
        kind=value.kind,
        time_in_force=value.time_in_force,
        post_only=value.post_only,
        self_trade=value.self_trade,
        price_ticks=value.price_ticks,
        stop_ticks=value.stop_ticks,
        quantity_lots=value.quantity_lots,
        display_lots=value.display_lots,
        expires_ms=value.expires_ms,
        filled_lots=value.filled_lots,
        origin=EARLIER,
        shown_lots=value.shown_lots,
        sequence=value.sequence,
        status=value.status,
    )
