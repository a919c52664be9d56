"""The node process: the pure core between its inbox, its disk and its wires.

One rule, said once: **persist, then send.** A round takes what has arrived, steps the core, writes journal
records and log entries, syncs the journal, and only then lets messages leave. Nothing else in the shell sends
protocol messages.

The loop yields to the network between rounds and does one chunk of cryptography per round, so it is never
away for more than a few milliseconds. A journal whose sync is slow is synced in a worker thread; meanwhile
events queue, and what they bring forth is written together with the next sync (group commit).
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from mpc_sequencer.core import effects as core_effects
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.execution import ResultMismatch
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.messages import StatusReply
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import recover
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.node import transport as wires
from mpc_sequencer.node.config import CommitteeFile, NodeConfig, check_index, load_committee, load_node_config
from mpc_sequencer.node.evidence_files import FOLDER as EVIDENCE_FOLDER
from mpc_sequencer.node.evidence_files import read_evidence, write_evidence
from mpc_sequencer.node.inbox import Inbox
from mpc_sequencer.node.keystore import open_keystore, read_key_file
from mpc_sequencer.node.snapshots import Snapshots
from mpc_sequencer.node.startup import check_identity, read_inputs
from mpc_sequencer.node.storage import Storage
from mpc_sequencer.settlement.payloads import SignedResult
from mpc_sequencer.settlement.submitter import ResultReady, Settled, SubmitterState
from mpc_sequencer.settlement.submitter_run import run_submitter
from threshold import ThresholdError

CHECKPOINT_INTERVAL_S: Final = 2.0
ROUND_POLL_S: Final = 0.002
INLINE_SYNC_S_MAX: Final = 0.002  # a journal slower than this is synced in a worker thread
FAULTS_LOGGED_PER_CODE: Final = 20
RESULTS_BUFFERED_MAX: Final = 1_024
EXIT_RESULT_MISMATCH: Final = 3
EXIT_DISK: Final = 4
EXIT_ROLLED_BACK: Final = 5

logger = logging.getLogger("mpc_sequencer.node")


class DiskFailed(Exception):
    """The disk refused a write: the member must stop, for it cannot keep its promises."""


class DiskRolledBack(Exception):
    """The data folder is an old copy: the member must stop before anything leaves, and come back as damaged."""


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """Name what fails inside as the disk's."""
    try:
        yield
    except OSError as error:
        raise DiskFailed(str(error)) from error


