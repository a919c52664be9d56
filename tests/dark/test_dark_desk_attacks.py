"""What an attack on a batch in the log comes to: bad boxes, rows off a polynomial, lies, silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from dark_runs import one_more, payload_changed
from desk_kit import MARKET, Floor, Ran, dark_market, dark_parties, honest
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.bookstate import OPENINGS, REPORTS, RUN
from mpc_sequencer.dark.desk import Compute, Ended, SayOpenings, SayReport, Task
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements
from mpc_sequencer.dark.keys import order_context
from mpc_sequencer.dark.messages import (
    BAD_OPENED_MAX,
    DarkFillValue,
    OpenedBox,
    OpeningsSaid,
    ReportSaid,
    ResultSaid,
    Word,
    encode_word,
)
from mpc_sequencer.dark.orders import prove_box
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.market.types import DARK_ABORTED, DARK_BAD, DARK_TERMS, FILLED, UNFILLED
from threshold import boxes
from threshold.boxes import BOX_OVERHEAD_BYTES

W = TypeVar("W", bound=Word)


def agreed(n: int = 5, t: int = 1) -> Floor:
    floor = Floor(dark_parties(n, t))
    floor.agree()
    return floor


def crossed(floor: Floor) -> list[bytes]:
    """Two orders that trade 3 lots."""
    return [floor.order(BUY, 120, 3), floor.order(SELL, 110, 3)]


def codes(ended: Sequence[Ended]) -> dict[bytes, str]:
    return {one.order_id: one.code for each in ended for one in each.orders}


def bending(kind: type[W], who: Sequence[int], bend: Callable[[W], Sequence[Word]]) -> Callable[..., Sequence[bytes]]:
    """Parties that say something else where they should say one kind of word."""

    def speak(party: int, task: Task, word: Word) -> Sequence[bytes]:
        if party in who and isinstance(word, kind):
            return [encode_word(one) for one in bend(word)]
        return [encode_word(word)]

    return speak


def silent_in(kind: type[Word], who: Sequence[int]) -> Callable[..., Sequence[bytes]]:
    return bending(kind, who, lambda word: [])


def wrong_for(*parties: int) -> Callable[[list[Elements]], None]:
    def change(shares: list[Elements]) -> None:
        for party in parties:
            shares[party][2] = (shares[party][2] + 1 + party) % PRIME

    return change


def of_degree(degree: int) -> Callable[[list[Elements]], None]:
    """One column on a polynomial of another degree with the same secret."""

    def change(shares: list[Elements]) -> None:
        for party, one in enumerate(shares):
            one[2] = (one[2] + 12345 * (party + 1) ** degree) % PRIME

    return change


def phase(floor: Floor) -> int | None:
    batch = floor.desk.book(MARKET).state.batch
    return None if batch is None else batch.phase


def go_to(floor: Floor, wanted: int, part: int = 0) -> None:
    for _ in range(60):
        batch = floor.desk.book(MARKET).state.batch
        if batch is not None and (batch.phase, batch.part) == (wanted, part):
            return
        floor.go()
    raise AssertionError("the phase does not come")


# --- boxes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victims", [(2,), (0, 4), (0, 1, 2, 3, 4)])
def test_an_order_with_a_bad_box_is_dropped_alone_and_at_once(victims: tuple[int, ...]) -> None:
    floor = agreed()
    good = crossed(floor)
    bad = floor.enter(floor.bad(*victims))
    go_to(floor, RUN)
    assert codes(floor.ended) == {bad: DARK_BAD}
    assert [one.price_ticks for one in floor.ended] == [None]
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def test_a_box_that_holds_another_length_is_refused_at_entry() -> None:
    floor = agreed()
    action = floor.bad(0)
    length = len(action.boxes[0]) - BOX_OVERHEAD_BYTES
    for other in (0, length - 12, length - 1, length + 1, length + 12):
        assert floor.desk.refusal(floor.boxed(action, {0: bytes(other)})) == DARK_TERMS
    assert floor.desk.refusal(floor.boxed(action, {0: bytes(length)})) is None


def test_a_box_that_opens_to_nothing_is_bad() -> None:
    """Sealed to another key, so that its holder gets no plaintext at all."""
    floor = agreed()
    action = floor.action(BUY, 110, 3)
    keys = floor.desk.keys
    assert keys is not None
    context = order_context(action.keys, MARKET, action.account, action.nonce, 0)
    nothing = bytes(len(action.boxes[0]) - BOX_OVERHEAD_BYTES)
    wrong = boxes.seal(keys.box_keys[1], nothing, b"\x05" * 32, context)
    bad = floor.enter(replace(action, boxes=(wrong, *action.boxes[1:])))
    assert codes(floor.settle()) == {bad: DARK_BAD}


def test_more_bad_boxes_than_a_report_opens_are_all_dropped_in_parts() -> None:
    floor = agreed()
    good = crossed(floor)
    bad = [floor.enter(floor.bad(1)) for _ in range(BAD_OPENED_MAX + 5)]
    go_to(floor, REPORTS, 1)
    assert Counter(codes(floor.ended).values()) == {DARK_BAD: BAD_OPENED_MAX}
    go_to(floor, RUN)
    assert set(codes(floor.ended)) == set(bad)
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def test_a_full_report_of_false_openings_makes_no_other_part_and_drops_nothing() -> None:
    floor = agreed()
    for _ in range(BAD_OPENED_MAX):
        floor.order()
    go_to(floor, REPORTS)
    report = floor.members[0].say(floor.desk, SayReport(MARKET, 1, 0))
    assert isinstance(report, ReportSaid)
    lies = tuple(OpenedBox(index, floor.desk.keys.box_keys[0], b"\1" * 32, b"\1" * 32) for index in range(96))  # type: ignore[union-attr]
    floor.speak = bending(ReportSaid, [0], lambda word: [replace(word, bad=lies)])
    floor.go()
    assert phase(floor) == RUN and not floor.ended


def true_but_false(floor: Floor, party: int) -> tuple[OpenedBox, ...]:
    """A party's rightly opened boxes, all of which hold rows."""
    batch, keys = floor.desk.book(MARKET).state.batch, floor.desk.keys
    assert batch is not None and keys is not None
    secret = floor.members[party]._keys.box_secret(keys.topic, keys.attempt)
    return tuple(prove_box(one.action, party, secret, index, bytes(32)) for index, one in enumerate(batch.orders))


