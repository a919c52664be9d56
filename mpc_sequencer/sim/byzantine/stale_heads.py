"""Gives heads that name old lists and an old clock, and as leader builds its blocks from the oldest heads it holds,
some older than the rules allow.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mpc_sequencer.core.messages import HeadMessage, PeerMessage, Proposal
from mpc_sequencer.core.types import Block, Head
from mpc_sequencer.sim.byzantine.base import Behaviour


class StaleHeads(Behaviour):
    name = "stale_heads"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if isinstance(message, HeadMessage):
            return (HeadMessage(self._aged(message.head)),)
        if isinstance(message, Proposal):
            return (self.altered(message, self._stale),)
        return (message,)

    def _stale(self, proposal: Proposal) -> Block | None:
        view = proposal.block.header.view
        allowed = (view - 1, view) if self.rng.random() < 0.7 else range(view + 1)
        heads = tuple(self._oldest(head, allowed) for head in proposal.block.heads)
        return self.block_of(proposal.block.header, heads)

    def _aged(self, head: Head) -> Head:
        number, list_hash = self.core.chain.final_state.last_lists[self.node]
        aged = msgspec.structs.replace(
            head, list_number=number, list_hash=list_hash, time_ms=head.time_ms - 1_000
        )
        return self.resign(aged)

    def _oldest(self, head: Head, views: Iterable[int]) -> Head:
        allowed = set(views)
        held = [one for one, _ in self.core.lists.heads(head.node) if one.view in allowed]
        return held[-1] if held else head
