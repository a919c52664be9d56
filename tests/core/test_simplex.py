"""Simplex, rule by rule: what a member votes, when it changes views, what it never signs together."""

from __future__ import annotations

import pytest
from core_kit import make_certificate, make_vote, picture, refused
from simplex_kit import App, D, X, Y, block, certify, engine, proposal, voted

from mpc_sequencer.core import limits
from mpc_sequencer.core.agreement import Accepted, Rejected, Simplex, Waiting
from mpc_sequencer.core.effects import Persist
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import Proposal
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY, ZERO_HASH
from mpc_sequencer.sim import make_deployment


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


def test_a_new_link_is_told_what_it_may_have_missed() -> None:
    simplex, _ = engine()
    certify(simplex, NULLIFY, 1)
    simplex.on_proposal(proposal(2), 2, 0)
    simplex.effects = []
    simplex.resend(3)
    kinds = [type(e.message).__name__ for e in simplex.effects if not isinstance(e, Persist)]  # type: ignore[union-attr]
    assert sorted(kinds) == ["CertificateMessage", "VoteMessage"]
