"""The desk's state: what is dumped is all of it, leaves cover it, and what no desk comes to is not loaded."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from dark_runs import one_more
from desk_attacks import agreed, crossed, go_to, wrong_for
from desk_kit import MARKET, Floor, dark_market, dark_parties, honest
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.bookstate import (
    OPENINGS,
    REPORTS,
    RUN,
    BatchState,
    BookState,
    OpeningsState,
    ReportState,
    ResultState,
)
from mpc_sequencer.dark.desk import Compute, Desk, DeskValue, Parties, Task
from mpc_sequencer.dark.messages import ReportSaid, ResultSaid, Word, encode_word

OTHER = 8
STEPS = 26


def reloaded(desk: Desk, floor: Floor) -> Desk:
    value = desk.dump()
    data = encode(value)
    assert decode(DeskValue, data, bytes_max=len(data)) == value
    return Desk.load(floor.markets, value)


def told(desk: Desk, floor: Floor) -> tuple[object, ...]:
    """All that a desk says of itself."""
    leaves = [desk.leaf(market) for market in floor.markets]
    owed = [desk.owes(party) for party in range(-1, desk.parties.count + 2)]
    return desk.dump(), leaves, desk.due_ms(), list(desk.locks()), owed, desk.keys, desk.parties


def moody(draw: random.Random) -> Callable[..., Sequence[bytes]]:
    """Parties that are late, silent and repeat themselves, and one that lies."""
    before: list[bytes] = []

    def speak(party: int, task: Task, word: Word) -> Sequence[bytes]:
        before.append(encode_word(word))
        if draw.random() < 0.2:
            return []
        if party == 4 and isinstance(word, ReportSaid) and draw.random() < 0.5:
            return [encode_word(replace(word, shares=bytes(len(word.shares))))]
        if isinstance(task, Compute) and draw.random() < 0.1:
            return [encode_word(ResultSaid(task.market, task.batch, None))]
        return [encode_word(word), draw.choice(before)]

    return speak


@pytest.mark.parametrize("seed", range(6))
def test_a_desk_that_is_dumped_and_loaded_at_every_step_has_the_same_future(seed: int) -> None:
    markets = {MARKET: dark_market(), OTHER: dark_market(OTHER)}
    floors = [Floor(dark_parties(), markets) for _ in range(2)]
    draws = [random.Random(seed) for _ in floors]
    for floor, draw in zip(floors, draws, strict=True):
        floor.speak = moody(draw)
    phases = set()
    for number in range(STEPS):
        floors[1].desk = reloaded(floors[1].desk, floors[1])
        seen = []
        for floor, draw in zip(floors, draws, strict=True):
            if floor.desk.keys is not None and number < STEPS - 6:
                for _ in range(draw.randrange(3)):
                    market, side = draw.choice((MARKET, OTHER)), draw.choice((BUY, SELL))
                    kind = draw.randrange(6)
                    if kind == 0:
                        floor.enter(floor.bad(draw.randrange(5), market=market))
                    elif kind == 1:
                        floor.enter(floor.dealt(wrong_for(draw.randrange(5)), side, market=market))
                    else:
                        floor.order(side, draw.choice((105, 110, 115)), draw.randrange(1, 9), market=market)
                phases |= {book.state.batch and book.state.batch.phase for book in map(floor.desk.book, markets)}
            if number == 20:
                ended = floor.rotate(dark_parties(epoch=1))
            else:
                ended = floor.height(floor.words(), later_ms=draw.choice((0, 250, 900, 4_000)))
            seen.append((ended, *told(floor.desk, floor)))
        assert seen[0] == seen[1]
    assert {REPORTS, RUN} <= phases


# --- leaves ---------------------------------------------------------------------------------------------------------


def test_every_change_of_a_book_or_of_the_agreement_changes_the_leaf() -> None:
    floor = Floor(markets={MARKET: dark_market(), OTHER: dark_market(OTHER)})
    seen = {floor.desk.leaf(MARKET)}
    number = 1

    def changed() -> None:
        nonlocal number
        seen.add(floor.desk.leaf(MARKET))
        number += 1
        assert len(seen) == number

    while floor.desk.keys is None:
        said = floor.words()
        for one in said:
            floor.height([one])
            changed()
    crossed(floor)
    changed()
    floor.enter(floor.dealt(wrong_for(2)))
    changed()
    go_to(floor, REPORTS)
    changed()
    for wanted in (REPORTS, OPENINGS, RUN):
        go_to(floor, wanted)
        for one in floor.words():
            floor.height([one], later_ms=1)
            changed()
            if not any(floor.desk.locks()):
                break
    assert not any(floor.desk.locks())
    state = floor.desk.leaf(MARKET)
    assert state[0] == 1 and floor.desk.leaf(OTHER)[0] == 0
    assert floor.desk.keys is not None and state[1] == floor.desk.keys.id


def test_a_leaf_names_every_part_of_a_batch() -> None:
    floor = agreed()
    crossed(floor)
    floor.enter(floor.dealt(wrong_for(2)))
    go_to(floor, OPENINGS)
    floor.order()
    book = floor.desk.book(MARKET)
    state, digest = book.state, book.digest()
    batch = state.batch
    assert batch is not None
    for changed in (
        replace(state, number=2),
        replace(state, closes_ms=1),
        replace(state, held=()),
        replace(state, held=(replace(state.held[0], height=1),)),
        replace(state, market=1),
        replace(state, batch=None),
        *(
            replace(state, batch=replace(batch, **one))
            for one in (
                {"keys": bytes(32)},
                {"phase": REPORTS},
                {"part": 1},
                {"opened_ms": 1},
                {"seed": bytes(32)},
                {"orders": batch.orders[1:]},
                {"speakers": (1, 2)},
                {"reports": batch.reports[1:]},
                {"openings": (OpeningsState(2, bytes(32), (), 0),)},
                {"results": (ResultState(2, bytes(32), None),)},
                {"reports": (replace(batch.reports[0], word_hash=bytes(32)), *batch.reports[1:])},
            )
        ),
    ):
        book.state = changed
        assert book.digest() != digest
    book.state = state
    assert book.digest() == digest


# --- what is not loaded ---------------------------------------------------------------------------------------------


def in_phase(wanted: int) -> tuple[Floor, BookState, BatchState]:
    floor = agreed()
    crossed(floor)
    floor.enter(floor.dealt(wrong_for(2)))
    go_to(floor, wanted)
    said = {REPORTS: floor.words()[:2], OPENINGS: []}.get(wanted) or floor.words()[:1] * (wanted == RUN)
    said += [(1, encode_word(ResultSaid(MARKET, 1, None)))] * (wanted == RUN)
    floor.height(said, later_ms=1)
    floor.order()
    state = floor.desk.book(MARKET).state
    assert state.batch is not None
    return floor, state, state.batch


def with_book(value: DeskValue, state: BookState) -> DeskValue:
    return replace(value, books=(state,))


@pytest.mark.parametrize("wanted", [REPORTS, OPENINGS, RUN])
def test_a_book_that_no_desk_comes_to_is_not_loaded(wanted: int) -> None:
    floor, state, batch = in_phase(wanted)
    value = floor.desk.dump()
    assert Desk.load(floor.markets, value).dump() == value
    held = state.held[0]
    cheat = floor.bad(1)
    garbled = replace(cheat, boxes=(cheat.boxes[1], *cheat.boxes[1:]))
    foreign = Floor(dark_parties(epoch=1), {OTHER: dark_market(OTHER), MARKET: dark_market()})
    foreign.agree()
    elsewhere = Floor(markets={OTHER: dark_market(OTHER), MARKET: dark_market()})
    elsewhere.agree()
    assert elsewhere.desk.keys == floor.desk.keys
    books = [
        replace(state, market=1),
        replace(state, closes_ms=0),
        replace(state, held=(held, held)),
        replace(state, held=()),
        replace(state, held=(replace(held, order_id=batch.orders[0].order_id),)),
        replace(state, held=(replace(held, action=replace(held.action, keys=bytes(32))),)),
        replace(state, held=(replace(held, action=replace(held.action, market=1)),)),
        replace(state, held=(replace(held, action=replace(held.action, boxes=held.action.boxes[1:])),)),
        replace(state, held=(replace(held, action=replace(held.action, base_lots=16)),)),
        replace(state, held=(replace(held, action=garbled),)),
        replace(state, held=(replace(held, action=foreign.action(BUY, 110, 3)),)),
        replace(state, held=(replace(held, action=elsewhere.action(BUY, 110, 3, market=OTHER)),)),
        replace(state, number=state.number + 1),
    ]
    changes: list[dict[str, object]] = [
        {"keys": bytes(32)},
        {"number": 7},
        {"orders": batch.orders[::-1]},
        {"speakers": batch.speakers[::-1] if len(batch.speakers) > 1 else (2, 2)},
        {"speakers": ()},
        {"speakers": (0, 1, 2, 3, 4, 5)},
    ]
    if wanted == REPORTS:
        one = batch.reports[0]
        changes += [
            {"speakers": batch.speakers[:-1]},
            {"openings": (OpeningsState(2, bytes(32), (), 0),)},
            {"results": (ResultState(2, bytes(32), None),)},
            {"reports": (one, one)},
            {"reports": (replace(one, shares=one.shares[:-1]),)},
            {"reports": (replace(one, shares=b"\xff" * len(one.shares)),)},
            {"reports": (replace(one, bad=(1, 1)),)},
            {"reports": (replace(one, bad=(3,)),)},
            {"reports": (replace(one, full=1),)},
        ]
    elif wanted == OPENINGS:
        at = 12 * next(index for index in range(3) if index not in floor.desk.book(MARKET).disputed())

        def off(one: ReportState) -> ReportState:
            """Of another order, so that it lies on no polynomial."""
            shares = one_more(one.shares[at : at + 12])
            return replace(one, shares=one.shares[:at] + shares + one.shares[at + 12 :])

        changes += [
            {"speakers": (1,)},
            {"speakers": (1, 2)},
            {"reports": batch.reports[:3]},
            {"reports": (batch.reports[0], *batch.reports)},
            {"reports": tuple(off(one) if one.party < 2 else one for one in batch.reports)},
            {"results": (ResultState(2, bytes(32), None),)},
            {"reports": (replace(batch.reports[0], bad=(1,)), *batch.reports[1:])},
            {"reports": tuple(replace(one, shares=one.shares[:12] * 3) for one in batch.reports[:4])},
        ]
    else:
        changes += [
            {"part": 1},
            {"speakers": (0, 1, 2)},
            {"speakers": (0, 1, 2, 3), "results": (replace(batch.results[0], party=4),)},
            {"results": (replace(batch.results[0], party=1), *batch.results[1:])},
        ]
    books += [replace(state, batch=replace(batch, **one)) for one in changes]
    for book in books:
        with pytest.raises(ValueError):
            Desk.load(floor.markets, with_book(value, book))


def test_a_desk_of_other_markets_or_parties_is_not_loaded() -> None:
    floor, state, _ = in_phase(REPORTS)
    value = floor.desk.dump()
    other = {OTHER: dark_market(OTHER)}
    for markets, changed in (
        (other, value),
        ({**floor.markets, **other}, value),
        (floor.markets, replace(value, books=(state, state))),
        (floor.markets, replace(value, epoch=1)),
        (floor.markets, replace(value, members=value.members[:4])),
        (floor.markets, replace(value, faults_t=2)),
        (floor.markets, replace(value, agreement=Floor().desk.dump().agreement)),
    ):
        with pytest.raises(ValueError):
            Desk.load(markets, changed)


def test_dumps_are_bounded_where_they_are_decoded() -> None:
    floor, state, batch = in_phase(REPORTS)
    value = floor.desk.dump()
    for changed in (
        with_book(value, replace(state, batch=replace(batch, phase=4))),
        with_book(value, replace(state, batch=replace(batch, phase=0))),
        with_book(value, replace(state, batch=replace(batch, orders=()))),
        replace(value, genesis_id=bytes(31)),
    ):
        data = encode(changed)
        with pytest.raises(ProtocolError):
            decode(DeskValue, data, bytes_max=len(data))


def test_parties_that_cannot_compute_a_market_make_no_desk_and_change_none() -> None:
    floor = agreed()
    crossed(floor)
    before = told(floor.desk, floor)
    small = dark_parties(4, 1, 1)
    with pytest.raises(ValueError, match="4t"):
        Desk(floor.markets, small)
    with pytest.raises(ValueError, match="4t"):
        floor.desk.step(small, 9, floor.time_ms, [])
    assert told(floor.desk, floor) == before
    with pytest.raises(ValueError):
        Desk(floor.markets, Parties(bytes(32), 0, (), 0))
    floor.speak = honest
    floor.settle()
