"""Five members with receive order: batches form, their positions arrive with them, and the auditor agrees."""

from __future__ import annotations

import importlib
import random
from functools import partial

import pytest
from core_kit import all_sequenced, check_safety, results, submit

from mpc_sequencer.audit.report import Finding, Stop
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.ordering.receive import fair_order
from mpc_sequencer.core.transcript import BlockEntry, LogEntry
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import Cluster, Network, make_deployment

derivation = importlib.import_module("mpc_sequencer.core.ordering.derive")  # the package has a function of that name


def audited(cluster: Cluster, node: int) -> tuple[Audit, list[Finding]]:
    audit = Audit(cluster.deployment.committee)
    try:
        for entry in cluster.logs[node]:
            audit.add(decode(LogEntry, encode(entry)))
        audit.finish()
    except Stop:
        pass
    return audit, audit.recorder.findings


@pytest.mark.parametrize("stopped", [None, 4], ids=["all", "one stopped"])
def test_batches_come_with_positions_and_the_auditor_agrees(stopped: int | None) -> None:
    d = make_deployment(5, policy=RECEIVE)
    cluster = Cluster(d, seed=3, network=Network(delay_ms=lambda r, _s, _t: r.randint(1, 30)))
    live = {0, 1, 2, 3, 4} - {stopped}
    if stopped is not None:
        cluster.stop(stopped)
    draw = random.Random(8)
    ids = set()
    for _ in range(12):
        orders = [d.order(d.traders[i], cluster.now_ms) for i in range(2)]
        ids |= {order.order_id() for order in orders}
        for node in draw.sample(sorted(live), 2):
            submit(cluster, node, *orders)
        cluster.run(30)
    assert cluster.run(20_000, until=all_sequenced(ids, live))
    cluster.run(1_000)
    check_safety(cluster, honest=live)
    entries = [entry for entry in cluster.cores[0].chain._entries.values() if entry.block.batch]
    assert {one.order_id for entry in entries for one in entry.block.batch} == ids
    for entry in entries:
        assert list(entry.positions) == [one.order_id for one in entry.block.batch]
        for order_id, places in entry.positions.items():
            assert len({node for node, _, _ in places}) == len(places) >= d.committee.n - 2 * d.committee.f
            for node, number, index in places:
                held = cluster.cores[0].lists.between(node, number - 1, number)
                assert held is not None
                assert held[0][0].entries[index] == order_id
    audit, findings = audited(cluster, 0)
    assert findings == []
    heights = {entry.block.header.height for entry in cluster.logs[0] if isinstance(entry, BlockEntry)}
    assert {entry.state.height for entry in entries} <= heights
    assert audit.results.results == results(cluster, 0), "executed in the order of receipt by both"


@pytest.mark.parametrize(("doors", "apart_ms"), [(5, 10), (1, 200)], ids=["to all", "to one"])
def test_orders_far_enough_apart_are_batched_in_the_order_of_their_sending(doors: int, apart_ms: int) -> None:
    """Sent to all members, apart by more than the network's jitter; sent to one, by the others' way to it as well:
    the cut of its list, the list's way, the fetch of the body."""
    d = make_deployment(5, policy=RECEIVE)
    cluster = Cluster(d, seed=4, network=Network(delay_ms=lambda r, _s, _t: r.randint(1, 8)))
    sent = []
    for turn in range(20):
        order = d.order(d.traders[turn % 3], cluster.now_ms)
        sent.append(order.order_id())
        for door in range(doors):
            at_ms = cluster.now_ms + (turn + door) % 5
            cluster.call(at_ms, partial(submit, cluster, (turn + door) % 5, order))
        cluster.run(apart_ms)
    assert cluster.run(20_000, until=all_sequenced(set(sent), set(range(5))))
    entries = [entry for entry in cluster.cores[2].chain._entries.values() if entry.block.batch]
    entries.sort(key=lambda entry: entry.state.height)
    ordered = [i for entry in entries for i in fair_order(sorted(entry.positions), entry.positions, d.committee.f)]
    assert ordered == sent


def test_a_committee_that_batches_unsettled_orders_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """All members run a build that does not wait for n-2f listings."""
    monkeypatch.setattr(derivation, "_settled", lambda parent, queue, *_: list(queue))
    d = make_deployment(5, policy=RECEIVE)
    cluster = Cluster(d, seed=3)
    order = d.order(d.traders[0], cluster.now_ms)
    for node in (0, 1):
        submit(cluster, node, order)
    assert cluster.run(20_000, until=all_sequenced({order.order_id()}, set(range(5))))
    _, findings = audited(cluster, 0)
    assert [finding.code for finding in findings] == ["block.unsettled"]
