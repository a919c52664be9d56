"""Markets whose orders meet the book one after the other: by draw (SHUFFLE) or by a given precedence (RECEIVE)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, SELL, Order
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.market import RECEIVE, SHUFFLE, Engine, HeightResult, OrderValue, Outcome, PreparedOrder
from mpc_sequencer.market.state import Snapshot
from tests.market import desk, naive

SPOT = desk.SPOT.id
A, B, C, D, E = desk.ACCOUNTS
Row = tuple[str, Order]


def receive_engine(amount: int = 10**9) -> Engine:
    return desk.engine(desk.markets(RECEIVE), amount)


def in_turn(made: Engine, height: int, *rows: Row) -> HeightResult:
    """Execute named orders that were received in the sequence given."""
    turn = [desk.order_id(name) for name, _ in rows]
    batch = [desk.prepared(name, order) for name, order in rows]
    return made.execute(height, desk.TIME_MS, desk.COIN, batch, lambda ids: sorted(ids, key=turn.index))


def trades(result: HeightResult, name: str) -> list[tuple[int, int]]:
    return [(fill.price_ticks, fill.quantity_lots) for fill in result.fills if fill.order_id == desk.order_id(name)]


def outcome(result: HeightResult, name: str) -> Outcome:
    return next(one for one in result.outcomes if one.order_id == desk.order_id(name))


# --- by hand -------------------------------------------------------------------------------------------------
def test_an_order_eats_the_book_best_price_first_and_within_a_price_the_first_to_rest():
    made = receive_engine()
    rest = in_turn(
        made, 1,
        ("late name, early order", desk.sell(1, 1, 11, 2)), ("dear", desk.sell(2, 1, 12, 5)),
        ("second", desk.sell(3, 1, 11, 2)), ("cheap", desk.sell(4, 1, 10, 1)),
    )  # fmt: skip
    assert rest.fills == () and rest.clearing == ()
    result = in_turn(made, 2, ("taker", desk.buy(0, 1, 12, 4)))
    assert trades(result, "cheap") == [(10, 1)]
    assert trades(result, "late name, early order") == [(11, 2)]
    assert trades(result, "second") == [(11, 1)]
    assert trades(result, "dear") == []
    assert trades(result, "taker") == [(10, 1), (11, 3)]
    assert result.clearing == ((SPOT, 11, 4),)
    assert made.reference_price_ticks(SPOT) == 11
    assert made.book(SPOT, 9)["asks"] == ((11, 1, 1), (12, 5, 1))


def test_an_order_with_fills_at_several_prices_reports_the_worst_and_its_exact_cost():
    made = receive_engine()
    in_turn(made, 1, ("a", desk.sell(1, 1, 8, 1)), ("b", desk.sell(2, 1, 9, 2)), ("c", desk.sell(3, 1, 11, 4)))
    result = in_turn(made, 2, ("taker", desk.buy(0, 1, 11, 5)))
    assert outcome(result, "taker") == Outcome(
        desk.order_id("taker"), "filled", A, SPOT, filled_lots=5, price_ticks=11, notional_tick_lots=48, fee_units=0
    )
    paid = (8 + 18 + 22) * desk.SPOT.quote_units_per_tick_lot
    assert made.balance(A, desk.QUOTE) == (10**9 - paid, 0)  # what was locked above the fills' prices is free again
    assert made.balance(A, desk.BASE) == (10**9 + 5 * desk.SPOT.base_units_per_lot, 0)
    assert made.balance(D, desk.BASE) == (10**9 - 40, 20)
    assert (A, desk.QUOTE, -paid, 0) in result.deltas
    selling = in_turn(
        made, 3, ("bid", desk.buy(1, 2, 7, 1)), ("lower", desk.buy(1, 3, 6, 1)), ("hit", desk.sell(0, 2, 6, 3))
    )
    assert trades(selling, "hit") == [(7, 1), (6, 1)]
    assert (outcome(selling, "hit").price_ticks, outcome(selling, "hit").code) == (6, "partly_filled")
    assert made.book(SPOT, 1)["asks"] == ((6, 1, 1),)


def test_within_a_height_each_order_meets_what_came_to_rest_before_it():
    made = receive_engine()
    result = in_turn(
        made, 1,
        ("first", desk.buy(0, 1, 12, 3)), ("second", desk.sell(1, 1, 9, 2)),
        ("third", desk.sell(2, 1, 12, 5)), ("fourth", desk.buy(3, 1, 11, 9, ioc=True)),
    )  # fmt: skip
    assert trades(result, "first") == [(12, 3)]  # its own limit, where others come to it
    assert trades(result, "second") == [(12, 2)]
    assert trades(result, "third") == [(12, 1)]
    assert [outcome(result, name).code for name in ("first", "second", "third", "fourth")] == [
        "filled", "filled", "partly_filled", "unfilled",
    ]  # fmt: skip
    assert made.balance(D, desk.QUOTE) == (10**9, 0)
    reverse = in_turn(receive_engine(), 1, ("second", desk.sell(1, 1, 9, 2)), ("first", desk.buy(0, 1, 12, 3)))
    assert trades(reverse, "first") == trades(reverse, "second") == [(9, 2)]


def test_an_ioc_order_never_rests_not_even_for_the_orders_behind_it():
    made = receive_engine()
    in_turn(made, 1, ("ask", desk.sell(1, 1, 10, 1)))
    result = in_turn(made, 2, ("ioc", desk.buy(0, 1, 10, 3, ioc=True)), ("behind", desk.sell(2, 1, 10, 5)))
    assert [outcome(result, name).code for name in ("ioc", "behind")] == ["partly_filled", "resting"]
    assert made.open_order(desk.order_id("ioc")) is None
    assert made.balance(A, desk.QUOTE) == (10**9 - 30, 0)


def test_an_account_trades_with_itself_as_in_an_auction():
    made = receive_engine()
    result = in_turn(made, 1, ("mine", desk.sell(0, 1, 9, 1)), ("mine too", desk.buy(0, 2, 9, 1)))
    assert len(result.fills) == 2 and result.deltas == ()
    assert made.balance(A, desk.BASE) == made.balance(A, desk.QUOTE) == (10**9, 0)


def test_a_partly_filled_resting_order_keeps_its_place():
    made = receive_engine()
    in_turn(made, 1, ("early", desk.sell(1, 1, 10, 5)), ("late", desk.sell(2, 1, 10, 5)))
    in_turn(made, 2, ("x", desk.buy(0, 1, 10, 2)))
    made = Engine.load(made.dump())
    result = in_turn(made, 3, ("y", desk.buy(0, 2, 10, 4)))
    assert trades(result, "early") == [(10, 3)] and trades(result, "late") == [(10, 1)]


# --- what the sequence is, and what depends on it ------------------------------------------------------------
def test_a_shuffle_market_takes_orders_by_draw_whatever_the_sequence_of_the_batch():
    orders = [desk.prepared(i, desk.sell(i % 4 + 1, i + 1, 10, 1)) for i in range(9)]
    by_draw = sorted(orders, key=lambda one: naive.tagged("draw", desk.COIN, one.order_id))
    made = desk.engine(desk.markets(SHUFFLE))
    made.execute(1, desk.TIME_MS, desk.COIN, orders)
    sequences = [made.open_order(one.order_id) for one in by_draw]
    assert [one.sequence for one in sequences if one is not None] == list(range(1, 10))


def test_the_precedence_is_asked_once_per_receive_market_for_its_accepted_orders_in_draw_order():
    asked: list[Sequence[bytes]] = []

    def precedence(order_ids: Sequence[bytes]) -> list[bytes]:
        asked.append(order_ids)
        return desk.received(order_ids)

    made = desk.engine(desk.markets(RECEIVE, RECEIVE), amount=100)
    batch = [
        *(desk.prepared(("spot", i), desk.buy(i, 1, 10, 1)) for i in range(4)),
        desk.prepared("too dear", desk.buy(4, 1, 10, 10)),
        *(desk.prepared(("cross", i), desk.limit(i, 2, BUY, 5, 1, market=7)) for i in range(3)),
        desk.prepared("leaves", desk.withdrawal(3, 2, desk.BASE, 1)),
        PreparedOrder(desk.order_id("refused"), None, "malformed"),
    ]
    made.execute(1, desk.TIME_MS, desk.COIN, batch, precedence)

    def drawn(kind: str, count: int) -> tuple[bytes, ...]:
        ids = [desk.order_id((kind, i)) for i in range(count)]
        return tuple(sorted(ids, key=lambda order_id: naive.tagged("draw", desk.COIN, order_id)))

    assert asked == [drawn("spot", 4), drawn("cross", 3)]


def test_a_receive_market_whose_new_orders_are_all_refused_asks_nobody():
    made = desk.engine(desk.markets(RECEIVE), amount=5)
    result = desk.run(made, 1, [desk.buy(0, 1, 10, 10)])
    assert [one.code for one in result.outcomes] == ["balance"]


def test_equal_books_with_another_time_priority_have_other_roots():
    orders = [("a", desk.sell(1, 1, 10, 1)), ("b", desk.sell(2, 1, 10, 1))]
    one, other = receive_engine(), receive_engine()
    in_turn(one, 1, *orders)
    in_turn(other, 1, *reversed(orders))
    assert one.book(SPOT, 9) == other.book(SPOT, 9)
    assert one.state_root() != other.state_root() and one.dump() != other.dump()
    results = [in_turn(made, 2, ("taker", desk.buy(0, 1, 10, 1))) for made in (one, other)]
    assert trades(results[0], "a") == trades(results[1], "b") == [(10, 1)]


def test_the_number_of_orders_that_ever_rested_is_state():
    """Else two states with one root would give the next order to rest two sequences."""
    made, never = receive_engine(), receive_engine()
    in_turn(made, 1, ("a", desk.sell(1, 1, 10, 1)), ("b", desk.buy(1, 2, 10, 1)))
    in_turn(never, 1, ("b", desk.buy(1, 2, 9, 1, ioc=True)), ("a", desk.sell(1, 1, 10, 1, ioc=True)))
    made_again = Engine.load(made.dump())
    for one in (made, made_again, never):
        in_turn(one, 2, ("c", desk.sell(2, 1, 12, 1)))
    rested = [one.open_order(desk.order_id("c")) for one in (made, made_again, never)]
    assert [one.sequence for one in rested if one is not None] == [2, 2, 1]
    assert made.dump() == made_again.dump()


# --- dumps ---------------------------------------------------------------------------------------------------
def rested() -> Snapshot:
    made = receive_engine(5_000)
    in_turn(made, 1, *((name, desk.sell(1, i, 10, 1)) for i, name in enumerate("abc", 1)))
    return decode(Snapshot, made.dump())


def with_sequences(*sequences: int) -> Snapshot:
    held = rested()
    rows = zip(held.orders, sequences, strict=True)
    return replace(held, orders=tuple((i, replace(order, sequence=sequence)) for (i, order), sequence in rows))


@pytest.mark.parametrize("sequences", [(0, 1, 2), (1, 1, 2), (2, 3, 4), (1, 2, 2**63 - 1)])
def test_a_dump_with_impossible_sequences_is_refused(sequences: tuple[int, ...]):
    with pytest.raises(ValueError, match="cannot have sequence"):
        Engine.load(encode(with_sequences(*sequences)))


@pytest.mark.parametrize("sequences", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_a_loaded_book_serves_a_price_by_sequence_and_not_by_id(sequences: tuple[int, ...]):
    held = with_sequences(*sequences)
    made = Engine.load(encode(held))
    by_time = [order_id for order_id, _ in sorted(held.orders, key=lambda row: row[1].sequence)]
    for height, expected in enumerate(by_time, 2):
        result = in_turn(made, height, (f"taker {height}", desk.buy(0, height, 10, 1)))
        assert expected in {fill.order_id for fill in result.fills}


# --- properties ----------------------------------------------------------------------------------------------
orders = st.builds(
    desk.limit,
    who=st.integers(0, 4),
    nonce=st.integers(0, 400),
    side=st.sampled_from((BUY, SELL)),
    price_ticks=st.integers(8, 12),
    quantity_lots=st.integers(1, 6),
    time_in_force=st.sampled_from((1, 2)),
)
batches = st.lists(st.lists(orders, max_size=12), min_size=1, max_size=5)
policies = st.sampled_from((SHUFFLE, RECEIVE))


def best_first(order: OrderValue) -> int:
    return order.price_ticks if order.side == SELL else -order.price_ticks


@settings(max_examples=150, deadline=None)
@given(policies, batches)
def test_no_resting_order_is_passed_over_for_a_worse_price_or_a_later_one(policy, heights):
    made = desk.engine(desk.markets(policy))
    for height, actions in enumerate(heights, 1):
        before = {order_id: order for order_id, order in decode(Snapshot, made.dump()).orders}
        batch = [desk.prepared((height, i), action) for i, action in enumerate(actions)]
        result = made.execute(height, desk.TIME_MS, desk.COIN, batch, desk.received)
        served = {fill.order_id for fill in result.fills}
        for order_id, order in before.items():
            if made.open_order(order_id) is None:
                continue  # wholly filled, so it gave way to nobody
            for other_id, other in before.items():
                if other_id in served and other.side == order.side:
                    assert (best_first(other), other.sequence) <= (best_first(order), order.sequence)


@settings(max_examples=100, deadline=None)
@given(policies, batches)
def test_every_lot_bought_at_a_price_is_sold_at_it(policy, heights):
    made = desk.engine(desk.markets(policy))
    for height, actions in enumerate(heights, 1):
        batch = [desk.prepared((height, i), action) for i, action in enumerate(actions)]
        result = made.execute(height, desk.TIME_MS, desk.COIN, batch, desk.received)
        by_price: dict[int, list[int]] = {}
        for fill in result.fills:
            by_price.setdefault(fill.price_ticks, [0, 0])[fill.side - 1] += fill.quantity_lots
        assert all(bought == sold for bought, sold in by_price.values())
        assert sum(bought for bought, _ in by_price.values()) == sum(row[2] for row in result.clearing)
        assert len({(fill.order_id, fill.price_ticks, fill.maker) for fill in result.fills}) == len(result.fills)
        for one in result.outcomes:
            rows = [fill for fill in result.fills if fill.order_id == one.order_id]
            assert one.filled_lots == sum(fill.quantity_lots for fill in rows)
            assert one.notional_tick_lots == sum(fill.quantity_lots * fill.price_ticks for fill in rows)
            assert one.price_ticks == (rows[-1].price_ticks if rows else None)
            prices = [fill.price_ticks for fill in rows]
            assert prices == sorted(prices, reverse=bool(rows) and rows[0].side == SELL), "best for the order first"


@settings(max_examples=60, deadline=None)
@given(batches, st.binary(min_size=32, max_size=32))
def test_under_receive_the_coin_decides_nothing_where_no_nonce_or_balance_is_short(heights, coin):
    one, other = receive_engine(), receive_engine()
    nonce = 0
    for height, actions in enumerate(heights, 1):
        batch = []
        for i, action in enumerate(actions):
            nonce += 1
            batch.append(desk.prepared((height, i), replace(action, nonce=nonce)))
        first = one.execute(height, desk.TIME_MS, desk.COIN, batch, desk.received)
        second = other.execute(height, desk.TIME_MS, coin, batch, desk.received)
        assert first.state_root == second.state_root and sorted(first.fills, key=encode) == sorted(
            second.fills, key=encode
        )
    assert one.dump() == other.dump()


# --- the caller's mistakes -----------------------------------------------------------------------------------
BAD_PRECEDENCES: list[Callable[[Sequence[bytes]], list[bytes]] | None] = [
    None,
    lambda ids: list(ids)[1:],
    lambda ids: [*ids, ids[0]],
    lambda ids: [ids[0]] * len(ids),
    lambda ids: [*list(ids)[1:], bytes(32)],
]


@pytest.mark.parametrize("precedence", BAD_PRECEDENCES)
@settings(max_examples=20, deadline=None)
@given(history=batches)
def test_a_precedence_that_is_no_permutation_changes_nothing(precedence, history):
    made = desk.engine(desk.markets(RECEIVE, RECEIVE), accounts=desk.ACCOUNTS[:4])
    for height, actions in enumerate(history, 1):
        desk_batch = [desk.prepared((height, i), action) for i, action in enumerate(actions)]
        made.execute(height, desk.TIME_MS, desk.COIN, desk_batch, desk.received)
    before, root, twin = made.dump(), made.state_root(), Engine.load(made.dump())
    batch = [
        desk.prepared("buys", desk.buy(0, 900, 12, 3)),
        desk.prepared("sells", desk.sell(1, 900, 8, 2)),
        desk.prepared("crosses", desk.limit(2, 900, BUY, 5, 1, market=7)),
        desk.prepared("leaves", desk.withdrawal(3, 900, desk.BASE, 1000)),
        desk.prepared("unknown account", desk.buy(4, 900, 1, 1)),
    ]
    with pytest.raises(ValueError, match="precedence"):
        made.execute(99, desk.TIME_MS, desk.COIN, batch, precedence)
    assert (made.dump(), made.state_root()) == (before, root)
    seen = made.execute(99, desk.TIME_MS, desk.COIN, batch, desk.received)
    assert seen == twin.execute(99, desk.TIME_MS, desk.COIN, batch, desk.received)
    assert made.dump() == twin.dump()


def test_a_precedence_that_raises_or_fails_in_the_second_market_changes_nothing():
    made = desk.engine(desk.markets(RECEIVE, RECEIVE))
    before = made.dump()
    asked = 0

    def fails_late(order_ids: Sequence[bytes]) -> list[bytes]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise LookupError("no lists")
        return list(order_ids)

    batch = [desk.buy(0, 1, 9, 1), desk.sell(1, 1, 9, 1), desk.limit(2, 1, BUY, 5, 1, market=7)]
    with pytest.raises(LookupError):
        rows = [desk.prepared(i, action) for i, action in enumerate(batch)]
        made.execute(1, desk.TIME_MS, desk.COIN, rows, fails_late)
    assert asked == 2 and made.dump() == before


def test_a_withdrawal_rolled_back_counts_as_supply_again():
    most = 2**127 - 1
    made = desk.engine(desk.markets(RECEIVE), accounts=())
    made.credit(B, desk.BASE, most - 100)
    made.credit(A, desk.QUOTE, 1_000)
    batch = [desk.prepared("leaves", desk.withdrawal(1, 1, desk.BASE, 50)), desk.prepared("buys", desk.buy(0, 1, 9, 1))]
    with pytest.raises(ValueError, match="precedence"):
        made.execute(1, desk.TIME_MS, desk.COIN, batch)
    with pytest.raises(ValueError, match="supply"):
        made.credit(A, desk.BASE, 101)
    made.credit(A, desk.BASE, 100)
