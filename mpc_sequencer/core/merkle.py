"""Merkle tree hash over an ordered sequence, in the shape of RFC 6962 with tagged hashes.

The left subtree holds the largest power of two of leaves smaller than the whole; one leaf is its own root; the empty
sequence has the root of 32 zero bytes. Leaves and nodes are hashed under tags of their own (see
:mod:`mpc_sequencer.core.domains`), so neither can be taken for the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from threshold.tags import Tag

EMPTY_ROOT = bytes(32)


def merkle_root(leaves: Sequence[bytes], node: Tag) -> bytes:
    """The root (32 bytes) over leaf hashes, ``node`` hashing pairs.

    Computed level by level: pairing neighbours and carrying an odd last hash up unchanged gives RFC 6962's shape.
    """
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        paired = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]


def merkle_levels(leaves: Sequence[bytes], node: Tag) -> tuple[tuple[bytes, ...], ...]:
    """All hashes of the tree, from the leaves up to the root: for many paths of one tree (:func:`path_in`)."""
    levels = [tuple(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        paired = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        levels.append((*paired, level[-1]) if len(level) % 2 else tuple(paired))
    return tuple(levels)


def path_in(levels: Sequence[Sequence[bytes]], place: int) -> tuple[bytes, ...]:
    """The siblings of the leaf at ``place``, the lowest first, in :func:`merkle_levels`. Raises ``ValueError`` where
    there is none."""
    if not 0 <= place < len(levels[0]):
        raise ValueError(f"no leaf {place} of {len(levels[0])}")
    pairs = ((level, place >> depth ^ 1) for depth, level in enumerate(levels[:-1]))
    return tuple(level[other] for level, other in pairs if other < len(level))


def merkle_path(leaves: Sequence[bytes], place: int, node: Tag) -> tuple[bytes, ...]:
    """The siblings of the leaf at ``place``, the lowest first. Raises ``ValueError`` where there is none."""
    return path_in(merkle_levels(leaves, node), place)


def root_of_path(leaf: bytes, place: int, count: int, path: Sequence[bytes], node: Tag) -> bytes:
    """The root of the sequence of ``count`` leaves in which ``path`` leads up from ``leaf`` at ``place``. Raises
    ``ValueError`` where the path has not the length that place and count give."""
    if not 0 <= place < count:
        raise ValueError(f"no leaf {place} of {count}")
    root, left = leaf, list(reversed(path))
    while count > 1:
        if place ^ 1 < count:
            if not left:
                raise ValueError(f"a path of {len(path)} hashes is too short")
            sibling = left.pop()
            root = node(sibling, root) if place & 1 else node(root, sibling)
        place, count = place >> 1, (count + 1) >> 1
    if left:
        raise ValueError(f"a path of {len(path)} hashes is too long")
    return root
