"""One simulated machine: a member's core with its clock, its disk and its power.

A host does what :class:`mpc_sequencer.node.runner.Runner` does around a core, in the same order. Its clock never goes
back: a step back of the machine's clock shows as a reading that stands still until the machine has caught up, and
the core's timers sleep in elapsed time, which no step touches. Its disk keeps what the core gave it in two files: the
journal, of which everything up to ``synced`` survives a loss of power, and the audit log, of which a signed checkpoint
covers everything up to ``checkpointed``. What lies behind these marks may be torn off when the machine goes down; where
only the process dies, the journal stays whole and the log still goes on from its checkpoint, as its last entries were
in memory. A snapshot is prepared between two rounds and written a while later; until then the one before it counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.cutover import succession
from mpc_sequencer.core.effects import (
    UNBINDING,
    Append,
    Broadcast,
    Effect,
    EraseSecret,
    Event,
    Evidence,
    Fault,
    KeepSecret,
    Outcomes,
    Persist,
    Record,
    RetireSecret,
    Send,
)
from mpc_sequencer.core.logslice import LogIndex, slice_log
from mpc_sequencer.core.messages import ExecutedRow, FetchLog, LogSlice, OrderReply
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import Relog, dump, recover, restore, take_up_log
from mpc_sequencer.core.status import recalled
from mpc_sequencer.core.transcript import LogEntry, entry_key

NextCore = Callable[["Host", Committee], NodeCore]
"""A core of the host's member for the committee of a later epoch."""
CHECKPOINT_INTERVAL_MS: Final = 2_000
"""As the runner's: how often the audit log is signed."""
LEAVING: Final = (Broadcast, Send)
"""The most frequent effects: no disk has to do with them."""


@dataclass(slots=True)
class Clock:
    """A member's view of time: ``skew_ms`` ahead of virtual time, by steps further, and never going back."""

    skew_ms: int = 0
    _stepped_ms: int = 0
    _last_ms: int = 0

    def step(self, by_ms: int) -> None:
        """The machine's clock is set, forwards or back."""
        self._stepped_ms += by_ms

    def read_ms(self, now_ms: int) -> int:
        """What the member sees at virtual time ``now_ms``."""
        self._last_ms = max(self._last_ms, now_ms + self.skew_ms + self._stepped_ms)
        return self._last_ms

    def reboot(self) -> None:
        """A new process does not know what the one before it has read."""
        self._last_ms = 0


@dataclass(frozen=True, slots=True)
class PreparedSnapshot:
    """What a snapshot will write: its bytes, the first journal record and log entry beside it, and how many log entries
    are signed before."""

    data: bytes
    record: int
    entry: int
    log_entries: int
    outcomes: dict[bytes, tuple[int, ExecutedRow]]
    updates: dict[tuple[bytes, int], ExecutedRow]


