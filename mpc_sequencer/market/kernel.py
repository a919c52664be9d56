"""An auction most of whose new orders are in columns: clearing, fills, fees and balances as array operations.

The rule is that of :mod:`~mpc_sequencer.market.auction`; where the two sides meet is found by the same code, over sums
per price. New orders that no column holds (post-only, icebergs, fill-or-kill, with modes of self-trade prevention,
replacements, stops that join, or beyond the columns' bounds) take part beside the columns, one by one, so that none of
them slows the others. Resting orders stay what they are, for only those that trade are looked at: level by level
(:mod:`~mpc_sequencer.market.met`), and one by one where some hide lots or keep a place. Balances, which have
no bound that an int64 could hold, are moved once per account by sums. Fills and outcomes are made when somebody asks
for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, cast

import numpy as np

from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY, FOK, GTC, GTD, IOC, SELL, Order
from mpc_sequencer.core.limits import FOK_ROUNDS_MAX
from mpc_sequencer.market import types
from mpc_sequencer.market.auction import apply_given, by_side_and_price, post
from mpc_sequencer.market.book import Level
from mpc_sequencer.market.clearing import Crossed, NewOrders, PriceLevel, cross, ration, shown_lots
from mpc_sequencer.market.columns import Rows, by_group, fee_parts, lock_parts
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.ledger_columns import SAFE, Bools, Ints, Trades, exact, scaled
from mpc_sequencer.market.met import Met
from mpc_sequencer.market.openorder import EARLIER, NEW, OpenOrder, opened
from mpc_sequencer.market.selftrade import prevent
from mpc_sequencer.market.settle import settle
from mpc_sequencer.market.terms import may_rest
from mpc_sequencer.market.types import Fill, Market, Outcome

_UNTOUCHED: Final = {GTC: types.RESTING, GTD: types.RESTING, IOC: types.UNFILLED}
_NO_PLACES: Final[Ints] = np.zeros(0, dtype=np.int64)

Levels = Mapping[int, Mapping[int, NewOrders]]  # by side and price


@dataclass(frozen=True, slots=True)
class _Given:
    """What a clearing gives: lots of each row; orders that are in no column, resting and new, with theirs; and resting
    ones level by level."""

    crossed: Crossed | None
    filled: Ints
    given: list[tuple[OpenOrder, int]]
    met: list[Met]


def run_columns(context: Context, market: Market, rows: Rows, others: Sequence[OpenOrder]) -> None:
    """Clear one AUCTION market whose new orders are ``rows`` and ``others``."""
    rows, others = _apart(rows, others)
    taking = [order for order in others if not order.post_only]
    changed = prevent(context, taking)
    live = [order for order in taking if not order.code]
    trades, live = _clear_whole(context, market, rows, live)
    crossed, moves = trades.crossed, Trades()
    if crossed is not None:
        changed += apply_given(context, crossed.price_ticks, trades.given)
        for met in trades.met:
            met.settle(context, market, crossed.price_ticks, moves)
        context.state.set_reference_price(market.id, crossed.price_ticks)
        context.clearing.append((market.id, crossed.price_ticks, crossed.volume_lots))
    _settle_rows(context, market, rows, trades, moves)
    moves.apply(context.state.ledger)
    for order in live:
        if order.filled_lots < order.quantity_lots and may_rest(order.time_in_force):
            context.state.rest_order(order)
    post(context, [order for order in others if order.post_only], None if crossed is None else crossed.price_ticks)
    _tell(context, market, rows, trades, settle(context, market, (*others, *changed)))


def _apart(rows: Rows, others: Sequence[OpenOrder]) -> tuple[Rows, Sequence[OpenOrder]]:
    """Rows of accounts that would not trade with themselves leave the columns. (An account whose new orders have a
    mode has none there; but a stop that joins may have one, too.)"""
    modes = {order.account for order in others if order.self_trade}
    if not modes or not modes & set(rows.account_list):
        return rows, others
    marked = np.array([account in modes for account in rows.account_list])[rows.accounts]
    made = [opened(rows.prepared[i].order_id, rows.source(i), 0, NEW) for i in np.flatnonzero(marked).tolist()]
    kept = np.flatnonzero(~marked)
    listed = kept.tolist()
    rows = Rows(
        prepared=[rows.prepared[i] for i in listed],
        account_list=rows.account_list,
        handles=rows.handles,
        accounts=rows.accounts[kept],
        buys=rows.buys[kept],
        rests=rows.rests[kept],
        prices=rows.prices[kept],
        lots=rows.lots[kept],
    )
    return rows, [*others, *made]


def _clear_whole(
    context: Context, market: Market, rows: Rows, live: list[OpenOrder]
) -> tuple[_Given, list[OpenOrder]]:
    """The clearing in which every fill-or-kill order that takes part is filled wholly, and who of ``live`` does."""
    levels = {BUY: _levels(rows, rows.buys), SELL: _levels(rows, ~rows.buys)}
    for _ in range(FOK_ROUNDS_MAX):
        trades = _clear(context, market, rows, levels, live)
        whole = [order for order in live if order.time_in_force == FOK]
        given = {order.order_id: lots for order, lots in trades.given} if whole else {}
        short = {order.order_id for order in whole if given.get(order.order_id, 0) < order.remaining_lots}
        if not short:
            return trades, live
        live = [order for order in live if order.order_id not in short]
    live = [order for order in live if order.time_in_force != FOK]
    return _clear(context, market, rows, levels, live), live


def _clear(context: Context, market: Market, rows: Rows, levels: Levels, live: Sequence[OpenOrder]) -> _Given:
    book = context.state.orders.books[market.id]
    reference = context.state.reference_prices_ticks[market.id]
    by_price = by_side_and_price(live)
    new = {side: _joined(levels[side], by_price[side]) for side in (BUY, SELL)}
    crossed = cross(book.levels(BUY), book.levels(SELL), new[BUY], new[SELL], reference)
    trades = _Given(crossed, np.zeros_like(rows.lots), [], [])
    if crossed is not None:
        for side in (crossed.buys, crossed.sells):
            _give_out(context, rows, side, crossed.volume_lots, trades)
    return trades


def _joined(columns: Mapping[int, NewOrders], others: Mapping[int, NewOrders]) -> Mapping[int, NewOrders]:
    """Both by price."""
    if not others:
        return columns
    joined = {**columns, **others}
    for price in columns.keys() & others.keys():
        held, other = columns[price], others[price]
        joined[price] = NewOrders(held.lots + other.lots, other.orders, held.rows)
    return joined


def _levels(rows: Rows, side: Bools) -> Mapping[int, NewOrders]:
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


def _give_out(context: Context, rows: Rows, levels: Sequence[PriceLevel], volume_lots: int, trades: _Given) -> None:
    """``volume_lots`` by price priority."""
    left_lots = volume_lots
    given, filled = trades.given, trades.filled
    for level in levels:
        if level.lots > left_lots:
            _ration_level(context, rows, level, left_lots, trades)
            return
        left_lots -= level.lots
        if level.resting is not None and _is_plain(context, level.resting):
            trades.met.append(Met(level.resting, *_open(level.resting)))
        else:
            given += [(order, order.remaining_lots) for order in level.resting_orders()]
        given += [(order, order.remaining_lots) for order in level.new.orders]
        if level.new.rows is not None:
            filled[level.new.rows] = rows.lots[level.new.rows]


def _ration_level(context: Context, rows: Rows, level: PriceLevel, available_lots: int, trades: _Given) -> None:
    """Resting shown, new shown, resting hidden, new hidden: orders in columns hide nothing."""
    got: dict[bytes, int] = {}
    left_lots = available_lots
    resting: Sequence[OpenOrder] = ()
    if level.resting is not None and _is_plain(context, level.resting):
        left_lots -= _ration_met(context, level.resting, left_lots, trades)
    else:
        resting = level.resting_orders()
    for hidden in (False, True):
        for group, new_rows in ((resting, None), (level.new.orders, level.new.rows)):
            asked = {
                order.order_id: order.remaining_lots - shown_lots(order) if hidden else shown_lots(order)
                for order in group
                if order.display_lots or not hidden
            }
            asked_lots = sum(asked.values())
            places = _NO_PLACES if hidden or new_rows is None else new_rows
            rows_lots = int(rows.lots[places].sum())
            lots = min(asked_lots + rows_lots, left_lots)
            if not lots:
                continue
            left_lots -= lots
            if rows_lots:
                asked = _ration_rows(context, rows, places, asked, asked_lots + rows_lots, lots, trades.filled)
            elif lots < asked_lots:
                asked = ration(asked, asked_lots, lots, context.draw)
            for order_id, some in asked.items():
                got[order_id] = got.get(order_id, 0) + some
    traded = (order for order in (*resting, *level.new.orders) if got.get(order.order_id))
    trades.given.extend((order, got[order.order_id]) for order in traded)


def _is_plain(context: Context, level: Level) -> bool:
    """Whether a level's resting orders hide nothing and are all of earlier heights."""
    return not context.kept and not level.hidden_lots


