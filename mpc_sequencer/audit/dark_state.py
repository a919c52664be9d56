"""What the auditor holds of a dark market: orders, the batch under way, how orders ended, what was to be computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.dark.messages import OutcomeValue

if TYPE_CHECKING:
    from mpc_sequencer.audit.dark_outcomes import Computation
    from mpc_sequencer.dark.field import Elements

REPORTS: Final = 1
OPENINGS: Final = 2
RUN: Final = 3


@dataclass(frozen=True, slots=True)
class DarkOrderHeld:
    """An order that has not ended, and the height at which it came."""

    height: int
    order_id: bytes
    action: DarkOrder


@dataclass(frozen=True, slots=True)
class DarkEnd:
    """How an order ended: a code, and what it traded."""

    order_id: bytes
    action: DarkOrder
    code: str
    side: int = 0
    lots: int = 0


@dataclass(frozen=True, slots=True)
class DarkEnds:
    """Orders of a batch that ended together, at a price where any traded; ``how`` is for the report: "settled", "void",
    "epoch", or "dropped" where the batch goes on, or ends for lack of orders."""

    market: int
    how: str
    price_ticks: int | None
    volume_lots: int
    orders: tuple[DarkEnd, ...]


@dataclass(slots=True)
class Said:
    """A word that counted: its hash, the shares of a report, the orders that its openings spoke against, and whether it
    was full of such."""

    word_hash: bytes
    shares: Elements | None = None
    against: frozenset[int] = frozenset()
    full: bool = False
    outcome: OutcomeValue | None = None


@dataclass(slots=True)
class Batch:
    number: int
    keys_id: bytes
    seed: bytes
    orders: list[DarkOrderHeld]
    speakers: tuple[int, ...]
    opened_ms: int
    phase: int = REPORTS
    part: int = 0
    said: dict[int, dict[int, Said]] = field(default_factory=lambda: {REPORTS: {}, OPENINGS: {}, RUN: {}})
    """By phase and party, in the order of the log."""
    off: dict[int, frozenset[int]] = field(default_factory=dict)
    """In OPENINGS: by order the parties that are off the polynomial of the others."""

    def heard(self) -> dict[int, Said]:
        """What counted in the phase."""
        return self.said[self.phase]


@dataclass(slots=True)
class Computed:
    """A batch whose computation the log asks for: what each participant said that it came to, what was decided."""

    computation: Computation
    said: dict[int, OutcomeValue | None] = field(default_factory=dict)
    decided: OutcomeValue | None = None
    over: bool = False

    def hear(self, party: int, outcome: OutcomeValue | None) -> None:
        """Keep a participant's word; equal outcomes are kept once."""
        self.said[party] = next((one for one in self.said.values() if one == outcome), outcome)
