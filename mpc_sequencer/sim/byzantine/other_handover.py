"""Hands over something else than the resharing's result, under its signature: a sharing of which nobody knows."""

from __future__ import annotations

import random

from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.rotation import Handover, encode_payload, handover_hash
from mpc_sequencer.sim.byzantine.base import Behaviour
from mpc_sequencer.sim.deployment import Deployment


class OtherHandover(Behaviour):
    name = "other_handover"

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        super().__init__(node, core, deployment, rng)
        self._both = rng.random() < 0.5
        """Whether it gives its word for the right one as well."""
        self._bend(core)

    def rebind(self, core: NodeCore) -> None:
        super().rebind(core)
        self._bend(core)

    def _bend(self, core: NodeCore) -> None:
        honest = core.succession.handover
        false = self.rng.randbytes(32)

        def handover() -> bytes | None:
            owed = honest()
            outcome = core.succession.outcome
            if outcome is None or core.node >= core.committee.n:
                return owed
            struct_hash = handover_hash(core.committee.epoch + 1, outcome.target, false)
            other = encode_payload(Handover(struct_hash, self.sign_digest_of(struct_hash)))
            if self._both:
                core.keygen.voice.say(core.succession.topic, other)
                return owed
            return other

        core.succession.handover = handover  # type: ignore[method-assign]
