"""Libraries that a member needs later and not to vote: imported in a worker thread, beside the protocol.

The chain library takes seconds of CPU to import, numpy a tenth of one, in which the first large batch would hold up all
members at once. A member that comes back votes first: both wait DELAY_S after such a start, and while they are imported
the thread gives way to the event loop every SWITCH_INTERVAL_S.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Final

import trio

DELAY_S: Final = 3.0
SWITCH_INTERVAL_S: Final = 0.000_5
BATCH_MODULE: Final = "mpc_sequencer.market.kernel"


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Other threads get the interpreter every SWITCH_INTERVAL_S."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


async def warm_up(delay_s: float) -> None:
    """Import what large batches need, ``delay_s`` seconds from now."""
    await trio.sleep(delay_s)
    await trio.to_thread.run_sync(_import)


def _import() -> None:
    with giving_way():
        importlib.import_module(BATCH_MODULE)
