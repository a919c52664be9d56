"""Dark markets in a height: their orders' entry, and what ended batches do to money (docs/protocol-execution.md).

What orders say nobody sees; the :class:`~mpc_sequencer.dark.desk.Desk` takes their batches through keys, reports and
computation, and is part of the state. Here an order's public deposits are locked when it enters and released when it
ends, whatever it came to, and what it traded is paid out of them. A fill costs both sides the taker's fee: nothing
rests in the dark. Deposits cover price and fee, since the committee drops an order whose limit they do not cover
(docs/dark.md, "An order"), and with ``u <= c`` the units traded are at most those locked (:mod:`~.fees`).

The desk computes with numpy; it is loaded where a market is dark and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY, SELL, DarkOrder
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.market import types
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.fees import fee_units, lock_asset, lock_units
from mpc_sequencer.market.types import Fill, Market, Outcome, Update

if TYPE_CHECKING:
    from mpc_sequencer.dark.desk import Desk, DeskValue, Ended, EndedOrder, Parties

DarkWord = tuple[int, bytes]
"""What a member said of dark markets: its index, and the key message's payload."""


def dark_markets(markets: Mapping[int, Market]) -> dict[int, Market]:
    """Those of ``markets`` that are dark."""
    return {market_id: market for market_id, market in markets.items() if market.policy == types.DARK}


def new_desk(markets: Mapping[int, Market], parties: Parties | None) -> Desk | None:
    """The desk of a deployment, or an epoch, that begins; None where no market is dark. Raises ``ValueError`` where
    one is and there are no parties, or they cannot compute its batches."""
    dark = dark_markets(markets)
    if not dark:
        return None
    if parties is None:
        raise ValueError("a market is dark, and there are no parties to compute its batches")
    from mpc_sequencer.dark.desk import Desk

    return Desk(dark, parties)


def dump_desk(desk: Desk) -> bytes:
    """The desk's state, canonical."""
    return encode(desk.dump())


def load_desk(markets: Mapping[int, Market], data: bytes) -> Desk:
    """The desk whose :func:`dump_desk` is ``data``; raises ``ValueError`` for what is none."""
    from mpc_sequencer.dark.desk import DeskValue

    return loaded_desk(markets, decode(DeskValue, data, bytes_max=len(data)))


def loaded_desk(markets: Mapping[int, Market], value: DeskValue) -> Desk:
    """The desk whose state is ``value``; raises ``ValueError`` where it is none."""
    from mpc_sequencer.dark.desk import Desk

    return Desk.load(dark_markets(markets), value)


def boxes_are_sealed(action: DarkOrder) -> bool:
    """Whether each box is one of this order for its party, as far as everybody can see."""
    from mpc_sequencer.dark.desk import check_boxes

    return check_boxes(action)


def enter_dark(context: Context, order_id: bytes, action: DarkOrder) -> str:
    """The outcome code of an order whose nonce is used; where it is IN_DARK, its deposits are locked and it waits."""
    state = context.state
    desk, market = state.desk, state.markets.get(action.market)
    if desk is None or market is None or market.policy != types.DARK:
        return types.MARKET
    refused = desk.refusal(action)
    if refused is not None:
        return refused
    quote_units, base_units = deposit_units(market, action.quote_tick_lots, action.base_lots)
    if not state.ledger.lock(action.account, market.quote_asset, quote_units):
        return types.BALANCE
    if not state.ledger.lock(action.account, market.base_asset, base_units):
        state.ledger.release(action.account, market.quote_asset, quote_units)
        return types.BALANCE
    desk.accept(order_id, action, context.height, context.time_ms)
    return types.IN_DARK


def deposit_units(market: Market, quote_tick_lots: int, base_lots: int) -> tuple[int, int]:
    """What an order's deposits lock, in units of the quote and of the base asset, the fee on what it may buy
    included."""
    return lock_units(market, BUY, quote_tick_lots, 1), lock_units(market, SELL, 1, base_lots)


def step_dark(context: Context, words: Sequence[DarkWord], parties: Parties | None) -> None:
    """The height's last step: take up what members said, and settle the batches that end."""
    desk = context.state.desk
    if desk is None:
        return
    for ended in desk.step(desk.parties if parties is None else parties, context.height, context.time_ms, words):
        _settle(context, ended)
    context.clearing.sort()
    context.state.touch_dark_markets()


def _settle(context: Context, ended: Ended) -> None:
    market = context.state.markets[ended.market]
    market_fees = 0
    for order in ended.orders:
        fee = 0
        if order.lots:
            assert ended.price_ticks is not None, "who trades, trades at a price"
            value_units = ended.price_ticks * order.lots * market.quote_units_per_tick_lot
            fee = fee_units(value_units, market.taker_fee_ppm)
            context.dark_fills.append(
                Fill(
                    context.height,
                    market.id,
                    order.order_id,
                    order.account,
                    order.side,
                    ended.price_ticks,
                    order.lots,
                    fee.to_bytes(AMOUNT_BYTES, "big"),
                    0,
                )
            )
            _pay(context, market, order, value_units, fee)
        _release(context, market, order)
        _tell(context, market, order, ended.price_ticks if order.lots else None, fee)
        market_fees += fee
    if market_fees:
        context.state.ledger.receive(context.state.fee_account, market.quote_asset, market_fees)
    if ended.price_ticks is not None and ended.volume_lots:
        context.state.set_reference_price(market.id, ended.price_ticks)
        context.clearing.append((market.id, ended.price_ticks, ended.volume_lots))


def _pay(context: Context, market: Market, order: EndedOrder, value_units: int, fee: int) -> None:
    """Pay from the side's deposit, which is free then, and get what the fill brings."""
    ledger, account = context.state.ledger, order.account
    base_units = order.lots * market.base_units_per_lot
    quote_locked, base_locked = deposit_units(market, order.quote_tick_lots, order.base_lots)
    if order.side == BUY:
        ledger.pay(account, market.quote_asset, value_units + fee, quote_locked)
        ledger.receive(account, market.base_asset, base_units)
    else:
        ledger.pay(account, market.base_asset, base_units, base_locked)
        ledger.receive(account, market.quote_asset, value_units - fee)


def _release(context: Context, market: Market, order: EndedOrder) -> None:
    """Free the deposits that have not paid for anything."""
    units = deposit_units(market, order.quote_tick_lots, order.base_lots)
    for side, amount in zip((BUY, SELL), units, strict=True):
        if amount and not (order.lots and order.side == side):
            context.state.ledger.release(order.account, lock_asset(market, side), amount)


def _tell(context: Context, market: Market, order: EndedOrder, price_ticks: int | None, fee: int) -> None:
    """What became of an order; one that came in this height has it as its outcome."""
    notional = (price_ticks or 0) * order.lots
    if order.order_id in context.outcomes:
        context.outcomes[order.order_id] = Outcome(
            order.order_id, order.code, order.account, market.id, order.lots, price_ticks, notional, fee
        )
        return
    context.updates[order.order_id] = Update(
        order.order_id, order.account, market.id, order.code, order.lots, price_ticks, notional, fee, remaining_lots=0
    )
