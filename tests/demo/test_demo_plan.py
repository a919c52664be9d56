"""The demo's orders: made of the real trace, in time, within what accounts hold, the same for one seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from mpc_sequencer.client import MarketUnits
from mpc_sequencer.core.actions import BUY, GTC, IOC
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.demo.plan import ACCOUNTS, MAKERS, PlannedOrder, make_plan
from mpc_sequencer.demo.run import MAKER_UNITS, TAKER_UNITS
from mpc_sequencer.demo.session import WITHDRAWALS
from mpc_sequencer.demo.trace import MarketEvent, data_folder, read_trace
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT

TRACE = read_trace(MarketUnits(BTCUSDT, ASSETS[0], ASSETS[1]))


def test_the_excerpt_holds_two_minutes_of_trades_and_changed_quotes() -> None:
    takers = [event for event in TRACE if not event.maker]
    assert len(takers) == 4_317
    assert 500 < len(TRACE) - len(takers) < 2_000
    assert 119e9 < TRACE[-1].at_ns < 120e9
    assert all(a.at_ns <= b.at_ns for a, b in pairwise(TRACE))
    assert {event.side for event in takers} == {1, 2}
    assert all(600_000 < event.price_ticks < 630_000 for event in TRACE)


def test_the_excerpt_is_small_and_says_where_it_comes_from() -> None:
    folder = data_folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 600_000
    readme = (folder / "README.md").read_text()
    assert "nkaz001/hftbacktest" in readme and "MIT" in readme


def test_one_seed_gives_one_plan_and_another_seed_another() -> None:
    first = make_plan(TRACE, duration_s=10, rate_per_s=None, seed=1)
    assert first == make_plan(TRACE, duration_s=10, rate_per_s=None, seed=1)
    assert first != make_plan(TRACE, duration_s=10, rate_per_s=None, seed=2)


def test_without_a_rate_the_trace_keeps_its_pace_also_beyond_its_end() -> None:
    plan = make_plan(TRACE, duration_s=300, rate_per_s=None, seed=3)
    assert abs(len(plan.orders) / len(TRACE) - 2.5) < 0.2
    assert_in_time(plan.orders, 300)


@pytest.mark.parametrize("rate_per_s", [1, 37.5, 400, 2_000])
def test_a_rate_is_kept_whatever_the_trace(rate_per_s: float) -> None:
    plan = make_plan(TRACE, duration_s=20, rate_per_s=rate_per_s, seed=4)
    assert len(plan.orders) == round(20 * rate_per_s)
    assert_in_time(plan.orders, 20)


def assert_in_time(orders: tuple[PlannedOrder, ...], duration_s: float) -> None:
    times_s = [order.at_s for order in orders]
    assert times_s == sorted(times_s)
    assert times_s[0] >= 0 and times_s[-1] < duration_s


def test_every_nonce_is_used_once_and_makers_rest_while_takers_do_not() -> None:
    plan = make_plan(TRACE, duration_s=60, rate_per_s=100, seed=5)
    used = Counter((order.account, order.nonce) for order in plan.orders)
    assert max(used.values()) == 1
    for order in plan.orders:
        assert order.time_in_force == (GTC if order.account < MAKERS else IOC)
        assert order.nonce < plan.next_nonces[order.account]


def test_no_plan_of_a_minute_locks_more_than_an_account_holds() -> None:
    plan = make_plan(TRACE, duration_s=60, rate_per_s=500, seed=6)
    needed: Counter[tuple[int, int]] = Counter()
    for order in plan.orders:
        quote = order.quantity_lots * order.price_ticks * BTCUSDT.quote_units_per_tick_lot
        base = order.quantity_lots * BTCUSDT.base_units_per_lot
        needed[order.account, 1 if order.side == BUY else 0] += quote if order.side == BUY else base
    for one in WITHDRAWALS:
        needed[one.account, one.asset] += one.units
    for (account, asset), units in needed.items():
        assert units <= (MAKER_UNITS if account < MAKERS else TAKER_UNITS)[asset]
    assert all(one.account < ACCOUNTS for one in WITHDRAWALS)


def test_more_orders_than_a_run_may_have_are_refused() -> None:
    with pytest.raises(ConfigError, match="orders in"):
        make_plan(TRACE, duration_s=3_600, rate_per_s=100_000, seed=0)
    with pytest.raises(ConfigError, match="orders in"):
        make_plan([MarketEvent(0, False, BUY, 1, 1)] * 200_001, duration_s=1, rate_per_s=None, seed=0)
