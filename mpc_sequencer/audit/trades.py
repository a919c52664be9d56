"""What a market's part of a height came to, and how the state takes it (docs/protocol-execution.md, "Fees and locks").

Auction and matching say who traded what with whom and who was ended; nothing of accounts is theirs. Here fills become
rows, rows become money, and every order that took part rests, is closed, or stays as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mpc_sequencer.audit.fees import fee_units, lock, value_units
from mpc_sequencer.audit.height import Height
from mpc_sequencer.audit.state import OpenOrder
from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY
from mpc_sequencer.market.types import STATUS_RESTING, Fill, Market


@dataclass(slots=True)
class Traded:
    """A market's height."""

    lots: dict[tuple[bytes, int, bool], int] = field(default_factory=dict)
    """By (order id, price in ticks, whether as maker)."""
    price_ticks: int | None = None
    """The clearing price or the last trade's; None without a trade."""
    ended: dict[bytes, str] = field(default_factory=dict)
    """Orders that a rule ended, with its code."""
    book: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Orders in the book afterwards: sequence, and the lots an iceberg shows."""
    last_sequence: int | None = None
    """The market's; None in an auction market."""

    def add(self, order_id: bytes, price_ticks: int, maker: bool, lots: int) -> None:
        """Count lots that an order trades."""
        row = (order_id, price_ticks, maker)
        self.lots[row] = self.lots.get(row, 0) + lots


def book_trades(height: Height, market: Market, traded: Traded) -> None:
    """Let the state take what the market's orders did."""
    state = height.state
    if traded.price_ticks is not None:
        state.reference_ticks[market.id] = traded.price_ticks
        state.touched_markets.add(market.id)
    if traded.last_sequence is not None and traded.last_sequence != state.last_sequences[market.id]:
        state.last_sequences[market.id] = traded.last_sequence
        state.touched_markets.add(market.id)
    new = height.new[market.id]
    orders = state.resting[market.id] | new
    filled: Counter[bytes] = Counter()
    for order_id, fills in _fills(height, market, traded, orders):
        height.result.fills += fills
        filled[order_id] = sum(fill.quantity_lots for fill in fills)
        _settle(height, market, orders[order_id], fills)
    for order_id, order in orders.items():
        _place(height, order, traded, filled[order_id], new=order_id in new)


def _fills(
    height: Height, market: Market, traded: Traded, orders: dict[bytes, OpenOrder]
) -> Iterable[tuple[bytes, list[Fill]]]:
    """Every order's rows: orders by id, an order's rows from its best price on, as taker before as maker."""
    rows: dict[bytes, list[tuple[int, bool, Fill]]] = {}
    for (order_id, price_ticks, maker), lots in traded.lots.items():
        terms = orders[order_id].terms
        fee = fee_units(market, value_units(market, price_ticks, lots), maker=maker)
        fill = Fill(
            height=height.result.height,
            market=market.id,
            order_id=order_id,
            account=terms.account,
            side=terms.side,
            price_ticks=price_ticks,
            quantity_lots=lots,
            fee=fee.to_bytes(AMOUNT_BYTES, "big"),
            maker=int(maker),
        )
        best_first = price_ticks if terms.side == BUY else -price_ticks
        rows.setdefault(order_id, []).append((best_first, maker, fill))
    for order_id, own in sorted(rows.items()):
        yield order_id, [fill for *_, fill in sorted(own, key=lambda row: row[:2])]


def _settle(height: Height, market: Market, order: OpenOrder, fills: list[Fill]) -> None:
    """Move what an order's fills move. Its lock falls to what its open lots need; what the fills did not take of that
    is free again."""
    account = height.state.account(order.account)
    lots = sum(fill.quantity_lots for fill in fills)
    traded = sum(value_units(market, fill.price_ticks, fill.quantity_lots) for fill in fills)
    fees = sum(fill.fee_units for fill in fills)
    asset, before = lock(market, order.terms, order.remaining_lots)
    order.filled_lots += lots
    _, after = lock(market, order.terms, order.remaining_lots)
    base = lots * market.base_units_per_lot
    base_change, quote_change = (base, -traded - fees) if order.terms.side == BUY else (-base, traded - fees)
    account.move(asset, free=before - after, locked=after - before)
    account.move(market.base_asset, free=base_change)
    account.move(market.quote_asset, free=quote_change)
    height.result.change(order.account, market.base_asset, base_change)
    height.result.change(order.account, market.quote_asset, quote_change)
    if fees:
        height.state.account(height.fee_account).move(market.quote_asset, free=fees)
        height.result.change(height.fee_account, market.quote_asset, fees)


def _place(height: Height, order: OpenOrder, traded: Traded, filled_lots: int, *, new: bool) -> None:
    """Rest, close or leave an order that has traded ``filled_lots``, and report what is to be reported."""
    order_id = order.order_id
    place = traded.book.get(order_id)
    if order_id in traded.ended:
        height.close(order, traded.ended[order_id])
    elif order.remaining_lots == 0:
        height.close(order, "filled")
    elif place is None:
        height.close(order, "partly_filled" if filled_lots else "unfilled")
    else:
        if new or filled_lots or place != (order.sequence, order.shown_lots):
            order.sequence, order.shown_lots = place
            order.status = STATUS_RESTING
            height.state.put(order)
        if new or filled_lots:
            height.report(order, "partly_filled" if filled_lots else "resting", order.remaining_lots)
