"""A data folder through crashes and losses: it comes back whole, or it says that it is damaged, and nothing leaves a
member before it is on disk."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio
from crash_kit import dead_processes_hold_no_locks, steps_of
from storage_kit import NODE, Driven, committee_of_the_log, open_storage, records_of

from mpc_sequencer.audit.reader import LogReader
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.effects import Broadcast, Persist, ResumedRecord, RolledBack, VoteRecord
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.messages import FetchLog, LogSlice, VoteMessage
from mpc_sequencer.core.transcript import ReceiptEntry
from mpc_sequencer.core.types import NO_SIGNATURE, NULLIFY, ZERO_HASH, Vote
from mpc_sequencer.node import translog
from mpc_sequencer.node.journal import FolderInUse
from mpc_sequencer.node.runner import DiskFailed, DiskRolledBack, Runner
from mpc_sequencer.node.storage import NEVER_STARTED, mark_never_started
from mpc_sequencer.sim import make_deployment

__all__ = ["dead_processes_hold_no_locks"]


# --- fresh or lost ----------------------------------------------------------------------------------------------------
def test_only_the_mark_makes_a_folder_fresh_and_the_first_start_takes_it(driven: Driven) -> None:
    assert driven.storage.fresh and not driven.storage.damaged
    assert not (driven.folder / NEVER_STARTED).exists()
    again = driven.reopen()
    assert not again.fresh and not again.damaged
    assert records_of(again) == [ResumedRecord(0, 0)]


@pytest.mark.parametrize("leave", [(), ("log",), ("snapshot",), ("log", "snapshot", "heights")])
def test_a_folder_without_mark_and_journal_is_damaged(driven: Driven, leave: tuple[str, ...]) -> None:
    driven.run(4)
    driven.storage.finish(driven.core)
    driven.storage.close()
    for name in {"journal", "log", "snapshot", "heights"} - set(leave):
        path = driven.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "no journal" in driven.reopen().damaged
    assert not driven.storage.fresh and driven.storage.snapshot is None
    assert driven.recovered().standing.muted


def test_another_members_log_in_a_folder_that_has_never_started_is_refused(driven: Driven, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    mark_never_started(folder)
    translog.TransparencyLog(folder / "log", "somebody/else", b"\x05" * 32).checkpoint(sync=True)
    with pytest.raises(ConfigError, match="another origin"):
        open_storage(folder, driven.deployment)
    assert (folder / NEVER_STARTED).exists()


def test_a_crash_in_the_first_start_leaves_a_folder_that_has_never_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = make_deployment(4)
    for step in steps_of(monkeypatch, lambda folder: open_storage(folder, d).close(), mark_never_started, tmp_path):
        box = open_storage(step, d)
        assert not box.damaged
        assert records_of(box) == [ResumedRecord(0, 0)]
        assert (step / "log" / "checkpoint").exists() and not (step / NEVER_STARTED).exists()
        box.close()


def test_the_mark_beside_a_journal_that_says_something_is_no_fresh_start(driven: Driven) -> None:
    driven.run(2)
    (driven.folder / NEVER_STARTED).touch()
    again = driven.reopen()
    assert not again.fresh and not again.damaged and len(records_of(again)) > 1
    assert not (driven.folder / NEVER_STARTED).exists(), "or a later loss of the journal would look like a first start"


def test_a_journal_without_a_record_is_a_lost_one(driven: Driven) -> None:
    driven.run(2)
    driven.storage.close()
    (path,) = (driven.folder / "journal").glob("*.journal")
    os.truncate(path, 0)
    assert "no record" in driven.reopen().damaged


# --- the log ----------------------------------------------------------------------------------------------------------
def test_a_log_shorter_than_the_snapshot_needs_begins_anew(driven: Driven) -> None:
    driven.run(2)
    driven.storage.log.checkpoint(sync=True)
    shutil.copytree(driven.folder / "log", driven.folder / "older")
    driven.run(3)
    driven.storage.finish(driven.core)
    driven.storage.close()
    shutil.rmtree(driven.folder / "log")
    (driven.folder / "older").rename(driven.folder / "log")
    box = driven.reopen()
    assert "the snapshot needs" in box.damaged
    assert box._log_folder()[1] > 0, "under the old origin it would sign against checkpoints that are out"


@pytest.mark.parametrize("snapshot", [True, False])
def test_a_lost_log_begins_anew_under_an_origin_that_the_auditor_takes(driven: Driven, snapshot: bool) -> None:
    driven.run(3)
    driven.storage.log.checkpoint(sync=True)
    if snapshot:
        driven.storage.finish(driven.core)
    shutil.rmtree(driven.folder / "log")
    box = driven.reopen()
    assert box.damaged
    for entry in driven.cluster.hosts[0].disk.log[1:]:  # what it then learns from a peer
        if not isinstance(entry, ReceiptEntry):
            box.append(entry)
    box.log.checkpoint(sync=True)
    folder, began_ms = box._log_folder()
    recorder = Recorder()
    reader = LogReader(folder, committee_of_the_log(driven.deployment), recorder)
    assert reader.checkpoint.origin.endswith(f"/{began_ms}") and began_ms > 0
    assert len(list(reader.entries())) == box.log.size and not recorder.findings
    committee = committee_of_the_log(driven.deployment)
    first_origin = log_origin(committee.genesis_id, committee.genesis.members[NODE].log_key)
    assert reader.checkpoint.origin == f"{first_origin}/{began_ms}"


def test_a_flipped_byte_in_an_entry_since_the_snapshot_is_damage(driven: Driven) -> None:
    driven.run(50)
    driven.storage.log.checkpoint(sync=True)
    assert driven.storage.log.size > translog.TILE_WIDTH
    path = driven.folder / "log" / "tile" / "entries" / "000"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    box = driven.reopen()
    assert "is not what its tile says" in box.damaged and box._log_folder()[1] > 0


def test_a_damaged_bundle_is_served_to_nobody_and_stops_nobody(driven: Driven) -> None:
    driven.run(50)
    driven.storage.log.checkpoint(sync=True)
    asked = FetchLog(1, 0)
    assert driven.storage.serve(asked).entries
    path = driven.folder / "log" / "tile" / "entries" / "000"
    for spoilt in (path.read_bytes()[:-1], b"\x00\x01" * 40, b""):
        path.write_bytes(spoilt)
        assert driven.storage.serve(asked) == LogSlice((), 0)
    path.unlink()
    assert driven.storage.serve(asked) == LogSlice((), 0)


# --- others -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("damage", [False, True])
def test_a_second_process_is_refused_and_moves_nothing(driven: Driven, damage: bool) -> None:
    driven.run(2)
    driven.storage.finish(driven.core)
    if damage:
        (driven.folder / "snapshot").write_bytes(b"gone")
    with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"):
        open_storage(driven.folder, driven.deployment)
    assert not list(driven.folder.glob("damaged-*"))


def test_a_folder_given_up_starts_damaged_with_a_log_of_its_own(driven: Driven) -> None:
    driven.run(3)
    driven.storage.finish(driven.core)
    driven.storage.give_up()
    box = driven.reopen()
    assert box.damaged and box._log_folder()[1] > 0 and box.log.size == 0
    (aside,) = [path for path in driven.folder.glob("damaged-*") if (path / "snapshot").exists()]
    assert {"journal", "log", "snapshot", "heights"} <= {path.name for path in aside.iterdir()}


# --- persist, then send -----------------------------------------------------------------------------------------------
class Wire:
    """What would leave."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.peers = self

    def broadcast(self, data: bytes) -> None:
        self.sent.append(data)


@pytest.mark.parametrize("step", ["write", "fdatasync"])
def test_nothing_leaves_after_a_journal_write_that_failed(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    wire = Wire()
    runner = Runner(driven.core, driven.storage, None, wire, None, driven.folder)  # type: ignore[arg-type]
    vote = Vote(NULLIFY, 0, 9, ZERO_HASH, NODE, NO_SIGNATURE)
    effects = [Persist(VoteRecord(vote)), Broadcast(VoteMessage(vote))]

    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, broken)
        with pytest.raises(DiskFailed, match="Input/output"):
            trio.run(runner._carry_out, effects)
    assert not wire.sent


def test_nothing_leaves_a_member_whose_disk_is_an_old_copy(driven: Driven) -> None:
    wire = Wire()
    runner = Runner(driven.core, driven.storage, None, wire, None, driven.folder)  # type: ignore[arg-type]
    vote = Vote(NULLIFY, 0, 9, ZERO_HASH, NODE, NO_SIGNATURE)
    with pytest.raises(DiskRolledBack):
        trio.run(runner._carry_out, [Broadcast(VoteMessage(vote)), RolledBack("its vote of view 9")])
    assert not wire.sent
