"""Resting orders that a large auction meets a level at a time trade, pay and end as they do one by one."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from mpc_sequencer.core.limits import QUANTITY_LOTS_MAX
from mpc_sequencer.market import Market, kernel
from mpc_sequencer.market.book import Book
from mpc_sequencer.market.clearing import ration
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.fees import fee_units, lock_asset, lock_units
from mpc_sequencer.market.ledger_columns import Trades
from mpc_sequencer.market.met import Met
from mpc_sequencer.market.state import State
from mpc_sequencer.market.types import AUCTION
from tests.market import desk
from tests.market.test_market_columns import run_both
from tests.market.test_market_model import mix

DISTANT = 10**6


def context_of() -> Context:
    return Context(State({desk.SPOT.id: desk.SPOT}, frozenset(desk.ASSETS), desk.FEES), 1, 1, desk.COIN)


@pytest.mark.parametrize("available_lots", (1, 2, 5_000, QUANTITY_LOTS_MAX - 1))
@pytest.mark.parametrize(("count", "lots"), ((33_000, QUANTITY_LOTS_MAX), (40, QUANTITY_LOTS_MAX), (3_000, 7)))
def test_a_level_whose_lots_no_column_could_hold_is_rationed_like_any_other(count, lots, available_lots):
    random = Random(count)
    orders = [desk.open_order(n, 2, 9, lots - random.randrange(3)) for n in range(count)]
    asked = {order.order_id: order.remaining_lots for order in orders}
    available_lots = min(available_lots, sum(asked.values()) - 1)
    context, trades = context_of(), kernel._Given(None, kernel._NO_PLACES, [], [])
    book = Book(shows_anew=True)
    for order in orders:
        book.add(order)
    ((_, level),) = book.levels(2)
    assert kernel._ration_met(context, level, available_lots, trades) == available_lots
    got = {
        orders[place].order_id: some
        for met in trades.met
        for place, some in zip(met.places.tolist(), met.lots.tolist(), strict=True)
    }
    assert got == ration(asked, sum(asked.values()), available_lots, context.draw)


@pytest.mark.parametrize("side", (1, 2))
@pytest.mark.parametrize(
    ("count", "price_ticks", "traded_lots"),
    (
        (33_000, 1, 1), (33_000, 2**15 + 1, 2**34), (33_000, 2**40, 1), (33_000, 9, 2**48 - 1),
        (1, 2**14 - 1, 2**48 - 1), (1, 2**14, 2**48 - 1), (3, 2**47, 5),
    ),
)  # fmt: skip
def test_attack_a_level_of_more_than_2_63_lots_frees_and_pays_what_its_orders_do(
    side, count, price_ticks, traded_lots
):
    """Resting orders, all of which trade: together the open lots, or the tick-lots, or the units of one are beyond an
    int64. (A level taken for less freed and locked units that nobody had.)"""
    market = replace(desk.SPOT, maker_fee_ppm=33_333, taker_fee_ppm=77_777)
    state = State({market.id: market}, frozenset(desk.ASSETS), desk.FEES)
    account, lots = desk.ACCOUNTS[0], QUANTITY_LOTS_MAX
    orders = [desk.open_order(n, side, price_ticks, lots) for n in range(count)]
    asset = lock_asset(market, side)
    locked = lock_units(market, side, price_ticks, lots)
    state.ledger.credit(account, asset, len(orders) * locked)
    assert state.ledger.lock(account, asset, len(orders) * locked)
    for nonce, order in enumerate(orders):
        order.nonce = nonce
        state.orders.add(order)
    context, moves = Context(state, 1, 1, desk.COIN), Trades()
    trades = kernel._Given(None, kernel._NO_PLACES, [], [])
    ((_, level),) = state.orders.books[market.id].levels(side)
    kernel._ration_met(context, level, len(orders) * traded_lots, trades)
    trades.met[0].settle(context, market, price_ticks, moves)
    moves.apply(state.ledger)
    left = lock_units(market, side, price_ticks, lots - traded_lots)
    value = price_ticks * traded_lots * market.quote_units_per_tick_lot
    fee = fee_units(value, market.maker_fee_ppm)
    free = locked - left - value - fee if side == 1 else 0
    got = traded_lots * market.base_units_per_lot if side == 1 else value - fee
    other = market.base_asset if side == 1 else market.quote_asset
    assert state.ledger.balance(account, asset) == (len(orders) * free, len(orders) * left)
    assert state.ledger.balance(account, other) == (len(orders) * got, 0)
    assert level.lots == len(orders) * (lots - traded_lots) == sum(level.left_lots)


@pytest.mark.parametrize("side", (1, 2))
@pytest.mark.parametrize("fees", ((0, 0), (33_333, 77_777), (100_000, 1)))
@pytest.mark.parametrize("taken_lots", (3, 100, 250, 399, 400, 10_000))
def test_levels_that_are_met_in_part_or_wholly_are_what_they_are_one_by_one(monkeypatch, side, fees, taken_lots):
    """And what follows them, too: a cancel, an expiry, and the next batch see the same books, locks and client ids."""
    one, other = (desk.engine(mix(AUCTION, AUCTION, fees, (1, 10**6)), amount=10**9) for _ in range(2))
    price = {1: lambda level: 20 - level, 2: lambda level: 20 + level}[side]
    resting = [
        desk.limit(
            n % 3, n + 1, side, price(n // 20), 5 + n % 11, client_id=n + 1, time_in_force=4 if n % 7 == 0 else 1,
            expires_ms=desk.TIME_MS + 4 if n % 7 == 0 else 0, display_lots=5 + n % 11 if n % 5 == 0 else 0,
        )
        for n in range(60)
    ]  # fmt: skip
    taking = [desk.limit(3, 1, 3 - side, price(2), taken_lots, time_in_force=2), desk.limit(4, 1, 3 - side, DISTANT, 1)]
    if side == 2:
        taking[1] = desk.limit(4, 1, 1, 1, 1)
    batches = [
        resting,
        taking,
        [desk.cancel(0, 500, 31), desk.limit(1, 500, side, price(1), 3, client_id=2)],
        [],
        [desk.limit(3, 2, 3 - side, price(2), 10_000, time_in_force=2)],
    ]
    seen = [run_both(monkeypatch, one, other, height, batch, desk.COIN) for height, batch in enumerate(batches, 1)]
    assert len(seen[1].updates) == sum(fill.maker for fill in seen[1].fills) > 0
    assert one.dump() == other.dump() and type(one).load(one.dump()).dump() == one.dump()


def test_levels_that_hide_lots_or_hold_a_kept_place_are_met_one_by_one(monkeypatch):
    met: list[Met] = []
    monkeypatch.setattr(Met, "settle", lambda self, *_: met.append(self))
    market: Market = desk.SPOT
    for last in ([desk.buy(1, 1, 9, 8, display_lots=2)], []):
        made = desk.engine((market,))
        desk.run(made, 1, [desk.buy(0, 1, 9, 5), *last])
        monkeypatch.setattr("mpc_sequencer.market.height.COLUMNS_ORDERS_MIN", 1)
        kept = [] if last else [desk.replacement(1, desk.buy(0, 2, 9, 4))]
        assert desk.run(made, 2, [desk.sell(2, 1, 9, 3, ioc=True), *kept]).fills
    assert not met
