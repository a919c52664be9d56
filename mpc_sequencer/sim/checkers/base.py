"""What checkers share: the run they watch, who is honest, and where they put what they find."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Broadcast, Effect, Send
from mpc_sequencer.core.ordering import OrderingState
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim.chain import SimulatedChain
from mpc_sequencer.sim.deployment import Deployment
from mpc_sequencer.sim.network import FaultPlan
from mpc_sequencer.sim.simulation import Simulation

if TYPE_CHECKING:
    from mpc_sequencer.sim.darktrade import DarkSent

FINDINGS_MAX: Final = 20
DETAIL_CHARACTERS_MAX: Final = 300
SENT: Final = (Broadcast, Send)
"""Effects that carry a message to peers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise: the checker's name, the height it shows at (0 where it is of none), a sentence."""

    checker: str
    height: int
    detail: str


@dataclass(slots=True)
class Watched:
    """One run as its checkers see it. ``sent`` are the orders that honest members may hold, by id."""

    deployment: Deployment
    plan: FaultPlan
    sent: dict[bytes, Envelope]
    findings: list[Finding] = field(default_factory=list)
    honest: frozenset[int] = field(init=False)
    """Members that keep to the protocol, even where they crash or their clock is off."""
    correct: frozenset[int] = field(init=False)
    """Honest members that do not crash and whose clock serves."""
    chain: SimulatedChain | None = None
    """The run's settlement chain."""
    strict_chain: bool = True
    """Whether nothing but a full block keeps the chain's side waiting: no epoch ends in the run."""
    dark: dict[bytes, DarkSent] = field(default_factory=dict)
    """Dark orders that were sent, by id."""
    late: frozenset[int] = frozenset()
    """Who may begin to follow when the key is shared already."""

    def __post_init__(self) -> None:
        self.honest = frozenset(range(self.deployment.committee.n)) - self.plan.byzantine
        self.correct = self.honest - self.plan.faulty

    # --- epochs: a run without rotations has one ---------------------------------------------------------------
    def epoch(self, node: int) -> int:
        """The epoch that a member is in now."""
        return 0

    def committee(self, epoch: int) -> Committee | None:
        """An epoch's committee, as soon as a member is in it."""
        return self.deployment.committee if not epoch else None

    def number(self, node: int) -> int:
        """The number of a member in the epoch that it is in now."""
        return node

    def person(self, node: int, number: int) -> int | None:
        """Whom a member calls by that number now; None for nobody."""
        return number

    def people_of(self, committee: Committee) -> tuple[int, ...]:
        """Who its members are, in order."""
        return tuple(range(committee.n))

    def state_after(self, node: int, block_id: bytes) -> OrderingState | None:
        """The ordering state after a block that a member has as final, where it still holds it."""
        return None

    def handed_over(self, node: int, block_id: bytes) -> bool | None:
        """Whether the handover is agreed with a block that a member has as final; None where it cannot say."""
        return False

    def report(self, checker: str, height: int, detail: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(checker, height, detail[:DETAIL_CHARACTERS_MAX]))


class Checker:
    """Sees each effect of an honest member, then the whole at intervals and at the end."""

    name: ClassVar[str]
    sees: ClassVar[frozenset[type]] = frozenset()
    """The kinds of effects that :meth:`on_effect` is called with."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.committee = watched.deployment.committee

    def report(self, height: int, detail: str) -> None:
        self.watched.report(self.name, height, detail)

    def on_effect(self, node: int, effect: Effect) -> None:
        """An honest member's effect of a kind in ``sees``, before it is carried out."""

    def at_interval(self, simulation: Simulation) -> None:
        """Every INTERVAL_MS of virtual time."""

    def at_end(self, simulation: Simulation) -> None:
        """Once, when the run is over."""
