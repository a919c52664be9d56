"""Sends different shares of a round to each half of the peers, and now and then both to one of them."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.messages import DarkShares, PeerMessage
from mpc_sequencer.sim.byzantine.dark_behaviour import DarkBehaviour


class DarkEquivocator(DarkBehaviour):
    name = "dark_equivocator"

    def version(self, receiver: int) -> int:
        return int(self.other_half(receiver))

    def bend_shares(self, message: DarkShares, version: int) -> DarkShares | None:
        return self.other_shares(message) if version else message

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        bent = list(super().outgoing(receiver, message))
        if isinstance(message, DarkShares) and self.rng.random() < 0.1:
            bent.append(message)
        return bent
