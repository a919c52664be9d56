"""Shares of the key across a rotation: what is erased, what does not combine, and what a thief cannot open."""

from __future__ import annotations

import itertools

import pytest
from rotation_kit import cluster_of, executed, in_epoch, rotate, target_of, trade, wait

from mpc_sequencer.core import limits
from mpc_sequencer.core.keys import decode_share
from mpc_sequencer.sim import Cluster
from threshold import SecretShare, combine, group

JOINERS = (4, 5, 6)


def durable(cluster: Cluster) -> None:
    """All logs are durable, and what waits for that is erased."""
    cluster.run(2 * limits.HEARTBEAT_MS)


def vaults(cluster: Cluster) -> list[list[str]]:
    return [sorted(host.disk.vault) for host in cluster.hosts]


@pytest.mark.parametrize("people", [range(7), range(4, 8)])
def test_who_goes_on_and_who_leaves_erase_the_old_epoch_s_share(people: range) -> None:
    cluster = cluster_of(generated=True, joiners=4)
    rotate(cluster, target_of(cluster, people))
    durable(cluster)
    assert vaults(cluster) == [["share-1"] if place in people else [] for place in range(8)]
    assert all(set(host.core.reveal.secrets) <= {1} for host in cluster.hosts)
