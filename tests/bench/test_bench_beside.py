"""The floor measured beside a run: what is counted, different orders, processor time alone, a process that ends."""

from __future__ import annotations

import hashlib
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


NAMES = {"keccak_256": "keccak256", "chacha20poly1305_ietf_decrypt": "chacha20poly1305"}


class Counting:
    """A library, its calls counted by name, without ``prefix``."""

    def __init__(self, library: Any, made: Counter[str], prefix: str = "secp256k1_") -> None:
        self._library, self._prefix = library, prefix
        self.made = made

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._library, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            self.made[name.removeprefix(self._prefix)] += 1
            return found(*arguments)

        return call


@pytest.mark.parametrize(("n", "t"), [(4, 3), (7, 5)])
def test_the_calls_that_are_told_are_those_that_are_made(n: int, t: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = calls(n, t)
    made: Counter[str] = Counter()
    curve = Counting(member._lib, made)
    monkeypatch.setattr(member, "_lib", curve)
    monkeypatch.setattr(crypto, "_lib", curve)
    monkeypatch.setattr(member, "sha256", Counting(hashlib, made).sha256)
    monkeypatch.setattr(member, "sha3", Counting(member.sha3, made))
    monkeypatch.setattr(member, "sodium", Counting(member.sodium, made, "crypto_aead_"))
    burst = make_burst(n, t, 3)
    for steps, row, expected in (
        (ORDER_STEPS, burst.orders[1], told["order"]),
        (BATCH_STEPS, burst.batch, told["batch"]),
    ):
        assert set(expected) == set(steps)
        for step in steps:
            made.clear()
            row[step]()
            del made["ecdsa_recoverable_signature_parse_compact"]
            assert {NAMES.get(name, name): count for name, count in made.items()} == expected[step], step


def test_the_floor_is_measured_while_the_block_runs_and_after_and_its_process_ends() -> None:
    with FloorBeside(4, 3) as beside:
        assert beside.during is None
        with beside.measuring():
            pass
        after = beside.after()
        for found in (beside.during, after):
            assert isinstance(found, Floor)
            assert (set(found.order_us), set(found.batch_us)) == (set(ORDER_STEPS), set(BATCH_STEPS))
            assert all(1 < us < 20_000 for us in (*found.order_us.values(), *found.batch_us.values()))
            assert found.per_order_us(100) < found.per_order_us(1)
        process = beside._process
        assert process.is_alive()
    assert not process.is_alive()
