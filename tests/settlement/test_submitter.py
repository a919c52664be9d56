"""The submitter as a state machine: turns, stuck and vanished transactions, restarts, on a model of a chain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpc_sequencer.settlement.steps import Kind, Step
from mpc_sequencer.settlement.submitter import COMMIT_ALONE_MS, SubmitterState
from mpc_sequencer.settlement.submitter_events import (
    AskFailed,
    Place,
    Refusal,
    SendFailed,
    Sent,
    SubmitterMisuse,
    SubmitterTerms,
    Tick,
)
from tests.settlement.submitter_kit import HEIGHTS, TERMS, Member, ModelChain, Transaction, commit, result


def run(members: Iterable[Member], until_ms: int, *, mine_every_ms: int = 2_000, from_ms: int = 0) -> None:
    """Let time pass; a block comes every ``mine_every_ms`` (0: none)."""
    chain = next(iter(members)).chain
    for now_ms in range(from_ms, until_ms, 500):
        if mine_every_ms and now_ms % mine_every_ms == 0:
            chain.mine()
        for member in members:
            member.step(Tick(now_ms))


def alone(**terms: Any) -> Member:
    """The only member of a committee."""
    return Member(ModelChain(), 0, members=1, terms=SubmitterTerms(**{**_fields(), **terms}))


def _fields() -> dict[str, int]:
    return {"turn_ms": 3_000, "ask_ms": 1_000, "stuck_ms": 20_000, "max_fee_wei": 1_000}


def sent(chain: ModelChain) -> list[Transaction]:
    return [one for block in chain.blocks for one, _ in block.included]


def test_with_all_members_live_one_transaction_is_sent_for_a_range_and_all_are_told() -> None:
    chain = ModelChain()
    members = [Member(chain, index) for index in range(4)]
    for number in (1, 2, 3):
        for member in members:
            member.know(commit(number), result(number))
    run(members, 40_000)
    assert [(one.owner, one.step) for one in sent(chain)] == [
        (number % 4, Step(Kind.BOTH, number * HEIGHTS)) for number in (1, 2, 3)
    ]
    for member in members:
        assert [one.range_number for one in member.settled] == [1, 2, 3]
        mine = [one.range_number for one in member.settled if one.transaction_hash is not None]
        assert mine == [number for number in (1, 2, 3) if number % 4 == member.index]
        assert member.warnings == [] and member.state.idle


@pytest.mark.parametrize("live", range(4))
def test_one_live_member_posts_everything(live: int) -> None:
    member = Member(ModelChain(), live)
    for number in range(1, 6):
        member.know(commit(number), result(number))
    run([member], 120_000)
    assert [one.range_number for one in member.settled] == [1, 2, 3, 4, 5]


def test_a_commit_goes_alone_where_its_result_does_not_come_and_together_where_it_does() -> None:
    member = alone()
    member.know(commit(1))
    run([member], COMMIT_ALONE_MS - 1_000)
    assert sent(member.chain) == [] and not member.chain.mempool
    run([member], COMMIT_ALONE_MS + 6_000, from_ms=COMMIT_ALONE_MS)
    assert [one.step.kind for one in sent(member.chain)] == [Kind.COMMIT]
    member.know(result(1))
    run([member], 40_000, from_ms=COMMIT_ALONE_MS + 6_000)
    assert [one.step.kind for one in sent(member.chain)] == [Kind.COMMIT, Kind.RESULT]
    assert [one.range_number for one in member.settled] == [1]


def test_a_stuck_transaction_is_outbid_under_its_nonce_until_it_is_mined() -> None:
    member = alone()
    member.know(commit(1), result(1))
    run([member], 2_000, mine_every_ms=0)
    member.chain.base_fee_wei = 60
    run([member], 120_000, from_ms=2_000)
    fees = [one.max_fee_wei for one in member.signed.values()]
    assert len(fees) >= 2 and all(after * 8 >= before * 9 for before, after in pairwise(fees))
    assert {one.nonce for one in member.signed.values()} == {0}
    assert [one.range_number for one in member.settled] == [1]
    assert any("not mined" in one for one in member.warnings)


def test_no_transaction_offers_more_than_the_ceiling() -> None:
    member = alone(max_fee_wei=70)
    member.know(commit(1), result(1))
    run([member], 2_000, mine_every_ms=0)
    member.chain.base_fee_wei = 80
    run([member], 200_000, from_ms=2_000)
    assert max(one.max_fee_wei for one in member.signed.values()) <= 70
    assert any("above the ceiling of 70" in one for one in member.warnings) and not member.settled
    member.chain.base_fee_wei = 9
    run([member], 300_000, from_ms=200_000)
    assert [one.range_number for one in member.settled] == [1]


def test_a_dropped_transaction_is_sent_again_as_it_is() -> None:
    member = alone(stuck_ms=10_000_000)
    member.know(commit(1), result(1))
    run([member], 2_000, mine_every_ms=0)
    member.chain.mempool.clear()
    member.restart(2_000)
    run([member], 20_000, from_ms=2_000)
    assert len(member.signed) == 1 and [one.range_number for one in member.settled] == [1]


@pytest.mark.parametrize("keep", [True, False])
def test_a_result_that_vanishes_is_posted_again_by_the_same_bytes(keep: bool) -> None:
    member = alone()
    member.know(commit(1), result(1))
    run([member], 3_000, mine_every_ms=1_000)
    assert member.chain.view.result_height == HEIGHTS and not member.settled
    member.chain.reorganise(len(member.chain.blocks) - 1, keep=keep)
    run([member], 30_000, from_ms=3_000)
    assert [one.range_number for one in member.settled] == [1] and len(member.signed) == 1
    assert any("reorganised" in one for one in member.warnings)


def test_nothing_counts_as_settled_before_it_is_confirmed() -> None:
    member = alone()
    member.know(commit(1), result(1))
    run([member], 10_000, mine_every_ms=0)
    for count in range(1, 6):
        member.chain.mine()
        run([member], 10_000 + count * 2_000, mine_every_ms=0, from_ms=10_000 + (count - 1) * 2_000)
        assert bool(member.settled) == (count > member.chain.confirmations), count


def test_a_nonce_whose_range_others_posted_is_given_to_the_next_range() -> None:
    member = alone()
    member.know(commit(1), result(1))
    run([member], 2_000, mine_every_ms=0)
    held = member.chain.mempool.pop((0, 0))
    member.chain.send(Transaction(9, 0, held.step, 500, 50))
    member.know(commit(2), result(2))
    run([member], 60_000, from_ms=2_000)
    assert [one.nonce for one in member.signed.values()] == [0, 0]
    assert [one.range_number for one in member.settled] == [1, 2]


def test_a_stuck_nonce_that_is_of_no_use_any_more_is_used_up() -> None:
    member = alone()
    member.know(commit(1), result(1))
    run([member], 2_000, mine_every_ms=0)
    held = member.chain.mempool[0, 0]
    member.chain.send(Transaction(9, 0, held.step, 500, 50))
    member.chain.mine(lambda one: one.owner == 9)
    for now_ms in range(2_000, 60_000, 500):
        member.chain.mine(lambda one: one.owner != 0 or one.step.kind is Kind.CANCEL)
        member.step(Tick(now_ms))
    assert [one.step.kind for one in member.signed.values()] == [Kind.BOTH, Kind.CANCEL]
    assert member.state.idle and [one.range_number for one in member.settled] == [1]


def test_a_shared_key_is_noticed() -> None:
    member = alone()
    member.know(commit(1), result(1))
    run([member], 2_000, mine_every_ms=0)
    member.chain.mempool[0, 0] = Transaction(0, 0, Step(Kind.CANCEL, 0), 900, 90)
    run([member], 60_000, from_ms=2_000)
    assert any("did not send: is its key shared?" in one for one in member.warnings)
    assert [one.range_number for one in member.settled] == [1], "and the result goes under the next nonce"
    waiting = alone()
    waiting.chain.mempool[0, 0] = Transaction(0, 0, Step(Kind.CANCEL, 0), 5, 1)
    waiting.know(commit(1), result(1))
    run([waiting], 10_000)
    assert not waiting.signed and any("is its key shared?" in one for one in waiting.warnings)


def test_a_restart_between_signing_and_sending_goes_on_with_the_same_bytes() -> None:
    member = alone()
    member.know(commit(1), result(1))
    member.step(Tick(0))
    assert len(member.signed) == 1
    member.chain.mempool.clear()
    member.restart(1_000)
    run([member], 40_000, from_ms=1_000)
    assert len(member.signed) == 1 and [one.range_number for one in member.settled] == [1]


def test_a_dead_node_is_asked_ever_more_rarely_and_then_all_goes_on() -> None:
    member = alone()
    member.reachable = False
    member.know(commit(1), result(1))
    asked = 0
    for now_ms in range(0, 120_000, 500):
        before = member.state._ask_failures
        member.step(Tick(now_ms))
        asked += member.state._ask_failures != before
    assert 5 <= asked <= 15 and len([one for one in member.warnings if "cannot ask" in one]) == 1
    member.reachable = True
    run([member], 200_000, from_ms=120_000)
    assert [one.range_number for one in member.settled] == [1]


def test_who_has_no_place_posts_nothing_and_is_told_all_the_same() -> None:
    chain = ModelChain()
    outside, inside = Member(chain, 3), Member(chain, 1)
    outside.state.step(Place(4, None))
    for member in (outside, inside):
        member.know(commit(1), result(1))
    run([outside, inside], 40_000)
    assert {one.owner for one in sent(chain)} == {1}
    assert [one.range_number for one in outside.settled] == [1]


def test_a_chain_that_ends_inside_our_range_halts_us() -> None:
    member = alone()
    member.chain.blocks[-1].view = replace(member.chain.view, result_height=5)
    member.know(commit(1), result(1))
    run([member], 20_000)
    assert member.state.halted and not member.signed and any("inside our range" in one for one in member.warnings)


def test_events_that_do_not_fit_change_nothing() -> None:
    for event in (
        AskFailed(""),
        SendFailed(0, Refusal.REVERTED, ""),
        Sent(0, None),  # type: ignore[arg-type]
        Tick(-1),
        Place(4, 4),
        Place(65, 0),
    ):
        state = SubmitterState(4, 0, TERMS)
        with pytest.raises(SubmitterMisuse):
            state.step(event)
        assert state.view is None and not state.slots and state.now_ms == 0
    state = SubmitterState(4, 0, TERMS)
    state.step(commit(1))
    with pytest.raises(SubmitterMisuse):
        state.step(commit(3))
    with pytest.raises(SubmitterMisuse):
        state.step(replace(result(2), number=1))
    assert state.waiting == 1


class Chaos(RuleBasedStateMachine):
    """Members, some of them down, on a chain that reorganises, drops, delays and gets dear. The model chain's member
    checks at every signature that nothing is signed under two nonces; here the contract's order and the end are
    checked."""

    @initialize(confirmations=st.integers(0, 4))
    def begin(self, confirmations: int) -> None:
        self.chain = ModelChain(confirmations)
        self.members = [Member(self.chain, index) for index in range(4)]
        self.now_ms = 0
        self.known = 0
        self.deepest = 0

    @rule()
    def a_range(self) -> None:
        self.known += 1
        for member in self.members:
            member.know(commit(self.known), result(self.known))

    @rule(times=st.integers(1, 12), owners=st.sets(st.integers(0, 3)))
    def time(self, times: int, owners: set[int]) -> None:
        for _ in range(times):
            self.now_ms += 500
            for member in self.members:
                member.step(Tick(self.now_ms))
        self.chain.mine(lambda one: one.owner in owners)

    @rule(long_ms=st.sampled_from((21_000, 60_000)))
    def long(self, long_ms: int) -> None:
        self.now_ms += long_ms
        for member in self.members:
            member.step(Tick(self.now_ms))

    @rule(depth=st.integers(1, 4), keep=st.booleans())
    def reorganise(self, depth: int, keep: bool) -> None:
        depth = min(depth, self.chain.confirmations, len(self.chain.blocks) - 1)
        self.chain.reorganise(depth, keep=keep)

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        if self.chain.mempool:
            del self.chain.mempool[data.draw(st.sampled_from(sorted(self.chain.mempool)))]

    @rule(base_fee=st.sampled_from((5, 10, 60, 200)))
    def fees(self, base_fee: int) -> None:
        self.chain.base_fee_wei = base_fee

    @rule(index=st.integers(0, 3))
    def reach(self, index: int) -> None:
        self.members[index].reachable = not self.members[index].reachable

    @rule(index=st.integers(0, 3))
    def restart(self, index: int) -> None:
        self.members[index].restart(self.now_ms)

    @rule(index=st.integers(0, 3))
    @precondition(lambda self: self.known > 0)
    def race(self, index: int) -> None:
        """Somebody else posts the next result."""
        at = self.chain.view.result_height + HEIGHTS
        if at <= self.known * HEIGHTS and self.chain.view.commit_height == at - HEIGHTS:
            nonce = self.chain.blocks[-1].nonces.get(9, 0)
            self.chain.send(Transaction(9, nonce, Step(Kind.BOTH, at), 900, 90))

    @invariant()
    def settled_in_order_and_only_what_is_confirmed(self) -> None:
        for member in getattr(self, "members", ()):
            numbers = [one.range_number for one in member.settled]
            assert numbers == list(range(1, len(numbers) + 1))

    def teardown(self) -> None:
        if not hasattr(self, "chain"):
            return
        self.chain.base_fee_wei = 10
        for member in self.members:
            member.reachable = True
        for _ in range(4_000):
            if all(len(member.settled) == self.known for member in self.members):
                break
            self.now_ms += 1_000
            self.chain.mine()
            for member in self.members:
                member.step(Tick(self.now_ms))
        assert self.chain.view.result_height == self.known * HEIGHTS
        for member in self.members:
            assert len(member.settled) == self.known, (member.index, member.warnings[-3:])


TestChaos = Chaos.TestCase
TestChaos.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
