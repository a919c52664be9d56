"""What hostile clients and members may cost a proof desk: questions by the thousand, results that never were."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mpc_sequencer.core import proofdesk
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.limits import HEAD_RESULTS_MAX
from mpc_sequencer.core.messages import ProofQuery, ProofReply, Submit
from mpc_sequencer.core.proofdesk import CLIENT_PENDING_MAX, REPORTS_PER_MEMBER_MAX, ProofDesk
from mpc_sequencer.core.resultproof import ACCOUNT, FILL
from mpc_sequencer.core.types import ResultRef
from mpc_sequencer.sim import Cluster, make_deployment

CLIENTS = 12


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []
    real: Callable[..., Any] = getattr(owner, name)

    def call(*args: Any) -> Any:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(owner, name, call)
    return calls


def executed_cluster(*sides: int) -> tuple[Any, Cluster]:
    d = make_deployment(4)
    cluster = Cluster(d)
    orders = [
        d.order(d.traders[place], cluster.now_ms, side=side, price_ticks=618_000) for place, side in enumerate(sides)
    ]
    cluster.request(0, Submit(1, tuple(orders), False), 99)
    while not cluster.cores[0].execution.executed_height:
        cluster.run(20)
    return d, cluster


def test_questions_that_wait_are_not_looked_through_for_every_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    d, cluster = executed_cluster(SELL)
    desk, looked = cluster.cores[0].proofs, counted(monkeypatch, ProofDesk, "_proof")
    for client in range(CLIENTS):
        for number in range(CLIENT_PENDING_MAX):
            desk.ask(client, ProofQuery(number, ACCOUNT, d.traders[0].address, 0))
    assert len(desk._pending) == CLIENTS * CLIENT_PENDING_MAX
    assert len(looked) == CLIENTS * CLIENT_PENDING_MAX
    cluster.run(2_000)
    told = [reply for client in range(CLIENTS) for _, reply in cluster.replies[client]]
    assert [one.state for one in told if isinstance(one, ProofReply)] == ["proven"] * CLIENTS * CLIENT_PENDING_MAX
    assert desk._pending == [] and not +desk._of_client


def test_the_fills_of_a_height_are_hashed_once_however_often_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, cluster = executed_cluster(SELL, BUY)
    cluster.run(2_000)
    desk, hashed = cluster.cores[0].proofs, counted(monkeypatch, proofdesk, "merkle_levels")
    (height,) = [one for one in desk._heights if one.fills]
    assert height.fills is not None
    for number in range(2_000):
        desk.ask(7, ProofQuery(number, FILL, height.fills[number % 2].order_id, height.link.height))
        desk.ask(7, ProofQuery(number, FILL, b"\x55" * 32, height.link.height))
    assert len(hashed) == 1
    states = [one.message.state for one in cluster.cores[0].collect()]  # type: ignore[union-attr]
    assert states == ["proven", "absent"] * 2_000


def test_results_that_never_come_about_fill_only_the_share_of_who_says_them() -> None:
    _, cluster = executed_cluster(SELL)
    desk = ProofDesk(cluster.cores[0])

    def final(node: int, results: list[ResultRef]) -> Any:
        head = SimpleNamespace(node=node, results=tuple(results))
        return SimpleNamespace(entry=SimpleNamespace(block=SimpleNamespace(heads=(head,), certified=())))

    for block in range(REPORTS_PER_MEMBER_MAX):
        heights = range(block * HEAD_RESULTS_MAX + 1, (block + 1) * HEAD_RESULTS_MAX + 1)
        desk.final(final(3, [ResultRef(height=1 << 40 | one, result=bytes(32)) for one in heights]))
    assert len(desk._reports) == REPORTS_PER_MEMBER_MAX
    said = ResultRef(height=5, result=b"\x01" * 32)
    for node in (0, 1):
        desk.final(final(node, [said]))
    desk.final(final(3, [said]))
    assert sorted(desk._reports[5, said.result]) == [0, 1]
