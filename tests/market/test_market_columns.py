"""Large batches in columns give what the same batches give one by one: every root, fill, outcome, update and delta."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.core.actions import Action
from mpc_sequencer.market import Engine, HeightResult, Market, kernel
from mpc_sequencer.market import columns as columns_module
from mpc_sequencer.market import height as height_module
from tests.market import desk
from tests.market.test_market_model import mix, orders, prepared_batch, verdicts
from tests.market.traffic import Traffic

NEVER, ALWAYS = 10**9, 1


def run_both(monkeypatch, one: Engine, other: Engine, height: int, verdicts, coin: bytes) -> HeightResult:
    """Execute a batch in columns and one by one."""
    batch = prepared_batch(height, verdicts)
    results = []
    for made, least in ((one, ALWAYS), (other, NEVER)):
        monkeypatch.setattr(height_module, "COLUMNS_ORDERS_MIN", least)
        results.append(made.execute(height, desk.TIME_MS + height, coin, batch, desk.received))
    assert results[0].outcomes == results[1].outcomes
    assert results[0].fills == results[1].fills
    assert results[0] == results[1]
    return results[0]


plain_orders = st.builds(
    desk.limit,
    who=st.integers(0, 4),
    nonce=st.integers(0, 80),
    side=st.sampled_from((1, 2)),
    price_ticks=st.integers(7, 10),
    quantity_lots=st.integers(1, 30) | st.sampled_from((2**30, 2**40, 2**47)),
    time_in_force=st.sampled_from((1, 2)),
    market=st.sampled_from((1, 1, 7)),
)
named_orders = st.builds(
    lambda order, client_id, late: replace(
        order,
        client_id=client_id,
        time_in_force=4 if late is not None else order.time_in_force,
        expires_ms=0 if late is None else desk.TIME_MS + late,
    ),
    plain_orders,
    st.integers(0, 30),
    st.none() | st.integers(1, 9),
)
mixed = st.one_of(plain_orders, named_orders, plain_orders, plain_orders, orders, verdicts)
histories = st.lists(
    st.tuples(
        st.binary(min_size=32, max_size=32),
        st.lists(plain_orders, max_size=25) | st.lists(named_orders, max_size=9) | st.lists(mixed, max_size=25),
    ),
    max_size=5,
)
engines = st.tuples(
    st.sampled_from(((1, 1), (1, 2), (3, 1))),
    st.sampled_from(((0, 0), (100, 250), (33_333, 77_777))),
    st.sampled_from((2_000, 10**6, 2**120)),
)


@settings(max_examples=250, deadline=None)
@given(engines, histories)
def test_columns_and_one_by_one_are_the_same(engine, history):
    policies, fees, amount = engine
    one, other = (desk.engine(mix(*policies, fees, (1, 2**48 - 1)), amount=amount) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        for height, (coin, verdicts) in enumerate(history, 1):
            run_both(patch, one, other, height, verdicts, coin)
    assert one.dump() == other.dump()


def plain_batch(random: Random, nonces: list[int], size: int, prices: tuple[int, int]) -> list[Action]:
    batch: list[Action] = []
    for _ in range(size):
        who = random.randrange(4)
        nonces[who] += random.choice((1, 1, 1, 2))
        order = desk.limit(
            who, nonces[who], random.choice((1, 2)), random.randint(*prices), random.randint(1, 60),
            time_in_force=random.choice((1, 2, 2)),
        )  # fmt: skip
        batch.append(replace(order, market=random.choice((1, 1, 7))))
    return batch


@pytest.mark.parametrize("seed", range(4))
def test_columns_take_most_of_a_large_batch_and_change_nothing(seed, monkeypatch):
    """Icebergs, stops and replacements of one batch in three rest where the columns' orders meet them."""
    random = Random(seed)
    fees = random.choice(((0, 0), (33_333, 77_777)))
    one, other = (desk.engine(mix(1, 1, fees, (1, 10**6)), amount=10**7) for _ in range(2))
    traffic, ran = Traffic(random, (5, 14)), watched_rows(monkeypatch)
    filled = 0
    for height in range(1, 16):
        if height % 3 == 0:
            verdicts = traffic.batch(60, desk.TIME_MS + height)
        else:
            verdicts = plain_batch(random, traffic.next_nonces, 300, (5, 14))
        result = run_both(monkeypatch, one, other, height, verdicts, random.randbytes(32))
        filled += len(result.fills)
    assert one.dump() == other.dump()
    assert sum(ran) > 1_200 and filled > 1_000


def watched_rows(monkeypatch) -> list[int]:
    """How many orders the columns hold at each clearing, gathered while the test runs."""
    ran: list[int] = []
    run = kernel.run_columns
    monkeypatch.setattr(kernel, "run_columns", lambda *args: ran.append(len(args[2].lots)) or run(*args))
    return ran


