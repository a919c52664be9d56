"""Rules of receipts: what this log's member promised to list is in exactly the list it named.

A receipt is judged at the end of the log. Where the list it names is not included in a final block yet it
is counted as open: the promise is not due. Where its member started a new incarnation before, the receipt is counted
as defaulted: the member lost its journal and said so in public, which breaks the promise and accuses it of nothing.

A receipt is kept by a list of its own epoch. Where that epoch ended before a block included the list, the log cannot
show what the list held, and the receipt is counted as outlived: who holds it can ask the member for the list.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core import limits
from mpc_sequencer.core.types import OrderList, Receipt


@dataclass(frozen=True, slots=True)
class _Promise:
    """A receipt: in which list an order is to be, and where the receipt stands in the log."""

    epoch: int
    incarnation: int
    list_number: int
    order_id: bytes
    entry_index: int | None


class Receipts:
    """The receipts of the member that keeps its log with ``keeper``, and what its lists hold."""

    def __init__(self, epochs: Epochs, recorder: Recorder, keeper: bytes) -> None:
        self._epochs = epochs
        self._recorder = recorder
        self._keeper = keeper
        self._listed: dict[tuple[int, int, int], frozenset[bytes]] = {}
        self._due: list[_Promise] = []
        self._reached: dict[int, tuple[int, int]] = {}
        """By epoch: the member's last incarnation in it, and its last list that a block includes."""

    def _node(self, number: int) -> int | None:
        """The member's index in an epoch; None where it has no place in it."""
        epoch = self._epochs.numbered(number)
        return None if epoch is None else epoch.place(self._keeper)

    def add_list(self, order_list: OrderList) -> None:
        """Note a list of the log."""
        epoch = self._epochs.current.number
        if order_list.epoch == epoch and order_list.node == self._node(epoch):
            place = (epoch, order_list.incarnation, order_list.number)
            self._listed[place] = frozenset(order_list.entries)

    def add(self, receipt: Receipt) -> None:
        """Judge a receipt's signature and keep its promise in mind."""
        where = f"order {receipt.order_id.hex()}, list {receipt.list_number}"
        possible = receipt.incarnation <= limits.INCARNATIONS_MAX
        epoch = self._epochs.numbered(receipt.epoch)
        if epoch is None or not possible or receipt.node != self._node(receipt.epoch):
            return self._recorder.fail("receipt.member", f"{where}, member {receipt.node}, epoch {receipt.epoch}")
        self._recorder.done("receipts")
        if not epoch.signatures.is_members(receipt.node, receipt.struct_hash(), receipt.signature):
            self._recorder.fail("receipt.signature", where)
        index = self._recorder.entry_index
        self._due.append(
            _Promise(receipt.epoch, receipt.incarnation, receipt.list_number, receipt.order_id, index)
        )
        return None

    def end_epoch(self, incarnation: int, last_included: int) -> None:
        """The current epoch is over, or the log: the member's incarnation, and its last list that a block includes."""
        self._reached[self._epochs.current.number] = incarnation, last_included

    def finish(self) -> int:
        """Judge every promise that is due, up to the lists that blocks include; how many are open. The current epoch
        has been ended."""
        open_receipts = 0
        for promise in self._due:
            incarnation, last_included = self._reached[promise.epoch]
            listed = self._listed.get((promise.epoch, promise.incarnation, promise.list_number))
            if promise.incarnation < incarnation and listed is None:
                self._recorder.done("receipts_defaulted")
            elif (promise.incarnation, promise.list_number) > (incarnation, last_included):
                if promise.epoch == self._epochs.current.number:
                    open_receipts += 1
                else:
                    self._recorder.done("receipts_outlived")
            elif listed is None or promise.order_id not in listed:
                self._recorder.entry_index = promise.entry_index
                order = f"order {promise.order_id.hex()}"
                self._recorder.fail("receipt.broken", f"{order} is not in list {promise.list_number}")
            else:
                self._recorder.done("receipts_kept")
        return open_receipts
