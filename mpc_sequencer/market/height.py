"""One height: from prepared orders to fills, outcomes and deltas (docs/protocol-execution.md, "One height").

The steps in their order: expiry, cancels, entry, stops that join, the markets one by one, triggers, dark markets. The
sequence of a RECEIVE market comes from outside, so it is asked for and checked when all orders are in and before any
book has moved; balances, nonces and dark orders, which have, move back where it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.actions import LIMIT as LIMIT_KIND
from mpc_sequencer.core.actions import MARKET, STOP
from mpc_sequencer.market import types
from mpc_sequencer.market.auction import run_auction
from mpc_sequencer.market.cancels import Cancels
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.dark import DarkWord, loaded_desk, step_dark
from mpc_sequencer.market.entry import Entry, batch_accounts, enters_dark_market, enters_receive_market
from mpc_sequencer.market.matching import run_continuous
from mpc_sequencer.market.openorder import JOINED, OpenOrder
from mpc_sequencer.market.state import State
from mpc_sequencer.market.types import AUCTION, RECEIVE, SHUFFLE, Market, Precedence, PreparedOrder

if TYPE_CHECKING:
    from mpc_sequencer.dark.desk import Parties

COLUMNS_ORDERS_MIN: Final = 400
"""Smaller batches are faster one by one."""


def run_height(
    state: State,
    height: int,
    time_ms: int,
    coin: bytes,
    batch: Sequence[PreparedOrder],
    precedence: Precedence | None,
    words: Sequence[DarkWord] = (),
    parties: Parties | None = None,
) -> Context:
    """Execute ``batch`` (distinct order ids), whatever its order. Raises ``ValueError``, changing nothing, where a
    RECEIVE market needs ``precedence`` and does not get it."""
    context = Context(state, height, time_ms, coin)
    received = _accept(context, batch, precedence)
    _commit(context)
    joined = _join(context)
    for market_id in sorted(context.entered.keys() | context.columns.keys() | joined.keys()):
        market = state.markets[market_id]
        new, stops = context.entered.get(market_id, []), joined.get(market_id, [])
        if market_id in context.columns:
            from mpc_sequencer.market.kernel import run_columns  # numpy, as in _enter

            run_columns(context, market, context.columns[market_id], [*new, *stops])
        elif market.policy == AUCTION:
            run_auction(context, market, [*new, *stops])
        else:
            run_continuous(context, market, _sequence(context, market, new, stops, received.get(market_id)))
    for order, _ in context.kept:
        if order.order_id not in context.outcomes:
            context.close(order.order_id, types.RESTING, order.account, order.market)
            order.settled()
    for market_id in {row[0] for row in context.clearing} | {order.market for order in context.waiting}:
        state.orders.trigger(market_id, state.reference_prices_ticks[market_id])
    step_dark(context, words, parties)
    return context


def _accept(
    context: Context, batch: Sequence[PreparedOrder], precedence: Precedence | None
) -> dict[int, list[OpenOrder]]:
    """Steps 0 to 3; the sequences of the RECEIVE markets that got new orders."""
    expired = context.state.orders.expired(context.time_ms)
    if not enters_receive_market(context, batch):
        _enter(context, batch, expired)
        return {}
    state, ledger = context.state, context.state.ledger
    savepoint = ledger.savepoint(batch_accounts(batch) | {order.account for order in expired})
    desk_before = state.desk.dump() if state.desk is not None and enters_dark_market(context, batch) else None
    try:
        _enter(context, batch, expired)
        return {
            market_id: _received(context, market_id, precedence)
            for market_id in sorted(context.entered)
            if context.state.markets[market_id].policy == RECEIVE
        }
    except BaseException:
        ledger.roll_back(savepoint)
        if desk_before is not None:
            state.desk = loaded_desk(state.markets, desk_before)
        raise


def _enter(context: Context, batch: Sequence[PreparedOrder], expired: list[OpenOrder]) -> None:
    for order in expired:
        context.end(order, types.EXPIRED)
    for one in batch:
        if one.action is None:
            context.close(one.order_id, one.refusal or types.MALFORMED, None, None)
    cancels = Cancels(context)
    cancels.run(batch)
    if len(batch) >= COLUMNS_ORDERS_MIN:
        # numpy comes in only where a batch is large
        from mpc_sequencer.market.columns import enter_columns

        batch = enter_columns(context, batch)
    Entry(context, cancels).run(batch)


def _received(context: Context, market_id: int, precedence: Precedence | None) -> list[OpenOrder]:
    """A RECEIVE market's new orders in their sequence."""
    if precedence is None:
        raise ValueError(f"market {market_id} orders by receipt, and no precedence is given")
    orders = {order.order_id: order for order in context.entered[market_id]}
    placed = list(precedence(tuple(sorted(orders, key=context.draw))))
    if len(placed) != len(orders) or set(placed) != set(orders):
        raise ValueError(f"the precedence of market {market_id} is no permutation of its new orders")
    return [orders[order_id] for order_id in placed]


def _commit(context: Context) -> None:
    """Let the open orders follow: what ended leaves, what keeps a place takes it, new stops wait."""
    orders = context.state.orders
    for order, place_of in context.kept:
        orders.swap(place_of, order)
        del context.ended[place_of.order_id]
    for order, _ in context.ended.values():
        orders.remove(order)
    for order in context.waiting:
        orders.wait(order)
        order.settled()


def _join(context: Context) -> dict[int, list[OpenOrder]]:
    """Stops triggered in earlier heights become new orders of this one; by market."""
    orders = context.state.orders
    joined: dict[int, list[OpenOrder]] = {}
    for order in orders.stops.joining(context.draw):
        orders.remove(order)
        order.kind = MARKET if order.kind == STOP else LIMIT_KIND
        order.stop_ticks, order.origin = 0, JOINED
        joined.setdefault(order.market, []).append(order)
    return joined


def _sequence(
    context: Context,
    market: Market,
    new: list[OpenOrder],
    stops: list[OpenOrder],
    received: list[OpenOrder] | None,
) -> list[OpenOrder]:
    """In which order a market's new orders arrive: all by draw, or as received and then the stops by draw."""
    drawn = [*new, *stops] if market.policy == SHUFFLE else stops
    drawn = sorted(drawn, key=lambda order: context.draw(order.order_id))
    return drawn if market.policy == SHUFFLE else [*(received or ()), *drawn]
