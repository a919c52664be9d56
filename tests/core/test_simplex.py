"""Simplex, rule by rule: what a member votes, when it changes views, what it never signs together."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from core_kit import make_certificate, make_vote, picture, refused

from mpc_sequencer.core import limits
from mpc_sequencer.core.agreement import Accepted, Rejected, Simplex, Verdict, Waiting
from mpc_sequencer.core.effects import Broadcast, Persist, VoteRecord
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import Proposal
from mpc_sequencer.core.types import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    VOTE_NAMES,
    ZERO_HASH,
    Block,
    BlockHeader,
    Certificate,
)
from mpc_sequencer.sim import make_deployment

D = make_deployment(4)
ME = 0
X, Y = b"\x0a" * 32, b"\x0b" * 32


@dataclass
class App:
    """An application that says what the test tells it to."""

    verdict: Verdict = field(default_factory=Accepted)
    work: bool = False
    busy: bool = False
    block: Block | None = None
    final: list[bytes] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    parents: list[bytes] = field(default_factory=list)
    forgotten_views: frozenset[int] = frozenset()
    relied: list[bytes] = field(default_factory=list)
    left: list[tuple[Block, int]] = field(default_factory=list)
    unknown_views: list[int] = field(default_factory=list)

    def prepare_proposal(self, parent_id: bytes, view: int, now_ms: int) -> Block | None:
        self.parents.append(parent_id)
        return self.block

    def process_proposal(self, block: Block, source: int, now_ms: int, *, voting: bool) -> Verdict:
        return self.verdict

    def finalized(self, block_id: bytes, certificate: Certificate, now_ms: int) -> None:
        self.final.append(block_id)

    def entered_view(self, view: int, now_ms: int) -> None:
        self.views.append(view)

    def rely_on(self, block: Block) -> None:
        self.relied.append(block.header.block_id())

    def left_waiting(self, block: Block, source: int) -> None:
        self.left.append((block, source))

    def loaded(self) -> bool:
        return self.busy

    def may_vote(self, view: int) -> bool:
        return view not in self.forgotten_views

    def own_vote_unknown(self, view: int) -> None:
        self.unknown_views.append(view)

    def has_work(self, now_ms: int) -> bool:
        return self.work


def engine() -> tuple[Simplex, App]:
    app = App()
    simplex = Simplex(D.committee, ME, D.signers[ME], app)  # type: ignore[arg-type]
    simplex.start(0)
    return simplex, app


def block(view: int, parent_id: bytes = D.committee.genesis_id, height: int = 1) -> Block:
    header = BlockHeader(
        1, 0, height, view, parent_id, 5, ZERO_HASH, ZERO_HASH, ZERO_HASH, D.committee.genesis.checkpoint
    )
    return Block(header, (), (), ())


def proposal(view: int, one: Block | None = None, **carried: object) -> Proposal:
    one = one or block(view)
    vote = make_vote(D, D.committee.leader(view), NOTARIZE, view, one.header.block_id())
    return Proposal(one, carried.get("parent"), carried.get("nullifications", ()), vote)  # type: ignore[arg-type]


def voted(simplex: Simplex) -> list[tuple[str, int]]:
    """(kind, view) of every vote signed since the last call."""
    records = [e.record.vote for e in simplex.effects if isinstance(e, Persist) and isinstance(e.record, VoteRecord)]
    simplex.effects = []
    return [(VOTE_NAMES[vote.kind], vote.view) for vote in records]


def certify(simplex: Simplex, kind: int, view: int, block_id: bytes = ZERO_HASH) -> None:
    simplex.on_certificate(make_certificate(D, kind, view, block_id, nodes=(1, 2, 3)), 0)


def test_a_valid_proposal_gets_one_notarize_vote() -> None:
    simplex, _ = engine()
    simplex.on_proposal(proposal(1), 1, 0)
    assert voted(simplex) == [("notarize", 1)]
    with refused("vote.equivocation"):
        simplex.on_proposal(proposal(1, block(1, height=2)), 1, 0)
    simplex.tick(1)
    assert voted(simplex) == []


def test_q_notarize_votes_move_on_and_finalize() -> None:
    simplex, app = engine()
    for node in (1, 2):
        simplex.on_vote(make_vote(D, node, NOTARIZE, 1, X), 0)
    assert (simplex.view, voted(simplex)) == (1, [])
    simplex.on_vote(make_vote(D, 3, NOTARIZE, 1, X), 0)
    assert (simplex.view, voted(simplex), app.final) == (2, [("finalize", 1)], [])
    for node in (1, 2):
        simplex.on_vote(make_vote(D, node, FINALIZE, 1, X), 0)
    assert app.final == [X]


def test_two_of_one_member_s_votes_count_once() -> None:
    simplex, _ = engine()
    for node, block_id in ((1, X), (1, X), (2, X)):
        simplex.on_vote(make_vote(D, node, NOTARIZE, 1, block_id), 0)
    before = picture(simplex)  # type: ignore[arg-type]
    with refused("vote.equivocation"):
        simplex.on_vote(make_vote(D, 1, NOTARIZE, 1, Y), 0)
    assert simplex.view == 1
    assert picture(simplex) == before  # type: ignore[arg-type]


def test_votes_for_other_blocks_do_not_add_up() -> None:
    simplex, _ = engine()
    for node, block_id in ((1, X), (2, Y), (3, X)):
        simplex.on_vote(make_vote(D, node, NOTARIZE, 1, block_id), 0)
    assert simplex.view == 1


def test_no_timer_without_work_and_a_nullify_vote_at_the_time_out_with_it() -> None:
    simplex, app = engine()
    simplex.tick(0)
    simplex.tick(10**6)
    assert (simplex.deadline_ms, voted(simplex)) == (None, [])
    app.work = True
    simplex.tick(10**6)
    simplex.tick(10**6 + limits.VIEW_TIMEOUT_MS - 1)
    assert voted(simplex) == []
    simplex.tick(10**6 + limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == [("nullify", 1)]
    simplex.tick(10**6 + 99 * limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == []


def test_a_view_whose_work_is_done_is_not_timed_out_and_later_work_has_a_whole_time_out() -> None:
    simplex, app = engine()
    app.work = True
    simplex.tick(0)
    app.work = False
    simplex.tick(limits.VIEW_TIMEOUT_MS)
    assert (simplex.deadline_ms, voted(simplex)) == (None, [])
    app.work = True
    simplex.tick(limits.VIEW_TIMEOUT_MS)
    simplex.tick(2 * limits.VIEW_TIMEOUT_MS - 1)
    assert voted(simplex) == []
    simplex.tick(2 * limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == [("nullify", 1)]


def nullified() -> tuple[Simplex, App]:
    simplex, app = engine()
    app.work = True
    simplex.tick(0)
    simplex.tick(limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == [("nullify", 1)]
    return simplex, app


def test_no_notarize_vote_after_a_nullify_vote() -> None:
    simplex, _ = nullified()
    simplex.on_proposal(proposal(1), 1, limits.VIEW_TIMEOUT_MS)
    assert voted(simplex) == []


def test_no_finalize_vote_after_a_nullify_vote() -> None:
    simplex, _ = nullified()
    certify(simplex, NOTARIZE, 1, X)
    assert (simplex.view, voted(simplex)) == (2, [])


def test_no_nullify_vote_after_a_finalize_vote() -> None:
    simplex, _ = engine()
    certify(simplex, NOTARIZE, 1, X)
    assert voted(simplex) == [("finalize", 1)]
    for node in (1, 2):
        simplex.on_vote(make_vote(D, node, NULLIFY, 1), 0)
    simplex._vote_nullify(1, 0)
    assert voted(simplex) == []


def test_f_plus_1_nullify_votes_make_a_member_join() -> None:
    simplex, _ = engine()
    simplex.on_vote(make_vote(D, 1, NULLIFY, 1), 0)
    assert voted(simplex) == []
    simplex.on_vote(make_vote(D, 2, NULLIFY, 1), 0)
    assert voted(simplex) == [("nullify", 1)]
    assert simplex.view == 2, "with its own vote they are q"


def test_nullify_votes_that_came_early_make_it_join_on_entering_the_view() -> None:
    simplex, _ = engine()
    for node in (1, 2):
        simplex.on_vote(make_vote(D, node, NULLIFY, 2), 0)
    certify(simplex, NULLIFY, 1)
    simplex.tick(0)
    assert ("nullify", 2) in voted(simplex)
    assert simplex.view == 3


def test_a_rejected_proposal_is_nullified_at_once() -> None:
    simplex, app = engine()
    app.verdict = Rejected(ProtocolError("block.derived", "Block.batch", 0, 1))
    simplex.on_proposal(proposal(1), 1, 0)
    assert voted(simplex) == [("nullify", 1)]


def test_a_waiting_proposal_is_looked_at_again() -> None:
    simplex, app = engine()
    app.verdict = Waiting()
    simplex.on_proposal(proposal(1), 1, 0)
    assert voted(simplex) == []
    app.verdict = Accepted()
    simplex.tick(1)
    assert voted(simplex) == [("notarize", 1)]


def test_a_proposal_still_waiting_when_its_view_is_notarized_is_kept() -> None:
    simplex, app = engine()
    app.verdict = Waiting()
    simplex.on_proposal(proposal(1), 1, 0)
    certify(simplex, NOTARIZE, 1, proposal(1).vote.block_id)
    assert [source for _, source in app.left] == [1]
    app.verdict = Accepted()
    simplex.on_proposal(proposal(2, block(2, proposal(1).vote.block_id)), 2, 0)
    certify(simplex, NULLIFY, 3)
    assert len(app.left) == 1, "one it voted for is kept already"


def test_certificates_of_a_later_view_catch_a_member_up() -> None:
    simplex, app = engine()
    certify(simplex, NULLIFY, 40)
    assert simplex.view == 41
    certify(simplex, FINALIZE, 200, X)
    assert (simplex.view, simplex.final_view, app.final) == (201, 200, [X])
    certify(simplex, FINALIZE, 150, Y)
    assert app.final == [X], "what is behind the final view says nothing new"


def test_a_proposal_must_extend_the_last_notarized_block() -> None:
    simplex, _ = engine()
    certify(simplex, NOTARIZE, 1, X)
    certify(simplex, NULLIFY, 2)
    voted(simplex)
    simplex.on_proposal(proposal(3, block(3, Y)), 3, 0)
    assert voted(simplex) == []
    again, _ = engine()
    certify(again, NOTARIZE, 1, X)
    certify(again, NULLIFY, 2)
    voted(again)
    again.on_proposal(proposal(3, block(3, X)), 3, 0)
    assert voted(again) == [("notarize", 3)]


def test_a_gap_that_is_not_nullified_is_not_jumped() -> None:
    simplex, _ = engine()
    certify(simplex, NULLIFY, 2)
    voted(simplex)
    simplex.on_proposal(proposal(3), 3, 0)
    assert voted(simplex) == [], "nothing says that view 1 made no block"
    simplex.on_certificate(make_certificate(D, NULLIFY, 1), 0)
    assert voted(simplex) == [("notarize", 3)]


def test_a_proposal_brings_the_certificates_it_rests_on() -> None:
    simplex, _ = engine()
    carried = proposal(
        3,
        block(3, X),
        parent=make_certificate(D, NOTARIZE, 1, X),
        nullifications=(make_certificate(D, NULLIFY, 2),),
    )
    simplex.on_proposal(carried, 3, 0)
    assert ("notarize", 3) in voted(simplex)


def test_one_bad_certificate_and_the_proposal_changes_nothing() -> None:
    simplex, _ = engine()
    bad = make_certificate(make_deployment(4, seed=8), NULLIFY, 2)
    carried = proposal(3, block(3, X), parent=make_certificate(D, NOTARIZE, 1, X), nullifications=(bad,))
    before = picture(simplex)  # type: ignore[arg-type]
    with refused("signature.signer"):
        simplex.on_proposal(carried, 3, 0)
    assert picture(simplex) == before  # type: ignore[arg-type]
    reverse = proposal(
        3, block(3, X), parent=bad, nullifications=(make_certificate(D, NULLIFY, 1), make_certificate(D, NULLIFY, 2))
    )
    with refused("signature.signer"):
        simplex.on_proposal(reverse, 3, 0)
    assert picture(simplex) == before  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sender", "leader_vote", "code"),
    [(2, None, "block.leader"), (1, make_vote(D, 2, NOTARIZE, 1, X), "block.leader")],
)
def test_a_proposal_by_another_than_the_leader_is_refused(sender: int, leader_vote: object, code: str) -> None:
    simplex, _ = engine()
    one = proposal(1)
    if leader_vote is not None:
        one = Proposal(one.block, None, (), leader_vote)  # type: ignore[arg-type]
    with refused(code):
        simplex.on_proposal(one, sender, 0)


def test_a_proposal_whose_vote_is_for_another_block_is_refused() -> None:
    simplex, _ = engine()
    with refused("vote.kind"):
        simplex.on_proposal(Proposal(block(1), None, (), make_vote(D, 1, NOTARIZE, 1, X)), 1, 0)


def test_votes_that_make_no_sense_are_refused() -> None:
    simplex, _ = engine()
    for kind, block_id in ((NULLIFY, X), (NOTARIZE, ZERO_HASH), (FINALIZE, ZERO_HASH)):
        with refused("vote.kind"):
            simplex.on_vote(make_vote(D, 1, kind, 1, block_id), 0)


def test_votes_far_ahead_take_no_memory() -> None:
    simplex, _ = engine()
    rounds = len(simplex._rounds)
    simplex.on_vote(make_vote(D, 1, NULLIFY, 2 + limits.VIEWS_AHEAD_MAX), 0)
    assert len(simplex._rounds) == rounds


def test_the_leader_proposes_once_and_only_on_what_it_may_extend() -> None:
    simplex, app = engine()
    for view in (1, 2, 3):
        certify(simplex, NULLIFY, view)
    assert D.committee.leader(simplex.view) == ME
    app.block = block(4)
    simplex.tick(limits.BLOCK_INTERVAL_MS_MIN)
    sent = [e.message for e in simplex.effects if isinstance(e, Broadcast) and isinstance(e.message, Proposal)]
    assert len(sent) == 1
    assert [one.view for one in sent[0].nullifications] == [1, 2, 3]
    simplex.tick(2 * limits.BLOCK_INTERVAL_MS_MIN)
    assert app.parents == [D.committee.genesis_id]


def test_a_loaded_leader_lets_blocks_fill_but_never_so_long_that_it_could_be_nullified() -> None:
    simplex, app = engine()
    app.busy = True
    for view, at_ms in ((1, 0), (2, 30), (3, 60)):
        simplex.on_certificate(make_certificate(D, NULLIFY, view, ZERO_HASH), at_ms)
    assert simplex.propose_at_ms() == 60 + limits.BLOCK_LOADED_WAIT_MS_MAX
    assert limits.BLOCK_LOADED_WAIT_MS_MAX < limits.BLOCK_INTERVAL_LOADED_MS < limits.VIEW_TIMEOUT_MS
    app.block = block(4)
    simplex.tick(simplex.propose_at_ms() - 1)
    assert app.parents == []
    simplex.tick(simplex.propose_at_ms())
    assert app.parents == [D.committee.genesis_id]


def test_a_loaded_leader_whose_last_turn_was_nullified_waits_for_less_than_its_time_out() -> None:
    simplex, app = engine()
    app.busy = True
    for view in range(1, 8):
        simplex.on_certificate(make_certificate(D, NULLIFY, view, ZERO_HASH), 10 * view)
    assert D.committee.leader(simplex.view) == ME
    assert simplex.propose_at_ms() == 70 + limits.BLOCK_LOADED_WAIT_INACTIVE_MS_MAX
    assert limits.BLOCK_LOADED_WAIT_INACTIVE_MS_MAX < limits.VIEW_TIMEOUT_INACTIVE_MS


def test_a_loaded_leader_does_not_wait_where_views_take_long_anyway() -> None:
    simplex, app = engine()
    app.busy = True
    slow_ms, entered_ms = limits.BLOCK_INTERVAL_LOADED_MS + 30, 0
    waits_ms = []
    for view in range(1, 20):
        entered_ms += slow_ms
        simplex.on_certificate(make_certificate(D, NOTARIZE, view, X), entered_ms)
        waits_ms.append(simplex.propose_at_ms() - entered_ms)
    assert waits_ms == sorted(waits_ms, reverse=True), "what others do not wait for is soon waited for no longer"
    assert waits_ms[-1] == 0
    for view in range(20, 30):
        entered_ms += slow_ms + waits_ms[-1]
        simplex.on_certificate(make_certificate(D, NOTARIZE, view, X), entered_ms)
        waits_ms.append(simplex.propose_at_ms() - entered_ms)
    assert waits_ms[-1] == 0


def test_loaded_views_that_are_quick_take_the_interval_with_their_wait() -> None:
    simplex, app = engine()
    app.busy = True
    quick_ms, entered_ms, wait_ms = 45, 1_000, 0
    for view in range(1, 20):
        entered_ms += quick_ms + wait_ms
        simplex.on_certificate(make_certificate(D, NOTARIZE, view, X), entered_ms)
        wait_ms = simplex.propose_at_ms() - entered_ms
    assert wait_ms + quick_ms == limits.BLOCK_INTERVAL_LOADED_MS


def test_time_outs_are_short_for_a_leader_that_failed_and_double_in_a_bad_row() -> None:
    simplex, _ = engine()
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_MS
    for view in range(1, 5):
        certify(simplex, NULLIFY, view)
    assert D.committee.leader(simplex.view) == 1
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_INACTIVE_MS << 3
    certify(simplex, NOTARIZE, 5, X)
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_INACTIVE_MS
    for view in range(6, 60):
        certify(simplex, NULLIFY, view)
    assert simplex._timeout_ms() <= limits.VIEW_TIMEOUT_MS << limits.VIEW_TIMEOUT_DOUBLINGS_MAX


def test_a_leader_that_failed_gets_twice_the_time_that_views_take_here() -> None:
    simplex, app = engine()
    app.work = True
    simplex.tick(1_000)
    simplex.on_certificate(make_certificate(D, NOTARIZE, 1, X, nodes=(1, 2, 3)), 1_300)
    for view in range(2, 6):
        certify(simplex, NULLIFY, view)
    certify(simplex, NOTARIZE, 6, Y)
    assert D.committee.leader(simplex.view) == 3, "whose last view was nullified"
    assert simplex._timeout_ms() == 600
    for _ in range(9):
        simplex.tick(2_000)
        simplex.on_certificate(make_certificate(D, NOTARIZE, simplex.view, X, nodes=(1, 2, 3)), 9_999)
    assert 600 < simplex._pace_ms <= limits.VIEW_TIMEOUT_MS
    certify(simplex, NULLIFY, simplex.view)
    for _ in range(3):
        simplex.tick(2_000)
        simplex.on_certificate(make_certificate(D, NOTARIZE, simplex.view, X, nodes=(1, 2, 3)), 2_000)
    assert simplex._timeout_ms() == limits.VIEW_TIMEOUT_MS, "never more than any leader gets"
    for _ in range(160):
        simplex.tick(3_000)
        simplex.on_certificate(make_certificate(D, NOTARIZE, simplex.view, X, nodes=(1, 2, 3)), 3_000)
    assert simplex._pace_ms < 100, "slow views are forgotten"


def test_a_new_link_is_told_what_it_may_have_missed() -> None:
    simplex, _ = engine()
    certify(simplex, NULLIFY, 1)
    simplex.on_proposal(proposal(2), 2, 0)
    simplex.effects = []
    simplex.resend(3)
    kinds = [type(e.message).__name__ for e in simplex.effects if not isinstance(e, Persist)]  # type: ignore[union-attr]
    assert sorted(kinds) == ["CertificateMessage", "VoteMessage"]
