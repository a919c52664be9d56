"""A vault whose process stops at any instruction, or whose disk is full, holds the old or the new, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vault_kit import KEY, contents, files_of

from mpc_sequencer.node.vault import Vault

STEPS = ("write", "fsync", "rename", "link", "unlink")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "k.vault"


def dying_at(step: int, work: Callable[[], None]) -> bool:
    """Run ``work`` in a process that ends without a word before its ``step``-th call to the disk; whether it did."""
    child = os.fork()
    if child == 0:
        left = step

        def limited(call: Any) -> Any:
            def run(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return call(*args, **kwargs)

            return run

        try:
            for name in STEPS:
                setattr(os, name, limited(getattr(os, name)))
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("first", {}, {"share-1": b"new"}),
        ("put", {"share-0": b"old"}, {"share-0": b"old", "share-1": b"new"}),
        ("replace", {"share-0": b"old"}, {"share-0": b"new"}),
        ("erase", {"share-0": b"old", "share-1": b"kept"}, {"share-1": b"kept"}),
    ],
)
def test_a_stop_at_any_instruction_leaves_the_old_or_the_new(
    folder: Path, action: str, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    if before:
        vault = Vault(folder, KEY)
        for name, content in before.items():
            vault.put(name, content)
        vault.close()

    def work() -> None:
        opened = Vault(folder, KEY)
        if action == "erase":
            opened.erase("share-0")
        else:
            opened.put("share-0" if action == "replace" else "share-1", b"new")

    seen, step, start = [], 0, folder.with_name("start")
    if before:
        shutil.copytree(folder, start)
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if before:
            shutil.copytree(start, folder)
        died = dying_at(step, work)
        found = contents(folder)
        assert found in (before, after), (step, found)
        names = sorted(name.split(".")[0] for name in files_of(folder))
        assert names == sorted(["keys", *found]), (step, names)  # nothing half-written, nothing erased is left
        seen.append(found == after)
        if not died:
            break
        step += 1
    assert step >= 8
    assert seen == sorted(seen) and not seen[0] and seen[-1]  # once it is there, it stays


def test_a_stop_while_a_stop_is_cleared_up_costs_nothing(folder: Path) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"old")
    vault.put("share-1", b"kept")
    vault.close()
    start = folder.with_name("start")
    shutil.copytree(folder, start)

    def work() -> None:
        Vault(folder, KEY).erase("share-0")

    for step in range(40):
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        if not dying_at(step, work):
            break
        for again in range(20):
            if not dying_at(again, lambda: Vault(folder, KEY).close()):
                break
        assert contents(folder) in ({"share-0": b"old", "share-1": b"kept"}, {"share-1": b"kept"})


def test_a_full_disk_leaves_the_vault_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for call in ("fsync", "link", "rename"):
        with monkeypatch.context() as disk:
            disk.setattr(os, call, full)
            with pytest.raises(OSError, match="No space"):
                vault.put("share-0", b"new")
        assert vault.get("share-0") == b"old", call
        assert sum(name.startswith("share-0.") for name in files_of(folder)) == 1, call
    vault.put("share-0", b"new")
    assert vault.get("share-0") == b"new"
    vault.close()
    assert contents(folder) == {"share-0": b"new"}
