"""Acts against one sponsor: admits and lists none of its orders, and as leader leaves out the heads of up to f members
that list them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mpc_sequencer.core.effects import Event, FromClient, FromPeer
from mpc_sequencer.core.messages import Bodies, PeerMessage, Proposal, Submit
from mpc_sequencer.core.types import Block, Envelope, Head
from mpc_sequencer.sim.byzantine.base import Behaviour


class DropsOneSender(Behaviour):
    name = "drops_one_sender"

    def incoming(self, event: Event) -> Event | None:
        if isinstance(event, FromClient) and isinstance(event.request, Submit):
            kept = self._others(event.request.envelopes)
            if not kept:
                return None
            return FromClient(event.client, msgspec.structs.replace(event.request, envelopes=kept))
        if isinstance(event, FromPeer) and isinstance(event.message, Bodies):
            kept = self._others(event.message.envelopes)
            return FromPeer(event.node, Bodies(kept)) if kept else None
        return event

    def _others(self, envelopes: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
        return tuple(one for one in envelopes if self.victim not in one.label)

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        return (self.altered(message, self._without_victim) if isinstance(message, Proposal) else message,)

    def _without_victim(self, proposal: Proposal) -> Block | None:
        heads = proposal.block.heads
        worst = sorted(heads, key=self._lists_victim, reverse=True)[: len(heads) - self.committee.q]
        kept = tuple(head for head in heads if head not in worst or not self._lists_victim(head))
        return self.block_of(proposal.block.header, kept) if len(kept) < len(heads) else None

    def _lists_victim(self, head: Head) -> int:
        """How many entries of a member's held lists, up to this head, are the victim's or of unknown orders."""
        count = 0
        for order_list, _ in self.core.lists.between(head.node, max(0, head.list_number - 4), head.list_number) or ():
            for order_id in order_list.entries:
                pooled = self.core.pool.get(order_id)
                count += pooled is None or pooled.order.facts.sponsor == self.victim
        return count
