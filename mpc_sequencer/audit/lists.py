"""Rules of lists: each member's lists are signed, numbered from 1 without a gap, and chained by hash.

A log holds each list once, before the block that includes it, by member and then by number. A member that lost its
journal starts a new incarnation by a head without a list; its lists are numbered from 1 again after that block. In a
new epoch every member's lists begin anew, and what a list of an epoch before says counts for nothing.
"""

from __future__ import annotations

from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.types import ZERO_HASH, OrderList


class Lists:
    """All lists of the log so far; ``pending`` are those no block has included yet."""

    def __init__(self, epochs: Epochs, recorder: Recorder) -> None:
        self._epochs = epochs
        self._recorder = recorder
        self.pending: list[OrderList] = []
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Every member of the current epoch is before its first list."""
        n = self._epochs.current.committee.n
        self._incarnations = [0] * n
        self._hashes: list[list[bytes]] = [[] for _ in range(n)]

    def last(self, node: int) -> tuple[int, bytes]:
        """Number and hash of the member's last list in the log; (0, zeros) before the first."""
        hashes = self._hashes[node]
        return (len(hashes), hashes[-1]) if hashes else (0, ZERO_HASH)

    def incarnation(self, node: int) -> int:
        """The incarnation the member's lists are of."""
        return self._incarnations[node]

    def begin(self, node: int, incarnation: int) -> None:
        """A block starts the member's next incarnation."""
        self._incarnations[node] = incarnation
        self._hashes[node] = []

    def hash_of(self, node: int, number: int) -> bytes:
        """The hash of a list of the log; zeros for number 0."""
        return self._hashes[node][number - 1] if number else ZERO_HASH

    def add(self, order_list: OrderList) -> None:
        """Judge the next list of the log and keep it for the block that follows."""
        node, number = order_list.node, order_list.number
        where = f"member {node}, list {number}"
        epoch = self._epochs.current
        identity = (order_list.epoch, order_list.incarnation)
        if node >= epoch.committee.n or identity != (epoch.number, self._incarnations[node]):
            return self._recorder.fail(
                "list.member", f"{where}, epoch {order_list.epoch}/{order_list.incarnation}"
            )
        struct_hash = order_list.struct_hash()
        self._recorder.done("list_signatures")
        if not epoch.signatures.is_members(node, struct_hash, order_list.signature):
            self._recorder.fail("list.signature", where)
        last_number, last_hash = self.last(node)
        if 1 <= number <= last_number:
            same = self._hashes[node][number - 1] == struct_hash
            return self._recorder.fail("list.repeated" if same else "list.equivocation", where)
        if number != last_number + 1:
            self._recorder.halt("list.skipped", f"{where}, expected list {last_number + 1}")
        self._recorder.done("list_chains")
        if order_list.prev_hash != last_hash:
            self._recorder.fail(
                "list.chain", f"{where} names {order_list.prev_hash.hex()}, expected {last_hash.hex()}"
            )
        if len(set(order_list.entries)) != len(order_list.entries):
            self._recorder.fail("list.duplicate", where)
        if self.pending and (self.pending[-1].node, self.pending[-1].number) >= (node, number):
            self._recorder.fail("log.order", f"{where} after member {self.pending[-1].node}'s")
        self._hashes[node].append(struct_hash)
        self.pending.append(order_list)

    def take_pending(self) -> list[OrderList]:
        """The lists a block includes: all since the last block."""
        taken = sorted(self.pending, key=lambda order_list: (order_list.node, order_list.number))
        self.pending = []
        return taken
