"""What the traders of the dark demo want: made up, fixed by a seed, one order each for every batch.

Prices lie around a middle that walks along the market's grid, buys a little below it and sells a little above, so that
some of every batch trade and most do not: those that do not are what the demo is about.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.market.types import DarkGrid

TRADERS: Final = 12
QUANTITY_LOTS_MAX: Final = 400
NEAR: Final = 3
FAR: Final = 6
"""Columns of the grid by which a limit is at most better, and worse, than the middle for whoever it meets."""


@dataclass(frozen=True, slots=True)
class DarkWish:
    """An order of trader number ``account``, known to that trader alone."""

    account: int
    nonce: int
    side: int
    price_ticks: int
    quantity_lots: int


def make_wave(grid: DarkGrid, seed: int, wave: int) -> tuple[DarkWish, ...]:
    """One order of each trader, for batch ``wave`` (from 1), whose number is the nonce."""
    walk = random.Random(seed)
    middle = grid.ticks // 2
    for _ in range(wave):
        middle = min(grid.ticks - 1 - FAR, max(FAR, middle + walk.randint(-2, 2)))
    rng = random.Random(f"{seed} {wave}")
    wishes = []
    for account in range(TRADERS):
        side = BUY if account % 2 else SELL
        away = rng.randint(-NEAR, FAR)
        column = middle - away if side == BUY else middle + away
        wishes.append(
            DarkWish(
                account=account,
                nonce=wave,
                side=side,
                price_ticks=grid.price_first_ticks + grid.price_step_ticks * column,
                quantity_lots=rng.randint(1, QUANTITY_LOTS_MAX),
            )
        )
    return tuple(wishes)
