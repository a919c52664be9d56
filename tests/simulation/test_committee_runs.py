"""Whole committees on virtual time: crashes, delays, cuts, and what must hold whatever happens. A seed is a run."""

from __future__ import annotations

import random

import pytest
from core_kit import all_sequenced, check_safety, faults_against, results, sequenced, submit

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import PeerUp, ProposalRecord, VoteRecord
from mpc_sequencer.core.messages import OrdersExecuted, OrdersFinal
from mpc_sequencer.core.types import FINALIZE, NULLIFY
from mpc_sequencer.sim import Cluster, Network, make_deployment


def drive(cluster: Cluster, rng: random.Random, turns: int, *, orders: int = 2, step_ms: int = 70) -> set[bytes]:
    """Send orders to members picked at random; ids of those sent to one that never stops."""
    d, sent = cluster.deployment, {}
    for _ in range(turns):
        alive = [node for node in range(d.committee.n) if node not in cluster.stopped]
        for _ in range(orders):
            node = rng.choice(alive)
            order = d.order(
                rng.choice(d.traders),
                cluster.now_ms,
                side=rng.choice((1, 2)),
                price_ticks=618_000 + rng.randint(-9, 9),
                time_in_force=rng.choice((1, 2)),
            )
            sent[order.order_id()] = node
            submit(cluster, node, order)
        cluster.run(step_ms)
    return {order_id for order_id, node in sent.items() if node not in cluster.stopped}


def reconnect(cluster: Cluster, one: int, other: int) -> None:
    """A cut link is up again, as both ends see it."""
    cluster.network.cut -= {(one, other), (other, one)}
    cluster.at(cluster.now_ms, one, PeerUp(other))
    cluster.at(cluster.now_ms, other, PeerUp(one))


