"""What ``mpcseq devnet settle`` was asked for, what its acts leave behind, and the figures that it prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.devnet.agreement import ContractFacts, EngineFacts
from mpc_sequencer.devnet.findings import Finding, shown
from mpc_sequencer.devnet.rotating import Rotated

Scenario = Literal["live", "rotate", "exit"]


@dataclass(frozen=True, slots=True)
class SettleOptions:
    """What was asked for; ``folder`` None means a new temporary one, ``chain_url`` None the embedded chain."""

    scenario: Scenario
    folder: Path | None = None
    nodes: int = 4
    seed: int = 1
    rate_per_s: float = 10.0
    duration_s: float = 10.0
    chain_url: str | None = None
    payer_secret: bytes = b""
    """Who pays for everything on that chain, 32 bytes; empty on the embedded chain, whose genesis funds one."""


@dataclass(slots=True)
class Forced:
    """The order of the trader whom all members ignore, on its way through the chain."""

    order_id: bytes
    due_block: int
    batched_heights: list[int] = field(default_factory=list)
    listed: bool = False
    """Whether any member's list holds it: nobody was sent it."""
    bought_units: int = 0
    """What the contract gained for the trader, in base units of the market's base asset."""


@dataclass(slots=True)
class Exited:
    """What happened after every member had stopped for good."""

    due_block: int
    frozen_block: int
    exits: int
    paid: dict[int, int]
    """Base units by asset."""
    bonds: int
    """Sponsors' bonds that were paid back."""
    wei_left: int
    """Forced orders' fees: nothing else."""


@dataclass(slots=True)
class Acts:
    """What came of a scenario while its processes ran."""

    records: dict[bytes, OrderRecord] = field(default_factory=dict)
    newcomers: int = 0
    """New traders whose deposits on the chain became tradable, and who traded."""
    claims: int = 0
    forced: Forced | None = None
    rotated: Rotated | None = None
    exited: Exited | None = None
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SettleResult:
    """The figures and findings of a run."""

    options: SettleOptions
    folder: Path
    seconds: float
    acts: Acts
    engine: EngineFacts
    contract: ContractFacts
    audits: tuple[str, ...]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        acts, posted = self.acts, self.contract.posted
        covered = max((one.last_height for one in posted), default=0)
        records = acts.records.values()
        heights = [one.executed[0] for one in records if one.executed is not None]
        forced, exited = acts.forced, acts.exited
        return {
            "scenario": self.options.scenario,
            "folder": str(self.folder),
            "nodes": self.options.nodes,
            "seconds": round(self.seconds, 1),
            "orders_sent": len(records),
            "orders_executed": len(heights),
            "results_compared": len(posted),
            "results_by_epoch": {
                str(epoch): sum(one.epoch == epoch for one in posted) for epoch in sorted({o.epoch for o in posted})
            },
            "heights_compared": sum(height <= covered for height in self.engine.heights),
            "changes_compared": self.contract.rows,
            "balances_compared": len(self.engine.totals.keys() | self.contract.balances.keys()),
            "newcomers_traded": acts.newcomers,
            "claims": acts.claims,
            "forced": None
            if forced is None
            else {
                "due_block": forced.due_block,
                "batched_heights": forced.batched_heights,
                "in_a_list": forced.listed,
                "bought_units": forced.bought_units,
            },
            "rotation": None if acts.rotated is None else acts.rotated.as_json(heights),
            "exit": None
            if exited is None
            else {
                "due_block": exited.due_block,
                "frozen_block": exited.frozen_block,
                "exits": exited.exits,
                "paid_units": {str(asset): units for asset, units in sorted(exited.paid.items())},
                "bonds_paid": exited.bonds,
                "wei_left": exited.wei_left,
            },
            "audits": list(self.audits),
            "findings": [{"code": one.code, "detail": one.detail} for one in shown(self.findings)],
            "findings_in_all": len(self.findings),
        }
