"""Publishes Feldman commitments to another polynomial than it dealt: one coefficient is another one, or all are."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour, other_scalar
from threshold.dkg import Session, deals
from threshold.dkg.wire import MessageType


class BadFeldman(KeyBehaviour):
    name = "bad_feldman"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is not MessageType.FELDMAN:
            return (payload,)
        index = participant.index
        polynomial, blinding = participant._polynomials(index)
        bent = self.rng.choice((range(1), range(len(polynomial))))
        other = [other_scalar(a) if k in bent else a for k, a in enumerate(polynomial)]
        seed = self.rng.randbytes(32)
        forged = deals.prove_feldman(session.plan.session, index, session.deals[index], other, blinding, seed)
        return (forged.encode(),)
