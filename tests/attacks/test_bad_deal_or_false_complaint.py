"""Attack: a member deals a wrong share to one receiver, or calls a right share wrong.

The first would leave an honest member without its share of the key, the second would drive an honest dealer out, and
open its share for nothing. A complaint opens the share it is about, with a proof that it does, so everybody judges it
alike: one of the two members is convicted, and the key is made by the others.

Evidence: `bad-deal` or `false-complaint`: the deal with its own proof for the receiver, and the answer whose proof
opens this deal and no other.
"""

from __future__ import annotations

import pytest
from evidence_kit import charged, evidence_left
from key_kit import audited, complaints, corrupt, generate, trade, unbent
from session_kit import Complainer, WrongDealer

from mpc_sequencer.sim import Cluster, make_deployment
from threshold.dkg import MessageType, Participant, Session

LIAR, VICTIM = 3, 1
HONEST = (0, 1, 2)


class Wrong(WrongDealer):
    victims = (VICTIM + 1,)


class OneComplaint(Complainer):
    """Complains about VICTIM alone."""

    def _make_opened(self, session: Session, kind: MessageType, receiver: int, dealers: list[int]) -> bytes:
        return Participant._make_opened(self, session, kind, receiver, [VICTIM + 1])


CASES = {
    "bad-deal": (Wrong, "dkg.deal_wrong", (VICTIM, LIAR), HONEST),
    "false-complaint": (OneComplaint, "dkg.complaint_false", (LIAR, VICTIM), (*HONEST, LIAR)),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_liar_is_convicted_and_the_others_make_the_key(kind: str) -> None:
    participant, code, complaint, qualified = CASES[kind]
    cluster = Cluster(make_deployment(4, generated=True))
    corrupt(cluster, LIAR, unbent, participant)
    generate(cluster, HONEST)
    assert complaints(cluster, 0) == {complaint}
    assert evidence_left(cluster) == {(LIAR, kind)}
    assert {one for one in charged(cluster, {*HONEST}) if one[1] != "dkg.silent"} == {(LIAR, code)}
    assert all(cluster.cores[node].convictions.cut_off == {LIAR} for node in HONEST)
    trade(cluster, HONEST)
    report = audited(cluster, 0)
    assert (report.attempts, report.qualified) == (1, qualified)
    assert (LIAR, code) in {(one.node, one.code) for one in report.culprits}
    assert all(cluster.cores[node].reveal.secrets for node in HONEST), "each honest member has its share"


@pytest.mark.parametrize("kind", CASES)
def test_a_member_that_comes_back_knows_the_offence_from_the_log(kind: str) -> None:
    cluster = Cluster(make_deployment(4, generated=True))
    corrupt(cluster, LIAR, unbent, CASES[kind][0])
    generate(cluster, HONEST)
    cluster.stop(0)
    cluster.run(500)
    cluster.restart(0)
    generate(cluster, HONEST)
    assert evidence_left(cluster) == {(LIAR, kind)}
