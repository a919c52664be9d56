"""Lists and heads: chains, gaps, two lists of one number, bounds."""

import msgspec
from core_kit import make_head, make_list, picture, refused, sign

from mpc_sequencer.core import limits
from mpc_sequencer.core.lists import ListStore, OwnLists
from mpc_sequencer.core.types import ZERO_HASH, OrderList
from mpc_sequencer.sim import make_deployment
from mpc_sequencer.sim.deployment import START_MS

D = make_deployment(4)
IDS = [bytes((i,)) * 32 for i in range(1, 40)]


def chain(count: int, first: int = 0, prev: OrderList | None = None) -> list[OrderList]:
    made: list[OrderList] = []
    for i in range(count):
        before = made[-1] if made else prev
        number, prev_hash = (before.number, before.struct_hash()) if before else (0, ZERO_HASH)
        made.append(make_list(D, 1, number + 1, prev_hash, (IDS[first + i],)))
    return made


def hashed(one: OrderList) -> tuple[int, bytes]:
    return one.number, one.struct_hash()


def test_own_lists_are_cut_in_a_chain_and_a_receipt_names_the_open_one() -> None:
    own = OwnLists(D.committee, 1, D.signers[1])
    assert own.cut(START_MS) is None
    assert own.add(IDS[0]) == own.add(IDS[1]) == 1
    assert own.due_ms() == START_MS + limits.LIST_INTERVAL_MS_MIN
    cut = own.cut(START_MS + 10)
    assert cut is not None
    assert (cut[0].number, cut[0].entries, cut[0].prev_hash) == (1, (IDS[0], IDS[1]), ZERO_HASH)
    D.committee.check_value(cut[0])
    assert own.add(IDS[2]) == 2
    again = own.cut(START_MS + 20)
    assert again is not None
    assert again[0].prev_hash == cut[1]
    own_ids = [own.add(i.to_bytes(32, "big")) for i in range(limits.LIST_ENTRIES_MAX)]
    assert own.full
    assert set(own_ids) == {3}


def test_after_a_list_of_many_entries_the_next_waits_longer_and_a_lone_order_does_not() -> None:
    own = OwnLists(D.committee, 1, D.signers[1])
    for order_id in IDS[: limits.LIST_LOADED_ENTRIES]:
        own.add(order_id)
    own.cut(START_MS)
    own.add(IDS[10])
    assert own.due_ms() == START_MS + limits.LIST_INTERVAL_LOADED_MS
    own.cut(START_MS + limits.LIST_INTERVAL_LOADED_MS)
    own.add(IDS[11])
    assert own.due_ms() == START_MS + limits.LIST_INTERVAL_LOADED_MS + limits.LIST_INTERVAL_MS_MIN


def test_lists_are_adopted_in_order_whatever_the_order_of_arrival() -> None:
    store, lists = ListStore(D.committee), chain(4)
    assert store.add(lists[2]) == []
    assert store.gap(1, 4) == (1, 2)
    assert store.add(lists[0]) == [lists[0]]
    assert store.add(lists[0]) == []
    assert store.add(lists[1]) == [lists[1], lists[2]]
    assert store.add(lists[3]) == [lists[3]]
    assert store.held_through(1) == hashed(lists[3])
    assert store.gap(1, 4) is None


def test_what_is_no_list_of_its_author_is_refused_and_changes_nothing() -> None:
    store, lists = ListStore(D.committee), chain(2)
    store.add(lists[0])
    forged = sign(D, 2, lists[1])
    for bad, code in [
        (forged, "signature.signer"),
        (make_list(D, 1, 2, ZERO_HASH, (IDS[5],)), "list.chain"),
        (make_list(D, 1, 1, ZERO_HASH, (IDS[5],)), "list.equivocation"),
        (make_list(D, 1, 2, lists[0].struct_hash(), (IDS[5], IDS[5])), "list.duplicate"),
        (make_list(D, 1, 2 + limits.ORPHAN_LISTS_MAX, ZERO_HASH, (IDS[5],)), "list.number"),
        (make_list(D, 1, 0, ZERO_HASH, (IDS[5],)), None),
        (OrderList(0, 0, 9, 1, ZERO_HASH, (IDS[5],), bytes(65)), "member.unknown"),
        (OrderList(1, 0, 1, 2, lists[0].struct_hash(), (IDS[5],), bytes(65)), "epoch.unknown"),
    ]:
        before = picture(store)  # type: ignore[arg-type]
        if code is None:
            assert store.add(bad) == []
        else:
            with refused(code):
                store.add(bad)
        assert picture(store) == before  # type: ignore[arg-type]


