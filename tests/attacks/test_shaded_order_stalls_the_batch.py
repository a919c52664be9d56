"""Attack: an order that f+1 members list and the others never do stands before all others, so that none is batched.

It holds others back only while all honest members may have it first. Once the honest members' listings of an order
are included, no shaded order binds it, whatever the f Byzantine ones list.

Evidence: none: to list nothing is no offence.
"""

from itertools import product

import pytest
from core_kit import all_sequenced, check_safety, submit
from evidence_kit import evidence_left, from_member
from receive_kit import START_MS, History, oid

from mpc_sequencer.core import limits
from mpc_sequencer.core.messages import Bodies
from mpc_sequencer.core.ordering import OrderFacts
from mpc_sequencer.core.ordering.receive import eligible
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import Cluster, make_deployment

STALLER = oid("s")
ORDERS = [oid(f"{i}") for i in range(4)]


def test_it_holds_nothing_back_once_honest_members_have_listed_without_it() -> None:
    """The liar and one honest member list it first; the others' doors refused it."""
    run = History()
    run.block([STALLER, *ORDERS], ORDERS[:0], ORDERS, [], [STALLER, *ORDERS])
    assert run.blocks[0].batch == (), "one of four honest members is heard against it: not enough to tell"
    run.block([], ORDERS)
    assert set(run.blocks[1].batch) == set(ORDERS), "and with the second it is over"
    assert [one.order_id for one in run.state.queue] == [STALLER]


@pytest.mark.parametrize("n", [5, 6, 9, 13])
def test_with_all_honest_listings_no_shaded_order_binds_whoever_lists_it(n: int) -> None:
    """Every number of honest and Byzantine members that may list it first, up to one short of solid."""
    f = (n - 1) // 4
    solid = n - 2 * f
    for honest, liars in product(range(n - f + 1), range(f + 1)):
        if not f + 1 <= honest + liars < solid:
            continue
        told = {STALLER: tuple((node, 1, 0) for node in (*range(honest), *range(n - liars, n)))}
        told[ORDERS[0]] = tuple((node, 1, 1) for node in range(n - f))
        assert eligible((STALLER, ORDERS[0]), told, faults=f, solid=solid) == [ORDERS[0]]


def test_a_chain_of_stallers_ends_with_the_listings_that_are_due() -> None:
    """A fresh staller every block, each before the last one at the liar's and at one honest member's: those that the
    others list behind it are free in the next block."""
    run = History()
    stallers = [oid(f"s{i}") for i in range(6)]
    run.block([stallers[0], ORDERS[0]], [ORDERS[0]], [], [], [*stallers[::-1], ORDERS[0]])
    for at in range(1, 6):
        fresh = stallers[at]
        run.block([fresh], [stallers[at - 1]], [ORDERS[0]] if at == 1 else [], [], [])
    number = [at for at, batch in enumerate(run.batches()) if ORDERS[0] in batch]
    assert number == [1]


def test_its_end_is_its_expiry_at_the_latest() -> None:
    """Members that list nothing more, as when n-f are heard no more: the staller's validity ends the wait."""
    late = OrderFacts(START_MS, START_MS + 1_000, b"\x0a" * 20, 256)
    run = History(facts={STALLER: late})
    run.block([STALLER, *ORDERS], [], ORDERS, [], [STALLER, *ORDERS])
    run.block(after_ms=900)
    assert run.batches() == [(), ()]
    run.block(after_ms=100)
    assert set(run.blocks[-1].batch) == set(ORDERS)


def test_orders_that_pay_for_nothing_stall_nothing() -> None:
    """Without credit, or not valid yet, an order is no predecessor of any."""
    for fact in (
        OrderFacts(START_MS, START_MS + 60_000, b"\x0b" * 20, 256),
        OrderFacts(START_MS + 5_000, START_MS + 60_000, b"\x0a" * 20, 256),
    ):
        run = History(facts={STALLER: fact})
        run.block([STALLER, *ORDERS], [], ORDERS, [], [STALLER, *ORDERS])
        assert set(run.blocks[0].batch) == set(ORDERS)


def test_in_a_committee_the_others_orders_are_batched_whatever_the_staller_does() -> None:
    """The liar and one honest member list the staller first, and the liar serves its body to nobody."""
    d = make_deployment(5, policy=RECEIVE)
    cluster = Cluster(d)
    staller = d.order(d.traders[0], cluster.now_ms)
    liar, duped = 4, 0

    cluster.network.tamper = from_member(liar, lambda _, message: None if isinstance(message, Bodies) else message)
    for node in (liar, duped):
        submit(cluster, node, staller)
    cluster.run(60)
    orders = [d.order(d.traders[1 + i % 3], cluster.now_ms) for i in range(4)]
    for node in range(5):
        submit(cluster, node, *orders)
    began_ms = cluster.now_ms
    assert cluster.run(10_000, until=all_sequenced({one.order_id() for one in orders}, {1, 2, 3}))
    assert cluster.now_ms - began_ms < limits.VIEW_TIMEOUT_MS
    check_safety(cluster)
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
