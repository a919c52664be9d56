"""The rule of chain inputs, forced orders and waking: what follows from heads and the parent, and from nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from chain_kit import bond, deposit, forced
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.genesis import inputs_chain
from mpc_sequencer.core.ordering import Candidate, Derived, Missing, OrderFacts, OrderingState, derive, genesis_state
from mpc_sequencer.core.ordering.chainstate import ChainState, ForcedOrder, chain_at
from mpc_sequencer.core.ordering.inputs import ForcedFacts, ForcedTerms, Intake, agreed_checkpoint, take_inputs
from mpc_sequencer.core.ordering.value import state_of, value_of
from mpc_sequencer.core.transcript import ChainInput, input_entries
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Checkpoint, Head

N, F, Q = 4, 1, 3
START_MS = 1_000_000
GENESIS = Checkpoint(10, ZERO_HASH, 0, ZERO_HASH)
SPONSOR = b"\x05" * 20
FACTS = OrderFacts(0, START_MS + 500_000, SPONSOR, 256)


def point(number: int, inputs: Sequence[ChainInput] = (), salt: bytes = b"") -> Checkpoint:
    count, inputs_hash = inputs_chain(inputs, 0, ZERO_HASH)
    return Checkpoint(number, hashlib.sha256(b"%d" % number + salt).digest(), count, inputs_hash)


def heads(*checkpoints: Checkpoint, due: Sequence[int] = (), time_ms: int = START_MS) -> tuple[Head, ...]:
    dues = [*due, *(0 for _ in checkpoints)]
    return tuple(
        Head(0, 0, node, 1, time_ms, 0, ZERO_HASH, (), one, dues[node], NO_SIGNATURE)
        for node, one in enumerate(checkpoints)
    )


def block(state: OrderingState, named: tuple[Head, ...], inputs: Sequence[ChainInput] = (), **more: Any) -> Derived:
    """The block that these heads make, with all inputs of the chain at hand."""
    made = attempt(state, named, inputs, **more)
    assert isinstance(made, Derived)
    return made


def attempt(
    state: OrderingState, named: tuple[Head, ...], inputs: Sequence[ChainInput] = (), **more: Any
) -> Derived | Missing:
    def between(chain: ChainState, checkpoint: Checkpoint) -> tuple[ChainInput, ...]:
        return tuple(inputs[chain.inputs_count : checkpoint.inputs_count])

    def judge(body: bytes) -> ForcedFacts:
        return ForcedFacts(hashlib.sha256(body).digest(), FACTS if body[:2] != b"no" else None)

    nobody = ((),) * len(named)
    hashes = tuple(bytes((7, head.node)) * 16 for head in named)
    candidate = Candidate(state.view + 1, named, nobody, hashes, nobody)
    terms = {
        "bonds_wei": {SPONSOR: 10**18},
        "between": between,
        "forced": judge,
        "terms": ForcedTerms(3, 2),
        **more,
    }
    return derive(state, candidate, faults=F, quorum=Q, facts=lambda _: FACTS, **terms)


def begin(inputs: Sequence[ChainInput] = ()) -> OrderingState:
    return genesis_state(ZERO_HASH, START_MS, N, chain_at(GENESIS, inputs))


# --- the checkpoint -------------------------------------------------------------------------------------------------
A, B = point(12), point(14)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ((A, A, A, A), A),
        ((A, A, B, GENESIS), A),
        ((A, A, B, B), B),
        ((A, B, GENESIS, GENESIS), GENESIS),
        ((B, point(14, salt=b"other"), point(14, salt=b"third"), A), GENESIS),
        ((point(9), point(9), point(9), A), GENESIS),
    ],
    ids=["all", "two of four", "the higher of two", "one each", "three blocks of one number", "below the parent's"],
)
def test_the_checkpoint_is_the_highest_that_f_plus_one_heads_name_alike(
    named: tuple[Checkpoint, ...], expected: Checkpoint
) -> None:
    assert agreed_checkpoint(begin().chain, heads(*named), F) == expected
    assert block(begin(), heads(*named)).state.chain.checkpoint == expected


def test_a_checkpoint_with_fewer_inputs_than_the_parent_s_is_not_taken() -> None:
    rich = replace(GENESIS, inputs_count=4)
    assert agreed_checkpoint(chain_at(rich), heads(A, A, A), F) == rich


def test_inputs_that_are_not_at_hand_are_named_and_nothing_is_derived() -> None:
    seen = point(12, [deposit(SPONSOR, 0, 1)])
    made = attempt(begin(), heads(seen, seen, seen), between=lambda chain, checkpoint: None)
    assert made == Missing((), seen)


@pytest.mark.parametrize("why", ["lag", "handover"])
def test_where_batches_are_empty_the_chain_s_side_stands_still(why: str) -> None:
    from dataclasses import replace as other

    inputs = [deposit(SPONSOR, 0, 1), forced(b"order")]
    seen = point(12, inputs)
    state = other(begin(), counting=tuple(range(1, limits.RESULT_LAG_HEIGHTS + 1)), last_counting=7)
    state = other(state, height=limits.RESULT_LAG_HEIGHTS + 1)
    if why == "handover":
        state = other(state, counting=(1,), handover=b"\x01" * 32)
    made = block(state, heads(seen, seen, seen, due=(7, 7, 7)), inputs)
    assert made.state.chain == replace(state.chain, cleared_number=made.state.chain.cleared_number)
    assert made.state.counting == state.counting and not made.counts


# --- inputs ---------------------------------------------------------------------------------------------------------
def test_a_block_takes_at_most_so_many_inputs_and_carries_the_rest() -> None:
    inputs = [deposit(SPONSOR, 0, 1 + i) for i in range(limits.INPUTS_PER_BLOCK_MAX + 2)]
    seen = point(12, inputs)
    first = block(begin(), heads(seen, seen, seen), inputs)
    assert first.intake.taken == tuple(inputs[: limits.INPUTS_PER_BLOCK_MAX]) and first.intake.told == tuple(inputs)
    assert first.state.chain.checkpoint == seen and first.state.chain.cleared_number == GENESIS.number
    second = block(first.state, heads(GENESIS, GENESIS, GENESIS), inputs)
    assert second.intake.taken == tuple(inputs[limits.INPUTS_PER_BLOCK_MAX :]) and second.intake.told == ()
    assert second.counts and second.state.chain.inputs_hash == seen.inputs_hash
    assert second.state.chain.cleared_number == 12
    third = block(second.state, heads(GENESIS, GENESIS, GENESIS), inputs)
    assert third.intake.taken == () and not third.counts


def test_the_inputs_root_covers_what_is_taken() -> None:
    inputs = [deposit(SPONSOR, 0, 1)]
    seen = point(12, inputs)
    with_inputs = block(begin(), heads(seen, seen, seen), inputs)
    other = [deposit(SPONSOR, 0, 2)]
    with_others = block(begin(), heads(*(point(12, other),) * 3), other)
    without = block(begin(), heads(A, A, A))
    roots = {one.inputs_root for one in (with_inputs, with_others, without)}
    assert len(roots) == 3, "the head hashes of these candidates are the same"


def test_bonds_are_credit_from_the_block_after() -> None:
    other = b"\x06" * 20
    inputs = [bond(other, 5), bond(other, 6), bond(SPONSOR, 1)]
    seen = point(12, inputs)
    made = block(begin(), heads(seen, seen, seen), inputs)
    assert made.state.bonded_wei == Map({other: 11, SPONSOR: 10**18 + 1})
    assert state_of(value_of(made.state)) == made.state


# --- forced orders --------------------------------------------------------------------------------------------------
def step(state: OrderingState, number: int, inputs: Sequence[ChainInput], **more: Any) -> Derived:
    seen = point(number, inputs)
    return block(state, heads(seen, seen, seen), inputs, **more)


def test_forced_orders_wait_until_they_are_due_and_come_first_in_the_queue_s_order() -> None:
    inputs = [forced(b"one"), deposit(SPONSOR, 0, 1), forced(b"two")]
    made = step(begin(), 12, inputs)
    assert [one.due_number for one in made.state.chain.forced] == [14, 16] and made.batch == ()
    made = step(made.state, 13, inputs)
    assert made.batch == () and not made.counts
    assert made.state.chain.cleared_number == 13
    made = step(made.state, 15, inputs)
    assert made.batch == (inputs[0].amount,) and made.state.chain.forced_head == 1
    made = step(made.state, 40, inputs)
    assert made.batch == (inputs[2].amount,) and made.state.chain.forced == ()
    assert made.lifted == made.batch and set(made.forced) == set(made.batch)
    again = step(made.state, 41, inputs)
    assert again.batch == () and again.state.chain.forced_head == 2


def test_a_forced_order_that_is_invalid_is_done_with_and_the_height_counts() -> None:
    inputs = [forced(b"no order")]
    made = step(begin(), 12, inputs)
    made = step(made.state, 20, inputs)
    assert made.batch == () and made.counts and made.state.chain.forced_head == 1


@pytest.mark.parametrize("case", ["expired", "not yet", "credit", "twice"])
def test_what_may_not_be_batched_is_done_with_all_the_same(case: str) -> None:
    facts = {
        "expired": OrderFacts(0, START_MS, SPONSOR, 256),
        "not yet": OrderFacts(START_MS + 1, START_MS + 9, SPONSOR, 256),
        "credit": OrderFacts(0, START_MS + 9, b"\x08" * 20, 256),
        "twice": FACTS,
    }[case]
    inputs = [forced(b"one"), forced(b"one")]

    def judge(body: bytes) -> ForcedFacts:
        return ForcedFacts(hashlib.sha256(body).digest(), facts)

    made = step(begin(), 12, inputs, forced=judge)
    made = step(made.state, 30, inputs, forced=judge)
    assert made.batch == ((inputs[0].amount,) if case == "twice" else ())
    assert made.state.chain.forced_head == 2 and made.state.chain.forced == ()
    assert made.state.charged_wei.get(SPONSOR, 0) == limits.ORDER_CHARGE_WEI * len(made.batch)


def test_one_that_cannot_be_judged_yet_holds_the_block() -> None:
    inputs = [forced(b"one")]
    made = step(begin(), 12, inputs)
    seen = point(30, inputs)
    assert attempt(made.state, heads(seen, seen, seen), inputs, forced=lambda body: None) == Missing(())


def test_forced_orders_count_for_the_batch_s_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_ORDERS_MAX", 2)
    inputs = [forced(b"%d" % i) for i in range(5)]
    made = step(begin(), 12, inputs)
    made = step(made.state, 50, inputs)
    assert len(made.batch) == 2 and made.state.chain.forced_head == 2
    assert made.state.chain.cleared_number < 50, "what is due and waits is owed"
    made = step(made.state, 50, inputs)
    made = step(made.state, 50, inputs)
    assert len(made.batch) == 1 and made.state.chain.cleared_number == 50


def test_forced_orders_among_the_genesis_inputs_are_due_with_the_next_checkpoint() -> None:
    inputs = [forced(b"one")]
    state = genesis_state(ZERO_HASH, START_MS, N, chain_at(replace(point(10, inputs), number=10), inputs))
    assert state.chain.forced == (ForcedOrder(11, b"one"),)
    assert step(state, 10, inputs).batch == ()
    assert step(state, 11, inputs).batch == (inputs[0].amount,)


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    seen=st.sets(st.integers(1, 30), max_size=12),
    delay=st.integers(0, 5),
    spacing=st.integers(0, 4),
    room=st.sampled_from((1, 2, 256)),
)
def test_whatever_checkpoints_are_seen_nothing_is_owed_up_to_the_cleared_number(
    blocks: list[int], seen: set[int], delay: int, spacing: int, room: int
) -> None:
    """The contract's rule for a commit with ``l1_head = cleared_number``, against the contract's own due numbers."""
    inputs: list[ChainInput] = []
    due: list[int] = []
    counts: dict[int, int] = {}
    for number, amount in enumerate(blocks, GENESIS.number + 1):
        for _ in range(amount):
            inputs.append(forced(b"%d" % len(inputs)))
            due.append(max(number + delay, due[-1] + spacing if due else 0))
        counts[number] = len(inputs)
    state, terms = begin(), ForcedTerms(delay, spacing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "INPUTS_PER_BLOCK_MAX", room)
        for number in sorted(GENESIS.number + one for one in seen):
            if number not in counts:
                continue
            cleared = state.chain.cleared_number
            named = point(number, inputs[: counts[number]])
            state = block(state, heads(named, named, named), inputs, terms=terms).state
            chain = state.chain
            owed = [one for one in due if one <= chain.cleared_number]
            assert chain.forced_head >= len(owed)
            assert cleared <= chain.cleared_number <= number
            assert chain.forced_head <= chain.inputs_count <= counts[number]
            for index, one in enumerate(chain.forced, chain.forced_head):
                assert one.due_number <= due[index], "never later than the contract has it"


# --- waking ---------------------------------------------------------------------------------------------------------
def test_a_block_wakes_where_f_plus_one_heads_name_the_last_counting_height() -> None:
    counting = step(begin(), 12, [deposit(SPONSOR, 0, 1)]).state
    assert counting.last_counting == 1
    for due, wakes in (((1, 1), True), ((1, 0), False), ((1, 2), False), ((2, 2), False), ((0, 0, 0), False)):
        made = block(counting, heads(*(GENESIS,) * 3, due=due))
        assert made.counts == wakes, due
        assert made.state.counting == ((1, 2) if wakes else (1,))


def test_nothing_wakes_before_a_height_counts() -> None:
    assert not block(begin(), heads(GENESIS, GENESIS, GENESIS, due=(0, 0, 0))).counts


def test_who_names_a_height_that_another_one_has_overtaken_wakes_nobody() -> None:
    state = step(begin(), 12, [deposit(SPONSOR, 0, 1)]).state
    state = block(state, heads(*(GENESIS,) * 3, due=(1, 1))).state
    assert state.last_counting == 2
    assert not block(state, heads(*(GENESIS,) * 3, due=(1, 1, 1))).counts


# --- log entries ----------------------------------------------------------------------------------------------------
def test_input_entries_fit_the_log_and_hold_all_in_order() -> None:
    from mpc_sequencer.core.codec import encode

    inputs = [forced(bytes((i % 256,)) * limits.FORCED_BYTES_MAX) for i in range(300)]
    inputs += [deposit(SPONSOR, 0, i) for i in range(600)]
    entries = list(input_entries(7, inputs))
    assert [one for entry in entries for one in entry.inputs] == inputs
    assert all(len(encode(entry)) <= limits.LOG_ENTRY_BYTES_MAX for entry in entries)
    assert [entry.first_index for entry in entries] == [
        7 + sum(len(before.inputs) for before in entries[:i]) for i, _ in enumerate(entries)
    ]


def test_an_intake_without_inputs_keeps_the_root_as_it_was() -> None:
    made = take_inputs(begin().chain, heads(A, A, A), F, False, lambda chain, checkpoint: None, ForcedTerms(0, 0))
    assert isinstance(made, Intake) and made.root_part() == ()
