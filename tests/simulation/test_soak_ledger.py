"""A soak that is interrupted goes on where it was: what is finished is not run again, and no violation is forgotten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.cli.app import run as command
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.sim import ledger as sim_ledger
from mpc_sequencer.sim import run as sim_run
from mpc_sequencer.sim.ledger import SOURCES, Ledger, make_soak, sources_digest
from mpc_sequencer.sim.run import RunReport, Violation

Capture = pytest.CaptureFixture[str]


def report_of(seed: int, nodes: int) -> RunReport:
    found = (Violation(seed, nodes, "agreement", 3, "two blocks"),) if (seed, nodes) == (1, 7) else ()
    return RunReport(seed, nodes, "none", 10 + seed, 1, 1, 1, 1, 0, "00", found)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was run, by seed and size; the runs themselves are told, not simulated."""
    done: list[tuple[int, int]] = []

    def told(tasks: Iterable[tuple[int, int, frozenset[str]]], **_: Any) -> Iterator[RunReport]:
        for seed, nodes, _faults in tasks:
            done.append((seed, nodes))
            yield report_of(seed, nodes)

    monkeypatch.setattr(sim_run, "simulate_many", told)
    return done


def soak(path: Path, capsys: Capture, *words: str, seeds: int = 3, nodes: str = "4,7") -> tuple[int, dict[str, Any]]:
    """Exit status and what was printed."""
    asked = ["sim", "run", "--seeds", str(seeds), "--nodes", nodes, "--state", str(path), "--json", *words]
    status = command(asked)
    printed = capsys.readouterr()
    return status, json.loads(printed.out or printed.err)


def test_an_interrupted_soak_goes_on_and_its_totals_are_over_all(
    tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = soak(tmp_path / "whole", capsys)
    asked, told = list(ran), sim_run.simulate_many
    assert len(asked) == 6
    assert whole[1]["runs"] == 6
    assert whole[1]["heights"] == 2 * (10 + 11 + 12)

    def interrupted(tasks: Iterable[tuple[int, int, frozenset[str]]], **names: Any) -> Iterator[RunReport]:
        for number, report in enumerate(told(tasks, **names)):
            if number == 4:
                raise KeyboardInterrupt
            yield report

    monkeypatch.setattr(sim_run, "simulate_many", interrupted)
    path = tmp_path / "made" / "soak.jsonl"
    with suppress(KeyboardInterrupt):
        command(["sim", "run", "--seeds", "3", "--nodes", "4,7", "--state", str(path)])
    capsys.readouterr()
    monkeypatch.setattr(sim_run, "simulate_many", told)
    ran.clear()
    assert soak(path, capsys) == whole
    assert ran == asked[4:]
    ran.clear()
    assert soak(path, capsys) == whole
    assert ran == []


def test_a_violation_is_kept_when_the_soak_goes_on(tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]]) -> None:
    path = tmp_path / "soak.jsonl"
    assert soak(path, capsys, seeds=2)[0] == 1
    ran.clear()
    status, summary = soak(path, capsys, seeds=5)
    assert status == 1
    assert summary["violations"] == [
        {"seed": 1, "nodes": 7, "checker": "agreement", "height": 3, "detail": "two blocks"}
    ]
    assert ran == [(seed, nodes) for seed in (2, 3, 4) for nodes in (4, 7)]
    assert summary["runs"] == 10


def test_real_runs_give_the_same_totals_in_one_go_and_in_two(tmp_path: Path, capsys: Capture) -> None:
    words = ("--faults", "none", "--workers", "1")
    soak(tmp_path / "two", capsys, *words, seeds=1, nodes="4")
    in_two = soak(tmp_path / "two", capsys, *words, seeds=2, nodes="4")
    in_one = soak(tmp_path / "one", capsys, *words, seeds=2, nodes="4")
    assert in_one == in_two
    assert in_one[1]["heights"] > 6


