"""Attack: vote equivocation after restart. A member loses power in the middle of its votes, with a tail of its journal
torn off, and everybody tempts it to vote again for something else.

What it has sent was durable before, so it never signs against it.

Evidence: none: what it sent was durable before, so it signs nothing against it.
"""

from __future__ import annotations

import random

import pytest
from core_kit import submit

from mpc_sequencer.core.effects import Broadcast, Effect, Send
from mpc_sequencer.core.messages import ListMessage, Proposal, VoteMessage
from mpc_sequencer.core.types import FINALIZE, NULLIFY, OrderList, Vote
from mpc_sequencer.sim import Cluster, make_deployment

VICTIM = 2


class Witness(Cluster):
    """Keeps every vote and list that leaves a member."""

    def __init__(self, seed: int) -> None:
        self.votes: dict[tuple[int, int, int], set[bytes]] = {}
        self.lists: dict[tuple[int, int, int], set[bytes]] = {}
        super().__init__(make_deployment(4, seed=seed), seed=seed)

    def _observe(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Broadcast | Send):
            match effect.message:
                case VoteMessage(vote) | Proposal(vote=vote):
                    self._vote(vote)
                case ListMessage(order_list):
                    self._list(order_list)

    def _vote(self, vote: Vote) -> None:
        self.votes.setdefault((vote.node, vote.kind, vote.view), set()).add(vote.block_id)

    def _list(self, one: OrderList) -> None:
        self.lists.setdefault((one.node, one.incarnation, one.number), set()).add(one.struct_hash())

    def check(self) -> None:
        assert all(len(blocks) == 1 for blocks in self.votes.values()), "one block per member, kind and view"
        assert all(len(hashes) == 1 for hashes in self.lists.values()), "one list per number"
        for node, kind, view in self.votes:
            assert kind != NULLIFY or (node, FINALIZE, view) not in self.votes
        assert not self.evidence


@pytest.mark.parametrize("seed", range(8))
def test_vote_equivocation_after_restart(seed: int) -> None:
    cluster = Witness(seed)
    rng = random.Random(seed)
    restarts = 0
    for _ in range(14):
        for _ in range(rng.randint(1, 4)):
            order = cluster.deployment.order(rng.choice(cluster.deployment.traders), cluster.now_ms)
            for node in range(4):
                if cluster.hosts[node].up:
                    submit(cluster, node, order)
        cluster.run(rng.randint(1, 60))
        if rng.random() < 0.3:
            cluster.hosts[VICTIM].disk.take_snapshot(cluster.cores[VICTIM])
        cluster.stop(VICTIM)
        cluster.run(rng.choice((0, 3, 40, 1_600)))
        cluster.restart(VICTIM)
        restarts += 1
    cluster.run(6_000)
    cluster.check()
    assert restarts == 14 and sum(node == VICTIM for node, _, _ in cluster.votes) > 10
    assert not cluster.cores[VICTIM].standing.muted
    assert len({core.chain.final_id for core in cluster.cores}) == 1
