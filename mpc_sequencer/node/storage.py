"""A member's data folder: journal, audit log, snapshot, and how they come back together after a stop.

::

    data/
      lock               keeps a second process out
      never-started      written with the member's keys; the first start removes it
      journal/           what must be on disk before it is on the wire (journal.py)
      log/               the audit log (translog.py); log-<ms>/ where an earlier one was lost
      snapshot           the member's state at one moment, with the first journal record after it (snapshot_file.py)
      heights            where each height starts in the log, 8 bytes each
      outcomes           what became of each order (outcomes.py)
      evidence/          evidence_files.py
      damaged-<ms>/      what could not be read, kept for the operator

An epoch begins with a snapshot of its own: its records follow it, so the folder is in one epoch or in the other.

A snapshot counts on the journal from its record on and on the log from its entry on: the log is signed durably before
a snapshot is written, and older journal segments go after it. Whatever is missing or damaged otherwise makes the
member start *damaged*: it cannot know what it has signed (:mod:`mpc_sequencer.core.standing`). Only a folder with the
mark ``never-started`` is new: a wiped disk does not look like one. So that a crash between two steps never looks like
either, the first start puts a record into the journal and a checkpoint into the log before it removes the mark, and
a damaged start does before it signs anything: a journal without a record, or a log without a checkpoint, is a lost one.
A log that was lost, or is shorter than it was, begins anew under an origin of its own, for under the old one its next
checkpoints would contradict those that are out. A file that is there and cannot be read (no permission, an input or
output error) keeps the member from starting: nothing is given up for what may be whole.
"""

from __future__ import annotations

import errno
import logging
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import MutedRecord, ResumedRecord
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.logslice import LogIndex, slice_log
from mpc_sequencer.core.messages import FetchLog, LogSlice
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import SNAPSHOT_BYTES_MAX, Relog, dump
from mpc_sequencer.core.transcript import ChainInput, GenesisEntry, InputsEntry, LogEntry, entry_key
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.node import files
from mpc_sequencer.node.journal import (
    SEGMENT_HEADER_BYTES,
    SUFFIX,
    FolderLock,
    Journal,
    JournalDamage,
    read_journal,
)
from mpc_sequencer.node.outcomes import Outcomes
from mpc_sequencer.node.snapshot_file import SnapshotMark, SnapshotWrite, pack_snapshot, unpack_snapshot
from mpc_sequencer.node.startup import lead_to
from mpc_sequencer.node.translog import TransparencyLog

INPUT_ENTRIES_MAX: Final = 256  # the first bundle of the log; more are read from the chain
NEVER_STARTED: Final = "never-started"
_HINT: Final = "keep the folder for its evidence; the member starts damaged"

logger = logging.getLogger("mpc_sequencer.node")


