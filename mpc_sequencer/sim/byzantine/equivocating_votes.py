"""Votes for two blocks of one view, and to nullify and to finalize one view: to each half of the peers another."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.messages import PeerMessage, VoteMessage
from mpc_sequencer.core.types import FINALIZE, NULLIFY, ZERO_HASH
from mpc_sequencer.sim.byzantine.base import Behaviour


class EquivocatingVotes(Behaviour):
    name = "equivocating_votes"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if not isinstance(message, VoteMessage) or message.vote.kind == NULLIFY or not self.other_half(receiver):
            return (message,)
        vote = message.vote
        if vote.kind == FINALIZE and self.rng.random() < 0.5:
            return (VoteMessage(self.vote(NULLIFY, vote.view, ZERO_HASH)),)
        other = VoteMessage(self.vote(vote.kind, vote.view, bytes(reversed(vote.block_id))))
        return (other, message) if self.rng.random() < 0.5 else (other,)
