"""Never sends its decryption and coin shares, nor its settlement signatures."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.messages import BundleMessage, CommitShare, PeerMessage, SettlementShare
from mpc_sequencer.sim.byzantine.base import Behaviour


class WithholdsShares(Behaviour):
    name = "withholds_shares"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if isinstance(message, BundleMessage | SettlementShare | CommitShare):
            return ()
        return (message,)
