"""Which terms of a dark market's orders and batches no committee could compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc_sequencer.core import limits
from mpc_sequencer.dark.params import DarkParams

if TYPE_CHECKING:
    from mpc_sequencer.market.types import DarkGrid


def check_grid(market_id: int, grid: DarkGrid, quantity_min_lots: int, quantity_max_lots: int) -> None:
    """Raise ``ValueError`` for terms that no committee could compute, or bounds of quantities that nobody could check.

    The smallest committee that may run the market has the fewest keys, and so the widest bounds; what a committee of
    its own size bears it checks itself."""
    try:
        params = DarkParams(
            parties=4 if grid.demonstration else 5,
            faults_t=1,
            ticks=grid.ticks,
            quantity_bits=grid.quantity_bits,
            slack_bits=grid.slack_bits,
            orders_max=grid.orders_max,
            price_first_ticks=grid.price_first_ticks,
            price_step_ticks=grid.price_step_ticks,
            demonstration=bool(grid.demonstration),
        )
    except ValueError as error:
        raise ValueError(f"market {market_id}: {error}") from None
    if params.price_last_ticks > limits.PRICE_TICKS_MAX:
        raise ValueError(f"market {market_id}: its last price is {params.price_last_ticks} ticks")
    if grid.slack_bits <= grid.quantity_bits:
        raise ValueError(f"market {market_id}: slack_bits is {grid.slack_bits}, expected more than quantity_bits")
    if quantity_min_lots > 1 or quantity_max_lots < (1 << grid.quantity_bits) - 1:
        raise ValueError(f"market {market_id}: nobody sees the quantities that it bounds")
