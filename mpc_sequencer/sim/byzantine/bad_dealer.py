"""Deals wrong shares to some members, drawn anew for each session, and right ones to the others."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour, other_scalar
from threshold.dkg import Session
from threshold.dkg.wire import MessageType


class BadDealer(KeyBehaviour):
    name = "bad_dealer"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is not MessageType.DEAL:
            return (payload,)
        wrong = {}
        for j in self.some_others(session, participant.index):
            value, *blinding = participant.values_for(j)
            wrong[j] = [other_scalar(value), *blinding]
        return (participant.resealed(session, payload, wrong),)
