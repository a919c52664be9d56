"""Lists and heads: a member's own, and what it holds of the others'.

:class:`OwnLists` fills the open list and cuts it; a receipt names the open list's number, so the order is in exactly
that list. :class:`ListStore` keeps every member's chained lists that are not in a final block yet, and the newest
heads. What an attacker tries: two lists of one number (the second is refused, ``list.equivocation``, unless a block
names it: members that saw different ones must still be able to check the same block), gaps (kept aside, bounded,
fetched), lists without end, a list that names an order twice, heads that go backwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.offences import ListEquivocation, Offence
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Head, OrderList, with_signature

HEADS_KEPT: Final = 8
LISTS_AHEAD_MAX: Final = 2 * limits.LISTS_PER_MEMBER_MAX
"""How far a member's lists may be ahead of the blocks kept here."""


class OwnLists:
    """The open list of this member and its chain of cut ones."""

    def __init__(self, committee: Committee, node: int, signer: Signer) -> None:
        self._committee = committee
        self._node = node
        self._signer = signer
        self._open: list[bytes] = []
        self._last_cut_ms = 0
        self._interval_ms = limits.LIST_INTERVAL_MS_MIN
        self.incarnation = 0
        self.number = 0
        self.hash = ZERO_HASH

    def begin(self, incarnation: int) -> None:
        """Start numbering again: the lists before are lost, and what was open with them."""
        self.incarnation, self.number, self.hash = incarnation, 0, ZERO_HASH
        self._open.clear()

    def add(self, order_id: bytes) -> int:
        """Put an order into the open list; the number that list will have."""
        self._open.append(order_id)
        return self.number + 1

    def recall(self, order_list: OrderList) -> bytes:
        """An own list out of the journal: its hash. What it names is no longer open."""
        listed = set(order_list.entries)
        self._open = [order_id for order_id in self._open if order_id not in listed]
        self.number, self.hash = order_list.number, order_list.struct_hash()
        return self.hash

    @property
    def open_ids(self) -> tuple[bytes, ...]:
        """What the open list holds, in receive order."""
        return tuple(self._open)

    @property
    def full(self) -> bool:
        return len(self._open) >= limits.LIST_ENTRIES_MAX

    def due_ms(self) -> int | None:
        """When the open list must be cut: LIST_INTERVAL_MS_MIN after the last cut, LIST_INTERVAL_LOADED_MS after one of
        many entries; None while it is empty."""
        return self._last_cut_ms + self._interval_ms if self._open else None

    def cut(self, now_ms: int) -> tuple[OrderList, bytes] | None:
        """Sign the open list and start the next; the list and its hash, or None where it is empty."""
        self._last_cut_ms = now_ms
        loaded = len(self._open) >= limits.LIST_LOADED_ENTRIES
        self._interval_ms = limits.LIST_INTERVAL_LOADED_MS if loaded else limits.LIST_INTERVAL_MS_MIN
        if not self._open:
            return None
        unsigned = OrderList(
            epoch=self._committee.epoch,
            incarnation=self.incarnation,
            node=self._node,
            number=self.number + 1,
            prev_hash=self.hash,
            entries=tuple(self._open),
            signature=NO_SIGNATURE,
        )
        list_hash = unsigned.struct_hash()
        signature = self._signer.sign_digest(self._committee.digest(list_hash))
        self._open = []
        self.number += 1
        self.hash = list_hash
        return with_signature(unsigned, signature), list_hash


@dataclass(slots=True)
class _Author:
    """What is held of one member."""

    lists: dict[int, tuple[OrderList, bytes]] = field(default_factory=dict)
    incarnation: int = 0
    number: int = 0
    """Highest number up to which lists are held without a gap (or were in final blocks)."""
    hash: bytes = ZERO_HASH
    orphans: dict[int, OrderList] = field(default_factory=dict)
    coming: list[tuple[OrderList, bytes]] = field(default_factory=list)
    """Own lists out of the journal, of an incarnation that no final block known here has started yet."""
    heads: deque[tuple[Head, bytes]] = field(default_factory=lambda: deque(maxlen=HEADS_KEPT))
    final_number: int = 0
    included_number: int = 0
    """Highest number that a kept block includes."""
    variants: dict[bytes, OrderList] = field(default_factory=dict)
    """Lists off that chain which blocks name, by hash."""
    wanted: set[bytes] = field(default_factory=set)
    """Hashes of such lists that are awaited."""


