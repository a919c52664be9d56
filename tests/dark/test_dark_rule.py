"""The dark rule in the plain against its definition, word by word, and against what any auction must keep."""

from __future__ import annotations

from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.rule import DarkFill, DarkOutcome, PlainOrder, clear_openly, marginal

TICKS = 5


def books(ticks: int = TICKS, lots_max: int = 6) -> st.SearchStrategy[list[PlainOrder]]:
    """Random books."""
    order = st.builds(PlainOrder, st.sampled_from((BUY, SELL)), st.integers(0, ticks - 1), st.integers(0, lots_max))
    return st.lists(order, max_size=10)


def by_definition(orders: list[PlainOrder], ticks: int, priority: list[int]) -> DarkOutcome:
    """The rule, lot by lot and with no running sums."""

    def demand(tick: int) -> int:
        return sum(one.quantity_lots for one in orders if one.side == BUY and one.tick >= tick)

    def supply(tick: int) -> int:
        return sum(one.quantity_lots for one in orders if one.side == SELL and one.tick <= tick)

    if not any(demand(tick) > 0 and supply(tick) > 0 for tick in range(ticks)):
        return DarkOutcome.uncrossed()
    steps = []
    for tick in range(ticks):
        steps.append((tick, SELL, demand(tick) - supply(tick - 1)))
        steps.append((tick, BUY, demand(tick) - supply(tick)))
    tick, side, _ = [step for step in steps if step[2] >= 0][-1]
    better = [
        (one.side == BUY and one.tick > tick) or (one.side == SELL and one.tick < tick) or
        (one.tick == tick and one.side != side)
        for one in orders
    ]
    lots = [one.quantity_lots if first else 0 for one, first in zip(orders, better, strict=True)]
    rest = sum(lots[at] for at, one in enumerate(orders) if one.side != side)
    rest -= sum(lots[at] for at, one in enumerate(orders) if one.side == side)
    last = None
    for index in priority:
        one = orders[index]
        if one.tick == tick and one.side == side:
            for _ in range(one.quantity_lots):
                if rest:
                    lots[index], rest, last = lots[index] + 1, rest - 1, index
    assert rest == 0
    fills = tuple(DarkFill(at, one.side, lots[at]) for at, one in enumerate(orders) if lots[at])
    return DarkOutcome(True, tick, side, sum(lots) // 2, fills, (), last)


def test_every_small_book_clears_as_the_definition_says() -> None:
    kinds = [PlainOrder(*one) for one in product((BUY, SELL), range(2), range(3))]
    for size in range(4):
        for book in product(kinds, repeat=size):
            for priority in list(permutations(range(size)))[:: 5 if size == 3 else 1]:
                assert clear_openly(book, 2, priority) == by_definition(list(book), 2, list(priority))


@given(books(), st.randoms())
@settings(max_examples=300, deadline=None)
def test_random_books_clear_as_the_definition_says(orders: list[PlainOrder], draw: object) -> None:
    priority = list(range(len(orders)))
    draw.shuffle(priority)  # type: ignore[attr-defined]
    assert clear_openly(orders, TICKS, priority) == by_definition(orders, TICKS, priority)


@given(books(), st.randoms())
@settings(max_examples=300, deadline=None)
def test_a_cleared_book_balances_within_limits_at_the_largest_volume(orders: list[PlainOrder], draw: object) -> None:
    priority = list(range(len(orders)))
    draw.shuffle(priority)  # type: ignore[attr-defined]
    outcome = clear_openly(orders, TICKS, priority)
    bought = sum(fill.lots for fill in outcome.fills if fill.side == BUY)
    assert bought == sum(fill.lots for fill in outcome.fills if fill.side == SELL) == outcome.volume_lots
    most = max(
        min(
            sum(one.quantity_lots for one in orders if one.side == BUY and one.tick >= tick),
            sum(one.quantity_lots for one in orders if one.side == SELL and one.tick <= tick),
        )
        for tick in range(TICKS)
    )
    assert outcome.volume_lots == most
    assert outcome.crossed == (most > 0)
    for fill in outcome.fills:
        order = orders[fill.order]
        assert fill.lots <= order.quantity_lots
        assert order.tick >= outcome.tick if order.side == BUY else order.tick <= outcome.tick
    partial = [fill.order for fill in outcome.fills if fill.lots < orders[fill.order].quantity_lots]
    assert partial in ([], [outcome.last_marginal])


@pytest.mark.parametrize(
    "orders",
    [
        [],
        [PlainOrder(BUY, 2, 5)],
        [PlainOrder(SELL, 0, 5), PlainOrder(SELL, 1, 1)],
        [PlainOrder(BUY, 1, 5), PlainOrder(SELL, 2, 5)],
        [PlainOrder(BUY, 3, 0), PlainOrder(SELL, 1, 5)],
    ],
    ids=["empty", "one-sided", "sells only", "bid below ask", "cover crosses nothing"],
)
def test_an_uncrossed_book_tells_no_tick(orders: list[PlainOrder]) -> None:
    assert clear_openly(orders, TICKS, list(range(len(orders)))) == DarkOutcome.uncrossed()


def test_all_at_one_tick_ration_the_larger_side_by_priority() -> None:
    orders = [PlainOrder(BUY, 2, 3), PlainOrder(BUY, 2, 3), PlainOrder(BUY, 2, 3), PlainOrder(SELL, 2, 5)]
    outcome = clear_openly(orders, TICKS, [2, 3, 0, 1])
    assert (outcome.tick, outcome.marginal_side, outcome.last_marginal) == (2, BUY, 0)
    assert outcome.fills == (DarkFill(0, BUY, 2), DarkFill(2, BUY, 3), DarkFill(3, SELL, 5))


def test_an_exact_balance_over_several_ticks_clears_at_the_upper_end() -> None:
    outcome = clear_openly([PlainOrder(BUY, 3, 4), PlainOrder(SELL, 1, 4)], TICKS, [0, 1])
    assert (outcome.tick, outcome.marginal_side, outcome.volume_lots) == (3, BUY, 4)


def test_a_rest_of_nothing_has_no_last_marginal_order() -> None:
    orders = [PlainOrder(BUY, 3, 4), PlainOrder(SELL, 1, 4), PlainOrder(SELL, 2, 1)]
    outcome = clear_openly(orders, TICKS, [2, 1, 0])
    assert (outcome.tick, outcome.marginal_side, outcome.last_marginal) == (2, SELL, None)
    assert [fill.order for fill in outcome.fills] == [0, 1]


def test_a_position_names_sells_before_buys_of_each_tick() -> None:
    assert [marginal(position) for position in range(4)] == [(0, SELL), (0, BUY), (1, SELL), (1, BUY)]


def test_a_priority_that_leaves_an_order_out_is_refused() -> None:
    with pytest.raises(ValueError, match="permutation"):
        clear_openly([PlainOrder(BUY, 0, 1), PlainOrder(SELL, 0, 1)], TICKS, [0, 0])
