"""Members far behind take in a peer's log: of an honest one all, of a lying or silent one nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from core_kit import check_safety, results
from recovery_kit import behind, check_all, drive

from mpc_sequencer.core import limits
from mpc_sequencer.core.catchup import CatchUp
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.messages import FetchLog, LogSlice
from mpc_sequencer.core.recovery import dump
from mpc_sequencer.core.transcript import LogEntry
from mpc_sequencer.sim import Cluster, make_deployment


def test_a_member_far_behind_catches_up_from_a_peers_log(short_memory: None) -> None:
    cluster, _ = behind(1)
    missing = cluster.cores[0].chain.final_height - cluster.cores[3].chain.final_height
    assert missing > 2 * limits.BLOCKS_KEPT_HEIGHTS
    cluster.restart(3)
    cluster.run(10_000)
    check_all(cluster)


def test_a_member_with_an_empty_disk_joins_from_the_first_block(short_memory: None) -> None:
    cluster, _ = behind(2)
    cluster.hosts[3].disk.wipe(keep_log=False)
    cluster.restart(3, damaged=True)
    cluster.run(12_000)
    check_all(cluster)
    assert len(results(cluster, 3)) == len(results(cluster, 0))


Tamper = Callable[[LogSlice], LogSlice]


def _cut(answer: LogSlice) -> LogSlice:
    return LogSlice(answer.entries[:3] + answer.entries[60:], answer.next_position)


def _flip(answer: LogSlice) -> LogSlice:
    bent = tuple(entry[:-1] + bytes((entry[-1] ^ 1,)) for entry in answer.entries)
    return LogSlice(bent, answer.next_position)


def _swap(answer: LogSlice) -> LogSlice:
    return LogSlice(tuple(reversed(answer.entries)), answer.next_position)


def _garbage(answer: LogSlice) -> LogSlice:
    return LogSlice((b"\x00",), answer.next_position)


def _nothing(answer: LogSlice) -> LogSlice:
    return LogSlice((), answer.next_position)


@pytest.mark.parametrize("tamper", [_cut, _flip, _swap, _garbage, _nothing])
def test_a_lying_log_costs_its_sender_the_question_and_nobody_the_state(short_memory: None, tamper: Tamper) -> None:
    cluster, _ = behind(3)
    liars = {0}
    asked: list[int] = []

    def bend(sender: int, receiver: int, message):  # type: ignore[no-untyped-def]
        if isinstance(message, LogSlice):
            asked.append(sender)
            return tamper(message) if sender in liars else message
        return message

    cluster.network.tamper = bend
    cluster.restart(3)
    seen = cluster.cores[3].catchup.seen
    cluster.cores[3].catchup.seen = lambda node, height: seen(0, height)  # type: ignore[method-assign]
    cluster.run(15_000)
    assert asked[0] == 0 and set(asked) != {0}, "the next member was asked"
    assert all(fault.node in liars for _, fault in cluster.faults)
    check_safety(cluster)
    cluster.faults.clear()
    check_all(cluster)


def test_a_slice_that_nobody_asked_for_is_dropped() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(100)
    core = cluster.cores[0]
    before = dump(core)[0]
    core.catchup.on_slice(1, LogSlice((b"\x00",), 7))
    assert not core.catchup.has_work() and dump(core)[0] == before
    assert isinstance(core.catchup, CatchUp)


def test_a_silent_peer_is_passed_over(short_memory: None) -> None:
    cluster, _ = behind(4)
    cluster.network.tamper = lambda sender, _, m: None if sender == 0 and isinstance(m, LogSlice) else m
    cluster.restart(3)
    cluster.run(15_000)
    check_all(cluster)


def test_serving_names_the_start_of_a_height() -> None:
    rng = random.Random(9)
    cluster = Cluster(make_deployment(4, seed=9), seed=9)
    drive(cluster, rng, 10)
    cluster.run(3_000)
    disk = cluster.hosts[0].disk
    for height in range(1, cluster.cores[0].chain.final_height + 1):
        answer = disk.serve(FetchLog(height, 0))
        block = next(e for e in (decode(LogEntry, d) for d in answer.entries) if type(e).__name__ == "BlockEntry")
        assert block.block.header.height == height
    assert disk.serve(FetchLog(10_000, 0)) == LogSlice((), 0)
