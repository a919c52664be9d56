"""Complains about honest dealers: with the true point, which shows that their shares are right, or with a false one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour, other_scalar
from threshold.dkg import Session
from threshold.dkg.wire import MessageType, decode_opened, encode_opened


class LyingComplainer(KeyBehaviour):
    name = "lying_complainer"

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is not MessageType.ANSWER:
            return (payload,)
        index = participant.receiver
        accused = sorted(self.rng.sample([i for i in session.deals if i != index], 1))
        lie = participant._make_opened(session, MessageType.ANSWER, index, accused)
        if self.rng.random() < 0.5:
            opened = decode_opened(lie, MessageType.ANSWER, len(session.plan.dealers))
            lie = encode_opened(MessageType.ANSWER, [replace(one, z=other_scalar(one.z)) for one in opened])
        return (lie,)
