"""A member's disk, its operator's word and what it posts, when it goes over to another epoch."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from crash_kit import dead_processes_hold_no_locks, drop_locks, steps_of

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.cutover import starts_of
from mpc_sequencer.core.effects import Approve, Settle
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.execution import ResultMismatch
from mpc_sequencer.core.keys import share_name
from mpc_sequencer.core.limits import KEY_WINDOW_MS
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.messages import Submit
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import recover
from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.node import keystore, tls
from mpc_sequencer.node.config import NodeConfig, SubmitterConfig
from mpc_sequencer.node.epochs import Cores, committee_of, evidence_folder
from mpc_sequencer.node.next_committee import NEXT_COMMITTEE_NAME, members_of, next_committee, save_next
from mpc_sequencer.node.process import _recover
from mpc_sequencer.node.proposals import Proposals
from mpc_sequencer.node.runner import Runner
from mpc_sequencer.node.startup import check_signer
from mpc_sequencer.node.storage import Storage, mark_never_started
from mpc_sequencer.settlement.payloads import BatchResult, SignedResult
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import log_key

__all__ = ["dead_processes_hold_no_locks"]
NODE = 1
LOG_SEED = b"\x07" * 32


class FakeVault:
    """Secrets in memory."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self.held = dict(held)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.held))

    def get(self, name: str) -> bytes | None:
        return self.held.get(name)

    def put(self, name: str, secret: bytes) -> None:
        self.held[name] = secret

    def erase(self, name: str) -> None:
        self.held.pop(name, None)


class Ended:
    """What the disk of member NODE holds when its first epoch is over: one member was replaced by another."""

    def __init__(self) -> None:
        d = self.deployment = make_deployment(4, seed=3, joiners=1)
        cluster = Cluster(d, seed=3)
        cluster.join(0)
        cluster.run(500)
        for _ in range(4):
            order = d.order(d.traders[0], cluster.now_ms)
            for node in range(4):
                cluster.request(node, Submit(1, (order,), False))
            cluster.run(150)
        cluster.approve(d.next_committee((0, 1, 2, 4), 3), range(4))
        assert cluster.run(8 * KEY_WINDOW_MS, until=lambda c: bool(c.hosts[NODE].epoch))
        host = cluster.hosts[NODE]
        self.now_ms = cluster.now_ms
        self.records = host.disk.records[: host.disk.snapshot_record]
        self.entries = host.disk.log[: host.disk.snapshot_entry]
        assert host.disk.snapshot is not None
        self.snapshot = host.disk.snapshot
        self.vault = dict(host.disk.vault)
        self.height = host.core.committee.anchor_height

    def open(self, folder: Path) -> Storage:
        d = self.deployment
        origin = partial(log_origin, d.committee.genesis_id, tls.log_key(LOG_SEED))
        return Storage(folder, origin, LOG_SEED, d.committee.genesis.checkpoint)

    def write(self, folder: Path) -> None:
        mark_never_started(folder)
        storage = self.open(folder)
        storage.journal.append_many([encode(record) for record in self.records])
        storage.journal.sync()
        for entry in self.entries:
            storage.append(entry)
        storage.log.checkpoint(sync=True)
        storage.close()

    def cores(self, storage: Storage) -> Cores:
        d, vault = self.deployment, FakeVault(self.vault)
        share = d.share(NODE) if storage.snapshot is None else None
        return Cores(d.committee, d.signers[NODE], log_key(d.seed, NODE), d.inputs, vault, share)  # type: ignore[arg-type]

    def start(self, folder: Path, *, wiped: bool = False) -> tuple[NodeCore, Storage]:
        """What a start of the process makes of the folder."""
        storage = self.open(folder)
        assert bool(storage.damaged) == wiped
        committee = committee_of(self.deployment.committee, storage.snapshot)
        cores, vault = self.cores(storage), FakeVault(self.vault)
        args = (cores, storage, vault, folder / "evidence", Proposals(folder))
        core, _ = _recover(cores.make(committee), *args)  # type: ignore[arg-type]
        return core, storage

    def over(self, storage: Storage) -> NodeCore:
        """The first epoch's core at its end."""
        core = self.cores(storage).make(self.deployment.committee)
        recover(core, None, storage.journal_records(), storage.log_entries(), self.now_ms)
        assert core.over
        return core


@pytest.fixture(scope="module")
def ended() -> Ended:
    return Ended()


def check_began(ended: Ended, core: NodeCore) -> None:
    assert (core.committee.epoch, core.chain.final_height, core.node) == (1, ended.height, NODE)
    assert list(core.reveal.secrets) == [1], "it holds its share of the new sharing"


