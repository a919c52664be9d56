"""Attack: a leader proposes other blocks to each member in one view, and votes for each of them.

A quorum of notarize votes fits one block only, so at most one of them is notarized; everybody ends with the same one.

Evidence: `notarize-equivocation`: two of its notarize votes.
"""

import msgspec
import pytest
from core_kit import blocks, check_safety, make_vote, reproposed, trickle
from evidence_kit import evidence_left

from mpc_sequencer.core.messages import PeerMessage, Proposal, VoteMessage
from mpc_sequencer.core.ordering.derive import Candidate, inputs_root
from mpc_sequencer.core.types import NOTARIZE
from mpc_sequencer.sim import Cluster, make_deployment


@pytest.mark.parametrize("seed", range(4))
def test_no_two_of_a_leader_s_blocks_become_final(seed: int) -> None:
    d = make_deployment(4, seed=seed, traders=4)
    cluster = Cluster(d, seed=seed)
    liar = seed % 4
    cluster.cores[liar].standing.heeds_own_words = False  # it knows that it lies
    told: set[bytes] = set()

    def two_faced(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender != liar or receiver % 2 == 0:
            return message
        if isinstance(message, Proposal) and len(message.block.heads) > d.committee.q:
            return _without_a_head(message)
        if isinstance(message, VoteMessage) and message.vote.kind == NOTARIZE:
            other = bytes(reversed(message.vote.block_id))
            return VoteMessage(make_vote(d, liar, NOTARIZE, message.vote.view, other))
        return message

    def _without_a_head(message: Proposal) -> Proposal:
        heads = message.block.heads[:-1]
        core = cluster.cores[liar]
        parent = core.chain.state(message.block.header.parent_id)
        assert parent is not None
        lists = [
            core.lists.lineage(h.node, parent.last_lists[h.node], (h.list_number, h.list_hash)) or [] for h in heads
        ]
        candidate = Candidate(
            view=message.block.header.view,
            heads=heads,
            lists=tuple(tuple(one for one, _ in member) for member in lists),
            head_hashes=tuple(h.struct_hash() for h in heads),
            list_hashes=tuple(tuple(h for _, h in member) for member in lists),
        )
        derived = core.chain._rule._derive(parent, candidate)
        header = msgspec.structs.replace(
            message.block.header, inputs_root=inputs_root(candidate), time_ms=derived.time_ms
        )
        block = msgspec.structs.replace(message.block, header=header)
        batch = tuple(one for one in block.batch if one.order_id in derived.batch)
        other = reproposed(d, msgspec.structs.replace(message, block=block), heads=heads, batch=batch)
        told.add(other.block.header.block_id())
        return other

    cluster.network.tamper = two_faced
    honest = set(range(4)) - {liar}
    trickle(cluster, honest, 16, 60)
    cluster.run(3_000)
    check_safety(cluster, honest=honest)
    assert told, "the leader did have two faces"
    assert evidence_left(cluster) == {(liar, "notarize-equivocation")}, "its votes came together somewhere"
    final = {block_id for node in honest for block_id in blocks(cluster, node).values()}
    assert len(final) == max(len(blocks(cluster, node)) for node in honest), "one block per height"
