"""Serving one's audit log to members that are behind: where the entries of a height start, and which of them count.

A log grows by whole blocks (inputs, lists, bodies, block, finality: docs/protocol-log.md), so the first input, list or
body after a block belongs to the next. Receipts, openings and results are left out of what is served: a member
makes its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.messages import FetchLog, LogSlice
from mpc_sequencer.core.transcript import (
    BlockEntry,
    BundleEntry,
    EnvelopeEntry,
    FinalityEntry,
    InputsEntry,
    KeyEntry,
    ListEntry,
    LogEntry,
    SettlementEntry,
)

READ_ENTRIES: Final = 256
SCAN_ENTRIES_MAX: Final = 16_384
"""How far one answer looks for entries that count; an answer may be empty and lead on all the same."""
SLICE_INTERVAL_MS: Final = 100
SLICES_BURST_MAX: Final = 4
"""One peer makes a member read its log so often, some 10 MB/s; a question beyond is dropped unanswered."""
PEERS_KEPT_MAX: Final = 256
"""With so many peers, what a visitor has spent is forgotten once it counts no more."""
SERVED: Final = frozenset(
    kind.__struct_config__.tag
    for kind in (
        InputsEntry, ListEntry, EnvelopeEntry, KeyEntry, BlockEntry, FinalityEntry, BundleEntry, SettlementEntry
    )
)

Read = Callable[[int, int], list[bytes]]
"""The encoded entries of positions ``start .. stop-1``; fewer where the log ends before."""


class SliceBudget:
    """How often each peer's questions are answered: every SLICE_INTERVAL_MS, SLICES_BURST_MAX saved up at most."""

    def __init__(self) -> None:
        self._spent_until_ms: dict[int, int] = {}

    def take(self, node: int, now_ms: int) -> bool:
        """Whether a question of ``node`` is answered now."""
        saved_from_ms = now_ms - (SLICES_BURST_MAX - 1) * SLICE_INTERVAL_MS
        from_ms = max(self._spent_until_ms.get(node, 0), saved_from_ms)
        if from_ms > now_ms:
            return False
        if len(self._spent_until_ms) >= PEERS_KEPT_MAX:
            self._spent_until_ms = {one: until for one, until in self._spent_until_ms.items() if until > saved_from_ms}
        self._spent_until_ms[node] = from_ms + SLICE_INTERVAL_MS
        return True


class LogIndex:
    """The log position at which the entries of each height start. Heights are observed in order, from 1."""

    def __init__(self, starts: array[int] | None = None) -> None:
        self.starts = starts if starts is not None else array("Q")
        self._start: int | None = None

    def observe(self, position: int, entry: LogEntry) -> None:
        """The entry at ``position`` was appended."""
        match entry:
            case InputsEntry() | ListEntry() | EnvelopeEntry() | KeyEntry():
                if self._start is None:
                    self._start = position
            case BlockEntry(block) if block.header.height == len(self.starts) + 1:
                self.starts.append(position if self._start is None else self._start)
                self._start = None
            case _:
                pass

    def position_of(self, height: int) -> int | None:
        """Where the entries of ``height`` start; None where the log has not come to it."""
        return self.starts[height - 1] if 1 <= height <= len(self.starts) else None


def slice_log(index: LogIndex, read: Read, asked: FetchLog) -> LogSlice:
    """The answer to ``asked``: up to LOG_SLICE_BYTES_MAX; empty and leading no further where there is nothing more."""
    start = asked.position or index.position_of(asked.height)
    if start is None:
        return LogSlice((), asked.position)
    position = start
    found: list[bytes] = []
    size = 0
    while position < start + SCAN_ENTRIES_MAX and (chunk := read(position, position + READ_ENTRIES)):
        for entry in chunk:
            position += 1
            if len(entry) > 1 and entry[1] in SERVED:  # an entry is an array of at most 15 values, its tag the first
                found.append(entry)
                size += len(entry)
            if size >= limits.LOG_SLICE_BYTES_MAX or len(found) >= limits.LOG_SLICE_ENTRIES_MAX:
                return LogSlice(tuple(found), position)
    return LogSlice(tuple(found), position)
