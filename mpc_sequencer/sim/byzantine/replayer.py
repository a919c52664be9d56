"""Sends again what it once sent or heard, to anybody, at any time, and some of what it sends twice at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from mpc_sequencer.core.effects import Event, FromPeer
from mpc_sequencer.core.messages import PeerMessage
from mpc_sequencer.sim.byzantine.base import Behaviour

KEPT_MAX: Final = 400
REPLAY_CHANCE: Final = 0.15
TWICE_CHANCE: Final = 0.1


class Replayer(Behaviour):
    name = "replayer"
    _kept: deque[PeerMessage]

    def incoming(self, event: Event) -> Event | None:
        if isinstance(event, FromPeer):
            self._keep(event.message)
        return event

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        self._keep(message)
        return (message, message) if self.rng.random() < TWICE_CHANCE else (message,)

    def _keep(self, message: PeerMessage) -> None:
        if not hasattr(self, "_kept"):
            self._kept = deque(maxlen=KEPT_MAX)
        self._kept.append(message)

    def extra(self, now_ms: int) -> Iterable[tuple[int, PeerMessage]]:
        if hasattr(self, "_kept") and self._kept and self.rng.random() < REPLAY_CHANCE:
            yield self.rng.choice(self.peers()), self.rng.choice(self._kept)
