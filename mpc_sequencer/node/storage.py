"""A member's data folder: journal, audit log, snapshot, and how they come back together after a stop.

::

    data/
      never-started      written with the member's keys; the first start removes it
      journal/           what must be on disk before it is on the wire (journal.py)
      log/               the audit log (translog.py); log-<ms>/ where an earlier one was lost
      snapshot           the member's state at one moment, with the first journal record after it
      heights            where each height starts in the log, 8 bytes each
      evidence/          evidence_files.py
      damaged-<ms>/      what could not be read, kept for the operator

A snapshot counts on the journal from its record on and on the log from its entry on: the log is signed durably before
a snapshot is written, and older journal segments go after it. Whatever is missing or damaged otherwise makes the
member start *damaged*: it cannot know what it has signed (:mod:`mpc_sequencer.core.standing`). Only a folder with the
mark ``never-started`` and without a journal is new: a wiped disk does not look like one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.logslice import LogIndex, slice_log
from mpc_sequencer.core.messages import FetchLog, LogSlice
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import SNAPSHOT_BYTES_MAX, Relog, dump
from mpc_sequencer.core.transcript import ChainInput, GenesisEntry, InputsEntry, LogEntry, entry_key
from mpc_sequencer.core.types import ZERO_HASH, Checkpoint
from mpc_sequencer.node import files
from mpc_sequencer.node.journal import SUFFIX, FolderInUse, Journal, JournalDamage, read_journal
from mpc_sequencer.node.translog import CheckpointWrite, TransparencyLog
from mpc_sequencer.settlement.payloads import next_inputs_hash

INPUT_ENTRIES_MAX: Final = 256  # the first bundle of the log; more are read from the chain
NEVER_STARTED: Final = "never-started"
_MAGIC: Final = b"MPCSEQS1"
_HEADER: Final = struct.Struct(">8sQQQ")
"""Magic, first journal record after the snapshot, first log entry needed beside it, bytes of content."""
_HINT: Final = "keep the folder for its evidence; the member starts damaged"

logger = logging.getLogger("mpc_sequencer.node")


def mark_never_started(folder: Path) -> None:
    """Make the data folder of a member that has never started. Raises ``OSError``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / NEVER_STARTED).touch(mode=0o600)
    files.sync_folder(folder)


class Damage(Exception):
    """A part of the data folder that recovery needs is missing or damaged."""


