"""The dark batch over shares gives what the dark rule gives in the plain, and opens nothing beside it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from dark_kit import CheatingRow, cheating_rows, small_params
from dark_runs import (
    COIN,
    Lockstep,
    batches_of,
    book_batches,
    elements,
    lockstep,
    opened_value,
    params_of,
    random_book,
    row_of,
    run_local,
    shared_of,
    with_coin,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dark_rule import books

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.clearing import Batch, Plan, clear, prepare, validity
from mpc_sequencer.dark.errors import LabelReused
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.layout import Deposit, encode_order
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.dark.program import Program, ProgramFault
from mpc_sequencer.dark.rule import DarkFill, DarkOutcome, PlainOrder, clear_openly

PARAMS = params_of(ticks=5, orders_max=10, bits=3)
PLAN = Plan.of(PARAMS, 2, 2)
CROSSED = [PlainOrder(BUY, 3, 4), PlainOrder(SELL, 1, 2), PlainOrder(BUY, 2, 3), PlainOrder(SELL, 2, 3)]


def cleared(
    params: DarkParams, plan: Plan, batches: list[Batch], attempt: int = 0, tamper: object = None
) -> tuple[DarkOutcome, Lockstep]:
    """The outcome that all parties share."""
    sources = shared_of(params.parties, params.faults_t, attempt)
    programs = [with_coin(params, plan, one, batch) for one, batch in zip(sources, batches, strict=True)]
    seen = lockstep(programs, params.faults_t, tamper)  # type: ignore[arg-type]
    assert all(outcome == seen.outcome[0] for outcome in seen.outcome)
    return seen.outcome[0], seen


def book_cleared(orders: list[PlainOrder], priority: list[int], attempt: int = 0) -> tuple[DarkOutcome, Lockstep]:
    return cleared(PARAMS, PLAN, book_batches(PARAMS, orders, priority), attempt)


# --- equality with the rule -----------------------------------------------------------------------------------------


@given(books(ticks=5, lots_max=7), st.randoms())
@settings(max_examples=60, deadline=None)
def test_random_books_clear_as_in_the_plain(orders: list[PlainOrder], draw: random.Random) -> None:
    priority = list(range(len(orders)))
    draw.shuffle(priority)
    assert book_cleared(orders, priority)[0] == clear_openly(orders, 5, priority)


@pytest.mark.parametrize(
    "orders",
    [
        [],
        [PlainOrder(BUY, 2, 5)],
        [PlainOrder(SELL, 0, 5), PlainOrder(SELL, 4, 1)],
        [PlainOrder(BUY, 1, 5), PlainOrder(SELL, 2, 5)],
        [PlainOrder(BUY, 4, 0), PlainOrder(SELL, 0, 0)],
        [PlainOrder(BUY, 2, 3), PlainOrder(BUY, 2, 3), PlainOrder(SELL, 2, 5)],
        [PlainOrder(BUY, 2, 5), PlainOrder(SELL, 2, 3), PlainOrder(SELL, 2, 7)],
        [PlainOrder(BUY, 3, 4), PlainOrder(SELL, 1, 4), PlainOrder(SELL, 2, 1)],
        [PlainOrder(BUY, 4, 7), PlainOrder(SELL, 0, 1)],
        [PlainOrder(BUY, 0, 1), PlainOrder(SELL, 0, 7)],
        [PlainOrder(BUY, 4, 1), PlainOrder(SELL, 4, 7)],
        [PlainOrder(BUY, 4, 7)] * 5 + [PlainOrder(SELL, 0, 7)] * 5,
    ],
    ids=[
        "empty",
        "one buy",
        "sells only",
        "bid below ask",
        "cover only",
        "all at one tick, buys rationed",
        "all at one tick, sells rationed",
        "a rest of nothing",
        "demand above all supply",
        "all at the lowest tick",
        "all at the highest tick",
        "full to the bounds",
    ],
)
def test_edges_clear_as_in_the_plain(orders: list[PlainOrder]) -> None:
    for priority in (list(range(len(orders))), list(range(len(orders)))[::-1]):
        assert book_cleared(orders, priority)[0] == clear_openly(orders, 5, priority)


@pytest.mark.parametrize(("parties", "faults_t"), [(4, 1), (9, 2)])
def test_other_committees_clear_as_in_the_plain(parties: int, faults_t: int) -> None:
    params = params_of(parties, faults_t, ticks=5, orders_max=10, bits=3)
    orders, priority = random_book(parties, 10, 5, 7)
    outcome, _ = cleared(params, Plan.of(params, 2, 2), book_batches(params, orders, priority))
    assert outcome == clear_openly(orders, 5, priority)


def test_a_larger_batch_clears_as_in_the_plain_over_sessions() -> None:
    params = params_of(ticks=64, orders_max=200, bits=12)
    orders, priority = random_book(3, 200, 64, 4000)
    plan, batches = Plan.of(params, 2, 2), book_batches(params, orders, priority)
    done = run_local([with_coin(params, plan, one, batches[at]) for at, one in enumerate(shared_of(5, 1))], 1)
    expected = clear_openly(orders, 64, priority)
    assert expected.volume_lots > 0
    assert done.outcomes == dict.fromkeys(range(5), expected)
    assert done.sessions[0].round + 1 == 23
    assert not any(done.blames.values())


@pytest.mark.parametrize(("levels", "rounds"), [((1, 1), 13), ((2, 2), 23), ((3, 3), 33)])
def test_rounds_follow_from_the_levels_alone(levels: tuple[int, int], rounds: int) -> None:
    params = params_of(ticks=40, orders_max=40, bits=13)  # 18 bits and more: five rounds a level
    orders, priority = random_book(5, 40, 40, 8000)
    outcome, seen = cleared(params, Plan.of(params, *levels), book_batches(params, orders, priority))
    assert outcome == clear_openly(orders, 40, priority)
    assert seen.rounds == rounds


def test_masks_may_be_made_before_the_batch_is_known() -> None:
    sources = shared_of(5, 1)
    made = lockstep([prepare(PARAMS, PLAN, one) for one in sources], 1)
    stocks = made.outcome
    batches = book_batches(PARAMS, CROSSED, [0, 1, 2, 3])
    seen = lockstep([clear(PARAMS, PLAN, one, batches[at], stocks[at]) for at, one in enumerate(sources)], 1)
    assert seen.outcome == [clear_openly(CROSSED, 5, [0, 1, 2, 3])] * 5
    whole = book_cleared(CROSSED, [0, 1, 2, 3])[1]
    assert made.rounds == 2
    assert seen.rounds == whole.rounds - 1


def test_a_plan_takes_the_fewest_levels_that_its_comparisons_allow() -> None:
    def levels(ticks: int, orders_max: int) -> tuple[int, int, int]:
        plan = Plan.of(params_of(ticks=ticks, orders_max=orders_max, bits=12))
        return len(plan.tick_arities), len(plan.cut_arities), plan.comparisons

    assert levels(32, 64) == (1, 2, 78)
    assert levels(8, 16) == (1, 1, 31)
    assert levels(128, 256) == (2, 2, 61)
    assert levels(128, 1024) == (2, 2, 93)
    with pytest.raises(ValueError, match="more levels"):
        Plan.of(params_of(ticks=128, orders_max=1024, bits=12), 1, 1)


# --- validity -------------------------------------------------------------------------------------------------------


SMALL = small_params()
SMALL_PLAN = Plan.of(SMALL, 2, 2)


def judged(rows: list[Elements], deposits: list[Deposit], coin: bytes = COIN) -> list[bool]:
    batches = batches_of(SMALL, rows, deposits, list(range(len(rows))))
    programs = [
        validity(SMALL, one, replace(batches[at], coin=coin)) for at, one in enumerate(shared_of(5, 1))
    ]
    return list(lockstep(programs, 1).outcome[0])


@pytest.mark.parametrize("cheat", cheating_rows(SMALL), ids=lambda cheat: cheat.name)
def test_a_malformed_order_is_rejected_alone(cheat: CheatingRow) -> None:
    order = PlainOrder(SELL, 1, 3)
    deposit = Deposit(10_000, 5)
    good = row_of_small(order, deposit)
    assert judged([good, cheat.row, good], [deposit, cheat.deposit, deposit]) == [True, False, True]


def row_of_small(order: PlainOrder, deposit: Deposit) -> Elements:
    price = SMALL.price_first_ticks + SMALL.price_step_ticks * order.tick
    return encode_order(SMALL, order.side, price, order.quantity_lots, deposit, 5)


@pytest.mark.parametrize(
    ("order", "deposit"),
    [
        (PlainOrder(BUY, 1, 63), Deposit(63 * 105, 0)),
        (PlainOrder(SELL, 7, 63), Deposit(0, 63)),
        (PlainOrder(BUY, 0, 0), Deposit(0, 0)),
        (PlainOrder(SELL, 0, 1), Deposit(16_383, 63)),
    ],
    ids=["funded to the last unit", "sold to the last lot", "cover", "the largest deposits"],
)
def test_a_well_formed_order_passes_at_its_bounds(order: PlainOrder, deposit: Deposit) -> None:
    assert judged([row_of_small(order, deposit)], [deposit]) == [True]


@pytest.mark.parametrize("off", [Deposit(630, 8), Deposit(629, 7), Deposit(631, 7), Deposit(630, 6)])
def test_an_order_one_unit_off_its_deposit_is_rejected(off: Deposit) -> None:
    row = row_of_small(PlainOrder(BUY, 1, 6), Deposit(630, 7))
    assert judged([row, row], [Deposit(630, 7), off]) == [True, False]


def test_a_batch_without_its_malformed_orders_clears_as_if_they_were_not_there() -> None:
    orders = [PlainOrder(BUY, 5, 4), PlainOrder(SELL, 2, 5), PlainOrder(SELL, 3, 6), PlainOrder(BUY, 3, 3)]
    deposit = Deposit(5_000, 20)
    cheats = cheating_rows(SMALL)
    rows = [cheats[0].row, *(row_of_small(one, deposit) for one in orders), cheats[5].row]
    deposits = [cheats[0].deposit, *[deposit] * 4, cheats[5].deposit]
    outcome, _ = cleared(SMALL, SMALL_PLAN, batches_of(SMALL, rows, deposits, [0, 4, 3, 5, 2, 1]))
    plain = clear_openly(orders, 8, [3, 2, 1, 0])
    fills = tuple(replace(fill, order=fill.order + 1) for fill in plain.fills)
    assert plain.last_marginal is not None
    assert outcome == replace(plain, fills=fills, rejected=(0, 5), last_marginal=plain.last_marginal + 1)


def test_a_batch_of_malformed_orders_only_ends_uncrossed() -> None:
    cheats = cheating_rows(SMALL)[:2]
    batches = batches_of(SMALL, [one.row for one in cheats], [one.deposit for one in cheats], [0, 1])
    assert cleared(SMALL, SMALL_PLAN, batches)[0] == DarkOutcome.uncrossed((0, 1))


def test_the_coin_and_nothing_else_decides_the_weights_of_the_test() -> None:
    """A row made to pass under one coin fails under another: the weights are not known when rows are fixed."""
    sources = shared_of(5, 1)
    rows, deposits = [row_of(PARAMS, CROSSED[0])], [Deposit(17, 4)]
    opened = []
    for coin in (COIN, COIN[::-1]):
        batches = batches_of(PARAMS, rows, deposits, [0])
        programs = [
            validity(PARAMS, one, replace(batches[at], coin=coin)) for at, one in enumerate(sources)
        ]
        opened.append(int(lockstep(programs, 1).opened[0][1][0]))
        sources = shared_of(5, 1, 1)
    assert opened[0] != opened[1]
    assert 0 not in opened


# --- what is opened -------------------------------------------------------------------------------------------------


def test_validity_and_fills_of_two_attempts_show_different_polynomials() -> None:
    runs = [book_cleared(CROSSED, [0, 1, 2, 3], attempt)[1] for attempt in range(2)]
    first, second = (one.shares["validity"][1] for one in runs)
    assert all((left != right).all() for left, right in zip(first, second, strict=True))


def test_every_doubled_opening_is_re_randomised() -> None:
    """Two attempts at one batch differ in every share of every opening of degree 2t: none shows only its inputs."""
    runs = [book_cleared(CROSSED, [0, 1, 2, 3], attempt)[1] for attempt in range(2)]
    doubled = [name for name, (degree, _) in runs[0].shares.items() if degree == 2]
    assert {"validity", "crossed", "crossing/0", "crossing/1", "cut/0", "cut/1"} <= set(doubled)
    for name in doubled:
        for left, right in zip(runs[0].shares[name][1], runs[1].shares[name][1], strict=True):
            assert (left != right).all(), name


def test_books_with_the_same_public_outcome_open_the_same_values_but_for_masked_ones() -> None:
    """An order that does not trade may stand anywhere on its side of the tick: nothing unmasked moves with it."""
    filled = [PlainOrder(BUY, 3, 4), PlainOrder(SELL, 1, 4)]
    masked = ("veiled", "bits", "pairs", "join", "reduced", "crossed")
    seen = []
    for unfilled in (PlainOrder(BUY, 0, 7), PlainOrder(BUY, 2, 1), PlainOrder(SELL, 4, 5), PlainOrder(BUY, 1, 0)):
        outcome, one = book_cleared([*filled, unfilled], [2, 0, 1])
        assert [fill.order for fill in outcome.fills] == [0, 1]
        assert outcome.tick == 3
        plain = [(name, values.tolist()) for name, values in one.opened if not any(word in name for word in masked)]
        seen.append((one.rounds, [(name, len(values)) for name, values in one.opened], plain))
    assert all(one == seen[0] for one in seen)


def test_an_uncrossed_book_opens_no_bit() -> None:
    _, seen = book_cleared([PlainOrder(BUY, 1, 5), PlainOrder(SELL, 2, 5)], [0, 1])
    bits = [name for name, values in seen.opened if name.startswith(("crossing/", "cut")) and "/veiled" not in name]
    assert all("join" in name for name in bits)
    assert "fills" not in dict(seen.opened)


def test_fills_open_one_value_per_valid_order_and_zero_for_those_that_do_not_trade() -> None:
    outcome, seen = book_cleared([*CROSSED, PlainOrder(BUY, 0, 6)], [4, 3, 2, 1, 0])
    opened = dict(seen.opened)["fills"].tolist()
    lots = {fill.order: fill.lots << (0 if fill.side == BUY else 3) for fill in outcome.fills}
    assert opened == [lots.get(index, 0) for index in (4, 3, 2, 1, 0)]
    assert opened[0] == 0


def test_the_curves_stay_shared() -> None:
    """What is compared is opened under masks only: the values at the probes are none of the opened ones."""
    _, seen = book_cleared(CROSSED, [0, 1, 2, 3])
    small = [name for name, values in seen.opened if len(values) and all(int(value) < 1 << 20 for value in values)]
    assert set(small) <= {"validity", "crossing/0", "crossing/1", "cut/0", "cut/1", "fills"}
    for name in ("crossing/0", "crossing/1", "cut/0", "cut/1"):
        degree, shares = seen.shares[name]
        assert degree == 2
        assert set(opened_value(shares).tolist()) <= {0, 1}


# --- faults and misuse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [1, 1 << 3, 1 << 6, PRIME - 1], ids=["a lot", "a sold lot", "too much", "negative"])
def test_fills_that_do_not_add_up_are_a_fault(change: int) -> None:
    def tamper(name: str, values: Elements) -> Elements:
        if name == "fills":
            values = values.copy()
            values[0] = (values[0] + change) % PRIME
        return values

    with pytest.raises(ProgramFault, match="fills"):
        cleared(PARAMS, PLAN, book_batches(PARAMS, CROSSED, [0, 1, 2, 3]), 0, tamper)


@pytest.mark.parametrize("opened", [[1, 9, 0, 0], [4, 4, 64, 0]], ids=["bought and sold at once", "beyond its bits"])
def test_balanced_fills_that_no_order_can_have_are_a_fault(opened: list[int]) -> None:
    def tamper(name: str, values: Elements) -> Elements:
        return elements(opened) if name == "fills" else values

    with pytest.raises(ProgramFault, match="is filled by"):
        cleared(PARAMS, PLAN, book_batches(PARAMS, CROSSED, [0, 1, 2, 3]), 0, tamper)


def test_fills_of_nothing_in_a_crossed_batch_are_a_fault() -> None:
    def tamper(name: str, values: Elements) -> Elements:
        return values * 0 if name == "fills" else values

    with pytest.raises(ProgramFault, match="0 lots bought"):
        cleared(PARAMS, PLAN, book_batches(PARAMS, CROSSED, [0, 1, 2, 3]), 0, tamper)


def test_one_attempt_s_randomness_serves_one_run() -> None:
    sources = shared_of(5, 1)
    batches = book_batches(PARAMS, CROSSED, [0, 1, 2, 3])
    lockstep([with_coin(PARAMS, PLAN, one, batches[at]) for at, one in enumerate(sources)], 1)
    with pytest.raises(LabelReused):
        next(with_coin(PARAMS, PLAN, sources[0], batches[0]))


def first_step(batch: Batch) -> Program[DarkOutcome]:
    program = clear(PARAMS, PLAN, shared_of(5, 1)[0], batch, None)  # type: ignore[arg-type]
    next(program)
    return program


def test_a_batch_whose_parts_do_not_fit_is_refused() -> None:
    batch = book_batches(PARAMS, CROSSED, [0, 1, 2, 3])[0]
    first_step(batch)
    for broken, text in (
        (replace(batch, priority=(0, 1, 2, 2)), "permutation"),
        (replace(batch, priority=(0, 1, 2)), "permutation"),
        (replace(batch, deposits=batch.deposits[:3]), "3 deposits"),
        (replace(batch, coin=bytes(31)), "31 bytes"),
        (replace(batch, rows=book_batches(params_of(ticks=4, bits=3), CROSSED, [0, 1, 2, 3])[0].rows), "columns"),
    ):
        with pytest.raises(ValueError, match=text):
            first_step(broken)
    many = [PlainOrder(BUY, 0, 1)] * 11
    with pytest.raises(ValueError, match="11 rows"):
        first_step(book_batches(PARAMS, many, list(range(11)))[0])


def test_a_market_whose_masked_values_would_wrap_around_is_refused() -> None:
    edge = replace(PARAMS, parties=40, ticks=1, orders_max=1, slack_bits=60)
    assert Plan.of(replace(edge, quantity_bits=45)).bits == 46
    with pytest.raises(ValueError, match="not below the prime"):
        Plan.of(replace(edge, quantity_bits=46))  # 47 bits, rounded up to whole digits
    with pytest.raises(ValueError, match="at least 1"):
        Plan.of(PARAMS, 0, 1)


def test_the_plan_has_masks_for_the_largest_batch() -> None:
    orders = [PlainOrder(BUY, 3, 1), PlainOrder(SELL, 1, 1)] * 5
    for tick_levels in (1, 2, 3):
        for cut_levels in (1, 2, 3, 4):
            plan = Plan.of(PARAMS, tick_levels, cut_levels)
            outcome, _ = cleared(PARAMS, plan, book_batches(PARAMS, orders, list(range(10))))
            assert outcome.volume_lots == 5
            assert isinstance(outcome.fills[0], DarkFill)
