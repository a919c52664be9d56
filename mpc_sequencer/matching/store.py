"""What crossed the seam, on disk: every batch and every accepted answer, so that an engine may resume from any height.

A member writes a batch when it executes the height, before anything of the height leaves; a height that is executed
again after a restart is there already. The table grows by some 300 bytes an order, and is read through once at a start.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.market import Market
from mpc_sequencer.matching.checker import Accepted, ExternalBook
from mpc_sequencer.matching.values import Answer, FairBatch, from_text, to_text

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS heights (height INTEGER PRIMARY KEY, batch BLOB NOT NULL, answer BLOB)"
)
_HINT = "move it aside: the stream begins anew, and the engine with it"


class StreamStore:
    """Batches and answers in the file ``path``, and the open orders they lead to. Raises :class:`ConfigError`."""

    def __init__(self, path: Path, markets: tuple[Market, ...]) -> None:
        self._path = path
        self.book = ExternalBook(markets)
        """After the last accepted answer, with the batch after it, if there is one, begun."""
        try:
            path.touch(mode=0o600)
            # opened in one thread and used in another, never in two at a time
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
            self._take_up()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path}: {error}", "check its owner and free space") from error
        except ProtocolError as error:
            raise ConfigError(f"{path} is no record of this deployment's stream: {error}", _HINT) from error

    def _take_up(self) -> None:
        rows = self._database.execute("SELECT batch, answer FROM heights WHERE answer IS NOT NULL ORDER BY height")
        for batch, answer in rows:
            self.book.begin(from_text(FairBatch, batch))
            self.book.take(self.book.check(from_text(Answer, answer)))
        self.begin_next()

    def begin_next(self) -> None:
        """Begin the next batch that is written, where no answer is outstanding."""
        if self.book.batch is None and (batch := self.batch_from(self.book.height + 1)) is not None:
            self.book.begin(batch)

    def write_batch(self, batch: FairBatch) -> None:
        """Keep an executed height's batch, durably; one that is there already stays. Raises ``OSError``. Blocking."""
        self._write("INSERT OR IGNORE INTO heights VALUES (?, ?, NULL)", (batch.height, to_text(batch).encode()))

    def write_answer(self, answer: Answer) -> None:
        """Keep an answer that was accepted, durably; :meth:`take` follows. Raises ``OSError``. Blocking."""
        self._write("UPDATE heights SET answer = ? WHERE height = ?", (to_text(answer).encode(), answer.height))

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise OSError(f"{self._path}: {error}") from error

    def take(self, accepted: Accepted) -> None:
        """Go on with an answer that is written."""
        self.book.take(accepted)
        self.begin_next()

    def batch_from(self, height: int) -> FairBatch | None:
        """The first batch at or above ``height``."""
        query = "SELECT batch FROM heights WHERE height >= ? ORDER BY height LIMIT 1"
        row = self._database.execute(query, (height,)).fetchone()
        return None if row is None else from_text(FairBatch, row[0])

    def answer(self, height: int) -> Answer | None:
        """The accepted answer to ``height``."""
        row = self._database.execute("SELECT answer FROM heights WHERE height = ?", (height,)).fetchone()
        return None if row is None or row[0] is None else from_text(Answer, row[0])

    def bounds(self) -> tuple[int, int]:
        """The first height that is kept, and the first without an answer; 0 where there is none."""
        first = self._database.execute("SELECT coalesce(min(height), 0) FROM heights").fetchone()[0]
        return int(first), 0 if self.book.batch is None else self.book.batch.height

    def close(self) -> None:
        """Give the file up."""
        self._database.close()
