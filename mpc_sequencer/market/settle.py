"""What a market's height does to money: fills, fees, locks; and what is told of each order.

Balances move per order and not per trade: an order's rows give what it pays and gets, and its lock falls to what its
open lots need (:mod:`~mpc_sequencer.market.fees`).
"""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY
from mpc_sequencer.market import types
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.fees import fee_units, lock_asset, lock_units
from mpc_sequencer.market.openorder import CLOSED, KEPT, NEW, OpenOrder
from mpc_sequencer.market.terms import may_rest
from mpc_sequencer.market.types import Fill, Market, Outcome, Update


def settle(context: Context, market: Market, orders: Iterable[OpenOrder]) -> list[Fill]:
    """Settle ``orders`` of one market, each once: all new ones, and those of earlier heights that traded or ended.
    Their status says whether what is left of them stays open. The fills, by order id."""
    market_fees = 0
    fills: list[Fill] = []
    for order in sorted(orders, key=lambda one: one.order_id):
        fees = _fill(context, market, order, fills)
        market_fees += sum(fees)
        _move(context, market, order, sum(fees))
        _tell(context, order, sum(fees))
        order.settled()
    if market_fees:
        context.state.ledger.receive(context.state.fee_account, market.quote_asset, market_fees)
    return fills


def _fill(context: Context, market: Market, order: OpenOrder, fills: list[Fill]) -> list[int]:
    """Add the order's fills to ``fills``; the fee on each."""
    fees = []
    for price_ticks, lots, maker in order.rows or ():
        rate_ppm = market.maker_fee_ppm if maker else market.taker_fee_ppm
        fees.append(fee_units(price_ticks * lots * market.quote_units_per_tick_lot, rate_ppm))
        fills.append(
            Fill(
                context.height,
                market.id,
                order.order_id,
                order.account,
                order.side,
                price_ticks,
                lots,
                fees[-1].to_bytes(AMOUNT_BYTES, "big"),
                maker,
            )
        )
    return fees


def _move(context: Context, market: Market, order: OpenOrder, fees: int) -> None:
    """Pay and get what the fills say, and free what the open lots need no more."""
    rows = order.rows or ()
    traded_lots = sum(lots for _, lots, _ in rows)
    open_lots = 0 if order.status == CLOSED else order.remaining_lots
    before = lock_units(market, order.side, order.price_ticks, order.remaining_lots + traded_lots)
    released = before - lock_units(market, order.side, order.price_ticks, open_lots)
    ledger, account = context.state.ledger, order.account
    if not traded_lots:
        if released:
            ledger.release(account, lock_asset(market, order.side), released)
        return
    base_units = traded_lots * market.base_units_per_lot
    quote_units = sum(price_ticks * lots for price_ticks, lots, _ in rows) * market.quote_units_per_tick_lot
    if order.side == BUY:
        ledger.pay(account, market.quote_asset, quote_units + fees, released)
        ledger.receive(account, market.base_asset, base_units)
    else:
        ledger.pay(account, market.base_asset, base_units, released)
        ledger.receive(account, market.quote_asset, quote_units - fees)


def _tell(context: Context, order: OpenOrder, fees: int) -> None:
    rows = order.rows or ()
    filled_lots = sum(lots for _, lots, _ in rows)
    price_ticks = rows[-1][0] if rows else None
    notional = sum(price * lots for price, lots, _ in rows)
    code = order.code or _code(order, filled_lots)
    if order.origin in (NEW, KEPT):
        context.outcomes[order.order_id] = Outcome(
            order.order_id, code, order.account, order.market, filled_lots, price_ticks, notional, fees
        )
        return
    open_lots = 0 if order.status == CLOSED else order.remaining_lots
    context.updates[order.order_id] = Update(
        order.order_id, order.account, order.market, code, filled_lots, price_ticks, notional, fees, open_lots
    )


def _code(order: OpenOrder, filled_lots: int) -> str:
    if order.filled_lots == order.quantity_lots:
        return types.FILLED
    if filled_lots:
        return types.PARTLY_FILLED
    return types.RESTING if may_rest(order.time_in_force) else types.UNFILLED
