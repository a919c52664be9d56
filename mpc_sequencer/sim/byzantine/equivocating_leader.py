"""Proposes another block to each half of its peers, and votes for both. Both blocks follow the rules."""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.messages import PeerMessage, Proposal
from mpc_sequencer.sim.byzantine.base import Behaviour


class EquivocatingLeader(Behaviour):
    name = "equivocating_leader"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if not isinstance(message, Proposal) or not self.other_half(receiver):
            return (message,)
        heads = message.block.heads
        if len(heads) <= self.committee.q:
            return (message,)
        other = self.block_of(message.block.header, heads[:-1])
        if other is None or other == message.block:
            return (message,)
        first = self.reproposed(message, other)
        return (first, message) if self.rng.random() < 0.3 else (first,)
