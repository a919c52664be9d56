"""Committees whose market matches orders one after the other: members agree, and the log alone gives the same."""

from __future__ import annotations

import pytest
from core_kit import check_safety, results, submit

from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.market import RECEIVE, SHUFFLE
from mpc_sequencer.market.types import OrderPolicy
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import MARKET

HEIGHTS = 4


@pytest.mark.parametrize(("policy", "n"), [(SHUFFLE, 4), (RECEIVE, 5)])
def test_members_and_auditor_agree_where_orders_meet_one_after_the_other(policy: OrderPolicy, n: int) -> None:
    d = make_deployment(n, policy=policy)
    cluster = Cluster(d)
    for height in range(HEIGHTS):
        asks = [d.order(d.traders[0], cluster.now_ms, side=SELL, price_ticks=618_000 + i) for i in range(3)]
        bids = [
            d.order(one, cluster.now_ms, side=BUY, price_ticks=618_002, quantity_lots=14) for one in d.traders[1:]
        ]
        submit(cluster, height % n, *asks, *bids)
        cluster.run(900)
    cluster.run(3_000)
    check_safety(cluster)
    assert len(results(cluster, 2)) >= HEIGHTS
    audit = Audit(d.committee)
    for entry in cluster.logs[2]:
        audit.add(entry)
    assert audit.recorder.findings == []
    assert audit.results.results == results(cluster, 2)
    assert audit.results.fills == cluster.cores[2].board.fills > 0
    sequences = [order.sequence for order in audit.execution.state.resting[MARKET.id].values()]
    assert sequences and len(set(sequences)) == len(sequences) and min(sequences) >= 1