class ListStore:
    """Lists and heads of all members, the own ones included."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._authors = [_Author() for _ in range(committee.n)]
        self.taken = 0
        """Lists of others taken in so far."""
        self.offences: list[Offence] = []
        """Offences found in lists that are kept; the node takes them."""

    def restore(self, last_lists: Sequence[tuple[int, bytes]], incarnations: Sequence[int]) -> None:
        """Start from a final block: each member's last included list (number, hash) and its incarnation."""
        rows = zip(self._authors, last_lists, incarnations, strict=True)
        for author, (number, list_hash), incarnation in rows:
            author.incarnation = incarnation
            author.number = author.final_number = author.included_number = number
            author.hash = list_hash

    # --- lists --------------------------------------------------------------------------------------------------
    def add_own(self, order_list: OrderList, list_hash: bytes) -> None:
        """Keep an own list. In a recovery the journal may be ahead of the final blocks: nobody else may hold the lists
        of a new life, so they wait until its start is final here too."""
        author = self._authors[order_list.node]
        if order_list.incarnation > author.incarnation:
            author.coming.append((order_list, list_hash))
        else:
            self._append(author, order_list, list_hash)

    def add(self, order_list: OrderList) -> list[OrderList]:
        """Take in a member's list: those that now continue its chain, in order. Raises ProtocolError."""
        self._committee.check_member(order_list.node, "OrderList.node")
        author = self._authors[order_list.node]
        number = order_list.number
        if author.wanted:
            list_hash = order_list.struct_hash()
            if list_hash in author.wanted:
                self._committee.check_value(order_list)
                return self._add_wanted(author, order_list, list_hash)
        if order_list.incarnation != author.incarnation:
            return []  # of an earlier life of its author, or of one that is not final here yet
        held = author.lists.get(number)
        if held is not None:
            if held[0].entries != order_list.entries or held[0].prev_hash != order_list.prev_hash:
                raise self._equivocation(held[0], order_list)
            return []
        orphan = author.orphans.get(number)
        if orphan is not None and (orphan.entries, orphan.prev_hash) != (order_list.entries, order_list.prev_hash):
            raise self._equivocation(orphan, order_list)
        if number <= author.number or orphan is not None:
            return []
        highest = min(author.number + limits.ORPHAN_LISTS_MAX, author.included_number + LISTS_AHEAD_MAX)
        if number > highest or number < 1:
            raise ProtocolError("list.number", "OrderList.number", number, f"at most {highest}")
        if len(set(order_list.entries)) != len(order_list.entries):
            raise ProtocolError("list.duplicate", "OrderList.entries", "an id twice", "distinct ids")
        if number == author.number + 1 and order_list.prev_hash != author.hash:
            raise ProtocolError("list.chain", "OrderList.prev_hash", order_list.prev_hash, author.hash.hex())
        self._committee.check_value(order_list)
        author.orphans[number] = order_list
        self.taken += 1
        return self._adopt(author)

    def recall(self, order_list: OrderList) -> None:
        """Another member's list out of the journal: kept by its hash, for the block that names it."""
        author = self._authors[order_list.node]
        list_hash = order_list.struct_hash()
        held = author.lists.get(order_list.number)
        if order_list.number > author.final_number and (held is None or held[1] != list_hash):
            author.variants[list_hash] = order_list
            self._adopt(author)

    def wants(self, order_list: OrderList) -> bool:
        """Whether a block names exactly this list and it is missing."""
        wanted = self._authors[order_list.node].wanted
        return bool(wanted) and order_list.struct_hash() in wanted

    def follows(self, order_list: OrderList) -> bool:
        """Whether a list is of the incarnation that its author's final lists are of."""
        return order_list.incarnation == self._authors[order_list.node].incarnation

    def _equivocation(self, held: OrderList, second: OrderList) -> ProtocolError:
        """The refusal of a second list of one number; raises where its author did not sign it."""
        self._committee.check_value(second)
        offence = ListEquivocation(held, second)
        return ProtocolError(
            "list.equivocation", "OrderList.number", second.number, "one list of a number", offence=offence
        )

    def _add_wanted(self, author: _Author, order_list: OrderList, list_hash: bytes) -> list[OrderList]:
        """Keep a list that a block names though it may not continue the chain held; its predecessor is wanted next."""
        author.wanted.discard(list_hash)
        author.variants[list_hash] = order_list
        self.taken += 1
        held = author.lists.get(order_list.number)
        if held is not None and held[1] != list_hash and held[0].incarnation == order_list.incarnation:
            self.offences.append(ListEquivocation(held[0], order_list))
        before = author.lists.get(order_list.number - 1)
        known = order_list.prev_hash in author.variants or (before is not None and before[1] == order_list.prev_hash)
        first = author.final_number + 1 if order_list.incarnation == author.incarnation else 1
        if not known and order_list.number > first:
            author.wanted.add(order_list.prev_hash)
        return self._adopt(author)

    @staticmethod
    def _following(author: _Author) -> OrderList | None:
        following = author.orphans.pop(author.number + 1, None)
        if following is not None and following.prev_hash == author.hash:
            return following
        for one in author.variants.values():
            place = (one.incarnation, one.number, one.prev_hash)
            if place == (author.incarnation, author.number + 1, author.hash):
                return one
        return None

    def _adopt(self, author: _Author) -> list[OrderList]:
        adopted: list[OrderList] = []
        while (following := self._following(author)) is not None:
            self._append(author, following, following.struct_hash())
            adopted.append(following)
        return adopted

    @staticmethod
    def _append(author: _Author, order_list: OrderList, list_hash: bytes) -> None:
        author.lists[order_list.number] = (order_list, list_hash)
        author.number = order_list.number
        author.hash = list_hash

    def gap(self, node: int, up_to: int) -> tuple[int, int] | None:
        """First and last missing list number of a member up to ``up_to``; None where none is missing."""
        author = self._authors[node]
        if author.number >= up_to:
            return None
        last = min([number - 1 for number in author.orphans if number > author.number + 1] + [up_to])
        return author.number + 1, last

    def between(self, node: int, after: int, through: int) -> list[tuple[OrderList, bytes]] | None:
        """A member's lists ``after+1 .. through`` with hashes; None where one is missing."""
        lists = self._authors[node].lists
        found = []
        for number in range(after + 1, through + 1):
            held = lists.get(number)
            if held is None:
                return None
            found.append(held)
        return found

    def lineage(
        self, node: int, after: tuple[int, bytes], through: tuple[int, bytes]
    ) -> list[tuple[OrderList, bytes]] | None:
        """A member's lists from the one after ``after`` (number, hash) to ``through``, chained by hash; None where one
        is missing, which is then awaited by its hash. Raises ProtocolError where the chain does not lead there."""
        author = self._authors[node]
        found: list[tuple[OrderList, bytes]] = []
        number, cursor = through
        while number > after[0]:
            held = author.lists.get(number)
            if held is None or held[1] != cursor:
                variant = author.variants.get(cursor)
                if variant is None or variant.number != number:
                    return None
                held = (variant, cursor)
            found.append(held)
            number, cursor = number - 1, held[0].prev_hash
        if cursor != after[1]:
            raise ProtocolError("block.lists", "Head.list_hash", cursor, after[1].hex())
        found.reverse()
        return found

    def first_missing(self, node: int, after: int, through: tuple[int, bytes]) -> tuple[int, bytes]:
        """The first list (number, hash) on the way down from ``through`` that is not held; it is awaited from now."""
        author = self._authors[node]
        number, cursor = through
        while number > after:
            held = author.lists.get(number)
            if held is not None and held[1] == cursor:
                cursor = held[0].prev_hash
            elif cursor in author.variants:
                cursor = author.variants[cursor].prev_hash
            else:
                break
            number -= 1
        author.wanted.add(cursor)
        return number, cursor

    def by_hash(self, node: int, number: int, list_hash: bytes) -> OrderList | None:
        """A member's list of that number and hash, where held."""
        author = self._authors[node]
        held = author.lists.get(number)
        if held is not None and held[1] == list_hash:
            return held[0]
        variant = author.variants.get(list_hash)
        return variant if variant is not None and variant.number == number else None

    def held_through(self, node: int) -> tuple[int, bytes]:
        author = self._authors[node]
        return author.number, author.hash

    def unfinal(self, node: int) -> int:
        """Lists of a member outside final blocks."""
        author = self._authors[node]
        return author.number - author.final_number

    def included(self, node: int, incarnation: int, number: int) -> None:
        """A kept block includes the member's lists up to ``number``."""
        author = self._authors[node]
        if incarnation == author.incarnation:
            author.included_number = max(author.included_number, number)

    def finalized(self, node: int, incarnation: int, number: int, list_hash: bytes) -> None:
        """A final block includes the member's lists up to ``number``: the chain held follows it from now on, and
        lists some way behind are forgotten."""
        author = self._authors[node]
        if incarnation > author.incarnation:
            self._begin(author, incarnation)
        if number <= author.final_number:
            return
        held = author.lists.get(number)
        if held is None or held[1] != list_hash:
            self._switch(author, number, list_hash)
        author.wanted.clear()
        author.variants = {h: one for h, one in author.variants.items() if one.number > number}
        keep_from = number - limits.LISTS_PER_MEMBER_MAX
        for old in range(author.final_number - limits.LISTS_PER_MEMBER_MAX, keep_from + 1):
            author.lists.pop(old, None)
        author.final_number = max(author.final_number, number)

    def _begin(self, author: _Author, incarnation: int) -> None:
        """A final block starts the member's next incarnation: its lists before are over."""
        author.incarnation = incarnation
        author.lists.clear()
        author.orphans.clear()
        author.number = author.final_number = author.included_number = 0
        author.hash = ZERO_HASH
        coming, author.coming = author.coming, []
        for order_list, list_hash in coming:
            if (order_list.incarnation, order_list.prev_hash) == (incarnation, author.hash):
                self._append(author, order_list, list_hash)
        self._adopt(author)

    def _switch(self, author: _Author, number: int, list_hash: bytes) -> None:
        """Replace the chain held by the one that ends in ``list_hash``: the author signed two, this one is final."""
        at, cursor = number, list_hash
        while at > 0 and (cursor in author.variants) and author.variants[cursor].number == at:
            author.lists[at] = (author.variants[cursor], cursor)
            at, cursor = at - 1, author.variants[cursor].prev_hash
        for later in [held for held in author.lists if held > number]:
            del author.lists[later]
        author.orphans.clear()
        author.number, author.hash = number, list_hash
        self._adopt(author)

    # --- heads --------------------------------------------------------------------------------------------------
    def add_head(self, head: Head, head_hash: bytes) -> None:
        self._authors[head.node].heads.append((head, head_hash))

    def accept_head(self, head: Head) -> bool:
        """Take in a peer's head; False where it is no newer than one held. Raises ProtocolError."""
        self._committee.check_member(head.node, "Head.node")
        heads = self._authors[head.node].heads
        if heads:
            last = heads[-1][0]
            if head == last:
                return False
            if (head.view, head.list_number, head.time_ms) < (last.view, last.list_number, last.time_ms):
                return False
        heads.append((head, self._committee.check_value(head)))
        return True

    def heads(self, node: int) -> list[tuple[Head, bytes]]:
        """A member's newest heads, newest first, with their struct hashes."""
        return list(reversed(self._authors[node].heads))