def test_t_parties_that_open_their_good_boxes_have_no_order_dropped() -> None:
    floor = agreed(9, 2)
    good = crossed(floor)
    go_to(floor, REPORTS)
    opened = {party: true_but_false(floor, party) for party in (3, 7)}

    def speak(party: int, task: Task, word: Word) -> Sequence[bytes]:
        if party in opened and isinstance(word, ReportSaid):
            word = replace(word, bad=opened[party])
        return honest(party, task, word)

    floor.speak = speak
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def test_another_s_opening_of_its_box_says_nothing_of_one_s_own() -> None:
    floor = agreed()
    bad = floor.enter(floor.bad(1))
    good = crossed(floor)
    go_to(floor, REPORTS)
    honest_report = floor.members[1].say(floor.desk, SayReport(MARKET, 1, 0))
    assert isinstance(honest_report, ReportSaid) and len(honest_report.bad) == 1
    floor.speak = bending(ReportSaid, [1, 2], lambda word: [replace(word, bad=())] if word != honest_report else [])
    floor.height([(2, encode_word(replace(honest_report, shares=bytes(len(honest_report.shares)))))])
    state = floor.desk.book(MARKET).state.batch
    assert state is not None and state.reports[0].bad == ()
    floor.speak = honest
    assert codes(floor.settle()) == {bad: DARK_BAD, **dict.fromkeys(good, FILLED)}


# --- degree ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(5, 1), (9, 2), (4, 1)])
def test_a_row_of_a_higher_degree_is_dropped_before_anything_is_computed(size: tuple[int, int]) -> None:
    floor = agreed_small(*size)
    good = crossed(floor)
    bad = floor.enter(floor.dealt(of_degree(size[1] + 1)))
    go_to(floor, RUN)
    assert codes(floor.ended) == {bad: DARK_BAD}
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def agreed_small(n: int, t: int) -> Floor:
    market = dark_market()
    assert market.dark is not None
    grid = replace(market.dark, demonstration=int(n < 4 * t + 1))
    floor = Floor(dark_parties(n, t), {MARKET: dark_market(grid=grid)})
    floor.agree()
    return floor


@pytest.mark.parametrize("size", [(5, 1), (9, 2), (4, 1)])
def test_a_wrong_share_is_shown_by_the_party_that_was_dealt_it(size: tuple[int, int]) -> None:
    floor = agreed_small(*size)
    good = crossed(floor)
    bad = floor.enter(floor.dealt(wrong_for(1)))
    go_to(floor, OPENINGS)
    assert floor.desk.owes(1) == (SayOpenings(MARKET, 1, 0),) and not floor.desk.owes(0)
    floor.go()
    assert codes(floor.ended) == {bad: DARK_BAD} and phase(floor) == RUN
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def test_more_wrong_shares_than_a_word_opens_are_all_shown_in_parts() -> None:
    """Else its traders could have an honest party convicted in the computation, or the batch aborted."""
    floor = agreed()
    good = crossed(floor)
    bad = [floor.enter(floor.dealt(wrong_for(3))) for _ in range(BAD_OPENED_MAX + 3)]
    go_to(floor, OPENINGS, 1)
    assert floor.desk.owes(3) == (SayOpenings(MARKET, 1, 1),)
    floor.go()
    assert set(codes(floor.ended)) == set(bad) and phase(floor) == RUN
    ended = floor.settle()
    assert codes(ended) == dict.fromkeys(good, FILLED)
    assert not any(run._session.convicted for run in floor.computed[MARKET, 1].runs.values())


