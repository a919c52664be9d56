"""What a start needs and tells: copies of the chain's inputs, the parts of its time, the chain last."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from mpc_sequencer.node.phases import StartPhases, tell_ready
from mpc_sequencer.node.startup import INPUTS_FILE, keep_inputs, kept_inputs, lead_to
from mpc_sequencer.sim import make_deployment


def test_a_copy_of_the_inputs_is_as_good_as_the_chain(tmp_path: Path) -> None:
    d = make_deployment(4, seed=1)
    checkpoint = d.committee.genesis.checkpoint
    assert kept_inputs(tmp_path, checkpoint) is None
    keep_inputs(tmp_path, d.inputs)
    assert kept_inputs(tmp_path, checkpoint) == tuple(d.inputs)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"\x00",
        lambda data: data.replace(data[40:44], b"\x00\x01\x02\x03", 1),
        lambda data: b"",
    ],
)
def test_a_copy_that_is_not_of_this_genesis_is_not_used(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    d = make_deployment(4, seed=1)
    keep_inputs(tmp_path, d.inputs)
    path = tmp_path / INPUTS_FILE
    path.write_bytes(spoil(path.read_bytes()))
    assert kept_inputs(tmp_path, d.committee.genesis.checkpoint) is None


def test_every_input_and_their_order_count() -> None:
    d = make_deployment(4, seed=1)
    inputs, checkpoint = list(d.inputs), d.committee.genesis.checkpoint
    assert lead_to(inputs, checkpoint)
    assert not lead_to(inputs[:-1], checkpoint)
    assert not lead_to([inputs[1], inputs[0], *inputs[2:]], checkpoint)
    more = msgspec.structs.replace(inputs[0], amount=(1 << 200).to_bytes(32, "big"))
    assert not lead_to([more, *inputs[1:]], checkpoint)


def test_a_folder_that_takes_no_copy_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep_inputs(tmp_path / "nowhere", make_deployment(4, seed=1).inputs)
    assert "no copy" in caplog.text


def test_the_parts_of_a_start_add_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    phases = StartPhases()
    phases.end("keys")
    holds = {"linked": False, "even": False}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell_ready, phases, lambda: holds["linked"], lambda: holds["even"])
            await trio.sleep(0.03)
            holds["linked"] = True
            await trio.sleep(0.06)
            assert "ready" not in caplog.text
            holds["even"] = True

    trio.run(main)
    assert list(phases.parts_ms) == ["imports", "keys", "links", "even"]
    assert phases.parts_ms["links"] >= 20 and phases.parts_ms["even"] >= 30
    assert re.search(rf"ready after {sum(phases.parts_ms.values())} ms, \d+ of CPU: imports \d+, keys", caplog.text)


def test_a_member_imports_no_chain_library_to_start() -> None:
    code = "import sys, mpc_sequencer.cli.app, mpc_sequencer.node.process; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"web3", "eth_account", "eth_tester", "httpx", "numpy", "rich", "mpyc", "prometheus_client", "starlette"}
    assert not heavy & set(found)


def test_what_large_batches_need_is_imported_beside_and_later() -> None:
    code = (
        "import sys, trio; from mpc_sequencer.node import process, warming; before = sys.getswitchinterval()\n"
        "async def main():\n"
        "    with trio.move_on_after(0.05): await warming.warm_up(30)\n"
        "    print(warming.BATCH_MODULE in sys.modules)\n"
        "    await warming.warm_up(0)\n"
        "    print(warming.BATCH_MODULE in sys.modules, 'numpy' in sys.modules, sys.getswitchinterval() == before)\n"
        "trio.run(main)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == ["False", "True", "True", "True"]
