"""The submitter: whose turn it is, one transaction at a time, and progress whatever the chain and the others
do.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.settlement.payloads import BatchResult, SignedResult
from mpc_sequencer.settlement.submitter import (
    ASK_INTERVAL_MS,
    BACKOFF_MS_MAX,
    BACKOFF_MS_MIN,
    RESULTS_WAITING_MAX,
    SUBMIT_TURN_MS,
    Ask,
    AskFailed,
    Effect,
    Event,
    FailReason,
    Posted,
    ResultReady,
    Settled,
    Submit,
    SubmitFailed,
    Submitted,
    SubmitterMisuse,
    SubmitterState,
    Tick,
    Warn,
)

ROOT = hashlib.sha256(b"root").digest()
HEIGHTS = 4


def ready(number: int) -> ResultReady:
    first = number * HEIGHTS + 1
    result = BatchResult(0, first, first + HEIGHTS - 1, ROOT, ROOT, ROOT, ROOT, 0, ROOT, ())
    return ResultReady(number, SignedResult(result, ()))


def last_height(number: int) -> int:
    return (number + 1) * HEIGHTS


def kinds(effects: tuple[Effect, ...]) -> list[type]:
    return [type(effect) for effect in effects]


def primed(index: int, number: int, posted: int) -> SubmitterState:
    """A submitter of four that holds range ``number`` and has heard the chain's last height at time 0."""
    state = SubmitterState(4, index)
    assert kinds(state.step(ready(number))) == [Ask]
    state.step(Posted(posted))
    return state


def test_the_first_in_turn_submits_as_soon_as_the_chain_is_known() -> None:
    state = SubmitterState(4, 0)
    assert kinds(state.step(ready(0))) == [Ask]
    assert kinds(state.step(Posted(0))) == [Submit]
    assert state.in_flight and state.step(Tick(50_000)) == ()
    effects = state.step(Submitted(b"\x01" * 32, 90_000))
    assert effects == (Settled(0, 1, 4, b"\x01" * 32, 90_000),)
    assert state.waiting == 0 and state.posted_height == 4


@pytest.mark.parametrize("number", range(6))
def test_the_role_rotates_by_range_number(number: int) -> None:
    firsts = []
    for index in range(4):
        state = SubmitterState(4, index)
        state.step(ready(number))
        if kinds(state.step(Posted(number * HEIGHTS))) == [Submit]:
            firsts.append(index)
    assert firsts == [number % 4]


def test_others_step_in_one_turn_later_each_and_only_after_asking() -> None:
    for rank in (1, 2, 3):
        state = primed(rank, 0, 0)
        for now in range(ASK_INTERVAL_MS, rank * SUBMIT_TURN_MS, ASK_INTERVAL_MS):
            assert kinds(state.step(Tick(now))) == [Ask]
            assert state.step(Posted(0)) == ()
        assert kinds(state.step(Tick(rank * SUBMIT_TURN_MS))) == [Ask]
        assert kinds(state.step(Posted(0))) == [Submit]


def test_an_answer_to_an_older_question_does_not_count() -> None:
    state = primed(1, 0, 0)
    assert kinds(state.step(Tick(SUBMIT_TURN_MS - 1))) == [Ask]
    state.step(Tick(SUBMIT_TURN_MS + 5))
    assert kinds(state.step(Posted(0))) == []
    assert kinds(state.step(Tick(SUBMIT_TURN_MS + ASK_INTERVAL_MS))) == [Ask]
    assert kinds(state.step(Posted(0))) == [Submit]


def test_nobody_steps_in_when_the_chain_has_it() -> None:
    state = primed(1, 0, 0)
    assert kinds(state.step(Tick(SUBMIT_TURN_MS))) == [Ask]
    assert state.step(Posted(4)) == (Settled(0, 1, 4, None, None),)
    assert state.step(Tick(10 * SUBMIT_TURN_MS)) == ()


