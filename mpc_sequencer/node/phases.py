"""How long a member's start takes, part by part: one line for operators, so that a slow start shows its cause.

A start whose CPU time is far below the whole was held up by the machine, not by its own work. Parts follow each
other without gaps: *imports* from the process's start, *keys* (the passphrase's key derivation), *disk* (journal and
log are opened and checked), *state* (what they say is derived again), *links* (q members of the committee, itself
included, are linked) and *even* (it has what became final meanwhile, opened too, and a block more than its disk held;
it votes no later than that, as far as its standing lets it).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

POLL_S: Final = 0.02

logger = logging.getLogger("mpc_sequencer.node")


class StartPhases:
    """Milliseconds of each part since the process began."""

    def __init__(self) -> None:
        self._ended_ns = time.monotonic_ns()
        self.parts_ms: dict[str, int] = {"imports": _process_age_ms()}

    def end(self, part: str) -> None:
        """``part`` ends now; the next one begins."""
        now_ns = time.monotonic_ns()
        self.parts_ms[part] = (now_ns - self._ended_ns) // 1_000_000
        self._ended_ns = now_ns

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {spent_ms}" for name, spent_ms in self.parts_ms.items())
        cpu_ms = time.process_time_ns() // 1_000_000
        return f"{sum(self.parts_ms.values())} ms, {cpu_ms} of CPU: {parts}"


async def tell_ready(phases: StartPhases, linked: Callable[[], bool], even: Callable[[], bool]) -> None:
    """Log the parts once ``linked`` and then ``even`` hold."""
    for part, holds in (("links", linked), ("even", even)):
        while not holds():
            await trio.sleep(POLL_S)
        phases.end(part)
    logger.info("ready after %s", phases)


def _process_age_ms() -> int:
    """How long ago this process began; 0 where the system does not say."""
    try:
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
        return max(0, int((time.clock_gettime(time.CLOCK_BOOTTIME) - began_s) * 1_000))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0