def test_a_list_a_block_names_is_taken_by_its_hash_and_then_its_predecessors() -> None:
    store = ListStore(D.committee)
    mine, theirs = chain(3), chain(3, first=10)
    for one in mine:
        store.add(one)
    start, end = (0, ZERO_HASH), hashed(theirs[2])
    assert store.lineage(1, start, end) is None
    for expected in theirs[::-1]:
        assert store.first_missing(1, 0, end) == hashed(expected)
        store.add(expected)
    lineage = store.lineage(1, start, end)
    assert lineage is not None
    assert [one for one, _ in lineage] == theirs
    own = store.lineage(1, start, hashed(mine[2]))
    assert own is not None
    assert [one for one, _ in own] == mine
    with refused("block.lists"):
        store.lineage(1, hashed(mine[0]), end)
    with refused("list.equivocation"):
        store.add(make_list(D, 1, 2, ZERO_HASH, (IDS[30],)))


def test_the_chain_held_follows_what_is_final() -> None:
    store = ListStore(D.committee)
    mine, theirs = chain(3), chain(2, first=10)
    for one in mine:
        store.add(one)
    store.first_missing(1, 0, hashed(theirs[1]))
    for one in theirs[::-1]:
        store.add(one)
    store.included(1, 0, 2)
    store.finalized(1, 0, *hashed(theirs[1]))
    assert store.held_through(1) == hashed(theirs[1])
    assert store.unfinal(1) == 0
    following = chain(1, first=20, prev=theirs[1])
    assert store.add(following[0]) == following
    with refused("list.equivocation"):
        store.add(mine[2])


def test_old_lists_are_forgotten() -> None:
    store = ListStore(D.committee)
    author = store._authors[1]
    lists = chain(1)
    store.add(lists[0])
    for number in range(2, 1_001):
        author.lists[number] = (lists[0], bytes((number % 256,)) * 32)
    author.number = 1_000
    store.finalized(1, 0, 600, author.lists[600][1])
    assert min(author.lists) == 600 - limits.LISTS_PER_MEMBER_MAX + 1


def test_heads_go_forward_only_and_are_signed() -> None:
    store = ListStore(D.committee)
    newer, older = make_head(D, 1, 5, START_MS), make_head(D, 1, 4, START_MS + 99)
    assert store.accept_head(newer)
    before = picture(store)  # type: ignore[arg-type]
    assert not store.accept_head(newer)
    assert not store.accept_head(older)
    with refused("signature.signer"):
        store.accept_head(sign(D, 2, make_head(D, 1, 6, START_MS)))
    with refused("member.unknown"):
        store.accept_head(msgspec.structs.replace(make_head(D, 1, 6, START_MS), node=5))
    assert picture(store) == before  # type: ignore[arg-type]
    for view in range(6, 60):
        store.accept_head(make_head(D, 1, view, START_MS))
    assert len(store.heads(1)) == 8
    assert store.heads(1)[0][0].view == 59


def in_new_life(one: OrderList, prev_hash: bytes) -> OrderList:
    changed = msgspec.structs.replace(one, incarnation=1, prev_hash=prev_hash)
    return sign(D, 1, changed)


def test_own_lists_of_a_new_life_out_of_the_journal_are_held_once_its_start_is_final_here() -> None:
    store, lists = ListStore(D.committee), chain(3)
    for one in lists[:2]:
        store.add_own(one, one.struct_hash())
    anew: list[OrderList] = []
    for one in lists:
        anew.append(in_new_life(one, anew[-1].struct_hash() if anew else ZERO_HASH))
        store.add_own(anew[-1], anew[-1].struct_hash())
    assert store.held_through(1) == hashed(lists[1]), "final blocks known here still speak of the old life"
    store.finalized(1, 0, 2, lists[1].struct_hash())
    store.finalized(1, 1, 0, ZERO_HASH)
    assert store.held_through(1) == hashed(anew[2])
    assert store.by_hash(1, 2, anew[1].struct_hash()) == anew[1], "nobody else may hold it"
    assert store.unfinal(1) == 3
