"""Attack: a leader leaves an order that f+1 members listed out of its batch, or puts one in that nobody listed.

The batch is a function of the heads and lists a block names: a block with another batch gets no honest vote, and the
next leader's block holds the order.

Evidence: none: the proposal gets no vote (`block.derived`).
"""

import pytest
from core_kit import check_safety, reproposed, trickle
from evidence_kit import evidence_left

from mpc_sequencer.core.messages import PeerMessage, Proposal
from mpc_sequencer.core.types import BatchEntry
from mpc_sequencer.sim import Cluster, make_deployment

LEADER = 2
HONEST = {0, 1, 3}


@pytest.mark.parametrize("bend", ["drops all", "drops the first", "turns them round", "adds one"])
def test_a_bent_batch_gets_no_vote_and_the_order_is_final_all_the_same(bend: str) -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    bent: list[Proposal] = []

    def tamper(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender == LEADER and isinstance(message, Proposal) and len(message.block.batch) > 1:
            batch = message.block.batch
            stranger = BatchEntry(b"\x11" * 32, b"\x22" * 32)
            batch = {
                "drops all": (),
                "drops the first": batch[1:],
                "turns them round": batch[::-1],
                "adds one": (*batch, stranger),
            }[bend]
            bent.append(reproposed(d, message, batch=batch))
            return bent[-1]
        return message

    cluster.network.tamper = tamper
    trickle(cluster, HONEST, 24, 40, each=3)
    cluster.run(1_000)
    assert bent, "the leader did bend a batch"
    assert {(fault.node, fault.code) for node, fault in cluster.faults if node in HONEST} == {(LEADER, "block.derived")}
    final = {entry.block.header.view for node in HONEST for entry in cluster.cores[node].chain._entries.values()}
    assert not final & {proposal.block.header.view for proposal in bent}
    check_safety(cluster, honest=HONEST)
    assert evidence_left(cluster) == set()
