"""The node process: from a member's files to a running member, and what ends it.

The order of a start: files, keys, the data folder, which says in which epoch the member is, the core brought to where
the disk leaves it, then links. Each way
to end has an exit status of its own, so that a supervisor knows whether to start the member again.
"""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import trio

from mpc_sequencer.core import effects as core_effects
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.execution import ResultMismatch
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import recover, take_up_log
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.matching.store import StreamStore
from mpc_sequencer.node import tls
from mpc_sequencer.node import transport as wires
from mpc_sequencer.node.chain_side import serve_chain
from mpc_sequencer.node.config import CommitteeFile, NodeConfig, check_index, load_committee, load_node_config
from mpc_sequencer.node.epochs import Cores, committee_of, recall_convictions
from mpc_sequencer.node.evidence_files import FOLDER as EVIDENCE_FOLDER
from mpc_sequencer.node.keystore import NodeSecrets, open_keystore
from mpc_sequencer.node.phases import StartPhases, tell_ready
from mpc_sequencer.node.proposals import Proposals
from mpc_sequencer.node.remote_signer import SignerFailed
from mpc_sequencer.node.runner import DiskFailed, DiskRolledBack, Runner, tell_place
from mpc_sequencer.node.startup import (
    check_share,
    check_signer,
    keep_inputs,
    kept_inputs,
    open_vault,
    read_inputs,
)
from mpc_sequencer.node.storage import Storage
from mpc_sequencer.node.streaming import STREAM_FILE, Served
from mpc_sequencer.node.vault import Vault
from mpc_sequencer.node.warming import DELAY_S, warm_up
from mpc_sequencer.settlement.submitter_events import Settled
from mpc_sequencer.settlement.submitter_run import News
from threshold import SecretShare, ThresholdError

RESULTS_BUFFERED_MAX: Final = 1_024
GARBAGE_THRESHOLDS: Final = (20_000, 20, 20)
"""Hardly anything a member makes is in a cycle: looking for cycles as often as Python does took one part in 40."""
EXIT_RESULT_MISMATCH: Final = 3
EXIT_DISK: Final = 4
EXIT_ROLLED_BACK: Final = 5
EXIT_SIGNER: Final = 6
ENDINGS: Final[Mapping[type[Exception], tuple[int, str]]] = {
    ResultMismatch: (EXIT_RESULT_MISMATCH, "this member stops signing: %s"),
    DiskFailed: (EXIT_DISK, "this member stops, for what it says must be on disk first: %s"),
    DiskRolledBack: (EXIT_ROLLED_BACK, "%s; it gives the folder up, and starts damaged when it is started again"),
    SignerFailed: (EXIT_SIGNER, "this member stops, for it cannot sign: %s"),
}
"""What ends a running member: exit status, and what its log says. Where several come at once, the last of the table
gives the status. Anything else is a fault of this program and is raised."""

logger = logging.getLogger("mpc_sequencer.node")


