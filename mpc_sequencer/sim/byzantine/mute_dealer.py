"""Takes part, but deals nothing."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour
from threshold.dkg import Session
from threshold.dkg.wire import MessageType


class MuteDealer(KeyBehaviour):
    name = "mute_dealer"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        return () if kind is MessageType.DEAL else (payload,)
