"""Lists ids of orders that do not exist, among real ones."""

from __future__ import annotations

from typing import Final

from mpc_sequencer.sim.byzantine.base import Behaviour

INVENT_CHANCE: Final = 0.1
INVENTED_AT_ONCE_MAX: Final = 8


class InventsIds(Behaviour):
    name = "invents_ids"

    def before_turn(self) -> None:
        if self.rng.random() < INVENT_CHANCE:
            for _ in range(self.rng.randint(1, INVENTED_AT_ONCE_MAX)):
                self.core.own_lists.add(self.rng.randbytes(32))
