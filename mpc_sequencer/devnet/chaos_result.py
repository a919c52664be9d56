"""What ``mpcseq devnet chaos`` was asked for, what its load leaves behind, and the figures that it prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.demo.summary import percentile
from mpc_sequencer.devnet import findings as checks
from mpc_sequencer.devnet.findings import Finding, JudgedReceipts
from mpc_sequencer.devnet.killing import Killed
from mpc_sequencer.devnet.logfacts import AuditedLog, Seat
from mpc_sequencer.devnet.rotating import Rotated


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What ``mpcseq devnet chaos`` was asked for; ``folder`` None means a new temporary one."""

    folder: Path | None
    nodes: int
    rate_per_s: float
    duration_s: float
    every_s: float
    down_s: float
    seed: int
    wipe_every: int = 0
    power_cuts: int = 0
    key_refresh_s: float = 0.0
    """How often the threshold key is shared anew; 0: never."""
    rotate_to: int | None = None
    """How many members the committee gets that replaces the first; None: it stays."""
    rotate_at_s: float | None = None
    """When; None: after ROTATE_AT_SHARE of the load."""


@dataclass(slots=True)
class Load:
    """What the loaded part leaves behind."""

    records: dict[bytes, OrderRecord] = field(default_factory=dict)
    killed: list[Killed] = field(default_factory=list)
    turns: int = 0
    wiped: frozenset[Seat] = frozenset()
    """The seats of members whose disks were removed."""
    through_height: int = 0
    """Every member had executed everything up to this height."""
    late_s_max: float = 0.0
    rotated: Rotated | None = None
    settled_through: int = 0
    """The contract has the results up to this height."""
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ChaosResult:
    """The figures and findings of a run."""

    folder: Path
    nodes: int
    every_s: float
    load: Load
    receipts: JudgedReceipts
    logs: tuple[AuditedLog, ...]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        records = self.load.records.values()
        heights = [one.executed[0] for one in records if one.executed is not None]
        rotated = self.load.rotated
        back_s = sorted(one.back_s for one in self.load.killed if one.back_s is not None)
        kinds = [one.kind for one in self.load.killed]
        return {
            "folder": str(self.folder),
            "nodes": self.nodes,
            "turns_planned": self.load.turns,
            "kills": sum(len(one.nodes) for one in self.load.killed),
            "wipes": kinds.count("wipe"),
            "power_cuts": kinds.count("power cut"),
            "recovery_s": {
                "p50": _rounded(percentile(back_s, 0.5)),
                "max": _rounded(percentile(back_s, 1.0)),
                "longer_than_every": sum(one > self.every_s for one in back_s),
            },
            "orders_sent": len(records),
            "orders_final": sum(one.final is not None or one.executed is not None for one in records),
            "orders_executed": sum(one.executed is not None for one in records),
            "rotation": None if rotated is None else rotated.as_json(heights),
            "settled_through": self.load.settled_through,
            "load_late_s_max": round(self.load.late_s_max, 2),
            "receipts_held": len(checks.receipts_of(records)),
            "receipts": {name: getattr(self.receipts, name) for name in ("kept", "open", "defaulted")},
            "logs": {
                "compared": len(self.logs),
                "heights": self.load.through_height,
                "entries": [one.report.get("entries", 0) for one in self.logs],
            },
            "key_refreshes": max(((one.report.get("key") or {}).get("refreshes", 0) for one in self.logs), default=0),
            "audits": [one.report.get("verdict") for one in self.logs],
            "findings": [{"code": one.code, "detail": one.detail} for one in checks.shown(self.findings)],
            "findings_in_all": len(self.findings),
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