def _open(level: Level) -> tuple[Ints, Ints]:
    """The places of a level that orders hold, and what each has open."""
    left_lots = np.frombuffer(level.left_lots, dtype=np.int64)
    places = np.flatnonzero(left_lots)
    return places, left_lots[places]


def _ration_met(context: Context, level: Level, available_lots: int, trades: _Given) -> int:
    """:func:`~mpc_sequencer.market.clearing.ration` over resting orders that show all; how many lots they get."""
    places, asked = _open(level)
    lots = min(level.lots, available_lots)
    if lots < level.lots:
        orders = level.places
        if max(int(asked.max()) * lots, level.lots) < SAFE:
            asked = _shares(asked, level.lots, lots, lambda at: context.draw(_id_at(orders, places[at])))
        else:
            group = {_id_at(orders, at): some for at, some in zip(places.tolist(), asked.tolist(), strict=True)}
            shares = ration(group, level.lots, lots, context.draw)
            asked = np.array([shares.get(order_id, 0) for order_id in group], dtype=np.int64)
    trading = np.flatnonzero(asked)
    if len(trading):
        trades.met.append(Met(level, places[trading], asked[trading]))
    return lots


def _id_at(orders: Sequence[OpenOrder | None], place: int) -> bytes:
    order = orders[place]
    assert order is not None, "lots are where an order is"
    return order.order_id


