"""Journal: what was synced is read back, a torn tail is cut, damage to what was durable is found."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import journal as module
from mpc_sequencer.node.journal import FolderLock, Journal, JournalDamage, JournalFull, read_journal

BATCHES = [[b"one", b"two"], [b"three" * 30], [b"four", b"five", b"six"], [b"seven"]]
RECORDS = [record for batch in BATCHES for record in batch]


def write(folder: Path, batches: list[list[bytes]], **options: Any) -> None:
    journal = Journal(folder, **options)
    for batch in batches:
        journal.append_many(batch)
        journal.sync()
    journal.close()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_records_read_back_and_numbers_go_on(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    assert list(read_journal(tmp_path)) == RECORDS
    journal = Journal(tmp_path)
    assert journal.next_number == len(RECORDS)
    assert journal.cut_bytes == 0
    assert journal.append(b"eight") == len(RECORDS)
    journal.close()
    assert list(read_journal(tmp_path)) == [*RECORDS, b"eight"]


def test_segments_rotate_and_read_as_one(tmp_path: Path) -> None:
    batches = [[b"%d" % i * 20] for i in range(50)]
    write(tmp_path, batches, segment_bytes=200)
    assert len(segments(tmp_path)) > 10
    assert list(read_journal(tmp_path)) == [record for batch in batches for record in batch]
    assert Journal(tmp_path).next_number == 50


@given(st.lists(st.lists(st.binary(min_size=1, max_size=40), max_size=4), max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_a_tail_torn_at_any_byte_leaves_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, batches)
    records = [record for batch in batches for record in batch]
    (path,) = segments(folder)
    size = path.stat().st_size
    cut = data.draw(st.integers(0, size))
    os.truncate(path, cut)
    kept = list(read_journal(folder))
    assert kept == records[: len(kept)]
    if cut == size:
        assert kept == records
    journal = Journal(folder)
    assert journal.next_number == len(kept)
    journal.append_many([b"after", b"the tear"])
    journal.close()
    assert list(read_journal(folder)) == [*kept, b"after", b"the tear"]


def test_damage_to_what_was_durable_is_an_error_at_every_byte(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    # all but the last batch, and the mark before it, was durable when the last mark was written
    last = whole.rindex(module._FENCE_MAGIC) - 8
    for at in range(0, last):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(JournalDamage) as caught:
            list(read_journal(tmp_path))
        assert caught.value.offset <= at
        with pytest.raises(JournalDamage):
            Journal(tmp_path)
    path.write_bytes(whole)
    assert list(read_journal(tmp_path)) == RECORDS


def test_a_hole_in_what_was_not_synced_is_a_torn_tail(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"durable")
    journal.sync()
    for number in range(5):
        journal.append(b"not synced %d" % number)
    journal.close()
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    at = data.index(b"not synced 1")
    path.write_bytes(data[:at] + bytes(12) + data[at + 12 :])
    assert list(read_journal(tmp_path)) == [b"durable", b"not synced 0"]
    reopened = Journal(tmp_path)
    assert reopened.next_number == 2
    assert reopened.cut_bytes > 0
    reopened.close()


def test_damage_in_a_finished_segment_or_a_missing_one_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [[b"%d" % i * 20] for i in range(50)], segment_bytes=200)
    paths = segments(tmp_path)
    os.truncate(paths[1], paths[1].stat().st_size - 1)
    with pytest.raises(JournalDamage, match="finished segment"):
        list(read_journal(tmp_path))
    paths[1].unlink()
    with pytest.raises(JournalDamage, match="the segment before it ends at"):
        list(read_journal(tmp_path))


def test_a_crash_while_a_segment_is_created_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    (tmp_path / f"{len(RECORDS):020d}.journal").write_bytes(b"MPC")
    assert list(read_journal(tmp_path)) == RECORDS
    journal = Journal(tmp_path)
    assert journal.append(b"eight") == len(RECORDS)
    journal.close()
    assert list(read_journal(tmp_path)) == [*RECORDS, b"eight"]


def test_a_record_that_looks_like_a_mark_is_a_record(tmp_path: Path) -> None:
    decoy = module._fence(1 << 40)
    write(tmp_path, [[decoy], [decoy * 3, b"x"]])
    assert list(read_journal(tmp_path)) == [decoy, decoy * 3, b"x"]


def test_records_outside_their_bounds_are_refused_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(b"first")
    for batch in ([b"ok", b""], [b"ok", bytes(module.RECORD_BYTES_MAX + 1)]):
        with pytest.raises(ValueError, match="expected 1"):
            journal.append_many(batch)
    assert journal.append_many([]) == 1
    journal.close()
    assert list(read_journal(tmp_path)) == [b"first"]


def test_a_second_process_cannot_use_the_folder(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
        Journal(tmp_path)
    code = "import sys, pathlib as p, mpc_sequencer.node.journal as j; j.Journal(p.Path(sys.argv[1]))"
    other = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert "FolderInUse" in other.stderr
    journal.close()
    lock = FolderLock(tmp_path)
    lock.release()
    lock.release()


def test_no_space_left_is_its_own_error_and_ends_the_journal(tmp_path: Path, monkeypatch: Any) -> None:
    journal = Journal(tmp_path)
    journal.append(b"first")
    journal.sync()

    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        with pytest.raises(JournalFull, match="no space left"):
            journal.append(b"second")
    with pytest.raises(ValueError, match="failed before"):
        journal.append(b"third")
    journal.close()
    assert list(read_journal(tmp_path)) == [b"first"]


def test_a_real_size_limit_leaves_a_readable_prefix(tmp_path: Path) -> None:
    code = """
