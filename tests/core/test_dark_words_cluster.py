"""Words of dark markets on their way through a running committee: from a member's list through a final block to every
member's execution, after restarts and into the next epoch; and a member that floods the others with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from core_kit import submit
from dark_words_kit import dark_deployment, result
from recovery_kit import audit
from rotation_kit import ROTATION_MS, approve, target_of

from mpc_sequencer.core import domains, limits, recovery
from mpc_sequencer.core.chain import Finality
from mpc_sequencer.core.transcript import BlockEntry, KeyEntry, LogEntry
from mpc_sequencer.core.types import KeyMessage
from mpc_sequencer.market import Engine
from mpc_sequencer.sim import Cluster

N = 5
Words = list[tuple[int, bytes]]
Executions = dict[int, list[tuple[int, Words, int | None]]]
"""By height: what engines executed it with: the engine, the words, and the epoch of the parties."""


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> Executions:
    found: Executions = defaultdict(list)
    execute = Engine.execute

    def noted(engine: Engine, height: int, *args: Any) -> Any:
        words, parties = args[4:]
        found[height].append((id(engine), list(words), None if parties is None else parties.epoch))
        return execute(engine, height, *args)

    monkeypatch.setattr(Engine, "execute", noted)
    return found


def cluster_of(joiners: int = 0) -> Cluster:
    return Cluster(dark_deployment(N, seed=3, joiners=joiners), seed=4)


def speak(cluster: Cluster, node: int, message: KeyMessage) -> None:
    """The member's core says this word, as its voice would."""
    core = cluster.cores[node]
    core.keybook.add(message, needed=True)
    core.arrivals += 1
    cluster.at(cluster.now_ms, node, None)


def words_in(log: Sequence[LogEntry], topic: bytes | None) -> dict[int, Words]:
    """What each block of a log lifts of dark markets, in the order in which it counts."""
    found: dict[int, Words] = {}
    held: dict[bytes, KeyMessage] = {}
    for entry in log:
        if isinstance(entry, KeyEntry) and entry.message.session == topic:
            held[entry.message.message_id()] = entry.message
        elif isinstance(entry, BlockEntry):
            root = entry.block.header.inputs_root
            ids = sorted(held, key=lambda one: domains.CARRY(root, one))
            found[entry.block.header.height] = [(held[one].node, held[one].payload) for one in ids]
            held = {}
    return {height: words for height, words in found.items() if words}


def settled(cluster: Cluster, nodes: Sequence[int]) -> bool:
    """All have executed all that is final, and the same."""
    cores = [cluster.cores[node] for node in nodes]
    return all(not core.reveal.pending() and not core.has_work() for core in cores) and (
        len({(core.chain.final_id, core.execution.engine.state_root()) for core in cores}) == 1
    )


def agree(cluster: Cluster, places: Sequence[int] = range(N)) -> None:
    """The members agree on dark keys, without any order to wait for; all execute what they say."""
    hosts = [cluster.hosts[place] for place in places]

    def agreed(cluster: Cluster) -> bool:
        desks = [host.core.dark.desk for host in hosts]  # of the epoch, as soon as it has executed a height
        same = len({host.core.execution.engine.state_root() for host in hosts}) == 1
        quiet = not any(host.core.reveal.pending() or host.core.has_work() for host in hosts)
        return all(desk is not None and desk.keys is not None for desk in desks) and same and quiet

    assert cluster.run(20_000, until=agreed)


def test_words_come_to_execution_with_the_height_that_lifts_them_in_one_order_everywhere(
    executions: Executions,
) -> None:
    cluster = cluster_of()
    agree(cluster)
    topic = cluster.deployment.committee.dark_topic
    lifted = [words_in(log, topic) for log in cluster.logs]
    assert sum(len(words) for words in lifted[0].values()) == 3 * N, "a key, a deal and an answer of each"
    for height, words in lifted[0].items():
        assert all(of.get(height) == words for of in lifted)
        assert len(executions[height]) == N
        assert all((found, epoch) == (words, 0) for _, found, epoch in executions[height])
    assert not any(words for height, of in executions.items() if height not in lifted[0] for _, words, _ in of)
    assert all(core.dark.desk is core.execution.engine.desk for core in cluster.cores)
    assert not cluster.faults


def test_the_auditor_sees_the_same_blocks_count() -> None:
    cluster = cluster_of()
    d = cluster.deployment
    for node in range(3):
        submit(cluster, node, d.order(d.traders[node], cluster.now_ms))
    agree(cluster)
    assert not audit(cluster, cluster.logs[0])


