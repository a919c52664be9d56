"""Receive order: the fair order of a batch and which orders are settled, against definitions, node beside auditor.

One module, as the definitions at its head are what both the order of a batch and the histories are held against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receive_kit import RICH_WEI, SPONSOR, START_MS, History, names, oid, positions

from mpc_sequencer.audit import precedence
from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering import OrderFacts, Positions, receive
from mpc_sequencer.core.ordering.state import list_serial
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, OrderList

A, B, C, D, S = (oid(name) for name in "abcds")


def places(told: Mapping[bytes, Positions]) -> dict[bytes, dict[int, tuple[int, int, int]]]:
    return {i: {node: (0, serial, index) for node, serial, index in p} for i, p in told.items()}


def before(first: Positions, second: Positions) -> int:
    """Members that have ``first`` before ``second``, straight from the definition."""
    other = {node: (serial, index) for node, serial, index in second}
    return sum(1 for node, *place in first if node not in other or tuple(place) < other[node])


def in_one_cycle(told: Mapping[bytes, Positions], a: bytes, b: bytes, f: int) -> bool:
    """Whether pairs that all honest members may agree on lead from b back to a."""
    reached, frontier = {b}, [b]
    while frontier:
        here = frontier.pop()
        for other in told.keys() - reached:
            if before(told[here], told[other]) > f and before(told[other], told[here]) <= f:
                reached.add(other)
                frontier.append(other)
    return a in reached


# --- the order of one batch -----------------------------------------------------------------------------------------
def test_what_all_members_agree_on_is_the_order_whatever_the_draw() -> None:
    told = positions(*["abcd"] * 5)
    for draw in permutations((A, B, C, D)):
        assert names(receive.fair_order(draw, told, 1)) == "abcd"


def test_one_member_of_five_turns_no_pair_that_the_others_agree_on() -> None:
    for bent in permutations("abcd"):
        assert names(receive.fair_order((D, C, B, A), positions(*["abcd"] * 4, bent), 1)) == "abcd"


def test_the_majority_decides_where_members_differ() -> None:
    told = positions("ab", "ab", "ba", "ab", "ba")
    assert names(receive.fair_order((B, A), told, 1)) == "ab"


def test_a_member_that_lists_one_of_two_has_it_before_the_other() -> None:
    told = positions("a", "a", "ba", "ba", "a")
    assert names(receive.fair_order((B, A), told, 1)) == "ab"


def test_equal_weights_leave_it_to_the_draw() -> None:
    told = positions("ab", "ab", "ba", "ba")
    assert names(receive.fair_order((A, B), told, 1)) == "ab"
    assert names(receive.fair_order((B, A), told, 1)) == "ba"


def test_fewer_than_f_plus_1_members_lead_nothing() -> None:
    told = positions("ab")
    assert names(receive.fair_order((B, A), told, 1)) == "ba"


def test_condorcet_cycle_is_cut_by_the_draw() -> None:
    told = positions("abc", "abc", "bca", "bca", "cab", "cab")
    for draw in permutations((A, B, C)):
        assert receive.fair_order(draw, told, 1) == list(draw)


def test_a_cycle_of_majorities_does_not_swallow_what_all_agree_on() -> None:
    """d follows a with all members, and a leads b, b leads c, c leads d: one component of majorities."""
    told = positions("adbc", "adbc", "bcad", "cadb", "cadb")
    for draw in permutations((A, B, C, D)):
        order = receive.fair_order(draw, told, 1)
        assert order.index(A) < order.index(D) < order.index(B)
    assert names(receive.fair_order((B, C, D, A), told, 1)) == "cadb"


def test_orders_around_a_cycle_keep_their_places() -> None:
    told = positions(*[f"s{cycle}d" for cycle in ("abc", "abc", "bca", "bca", "cab", "cab")])
    for draw in permutations((A, B, C)):
        assert receive.fair_order((D, *draw, S), told, 1) == [S, *draw, D]


def test_a_later_incarnation_follows_all_earlier_lists() -> None:
    """Its lists are numbered from 1 again."""
    last = list_serial(OrderList(0, 0, 0, limits.UINT_MAX, ZERO_HASH, (A,), NO_SIGNATURE))
    first = list_serial(OrderList(0, 1, 0, 1, ZERO_HASH, (B,), NO_SIGNATURE))
    told = {A: ((0, last, 0), (1, last, 0)), B: ((0, first, 0), (1, first, 0))}
    assert names(receive.fair_order((B, A), told, 1)) == "ab"


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, dict[bytes, Positions], list[bytes], set[int]]:
    """A committee, orders nearly all of which members list, and who is honest."""
    n = draw(st.sampled_from([5, 6, 9]))
    ids = [oid(f"{i:x}") for i in range(draw(st.integers(1, 7)))]
    base = draw(st.permutations(ids))
    told: dict[bytes, list[tuple[int, int, int]]] = {order_id: [] for order_id in ids}
    for node in range(n):
        mine = draw(st.permutations(ids)) if draw(st.booleans()) else list(base)
        cut = draw(st.integers(0, 2))
        mine = mine[: len(mine) - cut] if draw(st.booleans()) else mine
        lists = draw(st.integers(1, 3))
        for index, order_id in enumerate(mine):
            told[order_id].append((node, 1 + index // lists, index % lists))
    byzantine = draw(st.sets(st.integers(0, n - 1), max_size=(n - 1) // 4))
    return n, {i: tuple(p) for i, p in told.items()}, draw(st.permutations(ids)), set(range(n)) - byzantine


@settings(max_examples=300, deadline=None)
@given(batches())
def test_fair_order_is_the_auditors_and_keeps_what_honest_members_agree_on(
    made: tuple[int, dict[bytes, Positions], list[bytes], set[int]],
) -> None:
    n, told, draw, honest = made
    f, solid = (n - 1) // 4, n - 2 * ((n - 1) // 4)
    order = receive.fair_order(draw, told, f)
    assert sorted(order) == sorted(draw)
    assert order == precedence.fair_order(draw, places(told), f)
    shuffled = {order_id: tuple(reversed(told[order_id])) for order_id in reversed(draw)}
    assert order == receive.fair_order(draw, shuffled, f)
    settled = receive.eligible(draw, told, faults=f, solid=solid)
    assert settled == precedence.settled(draw, places(told), f, solid)
    for room in range(1, len(draw) + 1):
        taken = receive.prefix(draw, told, f, room)
        assert set(taken) == precedence.first_groups(draw, places(told), f, room)
        assert 1 <= len(taken) <= room
    for a, b in permutations(draw, 2):
        if len(told[b]) >= solid and agreed(told[a], told[b], honest):
            assert order.index(a) < order.index(b) or in_one_cycle(told, a, b, f)
            assert a in settled or b not in settled


def agreed(first: Positions, second: Positions, honest: set[int]) -> bool:
    """All honest members list the first before the second, or list neither yet."""
    at = [{node: (serial, index) for node, serial, index in each if node in honest} for each in (first, second)]
    return all(node in at[0] and at[0][node] < place for node, place in at[1].items())


def test_three_races_make_no_binding_cycle() -> None:
    """Once all honest members' listings are in, every binding cycle has four orders or more."""
    for chains in combinations(["".join(p) for p in permutations("abc")] * 2, 4):
        told = positions(*chains)
        cycle = [before(told[x], told[y]) > 1 and before(told[y], told[x]) <= 1 for x, y in ((A, B), (B, C), (C, A))]
        assert not all(cycle)


