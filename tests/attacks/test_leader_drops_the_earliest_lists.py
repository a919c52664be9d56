"""Attack: a leader keeps the earliest waiting lists out of its block, so that their orders are batched after others.

Two ways: against the rules it skips each member's first new list; within the rules it leaves out the heads that bring
most of them, down to n-f. A block holds every list between its parent's and its heads, so the first gets no vote. The
second is in vain: of any n-f heads at least f+1 are of honest members, and what all of these listed before is batched.

Evidence: none: the proposal gets no vote (`block.derived`), and which n-f heads a leader names is its choice.
"""

from __future__ import annotations

import random

import pytest
from core_kit import all_sequenced, check_safety, submit
from evidence_kit import charged, evidence_left, from_member

from mpc_sequencer.core.messages import PeerMessage, Proposal
from mpc_sequencer.core.types import Block
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.byzantine.base import Behaviour

LEADER = 1
HONEST = {0, 2, 3}


class Run:
    """Orders to every member all the time, while the leader's proposals are bent by ``bend``."""

    def __init__(self, seed: int) -> None:
        self.d = make_deployment(4, seed=seed)
        self.cluster = Cluster(self.d, seed=seed)
        self.tools = Behaviour(LEADER, self.cluster.cores[LEADER], self.d, random.Random(seed))
        self.bent: list[Block] = []
        self.first_listings = 0
        self.cluster.network.tamper = from_member(LEADER, self._on_the_wire)

    def bend(self, block: Block) -> Block | None:
        raise AssertionError("each test says how")

    def _on_the_wire(self, _receiver: int, message: PeerMessage) -> PeerMessage:
        if not isinstance(message, Proposal):
            return message

        def make(proposal: Proposal) -> Block | None:
            block = self.bend(proposal.block)
            if block is not None:
                self.bent.append(block)
            return block

        return self.tools.altered(message, make)

    def listed_by_all(self, block: Block) -> set[bytes]:
        """Orders that the new lists of every one of the block's heads hold, and that are not lifted yet."""
        core = self.cluster.cores[LEADER]
        parent = core.chain.state(block.header.parent_id)
        assert parent is not None
        told: list[set[bytes]] = []
        for head in block.heads:
            chain = core.lists.lineage(head.node, parent.last_lists[head.node], (head.list_number, head.list_hash))
            assert chain is not None
            told.append({order_id for one, _ in chain for order_id in one.entries})
        return {order_id for order_id in set.intersection(*told) if order_id not in parent.lifted}

    def run(self) -> None:
        ids = set()
        for turn in range(24):
            order = self.d.order(self.d.traders[turn % 4], self.cluster.now_ms)
            ids.add(order.order_id())
            for node in range(4):
                submit(self.cluster, node, order)
            self.cluster.run(45)
        assert self.cluster.run(20_000, until=all_sequenced(ids, HONEST))
        self.cluster.run(1_500)
        assert self.bent, "the leader did drop lists"
        check_safety(self.cluster, honest=HONEST)


def final_ids(cluster: Cluster) -> set[bytes]:
    return {entry.block_id for node in HONEST for entry in cluster.cores[node].chain._entries.values()}


@pytest.mark.parametrize("seed", range(2))
def test_a_block_that_skips_first_lists_gets_no_vote(seed: int) -> None:
    run = Run(seed)

    def skip(block: Block) -> Block | None:
        made = run.tools.block_of(block.header, block.heads, skip_first=True)
        return made if made != block else None

    run.bend = skip  # type: ignore[method-assign]
    run.run()
    assert not final_ids(run.cluster) & {block.header.block_id() for block in run.bent}
    assert charged(run.cluster, HONEST) == {(LEADER, "block.derived")}
    assert evidence_left(run.cluster) == set()


@pytest.mark.parametrize("seed", range(2))
def test_leaving_out_heads_keeps_no_order_out_that_the_honest_members_listed(seed: int) -> None:
    run = Run(seed)
    kept_back: list[bytes] = []

    def leave_out(block: Block) -> Block | None:
        if len(block.heads) == run.d.committee.q:
            return None
        due = run.listed_by_all(block)
        poorest = min(block.heads, key=lambda head: head.list_number)
        richest = max((h for h in block.heads if h is not poorest), key=lambda head: head.list_number)
        made = run.tools.block_of(block.header, tuple(head for head in block.heads if head is not richest))
        if made is not None:
            kept_back.extend(due - {entry.order_id for entry in made.batch})
            run.first_listings += len(due)
        return made

    run.bend = leave_out  # type: ignore[method-assign]
    run.run()
    assert run.first_listings, "there was something to keep out"
    assert not kept_back, "what all heads list, any n-f of them batch"
    assert final_ids(run.cluster) & {block.header.block_id() for block in run.bent}, "and that block is legal"
    assert charged(run.cluster, HONEST) == set()
    assert evidence_left(run.cluster) == set()
