"""Orders that are over: what a member still knows of an order whose body it has let go.

A body is of use to peers and to this member's own answers until its batch is executed and some way behind. After that
two things are asked of it: that it is not taken for a new order, and that a duplicate gets its first receipt again
(docs/protocol.md, "Intake"). Both take some 300 bytes an order instead of some 4,000, until the order's window has
ended. A member that comes back knows its past orders by the ordering state alone: it refuses them
(``intake.sequenced``) and answers with their outcomes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.types import NO_SIGNATURE, Receipt

BUCKET_MS: Final = 1_000

_PACKED: Final = struct.Struct(">QQQHQQ65s")
"""Height, then the receipt: epoch, incarnation, node, list number, time of receipt, signature; zeros where none was
given. A receipt of an epoch before names this member by its number of then."""


@dataclass(frozen=True, slots=True)
class PastOrder:
    """A sequenced and executed order: where, and the receipt that this member gave, if it did."""

    sequenced_height: int
    receipt: Receipt | None


class PastOrders:
    """Past orders by id, each until a time. Times are grouped in buckets of BUCKET_MS."""

    def __init__(self) -> None:
        self._packed: dict[bytes, bytes] = {}
        self._buckets: dict[int, list[bytes]] = {}
        self._ended = 0
        """The last bucket that was dropped."""

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, order_id: bytes) -> bool:
        return order_id in self._packed

    def add(self, order_id: bytes, height: int, receipt: Receipt | None, until_ms: int) -> None:
        """Remember an order (32 bytes) that the batch of ``height`` held, up to BUCKET_MS longer than ``until_ms``."""
        if receipt is None:
            packed = _PACKED.pack(height, 0, 0, 0, 0, 0, NO_SIGNATURE)
        else:
            terms = (receipt.epoch, receipt.incarnation, receipt.node, receipt.list_number, receipt.received_ms)
            packed = _PACKED.pack(height, *terms, receipt.signature)
        self._packed[order_id] = packed
        self._buckets.setdefault(until_ms // BUCKET_MS, []).append(order_id)

    def get(self, order_id: bytes) -> PastOrder | None:
        """What is known of an order; None where it is no past one, or its time is over."""
        packed = self._packed.get(order_id)
        if packed is None:
            return None
        height, epoch, incarnation, node, list_number, received_ms, signature = _PACKED.unpack(packed)
        if signature == NO_SIGNATURE:
            return PastOrder(height, None)
        receipt = Receipt(epoch, incarnation, order_id, node, list_number, received_ms, signature)
        return PastOrder(height, receipt)

    def pop(self, order_id: bytes) -> PastOrder | None:
        """As :meth:`get`, and it is no past order any more."""
        found = self.get(order_id)
        self._packed.pop(order_id, None)
        return found

    def forget(self, now_ms: int) -> None:
        """Drop those whose time is over at ``now_ms``."""
        ended = now_ms // BUCKET_MS - 1
        if ended <= self._ended:
            return
        self._ended = ended
        for bucket in [one for one in self._buckets if one <= ended]:
            for order_id in self._buckets.pop(bucket):
                self._packed.pop(order_id, None)
