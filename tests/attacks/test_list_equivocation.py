"""Attack: a member signs two lists of every number, shows one to half of the committee and one to the others, and
votes for nothing.

Every honest leader includes the lists it was shown, so without care every block is refused by somebody, and with one
member silent no quorum is left. A voter must be able to fetch and check the list a block names, whatever it was shown.

Evidence: `list-equivocation`: both lists of one number.
"""

import msgspec
from core_kit import all_sequenced, check_safety, make_list, refused, sign, submit
from evidence_kit import evidence_left

from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.lists import ListStore
from mpc_sequencer.core.messages import HeadMessage, ListMessage, PeerMessage, Proposal, VoteMessage
from mpc_sequencer.core.types import ZERO_HASH, OrderList
from mpc_sequencer.sim import Cluster, make_deployment

LIAR = 3
HONEST = {0, 1, 2}


def test_a_second_list_of_one_number_is_refused_and_changes_nothing() -> None:
    d = make_deployment(4)
    store = ListStore(d.committee)
    store.add(make_list(d, LIAR, 1, ZERO_HASH, (b"\x01" * 32,)))
    held = store.held_through(LIAR)
    with refused("list.equivocation") as caught:
        store.add(make_list(d, LIAR, 1, ZERO_HASH, (b"\x02" * 32,)))
    assert verify(caught[0].offence, d.committee).node == LIAR  # type: ignore[union-attr, arg-type]
    assert store.held_through(LIAR) == held


def test_two_chains_of_lists_do_not_stop_the_committee() -> None:
    d = make_deployment(4, seed=5)
    cluster = Cluster(d, seed=5)
    shown: dict[int, OrderList] = {}

    def other(one: OrderList) -> OrderList:
        if one.number not in shown:
            prev_hash = shown[one.number - 1].struct_hash() if one.number > 1 else ZERO_HASH
            entries = (*one.entries, bytes((one.number,)) * 32)
            shown[one.number] = make_list(d, LIAR, one.number, prev_hash, entries)
        return shown[one.number]

    def two_faced(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender != LIAR:
            return message
        if isinstance(message, VoteMessage | Proposal):
            return None
        if receiver == 0 and isinstance(message, ListMessage) and message.order_list.node == LIAR:
            return ListMessage(other(message.order_list))
        if receiver == 0 and isinstance(message, HeadMessage) and message.head.list_number:
            list_hash = shown[message.head.list_number].struct_hash()
            return HeadMessage(sign(d, LIAR, msgspec.structs.replace(message.head, list_hash=list_hash)))
        return message

    cluster.network.tamper = two_faced
    cluster.run(50)
    ids = set()
    for turn in range(12):
        envelope = d.order(d.traders[turn % 4], cluster.now_ms)
        ids.add(envelope.order_id())
        submit(cluster, turn % 3, envelope)
        submit(cluster, LIAR, d.order(d.traders[turn % 4], cluster.now_ms))
        cluster.run(60)
    assert cluster.run(30_000, until=all_sequenced(ids, HONEST))
    cluster.run(3_000)
    check_safety(cluster, honest=HONEST)
    assert len(shown) > 1, "the liar did show two chains"
    found = evidence_left(cluster)
    assert found == {(LIAR, "list-equivocation")}, "blocks name what was shown to others, and that convicts the liar"
    heights = [cluster.cores[node].chain.final_height for node in HONEST]
    assert max(heights) - min(heights) <= 1, "nobody is left behind"
