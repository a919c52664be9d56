"""Domain separation: every hash of this library, one tag each.

`H_tag(x) = SHA256(SHA256(tag) || SHA256(tag) || x)`, the tagged hash of BIP-340. The two digests of the tag
fill one SHA-256 block exactly, so the state after them is computed once and copied, which makes a tagged
hash as cheap as a plain one.

A name is registered once per process: two uses of one tag would let a hash made for one purpose stand in for
another. A package keeps its tags in one file, so that a reader sees them all at once; these are
`threshold`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_registry: dict[str, Tag] = {}


class Tag:
    """A tagged hash. `Tag("name")(a, b)` is the 32-byte digest of `a || b` under the tag."""

    __slots__ = ("_midstate", "name")

    def __init__(self, name: str) -> None:
        if not name or not name.isascii():
            raise ValueError(f"a tag's name is non-empty ASCII, not {name!r}")
        if name in _registry:
            raise ValueError(f"tag {name!r} is registered already")
        digest = hashlib.sha256(name.encode("ascii")).digest()
        self.name = name
        self._midstate = hashlib.sha256(digest + digest)
        _registry[name] = self

    def __call__(self, *parts: bytes) -> bytes:
        """32-byte digest of the parts' concatenation; lengths are the caller's to fix or to encode."""
        state = self._midstate.copy()
        state.update(b"".join(parts))
        return state.digest()

    def __repr__(self) -> str:
        return f"Tag({self.name!r})"


REGISTERED: Final[Mapping[str, Tag]] = MappingProxyType(_registry)

KEY: Final = Tag("MPCSEQ/v1/key")
SEAL_R: Final = Tag("MPCSEQ/v1/r")
SEAL_S: Final = Tag("MPCSEQ/v1/s")
SEAL_KEM: Final = Tag("MPCSEQ/v1/kem")
SEAL_PROOF: Final = Tag("MPCSEQ/v1/tdh2")
BUNDLE_SEED: Final = Tag("MPCSEQ/v1/bundle/seed")
BUNDLE_RHO: Final = Tag("MPCSEQ/v1/bundle/rho")
BUNDLE_NONCE: Final = Tag("MPCSEQ/v1/bundle/nonce")
BUNDLE_CHALLENGE: Final = Tag("MPCSEQ/v1/bundle/challenge")
COIN: Final = Tag("MPCSEQ/v1/coin")
COIN_STATEMENT: Final = Tag("MPCSEQ/v1/coin/statement")
COIN_NONCE: Final = Tag("MPCSEQ/v1/coin/nonce")
COIN_CHALLENGE: Final = Tag("MPCSEQ/v1/coin/challenge")
DEAL_COEFFICIENT: Final = Tag("MPCSEQ/v1/deal/coefficient")
