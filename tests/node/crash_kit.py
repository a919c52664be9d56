"""A machine that goes down between two file operations, at every one of them in turn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.node import files, journal

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


def steps_of(
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
        drop_locks()
        yield folder
        if finished:
            assert step > 5, "there were steps to cut at"
            return
        step += 1


def _method(counted: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: counted(real, *args, **options)


_locks: list[journal.FolderLock] = []


@pytest.fixture(autouse=True)
def dead_processes_hold_no_locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    init = journal.FolderLock.__init__

    def noted(self: journal.FolderLock, folder: Path) -> None:
        init(self, folder)
        _locks.append(self)

    monkeypatch.setattr(journal.FolderLock, "__init__", noted)
    yield
    drop_locks()


def drop_locks() -> None:
    while _locks:
        _locks.pop().release()
