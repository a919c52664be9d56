"""The operator's word for the next committee: a file in the node's folder that a running member notices.

The file is a word to the epoch that the member is in when it finds it. When the next epoch begins it is put aside, so
that a file that lies about is no approval of an old committee in a later epoch. It goes aside before the epoch's first
snapshot is written: should a crash come between, the word has been given and no longer matters.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.node import files
from mpc_sequencer.node.next_committee import FILE_BYTES_MAX, NEXT_COMMITTEE_NAME, load_next

POLL_S: Final = 1.0
_HINT: Final = "write the proposal with `mpcseq committee propose`"

logger = logging.getLogger("mpc_sequencer.node")


class Proposals:
    """The file ``next-committee.json`` of a node's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NEXT_COMMITTEE_NAME
        self._seen = b""

    async def watch(self, approve: Callable[[NextCommittee], None]) -> None:
        """Look for the file until cancelled; each new content goes to ``approve``. One that cannot be used is logged
        once."""
        while True:
            target = self.look()
            if target is not None:
                approve(target)
            await trio.sleep(POLL_S)

    def look(self) -> NextCommittee | None:
        """The proposal, where it is another one than the last time. It is read here and now: what is found belongs to
        the epoch that the member is in."""
        try:
            data = files.read_bounded(self._path, FILE_BYTES_MAX, _HINT) if self._path.exists() else b""
        except (ConfigError, OSError) as error:
            data = str(error).encode()
        seen = hashlib.sha256(data).digest() if data else b""
        if seen == self._seen:
            return None
        self._seen = seen
        if not data:
            return None
        try:
            return load_next(self._path)
        except ConfigError as error:
            logger.error("the proposal of a next committee is not approved: %s", error)
            return None

    def put_aside(self, epoch: int) -> None:
        """The epoch is over: what was proposed to it says nothing to the next."""
        if not self._path.exists():
            return
        try:
            self._path.rename(self._path.with_name(f"next-committee-of-epoch-{epoch}.json"))
        except OSError as error:
            logger.error("%s cannot be put aside, remove it: %s", self._path, error.strerror)
        else:
            self._seen = b""
