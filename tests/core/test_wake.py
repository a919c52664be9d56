"""Waking an idle committee: heights without a batch that count because the market says that something is due."""

from __future__ import annotations

import pytest
from core_kit import check_safety, results, submit

from mpc_sequencer.core import domains
from mpc_sequencer.core.messages import HeadMessage, PeerMessage
from mpc_sequencer.core.transcript import BlockEntry, ResultEntry
from mpc_sequencer.market import Engine
from mpc_sequencer.sim import Cluster, Network, make_deployment
from mpc_sequencer.sim.checkers.audit import Audited

DUE_MS = 1_500
"""After the start, when the double's market has something due; each height then does away with one thing."""
THINGS = 3


class DueEngine:
    """The market's engine for which THINGS expiries are due from a time on, one height doing away with one of them."""

    def __init__(self, engine: Engine, from_ms: int) -> None:
        self._engine, self._from_ms = engine, from_ms
        self.left = THINGS
        self.coins: dict[int, bytes] = {}

    def due(self, time_ms: int) -> bool:
        return self.left > 0 and time_ms >= self._from_ms

    def execute(self, height: int, time_ms: int, coin: bytes, *rest: object) -> object:
        self.left -= self.due(time_ms)
        self.coins[height] = coin
        return self._engine.execute(height, time_ms, coin, *rest)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


def woken(network: Network | None = None, nodes: tuple[int, ...] = (0, 1, 2, 3)) -> Cluster:
    """A committee with one executed order whose market, at these members, has something due later."""
    d = make_deployment(4, seed=71)
    cluster = Cluster(d, seed=71, network=network)
    for node in nodes:
        execution = cluster.cores[node].execution
        execution.engine = DueEngine(execution.engine, cluster.now_ms + DUE_MS)  # type: ignore[assignment]
    submit(cluster, 0, d.order(d.traders[0], cluster.now_ms))
    cluster.run(12_000)
    return cluster


def bare_heights(cluster: Cluster) -> list[int]:
    """Heights without a batch that have a result."""
    log = cluster.logs[0]
    batched = {entry.block.header.height for entry in log if isinstance(entry, BlockEntry) and entry.block.batch}
    return [entry.height for entry in log if isinstance(entry, ResultEntry) and entry.height not in batched]


def test_an_idle_committee_wakes_for_what_is_due_and_sleeps_when_it_is_done() -> None:
    cluster = woken()
    heights = bare_heights(cluster)
    assert len(heights) == THINGS
    ids = {e.block.header.height: e.block.header.block_id() for e in cluster.logs[0] if isinstance(e, BlockEntry)}
    for core in cluster.cores:
        engine = core.execution.engine
        assert isinstance(engine, DueEngine) and engine.left == 0
        assert [engine.coins[height] for height in heights] == [domains.BARE_COIN(ids[height]) for height in heights]
        assert core.chain.final_state.last_counting == heights[-1]
        assert core.execution.certified_height == heights[-1], "such heights are certified like others"
    assert len({tuple(results(cluster, node).items()) for node in range(4)}) == 1
    headers = [entry.block.header for entry in cluster.logs[0] if isinstance(entry, BlockEntry)]
    times_ms = [header.time_ms for header in headers if header.height in heights]
    assert times_ms[-1] - times_ms[0] < 2_000, "one after the other, without delay"
    check_safety(cluster)


def test_f_members_wake_nobody() -> None:
    cluster = woken(nodes=(2,))
    assert bare_heights(cluster) == []


def test_f_members_that_say_nothing_let_nothing_sleep() -> None:
    def mute(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        return None if sender == 3 and isinstance(message, HeadMessage) else message

    assert len(bare_heights(woken(Network(tamper=mute)))) == THINGS


def test_an_auditor_comes_to_the_same_heights() -> None:
    cluster = woken()
    checker = Audited.__new__(Audited)
    checker.committee = cluster.deployment.committee
    assert checker._findings(cluster.logs[0]) == []


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_member_that_comes_back_executes_such_heights_as_the_others_did(snapshot: bool) -> None:
    cluster = woken()
    if snapshot:
        cluster.hosts[1].disk.take_snapshot(cluster.cores[1])
    before = results(cluster, 1)
    cluster.stop(1)
    cluster.run(100)
    cluster.restart(1)
    cluster.run(6_000)
    assert results(cluster, 1) == before
    assert cluster.cores[1].execution.executed_height == cluster.cores[0].execution.executed_height