def test_a_dense_graph_is_walked_by_rows() -> None:
    """512 orders of five members: all pairs related, in a fraction of what a pass over edges takes."""
    ids = [i.to_bytes(32, "big") for i in range(512)]
    told = {order_id: tuple((node, 1, at) for node in range(5)) for at, order_id in enumerate(ids)}
    assert receive.fair_order(ids[::-1], told, 1) == ids
    ranks = receive._ranks(ids, told)
    assert int(np.count_nonzero(receive._leads(receive._weights(ranks, ranks), 1))) == 512 * 511 // 2


# --- which orders are settled ---------------------------------------------------------------------------------------
def test_an_order_needs_n_minus_2f_listings() -> None:
    run = History()
    assert run.block([A], [A]).batch == ()
    assert [one.order_id for one in run.state.queue] == [A]
    last = run.block([], [], [A])
    assert last.batch == (A,)
    assert last.positions == {A: ((0, 1, 0), (1, 1, 0), (2, 1, 0))}
    assert not run.state.positions


def test_listings_count_once_a_member_before_and_after_lifting() -> None:
    run = History()
    run.block([B, A], [A])
    assert run.block([A], [A]).batch == ()
    batch = run.block([], [], [C, A])
    assert batch.batch == (A,)
    assert batch.positions == {A: ((0, 1, 1), (1, 1, 0), (2, 1, 1))}