@dataclass(slots=True)
class Disk:
    """What a member has written, and how much of it is sure to be there after a loss of power."""

    records: list[Record] = field(default_factory=list)
    """The journal."""
    synced: int = 0
    """So many records are durable."""
    log: list[LogEntry] = field(default_factory=list)
    """The audit log."""
    checkpointed: int = 0
    """So many entries lie under a signed checkpoint."""
    concluded: int = 0
    """So many entries are of rounds whose records are durable: a checkpoint signs no more."""
    logs_lost: int = 0
    vault: dict[str, bytes] = field(default_factory=dict)
    """Secrets, beside the journal: a wiped disk leaves them."""
    retired: list[tuple[int, str]] = field(default_factory=list)
    """Secrets to erase once so many log entries are durable. The process knows, not the disk."""
    snapshot: bytes | None = None
    """The member's last snapshot."""
    snapshot_record: int = 0
    """The first record after it."""
    snapshot_entry: int = 0
    """The first log entry that is needed beside it."""
    index: LogIndex = field(default_factory=LogIndex)
    relog: Relog = field(default_factory=lambda: Relog(()))
    outcomes: dict[bytes, tuple[int, ExecutedRow]] = field(default_factory=dict)
    """What became of orders up to the snapshot."""
    fresh_outcomes: dict[bytes, tuple[int, ExecutedRow]] = field(default_factory=dict)
    """What became of orders since; written with the next snapshot."""
    updates: dict[tuple[bytes, int], ExecutedRow] = field(default_factory=dict)
    """What later heights did to orders, by order and height, up to the snapshot."""
    fresh_updates: dict[tuple[bytes, int], ExecutedRow] = field(default_factory=dict)
    _checkpoint_ms: int | None = None

    def prepare_snapshot(self, core: NodeCore) -> PreparedSnapshot:
        """As the storage does: between two rounds, and the journal is synced as its next segment begins."""
        data, height = dump(core)
        position = None if height is None else self.index.position_of(height)
        self.sync()
        entry = len(self.log) if position is None else position
        return self._prepared(data, entry)

    def _prepared(self, data: bytes, entry: int) -> PreparedSnapshot:
        fresh, updates = dict(self.fresh_outcomes), dict(self.fresh_updates)
        return PreparedSnapshot(data, len(self.records), entry, len(self.log), fresh, updates)

    def finish_snapshot(self, prepared: PreparedSnapshot) -> None:
        """The log is signed first, so that a snapshot never counts on lost entries."""
        self.sign_log(prepared.log_entries)
        self.outcomes.update(prepared.outcomes)
        for order_id in prepared.outcomes:
            self.fresh_outcomes.pop(order_id, None)
        self.updates.update(prepared.updates)
        for key in prepared.updates:
            self.fresh_updates.pop(key, None)
        self.snapshot = prepared.data
        self.snapshot_record, self.snapshot_entry = prepared.record, prepared.entry

    def begin_epoch(self, snapshot: bytes) -> None:
        """The next epoch's first snapshot, between two rounds: nothing before it is needed any more."""
        self.sync()
        self.finish_snapshot(self._prepared(snapshot, len(self.log)))

    def take_snapshot(self, core: NodeCore) -> None:
        """Prepare and write one at once."""
        self.finish_snapshot(self.prepare_snapshot(core))

    def sign_log(self, entries: int) -> None:
        """Write a checkpoint over the first ``entries`` of the log."""
        self.checkpointed = max(self.checkpointed, entries)
        for size, name in self.retired:
            if size <= self.checkpointed:
                self.vault.pop(name, None)
        self.retired = [one for one in self.retired if one[0] > self.checkpointed]

    def conclude(self) -> None:
        """A round is over: what it wrote to the journal is durable, or promises nothing."""
        self.concluded = len(self.log)

    def sync(self) -> None:
        """Make all records durable."""
        self.synced = len(self.records)

    def tear(self, rng: random.Random) -> None:
        """Power is gone: of what was not durable some first part is left."""
        self.records = self.records[: rng.randint(self.synced, len(self.records))]
        self._tear_log(rng)

    def stop_process(self, rng: random.Random) -> None:
        """The process is gone: what it had written to the journal is still there, and not durable yet."""
        self._tear_log(rng)

    def _tear_log(self, rng: random.Random) -> None:
        """The log goes on from its checkpoint, the last one or one that was being written."""
        self.fresh_outcomes, self.fresh_updates, self.retired = {}, {}, []
        end = rng.choice((self.checkpointed, max(self.checkpointed, self.concluded)))
        self.log = self.log[:end]
        self.checkpointed = self.concluded = end
        self._reindex()

    @property
    def damaged(self) -> bool:
        """Whether the log has lost entries that the snapshot needs."""
        return self.snapshot_entry > len(self.log)

    def wipe(self, *, keep_log: bool) -> None:
        """The journal is lost, and the snapshot with it; the log too, or not."""
        self.records, self.synced = [], 0
        self.outcomes, self.fresh_outcomes = {}, {}
        self.updates, self.fresh_updates = {}, {}
        self.snapshot, self.snapshot_record, self.snapshot_entry = None, 0, 0
        if not keep_log:
            self.log, self.checkpointed, self.concluded = [], 0, 0
            self.logs_lost += 1
        self._reindex()

    def _reindex(self) -> None:
        self.index = LogIndex()
        for position, entry in enumerate(self.log):
            self.index.observe(position, entry)

    def append(self, entry: LogEntry) -> None:
        """Append to the log, unless a recovering member says again what it holds."""
        if not self.relog or self.relog.is_news(entry_key(entry)):
            self.index.observe(len(self.log), entry)
            self.log.append(entry)

    def erase(self, effects: Iterable[Effect]) -> None:
        """Erase secrets, once everything of the round is durable."""
        for effect in effects:
            if isinstance(effect, LEAVING):
                continue
            if isinstance(effect, EraseSecret):
                self.vault.pop(effect.name, None)
            elif isinstance(effect, RetireSecret):
                self.retired.append((len(self.log), effect.name))

    def serve(self, asked: FetchLog) -> LogSlice:
        """A slice of the log for a member that is behind."""
        return slice_log(self.index, lambda start, stop: [encode(one) for one in self.log[start:stop]], asked)

    def recall(self, otherwise: OrderReply, after_height: int) -> OrderReply:
        """The kept outcome of the order that is asked for and what came after, as an answer."""
        order_id = otherwise.order_id
        known = self.fresh_outcomes.get(order_id) or self.outcomes.get(order_id)
        rows = {at: row for at, row in {**self.updates, **self.fresh_updates}.items() if at[0] == order_id}
        updates = [(height, row) for (_, height), row in sorted(rows.items()) if height > after_height]
        return recalled(otherwise, known, updates)

    def keep(self, effects: Sequence[Effect], now_ms: int) -> bool:
        """Write what a round brought forth; whether it must be synced before anything leaves. Heads alone need not be:
        they promise nothing."""
        if self._checkpoint_ms is None or now_ms - self._checkpoint_ms >= CHECKPOINT_INTERVAL_MS:
            self._checkpoint_ms = now_ms
            self.sign_log(self.concluded)
        must_sync = False
        for effect in effects:
            if isinstance(effect, LEAVING):
                continue
            if isinstance(effect, Append):
                self.append(effect.entry)
            elif isinstance(effect, Outcomes):
                self.fresh_outcomes.update((row.order_id, (effect.height, row)) for row in effect.rows)
                self.fresh_updates.update(((row.order_id, effect.height), row) for row in effect.updates)
            elif isinstance(effect, Persist):
                self.records.append(effect.record)
                must_sync = must_sync or not isinstance(effect.record, UNBINDING)
            elif isinstance(effect, KeepSecret):
                self.vault[effect.name] = effect.secret
                must_sync = True
        return must_sync


