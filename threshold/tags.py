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
DKG_SEED_SESSION_KEY: Final = Tag("MPCSEQ/v1/dkg/seed/session-key")
DKG_SEED_COEFFICIENT: Final = Tag("MPCSEQ/v1/dkg/seed/coefficient")
DKG_SEED_BLINDING: Final = Tag("MPCSEQ/v1/dkg/seed/blinding")
DKG_SEED_EPHEMERAL: Final = Tag("MPCSEQ/v1/dkg/seed/ephemeral")
DKG_SEED_NONCE_KEY: Final = Tag("MPCSEQ/v1/dkg/seed/nonce/key")
DKG_SEED_NONCE_DEAL: Final = Tag("MPCSEQ/v1/dkg/seed/nonce/deal")
DKG_SEED_NONCE_OPENED: Final = Tag("MPCSEQ/v1/dkg/seed/nonce/opened")
DKG_SEED_NONCE_FELDMAN: Final = Tag("MPCSEQ/v1/dkg/seed/nonce/feldman")
DKG_DEAL_KEY: Final = Tag("MPCSEQ/v1/deal")
DKG_KEY_PROOF: Final = Tag("MPCSEQ/v1/dkg/key-proof")
DKG_COMMITMENTS: Final = Tag("MPCSEQ/v1/dkg/commitments")
DKG_DEAL_PROOF: Final = Tag("MPCSEQ/v1/dkg/deal-proof")
DKG_OPENED_STATEMENT: Final = Tag("MPCSEQ/v1/dkg/opened/statement")
DKG_OPENED_NONCE: Final = Tag("MPCSEQ/v1/dkg/opened/nonce")
DKG_OPENED_CHALLENGE: Final = Tag("MPCSEQ/v1/dkg/opened/challenge")
DKG_FELDMAN_STATEMENT: Final = Tag("MPCSEQ/v1/dkg/feldman/statement")
DKG_FELDMAN_WEIGHT: Final = Tag("MPCSEQ/v1/dkg/feldman/weight")
DKG_FELDMAN_NONCE: Final = Tag("MPCSEQ/v1/dkg/feldman/nonce")
DKG_FELDMAN_CHALLENGE: Final = Tag("MPCSEQ/v1/dkg/feldman/challenge")
DKG_RESULT: Final = Tag("MPCSEQ/v1/dkg/result")
BOX_KEY: Final = Tag("MPCSEQ/v1/box")
BOX_PROOF: Final = Tag("MPCSEQ/v1/box/proof")
BOX_OPENED_STATEMENT: Final = Tag("MPCSEQ/v1/box/opened/statement")
BOX_OPENED_NONCE: Final = Tag("MPCSEQ/v1/box/opened/nonce")
BOX_OPENED_CHALLENGE: Final = Tag("MPCSEQ/v1/box/opened/challenge")
