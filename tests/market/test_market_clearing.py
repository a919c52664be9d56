"""The uniform price and the rationing, against every integer price tried, and at the edges worked by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mpc_sequencer.market.book import Book, Level
from mpc_sequencer.market.clearing import Clearing, clear, ration
from tests.market import desk, naive

PRICE_MAX = 12

Row = tuple[int, int, int, bool]  # side, price_ticks, lots, resting


def draw(order_id: bytes) -> bytes:
    return naive.tagged("draw", desk.COIN, order_id)


def book_of(rows: list[Row]) -> tuple[Book, dict[int, dict[int, dict[bytes, int]]]]:
    book = Book({})
    new: dict[int, dict[int, dict[bytes, int]]] = {1: {}, 2: {}}
    for i, (side, price_ticks, lots, resting) in enumerate(rows):
        if resting:
            book.add(desk.order_id(i), desk.resting(side, price_ticks, lots))
        else:
            new[side].setdefault(price_ticks, {})[desk.order_id(i)] = lots
    return book, new


def cleared(rows: list[Row], reference: int) -> Clearing | None:
    book, new = book_of(rows)
    return clear(book.bids(), book.asks(), new[1], new[2], reference_price_ticks=reference, draw=draw)


def buys(*levels: tuple[int, int]) -> list[Row]:
    return [(1, price_ticks, lots, False) for price_ticks, lots in levels]


def sells(*levels: tuple[int, int]) -> list[Row]:
    return [(2, price_ticks, lots, False) for price_ticks, lots in levels]


def uncrossed(rows: list[Row]) -> list[Row]:
    """``rows`` with resting orders made new where the resting book would be crossed (it never is)."""
    best_buy = max((price for side, price, _, resting in rows if resting and side == 1), default=0)
    return [
        (side, price, lots, resting and not (side == 2 and price <= best_buy))
        for side, price, lots, resting in rows
    ]


rows_strategy = st.lists(
    st.tuples(
        st.sampled_from((1, 2)),
        st.integers(1, PRICE_MAX),
        st.integers(1, 4) | st.integers(1, 40),
        st.booleans(),
    ),
    max_size=14,
).map(uncrossed)


@settings(max_examples=400, deadline=None)
@given(rows_strategy, st.integers(1, PRICE_MAX + 2))
@example([*buys((8, 5), (6, 2)), *sells((4, 5), (7, 2))], 1)
@example([*buys((8, 5), (6, 2)), *sells((4, 5), (7, 2))], 12)
@example([*buys((8, 5), (6, 2)), *sells((4, 5), (7, 3))], 12)
@example([*buys((8, 5), (6, 3)), *sells((4, 5), (7, 2))], 1)
def test_price_volume_and_fills_are_those_of_trying_every_price(rows, reference):
    orders = [
        naive.Order(
            desk.order_id(i), b"", 1, side=side, time_in_force=1, price=price, quantity=lots, new=not resting
        )
        for i, (side, price, lots, resting) in enumerate(rows)
    ]
    price = naive.clearing_price(orders, reference, PRICE_MAX + 2)
    result = cleared(rows, reference)
    if price is None:
        assert result is None
        return
    assert result is not None
    volume = naive.allocate(orders, price, draw)
    assert (result.price_ticks, result.volume_lots) == (price, volume)
    assert {**result.buys, **result.sells} == {o.order_id: o.filled for o in orders if o.filled}
    assert sum(result.buys.values()) == sum(result.sells.values()) == volume


@pytest.mark.parametrize(
    ("rows", "reference", "price"),
    [
        ([*buys((10, 5)), *sells((4, 5))], 7, 7),  # balanced from 4 to 10: the reference
        ([*buys((10, 5)), *sells((4, 5))], 3, 4),  # ... or the nearest end
        ([*buys((10, 5)), *sells((4, 5))], 11, 10),
        ([*buys((10, 6)), *sells((4, 5))], 7, 10),  # more to buy everywhere: the upper end
        ([*buys((10, 5)), *sells((4, 6))], 7, 4),  # more to sell everywhere: the lower end
        ([*buys((10, 6), (7, 1)), *sells((4, 5))], 5, 10),  # least imbalance above 7 only
        ([*buys((8, 5), (6, 2)), *sells((4, 5), (7, 3))], 12, 6),  # 2 more to buy at 6, 3 more to sell at 7
        ([*buys((8, 5), (6, 3)), *sells((4, 5), (7, 2))], 1, 7),
        ([*buys((8, 5), (6, 2)), *sells((4, 5), (7, 2))], 1, 5 - 1),  # +2 from 4 to 6, -2 from 7 to 8
        ([*buys((8, 5), (6, 2)), *sells((4, 5), (7, 2))], 12, 8),
        ([*buys((8, 5), (6, 2), (5, 1)), *sells((4, 5), (7, 2))], 1, 6),  # ... and 3 more to buy at 5
    ],
)
def test_the_price_rule_worked_by_hand(rows, reference, price):
    result = cleared(rows, reference)
    assert result is not None and result.price_ticks == price


def test_nothing_trades_where_the_best_prices_do_not_cross():
    assert cleared([*buys((6, 5)), *sells((7, 5))], 6) is None
    assert cleared(buys((6, 5)), 6) is None
    assert cleared([], 6) is None


def test_at_the_margin_resting_orders_go_before_new_ones():
    result = cleared([(1, 9, 4, True), (1, 9, 4, False), (2, 9, 5, False)], 9)
    assert result is not None
    assert result.buys == {desk.order_id(0): 4, desk.order_id(1): 1}
    result = cleared([(1, 9, 4, True), (1, 9, 4, False), (2, 9, 3, False)], 9)
    assert result is not None
    assert result.buys == {desk.order_id(0): 3}


def test_better_prices_go_before_the_margin_whether_new_or_resting():
    result = cleared([(1, 9, 4, True), (1, 10, 4, False), (2, 9, 5, False)], 9)
    assert result is not None
    assert result.buys == {desk.order_id(0): 1, desk.order_id(1): 4}


def test_remainders_go_to_the_largest_and_ties_to_the_smaller_draw():
    group = {desk.order_id(i): 5 for i in range(6)}
    given_out = ration(group, 30, 8, draw)  # 8 * 5 / 30 = 1 and a third each, two lots over
    by_draw = sorted(group, key=draw)
    assert given_out == {o: 2 if o in by_draw[:2] else 1 for o in group}
    # 7/12, 35/12 and 42/12 of a lot: the two lots over the floors go to remainders 11 and 7, not to the draw
    a, b, c = sorted((desk.order_id(name) for name in "abc"), key=draw, reverse=True)
    assert ration({a: 1, b: 5, c: 6}, 12, 7, draw) == {a: 1, b: 3, c: 3}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 2**48 - 1), min_size=1, max_size=12), st.data())
def test_a_ration_is_exact_and_within_one_lot_of_the_share(quantities, data):
    total = sum(quantities)
    available = data.draw(st.integers(1, total - 1) if total > 1 else st.just(0))
    group = {desk.order_id(i): lots for i, lots in enumerate(quantities)}
    given_out = ration(group, total, available, draw)
    assert sum(given_out.values()) == available
    for order_id, lots in group.items():
        got = given_out.get(order_id, 0)
        assert got <= lots
        assert abs(got * total - lots * available) < total


def test_quantities_beyond_64_bits_are_exact():
    most = 2**48 - 1
    rows: list[Row] = [(1, most, most, False) for _ in range(9)] + [(2, 1, most, False) for _ in range(7)]
    result = cleared(rows, 5)
    assert result is not None
    assert (result.price_ticks, result.volume_lots) == (most, 7 * most)
    assert sum(result.buys.values()) == 7 * most
    assert max(result.buys.values()) - min(result.buys.values()) <= 1


class CountedLevels:
    """Levels that count how many were looked at."""

    def __init__(self, levels: Mapping[int, Level]) -> None:
        self.levels = levels
        self.seen = 0

    def __iter__(self) -> Iterator[tuple[int, Level]]:
        for item in self.levels.items():
            self.seen += 1
            yield item


def deep_side(side: int, prices: range) -> Mapping[int, Level]:
    book = Book({})
    for price_ticks in prices:
        book.add(desk.order_id((side, price_ticks)), desk.resting(side, price_ticks, 2))
    return dict(book.bids() if side == 1 else book.asks())


def test_clearing_looks_at_no_more_levels_than_trade_and_two():
    bids, asks = CountedLevels(deep_side(1, range(1, 2000))), CountedLevels(deep_side(2, range(2001, 4000)))
    new = {3999: {desk.order_id("a wild limit"): 5}}
    result = clear(bids, asks, new, {}, reference_price_ticks=2000, draw=draw)
    assert result is not None and result.volume_lots == 5
    assert asks.seen <= 5  # three trade
    assert bids.seen <= 2
