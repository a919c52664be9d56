"""The epoch's end in the ordering state: when a handover is agreed, when batches are empty, which block is last."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering import (
    Candidate,
    Derived,
    KeyFacts,
    OrderFacts,
    OrderingState,
    derive,
    epoch_state,
    genesis_state,
)
from mpc_sequencer.core.ordering.value import state_of, value_of
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Checkpoint, Head, OrderList, ResultRef

N, F, Q = 4, 1, 3
START_MS = 1_000_000
CHECKPOINT = Checkpoint(1, ZERO_HASH, 0, ZERO_HASH)
SPONSOR = b"\x0a" * 20
BONDS = {SPONSOR: 10 * limits.ORDER_CHARGE_WEI}
THIS, OTHER = b"\xaa" * 32, b"\xbb" * 32
RESULT = b"\xcc" * 32


def word_id(node: int, digest: bytes) -> bytes:
    return bytes((0xE0, node)) + digest[:30]


def order_id(number: int) -> bytes:
    return bytes((0x0F, number)) + bytes(30)


class Log:
    """Blocks on top of each other, in which members' lists name words and orders."""

    def __init__(self, *, solid: int | None = None) -> None:
        self.state = genesis_state(ZERO_HASH, START_MS, N)
        self._facts: dict[bytes, OrderFacts | KeyFacts] = {}
        self._numbers = [0] * N
        self._solid = solid

    def order(self, number: int, *, valid_from_ms: int = 0) -> bytes:
        made = order_id(number)
        self._facts[made] = OrderFacts(valid_from_ms, START_MS + 10**9, SPONSOR, 256)
        return made

    def word(self, node: int, digest: bytes) -> bytes:
        made = word_id(node, digest)
        self._facts[made] = KeyFacts(node, digest)
        return made

    def candidate(self, listed: Sequence[bytes], by: Sequence[int], certify: Sequence[int]) -> Candidate:
        heads, lists = [], []
        results = tuple(ResultRef(height=height, result=RESULT) for height in certify)
        for node in range(N):
            mine: tuple[OrderList, ...] = ()
            if listed and node in by:
                self._numbers[node] += 1
                mine = (OrderList(0, 0, node, self._numbers[node], ZERO_HASH, tuple(listed), NO_SIGNATURE),)
            time_ms = self.state.time_ms + 10
            terms = (self._numbers[node], bytes((node, self._numbers[node])) * 16, results, CHECKPOINT, 0, NO_SIGNATURE)
            heads.append(Head(0, 0, node, self.state.view + 1, time_ms, *terms))
            lists.append(mine)
        hashes = tuple(tuple(bytes((1, one.node, one.number)) for one in mine) for mine in lists)
        ids = tuple(bytes((2, head.node, self.state.height)) for head in heads)
        return Candidate(self.state.view + 1, tuple(heads), tuple(lists), ids, hashes)

    def block(self, *listed: bytes, by: Sequence[int] = (0, 1), certify: Sequence[int] = ()) -> Derived:
        derived = derive(
            self.state,
            self.candidate(listed, by, certify),
            faults=F,
            quorum=Q,
            bonds_wei=BONDS,
            facts=self._facts.get,
            solid=self._solid,
        )
        assert isinstance(derived, Derived)
        self.state = derived.state
        assert state_of(value_of(derived.state)) == derived.state
        return derived


def test_q_lifted_words_of_one_handover_agree_on_it_and_fewer_or_other_words_do_not() -> None:
    log = Log()
    log.block(log.word(0, THIS), log.word(1, THIS))
    log.block(log.word(2, OTHER), log.word(3, OTHER), log.word(0, OTHER)[:31] + b"\x01", by=[2])  # one listing each
    assert (log.state.handover, dict(log.state.handovers)) == (b"", {THIS: 0b0011})
    log.block(log.word(2, OTHER), log.word(3, OTHER))
    assert log.state.handover == b"" and log.state.handovers[OTHER] == 0b1100
    log.block(log.word(1, THIS))  # its word is lifted already
    assert log.state.handover == b""
    log.block(log.word(3, THIS))  # who gave its word for another handover, and has no business to
    assert log.state.handover == THIS and not log.state.ended


def test_the_block_that_agrees_still_has_its_batch_and_the_next_ones_are_empty() -> None:
    log = Log()
    agreed = log.block(*(log.word(node, THIS) for node in range(3)), log.order(1))
    assert agreed.batch == (order_id(1),) and agreed.state.handover == THIS
    after = log.block(log.order(2))
    assert after.batch == () and [one.order_id for one in after.state.queue] == [order_id(2)]
    assert not after.state.ended, "height 1 counts and is not certified"
    assert log.block().batch == () and not log.state.ended
    certifying = log.block(certify=[1])
    assert [one.height for one in certifying.certified] == [1]
    assert certifying.state.counting == () and not certifying.state.ended, "certified in the ancestors, not in itself"
    last = log.block(log.order(3))
    assert last.state.ended and last.batch == ()
    filler = log.block(log.order(4))
    assert filler.state.ended and filler.batch == () and filler.state.sequenced == 1
    assert filler.state.charged_wei[SPONSOR] == limits.ORDER_CHARGE_WEI


