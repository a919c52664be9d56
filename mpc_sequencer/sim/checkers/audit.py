"""The auditor over an honest member's log, in memory: blocks, openings and results by an independent implementation.

One log a run is enough: the other checkers compare the members with each other. It is that of a member that went down,
where there is one: it was taken up again, and part of it was written twice.
"""

from __future__ import annotations

from mpc_sequencer.audit.report import Finding, Stop
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.transcript import LogEntry
from mpc_sequencer.sim.checkers.base import Checker
from mpc_sequencer.sim.simulation import Simulation


class Audited(Checker):
    """Everything in the log follows from the lists and the rules."""

    name = "audit"

    def at_end(self, simulation: Simulation) -> None:
        back = sorted(host.node for host in simulation.hosts if host.boots and host.node in self._healthy())
        correct = back or sorted(self.watched.correct)
        node = correct[simulation.deployment.seed % len(correct)]
        for finding in self._findings(simulation.logs[node]):
            self.report(finding.height or 0, f"log of member {node}: {finding.code}: {finding.detail}")

    def _healthy(self) -> frozenset[int]:
        return self.watched.correct | self.watched.plan.wiped

    def _findings(self, log: list[LogEntry]) -> list[Finding]:
        audit = Audit(self.committee)
        try:
            for index, entry in enumerate(log):
                audit.recorder.entry_index = index
                audit.add(decode(LogEntry, encode(entry), bytes_max=LOG_ENTRY_BYTES_MAX))
            audit.finish()
        except Stop:
            pass
        return audit.recorder.findings
