"""Rules of settlement: ranges follow from the final headers, their results from execution, q members
signed them.

A range ends at the latest with its epoch's last block, where it counts a height; one that counts none goes on into the
next epoch. The committee of the epoch that a range ends in signs it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from mpc_sequencer.audit.epochs import Epoch, Epochs
from mpc_sequencer.audit.execution import Executed
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.transcript import SettledEntry, SettlementEntry
from mpc_sequencer.core.types import BlockHeader
from mpc_sequencer.settlement.payloads import BATCH_RESULT

Changes = dict[tuple[int, bytes], tuple[int, int]]
"""Per (asset, account): change of free + locked, change of withdrawable."""


@dataclass(slots=True)
class Range:
    """A settlement range; its roots and changes are known once all its counting heights are executed."""

    first_height: int
    last_height: int
    counting: list[int]
    data_hash: bytes
    epoch: Epoch
    """The one it ends in."""
    inputs: tuple[int, bytes]
    """How many of the chain's inputs are taken at its end, and the queue's hash there."""
    prev_state_root: bytes = b""
    state_root: bytes = b""
    fills_root: bytes = b""
    changes: Changes = field(default_factory=dict)
    settled: bool = False


@dataclass(slots=True)
class _Growing:
    """The range that the last header belongs to."""

    first_height: int
    block_ids: list[bytes] = field(default_factory=list)
    counting: list[int] = field(default_factory=list)
    first_counting_ms: int = 0


def pack(changes: Changes) -> bytes:
    """Changes per (asset, account) as signed: 54 bytes each, ascending, without zero rows."""
    return b"".join(
        account
        + asset.to_bytes(2, "big")
        + total.to_bytes(16, "big", signed=True)
        + withdrawable.to_bytes(16, "big", signed=True)
        for (asset, account), (total, withdrawable) in sorted(changes.items())
        if total or withdrawable
    )


class Settlement:
    """The ranges of the log so far."""

    def __init__(self, epochs: Epochs, recorder: Recorder) -> None:
        self._epochs = epochs
        self._recorder = recorder
        self._growing = _Growing(1)
        self._executed: dict[int, Executed] = {}
        self._waiting: list[Range] = []
        self._state_root = b""
        self.ranges: dict[int, Range] = {}
        self.transactions: dict[int, bytes] = {}
        """Per range end: the transaction in which the member posted it."""

    @property
    def last_ended_height(self) -> int:
        """The end of the last closed range."""
        return self._growing.first_height - 1

    def start(self, genesis_state_root: bytes) -> None:
        """The state root the first range builds on."""
        self._state_root = genesis_state_root

    def add_block(
        self, header: BlockHeader, *, counts: bool, inputs: tuple[int, bytes], last: bool = False
    ) -> None:
        """Lengthen the last range by a final header, the ``last`` of its epoch or not; close it where the rule says
        so."""
        growing = self._growing
        growing.block_ids.append(header.block_id())
        if counts:
            if not growing.counting:
                growing.first_counting_ms = header.time_ms
            growing.counting.append(header.height)
        if not growing.counting or not (
            len(growing.block_ids) >= limits.SETTLEMENT_RANGE_HEIGHTS
            or header.time_ms - growing.first_counting_ms >= limits.SETTLEMENT_RANGE_MS
            or last
        ):
            return
        data_hash = domains.RANGE_DATA(*growing.block_ids)
        closed = Range(growing.first_height, header.height, growing.counting, data_hash, self._epochs.current, inputs)
        self.ranges[closed.first_height] = closed
        self._waiting.append(closed)
        self._growing = _Growing(header.height + 1)
        self._complete()

    def add_executed(self, executed: Executed) -> None:
        """Take what a counting height did."""
        self._executed[executed.height] = executed
        self._complete()

    def _complete(self) -> None:
        while self._waiting and all(height in self._executed for height in self._waiting[0].counting):
            closed = self._waiting.pop(0)
            heights = [self._executed.pop(height) for height in closed.counting]
            for executed in heights:
                for key, (total, withdrawable) in executed.deltas.items():
                    before = closed.changes.get(key, (0, 0))
                    closed.changes[key] = (before[0] + total, before[1] + withdrawable)
            closed.prev_state_root = self._state_root
            closed.state_root = self._state_root = heights[-1].state_root
            closed.fills_root = domains.RANGE_FILLS(*[executed.fills_root for executed in heights])

    def add(self, entry: SettlementEntry, certified_height: int) -> None:
        """Judge a signed result."""
        expected = self.ranges.get(entry.first_height)
        height = entry.last_height
        if expected is None or expected.last_height != entry.last_height:
            return self._recorder.fail("settlement.range", f"{entry.first_height}..{height}", height=height)
        if expected.settled:
            return self._recorder.fail(
                "settlement.repeated", f"{entry.first_height}..{height}", height=height
            )
        expected.settled = True
        if not expected.state_root:
            return self._recorder.fail(
                "settlement.unexecuted", f"{entry.first_height}..{height}", height=height
            )
        if certified_height < expected.counting[-1]:
            detail = f"height {expected.counting[-1]} is not certified"
            return self._recorder.fail("settlement.uncertified", detail, height=height)
        self._recorder.done("settlements")
        problem = self._difference(entry, expected)
        votes_problem = expected.epoch.signatures.check_quorum(
            entry.signatures, _struct_hash(entry, expected.epoch.number)
        )
        self._recorder.done("settlement_signatures", len(entry.signatures))
        if problem is not None:
            signed = "q members signed it" if votes_problem is None else "q members did not sign it"
            return self._recorder.fail(f"settlement.{problem[0]}", f"{problem[1]}; {signed}", height=height)
        if votes_problem is not None:
            self._recorder.fail(f"settlement.{votes_problem[0]}", votes_problem[1], height=height)
        return None

    def _difference(self, entry: SettlementEntry, expected: Range) -> tuple[str, str] | None:
        for code, seen, wanted in (
            ("state_root", entry.prev_state_root, expected.prev_state_root),
            ("state_root", entry.state_root, expected.state_root),
            ("fills_root", entry.fills_root, expected.fills_root),
            ("data_hash", entry.data_hash, expected.data_hash),
            ("inputs", entry.inputs_hash, expected.inputs[1]),
        ):
            if seen != wanted:
                return code, f"{seen.hex()}, expected {wanted.hex()}"
        if entry.inputs_count != expected.inputs[0]:
            return "inputs", f"count {entry.inputs_count}, expected {expected.inputs[0]}"
        if entry.deltas != pack(expected.changes):
            return (
                "deltas",
                f"{len(entry.deltas)} bytes, expected {len(pack(expected.changes))}: other changes",
            )
        return None

    def add_settled(self, entry: SettledEntry) -> None:
        """Judge a note that the member posted a range."""
        settled = any(r.last_height == entry.last_height and r.settled for r in self.ranges.values())
        if not settled or entry.last_height in self.transactions:
            self._recorder.fail("settled.range", f"range end {entry.last_height}", height=entry.last_height)
        self.transactions[entry.last_height] = entry.transaction


def _struct_hash(entry: SettlementEntry, epoch: int) -> bytes:
    """What the members of an epoch sign for the entry as it is."""
    return BATCH_RESULT(
        epoch,
        entry.first_height,
        entry.last_height,
        entry.prev_state_root,
        entry.state_root,
        entry.fills_root,
        entry.data_hash,
        entry.inputs_count,
        entry.inputs_hash,
        hashlib.sha256(entry.deltas).digest(),
    )
