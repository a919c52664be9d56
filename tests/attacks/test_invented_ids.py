"""Attack: a member lists ids of orders that do not exist, or of orders that open to nothing, as fast as it can.

One member's listings lift nothing. Nobody vouches for a body it does not hold; what is kept of such ids is bounded per
member, and honest orders pass meanwhile.

Evidence: none: a body may be late, so to list an id alone is within the rules; a body that does not check is refused
(`tdh2.proof`), and so are lists far ahead (`list.number`).
"""

import hashlib

import msgspec
from core_kit import all_sequenced, check_safety, make_head, make_list, refused, submit
from evidence_kit import evidence_left

from mpc_sequencer.core import fetch, limits
from mpc_sequencer.core.effects import FromPeer
from mpc_sequencer.core.lists import LISTS_AHEAD_MAX, ListStore
from mpc_sequencer.core.messages import Bodies, FetchBodies, HeadMessage, ListMessage
from mpc_sequencer.core.types import ZERO_HASH, Envelope, OrderList
from mpc_sequencer.sim import Cluster, make_deployment

LIAR = 3
HONEST = {0, 1, 2}


def invented(number: int, count: int) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(b"%d/%d" % (number, i)).digest() for i in range(count))


def test_invented_ids_keep_no_honest_order_out() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.network.tamper = lambda sender, _, message: None if sender == LIAR else message
    last: OrderList | None = None
    ids = set()
    for turn in range(1, 13):
        prev_hash = last.struct_hash() if last else ZERO_HASH
        last = make_list(d, LIAR, turn, prev_hash, invented(turn, limits.LIST_ENTRIES_MAX))
        for node in HONEST:
            view = cluster.cores[node].simplex.view
            head = make_head(d, LIAR, view, cluster.now_ms, last)
            cluster.at(cluster.now_ms, node, FromPeer(LIAR, ListMessage(last)))
            cluster.at(cluster.now_ms, node, FromPeer(LIAR, HeadMessage(head)))
        order = d.order(d.traders[turn % 4], cluster.now_ms)
        ids.add(order.order_id())
        submit(cluster, turn % 3, order)
        cluster.run(50)
    assert cluster.run(10_000, until=all_sequenced(ids, HONEST))
    for node in HONEST:
        core = cluster.cores[node]
        assert len(core.pool) == len(ids)
        assert core.fetcher._gossiped[LIAR] <= fetch.WANTS_PER_MEMBER_MAX
        assert len(core.fetcher._bodies) <= fetch.WANTS_PER_MEMBER_MAX + len(ids)
    cluster.run(12_000)
    assert all(not cluster.cores[node].fetcher._bodies for node in HONEST), "they stop asking"
    check_safety(cluster, honest=HONEST)
    assert evidence_left(cluster) == set()


def test_bodies_that_do_not_open_are_checked_once_and_nobody_vouches_for_them() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    good = d.order(d.traders[0], cluster.now_ms)
    broken = msgspec.structs.replace(good, ciphertext=good.ciphertext[:-1] + bytes((good.ciphertext[-1] ^ 1,)))
    served: list[int] = []

    def serve(sender: int, receiver: int, message: object) -> object:
        if receiver == LIAR and isinstance(message, FetchBodies) and broken.order_id() in message.ids:
            served.append(sender)
            copies: tuple[Envelope, ...] = (broken,) * 100
            cluster.at(cluster.now_ms + 1, sender, FromPeer(LIAR, Bodies(copies)))
        return None if sender == LIAR else message

    cluster.network.tamper = serve
    one = make_list(d, LIAR, 1, ZERO_HASH, (broken.order_id(),))
    cluster.at(cluster.now_ms, 0, FromPeer(LIAR, ListMessage(one)))
    cluster.run(5_000)
    assert served == [0]
    assert [(f.node, f.code) for node, f in cluster.faults if node == 0] == [(LIAR, "tdh2.proof")]
    assert cluster.cores[0].own_lists.number == 0
    assert evidence_left(cluster) == set()


def test_lists_far_ahead_of_the_blocks_are_refused() -> None:
    d = make_deployment(4)
    store = ListStore(d.committee)
    prev_hash = ZERO_HASH
    for number in range(1, 21):
        one = make_list(d, LIAR, number, prev_hash, invented(number, 1))
        prev_hash = one.struct_hash()
        store.add(one)
    author = store._authors[LIAR]
    author.number = LISTS_AHEAD_MAX
    with refused("list.number"):
        store.add(make_list(d, LIAR, LISTS_AHEAD_MAX + 1, author.hash, invented(0, 1)))
    store.included(LIAR, 0, 1)
    assert store.add(make_list(d, LIAR, LISTS_AHEAD_MAX + 1, author.hash, invented(0, 1)))
