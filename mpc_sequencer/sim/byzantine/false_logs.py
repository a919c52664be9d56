"""Serves a log in which blocks are final by too few votes, or by those of another view."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.messages import LogSlice, PeerMessage
from mpc_sequencer.core.transcript import FinalityEntry, LogEntry
from mpc_sequencer.sim.byzantine.base import Behaviour


class FalseLogs(Behaviour):
    name = "false_logs"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if not isinstance(message, LogSlice):
            return (message,)
        entries = tuple(self._forged(data) for data in message.entries)
        return (LogSlice(entries, message.next_position),)

    def _forged(self, data: bytes) -> bytes:
        entry: LogEntry = decode(LogEntry, data)
        if not isinstance(entry, FinalityEntry):
            return data
        held = entry.certificate
        if self.other_half(held.view):
            forged = msgspec.structs.replace(held, votes=held.votes[:1])
        else:
            forged = msgspec.structs.replace(held, view=held.view + 1)
        return encode(msgspec.structs.replace(entry, certificate=forged))
