"""Logs that most tests of the auditor begin with, and what it finds in a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mpc_sequencer.audit.report import Stop
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core import transcript
from mpc_sequencer.core.actions import BUY, IOC, SELL
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.transcript import LogEntry
from tests.audit.audited_deployment import QUOTE, Deployment, secret
from tests.audit.log_builder import LogBuilder


def standard(house: Deployment | None = None, transaction: bytes = secret("transaction")) -> LogBuilder:
    """A whole valid log: two blocks with orders, one that certifies, a settled range, receipts."""
    log = LogBuilder(house=house)
    first_batch(log)
    log.reveal(1)
    log.list_all(log.withdrawal("carol", QUOTE, 12_345), log.order("carol", BUY, 99, 2))
    log.block(1_000)
    log.reveal(2)
    log.block(4_000)
    log.settlement()
    log.append(transcript.SettledEntry(last_height=3, transaction=transaction, gas_used=100_000))
    return log


def first_batch(log: LogBuilder, **options: Any) -> list[bytes]:
    """Block 1: a resting sell, an aggressive buy that fills a part of it, both with receipts of member 0."""
    order_ids = [log.order("alice", SELL, 100, 10), log.order("bob", BUY, 105, 4, IOC)]
    for order_id in order_ids:
        log.receipt(order_id, 1)
    log.list_all(*order_ids)
    log.block(**options)
    return order_ids


Build = Callable[[], LogBuilder]


def audited(committee: Committee, entries: Sequence[LogEntry]) -> Audit:
    """The audit of these entries, up to where it stops."""
    audit = Audit(committee)
    try:
        for index, entry in enumerate(entries):
            audit.recorder.entry_index = index
            audit.add(entry)
        audit.finish()
    except Stop:
        pass
    return audit


def codes(log: LogBuilder, folder: Path) -> list[str]:
    return [finding.code for finding in log.report(folder).findings]