def mark_never_started(folder: Path) -> None:
    """Make the data folder of a member that has never started. Raises ``OSError``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / NEVER_STARTED).touch(mode=0o600)
    files.sync_folder(folder)


class Damage(Exception):
    """A part of the data folder that recovery needs is missing or damaged. ``log_lost``: the log is, or some of it."""

    def __init__(self, cause: str, *, log_lost: bool = False) -> None:
        super().__init__(cause)
        self.log_lost = log_lost


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
        self._heights_before = 0
        self._heights_saved = 0
        self.index = LogIndex()
        self._relog = Relog(())
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot use {folder}: {error.strerror}", "check its owner") from error
        self._lock = FolderLock(folder)
        try:
            self.outcomes = Outcomes(folder / "outcomes")
            self._take_up()
        except BaseException:
            self._lock.release()
            raise

    # --- opening ------------------------------------------------------------------------------------------------
    def _take_up(self) -> None:
        mark = self._folder / NEVER_STARTED
        segments = list((self._folder / "journal").glob(f"*{SUFFIX}"))
        if mark.exists() and all(path.stat().st_size <= SEGMENT_HEADER_BYTES for path in segments):
            self.fresh = True
            try:
                self.log = self._open_log()
            except Damage as error:
                hint = f"it is not this member's: empty {self._folder}, but for {NEVER_STARTED}"
                raise ConfigError(str(error), hint) from error
            self.log.checkpoint(sync=True)
            self._begin_journal(ResumedRecord(0, 0))
        else:
            try:
                self._open(begun=bool(segments))
            except (Damage, JournalDamage) as error:
                self._start_damaged(str(error), isinstance(error, Damage) and error.log_lost)
        mark.unlink(missing_ok=True)
        files.sync_folder(self._folder)

    def _begin_journal(self, first: ResumedRecord | MutedRecord) -> None:
        self.journal = Journal(self._folder / "journal")
        self.journal.append(encode(first))
        self.journal.sync()

    def _open(self, *, begun: bool) -> None:
        if not begun:
            raise Damage(f"{self._folder} holds no journal")
        self._read_snapshot()
        self.journal = Journal(self._folder / "journal")
        try:
            if not self.journal.next_number:
                raise Damage(f"the journal of {self._folder} holds no record")
            for _ in read_journal(self._folder / "journal", self._first_record):
                pass
            self.log = self._open_log()
            self._check_log()
            self._read_heights()
        except BaseException:
            self.journal.close()
            raise

    def _read_snapshot(self) -> None:
        path = self._folder / "snapshot"
        if not path.exists():
            return
        try:
            data = files.read_bounded(path, SNAPSHOT_BYTES_MAX, _HINT)
        except ConfigError as error:
            _refuse_unreadable(error)
            raise Damage(str(error)) from error
        try:
            mark, self.snapshot = unpack_snapshot(data)
        except ValueError as error:
            raise Damage(f"{path} {error}") from error
        self._first_record, self._first_entry, self._heights_before = mark

    def _log_folder(self) -> tuple[Path, int]:
        """The newest log's folder and when it began (0 for the first)."""
        later = sorted(int(path.name[4:]) for path in self._folder.glob("log-[0-9]*"))
        return (self._folder / f"log-{later[-1]}", later[-1]) if later else (self._folder / "log", 0)

    def _open_log(self) -> TransparencyLog:
        folder, began_ms = self._log_folder()
        try:
            return TransparencyLog(folder, self._origin(began_ms), self._log_seed)
        except ConfigError as error:
            _refuse_unreadable(error)
            raise Damage(str(error), log_lost=True) from error

    def _check_log(self) -> None:
        folder, _ = self._log_folder()
        if not (folder / "checkpoint").exists():
            raise Damage(f"{folder} holds no checkpoint", log_lost=True)
        if self.log.size < self._first_entry:
            cause = f"the log ends at entry {self.log.size}, the snapshot needs {self._first_entry}"
            raise Damage(cause, log_lost=True)

    def _read_heights(self) -> None:
        """Where heights start: before the first entry needed out of the file, after it out of the log. A file that
        does not say what it must is made again from the whole log."""
        path = self._folder / "heights"
        starts = array("Q")
        if path.exists():
            data = path.read_bytes()
            starts.frombytes(data[: len(data) // 8 * 8])
        starts = starts[: self._heights_before]
        ascending = all(a < b for a, b in pairwise((*starts, self._first_entry)))
        whole = len(starts) == self._heights_before and ascending
        self.index = LogIndex(starts if whole else None)
        self._heights_saved = len(self.index.starts)
        keys: list[tuple[object, ...]] = []
        first = self._first_entry if whole else 0
        try:
            for position, data in enumerate(self._entries_from(first), first):
                entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
                self.index.observe(position, entry)
                if position >= self._first_entry:
                    keys.append(entry_key(entry))
        except ConfigError as error:
            _refuse_unreadable(error)
            raise Damage(str(error), log_lost=True) from error
        except ProtocolError as error:
            raise Damage(f"the log holds what is no entry: {error}", log_lost=True) from error
        self._relog = Relog(keys)

    def _start_damaged(self, cause: str, log_lost: bool) -> None:
        """Put aside what is left and begin anew; a log that is whole goes on."""
        self._put_aside("journal", "snapshot", "heights")
        self.damaged, self.snapshot = cause, None
        self._first_record = self._first_entry = self._heights_before = 0
        self._begin_journal(MutedRecord())
        try:
            if log_lost:
                raise Damage(cause, log_lost=True)
            self.log = self._open_log()
            self._check_log()
            self._read_heights()
        except Damage as error:
            logger.error("the audit log begins anew: %s", error)
            self._begin_log()

    def _new_folder(self, name: str) -> Path:
        """A folder ``<name>-<ms>`` that was not there."""
        now_ms = time.time_ns() // 1_000_000
        while (path := self._folder / f"{name}-{now_ms}").exists():
            now_ms += 1
        path.mkdir(mode=0o755 if name == "log" else 0o700)
        return path

    def _put_aside(self, *names: str) -> None:
        aside = self._new_folder("damaged")
        for name in names:
            if (self._folder / name).exists():
                (self._folder / name).rename(aside / name)
        files.sync_folder(self._folder)

    def _begin_log(self) -> None:
        self._new_folder("log")
        self.log, self.index, self._relog, self._heights_saved = self._open_log(), LogIndex(), Relog(()), 0
        self.log.checkpoint(sync=True)

    # --- recovery -----------------------------------------------------------------------------------------------
    def journal_records(self) -> Iterator[bytes]:
        """The records since the snapshot."""
        return read_journal(self._folder / "journal", self._first_record)

    def log_entries(self) -> Iterator[bytes]:
        """The entries since the snapshot that a checkpoint covers."""
        return self._entries_from(self._first_entry)

    def _entries_from(self, position: int) -> Iterator[bytes]:
        stop = self.log.size
        while position < stop:
            chunk = self.log.read(position, stop)
            yield from chunk
            position += len(chunk)

    def chain_inputs(self) -> tuple[ChainInput, ...] | None:
        """The chain inputs that the log starts with; None where they are not those of the genesis checkpoint, or
        cannot be read."""
        found: list[ChainInput] = []
        try:
            first = self.log.read(0, INPUT_ENTRIES_MAX)
        except ConfigError as error:
            logger.error("the chain inputs are read anew: %s", error)
            return None
        for data in first:
            entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
            if isinstance(entry, InputsEntry) and len(found) < self._checkpoint.inputs_count:
                found.extend(entry.inputs)
            elif not isinstance(entry, GenesisEntry):
                break
        return tuple(found) if lead_to(found, self._checkpoint) else None

    # --- writing ------------------------------------------------------------------------------------------------
    def append(self, entry: LogEntry) -> None:
        """Append to the audit log, unless a recovering member says again what it holds. Raises ``OSError``."""
        if not self._relog or self._relog.is_news(entry_key(entry)):
            self.index.observe(self.log.size, entry)
            self.log.append(encode(entry))

    def serve(self, asked: FetchLog) -> LogSlice:
        """A slice of the log for a member that is behind; an empty one where a file of it is damaged."""
        try:
            return slice_log(self.index, self.log.read, asked)
        except ConfigError as error:
            logger.error("a part of the log cannot be served: %s", error)
            return LogSlice((), asked.position)

    def prepare_snapshot(self, core: NodeCore) -> SnapshotWrite:
        """What the next snapshot has to write; between two rounds, when all effects are carried out. One that is never
        run leaves nothing behind. Raises ``OSError``."""
        data, height = dump(core)
        return self._prepare(data, None if height is None else self.index.position_of(height))

    def prepare_epoch(self, snapshot: bytes) -> SnapshotWrite:
        """The same for the next epoch's first snapshot: nothing before it is needed any more. It is on disk before
        anything of that epoch is kept or sent. Raises ``OSError``."""
        return self._prepare(snapshot, None)

    def _prepare(self, data: bytes, position: int | None) -> SnapshotWrite:
        """``position`` is the first log entry that is needed beside the snapshot; None: the next one."""
        first_entry = self.log.size if position is None else position
        first_record = self.journal.rotate()
        saved, starts = self._heights_saved, self.index.starts
        before = bisect_left(starts, first_entry)
        body = pack_snapshot(SnapshotMark(first_record, first_entry, before), data)
        checkpoint = self.log.prepare_checkpoint()
        heights, outcomes = starts[saved:].tobytes(), self.outcomes.prepare()
        return SnapshotWrite(
            self._folder, checkpoint, body, saved, heights, outcomes, self.journal, first_record, self._written
        )

    def _written(self, heights: int) -> None:
        """A snapshot is on disk, and ``heights`` heights with it. May run in a worker thread."""
        self._heights_saved = heights
        self.outcomes.written()

    def finish(self, core: NodeCore | None) -> None:
        """An orderly end: sign the log, and where the core stands between two rounds leave a snapshot. Raises
        ``OSError``."""
        if core is None:
            self.log.checkpoint(sync=True)
        else:
            self.prepare_snapshot(core).run()

    def give_up(self) -> None:
        """This folder is an old copy of what it once was: put it aside, so that the next start is a damaged one and
        its log begins anew. Raises ``OSError``."""
        self.journal.close()
        log, _ = self._log_folder()
        self._put_aside("journal", "snapshot", "heights", log.name)
        self._new_folder("log")
        files.sync_folder(self._folder)

    def close(self) -> None:
        """Give the folder up for other processes. Closing twice does nothing."""
        self.journal.close()
        self.outcomes.close()
        self._lock.release()


def _refuse_unreadable(error: ConfigError) -> None:
    """Raise ``error`` where a file is there and the system does not let this member read it."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno not in (errno.ENOENT, errno.ENOTDIR):
        raise error
