"""The floor measured beside a run: what is counted, different orders, processor time alone, a process that ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mpc_sequencer.bench import crypto, member
from mpc_sequencer.bench.beside import Floor, FloorBeside
from mpc_sequencer.bench.member import BATCH_STEPS, ORDER_STEPS, calls, make_burst, spent_ns


def test_a_burst_makes_every_step_of_every_order_and_counts_no_waiting() -> None:
    made: list[tuple[str, int]] = []
    rows: list[dict[str, Callable[[], object]]] = [
        {step: lambda step=step, number=number: made.append((step, number)) for step in ("check", "share", "encrypt")}
        for number in range(3)
    ]
    rows[0]["check"] = lambda: time.sleep(0.05)
    assert spent_ns(rows, ("check", "share")) < 40_000_000
    assert made == [("check", 1), ("check", 2), ("share", 0), ("share", 1), ("share", 2)]


class Counting:
    """The library, its calls counted by name."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.made: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._library, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            self.made[name.removeprefix("secp256k1_")] += 1
            return found(*arguments)

        return call


@pytest.mark.parametrize(("n", "t"), [(4, 3), (7, 5)])
def test_the_calls_that_are_told_are_those_that_are_made(n: int, t: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = calls(n, t)
    counting = Counting(member._lib)
    monkeypatch.setattr(member, "_lib", counting)
    monkeypatch.setattr(crypto, "_lib", counting)
    burst = make_burst(n, t, 3)
    for steps, row, expected in (
        (ORDER_STEPS, burst.orders[1], told["order"]),
        (BATCH_STEPS, burst.batch, told["batch"]),
    ):
        assert set(expected) == set(steps)
        for step in steps:
            counting.made.clear()
            row[step]()
            del counting.made["ecdsa_recoverable_signature_parse_compact"]
            assert counting.made == expected[step], step


def test_the_floor_is_measured_while_the_block_runs_and_after_and_its_process_ends() -> None:
    with FloorBeside(4, 3) as beside:
        assert beside.during is None
        with beside.measuring():
            pass
        after = beside.after()
        for found in (beside.during, after):
            assert isinstance(found, Floor)
            assert 100 < found.order_us < 20_000, "a dozen multiplications"
            assert 100 < found.batch_us < 20_000
            assert found.per_order_us(100) < found.per_order_us(1)
        process = beside._process
        assert process.is_alive()
    assert not process.is_alive()
