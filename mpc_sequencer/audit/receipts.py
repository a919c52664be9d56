"""Rules of receipts: what this log's member promised to list is in exactly the list it named.

A receipt is judged at the end of the log. Where the list it names is not included in a final block yet it
is counted as open: the promise is not due. Where its member started a new incarnation before, the receipt is counted
as defaulted: the member lost its journal and said so in public, which breaks the promise and accuses it of nothing.
"""

from __future__ import annotations

from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.signatures import Signatures
from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.types import OrderList, Receipt


class Receipts:
    """The member's receipts and what its lists hold."""

    def __init__(self, committee: Committee, signatures: Signatures, recorder: Recorder, node: int) -> None:
        self._committee = committee
        self._signatures = signatures
        self._recorder = recorder
        self._node = node
        self._listed: dict[tuple[int, int], frozenset[bytes]] = {}
        self._due: list[tuple[int, int, bytes, int | None]] = []

    def add_list(self, order_list: OrderList) -> None:
        """Note a list of the log."""
        if order_list.node == self._node:
            self._listed[order_list.incarnation, order_list.number] = frozenset(order_list.entries)

    def add(self, receipt: Receipt) -> None:
        """Judge a receipt's signature and keep its promise in mind."""
        where = f"order {receipt.order_id.hex()}, list {receipt.list_number}"
        possible = receipt.incarnation <= limits.INCARNATIONS_MAX
        if not possible or (receipt.epoch, receipt.node) != (self._committee.epoch, self._node):
            return self._recorder.fail("receipt.member", f"{where}, member {receipt.node}")
        self._recorder.done("receipts")
        if not self._signatures.is_members(receipt.node, receipt.struct_hash(), receipt.signature):
            self._recorder.fail("receipt.signature", where)
        self._due.append((receipt.incarnation, receipt.list_number, receipt.order_id, self._recorder.entry_index))
        return None

    def finish(self, incarnation: int, last_included: int) -> int:
        """Judge every promise that is due, up to the member's last included list of ``incarnation``, its last one; how
        many are open."""
        open_receipts = 0
        for lived, number, order_id, entry_index in self._due:
            listed = self._listed.get((lived, number))
            if lived < incarnation and listed is None:
                self._recorder.done("receipts_defaulted")
            elif lived > incarnation or (lived == incarnation and number > last_included):
                open_receipts += 1
            elif listed is None or order_id not in listed:
                self._recorder.entry_index = entry_index
                self._recorder.fail("receipt.broken", f"order {order_id.hex()} is not in list {number}")
            else:
                self._recorder.done("receipts_kept")
        return open_receipts
