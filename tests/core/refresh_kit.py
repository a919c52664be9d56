"""A committee of four whose key is shared anew, and orders sent to it."""

from __future__ import annotations

from mpc_sequencer.core import keys, limits
from mpc_sequencer.core.messages import Submit
from mpc_sequencer.sim import Cluster, make_deployment

REFRESH_MS = 20_000
NODES = range(4)


def committee_of_four(*, generated: bool = True, refresh_ms: int = REFRESH_MS) -> Cluster:
    """Members that have a key."""
    d = make_deployment(4, seed=3, generated=generated, key_refresh_ms=refresh_ms)
    cluster = Cluster(d, seed=4)
    assert cluster.run(5_000, until=lambda c: all(core.committee.sharings for core in c.cores))
    if generated:
        certificate = cluster.cores[0].committee.sharing(0).certificate
        assert certificate is not None
        keys.establish(d.committee, certificate)
    return cluster


def trade(cluster: Cluster, *nodes: int) -> int:
    """An order to all that are up; the height it was executed at."""
    d = cluster.deployment
    order = d.order(d.traders[0], cluster.now_ms)
    up = [node for node in NODES if node not in cluster.stopped]
    for node in up:
        cluster.request(node, Submit(1, (order,), True), client=1 + node)

    def executed(c: Cluster) -> bool:
        pooled = [c.cores[node].pool.get(order.order_id()) for node in up]
        return all(one is not None and one.sequenced_height for one in pooled) and all(
            c.cores[node].execution.executed_height >= one.sequenced_height
            for node, one in zip(up, pooled, strict=True)
            if one is not None
        )

    assert cluster.run(8_000, until=executed)
    return max(cluster.cores[node].execution.executed_height for node in up)


def refreshed(cluster: Cluster, number: int, nodes: range | list[int] = NODES) -> None:
    assert cluster.run(
        3 * REFRESH_MS + 8 * limits.KEY_WINDOW_MS,
        until=lambda c: all(number in c.cores[node].committee.sharings for node in nodes),
    ), [core.keygen.phase for core in cluster.cores]
    cluster.run(300)


def checkpointed(cluster: Cluster) -> None:
    """All logs are durable, and what waits for that is erased."""
    cluster.run(2 * limits.HEARTBEAT_MS)
