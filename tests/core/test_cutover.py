"""What a member keeps and gives up when it goes over to the next epoch, and what a peer's word for one is worth."""

from __future__ import annotations

import pytest

from mpc_sequencer.core import keys, limits
from mpc_sequencer.core.effects import FromClient, PeerAhead, Reply, RetireSecret
from mpc_sequencer.core.keys import share_name
from mpc_sequencer.core.messages import FetchLog, LogSlice, OrdersExecuted, Submit
from mpc_sequencer.core.recovery import restore
from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import SecretShare


def committee(*, joiners: int = 1, key_refresh_ms: int = 0) -> Cluster:
    cluster = Cluster(make_deployment(4, seed=3, joiners=joiners, key_refresh_ms=key_refresh_ms), seed=4)
    for joiner in range(joiners):
        cluster.join(joiner)
    cluster.run(500)
    return cluster


def rotate(cluster: Cluster, target: NextCommittee, epoch: int = 1) -> None:
    cluster.approve(target, range(4))
    assert cluster.run(8 * limits.KEY_WINDOW_MS, until=lambda c: all(h.epoch == epoch for h in c.hosts))
    cluster.run(5_000)  # the log is signed, and what was retired before that is erased


def test_shares_of_the_epochs_before_are_erased_everywhere() -> None:
    cluster = committee(key_refresh_ms=20_000)
    cluster.run(45_000)
    old = [dict(core.reveal.secrets) for core in cluster.cores]
    assert max(old[0]) >= 1, "the key was shared anew in the first epoch"
    rotate(cluster, cluster.deployment.next_committee((0, 1, 2, 4), 3))
    for held in old:
        for share in held.values():
            with pytest.raises(ValueError):
                share.export()
    number = max(cluster.cores[0].committee.sharings)
    for place in (0, 1, 2, 4):
        host = cluster.hosts[place]
        assert [name for name in host.disk.vault if name.startswith("share-")] == [share_name(number)]
        assert list(host.core.reveal.secrets) == [number]
    left = cluster.hosts[3]
    assert left.core.node == left.core.committee.n and not left.disk.vault and not left.core.reveal.secrets


def test_a_start_after_the_cutover_retires_what_a_crash_has_left() -> None:
    cluster = committee()
    rotate(cluster, cluster.deployment.next_committee((0, 1, 2, 4), 3))
    host = cluster.hosts[0]
    later = cluster._epoch_core(host, host.core.committee.own())
    spare = SecretShare(1, bytes(31) + b"\x07")
    left = {**host.disk.vault, share_name(0): keys.encode_share(spare)}
    later.keygen.shares._kept = {
        int(name.removeprefix("share-")): one for name, one in left.items() if name.startswith("share-")
    }
    assert host.disk.snapshot is not None
    restore(later, host.disk.snapshot, (), cluster.now_ms)
    effects = later.start(cluster.now_ms)
    assert [one for one in effects if isinstance(one, RetireSecret)] == [RetireSecret(share_name(0))]


def test_who_only_says_it_is_in_a_later_epoch_holds_up_nothing() -> None:
    cluster = committee(joiners=0)
    core = cluster.cores[0]
    asked = [
        one.message
        for one in core.step(PeerAhead(2), cluster.now_ms) + core.flush(cluster.now_ms)
        if isinstance(getattr(one, "message", None), FetchLog)
    ]
    assert asked == [FetchLog(core.chain.final_height + 1, 0)]
    assert not core.catchup.lags, "key sessions go on"
    assert core.even
    core.catchup.on_slice(2, LogSlice((), 0))
    assert core.even


def test_clients_are_told_in_the_next_epoch_of_what_they_watched_in_the_one_before() -> None:
    cluster = committee(joiners=0)
    core, d = cluster.cores[0], cluster.deployment
    order = d.order(d.traders[0], cluster.now_ms)
    core.step(FromClient(7, Submit(1, (order,), True)), cluster.now_ms)
    core.work(cluster.now_ms)
    queued = d.order(d.traders[1], cluster.now_ms)
    core.step(FromClient(8, Submit(2, (queued,), True)), cluster.now_ms)
    later = cluster._new_core(0)
    later.gateway.inherit(core.gateway)
    assert queued.order_id() in later.gateway
    later.start(cluster.now_ms)
    later.work(cluster.now_ms)
    later.gateway.effects.clear()
    later.gateway.executed(9, {order.order_id(): None, queued.order_id(): None}, set())  # type: ignore[dict-item]
    told = [one for one in later.gateway.effects if isinstance(one, Reply)]
    assert {one.client for one in told} == {7, 8} and all(isinstance(one.message, OrdersExecuted) for one in told)


def test_a_log_that_is_whole_leads_over_every_epoch_by_itself() -> None:
    cluster = committee(joiners=2)
    d = cluster.deployment
    for epoch, people in ((1, (0, 1, 2, 4)), (2, (0, 1, 2, 5))):
        for _ in range(4):
            order = d.order(d.traders[0], cluster.now_ms)
            for place in range(3):
                cluster.at(cluster.now_ms, place, FromClient(1, Submit(1, (order,), False)))
            cluster.run(100)
        target = d.next_committee(people, 3)
        cluster.approve(target, [host.place for host in cluster.hosts if host.core.node < host.core.committee.n])
        following = [cluster.hosts[place] for place in people]
        assert cluster.run(8 * limits.KEY_WINDOW_MS, until=lambda c: all(h.epoch == epoch for h in following))  # noqa: B023
    cluster.run(3_000)
    host = cluster.hosts[1]
    height = host.core.chain.final_height
    host.power_off(cluster._rng)
    host.disk.sign_log(len(host.disk.log))
    host.disk.wipe(keep_log=True)
    for other in cluster.hosts:
        cluster.network.cut |= {(1, other.place), (other.place, 1)}
    cluster.restart(1, damaged=True)
    assert host.epoch == 2 and host.core.chain.final_height == height