def test_one_by_one_takes_what_an_int64_cannot_hold(monkeypatch):
    ran = watched_rows(monkeypatch)
    huge = 2**47
    for actions in (
        [desk.buy(0, 1, huge, huge), desk.sell(1, 1, huge, huge)],
        [desk.buy(0, 1, 2**31, 2**31), desk.sell(1, 1, 2**31, 2**31)],
    ):
        one, other = (desk.engine(mix(1, 1, (1, 2), (1, 2**47)), amount=2**120) for _ in range(2))
        result = run_both(monkeypatch, one, other, 1, actions, desk.COIN)
        assert len(result.fills) == 2 and not ran


ODD = {
    "a client id": {"client_id": 5},
    "post-only": {"post_only": 1},
    "an iceberg": {"quantity_lots": 40, "display_lots": 3},
    "GTD": {"time_in_force": 4, "expires_ms": desk.TIME_MS + 9},
    "FOK": {"time_in_force": 3, "quantity_lots": 70},
    "a FOK that is too large": {"time_in_force": 3, "quantity_lots": 10**5},
    "a market order": {"kind": 2, "time_in_force": 2},
    "a stop": {"kind": 3, "time_in_force": 2, "stop_ticks": 12},
    "self-trade prevention": {"self_trade": 3},
    "2^48-1 lots": {"quantity_lots": 2**48 - 1},
    "2^48-1 ticks": {"price_ticks": 2**48 - 1},
    "an unknown market": {"market": 99},
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("rich", [False, True])
def test_one_odd_order_leaves_all_other_accounts_in_columns(kind, rich, monkeypatch):
    """Whether its balance covers it or not; the other account that sends nothing odd trades as before."""
    ran = watched_rows(monkeypatch)
    random = Random(kind)
    for _ in range(12):
        one, other = (
            desk.engine(mix(1, 1, (33_333, 77_777), (1, 10**6)), amount=2**90 if rich else 9_000) for _ in "12"
        )
        for made in (one, other):
            desk.run(made, 1, [desk.buy(0, 1, 9, 6, display_lots=2), desk.sell(1, 1, 13, 4), desk.sell(4, 1, 11, 4)])
        plain = [
            desk.limit(who, nonce, random.choice((1, 2)), random.randint(9, 13), random.randint(1, 9))
            for who in (1, 2, 3) for nonce in range(2, 12)
        ]  # fmt: skip
        odd = [
            replace(desk.limit(4, nonce, random.choice((1, 2)), random.randint(9, 13), 9), **ODD[kind])
            for nonce in (2, 3)
        ]
        del ran[:]
        run_both(monkeypatch, one, other, 2, [*plain, *odd], random.randbytes(32))
        assert ran[0] >= len(plain) + (2 if kind == "GTD" and rich else 0)
        run_both(monkeypatch, one, other, 3, [desk.buy(1, 50, 9, 1), desk.sell(2, 50, 13, 1)], random.randbytes(32))
        assert one.dump() == other.dump()


def test_client_ids_and_expiries_are_columns_and_remembered_by_draw(monkeypatch):
    """Of 90 new ids of one account the last 64 by draw stay; one used before, in the batch or not, is refused."""
    ran = watched_rows(monkeypatch)
    one, other = (desk.engine(mix(1, 1, (100, 300), (1, 10**6))) for _ in range(2))
    late = {"time_in_force": 4, "expires_ms": desk.TIME_MS + 3}
    first = [
        replace(desk.buy(0, nonce, 9, 1), client_id=nonce, **(late if nonce & 1 else {})) for nonce in range(1, 91)
    ]
    run_both(monkeypatch, one, other, 1, first, desk.COIN)
    assert ran == [90] and one.dump() == other.dump()
    again = [replace(desk.sell(0, 100 + nonce, 9, 1), client_id=nonce) for nonce in (2, 200)]
    twice = [replace(desk.sell(1, nonce, 9, 1), client_id=7) for nonce in (1, 2)]
    result = run_both(monkeypatch, one, other, 2, [*again, *twice, desk.sell(2, 1, 9, 50)], desk.COIN)
    assert sum(outcome.code == "duplicate_client_id" for outcome in result.outcomes) == 2 and ran[1:] == [1]
    result = run_both(monkeypatch, one, other, 3, [desk.sell(2, 2, 9, 1)], desk.COIN)
    assert "expired" in {update.code for update in result.updates} and one.dump() == other.dump()


def test_unfunded_orders_of_any_size_push_nobody_out_of_the_columns(monkeypatch):
    """The attack: orders that no balance covers, as many and as large as can be."""
    ran = watched_rows(monkeypatch)
    one, other = (desk.engine(mix(1, 1, (100, 300), (1, 10**6)), amount=9_000) for _ in range(2))
    plain = [desk.limit(who, nonce, 1 + (nonce & 1), 10, nonce) for who in (0, 1, 2) for nonce in range(1, 9)]
    huge = [desk.limit(3, nonce, side, 2**48 - 1, 2**48 - 1) for nonce in range(1, 99) for side in (1, 2)]
    below = [desk.limit(4, nonce, side, 2**20, 2**30) for nonce in range(1, 99) for side in (1, 2)]
    result = run_both(monkeypatch, one, other, 1, [*plain, *huge, *below], desk.COIN)
    assert ran == [len(plain)] and len(result.fills) > 12


@pytest.mark.parametrize("shown", [1, 2**40])
def test_new_icebergs_share_a_level_with_columns(shown, monkeypatch):
    """At 10: columns 12 and shown parts together, then what is hidden; also beyond an int64's products."""
    ran = watched_rows(monkeypatch)
    for lots in (1, 5, 11, 13, 14, 20, 2**39, 2**40 + 5, 2**41 + 11, 2**42):
        one, other = (desk.engine(mix(1, 1, (0, 77_777), (1, 10**6)), amount=2**120) for _ in range(2))
        icebergs = [desk.buy(who, 1, 10, 4 * shown + who, display_lots=shown) for who in (2, 3)]
        news = [*icebergs, *(desk.buy(who, nonce, 10, 3) for who in (0, 1) for nonce in (1, 2))]
        run_both(monkeypatch, one, other, 1, [*news, desk.sell(4, 1, 10, lots)], random_coin(lots))
        assert one.dump() == other.dump() and ran.pop() >= 4


def random_coin(seed: int) -> bytes:
    return Random(seed).randbytes(32)


def test_a_stop_that_joins_takes_its_account_out_of_the_columns(monkeypatch):
    """It would not trade with its own account's orders of the batch, which are plain."""
    for mode in (0, 1, 2, 3):
        codes: set[str] = set()
        for seed in range(6):
            one, other = (desk.engine(mix(1, 1, (0, 250), (1, 10**6))) for _ in range(2))
            stop = desk.limit(0, 1, 1, 13, 5, time_in_force=2, kind=3, stop_ticks=11, self_trade=mode)
            for made in (one, other):
                desk.run(made, 1, [stop, desk.buy(1, 1, 12, 1), desk.sell(2, 1, 12, 1)])
            news = [desk.sell(who, nonce, 12, 2) for who in (0, 1, 2) for nonce in (2, 3)]
            result = run_both(monkeypatch, one, other, 2, news, random_coin(seed))
            assert one.dump() == other.dump() and result.updates
            codes |= {one.code for one in (*result.outcomes, *result.updates)}
        assert ("self_trade" in codes) == bool(mode)


@pytest.mark.parametrize("unit", [1, 7, 10**6 + 1, 10**15 + 7])
def test_fees_and_locks_in_parts_are_those_of_the_rule(unit):
    """Of any value below 2^62 tick-lots and any rate, as Python's integers give them."""
    random = Random(unit)
    values = [
        0,
        1,
        999_999,
        10**6,
        10**6 + 1,
        2**62 - 1,
        *(random.randrange(2 ** random.randint(1, 62)) for _ in range(400)),
    ]
    column = np.array(values, dtype=np.int64)
    for rate in (0, 1, 300, 33_333, 100_000):
        market = replace(desk.SPOT, quote_units_per_tick_lot=unit, maker_fee_ppm=rate)
        fee, lock = columns_module.fee_parts(market, rate), columns_module.lock_parts(market)
        for value, down, up in zip(values, fee.floors(column).tolist(), lock.ceilings(column).tolist(), strict=True):
            assert value * fee.whole + down == value * unit * rate // 10**6
            assert value * (unit + lock.whole) + up == value * unit - (-value * unit * rate // 10**6)


def test_a_resting_price_far_above_the_columns_is_held_too(monkeypatch):
    """The price may be a resting buy's: what the new sellers get then must fit as well."""
    market = Market(1, desk.BASE, desk.QUOTE, 1, 1, 2**47, "BASE/QUOTE", 1)
    one, other = (desk.engine([market], amount=2**120) for _ in range(2))
    for made in (one, other):
        desk.run(made, 1, [desk.buy(0, 1, 2**47, 2**16)])
    sells = [desk.sell(1, nonce, 1, 2**15) for nonce in (1, 2)]
    result = run_both(monkeypatch, one, other, 2, sells, desk.COIN)
    assert result.clearing == ((1, 2**47, 2**16),)
    assert one.balance(desk.ACCOUNTS[1], desk.QUOTE) == (2**120 + 2**63, 0)


@pytest.mark.parametrize("fees", [(0, 0), (100_000, 0), (1, 100_000)])
@pytest.mark.parametrize("units", [2**62, 2**63 - 1])
def test_units_that_no_int64_holds_stop_no_batch(monkeypatch, units, fees):
    """One tick-lot costs, with its fee, more than 2^63 units; and of some batches no buy, or nothing, trades."""
    maker_ppm, taker_ppm = fees
    market = Market(
        1, desk.BASE, desk.QUOTE, units, units, 12, "BASE/QUOTE", 1, maker_fee_ppm=maker_ppm, taker_fee_ppm=taker_ppm
    )
    one, other = (desk.engine((market,), amount=2**120) for _ in "12")
    batches = (
        [desk.sell(1, 1, 10, 1)],
        [desk.buy(0, 1, 9, 2), desk.sell(1, 2, 11, 1)],
        [desk.buy(0, 2, 10, 1), desk.sell(1, 3, 9, 1)],
    )
    for height, batch in enumerate(batches, 1):
        run_both(monkeypatch, one, other, height, batch, desk.COIN)
        assert one.dump() == other.dump()


def test_a_large_batch_goes_through_columns_by_itself(monkeypatch):
    taken: list[int] = []
    enter = columns_module.enter_columns
    monkeypatch.setattr(columns_module, "enter_columns", lambda c, batch: taken.append(len(batch)) or enter(c, batch))
    made = desk.engine()
    desk.run(made, 1, [desk.buy(0, nonce, 9, 1, ioc=True) for nonce in range(1, 399)])
    assert not taken
    desk.run(made, 2, [desk.buy(1, nonce, 9, 1, ioc=True) for nonce in range(1, 401)])
    assert taken == [400]


@pytest.mark.parametrize(
    ("actions", "code"),
    [
        ([desk.buy(0, 5, 9, 1), desk.buy(0, 5, 9, 2)], "nonce_consumed"),
        ([desk.buy(0, 5, 9, 1), desk.buy(0, 1, 9, 2)], "nonce_consumed"),
        ([desk.buy(0, 5, 9, 1), desk.buy(0, 5 + 2**20 + 9, 9, 2)], "nonce_too_high"),
        ([desk.buy(0, 5, 9, 60), desk.buy(0, 6, 9, 60)], "balance"),
        ([desk.buy(0, 5, 9, 1), replace(desk.buy(0, 6, 9, 1), market=99)], "market"),
        ([desk.buy(0, 5, 9, 1), desk.buy(0, 6, 9, 101)], "quantity"),
        ([desk.buy(0, 5, 9, 1), replace(desk.buy(0, 6, 9, 1), side=3)], "side"),
        ([desk.buy(0, 5, 9, 1), replace(desk.buy(0, 6, 9, 1), time_in_force=0)], "time_in_force"),
    ],
)
def test_accounts_of_which_some_order_is_refused_are_taken_one_by_one(monkeypatch, actions, code):
    one, other = (desk.engine(mix(1, 1, (100, 250), (1, 2**48 - 1)), amount=2_000) for _ in range(2))
    for made in (one, other):
        made._state.markets[1] = replace(made._state.markets[1], quantity_max_lots=100)
        desk.run(made, 1, [desk.buy(0, 1, 9, 1, ioc=True)])
    plain = [desk.sell(1, nonce, 12, 1) for nonce in range(1, 5)]
    result = run_both(monkeypatch, one, other, 2, [*plain, *actions], desk.COIN)
    assert code in {outcome.code for outcome in result.outcomes}
    assert one.dump() == other.dump()


def test_remainders_in_columns_go_by_the_draw_and_groups_in_their_turn(monkeypatch):
    """At 10: resting shown 2, new 12 in four equal parts, resting hidden 4."""
    for lots in range(1, 19):
        one, other = (desk.engine(mix(1, 1, (0, 77_777), (1, 10**6))) for _ in range(2))
        for made in (one, other):
            desk.run(made, 1, [desk.buy(0, 1, 10, 6, display_lots=2)])
        news = [desk.buy(who, 1, 10, 3) for who in (1, 2, 3)] + [desk.buy(1, 2, 10, 3), desk.sell(4, 1, 10, lots)]
        result = run_both(monkeypatch, one, other, 2, news, desk.COIN)
        got = {fill.order_id: fill.quantity_lots for fill in result.fills if fill.side == 1}
        assert got.get(desk.order_id((1, 0)), 0) == min(lots, 2) + max(0, lots - 14)
