"""Files an operator owns: strict JSON in, atomic writes out, permissions checked.

An atomic write is a temporary file in the same folder, fsync, rename, fsync of the folder: after a crash the
old or the new content is there, whole.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any, Final, NoReturn

from mpc_sequencer.core.errors import ConfigError

JSON_NESTING_MAX: Final = 16
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")


def write_atomically(path: Path, data: bytes, *, mode: int) -> None:
    """Replace ``path`` by ``data`` with permissions ``mode``. Raises :class:`ConfigError`."""
    try:
        replace_file(path, data, mode=mode, sync=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", "check the folder, its owner and free space"
        ) from error


def replace_file(path: Path, data: bytes, *, mode: int, sync: bool) -> None:
    """Replace ``path`` by ``data`` in one step; with ``sync`` durably. Raises ``OSError``."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if sync:
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make the content of ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make renames and new files in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, bytes_max: int, hint: str, *, private: bool = False) -> bytes:
    """The content of a regular file of at most ``bytes_max`` bytes; with ``private`` its owner's alone.

    Raises :class:`ConfigError`.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is not a regular file", hint)
            if private and status.st_mode & 0o077:
                raise ConfigError(
                    f"{path} can be read or written by others (mode {stat.S_IMODE(status.st_mode):04o})",
                    f"chmod 600 {path}, if it is the right file",
                )
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint) from error
    if len(data) > bytes_max:
        raise ConfigError(f"{path} is larger than {bytes_max} bytes", hint)
    return data


def read_json(path: Path, bytes_max: int, hint: str, *, private: bool = False) -> Any:
    """Parse a JSON file of integers, text, booleans, null, lists and objects without repeated keys."""
    data = read_bounded(path, bytes_max, hint, private=private)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            names = [name for name, _ in items]
            repeated = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"{path}: {repeated} is there twice", hint)
        return result

    def refuse(text: str) -> NoReturn:
        raise ConfigError(f"{path}: {text} is not an integer", hint)

    # the parser recurses in C: deep nesting could exhaust the stack and kill the process
    depth = 0
    for bracket in _BRACKET.findall(_TEXT.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > JSON_NESTING_MAX:
            raise ConfigError(f"{path} is nested more than {JSON_NESTING_MAX} deep", hint)
    try:
        return json.loads(data.decode(), object_pairs_hook=pairs, parse_float=refuse, parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", hint) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}", hint) from error


def to_json_text(document: Any) -> bytes:
    """Indented JSON with a final newline."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
