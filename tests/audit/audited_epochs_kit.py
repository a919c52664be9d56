"""Logs of committees that were replaced, made by clusters of honest members, and all keys: it takes them to bend it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from nacl.signing import SigningKey

from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core import domains, keys
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import Submit
from mpc_sequencer.core.rotation import successor_genesis
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import BlockEntry, FinalityEntry, LogEntry
from mpc_sequencer.core.types import (
    FINALIZE,
    NO_SIGNATURE,
    BlockHeader,
    Certificate,
    CertificateVote,
    NextCommittee,
    vote_struct_hash,
    with_signature,
)
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from tests.audit import log_samples
from tests.audit.audited_deployment import replace

Log = list[LogEntry]
KEEPER = 0
"""Whose log a test takes where it names nobody."""


def log_seed(seed: int, person: int) -> SigningKey:
    return SigningKey(sha256(f"log {seed} {person}".encode()).digest())


def log_public_key(seed: int, person: int) -> bytes:
    return bytes(log_seed(seed, person).verify_key)


@dataclass(frozen=True)
class Rotated:
    """A run: people's logs (members of the first committee first), and the committees of its epochs."""

    house: Deployment
    logs: tuple[tuple[LogEntry, ...], ...]
    committees: tuple[Committee, ...]

    @property
    def file(self) -> Committee:
        """What the committee file says."""
        return Committee(self.house.committee.genesis)

    def signer(self, epoch: int, node: int) -> Signer:
        """Whose number it is in an epoch."""
        key = self.committees[epoch].genesis.members[node].consensus_key
        return next(one for one in (*self.house.signers, *self.house.joiners) if one.public_key == key)

    def signed(self, value: Any, signer: Signer | None = None) -> Any:
        """The value under its member's signature, or another one's."""
        unsigned = replace(value, signature=NO_SIGNATURE)
        digest = self.house.committee.digest(unsigned.struct_hash())
        return with_signature(unsigned, (signer or self.signer(value.epoch, value.node)).sign_digest(digest))

    def finality(self, header: BlockHeader, epoch: int | None = None, signers: int | None = None) -> FinalityEntry:
        """What q members of the header's epoch sign to make it final: or of another ``epoch``, or fewer."""
        committee = self.committees[header.epoch if epoch is None else epoch]
        digest = committee.digest(vote_struct_hash(FINALIZE, header.epoch, header.view, header.block_id()))
        votes = tuple(
            CertificateVote(node, self.signer(committee.epoch, node).sign_digest(digest))
            for node in range(signers or committee.q)
        )
        certificate = Certificate(FINALIZE, header.epoch, header.view, header.block_id(), votes)
        return FinalityEntry(header.block_id(), certificate, ())


def log_of(run: Rotated, person: int = KEEPER) -> Log:
    return list(run.logs[person])


def named_topic(run: Rotated, epoch: int) -> bytes:
    """The session under which an epoch's members speak of the next one."""
    return domains.ROTATION_TOPIC(run.house.committee.genesis_id, epoch.to_bytes(8, "big"))


def audited(run: Rotated, entries: Sequence[LogEntry]) -> Audit:
    return log_samples.audited(run.file, entries)


def codes(run: Rotated, entries: Sequence[LogEntry]) -> list[str]:
    return [finding.code for finding in audited(run, entries).recorder.findings]


# --- runs ---------------------------------------------------------------------------------------------------------
def trade(cluster: Cluster, places: Sequence[int], times: int, every_ms: int = 40) -> None:
    """Orders, each sent to two members."""
    d = cluster.deployment
    for turn in range(times):
        order = d.order(d.traders[turn % 2], cluster.now_ms, side=1 + turn % 2)
        for place in places[:3]:
            cluster.request(place, Submit(1, (order,), True), client=1 + place)
        cluster.run(every_ms)


