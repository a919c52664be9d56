"""Dark markets in a block: a word that it lifts makes it count, and orders cost and weigh what their buckets say. The
node's rule and the auditor's agree in every history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from receive_kit import SPONSOR, START_MS, History, oid

from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering import OrderFacts
from mpc_sequencer.core.ordering.chainstate import NO_CHECKPOINT, ForcedOrder, chain_at
from mpc_sequencer.core.ordering.inputs import ForcedFacts, force

WORD, OTHER = oid("D"), oid("K")
LARGE = 4_096
CHARGE = limits.ORDER_CHARGE_WEI
POOR = b"\x0b" * 20
WINDOW = (START_MS, 2 * START_MS)
SMALLER, LARGER = OrderFacts(*WINDOW, SPONSOR, LARGE), OrderFacts(*WINDOW, SPONSOR, 8_192)
FACTS = {
    oid("x"): SMALLER,
    oid("y"): SMALLER,
    oid("z"): LARGER,
    oid("p"): OrderFacts(*WINDOW, POOR, LARGE),
    oid("q"): OrderFacts(*WINDOW, POOR, 256),
}
BONDS = {SPONSOR: 10**6 * CHARGE, POOR: 20 * CHARGE}


@pytest.fixture(autouse=True)
def small_bound() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BATCH_LARGE_BYTES_MAX", 8_192)
        yield


def history(by_receipt: bool = False) -> History:
    ids = {"key_ids": frozenset({WORD, OTHER}), "dark_ids": frozenset({WORD})}
    return History(facts=FACTS, bonds_wei=BONDS, by_receipt=by_receipt, **ids)


def listed(made: History, *names: str) -> list[tuple[bytes, ...]]:
    """Batches of the block in which all members list these, and of the three after it."""
    ids = [oid(name) for name in names]
    return [one.batch for one in (made.block(*[ids] * 5), made.block(), made.block(), made.block())]


@pytest.mark.parametrize("by_receipt", [False, True])
def test_a_block_that_lifts_a_dark_word_counts_and_one_that_lifts_another_message_does_not(by_receipt: bool) -> None:
    made = history(by_receipt)
    assert not made.block([OTHER], [OTHER]).counts
    first = made.block([WORD])
    assert not first.counts and not first.key_messages
    second = made.block([], [WORD])
    assert second.counts and second.key_messages == (WORD,) and not second.batch
    assert second.state.last_counting == second.state.height
    assert not made.block([], [], [WORD], [WORD]).counts


def test_no_word_makes_a_block_count_once_the_handover_is_agreed() -> None:
    """Else members that speak of dark markets could put the epoch's end off."""
    made = history()
    made.state = replace(made.state, handover=bytes(31) + b"\x01")
    made.auditor.handover = bytes(31) + b"\x01"
    derived = made.block([WORD], [WORD])
    assert derived.key_messages == (WORD,) and not derived.counts


def test_an_order_is_charged_by_its_bucket() -> None:
    made = history()
    assert listed(made, "a", "x")[0] != ()
    assert dict(made.state.charged_wei) == {SPONSOR: (1 + LARGE // 256) * CHARGE}


def test_a_large_order_that_its_bond_does_not_cover_stays_and_smaller_ones_pass() -> None:
    made = History(facts=FACTS, bonds_wei={POOR: (LARGE // 256) * CHARGE - 1}, by_receipt=False)
    assert listed(made, "p", "q") == [(oid("q"),), (), (), ()]
    assert [one.order_id for one in made.state.queue] == [oid("p")]


def test_a_large_order_that_its_bond_does_not_cover_holds_nobody_back_in_receive_order() -> None:
    """A shaded order without credit for its size takes part in nothing, though it would be covered were it small."""
    made = History(facts=FACTS, bonds_wei={**BONDS, POOR: 2 * CHARGE})
    p, a = oid("p"), oid("a")
    assert made.block([p, a], [p, a], [a]).batch == (a,)


@pytest.mark.parametrize("by_receipt", [False, True])
def test_a_batch_has_so_many_bytes_of_large_orders_and_the_rest_waits_for_the_next(by_receipt: bool) -> None:
    """Large orders of one sponsor hold nobody else's back, and none of them waits for ever."""
    made = history(by_receipt)
    batches = listed(made, "x", "y", "z", "a", "b")
    assert {oid("a"), oid("b")} <= set(batches[0])
    for batch in batches:
        assert sum(FACTS[one].size_bytes for one in batch if one in FACTS) <= limits.BATCH_LARGE_BYTES_MAX
    assert {one for batch in batches[:3] for one in batch} == {oid(name) for name in "xyzab"}
    assert batches[1] != ()


def test_what_stays_for_its_weight_is_charged_when_it_is_taken() -> None:
    made = history()
    batches = listed(made, "x", "y", "z")
    assert dict(made.state.charged_wei) == {SPONSOR: (2 * LARGE + 8_192) // 256 * CHARGE}
    assert sorted(len(batch) for batch in batches) == [0, 0, 1, 2]


def test_a_forced_order_is_charged_by_its_bucket() -> None:
    chain = msgspec.structs.replace(chain_at(NO_CHECKPOINT), forced=(ForcedOrder(0, b"one"),))
    facts = ForcedFacts(oid("x"), SMALLER)
    for bond, taken in ((LARGE // 256 * CHARGE - 1, ()), (LARGE // 256 * CHARGE, (oid("x"),))):
        forcing = force(chain, (), lambda one: False, {SPONSOR: bond}, {}, START_MS, False, lambda body: facts)
        assert forcing is not None and forcing.batch == taken
        assert dict(forcing.charged_wei) == ({SPONSOR: bond} if taken else {})


@example(by_receipt=True, blocks=[([["x", "y", "z"]] * 5, 1), ([[]] * 5, 1)])
@settings(max_examples=60, deadline=None)
@given(
    by_receipt=st.booleans(),
    blocks=st.lists(
        st.tuples(
            st.lists(st.lists(st.sampled_from("DKabxyzpq"), unique=True, max_size=5), min_size=5, max_size=5),
            st.sampled_from([1, 50, limits.VALIDITY_MS_MAX // 2]),
        ),
        max_size=6,
    ),
)
def test_node_and_auditor_agree_about_every_history(
    by_receipt: bool, blocks: list[tuple[list[list[str]], int]]
) -> None:
    made = history(by_receipt)
    for lists, after_ms in blocks:
        derived = made.block(*[[oid(one) for one in names] for names in lists], after_ms=after_ms)
        weights = [FACTS[one].size_bytes for one in derived.batch if one in FACTS and FACTS[one].size_bytes > 256]
        assert sum(weights) <= limits.BATCH_LARGE_BYTES_MAX
