"""Books and ledger on their own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.market import OrderValue
from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.market.book import Book
from tests.market import desk


def test_an_order_id_rests_once():
    index: dict[bytes, OrderValue] = {}
    book, other = Book(index), Book(index)
    book.add(b"a", desk.resting(1, 5, 2))
    before = dict(index), book.depth(9), other.depth(9)
    for twice in (book, other):
        with pytest.raises(ValueError):
            twice.add(b"a", desk.resting(2, 9, 1))
        assert (dict(index), book.depth(9), other.depth(9)) == before


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from((1, 2)), st.integers(1, 6), st.integers(1, 9)), max_size=12),
    st.data(),
)
def test_levels_are_the_sums_of_their_orders(rows, data):
    index: dict[bytes, OrderValue] = {}
    book = Book(index)
    left: dict[bytes, int] = {}
    for i, (side, price_ticks, lots) in enumerate(rows):
        name = desk.order_id(i)
        book.add(name, desk.resting(side, price_ticks, lots))
        left[name] = lots
    for i, row in enumerate(rows):
        taken = data.draw(st.integers(0, row[2]))
        if taken:
            book.reduce(desk.order_id(i), taken)
            left[desk.order_id(i)] -= taken
    assert {name: order.remaining_lots for name, order in index.items()} == {
        k: v for k, v in left.items() if v
    }
    for side, name, better in ((1, "bids", -1), (2, "asks", 1)):
        prices = sorted({order.price_ticks * better for order in index.values() if order.side == side})
        at = {
            p: [o.remaining_lots for o in index.values() if (o.side, o.price_ticks) == (side, p)]
            for p in (abs(price) for price in prices)
        }
        assert book.depth(99)[name] == tuple((p, sum(lots), len(lots)) for p, lots in at.items())
        assert book.depth(2)[name] == book.depth(99)[name][:2]
    bids, asks = book.depth(1)["bids"], book.depth(1)["asks"]
    assert book.is_crossed() == bool(bids and asks and bids[0][0] >= asks[0][0])


def test_a_refused_nonce_makes_no_account():
    ledger = Ledger()
    assert ledger.consume_nonce(desk.ACCOUNTS[0], 2**20 + 1) == "nonce_too_high"
    assert not ledger.withdraw(desk.ACCOUNTS[0], desk.BASE, 1)
    assert not ledger.lock(desk.ACCOUNTS[0], desk.BASE, 1)
    assert list(ledger) == []
    assert ledger.take_touched() == set()
