"""The stream for an outside matching engine as a part of the node process: its file, and where it listens."""

from __future__ import annotations

import logging
from typing import Final

import trio

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.matching.store import StreamStore
from mpc_sequencer.matching.stream import MatchingStream

STREAM_FILE: Final = "stream"
"""In the data folder."""

logger = logging.getLogger("mpc_sequencer.node")


class Served:
    """A store and the stream over it."""

    def __init__(self, store: StreamStore, genesis_id: bytes, host: str, port: int) -> None:
        self._store = store
        self._host = host
        self._port = port
        self.feed = MatchingStream(store, genesis_id)

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled. Raises :class:`ConfigError` where it cannot."""
        listening = False
        try:
            async with trio.open_nursery() as nursery:
                port = await nursery.start(self.feed.serve, self._host, self._port)
                listening = True
                logger.info("the stream for an outside matching engine is at %s port %d", self._host, port)
                task_status.started(port)
        except* OSError as group:
            if listening:
                raise
            cause = f"the stream cannot listen at {self._host} port {self._port}: {group.exceptions[0]}"
            raise ConfigError(cause, "choose another --stream") from None

    def close(self) -> None:
        """Give the file up."""
        self._store.close()