def _ration_rows(
    context: Context, rows: Rows, places: Ints, others: dict[bytes, int], group_lots: int, lots: int, filled: Ints
) -> dict[bytes, int]:
    """:func:`~mpc_sequencer.market.clearing.ration` over rows and ``others``, of whom it answers what they get."""
    asked = rows.lots[places]
    if lots == group_lots:
        filled[places] = asked
        return others
    if max(max(int(asked.max()), *others.values(), 0) * lots, group_lots) >= SAFE:
        group = {**others, **{rows.prepared[i].order_id: int(rows.lots[i]) for i in places.tolist()}}
        shares = ration(group, group_lots, lots, context.draw)
        filled[places] = [shares.get(rows.prepared[i].order_id, 0) for i in places.tolist()]
        return {order_id: shares.get(order_id, 0) for order_id in others}
    names = list(others)
    asked = np.append(asked, np.array(list(others.values()), dtype=np.int64))

    def draw(at: int) -> bytes:
        return context.draw(rows.prepared[places[at]].order_id if at < len(places) else names[at - len(places)])

    given = _shares(asked, group_lots, lots, draw)
    filled[places] = given[: len(places)]
    return dict(zip(names, given[len(places) :].tolist(), strict=True))


def _shares(asked: Ints, group_lots: int, lots: int, draw: Callable[[int], bytes]) -> Ints:
    """:func:`~mpc_sequencer.market.clearing.ration` of ``lots``, fewer than ``group_lots``, the sum of ``asked``; that
    sum, and each of them times ``lots``, are below SAFE. ``draw`` is that of the order at a place."""
    given, remainders = np.divmod(asked * lots, group_lots)
    left_lots = lots - int(given.sum())
    if left_lots:
        cutoff = np.partition(remainders, len(remainders) - left_lots)[len(remainders) - left_lots]
        lucky = remainders > cutoff
        tied = np.flatnonzero(remainders == cutoff).tolist()
        left_lots -= int(lucky.sum())
        if len(tied) > left_lots:
            tied = sorted(tied, key=draw)[:left_lots]
        given += lucky
        given[tied] += 1
    return given


def _values(price_ticks: int, filled: Ints, volume_lots: int) -> Any:
    """What rows trade, in tick-lots: Python's integers where an int64 could not hold their sum."""
    return (filled if price_ticks * volume_lots < SAFE else filled.astype(object)) * price_ticks


