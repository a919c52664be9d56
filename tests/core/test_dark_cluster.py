"""Dark batches in a committee of cores: from sealed orders to fills, through words in the log and rounds beside it."""

from __future__ import annotations

import pytest
from core_kit import check_safety, submit

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from mpc_sequencer.sim.darktrade import DarkSent, DarkTerms, dark_order
from mpc_sequencer.sim.deployment import DARK_MARKET

FIRST_TICKS = 617_960


@pytest.fixture
def running() -> tuple[Deployment, Cluster]:
    d = make_deployment(5, seed=21, dark=DARK_MARKET)
    cluster = Cluster(d, seed=21)
    assert cluster.run(5_000, lambda c: all(core.dark.desk.keys for core in c.cores))
    return d, cluster


def send(d: Deployment, cluster: Cluster, trader: int, side: int, tick: int, lots: int, **terms: object) -> DarkSent:
    keys = cluster.cores[0].dark.desk.keys
    price_ticks = FIRST_TICKS + 10 * tick
    made = DarkTerms(side, price_ticks, lots, **terms)
    sent = dark_order(d, DARK_MARKET, keys, d.traders[trader], cluster.now_ms, made)
    submit(cluster, trader % 5, sent.envelope)
    return sent


def ended(cluster: Cluster, node: int, sent: DarkSent) -> tuple[str, int, int] | None:
    disk = cluster.hosts[node].disk
    rows = {**disk.updates, **disk.fresh_updates}
    found = [row for (order_id, _), row in rows.items() if order_id == sent.envelope.order_id()]
    return (found[-1].code, found[-1].filled_lots, found[-1].price_ticks) if found else None


def test_a_batch_settles_end_to_end(running: tuple[Deployment, Cluster]) -> None:
    d, cluster = running
    sent = [
        send(d, cluster, 0, BUY, 5, 7),
        send(d, cluster, 1, SELL, 3, 4),
        send(d, cluster, 2, SELL, 4, 5),
        send(d, cluster, 3, BUY, 2, 9),
    ]
    assert cluster.run(20_000, lambda c: all(ended(c, node, one) for node in range(5) for one in sent))
    for node in range(5):
        print([ended(cluster, node, one) for one in sent])
    check_safety(cluster)
    print(cluster.faults, cluster.now_ms)
    assert not cluster.faults
