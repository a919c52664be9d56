"""A data folder through crashes, losses and damage: it comes back whole, or it says that it is damaged."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from core_kit import submit

from mpc_sequencer.audit.reader import LogReader
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import (
    Append,
    Broadcast,
    MutedRecord,
    Persist,
    Record,
    ResumedRecord,
    RolledBack,
    VoteRecord,
)
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.messages import FetchLog, LogSlice, VoteMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import recover
from mpc_sequencer.core.transcript import LogEntry, ReceiptEntry, entry_key
from mpc_sequencer.core.types import NO_SIGNATURE, NULLIFY, ZERO_HASH, Vote
from mpc_sequencer.node import files, journal, snapshots, storage, tls, translog
from mpc_sequencer.node.journal import FolderInUse
from mpc_sequencer.node.runner import DiskFailed, DiskRolledBack, Runner
from mpc_sequencer.node.snapshots import Snapshots
from mpc_sequencer.node.storage import NEVER_STARTED, Storage, mark_never_started
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

NODE = 1


class Driven:
    """A cluster of which member NODE also writes to a real folder, as the runner does."""

    def __init__(self, folder: Path, seed: int = 3) -> None:
        self.deployment = make_deployment(4, seed=seed)
        self.cluster = Cluster(self.deployment, seed=seed)
        self.rng = random.Random(seed)
        self.folder = folder
        mark_never_started(folder)
        self.storage = open_storage(folder, self.deployment)
        self.records = 0
        self.entries = 0

    @property
    def core(self) -> NodeCore:
        return self.cluster.cores[NODE]

    def run(self, turns: int) -> None:
        for _ in range(turns):
            trader = self.rng.choice(self.deployment.traders)
            order = self.deployment.order(trader, self.cluster.now_ms, price_ticks=618_000 + self.rng.randint(-3, 3))
            submit(self.cluster, NODE, order)
            self.cluster.run(70)
        self.write()

    def write(self) -> None:
        """Bring the folder to where the simulated disk is."""
        disk = self.cluster.hosts[NODE].disk
        records = disk.records[self.records :]
        if records:
            self.storage.journal.append_many([encode(record) for record in records])
            self.storage.journal.sync()
        for entry in disk.log[self.entries :]:
            self.storage.append(entry)
        self.records, self.entries = len(disk.records), len(disk.log)

    def close(self) -> None:
        self.storage.close()

    def reopen(self) -> Storage:
        self.storage.close()
        self.storage = open_storage(self.folder, self.deployment)
        return self.storage

    def recovered(self) -> NodeCore:
        """A core out of the folder, its log entries written again where they are news."""
        core = self.cluster._new_core(NODE)
        damaged = bool(self.storage.damaged)
        records = () if damaged else self.storage.journal_records()
        effects = recover(
            core, self.storage.snapshot, records, self.storage.log_entries(), self.cluster.now_ms, damaged=damaged
        )
        for effect in effects:
            if isinstance(effect, Append):
                self.storage.append(effect.entry)
        return core


LOG_SEED = b"\x07" * 32


def committee_of_the_log(d: Deployment) -> Committee:
    """The deployment's committee, but that member NODE's log key is a known one."""
    genesis = d.committee.genesis
    members = list(genesis.members)
    members[NODE] = msgspec.structs.replace(members[NODE], log_key=tls.log_key(LOG_SEED))
    return Committee(msgspec.structs.replace(genesis, members=tuple(members)))


def open_storage(folder: Path, d: Deployment) -> Storage:
    committee = committee_of_the_log(d)
    origin = partial(log_origin, committee.genesis_id, committee.genesis.members[NODE].log_key)
    return Storage(folder, origin, LOG_SEED, d.committee.genesis.checkpoint)


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Driven]:
    made = Driven(tmp_path / "data")
    yield made
    made.close()


def same(one: NodeCore, other: NodeCore) -> None:
    """Both stand at one state, and signed the same."""
    assert one.chain.final_id == other.chain.final_id
    assert one.execution.engine.state_root() == other.execution.engine.state_root()
    assert one.own_lists.number == other.own_lists.number and one.own_lists.hash == other.own_lists.hash
    assert one.simplex.kept_votes() == other.simplex.kept_votes()


def held(box: Storage) -> list[tuple[object, ...]]:
    """The keys of all entries of the log."""
    return [entry_key(decode(LogEntry, data)) for data in box._entries_from(0)]


def records_of(box: Storage) -> list[Record]:
    return [decode(Record, data) for data in box.journal_records()]


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
    for step in _steps(monkeypatch, lambda folder: open_storage(folder, d).close(), mark_never_started, tmp_path):
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


# --- torn or damaged --------------------------------------------------------------------------------------------------
def test_a_torn_tail_is_cut_and_the_rest_comes_back(driven: Driven) -> None:
    driven.run(5)
    before = driven.core
    driven.storage.journal.append(b"never synced")
    driven.storage.close()
    (path,) = (driven.folder / "journal").glob("*.journal")
    os.truncate(path, path.stat().st_size - 3)
    assert not driven.reopen().damaged
    core = driven.recovered()
    assert core.own_lists.number == before.own_lists.number
    votes = {(vote.kind, vote.view, vote.block_id) for vote in core.simplex.kept_votes()}
    assert votes >= {(vote.kind, vote.view, vote.block_id) for vote in before.simplex.kept_votes()}


def test_a_flipped_byte_in_a_durable_record_is_damage_and_the_files_are_kept(driven: Driven) -> None:
    driven.run(5)
    driven.storage.log.checkpoint(sync=True)
    driven.storage.journal.append(encode(VoteRecord(Vote(NULLIFY, 0, 10**6, ZERO_HASH, NODE, NO_SIGNATURE))))
    driven.storage.close()
    (path,) = (driven.folder / "journal").glob("*.journal")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    box = driven.reopen()
    assert "durable" in box.damaged
    (aside,) = driven.folder.glob("damaged-*")
    assert (aside / "journal" / path.name).read_bytes() == bytes(data)
    assert records_of(box) == [MutedRecord()], "whatever happens now, it starts muted again"
    assert box.log.size, "the log is whole and goes on"
    assert driven.recovered().standing.muted


@pytest.mark.parametrize("at", range(16))
def test_a_flipped_byte_in_a_segments_header_is_no_torn_creation(driven: Driven, at: int) -> None:
    driven.run(1)
    driven.storage.close()
    (path,) = (driven.folder / "journal").glob("*.journal")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert "header" in driven.reopen().damaged


def test_a_crash_in_a_damaged_start_leaves_a_damaged_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Driven(tmp_path / "origin")
    made.run(3)
    made.storage.finish(made.core)
    made.close()
    (tmp_path / "origin" / "snapshot").write_bytes(b"gone")

    def copy(folder: Path) -> None:
        shutil.copytree(tmp_path / "origin", folder)

    def start(folder: Path) -> None:
        open_storage(folder, made.deployment).close()

    for folder in _steps(monkeypatch, start, copy, tmp_path):
        box = open_storage(folder, made.deployment)
        assert box.damaged or records_of(box) == [MutedRecord()]
        box.close()


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[:40] + b"\xff" + data[41:], lambda _: b""])
def test_a_damaged_snapshot_is_damage(driven: Driven, spoil: Callable[[bytes], bytes]) -> None:
    driven.run(3)
    driven.storage.finish(driven.core)
    path = driven.folder / "snapshot"
    path.write_bytes(spoil(path.read_bytes()))
    assert "snapshot is damaged" in driven.reopen().damaged


def test_what_cannot_be_read_is_not_given_up(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    driven.run(3)
    driven.storage.finish(driven.core)
    driven.storage.close()
    real = files.read_bounded

    def refuse(name: str, path: Path, *args: Any, **options: Any) -> bytes:
        if path.name == name:
            raise ConfigError(f"cannot read {path}", "") from PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    for name in ("snapshot", "checkpoint"):
        with monkeypatch.context() as patch:
            patch.setattr(files, "read_bounded", partial(refuse, name))
            with pytest.raises(ConfigError, match="cannot read"):
                open_storage(driven.folder, driven.deployment)
        assert not list(driven.folder.glob("damaged-*"))
    assert not driven.reopen().damaged


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


# --- heights ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-8],
        lambda data: data[:-3],
        lambda data: data + bytes(24),
        lambda data: data[:8] + bytes(len(data) - 8),
        lambda data: data + (1 << 40).to_bytes(8, "little"),
        lambda data: data[8:] + data[:8],
    ],
    ids=["lost", "short", "torn", "zeros after", "zeros inside", "beyond the log", "out of order"],
)
def test_heights_that_do_not_fit_are_made_again(driven: Driven, spoil: Callable[[bytes], bytes]) -> None:
    driven.run(8)
    driven.storage.finish(driven.core)
    expected = list(driven.storage.index.starts)
    assert len(expected) > 3
    path = driven.folder / "heights"
    path.write_bytes(spoil(path.read_bytes()))
    box = driven.reopen()
    assert not box.damaged and list(box.index.starts) == expected
    driven.run(4)
    whole = list(driven.storage.index.starts)
    driven.storage.finish(driven.core)
    assert list(driven.reopen().index.starts) == whole


def test_a_snapshot_that_was_prepared_and_never_written_loses_no_heights(driven: Driven) -> None:
    driven.run(4)
    driven.storage.prepare_snapshot(driven.core)
    driven.run(4)
    driven.storage.finish(driven.core)
    expected = list(driven.storage.index.starts)
    assert list(driven.reopen().index.starts) == expected


# --- crashes in a snapshot --------------------------------------------------------------------------------------------
OPERATIONS = (
    (os, "rename"),
    (os, "fsync"),
    (os, "fdatasync"),
    (os, "write"),
    (os, "unlink"),
    (files, "replace_file"),
    (files, "sync_folder"),
    (files, "sync_file"),
    (Path, "touch"),
    (Path, "open"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (Path, "rename"),
    (shutil, "rmtree"),
)


class PowerCut(BaseException):
    """The machine goes down between two file operations."""


def _steps(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], None], prepare: Callable[[Path], None], parent: Path
) -> Iterator[Path]:
    """For each file operation of ``act``: a folder in which it was the first that did not happen any more."""
    step = left = 0

    def counted(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCut
        return real(*args, **options)

    while True:
        folder = parent / f"step-{step}"
        prepare(folder)
        left = step
        with monkeypatch.context() as patch:
            for owner, name in OPERATIONS:
                real = getattr(owner, name)
                cut = _method(counted, real) if isinstance(owner, type) else partial(counted, real)
                patch.setattr(owner, name, cut)
            try:
                act(folder)
                finished = True
            except PowerCut:
                finished = False
        _drop_locks()
        yield folder
        if finished:
            assert step > 5, "there were steps to cut at"
            return
        step += 1


def _method(counted: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: counted(real, *args, **options)


_locks: list[journal.FolderLock] = []


@pytest.fixture(autouse=True)
def _dead_processes_hold_no_locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    init = journal.FolderLock.__init__

    def noted(self: journal.FolderLock, folder: Path) -> None:
        init(self, folder)
        _locks.append(self)

    monkeypatch.setattr(journal.FolderLock, "__init__", noted)
    yield
    _drop_locks()


def _drop_locks() -> None:
    while _locks:
        _locks.pop().release()


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
def test_a_crash_at_every_step_of_a_snapshot_comes_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    made = Driven(tmp_path / "origin")
    made.run(5)
    if earlier:
        made.storage.prepare_snapshot(made.core).run()
    made.run(5)
    made.storage.log.checkpoint(sync=True)
    keys, before = set(held(made.storage)), made.core
    made.close()

    def copy(folder: Path) -> None:
        shutil.copytree(tmp_path / "origin", folder)

    def snapshot(folder: Path) -> None:
        made.folder = folder
        made.storage = open_storage(folder, made.deployment)
        made.storage.prepare_snapshot(made.recovered()).run()

    steps = 0
    for folder in _steps(monkeypatch, snapshot, copy, tmp_path):
        steps += 1
        made.folder = folder
        box = made.storage = open_storage(folder, made.deployment)
        assert not box.damaged
        core = made.recovered()
        same(core, before)
        assert set(held(box)) == keys
        expected = [box.index.position_of(h) for h in range(1, core.chain.final_height + 1)]
        assert None not in expected and expected == sorted(expected)
        made.close()
    assert steps > 10


def test_pruning_never_takes_what_the_snapshot_counts_on(driven: Driven) -> None:
    for _ in range(4):
        driven.run(2)
        driven.storage.prepare_snapshot(driven.core).run()
        driven.run(1)
        driven.storage.log.checkpoint(sync=True)
        before = driven.core
        assert not driven.reopen().damaged
        same(driven.recovered(), before)
    assert len(list((driven.folder / "journal").glob("*.journal"))) <= 2


def test_an_orderly_end_leaves_nothing_to_replay(driven: Driven) -> None:
    driven.run(6)
    driven.cluster.run(3_000)
    driven.write()
    driven.storage.finish(driven.core)
    before = driven.core
    box = driven.reopen()
    assert not records_of(box) and not list(box.log_entries())
    same(driven.recovered(), before)


def test_an_end_within_a_round_signs_the_log_alone(driven: Driven) -> None:
    driven.run(3)
    driven.storage.finish(None)
    assert driven.storage.log.signed.size == driven.storage.log.size
    assert not (driven.folder / "snapshot").exists()
    before = driven.core
    driven.reopen()
    same(driven.recovered(), before)


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


def test_snapshots_of_a_growing_state_cost_each_order_a_bounded_share(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_ORDERS_MIN", 10)
    taker = Snapshots(driven.core, driven.storage)
    written = taken = 0
    size = 10_000
    first = driven.core.board.sequenced
    monkeypatch.setattr(storage, "dump", lambda core: (bytes(size), None))
    for _ in range(4_000):
        driven.core.board.sequenced += 1
        size += 400
        if taker.due(1):
            taker._wanted = True
            taker.between_rounds()
            written += size
            taken += 1
    orders = driven.core.board.sequenced - first
    assert taken > 3
    assert written <= 3 * snapshots.SNAPSHOT_BYTES_PER_ORDER * orders


def test_an_idle_member_takes_no_snapshots_and_a_quiet_one_seldom(driven: Driven) -> None:
    taker = Snapshots(driven.core, driven.storage)
    assert not taker.due(1) and not taker.due(10**9), "no block since the last one"
    driven.core.chain.final_height += 1
    assert taker.due(10**9)
    assert not Snapshots(driven.core, driven.storage).due(1)


def test_a_life_too_short_for_a_snapshot_counts_towards_the_next(driven: Driven) -> None:
    driven.run(2)
    driven.storage.finish(driven.core)
    driven.run(6)
    driven.storage.log.checkpoint(sync=True)
    driven.reopen()
    back = driven.recovered()
    assert back.board.sequenced > back.board.sequenced_saved > 0
    taker = Snapshots(back, driven.storage)
    back.board.sequenced = back.board.sequenced_saved + snapshots.SNAPSHOT_ORDERS_MIN - 1
    assert not taker.due(1)
    back.board.sequenced += 1
    assert taker.due(1)


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
