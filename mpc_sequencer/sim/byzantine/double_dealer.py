"""Deals twice in one session: its own deal and one of other polynomials, both well formed."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour
from threshold.dkg import SEED_BYTES, Session
from threshold.dkg.wire import MessageType


class DoubleDealer(KeyBehaviour):
    name = "double_dealer"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is not MessageType.DEAL:
            return (payload,)
        both = [payload, participant.other_deal(session, self.rng.randbytes(SEED_BYTES))]
        self.rng.shuffle(both)
        return both