class Runner:
    """A core with its disk and wires."""

    def __init__(
        self,
        core: NodeCore,
        storage: Storage,
        transport: wires.NodeTransport,
        results: trio.MemorySendChannel[ResultReady] | None,
        evidence: Path,
    ) -> None:
        self._core = core
        self._storage = storage
        self._snapshot = Snapshots(core, storage)
        self._transport = transport
        self._results = results
        self._faults: Counter[tuple[int, str]] = Counter()
        self._evidence = evidence
        self._sync_s = 0.0
        self._last_ms = 0
        self.inbox = Inbox()
        self.between_rounds = False
        """Every effect so far is carried out."""

    def now_ms(self) -> int:
        """Wall-clock milliseconds, never going backwards."""
        self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
        return self._last_ms

    async def run(self, recovered: list[core_effects.Effect]) -> None:
        """Rounds, until cancelled; ``recovered`` is what the core's recovery brought forth. Raises
        :class:`ResultMismatch`."""
        core = self._core
        await self._carry_out(recovered + core.start(self.now_ms()))
        while True:
            with _disk():
                self._snapshot.between_rounds()
            gathered: list[core_effects.Effect] = []
            for event in self.inbox.take():
                gathered += core.step(event, self.now_ms())
            if core.has_work():
                gathered += core.work(self.now_ms())
            gathered += core.flush(self.now_ms())
            await self._carry_out(gathered)
            self.between_rounds = True
            if self.inbox or core.has_work():
                await trio.lowlevel.checkpoint()
            else:
                await self.inbox.wait(max(0, core.wake_at_ms() - self.now_ms()) / 1_000)
            self.between_rounds = False

    async def _carry_out(self, gathered: list[core_effects.Effect]) -> None:
        records = [one.record for one in gathered if isinstance(one, core_effects.Persist)]
        with _disk():
            for one in gathered:
                if isinstance(one, core_effects.Append):
                    self._storage.append(one.entry)
            if records:
                self._storage.journal.append_many([encode(record) for record in records])
                # what binds to nothing need not wait for the disk: it is synced with what comes next
                if any(not isinstance(record, core_effects.UNBINDING) for record in records):
                    await self._sync()
        for one in gathered:
            if isinstance(one, core_effects.RolledBack):
                raise DiskRolledBack(one.detail)
        for one in gathered:
            self._send(one)
            if isinstance(one, core_effects.Evidence):
                await self._keep(one)

    async def _sync(self) -> None:
        began = time.perf_counter()
        if self._sync_s < INLINE_SYNC_S_MAX:
            self._storage.journal.sync()
        else:
            await trio.to_thread.run_sync(self._storage.journal.sync)
        self._sync_s = 0.9 * self._sync_s + 0.1 * (time.perf_counter() - began)

    async def _keep(self, found: core_effects.Evidence) -> None:
        """Write evidence to its file; there is at most one per member and kind, so this is rare."""
        logger.error("member %d is convicted of %s: %s", found.node, found.kind, found.detail)
        write = partial(write_evidence, self._evidence, found.offence, self._core.committee)
        try:
            path = await trio.to_thread.run_sync(write)
        except ConfigError as error:
            logger.error("the evidence cannot be kept: %s", error)
        else:
            logger.error("evidence against member %d: %s", found.node, path)

    def _send(self, effect: core_effects.Effect) -> None:
        match effect:
            case core_effects.Broadcast(message):
                self._transport.peers.broadcast(encode(message))
            case core_effects.Send(node, message):
                self._transport.peers.send(node, encode(message))
            case core_effects.ServeLog(node, asked):
                self._transport.peers.send(node, encode(self._storage.serve(asked)))
            case core_effects.Reply(client, reply):
                if isinstance(reply, StatusReply):
                    reply = msgspec.structs.replace(reply, cpu_us=_cpu_us(), memory_bytes=_memory_bytes())
                self._transport.clients.reply(client, encode(reply))
            case core_effects.Settle(number, signed):
                self._settle(number, signed)
            case core_effects.Fault(node, code, detail):
                self._faults[node, code] += 1
                if self._faults[node, code] <= FAULTS_LOGGED_PER_CODE:
                    logger.warning("member %d: %s", node, detail)

    def _settle(self, number: int, signed: object) -> None:
        if self._results is None or not isinstance(signed, SignedResult):
            return
        try:
            self._results.send_nowait(ResultReady(number - 1, signed))
        except trio.WouldBlock:
            logger.error("settlement range %d is dropped: the chain has not answered for too long", number)

    async def checkpoints(self) -> None:
        """Sign the audit log every CHECKPOINT_INTERVAL_S; write a snapshot instead where one is due."""
        while True:
            await trio.sleep(CHECKPOINT_INTERVAL_S)
            if self._snapshot.due(self.now_ms()):
                self.inbox.wake()
                work = (await self._snapshot.prepared()).run
            else:
                while not self.between_rounds:  # a receipt whose record is not durable yet must not be signed
                    await trio.sleep(ROUND_POLL_S)
                work = partial(self._storage.log.prepare_checkpoint().run, sync=True)
            with trio.CancelScope(shield=True), _disk():
                await trio.to_thread.run_sync(work)

    async def settled(self, channel: trio.MemoryReceiveChannel[Settled]) -> None:
        """Tell the core what the chain holds."""
        async for one in channel:
            seen = core_effects.SettlementSeen(
                one.last_height, one.transaction_hash or ZERO_HASH, one.gas_used or 0
            )
            self.inbox.put(self.inbox.peers, seen)


def _cpu_us() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 1_000_000)


