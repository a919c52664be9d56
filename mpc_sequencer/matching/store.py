"""What crossed the seam, on disk: batches and accepted answers, so that an engine may resume from any height kept.

A member writes a batch when it executes the height, before anything of the height leaves; a height that is executed
again after a restart is there already. Some 300 bytes an order, and bounded: of the heights with an accepted answer the
last HEIGHTS_KEPT are kept, and PRUNE_EVERY more at most. With each pruning the orders that are open go to disk, so that
a start reads those and the heights after. What no engine has answered is never dropped: no engine could go on without.

Writes are made in worker threads, reads in the node's own; each has its connection, so that no read waits for a disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.market import Market
from mpc_sequencer.matching.checker import Accepted, ExternalBook, OpenRow
from mpc_sequencer.matching.values import BATCH_BYTES_MAX, Answer, FairBatch, from_text, to_text

HEIGHTS_KEPT: Final = 65_536
PRUNE_EVERY: Final = 1_024
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS heights (height INTEGER PRIMARY KEY, batch BLOB NOT NULL, answer BLOB)",
    "CREATE TABLE IF NOT EXISTS open (order_id TEXT PRIMARY KEY, held BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS book (id INTEGER PRIMARY KEY CHECK (id = 1), height INTEGER NOT NULL,"
    " answers_hash BLOB NOT NULL, pruned INTEGER NOT NULL)",
)
_LAST_PRUNED = "SELECT height FROM heights WHERE answer IS NOT NULL ORDER BY height DESC LIMIT 1 OFFSET ?"
_HINT = "move it aside: the stream begins anew, and the engine with it"

_ENCODER: Final = msgspec.json.Encoder()
_OPEN_ROW: Final = msgspec.json.Decoder(OpenRow)


class StreamStore:
    """Batches and answers in the file ``path``, and the open orders they lead to. Raises :class:`ConfigError`."""

    def __init__(
        self,
        path: Path,
        markets: tuple[Market, ...],
        *,
        heights_kept: int = HEIGHTS_KEPT,
        prune_every: int = PRUNE_EVERY,
    ) -> None:
        self._path = path
        self._heights_kept, self._prune_every = heights_kept, prune_every
        self.book = ExternalBook(markets)
        """After the last accepted answer, with the batch after it, if there is one, begun."""
        self.pruned = 0
        """The last height that is not kept any more."""
        self._taken = 0
        self._due: tuple[int, bytes, tuple[OpenRow, ...]] | None = None
        self._writing = Lock()
        try:
            path.touch(mode=0o600)
            self._writer = _connect(path)
            for statement in _SCHEMA:
                self._writer.execute(statement)
            self._reader = _connect(path)
            self._take_up()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path}: {error}", "check its owner and free space") from error
        except (ProtocolError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{path} is no record of this deployment's stream: {error}", _HINT) from error

    def _take_up(self) -> None:
        kept = self._reader.execute("SELECT height, answers_hash, pruned FROM book").fetchone()
        if kept is not None:
            height, answers_hash, self.pruned = kept
            held = self._reader.execute("SELECT held FROM open")
            self.book.go_on(height, answers_hash, (_OPEN_ROW.decode(row) for (row,) in held))
        query = "SELECT batch, answer FROM heights WHERE answer IS NOT NULL AND height > ? ORDER BY height"
        for batch, answer in self._reader.execute(query, (self.book.height,)):
            self.book.begin(from_text(FairBatch, batch, bytes_max=BATCH_BYTES_MAX))
            self.book.take(self.book.check(from_text(Answer, answer)))
            self._taken += 1
        self.begin_next()

    def begin_next(self) -> None:
        """Begin the next batch that is written, where no answer is outstanding."""
        if self.book.batch is None and (batch := self.batch_from(self.book.height + 1)) is not None:
            self.book.begin(batch)

    def write_batch(self, batch: FairBatch) -> None:
        """Keep an executed height's batch, durably; one that is there already stays, and one that was pruned does not
        come back. Raises ``OSError``. Blocking."""
        if batch.height > self.pruned:
            statement = "INSERT OR IGNORE INTO heights VALUES (?, ?, NULL)"
            self._write([(statement, [(batch.height, to_text(batch).encode())])])

    def write_answer(self, answer: Answer) -> None:
        """Keep an answer that was accepted, durably; :meth:`take` follows. Raises ``OSError``. Blocking."""
        statement = "UPDATE heights SET answer = ? WHERE height = ?"
        self._write([(statement, [(to_text(answer).encode(), answer.height)])])

    def _write(self, statements: Iterable[tuple[str, Iterable[tuple[object, ...]]]]) -> None:
        """All or none."""
        try:
            with self._writing, self._writer:
                self._writer.execute("BEGIN")
                for statement, rows in statements:
                    self._writer.executemany(statement, rows)
        except sqlite3.Error as error:
            raise OSError(f"{self._path}: {error}") from error

    def take(self, accepted: Accepted) -> None:
        """Go on with an answer that is written."""
        self.book.take(accepted)
        self._taken += 1
        if self._taken >= self._prune_every:
            self._taken = 0
            self._due = self.book.height, self.book.answers_hash, tuple(self.book.open.values())
        self.begin_next()

    @property
    def overdue(self) -> bool:
        """Whether :meth:`prune` is to be called."""
        return self._due is not None

    def prune(self) -> None:
        """Keep what is open after the last answer, and drop the oldest heights: both or neither. Raises ``OSError``.
        Blocking."""
        if self._due is None:
            return
        (height, answers_hash, rows), self._due = self._due, None
        with self._writing:
            last = self._writer.execute(_LAST_PRUNED, (self._heights_kept,)).fetchone()
        pruned = self.pruned if last is None else int(last[0])
        self._write(
            [
                ("DELETE FROM open", [()]),
                ("INSERT INTO open VALUES (?, ?)", ((one.row.order_id, _ENCODER.encode(one)) for one in rows)),
                ("INSERT OR REPLACE INTO book VALUES (1, ?, ?, ?)", [(height, answers_hash, pruned)]),
                ("DELETE FROM heights WHERE height <= ?", [(pruned,)]),
            ]
        )
        self.pruned = pruned

    def batch_from(self, height: int) -> FairBatch | None:
        """The first batch at or above ``height``."""
        query = "SELECT batch FROM heights WHERE height >= ? ORDER BY height LIMIT 1"
        row = self._reader.execute(query, (height,)).fetchone()
        return None if row is None else from_text(FairBatch, row[0], bytes_max=BATCH_BYTES_MAX)

    def answer(self, height: int) -> Answer | None:
        """The accepted answer to ``height``."""
        row = self._reader.execute("SELECT answer FROM heights WHERE height = ?", (height,)).fetchone()
        return None if row is None or row[0] is None else from_text(Answer, row[0])

    def bounds(self) -> tuple[int, int]:
        """The first height that is kept, and the first without an answer; 0 where there is none."""
        first = self._reader.execute("SELECT coalesce(min(height), 0) FROM heights").fetchone()[0]
        return int(first), 0 if self.book.batch is None else self.book.batch.height

    def close(self) -> None:
        """Give the file up."""
        self._reader.close()
        self._writer.close()


def _connect(path: Path) -> sqlite3.Connection:
    # opened in one thread and used in another; of the writer's, one at a time
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    return database
