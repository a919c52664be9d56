"""Listings: which ids have been listed by f+1 members and are lifted (docs/protocol.md, step 4 of a block).

What has ended is dropped first, by the block's time: a member's listing after VALIDITY_MS_MAX, a lifted id when its
order is no longer valid. Then each new listing counts once for its member, of which no more than
LISTINGS_PER_MEMBER_MAX wait at a time. With f+1 of them the id is lifted, and is passed over until that ends.
Where a market orders by receipt, the places of an order in members' lists are kept until it is batched.

Ends are found by bucket of block time (EXPIRY_BUCKET_MS), not by looking at all ids.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering.state import (
    EXPIRY_BUCKET_MS,
    Listing,
    OrderingState,
    Positions,
    Queued,
    list_serial,
)
from mpc_sequencer.core.types import Head, OrderList


class ListingBook:
    """One block's listings, on mutable copies of its parent's maps. ``time_ms`` is the block's time; ``placed``: places
    are kept, for a market that orders by receipt."""

    def __init__(self, parent: OrderingState, time_ms: int, *, placed: bool) -> None:
        self._time_ms = time_ms
        self._placed = placed
        self.positions = parent.positions.mutate()
        self._listings = parent.listings.mutate()
        self._lifted = parent.lifted.mutate()
        self._expiries = parent.expiries.mutate()
        self._listed = list(parent.listed)
        self._expiring: dict[int, list[bytes]] = {}
        self._lifted_now: set[bytes] = set()
        self._listed_now: dict[bytes, None] = {}
        now_bucket = time_ms // EXPIRY_BUCKET_MS
        if now_bucket - parent.purged_bucket > len(self._expiries):
            due = [bucket for bucket in parent.expiries if bucket <= now_bucket]
        else:
            due = list(range(parent.purged_bucket + 1, now_bucket + 1))
        for bucket in due:
            for group in self._expiries.pop(bucket, ()):
                for order_id in group:
                    self._purge(order_id, bucket)

    def _purge(self, order_id: bytes, bucket: int) -> None:
        """Drop what of an id has ended; what ends later in this very bucket is looked at again."""
        until_ms = self._lifted.get(order_id)
        if until_ms is not None and until_ms <= self._time_ms:
            del self._lifted[order_id]
            self.positions.pop(order_id, None)
            until_ms = None
        listings = self._listings.get(order_id, ())
        ends_ms = [listed_ms + limits.VALIDITY_MS_MAX for _, listed_ms in listings]
        live = tuple(entry for entry, end_ms in zip(listings, ends_ms, strict=True) if end_ms > self._time_ms)
        if len(live) < len(listings):
            for node, _ in set(listings) - set(live):
                self._listed[node] -= 1
            if self._placed:
                self._keep_positions(order_id, {node for node, _ in live})
            if live:
                self._listings[order_id] = live
            else:
                del self._listings[order_id]
        later = [end_ms for end_ms in (*ends_ms, until_ms or 0) if end_ms > self._time_ms]
        if any(end_ms // EXPIRY_BUCKET_MS == bucket for end_ms in later):
            self._expiring.setdefault(bucket, []).append(order_id)

    def count(self, heads: Sequence[Head], lists: Sequence[Sequence[OrderList]], needed: int) -> list[bytes]:
        """Record every new listing; the ids that reach ``needed`` live members, in that order."""
        lifted: list[bytes] = []
        for head, new in zip(heads, lists, strict=True):
            for one in new:
                serial = list_serial(one)
                for index, order_id in enumerate(one.entries):
                    if self._list(order_id, (head.node, serial, index), needed):
                        lifted.append(order_id)
        return lifted

    def _list(self, order_id: bytes, position: tuple[int, int, int], needed: int) -> bool:
        node = position[0]
        if order_id in self._lifted_now or self._lifted.get(order_id, 0) > self._time_ms:
            if self._placed:
                self._add_position(order_id, position)
            return False
        listings: Listing = self._listings.get(order_id, ())
        if any(member == node for member, _ in listings):
            return False
        if self._listed[node] >= limits.LISTINGS_PER_MEMBER_MAX:
            return False  # ids that nobody else lists cost bounded memory
        if self._placed:
            self.positions[order_id] = (*self.positions.get(order_id, ()), position)
        if len(listings) + 1 >= needed:
            self._listings.pop(order_id, None)
            for member, _ in listings:
                self._listed[member] -= 1
            self._lifted_now.add(order_id)
            return True
        self._listings[order_id] = (*listings, (node, self._time_ms))
        self._listed[node] += 1
        self._listed_now[order_id] = None
        return False

    def _add_position(self, order_id: bytes, position: tuple[int, int, int]) -> None:
        """Note a listing of an order that is lifted already, unless it is batched or the member listed it before."""
        held = self.positions.get(order_id)
        if held is not None and all(node != position[0] for node, _, _ in held):
            self.positions[order_id] = (*held, position)

    def _keep_positions(self, order_id: bytes, nodes: Container[int]) -> None:
        kept = tuple(one for one in self.positions.get(order_id, ()) if one[0] in nodes)
        if kept:
            self.positions[order_id] = kept
        else:
            self.positions.pop(order_id, None)

    def take_positions(self, order_ids: Iterable[bytes]) -> dict[bytes, Positions]:
        """The positions of a batch's orders, which are kept here no longer: nothing can change them now."""
        return {order_id: self.positions.pop(order_id, ()) for order_id in order_ids} if self._placed else {}

    def is_lifted(self, order_id: bytes) -> bool:
        """Whether this block or an ancestor has lifted the id, and its order has not expired."""
        return order_id in self._lifted_now or self._lifted.get(order_id, 0) > self._time_ms

    def force(self, order_id: bytes) -> None:
        """A forced order joins the batch though no f+1 members list it: it is as one that was lifted."""
        for member, _ in self._listings.pop(order_id, ()):
            self._listed[member] -= 1
        self._lifted_now.add(order_id)

    def _expire(self, order_id: bytes, at_ms: int) -> None:
        self._expiring.setdefault(at_ms // EXPIRY_BUCKET_MS, []).append(order_id)

    def finish(self, fresh: Sequence[Queued], key_messages: Sequence[bytes]) -> dict[str, Any]:
        """Remember the lifted orders and key messages; the fields of the new state that this book kept."""
        for order in fresh:
            self._lifted[order.order_id] = order.valid_until_ms
            self._expire(order.order_id, order.valid_until_ms)
        for message_id in key_messages:
            self._lifted[message_id] = self._time_ms + limits.VALIDITY_MS_MAX
            self._expire(message_id, self._time_ms + limits.VALIDITY_MS_MAX)
        for order_id in self._lifted_now.difference(order.order_id for order in fresh):
            self.positions.pop(order_id, None)  # lifted too late: not queued
        for order_id in self._listed_now:
            if order_id in self._listings:  # most are lifted by the block that lists them
                self._expire(order_id, self._time_ms + limits.VALIDITY_MS_MAX)
        for bucket, ids in self._expiring.items():
            self._expiries[bucket] = (*self._expiries.get(bucket, ()), tuple(ids))
        return {
            "listings": self._listings.finish(),
            "lifted": self._lifted.finish(),
            "expiries": self._expiries.finish(),
            "listed": tuple(self._listed),
            "purged_bucket": self._time_ms // EXPIRY_BUCKET_MS - 1,
            "positions": self.positions.finish(),
        }