def test_a_solid_order_behind_a_shaded_one_waits_until_that_is_solid() -> None:
    run = History()
    assert run.block([S, A], [S, A], [A]).batch == (), "three may have s first: the two that say so and one silent"
    last = run.block([], [], [], [S, A])
    assert set(last.batch) == {S, A}
    assert names(receive.fair_order((A, S), last.positions, 1)) == "sa"


def test_it_waits_no_more_when_f_plus_1_members_have_it_first() -> None:
    run = History()
    run.block([S, A], [S, A], [A])
    assert run.block([], [], [], [A]).batch == (A,)
    assert [one.order_id for one in run.state.queue] == [S]


def test_it_waits_no_more_when_the_other_has_expired() -> None:
    run = History(facts={S: OrderFacts(START_MS, START_MS + 500, SPONSOR, 256)})
    run.block([S, A], [S, A], [A])
    assert run.block(after_ms=400).batch == ()
    assert run.block(after_ms=100).batch == (A,)


def test_deferral_goes_through_solid_orders() -> None:
    """s may come before a, and a before b: b would overtake a."""
    run = History()
    assert run.block([S, A, B], [S, A, B], [A, B], []).batch == ()
    assert run.block([], [], [D], [D], [D]).batch == (D,), "what nothing holds back goes on"
    assert set(run.block([], [], [], [A, B]).batch) == {A, B}


@pytest.mark.parametrize(
    "odd",
    [
        OrderFacts(START_MS + 5_000, START_MS + 60_000, SPONSOR, 256),
        OrderFacts(START_MS, START_MS + 60_000, b"\x0b" * 20, 256),
    ],
    ids=["not yet valid", "without credit"],
)
@pytest.mark.parametrize("listed", ["shaded", "solid"])
def test_an_order_that_cannot_be_batched_holds_nothing_back(odd: OrderFacts, listed: str) -> None:
    run = History(facts={S: odd})
    third = [S, A] if listed == "solid" else [A]
    assert run.block([S, A], [S, A], third).batch == (A,)
    assert [one.order_id for one in run.state.queue] == [S]


def test_an_order_that_becomes_valid_takes_part_with_the_places_it_has() -> None:
    run = History(facts={S: OrderFacts(START_MS + 100, START_MS + 60_000, SPONSOR, 256)})
    run.block([S], [S], [])
    assert run.block([A], [A], [A], after_ms=100).batch == (), "s is before a with two, and nobody disagrees enough"
    assert set(run.block([], [], [S], [S, A]).batch) == {S, A}


def test_credit_goes_to_a_sponsors_orders_in_queue_order() -> None:
    run = History(bonds_wei={SPONSOR: limits.ORDER_CHARGE_WEI})
    run.block([A], [A], [A])
    assert run.blocks[0].batch == (A,)
    assert run.block([B], [B], [B]).batch == ()


