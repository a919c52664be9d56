"""An auction whose new orders are in columns: clearing, rationing, fills, fees and balances as array operations.

The rule is that of :mod:`~mpc_sequencer.market.auction`; where the two sides meet is found by the same code, over sums
per price. Resting orders stay what they are, for only those that trade are looked at. Balances, which have no bound
that an int64 could hold, are moved once per account by sums. Fills and outcomes are made when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY, GTC, IOC, SELL, Order
from mpc_sequencer.core.limits import PPM
from mpc_sequencer.market import types
from mpc_sequencer.market.clearing import Crossed, NewOrders, PriceLevel, cross, ration, shown_lots
from mpc_sequencer.market.columns import SAFE, Bools, Ints, Rows, int64_market, lock_column, lots_sum
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.openorder import EARLIER, NEW, OpenOrder, opened
from mpc_sequencer.market.settle import settle
from mpc_sequencer.market.types import Fill, Market, Outcome

_UNTOUCHED: Final = {GTC: types.RESTING, IOC: types.UNFILLED}


def as_orders(rows: Rows) -> list[OpenOrder]:
    """The rows one by one, for the ways that take orders."""
    return [
        source if isinstance(source, OpenOrder) else opened(order_id, source, 0, NEW)
        for order_id, source in zip(rows.order_ids, rows.sources, strict=True)
    ]


def run_columns(context: Context, market: Market, rows: Rows) -> None:
    """Clear one AUCTION market whose new orders are ``rows``."""
    book = context.state.orders.books[market.id]
    new_buys, new_sells = (_levels(rows, rows.buys if side == BUY else ~rows.buys) for side in (BUY, SELL))
    reference = context.state.reference_prices_ticks[market.id]
    crossed = cross(book.levels(BUY), book.levels(SELL), new_buys, new_sells, reference)
    filled = np.zeros_like(rows.lots)
    changed: list[OpenOrder] = []
    if crossed is not None:
        given: list[tuple[OpenOrder, int]] = []
        for levels in (crossed.buys, crossed.sells):
            _give_out(context, rows, levels, crossed.volume_lots, filled, given)
        for order, lots in given:
            order.trade(crossed.price_ticks, lots, maker=1)
            context.state.orders.take(order, lots)
            changed.append(order)
        context.state.set_reference_price(market.id, crossed.price_ticks)
        context.clearing.append((market.id, crossed.price_ticks, crossed.volume_lots))
    resting_fills = settle(context, market, changed)
    _finish(context, market, rows, crossed, filled, resting_fills)


def joined_rows(context: Context, market: Market, rows: Rows, others: Sequence[OpenOrder]) -> Rows | None:
    """``rows`` and ``others`` as one; None where some of these are no plain limit orders or the numbers too large."""
    for one in others:
        odd = one.post_only or one.self_trade or one.display_lots or one.filled_lots or one.origin != NEW
        if odd or one.client_id or one.time_in_force not in _UNTOUCHED:
            return None
    if others:
        places = {account: place for place, account in enumerate(rows.account_list)}
        accounts = [places.setdefault(one.account, len(places)) for one in others]
        rows = Rows(
            order_ids=[*rows.order_ids, *(one.order_id for one in others)],
            sources=[*rows.sources, *others],
            account_list=list(places),
            accounts=np.append(rows.accounts, accounts),
            buys=np.append(rows.buys, [one.side == BUY for one in others]),
            rests=np.append(rows.rests, [one.time_in_force == GTC for one in others]),
            prices=np.append(rows.prices, [one.price_ticks for one in others]),
            lots=np.append(rows.lots, [one.quantity_lots for one in others]),
        )
    best_bid = next(context.state.orders.books[market.id].levels(BUY), (0,))[0]  # bounds the price, as the rows do
    most = max(int(rows.prices.max()), best_bid)
    return rows if int64_market(market, most, lots_sum(rows.lots)) else None


def _levels(rows: Rows, side: Bools) -> dict[int, NewOrders]:
    """One side's rows by price."""
    places = np.flatnonzero(side)
    if not len(places):
        return {}
    places = places[np.argsort(rows.prices[places], kind="stable")]
    prices = rows.prices[places]
    starts = np.flatnonzero(np.r_[True, np.diff(prices) > 0])
    lots = np.add.reduceat(rows.lots[places], starts).tolist()
    stops = [*starts[1:].tolist(), len(places)]
    return {
        price: NewOrders(sum_lots, (), places[start:stop])
        for price, sum_lots, start, stop in zip(prices[starts].tolist(), lots, starts.tolist(), stops, strict=True)
    }


def _give_out(
    context: Context,
    rows: Rows,
    levels: Sequence[PriceLevel],
    volume_lots: int,
    filled: Ints,
    given: list[tuple[OpenOrder, int]],
) -> None:
    """``volume_lots`` by price priority: to rows in ``filled``, to resting orders in ``given``."""
    left_lots = volume_lots
    for level in levels:
        if level.lots > left_lots:
            _ration_level(context, rows, level, left_lots, filled, given)
            return
        left_lots -= level.lots
        given += [(order, order.remaining_lots) for order in level.resting_orders()]
        if level.new.rows is not None:
            filled[level.new.rows] = rows.lots[level.new.rows]


