"""The dark benchmark: its books are a seed's, its processes agree with the rule, and a wrong result is no figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic_ns
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mpc_sequencer.bench import dark_peer
from mpc_sequencer.bench.dark import Committee, Options, _figures, _size, faults_of
from mpc_sequencer.bench.dark_book import Book, Books, deal_rows, params_of
from mpc_sequencer.bench.dark_party import CLEAR, PREPARE, Ran
from mpc_sequencer.bench.dark_peer import PeerRun, run_peer
from mpc_sequencer.bench.market_check import WrongResult
from mpc_sequencer.cli.app import app
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.dark.clearing import Plan
from mpc_sequencer.dark.field import from_bytes
from mpc_sequencer.dark.layout import Layout, linear_checks
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.rule import DarkFill, DarkOutcome
from mpc_sequencer.dark.sharing import interpolate

PARAMS = params_of(4, 1, 8, 12)
OPTIONS = Options(((4, 1),), (12,), (8,), (0, 20), rounds=2)


@pytest.fixture(scope="module")
def committee() -> Iterator[Committee]:
    with Committee(4, 1) as linked:
        yield linked
    assert not any(process.is_alive() for process in linked._processes)


# --- books ------------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_sequence_of_books_and_they_trade() -> None:
    first, again, other = Books(1), Books(1), Books(2)
    params = params_of(5, 1, 32, 256)
    books = [first.draw(params, 256) for _ in range(2)]
    assert books == [again.draw(params, 256) for _ in range(2)]
    assert books[0] != books[1]
    assert books[0] != other.draw(params, 256)
    for book in books:
        assert sorted(book.priority) == list(range(256))
        assert {order.side for order in book.orders} == {BUY, SELL}
        assert book.expected().volume_lots > 0


def test_rows_are_dealt_so_that_any_two_parties_hold_a_funded_order_and_one_alone_nothing() -> None:
    book = Books(0).draw(PARAMS, 12)
    layout = Layout.of(PARAMS)
    parts = [from_bytes(part, 12 * layout.columns) for part in deal_rows(book, bytes(32))]
    for pair in ((0, 1), (1, 3)):
        rows = interpolate({party: parts[party] for party in pair}).reshape(12, layout.columns)
        for row, order in zip(rows, book.orders, strict=True):
            at = order.tick + (0 if order.side == BUY else PARAMS.ticks)
            assert row[at] == row[layout.entries].sum() == order.quantity_lots
        checked = rows @ linear_checks(PARAMS) % PRIME
        assert (checked == np.array([0, book.deposit.quote_tick_lots, book.deposit.base_lots], dtype=object)).all()
    again = deal_rows(book, b"\1" * 32)
    assert all(one != other for one, other in zip(again, deal_rows(book, bytes(32)), strict=True))


# --- processes --------------------------------------------------------------------------------------------------------


def test_processes_clear_by_the_rule_and_each_round_takes_the_delay_once(committee: Committee) -> None:
    told: list[str] = []
    rows, _ = _size(committee, OPTIONS, Books(0), 12, 8, told.append)
    assert [row["delay_ms"] for row in rows] == [0, 20]
    assert len(told) == 4
    near, far = rows
    for part in (PREPARE, CLEAR):
        assert near[part]["rounds"] == far[part]["rounds"]
        assert near[part]["bytes"] == far[part]["bytes"]
        assert far[part]["ms"] >= 20 * far[part]["rounds"]
        assert 0 < near[part]["cpu_ms"] <= near[part]["cpu_all_ms"]
    assert near["rounds"] == near[PREPARE]["rounds"] + near[CLEAR]["rounds"]
    assert near[PREPARE]["rounds"] == 2
    assert near[PREPARE]["bytes"] > 3 * 12 * Plan.of(PARAMS).comparisons * Plan.of(PARAMS).bits


def test_fewer_levels_take_fewer_rounds(committee: Committee) -> None:
    def rounds(*levels: int) -> int:
        options = replace(OPTIONS, delays_ms=(0,), rounds=1, levels=levels)
        (row,), _ = _size(committee, options, Books(0), 12, 8, lambda _: None)
        assert row["levels"] == list(levels)
        found: int = row[CLEAR]["rounds"]
        return found

    assert rounds(1, 1) < rounds(1, 2) < rounds(2, 2)


def test_an_outcome_that_is_not_the_rules_is_no_figure(committee: Committee) -> None:
    class Liar(Book):
        def expected(self) -> DarkOutcome:
            true = super().expected()
            return replace(true, fills=(replace(true.fills[0], lots=true.fills[0].lots + 1), *true.fills[1:]))

    class Lying(Books):
        def draw(self, params: Any, count: int) -> Book:
            book = super().draw(params, count)
            return Liar(book.params, book.orders, book.deposit, book.coin, book.priority)

    with pytest.raises(WrongResult, match="party 0 found"):
        _size(committee, OPTIONS, Lying(0), 12, 8, lambda _: None)


def test_a_party_with_another_share_ends_the_run(committee: Committee, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Books(0).draw(PARAMS, 12)

    def dealt(book: Book, seed: bytes) -> list[bytes]:
        parts = deal_rows(book, seed)
        parts[2] = bytes([parts[2][0] ^ 1]) + parts[2][1:]
        return parts

    monkeypatch.setattr("mpc_sequencer.bench.dark.deal_rows", dealt)
    committee.load(book, Plan.of(PARAMS))
    with pytest.raises(WrongResult, match="undecodable"):
        committee.run(0.0)
    monkeypatch.undo()
    committee.load(book, Plan.of(PARAMS))
    assert all(ran.outcome == book.expected() for ran in committee.run(0.0)[CLEAR][1])


def test_figures_are_medians_and_the_slowest_party_counts() -> None:
    def run(seconds: float) -> dict[str, tuple[float, list[Ran]]]:
        parties = [Ran(0, int(seconds * 1e8), 3, 100, None), Ran(0, int(seconds * 2e8), 3, 120, None)]
        return {PREPARE: (seconds, parties), CLEAR: (2 * seconds, parties)}

    found = _figures([run(0.5), run(0.1), run(0.2)])
    assert found["ms"] == 600.0
    assert found[CLEAR] == {"ms": 400.0, "cpu_ms": 40.0, "cpu_all_ms": 60.0, "rounds": 3, "bytes": 120}
    assert (found["rounds"], found["bytes"]) == (6, 240)


def test_a_part_lasts_until_its_last_party_is_done() -> None:
    class Late(Committee):
        def _ask(self, what: Any) -> list[Any]:
            now_ns = monotonic_ns()
            return [Ran(now_ns + seconds * 10**9, 0, 1, 0, None) for seconds in (0, 9, 1)]

    parts = Late(3, 1).run(0.0)
    assert all(9 <= seconds < 10 for seconds, _ in parts.values())


# --- the peer ---------------------------------------------------------------------------------------------------------


def test_the_peer_clears_a_book_as_the_rule_does_and_says_nothing_where_it_is_late() -> None:
    book = Books(0).draw(PARAMS, 12)
    found = run_peer(book, 60.0)
    assert found is not None
    assert found.agrees(book.expected())
    assert found.ms > 0 < found.bytes_sent
    assert run_peer(book, 0.0) is None


OUTCOME = DarkOutcome(True, 3, BUY, 5, (DarkFill(0, BUY, 5), DarkFill(2, SELL, 5)), (), 0)
AGREES = PeerRun(1.0, 1, 7, (5, 0, 0), (0, 0, 5))


@pytest.mark.parametrize(
    "found",
    [
        replace(AGREES, position=6),
        replace(AGREES, position=-1),
        replace(AGREES, position=-1, bought=(0, 0, 0), sold=(0, 0, 0)),
        replace(AGREES, bought=(4, 0, 0)),
        replace(AGREES, bought=(5, 1, 0)),
        replace(AGREES, bought=(0, 0, 5), sold=(5, 0, 0)),
    ],
)
def test_a_peer_that_finds_anything_else_does_not_agree(found: PeerRun) -> None:
    assert AGREES.agrees(OUTCOME)
    assert not found.agrees(OUTCOME)
    assert not AGREES.agrees(DarkOutcome.uncrossed())
    assert PeerRun(1.0, 1, -1, (0,), (0,)).agrees(DarkOutcome.uncrossed())


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_what_was_measured_and_fails_where_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    call = ["bench", "dark", "--nodes", "4", "--orders", "6", "--ticks", "4", "--delays", "0", "--rounds", "1"]
    ran = CliRunner().invoke(app, [*call, "--peer-seconds", "0", "--json"])
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.stdout)
    assert result["peer"] is None
    assert [(row["n"], row["t"], row["orders"], row["ticks"]) for row in result["rows"]] == [(4, 1, 6, 4)]
    monkeypatch.setattr(dark_peer.PeerRun, "agrees", lambda *_: False)
    monkeypatch.setattr("mpc_sequencer.bench.dark_peer.run_peer", lambda *_: AGREES)
    wrong = CliRunner().invoke(app, [*call, "--json"])
    assert wrong.exit_code == 1
    assert "the dark batch is wrong: mpyc found" in wrong.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nodes", "3"], "--nodes is"),
        (["--orders", "0"], "--orders is"),
        (["--ticks", "2000"], "--ticks is"),
        (["--delays", "2000"], "--delays is"),
        (["--nodes", "31"], "keys"),
        (["--levels", "1"], "--levels is"),
        (["--levels", "1,7"], "--levels is"),
        (["--nodes", "5", "--orders", "1024", "--levels", "1,1"], "more levels"),
    ],
)
def test_sizes_that_are_none_are_refused_before_a_process_starts(options: list[str], said: str) -> None:
    ran = CliRunner().invoke(app, ["bench", "dark", *options])
    assert isinstance(ran.exception, ConfigError)
    assert said in str(ran.exception)


def test_a_committee_is_measured_with_the_most_faults_that_it_corrects() -> None:
    assert [faults_of(n) for n in (4, 5, 8, 9, 13)] == [1, 1, 1, 2, 3]
    late = replace(OPTIONS, peer_s=1.0)
    assert (OPTIONS.steps, late.steps, replace(late, delays_ms=(10,)).steps) == (4, 5, 2)
