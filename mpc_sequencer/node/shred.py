"""Files whose old content must not lie about: overwritten with random bytes before they go.

Overwriting reaches the old bytes where a file system writes in place and the medium does too: a magnetic disk
under a plain file system. It does not where a flash drive remaps what is written, where the file system copies on
write or journals data, or where somebody took a snapshot or a backup. So nobody may rely on it alone; see
:mod:`mpc_sequencer.node.vault` for what is built on top.

Replacing keeps the old content within reach until it is overwritten, whatever happens in between::

    write and sync ".name.<random>" | link "name" as "name.retired" | rename onto "name" | overwrite and remove
                                                                                           "name.retired"

:func:`settle` ends what a stop has cut short. All raise ``OSError``.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final

from mpc_sequencer.node import files

RETIRED_SUFFIX: Final = ".retired"
CHUNK_BYTES: Final = 1 << 16


def shred(path: Path) -> None:
    """Overwrite a regular file with random bytes, durably, then remove it, durably. A missing one is no error.

    The folder forgets a name only after the bytes under it are gone, so a stop in between leaves a file that is
    found and shredded again.
    """
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            left = os.fstat(descriptor).st_size
            while left > 0:
                left -= os.write(descriptor, os.urandom(min(left, CHUNK_BYTES)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.unlink(path)
        files.sync_folder(path.parent)


def replace_and_shred(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data`` in one durable step and shred what it held."""
    settle(path)
    retired = _retired(path)
    with contextlib.suppress(FileNotFoundError):
        os.link(path, retired, follow_symlinks=False)
        files.sync_folder(path.parent)
    files.replace_file(path, data, mode=mode, sync=True)
    shred(retired)


def settle(path: Path) -> None:
    """End a replacement of ``path`` that was cut short: its old or its new content is there, and nothing else of it.

    What a crash left of a temporary file never became ``path``, and is shredded. Where ``path`` itself is missing
    nothing is touched: a second copy may be the last one.
    """
    retired = _retired(path)
    if not os.path.lexists(path):
        return
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.lstat(retired), os.lstat(path)):
            # linked, but not replaced yet: this is the live content under its second name
            os.unlink(retired)
            files.sync_folder(path.parent)
    shred(retired)
    temporary = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")  # as tempfile names them
    for name in sorted(os.listdir(path.parent)):
        if temporary.fullmatch(name):
            shred(path.parent / name)


def _retired(path: Path) -> Path:
    return path.with_name(path.name + RETIRED_SUFFIX)