@pytest.mark.parametrize(("n", "seed"), [(4, 1), (4, 2), (4, 3), (7, 4), (7, 5)])
def test_f_members_crash_at_random_times_and_every_order_at_a_survivor_is_final(n: int, seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(
        make_deployment(n, seed=seed), seed=seed, network=Network(delay_ms=lambda r, _s, _t: r.randint(1, 40))
    )
    crash_at = sorted(cluster.now_ms + rng.randint(50, 900) for _ in range((n - 1) // 3))
    ids: set[bytes] = set()
    for node, at_ms in zip(rng.sample(range(n), len(crash_at)), crash_at, strict=True):
        ids |= drive(cluster, rng, max(1, (at_ms - cluster.now_ms) // 70))
        cluster.stop(node)
    sent_to_survivors = drive(cluster, rng, 5)
    alive = set(range(n)) - cluster.stopped
    ids = sent_to_survivors | {i for i in ids if any(i in cluster.cores[node].pool for node in alive)}
    assert cluster.run(20_000, until=all_sequenced(ids, alive))
    cluster.run(3_000)
    check_safety(cluster)
    for node in alive:
        core = cluster.cores[node]
        assert core.execution.executed_height == core.execution.certified_height > 0
        assert results(cluster, node) == results(cluster, min(alive))
    assert not faults_against(cluster, set(range(n))), "nobody honest is accused"


@pytest.mark.parametrize("seed", range(3))
def test_long_delays_and_reordering_only_slow_it_down(seed: int) -> None:
    cluster = Cluster(
        make_deployment(4, seed=seed), seed=seed, network=Network(delay_ms=lambda r, _s, _t: r.randint(0, 400))
    )
    ids = drive(cluster, random.Random(seed), 6)
    assert cluster.run(60_000, until=all_sequenced(ids, set(range(4))))
    cluster.run(6_000)
    check_safety(cluster)
    assert not faults_against(cluster, set(range(4)))


@pytest.mark.parametrize("seed", range(3))
def test_one_way_cuts_heal(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed)
    ids = drive(cluster, rng, 3)
    one, other, third = rng.sample(range(4), 3)
    cluster.network.cut |= {(one, other), (other, third)}
    ids |= drive(cluster, rng, 10)
    reconnect(cluster, one, other)
    reconnect(cluster, other, third)
    ids |= drive(cluster, rng, 3)
    assert cluster.run(20_000, until=all_sequenced(ids, set(range(4))))
    cluster.run(3_000)
    check_safety(cluster)
    assert len({frozenset(results(cluster, node).items()) for node in range(4)}) == 1


@pytest.mark.parametrize("node", range(4))
def test_a_member_that_was_cut_off_comes_back_with_the_same_blocks_and_results(node: int) -> None:
    cluster = Cluster(make_deployment(4))
    rng = random.Random(node)
    others = set(range(4)) - {node}
    ids = drive(cluster, rng, 2)
    cluster.network.cut |= {(node, peer) for peer in others} | {(peer, node) for peer in others}
    ids |= {i for i in drive(cluster, rng, 10) if any(i in cluster.cores[peer].pool for peer in others)}
    for peer in others:
        reconnect(cluster, node, peer)
    assert cluster.run(20_000, until=all_sequenced(ids, set(range(4))))
    cluster.run(4_000)
    check_safety(cluster)
    assert results(cluster, node) == results(cluster, min(others))


def test_no_quorum_no_progress_and_on_again_when_it_is_back() -> None:
    cluster = Cluster(make_deployment(4))
    drive(cluster, random.Random(1), 3)
    halves = [(a, b) for a in (0, 1) for b in (2, 3)]
    cluster.network.cut |= {*halves, *((b, a) for a, b in halves)}
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    submit(cluster, 0, order)
    cluster.run(40_000)
    assert not any(order.order_id() in sequenced(cluster, node) for node in range(4))
    for a, b in halves:
        reconnect(cluster, a, b)
    assert cluster.run(30_000, until=all_sequenced({order.order_id()}, set(range(4))))
    cluster.run(3_000)
    check_safety(cluster)


def test_a_batch_that_becomes_final_long_after_its_orders_expired_is_still_executed() -> None:
    """Finality is lost for a minute; the bodies must still be there when it comes."""
    cluster = Cluster(make_deployment(4))
    d = cluster.deployment
    label = d.label(d.traders[0].address, cluster.now_ms, life_ms=400)
    order = d.envelope(d.traders[0], label, d.plaintext(d.traders[0], d.limit_order(d.traders[0], label)))
    submit(cluster, 0, order)
    everything = {(a, b) for a in range(4) for b in range(4)}
    notarized = lambda c: all(any(e.block.batch for e in core.chain._entries.values()) for core in c.cores)  # noqa: E731
    assert cluster.run(400, until=notarized)
    assert all(core.chain.final_height == 0 for core in cluster.cores)
    cluster.network.cut |= everything
    cluster.run(70_000)
    cluster.network.cut.clear()
    for a, b in everything:
        if a < b:
            reconnect(cluster, a, b)
    assert cluster.run(30_000, until=all_sequenced({order.order_id()}, set(range(4))))
    cluster.run(3_000)
    check_safety(cluster)
    assert all(results(cluster, node) for node in range(4))


def test_an_idle_committee_is_quiet_and_a_lone_order_is_fast() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(1_000)
    before = cluster.messages
    cluster.run(10_000)
    rate = (cluster.messages - before) / 10
    assert rate < 120, f"{rate} messages a second: a heartbeat block each {limits.HEARTBEAT_MS} ms and no more"
    cluster.run(777)
    began = cluster.now_ms
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    submit(cluster, 2, order)
    assert cluster.run(2_000, until=all_sequenced({order.order_id()}, set(range(4))))
    assert cluster.now_ms - began <= 150
    cluster.run(100)
    kinds = [type(reply) for _, reply in cluster.replies[1]]
    assert kinds.index(OrdersFinal) < kinds.index(OrdersExecuted)


def test_after_a_burst_of_work_no_view_of_an_idle_committee_is_nullified() -> None:
    cluster = Cluster(make_deployment(4))
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    submit(cluster, 0, order)
    cluster.run(3 * limits.HEARTBEAT_MS)
    votes = [one.vote.kind for records in cluster.records for one in records if isinstance(one, VoteRecord)]
    assert FINALIZE in votes
    assert NULLIFY not in votes


def test_f_plus_1_fresh_heads_are_enough_for_a_lone_order_after_a_long_silence() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(2 * limits.HEARTBEAT_MS + 3_000)
    leader = cluster.deployment.committee.leader(cluster.cores[0].simplex.view)
    others = [node for node in range(4) if node != leader]
    assert cluster.cores[leader].lists.heads(others[0])[0][0].time_ms < cluster.now_ms - limits.BLOCK_TIME_SKEW_MS_MAX
    cluster.network.cut.update((node, leader) for node in others[1:])
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    for node in range(4):
        submit(cluster, node, order, client=1 + node)
    cluster.run(50)
    proposed = [one.block for one in cluster.records[leader] if isinstance(one, ProposalRecord)][-1]
    assert [entry.order_id for entry in proposed.batch] == [order.order_id()]
    fresh = [head.node for head in proposed.heads if head.time_ms > cluster.now_ms - 100]
    assert sorted(fresh) == sorted([leader, others[0]])
    assert len(proposed.heads) == cluster.deployment.committee.q


def test_an_order_sent_to_one_member_reaches_the_batch_though_its_list_travels_alone() -> None:
    cluster = Cluster(make_deployment(7))
    order = cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms)
    submit(cluster, 6, order)
    assert cluster.run(3_000, until=all_sequenced({order.order_id()}, set(range(7))))
    listed = [core.pool.get(order.order_id()).list_number for core in cluster.cores]  # type: ignore[union-attr]
    assert all(listed), "every member vouches for the body it fetched"


def test_a_seed_is_a_run() -> None:
    runs = []
    for _ in range(2):
        network = Network(delay_ms=lambda r, _s, _t: r.randint(1, 90))
        cluster = Cluster(make_deployment(4, seed=9), seed=9, network=network)
        drive(cluster, random.Random(9), 5)
        cluster.run(2_000)
        runs.append([cluster.messages, *cluster.logs])
    assert runs[0] == runs[1]


def test_a_leader_goes_on_with_older_heads_while_bodies_of_the_newest_lists_are_on_their_way() -> None:
    """Each order reaches one member or two; there is hardly a moment at which every listed body is everywhere."""
    rng = random.Random(1)
    cluster = Cluster(make_deployment(4, seed=1), seed=1, network=Network(delay_ms=lambda _r, _s, _t: 15))
    d, members = cluster.deployment, list(range(4))
    for _ in range(14):
        for _ in range(rng.randint(0, 3)):
            trader, price_ticks = rng.choice(d.traders), 618_000 + rng.randint(-5, 5)
            order = d.order(trader, cluster.now_ms, side=rng.choice((1, 2)), price_ticks=price_ticks)
            for node in {rng.choice(members), rng.choice(members)}:
                submit(cluster, node, order)
        cluster.run(rng.randint(5, 120))
    assert min(core.chain.final_height for core in cluster.cores) >= 5
