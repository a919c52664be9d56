"""Order commits and changes in several entries: each wrong one is one finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.core import transcript
from tests.audit.audited_deployment import replace, secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import codes, standard


def forged(signatures: tuple[tuple[int, bytes], ...]) -> tuple[tuple[int, bytes], ...]:
    return (*signatures[:2], (3, signatures[2][1]))


def uncommitted() -> LogBuilder:
    """The valid log as it is before its range's order commit."""
    log = standard()
    del log.entries[-3:]
    log.audit.settlement.ranges[1].settled = False
    log.audit.settlement.commits.seen.clear()
    return log


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("commit.epoch", {"epoch": 1}),
        ("commit.prev_hash", {"prev_hash": secret("prev")}),
        ("commit.ciphertext_root", {"ciphertext_root": secret("orders")}),
        ("commit.l1_head", {"l1_head": 99}),
        ("commit.forced_head", {"forced_head": 1}),
        ("commit.quorum", {"nodes": (0, 1)}),
        ("commit.quorum", {"nodes": (0, 1, 1)}),
        ("commit.signature", {"after": lambda entry: replace(entry, signatures=forged(entry.signatures))}),
    ],
)
def test_a_wrong_order_commit_is_one_finding(code: str, changes: dict[str, Any], tmp_path: Path) -> None:
    log = uncommitted()
    log.commit(**changes)
    log.settlement()
    assert codes(log, tmp_path) == [code]


def test_an_order_commit_of_no_range_and_one_said_twice_are_found(tmp_path: Path) -> None:
    log = uncommitted()
    log.commit(height=2)
    assert codes(log, tmp_path / "none") == ["commit.range"]
    log = standard()
    log.append(next(entry for entry in log.entries if isinstance(entry, transcript.CommitEntry)))
    assert codes(log, tmp_path / "twice") == ["commit.repeated"]


def test_a_settlement_without_its_order_commit_is_found(tmp_path: Path) -> None:
    log = uncommitted()
    log.settlement(committed=False)
    assert codes(log, tmp_path) == ["settlement.uncommitted"]


@pytest.mark.parametrize("whole", [False, True])
def test_changes_that_one_entry_cannot_hold_are_taken_together(tmp_path: Path, whole: bool) -> None:
    log = standard()
    del log.entries[-1]
    last = log.entries.pop()
    assert isinstance(last, transcript.SettlementEntry)
    log.audit.settlement.ranges[1].settled = False
    head, tail = last.deltas[:54], last.deltas[54:]
    log.append(transcript.DeltasEntry(1, head))
    log.append(replace(last, deltas=tail if whole else tail[54:]))
    assert codes(log, tmp_path) == ([] if whole else ["settlement.deltas"])


def test_changes_of_no_range_are_found(tmp_path: Path) -> None:
    log = standard()
    log.append(transcript.DeltasEntry(2, bytes(54)))
    assert codes(log, tmp_path) == ["settlement.range"]
