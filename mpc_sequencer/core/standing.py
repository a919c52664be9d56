"""Whether this member may sign, and under which incarnation (docs/protocol.md, "After a crash").

A member whose journal is whole signs as before. One that lost a part of it, or all, cannot know what it has signed. It
is *muted*: it signs no vote, head, list or receipt, but takes part in everything else. Its votes were for views up to
the one it was in, which some certificate had let it enter; q members signed that certificate, so of any n-f members
that it hears now at least one honest one knows it and passes it on. So once n-f members have resent what they hold,
``floor_view``, the view this member is in then, is at least any view it ever voted in. When a block of a later view is
final, so is everything it did before (its last incarnation's start included), and it *resumes*: it votes above the
floor, and announces a new incarnation, in which list numbers start again. Offences compare one incarnation only.

There are at most INCARNATIONS_MAX new ones an epoch: each breaks open receipts, so who loses its disk again sits out
with lists (it still votes) until the next epoch.

Departure from leases: a lease bounds what was signed ahead of time and costs an fsync now and then, but is lost with
the disk it is on; the rule above needs nothing but the peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Fault, MutedRecord, Persist, ResumedRecord
from mpc_sequencer.core.ordering import OrderingState

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

    # --- what may be signed -------------------------------------------------------------------------------------
    def may_vote(self, view: int) -> bool:
        return not self.muted and view > self.floor_view

    def may_sign_heads(self) -> bool:
        """A head continues the incarnation of the final state, or announces the next."""
        return not self.muted and self._ahead() in (0, 1) and self.incarnation <= limits.INCARNATIONS_MAX

    def may_list(self) -> bool:
        """Lists and receipts wait until a final block has started their incarnation."""
        return not self.muted and self._ahead() == 0 and self.incarnation <= limits.INCARNATIONS_MAX

    def _ahead(self) -> int:
        state: OrderingState = self._core.chain.final_state
        return self.incarnation - state.incarnations[self._core.node]

    # --- damage -------------------------------------------------------------------------------------------------
    def mute(self) -> None:
        """The journal is damaged or gone. The first thing a new journal says."""
        self.muted = True
        self._core.effects.append(Persist(MutedRecord()))

    def recall(self, record: MutedRecord | ResumedRecord) -> None:
        """What the journal says of this."""
        if isinstance(record, MutedRecord):
            self.muted = True
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
            if len(self._heard) >= self._core.committee.q and not self.floor_view:
                self.floor_view = self._core.simplex.view

    def lost(self, node: int) -> None:
        """The link is down: what it resends next counts anew."""
        if not self.floor_view:
            self._heard.discard(node)

    def flush(self) -> None:
        """Resume once a block of a view above the floor is final."""
        if not self.muted or not self.floor_view or self._core.chain.final_state.view <= self.floor_view:
            return
        self.muted = False
        state: OrderingState = self._core.chain.final_state
        self.incarnation = min(state.incarnations[self._core.node] + 1, limits.INCARNATIONS_MAX + 1)
        self._core.own_lists.begin(self.incarnation)
        self._core.effects.append(Persist(ResumedRecord(self.floor_view, self.incarnation)))
        self._core.statements.changed()
        if self.incarnation > limits.INCARNATIONS_MAX:
            detail = "this member lost its journal again: it signs no lists before the next epoch"
            self._core.effects.append(Fault(self._core.node, "incarnation.spent", detail))
