"""As leader keeps the earliest waiting lists out: by leaving out the heads that bring most of them, where the quorum
lets it, else against the rules by skipping each member's first new list.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.messages import PeerMessage, Proposal
from mpc_sequencer.core.types import Block
from mpc_sequencer.sim.byzantine.base import Behaviour


class DropsEarliestLists(Behaviour):
    name = "drops_earliest_lists"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        return (self.altered(message, self._without_earliest) if isinstance(message, Proposal) else message,)

    def _without_earliest(self, proposal: Proposal) -> Block | None:
        header, heads = proposal.block.header, proposal.block.heads
        parent = self.core.chain.state(header.parent_id)
        if parent is None:
            return None
        spare = len(heads) - self.committee.q
        if spare and self.rng.random() < 0.5:
            fresh = sorted(heads, key=lambda head: head.list_number - parent.last_lists[head.node][0])
            kept = fresh[: len(heads) - spare]
            return self.block_of(header, tuple(head for head in heads if head in kept))
        return self.block_of(header, heads, skip_first=True)
