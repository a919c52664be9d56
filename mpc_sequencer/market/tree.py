"""The state tree: a compact sparse Merkle tree over (key, value) pairs, updated in batches.

The rule (docs/protocol-execution.md, "State root"): the empty set has the root of 32 zero bytes, a single
pair that of its leaf at whatever depth, and every other set is split by the key's bit at the current depth
(most significant first) and hashes its two halves, an empty half included. The root is thus a function of
the set alone, whatever the history. Collapsing single leaves is what makes a path about log2 N long instead
of 256 (compare Diem's Jellyfish tree).

Keys are hashes, so depth stays near log2 N; a pair of keys made to agree in d leading bits costs its maker
about 2^(d/2) hashes and everyone else d. A batch of k changes among N leaves visits each changed path once,
in O(k log N) hashes: changes are sorted and cut in two at every branch, and a node above several changes is
hashed once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from mpc_sequencer.core import domains

EMPTY_ROOT: Final = bytes(32)
KEY_BYTES: Final = 32

ACCOUNT_KIND: Final = 1
ORDER_KIND: Final = 2
MARKET_KIND: Final = 3

Change = tuple[bytes, bytes | None]  # key, leaf hash (None: remove)


def state_key(kind: int, identifier: bytes) -> bytes:
    """A leaf's key: ``identifier`` is an address (20 bytes), an order id (32 bytes) or a market id (u32)."""
    return domains.STATE_KEY(bytes((kind,)), identifier)


def state_leaf(key: bytes, value: bytes) -> bytes:
    """The hash of one pair."""
    return domains.STATE_LEAF(key, value)


class _Leaf(Struct, gc=False):  # nodes refer downwards only: the collector need not look at millions of them
    key: bytes
    hash: bytes


class _Branch(Struct, gc=False):
    left: _Node | None
    right: _Node | None
    hash: bytes


_Node = _Leaf | _Branch


def _branch(left: _Node | None, right: _Node | None) -> _Branch:
    return _Branch(
        left,
        right,
        domains.STATE_NODE(EMPTY_ROOT if left is None else left.hash, EMPTY_ROOT if right is None else right.hash),
    )


class StateTree:
    """The tree's nodes with their hashes; values are hashed in and not kept."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node | None = None

    def root(self) -> bytes:
        """The root, 32 bytes."""
        return EMPTY_ROOT if self._root is None else self._root.hash

    def prove(self, key: bytes) -> tuple[bytes, ...]:
        """The siblings of the key's leaf, the lowest first (see :func:`~mpc_sequencer.core.proofs.state_root_of`).
        Raises ``KeyError`` where the key has none."""
        siblings: list[bytes] = []
        node, depth = self._root, 0
        while isinstance(node, _Branch):
            bit = key[depth >> 3] & 0x80 >> (depth & 7)
            node, other = (node.right, node.left) if bit else (node.left, node.right)
            siblings.append(EMPTY_ROOT if other is None else other.hash)
            depth += 1
        if node is None or node.key != key:
            raise KeyError(key)
        return tuple(reversed(siblings))

    def update(self, values: Mapping[bytes, bytes | None]) -> None:
        """Set (or, where the value is None, remove) each key's value; removing an absent key changes
        nothing."""
        changes: list[Change] = [
            (key, None if value is None else state_leaf(key, value)) for key, value in sorted(values.items())
        ]
        if changes:
            self._root = _apply(self._root, changes, 0, len(changes), 0)


def _split(changes: list[Change], start: int, stop: int, depth: int) -> int:
    """Where in the sorted ``changes[start:stop]``, equal in the first ``depth`` bits, bit ``depth`` becomes
    1."""
    index, mask = depth >> 3, 0x80 >> (depth & 7)
    first = changes[start][0]
    if not changes[stop - 1][0][index] & mask:
        return stop
    if first[index] & mask:
        return start
    middle = first[:index] + bytes((first[index] & ~(mask - 1) | mask,))  # the least string with that bit
    return bisect_left(changes, (middle,), start, stop)


def _apply(node: _Node | None, changes: list[Change], start: int, stop: int, depth: int) -> _Node | None:
    """``node`` (the subtree at ``depth``) with the sorted ``changes[start:stop]``, at least one, made."""
    if stop - start == 1:
        return _apply_one(node, changes[start], depth)
    if not isinstance(node, _Branch):
        kept = [change for change in changes[start:stop] if change[1] is not None]
        if node is not None:
            place = bisect_left(changes, node.key, start, stop, key=_key_of)
            if place == stop or changes[place][0] != node.key:
                kept.insert(bisect_left(kept, node.key, key=_key_of), (node.key, node.hash))
        return _build(kept, 0, len(kept), depth)
    middle = _split(changes, start, stop, depth)
    left = node.left if middle == start else _apply(node.left, changes, start, middle, depth + 1)
    right = node.right if middle == stop else _apply(node.right, changes, middle, stop, depth + 1)
    return _join(left, right)


def _apply_one(node: _Node | None, change: Change, depth: int) -> _Node | None:
    """:func:`_apply` for a single change, where most of a batch's path lies: down to a leaf and back."""
    key, leaf_hash = change
    path: list[tuple[_Branch, int]] = []
    while isinstance(node, _Branch):
        bit = key[depth >> 3] & 0x80 >> (depth & 7)
        path.append((node, bit))
        node = node.right if bit else node.left
        depth += 1
    if node is None or node.key == key:
        made: _Node | None = None if leaf_hash is None else _Leaf(key, leaf_hash)
    elif leaf_hash is None:
        made = node
    else:
        made = _build(sorted(((node.key, node.hash), change)), 0, 2, depth)
    for branch, bit in reversed(path):
        made = _join(branch.left, made) if bit else _join(made, branch.right)
    return made


def _join(left: _Node | None, right: _Node | None) -> _Node | None:
    """The subtree over two halves: a lone leaf takes its parent's place."""
    if left is None and not isinstance(right, _Branch):
        return right
    if right is None and isinstance(left, _Leaf):
        return left
    return _branch(left, right)


def _build(leaves: list[Change], start: int, stop: int, depth: int) -> _Node | None:
    """The subtree at ``depth`` over the sorted ``leaves[start:stop]``."""
    if stop - start < 2:
        return None if start == stop else _Leaf(leaves[start][0], leaves[start][1] or EMPTY_ROOT)
    middle = _split(leaves, start, stop, depth)
    return _branch(_build(leaves, start, middle, depth + 1), _build(leaves, middle, stop, depth + 1))


def _key_of(change: Change) -> bytes:
    return change[0]
