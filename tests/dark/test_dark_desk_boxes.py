"""What bad boxes and rows off a polynomial come to, and false words about good ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from dark_runs import one_more
from desk_attacks import (
    agreed,
    agreed_small,
    bending,
    codes,
    crossed,
    go_to,
    of_degree,
    phase,
    true_but_false,
    wrong_for,
)
from desk_kit import MARKET, Floor, honest
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY
from mpc_sequencer.dark.bookstate import OPENINGS, REPORTS, RUN, HeldOrder
from mpc_sequencer.dark.desk import SayOpenings, SayReport, Task
from mpc_sequencer.dark.field import from_bytes, to_bytes
from mpc_sequencer.dark.keys import order_context
from mpc_sequencer.dark.messages import (
    BAD_OPENED_MAX,
    OpenedBox,
    OpeningsSaid,
    ReportSaid,
    Word,
    encode_word,
)
from mpc_sequencer.dark.sharing import interpolate
from mpc_sequencer.market.types import DARK_BAD, DARK_TERMS, FILLED
from threshold import boxes
from threshold.boxes import BOX_OVERHEAD_BYTES

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


def orders_of(floor: Floor) -> Sequence[HeldOrder]:
    batch = floor.desk.book(MARKET).state.batch
    assert batch is not None
    return batch.orders


# --- degree ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(5, 1), (9, 2), (4, 1)])
def test_a_row_of_a_higher_degree_is_dropped_before_anything_is_computed(size: tuple[int, int]) -> None:
    floor = agreed_small(*size)
    good = crossed(floor)
    bad = floor.enter(floor.dealt(of_degree(size[1] + 1)))
    go_to(floor, RUN)
    assert codes(floor.ended) == {bad: DARK_BAD}
    assert codes(floor.settle()) == dict.fromkeys(good, FILLED)


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
    """It was dealt something else by an accomplice, says what fits, and would have the order dropped when it likes."""
    floor = agreed()
    good = crossed(floor)
    floor.height()
    floor.enter(floor.dealt(wrong_for(2)))  # the last of the three
    go_to(floor, REPORTS)
    said = {party: floor.members[party].say(floor.desk, SayReport(MARKET, 1, 0)) for party in range(5)}
    shares = {party: word.shares for party, word in said.items() if isinstance(word, ReportSaid)}
    fits = to_bytes(interpolate({party: from_bytes(shares[party], 3) for party in (0, 1)}, 3))
    lie = one_more(fits[:12]) + fits[12:]
    floor.speak = bending(ReportSaid, [2], lambda word: [replace(word, shares=lie)])
    go_to(floor, OPENINGS)
    assert floor.desk.book(MARKET).disputed() == {0: {2}}
    floor.height([(2, encode_word(OpeningsSaid(MARKET, 1, 0, true_but_false(floor, 2)[1:])))])
    assert phase(floor) == RUN and not floor.ended
    assert len(orders_of(floor)) == 3 and set(good) < {one.order_id for one in orders_of(floor)}


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
