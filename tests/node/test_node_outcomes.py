"""The table of outcomes: written with snapshots, readable at once, and no reason to give anything up."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.messages import ExecutedRow
from mpc_sequencer.node import outcomes as module
from mpc_sequencer.node.outcomes import Outcomes


def row(number: int, code: str = "filled") -> ExecutedRow:
    return ExecutedRow(number.to_bytes(32, "big"), code, number, 618_000, (number * 618_000).to_bytes(16, "big"))


def test_rows_are_found_before_while_and_after_they_are_written(tmp_path: Path) -> None:
    table = Outcomes(tmp_path / "outcomes")
    table.add(7, [row(1), row(2, "unfilled")])
    assert table.get(row(1).order_id) == (7, row(1))
    write = table.prepare()
    table.add(8, [row(3)])
    assert table.get(row(2).order_id) == (7, row(2, "unfilled"))
    write.run()
    table.written()
    assert [table.get(row(n).order_id) for n in (1, 3)] == [(7, row(1)), (8, row(3))]
    table.close()
    again = Outcomes(tmp_path / "outcomes")
    assert again.get(row(1).order_id) == (7, row(1))
    assert again.get(row(3).order_id) is None, "it came after the last write"
    again.close()
    assert (tmp_path / "outcomes").stat().st_mode & 0o077 == 0


def test_what_is_written_leaves_memory_and_what_was_not_is_written_with_the_next(tmp_path: Path) -> None:
    table = Outcomes(tmp_path / "outcomes")
    table.add(1, [row(1)])
    table.prepare()  # never run
    table.add(2, [row(2)])
    write = table.prepare()
    assert set(write.rows) == {row(1).order_id, row(2).order_id}
    write.run()
    table.written()
    assert not table._fresh and not table._writing
    assert table.prepare().rows == {}
    table.close()


def test_a_height_that_is_executed_again_is_written_once(tmp_path: Path) -> None:
    table = Outcomes(tmp_path / "outcomes")
    for _ in range(2):
        table.add(4, [row(1)])
        table.prepare().run()
        table.written()
    assert table.get(row(1).order_id) == (4, row(1))
    assert table._reader.execute("SELECT count(*) FROM outcomes").fetchone() == (1,)
    table.close()


def test_a_damaged_table_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "outcomes"
    path.write_bytes(b"this is no database" * 100)
    table = Outcomes(path)
    assert "forgotten" in caplog.text
    table.add(1, [row(1)])
    table.prepare().run()
    table.close()
    again = Outcomes(path)
    assert again.get(row(1).order_id) == (1, row(1))
    again.close()


def test_a_table_that_cannot_be_opened_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outcomes"
    table = Outcomes(path)
    table.add(1, [row(1)])
    table.prepare().run()
    table.close()
    with monkeypatch.context() as patched:

        def refused(path: Path) -> sqlite3.Connection:
            raise sqlite3.OperationalError("disk I/O error")

        patched.setattr(module, "_connect", refused)
        with pytest.raises(ConfigError, match="disk I/O error"):
            Outcomes(path)
    again = Outcomes(path)
    assert again.get(row(1).order_id) == (1, row(1))
    again.close()


def test_a_row_that_does_not_read_is_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = Outcomes(tmp_path / "outcomes")
    table._reader.execute("INSERT INTO outcomes VALUES (?, 1, ?)", (bytes(32), b"\x00"))
    assert table.get(bytes(32)) is None
    assert "cannot be read" in caplog.text
    table.close()


def test_a_write_that_the_disk_refuses_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Outcomes(tmp_path / "outcomes")
    table.add(1, [row(1)])
    write = table.prepare()

    def full(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module, "_connect", full)
    with pytest.raises(OSError, match="full"):
        write.run()
    assert table.get(row(1).order_id) == (1, row(1)), "it is still known"
    table.close()
    assert os.path.exists(tmp_path / "outcomes")


def test_what_later_heights_did_is_kept_in_order_from_any_height_on(tmp_path: Path) -> None:
    table = Outcomes(tmp_path / "outcomes")
    order_id = row(1).order_id
    table.add(4, [row(1, "resting")], [row(2)])
    table.add(6, [], [row(1, "partly_filled")])
    table.prepare().run()
    table.written()
    table.add(9, [], [row(1, "filled")])
    table.prepare()  # being written
    table.add(11, [], [row(1, "cancelled")])
    told = [(6, row(1, "partly_filled")), (9, row(1, "filled")), (11, row(1, "cancelled"))]
    assert table.updates(order_id, 0, 10) == told
    assert table.updates(order_id, 6, 10) == told[1:]
    assert table.updates(order_id, 0, 2) == told[:2]
    assert table.get(order_id) == (4, row(1, "resting")) and table.updates(row(2).order_id, 0, 9) == [(4, row(2))]
    table.prepare().run()
    table.written()
    table.close()
    again = Outcomes(tmp_path / "outcomes")
    assert again.updates(order_id, 0, 10) == told and again.updates(b"\x09" * 32, 0, 10) == []
    again.close()