def _settle_rows(context: Context, market: Market, rows: Rows, trades: _Given, moves: Trades) -> None:
    """Let rests rest or lapse; ``moves`` gets what the rows' fills say."""
    filled = trades.filled
    open_lots = np.where(rows.rests, rows.lots - filled, 0)
    _move(context, market, rows, trades, open_lots, moves)
    places = np.flatnonzero(open_lots)
    context.state.rest_orders(
        [
            opened(rows.prepared[i].order_id, rows.source(i), lots, EARLIER)
            for i, lots in zip(places.tolist(), filled[places].tolist(), strict=True)
        ],
        rows.handles[rows.accounts[places]].tolist(),
    )


def _move(context: Context, market: Market, rows: Rows, trades: _Given, open_lots: Ints, moves: Trades) -> None:
    """Sums for balances, once per account and side; the fees move."""
    crossed, filled = trades.crossed, trades.filled
    price_ticks, volume_lots = (0, 0) if crossed is None else (crossed.price_ticks, crossed.volume_lots)
    fee, lock = fee_parts(market, market.taker_fee_ppm), lock_parts(market)
    unit, base_units = market.quote_units_per_tick_lot, market.base_units_per_lot
    values = _values(price_ticks, filled, volume_lots)
    fees = fee.floors(values)
    all_fees = 0
    base, quote = market.base_asset, market.quote_asset
    for buys in (True, False):
        places = np.flatnonzero(rows.buys == buys)
        if not len(places):
            continue
        order, starts = by_group(rows.accounts[places], len(rows.account_list))
        places = places[order]

        def sums(column: Any, places: Ints = places, starts: Ints = starts) -> Any:
            return np.add.reduceat(column[places], starts)

        handles = rows.handles[rows.accounts[places[starts]]]
        bases = scaled(sums(filled), base_units)
        traded = exact(sums(values), unit + fee.whole + 1)
        fee_sums = traded * fee.whole + sums(fees)
        all_fees += int(fee_sums.sum())
        if buys:
            before, after = rows.prices * rows.lots, rows.prices * open_lots
            ceilings = lock.ceilings(before) - lock.ceilings(after)
            freed = exact(sums(before - after), unit + lock.whole + 1)
            released = freed * (unit + lock.whole) + sums(ceilings)
            moves.add(quote, base, handles, traded * unit + fee_sums, released, bases)
        else:
            released = scaled(sums(rows.lots - open_lots), base_units)
            moves.add(base, quote, handles, bases, released, traded * unit - fee_sums)
    if all_fees:
        context.state.ledger.receive(context.state.fee_account, market.quote_asset, all_fees)


def _pairs(*columns: Any) -> Iterator[tuple[int, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)


def _tell(
    context: Context, market: Market, rows: Rows, trades: _Given, other_fills: list[Fill]
) -> None:
    """Note how fills, outcomes and updates are made."""
    crossed, filled = trades.crossed, trades.filled
    price_ticks, volume_lots = (0, 0) if crossed is None else (crossed.price_ticks, crossed.volume_lots)
    fee = fee_parts(market, market.taker_fee_ppm)

    def fees(places: Any) -> list[int]:
        values = _values(price_ticks, filled[places], volume_lots)
        return [value * fee.whole + part for value, part in _pairs(values, fee.floors(values))]

    def fills() -> list[Fill]:
        traded = np.flatnonzero(filled)
        orders = ((rows.prepared[i].order_id, rows.source(i)) for i in traded.tolist())
        made = [
            Fill(
                context.height, market.id, order_id, source.account, source.side, price_ticks, lots,
                some.to_bytes(AMOUNT_BYTES, "big"), 0,
            )
            for (order_id, source), lots, some in zip(orders, filled[traded].tolist(), fees(traded), strict=True)
        ]  # fmt: skip
        for met in trades.met:
            made += met.fills(context.height)
        return sorted([*other_fills, *made], key=attrgetter("order_id"))

    def outcomes() -> None:
        for met in trades.met:
            met.note(context.updates)
        for one, lots, some, rest in zip(
            rows.prepared, filled.tolist(), fees(slice(None)), (rows.lots - filled).tolist(), strict=True
        ):
            order_id, source = one.order_id, cast(Order, one.action)
            code = types.FILLED if not rest else types.PARTLY_FILLED if lots else _UNTOUCHED[source.time_in_force]
            context.outcomes[order_id] = Outcome(
                order_id, code, source.account, market.id, lots, price_ticks if lots else None, price_ticks * lots, some
            )

    context.fills.append(fills)
    context.later.append(outcomes)
