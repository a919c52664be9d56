"""Dark markets across a rotation: the seed goes with its epoch, orders end with it, the next members agree on keys anew
and compute."""

from __future__ import annotations

from core_kit import submit
from dark_cluster_kit import Wire, dark_wire, end_of, ended, send
from rotation_kit import approve, in_epoch, target_of, wait

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.market.types import DARK_EPOCH, FILLED
from mpc_sequencer.sim.darktrade import DarkSent, DarkTerms, dark_order
from mpc_sequencer.sim.deployment import DARK_MARKET


def has_keys(core: NodeCore) -> bool:
    desk = core.dark.desk
    return desk is not None and desk.keys is not None and desk.parties.epoch == core.committee.epoch


def send_now(cluster: Wire, trader: int, side: int, tick: int, lots: int) -> DarkSent:
    """A dark order by the keys of the newest epoch."""
    keys = cluster.hosts[1].core.dark.desk.keys
    terms = DarkTerms(side, 617_960 + 10 * tick, lots)
    sent = dark_order(cluster.deployment, DARK_MARKET, keys, cluster.deployment.traders[trader], cluster.now_ms, terms)
    submit(cluster, trader, sent.envelope)
    return sent


def rotated(cluster: Wire, people: list[int]) -> None:
    wait(cluster, in_epoch(1), places=people)
    wait(cluster, has_keys, places=people)


def test_the_seed_goes_with_the_epoch_and_the_next_members_compute() -> None:
    cluster = dark_wire(joiners=1)
    cluster.join(0)
    people = [1, 2, 3, 4, 5]
    before = cluster.cores[1].dark.desk.keys
    waiting = send(cluster, 0, BUY, 5, 7)
    cluster.bend = lambda sender, _, m: ()  # what is computed in this epoch comes to nothing
    approve(cluster, target_of(cluster, people, 4), range(5))
    rotated(cluster, people)
    cluster.run(3_000)
    for place in range(5):
        assert "dark-0" not in cluster.hosts[place].disk.vault
    assert "dark-1" not in cluster.hosts[0].disk.vault, "who has left says nothing any more"
    for place in people:
        assert end_of(cluster, place, waiting) == (DARK_EPOCH, 0, 0) or place == 5
        assert cluster.hosts[place].core.dark.desk.keys.id != before.id
        assert len(cluster.hosts[place].disk.vault["dark-1"]) == 32
    cluster.bend = None
    d, committee = cluster.deployment, cluster.hosts[1].core.committee
    cluster.deployment = type(d)(committee, d.signers, (), d.inputs, d.traders, d.seed, d.joiners)
    orders = [send_now(cluster, 1, BUY, 5, 7), send_now(cluster, 2, SELL, 3, 7)]
    assert ended(cluster, orders, people)
    assert [end_of(cluster, 3, one) for one in orders] == [(FILLED, 7, 618_010), (FILLED, 7, 618_010)]