async def run_node(
    folder: Path,
    passphrase: str,
    *,
    stream: tuple[str, int] | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Run the member whose node.json is in ``folder`` until SIGTERM, SIGINT or cancellation; the exit status.
    ``stream`` is host and port at which it serves an outside matching engine.

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
        phases.end("keys")
        return await _run_member(folder, config, file, opened, signer, vault, phases, task_status, stream)
    finally:
        vault.close()


async def _run_member(
    folder: Path,
    config: NodeConfig,
    file: CommitteeFile,
    opened: NodeSecrets,
    signer: Signer,
    vault: Vault,
    phases: StartPhases,
    task_status: trio.TaskStatus[int],
    stream_at: tuple[str, int] | None,
) -> int:
    log_key = tls.log_key(opened.log_seed)
    origin = partial(log_origin, file.committee.genesis_id, log_key)
    storage = await trio.to_thread.run_sync(
        Storage, config.data, origin, opened.log_seed, file.genesis.checkpoint
    )
    phases.end("disk")
    share: SecretShare | None = None
    stream = None
    try:
        if stream_at is not None:
            open_store = partial(StreamStore, config.data / STREAM_FILE, file.genesis.markets)
            stream = Served(await trio.to_thread.run_sync(open_store), file.committee.genesis_id, *stream_at)
        committee = await trio.to_thread.run_sync(committee_of, file.committee, storage.snapshot)
        if committee.origin is None:
            share = check_share(config, file, vault, damaged=bool(storage.damaged))
        # a member that comes back has them in its log, and needs no chain to go on
        inputs = None if storage.fresh else storage.chain_inputs()
        if inputs is None and (not storage.fresh or config.index is None):  # who joins may be given the copy
            inputs = kept_inputs(folder, file.genesis.checkpoint)
        if inputs is None:
            inputs = await trio.to_thread.run_sync(read_inputs, config, file)
            await trio.to_thread.run_sync(keep_inputs, folder, inputs)
        cores = Cores(file.committee, signer, log_key, inputs, vault, share)
        cores.feeding = stream is not None
        core = cores.make(committee)
        if core.committee.keys is not None:
            core.committee.sealing_key.prepare()  # tables that would hold up the first round otherwise
        proposals = Proposals(folder)
        core, recovered = await trio.to_thread.run_sync(
            _recover, core, cores, storage, vault, config.data / EVIDENCE_FOLDER, proposals
        )
        transport = wires.NodeTransport(file, config.index, opened.log_seed)
        transport.enter(core.committee)
        port = await transport.bind(config.listen_host, config.listen_port)
        task_status.started(port)
        logger.info("listening at port %d", port)
        tell_place(core)
        gc.collect()
        gc.freeze()  # modules, tables and the recovered state stay: they are not looked through again
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        phases.end("state")
        feed = None if stream is None else stream.feed
        runner_of = partial(Runner, core, storage, vault, transport, cores=cores, proposals=proposals, stream=feed)
        return await _serve(runner_of, proposals, recovered, storage, transport, config, file, phases, stream)
    finally:
        if stream is not None:
            stream.close()
        if share is not None:
            share.erase()
        storage.close()


def _recover(
    core: NodeCore, cores: Cores, storage: Storage, vault: Vault, evidence: Path, proposals: Proposals
) -> tuple[NodeCore, list[core_effects.Effect]]:
    """Bring a core to where its disk leaves it; where that is in a later epoch, the core of that one. Blocking."""
    recall_convictions(core, evidence)
    if storage.fresh:
        return core, []
    began = time.perf_counter()
    if storage.damaged:
        logger.error("this member starts damaged and signs nothing until its peers have moved on: %s", storage.damaged)
    now_ms = time.time_ns() // 1_000_000
    log = storage.log_entries()
    try:
        effects = recover(
            core,
            storage.snapshot,
            () if storage.damaged else storage.journal_records(),
            log,
            now_ms,
            damaged=bool(storage.damaged),
        )
        first = core
        while core.over:  # it stopped at the end of an epoch, or its snapshot was lost and the log leads on
            proposals.put_aside(core.committee.epoch)
            effects = _keep_recovered(storage, vault, effects)
            core, _ = cores.follow(core, now_ms)
            recall_convictions(core, evidence)
            effects += take_up_log(core, log, now_ms)
        if core is not first:
            effects = _keep_recovered(storage, vault, effects)
            storage.prepare_snapshot(core).run()
    except (ValueError, ThresholdError) as error:
        # whole, but not what this member writes: another's folder, or another version's; nothing is given up for it
        hint = "point node.json at this member's own data folder, or run the version that wrote it"
        raise ConfigError(f"the data folder does not fit this member: {error}", hint) from error
    except (OSError, ResultMismatch) as error:
        raise ConfigError(f"the member cannot go over to the next epoch: {error}", "read its log") from error
    storage.snapshot = None
    logger.info(
        "back at height %d, view %d after %.1f s",
        core.chain.final_height,
        core.simplex.view,
        time.perf_counter() - began,
    )
    return core, effects


def _keep_recovered(
    storage: Storage, vault: Vault, effects: Iterable[core_effects.Effect]
) -> list[core_effects.Effect]:
    """Keep what a recovery across epochs brought forth, for a snapshot that follows at once and makes records of the
    journal needless; what is left to be carried out. Raises ``OSError``."""
    left: list[core_effects.Effect] = []
    for one in effects:
        match one:
            case core_effects.Append(entry):
                storage.append(entry)
            case core_effects.KeepSecret(name, secret):
                vault.put(name, secret)
            case core_effects.Outcomes(height, rows, updates):
                storage.outcomes.add(height, rows, updates)
            case core_effects.Persist():
                pass
            case _:
                left.append(one)
    return left


async def _serve(
    runner_of: partial[Runner],
    proposals: Proposals,
    recovered: list[core_effects.Effect],
    storage: Storage,
    transport: wires.NodeTransport,
    config: NodeConfig,
    file: CommitteeFile,
    phases: StartPhases,
    stream: Served | None,
) -> int:
    submits = config.submitter.enabled and config.submitter.key_file is not None and config.chain_url is not None
    news_in, news_out = trio.open_memory_channel[News](RESULTS_BUFFERED_MAX)
    settled_in, settled_out = trio.open_memory_channel[Settled](RESULTS_BUFFERED_MAX)
    status = 0
    try:
        async with trio.open_nursery() as nursery:
            runner = runner_of(news=news_in if submits else None, evidence=config.data / EVIDENCE_FOLDER)
            came_back_at = runner.core.chain.final_height
            delay_s = 0.0 if storage.fresh else DELAY_S
            nursery.start_soon(warm_up, delay_s)
            if config.chain_url is not None:
                chain = partial(serve_chain, config, file, news_out, settled_in, delay_s=delay_s)
                nursery.start_soon(runner.settled, settled_out)
                nursery.start_soon(chain, runner.chain_told, runner.chain_seen)
            nursery.start_soon(_until_signal, nursery.cancel_scope)
            nursery.start_soon(transport.run)
            nursery.start_soon(runner.checkpoints)
            nursery.start_soon(runner.inbox.pump, transport.peers.events, runner.inbox.peers)
            nursery.start_soon(runner.inbox.pump, transport.clients.events, runner.inbox.clients)
            if stream is not None:
                nursery.start_soon(stream.run)
            nursery.start_soon(runner.run, recovered)
            nursery.start_soon(proposals.watch, runner.propose)
            nursery.start_soon(
                tell_ready,
                phases,
                lambda: len(transport.peers.connected) + 1 >= runner.core.committee.q,
                lambda: runner.core.even and runner.core.chain.final_height > came_back_at,
            )
    except* tuple(ENDINGS) as ended:
        status = ending_status(ended)
    if status != EXIT_DISK:
        try:
            if status == EXIT_ROLLED_BACK:
                storage.give_up()
            else:
                storage.finish(runner.core if runner.between_rounds else None)
                runner.erase_retired()
        except (OSError, DiskFailed) as error:
            logger.critical("the disk failed at the end: %s", error)
            status = EXIT_DISK
    return status


def ending_status(ended: BaseExceptionGroup[Exception]) -> int:
    """The exit status of a member that ended with these exceptions, all of ENDINGS; says each in the log."""
    status = 0
    for kind, (kind_status, text) in ENDINGS.items():
        found = ended.subgroup(kind)  # a nursery within a nursery groups within a group
        if found is not None:
            status = kind_status
            for error in found.exceptions:
                logger.critical(text, error)
    return status


async def _until_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("stopping on %s", signal.Signals(number).name)
            scope.cancel()
            return
