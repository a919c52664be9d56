"""Books, indexes and the ledger on their own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.market.book import Book
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.orders import Orders
from tests.market import desk


def test_an_order_id_is_open_once():
    orders = Orders({market.id: market for market in desk.MARKETS})
    orders.rest(desk.open_order("a", 1, 5, 2), 0)
    before = dict(orders.by_id), orders.books[1].depth(9)
    with pytest.raises(ValueError, match="open already"):
        orders.rest(desk.open_order("a", 2, 9, 1), 0)
    assert (dict(orders.by_id), orders.books[1].depth(9)) == before


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from((1, 2)), st.integers(1, 6), st.integers(1, 9), st.integers(0, 9)), max_size=12
    ),
    st.booleans(),
    st.data(),
)
def test_levels_are_the_sums_of_their_orders_and_show_what_these_show(rows, shows_anew, data):
    book = Book(shows_anew)
    orders: list[OpenOrder] = []
    for i, (side, price_ticks, lots, display_lots) in enumerate(rows):
        orders.append(desk.open_order(i, side, price_ticks, lots, display_lots=min(display_lots, lots)))
        book.add(orders[-1])
    for order in list(orders):
        match data.draw(st.sampled_from(("take", "remove", "stay"))):
            case "take":
                most = order.shown_lots if order.display_lots and not shows_anew else order.remaining_lots
                book.take(order, data.draw(st.integers(1, most)))
                if order.display_lots and not order.shown_lots and order.remaining_lots:
                    book.show_next(order)
            case "remove":
                book.remove(order)
                orders.remove(order)
    orders = [order for order in orders if order.remaining_lots]
    for side, name, better in ((1, "bids", -1), (2, "asks", 1)):
        prices = sorted({order.price_ticks * better for order in orders if order.side == side})
        expected = []
        for price in map(abs, prices):
            at = [order for order in orders if (order.side, order.price_ticks) == (side, price)]
            shown = sum(order.shown_lots if order.display_lots else order.remaining_lots for order in at)
            expected.append((price, shown, len(at)))
        assert book.depth(99)[name] == tuple(expected)
        assert book.depth(2)[name] == book.depth(99)[name][:2]
        for price, level in book.levels(side):
            at = [order for order in orders if (order.side, order.price_ticks) == (side, price)]
            assert level.lots == sum(order.remaining_lots for order in at)
    bids, asks = book.depth(1)["bids"], book.depth(1)["asks"]
    assert book.is_crossed() == bool(bids and asks and bids[0][0] >= asks[0][0])


def test_places_that_were_left_are_given_up_and_the_first_stays_first():
    book = Book(shows_anew=True)
    orders = [desk.open_order(n, 1, 9, n + 1) for n in range(400)]
    for order in orders:
        book.add(order, handle=order.quantity_lots)
    ((_, level),) = book.levels(1)
    for n, order in enumerate(orders[:-3]):
        assert book.first(1, 1) is order
        book.take(order, order.remaining_lots) if n % 2 else book.remove(order)
        assert level.orders() == orders[n + 1 :]
        assert len(level.places) < 2 * level.count + 33
    assert [level.places[order.ticket] for order in orders[-3:]] == orders[-3:]
    assert [level.handles[order.ticket] for order in orders[-3:]] == [398, 399, 400]
    assert level.lots == sum(level.left_lots) == 398 + 399 + 400
    taken, done = book.take_level(1, 9, [order.ticket for order in orders[-3:]], [1, 399, 2])
    assert (taken, done) == (orders[-3:], [orders[-2]])
    assert (level.lots, level.count, book.first(1, 9)) == (397 + 398, 2, orders[-3])


def test_an_order_that_keeps_a_place_has_its_own_lots_there():
    book = Book(shows_anew=True)
    first, last = (desk.open_order(name, 1, 9, 8) for name in "ab")
    for order in (first, last):
        book.add(order)
    smaller = desk.open_order("c", 1, 9, 5)
    book.swap(first, smaller)
    ((_, level),) = book.levels(1)
    assert (list(level.left_lots), level.lots, level.orders()) == ([5, 8], 13, [smaller, last])
    book.remove(smaller)
    assert (list(level.left_lots), level.lots) == ([0, 8], 8)


def test_a_refused_nonce_makes_no_account():
    ledger = Ledger()
    assert ledger.consume_nonce(desk.ACCOUNTS[0], 2**20 + 1) == "nonce_too_high"
    assert not ledger.withdraw(desk.ACCOUNTS[0], desk.BASE, 1)
    assert not ledger.lock(desk.ACCOUNTS[0], desk.BASE, 1)
    assert not ledger.knows_client_id(desk.ACCOUNTS[0], 1)
    assert list(ledger) == []
    assert ledger.take_touched() == set()
