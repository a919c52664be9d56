"""Files of a data folder that are torn, damaged or cannot be read: what was torn is cut, what is damaged is said and
kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crash_kit import dead_processes_hold_no_locks, steps_of
from storage_kit import NODE, Driven, open_storage, records_of

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import MutedRecord, VoteRecord
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.types import NO_SIGNATURE, NULLIFY, ZERO_HASH, Vote
from mpc_sequencer.node import files

__all__ = ["dead_processes_hold_no_locks"]


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

    for folder in steps_of(monkeypatch, start, copy, tmp_path):
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
