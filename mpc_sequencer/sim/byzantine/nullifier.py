"""Votes to nullify every view as it enters it, and neither proposes, notarizes nor finalizes."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.messages import PeerMessage, Proposal, VoteMessage
from mpc_sequencer.core.types import NULLIFY, ZERO_HASH
from mpc_sequencer.sim.byzantine.base import Behaviour


class Nullifier(Behaviour):
    name = "nullifier"
    _nullified_view = 0

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if isinstance(message, Proposal | VoteMessage):
            return ()
        return (message,)

    def extra(self, now_ms: int) -> Iterable[tuple[int, PeerMessage]]:
        view = self.core.simplex.view
        if view <= self._nullified_view:
            return
        self._nullified_view = view
        vote = VoteMessage(self.vote(NULLIFY, view, ZERO_HASH))
        for peer in self.peers():
            yield peer, vote
