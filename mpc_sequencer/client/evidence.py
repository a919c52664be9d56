"""From a client's receipt file and members' logs to evidence of broken receipts.

A receipt for list k is judged where a list k of the same member, epoch and incarnation, signed by it, is at hand;
without that list it proves nothing yet. The lists come from logs of any members: final blocks include the lists of
all. A log is read as the auditor reads it, so every entry is one its checkpoint commits to. Receipts of later epochs
are judged by the committees that the file beside the receipts proves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mpc_sequencer.audit.reader import LogReader
from mpc_sequencer.audit.report import Recorder, Stop
from mpc_sequencer.client.epochs_file import beside, load_epochs
from mpc_sequencer.client.receipts import StoredReceipt, read_receipts
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.offences import BrokenReceipt
from mpc_sequencer.core.transcript import ListEntry, LogEntry
from mpc_sequencer.core.types import OrderList, Receipt


@dataclass(frozen=True, slots=True)
class JudgedReceipts:
    """How many receipts were kept, how many have no list in the logs, and evidence for each broken one."""

    kept: int
    open: int
    broken: tuple[BrokenReceipt, ...]
    committees: dict[int, Committee]
    """By epoch."""


def receipt_evidence(stored: StoredReceipt, order_list: OrderList, committee: Committee) -> BrokenReceipt | None:
    """The evidence where the member's ``order_list`` breaks the receipt; None where it does not, is another list or
    is not signed."""
    offence = BrokenReceipt(stored.receipt, order_list)
    try:
        verify(offence, committee)
    except ProtocolError:
        return None
    return offence


def broken_receipts(receipts: Path, logs: Iterable[Path], committee: Committee) -> JudgedReceipts:
    """Judge every receipt of a file by the lists in the logs. Raises :class:`ConfigError` for a file or log that
    cannot be read."""
    stored = [one for one in read_receipts(receipts) if one.genesis == committee.genesis_id]
    wanted = {_place(one.receipt) for one in stored}
    committees = load_epochs(beside(receipts), committee)
    lists: dict[tuple[int, int, int, int], list[OrderList]] = {}
    for log in logs:
        for one in _lists_of(log, committee):
            place = (one.epoch, one.incarnation, one.node, one.number)
            if place in wanted and one not in lists.setdefault(place, []):
                lists[place].append(one)
    kept, unjudged, broken = 0, 0, []
    for promise in stored:
        held = lists.get(_place(promise.receipt), [])
        members = committees.get(promise.receipt.epoch)
        if members is None:
            unjudged += 1
            continue
        proven = [offence for other in held if (offence := receipt_evidence(promise, other, members)) is not None]
        if proven:
            broken.append(proven[0])
        elif any(promise.receipt.order_id in other.entries for other in held):
            kept += 1
        else:
            unjudged += 1
    return JudgedReceipts(kept, unjudged, tuple(broken), committees)


def _place(receipt: Receipt) -> tuple[int, int, int, int]:
    return receipt.epoch, receipt.incarnation, receipt.node, receipt.list_number


def _lists_of(log: Path, committee: Committee) -> Iterator[OrderList]:
    recorder = Recorder()
    try:
        for _, data in LogReader(log, committee, recorder).entries():
            entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
            if isinstance(entry, ListEntry):
                yield entry.order_list
    except Stop:
        finding = recorder.findings[-1]
        raise ConfigError(f"the log {log} cannot be read: {finding.detail}", "give a whole log folder") from None
    except ProtocolError as error:
        raise ConfigError(f"the log {log} holds an entry that is none: {error}", "give a whole log folder") from None
