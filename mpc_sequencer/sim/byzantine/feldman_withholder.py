"""Deals well, and keeps its Feldman commitments back once it is fixed that it qualifies: it would choose, after it has
seen the others', whether its part of the key counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour
from threshold.dkg import Session
from threshold.dkg.wire import MessageType


class FeldmanWithholder(KeyBehaviour):
    name = "feldman_withholder"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        return () if kind is MessageType.FELDMAN else (payload,)
