"""The floor measured beside a run: different orders, processor time alone, and a process that ends."""

from __future__ import annotations

import time

from mpc_sequencer.bench.beside import FloorBeside, burst_ns


def test_a_burst_makes_every_step_of_every_order_and_counts_no_waiting() -> None:
    made: list[tuple[str, int]] = []
    floors = [
        {step: lambda step=step, number=number: made.append((step, number)) for step in ("check", "share", "encrypt")}
        for number in range(3)
    ]
    floors[0]["check"] = lambda: time.sleep(0.05)
    assert burst_ns(floors, ("check", "share")) < 40_000_000
    assert made == [("check", 1), ("check", 2), ("share", 0), ("share", 1), ("share", 2)]


def test_the_floor_is_measured_while_the_block_runs_and_its_process_ends() -> None:
    with FloorBeside(4, 3, ("share",)) as beside:
        assert beside.us_per_order is None
        with beside.measuring():
            pass
        assert beside.us_per_order is not None
        assert 5 < beside.us_per_order < 5_000, "one multiplication"
        process = beside._process
        assert process.is_alive()
    assert not process.is_alive()
