"""Deals once for all sessions: first a deal of a session that is none, then always what it owed the session before: in
a second attempt the deal of the first, and to a later committee that to the one before.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from mpc_sequencer.core.keys import session_id
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour, elsewhere
from mpc_sequencer.sim.deployment import Deployment
from threshold.dkg import SEED_BYTES, Session
from threshold.dkg.wire import MessageType

OTHER_ATTEMPT: Final = 1_000


class OldDeal(KeyBehaviour):
    name = "old_deal"

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        super().__init__(node, core, deployment, rng)
        self._old = b""

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        if kind is not MessageType.DEAL:
            return (payload,)
        if not self._old:
            other = elsewhere(session, session_id(self.committee, 0, OTHER_ATTEMPT))
            self._old = participant.other_deal(other, self.rng.randbytes(SEED_BYTES))
        old, self._old = self._old, payload
        return (old,)
