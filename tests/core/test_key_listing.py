"""Key messages among a block's listings: lifted like orders, in no queue and no batch, once in VALIDITY_MS_MAX; the
node's rule and the auditor's agree about them in every history."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from receive_kit import History, oid

from mpc_sequencer.core import domains, limits

KEYS = frozenset(oid(name) for name in "KLM")
NAMES = "KLMab"


def history(by_receipt: bool = False, n: int = 5) -> History:
    return History(n=n, by_receipt=by_receipt, key_ids=KEYS)


@pytest.mark.parametrize("by_receipt", [False, True])
def test_a_key_message_counts_in_the_block_that_lifts_it_and_joins_no_queue(by_receipt: bool) -> None:
    made = history(by_receipt)
    first = made.block([oid("K"), oid("a")], [])
    assert not first.lifted
    second = made.block([], [oid("K"), oid("a")])
    assert second.lifted == (oid("K"), oid("a")) and second.key_messages == (oid("K"),)
    assert oid("K") not in second.batch and not any(one.order_id in KEYS for one in second.state.queue)
    assert not any(one in KEYS for one in second.state.positions)


def test_they_count_in_an_order_that_nobody_can_grind() -> None:
    made = history()
    derived = made.block([oid(one) for one in "KLM"], [oid(one) for one in "MLK"])
    assert set(derived.key_messages) == KEYS
    carries = [domains.CARRY(derived.inputs_root, one) for one in derived.key_messages]
    assert carries == sorted(carries)


def test_one_that_is_lifted_is_remembered_for_the_longest_validity_and_no_longer() -> None:
    made = history()
    assert made.block([oid("K")], [oid("K")]).key_messages == (oid("K"),)
    assert not made.block([], [], [oid("K")], [oid("K")], after_ms=limits.VALIDITY_MS_MAX - 1).lifted
    assert not made.block([], [], [oid("K")], after_ms=1).lifted
    assert made.block([], [], [], [oid("K")]).key_messages == (oid("K"),)


# an order that ends with a block and is listed again in it
@example(by_receipt=True, blocks=[([[], [], [], ["a"], ["a"]], 1), ([[], [], [], [], ["a"]], 300_000)])
@settings(max_examples=60, deadline=None)
@given(
    by_receipt=st.booleans(),
    blocks=st.lists(
        st.tuples(
            st.lists(st.lists(st.sampled_from(NAMES), unique=True, max_size=4), min_size=5, max_size=5),
            st.sampled_from([1, 50, limits.VALIDITY_MS_MAX // 2, limits.VALIDITY_MS_MAX]),
        ),
        max_size=7,
    ),
)
def test_node_and_auditor_agree_about_every_history(
    by_receipt: bool, blocks: list[tuple[list[list[str]], int]]
) -> None:
    made = history(by_receipt)
    for lists, after_ms in blocks:
        derived = made.block(*[[oid(one) for one in names] for names in lists], after_ms=after_ms)
        assert not KEYS & set(derived.batch)
