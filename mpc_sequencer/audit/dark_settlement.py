"""What the ends of dark orders do to money (docs/protocol-execution.md, "Fees and locks" and "Dark markets").

Both deposits are free again, and what an order traded is paid out of them, with the taker's fee on either side.
"""

from __future__ import annotations

from mpc_sequencer.audit.dark_state import DarkEnd, DarkEnds
from mpc_sequencer.audit.fees import dark_locks, fee_units, value_units
from mpc_sequencer.audit.height import Height
from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY
from mpc_sequencer.market.types import Fill, Market


def settle_dark(height: Height, market: Market, ended: DarkEnds) -> None:
    """Let the state take what a batch came to, or the end of some of its orders."""
    for order in ended.orders:
        _release(height, market, order)
        if order.lots and ended.price_ticks is not None:
            _pay(height, market, order, ended.price_ticks)
        if height.in_batch(order.order_id):
            height.result.outcomes[order.order_id] = order.code
        else:
            height.result.updates[order.order_id] = (order.code, 0)
    if ended.price_ticks is not None:
        height.state.reference_ticks[market.id] = ended.price_ticks
        height.state.touched_markets.add(market.id)


def _release(height: Height, market: Market, order: DarkEnd) -> None:
    account = height.state.account(order.action.account)
    for asset, units in zip((market.quote_asset, market.base_asset), dark_locks(market, order.action), strict=True):
        account.move(asset, free=units, locked=-units)


def _pay(height: Height, market: Market, order: DarkEnd, price_ticks: int) -> None:
    worth = value_units(market, price_ticks, order.lots)
    fee = fee_units(market, worth, maker=False)
    base = order.lots * market.base_units_per_lot
    base_change, quote_change = (base, -worth - fee) if order.side == BUY else (-base, worth - fee)
    owner = order.action.account
    height.state.account(owner).move(market.base_asset, free=base_change)
    height.state.account(owner).move(market.quote_asset, free=quote_change)
    height.result.change(owner, market.base_asset, base_change)
    height.result.change(owner, market.quote_asset, quote_change)
    if fee:
        height.state.account(height.fee_account).move(market.quote_asset, free=fee)
        height.result.change(height.fee_account, market.quote_asset, fee)
    height.result.fills.append(
        Fill(
            height=height.result.height,
            market=market.id,
            order_id=order.order_id,
            account=owner,
            side=order.side,
            price_ticks=price_ticks,
            quantity_lots=order.lots,
            fee=fee.to_bytes(AMOUNT_BYTES, "big"),
            maker=0,
        )
    )
