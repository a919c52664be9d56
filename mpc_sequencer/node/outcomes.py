"""What became of each order, on disk: clients that ask after a restart get the outcome, not *unknown*.

The core remembers the latest outcomes; a snapshot holds none, and the log has openings and roots only. So each height's
rows go into a table by order id (SQLite, write-ahead log), with each snapshot and durably before it: what came after
the snapshot is executed again by a member that comes back. Memory is what has come since the last snapshot; the disk
grows by some 150 bytes an order, a tenth of what the audit log does.

The table is a convenience: every row follows from the log. One whose content is damaged is begun anew, and orders
before that are unknown here; other members still have theirs.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.messages import ExecutedRow

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS outcomes"
    " (order_id BLOB PRIMARY KEY, height INTEGER NOT NULL, outcome BLOB NOT NULL) WITHOUT ROWID"
)
_UPDATES_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS updates"
    " (order_id BLOB, height INTEGER, outcome BLOB NOT NULL, PRIMARY KEY (order_id, height)) WITHOUT ROWID"
)

logger = logging.getLogger("mpc_sequencer.node")

Rows = dict[bytes, tuple[int, ExecutedRow]]
Updates = dict[bytes, dict[int, ExecutedRow]]
"""By order and height."""


@dataclass(frozen=True, slots=True)
class OutcomesWrite:
    """Rows to be written, in any thread, one write at a time."""

    path: Path
    rows: Rows
    updates: Updates

    def run(self) -> None:
        """Write them durably. Raises ``OSError``."""
        if not self.rows and not self.updates:
            return
        values = [(order_id, height, encode(row)) for order_id, (height, row) in self.rows.items()]
        later = [(one, height, encode(row)) for one, rows in self.updates.items() for height, row in rows.items()]
        try:
            with closing(_connect(self.path)) as database, database:
                database.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", values)
                database.executemany("INSERT OR REPLACE INTO updates VALUES (?, ?, ?)", later)
        except sqlite3.Error as error:
            raise OSError(f"{self.path}: {error}") from error


class Outcomes:
    """The table in the file ``path``. Raises :class:`ConfigError` where there can be none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh: Rows = {}
        self._writing: Rows = {}
        self._fresh_updates: Updates = {}
        self._writing_updates: Updates = {}
        try:
            self._reader = self._open()
        except sqlite3.OperationalError as error:  # it may be whole, and cannot be used now
            raise ConfigError(f"{path}: {error}", "check its owner and free space") from error
        except sqlite3.DatabaseError as error:
            logger.error("outcomes of earlier orders are forgotten: %s: %s", path, error)
            try:
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    path.with_name(name).unlink(missing_ok=True)
                self._reader = self._open()
            except (sqlite3.Error, OSError) as again:
                raise ConfigError(f"{path}: {again}", "check its owner and free space") from again

    def _open(self) -> sqlite3.Connection:
        with suppress(OSError):  # what is wrong with it is said when it is opened
            self._path.touch(mode=0o600)
        database = _connect(self._path)
        try:
            for schema, table in ((_SCHEMA, "outcomes"), (_UPDATES_SCHEMA, "updates")):
                database.execute(schema)
                database.execute(f"SELECT order_id, height, outcome FROM {table} LIMIT 1").fetchall()
            database.commit()
        except BaseException:
            database.close()
            raise
        return database

    def add(self, height: int, rows: Iterable[ExecutedRow], updates: Iterable[ExecutedRow] = ()) -> None:
        """Take a height's outcomes and what it did to earlier orders; the next :meth:`prepare` writes them."""
        self._fresh.update((row.order_id, (height, row)) for row in rows)
        for row in updates:
            self._fresh_updates.setdefault(row.order_id, {})[height] = row

    def prepare(self) -> OutcomesWrite:
        """What is new since the last write. Run it before the next one is prepared; one that never runs is written
        with the next."""
        self._writing.update(self._fresh)
        self._fresh = {}
        for order_id, rows in self._fresh_updates.items():
            self._writing_updates[order_id] = {**self._writing_updates.get(order_id, {}), **rows}
        self._fresh_updates = {}
        return OutcomesWrite(self._path, dict(self._writing), dict(self._writing_updates))

    def written(self) -> None:
        """The prepared write is on disk. May be called in a worker thread."""
        self._writing, self._writing_updates = {}, {}

    def get(self, order_id: bytes) -> tuple[int, ExecutedRow] | None:
        """Height and outcome of an order (32 bytes); None where this member's table lacks it."""
        held = self._fresh.get(order_id) or self._writing.get(order_id)
        if held is not None:
            return held
        try:
            found = self._reader.execute("SELECT height, outcome FROM outcomes WHERE order_id = ?", (order_id,))
            height, data = found.fetchone() or (0, b"")
            return (int(height), decode(ExecutedRow, data)) if height else None
        except (sqlite3.Error, ProtocolError) as error:
            logger.error("the outcome of order %s cannot be read: %s", order_id.hex(), error)
            return None

    def updates(self, order_id: bytes, after_height: int, rows_max: int) -> list[tuple[int, ExecutedRow]]:
        """What heights after ``after_height`` did to an order of an earlier one, ascending, the first ``rows_max``."""
        found: dict[int, ExecutedRow] = {}
        query = "SELECT height, outcome FROM updates WHERE order_id = ? AND height > ? ORDER BY height LIMIT ?"
        try:
            for height, data in self._reader.execute(query, (order_id, after_height, rows_max)):
                found[int(height)] = decode(ExecutedRow, data)
        except (sqlite3.Error, ProtocolError) as error:
            logger.error("the updates of order %s cannot be read: %s", order_id.hex(), error)
        for held in (self._writing_updates.get(order_id, {}), self._fresh_updates.get(order_id, {})):
            found.update((height, row) for height, row in held.items() if height > after_height)
        return sorted(found.items())[:rows_max]

    def close(self) -> None:
        """Give the file up. Closing twice does nothing."""
        self._reader.close()


def _connect(path: Path) -> sqlite3.Connection:
    # opened in one thread and used in another, never in two at a time
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
    except BaseException:
        database.close()
        raise
    return database