def test_a_turn_counts_from_when_the_predecessor_is_posted() -> None:
    state = SubmitterState(4, 2)
    state.step(ready(0))
    state.step(Posted(0))
    state.step(ready(1))
    state.step(Tick(1_000))
    assert kinds(state.step(Posted(4))) == [Settled]
    assert kinds(state.step(Tick(1_000 + SUBMIT_TURN_MS - 1))) == [Ask]
    state.step(Posted(4))
    state.step(Tick(1_000 + SUBMIT_TURN_MS + ASK_INTERVAL_MS))
    assert kinds(state.step(Posted(4))) == [Submit]


def test_never_a_second_transaction_while_one_is_out() -> None:
    state = primed(0, 0, 0)
    assert state.in_flight
    for now in range(0, 120_000, 500):
        assert state.step(Tick(now)) == ()
    assert state.step(ready(1)) == ()


def test_a_late_answer_does_not_take_our_transaction_from_us() -> None:
    state = primed(0, 0, 0)
    for now in (0, 500, 1_500):
        state.step(Tick(now))
        assert state.in_flight
        assert kinds(state.step(SubmitFailed(FailReason.UNREACHABLE, ""))) == [Warn, Ask]
        state.step(Posted(0))
    assert kinds(state.step(Tick(2_500))) == [Ask]
    assert kinds(state.step(Tick(3_500))) == [Submit]
    assert state.step(Posted(4)) == () and state.waiting == 1
    assert state.step(Submitted(b"\x03" * 32, 7)) == (Settled(0, 1, 4, b"\x03" * 32, 7),)


def test_already_posted_is_done() -> None:
    state = primed(0, 0, 0)
    assert kinds(state.step(SubmitFailed(FailReason.ALREADY_POSTED, ""))) == [Ask]
    assert state.step(Posted(4)) == (Settled(0, 1, 4, None, None),)
    assert state.waiting == 0


def test_retries_back_off_and_are_bounded() -> None:
    state = primed(0, 0, 0)
    pauses = []
    now = 0
    for _ in range(12):
        effects = state.step(SubmitFailed(FailReason.UNREACHABLE, "down"))
        assert Warn in kinds(effects) and Ask in kinds(effects)
        failed_at = now
        assert state.step(Posted(0)) == ()
        while not state.in_flight:
            now += 250
            for effect in state.step(Tick(now)):
                if isinstance(effect, Ask):
                    state.step(Posted(0))
        pauses.append(now - failed_at)
    assert pauses[0] <= 2 * BACKOFF_MS_MIN and pauses == sorted(pauses)
    assert BACKOFF_MS_MAX <= pauses[-1] <= BACKOFF_MS_MAX + 2 * ASK_INTERVAL_MS


def test_an_unreachable_chain_is_asked_ever_more_rarely() -> None:
    state = SubmitterState(4, 0)
    state.step(ready(0))
    asked = []
    for now in range(0, 400_000, 250):
        if state._asking:
            assert kinds(state.step(AskFailed("down"))) == [Warn]
            asked.append(now)
        state.step(Tick(now))
    assert len(asked) < 30 and asked[-1] - asked[-2] <= BACKOFF_MS_MAX + 250


def test_a_chain_that_went_another_way_halts_loudly() -> None:
    state = primed(1, 0, 0)
    state.step(Tick(ASK_INTERVAL_MS))
    (warning,) = state.step(Posted(2))
    assert isinstance(warning, Warn) and state.halted
    assert state.step(Tick(100_000)) == ()


def test_a_range_already_on_the_chain_is_settled_at_once() -> None:
    state = primed(0, 0, 0)
    state.step(Submitted(b"\x01" * 32, 1))
    assert state.step(ready(0)) == (Settled(0, 1, 4, None, None),)


def observable(state: SubmitterState) -> dict[str, Any]:
    return copy.deepcopy(vars(state))


