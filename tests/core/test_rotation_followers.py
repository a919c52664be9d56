"""Who follows a rotation without a place in the committee signs nothing of it, and a member that the others have left
behind in the old epoch comes after them by their logs."""

from __future__ import annotations

from functools import cache

from mpc_sequencer.core.messages import Submit
from mpc_sequencer.core.transcript import SettlementEntry
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

OLD, NEW = range(4), range(7)
LATE = 2


@cache
def rotated() -> tuple[Deployment, Cluster]:
    """A committee of four that three more people join; one old member hears nothing while it ends."""
    d = make_deployment(4, seed=3, joiners=3)
    cluster = Cluster(d, seed=4)
    for joiner in range(3):
        cluster.join(joiner)
    cluster.run(500)
    cluster.approve(d.next_committee(NEW, 5), OLD)
    order = d.order(d.traders[0], cluster.now_ms)
    for node in OLD:
        cluster.request(node, Submit(1, (order,), True), client=1 + node)
    assert cluster.run(5_000, until=lambda c: c.cores[0].succession.outcome is not None)
    cluster.network.cut = {(place, LATE) for place in NEW} | {(LATE, place) for place in NEW}
    assert cluster.run(10_000, until=lambda c: all(c.hosts[place].epoch == 1 for place in NEW if place != LATE))
    assert cluster.hosts[LATE].epoch == 0
    cluster.network.cut = set()
    return d, cluster


def test_a_member_left_behind_in_the_old_epoch_comes_after_the_others() -> None:
    _, cluster = rotated()
    assert cluster.run(15_000, until=lambda c: c.hosts[LATE].epoch == 1)
    assert cluster.run(15_000, until=lambda c: c.hosts[LATE].core.chain.final_height == c.cores[0].chain.final_height)


def test_who_follows_gives_no_signature_to_a_settlement() -> None:
    d, cluster = rotated()
    for place in NEW[4:]:
        entry = next(one for one in cluster.hosts[place].disk.log if isinstance(one, SettlementEntry))
        assert {node for node, _ in entry.signatures} <= set(OLD) and len(entry.signatures) == d.committee.q
