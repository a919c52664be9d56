"""A cluster of which one member also writes to a real data folder, to be stopped, damaged and opened again."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import msgspec
from core_kit import submit

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Append, Record
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import recover
from mpc_sequencer.core.transcript import LogEntry, entry_key
from mpc_sequencer.node import tls
from mpc_sequencer.node.storage import Storage, mark_never_started
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

NODE = 1


class Driven:
    """A cluster of which member NODE also writes to a real folder, as the runner does."""

    def __init__(self, folder: Path, seed: int = 3) -> None:
        self.deployment = make_deployment(4, seed=seed)
        self.cluster = Cluster(self.deployment, seed=seed)
        self.rng = random.Random(seed)
        self.folder = folder
        mark_never_started(folder)
        self.storage = open_storage(folder, self.deployment)
        self.records = 0
        self.entries = 0

    @property
    def core(self) -> NodeCore:
        return self.cluster.cores[NODE]

    def run(self, turns: int) -> None:
        for _ in range(turns):
            trader = self.rng.choice(self.deployment.traders)
            order = self.deployment.order(trader, self.cluster.now_ms, price_ticks=618_000 + self.rng.randint(-3, 3))
            submit(self.cluster, NODE, order)
            self.cluster.run(70)
        self.write()

    def write(self) -> None:
        """Bring the folder to where the simulated disk is."""
        disk = self.cluster.hosts[NODE].disk
        records = disk.records[self.records :]
        if records:
            self.storage.journal.append_many([encode(record) for record in records])
            self.storage.journal.sync()
        for entry in disk.log[self.entries :]:
            self.storage.append(entry)
        self.records, self.entries = len(disk.records), len(disk.log)

    def close(self) -> None:
        self.storage.close()

    def reopen(self) -> Storage:
        self.storage.close()
        self.storage = open_storage(self.folder, self.deployment)
        return self.storage

    def recovered(self) -> NodeCore:
        """A core out of the folder, its log entries written again where they are news."""
        core = self.cluster._new_core(NODE)
        damaged = bool(self.storage.damaged)
        records = () if damaged else self.storage.journal_records()
        effects = recover(
            core, self.storage.snapshot, records, self.storage.log_entries(), self.cluster.now_ms, damaged=damaged
        )
        for effect in effects:
            if isinstance(effect, Append):
                self.storage.append(effect.entry)
        return core


LOG_SEED = b"\x07" * 32


def committee_of_the_log(d: Deployment) -> Committee:
    """The deployment's committee, but that member NODE's log key is a known one."""
    genesis = d.committee.genesis
    members = list(genesis.members)
    members[NODE] = msgspec.structs.replace(members[NODE], log_key=tls.log_key(LOG_SEED))
    return Committee(msgspec.structs.replace(genesis, members=tuple(members)))


def open_storage(folder: Path, d: Deployment) -> Storage:
    origin = partial(log_origin, committee_of_the_log(d).genesis_id, tls.log_key(LOG_SEED))
    return Storage(folder, origin, LOG_SEED, d.committee.genesis.checkpoint)


def same(one: NodeCore, other: NodeCore) -> None:
    """Both stand at one state, and signed the same."""
    assert one.chain.final_id == other.chain.final_id
    assert one.execution.engine.state_root() == other.execution.engine.state_root()
    assert one.own_lists.number == other.own_lists.number and one.own_lists.hash == other.own_lists.hash
    assert one.simplex.kept_votes() == other.simplex.kept_votes()


def held(box: Storage) -> list[tuple[object, ...]]:
    """The keys of all entries of the log."""
    return [entry_key(decode(LogEntry, data)) for data in box._entries_from(0)]


def records_of(box: Storage) -> list[Record]:
    return [decode(Record, data) for data in box.journal_records()]
