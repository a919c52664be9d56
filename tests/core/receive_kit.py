"""A history of blocks with receive order, derived twice: by the node's rule and by the auditor's, which must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mpc_sequencer.audit.ordering import Ordering, inputs_root, key_message_order
from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering import (
    Candidate,
    Derived,
    KeyFacts,
    OrderFacts,
    OrderingState,
    Positions,
    derive,
    genesis_state,
)
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Checkpoint, Head, OrderList
from threshold import Label

START_MS = 1_000_000
SPONSOR = b"\x0a" * 20
RICH_WEI = 10**6 * limits.ORDER_CHARGE_WEI
CHECKPOINT = Checkpoint(1, ZERO_HASH, 0, ZERO_HASH)


def oid(name: str) -> bytes:
    return name.encode().ljust(32, b".")


def positions(*chains: Sequence[str]) -> dict[bytes, Positions]:
    """Positions where member i has listed the orders named by the i-th text, in one list."""
    found: dict[bytes, list[tuple[int, int, int]]] = {}
    for node, names in enumerate(chains):
        for index, name in enumerate(names):
            found.setdefault(oid(name), []).append((node, 1, index))
    return {order_id: tuple(places) for order_id, places in found.items()}


def names(order_ids: Sequence[bytes]) -> str:
    return "".join(order_id.decode().rstrip(".") for order_id in order_ids)


@dataclass
class History:
    """Blocks of ``n`` members; ``facts`` has the orders that are not as usual, ``key_ids`` ids of key messages,
    ``dark_ids`` those of them that are words of dark markets."""

    n: int = 5
    facts: Mapping[bytes, OrderFacts] = field(default_factory=dict)
    bonds_wei: Mapping[bytes, int] = field(default_factory=lambda: {SPONSOR: RICH_WEI})
    by_receipt: bool = True
    key_ids: frozenset[bytes] = frozenset()
    dark_ids: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        self.f = (self.n - 1) // 4
        self.solid = self.n - 2 * self.f
        self.state: OrderingState = genesis_state(ZERO_HASH, START_MS, self.n)
        self.auditor = Ordering(self.f, self.n - self.f, self.bonds_wei, solid=self.solid if self.by_receipt else None)
        self.blocks: list[Derived] = []

    def fact(self, order_id: bytes) -> OrderFacts:
        return self.facts.get(order_id) or OrderFacts(START_MS, START_MS + 60_000, SPONSOR, 256)

    def block(self, *lists: Sequence[bytes], after_ms: int = 10, leave_out: Sequence[int] = ()) -> Derived:
        """The next block, with one new list of each member (none where empty), of all members but ``leave_out``."""
        heads, made = [], []
        now_ms = self.state.time_ms + after_ms
        for node in (i for i in range(self.n) if i not in leave_out):
            number, last_hash = self.state.last_lists[node]
            mine: tuple[OrderList, ...] = ()
            if node < len(lists) and lists[node]:
                one = OrderList(0, 0, node, number + 1, last_hash, tuple(lists[node]), NO_SIGNATURE)
                mine, number, last_hash = (one,), number + 1, one.struct_hash()
            made.append(mine)
            view = self.state.view + 1
            heads.append(Head(0, 0, node, view, now_ms, number, last_hash, (), CHECKPOINT, 0, NO_SIGNATURE))
        candidate = Candidate(
            view=self.state.view + 1,
            heads=tuple(heads),
            lists=tuple(made),
            head_hashes=tuple(head.struct_hash() for head in heads),
            list_hashes=tuple(tuple(one.struct_hash() for one in mine) for mine in made),
        )
        derived = derive(
            self.state,
            candidate,
            faults=self.f,
            quorum=self.n - self.f,
            bonds_wei=self.bonds_wei,
            facts=lambda one: KeyFacts(dark=one in self.dark_ids) if one in self.key_ids else self.fact(one),
            solid=self.solid if self.by_receipt else None,
        )
        assert isinstance(derived, Derived)
        self._audit(derived, heads, [one for mine in made for one in mine])
        self.state = replace(derived.state, block_id=bytes(31) + b"\x01", counting=())
        self.blocks.append(derived)
        return derived

    def _audit(self, derived: Derived, heads: list[Head], lists: list[OrderList]) -> None:
        """The auditor's block is the same one."""
        height, now_ms = derived.state.height, derived.time_ms
        ids = {order_id for one in lists for order_id in one.entries} | self.auditor.queue.keys()
        labels = {order_id: self._label(order_id) for order_id in ids - self.key_ids}
        root = inputs_root(heads, lists)
        assert root == derived.inputs_root
        lifted = self.auditor.list_orders(height, now_ms, root, lists, labels, self.key_ids)
        assert tuple(lifted) == derived.lifted
        assert tuple(key_message_order(root, [one for one in lifted if one in self.key_ids])) == derived.key_messages
        self.auditor.expire(height, now_ms, labels)
        batch = self.auditor.batch(now_ms, labels)
        assert tuple(batch) == derived.batch
        words = [(0, b"") for one in derived.key_messages if one in self.dark_ids]
        assert derived.counts == bool(batch or self.auditor.speaks(words))
        places = self.auditor.take(batch, labels)
        self.auditor.uncertified.clear()
        assert {one: wei for one, wei in self.auditor.charged_wei.items() if wei} == dict(derived.state.charged_wei)
        told = {i: {node: (0, serial, at) for node, serial, at in p} for i, p in derived.positions.items()}
        assert places == told
        waiting = {one.order_id for one in derived.state.queue}
        assert waiting == self.auditor.queue.keys()
        self.auditor._forget_dead(now_ms)
        kept = {i: {n: (0, s, at) for n, s, at in p} for i, p in derived.state.positions.items()}
        assert kept == {i: p for i, p in self.auditor.places.items()}

    def _label(self, order_id: bytes) -> Label:
        fact = self.fact(order_id)
        window = (fact.valid_from_ms, fact.valid_until_ms)
        return Label(1, b"\x01" * 20, b"\x02" * 32, fact.sponsor, *window, fact.size_bytes)

    def batches(self) -> list[tuple[bytes, ...]]:
        return [derived.batch for derived in self.blocks]
