"""Keeps to the protocol, but everything it sends is late by up to a view's time-out."""

from __future__ import annotations

from mpc_sequencer.core import limits
from mpc_sequencer.sim.byzantine.base import Behaviour


class Slow(Behaviour):
    name = "slow"

    def delay_ms(self) -> int:
        return self.rng.randint(100, limits.VIEW_TIMEOUT_MS)
