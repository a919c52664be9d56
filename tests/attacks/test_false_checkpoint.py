"""Attack: members and their leader name a chain checkpoint that the chain does not have.

f members together are one head short of what a block needs. A block that takes one up all the same is not the function
of its heads, and a member whose own chain has another block there gives a new checkpoint no vote, whoever named it.

Evidence: none: the proposal gets no vote (`block.derived`, `block.checkpoint`), and what its own chain node told a
member nobody else can know.
"""

from __future__ import annotations

import pytest
from chain_kit import HandChain, deposit, taken_up
from core_kit import make_head
from evidence_kit import evidence_left
from msgspec.structs import replace

from mpc_sequencer.core.agreement import Accepted, Rejected
from mpc_sequencer.core.messages import HeadMessage, InputsMessage, PeerMessage
from mpc_sequencer.core.types import Block, Checkpoint
from mpc_sequencer.sim import Cluster, Deployment, Network, make_deployment
from mpc_sequencer.sim.byzantine.lies_about_chain import LiesAboutChain
from mpc_sequencer.sim.run import Harness

D = make_deployment(4, seed=31)


def block_naming(cluster: Cluster, d: Deployment, *named: Checkpoint) -> Block:
    """A block of the view under way on the last final one, whose heads name these, as the rule gives it."""
    core = cluster.cores[0]
    view = core.simplex.view + 1
    heads = tuple(make_head(d, node, view, cluster.now_ms, checkpoint=one) for node, one in enumerate(named))
    for head in heads:
        core.lists.add_head(head, head.struct_hash())
    rule, parent = core.chain._rule, core.chain.final_state
    built = rule.build(parent, view)
    assert built is not None
    return built[0]


def ready(*told: int) -> tuple[Cluster, HandChain]:
    """A quiet committee in which some members' nodes have told of a block with a deposit."""
    cluster, chain = Cluster(D, seed=31), HandChain(D)
    cluster.run(10)
    chain.block(deposit(D.traders[0].address, 0, 9))
    for node in told:
        core = cluster.cores[node]
        core.step(chain.seen(core.chain_view.newest), cluster.now_ms)
    return cluster, chain


def test_a_block_that_takes_up_what_f_heads_name_is_refused() -> None:
    cluster, chain = ready(0)
    genesis = D.committee.genesis.checkpoint
    block = block_naming(cluster, D, genesis, genesis, genesis, chain.newest)
    assert block.header.checkpoint == genesis
    false = replace(block, header=replace(block.header, checkpoint=chain.newest))
    verdict = cluster.cores[0].chain.check(false, cluster.now_ms)
    assert isinstance(verdict, Rejected) and verdict.error.code == "block.derived"
    assert verdict.error.field == "BlockHeader.checkpoint"


@pytest.mark.parametrize("lie", ["another block", "other inputs"])
def test_a_member_whose_chain_has_another_block_there_gives_no_vote(lie: str) -> None:
    cluster, chain = ready(0, 1, 2)
    invented = deposit(D.traders[0].address, 0, 10**15)
    before = D.committee.genesis.checkpoint
    false = replace(chain.newest, block_hash=bytes(32))
    if lie == "other inputs":
        false = replace(chain.newest, inputs_hash=invented.chained(before.inputs_hash))
        for node in (0, 3):
            view = cluster.cores[node].chain_view
            view.add((invented,), before.inputs_count, before.inputs_hash, false.inputs_hash)
    builder = Cluster(D, seed=32)  # one whose own chain says nothing
    builder.run(10)
    builder.cores[0].chain_view._links.update(cluster.cores[0].chain_view._links)
    block = block_naming(builder, D, false, false, false, false)
    assert block.header.checkpoint == false
    core = cluster.cores[0]
    verdict = core.chain.check(block, block.header.time_ms)
    assert isinstance(verdict, Rejected) and verdict.error.code == "block.checkpoint"
    late = cluster.cores[3]
    late.chain_view._links.update(core.chain_view._links)
    assert isinstance(late.chain.check(block, block.header.time_ms), Accepted), "who has seen nothing cannot know"
    assert isinstance(core.chain.check(block, None), Accepted), "what others have made final is followed"


def test_a_leader_does_not_propose_what_its_own_chain_contradicts() -> None:
    cluster, chain = ready(0, 1, 2)
    core, false = cluster.cores[0], replace(chain.newest, block_hash=bytes(32))
    heads = [make_head(D, node, core.simplex.view + 1, cluster.now_ms, checkpoint=false) for node in range(4)]
    for head in heads:
        core.lists.add_head(head, head.struct_hash())
    assert core.chain._rule.build(core.chain.final_state, core.simplex.view + 1) is None


@pytest.mark.parametrize("seed", range(3))
def test_a_liar_among_four_changes_nothing_that_is_taken(seed: int) -> None:
    liar = seed % 4
    d = make_deployment(4, seed=seed)

    def lie(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage:
        if sender == liar and isinstance(message, HeadMessage):
            named = Checkpoint(90 + message.head.view, bytes(32), 10**6, bytes(32))
            head = message.head
            return HeadMessage(make_head(d, liar, head.view, head.time_ms, checkpoint=named))
        if sender == liar and isinstance(message, InputsMessage):
            return replace(message, inputs=(deposit(bytes(20), 0, 1), *message.inputs[1:]))
        return message

    cluster, chain = Cluster(d, seed=seed, network=Network(tamper=lie)), HandChain(d)
    chain.block(deposit(d.traders[0].address, 0, 9))
    chain.tell(cluster)
    honest = [node for node in range(4) if node != liar]
    assert cluster.run(20_000, lambda c: taken_up(chain, c, *honest))
    assert evidence_left(cluster) == set()


def test_simulated_liars_name_false_checkpoints_and_the_checkers_find_nothing() -> None:
    seen = 0
    for seed in range(3):
        harness = Harness(seed, 4, frozenset({LiesAboutChain.name, "chain_late"}))
        assert harness.run().violations == ()
        assert harness.plan.behaviours[0][1] == LiesAboutChain.name
        seen += harness.simulation.cores[0].chain.final_state.chain.inputs_count if harness.simulation else 0
    assert seen


def test_a_header_that_names_another_checkpoint_than_its_heads_is_refused() -> None:
    cluster, chain = ready(0, 1, 2, 3)
    block = block_naming(cluster, D, chain.newest, chain.newest, chain.newest, chain.newest)
    genesis = D.committee.genesis.checkpoint
    for other in (genesis, replace(chain.newest, number=chain.newest.number + 1)):
        false = replace(block, header=replace(block.header, checkpoint=other))
        verdict = cluster.cores[1].chain.check(false, None)
        assert isinstance(verdict, Rejected) and verdict.error.code == "block.derived"


