"""Attack: read an order when its batch is decrypted, then send another one and have it executed before.

What is decrypted is a final batch, and no later list changes it or the order in it: its positions are those of its
block and its ancestors. An order whose place might still change waits undecrypted.

Evidence: none: to send an order later is no offence, and nothing is gained.
"""

from functools import partial
from itertools import permutations

from core_kit import all_sequenced, check_safety, submit
from evidence_kit import evidence_left
from receive_kit import History, names, oid

from mpc_sequencer.core.ordering.receive import fair_order
from mpc_sequencer.core.transcript import OpenedEntry
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import Cluster, make_deployment

VICTIM, BEFORE, LATE = oid("v"), oid("b"), oid("l")


def test_nothing_listed_after_the_batch_is_final_changes_its_order() -> None:
    run = History()
    run.block(*[[BEFORE, VICTIM]] * 3, [], [])
    final = run.blocks[0]
    assert set(final.batch) == {BEFORE, VICTIM}
    order = fair_order((VICTIM, BEFORE), final.positions, 1)
    assert names(order) == "bv"
    known = dict(final.positions)
    run.block([LATE], [LATE], [LATE], [LATE, VICTIM, BEFORE], [LATE, VICTIM, BEFORE])
    assert run.blocks[1].batch == (LATE,)
    assert dict(final.positions) == known
    assert not run.state.positions, "late listings of batched orders leave no trace"
    assert fair_order((VICTIM, BEFORE), final.positions, 1) == order


def test_an_order_that_might_still_be_before_the_victim_keeps_it_sealed() -> None:
    """Two members have the late order first and two are silent: the victim is not decrypted until this is settled."""
    run = History()
    run.block([LATE, VICTIM], [LATE, VICTIM], [VICTIM])
    assert run.blocks[0].batch == ()
    run.block([], [], [], [VICTIM], [VICTIM, LATE])
    assert set(run.blocks[1].batch) == {VICTIM, LATE}
    assert names(fair_order((LATE, VICTIM), run.blocks[1].positions, 1)) == "vl", "three to two"


def test_a_coalition_that_held_its_lists_back_cannot_place_one_before_what_is_solid() -> None:
    """Members 3 and 4 list nothing until they have read the victim; whatever they then say comes after it."""
    for said in permutations((LATE, VICTIM, BEFORE)):
        run = History()
        run.block([BEFORE, VICTIM], [BEFORE, VICTIM], [BEFORE, VICTIM])
        run.block([], [LATE], [], said, said)
        assert [names(sorted(block.batch)) for block in run.blocks] == ["bv", "l"]


def _has_read(order_id: bytes, cluster: Cluster) -> bool:
    return any(isinstance(one, OpenedEntry) and one.opened.order_id == order_id for one in cluster.logs[4])


def test_in_a_committee_an_order_sent_on_reading_another_is_batched_after_it() -> None:
    d = make_deployment(5, policy=RECEIVE)
    cluster = Cluster(d)
    for _ in range(5):
        victim = d.order(d.traders[0], cluster.now_ms)
        for node in range(5):
            submit(cluster, node, victim)
        assert cluster.run(5_000, until=partial(_has_read, victim.order_id()))
        late = d.order(d.traders[1], cluster.now_ms)
        for node in range(5):
            submit(cluster, node, late)
        assert cluster.run(5_000, until=all_sequenced({late.order_id()}, set(range(5))))
        for core in cluster.cores:
            first, second = (core.pool.get(one.order_id()) for one in (victim, late))
            assert first is not None and second is not None
            assert 0 < first.sequenced_height < second.sequenced_height
    check_safety(cluster)
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
