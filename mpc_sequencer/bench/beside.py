"""What an order's bare curve operations cost while a committee is loaded: the floor, measured beside the run.

On an idle machine, in a loop over one input, these calls find their code, their inputs and the branch predictor's
memory warm, and a core to themselves. A member's find none of that: its process takes turns with others, and each
order is new. What a member could save is therefore judged against the same calls in the same conditions. A process of
its own wakes twice a second during the run, makes the calls of BURST_ORDERS different orders and of their batch
(:mod:`mpc_sequencer.bench.member`) step by step, as a member does with what has arrived, and adds up the processor time
they take (not the time they wait). It takes about one part in a hundred of a core. After the run it makes the same
calls again, without pauses: what they take on a machine that does nothing else.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from mpc_sequencer.bench.member import Burst, make_burst

BURST_ORDERS: Final = 16
BURSTS_AFTER: Final = 25
PAUSE_S: Final = 0.5
READY_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 30.0


@dataclass(frozen=True, slots=True)
class Floor:
    """Microseconds of processor time by step, for each order and for each batch besides."""

    order_us: Mapping[str, float]
    batch_us: Mapping[str, float]

    def per_order_us(self, orders_per_batch: float) -> float:
        """Both, for an order that shares its batch with others."""
        return sum(self.order_us.values()) + sum(self.batch_us.values()) / orders_per_batch

    def as_json(self) -> dict[str, dict[str, float]]:
        """The steps, to a tenth."""
        parts = {"order": self.order_us, "batch": self.batch_us}
        return {part: {step: round(us, 1) for step, us in steps.items()} for part, steps in parts.items()}


class FloorBeside:
    """A process that measures the floor of a committee size. Leave the ``with`` block to end it."""

    def __init__(self, n: int, t: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_measure, args=(there, n, t), daemon=True)
        self.during: Floor | None = None
        """The mean over all bursts of the last :meth:`measuring`; None before."""

    def __enter__(self) -> FloorBeside:
        self._process.start()
        if not self._here.poll(READY_S_MAX):
            self._end()
            raise TimeoutError(f"the floor was not set up within {READY_S_MAX:g} s")
        self._here.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._here.close()
        self._process.terminate()
        self._process.join()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure while the block runs."""
        self._here.send(True)
        try:
            yield
        finally:
            self._here.send(None)
            self.during = self._answer()

    def after(self) -> Floor | None:
        """Measure now, BURSTS_AFTER bursts without pauses; None where the process does not answer."""
        self._here.send(False)
        return self._answer()

    def _answer(self) -> Floor | None:
        found: Floor | None = self._here.recv() if self._here.poll(ANSWER_S_MAX) else None
        return found


def _measure(connection: Connection, n: int, t: int) -> None:
    """The process: bursts between two messages, or some without pauses, then their mean; until the other end closes."""
    burst = make_burst(n, t, BURST_ORDERS)
    _mean([_spent(burst)])  # not counted: the first calls build tables
    connection.send(None)
    try:
        while True:
            if connection.recv():
                spent = [_spent(burst)]
                while not connection.poll(PAUSE_S):
                    spent.append(_spent(burst))
                connection.recv()
            else:
                spent = [_spent(burst) for _ in range(BURSTS_AFTER)]
            connection.send(_mean(spent))
    except EOFError:
        return


def _spent(burst: Burst) -> tuple[dict[str, int], dict[str, int]]:
    return burst.order_ns(), burst.batch_ns()


def _mean(spent: list[tuple[dict[str, int], dict[str, int]]]) -> Floor:
    orders, batches = zip(*spent, strict=True)
    return Floor(_mean_us(orders, BURST_ORDERS), _mean_us(batches, 1))


def _mean_us(rows: Sequence[dict[str, int]], each: int) -> dict[str, float]:
    return {step: sum(row[step] for row in rows) / len(rows) / each / 1_000 for step in rows[0]}
