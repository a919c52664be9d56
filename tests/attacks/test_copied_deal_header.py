"""Attack: a dealer puts the header of somebody's sealed share into its own deal, over a body that does not open.

The receiver could not open the body and would complain; a complaint publishes the point that opens it, which is that of
the copied header too: an honest complaint would open an honest dealer's share to everybody. So a deal counts only with
a proof that its dealer knows the secret of each ephemeral point, bound to the dealer, the receiver and the body. A copy
is refused by everybody alike before anybody looks into it, and nobody complains.

Evidence: `copied-deal`: the copy that its author signed, beside the deal whose dealer proved to know the point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from evidence_kit import charged, evidence_left
from key_kit import Bend, audited, complaints, corrupt, deal_in, generate, trade

from mpc_sequencer.sim import Cluster, make_deployment
from threshold.dkg import MessageType, Session, deals, message_type, wire
from threshold.dkg.wire import Deal, SealedShare

LIAR, VICTIM, RECEIVER = 3, 0, 1
HONEST = (0, 1, 2)
REFUSED = {"dkg.deal_reused", "dkg.deal_proof"}
"""Behind the deal it was made of, and before it."""


def whole(theirs: SealedShare, _: SealedShare) -> SealedShare:
    return theirs


def with_another_body(theirs: SealedShare, _: SealedShare) -> SealedShare:
    return replace(theirs, body=bytes(len(theirs.body)))


def with_a_proof_of_its_own(theirs: SealedShare, own: SealedShare) -> SealedShare:
    return replace(theirs, proof=own.proof, body=own.body)


Copy = Callable[[SealedShare, SealedShare], SealedShare]


def copied(own: Deal, theirs: Deal, copy: Copy) -> bytes:
    index = RECEIVER + 1
    part = copy(theirs.sealed[index], own.sealed[index])
    return replace(own, sealed={**own.sealed, index: part}).encode()


def from_the_log(_: Cluster, copy: Copy) -> Bend:
    """Waits until the victim's deal is final."""

    def bend(session: Session, payload: bytes) -> bytes | None:
        own, theirs = deal_in(session, payload), session.deals.get(VICTIM + 1)
        if own is None:
            return payload
        return None if theirs is None else copied(own, theirs, copy)

    return bend


def from_the_wire(cluster: Cluster, copy: Copy) -> Bend:
    """Takes the victim's deal while it is on its way, so that the copy may be lifted first."""

    def bend(session: Session, payload: bytes) -> bytes | None:
        own = deal_in(session, payload)
        if own is None:
            return payload
        for held in cluster.cores[VICTIM].keybook.kept():
            message = held.message
            if message.node == VICTIM and message_type(message.payload) is MessageType.DEAL:
                theirs = deal_in(session, message.payload)
                assert theirs is not None
                return copied(own, theirs, copy)
        return None

    return bend


@pytest.mark.parametrize("copy", [whole, with_another_body, with_a_proof_of_its_own])
@pytest.mark.parametrize(("taken", "seed"), [(from_the_log, 0), (from_the_wire, 0), (from_the_wire, 6)])
def test_a_copy_is_refused_without_a_complaint_and_convicts_its_author(
    taken: Callable[[Cluster, Copy], Bend], seed: int, copy: Copy
) -> None:
    cluster = Cluster(make_deployment(4, generated=True), seed=seed)
    corrupt(cluster, LIAR, taken(cluster, copy))
    generate(cluster, HONEST)
    assert not complaints(cluster, 0), "nobody opened a share to everybody"
    [(node, code)] = {one for one in charged(cluster, {*HONEST}) if one[1] != "dkg.silent"}
    assert node == LIAR and code in REFUSED
    assert evidence_left(cluster) == {(LIAR, "copied-deal")}
    assert all(cluster.cores[node].convictions.cut_off == {LIAR} for node in HONEST)
    trade(cluster, HONEST)
    report = audited(cluster, 0)
    assert report.qualified == HONEST
    assert (LIAR, "dealer", code) in {(one.node, one.role, one.code) for one in report.culprits}


def test_what_a_complaint_would_give_away() -> None:
    """Why the proof is needed: with the point of an honest complaint about the copy, the victim's share opens."""
    from threshold import group
    from threshold.dkg import Participant, Plan
    from threshold.dkg.session import Message

    plan = Plan.generate(bytes(32), range(1, 5), threshold=3, faults=1, window_heights=4, window_ms=0)
    members = [Participant(plan, bytes((i,)) * 32, i, i) for i in range(1, 5)]
    session = Session.begin(plan, 0, 0)
    for height in (1, 2):
        said = [Message(i + 1, one) for i, member in enumerate(members) for one in member.messages(session)]
        session = session.block(height, 0, said)
    deal = session.deals[VICTIM + 1]
    receiver = RECEIVER + 1
    secret = members[RECEIVER]._session_key(receiver)
    point = group.multiply_secret(deal.sealed[receiver].point, secret)
    assert deals.open_values(deal, plan.session, VICTIM + 1, receiver, point) is not None
    other = replace(deal, sealed={**deal.sealed, receiver: replace(deal.sealed[receiver], body=bytes(80))})
    assert deals.open_values(other, plan.session, LIAR + 1, receiver, point) is None
    assert isinstance(deal.sealed[receiver], wire.SealedShare)
