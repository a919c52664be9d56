"""What a dark order may say and what it locks: refused before anything is sealed, and deposits that tell the size class
and nothing else."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.client import AssetUnits, MarketUnits, limit_terms
from mpc_sequencer.client.dark_terms import (
    DepositRule,
    Deposits,
    check_dark_terms,
    check_free,
    pick_deposits,
    price_last_ticks,
    quantity_lots_max,
    quote_tick_lots_max,
    size_class_lots,
)
from mpc_sequencer.client.terms import OrderTerms
from mpc_sequencer.core.actions import BUY, FOK, GTC, GTD, IOC, MARKET, SELL
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.devnet.layout import ASSETS, DARK_GRID, devnet_market
from mpc_sequencer.market.types import DARK

DARK_BTCUSDT = devnet_market(DARK, 5)
FIRST, LAST, MOST = DARK_GRID.price_first_ticks, price_last_ticks(DARK_GRID), quantity_lots_max(DARK_GRID)
PLAIN = limit_terms(0, BUY, FIRST, 5)

prices = st.integers(0, DARK_GRID.ticks - 1).map(lambda column: FIRST + column * DARK_GRID.price_step_ticks)
quantities = st.integers(0, MOST)
sides = st.sampled_from((BUY, SELL))


def code_of(terms: OrderTerms) -> str:
    with pytest.raises(ProtocolError) as caught:
        check_dark_terms(DARK_BTCUSDT, terms)
    return caught.value.code


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (replace(PLAIN, kind=MARKET), "order.kind"),
        (replace(PLAIN, post_only=True), "order.post_only"),
        (replace(PLAIN, stop_ticks=FIRST), "order.stop_price"),
        (replace(PLAIN, display_lots=1), "order.display"),
        (replace(PLAIN, time_in_force=GTD, expires_ms=9), "order.expiry"),
        (PLAIN.preventing_self_trade(1), "order.self_trade"),
        (PLAIN.naming(7), "order.client_id"),
        (replace(PLAIN, time_in_force=FOK), "order.time_in_force"),
        (replace(PLAIN, time_in_force=GTD), "order.time_in_force"),
        (replace(PLAIN, side=3), "order.side"),
        (replace(PLAIN, price_ticks=FIRST - 50), "order.price"),
        (replace(PLAIN, price_ticks=LAST + 50), "order.price"),
        (replace(PLAIN, price_ticks=FIRST + 1), "order.price_tick"),
        (replace(PLAIN, quantity_lots=MOST + 1), "order.quantity_max"),
        (replace(PLAIN, quantity_lots=-1), "order.quantity"),
    ],
)
def test_anything_but_a_plain_limit_order_on_the_grid_is_refused(terms: OrderTerms, code: str) -> None:
    assert code_of(terms) == code


@pytest.mark.parametrize("time_in_force", [GTC, IOC])
@pytest.mark.parametrize(("price_ticks", "lots"), [(FIRST, 1), (LAST, MOST), (FIRST + 50, 0)])
def test_a_plain_limit_order_on_the_grid_is_taken(time_in_force: int, price_ticks: int, lots: int) -> None:
    check_dark_terms(DARK_BTCUSDT, limit_terms(0, SELL, price_ticks, lots, time_in_force=time_in_force))


@given(prices, prices, quantities, quantities)
def test_hiding_deposits_tell_the_size_class_alone(one: int, other: int, lots: int, more: int) -> None:
    buy = pick_deposits(DARK_BTCUSDT, limit_terms(0, BUY, one, lots), DepositRule.HIDE)
    sell = pick_deposits(DARK_BTCUSDT, limit_terms(0, SELL, other, more), DepositRule.HIDE)
    same_class = size_class_lots(DARK_GRID, lots) == size_class_lots(DARK_GRID, more)
    assert (buy == sell) == same_class and buy.hides_side and sell.hides_side


@given(sides, prices, quantities, st.sampled_from(tuple(DepositRule)))
def test_deposits_cover_every_order_of_the_market(side: int, price_ticks: int, lots: int, rule: DepositRule) -> None:
    terms = limit_terms(0, side, price_ticks, lots)
    deposits = pick_deposits(DARK_BTCUSDT, terms, rule)
    assert deposits.quote_tick_lots >= (price_ticks * lots if side == BUY else 0)
    assert deposits.base_lots >= (lots if side == SELL else 0)
    assert deposits.quote_tick_lots <= quote_tick_lots_max(DARK_GRID) and deposits.base_lots <= MOST


@pytest.mark.parametrize(
    ("lots", "of_class"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (512, 512), (513, MOST), (MOST, MOST)]
)
def test_a_size_class_is_the_next_power_of_two_and_no_more_than_the_largest_order(lots: int, of_class: int) -> None:
    assert size_class_lots(DARK_GRID, lots) == of_class


def test_one_side_alone_is_locked_where_that_is_asked_for() -> None:
    buy = pick_deposits(DARK_BTCUSDT, limit_terms(0, BUY, FIRST, 3), DepositRule.SIDE)
    sell = pick_deposits(DARK_BTCUSDT, limit_terms(0, SELL, FIRST, 3), DepositRule.SIDE)
    assert (buy, sell) == (Deposits(4 * LAST, 0), Deposits(0, 4))
    assert not buy.hides_side and not sell.hides_side


@pytest.mark.parametrize(
    ("side", "deposits", "code", "field"),
    [
        (BUY, Deposits(5 * FIRST - 1, 9), "dark.unfunded", "quote_tick_lots"),
        (SELL, Deposits(5 * FIRST, 4), "dark.unfunded", "base_lots"),
        (BUY, Deposits(quote_tick_lots_max(DARK_GRID) + 1, 0), "dark.deposit", "quote_tick_lots"),
        (SELL, Deposits(0, MOST + 1), "dark.deposit", "base_lots"),
        (SELL, Deposits(-1, 5), "dark.deposit", "quote_tick_lots"),
    ],
)
def test_exact_deposits_are_taken_as_they_are_or_refused(side: int, deposits: Deposits, code: str, field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        pick_deposits(DARK_BTCUSDT, limit_terms(0, side, FIRST, 5), deposits)
    assert (caught.value.code, caught.value.field) == (code, field)
    enough = Deposits(5 * FIRST, 5)
    assert pick_deposits(DARK_BTCUSDT, limit_terms(0, side, FIRST, 5), enough) == enough


def test_deposits_beyond_the_free_balance_are_refused_naming_the_asset() -> None:
    deposits = pick_deposits(DARK_BTCUSDT, PLAIN, DepositRule.HIDE)
    needed = deposits.units(DARK_BTCUSDT)
    assert needed == {0: 8 * 100_000, 1: 8 * LAST * 100}
    check_free(DARK_BTCUSDT, deposits, needed)
    for asset in needed:
        with pytest.raises(ProtocolError) as caught:
            check_free(DARK_BTCUSDT, deposits, needed | {asset: needed[asset] - 1})
        assert (caught.value.code, caught.value.field) == ("dark.balance", f"the free balance of asset {asset}")


def test_decimals_off_the_grid_are_refused_in_decimals() -> None:
    units = MarketUnits(DARK_BTCUSDT, *ASSETS)
    assert units.price_ticks("61725") == FIRST and units.quantity_lots("1.023") == MOST
    for price, code in (("61726", "order.price_tick"), ("61720", "order.price"), ("61885", "order.price")):
        with pytest.raises(ProtocolError) as caught:
            units.price_ticks(Decimal(price))
        assert caught.value.code == code and "61725 .. 61880 in steps of 5" in str(caught.value)
    with pytest.raises(ProtocolError) as caught:
        units.quantity_lots("1.024")
    assert caught.value.code == "order.quantity_max" and "1.023" in str(caught.value)
    assert isinstance(units.base, AssetUnits)
