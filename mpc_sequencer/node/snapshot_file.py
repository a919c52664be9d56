"""A snapshot on disk: its file, and the steps that write it.

::

    magic (8) || mark (3 x 8) || bytes of content (8) || content || SHA-256 of all before (32)

The hash finds accidents; whoever can write the file can forge it. A snapshot is written last of what it counts on, and
replaces the one before in one step: a crash between any two steps leaves the earlier one, with the journal it needs.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mpc_sequencer.node import files
from mpc_sequencer.node.journal import Journal
from mpc_sequencer.node.outcomes import OutcomesWrite
from mpc_sequencer.node.translog import CheckpointWrite

_MAGIC: Final = b"MPCSEQS1"
_HEADER: Final = struct.Struct(">8sQQQQ")
_SEAL_BYTES: Final = 32


class SnapshotMark(NamedTuple):
    """What else of the data folder a snapshot counts on."""

    first_record: int
    """The first journal record after the snapshot."""
    first_entry: int
    """The first log entry that is needed beside it."""
    heights_before: int
    """Heights that start before that entry."""


def pack_snapshot(mark: SnapshotMark, content: bytes) -> bytes:
    """The file's body, which its seal covers."""
    return _HEADER.pack(_MAGIC, *mark, len(content)) + content


def unpack_snapshot(data: bytes) -> tuple[SnapshotMark, bytes]:
    """The mark and the content of a snapshot's file. Raises ``ValueError``, which says what the file is."""
    body, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if len(data) < _HEADER.size + _SEAL_BYTES or _seal(body) != seal:
        raise ValueError("is damaged")
    magic, *mark, size = _HEADER.unpack_from(body)
    if magic != _MAGIC or size != len(body) - _HEADER.size:
        raise ValueError("is no snapshot of this version")
    return SnapshotMark(*mark), body[_HEADER.size :]


def _seal(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


@dataclass(frozen=True, slots=True)
class SnapshotWrite:
    """A prepared snapshot. Run it to its end, in any thread, before the next one or a checkpoint is prepared."""

    folder: Path
    checkpoint: CheckpointWrite
    body: bytes
    heights_saved: int
    """Heights that are on disk already."""
    heights: bytes
    outcomes: OutcomesWrite
    journal: Journal
    first_record: int
    finish: Callable[[int], None]

    def run(self) -> None:
        """The log's checkpoint, outcomes, heights, the snapshot; then older journal segments go. Raises ``OSError``."""
        self.checkpoint.run(sync=True)
        self.outcomes.run()
        path = self.folder / "heights"
        path.touch(mode=0o600)
        with path.open("r+b") as file:
            file.truncate(8 * self.heights_saved)
            file.seek(8 * self.heights_saved)
            file.write(self.heights)
            file.flush()
            os.fsync(file.fileno())
        files.replace_file(self.folder / "snapshot", self.body + _seal(self.body), mode=0o600, sync=True)
        self.finish(self.heights_saved + len(self.heights) // 8)
        self.journal.prune(self.first_record)
