"""Large batches in columns give what the same batches give one by one: every root, fill, outcome, update and delta."""

from __future__ import annotations

from random import Random

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
mixed = st.one_of(plain_orders, plain_orders, plain_orders, plain_orders, orders, verdicts)
histories = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.lists(plain_orders, max_size=25) | st.lists(mixed, max_size=25)),
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
    traffic, ran = Traffic(random, (5, 14)), []
    run = kernel.run_columns
    monkeypatch.setattr(kernel, "run_columns", lambda *args: ran.append(len(args[2].lots)) or run(*args))
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


def test_one_by_one_takes_what_an_int64_cannot_hold(monkeypatch):
    ran: list[object] = []
    monkeypatch.setattr(kernel, "run_columns", lambda *args: ran.append(args))
    huge = 2**47
    for actions in (
        [desk.buy(0, 1, huge, huge), desk.sell(1, 1, huge, huge)],
        [desk.buy(0, 1, 2**30, 2**30), desk.sell(1, 1, 2**30, 2**30)],
    ):
        one, other = (desk.engine(mix(1, 1, (1, 2), (1, 2**47)), amount=2**120) for _ in range(2))
        result = run_both(monkeypatch, one, other, 1, actions, desk.COIN)
        assert len(result.fills) == 2 and not ran


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
