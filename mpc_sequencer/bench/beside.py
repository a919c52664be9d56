"""What an order's bare curve operations cost while a committee is loaded: the floor, measured beside the run.

On an idle machine, in a loop over one input, these calls find their code, their inputs and the branch predictor's
memory warm, and a core to themselves. A member's find none of that: its process takes turns with others, and each
order is new. What a member could save is therefore judged against the same calls in the same conditions. A process of
its own wakes twice a second during the run, makes the calls of BURST_ORDERS different orders step by step, as a member
does with what has arrived, and adds up the processor time they take (not the time they wait). It takes about one
part in a hundred of a core.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from time import thread_time_ns
from typing import Final

from mpc_sequencer.bench.crypto import distinct_floors

BURST_ORDERS: Final = 16
PAUSE_S: Final = 0.5
READY_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 30.0


class FloorBeside:
    """A process that measures the floor of a committee size. Leave the ``with`` block to end it."""

    def __init__(self, n: int, t: int, steps: tuple[str, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_measure, args=(there, n, t, steps), daemon=True)
        self.us_per_order: float | None = None
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
        self._here.send(None)
        try:
            yield
        finally:
            self._here.send(None)
            if self._here.poll(ANSWER_S_MAX):
                self.us_per_order = self._here.recv()


def _measure(connection: Connection, n: int, t: int, steps: tuple[str, ...]) -> None:
    """The process: bursts between two messages, then their mean; until the other end closes."""
    floors = distinct_floors(n, t, BURST_ORDERS)
    burst_ns(floors, steps)  # untimed: the first calls build tables
    connection.send(None)
    try:
        while True:
            connection.recv()
            spent_ns = [burst_ns(floors, steps)]
            while not connection.poll(PAUSE_S):
                spent_ns.append(burst_ns(floors, steps))
            connection.recv()
            connection.send(sum(spent_ns) / len(spent_ns) / BURST_ORDERS / 1_000)
    except EOFError:
        return


def burst_ns(floors: list[dict[str, Callable[[], object]]], steps: tuple[str, ...]) -> int:
    """Processor time of one burst: every step for all orders in turn."""
    began_ns = thread_time_ns()
    for step in steps:
        for one in floors:
            one[step]()
    return thread_time_ns() - began_ns
