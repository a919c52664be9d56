"""A running member: the pure core between its inbox, its disk and its wires.

One rule, said once: **persist, then send.** A round takes what has arrived, steps the core, writes journal
records and log entries, syncs the journal, and only then lets messages leave. Nothing else in the shell sends
protocol messages.

Where an epoch is over the member goes over to the next one between two rounds, with a new core on the same disk and
wires: the epoch's first snapshot is on disk before anything of it is kept or sent.

The loop yields to the network between rounds and does one chunk of cryptography per round, or BEHIND_WORK_S of it
where the member is behind or loaded, so it is never away for more than a few milliseconds. To be woken, to sync and
to look at every link cost the same for one message as for twenty, and under load they would cost a member as much as
a third of its cryptography: so a loaded member that has nothing left to do stays away for ROUND_INTERVAL_LOADED_S,
sockets and all, and then takes together what has arrived. A member that is too busy to pause never does. A journal
whose sync is slow is synced in a worker thread; meanwhile events queue, and what they bring forth is written together
with the next sync (group commit).
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from mpc_sequencer.core import effects as core_effects
from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.messages import StatusReply
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.peers import ACROSS_EPOCHS
from mpc_sequencer.core.status import recalled
from mpc_sequencer.core.types import ZERO_HASH, Checkpoint, NextCommittee
from mpc_sequencer.matching.run import fair_batch
from mpc_sequencer.matching.stream import MatchingStream
from mpc_sequencer.node import transport as wires
from mpc_sequencer.node.chain_side import standing
from mpc_sequencer.node.epochs import Cores, evidence_folder
from mpc_sequencer.node.evidence_files import write_evidence
from mpc_sequencer.node.inbox import Inbox
from mpc_sequencer.node.proposals import Proposals
from mpc_sequencer.node.snapshots import Snapshots
from mpc_sequencer.node.storage import Storage
from mpc_sequencer.node.vault import Vault
from mpc_sequencer.settlement.submitter_events import CommitKnown, ResultKnown, Settled
from mpc_sequencer.settlement.submitter_run import News

CHECKPOINT_INTERVAL_S: Final = 2.0
ROUND_POLL_S: Final = 0.002
BEHIND_WORK_S: Final = 0.01
ROUND_INTERVAL_LOADED_S: Final = 0.02
PASSES_IN: Final = 3  # of the scheduler, until what the sockets hold is in the inbox; what is queued leaves in one
INLINE_SYNC_S_MAX: Final = 0.005  # a journal slower than this is synced in a worker thread
FAULTS_LOGGED_PER_CODE: Final = 20

logger = logging.getLogger("mpc_sequencer.node")


class DiskFailed(Exception):
    """The disk refused a write: the member must stop, for it cannot keep its promises."""


class DiskRolledBack(Exception):
    """The data folder is an old copy: the member must stop before anything leaves, and come back as damaged."""


@contextlib.contextmanager
def on_disk() -> Iterator[None]:
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
        news: trio.MemorySendChannel[News] | None,
        evidence: Path,
        cores: Cores | None = None,
        proposals: Proposals | None = None,
        stream: MatchingStream | None = None,
    ) -> None:
        """``evidence`` is the folder for the first epoch's; ``cores`` makes the cores of later epochs; ``stream`` feeds
        an outside matching engine."""
        self._stream = stream
        self._core = core
        self._cores = cores
        self._proposals = proposals
        self._joiners = len(core.committee.joiners)
        self._storage = storage
        self._vault = vault
        self._snapshot = Snapshots(core, storage)
        self._transport = transport
        self._news = news
        self._faults: Counter[tuple[int, str]] = Counter()
        self._evidence = evidence
        self._settled_through = self._committed_through = 0
        """The last settlement range whose result, or order commit, was handed out."""
        self._writing = trio.Lock()
        """Whose turn it is to write checkpoint or snapshot."""
        self._retired: list[str] = []
        """Secrets to erase once the audit log is durable as it is now."""
        self._sync_s = 0.0
        self._last_ms = 0
        self.inbox = Inbox(core.committee.epoch)
        self.between_rounds = False
        """Every effect so far is carried out."""

    @property
    def core(self) -> NodeCore:
        """The core of the epoch that the member is in."""
        return self._core

    def now_ms(self) -> int:
        """Wall-clock milliseconds, never going backwards."""
        self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
        return self._last_ms

    async def run(self, recovered: list[core_effects.Effect]) -> None:
        """Rounds, until cancelled; ``recovered`` is what the core's recovery brought forth. Raises
        :class:`ResultMismatch`."""
        self._tell_submitter(*standing(self._core.committee, self._core.node))
        await self._carry_out(recovered + self._core.start(self.now_ms()))
        while True:
            began_s = time.perf_counter()
            if self._core.over and self._cores is not None and not self._writing.locked():
                await self._go_over(self._cores)
            core = self._core
            with on_disk():
                self._snapshot.between_rounds()
            gathered: list[core_effects.Effect] = []
            for event in self.inbox.take():
                gathered += core.step(event, self.now_ms())
            gathered += self._work()
            gathered += core.flush(self.now_ms())
            await self._carry_out(gathered)
            if self._joiners != len(core.committee.joiners):
                self._joiners = len(core.committee.joiners)
                self._transport.know_joiners()
            self.between_rounds = True
            if not core.has_work() and core.application.loaded():
                await self._gather(began_s)
            if self.inbox or core.has_work():
                await trio.lowlevel.checkpoint()
            else:
                await self.inbox.wait(self._idle_s())
            self.between_rounds = False

    def _idle_s(self) -> float:
        """How long the core needs no round though nothing happens."""
        return max(0, self._core.wake_at_ms() - self.now_ms()) / 1_000

    async def _gather(self, began_s: float) -> None:
        """Let what the round said leave, let messages gather, and take them in. The pause blocks on purpose: tasks that
        wait for their sockets would wake the process for every arrival, which is what it is to save."""
        await trio.lowlevel.checkpoint()
        pause_s = min(began_s + ROUND_INTERVAL_LOADED_S - time.perf_counter(), self._idle_s())
        if pause_s > 0:
            time.sleep(pause_s)
        for _ in range(PASSES_IN):
            await trio.lowlevel.checkpoint()

    async def _go_over(self, cores: Cores) -> None:
        """The epoch is over here, and every effect of it is carried out: go on in the next one."""
        before = self._core
        with trio.CancelScope(shield=True):  # half of it would leave a core without a disk
            async with self._writing:
                if self._proposals is not None:
                    self._proposals.put_aside(before.committee.epoch)
                with on_disk():
                    try:
                        core, snapshot = await trio.to_thread.run_sync(cores.follow, before, self.now_ms())
                    except ConfigError as error:
                        raise DiskFailed(str(error)) from error
                    await trio.to_thread.run_sync(self._storage.prepare_epoch(snapshot).run)
            self._core, self._joiners = core, 0
            self._snapshot = Snapshots(core, self._storage)
            self._faults.clear()
            core.gateway.inherit(before.gateway)
            core.proofs.inherit(before.proofs)
            self.inbox.enter(core.committee.epoch, self._transport.enter(core.committee))
        tell_place(core)
        self._tell_submitter(*standing(core.committee, core.node))
        await self._carry_out(core.collect() + core.start(self.now_ms()))
        self.erase_retired()

    def _work(self) -> list[core_effects.Effect]:
        """A chunk of the core's work. A member that is behind or loaded does several, for every round may cost it a
        sync of the journal and a look at every link, together more than the chunk."""
        core = self._core
        if not core.has_work():
            return []
        gathered = core.work(self.now_ms())
        began = time.perf_counter()
        several = core.application.loaded() or not core.even
        while several and core.has_work() and time.perf_counter() - began < BEHIND_WORK_S:
            gathered += core.work(self.now_ms())
        return gathered

    async def _carry_out(self, gathered: list[core_effects.Effect]) -> None:
        records: list[core_effects.Record] = []
        leaving: list[core_effects.Effect] = []
        with on_disk():
            for one in gathered:
                if isinstance(one, core_effects.Append):
                    self._storage.append(one.entry)
                elif isinstance(one, core_effects.Persist):
                    records.append(one.record)
                else:
                    leaving.append(one)
                    self._keep_first(one)
            if records:
                self._storage.journal.append_many([encode(record) for record in records])
                # what binds to nothing need not wait for the disk: it is synced with what comes next
                if any(not isinstance(record, core_effects.UNBINDING) for record in records):
                    await self._sync()
            if self._stream is not None:
                for one in leaving:
                    if isinstance(one, core_effects.Feed):
                        await self._stream.add(fair_batch(one.fed))
        for one in leaving:
            if isinstance(one, core_effects.RolledBack):
                raise DiskRolledBack(one.detail)
        for one in leaving:
            self._send(one)
            if isinstance(one, core_effects.Evidence):
                await self._keep(one)
            elif isinstance(one, core_effects.EraseSecret):
                self._erase([one.name])
            elif isinstance(one, core_effects.RetireSecret):
                self._retired.append(one.name)

    def _keep_first(self, one: core_effects.Effect) -> None:
        """What must be kept, or written, before anything of its round is sent, besides log and journal."""
        if isinstance(one, core_effects.KeepSecret):  # a few in a member's life
            self._vault.put(one.name, one.secret)
            logger.info("%s is in the vault", one.name)
        elif isinstance(one, core_effects.Outcomes):
            self._storage.outcomes.add(one.height, one.rows, one.updates)

    def _erase(self, names: Iterable[str]) -> None:
        for name in names:
            with on_disk():
                self._vault.erase(name)
            logger.info("%s is erased", name)

    def erase_retired(self, names: int | None = None) -> None:
        """The audit log is durable: erase what was retired before, the first ``names`` (None: all). Raises
        :class:`DiskFailed`."""
        done = self._retired[:names]
        self._retired = self._retired[len(done) :]
        self._erase(done)

    async def _sync(self) -> None:
        if self._sync_s < INLINE_SYNC_S_MAX:
            self._timed_sync()
        else:
            await trio.to_thread.run_sync(self._timed_sync)

    def _timed_sync(self) -> None:
        """What counts is the disk's own time: the way into a thread and back is longer on a busy machine."""
        began = time.perf_counter()
        self._storage.journal.sync()
        self._sync_s = 0.9 * self._sync_s + 0.1 * (time.perf_counter() - began)

    async def _keep(self, found: core_effects.Evidence) -> None:
        """Write evidence to its file; there is at most one per member and kind, so this is rare."""
        logger.error("member %d is convicted of %s: %s", found.node, found.kind, found.detail)
        folder = evidence_folder(self._evidence, self._core.committee)
        write = partial(write_evidence, folder, found.offence, self._core.committee)
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
                across = isinstance(message, ACROSS_EPOCHS)
                self._transport.peers.send(node, encode(message), across=across)
            case core_effects.ServeLog(node, asked):
                self._transport.peers.send(node, encode(self._storage.serve(asked)), across=True)
            case core_effects.Reply(client, reply):
                if isinstance(reply, StatusReply):
                    reply = msgspec.structs.replace(reply, cpu_us=_cpu_us(), memory_bytes=_memory_bytes())
                self._transport.clients.reply(client, encode(reply))
            case core_effects.Recall(client, otherwise, after_height):
                kept = self._storage.outcomes
                updates = kept.updates(otherwise.order_id, after_height, limits.UPDATES_MAX + 1)
                found = recalled(otherwise, kept.get(otherwise.order_id), updates)
                self._transport.clients.reply(client, encode(found))
            case core_effects.CommitReady(number, commit):
                if number > self._committed_through:
                    self._committed_through = number
                    self._tell_submitter(CommitKnown(number, commit))
            case core_effects.Settle(number, result):
                if number > self._settled_through:  # a core that begins an epoch says again what it was not told of
                    self._settled_through = number
                    self._tell_submitter(ResultKnown(number, result))
            case core_effects.Fault(node, code, detail):
                self._faults[node, code] += 1
                if self._faults[node, code] <= FAULTS_LOGGED_PER_CODE:
                    logger.warning("member %d: %s", node, detail)

    def _tell_submitter(self, *news: News) -> None:
        """Hand on what is to be posted; the submitter keeps it on its disk."""
        if self._news is None:
            return
        for one in news:
            try:
                self._news.send_nowait(one)
            except trio.WouldBlock:
                logger.error("%s is not posted by this member: its submitter does not keep up", type(one).__name__)

    def chain_told(self) -> Checkpoint:
        """Up to where the core knows the chain."""
        return self._core.chain_view.newest

    def chain_seen(self, seen: core_effects.ChainSeen) -> None:
        """This member's own chain node has something new."""
        self.inbox.put(self.inbox.peers, seen)

    async def checkpoints(self) -> None:
        """Sign the audit log every CHECKPOINT_INTERVAL_S; write a snapshot instead where one is due."""
        while True:
            await trio.sleep(CHECKPOINT_INTERVAL_S)
            async with self._writing:
                retired = len(self._retired)  # what comes while the checkpoint is made waits for the next one
                if self._snapshot.due(self.now_ms()):
                    self.inbox.wake()
                    work = (await self._snapshot.prepared()).run
                else:
                    while not self.between_rounds:  # a receipt whose record is not durable yet must not be signed
                        await trio.sleep(ROUND_POLL_S)
                    work = partial(self._storage.log.prepare_checkpoint().run, sync=True)
                with trio.CancelScope(shield=True), on_disk():
                    await trio.to_thread.run_sync(work)
                self.erase_retired(retired)
            if self._core.over:
                self.inbox.wake()  # to go over, it waited for its turn to write

    async def settled(self, channel: trio.MemoryReceiveChannel[Settled]) -> None:
        """Tell the core what the chain holds."""
        async for one in channel:
            seen = core_effects.SettlementSeen(
                one.last_height, one.transaction_hash or ZERO_HASH, one.gas_used or 0
            )
            self.inbox.put(self.inbox.peers, seen)


    def propose(self, target: NextCommittee) -> None:
        """The operator's word for the next committee, in a member's name."""
        if self._core.node >= self._core.committee.n:
            logger.warning("a proposal counts only where its member has a place in the committee")
            return
        logger.info("this member approves %s to follow", target.committee_hash().hex())
        self.inbox.put(self.inbox.peers, core_effects.Approve(target))


def tell_place(core: NodeCore) -> None:
    """Say in the log which place the member has in its epoch."""
    committee = core.committee
    if core.node < committee.n:
        first = committee.anchor_height + 1
        logger.info("epoch %d: member %d of %d, from height %d on", committee.epoch, core.node, committee.n, first)
    else:
        text = "epoch %d: this node has no place in the committee; it follows, and serves its log, until it is stopped"
        logger.warning(text, committee.epoch)


def _cpu_us() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 1_000_000)


def _memory_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
