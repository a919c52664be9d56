"""Attack: spam: one client hands a member thousands of orders, so that everybody else's wait behind them.

Clients take turns at a member's door, a few orders each, so another client's order is judged within one turn of every
client that waits. What one client may have queued is bounded, and so is what one sponsor may have pending; each order
that is batched costs its sponsor a charge.

Evidence: none: it is a client's doing and no member signs anything; the surplus is refused (`intake.full`,
`intake.sponsor_full`, `credit.exhausted`).
"""

from __future__ import annotations

from functools import cache

import pytest
from core_kit import all_sequenced, answers, check_safety, submit
from evidence_kit import charged, evidence_left

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Effect, FromClient, Reply
from mpc_sequencer.core.gateway import ORDERS_PER_TURN, QUEUED_ORDERS_PER_CLIENT_MAX
from mpc_sequencer.core.messages import Submit, SubmitReply
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import START_MS

D = make_deployment(4)
SPAMMER = 99


@cache
def spam() -> tuple[Envelope, ...]:
    """Real orders of one sponsor."""
    return tuple(D.order(D.traders[0], START_MS) for _ in range(2 * ORDERS_PER_TURN))


def flood(cluster: Cluster, node: int) -> list[Effect]:
    """As much as one client may queue, and one submission more."""
    part = spam() * (limits.SUBMIT_ENVELOPES_MAX // len(spam()))
    core, effects = cluster.cores[node], []
    for request in range(QUEUED_ORDERS_PER_CLIENT_MAX // len(part) + 1):
        effects += core.step(FromClient(SPAMMER, Submit(request, part, False)), cluster.now_ms)
    return effects


def replied(effects: list[Effect]) -> set[int]:
    return {one.client for one in effects if isinstance(one, Reply) and isinstance(one.message, SubmitReply)}


@pytest.mark.parametrize("clients", [1, 5])
def test_others_wait_one_turn_of_each_client_and_no_more(clients: int) -> None:
    cluster = Cluster(D)
    core = cluster.cores[0]
    effects = flood(cluster, 0)
    surplus = [one.message for one in effects if isinstance(one, Reply)]
    assert len(surplus) == 1 and {row.code for row in surplus[0].results} == {"intake.full"}  # type: ignore[union-attr]
    honest = {}
    for client in range(1, clients + 1):
        order = D.order(D.traders[1 + client % 3], START_MS)
        honest[client] = order
        core.step(FromClient(client, Submit(1, (order,), False)), START_MS)
    waiting, turns = set(honest), 0
    while waiting:
        turns += 1
        waiting -= replied(core.work(START_MS))
        assert turns <= clients + 1, "a turn of the spammer's, and one of each that came before"
    assert all(core.pool.get(order.order_id()).receipt for order in honest.values())  # type: ignore[union-attr]
    assert core.gateway.has_work(), "the spammer still waits"


def test_the_others_orders_are_final_while_the_flood_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sponsor's own bound ends what the flood puts into pools; batches hold the others' orders all the time."""
    monkeypatch.setattr(limits, "PENDING_ORDERS_PER_SPONSOR_MAX", 20)
    d = make_deployment(4)
    cluster = Cluster(d)
    ids: list[bytes] = []
    took_ms = []
    for turn in range(8):
        submit(cluster, 0, *(d.order(d.traders[0], cluster.now_ms) for _ in range(24)), client=SPAMMER)
        order = d.order(d.traders[1 + turn % 3], cluster.now_ms)
        ids.append(order.order_id())
        submit(cluster, 0, order, client=1)
        began_ms = cluster.now_ms
        assert cluster.run(2_000, until=all_sequenced({order.order_id()}, {0}))
        took_ms.append(cluster.now_ms - began_ms)
    assert max(took_ms) < limits.VIEW_TIMEOUT_MS, "no order waited for a view to end"
    cluster.run(2_000)
    assert cluster.run(5_000, until=all_sequenced(set(ids), set(range(4))))
    check_safety(cluster)
    assert [one.code for one in answers(cluster, 1)] == [""] * len(ids)
    assert {one.code for one in answers(cluster, SPAMMER)} == {"", "intake.sponsor_full"}
    assert charged(cluster, set(range(4))) == set()
    assert evidence_left(cluster) == set()
