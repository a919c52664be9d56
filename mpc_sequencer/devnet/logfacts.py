"""What a member's audit log says, for comparison with the others' and with the receipts a client holds.

The log is read as the auditor reads it, so every entry is one that the member's checkpoint commits to, and it is
audited: the second implementation executes every height again. Each log has a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpc_sequencer.audit.chain import connect
from mpc_sequencer.audit.reader import LogReader
from mpc_sequencer.audit.report import Recorder, Stop
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.transcript import BlockEntry, ListEntry, LogEntry, ResultEntry
from mpc_sequencer.core.types import Block
from mpc_sequencer.node.config import load_committee
from mpc_sequencer.settlement.errors import ChainError

ListPlace = tuple[int, int, int, int]
"""(epoch, incarnation, member, number)"""
Seat = tuple[int, int]
"""(epoch, member): numbers of members change from epoch to epoch."""


@dataclass(frozen=True, slots=True)
class LastHead:
    """The latest head of a member in a final block: its clock, incarnation and last list."""

    time_ms: int
    incarnation: int
    list_number: int


@dataclass(slots=True)
class LogFacts:
    """Blocks, results and lists of one log."""

    node: int
    blocks: dict[int, bytes] = field(default_factory=dict)
    """Block ids by height."""
    results: dict[int, bytes] = field(default_factory=dict)
    """The member's own results by counting height."""
    batched: dict[bytes, list[int]] = field(default_factory=dict)
    """Heights whose batch holds the order, by order id."""
    lists: dict[ListPlace, dict[bytes, frozenset[bytes]]] = field(default_factory=dict)
    """Order ids by list hash: one hash per place, unless the member equivocated."""
    last_heads: dict[Seat, LastHead] = field(default_factory=dict)
    last_time_ms: int = 0
    """Block time of the last block."""

    def add(self, entry: LogEntry) -> None:
        """Take the next entry."""
        if isinstance(entry, BlockEntry):
            self._add_block(entry.block)
        elif isinstance(entry, ListEntry):
            one = entry.order_list
            place = (one.epoch, one.incarnation, one.node, one.number)
            self.lists.setdefault(place, {})[one.struct_hash()] = frozenset(one.entries)
        elif isinstance(entry, ResultEntry):
            self.results[entry.height] = entry.result

    def _add_block(self, block: Block) -> None:
        height = block.header.height
        self.blocks[height] = block.header.block_id()
        self.last_time_ms = block.header.time_ms
        for one in block.batch:
            self.batched.setdefault(one.order_id, []).append(height)
        for head in block.heads:
            self.last_heads[block.header.epoch, head.node] = LastHead(head.time_ms, head.incarnation, head.list_number)


@dataclass(frozen=True, slots=True)
class AuditedLog:
    """A log's facts, the auditor's report on it, and what the auditor's own execution says accounts hold."""

    facts: LogFacts
    report: dict[str, Any]
    totals: dict[tuple[bytes, int], int]
    """Free and locked base units together, by (account, asset)."""
    error: str = ""
    """Why it could not be read or audited; empty otherwise."""


def newest_log(data: Path) -> Path:
    """The log a member writes: `log`, or the latest one begun after the loss of an earlier."""
    later = [path for path in data.glob("log-*") if path.name[4:].isdigit()]
    return max(later, key=lambda path: int(path.name[4:]), default=data / "log")


def read_facts(log: Path, node: int, committee: Committee) -> LogFacts:
    """The facts of a log. Raises :class:`ConfigError` where it is not whole."""
    facts = LogFacts(node)
    recorder = Recorder()
    try:
        for _, data in LogReader(log, committee, recorder).entries():
            entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
            facts.add(entry)
    except Stop:
        raise ConfigError(f"{log}: {recorder.findings[-1].detail}", "see the member's node.log") from None
    except ProtocolError as error:
        raise ConfigError(f"{log}: {error}", "see the member's node.log") from None
    return facts


def audit_log(job: tuple[int, str, str, str | None]) -> AuditedLog:
    """Read and audit one log: (member, log folder, committee file, chain URL or None). Never raises for the log."""
    node, log, committee_path, chain_url = job
    committee = load_committee(Path(committee_path)).committee
    try:
        facts = read_facts(Path(log), node, committee)
        audit = Audit(committee)
        chain = None if chain_url is None else connect(chain_url, committee)
        report = audit.run(Path(log), chain, None, ())
    except (ConfigError, ChainError) as error:
        return AuditedLog(LogFacts(node), {"verdict": "error"}, {}, str(error))
    totals = {
        (address, asset): free + locked
        for address, account in audit.execution.state.accounts.items()
        for asset, free, locked in account.rows()
    }
    return AuditedLog(facts, report.as_dict(), totals)


def audit_logs(
    logs: Sequence[tuple[int, Path]], committee_path: Path, chain_url: str | None, done: Callable[[int], None]
) -> list[AuditedLog]:
    """Audit members' logs, as many at once as the machine has processors; ``done`` gets how many are."""
    jobs = [(node, str(log), str(committee_path), chain_url) for node, log in logs]
    audited: list[AuditedLog] = []
    with multiprocessing.get_context("spawn").Pool(min(len(jobs), os.cpu_count() or 1)) as pool:
        for one in pool.imap(audit_log, jobs):
            audited.append(one)
            done(len(audited))
    return audited
