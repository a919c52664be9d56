"""The node process: the pure core between its inbox, its disk and its wires.

One rule, said once: **persist, then send.** A round takes what has arrived, steps the core, writes journal
records and log entries, syncs the journal, and only then lets messages leave. Nothing else in the shell sends
protocol messages.

The loop yields to the network between rounds and does one chunk of cryptography per round, or BEHIND_WORK_S of it
where the member is behind, so it is never away for more than a few milliseconds. A journal whose sync is slow
is synced in a worker thread; meanwhile events queue, and what they bring forth is written together with the
next sync (group commit).
"""

from __future__ import annotations

import contextlib
import gc
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
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.status import executed_reply
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.node import transport as wires
from mpc_sequencer.node.chain_side import CHAIN_DELAY_S, serve_chain
from mpc_sequencer.node.config import CommitteeFile, NodeConfig, check_index, load_committee, load_node_config
from mpc_sequencer.node.evidence_files import FOLDER as EVIDENCE_FOLDER
from mpc_sequencer.node.evidence_files import read_evidence, write_evidence
from mpc_sequencer.node.inbox import Inbox
from mpc_sequencer.node.keystore import NodeSecrets, open_keystore
from mpc_sequencer.node.phases import StartPhases, tell_ready
from mpc_sequencer.node.remote_signer import SignerFailed
from mpc_sequencer.node.snapshots import Snapshots
from mpc_sequencer.node.startup import (
    check_share,
    check_signer,
    keep_inputs,
    kept_inputs,
    open_vault,
    read_inputs,
)
from mpc_sequencer.node.storage import Storage
from mpc_sequencer.node.vault import Vault
from mpc_sequencer.settlement.payloads import SignedResult
from mpc_sequencer.settlement.submitter import ResultReady, Settled
from threshold import SecretShare, ThresholdError

CHECKPOINT_INTERVAL_S: Final = 2.0
ROUND_POLL_S: Final = 0.002
BEHIND_WORK_S: Final = 0.01
INLINE_SYNC_S_MAX: Final = 0.002  # a journal slower than this is synced in a worker thread
FAULTS_LOGGED_PER_CODE: Final = 20
RESULTS_BUFFERED_MAX: Final = 1_024
GARBAGE_THRESHOLDS: Final = (20_000, 20, 20)
"""Hardly anything a member makes is in a cycle: looking for cycles as often as Python does took one part in 40."""
EXIT_RESULT_MISMATCH: Final = 3
EXIT_DISK: Final = 4
EXIT_ROLLED_BACK: Final = 5
EXIT_SIGNER: Final = 6

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
        vault: Vault,
        transport: wires.NodeTransport,
        results: trio.MemorySendChannel[ResultReady] | None,
        evidence: Path,
    ) -> None:
        self._core = core
        self._storage = storage
        self._vault = vault
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
            gathered += self._work()
            gathered += core.flush(self.now_ms())
            await self._carry_out(gathered)
            self.between_rounds = True
            if self.inbox or core.has_work():
                await trio.lowlevel.checkpoint()
            else:
                await self.inbox.wait(max(0, core.wake_at_ms() - self.now_ms()) / 1_000)
            self.between_rounds = False

    def _work(self) -> list[core_effects.Effect]:
        """A chunk of the core's work. A member that is behind does several, for every round may cost it a sync of the
        journal, which would be longer than the chunk."""
        core = self._core
        if not core.has_work():
            return []
        gathered = core.work(self.now_ms())
        began = time.perf_counter()
        while not core.even and core.has_work() and time.perf_counter() - began < BEHIND_WORK_S:
            gathered += core.work(self.now_ms())
        return gathered

    async def _carry_out(self, gathered: list[core_effects.Effect]) -> None:
        records = [one.record for one in gathered if isinstance(one, core_effects.Persist)]
        with _disk():
            for one in gathered:
                if isinstance(one, core_effects.Append):
                    self._storage.append(one.entry)
                elif isinstance(one, core_effects.KeepSecret):  # a few in a member's life
                    self._vault.put(one.name, one.secret)
                    logger.info("%s is in the vault", one.name)
                elif isinstance(one, core_effects.Outcomes):
                    self._storage.outcomes.add(one.height, one.rows)
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
            elif isinstance(one, core_effects.EraseSecret):
                with _disk():
                    self._vault.erase(one.name)
                logger.info("%s is erased", one.name)

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
            case core_effects.Recall(client, otherwise):
                known = self._storage.outcomes.get(otherwise.order_id)
                found = otherwise if known is None else executed_reply(otherwise.request, *known)
                self._transport.clients.reply(client, encode(found))
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
    phases = StartPhases()
    config = load_node_config(folder / "node.json")
    file = load_committee(config.committee)
    check_index(config, file)
    opened = open_keystore(config.keystore, passphrase)
    signer = check_signer(config, file, opened)
    vault = open_vault(config, opened)
    try:
        share = check_share(config, file, vault)
        phases.end("keys")
        return await _run_member(folder, config, file, opened, signer, vault, share, phases, task_status)
    finally:
        vault.close()


