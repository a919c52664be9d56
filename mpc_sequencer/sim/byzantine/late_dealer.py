"""Deals late: some blocks after it could, or only when the session has gone on without it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.sim.byzantine.key_behaviour import BentParticipant, KeyBehaviour
from mpc_sequencer.sim.deployment import Deployment
from threshold.dkg import Phase, Session
from threshold.dkg.wire import MessageType, message_type

BLOCKS_LATE_MAX: Final = 3


class LateDealer(KeyBehaviour):
    name = "late_dealer"

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        super().__init__(node, core, deployment, rng)
        self.too_late = rng.random() < 0.5
        self._blocks = rng.randint(1, BLOCKS_LATE_MAX)
        self._held: dict[bytes, bytes] = {}
        """Deals by session."""

    def say(self, participant: BentParticipant, session: Session, owed: tuple[bytes, ...]) -> Iterable[bytes]:
        name = session.plan.session
        for payload in owed:
            if message_type(payload) is MessageType.DEAL:
                self._held.setdefault(name, payload)
            else:
                yield payload
        dealing = session.phase is Phase.DEALS
        if dealing and (self.too_late or session.height - session.opened_height < self._blocks):
            return
        if name in self._held:
            yield self._held[name]