def test_lagging_results_keep_settled_orders_waiting() -> None:
    run = History()
    run.state = replace(run.state, counting=tuple(range(1, limits.RESULT_LAG_HEIGHTS + 1)))
    run.auditor.uncertified = list(run.state.counting)
    assert run.block(*[[A, B]] * 5).batch == ()
    assert set(run.block().batch) == {A, B}


def test_a_full_batch_leaves_out_nothing_that_binds_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_ORDERS_MAX", 3)
    run = History()
    chain = [oid(f"{i}") for i in range(8)]
    taken = [run.block(*[chain] * 5).batch, run.block().batch, run.block().batch]
    assert [set(batch) for batch in taken] == [set(chain[:3]), set(chain[3:6]), set(chain[6:])]


def test_the_auditor_tells_what_holds_an_order_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_ORDERS_MAX", 1)
    run = History(facts={D: OrderFacts(START_MS + 900, START_MS + 60_000, SPONSOR, 256)})
    everything = [A, B, D, S]
    run.block(everything, everything, everything[:3], [], [])
    assert run.batches() == [(A,)]
    labels = {order_id: run._label(order_id) for order_id in everything}
    codes = {i: run.auditor.held_back(i, run.state.time_ms, labels) for i in run.auditor.queue}
    assert codes == {B: "overfull", S: "unsettled", D: None}


def test_components_are_taken_whole_and_only_one_beyond_the_batch_is_cut() -> None:
    cycle = positions(*["abcd", "bcda", "cdab", "dabc"], "abcd")
    assert receive.prefix((D, C, B, A), cycle, 2, 3) == [D, C, B], "larger than the batch: by queue order"
    behind = positions(*[f"s{chain}" for chain in ("abcd", "bcda", "cdab", "dabc", "abcd")])
    assert receive.prefix((D, C, B, A, S), behind, 2, 4) == [S], "it does not fit behind s and waits whole"
    assert set(receive.prefix((D, C, B, A, S), behind, 2, 5)) == {A, B, C, D, S}


def test_only_a_window_of_shaded_orders_holds_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    told = positions("sab", "sab", "ab", "b")
    told |= {oid("t"): told[S]}
    assert receive.eligible((oid("t"), S, A, B), told, faults=1, solid=3) == []
    monkeypatch.setattr(limits, "RECEIVE_WINDOW_ORDERS", 1)
    later = {**told, oid("t"): ((0, 9, 0), (1, 9, 0))}
    assert receive.eligible((oid("t"), S, A, B), later, faults=1, solid=3) == [A], "s is outside, b outside too"
    assert precedence.settled((oid("t"), S, A, B), places(later), 1, 3) == [A]


def test_positions_die_with_listings_orders_and_batches() -> None:
    run = History(facts={A: OrderFacts(START_MS, START_MS + 500, SPONSOR, 256)})
    run.block([A, B], [A], [C])
    assert set(run.state.positions) == {A, B, C}
    run.block(after_ms=500)
    assert set(run.state.positions) == {B, C}
    run.block(after_ms=limits.VALIDITY_MS_MAX)
    assert not run.state.positions
    assert not run.state.listings


def test_a_listing_that_died_gives_no_place() -> None:
    late = OrderFacts(START_MS, START_MS + 2 * limits.VALIDITY_MS_MAX, SPONSOR, 256)
    run = History(facts={A: late})
    run.block([A])
    run.block([], [A], after_ms=limits.VALIDITY_MS_MAX)
    assert dict(run.state.positions) == {A: ((1, 1, 0),)}
    run.block([B, A])
    assert run.state.positions[A] == ((1, 1, 0), (0, 2, 1))


def test_what_is_lifted_too_late_leaves_no_positions() -> None:
    run = History(facts={A: OrderFacts(START_MS, START_MS + 5, SPONSOR, 256)})
    assert run.block([A], [A], [A]).lifted == (A,)
    assert not run.state.positions


def test_other_deployments_keep_no_positions_and_do_not_wait() -> None:
    run = History(by_receipt=False)
    one = run.block([S, A], [S, A], [A])
    assert set(one.batch) == {S, A}
    assert one.positions == {}
    assert not run.state.positions


