"""The member's journal: what must be on disk before it is on the wire.

Records are appended in batches, one ``write`` each, and made durable by one ``fdatasync``; what is synced is
durable. A record is u32 length, u32 checksum (CRC-32 over length and content), content; big-endian. Records
live in segment files ``<first record number>.journal`` of about :data:`SEGMENT_BYTES`; a segment opens with
magic and its first record number, and is synced as a whole before the next one begins.

Reading back tells two kinds of damage apart. A crash can tear what was not synced yet, in any order of its
pages, and that is cut off: nobody relied on it. Damage to what was durable is :class:`JournalDamage`, and the
member must not sign. To know which it is, the first batch after a sync opens with a *fence*, a record of
length zero that names how many bytes of the segment were durable when it was written: a bad record below the
mark of any later fence, or in a segment that has a successor, was durable once. The CRC finds accidents;
whoever can write the file can forge it.

A lock on ``lock`` in the folder keeps a second process out.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import files

RECORD_BYTES_MAX: Final = 8 << 20
SEGMENT_BYTES: Final = 64 << 20
SUFFIX: Final = ".journal"
_MAGIC: Final = b"MPCSEQJ1"
_SEGMENT_HEADER: Final = struct.Struct(">8sQ")
_RECORD_HEADER: Final = struct.Struct(">II")
SEGMENT_HEADER_BYTES: Final = _SEGMENT_HEADER.size
_LENGTH: Final = struct.Struct(">I")
_FENCE_MAGIC: Final = b"MPCSEQJF"
_FENCE: Final = struct.Struct(">8sQ")
_NAME_DIGITS: Final = 20


class JournalDamage(Exception):
    """Durable records are damaged or missing; ``path`` and ``offset`` say where."""

    def __init__(self, path: Path, offset: int, cause: str) -> None:
        super().__init__(f"{path} at byte {offset}: {cause}")
        self.path = path
        self.offset = offset
        self.cause = cause


class JournalFull(OSError):
    """No space, quota or file size left. A part of the batch may be on disk; the member must stop."""


class FolderInUse(ConfigError):
    """Another process holds the folder."""


class FolderLock:
    """Holds a folder for one process until :meth:`release` or the process ends; ``what`` names it in errors."""

    def __init__(self, folder: Path, what: str = "data folder") -> None:
        path = folder / "lock"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"cannot use the {what} {folder}: {error.strerror}", "check its owner"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise FolderInUse(
                f"the {what} {folder} is in use by process {holder or 'unknown'}",
                "stop that process, or give this member a folder of its own",
            ) from error
        with contextlib.suppress(OSError):  # who holds it is for people; the lock holds on a full disk too
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have the folder. Releasing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Journal:
    """An open journal, positioned after its last whole record. One process, one task at a time.

    Opening checks every record of the last segment, cuts a torn tail and raises :class:`JournalDamage` or
    :class:`ConfigError`. ``next_number`` is the number the next record will have, counted from 0.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._lock = FolderLock(folder)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._descriptor = -1
        self._failed = False
        self._size = 0
        self._durable = 0
        self._fence_due = False
        self._sync_lock = threading.RLock()
        self.cut_bytes = 0
        """Bytes of a torn tail that opening cut off."""
        try:
            self._open_last()
        except BaseException:
            self._lock.release()
            raise

    def append(self, record: bytes) -> int:
        """Append one record (1 .. RECORD_BYTES_MAX bytes); returns its number. Not durable before
        :meth:`sync`.
        """
        return self.append_many((record,))

    def append_many(self, records: Sequence[bytes]) -> int:
        """Append records in one write; returns the number of the first. Raises :class:`JournalFull`,
        ``OSError``.

        After an error nothing can be appended any more: what the file holds is known again only by reading
        it.
        """
        if self._failed or self._descriptor < 0:
            raise ValueError("the journal is closed or failed before")
        if self._size >= self._segment_bytes:
            self._rotate()
        parts: list[bytes] = []
        if self._fence_due and records:
            parts.append(_fence(self._durable))
        for record in records:
            size = len(record)
            if not 0 < size <= RECORD_BYTES_MAX:
                raise ValueError(f"a record of {size} bytes, expected 1 .. {RECORD_BYTES_MAX}")
            parts.append(_RECORD_HEADER.pack(size, _checksum(size, record)))
            parts.append(record)
        first = self.next_number
        if parts:
            self._write(b"".join(parts))
            self._fence_due = False
            self.next_number += len(records)
        return first

    def sync(self) -> None:
        """Make everything appended before the call durable. Raises ``OSError``; after it the journal takes no
        more.

        May run in a worker thread while the owner goes on appending.
        """
        with self._sync_lock:
            if self._failed or self._descriptor < 0:
                raise ValueError("the journal is closed or failed before")
            size = self._size
            if size == self._durable:
                return
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                # a failed sync may have dropped the data and reported it only once
                self._failed = True
                raise _explained(error, self._folder) from error
            self._durable = size
            self._fence_due = True

    def close(self) -> None:
        """Close the journal and give up the folder. What was not synced may be lost in a crash of the
        machine.
        """
        with self._sync_lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        self._lock.release()

    def _open_last(self) -> None:
        paths = _segments(self._folder)
        if not paths:
            self._create(0)
            return
        path = paths[-1]
        number, end = _first_number(path), _SEGMENT_HEADER.size
        data = path.read_bytes()
        if _torn_at_birth(path, data):
            path.unlink()
            self.cut_bytes = len(data)
            if len(paths) == 1:
                self._create(0)
                return
            path = paths[-2]
            number, data = _first_number(path), path.read_bytes()
        for start, size in _walk(path, data, last=True):
            number += bool(size)
            end = start + (size or _FENCE.size)
        self.cut_bytes += len(data) - end
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if end < len(data):
            os.ftruncate(self._descriptor, end)
        # nothing says how much of an old file reached the disk: make all of it durable first
        os.fsync(self._descriptor)
        self._size = self._durable = end
        self._fence_due = True
        self.next_number = number

    def _create(self, number: int) -> None:
        path = self._folder / f"{number:0{_NAME_DIGITS}d}{SUFFIX}"
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        self._size = 0
        self.next_number = number
        self._write(_SEGMENT_HEADER.pack(_MAGIC, number))
        os.fsync(self._descriptor)
        files.sync_folder(self._folder)
        self._durable = self._size
        self._fence_due = False

    def rotate(self) -> int:
        """Make everything durable and begin a new segment; the number of its first record. Raises ``OSError``."""
        if self._failed or self._descriptor < 0:
            raise ValueError("the journal is closed or failed before")
        if self._size > _SEGMENT_HEADER.size:
            self._rotate()
        return self.next_number

    def prune(self, first: int) -> None:
        """Remove the segments that end before record ``first``. Raises ``OSError``."""
        paths = _segments(self._folder)
        for path, following in pairwise(paths):
            if _first_number(following) <= first:
                path.unlink()

    def _rotate(self) -> None:
        with self._sync_lock:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1
            self._create(self.next_number)

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError as error:
            self._failed = True
            raise _explained(error, self._folder) from error
        self._size += len(data)


