"""What an outside engine answers is not believed: each rule has its code, and a refused answer changes nothing."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matching_kit import MARKET, answer, batch, example, fill, name, order
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, FOK, IOC, SELL
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.market.fees import lock_units
from mpc_sequencer.matching import Answer, Ended, ExternalBook, FairBatch
from mpc_sequencer.matching.checker import fee_of, value_units
from mpc_sequencer.matching.values import FRAME_BYTES_MAX, from_text, to_text


def book_of(*orders: object) -> ExternalBook:
    made = ExternalBook([MARKET])
    made.begin(batch(3, *orders))  # type: ignore[arg-type]
    return made


def traded() -> ExternalBook:
    """A buy and a sell of ten lots that cross at 50 .. 52, and a stranger's buy below."""
    return book_of(order(1, BUY, 52), order(2, SELL, 50), order(3, BUY, 40))


GOOD = answer(3, fill(1, 51), fill(2, 51))


def test_a_good_answer_is_taken_and_wholly_filled_orders_are_gone() -> None:
    book = traded()
    book.take(book.check(GOOD))
    assert set(book.open) == {name(3)} and (book.height, book.batch) == (3, None)
    assert book.answers_hash != bytes(32)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (answer(4, *GOOD.fills), "match.height"),
        (answer(2, *GOOD.fills), "match.height"),
        (answer(3, fill(1, 53), fill(2, 53)), "match.limit"),
        (answer(3, fill(1, 49), fill(2, 49)), "match.limit"),
        (answer(3, fill(1, 51, 11), fill(2, 51, 11)), "match.quantity"),
        (answer(3, fill(1, 50, 6), fill(1, 51, 5), fill(2, 50, 6), fill(2, 51, 5)), "match.quantity"),
        (answer(3, fill(1, 51, 9), fill(2, 51)), "match.conservation"),
        (answer(3, fill(1, 51), fill(2, 50)), "match.conservation"),
        (answer(3, fill(1, 51)), "match.conservation"),
        (answer(3, fill(2, 51), fill(1, 51)), "match.order"),
        (answer(3, fill(1, 51, 5), fill(1, 51, 5), fill(2, 51)), "match.order"),
        (answer(3, fill(1, 51), fill(4, 51)), "match.unknown_order"),
        (answer(3, *GOOD.fills, ended=(Ended(name(9), "unfilled"),)), "match.unknown_order"),
        (answer(3, *GOOD.fills, ended=(Ended(name(1), "partly_filled"),)), "match.end"),
        (answer(3, *GOOD.fills, ended=(Ended(name(3), "cancelled"),)), "match.end"),
        (answer(3, ended=(Ended(name(3), "unfilled"), Ended(name(3), "unfilled"))), "match.order"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_refused_by_its_code_and_changes_nothing(bad: Answer, code: str) -> None:
    book = traded()
    before = copy.deepcopy((book.open, book.batch, book.height, book.answers_hash))
    with pytest.raises(ProtocolError) as caught:
        book.check(bad)
    assert caught.value.code == code
    assert (book.open, book.batch, book.height, book.answers_hash) == before
    book.take(book.check(GOOD))


def test_what_is_locked_bounds_what_a_fill_may_cost() -> None:
    book = traded()
    book._markets[0] = replace(MARKET, taker_fee_ppm=2_000_000)  # a market that takes more than a fill is worth
    with pytest.raises(ProtocolError) as caught:
        book.check(GOOD)
    assert caught.value.code == "match.solvency"


def test_orders_that_may_not_rest_are_filled_or_ended_and_fok_wholly_or_not_at_all() -> None:
    for tif, lots, ended, code in (
        (IOC, 4, (), "match.at_once"),
        (IOC, 4, (Ended(name(1), "partly_filled"),), None),
        (FOK, 4, (Ended(name(1), "partly_filled"),), "match.at_once"),
        (FOK, 4, (), "match.at_once"),
        (FOK, 10, (), None),
    ):
        book = book_of(order(1, BUY, 52, time_in_force=tif), order(2, SELL, 50))
        bad = answer(3, fill(1, 51, lots), fill(2, 51, lots), ended=ended)
        if code is None:
            book.take(book.check(bad))
            continue
        with pytest.raises(ProtocolError) as caught:
            book.check(bad)
        assert caught.value.code == code


def test_batches_come_in_order_with_new_orders_of_known_markets() -> None:
    book = ExternalBook([MARKET])
    for bad, code in (
        (batch(0, order(1)), "match.height"),
        (batch(1, order(1), order(1)), "match.unknown_order"),
        (batch(1, order(1, market=5)), "match.market"),
    ):
        with pytest.raises(ProtocolError) as caught:
            book.begin(bad)
        assert caught.value.code == code and book.open == {} and book.batch is None
    book.begin(batch(2, order(1)))
    with pytest.raises(ProtocolError):
        book.begin(batch(3))
    book.take(book.check(answer(2)))
    (gone,) = book.begin(batch(5, ended=(1, 77)))
    assert gone.row.order_id == name(1) and book.open == {}


@given(st.integers(1, 1 << 48), st.integers(1, 1 << 48), st.integers(0, 1 << 48), st.integers(0, 1))
def test_a_lock_covers_every_fill_within_the_limit(limit: int, lots: int, part: int, maker: int) -> None:
    filled = min(part, lots)
    for price in {1, limit // 2 or 1, limit}:
        units = value_units(MARKET, price, filled)
        released = lock_units(MARKET, BUY, limit, lots) - lock_units(MARKET, BUY, limit, lots - filled)
        assert units + fee_of(MARKET, units, maker) <= released


ROWS = st.lists(
    st.tuples(st.integers(1, 2), st.integers(40, 60), st.integers(1, 30), st.sampled_from((1, 2, 3))), max_size=8
)


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_the_worked_example_keeps_the_rules_and_is_a_function_of_the_batches(
    heights: list[list[tuple[int, ...]]],
) -> None:
    book, one, other = ExternalBook([MARKET]), example().ProRata(), example().ProRata()
    number = 0
    for height, rows in enumerate(heights, 1):
        orders = []
        for side, price, lots, tif in rows:
            number += 1
            orders.append(order(number, side, price, lots, time_in_force=tif))
        made = batch(height, *orders)
        book.begin(made)
        said: Answer = one.match(made)
        assert said == other.match(made)
        book.take(book.check(said))
    assert {held.row.order_id: held.lots for held in one.held.values()} == {
        order_id: row.open_lots for order_id, row in book.open.items()
    }


def test_frames_have_one_encoding_and_a_bound() -> None:
    text = to_text(batch(3, order(1)))
    assert from_text(FairBatch, text) == batch(3, order(1))
    for bad, code in (
        (text.replace(":", ": ", 1), "match.frame"),
        (text.replace('"height":3', '"height":3.0'), "match.frame"),
        (text.replace('"side":1', '"side":3'), "match.frame"),
        (text[:-1] + ',"more":1}', "match.frame"),
        (text.replace(name(1), name(1).upper().replace("0", "A")), "match.frame"),
        (text[:-1], "match.frame"),
        ("", "match.frame"),
        ("\ud800", "match.frame"),
        ("[" * 100_000, "match.frame"),
        (" " * (FRAME_BYTES_MAX + 1), "match.size"),
    ):
        with pytest.raises(ProtocolError) as caught:
            from_text(FairBatch, bad)
        assert caught.value.code == code


def test_an_engine_s_nested_frame_ends_no_member_whatever_a_library_has_set() -> None:
    """In a thread whose stack is a quarter of the usual, as a system may give: it holds the bound's levels and not
    those that the chain's libraries allow."""
    code = (
        "import sys, threading; import mpc_sequencer.settlement.ethrpc\n"
        "from mpc_sequencer.core.errors import ProtocolError\n"
        "from mpc_sequencer.matching.values import FromEngine, from_text\n"
        "def parse():\n"
        "    for text in ('{\"x\":' + '[' * 1_000_000, '{\"x\":' * 200_000):\n"
        "        try: from_text(FromEngine, text)\n"
        "        except ProtocolError as error: print(error.code)\n"
        "print(sys.getrecursionlimit() > 50_000)\n"
        "threading.stack_size(2 << 20); one = threading.Thread(target=parse); one.start(); one.join()\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stdout.split()) == (0, ["True", "match.frame", "match.frame"]), found.stderr