import resource, signal, sys, pathlib
from mpc_sequencer.node.journal import Journal, JournalFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
journal = Journal(pathlib.Path(sys.argv[1]))
try:
    while True:
        journal.append(b"x" * 100)
except JournalFull:
    print("full")
"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert run.stdout == "full\n"
    records = list(read_journal(tmp_path))
    assert records == [b"x" * 100] * len(records)
    assert len(records) > 40


def test_a_failed_sync_ends_the_journal(tmp_path: Path, monkeypatch: Any) -> None:
    journal = Journal(tmp_path)
    journal.append(b"first")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fdatasync", broken)
        with pytest.raises(OSError, match="Input/output"):
            journal.sync()
    with pytest.raises(ValueError, match="failed before"):
        journal.append(b"second")
    with pytest.raises(ValueError, match="failed before"):
        journal.sync()
    journal.close()


def test_sync_in_a_worker_thread_while_records_are_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=4000)
    stop = threading.Event()

    def sync_on() -> None:
        while not stop.is_set():
            journal.sync()

    worker = threading.Thread(target=sync_on)
    worker.start()
    for number in range(2000):
        journal.append(b"%06d" % number)
    stop.set()
    worker.join()
    journal.close()
    assert list(read_journal(tmp_path)) == [b"%06d" % number for number in range(2000)]


def test_kill_9_of_a_writer_leaves_a_readable_prefix_with_all_that_was_synced(tmp_path: Path) -> None:
    code = """
import sys, pathlib
from mpc_sequencer.node.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]), segment_bytes=20_000)
number = 0
while True:
    journal.append_many([b"%08d" % (number + i) * 9 for i in range(7)])
    number += 7
    if number % 70 == 0:
        journal.sync()
        print(number, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    synced = 0
    deadline = time.monotonic() + 10
    while synced < 2_000 and time.monotonic() < deadline:
        synced = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    synced = max([synced, *(int(line) for line in writer.stdout.read().split())])
    writer.wait()
    writer.stdout.close()
    records = list(read_journal(tmp_path))
    assert len(records) >= synced >= 2_000
    assert records == [b"%08d" % number * 9 for number in range(len(records))]
    journal = Journal(tmp_path)
    assert journal.next_number == len(records)
    journal.close()
