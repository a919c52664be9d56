"""The block as a function (docs/protocol.md), in the simplest form: time, certified results, listings,
queue, batch.

:class:`Ordering` is the state that all ancestors of the next block leave behind. The steps are called in
the order of the document; the block's time is a parameter, so that a block with a wrong time is judged for
the rest by the time it says. Nothing here judges: :mod:`mpc_sequencer.audit.blocks` compares.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from mpc_sequencer.audit import precedence
from mpc_sequencer.audit.chaininputs import Forced
from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.types import BatchEntry, Head, OrderList, ResultRef
from threshold import Label, Tag

PURGE_HEIGHTS = 256  # how often what has expired is dropped from memory; it has no effect long before


class MissingBody(Exception):
    """An id is lifted whose envelope or key message nobody has given; ``args[0]`` is the id."""


def tree_root(leaves: Sequence[bytes], node: Tag) -> bytes:
    """Root in RFC 6962's shape by its recursive definition; 32 zero bytes for no leaves."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node(tree_root(leaves[:split], node), tree_root(leaves[split:], node))


def batch_root(batch: Sequence[BatchEntry]) -> bytes:
    """The Merkle root of a batch."""
    leaves = [domains.BATCH_LEAF(entry.order_id, entry.envelope_hash) for entry in batch]
    return tree_root(leaves, domains.BATCH_NODE)


def key_message_order(root: bytes, message_ids: Sequence[bytes]) -> list[bytes]:
    """The order in which key messages that a block lifts count, by that block's inputs root."""
    return sorted(message_ids, key=lambda message_id: domains.CARRY(root, message_id))


def inputs_root(heads: Sequence[Head], lists: Sequence[OrderList], queue: tuple[int, bytes] | None = None) -> bytes:
    """What commits to a block's heads and lists, both in their order, and to the chain inputs it takes: where it takes
    any, ``queue`` is how many are taken with them, and the hash there."""
    taken = () if queue is None else (queue[0].to_bytes(8, "big"), queue[1])
    return domains.BLOCK_INPUTS(
        len(heads).to_bytes(2, "big"),
        *[head.struct_hash() for head in heads],
        *[order_list.struct_hash() for order_list in lists],
        *taken,
    )


