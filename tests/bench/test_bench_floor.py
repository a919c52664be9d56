"""The floor: the k-th fastest hops by hand, a bound for every run, and never later when a link is faster."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.bench.floor import (
    Geometry,
    Order,
    bodies_us,
    kth,
    lifted_us,
    network_run,
    order_floor,
    relayed,
)

HOP = 10_000


def uniform(n: int, hop_us: int = HOP, client_us: int = HOP) -> Geometry:
    f = (n - 1) // 3
    hops = tuple(tuple(0 if i == j else hop_us for j in range(n)) for i in range(n))
    return Geometry.of(hops, ((client_us,) * n,), f=f, q=n - f, t=n - f)


def drawn(seed: int, n: int) -> Geometry:
    rng = random.Random(seed)
    f = (n - 1) // 3
    hops = tuple(tuple(0 if i == j else rng.randint(1, 250_000) for j in range(n)) for i in range(n))
    clients = tuple(tuple(rng.randint(1, 250_000) for _ in range(n)) for _ in range(3))
    return Geometry.of(hops, clients, f=f, q=n - f, t=n - f)


def order_of(g: Geometry, at_us: int = 0, client: int = 0, targets: tuple[int, ...] | None = None) -> Order:
    return Order(at_us, client, tuple(range(g.n)) if targets is None else targets)


def test_where_all_hops_are_alike_an_order_takes_six_to_finality_and_one_more_to_its_fill() -> None:
    g = uniform(4)
    reached = order_floor(g, order_of(g, at_us=500), leader=1)
    # client, list, proposal, notarize, finalize, report; a fill waits for the bundles as well
    assert (reached.final_us - 500, reached.fill_us - 500) == (6 * HOP, 7 * HOP)


def test_each_step_waits_for_its_kth_fastest_member() -> None:
    slow = 7 * HOP
    n = 4  # f + 1 = 2 lists, q = t = 3: one slow member changes nothing. Where 2 and 3 are slow: the lists of 0 and 1
    # are at the leader after 2 hops; member 2 has its own vote and those of 0 and 1 after 10, the fast ones have a
    # third vote after 16 and 2's finalize vote after 17; the report makes 18.
    for members, hops in (((3,), 6), ((2, 3), 18)):
        delays = tuple(
            tuple(0 if i == j else slow if {i, j} & set(members) else HOP for j in range(n)) for i in range(n)
        )
        g = Geometry.of(delays, ((HOP,) * n,), f=1, q=3, t=3)
        assert order_floor(g, order_of(g), leader=0).final_us == hops * HOP


def test_a_member_that_is_not_sent_the_order_gets_its_body_in_three_hops_and_can_list_it_then() -> None:
    g = uniform(4)
    bodies = bodies_us(g, order_of(g, targets=(0, 1)))
    assert bodies == [HOP, HOP, 4 * HOP, 4 * HOP]
    assert lifted_us(g, order_of(g, targets=(0, 1)), leader=0) == 2 * HOP
    assert lifted_us(g, order_of(g, targets=(0, 1)), leader=2) == 4 * HOP, "the leader needs the body"
    assert lifted_us(g, order_of(g, targets=(0,)), leader=0) == 5 * HOP, "the second list is that of one who fetched"


def test_an_order_that_misses_a_proposal_waits_for_the_next_view() -> None:
    g = uniform(4)
    first = order_of(g)
    soon, late = order_of(g, at_us=1), order_of(g, at_us=2 * HOP)
    one, two, three = network_run(g, [first, soon, late])
    assert (one.view, two.view, three.view) == (1, 2, 2)
    assert one == order_floor(g, first, leader=1, view=1)
    # proposed at 2 hops, notarized at 4: then view 2 takes both that waited, and is final 3 hops and a report later
    assert two.final_us == three.final_us == 4 * HOP + 4 * HOP


def test_a_view_that_only_certifies_comes_between_two_lone_orders() -> None:
    g = uniform(4)
    lone = [order_of(g, at_us=at_us) for at_us in (0, 10**6, 2 * 10**6)]
    reached = network_run(g, lone)
    assert [one.view for one in reached] == [1, 3, 5]
    for order, one in zip(lone, reached, strict=True):
        assert one == order_floor(g, order, one.view % g.n, one.view), "a lone order waits for nothing"


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.sampled_from([4, 7, 10, 13]))
def test_no_order_of_a_run_is_faster_than_its_own_floor(seed: int, n: int) -> None:
    g, rng = drawn(seed, n), random.Random(seed)
    times = sorted(rng.randrange(3_000_000) for _ in range(12))
    orders = [
        Order(at_us, rng.randrange(3), tuple(sorted(rng.sample(range(n), rng.randint(g.f + 1, n))))) for at_us in times
    ]
    for order, reached in zip(orders, network_run(g, orders), strict=True):
        least = order_floor(g, order, reached.view % n, reached.view)
        assert order.submitted_us < least.final_us <= reached.final_us
        assert least.final_us < least.fill_us <= reached.fill_us


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.sampled_from([4, 7, 13]), leader=st.integers(0, 3), scale=st.integers(2, 9))
def test_a_network_that_is_slower_throughout_makes_an_order_later_in_proportion(
    seed: int, n: int, leader: int, scale: int
) -> None:
    g = drawn(seed, n)
    slower = Geometry.of(
        tuple(tuple(scale * one for one in row) for row in g.one_way_us),
        tuple(tuple(scale * one for one in row) for row in g.client_us),
        f=g.f,
        q=g.q,
        t=g.t,
    )
    order = order_of(g, client=1)
    before, after = order_floor(g, order, leader), order_floor(slower, order, leader)
    assert (after.final_us, after.fill_us) == (scale * before.final_us, scale * before.fill_us)


def test_the_client_counts_f_plus_1_reports() -> None:
    near = Geometry.of(uniform(4).one_way_us, ((HOP, 5 * HOP, 9 * HOP, 9 * HOP),), f=1, q=3, t=3)
    # bodies at 1, 5 and, as member 0 passes it on, 4 hops; two lists at leader 0 after 5; final at all after 8
    assert order_floor(near, order_of(near), leader=0).final_us == (8 + 5) * HOP


def test_relayed_delays_are_shortest_paths_and_delays_must_be_square() -> None:
    assert relayed(((0, 5, 100), (5, 0, 7), (100, 7, 0)))[0] == (0, 5, 12)
    assert kth([30, 10, 20], 2) == 20
    for hops in (((0, 1), (1,)), ((1, 1), (1, 0))):
        with pytest.raises(ValueError):
            Geometry.of(hops, ((1, 1),), f=0, q=1, t=1)
