"""docs/attacks.md and the attacks themselves say the same: each attack has a row, each row's tests exist, and the
evidence that a row names is what its test's first words end with."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from mpc_sequencer.core.errors import CODES
from mpc_sequencer.core.offences import KIND_NAMES

ROOT = Path(__file__).parents[2]
ATTACKS = ROOT / "tests" / "attacks"
CELLS = ("attack", "what the attacker does", "what stops it", "test", "evidence left")
QUOTED = re.compile(r"`([^`]+)`")
OUTCOMES = {"signature", "label", "plaintext", "malformed", "nonce_consumed"}
"""Codes of execution that an order's outcome may be."""
THRESHOLD_CODES = re.compile(r"(tdh2|point|share|ciphertext|label|bundle|coin|opening|dkg)\.[a-z_]+")


class Row(NamedTuple):
    attack: str
    does: str
    stops: str
    tests: tuple[str, ...]
    evidence: str


@cache
def rows() -> tuple[Row, ...]:
    text = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.split("\n") if line[:2] == "| "]
    assert tuple(lines[0]) == CELLS
    return tuple(Row(*cells[:3], tuple(QUOTED.findall(cells[3])), cells[4]) for cells in lines[2:])


@cache
def module(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def said(path: str) -> str:
    """The evidence that a test module's docstring ends with."""
    last = (ast.get_docstring(module(path)) or "").split("\n\n")[-1]
    assert last.startswith("Evidence: "), f"{path} does not end with what evidence it leaves"
    return " ".join(last.removeprefix("Evidence: ").split())


def here() -> list[str]:
    """The attacks in this folder."""
    files = sorted(ATTACKS.glob("test_*.py"))
    return [f"tests/attacks/{file.name}" for file in files if file.name != Path(__file__).name]


def test_every_attack_here_has_exactly_one_row() -> None:
    named = [path for row in rows() for path in row.tests if path.startswith("tests/attacks/")]
    assert sorted(named) == sorted({*named}), "one row each"
    assert set(here()) <= set(named)
    assert len({row.attack for row in rows()}) == len(rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.attack)
def test_the_tests_and_the_code_of_a_row_exist(row: Row) -> None:
    assert row.does and row.tests
    for test in row.tests:
        path, _, name = test.partition("::")
        found = [one.name for one in module(path).body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert name in found if name else any(one.startswith("test_") for one in found), test
    for code in QUOTED.findall(row.stops):
        base = ROOT if code.startswith(("threshold/", "contracts/")) else ROOT / "mpc_sequencer"
        assert (base / code).exists(), code


@pytest.mark.parametrize("path", here())
def test_an_attack_ends_with_the_evidence_of_its_row(path: str) -> None:
    assert said(path) == next(row.evidence for row in rows() if path in row.tests)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.attack)
def test_evidence_is_of_a_kind_or_none_with_a_reason(row: Row) -> None:
    first, _, reason = row.evidence.partition(":")
    words = QUOTED.findall(row.evidence)
    kinds = {word for word in words if word in KIND_NAMES.values()}
    assert kinds or (first == "none" and reason.strip()), "a kind, or none and why"
    assert not (kinds and first == "none")
    for word in set(words) - kinds:
        known = word in CODES or word in OUTCOMES or word == "log.forked" or THRESHOLD_CODES.fullmatch(word)
        assert known, f"{word} is no code"


def test_an_attack_looks_at_the_evidence_it_leaves() -> None:
    """Each module asks a run what its members were left with; one attack never reaches a member."""
    blind = []
    for path in here():
        names = {getattr(one, "id", getattr(one, "attr", "")) for one in ast.walk(module(path))}
        if not names & {"evidence_left", "evidence"}:
            blind.append(path)
    assert blind == ["tests/attacks/test_receive_market_without_precedence.py"]