def block_time_ms(parent_time_ms: int, heads: Sequence[Head]) -> int:
    """The lower median of the heads' clocks, never below the parent's time."""
    clocks = sorted(head.time_ms for head in heads)
    return max(parent_time_ms, clocks[(len(clocks) - 1) // 2])


@dataclass(slots=True)
class Ordering:
    """What the ancestors of the next block leave behind. ``bonds_wei`` are those of before the block."""

    f: int
    q: int
    bonds_wei: Mapping[bytes, int]
    listings_ms: dict[bytes, dict[int, int]] = field(default_factory=dict)
    """Per order id and member: the block time at which its listing was included."""
    by_time: deque[tuple[int, bytes, int]] = field(default_factory=deque)
    """Listings as they were noted: block time, order id, member."""
    live_listings: dict[int, int] = field(default_factory=dict)
    """Per member: how many listings of ids that are not lifted live."""
    lifted_until_ms: dict[bytes, int] = field(default_factory=dict)
    """Per lifted id: an order's valid_until, a key message's time of lifting and VALIDITY_MS_MAX more."""
    queue: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Per waiting order id: height of lifting and carry, which order the queue."""
    charged_wei: dict[bytes, int] = field(default_factory=dict)
    uncertified: list[int] = field(default_factory=list)
    """Counting heights above the last certified one."""
    last_counting: int = 0
    """The last height that counts, certified or not."""
    certified_height: int = 0
    reporters: dict[tuple[int, bytes], set[int]] = field(default_factory=dict)
    solid: int | None = None
    """How many members must list an order before it is batched, where a market orders by receipt."""
    places: dict[bytes, dict[int, precedence.Place]] = field(default_factory=dict)
    """Per listed or waiting order id and member: where its lists have the order. Only with receive order."""
    words: dict[bytes, set[int]] = field(default_factory=dict)
    """Per handover to a next committee: the members whose word for it is lifted in this epoch."""
    handover: bytes | None = None
    """The handover that q members have given their word for; from then on batches are empty."""

    # --- epochs ----------
    def ends(self) -> bool:
        """Whether the next block is its epoch's last: what its ancestors certify leaves no counting height."""
        return self.handover is not None and not self.uncertified

    def hand_over(self, words: Sequence[tuple[int, bytes]]) -> None:
        """Take the (member, handover) words that a block lifts; its own batch is judged before."""
        for node, digest in words:
            self.words.setdefault(digest, set()).add(node)
        agreed = sorted(digest for digest in {digest for _, digest in words} if len(self.words[digest]) >= self.q)
        if self.handover is None and agreed:
            self.handover = agreed[0]

    def begin_epoch(self, f: int, q: int, solid: int | None) -> None:
        """The next epoch's members begin: nothing of theirs is listed or reported. Orders that wait and what was lifted
        or charged stay."""
        self.f, self.q, self.solid = f, q, solid
        self.listings_ms, self.live_listings, self.by_time = {}, {}, deque()
        self.reporters, self.words, self.handover = {}, {}, None
        self.places = {} if solid is None else {order_id: {} for order_id in self.queue}

    # --- step 3 ----------
    def report(self, heads: Sequence[Head]) -> tuple[ResultRef, ...]:
        """Note the results in the heads; the pairs that q members have now reported, ascending."""
        for head in heads:
            for ref in head.results:
                if ref.height in self.uncertified:
                    self.reporters.setdefault((ref.height, ref.result), set()).add(head.node)
        reached = sorted(pair for pair, nodes in self.reporters.items() if len(nodes) >= self.q)
        return tuple(ResultRef(height=height, result=result) for height, result in reached)

    def certify(self, certified: Sequence[ResultRef]) -> None:
        """Take the results a block certifies; they certify all heights below."""
        for ref in certified:
            self.certified_height = max(self.certified_height, ref.height)
        self.uncertified = [height for height in self.uncertified if height > self.certified_height]
        self.reporters = {
            pair: nodes for pair, nodes in self.reporters.items() if pair[0] > self.certified_height
        }

    # --- step 4 ----------
    def list_orders(
        self,
        height: int,
        time_ms: int,
        root: bytes,
        lists: Sequence[OrderList],
        labels: Mapping[bytes, Label],
        key_messages: Container[bytes] = frozenset(),
    ) -> list[bytes]:
        """Note the listings; the ids lifted. Orders have joined the queue, which ``key_messages`` never do. Raises
        :class:`MissingBody`."""
        # what ends with this block's time may be listed again in it, and what was known of it before counts no more
        for order_id in [each for each in self.queue if self.lifted_until_ms.get(each, 0) <= time_ms]:
            del self.queue[order_id]
            self.places.pop(order_id, None)
        lifted: dict[bytes, None] = {}
        for order_list in lists:
            for index, order_id in enumerate(order_list.entries):
                if order_id not in lifted and self._note_listing(order_id, order_list.node, time_ms):
                    if order_id in key_messages:
                        self._end_listings(order_id)
                        self.lifted_until_ms[order_id] = time_ms + limits.VALIDITY_MS_MAX
                        self.places.pop(order_id, None)
                    else:
                        self._lift(order_id, height, time_ms, root, labels)
                    lifted[order_id] = None
                if self.solid is not None:
                    self._note_place(order_id, order_list, index)
        return list(lifted)

    def _note_place(self, order_id: bytes, order_list: OrderList, index: int) -> None:
        """Note where a member's lists have an order, the first time, where its listing counts or the order waits."""
        node = order_list.node
        if order_id in self.queue or node in self.listings_ms.get(order_id, {}):
            place = (order_list.incarnation, order_list.number, index)
            self.places.setdefault(order_id, {}).setdefault(node, place)

    def _note_listing(self, order_id: bytes, node: int, time_ms: int) -> bool:
        """Note a member's listing; True where f+1 members' listings live, so that the order is lifted."""
        if self.lifted_until_ms.get(order_id, 0) > time_ms:
            return False
        self._forget_dead(time_ms)
        listings = self.listings_ms.setdefault(order_id, {})
        if node not in listings and self.live_listings.get(node, 0) < limits.LISTINGS_PER_MEMBER_MAX:
            listings[node] = time_ms
            self.live_listings[node] = self.live_listings.get(node, 0) + 1
            self.by_time.append((time_ms, order_id, node))
        return len(listings) >= self.f + 1

    def _forget_dead(self, time_ms: int) -> None:
        """Drop listings that live no more; block times never fall, so the oldest come first."""
        while self.by_time and not _lives(self.by_time[0][0], time_ms):
            listed_ms, order_id, node = self.by_time.popleft()
            listings = self.listings_ms.get(order_id, {})
            if listings.get(node) == listed_ms:
                del listings[node]
                self.live_listings[node] -= 1
                self.places.get(order_id, {}).pop(node, None)
                if not listings:
                    del self.listings_ms[order_id]
                    self.places.pop(order_id, None)

    def _lift(
        self, order_id: bytes, height: int, time_ms: int, root: bytes, labels: Mapping[bytes, Label]
    ) -> None:
        if order_id not in labels:
            raise MissingBody(order_id)
        self._end_listings(order_id)
        valid_until_ms = labels[order_id].valid_until_ms
        if valid_until_ms > time_ms:
            self.lifted_until_ms[order_id] = valid_until_ms
            self.queue[order_id] = (height, domains.CARRY(root, order_id))
        else:
            self.places.pop(order_id, None)

    def _end_listings(self, order_id: bytes) -> None:
        for node in self.listings_ms.pop(order_id):
            self.live_listings[node] -= 1

    # --- steps 5 and 6 ----------
    def expire(self, height: int, time_ms: int, labels: Mapping[bytes, Label]) -> None:
        """Drop what has expired from the queue (and, now and then, from memory)."""
        for order_id in [each for each in self.queue if labels[each].valid_until_ms <= time_ms]:
            del self.queue[order_id]
            self.places.pop(order_id, None)
        if height % PURGE_HEIGHTS == 0:
            self.lifted_until_ms = {
                order_id: until_ms
                for order_id, until_ms in self.lifted_until_ms.items()
                if until_ms > time_ms
            }

    def stands(self) -> bool:
        """Whether batches are empty and nothing of the chain is taken up."""
        return self.lags() or self.handover is not None

    def wakes(self, heads: Sequence[Head]) -> bool:
        """Whether f+1 members say that the last counting height leaves something due."""
        naming = [head for head in heads if head.due_height == self.last_counting]
        return self.last_counting > 0 and len(naming) > self.f and not self.stands()

    def speaks(self, dark_words: Sequence[tuple[int, bytes]]) -> bool:
        """Whether what a block lifts of dark markets makes it count: not where the epoch ends."""
        return bool(dark_words) and self.handover is None

    def count(self, height: int) -> None:
        """The height counts."""
        self.uncertified.append(height)
        self.last_counting = height

    def forced_batch(self, time_ms: int, due: Sequence[Forced]) -> tuple[list[bytes], int]:
        """Of the forced orders that are due those that the batch begins with; how many the block is done with."""
        batch: list[bytes] = []
        charged_wei = dict(self.charged_wei)
        for done, one in enumerate(due):
            if len(batch) == limits.BATCH_ORDERS_MAX:
                return batch, done
            lifted = self.lifted_until_ms.get(one.order_id, 0) > time_ms and one.order_id not in self.queue
            if one.label is None or one.order_id in batch or lifted:
                continue
            sponsor = one.label.sponsor
            due_wei = charged_wei.get(sponsor, 0) + price_wei(one.label)
            valid = one.label.valid_from_ms <= time_ms < one.label.valid_until_ms
            if valid and due_wei <= self.bonds_wei.get(sponsor, 0):
                charged_wei[sponsor] = due_wei
                batch.append(one.order_id)
        return batch, len(due)

    def lags(self) -> bool:
        """Whether too many results are uncertified for a batch."""
        return len(self.uncertified) >= limits.RESULT_LAG_HEIGHTS

    def batch(self, time_ms: int, labels: Mapping[bytes, Label], due: Sequence[Forced] = ()) -> list[bytes]:
        """The order ids of the batch, in its order: forced ones first. Takes nothing away."""
        if self.stands():
            return []
        forced, _ = self.forced_batch(time_ms, due)
        forced_labels = {one.order_id: one.label for one in due if one.label is not None}
        charged = [forced_labels[order_id] for order_id in forced]
        room = limits.BATCH_ORDERS_MAX - len(forced)
        if self.solid is None or not room:
            return forced + self.ready(time_ms, labels, forced, charged, limits.BATCH_LARGE_BYTES_MAX)[:room]
        ready = self.ready(time_ms, labels, forced, charged)
        settled = precedence.settled(ready, self.places, self.f, self.solid)
        taken = precedence.first_groups(settled, self.places, self.f, room)
        return forced + _light([order_id for order_id in settled if order_id in taken], labels)

    def ready(
        self,
        time_ms: int,
        labels: Mapping[bytes, Label],
        forced: Sequence[bytes] = (),
        charged: Sequence[Label] = (),
        large_bytes: int | None = None,
    ) -> list[bytes]:
        """Waiting orders but for ``forced`` ones, in the queue's order, that are valid and covered together with those
        before them and with what sponsors are ``charged`` for forced ones; of large ones as many as ``large_bytes``
        have room for, where it is given."""
        ready: list[bytes] = []
        charged_wei = dict(self.charged_wei)
        for label in charged:
            charged_wei[label.sponsor] = charged_wei.get(label.sponsor, 0) + price_wei(label)
        for order_id in sorted(set(self.queue).difference(forced), key=lambda order_id: self.queue[order_id]):
            label = labels[order_id]
            due_wei = charged_wei.get(label.sponsor, 0) + price_wei(label)
            if label.valid_from_ms <= time_ms and self.bonds_wei.get(label.sponsor, 0) >= due_wei:
                if large_bytes is not None:
                    if weight(label) > large_bytes:
                        continue
                    large_bytes -= weight(label)
                charged_wei[label.sponsor] = due_wei
                ready.append(order_id)
        return ready

    def held_back(self, order_id: bytes, time_ms: int, labels: Mapping[bytes, Label]) -> str | None:
        """What holds an order out of the batch by receive order: its place is "unsettled", or it has no room
        ("overfull"). None where another rule does."""
        ready = self.ready(time_ms, labels)
        if self.solid is None or order_id not in ready:
            return None
        settled = precedence.settled(ready, self.places, self.f, self.solid)
        return "overfull" if order_id in settled else "unsettled"

    def take(
        self, batch: Sequence[bytes], labels: Mapping[bytes, Label]
    ) -> dict[bytes, precedence.Places]:
        """Take a batch out of the queue and charge its sponsors; a forced order that was not lifted is from here on.
        Where members listed its orders (with receive order)."""
        places: dict[bytes, precedence.Places] = {}
        if self.solid is not None:
            places.update((order_id, self.places.pop(order_id, {})) for order_id in batch)
        for order_id in batch:
            if self.queue.pop(order_id, None) is None:
                self.lifted_until_ms[order_id] = labels[order_id].valid_until_ms
                if order_id in self.listings_ms:
                    self._end_listings(order_id)
            label = labels[order_id]
            self.charged_wei[label.sponsor] = self.charged_wei.get(label.sponsor, 0) + price_wei(label)
        return places


def price_wei(label: Label) -> int:
    """What a batched order costs: ORDER_CHARGE_WEI for each 256 bytes of its bucket."""
    return limits.ORDER_CHARGE_WEI * (label.size_bucket // 256)


def weight(label: Label) -> int:
    """What an order counts for among the large ones of its batch, in bytes: its bucket, the smallest one nothing."""
    return 0 if label.size_bucket <= max(limits.SIZE_BUCKETS_BYTES) else label.size_bucket


def _light(batch: Sequence[bytes], labels: Mapping[bytes, Label]) -> list[bytes]:
    """A batch without the large orders, from the front, that pass what a batch may have of them."""
    kept: list[bytes] = []
    large_bytes = 0
    for order_id in batch:
        if large_bytes + weight(labels[order_id]) <= limits.BATCH_LARGE_BYTES_MAX:
            large_bytes += weight(labels[order_id])
            kept.append(order_id)
    return kept


def _lives(listed_ms: int, time_ms: int) -> bool:
    return time_ms < listed_ms + limits.VALIDITY_MS_MAX
