"""The rule of a block, both ways: building one from the newest usable heads, and checking one that a leader built.

Everything a block says beyond its heads must equal what :func:`mpc_sequencer.core.ordering.derive` makes of them and of
the parent's state. What a check lacks (lists, bodies, a parent) it notes in :class:`Needs`, and is done again later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.chainview import ChainView
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.forced import ForcedBook, forced_terms
from mpc_sequencer.core.keybook import KeyBook
from mpc_sequencer.core.lists import HEADS_KEPT, ListStore
from mpc_sequencer.core.merkle import merkle_root
from mpc_sequencer.core.ordering import (
    Candidate,
    Derived,
    KeyFacts,
    Missing,
    OrderFacts,
    OrderingState,
    derive,
    lower_median,
)
from mpc_sequencer.core.pool import Pool
from mpc_sequencer.core.types import BatchEntry, Block, BlockHeader, Head, OrderList


@dataclass(slots=True)
class Needs:
    """What a check found missing: the node fetches it from ``source`` first."""

    lists: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """(author, first, last, hash of the last)"""
    bodies: list[bytes] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    inputs: list[tuple[int, bytes]] = field(default_factory=list)
    """Of chain inputs: how many the queue has up to the last one that is missing, and its hash there."""

    def __bool__(self) -> bool:
        return bool(self.lists or self.bodies or self.blocks or self.inputs)


def batch_root(batch: tuple[BatchEntry, ...]) -> bytes:
    """The Merkle root over a batch's (order id, envelope hash) pairs."""
    leaves = [domains.BATCH_LEAF(entry.order_id, entry.envelope_hash) for entry in batch]
    return merkle_root(leaves, domains.BATCH_NODE)


def _base(parent: OrderingState, head: Head) -> tuple[int, bytes]:
    """The list that a checked head's new lists follow."""
    last = parent.last_list(head.node, head.incarnation)
    assert last is not None, "the head was checked"
    return last


def _check_incarnation(head: Head, lists: Iterable[tuple[OrderList, bytes]]) -> None:
    """Raise ``block.lists`` where a head names lists of another incarnation than its own: they have other numbers."""
    for one, _ in lists:
        if one.incarnation != head.incarnation:
            raise ProtocolError("block.lists", "OrderList.incarnation", one.incarnation, head.incarnation)


_Usable = dict[int, tuple[Head, bytes, list[tuple[OrderList, bytes]]]]
"""By member: a head, its struct hash, and the lists it adds to the parent's with their hashes."""


def _median_ms(usable: _Usable) -> int:
    return lower_median([head.time_ms for head, _, _ in usable.values()])


