"""Deals under another dealer's headers: its points E with their proofs, copied as soon as the member sees them, before
or after a block lifts them, with bodies of its own or the other's. Were it counted, the honest answer to it would open
the honest dealer's shares.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour
from threshold.dkg import Session
from threshold.dkg.wire import Deal, MessageType, SealedShare, message_type


class CopiedHeader(KeyBehaviour):
    name = "copied_header"

    def say(self, participant: BentParticipant, session: Session, owed: tuple[bytes, ...]) -> Iterable[bytes]:
        own = [payload for payload in owed if message_type(payload) is MessageType.DEAL]
        if own and not self.others_deals(session):
            return ()  # it waits for one to copy
        return super().say(participant, session, owed)

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is not MessageType.DEAL:
            return (payload,)
        theirs = self.others_deals(session)
        return (self._copy(participant, session, payload, theirs[min(theirs)]),)

    def _copy(self, participant: BentParticipant, session: Session, payload: bytes, theirs: bytes) -> bytes:
        own, copied = participant.own_deal(session, payload), participant.own_deal(session, theirs)
        if self.rng.random() < 0.5:
            return theirs
        sealed: dict[int, SealedShare] = dict(own.sealed)
        for j in self.some_others(session, participant.index):
            header = copied.sealed[j]
            body = header.body if self.rng.random() < 0.5 else own.sealed[j].body
            sealed[j] = SealedShare(header.ephemeral, header.proof, body, header.point)
        return Deal(own.commitments, sealed, own.points).encode()