def _memory_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def run_node(
    folder: Path, passphrase: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> int:
    """Run the member whose node.json is in ``folder`` until SIGTERM, SIGINT or cancellation; the exit status.

    Raises :class:`ConfigError` for all that keeps it from starting. ``task_status`` gets the port.
    """
    config = load_node_config(folder / "node.json")
    file = load_committee(config.committee)
    check_index(config, file)
    opened = open_keystore(config.keystore, passphrase)
    signer, share = check_identity(config, file, opened)
    origin = partial(log_origin, file.committee.genesis_id, config.index)
    storage = await trio.to_thread.run_sync(
        Storage, config.data, origin, opened.log_seed, file.genesis.checkpoint
    )
    try:
        # a member that comes back has them in its log, and needs no chain to go on
        inputs = None if storage.fresh else storage.chain_inputs()
        if inputs is None:
            inputs = await trio.to_thread.run_sync(read_inputs, config, file)
        file.committee.sealing_key.prepare()  # tables that would hold up the first round otherwise
        core = NodeCore(file.committee, config.index, signer, share, inputs, secrets.token_bytes(32))
        recovered = await trio.to_thread.run_sync(_recover, core, storage, config.data / EVIDENCE_FOLDER)
        transport = wires.NodeTransport(file, config.index, opened.log_seed)
        port = await transport.bind(config.listen_host, config.listen_port)
        task_status.started(port)
        logger.info("member %d of %d listens at port %d", config.index, file.committee.n, port)
        return await _serve(core, storage, recovered, transport, config, file)
    finally:
        share.erase()
        storage.close()


def _recover(core: NodeCore, storage: Storage, evidence: Path) -> list[core_effects.Effect]:
    """Bring a core to where its disk leaves it. Blocking."""
    for path in sorted(evidence.glob("*.evidence")):
        core.convictions.recall(read_evidence(path))
    if storage.fresh:
        return []
    began = time.perf_counter()
    if storage.damaged:
        logger.error("this member starts damaged and signs nothing until its peers have moved on: %s", storage.damaged)
    now_ms = time.time_ns() // 1_000_000
    try:
        effects = recover(
            core,
            storage.snapshot,
            () if storage.damaged else storage.journal_records(),
            storage.log_entries(),
            now_ms,
            damaged=bool(storage.damaged),
        )
    except (ValueError, ThresholdError) as error:
        # whole, but not what this member writes: another's folder, or another version's; nothing is given up for it
        hint = "point node.json at this member's own data folder, or run the version that wrote it"
        raise ConfigError(f"the data folder does not fit this member: {error}", hint) from error
    storage.snapshot = None
    logger.info(
        "back at height %d, view %d after %.1f s",
        core.chain.final_height,
        core.simplex.view,
        time.perf_counter() - began,
    )
    return effects


async def _serve(
    core: NodeCore,
    storage: Storage,
    recovered: list[core_effects.Effect],
    transport: wires.NodeTransport,
    config: NodeConfig,
    file: CommitteeFile,
) -> int:
    results_in: trio.MemorySendChannel[ResultReady] | None = None
    status = 0
    try:
        async with trio.open_nursery() as nursery:
            if config.submitter.enabled and config.submitter.key_file is not None and config.chain_url:
                results_in, results_out = trio.open_memory_channel[ResultReady](RESULTS_BUFFERED_MAX)
                settled_in, settled_out = trio.open_memory_channel[Settled](RESULTS_BUFFERED_MAX)
            runner = Runner(core, storage, transport, results_in, config.data / EVIDENCE_FOLDER)
            if results_in is not None:
                from mpc_sequencer.settlement.chain import ChainClient

                chain = ChainClient(config.chain_url or "", file.genesis.settlement)
                state = SubmitterState(file.committee.n, config.index)
                secret = read_key_file(config.submitter.key_file or Path())
                nursery.start_soon(runner.settled, settled_out)
                nursery.start_soon(
                    lambda: run_submitter(state, chain, secret, results_out, settled_in, warn=logger.warning)
                )
            nursery.start_soon(_until_signal, nursery.cancel_scope)
            nursery.start_soon(transport.run)
            nursery.start_soon(runner.checkpoints)
            nursery.start_soon(runner.inbox.pump, transport.peers.events, runner.inbox.peers)
            nursery.start_soon(runner.inbox.pump, transport.clients.events, runner.inbox.clients)
            nursery.start_soon(runner.run, recovered)
    except* ResultMismatch as group:
        for error in group.exceptions:
            logger.critical("this member stops signing: %s", error)
        status = EXIT_RESULT_MISMATCH
    except* DiskFailed as failed:
        for fault in failed.exceptions:
            logger.critical("this member stops, for what it says must be on disk first: %s", fault)
        status = EXIT_DISK
    except* DiskRolledBack as found:
        for seen in found.exceptions:
            logger.critical("%s; it gives the folder up, and starts damaged when it is started again", seen)
        status = EXIT_ROLLED_BACK
    if status != EXIT_DISK:
        try:
            if status == EXIT_ROLLED_BACK:
                storage.give_up()
            else:
                storage.finish(core if runner.between_rounds else None)
        except OSError as error:
            logger.critical("the disk failed at the end: %s", error)
            status = EXIT_DISK
    return status


async def _until_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("stopping on %s", signal.Signals(number).name)
            scope.cancel()
            return