class BlockRule:
    """Builds and checks blocks over one member's pool, key messages and lists."""

    def __init__(
        self,
        committee: Committee,
        pool: Pool,
        keybook: KeyBook,
        lists: ListStore,
        bonds_wei: Mapping[bytes, int],
        view: ChainView,
    ) -> None:
        self._committee = committee
        self._pool = pool
        self._view = view
        self._forced = ForcedBook(committee)
        self._terms = forced_terms(committee)
        self._keybook = keybook
        self._lists = lists
        self._bonds_wei = bonds_wei
        self.needs = Needs()

    def _facts(self, listed_id: bytes) -> OrderFacts | KeyFacts | None:
        pooled = self._pool.get(listed_id)
        if pooled is not None:
            return pooled.order.facts
        held = self._keybook.get(listed_id)
        return KeyFacts(held.message.node, held.handover, held.place is not None) if held is not None else None

    def _derive(self, parent: OrderingState, candidate: Candidate) -> Derived | Missing:
        return derive(
            parent,
            candidate,
            faults=self._committee.f,
            quorum=self._committee.q,
            bonds_wei=self._bonds_wei,
            facts=self._facts,
            solid=self._committee.solid,
            between=self._view.between,
            forced=self._forced.judge,
            terms=self._terms,
        )

    def _lacks(self, parent: OrderingState, missing: Missing) -> None:
        """Note what a derivation found missing."""
        self.needs.bodies.extend(missing.order_ids)
        if missing.checkpoint is not None:
            lacking = self._view.lacks(parent.chain, missing.checkpoint)
            if lacking is not None:
                self.needs.inputs.append(lacking)

    def _hold_forced(self, derived: Derived) -> None:
        """Have the pool hold the forced orders of a batch: their bodies are the chain's."""
        for order_id, body in derived.forced.items():
            if order_id not in self._pool:
                self._pool.fetched(self._forced.envelope(body), derived.time_ms, order_id=order_id, needed=True)

    # --- building -----------------------------------------------------------------------------------------------
    def build(self, parent: OrderingState, view: int, since_ms: int = 0) -> tuple[Block, Derived] | None:
        """The block of ``view`` on ``parent`` from the newest usable heads; None while fewer than n-f are. Where all
        heads together would give a time before ``since_ms`` the oldest are left out, down to n-f."""
        missing: set[bytes] = set()
        dropped: set[int] = set()
        for _ in range(self._committee.n * HEADS_KEPT):  # each round turns to an older head of a member, or drops one
            usable = self._usable(parent, view, missing, dropped)
            while len(usable) > self._committee.q and _median_ms(usable) < since_ms:
                del usable[min(usable, key=lambda node: usable[node][0].time_ms)]
            if len(usable) < self._committee.q:
                return None
            candidate = self._candidate(view, usable)
            if sum(len(lists) for lists in candidate.lists) > limits.LISTS_PER_BLOCK_MAX:
                dropped.add(max(usable, key=lambda node: len(usable[node][2])))
                continue
            derived = self._derive(parent, candidate)
            if isinstance(derived, Derived):
                if self._view.contradiction(derived.state.chain.checkpoint) and derived.advances(parent):
                    return None  # nor would this member vote for another's such block
                self._hold_forced(derived)
                unheld = [order_id for order_id in derived.batch if order_id not in self._pool]
                self.needs.bodies.extend(unheld)
                return None if unheld else (self._assemble(parent, view, candidate, derived), derived)
            self._lacks(parent, derived)
            if not derived.order_ids:
                return None
            missing.update(derived.order_ids)
        return None

    def _usable(self, parent: OrderingState, view: int, missing: set[bytes], dropped: set[int]) -> _Usable:
        """Of each member not ``dropped`` the newest head whose lists are held and name nothing ``missing``."""
        found: _Usable = {}
        for node in range(self._committee.n):
            if node not in dropped and (one := self._usable_head(parent, node, view, missing)) is not None:
                found[node] = one
        return found

    def _usable_head(
        self, parent: OrderingState, node: int, view: int, missing: frozenset[bytes] | set[bytes] = frozenset()
    ) -> tuple[Head, bytes, list[tuple[OrderList, bytes]]] | None:
        for head, head_hash in self._lists.heads(node):
            last = parent.last_list(node, head.incarnation)
            if head.view not in (view - 1, view) or last is None or head.list_number < last[0]:
                continue
            if head.incarnation != parent.incarnations[node] and head.list_number:
                continue
            try:
                found = self._lists.lineage(node, last, (head.list_number, head.list_hash))
                _check_incarnation(head, found or ())
            except ProtocolError:
                continue  # the author signed two chains of lists, and the parent is on the other one, or it mixed two
            if found is not None and not any(missing.intersection(one.entries) for one, _ in found):
                return head, head_hash, found
        return None

    @staticmethod
    def _candidate(view: int, usable: _Usable) -> Candidate:
        nodes = sorted(usable)
        return Candidate(
            view=view,
            heads=tuple(usable[node][0] for node in nodes),
            lists=tuple(tuple(one for one, _ in usable[node][2]) for node in nodes),
            head_hashes=tuple(usable[node][1] for node in nodes),
            list_hashes=tuple(tuple(h for _, h in usable[node][2]) for node in nodes),
        )

    def _header(
        self, parent: OrderingState, view: int, derived: Derived, batch: tuple[BatchEntry, ...]
    ) -> BlockHeader:
        return BlockHeader(
            version=1,
            epoch=self._committee.epoch,
            height=parent.height + 1,
            view=view,
            parent_id=parent.block_id,
            time_ms=derived.time_ms,
            inputs_root=derived.inputs_root,
            batch_root=batch_root(batch),
            certified_root=domains.CERTIFIED(encode(derived.certified)),
            checkpoint=derived.state.chain.checkpoint,
        )

    def _assemble(
        self, parent: OrderingState, view: int, candidate: Candidate, derived: Derived
    ) -> Block:
        batch = []
        for order_id in derived.batch:
            pooled = self._pool.get(order_id)
            assert pooled is not None  # build() has looked
            batch.append(BatchEntry(order_id, pooled.first_variant()))
        header = self._header(parent, view, derived, tuple(batch))
        return Block(
            header=header, heads=candidate.heads, batch=tuple(batch), certified=derived.certified
        )

    # --- checking -----------------------------------------------------------------------------------------------
    def check(self, block: Block, parent: OrderingState) -> tuple[Derived, tuple[OrderList, ...]] | None:
        """What a block on ``parent`` is derived to, and the lists it adds; None (and needs) while something is missing.
        Raises ProtocolError where the block says otherwise."""
        header = block.header
        self._check_heads(block, parent)
        candidate = self._gather(block, parent)
        if candidate is None:
            return None
        derived = self._derive(parent, candidate)
        if isinstance(derived, Missing):
            self._lacks(parent, derived)
            return None
        expected_ids = derived.batch
        if tuple(entry.order_id for entry in block.batch) != expected_ids:
            raise ProtocolError(
                "block.derived", "Block.batch", f"{len(block.batch)} orders", f"{len(expected_ids)} as derived"
            )
        if block.certified != derived.certified:
            raise ProtocolError(
                "block.derived", "Block.certified", len(block.certified), f"{len(derived.certified)} as derived"
            )
        expected = self._header(parent, header.view, derived, block.batch)
        if header != expected:
            differing = [
                name
                for name in BlockHeader.__struct_fields__
                if getattr(header, name) != getattr(expected, name)
            ]
            raise ProtocolError("block.derived", f"BlockHeader.{differing[0]}", "another value", "as derived")
        self._hold_forced(derived)
        if not self._hold_variants(block):
            return None
        return derived, tuple(one for member in candidate.lists for one in member)

    def _check_heads(self, block: Block, parent: OrderingState) -> None:
        heads, view = block.heads, block.header.view
        nodes = [head.node for head in heads]
        if len(heads) < self._committee.q or any(a >= b for a, b in pairwise(nodes)):
            raise ProtocolError("block.heads", "Block.heads", nodes, f"{self._committee.q} or more, ascending")
        for head in heads:
            self._committee.check_member(head.node, "Head.node")
            if head.view not in (view - 1, view):
                raise ProtocolError("block.heads", "Head.view", head.view, f"{view - 1} or {view}")
            last = parent.last_list(head.node, head.incarnation)
            if last is None or (head.incarnation != parent.incarnations[head.node] and head.list_number):
                expected = f"{parent.incarnations[head.node]}, or the next without a list"
                raise ProtocolError("block.heads", "Head.incarnation", head.incarnation, expected)
            if head.list_number < last[0] or (head.list_number == last[0] and head.list_hash != last[1]):
                expected = f"{last[0]} and its hash, or later"
                raise ProtocolError("block.lists", "Head.list_number", head.list_number, expected)
            if all(head != held for held, _ in self._lists.heads(head.node)):
                self._committee.check_value(head)
        total = sum(head.list_number - _base(parent, head)[0] for head in heads)
        if total > limits.LISTS_PER_BLOCK_MAX:
            raise ProtocolError("block.lists", "Block.heads", total, f"{limits.LISTS_PER_BLOCK_MAX} new lists")

    def _gather(self, block: Block, parent: OrderingState) -> Candidate | None:
        """The lists a block's heads name; None (and a need) where one is missing."""
        usable: _Usable = {}
        complete = True
        for head in block.heads:
            last, through = _base(parent, head), (head.list_number, head.list_hash)
            found = self._lists.lineage(head.node, last, through)
            if found is None:
                number, list_hash = self._lists.first_missing(head.node, last[0], through)
                self.needs.lists.append((head.node, last[0] + 1, number, list_hash))
                complete = False
                continue
            _check_incarnation(head, found)
            usable[head.node] = (head, head.struct_hash(), found)
        return self._candidate(block.header.view, usable) if complete else None

    def _hold_variants(self, block: Block) -> bool:
        missing = [
            entry.envelope_hash
            for entry in block.batch
            if self._pool.variant(entry.order_id, entry.envelope_hash) is None
        ]
        self.needs.bodies.extend(missing)
        return not missing

    def lists_of(self, block: Block, parent: OrderingState) -> tuple[OrderList, ...]:
        """The lists that a block of this member's own making adds."""
        lists: list[OrderList] = []
        for head in block.heads:
            found = self._lists.lineage(head.node, _base(parent, head), (head.list_number, head.list_hash))
            lists.extend(one for one, _ in found or ())
        return tuple(lists)