class Storage:
    """An open data folder. ``origin(began_ms)`` is the log's origin line, 0 for the member's first log; ``checkpoint``
    is the genesis one."""

    def __init__(
        self, folder: Path, origin: Callable[[int], str], log_seed: bytes, checkpoint: Checkpoint
    ) -> None:
        self._folder = folder
        self._checkpoint = checkpoint
        self._origin = origin
        self._log_seed = log_seed
        self.fresh = False
        """Nothing was here: the member has never started."""
        self.damaged = ""
        """What is lost; empty where nothing is."""
        self.snapshot: bytes | None = None
        self._first_record = 0
        self._first_entry = 0
        self._heights_saved = 0
        self.index = LogIndex()
        self._relog = Relog(())
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot use {folder}: {error.strerror}", "check its owner") from error
        journal_folder = folder / "journal"
        begun = journal_folder.is_dir() and any(journal_folder.glob(f"*{SUFFIX}"))
        mark = folder / NEVER_STARTED
        if mark.exists() and not begun:
            self.fresh = True
            self.journal, self.log = Journal(journal_folder), self._open_log()
            mark.unlink()
            files.sync_folder(folder)
        else:
            try:
                self._open(begun)
            except FolderInUse:
                raise
            except (Damage, JournalDamage, ConfigError, ProtocolError) as error:
                self._start_damaged(str(error))

    # --- opening ------------------------------------------------------------------------------------------------
    def _open(self, begun: bool) -> None:
        if not begun:
            raise Damage(f"{self._folder} holds no journal")
        self._read_snapshot()
        self.journal = Journal(self._folder / "journal")
        try:
            for _ in read_journal(self._folder / "journal", self._first_record):
                pass
            self.log = self._open_log()
            if self.log.size < self._first_entry:
                raise Damage(f"the log ends at entry {self.log.size}, the snapshot needs {self._first_entry}")
            self._read_heights()
        except BaseException:
            self.journal.close()
            raise

    def _read_snapshot(self) -> None:
        path = self._folder / "snapshot"
        if not path.exists():
            return
        data = files.read_bounded(path, SNAPSHOT_BYTES_MAX, _HINT)
        body, seal = data[:-32], data[-32:]
        if len(data) < _HEADER.size + 32 or hashlib.sha256(body).digest() != seal:
            raise Damage(f"{path} is damaged")
        magic, self._first_record, self._first_entry, size = _HEADER.unpack_from(body)
        if magic != _MAGIC or size != len(body) - _HEADER.size:
            raise Damage(f"{path} is no snapshot of this version")
        self.snapshot = body[_HEADER.size :]

    def _log_folder(self) -> tuple[Path, int]:
        """The newest log's folder and when it began (0 for the first)."""
        later = sorted(int(path.name[4:]) for path in self._folder.glob("log-[0-9]*"))
        return (self._folder / f"log-{later[-1]}", later[-1]) if later else (self._folder / "log", 0)

    def _open_log(self) -> TransparencyLog:
        folder, began_ms = self._log_folder()
        return TransparencyLog(folder, self._origin(began_ms), self._log_seed)

    def _read_heights(self) -> None:
        """Where heights start: before the first entry needed out of the file, after it out of the log."""
        path = self._folder / "heights"
        starts = array("Q")
        if path.exists():
            data = path.read_bytes()
            starts.frombytes(data[: len(data) // 8 * 8])
        self.index = LogIndex(starts[: bisect_left(starts, self._first_entry)])
        self._heights_saved = len(self.index.starts)
        keys: list[tuple[object, ...]] = []
        for position, data in enumerate(self.log_entries(), self._first_entry):
            entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
            self.index.observe(position, entry)
            keys.append(entry_key(entry))
        self._relog = Relog(keys)

    def _start_damaged(self, cause: str) -> None:
        """Put aside what is left and begin anew; a log that is whole goes on."""
        now_ms = time.time_ns() // 1_000_000
        aside = self._folder / f"damaged-{now_ms}"
        aside.mkdir(mode=0o700)
        for name in ("journal", "snapshot", "heights"):
            if (self._folder / name).exists():
                (self._folder / name).rename(aside / name)
        self.damaged, self.snapshot = cause, None
        self._first_record = self._first_entry = 0
        self.journal = Journal(self._folder / "journal")
        try:
            self.log = self._open_log()
            if not self.log.size:
                raise ConfigError("the log is gone", _HINT)
            self._read_heights()
        except (ConfigError, ProtocolError) as error:
            logger.error("the audit log begins anew: %s", error)
            (self._folder / f"log-{now_ms}").mkdir()
            self.log, self.index, self._relog = self._open_log(), LogIndex(), Relog(())
        files.sync_folder(self._folder)

    # --- recovery -----------------------------------------------------------------------------------------------
    def journal_records(self) -> Iterator[bytes]:
        """The records since the snapshot."""
        return read_journal(self._folder / "journal", self._first_record)

    def log_entries(self) -> Iterator[bytes]:
        """The entries since the snapshot that a checkpoint covers."""
        position, stop = self._first_entry, self.log.size
        while position < stop:
            chunk = self.log.read(position, stop)
            yield from chunk
            position += len(chunk)

    def chain_inputs(self) -> tuple[ChainInput, ...] | None:
        """The chain inputs that the log starts with; None where they are not those of the genesis checkpoint."""
        found: list[ChainInput] = []
        inputs_hash = ZERO_HASH
        for data in self.log.read(0, INPUT_ENTRIES_MAX):
            entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
            if isinstance(entry, InputsEntry):
                found.extend(entry.inputs)
            elif not isinstance(entry, GenesisEntry):
                break
        for one in found:
            amount = int.from_bytes(one.amount, "big")
            inputs_hash = next_inputs_hash(inputs_hash, one.kind, one.account, one.asset, amount)
        expected = self._checkpoint
        return tuple(found) if (len(found), inputs_hash) == (expected.inputs_count, expected.inputs_hash) else None

    # --- writing ------------------------------------------------------------------------------------------------
    def append(self, entry: LogEntry) -> None:
        """Append to the audit log, unless a recovering member says again what it holds. Raises ``OSError``."""
        if not self._relog or self._relog.is_news(entry_key(entry)):
            self.index.observe(self.log.size, entry)
            self.log.append(encode(entry))

    def serve(self, asked: FetchLog) -> LogSlice:
        """A slice of the log for a member that is behind. Raises ``ConfigError`` where a file is damaged."""
        return slice_log(self.index, self.log.read, asked)

    def prepare_snapshot(self, core: NodeCore) -> SnapshotWrite:
        """What the next snapshot has to write; between two rounds, when all effects are carried out. Raises
        ``OSError``."""
        data, height = dump(core)
        position = None if height is None else self.index.position_of(height)
        first_entry = self.log.size if position is None else position
        first_record = self.journal.rotate()
        saved = self._heights_saved
        heights = self.index.starts[saved:].tobytes()
        self._heights_saved = len(self.index.starts)
        body = _HEADER.pack(_MAGIC, first_record, first_entry, len(data)) + data
        checkpoint = self.log.prepare_checkpoint()
        return SnapshotWrite(self._folder, checkpoint, body, 8 * saved, heights, self.journal, first_record)

    def finish(self, core: NodeCore | None) -> None:
        """An orderly end: sign the log, and where the core stands between two rounds leave a snapshot."""
        if core is None:
            self.log.checkpoint(sync=True)
        else:
            self.prepare_snapshot(core).run()


@dataclass(frozen=True, slots=True)
class SnapshotWrite:
    """A prepared snapshot. Run it to its end, in any thread, before the next one or a checkpoint is prepared."""

    folder: Path
    checkpoint: CheckpointWrite
    body: bytes
    heights_offset: int
    heights: bytes
    journal: Journal
    first_record: int

    def run(self) -> None:
        """The log's checkpoint, the heights, the snapshot; then older journal segments go. Raises ``OSError``."""
        self.checkpoint.run(sync=True)
        path = self.folder / "heights"
        path.touch(mode=0o600)
        with path.open("r+b") as file:
            file.truncate(self.heights_offset)
            file.seek(self.heights_offset)
            file.write(self.heights)
            file.flush()
            os.fsync(file.fileno())
        seal = hashlib.sha256(self.body).digest()
        files.replace_file(self.folder / "snapshot", self.body + seal, mode=0o600, sync=True)
        self.journal.prune(self.first_record)
