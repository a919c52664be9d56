"""Attack: more orders than a batch holds, with ids ground so that the attacker's come first.

Among the orders lifted at one height the place in the queue is a hash over all heads and lists of the block: whoever
grinds ids does so before that is known, and a leader that grinds heads cannot choose ids.

Evidence: none: ids are their senders' choice, and nothing is gained.
"""

from itertools import pairwise

import pytest
from core_kit import all_sequenced, check_safety, make_head, make_list, submit
from evidence_kit import evidence_left

from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering import Candidate, Derived, OrderFacts, OrderingState, derive, genesis_state
from mpc_sequencer.core.ordering.chainstate import chain_at
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import START_MS

D = make_deployment(4)
CHAIN = chain_at(D.committee.genesis.checkpoint)
GROUND = [bytes(16) + i.to_bytes(16, "big") for i in range(400)]
HONEST = [b"\xff" * 16 + i.to_bytes(16, "big") for i in range(400)]
FACTS = OrderFacts(START_MS, START_MS + 60_000, b"\x01" * 20, 256)


def flood(parent: OrderingState, time_ms: int) -> Derived:
    """A block in which two members list 800 orders, the ground ones first."""
    entries = (*GROUND, *HONEST)
    lists = [make_list(D, node, 1, ZERO_HASH, entries) for node in (0, 1)]
    heads = [make_head(D, node, 1, time_ms, one) for node, one in enumerate(lists)] + [make_head(D, 2, 1, time_ms)]
    candidate = Candidate(
        view=1,
        heads=tuple(heads),
        lists=((lists[0],), (lists[1],), ()),
        head_hashes=tuple(head.struct_hash() for head in heads),
        list_hashes=((lists[0].struct_hash(),), (lists[1].struct_hash(),), ()),
    )
    derived = derive(parent, candidate, faults=1, quorum=3, bonds_wei={FACTS.sponsor: 10**18}, facts=lambda _: FACTS)
    assert isinstance(derived, Derived)
    return derived


def test_ground_ids_get_their_fair_part_of_the_batch_only() -> None:
    parent = genesis_state(D.committee.genesis_id, START_MS, 4, CHAIN)
    derived = flood(parent, START_MS + 10)
    assert len(derived.batch) == limits.BATCH_ORDERS_MAX
    ground = sum(1 for order_id in derived.batch if order_id in set(GROUND))
    assert 200 < ground < 312, "half of them, give or take five deviations"
    assert [order.carry for order in derived.state.queue] == sorted(order.carry for order in derived.state.queue)


def test_another_head_draws_other_places() -> None:
    parent = genesis_state(D.committee.genesis_id, START_MS, 4, CHAIN)
    first, second = flood(parent, START_MS + 10), flood(parent, START_MS + 11)
    assert set(first.batch) != set(second.batch)


def test_what_was_left_over_comes_before_what_is_lifted_later() -> None:
    parent = genesis_state(D.committee.genesis_id, START_MS, 4, CHAIN)
    left_over = [order.order_id for order in flood(parent, START_MS + 10).state.queue]
    state = flood(parent, START_MS + 10).state
    later = tuple(bytes(8) + i.to_bytes(24, "big") for i in range(1, 300))
    lists = [make_list(D, node, 2, state.last_lists[node][1], later) for node in (0, 1)]
    heads = [make_head(D, node, 2, START_MS + 50, one) for node, one in enumerate(lists)]
    heads.append(make_head(D, 2, 2, START_MS + 50))
    candidate = Candidate(
        view=2,
        heads=tuple(heads),
        lists=((lists[0],), (lists[1],), ()),
        head_hashes=tuple(head.struct_hash() for head in heads),
        list_hashes=((lists[0].struct_hash(),), (lists[1].struct_hash(),), ()),
    )
    derived = derive(state, candidate, faults=1, quorum=3, bonds_wei={FACTS.sponsor: 10**18}, facts=lambda _: FACTS)
    assert isinstance(derived, Derived)
    assert list(derived.batch[: len(left_over)]) == left_over


def test_in_a_committee_ground_ids_wait_like_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of four; of forty sealed orders the attacker sends the eight with the smallest ids, the others eight of
    theirs as they come."""
    monkeypatch.setattr(limits, "BATCH_ORDERS_MAX", 4)
    d = make_deployment(4)
    cluster = Cluster(d)
    ground = sorted((d.order(d.traders[0], cluster.now_ms) for _ in range(40)), key=lambda one: one.order_id())[:8]
    honest = [d.order(d.traders[1 + i % 3], cluster.now_ms) for i in range(8)]
    for node in range(4):
        submit(cluster, node, *ground, *honest)
    ids = {one.order_id() for one in (*ground, *honest)}
    assert cluster.run(20_000, until=all_sequenced(ids, set(range(4))))
    cluster.run(1_000)
    check_safety(cluster)
    entries = sorted(cluster.cores[1].chain._entries.values(), key=lambda entry: entry.state.height)
    batches = [[one.order_id for one in entry.block.batch] for entry in entries if entry.block.batch]
    assert max(len(batch) for batch in batches) == 4
    assert any(max(batch) > min(after) for batch, after in pairwise(batches)), "smaller ids do not go first"
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
