"""When a member takes a snapshot of itself: seldom enough to cost little, often enough to come back soon."""

from __future__ import annotations

from typing import Final

import trio

from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.node.snapshot_file import SnapshotWrite
from mpc_sequencer.node.storage import Storage

SNAPSHOT_ORDERS_MIN: Final = 500
"""A member that comes back derives so many orders again at the least, each at about a millisecond."""
SNAPSHOT_BYTES_PER_ORDER: Final = 1_000
"""A snapshot of so many bytes per order since the last one costs each order some 10 microseconds."""
SNAPSHOT_INTERVAL_MS: Final = 60_000


class Snapshots:
    """When a snapshot is taken: after so many orders that what it costs is small beside them, and between two rounds,
    when every effect so far is carried out."""

    def __init__(self, core: NodeCore, storage: Storage) -> None:
        self._core = core
        self._storage = storage
        self._orders = core.board.sequenced_saved  # what recovery derived again counts: a life may be short
        self._height = core.chain.final_height
        self._taken_ms = 0
        self._bytes = 0
        self._wanted = False
        self._prepared: SnapshotWrite | None = None
        self._ready = trio.Event()

    def due(self, now_ms: int) -> bool:
        """Whether enough has happened since the last one."""
        self._taken_ms = self._taken_ms or now_ms
        orders = self._core.board.sequenced - self._orders
        return orders >= max(SNAPSHOT_ORDERS_MIN, self._bytes // SNAPSHOT_BYTES_PER_ORDER) or (
            now_ms - self._taken_ms >= SNAPSHOT_INTERVAL_MS and self._core.chain.final_height > self._height
        )

    def between_rounds(self) -> None:
        """Prepare the snapshot that is wanted. Raises ``OSError``."""
        if not self._wanted:
            return
        self._wanted = False
        self._prepared = self._storage.prepare_snapshot(self._core)
        self._bytes = len(self._prepared.body)
        self._orders = self._core.board.sequenced
        self._height = self._core.chain.final_height
        self._taken_ms = self._core.now_ms
        self._ready.set()

    async def prepared(self) -> SnapshotWrite:
        """Ask for a snapshot and wait for it."""
        self._wanted, self._ready = True, trio.Event()
        await self._ready.wait()
        assert self._prepared is not None
        prepared, self._prepared = self._prepared, None
        return prepared
