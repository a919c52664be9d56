"""Attack: a leader leaves a forced order out of its block, or puts it behind others, once it is due; or makes it seem
due later by naming old heads.

What is due follows from the parent and the heads' checkpoint: a block without it is not their function and gets no
vote. Leaving heads out can hold a checkpoint back by that leader's turn and no longer. An auditor finds a batch that
lacks it.

Evidence: none: the proposal gets no vote (`block.derived`), and which n-f heads a leader names is its choice.
"""

from __future__ import annotations

from functools import partial

import pytest
from chain_kit import HandChain, forced, taken_up
from core_kit import reproposed, submit
from evidence_kit import evidence_left

from mpc_sequencer.core.agreement import Rejected
from mpc_sequencer.core.blocks import batch_root
from mpc_sequencer.core.messages import PeerMessage, Proposal
from mpc_sequencer.core.types import BatchEntry
from mpc_sequencer.sim import Cluster, Network, make_deployment
from mpc_sequencer.sim.byzantine.ignores_chain import IgnoresChain
from mpc_sequencer.sim.run import Harness

D = make_deployment(4, seed=41)


def proposal_with_forced() -> tuple[Cluster, Proposal, bytes]:
    """A leader's honest proposal whose batch has a forced order and a listed one."""
    caught: list[Proposal] = []

    def catch(_sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        if isinstance(message, Proposal) and (caught or len(message.block.batch) > 1):
            caught.append(message)
            return None
        return message

    cluster, chain = Cluster(D, seed=41, network=Network(tamper=catch)), HandChain(D)
    order, listed = (D.order(D.traders[i], cluster.now_ms) for i in range(2))
    chain.block(forced(order), blocks=4)
    cluster.run(40)
    for node in range(4):
        submit(cluster, node, listed)
    chain.tell(cluster)
    assert cluster.run(10_000, lambda c: bool(caught))
    cluster.run(100)
    return cluster, caught[0], order.order_id()


def test_a_block_that_skips_or_delays_a_due_forced_order_gets_no_vote() -> None:
    cluster, proposal, order_id = proposal_with_forced()
    batch = proposal.block.batch
    assert batch[0].order_id == order_id and len(batch) == 2
    voter = next(node for node in range(4) if node != proposal.vote.node)
    core = cluster.cores[voter]
    for name, other in {
        "skipped": batch[1:],
        "behind": batch[::-1],
        "for another": (BatchEntry(bytes(32), bytes(32)), batch[1]),
        "none at all": (),
    }.items():
        changed = reproposed(D, proposal, batch=other)
        assert changed.block.header.batch_root == batch_root(other)
        verdict = core.chain.check(changed.block, cluster.now_ms)
        assert isinstance(verdict, Rejected) and verdict.error.code == "block.derived", name
    assert not isinstance(core.chain.check(proposal.block, cluster.now_ms), Rejected)
    assert evidence_left(cluster) == set()


@pytest.mark.parametrize("seed", range(3))
def test_a_leader_that_names_the_lowest_checkpoints_only_holds_forced_orders_back_in_its_own_views(seed: int) -> None:
    harness = Harness(seed, 4, frozenset({IgnoresChain.name}))
    assert harness.run().violations == ()
    assert harness.plan.behaviours[0][1] == IgnoresChain.name
    assert harness.watched.chain is not None and harness.simulation is not None
    honest = min(harness.watched.correct)
    state = harness.simulation.cores[honest].chain.final_state.chain
    assert state.cleared_number == max(harness.watched.chain.blocks) and state.forced_head


def test_orders_of_all_members_lists_do_not_keep_a_forced_order_out_of_a_full_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mpc_sequencer.core import limits

    cluster, chain = Cluster(D, seed=42), HandChain(D)
    order = D.order(D.traders[0], cluster.now_ms)
    others = [D.order(D.traders[1], cluster.now_ms) for _ in range(6)]
    cluster.run(20)
    monkeypatch.setattr(limits, "BATCH_ORDERS_MAX", 2)
    for node in range(4):
        submit(cluster, node, *others)
    chain.block(forced(order), blocks=4)
    chain.tell(cluster)
    assert cluster.run(10_000, partial(taken_up, chain))
    height = cluster.cores[0].pool.sequenced_height(order.order_id())
    entry = cluster.cores[0].chain.final_entry(height or 0)
    assert entry is not None and entry.block.header.checkpoint == chain.newest
    assert entry.block.batch[0].order_id == order.order_id()
