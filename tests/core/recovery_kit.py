"""Clusters under load whose members lose power, and what must hold of all of them afterwards."""

from __future__ import annotations

import random
from collections import Counter

from core_kit import submit

from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import ListRecord, Record, VoteRecord
from mpc_sequencer.core.transcript import LogEntry, entry_key
from mpc_sequencer.sim import Cluster, make_deployment


def load(cluster: Cluster, rng: random.Random, orders: int) -> None:
    """Orders to members that are up, some of them to two."""
    up = [host.node for host in cluster.hosts if host.up]
    for _ in range(orders):
        trader = rng.choice(cluster.deployment.traders)
        price_ticks = 618_000 + rng.randint(-5, 5)
        order = cluster.deployment.order(trader, cluster.now_ms, side=rng.choice((1, 2)), price_ticks=price_ticks)
        for node in {rng.choice(up), rng.choice(up)}:
            submit(cluster, node, order)


def drive(cluster: Cluster, rng: random.Random, turns: int, orders: int = 3) -> None:
    for _ in range(turns):
        load(cluster, rng, rng.randint(0, orders))
        cluster.run(rng.randint(5, 120))


def check_all(cluster: Cluster) -> None:
    """Everything is executed alike everywhere, nobody is accused, every log passes its audit."""
    assert not cluster.faults and not cluster.evidence
    for _ in range(30):  # a heartbeat block may be on its way
        if len({core.chain.final_id for core in cluster.cores}) == 1:
            break
        cluster.run(100)
    heads = {(core.chain.final_id, core.execution.executed_height) for core in cluster.cores}
    assert len(heads) == 1, heads
    assert len({core.execution.engine.state_root() for core in cluster.cores}) == 1
    assert len({core.board.sequenced for core in cluster.cores}) == 1
    for log in cluster.logs:
        keys = [entry_key(entry) for entry in log]
        assert not [key for key, times in Counter(keys).items() if times > 1], "an entry is in the log twice"
        assert not audit(cluster, log)


def audit(cluster: Cluster, log: list[LogEntry]) -> list[str]:
    verdict = Audit(cluster.deployment.committee)
    for index, entry in enumerate(log):
        verdict.recorder.entry_index = index
        verdict.add(decode(LogEntry, encode(entry)))
    verdict.finish()
    return [f"{finding.code}: {finding.detail}" for finding in verdict.recorder.findings]


def signed_once(records: list[Record]) -> None:
    """One vote of a kind a view, none against another; one list of a number."""
    votes: dict[tuple[int, int], bytes] = {}
    lists: dict[tuple[int, int], bytes] = {}
    for record in records:
        if isinstance(record, VoteRecord):
            vote = record.vote
            assert votes.setdefault((vote.kind, vote.view), vote.block_id) == vote.block_id
        elif isinstance(record, ListRecord):
            one = record.order_list
            assert lists.setdefault((one.incarnation, one.number), one.struct_hash()) == one.struct_hash()
    for kind, view in votes:
        assert not (kind == 2 and (3, view) in votes), "nullify and finalize in one view"


def behind(seed: int, turns: int = 40) -> tuple[Cluster, random.Random]:
    """A committee whose member 3 has been away for long, with a pool that has forgotten."""
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed)
    drive(cluster, rng, 3)
    cluster.stop(3)
    for _ in range(turns):
        load(cluster, rng, 2)
        cluster.run(120)
    for core in cluster.cores[:3]:
        for order_id in [i for i, pooled in core.pool._orders.items() if pooled.sequenced_height]:
            del core.pool._orders[order_id]
        core.pool._expiry = [row for row in core.pool._expiry if row[1] in core.pool._orders]
    return cluster, rng