async def _run_member(
    folder: Path,
    config: NodeConfig,
    file: CommitteeFile,
    opened: NodeSecrets,
    signer: Signer,
    vault: Vault,
    share: SecretShare | None,
    phases: StartPhases,
    task_status: trio.TaskStatus[int],
) -> int:
    origin = partial(log_origin, file.committee.genesis_id, config.index)
    storage = await trio.to_thread.run_sync(
        Storage, config.data, origin, opened.log_seed, file.genesis.checkpoint
    )
    phases.end("disk")
    try:
        # a member that comes back has them in its log, and needs no chain to go on
        inputs = None if storage.fresh else storage.chain_inputs()
        if inputs is None and not storage.fresh:
            inputs = kept_inputs(folder, file.genesis.checkpoint)
        if inputs is None:
            inputs = await trio.to_thread.run_sync(read_inputs, config, file)
            await trio.to_thread.run_sync(keep_inputs, folder, inputs)
        kept = {name: bytes(vault.get(name) or b"") for name in vault.names()}
        core = NodeCore(file.committee, config.index, signer, share, inputs, secrets.token_bytes(32), kept)
        if core.committee.keys is not None:
            core.committee.sealing_key.prepare()  # tables that would hold up the first round otherwise
        recovered = await trio.to_thread.run_sync(_recover, core, storage, config.data / EVIDENCE_FOLDER)
        transport = wires.NodeTransport(file, config.index, opened.log_seed)
        port = await transport.bind(config.listen_host, config.listen_port)
        task_status.started(port)
        logger.info("member %d of %d listens at port %d", config.index, file.committee.n, port)
        gc.collect()
        gc.freeze()  # modules, tables and the recovered state stay: they are not looked through again
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        phases.end("state")
        return await _serve(core, storage, vault, recovered, transport, config, file, phases)
    finally:
        if share is not None:
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
    vault: Vault,
    recovered: list[core_effects.Effect],
    transport: wires.NodeTransport,
    config: NodeConfig,
    file: CommitteeFile,
    phases: StartPhases,
) -> int:
    came_back_at = core.chain.final_height
    results_in: trio.MemorySendChannel[ResultReady] | None = None
    status = 0
    try:
        async with trio.open_nursery() as nursery:
            if config.submitter.enabled and config.submitter.key_file is not None and config.chain_url:
                results_in, results_out = trio.open_memory_channel[ResultReady](RESULTS_BUFFERED_MAX)
                settled_in, settled_out = trio.open_memory_channel[Settled](RESULTS_BUFFERED_MAX)
            runner = Runner(core, storage, vault, transport, results_in, config.data / EVIDENCE_FOLDER)
            if results_in is not None:
                delay_s = 0.0 if storage.fresh else CHAIN_DELAY_S
                nursery.start_soon(runner.settled, settled_out)
                nursery.start_soon(partial(serve_chain, config, file, results_out, settled_in, delay_s=delay_s))
            nursery.start_soon(_until_signal, nursery.cancel_scope)
            nursery.start_soon(transport.run)
            nursery.start_soon(runner.checkpoints)
            nursery.start_soon(runner.inbox.pump, transport.peers.events, runner.inbox.peers)
            nursery.start_soon(runner.inbox.pump, transport.clients.events, runner.inbox.clients)
            nursery.start_soon(runner.run, recovered)
            nursery.start_soon(
                tell_ready,
                phases,
                lambda: len(transport.peers.connected) + 1 >= file.committee.q,
                lambda: core.even and core.chain.final_height > came_back_at,
            )
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
    except* SignerFailed as gone:
        for why in gone.exceptions:
            logger.critical("this member stops, for it cannot sign: %s", why)
        status = EXIT_SIGNER
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
