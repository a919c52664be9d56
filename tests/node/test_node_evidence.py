"""The runner keeps evidence as files and goes on where it cannot."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mpc_sequencer.core.effects import Evidence
from mpc_sequencer.core.evidence import verify_file
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.offences import ListEquivocation
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, OrderList, with_signature
from mpc_sequencer.node.evidence_files import read_evidence
from mpc_sequencer.node.runner import Runner
from mpc_sequencer.node.storage import Storage, mark_never_started
from mpc_sequencer.sim import make_deployment

D = make_deployment(4)
GUILTY = 2


def found() -> Evidence:
    halves = []
    for entry in (b"\x01", b"\x02"):
        unsigned = OrderList(0, 0, GUILTY, 1, ZERO_HASH, (entry * 32,), NO_SIGNATURE)
        digest = D.committee.digest(unsigned.struct_hash())
        halves.append(with_signature(unsigned, D.signers[GUILTY].sign_digest(digest)))
    return Evidence(GUILTY, "list-equivocation", "two lists", ListEquivocation(*halves))


def runner(folder: Path, evidence: Path) -> Runner:
    core = NodeCore(D.committee, 0, D.signers[0], D.shares[0], D.inputs, entropy=bytes(32))
    mark_never_started(folder / "data")
    storage = Storage(folder / "data", lambda _: "origin", bytes(32), D.committee.genesis.checkpoint)
    transport = None  # evidence never leaves by itself
    return Runner(core, storage, None, transport, None, evidence)  # type: ignore[arg-type]


async def test_evidence_becomes_a_file_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    node = runner(tmp_path, tmp_path / "evidence")
    with caplog.at_level(logging.ERROR):
        await node._carry_out([found(), found()])
    (path,) = (tmp_path / "evidence").iterdir()
    assert path.name.startswith(f"list-equivocation-{GUILTY}-")
    assert verify_file(read_evidence(path), D.committee).node == GUILTY
    assert "member 2 is convicted of list-equivocation" in caplog.text and str(path) in caplog.text


async def test_evidence_that_cannot_be_kept_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "evidence").write_text("in the way")
    with caplog.at_level(logging.ERROR):
        await runner(tmp_path, tmp_path / "evidence")._carry_out([found()])
    assert "cannot be kept" in caplog.text
