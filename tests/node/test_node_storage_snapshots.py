"""Snapshots of a member's state and the heights beside them: through a crash at every step, at an end, and how
often."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_kit import dead_processes_hold_no_locks, steps_of
from storage_kit import Driven, held, open_storage, records_of, same

from mpc_sequencer.node import snapshots, storage
from mpc_sequencer.node.snapshots import Snapshots

__all__ = ["dead_processes_hold_no_locks"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-8],
        lambda data: data[:-3],
        lambda data: data + bytes(24),
        lambda data: data[:8] + bytes(len(data) - 8),
        lambda data: data + (1 << 40).to_bytes(8, "little"),
        lambda data: data[8:] + data[:8],
    ],
    ids=["lost", "short", "torn", "zeros after", "zeros inside", "beyond the log", "out of order"],
)
def test_heights_that_do_not_fit_are_made_again(driven: Driven, spoil: Callable[[bytes], bytes]) -> None:
    driven.run(8)
    driven.storage.finish(driven.core)
    expected = list(driven.storage.index.starts)
    assert len(expected) > 3
    path = driven.folder / "heights"
    path.write_bytes(spoil(path.read_bytes()))
    box = driven.reopen()
    assert not box.damaged and list(box.index.starts) == expected
    driven.run(4)
    whole = list(driven.storage.index.starts)
    driven.storage.finish(driven.core)
    assert list(driven.reopen().index.starts) == whole


def test_a_snapshot_that_was_prepared_and_never_written_loses_no_heights(driven: Driven) -> None:
    driven.run(4)
    driven.storage.prepare_snapshot(driven.core)
    driven.run(4)
    driven.storage.finish(driven.core)
    expected = list(driven.storage.index.starts)
    assert list(driven.reopen().index.starts) == expected


# --- crashes in a snapshot --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
def test_a_crash_at_every_step_of_a_snapshot_comes_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    made = Driven(tmp_path / "origin")
    made.run(5)
    if earlier:
        made.storage.prepare_snapshot(made.core).run()
    made.run(5)
    made.storage.log.checkpoint(sync=True)
    keys, before = set(held(made.storage)), made.core
    made.close()

    def copy(folder: Path) -> None:
        shutil.copytree(tmp_path / "origin", folder)

    def snapshot(folder: Path) -> None:
        made.folder = folder
        made.storage = open_storage(folder, made.deployment)
        made.storage.prepare_snapshot(made.recovered()).run()

    steps = 0
    for folder in steps_of(monkeypatch, snapshot, copy, tmp_path):
        steps += 1
        made.folder = folder
        box = made.storage = open_storage(folder, made.deployment)
        assert not box.damaged
        core = made.recovered()
        same(core, before)
        assert set(held(box)) == keys
        expected = [box.index.position_of(h) for h in range(1, core.chain.final_height + 1)]
        assert None not in expected and expected == sorted(expected)
        made.close()
    assert steps > 10


def test_pruning_never_takes_what_the_snapshot_counts_on(driven: Driven) -> None:
    for _ in range(4):
        driven.run(2)
        driven.storage.prepare_snapshot(driven.core).run()
        driven.run(1)
        driven.storage.log.checkpoint(sync=True)
        before = driven.core
        assert not driven.reopen().damaged
        same(driven.recovered(), before)
    assert len(list((driven.folder / "journal").glob("*.journal"))) <= 2


def test_an_orderly_end_leaves_nothing_to_replay(driven: Driven) -> None:
    driven.run(6)
    driven.cluster.run(3_000)
    driven.write()
    driven.storage.finish(driven.core)
    before = driven.core
    box = driven.reopen()
    assert not records_of(box) and not list(box.log_entries())
    same(driven.recovered(), before)


def test_an_end_within_a_round_signs_the_log_alone(driven: Driven) -> None:
    driven.run(3)
    driven.storage.finish(None)
    assert driven.storage.log.signed.size == driven.storage.log.size
    assert not (driven.folder / "snapshot").exists()
    before = driven.core
    driven.reopen()
    same(driven.recovered(), before)


def test_snapshots_of_a_growing_state_cost_each_order_a_bounded_share(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_ORDERS_MIN", 10)
    taker = Snapshots(driven.core, driven.storage)
    written = taken = 0
    size = 10_000
    first = driven.core.board.sequenced
    monkeypatch.setattr(storage, "dump", lambda core: (bytes(size), None))
    for _ in range(4_000):
        driven.core.board.sequenced += 1
        size += 400
        if taker.due(1):
            taker._wanted = True
            taker.between_rounds()
            written += size
            taken += 1
    orders = driven.core.board.sequenced - first
    assert taken > 3
    assert written <= 3 * snapshots.SNAPSHOT_BYTES_PER_ORDER * orders


def test_an_idle_member_takes_no_snapshots_and_a_quiet_one_seldom(driven: Driven) -> None:
    taker = Snapshots(driven.core, driven.storage)
    assert not taker.due(1) and not taker.due(10**9), "no block since the last one"
    driven.core.chain.final_height += 1
    assert taker.due(10**9)
    assert not Snapshots(driven.core, driven.storage).due(1)


def test_a_life_too_short_for_a_snapshot_counts_towards_the_next(driven: Driven) -> None:
    driven.run(2)
    driven.storage.finish(driven.core)
    driven.run(6)
    driven.storage.log.checkpoint(sync=True)
    driven.reopen()
    back = driven.recovered()
    assert back.board.sequenced > back.board.sequenced_saved > 0
    taker = Snapshots(back, driven.storage)
    back.board.sequenced = back.board.sequenced_saved + snapshots.SNAPSHOT_ORDERS_MIN - 1
    assert not taker.due(1)
    back.board.sequenced += 1
    assert taker.due(1)
