"""When a member takes itself for loaded: orders wait, or the last final block held many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from core_kit import all_sequenced, submit

from mpc_sequencer.core import limits
from mpc_sequencer.core.application import NodeApplication
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.sim import Cluster, make_deployment

MANY = limits.BLOCK_LOADED_ORDERS


@pytest.mark.parametrize(
    ("pending", "last_batch", "loaded"), [(MANY - 1, MANY - 1, False), (MANY, 0, True), (0, MANY, True), (0, 0, False)]
)
def test_blocks_fill_while_many_wait_and_right_after_a_large_block(pending: int, last_batch: int, loaded: bool) -> None:
    core: Any = SimpleNamespace(pool=SimpleNamespace(pending=pending), last_batch_orders=last_batch)
    assert NodeApplication(cast(NodeCore, core)).loaded() is loaded


def test_a_member_counts_what_its_last_final_block_batched() -> None:
    d = make_deployment(4, seed=5)
    cluster = Cluster(d, seed=6)
    orders = [d.order(d.traders[i % 4], cluster.now_ms) for i in range(MANY)]
    for node in range(4):
        submit(cluster, node, *orders)
    seen: set[int] = set()

    def batched(c: Cluster) -> bool:
        seen.add(c.cores[0].last_batch_orders)
        return all_sequenced({one.order_id() for one in orders}, {0})(c)

    assert cluster.run(20_000, until=batched)
    assert 0 < max(seen) <= MANY, "it stayed at what it began with"
