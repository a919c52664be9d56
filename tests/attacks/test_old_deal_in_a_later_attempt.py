"""Attack: a member puts a deal of an attempt that failed into the next one, its own or another member's.

The shares of the first attempt may be known by then, to whoever has learnt a seed of it; a deal that counted again
would carry them into the key. Everything in a deal is bound to its session: the author's signature, the proof for each
receiver, and the session keys, which are new in each attempt. So a message of the first attempt is none of the second,
and its payload under a new signature is refused before anybody looks into it.

Evidence: none: the old message is listed by the rules and counts nowhere; the payload signed anew is refused
(`dkg.deal_proof`), and for which session keys it had to be made only the log says.
"""

from __future__ import annotations

import pytest
from evidence_kit import charged, evidence_left
from key_kit import audited, complaints, corrupt, deal_in, generate, key_messages, trade

from mpc_sequencer.core.keys import session_plan
from mpc_sequencer.core.types import KeyMessage
from mpc_sequencer.sim import Cluster, make_deployment
from threshold.dkg import MessageType, Phase, Session

LIAR, LATE = 2, 3
HONEST = (0, 1, LATE)


def first_deals(cluster: Cluster) -> dict[int, KeyMessage]:
    """By author: the deals of attempt 0 in a log."""
    session = session_plan(cluster.deployment.committee, 0, 0).session
    return {
        one.node: one
        for one in key_messages(cluster, 0)
        if one.session == session and one.payload[0] == MessageType.DEAL
    }


def in_second_attempt(cluster: Cluster, source: int) -> None:
    """Attempt 0 fails for want of deals: the liar holds its own back until it is too late, another member is down. In
    attempt 1 the liar deals what ``source`` dealt in attempt 0."""
    first = session_plan(cluster.deployment.committee, 0, 0).session
    kept: dict[int, bytes] = {}

    def bend(session: Session, payload: bytes) -> bytes | None:
        if deal_in(session, payload) is None:
            return payload
        if session.plan.session == first:
            kept[LIAR] = payload
            return None
        kept.update((node, one.payload) for node, one in first_deals(cluster).items() if node != LIAR)
        return kept[source]

    corrupt(cluster, LIAR, bend)
    core = cluster.cores[0]
    assert cluster.run(60_000, until=lambda _: core.keygen.phase == Phase.DEALS.value)
    cluster.stop(LATE)
    assert cluster.run(120_000, until=lambda _: core.keygen._attempt == 1)
    cluster.restart(LATE)


@pytest.mark.parametrize("source", [0, LIAR])
def test_an_old_deal_under_a_new_signature_is_refused_without_a_complaint(source: int) -> None:
    cluster = Cluster(make_deployment(4, generated=True))
    in_second_attempt(cluster, source)
    generate(cluster, HONEST)
    assert (LIAR, "dkg.deal_proof") in charged(cluster, {*HONEST})
    assert not complaints(cluster, 0)
    assert not evidence_left(cluster)
    trade(cluster, HONEST)
    report = audited(cluster, 0)
    assert (report.attempts, report.qualified) == (2, HONEST)
    named = {(one.node, one.code, one.attempt) for one in report.culprits}
    assert (LIAR, "dkg.deal_proof", 1) in named


def test_an_old_message_itself_is_none_of_the_new_session() -> None:
    """Listed again by f+1 members, as they would list any signed message: it is lifted and changes nothing."""
    cluster = Cluster(make_deployment(4, generated=True))
    in_second_attempt(cluster, 0)
    deals = first_deals(cluster)
    assert set(deals) == {0, 1}
    core = cluster.cores[0]
    before = core.keygen.session
    assert before is not None and before.plan == session_plan(cluster.deployment.committee, 0, 1)
    old = deals[1]
    core.keygen.final(core.chain.final_height + 1, cluster.now_ms, (old.message_id(),))
    core.keygen.work()
    after = core.keygen.session
    assert after is not None and not after.deals and after.heard == before.heard and after.culprits == before.culprits
    assert not evidence_left(cluster)
