"""Attack: a leader bends the order in which orders were received: it writes the batch in another order, names the
heads that suit it, and lets f lists say the opposite of all others.

Lists are signed and chained, positions are read off them by every voter, and what all honest members agree on stands
for any n-f heads and any f lists.

Evidence: none: the proposal gets no vote (`block.derived`), and in which order it received is each member's own word.
"""

from itertools import combinations, permutations

import pytest
from core_kit import check_safety, reproposed, trickle
from evidence_kit import evidence_left
from receive_kit import History, names, oid

from mpc_sequencer.core.messages import PeerMessage, Proposal
from mpc_sequencer.core.ordering.receive import fair_order
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import Cluster, make_deployment

LEADER = 2
HONEST = {0, 1, 3, 4}
IDS = [oid(name) for name in "abc"]


@pytest.mark.parametrize("left_out", [(), *((i,) for i in range(4))])
@pytest.mark.parametrize("cuts", [(3, 3, 3, 3), (1, 2, 3, 3), (3, 1, 2, 1)])
def test_no_choice_of_heads_turns_what_all_honest_members_agree_on(
    left_out: tuple[int, ...], cuts: tuple[int, ...]
) -> None:
    for bent in permutations(IDS):
        run = History()
        lists = [IDS[: cuts[node]] if node not in left_out else [] for node in range(4)]
        run.block(*lists, bent, leave_out=left_out)
        run.block(*[IDS[len(listed) :] for listed in lists])
        order = []
        for block in run.blocks:
            order += fair_order(sorted(block.batch, reverse=True), block.positions, 1)
        assert names(order) == "abc"


def test_with_two_of_nine_bent_it_is_the_same() -> None:
    for liars in combinations(range(9), 2):
        run = History(9)
        run.block(*[IDS[::-1] if node in liars else IDS for node in range(9)])
        assert names(fair_order(IDS[::-1], run.blocks[0].positions, 2)) == "abc"


def test_a_batch_in_another_order_gets_no_vote() -> None:
    d = make_deployment(5, policy=RECEIVE)
    cluster = Cluster(d)
    bent: list[Proposal] = []

    def tamper(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender == LEADER and isinstance(message, Proposal) and len(message.block.batch) > 1:
            bent.append(reproposed(d, message, batch=message.block.batch[::-1]))
            return bent[-1]
        return message

    cluster.network.tamper = tamper
    trickle(cluster, HONEST, 24, 40, each=3)
    cluster.run(1_000)
    assert bent, "the leader did bend a batch"
    assert {(fault.node, fault.code) for node, fault in cluster.faults if node in HONEST} == {(LEADER, "block.derived")}
    check_safety(cluster, honest=HONEST)
    assert evidence_left(cluster) == set()
