"""Products, random bits, zero tests, comparisons and searches over shares, against plain integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from dark_runs import elements, lockstep, opened_value, shared_of, shares_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.dark.errors import LabelReused
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.primitives import (
    MASK_HIGH_BITS,
    Masks,
    MaskStock,
    Shared,
    are_zero,
    multiply,
    nonnegative,
    prepare_masks,
    random_bits,
    search,
    search_arities,
    search_comparisons,
)
from mpc_sequencer.dark.program import Opening, Program, ProgramFault, Round, gather, reveal

N, T = 5, 1
VALUES = st.integers(0, PRIME - 1)


class Recorded:
    """Shared randomness that counts what it hands out, and can be told what some of it is."""

    def __init__(self, inner: Any, zeros: set[tuple[str, int]] = frozenset()) -> None:  # type: ignore[assignment]
        self._inner = inner
        self._zeros = zeros
        self.zero_count = 0

    def random(self, count: int, label: str) -> Elements:
        values = self._inner.random(count, label)
        for name, index in self._zeros:
            if name == label:
                values[index] = 0
        return values  # type: ignore[no-any-return]

    def zero(self, count: int, label: str) -> Elements:
        self.zero_count += count
        return self._inner.zero(count, label)  # type: ignore[no-any-return]

    def bounded(self, count: int, bits: int, label: str) -> Elements:
        return self._inner.bounded(count, bits, label)  # type: ignore[no-any-return]


def compared(shared: Shared, values: Elements, bits: int) -> Program[Elements]:
    stock = yield from prepare_masks(shared, len(values), bits, "masks")
    doubled = yield from nonnegative(shared, values, stock.take(len(values)), "compare")
    return (yield from reveal(doubled, 2 * shared.faults_t, "answer"))


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_a_product_is_a_sharing_of_degree_t_of_the_product(pairs: list[tuple[int, int]]) -> None:
    left, right = (shares_of(elements([pair[at] for pair in pairs]), N, T, seed=at) for at in (0, 1))
    run = lockstep([multiply(one, left[at], right[at], "product") for at, one in enumerate(shared_of(N, T))], T)
    assert run.rounds == 1
    assert opened_value(run.outcome[: T + 1]).tolist() == [a * b % PRIME for a, b in pairs]
    assert opened_value(run.outcome).tolist() == [a * b % PRIME for a, b in pairs]


def test_what_is_opened_of_a_product_says_nothing_of_its_factors() -> None:
    """Beyond the random value, the opened polynomial's leading coefficient is fresh, not the factors'."""
    left, right = shares_of(elements([3]), N, T, seed=1), shares_of(elements([4]), N, T, seed=2)
    seen = set()
    for attempt in range(3):
        sources = shared_of(N, T, attempt)
        run = lockstep([multiply(one, left[at], right[at], "product") for at, one in enumerate(sources)], T)
        shares = run.shares["product"][1]
        leading = int(shares[0][0] - 2 * shares[1][0] + shares[2][0]) % PRIME  # twice the coefficient of x^2
        seen.add(leading)
    assert len(seen) == 3


def test_random_bits_are_bits_of_both_kinds_and_new_in_every_attempt() -> None:
    drawn = []
    for attempt in range(2):
        run = lockstep([random_bits(one, 64, "bits") for one in shared_of(N, T, attempt)], T)
        assert run.rounds == 1
        drawn.append(opened_value(run.outcome[: T + 1]).tolist())
        assert set(drawn[-1]) == {0, 1}
        assert 12 < sum(drawn[-1]) < 52
    assert drawn[0] != drawn[1]


def test_a_square_of_zero_is_drawn_again() -> None:
    zeros = {("bits/0/root", 1), ("bits/0/root", 3), ("bits/1/root", 1)}
    sources = [Shared(Recorded(one.prss, zeros), T) for one in shared_of(N, T)]  # type: ignore[arg-type]
    run = lockstep([random_bits(one, 4, "bits") for one in sources], T)
    assert run.rounds == 3
    assert set(opened_value(run.outcome).tolist()) <= {0, 1}
    assert [len(values) for _, values in run.opened] == [4, 2, 1]


def test_a_square_without_a_root_is_a_fault() -> None:
    program = random_bits(shared_of(N, T)[0], 1, "bits")
    next(program)
    with pytest.raises(ProgramFault, match="no root"):
        program.send((elements([PRIME - 4]),))


def test_the_zero_test_tells_zero_from_everything_else_and_no_more() -> None:
    left = shares_of(elements([0, 5, PRIME - 1, 0]), N, T, seed=1)
    right = shares_of(elements([9, 1, 1, 0]), N, T, seed=2)
    opened = []
    for attempt in range(2):
        sources = shared_of(N, T, attempt)
        run = lockstep([are_zero(one, left[at] * right[at], "zero") for at, one in enumerate(sources)], T)
        assert run.rounds == 2
        assert all(answer.tolist() == [True, False, False, True] for answer in run.outcome)
        opened.append(dict(run.opened)["zero"].tolist())
    assert opened[0][1] != opened[1][1]
    assert opened[0][2] != opened[1][2]
    assert 5 not in (opened[0][1], opened[1][1])


@given(st.sampled_from((2, 4, 6, 12, 18, 28)), st.data())
@settings(max_examples=40, deadline=None)
def test_a_comparison_is_right_over_its_whole_range(bits: int, data: st.DataObject) -> None:
    most = (1 << bits) - 1
    values = [0, -1, 1, most, -most, *data.draw(st.lists(st.integers(-most, most), max_size=4))]
    shares = shares_of(elements(values), N, T)
    run = lockstep([compared(one, shares[at], bits) for at, one in enumerate(shared_of(N, T))], T)
    assert run.outcome[0].tolist() == [int(value >= 0) for value in values]


@pytest.mark.parametrize(("bits", "rounds"), [(2, 2), (4, 2), (8, 3), (18, 5), (28, 5), (32, 5)])
def test_a_comparison_takes_the_rounds_that_are_stated(bits: int, rounds: int) -> None:
    shares = shares_of(elements([7, -7]) if bits > 3 else elements([1, -1]), N, T)
    run = lockstep([compared(one, shares[at], bits) for at, one in enumerate(shared_of(N, T))], T)
    assert run.outcome[0].tolist() == [1, 0]
    assert run.rounds == 2 + rounds  # the masks take two


def test_what_is_opened_of_a_comparison_is_masked_above_and_below() -> None:
    shares = shares_of(elements([5]), N, T)
    veiled = []
    for attempt in range(12):
        sources = shared_of(N, T, attempt)
        run = lockstep([compared(one, shares[at], 6) for at, one in enumerate(sources)], T)
        veiled.append(int(dict(run.opened)["compare/veiled"][0]))
    assert len({value % 64 for value in veiled}) > 4
    assert len({value >> 6 for value in veiled}) == 12
    assert all(value >> 6 < N << (MASK_HIGH_BITS + 1) for value in veiled)
    assert max(value >> 6 for value in veiled) > 1 << (MASK_HIGH_BITS - 1)


def test_every_opening_of_double_degree_has_a_zero_sharing_of_its_own() -> None:
    shares = shares_of(elements([5, -3, 2]), N, T)
    sources = [Shared(Recorded(one.prss), T) for one in shared_of(N, T)]  # type: ignore[arg-type]
    run = lockstep([compared(one, shares[at], 28) for at, one in enumerate(sources)], T)
    doubled = sum(len(values[0]) for degree, values in run.shares.values() if degree == 2 * T)
    assert doubled > 0
    assert all(one.prss.zero_count == doubled for one in sources)  # type: ignore[attr-defined]


def test_masks_are_given_out_once() -> None:
    run = lockstep([prepare_masks(one, 3, 4, "masks") for one in shared_of(N, T)], T)
    stock: MaskStock = run.outcome[0]
    first, second = stock.take(2), stock.take(1)
    assert (len(first), len(second)) == (2, 1)
    assert first.high.tolist()[1] != second.high.tolist()[0]
    with pytest.raises(ValueError, match="1 masks wanted, 0 of 3 are left"):
        stock.take(1)


def test_a_name_used_twice_is_refused_before_anything_is_opened() -> None:
    shared = shared_of(N, T)[0]
    next(prepare_masks(shared, 1, 4, "masks"))
    with pytest.raises(LabelReused):
        next(prepare_masks(shared, 1, 4, "masks"))


def test_masks_of_odd_bits_or_of_another_number_are_refused() -> None:
    shared = shared_of(N, T)[0]
    with pytest.raises(ValueError, match="even"):
        next(prepare_masks(shared, 1, 5, "masks"))
    nothing = np.zeros((2, 1), dtype=object)
    with pytest.raises(ValueError, match="2 masks for 1 comparisons"):
        next(nonnegative(shared, elements([1]), Masks(2, nothing, nothing, nothing, nothing[:, 0]), "compare"))


# --- searches -------------------------------------------------------------------------------------------------------


def found(shared: Shared, shares: Elements, levels: int, guard: Program[bool] | None = None) -> Program[int | None]:
    arities = search_arities(len(shares), levels)
    stock = yield from prepare_masks(shared, search_comparisons(arities), 6, "masks")

    def probe(positions: Sequence[int]) -> Elements:
        return shares[list(positions)]

    return (yield from search(shared, len(shares), arities, probe, stock, "search", guard))


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("outcomes", [2, 5, 9])
def test_a_search_finds_every_position(outcomes: int, levels: int) -> None:
    for target in range(outcomes):
        values = [target - position for position in range(outcomes)]
        values[0] = -1  # never asked
        shares = shares_of(elements(values), N, T)
        run = lockstep([found(one, shares[at], levels) for at, one in enumerate(shared_of(N, T))], T)
        assert run.outcome == [target] * N


@given(st.integers(1, 5000), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_arities_leave_one_position_whatever_was_found(outcomes: int, levels: int) -> None:
    arities = search_arities(outcomes, levels)
    assert len(arities) == levels
    for actual in {outcomes, max(outcomes - 1, 1), (outcomes + 1) // 2, 1}:
        left = actual
        for arity in arities:
            left = -(-left // arity)
        assert left == 1
    assert search_comparisons(arities) <= levels * np.ceil(outcomes ** (1 / levels))


def test_a_search_opens_no_bit_where_its_guard_says_no() -> None:
    def guard(shared: Shared, answer: int) -> Program[bool]:
        opened = yield from reveal(shared.prss.zero(1, "guard") + answer, 2 * T, "guard")
        return bool(opened[0])

    for answer, outcome in ((0, None), (1, 3)):
        shares = shares_of(elements([3 - position for position in range(8)]), N, T)
        programs = [
            found(one, shares[at], 2, guard(one, answer)) for at, one in enumerate(shared_of(N, T))
        ]
        run = lockstep(programs, T)
        assert run.outcome == [outcome] * N
        assert ("search/0" in dict(run.opened)) == bool(answer)


def test_bits_that_rise_again_are_a_fault() -> None:
    shares = shares_of(elements([0, 1, -1, 1, -1]), N, T)
    with pytest.raises(ProgramFault, match="ones followed by zeros"):
        lockstep([found(one, shares[at], 1) for at, one in enumerate(shared_of(N, T))], T)


def test_an_opened_bit_that_is_none_is_a_fault() -> None:
    shares = shares_of(elements([0, 1, -1]), N, T)

    def tamper(name: str, values: Elements) -> Elements:
        return (values + 1) % PRIME if name == "search/0" else values

    with pytest.raises(ProgramFault, match="search/0"):
        lockstep([found(one, shares[at], 1) for at, one in enumerate(shared_of(N, T))], T, tamper)


# --- programs -------------------------------------------------------------------------------------------------------


def counting(rounds: int, name: str) -> Program[int]:
    total = 0
    for _ in range(rounds):
        total += int((yield from reveal(elements([1]), 0, name))[0])
    return total


def test_gathered_programs_share_their_rounds_and_keep_their_order() -> None:
    program = gather(counting(1, "a"), counting(3, "b"), counting(0, "c"))
    names = []
    step = next(program)
    while True:
        names.append([opening.name for opening in step.openings])
        try:
            step = program.send(tuple(elements([10 * ord(opening.name)]) for opening in step.openings))
        except StopIteration as ended:
            assert ended.value == (970, 2940, 0)
            break
    assert names == [["a", "b"], ["b"], ["b"]]


def test_gathering_nothing_to_open_ends_at_once() -> None:
    with pytest.raises(StopIteration) as ended:
        next(gather(counting(0, "a"), counting(0, "b")))
    assert ended.value.value == (0, 0)


def test_a_failing_program_closes_those_beside_it() -> None:
    closed = []

    def watched() -> Program[None]:
        try:
            yield Round((Opening(elements([1]), 0, "watched"),))
            yield Round((Opening(elements([1]), 0, "watched"),))
        finally:
            closed.append(True)

    def failing() -> Program[None]:
        yield Round((Opening(elements([1]), 0, "failing"),))
        raise ProgramFault("failing", "on purpose")

    beside = watched()  # held here, so that nothing but the gathering closes it
    program = gather(beside, failing())
    next(program)
    with pytest.raises(ProgramFault):
        program.send((elements([1]), elements([1])))
    assert closed == [True]
