"""Finished runs in a file, so that a soak of hours goes on where it was interrupted.

The file is lines of JSON. The first says what the runs are of: first seed, sizes, faults, where the key comes from and
a digest of the sources, for a run is a function of these and its seed. Each further line is one finished run with its
violations, written and synced before the next is waited for. A line that an interruption tore is cut off and its run is
done again. A file of anything else is refused and left as it is: totals over two versions of the protocol would say
nothing about either.

How many seeds are run is not part of it: a soak may be prolonged.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import msgspec

import threshold
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.sim.run import RunReport, Violation

VERSION: Final = 1
LEDGER_BYTES_MAX: Final = 1 << 30
PACKAGE: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = (
    Path(threshold.__file__).resolve().parent,
    *(PACKAGE / name for name in ("core", "dark", "market", "sim", "audit", "settlement")),
)
"""Where everything lies that a run executes."""
SUFFIXES: Final = (".py", ".json")


class Soak(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the runs of a file have in common."""

    version: int
    first_seed: int
    nodes: tuple[int, ...]
    faults: tuple[str, ...]
    """Ascending."""
    keys: str
    sources: str
    """As :func:`sources_digest` gives it."""


class Finished(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One run that has come to its end."""

    seed: int
    nodes: int
    heights: int
    violations: tuple[Violation, ...]


_SOAK: Final = msgspec.json.Decoder(Soak)
_FINISHED: Final = msgspec.json.Decoder(Finished)


def sources_digest() -> str:
    """SHA-256 (hex) over paths and contents of all sources that a run executes."""
    digest = hashlib.sha256()
    for root in SOURCES:
        for path in sorted(root.rglob("*")):
            if path.suffix in SUFFIXES:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{root.name}/{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def make_soak(first_seed: int, nodes: Iterable[int], faults: Iterable[str], keys: str) -> Soak:
    """A soak of the sources at hand."""
    return Soak(VERSION, first_seed, tuple(nodes), tuple(sorted(faults)), keys, sources_digest())


class Ledger:
    """The file of one soak, to be used in a ``with``; ``finished`` has its runs by (seed, size).

    Raises :class:`ConfigError` where the file is another soak's, is none at all, or is in use.
    """

    def __init__(self, path: Path, soak: Soak) -> None:
        self._path = path
        self._soak = soak
        self.finished: dict[tuple[int, int], Finished] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Ledger:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b")
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}", "choose another --state") from None
        try:
            self._take_up(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

    def _take_up(self, file: IO[bytes]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{self._path} is in use", "wait for the other soak, or choose another --state") from None
        size = file.seek(0, os.SEEK_END)
        if size > LEDGER_BYTES_MAX:
            raise ConfigError(f"{self._path} has {size} bytes", "choose another --state")
        file.seek(0)
        *lines, torn = file.read().split(b"\n")
        if lines:
            self._read(lines)
        elif not msgspec.json.encode(self._soak).startswith(torn):
            raise self._refused("it is no soak's")
        if torn:
            file.truncate(size - len(torn))
        if not lines:
            self._write(msgspec.json.encode(self._soak))

    def _read(self, lines: list[bytes]) -> None:
        try:
            found = _SOAK.decode(lines[0])
            runs = [_FINISHED.decode(line) for line in lines[1:]]
        except msgspec.DecodeError:
            raise self._refused("it is no soak's, or it is damaged") from None
        for name in Soak.__struct_fields__:
            held, asked = getattr(found, name), getattr(self._soak, name)
            if held != asked:
                raise self._refused(f"it is of other {name.replace('_', ' ')}: {_shown(held)}, not {_shown(asked)}")
        self.finished = {(run.seed, run.nodes): run for run in runs}

    def _refused(self, cause: str) -> ConfigError:
        return ConfigError(f"{self._path} cannot be gone on with: {cause}", "remove it, or choose another --state")

    def note(self, report: RunReport) -> None:
        """A run has come to its end: keep it."""
        run = Finished(report.seed, report.nodes, report.heights, report.violations)
        self._write(msgspec.json.encode(run))
        self.finished[run.seed, run.nodes] = run

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _shown(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
