"""One short run of the whole: a committee of processes trades, one member is killed, another loses its disk as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

RUN_S_MAX = 240


def test_a_committee_under_load_loses_nothing_when_members_are_killed_and_one_loses_its_disk(tmp_path: Path) -> None:
    folder = tmp_path / "devnet"
    command = [sys.executable, "-m", "mpc_sequencer.cli", "devnet", "chaos", "--folder", str(folder), "--json"]
    command += ["--rate", "5", "--duration", "9", "--every", "3", "--wipe-every", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=RUN_S_MAX, check=False, text=True)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout)
    assert figures["findings"] == [], done.stderr
    assert done.returncode == 0
    assert 1 <= figures["kills"] <= 2 and figures["wipes"] == figures["kills"] - 1
    assert figures["orders_sent"] == figures["orders_final"] == figures["orders_executed"] == 45
    receipts = figures["receipts"]
    assert receipts["open"] == 0
    assert receipts["kept"] + receipts["defaulted"] == figures["receipts_held"] >= 45 * 2
    assert figures["audits"] == ["pass"] * 4 and figures["logs"]["compared"] == 4
    assert not list(folder.glob("node-*/pid")), "no process is left behind"
