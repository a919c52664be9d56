"""Settlement ranges at an epoch's end: who signs which, where they end, and that nothing is lost between two."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import pairwise

from rotation_kit import approve, cluster_of, executed, in_epoch, rotate, same_everywhere, target_of, trade, wait

from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.rotation import follow_all
from mpc_sequencer.core.transcript import BlockEntry, SettlementEntry
from mpc_sequencer.settlement.claims import claim_of
from mpc_sequencer.settlement.payloads import SignedResult
from mpc_sequencer.sim import Cluster


@cache
def traded() -> Cluster:
    """Orders before, during and after a rotation 4 -> 7, and one range at least in each epoch."""
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    while not all(host.epoch for host in cluster.hosts):
        trade(cluster, trader=0, side=1)
        trade(cluster, trader=1, side=2)
        cluster.run(120)
    for _ in range(5):
        trade(cluster, trader=2, side=1)
        trade(cluster, trader=3, side=2)
        cluster.run(200)
    cluster.run(limits.SETTLEMENT_RANGE_MS + 3_000)
    return cluster


def committees(cluster: Cluster) -> list[Committee]:
    first = cluster.deployment.committee
    starts = cluster.hosts[0].core.committee.starts
    return [follow_all(first.own(), starts[:count]) for count in range(len(starts) + 1)]


def check_signed(cluster: Cluster, results: Iterable[SignedResult]) -> None:
    """q members of the result's own epoch have signed it, and nobody else."""
    known = committees(cluster)
    for signed in results:
        committee = known[signed.result.epoch]
        struct_hash = claim_of(signed.result).struct_hash()
        assert len(signed.signatures) == committee.q
        for node, signature in signed.signatures:
            committee.check_signature(node, struct_hash, signature, "SignedResult")


def ready(cluster: Cluster) -> list[SignedResult]:
    found = [effect.signed for _, effect in cluster.settlements]
    assert all(isinstance(one, SignedResult) for one in found)
    return found  # type: ignore[return-value]


def test_an_observer_s_signature_counts_for_no_range() -> None:
    """A joiner executes what members execute, and may come to a range's result before their words reach it."""
    cluster = traded()
    results = ready(cluster)
    assert {signed.result.epoch for signed in results} == {0, 1}
    check_signed(cluster, results)
    for host in cluster.hosts:
        known = committees(cluster)
        anchor = known[1].anchor_height
        for one in host.disk.log:
            if isinstance(one, SettlementEntry):
                committee = known[0 if one.last_height <= anchor else 1]
                assert len(one.signatures) == committee.q
                assert all(node < committee.n for node, _ in one.signatures)


def test_the_last_range_of_an_epoch_is_the_old_members_and_the_next_one_the_new_members() -> None:
    cluster = traded()
    anchor = cluster.hosts[0].core.committee.anchor_height
    ranges = sorted({(one.result.first_height, one.result.last_height, one.result.epoch) for one in ready(cluster)})
    assert ranges[0][0] == 1
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))
    assert anchor in [last for _, last, epoch in ranges if epoch == 0], "a range ends with the epoch"
    assert all((last <= anchor) == (epoch == 0) for _, last, epoch in ranges)
    assert all(first > anchor for first, _, epoch in ranges if epoch == 1), "and none goes over it"


def test_ranges_of_both_epochs_follow_one_another_and_add_up() -> None:
    cluster = traded()
    results = {one.result.first_height: one.result for one in ready(cluster)}
    chained = [results[first] for first in sorted(results)]
    for before, after in pairwise(chained):
        assert after.prev_state_root == before.state_root
    for result in chained:
        sums: dict[int, int] = {}
        for delta in result.deltas:
            sums[delta.asset] = sums.get(delta.asset, 0) + delta.free + delta.withdrawable
        assert not any(sums.values()), "deltas and fees are zero per asset"
    same_everywhere(cluster)


def test_a_range_that_counts_nothing_goes_over_an_epoch_s_end() -> None:
    cluster = cluster_of()
    rotate(cluster, target_of(cluster, range(7)))
    anchor = cluster.hosts[0].core.committee.anchor_height
    order = trade(cluster)
    wait(cluster, executed(order))
    cluster.run(limits.SETTLEMENT_RANGE_MS + 3_000)
    (result,) = {one.result for one in ready(cluster)}
    assert (result.first_height, result.epoch) == (1, 1) and result.last_height > anchor
    check_signed(cluster, ready(cluster))
    blocks = [one.block for one in cluster.hosts[0].disk.log if isinstance(one, BlockEntry)]
    assert all(anchor < block.header.height <= result.last_height for block in blocks if block.batch)


def test_who_is_cut_off_at_the_epoch_s_end_still_gets_the_last_range_s_signatures() -> None:
    cluster = cluster_of()
    order = trade(cluster)
    wait(cluster, executed(order), places=range(4))
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, lambda core: bool(core.chain.final_state.handover) or core.committee.epoch > 0, places=[3])
    for other in range(7):
        cluster.network.cut |= {(3, other), (other, 3)}
    wait(cluster, in_epoch(1), places=[0, 1, 2, 4, 5, 6])
    cluster.run(2_000)
    assert cluster.hosts[3].epoch == 0
    cluster.network.cut.clear()
    cluster._meet(cluster.hosts[3])
    wait(cluster, in_epoch(1), places=[3])
    same_everywhere(cluster)
    check_signed(cluster, ready(cluster))