@dataclass(slots=True)
class Host:
    """The machine of member ``node``: one of two where the member is twinned. ``place`` is its number in the run. In
    later epochs the member has another number in its committee, ``core.node``; ``node`` stays."""

    place: int
    node: int
    core: NodeCore
    clock: Clock = field(default_factory=Clock)
    disk: Disk = field(default_factory=Disk)
    up: bool = True
    wake_ms: int | None = None
    """The virtual time at which the core wants its next round though nothing happens."""
    alarm_ms: int | None = None
    """The virtual time for which a round is planned."""
    inbox: list[Event] = field(default_factory=list)
    """What has arrived since the last round."""
    busy: bool = False
    """The disk is syncing: what arrives waits, and the round's messages too."""
    boots: int = 0
    """How often it came up again."""

    def start(self, now_ms: int) -> list[Effect]:
        """The core's first call; what it brought forth is to be kept, then sent."""
        return self.core.start(self.clock.read_ms(now_ms))

    def power_off(self, rng: random.Random, *, kill: bool = False) -> None:
        """The machine is down; what was not durable may be lost. ``kill``: only the process is."""
        self.up = self.busy = False
        self.inbox.clear()
        self.wake_ms = self.alarm_ms = None
        if kill:
            self.disk.stop_process(rng)
        else:
            self.disk.tear(rng)

    @property
    def epoch(self) -> int:
        return self.core.committee.epoch

    def power_on(
        self, core: NodeCore, next_core: NextCore, now_ms: int, *, damaged: bool = False
    ) -> list[Effect]:
        """A new process of the same member: what its disk says, then its first round, which is to be kept, then sent.
        ``damaged``: it finds its journal lost."""
        disk = self.disk
        self.clock.reboot()
        clock_ms = self.clock.read_ms(now_ms)
        self.boots += 1
        if disk.damaged:
            damaged = True
            disk.wipe(keep_log=True)
        disk.sync()  # opening the journal does
        self.core, self.up = core, True
        journal = [encode(record) for record in disk.records[disk.snapshot_record :]]
        entries = disk.log[disk.snapshot_entry :]
        disk.relog = Relog(entry_key(entry) for entry in entries)
        log = iter([encode(entry) for entry in entries])
        effects = recover(core, disk.snapshot, journal, log, clock_ms, damaged=damaged)
        while self.core.over:  # a snapshot was lost, and the log leads into later epochs
            effects = [one for one in effects if not isinstance(one, Fault | Evidence)]  # of other numbers than now
            effects += self._follow(next_core, clock_ms)[1]
            effects += take_up_log(self.core, log, clock_ms)
        if self.core is not core:
            disk.keep(effects, now_ms)
            disk.take_snapshot(self.core)
            effects = [one for one in effects if not isinstance(one, Append | Persist | KeepSecret | Outcomes)]
        return effects + self.core.start(clock_ms)

    def _follow(self, next_core: NextCore, clock_ms: int) -> tuple[bytes, list[Effect]]:
        """The next epoch's core in the place of the one whose epoch is over; its snapshot, and what comes of it."""
        committee, snapshot = succession(self.core)
        self.core = next_core(self, committee)
        restore(self.core, snapshot, (), clock_ms)
        return snapshot, self.core.collect()

    def succeed(self, next_core: NextCore, now_ms: int) -> list[Effect]:
        """The epoch is over, and everything of it is durable: go on in the next one. Its snapshot is on disk before
        anything of it leaves."""
        clock_ms = self.clock.read_ms(now_ms)
        snapshot, effects = self._follow(next_core, clock_ms)
        self.disk.begin_epoch(snapshot)
        return effects + self.core.start(clock_ms)

    def turn(self, events: Sequence[Event], now_ms: int) -> list[Effect]:
        """One round of the runner, with all the work it leaves; what it brought forth is to be kept, then sent."""
        core, clock_ms = self.core, self.clock.read_ms(now_ms)
        effects: list[Effect] = []
        for event in events:
            effects += core.step(event, clock_ms)
        while core.has_work():
            effects += core.work(clock_ms)
        effects += core.flush(clock_ms)
        while core.has_work():
            effects += core.work(clock_ms)
            effects += core.flush(clock_ms)
        self.wake_ms = core.wake_at_ms() - clock_ms + now_ms
        return effects
