"""Loses its disk and starts anew with the same keys, once or twice: then it signs lists, heads and votes that
contradict what it signed before, in good faith.
"""

from __future__ import annotations

from mpc_sequencer.sim.byzantine.base import Behaviour


class Amnesiac(Behaviour):
    name = "amnesiac"

    def restarts_ms(self, begin_ms: int, end_ms: int) -> list[tuple[int, int]]:
        end_first_ms = (begin_ms + end_ms) // 2
        windows = [(begin_ms, end_first_ms), (end_first_ms, end_ms)]
        return [self._window(*window) for window in windows if self.rng.random() < 0.7]

    def _window(self, begin_ms: int, end_ms: int) -> tuple[int, int]:
        down_ms = self.rng.randint(begin_ms, end_ms - 100)
        return down_ms, self.rng.randint(down_ms + 10, end_ms - 50)