def rotate(cluster: Cluster, target: NextCommittee, places: Sequence[int], *, orders: bool = True) -> None:
    """The people at ``places``, of whom the first stay, hand over to ``target``; orders come in all the time."""
    epoch = cluster.hosts[places[0]].epoch
    cluster.approve(target, places)
    for _ in range(200):
        core = cluster.hosts[places[0]].core
        near = core.keygen.phase == "ready" or core.succession.outcome is not None
        if orders:  # many as the end comes near, so that some wait while batches are empty
            trade(cluster, places, 4 if near else 1, 12 if near else 30)
        if cluster.run(5 if near else 60, until=lambda c: all(host.epoch > epoch for host in c.hosts)):
            return
    raise AssertionError("the epoch does not end")


def _committees(cluster: Cluster, house: Deployment) -> tuple[Committee, ...]:
    led = [Committee(house.committee.genesis)]
    for start in cluster.hosts[0].core.committee.starts:
        led.append(Committee(successor_genesis(led[-1].genesis, start)))
    return tuple(led)


def _run(house: Deployment, play: Callable[[Cluster], None], seed: int) -> Rotated:
    cluster = Cluster(house, seed=seed)
    for joiner in range(len(house.joiners)):
        cluster.join(joiner)
    play(cluster)
    assert len({host.core.chain.final_height for host in cluster.hosts}) <= 2
    return Rotated(house, tuple(tuple(host.disk.log) for host in cluster.hosts), _committees(cluster, house))


def _with_log_keys(make: Callable[[], Rotated]) -> Rotated:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpc_sequencer.sim.deployment.log_key", log_public_key)
        return make()


@cache
def grown() -> Rotated:
    """Four members generate a key, hand over to seven, of whom one replaces member 3, and these to four again; orders
    come in before, during and after the first rotation, and none between it and the second one's end."""

    def play(cluster: Cluster) -> None:
        d = cluster.deployment
        assert cluster.run(5_000, until=lambda c: all(core.committee.sharings for core in c.cores))
        certificate = cluster.cores[0].committee.sharing(0).certificate
        assert certificate is not None
        keys.establish(d.committee, certificate)
        trade(cluster, (0, 1), 4)
        rotate(cluster, d.next_committee((0, 1, 2, 4, 5, 6, 7), 5), (0, 1, 2, 3))
        trade(cluster, (0, 4), 6)
        cluster.run(6_000)
        rotate(cluster, d.next_committee((1, 4, 5, 7), 3), (4, 5, 7, 1, 0, 6), orders=False)
        trade(cluster, (1, 7), 6)
        cluster.run(6_000)

    return _with_log_keys(lambda: _run(make_deployment(4, seed=7, generated=True, joiners=4), play, 4))


@cache
def shrunk() -> Rotated:
    """Seven members of the committee file, which has the key, hand over to four, of whom one is new; orders come in
    before, during and after."""

    def play(cluster: Cluster) -> None:
        d = cluster.deployment
        trade(cluster, (0, 1), 6)
        rotate(cluster, d.next_committee((0, 2, 5, 7), 3), (0, 2, 5, 1, 3))
        trade(cluster, (0, 7), 6)
        cluster.run(6_000)

    return _with_log_keys(lambda: _run(make_deployment(7, seed=7, joiners=1), play, 5))


@cache
def received() -> Rotated:
    """Five members of a market that orders by receipt, one of whom is replaced while orders wait for their places."""

    def play(cluster: Cluster) -> None:
        trade(cluster, (0, 1), 4)
        rotate(cluster, cluster.deployment.next_committee((0, 1, 2, 3, 5), 4), (0, 1, 2, 3, 4))
        trade(cluster, (0, 1), 4)
        cluster.run(5_000)

    return _with_log_keys(lambda: _run(make_deployment(5, seed=9, policy=RECEIVE, joiners=1), play, 5))


# --- places in a log ----------------------------------------------------------------------------------------------
def blocks(entries: Sequence[LogEntry]) -> list[tuple[int, BlockEntry]]:
    return [(index, one) for index, one in enumerate(entries) if isinstance(one, BlockEntry)]


def first_block(entries: Sequence[LogEntry], epoch: int) -> int:
    """Where the first block of an epoch stands."""
    return next(index for index, one in blocks(entries) if one.block.header.epoch == epoch)


def last_block(entries: Sequence[LogEntry], epoch: int) -> int:
    """Where the last block of an epoch stands."""
    return [index for index, one in blocks(entries) if one.block.header.epoch == epoch][-1]
