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
        header = proposal.block.header
        parent = self.core.chain.state(header.parent_id)
        if parent is None:
            return None
        allowed = (header.view - 1, header.view) if self.rng.random() < 0.5 else range(header.view + 1)
        behind = self.rng.random() < 0.2  # behind the ancestors' lists, too
        heads = tuple(
            self._oldest(head, allowed, 0 if behind else parent.last_lists[head.node][0])
            for head in proposal.block.heads
        )
        return self.block_of(header, heads)

    def _aged(self, head: Head) -> Head:
        number, list_hash = self.core.chain.final_state.last_lists[self.node]
        aged = msgspec.structs.replace(
            head, list_number=number, list_hash=list_hash, time_ms=head.time_ms - 1_000
        )
        return self.resign(aged)

    def _oldest(self, head: Head, views: Iterable[int], number_min: int) -> Head:
        allowed = set(views)
        held = [one for one, _ in self.core.lists.heads(head.node)]
        fit = [one for one in held if one.view in allowed and one.list_number >= number_min]
        return fit[-1] if fit else head
