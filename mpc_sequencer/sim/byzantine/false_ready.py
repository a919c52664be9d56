"""Declares itself ready for another key than the session's: instead of the right word, or long before it."""

from __future__ import annotations

import random
from collections.abc import Iterable

from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour
from mpc_sequencer.sim.deployment import Deployment
from threshold.dkg import Session
from threshold.dkg.wire import HASH_BYTES, MessageType, encode_ready


class FalseReady(KeyBehaviour):
    name = "false_ready"

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        super().__init__(node, core, deployment, rng)
        self.early = rng.random() < 0.5

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        false = encode_ready(self.rng.randbytes(HASH_BYTES))
        if self.early:
            return (payload, false) if kind is MessageType.DEAL else (payload,)
        return (false,) if kind is MessageType.READY else (payload,)
