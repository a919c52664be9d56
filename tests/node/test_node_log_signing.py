"""The audit log is signed between rounds: what a round has not made durable is under no checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import trio
from trio.testing import MockClock

from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.node import storage as node_storage
from mpc_sequencer.node.runner import CHECKPOINT_INTERVAL_S, Runner
from mpc_sequencer.sim import make_deployment


async def test_no_checkpoint_covers_a_round_that_is_under_way(tmp_path: Path, autojump_clock: MockClock) -> None:
    d = make_deployment(4)
    core = NodeCore(d.committee, 0, d.signers[0], d.shares[0], d.inputs, entropy=bytes(32))
    node_storage.mark_never_started(tmp_path)
    checkpoint = d.committee.genesis.checkpoint
    storage = node_storage.Storage(tmp_path, lambda began_ms: f"log-{began_ms}", bytes(32), checkpoint)
    runner = Runner(core, storage, None, None, None, tmp_path / "evidence")  # type: ignore[arg-type]
    storage.log.append(b"an entry of a round")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.checkpoints)
        await trio.sleep(3 * CHECKPOINT_INTERVAL_S)
        await trio.to_thread.run_sync(time.sleep, 0.3)  # time for a thread to write what it must not
        assert storage.log.signed.size == 0
        runner.between_rounds = True
        until_s = time.monotonic() + 10  # a thread writes it, in real time
        while not storage.log.signed.size and time.monotonic() < until_s:
            await trio.sleep(CHECKPOINT_INTERVAL_S)
        assert storage.log.signed.size == 1
        nursery.cancel_scope.cancel()
    storage.journal.close()
