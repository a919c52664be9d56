"""Names no checkpoint but the genesis one, and never says that anything is due; as leader it builds its blocks of the
heads that name the lowest ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from mpc_sequencer.core.messages import HeadMessage, PeerMessage, Proposal
from mpc_sequencer.core.types import Block
from mpc_sequencer.sim.byzantine.base import Behaviour


class IgnoresChain(Behaviour):
    name = "ignores_chain"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if isinstance(message, HeadMessage) and message.head.node == self.node:
            silent = replace(message.head, checkpoint=self.committee.genesis.checkpoint, due_height=0)
            return (HeadMessage(self.resign(silent)),)
        if isinstance(message, Proposal):
            return (self.altered(message, self._lowest),)
        return (message,)

    def _lowest(self, proposal: Proposal) -> Block | None:
        heads = sorted(proposal.block.heads, key=lambda head: head.checkpoint.number)
        chosen = sorted(heads[: self.committee.q], key=lambda head: head.node)
        return self.block_of(proposal.block.header, tuple(chosen))
