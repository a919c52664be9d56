"""What a member has on disk before it says anything of it, and what comes back of that after a loss of power."""

from __future__ import annotations

import random

import pytest
from core_kit import submit
from recovery_kit import check_all, drive

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import AdmittedRecord, HeadRecord, HeldRecord, ListRecord, ProposalRecord, VoteRecord
from mpc_sequencer.core.recovery import dump, recover
from mpc_sequencer.core.types import NOTARIZE
from mpc_sequencer.sim import Cluster, Network, make_deployment


def test_a_voted_block_is_on_disk_before_the_vote() -> None:
    rng = random.Random(3)
    cluster = Cluster(make_deployment(4, seed=3), seed=3)
    drive(cluster, rng, 6)
    for records in cluster.records:
        blocks: set[bytes] = set()
        for record in records:
            if isinstance(record, ProposalRecord):
                blocks.add(record.block.header.block_id())
            elif isinstance(record, VoteRecord) and record.vote.kind == NOTARIZE:
                assert record.vote.block_id in blocks


def test_a_list_is_on_disk_after_the_bodies_it_names() -> None:
    rng = random.Random(4)
    cluster = Cluster(make_deployment(4, seed=4), seed=4)
    drive(cluster, rng, 8)
    listed = 0
    for records in cluster.records:
        bodies: set[bytes] = set()
        for record in records:
            if isinstance(record, AdmittedRecord | HeldRecord):
                bodies.add(record.envelope.order_id())
            elif isinstance(record, ListRecord):
                listed += len(record.order_list.entries)
                assert bodies.issuperset(record.order_list.entries)
    assert listed > 20


def test_a_full_list_is_cut_only_after_the_body_that_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIST_ENTRIES_MAX", 2)
    test_a_list_is_on_disk_after_the_bodies_it_names()


def test_a_torn_tail_costs_nothing_that_was_said() -> None:
    """The journal is cut at every record after the last sync; the rest comes back."""
    rng = random.Random(8)
    network = Network()
    cluster = Cluster(make_deployment(4, seed=8), seed=8, network=network)
    drive(cluster, rng, 6)
    host = cluster.hosts[2]
    host.disk.records += [HeadRecord(cluster.cores[2].lists.heads(2)[0][0])] * 3
    whole = list(host.disk.records)
    for cut in range(host.disk.synced, len(whole) + 1):
        core = cluster._new_core(2)
        recover(core, None, [encode(record) for record in whole[:cut]], (), cluster.now_ms)
        assert core.own_lists.number == cluster.cores[2].own_lists.number
        votes = {(v.kind, v.view): v for v in core.simplex.kept_votes()}
        assert votes.items() >= {(v.kind, v.view): v for v in cluster.cores[2].simplex.kept_votes()}.items()


def test_a_snapshot_of_another_member_is_refused() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(100)
    data, _ = dump(cluster.cores[0])
    with pytest.raises(ValueError, match="another member"):
        recover(cluster._new_core(1), data, (), (), cluster.now_ms)
    other = Cluster(make_deployment(4, seed=77))
    with pytest.raises(ValueError, match="another"):
        recover(other._new_core(0), data, (), (), cluster.now_ms)


def test_a_batch_whose_bundles_the_others_forgot_is_opened_from_a_log() -> None:
    """Members 0 and 1 open a height and restart: nobody remembers bundles, but their logs have them."""
    rng = random.Random(11)
    cluster = Cluster(make_deployment(4, seed=11), seed=11)
    drive(cluster, rng, 4)
    cluster.stop(3)
    drive(cluster, rng, 4)
    cluster.run(3_000)
    for core in cluster.cores[:3]:
        core.reveal._own_bundles.clear()
    cluster.restart(3)
    cluster.run(10_000)
    check_all(cluster)


@pytest.mark.parametrize("seed", range(4))
def test_power_is_lost_and_one_disk_with_it_and_what_q_voted_for_is_still_there(seed: int) -> None:
    """After a loss of power one member does not come back for long: what only it had said must be on others' disks."""
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed, network=Network(delay_ms=lambda r, _s, _t: 20))
    drive(cluster, rng, 8)
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    submit(cluster, 3, order)
    notarized = lambda c: any(v.kind == 3 for core in c.cores[:3] for v in core.simplex.kept_votes())  # noqa: E731
    cluster.run(3_000, until=lambda c: all(order.order_id() in c.cores[n].pool for n in range(4)) and notarized(c))
    for node in range(4):
        cluster.stop(node)
    for node in range(3):
        cluster.restart(node)
    cluster.run(20_000)
    heads = {core.chain.final_id for core in cluster.cores[:3]}
    assert len(heads) == 1 and not any(core.simplex.unfinalized() for core in cluster.cores[:3])
    late = cluster.deployment.order(cluster.deployment.traders[1], cluster.now_ms)
    submit(cluster, 0, late)
    assert cluster.run(20_000, until=lambda c: c.cores[1].pool.get(late.order_id()) is not None
                       and c.cores[1].pool.get(late.order_id()).sequenced_height > 0)  # type: ignore[union-attr]


def test_bodies_that_expired_while_all_were_down_are_still_there_for_a_final_block() -> None:
    rng = random.Random(2)
    cluster = Cluster(make_deployment(4, seed=2), seed=2)
    drive(cluster, rng, 6)
    for node in range(4):
        cluster.stop(node)
    cluster.now_ms += 400_000
    cluster.run(10)
    for node in range(4):
        cluster.restart(node)
    cluster.run(20_000)
    check_all(cluster)
    late = cluster.deployment.order(cluster.deployment.traders[1], cluster.now_ms)
    submit(cluster, 0, late)
    cluster.run(10_000)
    assert cluster.cores[2].pool.get(late.order_id()).sequenced_height > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(4))
def test_a_certificate_that_moved_a_member_on_outlasts_a_crash(seed: int) -> None:
    """A Byzantine signer may forget its vote; without the certificate the others' finalize votes would lead nowhere."""
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed, network=Network(delay_ms=lambda r, _s, _t: 15))
    drive(cluster, rng, 14)
    assert any(core.simplex.kept_certificates() for core in cluster.cores)
    for node, core in enumerate(cluster.cores):
        before = core.simplex.kept_certificates()
        if seed % 2:
            cluster.hosts[node].disk.take_snapshot(core)
        cluster.stop(node)
        again = cluster._new_core(node)
        disk = cluster.hosts[node].disk
        recover(again, disk.snapshot, [encode(r) for r in disk.records[disk.snapshot_record :]], (), cluster.now_ms)
        assert {(c.kind, c.view) for c in again.simplex.kept_certificates()} == {(c.kind, c.view) for c in before}
        assert again.simplex.view == core.simplex.view