@pytest.mark.parametrize(
    "other",
    [("--faults", "network"), ("--nodes", "4"), ("--first-seed", "1"), ("--keys", "generated")],
    ids=lambda words: words[0],
)
def test_a_soak_of_something_else_does_not_go_on(
    tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]], other: tuple[str, ...]
) -> None:
    path = tmp_path / "soak.jsonl"
    soak(path, capsys)
    held = path.read_bytes()
    ran.clear()
    status, refused = soak(path, capsys, *other)
    assert status == 2
    assert "cannot be gone on with: it is of other " in refused["error"]
    assert (ran, path.read_bytes()) == ([], held)


def test_other_sources_do_not_go_on(
    tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "sources" / "rule.py"
    source.parent.mkdir()
    source.write_text("QUORUM = 3\n", encoding="utf-8")
    monkeypatch.setattr(sim_ledger, "SOURCES", (source.parent,))
    path = tmp_path / "soak.jsonl"
    assert soak(path, capsys, seeds=1)[0] == 0
    assert soak(path, capsys, seeds=1)[0] == 0
    source.write_text("QUORUM = 2\n", encoding="utf-8")
    status, refused = soak(path, capsys, seeds=1)
    assert status == 2
    assert "other sources" in refused["error"]
    assert len(ran) == 2


def test_a_torn_line_is_cut_off_and_its_run_done_again(
    tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]]
) -> None:
    path = tmp_path / "soak.jsonl"
    whole = soak(path, capsys)
    lines = path.read_bytes()
    for torn in (lines[:-1], lines[:-4], lines[:20], b""):
        path.write_bytes(torn)
        ran.clear()
        assert soak(path, capsys) == whole
        assert len(ran) == (1 if len(torn) > 20 else 6)
        assert sorted(path.read_bytes().splitlines()) == sorted(lines.splitlines())


@pytest.mark.parametrize("content", [b"notes", b"notes\n", b"{}\n", b'{"version":1}\n[0,4,10,[]]\n'])
def test_a_file_that_is_no_soaks_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]], content: bytes
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    status, refused = soak(path, capsys)
    assert status == 2
    assert "it is no soak's" in refused["error"]
    assert (ran, path.read_bytes()) == ([], content)


def test_a_damaged_line_amid_the_file_is_refused(tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]]) -> None:
    path = tmp_path / "soak.jsonl"
    soak(path, capsys)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join((*lines[:2], b"[1,4,\n", *lines[3:])))
    assert soak(path, capsys)[0] == 2


def test_two_soaks_do_not_share_a_file(tmp_path: Path) -> None:
    made = make_soak(0, (4,), (), "given")
    other = Ledger(tmp_path / "soak.jsonl", made)
    with Ledger(tmp_path / "soak.jsonl", made), pytest.raises(ConfigError, match="in use"):
        other.__enter__()


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, capsys: Capture, ran: list[tuple[int, int]]) -> None:
    status, refused = soak(tmp_path, capsys)
    assert status == 2
    assert "cannot write" in refused["error"]
    assert ran == []


def test_the_digest_of_the_sources_covers_whatever_a_run_executes() -> None:
    """Modules of this project that a run has loaded, with both order policies, lie where the digest looks."""
    program = (
        "import sys; from mpc_sequencer.sim.run import simulate; from mpc_sequencer.sim.plan import parse_faults;"
        "import mpc_sequencer.core.ordering.receive; simulate(3, 4, parse_faults('all'));"
        "print(*sorted({m.__file__ for n, m in sys.modules.items() "
        "if n.split('.')[0] in ('threshold', 'mpc_sequencer')}), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [Path(line).resolve() for line in done.stdout.split()]
    assert len(loaded) > 100
    outside = {path.name for path in loaded if not any(path.is_relative_to(root) for root in SOURCES)}
    assert outside == {"__init__.py"}
    assert len(sources_digest()) == 64
