"""Attack: a member reports false results in its heads, and as leader proposes blocks that certify them.

A result is certified by q members' heads in blocks and by nothing else; with at most f liars that is the honest one.

Evidence: none: a false result is outvoted and cannot be proven from the member's own words; a proposal that certifies
it gets no vote (`block.derived`).
"""

import msgspec
from core_kit import all_sequenced, check_safety, reproposed, results, sign, submit
from evidence_kit import evidence_left

from mpc_sequencer.core import limits
from mpc_sequencer.core.messages import HeadMessage, PeerMessage, Proposal
from mpc_sequencer.core.transcript import BlockEntry
from mpc_sequencer.core.types import ResultRef
from mpc_sequencer.sim import Cluster, make_deployment

LIAR = 2
HONEST = {0, 1, 3}


def test_false_results_are_neither_certified_nor_stop_anybody() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    lies: list[str] = []

    def lie(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender != LIAR:
            return message
        if isinstance(message, HeadMessage):
            heights = [one.height for one in message.head.results] or range(1, limits.HEAD_RESULTS_MAX + 1)
            refs = tuple(ResultRef(height, b"\xee" * 32) for height in heights)
            lies.append("head")
            return HeadMessage(sign(d, LIAR, msgspec.structs.replace(message.head, results=refs)))
        if isinstance(message, Proposal) and message.block.certified:
            lies.append("block")
            false = tuple(ResultRef(one.height, b"\xee" * 32) for one in message.block.certified)
            return reproposed(d, message, certified=false)
        return message

    cluster.network.tamper = lie
    ids = set()
    for turn in range(30):
        order = d.order(d.traders[turn % 4], cluster.now_ms, side=1 + turn % 2)
        ids.add(order.order_id())
        submit(cluster, sorted(HONEST)[turn % 3], order)
        cluster.run(150 + 61 * (turn % 5))
    assert cluster.run(20_000, until=all_sequenced(ids, HONEST))
    cluster.run(8_000)
    check_safety(cluster, honest=HONEST)
    assert {"head", "block"} == set(lies)
    for node in HONEST:
        own = results(cluster, node)
        certified = [ref for one in cluster.logs[node] if isinstance(one, BlockEntry) for ref in one.block.certified]
        assert certified
        assert all(own[ref.height] == ref.result for ref in certified)
        assert cluster.cores[node].execution.certified_height == max(own), "everything executed is certified"
    assert {fault.code for node, fault in cluster.faults if node in HONEST} == {"block.derived"}
    assert evidence_left(cluster) == set()
