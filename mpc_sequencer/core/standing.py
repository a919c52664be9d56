"""Whether this member may sign, and under which incarnation (docs/protocol.md, "After a crash").

A member whose journal is whole signs as before. One that lost a part of it, or all, cannot know what it has signed. It
is *muted*: it signs no vote, head, list or receipt, but takes part in everything else. Its votes were for views up to
the one it was in, which some certificate had let it enter; q members signed that certificate, so of any n-f members
that it hears now at least one honest one knows it and passes it on. So once n-f members have resent what they hold,
``floor_view``, the view this member is in then, is at least the one before the last that it voted in (who signed the
certificate that ended a view may be in that view still). When a block of a later view is final, so is everything it did
before (its last incarnation's start included), and it *resumes*: it votes above that block's view, and announces a new
incarnation, in which list numbers start again. Offences compare one incarnation only.

How many it must hear: of the others at least n-f-1 signed that certificate, so h members heard include h-f signers,
and 2f+1 of them an honest one. A convicted member is not heard, and where k are convicted only f-k more can lie, so
2f+1-k suffice. A damaged member counts as one of the f until it resumes: with f others silent it waits.

A disk can also be whole and old: a copy put back, which no checksum shows. Then others hold what this member signed and
no longer knows: a vote in a certificate, a list or the incarnation that a head in a block names, its newest list, which
each peer sends back when a link comes up. Seeing one, it mutes itself at once, as after a loss. What it signs before it
meets the first of them may contradict its earlier life, and convicts it: restore keys, not data folders.

There are at most INCARNATIONS_MAX new ones an epoch: each breaks open receipts, so who loses its disk again sits out
with lists (it still votes) until the next epoch.

Departure from leases: a lease bounds what was signed ahead of time and costs an fsync now and then, but is lost with
the disk it is on; the rule above needs nothing but the peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Fault, MutedRecord, Persist, ResumedRecord, RolledBack
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.ordering import OrderingState
from mpc_sequencer.core.types import Block, Head, OrderList

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore


class Standing:
    """A member's standing towards its own signatures."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._heard: set[int] = set()
        self.muted = False
        self.floor_view = 0
        """Nothing is voted for in views up to this one."""
        self.incarnation = 0
        self.heeds_own_words = True
        """Signatures of its own that it does not know mute the member. (Off, two instances of one identity go on.)"""

    # --- what may be signed -------------------------------------------------------------------------------------
    @property
    def observes(self) -> bool:
        """Whether this core only follows the log: it has no place in the committee, or the epoch is over."""
        return self._core.node >= self._core.committee.n or self._core.chain.ended

    def may_vote(self, view: int) -> bool:
        return not self.muted and not self.observes and view > self.floor_view

    def may_sign_heads(self) -> bool:
        """A head continues the incarnation of the final state, or announces the next."""
        return self._may_promise() and self._ahead() in (0, 1)

    def may_list(self) -> bool:
        """Lists and receipts wait until a final block has started their incarnation."""
        return self._may_promise() and self._ahead() == 0

    def _may_promise(self) -> bool:
        return not self.muted and not self.observes and self.incarnation <= limits.INCARNATIONS_MAX

    def may_speak(self) -> bool:
        """Messages of key sessions: from who may list them, and from who is about to join."""
        return self.may_list() or (self._core.node >= self._core.committee.n and not self._core.chain.ended)

    def _ahead(self) -> int:
        state: OrderingState = self._core.chain.final_state
        return self.incarnation - state.incarnations[self._core.node]

    # --- damage -------------------------------------------------------------------------------------------------
    def mute(self) -> None:
        """The journal is damaged or gone. The first thing a new journal says."""
        self._silence()
        self._core.effects.append(Persist(MutedRecord()))

    def _silence(self) -> None:
        """Begin to listen: what was heard before another loss says nothing of what was signed since."""
        self.muted = True
        self.floor_view = 0
        self._heard.clear()

    # --- an old disk --------------------------------------------------------------------------------------------
    def own_vote_unknown(self, view: int) -> None:
        """A verified certificate of ``view`` holds a vote of this member that it does not know."""
        if not self.muted and view > self.floor_view:
            self._roll_back(f"its vote of view {view}")

    def seen_block(self, block: Block) -> None:
        """A block may hold a head of this member that names a list, or an incarnation, that it does not know."""
        for head in block.heads:
            if head.node == self._core.node:
                self._seen(head, head.list_number, head.list_hash)

    def seen_list(self, order_list: OrderList) -> None:
        """A list of this member that a peer holds."""
        self._seen(order_list, order_list.number, order_list.struct_hash())

    def _seen(self, signed: Head | OrderList, number: int, list_hash: bytes) -> None:
        own = self._core.own_lists
        place, known = (signed.incarnation, number), (self.incarnation, own.number)
        if self.muted or place < known or (place == known and list_hash == own.hash):
            return
        try:
            self._core.committee.check_value(signed)
        except ProtocolError:
            return  # somebody else wrote it
        self._roll_back(f"its list {number} of incarnation {signed.incarnation}")

    def _roll_back(self, unknown: str) -> None:
        if not self.heeds_own_words:
            return
        core = self._core
        detail = f"this member signed {unknown} and its journal does not say so: its disk is an old copy"
        core.effects.append(Fault(core.node, "standing.rolled_back", detail))
        core.effects.append(RolledBack(detail))
        self.mute()
        core.own_lists.begin(self.incarnation)
        core.pool.forget_promises()
        core.keybook.forget_promises()

    # --- recovery -----------------------------------------------------------------------------------------------
    def recall(self, record: MutedRecord | ResumedRecord) -> None:
        """What the journal says of this."""
        if isinstance(record, MutedRecord):
            self._silence()
            return
        self.muted = False
        self.floor_view, self.incarnation = record.floor_view, record.incarnation
        if record.incarnation != self._core.own_lists.incarnation:
            self._core.own_lists.begin(record.incarnation)

    def record(self) -> MutedRecord | ResumedRecord | None:
        """What a snapshot must hold of it."""
        if self.muted:
            return MutedRecord()
        return ResumedRecord(self.floor_view, self.incarnation) if self.floor_view else None

    def heard(self, node: int, view: int) -> None:
        """A member's head of ``view``, the last thing it sends again. One of a later view than this member's was sent
        before: its certificates are still to come."""
        if self.muted and view <= self._core.simplex.view:
            self._heard.add(node)
            convicted = self._core.convictions.cut_off - {self._core.node}
            faults = self._core.committee.f
            needed = 2 * faults + 1 - min(faults, len(convicted))
            if len(self._heard - convicted) >= needed and not self.floor_view:
                self.floor_view = self._core.simplex.view

    def lost(self, node: int) -> None:
        """The link is down: what it resends next counts anew."""
        if not self.floor_view:
            self._heard.discard(node)

    def flush(self) -> None:
        """Resume once a block of a view above the floor is final."""
        if self.observes or not self.muted or not self.floor_view:
            return
        if self._core.chain.final_state.view <= self.floor_view:
            return
        self.muted = False
        state: OrderingState = self._core.chain.final_state
        self.floor_view = state.view  # a log leads past views that the agreement engine has not seen
        self.incarnation = min(state.incarnations[self._core.node] + 1, limits.INCARNATIONS_MAX + 1)
        self._core.own_lists.begin(self.incarnation)
        self._core.effects.append(Persist(ResumedRecord(self.floor_view, self.incarnation)))
        self._core.statements.changed()
        if self.incarnation > limits.INCARNATIONS_MAX:
            detail = "this member lost its journal again: it signs no lists before the next epoch"
            self._core.effects.append(Fault(self._core.node, "incarnation.spent", detail))
