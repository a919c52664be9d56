"""Says nothing to anybody, and hears everything."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.messages import PeerMessage
from mpc_sequencer.sim.byzantine.base import Behaviour


class Silent(Behaviour):
    name = "silent"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        return ()