def test_with_nothing_uncertified_the_next_block_is_the_last() -> None:
    log = Log()
    log.block(*(log.word(node, THIS) for node in range(3)))
    assert log.state.handover == THIS and not log.state.ended
    assert log.block().state.ended


def test_a_second_handover_does_not_replace_the_first_whatever_its_hash() -> None:
    log = Log()
    log.block(*(log.word(node, OTHER) for node in range(3)), log.order(1))
    log.block(*(log.word(node, THIS) for node in range(4)))  # q members of which f+1 are honest never say both
    assert log.state.handover == OTHER


def test_words_that_one_member_lists_count_for_nothing() -> None:
    log = Log()
    for node in range(N):
        log.block(log.word(node, THIS), by=[3])
    assert log.state.handover == b"" and not log.state.handovers


def test_what_concerns_orders_goes_over_and_what_concerns_old_members_does_not() -> None:
    log = Log()
    log.block(*(log.word(node, THIS) for node in range(3)), log.order(1))
    log.block(log.order(2), log.order(3, valid_from_ms=START_MS + 10**6))
    log.block(log.order(4), by=[0])  # one listing: it is to be listed anew
    log.block(certify=[1])
    last = log.block().state
    assert last.ended
    state = epoch_state(last, 7, placed=False)
    assert (state.height, state.time_ms, state.view, state.block_id) == (last.height, last.time_ms, 0, last.block_id)
    assert {one.order_id for one in state.queue} == {order_id(2), order_id(3)}
    assert state.lifted == last.lifted and state.charged_wei == last.charged_wei and state.sequenced == 1
    assert state.last_lists == ((0, ZERO_HASH),) * 7 and state.listed == state.incarnations == (0,) * 7
    assert not state.listings and not state.reports and not state.handovers and not state.positions
    assert (state.handover, state.ended, state.counting) == (b"", False, ())
    assert state.certified_height == last.certified_height


def test_the_next_epoch_batches_what_the_last_one_left_and_never_what_it_has_batched() -> None:
    log = Log()
    log.block(*(log.word(node, THIS) for node in range(3)), log.order(1))
    log.block(log.order(2))
    log.block(certify=[1])
    log.block()
    log.state = epoch_state(log.state, N, placed=False)
    log._numbers = [0] * N
    later = log.block(log.order(1), log.order(2), log.order(5))
    assert set(later.batch) == {order_id(2), order_id(5)}
    assert later.state.counting == (5,)


def test_listings_of_the_epoch_before_lift_nothing_in_the_next_one() -> None:
    log = Log()
    log.block(*(log.word(node, THIS) for node in range(3)))
    log.block(log.order(9), by=[0])
    assert log.state.ended
    log.state = epoch_state(log.state, N, placed=False)
    log._numbers = [0] * N
    assert log.block(log.order(9), by=[1]).batch == ()
    assert log.block(log.order(9), by=[2]).batch == (order_id(9),)


def test_by_receipt_queued_orders_wait_for_the_new_members_places() -> None:
    log = Log(solid=2)
    log.block(*(log.word(node, THIS) for node in range(3)))
    log.block(log.order(1), by=[0, 1])
    assert log.state.ended and [one.order_id for one in log.state.queue] == [order_id(1)]
    log.state = epoch_state(log.state, N, placed=True)
    assert dict(log.state.positions) == {order_id(1): ()}
    log._numbers = [0] * N
    assert log.block().batch == ()
    assert log.block(order_id(1), by=[2]).batch == ()
    later = log.block(order_id(1), by=[3])
    assert later.batch == (order_id(1),) and {node for node, _, _ in later.positions[order_id(1)]} == {2, 3}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sets(st.integers(0, N - 1), max_size=N),  # whose words come
            st.integers(1, 2),  # by how many members' lists
            st.booleans(),  # an order comes
            st.booleans(),  # what counts is certified
        ),
        max_size=14,
    )
)
def test_random_ends_follow_the_rule(steps: list[tuple[set[int], int, bool, bool]]) -> None:
    log = Log()
    said: set[int] = set()
    counting: set[int] = set()
    agreed = ended = False
    for number, (speakers, listings, orders, certify) in enumerate(steps, 1):
        listed = [log.word(node, THIS) for node in sorted(speakers)] + ([log.order(number)] if orders else [])
        was_counting, was_agreed = set(counting), agreed
        derived = log.block(*listed, by=range(listings), certify=sorted(counting) if certify else ())
        if certify:
            counting.clear()
        if listings > F:
            said |= speakers
        agreed = agreed or len(said) >= Q
        assert bool(derived.batch) <= (not was_agreed), "no order is batched on a parent with a handover"
        if derived.batch:
            counting.add(number)
        ended = was_agreed and not was_counting
        assert (bool(derived.state.handover), derived.state.ended) == (agreed, ended)
        assert set(derived.state.counting) == counting
    assert isinstance(log.state, OrderingState) and isinstance(log.state.handovers, Map)
