"""What members report of an order, as a client keeps it."""

from __future__ import annotations

from typing import NamedTuple

from mpc_sequencer.core.messages import ExecutedRow
from mpc_sequencer.market.types import IN_DARK

FinalReport = tuple[int, bytes]
"""(height, block id)"""
FillReport = tuple[int, int, int, int]  # height, lots filled, worst price in ticks, the exact notional in tick lots


class ExecutedReport(NamedTuple):
    """What a height made of an order; prices in ticks, the notional in tick lots, the fee in quote units."""

    height: int
    code: str
    filled_lots: int
    price_ticks: int
    notional_tick_lots: int
    fee_units: int = 0
    remaining_lots: int = 0
    """What is open afterwards; 0 where it has ended, and of a dark order, whose size no member knows."""

    @property
    def open(self) -> bool:
        """Whether later heights may do something to it: it rests, or waits for a trigger or for its dark batch."""
        return self.remaining_lots > 0 or self.code == IN_DARK


def report_of(height: int, row: ExecutedRow) -> ExecutedReport:
    """A member's row as a report."""
    notional, fee = int.from_bytes(row.notional, "big"), int.from_bytes(row.fee, "big")
    return ExecutedReport(height, row.code, row.filled_lots, row.price_ticks, notional, fee, row.remaining_lots)