def _ration_level(
    context: Context,
    rows: Rows,
    level: PriceLevel,
    available_lots: int,
    filled: Ints,
    given: list[tuple[OpenOrder, int]],
) -> None:
    """Resting shown, new, resting hidden: new orders in columns hide nothing."""
    resting = {order.order_id: order for order in level.resting_orders()}
    got = dict.fromkeys(resting, 0)
    shown = {order_id: shown_lots(order) for order_id, order in resting.items()}
    hidden = {order_id: order.remaining_lots - shown[order_id] for order_id, order in resting.items()}
    left_lots = available_lots
    for group in (shown, None, hidden):
        if group is None:
            lots = min(level.new.lots, left_lots)
            if lots:
                _ration_rows(context, rows, level.new.rows, level.new.lots, lots, filled)
        else:
            group = {order_id: some for order_id, some in group.items() if some}
            asked_lots = sum(group.values())
            lots = min(asked_lots, left_lots)
            if lots < asked_lots:
                group = ration(group, asked_lots, lots, context.draw) if lots else {}
            for order_id, some in group.items():
                got[order_id] += some
        left_lots -= lots
    given += [(order, got[order_id]) for order_id, order in resting.items() if got[order_id]]


def _ration_rows(
    context: Context, rows: Rows, places: Any, group_lots: int, available_lots: int, filled: Ints
) -> None:
    """:func:`~mpc_sequencer.market.clearing.ration` over rows."""
    asked = rows.lots[places]
    if available_lots == group_lots:
        filled[places] = asked
        return
    if int(asked.max()) * available_lots >= SAFE:
        group = {rows.order_ids[i]: int(rows.lots[i]) for i in places.tolist()}
        shares = ration(group, group_lots, available_lots, context.draw)
        filled[places] = [shares.get(rows.order_ids[i], 0) for i in places.tolist()]
        return
    given, remainders = np.divmod(asked * available_lots, group_lots)
    left_lots = available_lots - int(given.sum())
    if left_lots:
        cutoff = np.partition(remainders, len(remainders) - left_lots)[len(remainders) - left_lots]
        lucky = remainders > cutoff
        tied = np.flatnonzero(remainders == cutoff).tolist()
        left_lots -= int(lucky.sum())
        if len(tied) > left_lots:
            tied = sorted(tied, key=lambda at: context.draw(rows.order_ids[places[at]]))[:left_lots]
        given += lucky
        given[tied] += 1
    filled[places] = given


def _finish(
    context: Context, market: Market, rows: Rows, crossed: Crossed | None, filled: Ints, resting_fills: list[Fill]
) -> None:
    """Move what the rows' fills say, let rests rest or lapse, and note how fills and outcomes are made."""
    price_ticks = 0 if crossed is None else crossed.price_ticks
    values = filled * (price_ticks * market.quote_units_per_tick_lot)
    fees = values * market.taker_fee_ppm // PPM
    left = rows.lots - filled
    open_lots = np.where(rows.rests, left, 0)
    released = lock_column(market, rows.buys, rows.prices, rows.lots)
    released -= lock_column(market, rows.buys, rows.prices, open_lots)
    _move(context, market, rows, filled, values, fees, released)
    places = np.flatnonzero(open_lots)
    context.state.rest_orders(
        [
            _opened(rows.order_ids[i], rows.sources[i], lots)
            for i, lots in zip(places.tolist(), filled[places].tolist(), strict=True)
        ]
    )

    def fills() -> list[Fill]:
        traded = np.flatnonzero(filled)
        made = [
            Fill(
                context.height, market.id, rows.order_ids[i], rows.sources[i].account, rows.sources[i].side,
                price_ticks, lots, fee.to_bytes(AMOUNT_BYTES, "big"), 0,
            )
            for i, lots, fee in zip(traded.tolist(), filled[traded].tolist(), fees[traded].tolist(), strict=True)
        ]  # fmt: skip
        return sorted([*resting_fills, *made], key=lambda fill: fill.order_id)

    def outcomes() -> None:
        for order_id, source, lots, fee, rest in zip(
            rows.order_ids, rows.sources, filled.tolist(), fees.tolist(), left.tolist(), strict=True
        ):
            code = types.FILLED if not rest else types.PARTLY_FILLED if lots else _UNTOUCHED[source.time_in_force]
            context.outcomes[order_id] = Outcome(
                order_id, code, source.account, market.id, lots, price_ticks if lots else None, price_ticks * lots, fee
            )

    context.fills.append(fills)
    context.later.append(outcomes)


def _opened(order_id: bytes, source: Order | OpenOrder, filled_lots: int) -> OpenOrder:
    """What stays of a row, as an order of an earlier height."""
    if isinstance(source, OpenOrder):
        source.filled_lots = filled_lots
        source.settled()
        return source
    return opened(order_id, source, filled_lots, EARLIER)


def _move(
    context: Context, market: Market, rows: Rows, filled: Ints, values: Ints, fees: Ints, released: Ints
) -> None:
    """Balances, once per account and side."""
    ledger = context.state.ledger
    keys = rows.accounts * 2 + rows.buys
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) > 0])
    sums = [np.add.reduceat(column[order], starts).tolist() for column in (filled, values, fees, released)]
    for key, lots, value, fee, release in zip(keys[order][starts].tolist(), *sums, strict=True):
        account, base_units = rows.account_list[key >> 1], lots * market.base_units_per_lot
        if key & 1:
            if release:
                ledger.pay(account, market.quote_asset, value + fee, release)
            if lots:
                ledger.receive(account, market.base_asset, base_units)
        elif release:
            ledger.pay(account, market.base_asset, base_units, release)
            if lots:
                ledger.receive(account, market.quote_asset, value - fee)
    all_fees = int(fees.sum())
    if all_fees:
        ledger.receive(context.state.fee_account, market.quote_asset, all_fees)


