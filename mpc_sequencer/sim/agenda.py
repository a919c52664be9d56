"""What happens at which virtual time: what was planned first comes first among the things of one instant."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

Planned = TypeVar("Planned")


class Agenda(Generic[Planned]):
    """Things planned for virtual times. One that is added for the instant under way still comes in it."""

    def __init__(self) -> None:
        self._instants: list[int] = []
        """The times for which something is planned, a heap."""
        self._planned: dict[int, deque[Planned]] = {}

    def add(self, time_ms: int, what: Planned) -> None:
        """Plan ``what`` behind all that is planned for that time already."""
        planned = self._planned.get(time_ms)
        if planned is None:
            planned = self._planned[time_ms] = deque()
            heapq.heappush(self._instants, time_ms)
        planned.append(what)

    def take(self, end_ms: int) -> tuple[int, Planned] | None:
        """The next thing and its time; None where nothing is planned up to ``end_ms``."""
        while self._instants and self._instants[0] <= end_ms:
            time_ms = self._instants[0]
            planned = self._planned[time_ms]
            if planned:
                return time_ms, planned.popleft()
            heapq.heappop(self._instants)
            del self._planned[time_ms]
        return None
