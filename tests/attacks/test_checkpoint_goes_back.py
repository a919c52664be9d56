"""Attack: members name checkpoints below the ancestors', or leave new ones out, so that credits vanish or forced orders
are never due.

A block's checkpoint is never below its parent's, whatever its heads name. Members whose node was set back stand alone:
their own node's older word is refused and told to their operator.

Evidence: none: which checkpoint a head names is its member's own word; a header that goes back gets no vote
(`block.derived`), an own node that does is not believed (`chain.number`).
"""

from __future__ import annotations

from functools import partial

from chain_kit import HandChain, deposit, taken_up
from core_kit import make_head
from evidence_kit import evidence_left
from msgspec.structs import replace

from mpc_sequencer.core.agreement import Rejected
from mpc_sequencer.core.effects import ChainSeen, Fault
from mpc_sequencer.sim import Cluster, make_deployment

D = make_deployment(4, seed=51)
GENESIS = D.committee.genesis.checkpoint


def advanced() -> tuple[Cluster, HandChain]:
    cluster, chain = Cluster(D, seed=51), HandChain(D)
    chain.block(deposit(D.traders[0].address, 0, 9))
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    return cluster, chain


def test_heads_that_all_name_an_older_checkpoint_leave_it_where_it_is() -> None:
    cluster, chain = advanced()
    core = cluster.cores[0]
    view, state = core.simplex.view + 1, core.chain.final_state
    last = [state.last_lists[node] for node in range(4)]
    assert all(number == 0 for number, _ in last)
    for node in range(4):
        head = make_head(D, node, view, cluster.now_ms, checkpoint=GENESIS)
        core.lists.add_head(head, head.struct_hash())
    built = core.chain._rule.build(state, view)
    assert built is not None
    block, derived = built
    assert block.header.checkpoint == chain.newest and derived.intake.taken == ()
    back = replace(block, header=replace(block.header, checkpoint=GENESIS))
    verdict = core.chain.check(back, None)
    assert isinstance(verdict, Rejected) and verdict.error.field == "BlockHeader.checkpoint"
    assert evidence_left(cluster) == set()


def test_a_chain_node_that_was_set_back_is_told_to_the_operator() -> None:
    cluster, _ = advanced()
    core = cluster.cores[0]
    newest = core.chain_view.newest
    for older in (GENESIS, newest, replace(newest, block_hash=bytes(32))):
        (fault,) = core.step(ChainSeen(older, (), ()), cluster.now_ms)
        assert isinstance(fault, Fault) and fault.code == "chain.number" and fault.node == 0
    assert core.chain_view.newest == newest
