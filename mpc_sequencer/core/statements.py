"""What a member says in its own name about orders: receipts, lists, heads.

A receipt promises that the order is in exactly the list it names, so both are made here, together: an order enters
the open list and the receipt names that list's number. A list is cut on entering a view and LIST_INTERVAL_MS_MIN
after the last cut; a head is signed whenever a part of it changed, and anew while there is work, so that its clock
stays fresh. Everything signed here is written to the journal before it leaves (see the effects).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import (
    AdmittedRecord,
    Append,
    Broadcast,
    HeadRecord,
    HeldKeyRecord,
    HeldRecord,
    ListRecord,
    Persist,
)
from mpc_sequencer.core.envelopes import check_sponsor, check_window
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import HeadMessage, ListMessage
from mpc_sequencer.core.pool import PooledOrder
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import ReceiptEntry
from mpc_sequencer.core.types import NO_SIGNATURE, Checkpoint, Envelope, Head, Receipt, with_signature

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

HEAD_STALE_MS: Final = limits.BLOCK_TIME_SKEW_MS_MAX // 4  # a member with work gives its clock anew after this long


class Statements:
    """Makes and signs receipts, lists and heads over the member's parts."""

    def __init__(self, core: NodeCore, signer: Signer) -> None:
        self._core = core
        self._signer = signer
        self._dirty = False
        self._results_new = False
        self._signed_ms = 0
        self._said = (core.committee.genesis.checkpoint, 0)
        """Checkpoint and due height of the last head."""

    # --- receipts -----------------------------------------------------------------------------------------------
    def admit(self, envelope: Envelope, order_id: bytes) -> tuple[Receipt | None, str]:
        """A client's envelope: receipt, or a duplicate's first receipt. Raises ProtocolError or ThresholdError."""
        held = self._core.pool.get(order_id)
        if held is not None:
            # another variant may be wanted; a forged one is refused
            self._core.pool.fetched(envelope, self._core.now_ms, order_id=order_id)
            if not held.list_number and not held.sequenced_height and not held.pins:
                check_window(held.order.checked.label, self._core.now_ms)
                self._check_lists()
                self._enlist(held)
            if held.receipt is None and held.list_number:
                self._give_receipt(held, next(iter(held.variants.values())))
            self._cut_full()
            return held.receipt, "intake.duplicate"
        past = self._core.pool.past(order_id)
        if past is not None and past.receipt is not None:
            sponsor = envelope.decoded_label().sponsor
            check_sponsor(self._core.committee, order_id, sponsor, envelope.sponsor_signature)
            return past.receipt, "intake.duplicate"
        if past is not None or self._core.chain.final_state.lifted.get(order_id, 0) > self._core.now_ms:
            raise ProtocolError("intake.sequenced", "order_id", order_id, "an order not sequenced yet")
        self._check_lists()
        pooled = self._core.pool.admit(envelope, self._core.now_ms, order_id=order_id)
        self._core.arrivals += 1
        self._core.fetcher.got_body(order_id, pooled.first_variant())
        self._enlist(pooled)
        self._give_receipt(pooled, envelope)
        self._cut_full()
        return pooled.receipt, ""

    def relist(self, order_ids: Iterable[bytes]) -> None:
        """A new epoch has begun: list what is pending, for listings of the epoch before count no more. What has expired
        nobody would fetch."""
        now_ms = self._core.now_ms
        for order_id in order_ids:
            pooled = self._core.pool.get(order_id)
            if pooled is None or pooled.list_number or pooled.order.facts.valid_until_ms <= now_ms:
                continue
            if self._core.standing.may_list():
                self.list_fetched(pooled)

    def _check_lists(self) -> None:
        target = self._core.succession.leaving_for()
        if target is not None:
            raise ProtocolError("intake.leaving", "member", self._core.node, "a member of the next epoch too")
        if self._core.chain.ended:
            expected = f"{self._core.committee.epoch + 1}, in a moment"
            raise ProtocolError("intake.cutover", "epoch", self._core.committee.epoch, expected)
        if not self._core.standing.may_list():
            raise ProtocolError("intake.recovering", "member", self._core.node, "one that gives receipts")
        unfinal = self._core.lists.unfinal(self._core.node)
        if unfinal >= limits.LISTS_PER_MEMBER_MAX:
            raise ProtocolError(
                "intake.lists_full", "lists", unfinal, f"fewer than {limits.LISTS_PER_MEMBER_MAX}"
            )

    def list_fetched(self, pooled: PooledOrder) -> None:
        """Put an order that a peer listed into the open list. Its body is kept on disk as well: a list names only
        orders that its member holds."""
        self._enlist(pooled)
        envelope = pooled.variants[pooled.first_variant()]
        pooled.on_disk = True
        self._core.effects.append(Persist(HeldRecord(envelope, pooled.list_number)))
        self._cut_full()

    def list_key_messages(self) -> None:
        """Put messages of key sessions that this member holds, its own and others', into the open list."""
        if not self._core.standing.may_list():
            return
        for message_id, held in self._core.keybook.to_list(self._core.keygen.live):
            if self._core.lists.unfinal(self._core.node) >= limits.LISTS_PER_MEMBER_MAX:
                return
            self._core.keybook.note_listed(message_id, self._core.own_lists.add(message_id))
            held.on_disk = True
            self._core.effects.append(Persist(HeldKeyRecord(held.message, held.list_number)))
            self._cut_full()

    def _enlist(self, pooled: PooledOrder) -> None:
        pooled.list_number = self._core.own_lists.add(pooled.order.order_id)

    def _cut_full(self) -> None:
        """A list goes to disk after the bodies it names, so that a torn journal never holds it without them."""
        if self._core.own_lists.full:
            self.cut_list()

    def _give_receipt(self, pooled: PooledOrder, envelope: Envelope) -> None:
        unsigned = Receipt(
            epoch=self._core.committee.epoch,
            incarnation=self._core.standing.incarnation,
            order_id=pooled.order.order_id,
            node=self._core.node,
            list_number=pooled.list_number,
            received_ms=pooled.received_ms,
            signature=NO_SIGNATURE,
        )
        digest = self._core.committee.digest(unsigned.struct_hash())
        pooled.receipt = with_signature(unsigned, self._signer.sign_digest(digest))
        pooled.on_disk = True
        self._core.effects.append(Persist(AdmittedRecord(envelope, pooled.receipt)))
        self._core.effects.append(Append(ReceiptEntry(pooled.receipt)))

    # --- lists and heads ----------------------------------------------------------------------------------------
    def cut_list(self) -> None:
        """Sign and send the open list, where it holds anything."""
        cut = self._core.own_lists.cut(self._core.now_ms)
        if cut is None:
            return
        order_list, list_hash = cut
        self._core.lists.add_own(order_list, list_hash)
        self._core.arrivals += 1
        self._dirty = True
        self._core.effects.append(Persist(ListRecord(order_list)))
        self._core.effects.append(Broadcast(ListMessage(order_list)))

    def sign_head(self) -> None:
        """Sign and send a head, where a part of the last one changed."""
        # results go with the list that is open, where there is one: it is cut soon, and a head costs every member
        if self._results_new and self._core.own_lists.due_ms() is None:
            self._dirty = True
        said = (self._checkpoint(), self._core.due_height(self._core.now_ms))
        if said != self._said:
            self._dirty = True
        if not self._dirty or not self._core.standing.may_sign_heads():
            return
        self._said = said
        self._dirty = self._results_new = False
        self._signed_ms = self._core.now_ms
        unsigned = Head(
            epoch=self._core.committee.epoch,
            incarnation=self._core.standing.incarnation,
            node=self._core.node,
            view=self._core.simplex.view,
            time_ms=self._core.now_ms,
            list_number=self._core.own_lists.number,
            list_hash=self._core.own_lists.hash,
            results=self._core.execution.results(),
            checkpoint=said[0],
            due_height=said[1],
            signature=NO_SIGNATURE,
        )
        struct_hash = unsigned.struct_hash()
        head = with_signature(unsigned, self._signer.sign_digest(self._core.committee.digest(struct_hash)))
        self._core.lists.add_head(head, struct_hash)
        self._core.heads_seen += 1
        self._core.effects.append(Persist(HeadRecord(head)))
        self._core.effects.append(Broadcast(HeadMessage(head)))

    def _checkpoint(self) -> Checkpoint:
        """The newest one that this member's chain node has told of. Before there is a threshold key nobody could judge
        a forced order: no later one than the genesis' is named then."""
        core = self._core
        return core.chain_view.newest if core.committee.keys is not None else core.committee.genesis.checkpoint

    def changed(self) -> None:
        """A part of the head changed: it is signed anew with the next flush."""
        self._dirty = True

    def results_changed(self) -> None:
        """The results of the head changed: it is signed anew with the next list that is cut, at once where none is
        open."""
        self._results_new = True

    def flush(self, now_ms: int, *, working: bool) -> None:
        """Cut the open list where it is due; a member with work gives its clock anew."""
        due_ms = self._core.own_lists.due_ms()
        if self._core.own_lists.full or (due_ms is not None and now_ms >= due_ms):
            self.cut_list()
        if working and now_ms >= self.stale_at_ms():
            self._dirty = True

    def stale_at_ms(self) -> int:
        """When the last head's clock is too old for a member with work."""
        return self._signed_ms + HEAD_STALE_MS
