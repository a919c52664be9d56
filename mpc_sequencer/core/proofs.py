"""Merkle proofs of the execution's results, for whoever trusts a certified state root or fills root and nobody else.

Pure: values in, a root out, to be compared with the certified one. The trees are those of docs/protocol-execution.md,
"State root" and "Fills and result": a compact sparse Merkle tree over (key, value) pairs, whose paths have one sibling
per bit of the key up to the depth at which its leaf stands alone; and RFC 6962's tree over the fills of a height.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc_sequencer.core import domains
from mpc_sequencer.core.merkle import root_of_path

KEY_BITS = 256


@dataclass(frozen=True, slots=True)
class StateProof:
    """A value of the state and the siblings on its way up to the root, the lowest first (at most 256)."""

    value: bytes
    siblings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FillProof:
    """The encoding of a fill, its place among the ``count`` fills of its height, and its path."""

    value: bytes
    place: int
    count: int
    path: tuple[bytes, ...]


def state_root_of(kind: int, identifier: bytes, proof: StateProof) -> bytes:
    """The root of the state in which ``proof`` shows its value under ``kind`` (1 account, 2 order, 3 market) and
    ``identifier`` (address, order id, market id as u32). Raises ``ValueError`` for more siblings than a key has
    bits."""
    if len(proof.siblings) > KEY_BITS:
        raise ValueError(f"{len(proof.siblings)} siblings, expected at most {KEY_BITS}")
    key = domains.STATE_KEY(bytes((kind,)), identifier)
    root = domains.STATE_LEAF(key, proof.value)
    for depth, sibling in zip(range(len(proof.siblings) - 1, -1, -1), proof.siblings, strict=True):
        on_right = key[depth >> 3] & 0x80 >> (depth & 7)
        root = domains.STATE_NODE(sibling, root) if on_right else domains.STATE_NODE(root, sibling)
    return root


def fills_root_of(proof: FillProof) -> bytes:
    """The fills root under which ``proof`` shows its fill. Raises ``ValueError`` where place, count and path do not
    agree."""
    return root_of_path(domains.FILL_LEAF(proof.value), proof.place, proof.count, proof.path, domains.FILL_NODE)
