"""Deals under commitments that do not fit: of another polynomial than the shares, one too few, or one that is no point.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour, other_scalar
from threshold.dkg import Session
from threshold.dkg.wire import MessageType
from threshold.group import POINT_BYTES

NO_POINT: Final = b"\x02" + b"\xff" * (POINT_BYTES - 1)


class InconsistentDealer(KeyBehaviour):
    name = "inconsistent_dealer"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is not MessageType.DEAL:
            return (payload,)
        how = self.rng.randrange(3)
        if how == 0:
            return (payload[:1] + payload[1 + POINT_BYTES :],)
        if how == 1:
            return (payload[:1] + NO_POINT + payload[1 + POINT_BYTES :],)
        shifted = {}
        for j in session.receivers:
            values = participant.values_for(j)
            shifted[j] = [other_scalar(value, turn * j) for turn, value in enumerate(values, 1)]
        return (participant.resealed(session, payload, shifted),)