def test_a_refused_event_changes_nothing() -> None:
    full = SubmitterState(4, 0)
    for number in range(RESULTS_WAITING_MAX):
        full.step(ready(number))
    ticked = primed(1, 0, 0)
    ticked.step(Tick(100))
    cases: list[tuple[SubmitterState, Event]] = [
        (SubmitterState(4, 0), Posted(1)),
        (SubmitterState(4, 0), AskFailed("")),
        (SubmitterState(4, 0), Submitted(b"", 1)),
        (SubmitterState(4, 0), SubmitFailed(FailReason.REVERTED, "")),
        (ticked, Tick(99)),
        (ticked, ready(2)),
        (ticked, ready(0)),
        (ticked, ResultReady(1, ready(2).signed)),
        (full, ready(RESULTS_WAITING_MAX)),
    ]
    for state, event in cases:
        before = observable(state)
        with pytest.raises(SubmitterMisuse):
            state.step(event)
        assert observable(state) == before
    for members, index, turn in ((0, 0, 1), (4, 4, 1), (65, 0, 1), (4, -1, 1), (4, 0, 0)):
        with pytest.raises(SubmitterMisuse):
            SubmitterState(members, index, turn)


class Committee:
    """Submitters on one chain with delays, lost answers and dead members, all from one seed."""

    def __init__(self, seed: int, live: int, flaky: float) -> None:
        self.random = random.Random(seed)
        self.flaky = flaky
        self.members = 4
        alive = self.random.sample(range(4), live)
        self.states = {index: SubmitterState(4, index) for index in alive}
        self.out: dict[int, Submit | None] = dict.fromkeys(alive)
        self.height = 0
        self.sent: list[tuple[int, int]] = []
        self.wasted = 0
        self.settled: dict[int, list[int]] = {index: [] for index in alive}
        self.agenda: list[tuple[int, Callable[[], tuple[int, Event]]]] = []
        self.now = 0

    def later(self, work: Callable[[], tuple[int, Event]]) -> None:
        self.agenda.append((self.now + self.random.randint(1, 800), work))

    def feed(self, index: int, event: Event) -> None:
        for effect in self.states[index].step(event):
            match effect:
                case Ask():
                    self.later(lambda: (index, self.answer()))
                case Submit(number):
                    assert self.out[index] is None, "two transactions at once"
                    self.out[index] = effect
                    self.sent.append((number, index))
                    self.later(lambda number=number: (index, self.execute(index, number)))
                case Settled(number):
                    self.settled[index].append(number)
                case Warn():
                    pass

    def answer(self) -> Event:
        return AskFailed("lost") if self.random.random() < self.flaky else Posted(self.height)

    def execute(self, index: int, number: int) -> Event:
        self.out[index] = None
        if self.random.random() < self.flaky:
            if self.random.random() < 0.5 and self.height == number * HEIGHTS:
                self.height += HEIGHTS
            return SubmitFailed(FailReason.UNREACHABLE, "lost")
        if self.height != number * HEIGHTS:
            self.wasted += 1
            return SubmitFailed(FailReason.ALREADY_POSTED, "")
        self.height += HEIGHTS
        return Submitted(b"\x02" * 32, 1)

    def run(self, ranges: int) -> None:
        handed = dict.fromkeys(self.states, 0)
        while any(len(done) < ranges for done in self.settled.values()):
            self.now += 100
            assert self.now < 3_000_000, "no progress"
            for index in self.states:
                self.feed(index, Tick(self.now))
                if handed[index] < ranges and self.random.random() < 0.3:
                    self.feed(index, ready(handed[index]))
                    handed[index] += 1
            due = sorted((entry for entry in self.agenda if entry[0] <= self.now), key=lambda entry: entry[0])
            self.agenda = [entry for entry in self.agenda if entry[0] > self.now]
            for _, work in due:
                index, event = work()
                self.feed(index, event)


@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.6]))
def test_every_range_settles_once_for_everyone(seed: int, live: int, flaky: float) -> None:
    committee = Committee(seed, live, flaky)
    committee.run(6)
    assert committee.height == 6 * HEIGHTS
    assert all(done == list(range(6)) for done in committee.settled.values())


@given(st.integers(0, 2**32))
def test_with_all_live_and_a_good_chain_nothing_is_sent_twice(seed: int) -> None:
    committee = Committee(seed, 4, 0.0)
    committee.run(8)
    assert committee.wasted == 0
    assert sorted(number for number, _ in committee.sent) == list(range(8))