def test_work_grows_with_the_batch_and_not_with_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    ranks = receive._ranks

    def counted(ids: list[bytes], told: Mapping[bytes, Positions]) -> list[np.ndarray]:
        compared.append(len(ids))
        return ranks(ids, told)

    monkeypatch.setattr(receive, "_ranks", counted)
    run = History()
    for at in range(150):
        now = [oid(f"{at}-{i}") for i in range(3)]
        run.block(now, now, now[1:], [])
        run.block([], [], [], now)
        assert len(run.state.positions) <= 6
    assert sum(len(batch) for batch in run.batches()) == 450
    assert max(compared) <= 6


# --- the property, over histories -----------------------------------------------------------------------------------
@st.composite
def histories(draw: st.DrawFn) -> tuple[int, dict[int, list[bytes]], list[tuple[dict[int, int], tuple[int, ...]]], int]:
    """Members' whole chains of listings, how far each block includes them, whom it leaves out, how many are bad.

    Honest members receive orders in nearly one order; the last f members list what they like.
    """
    n = draw(st.sampled_from([5, 9]))
    f = (n - 1) // 4
    ids = [oid(f"{i:x}") for i in range(draw(st.integers(2, 8)))]
    chains = {}
    for node in range(n):
        if node >= n - f:
            chains[node] = draw(st.lists(st.sampled_from(ids), unique=True))
            continue
        jitter = draw(st.lists(st.integers(0, 3), min_size=len(ids), max_size=len(ids)))
        chains[node] = [ids[i] for i in sorted(range(len(ids)), key=lambda i: (i + jitter[i], i))]
    blocks = []
    for _ in range(draw(st.integers(1, 6))):
        steps = {node: draw(st.integers(0, 4)) for node in range(n)}
        blocks.append((steps, tuple(draw(st.sets(st.integers(0, n - 1), max_size=f)))))
    blocks.append((dict.fromkeys(range(n), len(ids)), ()))
    return n, chains, blocks, f


@settings(max_examples=200, deadline=None)
@given(histories(), st.sampled_from([2, 512]))
def test_gamma_batch_order_fairness(
    made: tuple[int, dict[int, list[bytes]], list[tuple[dict[int, int], tuple[int, ...]]], int], room: int
) -> None:
    """If all honest members list a before b, a is in no later batch than b, and not behind b unless in its cycle.
    In the end, with all honest lists in, nothing waits that all of them list."""
    n, chains, blocks, f = made
    run = History(n)
    done = dict.fromkeys(range(n), 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BATCH_ORDERS_MAX", room)
        for steps, left_out in [*blocks, *[(dict.fromkeys(range(n), 0), ())] * 8]:
            lists = [[] if node in left_out else chains[node][done[node] :][: steps[node]] for node in range(n)]
            for node in range(n):
                done[node] += len(lists[node])
            run.block(*lists, leave_out=left_out)
    number = {order_id: at for at, batch in enumerate(run.batches()) for order_id in batch}
    told = {order_id: place for block in run.blocks for order_id, place in block.positions.items()}
    order = {}
    for block in run.blocks:
        order |= {i: at for at, i in enumerate(receive.fair_order(sorted(block.batch), block.positions, f))}
    ids = set(chains[0])
    assert ids <= number.keys(), "all honest members listed it: in the end it is batched"
    for a, b in permutations(ids, 2):
        if all(chains[node].index(a) < chains[node].index(b) for node in range(n - f)):
            assert number[a] <= number[b]
            if number[a] == number[b] and order[a] > order[b]:
                batch = {i: told[i] for i in told if number[i] == number[a]}
                assert in_one_cycle(batch, a, b, f)
    assert {i for i in number if number[i] >= 0} <= ids | {i for chain in chains.values() for i in chain}
    assert run.bonds_wei[SPONSOR] == RICH_WEI
