"""Attack: a member votes twice in one view: to notarize two blocks, to finalize two, or to nullify a view and to
finalize its block, so that two certificates may form.

A quorum fits one block only, and the second vote is refused (`vote.equivocation`), whether it comes by itself or inside
a certificate. Whoever has both votes convicts the member and hears it no more; the others are a quorum without it. To
notarize a block and then nullify its view is legal and convicts nobody.

Evidence: `notarize-equivocation`, `finalize-equivocation` or `nullify-and-finalize`: two of its own votes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from core_kit import all_sequenced, blocks, check_safety, make_vote, submit
from evidence_kit import charged, evidence_left

from mpc_sequencer.core.effects import FromPeer
from mpc_sequencer.core.messages import PeerMessage, VoteMessage
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY, ZERO_HASH, Vote
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

LIAR = 3
HONEST = {0, 1, 2}

Second = Callable[[Deployment, Vote], Vote | None]


def _same_kind(kind: int) -> Second:
    """Another vote of that kind, for a block that is none."""

    def second(d: Deployment, vote: Vote) -> Vote | None:
        return make_vote(d, LIAR, kind, vote.view, vote.block_id[::-1]) if vote.kind == kind else None

    return second


def _nullify_too(kind: int) -> Second:
    def second(d: Deployment, vote: Vote) -> Vote | None:
        return make_vote(d, LIAR, NULLIFY, vote.view, ZERO_HASH) if vote.kind == kind else None

    return second


CONVICTING: dict[str, tuple[Second, str]] = {
    "two blocks notarized": (_same_kind(NOTARIZE), "notarize-equivocation"),
    "two blocks finalized": (_same_kind(FINALIZE), "finalize-equivocation"),
    "nullified and finalized": (_nullify_too(FINALIZE), "nullify-and-finalize"),
}


def run(second: Second, *, to_all: bool) -> tuple[Cluster, list[Vote]]:
    """A loaded committee in which the liar sends a second vote after each of its own, to all members or to every other
    one instead of the first."""
    d = make_deployment(4)
    cluster = Cluster(d)
    told: list[Vote] = []

    def tamper(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender != LIAR or not isinstance(message, VoteMessage):
            return message
        other = second(d, message.vote)
        if other is None:
            return message
        told.append(other)
        if not to_all:
            return VoteMessage(other) if receiver == 1 else message
        for vote in (message.vote, other):  # at once: when a view is final its votes are looked at no more
            cluster.at(cluster.now_ms, receiver, FromPeer(LIAR, VoteMessage(vote)))
        return None

    cluster.network.tamper = tamper
    ids = set()
    for turn in range(16):
        order = d.order(d.traders[turn % 4], cluster.now_ms)
        ids.add(order.order_id())
        submit(cluster, turn % 3, order)
        cluster.run(50)
    assert cluster.run(20_000, until=all_sequenced(ids, HONEST))
    cluster.run(1_000)
    check_safety(cluster, honest=HONEST)
    assert told, "the liar did vote twice"
    final = {block_id for node in HONEST for block_id in blocks(cluster, node).values()}
    assert len(final) == max(len(blocks(cluster, node)) for node in HONEST), "one block per height"
    assert not final & {vote.block_id for vote in told}
    return cluster, told


@pytest.mark.parametrize("name", CONVICTING)
def test_a_second_vote_convicts_at_every_member_that_has_both(name: str) -> None:
    second, kind = CONVICTING[name]
    cluster, _ = run(second, to_all=True)
    assert evidence_left(cluster) == {(LIAR, kind)}
    seers = {seer for seer, _ in cluster.evidence if seer != LIAR}
    assert seers == HONEST
    assert charged(cluster, HONEST) == {(LIAR, "vote.equivocation")}
    assert all(cluster.cores[node].convictions.cut_off == {LIAR} for node in HONEST)


@pytest.mark.parametrize("name", CONVICTING)
def test_shown_to_some_only_it_convicts_where_certificates_bring_the_votes_together(name: str) -> None:
    second, kind = CONVICTING[name]
    cluster, _ = run(second, to_all=False)
    assert evidence_left(cluster) <= {(LIAR, kind)}
    if name != "nullified and finalized":
        assert evidence_left(cluster), "a certificate holds the vote that others were shown"
    assert all(cluster.cores[node].convictions.cut_off <= {LIAR} for node in HONEST)


def test_to_notarize_and_then_nullify_is_legal() -> None:
    cluster, _ = run(_nullify_too(NOTARIZE), to_all=True)
    assert evidence_left(cluster) <= {(LIAR, "nullify-and-finalize")}, "its true finalize vote came after all"
    d = make_deployment(4)
    quiet = Cluster(d)
    quiet.run(50)
    view = quiet.cores[0].simplex.view
    for vote in (make_vote(d, LIAR, NOTARIZE, view, b"\x01" * 32), make_vote(d, LIAR, NULLIFY, view)):
        for node in HONEST:
            quiet.at(quiet.now_ms, node, FromPeer(LIAR, VoteMessage(vote)))
    quiet.run(500)
    assert evidence_left(quiet) == set() and charged(quiet, HONEST) == set()