@pytest.mark.parametrize("says", ["nothing", "its box", "another's box", "a point that is none"])
def test_a_liar_in_the_degree_check_has_no_order_dropped(says: str) -> None:
    floor = agreed()
    good = crossed(floor)

    def lie(word: ReportSaid) -> list[Word]:
        return [replace(word, shares=one_more(word.shares))]

    def opens(word: OpeningsSaid) -> list[Word]:
        assert len(word.opened) == 1
        (one,) = word.opened
        if says == "nothing":
            return [replace(word, opened=())]
        if says == "another's box":
            one = replace(one, index=1 - one.index)
        elif says != "its box":
            one = replace(one, point=bytes(33))
        return [replace(word, opened=(one,))]

    report, opening = bending(ReportSaid, [2], lie), bending(OpeningsSaid, [2], opens)

    def speak(party: int, task: Task, word: Word) -> Sequence[bytes]:
        return (report if isinstance(word, ReportSaid) else opening)(party, task, word)

    floor.speak = speak
    go_to(floor, OPENINGS)
    assert floor.desk.owes(2) == (SayOpenings(MARKET, 1, 0),)
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def test_a_liar_cannot_open_other_orders_than_those_in_dispute() -> None:
    """Its own box of an order about which nobody is in dispute tells nothing, whatever it holds."""
    floor = agreed()
    good = crossed(floor)
    floor.speak = bending(ReportSaid, [2], lambda word: [replace(word, shares=one_more(word.shares))])
    go_to(floor, OPENINGS)
    batch = floor.desk.book(MARKET).state.batch
    assert batch is not None and floor.desk.book(MARKET).disputed() == {0: {2}}
    floor.height([(2, encode_word(OpeningsSaid(MARKET, 1, 0, true_but_false(floor, 2)[1:])))])
    assert phase(floor) == RUN and not floor.ended
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


def test_too_many_liars_cost_their_batch_alone() -> None:
    """Beyond t there is no promise for a batch; the next one is as good as any."""
    floor = agreed()
    orders = crossed(floor)
    floor.speak = bending(ReportSaid, [1, 2], lambda word: [replace(word, shares=one_more(word.shares))])
    floor.settle()
    floor.speak = honest
    assert set(codes(floor.ended)) == set(orders)
    good = crossed(floor)
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


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


def lying_in_run(who: Sequence[int], number: int | None = None) -> Callable[..., Sequence[bytes]]:
    def send(sender: int, receiver: int, at: int, message: bytes) -> Sequence[bytes]:
        if sender in who and number in (None, at):
            return [payload_changed(message, one_more)]
        return [message]

    return send


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
    with pytest.raises(Exception, match="not asked to compute"):
        floor.members[4].run(floor.desk, MARKET, 1)
    one = floor.members[0].run(floor.desk, MARKET, 1)
    one.begin()
    assert one.heard(4, b"anything") == [] and not one._session.convicted
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)
    ran: Ran = floor.computed[MARKET, 1]
    assert {said.party for said in ran.runs[0].transcript().said} == {0, 1, 2, 3}


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
    "more bought than sold": lambda word: with_fills(word, (0, BUY, 4), (1, SELL, 3)),
    "a fill beyond its deposit": lambda word: with_fills(word, (0, BUY, 4), (1, SELL, 4), volume_lots=4),
    "an order twice": lambda word: with_fills(word, (0, BUY, 3), (0, SELL, 3)),
    "an order that is none": lambda word: with_fills(word, (0, BUY, 3), (2, SELL, 3)),
    "orders out of order": lambda word: with_fills(word, (1, SELL, 3), (0, BUY, 3)),
    "another volume": lambda word: outcome_with(word, volume_lots=2),
    "no such tick": lambda word: outcome_with(word, tick=9),
    "tick zero": lambda word: outcome_with(word, tick=0),
    "no side": lambda word: outcome_with(word, side=0),
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


def with_fills(word: ResultSaid, *fills: tuple[int, int, int], **changes: object) -> ResultSaid:
    return outcome_with(word, fills=tuple(DarkFillValue(*fill) for fill in fills), **changes)


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
    floor.enter(floor.dealt(wrong_for(1)))
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
