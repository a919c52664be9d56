"""What all Byzantine behaviours share: a real core with the member's keys, and a hand on its wire.

A behaviour sees what reaches the member (:meth:`Behaviour.incoming`), what it would send to each peer
(:meth:`Behaviour.outgoing`), and may add messages of its own (:meth:`Behaviour.extra`). It can sign anything
with its own keys and nothing with others'.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import ClassVar

import msgspec

from mpc_sequencer.core import domains
from mpc_sequencer.core.blocks import batch_root
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import Event
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import PeerMessage, Proposal
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.ordering.derive import Candidate, Derived
from mpc_sequencer.core.types import (
    NO_SIGNATURE,
    NOTARIZE,
    BatchEntry,
    Block,
    BlockHeader,
    Head,
    OrderList,
    Signed,
    Vote,
    with_signature,
)
from mpc_sequencer.sim.deployment import Deployment


class Behaviour:
    """The honest behaviour; subclasses depart from it. ``name`` is also the fault's name on the command line."""

    name: ClassVar[str] = "honest"

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        self.node = node
        self.core = core
        self.committee = deployment.committee
        self.rng = rng
        self.victim = deployment.traders[0].address
        """The sponsor this member would harm."""
        self._signer = (*deployment.signers, *deployment.joiners)[node]
        self._altered: tuple[Proposal, Proposal] | None = None

    def rebind(self, core: NodeCore) -> None:
        """The member goes on with another core: it has begun an epoch, or has lost its disk."""
        self.core, self.committee, self.node = core, core.committee, core.node

    def goes_over(self) -> bool:
        """Whether the member begins the next epoch where that is due."""
        return True

    def incoming(self, event: Event) -> Event | None:
        """What the core gets of an event; None for nothing."""
        return event

    def before_turn(self) -> None:
        """Called for each event, before the core takes it."""

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        """What goes to ``receiver`` instead of ``message``."""
        return (message,)

    def extra(self, now_ms: int) -> Iterable[tuple[int, PeerMessage]]:
        """(receiver, message) pairs to send as well; asked for each event, sent after the core's own messages."""
        return ()

    def delay_ms(self) -> int:
        """How much longer the member's messages take."""
        return 0

    def restarts_ms(self, begin_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """(down, up) times within the fault window, ms after the start, at which the member's host goes down and comes
        back with an empty disk."""
        return []

    # --- tools --------------------------------------------------------------------------------------------------
    def peers(self) -> list[int]:
        return [peer for peer in range(self.committee.n) if peer != self.node]

    def other_half(self, receiver: int) -> bool:
        """Splits the peers in two."""
        return receiver % 2 == 1

    def sign_digest_of(self, struct_hash: bytes) -> bytes:
        return self._signer.sign_digest(self.committee.digest(struct_hash))

    def resign(self, value: Signed) -> Signed:
        """The (changed) value under this member's signature."""
        return with_signature(value, self.sign_digest_of(value.struct_hash()))

    def vote(self, kind: int, view: int, block_id: bytes) -> Vote:
        return self.resign(Vote(kind, self.committee.epoch, view, block_id, self.node, NO_SIGNATURE))  # type: ignore[arg-type]

    def altered(self, proposal: Proposal, make: Callable[[Proposal], Block | None]) -> Proposal:
        """The proposal with the block that ``make`` gives, the same one for every receiver; itself for None."""
        if self._altered is None or self._altered[0] is not proposal:
            block = make(proposal)
            self._altered = (proposal, proposal if block is None else self.reproposed(proposal, block))
        return self._altered[1]

    def reproposed(self, proposal: Proposal, block: Block) -> Proposal:
        """The proposal with another block, and the leader's vote for that one."""
        header = block.header
        vote = self.vote(NOTARIZE, header.view, header.block_id())
        return msgspec.structs.replace(proposal, block=block, vote=vote)

    def block_of(self, header: BlockHeader, heads: tuple[Head, ...], *, skip_first: bool = False) -> Block | None:
        """A block of ``header``'s place that names ``heads``, derived by the rules; None where lists or bodies are
        missing. ``skip_first`` leaves out the first new list of each member, which no rule allows."""
        core = self.core
        parent = core.chain.state(header.parent_id)
        if parent is None:
            return None
        gathered: list[list[tuple[OrderList, bytes]]] = []
        for head in heads:
            after = parent.last_lists[head.node]
            try:
                found = core.lists.lineage(head.node, after, (head.list_number, head.list_hash))
            except ProtocolError:
                found = []  # the head goes back behind the ancestors: named all the same
            if found is None:
                return None
            gathered.append(found[1:] if skip_first else found)
        candidate = Candidate(
            view=header.view,
            heads=heads,
            lists=tuple(tuple(one for one, _ in lists) for lists in gathered),
            head_hashes=tuple(head.struct_hash() for head in heads),
            list_hashes=tuple(tuple(h for _, h in lists) for lists in gathered),
        )
        derived = core.chain._rule._derive(parent, candidate)
        if not isinstance(derived, Derived):
            return None
        batch = []
        for order_id in derived.batch:
            pooled = core.pool.get(order_id)
            if pooled is None:
                return None
            batch.append(BatchEntry(order_id, pooled.first_variant()))
        made = msgspec.structs.replace(
            header,
            time_ms=derived.time_ms,
            inputs_root=derived.inputs_root,
            batch_root=batch_root(tuple(batch)),
            certified_root=domains.CERTIFIED(encode(derived.certified)),
            checkpoint=derived.state.chain.checkpoint,
        )
        return Block(header=made, heads=heads, batch=tuple(batch), certified=derived.certified)
