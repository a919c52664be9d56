"""Attack: f members take part in everything but never send a decryption share, or send some, much later.

t <= n - f shares decrypt, so the others open every batch; and a bundle that was lost is asked for again.

Evidence: none: silence cannot be told from a bad network.
"""

import pytest
from core_kit import all_sequenced, check_safety, results, submit
from evidence_kit import evidence_left

from mpc_sequencer.core.messages import BundleMessage, FetchBundle, PeerMessage
from mpc_sequencer.core.transcript import OpenedEntry
from mpc_sequencer.sim import Cluster, make_deployment


@pytest.mark.parametrize(("n", "withholders"), [(4, {0}), (7, {2, 6})])
def test_batches_open_without_the_withholders(n: int, withholders: set[int]) -> None:
    d = make_deployment(n)
    cluster = Cluster(d)
    cluster.network.tamper = lambda sender, _, message: (
        None if sender in withholders and isinstance(message, BundleMessage) else message
    )
    orders = [d.order(d.traders[i % 4], cluster.now_ms) for i in range(6)]
    for i, order in enumerate(orders):
        submit(cluster, i % n, order)
    cluster.run(8_000)
    check_safety(cluster)
    for node in range(n):
        opened = {one.opened.order_id for one in cluster.logs[node] if isinstance(one, OpenedEntry)}
        assert opened == {order.order_id() for order in orders}
        assert results(cluster, node)
    assert cluster.faults == []
    assert evidence_left(cluster) == set()


def test_bundles_that_were_lost_are_fetched() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    asked: list[int] = []

    def lossy(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if isinstance(message, FetchBundle):
            asked.append(sender)
        return None if isinstance(message, BundleMessage) and sender not in asked and not asked else message

    cluster.network.tamper = lossy
    order = d.order(d.traders[0], cluster.now_ms)
    submit(cluster, 0, order)
    assert cluster.run(5_000, until=all_sequenced({order.order_id()}, set(range(4))))
    cluster.run(3_000)
    assert asked
    assert all(results(cluster, node) for node in range(4))
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
