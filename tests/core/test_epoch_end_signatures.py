"""Who lacks signatures over an epoch's last range gets them: from those who signed it, though they have left, or out of
any log that has them."""

from __future__ import annotations

import pytest

from mpc_sequencer.core.messages import LogSlice, PeerMessage, SettlementShare, Submit
from mpc_sequencer.sim import Cluster, make_deployment

OLD, NEW = range(4), (2, 4, 5, 6)
LATE = 2
"""The only member of both committees."""


def replaced(drops: tuple[type, ...], *, leavers_too: bool) -> Cluster:
    """A committee of four that four others replace but for one, which gets none of ``drops``: from members of the old
    epoch, or from nobody."""

    def tamper(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        old = cluster.hosts[sender].epoch == 0
        return None if receiver == LATE and isinstance(message, drops) and (old or leavers_too) else message

    d = make_deployment(4, seed=5, joiners=3)
    cluster = Cluster(d, seed=6)
    cluster.network.tamper = tamper
    for joiner in range(3):
        cluster.join(joiner)
    order = d.order(d.traders[0], cluster.now_ms)
    for node in OLD:
        cluster.request(node, Submit(1, (order,), True), client=1 + node)
    cluster.run(500)
    cluster.approve(d.next_committee(NEW, 3), OLD)
    others = [place for place in range(7) if place != LATE]
    assert cluster.run(20_000, until=lambda c: all(c.hosts[place].epoch == 1 for place in others))
    return cluster


@pytest.mark.parametrize(
    ("drops", "leavers_too"),
    [((SettlementShare,), True), ((SettlementShare, LogSlice), False)],
    ids=("logs", "leavers"),
)
def test_a_member_without_the_last_ranges_signatures_goes_over_late(
    drops: tuple[type, ...], leavers_too: bool
) -> None:
    cluster = replaced(drops, leavers_too=leavers_too)
    assert cluster.run(15_000, until=lambda c: c.hosts[LATE].epoch == 1)
