"""Keeps its Feldman commitments back, so that its polynomial must be extracted, and answers that with false points or
with none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour, other_scalar
from threshold.dkg import Session
from threshold.dkg.wire import MessageType, decode_opened, encode_opened


class BadExtractor(KeyBehaviour):
    name = "bad_extractor"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is MessageType.FELDMAN:
            return ()
        if kind is not MessageType.EXTRACT:
            return (payload,)
        opened = decode_opened(payload, kind, len(session.to_extract))
        false = [replace(one, c=other_scalar(one.c)) for one in opened]
        return (encode_opened(kind, self.rng.choice((false, false, opened[1:]))),)
