"""Every way a command can fail on its surroundings ends as error and hint with status 2, never as a
traceback.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.cli.app import run
from mpc_sequencer.cli.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_PIPE, explain
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.devnet.layout import Devnet, open_devnet
from mpc_sequencer.devnet.processes import check_ports_free
from mpc_sequencer.devnet.running import prepare_folder
from mpc_sequencer.node.storage import NEVER_STARTED

Run = Callable[..., Any]


@pytest.fixture
def copy(devnet: Devnet, tmp_path: Path) -> Devnet:
    """A copy of the devnet that a test may damage."""
    shutil.copytree(devnet.folder, tmp_path / "devnet")
    return open_devnet(tmp_path / "devnet")


def test_a_wrong_passphrase(mpcseq: Run, devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "wrong")
    cause, hint = mpcseq("node", "run", devnet.node_folder(0)).error()
    assert "passphrase" in cause and "passphrase" in hint
    assert "wrong" not in cause


def test_an_unreachable_chain(mpcseq: Run, copy: Devnet) -> None:
    cause, hint = mpcseq(
        "node", "run", copy.node_folder(0), "--passphrase-file", copy.passphrase_file
    ).error()
    assert "127.0.0.1:9" in cause and "chain" in hint


def test_a_passphrase_file_others_can_read(mpcseq: Run, copy: Devnet) -> None:
    copy.passphrase_file.chmod(0o644)
    cause, hint = mpcseq(
        "node", "run", copy.node_folder(0), "--passphrase-file", copy.passphrase_file
    ).error()
    assert "others" in cause and "chmod 600" in hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("committee.json", None),
        ("committee.json", "{"),
        ("node-0/node.json", None),
        ("node-0/node.json", "[]"),
    ],
)
def test_a_missing_or_broken_file(mpcseq: Run, copy: Devnet, name: str, text: str | None) -> None:
    path = copy.folder / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    cause, _ = mpcseq("node", "run", copy.node_folder(0), "--passphrase-file", copy.passphrase_file).error()
    assert Path(name).name in cause


@pytest.mark.parametrize("threshold", [1, 4])
def test_a_committee_file_with_an_unsafe_threshold(mpcseq: Run, copy: Devnet, threshold: int) -> None:
    document = json.loads(copy.committee_path.read_text())
    copy.committee_path.write_text(json.dumps(document | {"threshold": threshold}))
    cause, hint = mpcseq("node", "status", "--committee", copy.committee_path).error()
    assert "unsafe" in cause and "f+1 = 2" in hint


def test_a_committee_file_with_too_few_members(mpcseq: Run, copy: Devnet) -> None:
    document = json.loads(copy.committee_path.read_text())
    document["members"] = document["members"][:3]
    copy.committee_path.write_text(json.dumps(document))
    assert "3 members is unsafe" in mpcseq("node", "status", "--committee", copy.committee_path).error()[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--nodes", "3"], "3 members is unsafe"),
        (["--nodes", "65"], "65 members is unsafe"),
        (["--threshold", "1"], "threshold of 1 is unsafe"),
        (["--nodes", "7", "--threshold", "6"], "threshold of 6 is unsafe"),
        (["--accounts", "0"], "0 accounts"),
        (["--base-port", "65534"], "ports"),
        (["--key-refresh", "4.999"], "key_refresh_ms is 4999"),
    ],
)
def test_an_unsafe_devnet_is_not_written(
    mpcseq: Run, tmp_path: Path, options: list[str], expected: str
) -> None:
    cause, _ = mpcseq("devnet", "init", tmp_path / "new", *options).error()
    assert expected in cause
    assert not (tmp_path / "new").exists()


def test_a_devnet_is_not_written_over_something(mpcseq: Run, devnet: Devnet) -> None:
    before = devnet.committee_path.read_bytes()
    assert "not an empty folder" in mpcseq("devnet", "init", devnet.folder).error()[0]
    assert devnet.committee_path.read_bytes() == before


def test_a_folder_without_a_devnet(mpcseq: Run, tmp_path: Path) -> None:
    cause, hint = mpcseq("devnet", "up", tmp_path).error()
    assert "no devnet" in cause and "devnet init" in hint


def test_a_used_port(mpcseq: Run, copy: Devnet) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(copy.file.endpoints[2])
        taken.listen()
        with pytest.raises(ConfigError, match="node 2 cannot listen"):
            check_ports_free(copy.file.endpoints)
        assert "node 2 cannot listen" in mpcseq("devnet", "up", copy.folder).error()[0]


def test_data_of_an_earlier_run_is_kept_unless_asked_otherwise(mpcseq: Run, copy: Devnet) -> None:
    (copy.node_folder(1) / "data" / "journal").mkdir()
    cause, hint = mpcseq("devnet", "up", copy.folder).error()
    assert "earlier run" in cause and "--fresh" in hint
    assert (copy.node_folder(1) / "data").is_dir()


def test_data_that_somebody_removed_by_hand_is_no_new_member_either(mpcseq: Run, copy: Devnet) -> None:
    (copy.node_folder(2) / "data" / NEVER_STARTED).unlink()
    cause, hint = mpcseq("devnet", "up", copy.folder).error()
    assert "earlier run" in cause and "--fresh" in hint


def test_nothing_is_discarded_under_a_node_that_still_runs(mpcseq: Run, copy: Devnet) -> None:
    kept = copy.node_folder(2) / "data" / "journal"
    kept.mkdir()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(copy.file.endpoints[2])
        taken.listen()
        assert "node 2 cannot listen" in mpcseq("devnet", "up", copy.folder, "--fresh").error()[0]
    assert kept.is_dir()


def test_a_fresh_start_discards_data_and_shares_of_every_node(copy: Devnet) -> None:
    folder = copy.node_folder(1)
    (folder / "data" / "journal").mkdir()
    (folder / "keystore.vault").mkdir()
    (folder / "keystore.vault" / "share-3.00").write_bytes(b"x")
    (copy.node_folder(3) / "data" / "log").mkdir()
    prepare_folder(copy, fresh=True)
    for node in range(4):
        assert [one.name for one in (copy.node_folder(node) / "data").iterdir()] == [NEVER_STARTED]
        assert not (copy.node_folder(node) / "keystore.vault").exists()
        assert (copy.node_folder(node) / "keystore.json").is_file()
    prepare_folder(copy, fresh=False)


def test_a_name_that_begins_a_cause_keeps_its_case(
    mpcseq: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Devnet").mkdir()
    (tmp_path / "Devnet" / "something").touch()
    assert mpcseq("devnet", "init", "Devnet").error()[0] == "Devnet is not an empty folder"


def test_a_path_without_a_log_is_no_failed_audit(mpcseq: Run, devnet: Devnet, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        cause, hint = mpcseq("audit", "verify", path, "--committee", devnet.committee_path).error()
        assert "holds no log" in cause and "node-0/data/log" in hint
    (tmp_path / "tile").mkdir()  # a log whose checkpoint is gone is one
    ran = mpcseq("audit", "verify", tmp_path, "--committee", devnet.committee_path)
    assert ran.status == 1 and "an unknown node" in ran.out and "None" not in ran.out


def test_a_node_is_run_by_its_folder_and_not_by_a_file_in_it(mpcseq: Run, devnet: Devnet) -> None:
    cause, hint = mpcseq("node", "run", devnet.node_folder(0) / "node.json").error()
    assert "is not a folder" in cause and "node.json" in hint


def test_a_reader_that_has_enough_is_no_fault_and_no_success(devnet: Devnet, tmp_path: Path) -> None:
    (tmp_path / "tile").mkdir()
    words = ["audit", "verify", str(tmp_path), "--committee", str(devnet.committee_path)]
    ended = subprocess.Popen(
        [sys.executable, "-m", "mpc_sequencer.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert ended.stdout is not None and ended.stderr is not None
    ended.stdout.close()
    assert b"fault" not in ended.stderr.read()
    assert ended.wait(30) == EXIT_PIPE


def test_an_audit_of_an_unreachable_chain_or_of_no_log_does_not_pass(
    mpcseq: Run, devnet: Devnet, tmp_path: Path
) -> None:
    ran = mpcseq("audit", "verify", tmp_path, "--committee", devnet.committee_path, "--json")
    assert ran.status != 0
    assert "Traceback" not in ran.err + ran.out


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["order", "nonsense"],
        ["order", "seal", "--nonsense"],
        ["devnet", "init"],
        ["demo", "--rate", "0"],
    ],
)
def test_a_wrong_command_line(mpcseq: Run, words: list[str]) -> None:
    _, hint = mpcseq(*words).error()
    assert "--help" in hint


def test_with_json_an_error_is_one_object_on_standard_error(mpcseq: Run, tmp_path: Path) -> None:
    ran = mpcseq("devnet", "up", tmp_path, "--json")
    assert ran.status == 2 and ran.out == ""
    assert set(json.loads(ran.err)) == {"error", "hint"}


@pytest.mark.parametrize("words", [[], ["order"], ["devnet"], ["node"], ["audit"], ["evidence"], ["bench"]])
def test_a_group_without_a_command_shows_its_help(mpcseq: Run, words: list[str]) -> None:
    ran = mpcseq(*words)
    assert "Usage: mpcseq" in ran.out and ran.status in (0, 2)


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["demo"],
            ["devnet", "init"],
            ["devnet", "up"],
            ["node", "run"],
            ["node", "status"],
            ["order", "seal"],
        ),
        *(
            ["order", "inspect"],
            ["order", "submit"],
            ["order", "status"],
            ["audit", "verify"],
            ["evidence", "verify"],
            ["evidence", "receipt"],
            ["bench", "crypto"],
        ),
    ],
)
def test_every_command_has_help_and_json(mpcseq: Run, words: list[str]) -> None:
    ran = mpcseq(*words, "--help")
    assert ran.status == 0 and "--json" in ran.out


def test_the_console_script_ends_with_status_2_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mpc_sequencer.cli", "devnet", "up", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "\nhint: " in done.stderr and "Traceback" not in done.stderr


def test_a_bug_is_said_to_be_one_and_errors_inside_groups_are_found() -> None:
    assert explain(RuntimeError("x"), []).status == EXIT_INTERNAL
    grouped = BaseExceptionGroup("", [ExceptionGroup("", [ConfigError("inner cause", "inner hint")])])
    assert (explain(grouped, []).cause, explain(grouped, []).status) == ("inner cause", 2)
    interrupted = BaseExceptionGroup("", [ValueError(), KeyboardInterrupt()])
    assert explain(interrupted, []).status == EXIT_INTERRUPTED


def test_the_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.startswith("mpcseq ")
