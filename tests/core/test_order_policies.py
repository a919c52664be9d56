"""Committees whose market matches orders one after the other: members agree, and the log alone gives the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from core_kit import check_safety, results, submit
from msgspec.structs import replace

from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.market import RECEIVE, SHUFFLE, Precedence
from mpc_sequencer.sim import Cluster, deployment

HEIGHTS = 4


def received(order_ids: Sequence[bytes]) -> list[bytes]:
    """A precedence that has nothing to do with any draw."""
    return sorted(order_ids, key=lambda order_id: hashlib.sha256(b"received" + order_id).digest())


def by_receipt(_: object) -> Precedence:
    """The same for every batch, and for every height of an audit."""
    return received


@pytest.mark.parametrize(("policy", "n"), [(SHUFFLE, 4), (RECEIVE, 5)])
def test_members_and_auditor_agree_where_orders_meet_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, policy: int, n: int
) -> None:
    monkeypatch.setattr(deployment, "MARKET", replace(deployment.MARKET, policy=policy))
    d = deployment.make_deployment(n)
    cluster = Cluster(d)
    for core in cluster.cores:
        core.execution.receive_order = by_receipt if policy == RECEIVE else None
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
    audit.results.receive_order = by_receipt if policy == RECEIVE else None
    for entry in cluster.logs[2]:
        audit.add(entry)
    assert audit.recorder.findings == []
    assert audit.results.results == results(cluster, 2)
    assert audit.results.fills == cluster.cores[2].board.fills > 0
    sequences = [order.sequence for order in audit.execution.state.resting[deployment.MARKET.id].values()]
    assert sequences and len(set(sequences)) == len(sequences) and min(sequences) >= 1