# --- the disk -----------------------------------------------------------------------------------------------------
def test_a_crash_at_every_step_of_the_cutover_leaves_a_member_that_goes_over(
    ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended.write(tmp_path / "origin")

    def cut_over(folder: Path) -> None:
        ended.open(folder).prepare_epoch(ended.snapshot).run()

    steps = 0
    copy = partial(shutil.copytree, tmp_path / "origin")
    for folder in steps_of(monkeypatch, cut_over, lambda folder: copy(folder) and None, tmp_path):
        steps += 1
        core, storage = ended.start(folder)
        check_began(ended, core)
        storage.close()
        again, storage = ended.start(folder)
        check_began(ended, again)
        assert storage.log.size == len(ended.entries) and not list(storage.journal_records())
        storage.close()
        shutil.rmtree(folder)
    assert steps > 10


def test_a_member_whose_journal_and_snapshot_are_lost_follows_its_log_over_the_cutover(
    ended: Ended, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    ended.write(folder)
    shutil.rmtree(folder / "journal")
    core, storage = ended.start(folder, wiped=True)
    check_began(ended, core)
    assert core.standing.muted and not core.standing.may_vote(5)
    storage.close()
    core, storage = ended.start(folder)
    assert core.standing.muted, "it still cannot know what it has signed"
    storage.close()


def test_a_snapshot_of_another_deployment_is_refused(ended: Ended) -> None:
    other = make_deployment(4, seed=9).committee
    with pytest.raises(ConfigError, match="does not fit"):
        committee_of(other, ended.snapshot)
    with pytest.raises(ConfigError, match="does not fit"):
        committee_of(ended.deployment.committee, ended.snapshot[:-1])
    assert committee_of(ended.deployment.committee, ended.snapshot).starts == starts_of(ended.snapshot)


def test_a_handover_to_another_result_than_the_logs_stops_the_member(ended: Ended, tmp_path: Path) -> None:
    ended.write(tmp_path)
    storage = ended.open(tmp_path)
    core = ended.over(storage)
    assert core.succession.outcome is not None
    core.succession.outcome = msgspec.structs.replace(core.succession.outcome, attempt=7, result=b"")
    with pytest.raises(ResultMismatch, match="does not follow"):
        ended.cores(storage).follow(core, ended.now_ms)


# --- the runner ---------------------------------------------------------------------------------------------------
class Wires:
    """A transport that writes down what is asked of it, and what is on disk then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.peers = self.clients = self

    def _note(self, what: str) -> None:
        self.done.append(f"{what} {'with' if (self.folder / 'snapshot').exists() else 'without'} snapshot")

    def enter(self, committee: Any) -> list[Any]:
        self._note(f"epoch {committee.epoch}")
        return []

    def know_joiners(self) -> None:
        self._note("joiners")

    def broadcast(self, data: bytes) -> None:
        self._note("send")

    def send(self, node: int, data: bytes, *, across: bool = False) -> bool:
        self._note("send")
        return True

    def reply(self, client: int, data: bytes) -> None:
        self._note("reply")


def test_nothing_of_the_next_epoch_leaves_before_its_snapshot_is_on_disk(ended: Ended, tmp_path: Path) -> None:
    ended.write(tmp_path)
    storage = ended.open(tmp_path)
    vault: Any = FakeVault({**ended.vault, share_name(0): bytes(34)})
    d = ended.deployment
    cores = Cores(d.committee, d.signers[NODE], log_key(d.seed, NODE), d.inputs, vault, d.share(NODE))
    core = ended.over(storage)
    old = list(core.reveal.secrets.values())
    wires: Any = Wires(tmp_path)
    proposals = Proposals(tmp_path)
    (tmp_path / NEXT_COMMITTEE_NAME).write_text("{}")
    runner = Runner(core, storage, vault, wires, None, tmp_path / "evidence", cores, proposals)
    trio.run(runner._go_over, cores)
    check_began(ended, runner.core)
    assert wires.done[0] == "epoch 1 with snapshot" and len(wires.done) > 1
    assert all(done.endswith("with snapshot") for done in wires.done)
    assert vault.names() == (share_name(1),), "the shares of the epoch before are erased"
    assert old
    for share in old:
        with pytest.raises(ValueError):
            share.export()
    assert not (tmp_path / NEXT_COMMITTEE_NAME).exists(), "a proposal to the epoch before says nothing in this one"
    storage.close()
    drop_locks()


async def test_results_of_later_epochs_are_handed_on_and_nothing_twice(ended: Ended, tmp_path: Path) -> None:
    ended.write(tmp_path)
    storage = ended.open(tmp_path)
    news, posted = trio.open_memory_channel[Any](10)
    core = ended.over(storage)
    runner = Runner(core, storage, None, None, news, tmp_path, ended.cores(storage))  # type: ignore[arg-type]
    result = BatchResult(0, 1, 2, bytes(32), bytes(32), bytes(32), bytes(32), 0, bytes(32), ())
    for number, epoch in ((1, 0), (1, 0), (2, 1), (3, 1)):  # what was out before the cutover is said again after it
        runner._send(Settle(number, SignedResult(replace(result, epoch=epoch), ())))
    handed = [posted.receive_nowait() for _ in range(3)]
    assert [(one.number, one.signed.result.epoch) for one in handed] == [(1, 0), (2, 1), (3, 1)]
    with pytest.raises(trio.WouldBlock):
        posted.receive_nowait()


def test_evidence_of_one_epoch_is_not_taken_for_anothers(ended: Ended, tmp_path: Path) -> None:
    later = committee_of(ended.deployment.committee, ended.snapshot)
    assert evidence_folder(tmp_path, ended.deployment.committee) == tmp_path
    assert evidence_folder(tmp_path, later) == tmp_path / "epoch-1"


# --- the operator's word ------------------------------------------------------------------------------------------
@pytest.fixture
def target(house: Any) -> NextCommittee:
    return next_committee(3, members_of(house.file))


def test_a_proposal_is_noticed_once_and_again_when_it_says_something_else(
    tmp_path: Path, target: NextCommittee, caplog: pytest.LogCaptureFixture
) -> None:
    proposals = Proposals(tmp_path)
    assert proposals.look() is None
    save_next(tmp_path, target)
    assert proposals.look() == target
    os.utime(tmp_path / NEXT_COMMITTEE_NAME)
    assert proposals.look() is None
    assert Proposals(tmp_path).look() == target, "after a restart it is said again; the core knows whether it was said"
    (tmp_path / NEXT_COMMITTEE_NAME).write_text('{"version": 1}')
    assert proposals.look() is None and proposals.look() is None
    assert caplog.text.count("is not approved") == 1
    save_next(tmp_path, target)
    assert proposals.look() == target


def test_a_proposal_to_an_epoch_that_is_over_is_put_aside(tmp_path: Path, target: NextCommittee) -> None:
    proposals = Proposals(tmp_path)
    proposals.put_aside(0)
    save_next(tmp_path, target)
    proposals.look()
    proposals.put_aside(4)
    assert [path.name for path in tmp_path.iterdir()] == ["next-committee-of-epoch-4.json"]
    assert proposals.look() is None
    save_next(tmp_path, target)
    assert proposals.look() == target, "the same committee may be proposed anew"


async def test_who_has_no_place_approves_nothing(
    ended: Ended, tmp_path: Path, target: NextCommittee, caplog: pytest.LogCaptureFixture
) -> None:
    d = ended.deployment
    for node, expected in ((NODE, [Approve(target)]), (4, [])):
        core = NodeCore(d.committee, node, d.signers[NODE], None, d.inputs, entropy=bytes(32))
        runner = Runner(core, None, None, None, None, tmp_path)  # type: ignore[arg-type]
        runner.propose(target)
        assert list(runner.inbox.peers) == expected
    assert "counts only where" in caplog.text


# --- who joins ----------------------------------------------------------------------------------------------------
@pytest.fixture
def joining(tmp_path: Path) -> Iterator[tuple[NodeConfig, keystore.NodeSecrets]]:
    made = keystore.new_secrets()
    keystore.create(tmp_path / "keystore.json", made, "passphrase", profile="interactive")
    nowhere = tmp_path / "none"
    options = NodeConfig(
        None, "127.0.0.1", 7000, nowhere, tmp_path / "keystore.json", nowhere, None, SubmitterConfig(False, None)
    )
    yield options, made


def test_who_joins_has_keys_of_its_own(house: Any, joining: tuple[NodeConfig, keystore.NodeSecrets]) -> None:
    options, made = joining
    assert made.consensus_secret is not None
    assert check_signer(options, house.file, made).public_key == keystore.read_header(options.keystore).consensus_key
    taken = keystore.NodeSecrets(made.consensus_secret, house.seeds[2], made.vault_key)
    with pytest.raises(ConfigError, match="are a member's of the committee file"):
        check_signer(options, house.file, taken)


def test_a_log_line_says_who_has_no_place(ended: Ended, caplog: pytest.LogCaptureFixture) -> None:
    from mpc_sequencer.node.runner import tell_place

    d = ended.deployment
    caplog.set_level(logging.INFO)
    tell_place(NodeCore(d.committee, 4, d.signers[NODE], None, d.inputs, entropy=bytes(32)))
    assert "no place in the committee" in caplog.text
