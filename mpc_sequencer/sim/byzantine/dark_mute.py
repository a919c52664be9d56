"""Owes words and shares to dark markets and says some of them only, or none."""

from __future__ import annotations

import random

from mpc_sequencer.core.messages import DarkShares
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.dark.messages import Word
from mpc_sequencer.sim.byzantine.dark_behaviour import DarkBehaviour
from mpc_sequencer.sim.deployment import Deployment


class DarkMute(DarkBehaviour):
    name = "dark_mute"

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        super().__init__(node, core, deployment, rng)
        self._says = rng.choice((0.0, 0.5, 0.9))

    def bend(self, word: Word) -> Word | None:
        return word if self.rng.random() < self._says else None

    def bend_shares(self, message: DarkShares, version: int) -> DarkShares | None:
        return message if self.rng.random() < self._says else None