def test_words_and_orders_of_one_block_are_executed_together(executions: Executions) -> None:
    cluster = cluster_of()
    d = cluster.deployment
    orders = [d.order(trader, cluster.now_ms) for trader in d.traders]
    for node, order in enumerate(orders):
        submit(cluster, node, order)
    agree(cluster)
    assert all(cluster.cores[0].pool.sequenced_height(order.order_id()) for order in orders) and not cluster.faults


@pytest.mark.parametrize("damaged", [False, True])
def test_a_member_that_comes_back_executes_every_height_with_the_words_it_had(
    executions: Executions, damaged: bool
) -> None:
    """From its own journal and log, or from its peers' logs."""
    cluster = cluster_of()
    agree(cluster)
    d, before = cluster.deployment, {height: len(of) for height, of in executions.items()}
    cluster.stop(3)
    cluster.run(200)
    cluster.restart(3, damaged=damaged)
    for _ in range(3):
        submit(cluster, 0, d.order(d.traders[0], cluster.now_ms))
        cluster.run(1_500)
    assert cluster.run(8_000, until=lambda c: settled(c, range(N)))
    lifted = words_in(cluster.logs[0], d.committee.dark_topic)
    assert any(len(executions[height]) > before[height] for height in lifted)
    for height, words in lifted.items():
        assert all(found == words for _, found, _ in executions[height])
    assert words_in(cluster.logs[3], d.committee.dark_topic) == lifted


def test_a_snapshot_keeps_the_words_of_heights_that_are_not_executed() -> None:
    cluster = cluster_of()
    agree(cluster)
    core = cluster.cores[0]
    kept = [core.chain.final_entry(height) for height in range(1, core.chain.final_height + 1)]
    entry = next(one for one in kept if one is not None and one.words and not one.block.batch)
    certificate = core.simplex.final_certificate()
    assert certificate is not None
    core.reveal.final(Finality(entry.block_id, entry.block, certificate, (), {}, (), entry.words), (), cluster.now_ms)
    snapshot, first_height = recovery.dump(core)
    assert first_height == entry.state.height
    again = cluster.deployment.first_core(0, bytes(32))
    recovery.restore(again, snapshot, (), cluster.now_ms)
    assert [one.words for one in again.reveal.finals()] == [entry.words]


def test_a_member_that_floods_the_others_has_no_word_in_any_log() -> None:
    """What no honest member wants f members list in vain; and it costs the others a bounded room."""
    cluster = cluster_of()
    d = cluster.deployment
    liar = cluster.cores[4]
    liar.keybook.wanted = lambda message_id, message: True
    flood = [result(d, 4, 100 + number) for number in range(6 * limits.KEY_MESSAGES_PER_MEMBER_MAX)]
    for message in flood:
        speak(cluster, 4, message)
    agree(cluster)
    ids = {one.message_id() for one in flood}
    assert sum(bool(one.list_number) for one in liar.keybook.kept()) >= len(flood)
    for core in cluster.cores[:4]:
        held = [one for one in core.keybook.kept() if one.message.message_id() in ids]
        assert 0 < len(held) <= limits.KEY_MESSAGES_PER_MEMBER_MAX
        assert not any(one.list_number for one in held)
        assert not core.keybook.waiting(core.keygen.live)
    for log in cluster.logs:
        assert not [one for one in log if isinstance(one, KeyEntry) and one.message.message_id() in ids]


def test_the_next_epoch_s_words_are_executed_for_its_parties(executions: Executions) -> None:
    cluster = cluster_of(joiners=1)
    cluster.join(0)
    cluster.run(700)
    agree(cluster)
    people = (0, 1, 2, 3, 5)
    approve(cluster, target_of(cluster, people), range(N))
    hosts = [cluster.hosts[place] for place in people]
    assert cluster.run(ROTATION_MS, until=lambda c: all(host.core.committee.epoch == 1 for host in hosts))
    cores = [host.core for host in hosts]
    committee = cores[0].committee
    assert committee.dark_topic != cluster.deployment.committee.dark_topic
    for core in cores:
        assert core.dark.parties is not None and core.dark.parties.members == committee.addresses
    first = committee.anchor_height + 1

    agree(cluster, people)
    for height, of in executions.items():
        assert {epoch for _, _, epoch in of} == ({1} if height >= first else {0})
    assert any(words for height, of in executions.items() if height >= first for _, words, _ in of)
    assert all(core.dark.desk is core.execution.engine.desk for core in cores) and not cluster.faults
