"""Reports of logs that lead through several epochs: they name the epochs and whose log it is; a log that a stranger
keeps, or that names another keeper than its first entry, is a finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit import Report, verify_log
from mpc_sequencer.cli.audit import show_report
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.transcript import BundleEntry, GenesisEntry, KeyEntry, LogEntry, ReceiptEntry
from tests.audit.audited_epochs_kit import (
    KEEPER,
    Log,
    Rotated,
    audited,
    blocks,
    codes,
    grown,
    log_of,
    log_public_key,
    log_seed,
    named_topic,
    shrunk,
)
from tests.audit.log_files import write_log


def written(folder: Path, run: Rotated, entries: Log, person: int, keeper: int | None = None) -> Report:
    """The report on a log on disk, which ``keeper`` signs under the name of that key."""
    signing = log_seed(run.house.seed, person if keeper is None else keeper)
    house: Any = _named(run, bytes(signing.verify_key))
    write_log(folder, [encode(entry) for entry in entries], 0, signing, house)
    return verify_log(folder, run.file)


class _named:
    """What the log's writer needs of a deployment: the genesis id and the key that names the log."""

    def __init__(self, run: Rotated, log_key: bytes) -> None:
        self.committee = self
        self.genesis_id = run.house.committee.genesis_id
        self.genesis = self
        self.members = (self,)
        self.log_key = log_key


def test_the_report_lists_the_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = grown()
    report = written(tmp_path, run, log_of(run), KEEPER)
    assert report.verdict == "pass" and report.node == KEEPER
    said = report.as_dict()
    assert said["keeper"] == log_public_key(run.house.seed, KEEPER).hex()
    first, second, third = said["epochs"]
    assert (first["epoch"], first["first_height"], first["proven_by"], first["threshold"]) == (0, 1, None, 3)
    assert second["first_height"] == first["last_height"] + 1 and third["first_height"] == second["last_height"] + 1
    assert third["last_height"] is None and (second["threshold"], len(second["members"])) == (5, 7)
    assert (first["sharing"], second["sharing"], third["sharing"]) == (0, 1, 2)
    assert len(second["proven_by"]) >= 3 and len(third["proven_by"]) >= 5
    assert third["members"] == ["0x" + address.hex() for address in run.committees[2].addresses]
    show_report(report)
    text = "".join(capsys.readouterr().out.split())
    assert "thecommitteefile" in text and f"{first['first_height']}..{first['last_height']}" in text
    assert "5of7" in text and "ofepoch1" in text


def test_a_joiners_log_is_opened_by_the_key_in_its_first_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shrunk()
    report = written(tmp_path, run, log_of(run, 7), 7)
    assert (report.verdict, report.node, report.keeper) == ("pass", None, log_public_key(run.house.seed, 7))
    show_report(report)
    assert log_public_key(run.house.seed, 7).hex() in "".join(capsys.readouterr().out.split())


# --- attack: a log under a stranger's key -------------------------------------------------------------------------
def strangers_log(run: Rotated) -> Log:
    """A true log that somebody else passes off as that of a member, under a key of its own."""
    entries = [one for one in log_of(run, 7) if not isinstance(one, ReceiptEntry)]
    entries[0] = GenesisEntry(run.house.committee.genesis_id, log_public_key(run.house.seed, 99))
    return entries


def test_log_signed_by_who_never_was_a_member(tmp_path: Path) -> None:
    run = shrunk()
    assert [one.code for one in written(tmp_path, run, strangers_log(run), 99).findings] == ["log.keeper"]


def test_log_whose_name_is_of_another_key_than_its_first_entrys(tmp_path: Path) -> None:
    run = shrunk()
    report = written(tmp_path / "stranger", run, log_of(run, 7), 7, keeper=99)
    assert [one.code for one in report.findings] == ["log.origin"]
    report = written(tmp_path / "member", run, log_of(run, 7), 7, keeper=1)
    assert [one.code for one in report.findings] == ["log.genesis"]
    entries = log_of(run, 7)
    entries[0] = BundleEntry(next(one.bundle for one in entries if isinstance(one, BundleEntry)))
    report = written(tmp_path / "no genesis", run, entries, 7)
    assert [one.code for one in report.findings] == ["log.origin"]


def test_joiners_log_that_ends_before_anybody_wants_it() -> None:
    """As long as no rotation with it is agreed on a joiner is a stranger; then its log is one of the epoch's."""
    run = shrunk()
    entries = log_of(run, 7)
    at = [index for index, one in enumerate(entries) if is_of_topic(run, one)]
    assert codes(run, entries[: at[0]]) == ["log.keeper"]
    agreed = next(index for index, _ in blocks(entries) if index > at[4])
    assert audited(run, entries[: agreed + 2]).keys.rotation.target is not None
    assert codes(run, entries[: agreed + 2]) == []


def is_of_topic(run: Rotated, entry: LogEntry, epoch: int = 0) -> bool:
    return isinstance(entry, KeyEntry) and entry.message.session == named_topic(run, epoch)
