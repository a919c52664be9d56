"""Members that were away: with an old disk, an old share, without their journal, muted, or too late for the cutover."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from rotation_kit import (
    approve,
    cluster_of,
    executed,
    handed_over,
    in_epoch,
    reshared,
    resharing,
    rotate,
    same_everywhere,
    target_of,
    trade,
    wait,
    wait_any,
)

from mpc_sequencer.core import limits
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.transcript import BundleEntry
from mpc_sequencer.sim import Cluster


def others(place: int) -> list[int]:
    return [one for one in range(7) if one != place]


def after(cluster: Cluster) -> None:
    order = trade(cluster, [host.place for host in cluster.hosts if host.place < 3])
    wait(cluster, executed(order), 20_000)
    same_everywhere(cluster)


@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_member_that_missed_the_cutover_follows_others_logs_into_the_new_epoch(place: int) -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, reshared, places=[place])
    cluster.stop(place)
    wait(cluster, in_epoch(1), places=others(place))
    missed = trade(cluster, [1, 2])
    wait(cluster, executed(missed), places=others(place))
    cluster.restart(place)
    wait(cluster, in_epoch(1))
    assert "share-1" in cluster.hosts[place].disk.vault, "it had been dealt to"
    after(cluster)
    assert not [fault for _, fault in cluster.faults if fault.code != "dkg.silent"]


@pytest.mark.parametrize("place", [2, 6])
def test_a_member_away_for_the_resharing_is_a_member_without_a_share_until_the_next_refresh(place: int) -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait_any(cluster, resharing)
    cluster.stop(place)
    wait(cluster, in_epoch(1), places=others(place))
    cluster.restart(place)
    wait(cluster, in_epoch(1))
    assert not cluster.hosts[place].disk.vault and not cluster.hosts[place].core.reveal.secrets
    after(cluster)
    wait(cluster, lambda core: 2 in core.reveal.secrets, limits.KEY_RETRY_MS + 4 * limits.KEY_WINDOW_MS)
    after(cluster)


def test_who_comes_back_with_a_copy_of_its_disk_of_the_old_epoch_contradicts_itself_in_nothing() -> None:
    """*Member that rejoins with an old share and an old disk*: the copy knows nothing of what its member signed in the
    new epoch. It meets its own words there, is muted, and says nothing that could be held against them."""
    cluster = cluster_of(generated=True)
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait_any(cluster, resharing)
    host = cluster.hosts[1]
    old = copy.deepcopy(host.disk)
    wait(cluster, in_epoch(1))
    for _ in range(5):
        trade(cluster)
        cluster.run(200)
    cluster.stop(1)
    host.disk = old
    cluster.restart(1)
    wait(cluster, in_epoch(1), 30_000)
    cluster.run(3 * limits.HEARTBEAT_MS)  # until a checkpoint makes the log durable
    assert "share-0" not in host.disk.vault and 0 not in host.core.reveal.secrets
    assert not cluster.evidence
    after(cluster)
    bundles = {
        (one.bundle.height, one.bundle.sharing)
        for one in cluster.hosts[0].disk.log
        if isinstance(one, BundleEntry) and one.bundle.node == host.core.node and one.bundle.epoch == 1
    }
    assert all(sharing == host.core.committee.sharing(1).name for _, sharing in bundles)


@pytest.mark.parametrize("keep_log", [True, False])
@pytest.mark.parametrize("place", [1, 5])
@pytest.mark.parametrize("when", [handed_over, in_epoch(1)], ids=["before the cutover", "right after it"])
def test_a_member_that_lost_its_journal_about_a_cutover_comes_back_by_the_logs(
    when: Callable[[NodeCore], bool], place: int, keep_log: bool
) -> None:
    cluster = cluster_of()
    first = trade(cluster)
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, when, places=[place])
    cluster.stop(place)
    cluster.hosts[place].disk.wipe(keep_log=keep_log)
    cluster.restart(place, damaged=True)
    wait(cluster, in_epoch(1))
    wait(cluster, lambda core: not core.standing.muted, 30_000)
    after(cluster)
    assert not cluster.evidence and first.order_id()


def test_a_log_that_is_lost_beside_a_snapshot_of_the_new_epoch_is_damage_and_mends() -> None:
    cluster = cluster_of()
    rotate(cluster, target_of(cluster, range(7)))
    cluster.stop(2)
    disk = cluster.hosts[2].disk
    del disk.log[3:]
    disk.checkpointed = disk.concluded = 3
    disk._reindex()
    assert disk.damaged
    cluster.restart(2)
    wait(cluster, in_epoch(1))
    wait(cluster, lambda core: not core.standing.muted, 30_000)
    after(cluster)


def test_a_muted_member_is_muted_still_in_the_next_epoch_and_speaks_once_a_block_is_final_there() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, handed_over, places=range(4))
    cluster.stop(3)
    cluster.hosts[3].disk.wipe(keep_log=False)
    for other in range(3):  # nobody resends it what would unmute it
        cluster.network.cut |= {(other, 3)}
    cluster.restart(3, damaged=True)
    wait(cluster, in_epoch(1), places=[0, 1, 2, 4, 5, 6])
    assert cluster.hosts[3].core.standing.muted and cluster.hosts[3].epoch == 0
    cluster.network.cut.clear()
    muted: list[bool] = []
    cluster.began = lambda host: muted.append(host.core.standing.muted)  # type: ignore[method-assign]
    cluster._meet(cluster.hosts[3])
    wait(cluster, in_epoch(1))
    assert muted == [True]
    wait(cluster, lambda core: not core.standing.muted, 30_000, places=[3])
    assert cluster.hosts[3].core.standing.incarnation == 1
    after(cluster)
