"""What silence, lies in a computation or about its result, and words out of place come to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dark_runs import one_more
from desk_attacks import (
    agreed,
    bending,
    codes,
    crossed,
    go_to,
    lying_in_run,
    phase,
    silent_in,
    wrong_for,
)
from desk_kit import MARKET, Floor, Ran, honest
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.bookstate import OPENINGS, REPORTS, RUN
from mpc_sequencer.dark.desk import Compute
from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.dark.messages import (
    DarkFillValue,
    OpenedBox,
    OpeningsSaid,
    ReportSaid,
    ResultSaid,
    Word,
    encode_word,
)
from mpc_sequencer.dark.session import Blame
from mpc_sequencer.market.types import DARK_ABORTED, FILLED, UNFILLED

# --- silence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ReportSaid, ResultSaid])
@pytest.mark.parametrize(("n", "t"), [(5, 1), (9, 2)])
def test_t_silent_parties_cost_a_window_and_no_more(kind: type[Word], n: int, t: int) -> None:
    floor = agreed(n, t)
    good = crossed(floor)
    floor.speak = silent_in(kind, range(n - t, n))
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)
    assert set(floor.computed[MARKET, 1].runs) == set(range(n - t if kind is ReportSaid else n))


def test_t_parties_that_never_speak_at_all_stop_nothing() -> None:
    floor = Floor()
    floor.speak = silent_in(Word, [4])  # type: ignore[arg-type]
    floor.agree()
    keys = floor.desk.keys
    assert keys is not None and keys.box_keys[4] == b""
    good = crossed(floor)
    held = floor.desk.book(MARKET).state.held
    assert all(one.action.boxes[4] == b"" for one in held)
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


@pytest.mark.parametrize("kind", [ReportSaid, ResultSaid])
def test_more_silent_parties_void_the_batch_and_the_next_one_is_computed(kind: type[Word]) -> None:
    floor = agreed()
    lost = crossed(floor)
    floor.speak = silent_in(kind, [1, 2] if kind is ReportSaid else [0, 1, 2, 3])
    ended = floor.settle()
    assert codes(ended) == dict.fromkeys(lost, DARK_ABORTED)
    assert ((MARKET, 1) in floor.computed) == (kind is ResultSaid)  # too few to compute with do not begin
    floor.speak = honest
    good = crossed(floor)
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)
    assert floor.ended[-1].batch == 2


def test_a_silent_party_in_dispute_costs_a_window_and_the_order_stays() -> None:
    floor = agreed()
    good = crossed(floor)
    floor.speak = bending(ReportSaid, [2], lambda word: [replace(word, shares=one_more(word.shares))])
    go_to(floor, OPENINGS)
    floor.speak = silent_in(OpeningsSaid, [2])
    opened_ms = floor.time_ms
    go_to(floor, RUN)
    assert floor.time_ms - opened_ms == limits.DARK_WINDOW_MS
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


# --- the computation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 3, None])
def test_a_liar_in_the_run_is_found_and_the_batch_settled(number: int | None) -> None:
    floor = agreed()
    good = crossed(floor)
    floor.send = lying_in_run([3], number)
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)
    runs = floor.computed[MARKET, 1].runs
    assert all(run._session.convicted == {3} for party, run in runs.items() if party != 3)


def test_more_liars_than_t_in_the_run_void_the_batch_and_nobody_trades() -> None:
    floor = agreed()
    lost = crossed(floor)
    floor.send = lying_in_run([2, 3])
    assert codes(floor.settle()) == dict.fromkeys(lost, DARK_ABORTED)


def test_who_takes_no_part_is_neither_awaited_nor_heard() -> None:
    floor = agreed()
    good = crossed(floor)
    floor.speak = silent_in(ReportSaid, [4])
    go_to(floor, RUN)
    assert floor.desk.owes(4) == ()
    before, said = floor.desk.dump(), encode_word(ResultSaid(MARKET, 1, None))
    assert not floor.desk.wanted(4, said) and floor.desk.wanted(3, said)
    floor.height([(4, said)], later_ms=0)
    assert floor.desk.dump() == before
    with pytest.raises(Exception, match="not asked to compute"):
        floor.members[4].run(floor.desk, MARKET, 1)
    one = floor.members[0].run(floor.desk, MARKET, 1)
    one.begin()
    assert one.heard(4, b"anything") == [] and not one._session.convicted
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)
    ran: Ran = floor.computed[MARKET, 1]
    assert {said.party for said in ran.runs[0].transcript().said} == {0, 1, 2, 3}
    assert not any(isinstance(one, Blame) for effects in ran.effects.values() for one in effects)


# --- results --------------------------------------------------------------------------------------------------------


def test_t_false_results_settle_nothing() -> None:
    floor = agreed(9, 2)
    good = crossed(floor)

    def false(word: ResultSaid) -> list[Word]:
        assert word.outcome is not None
        return [replace(word, outcome=replace(word.outcome, volume_lots=1))]

    floor.speak = bending(ResultSaid, [0, 1], false)  # they speak first
    ended = floor.settle()
    assert codes(ended) == dict.fromkeys(good, FILLED) and ended[-1].volume_lots == 3


def test_parties_that_all_say_something_else_void_the_batch_when_the_last_has_spoken() -> None:
    floor = agreed()
    lost = crossed(floor)
    go_to(floor, RUN)
    words = [(party, encode_word(ResultSaid(MARKET, 1, None))) for party in range(5)]
    assert floor.height(words[:4]) == []
    assert codes(floor.height(words[4:])) == dict.fromkeys(lost, DARK_ABORTED)


BENT: dict[str, Callable[[ResultSaid], ResultSaid]] = {
    "more bought than sold": lambda word: with_fills(word, lambda fill: fill.side == BUY and {"lots": 4}),
    "more sold than bought": lambda word: with_fills(
        word, lambda fill: fill.side == BUY and {"lots": 2}, volume_lots=2
    ),
    "a fill beyond its deposit": lambda word: with_fills(word, lambda fill: {"lots": 4}, volume_lots=4),
    "an order twice": lambda word: with_fills(word, lambda fill: {"order": last_order(word)}),
    "an order that is none": lambda word: with_fills(word, lambda fill: {"order": fill.order * 2}, last=0),
    "orders out of order": lambda word: outcome_with(word, fills=fills_of(word)[::-1]),
    "another volume": lambda word: outcome_with(word, volume_lots=2),
    "no such tick": lambda word: outcome_with(word, tick=9),
    "tick zero": lambda word: outcome_with(word, tick=0),
    "no side": lambda word: outcome_with(word, side=0, last=0),
    "a rejected order that trades": lambda word: outcome_with(word, rejected=(0,)),
    "rejected orders that are none": lambda word: outcome_with(word, rejected=(2,)),
    "fills of an uncrossed batch": lambda word: outcome_with(word, crossed=0),
    "a last order without a fill": lambda word: outcome_with(word, last=3),
    "a last order of the other side": lambda word: outcome_with(word, side=3 - last_side(word)),
}


def last_side(word: ResultSaid) -> int:
    assert word.outcome is not None
    return word.outcome.side


def outcome_with(word: ResultSaid, **changes: object) -> ResultSaid:
    assert word.outcome is not None
    return replace(word, outcome=replace(word.outcome, **changes))


def fills_of(word: ResultSaid) -> tuple[DarkFillValue, ...]:
    assert word.outcome is not None
    return word.outcome.fills


def last_order(word: ResultSaid) -> int:
    assert word.outcome is not None
    return word.outcome.last - 1


def with_fills(
    word: ResultSaid, change: Callable[[DarkFillValue], dict[str, int] | bool], **changes: object
) -> ResultSaid:
    fills = tuple(replace(fill, **(change(fill) or {})) for fill in fills_of(word))  # type: ignore[arg-type]
    return outcome_with(word, fills=fills, **changes)


@pytest.mark.parametrize("name", BENT)
def test_an_inconsistent_outcome_is_void_whoever_says_it(name: str) -> None:
    """More than t parties must lie for that; even then nothing is settled that does not add up."""
    floor = agreed()
    lost = crossed(floor)
    floor.speak = bending(ResultSaid, range(5), lambda word: [BENT[name](word)])
    assert codes(floor.settle()) == dict.fromkeys(lost, DARK_ABORTED)


# --- words out of place ---------------------------------------------------------------------------------------------


def test_words_that_do_not_count_leave_the_state_bit_identical() -> None:
    floor = agreed()
    crossed(floor)
    floor.enter(floor.dealt(wrong_for(3)))
    refused = 0
    while any(floor.desk.locks()):
        owed = {party: floor.desk.owes(party) for party in range(5)}
        true = dict(floor.words())
        book = floor.desk.book(MARKET).state
        number = book.number
        wrong: list[tuple[int, bytes]] = [(0, b""), (0, b"\xff"), (5, next(iter(true.values()), b"")), (-1, b"x")]
        for party, payload in true.items():
            wrong += [((party + 1) % 5, payload)] if not floor.desk.wanted((party + 1) % 5, payload) else []
        for market, batch, part in ((MARKET + 1, number, 0), (MARKET, number + 1, 0), (MARKET, number, 7)):
            size = 0 if book.batch is None else len(book.batch.orders)
            wrong += [(1, encode_word(ReportSaid(market, batch, part, bytes(size * ELEMENT_BYTES), ())))]
            wrong += [(1, encode_word(OpeningsSaid(market, batch, part, ())))]
            wrong += [(1, encode_word(ResultSaid(market, batch + part, None)))]
        if book.batch is not None and book.batch.phase == OPENINGS:
            wrong += [(1, encode_word(OpeningsSaid(MARKET, number, 0, ())))]  # not in dispute
        if book.batch is not None and book.batch.phase == REPORTS:
            size, part = len(book.batch.orders), book.batch.part
            box = OpenedBox(size, bytes(33), bytes(32), bytes(32))
            full = bytes(size * ELEMENT_BYTES)
            for shares, bad in (
                (full + bytes(12), ()),
                (full[:-1], ()),
                (b"\xff" * len(full), ()),
                (full, (box,)),
                (full, (replace(box, index=0), replace(box, index=0))),
                (full, (replace(box, index=1), replace(box, index=0))),
            ):
                wrong += [(2, encode_word(ReportSaid(MARKET, number, part, shares, bad)))]
        before, leaf = floor.desk.dump(), floor.desk.leaf(MARKET)
        assert not any(floor.desk.wanted(*one) for one in wrong)
        assert floor.height(wrong, later_ms=0) == []
        assert floor.desk.dump() == before and floor.desk.leaf(MARKET) == leaf
        assert {party: floor.desk.owes(party) for party in range(5)} == owed
        refused += len(wrong)
        floor.height(list(true.items()))
    assert refused > 60


def test_the_first_word_at_a_place_counts_and_late_ones_do_not() -> None:
    floor = agreed()
    good = crossed(floor)
    go_to(floor, REPORTS)
    said = floor.words()
    lie = encode_word(ReportSaid(MARKET, 1, 0, bytes(2 * ELEMENT_BYTES), ()))
    assert floor.desk.wanted(4, lie)
    floor.height([*said[:4], (0, lie), (1, lie)])
    assert not floor.desk.wanted(0, lie) and floor.desk.wanted(4, lie)
    floor.height([said[4], (4, lie)])
    assert phase(floor) == RUN
    floor.height([(4, lie), *said])
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def test_a_word_of_the_next_phase_in_the_same_height_comes_too_early() -> None:
    floor = agreed()
    crossed(floor)
    go_to(floor, REPORTS)
    none = encode_word(ResultSaid(MARKET, 1, None))
    floor.height([*floor.words(), *((party, none) for party in range(5))])
    assert phase(floor) == RUN and all(floor.desk.owes(party) == (Compute(MARKET, 1),) for party in range(5))


def test_uncrossed_books_end_without_a_price() -> None:
    floor = agreed()
    orders = [floor.order(BUY, 100, 3), floor.order(SELL, 110, 3)]
    (ended,) = floor.settle()
    assert (ended.price_ticks, ended.volume_lots) == (None, 0)
    assert codes([ended]) == dict.fromkeys(orders, UNFILLED)