def read_journal(folder: Path, first: int = 0) -> Iterator[bytes]:
    """All whole records from number ``first`` on, in order; a torn tail is passed over. Raises
    :class:`JournalDamage` when it comes to it.
    """
    paths = _segments(folder)
    if not paths:
        raise JournalDamage(folder, 0, "no segment of the journal is there")
    number = _first_number(paths[0])
    if number > first:
        raise JournalDamage(paths[0], 0, f"the segments before it are gone, expected record {first}")
    for index, path in enumerate(paths):
        data = path.read_bytes()
        last = index == len(paths) - 1
        if _first_number(path) != number:
            raise JournalDamage(path, 0, f"the segment before it ends at record {number}")
        if last and _torn_at_birth(path, data):
            return
        if not _header_whole(path, data):
            raise JournalDamage(path, 0, "its header is damaged")
        for start, size in _walk(path, data, last=last):
            if size:
                if number >= first:
                    yield data[start : start + size]
                number += 1
    if number < first:
        raise JournalDamage(paths[-1], 0, f"it ends at record {number}, expected record {first}")


def _walk(path: Path, data: bytes, *, last: bool) -> Iterator[tuple[int, int]]:
    """Start and size of the content of each whole record of a segment; a fence has size 0."""
    offset = _SEGMENT_HEADER.size
    while offset < len(data):
        size = _whole_record(data, offset)
        if size is None:
            if not last:
                raise JournalDamage(path, offset, "a damaged record in a finished segment")
            if _durable_mark(data, offset) > offset:
                raise JournalDamage(path, offset, "a damaged record that was durable")
            return
        start = offset + _RECORD_HEADER.size
        yield start, size
        offset = start + (size or _FENCE.size)


def _whole_record(data: bytes, offset: int) -> int | None:
    """The length of the record at ``offset``, or ``None`` where there is no whole one."""
    if len(data) - offset < _RECORD_HEADER.size:
        return None
    size, checksum = _RECORD_HEADER.unpack_from(data, offset)
    start = offset + _RECORD_HEADER.size
    content_bytes = size or _FENCE.size
    if content_bytes > min(RECORD_BYTES_MAX, len(data) - start):
        return None
    content = memoryview(data)[start : start + content_bytes]
    return size if _checksum(size, content) == checksum else None


def _durable_mark(data: bytes, offset: int) -> int:
    """The highest mark of the fences after ``offset``, 0 where there is none."""
    mark = 0
    while (found := data.find(_FENCE_MAGIC, offset)) >= 0:
        start = found - _RECORD_HEADER.size
        if start >= offset and _whole_record(data, start) == 0:
            durable: int = _FENCE.unpack_from(data, found)[1]
            if durable <= start:
                mark = max(mark, durable)
        offset = found + 1
    return mark


def _fence(durable: int) -> bytes:
    body = _FENCE.pack(_FENCE_MAGIC, durable)
    return _RECORD_HEADER.pack(0, _checksum(0, body)) + body


def _header_whole(path: Path, data: bytes) -> bool:
    return data[: _SEGMENT_HEADER.size] == _SEGMENT_HEADER.pack(_MAGIC, _first_number(path))


def _torn_at_birth(path: Path, data: bytes) -> bool:
    """Whether the crash came between a segment's creation and its header, which is durable before the first record.
    Raises :class:`JournalDamage` where records follow a header that is not whole."""
    if _header_whole(path, data):
        return False
    if len(data) > _SEGMENT_HEADER.size:
        raise JournalDamage(path, 0, "a damaged header before records")
    return True


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{'[0-9]' * _NAME_DIGITS}{SUFFIX}"))


def _first_number(path: Path) -> int:
    return int(path.name.removesuffix(SUFFIX))


def _checksum(size: int, record: bytes | memoryview) -> int:
    return zlib.crc32(record, zlib.crc32(_LENGTH.pack(size)))


def _explained(error: OSError, folder: Path) -> OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return JournalFull(error.errno, f"no space left for the journal in {folder}")
    return error
