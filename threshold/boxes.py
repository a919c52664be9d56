"""Provable boxes: bytes sealed to a key, which the key's holder can open to everybody.

A box for the holder of b, B = bG, in a context of 32 bytes that names everything it is for:

    E = kG fresh         key = H_"MPCSEQ/v1/box"(kB 33 || E 33 || B 33 || context 32)
    body                 = ChaCha20-Poly1305(key, nonce 0^12, no associated data, plaintext)
    proof                = Schnorr's (BIP-340) of knowledge of k, bound to
                           H_"MPCSEQ/v1/box/proof"(context || E || SHA256(body))
    box                  = E 33 || proof 64 || body

A receiver whose box holds something bad publishes D = bE with a proof that it is (`ecies`), and everybody opens the box
and judges it:

    statement            = H_"MPCSEQ/v1/box/opened/statement"(context || B || E || proof of E || D)
    c                    = H_"MPCSEQ/v1/box/opened/challenge"(statement || A || A')

The proof of k keeps anyone from putting another's E into a box of its own, where an honest receiver's complaint would
open the box that E was taken from. It is not bound to B, so whether a box is well formed needs no key and no state;
sealed to another key than the context's reader has, it is a bad box, and its opening shows that. The proof of E is in
the opened statement because it covers all of the box: an opening says nothing about another box of the same E.

Proofs are checked one by one: 45 us a box. Checking many at once takes a multiplication for each R and each E, 30 us
apiece, where libsecp256k1's own check of one takes 35 us: it offers no multi-exponentiation, and without one a batch is
the slower way.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from threshold import ecies, group, tags
from threshold.ecies import AEAD_TAG_BYTES
from threshold.errors import ThresholdError, UsageError, show
from threshold.group import POINT_BYTES, SCHNORR_BYTES, Point

CONTEXT_BYTES: Final = 32
NONCE_SEED_BYTES: Final = 32
BOX_OVERHEAD_BYTES: Final = POINT_BYTES + SCHNORR_BYTES + AEAD_TAG_BYTES
"""How much longer a box is than its plaintext."""

_PROOF_AT: Final = POINT_BYTES
_BODY_AT: Final = POINT_BYTES + SCHNORR_BYTES
_ENTROPY: Final = bytes(32)  # BIP-340's nonce hashes k and the statement; more entropy guards against nothing here


@dataclass(frozen=True, slots=True)
class Box:
    """A box whose proof holds in the context it was parsed for."""

    ephemeral: bytes
    proof: bytes
    body: bytes
    point: Point = field(compare=False, repr=False)

    def encode(self) -> bytes:
        """The bytes it was parsed from."""
        return self.ephemeral + self.proof + self.body


def _proof_statement(context: bytes, ephemeral: bytes, body: bytes) -> bytes:
    if len(context) != CONTEXT_BYTES:
        raise UsageError(f"a context is {CONTEXT_BYTES} bytes, not {len(context)}")
    return tags.BOX_PROOF(context, ephemeral, hashlib.sha256(body).digest())


def seal(key: bytes, plaintext: bytes, ephemeral: bytes, context: bytes) -> bytes:
    """`plaintext` sealed to B (33 bytes); BOX_OVERHEAD_BYTES longer. Constant time in k = `ephemeral` and plaintext.

    `ephemeral` is a secret scalar, used for this key, plaintext and context alone. `ThresholdError` (`point.*`) for a
    key that is no point, `UsageError` for a scalar out of [1, N-1] or a context of another length.
    """
    point = group.generator_multiply_secret(ephemeral)
    shared = group.multiply_secret(group.parse_point(key, "box.key"), ephemeral)
    body = ecies.encrypt_body(tags.BOX_KEY(shared, point, key, context), plaintext)
    statement = _proof_statement(context, point, body)
    return point + group.schnorr_prove_secret(ephemeral, statement, _ENTROPY) + body


def parse(data: bytes, context: bytes) -> Box:
    """A box in its context, the proof checked; its plaintext is BOX_OVERHEAD_BYTES shorter. Public values only.

    Raises `box.length`, a `point.*` code, or `box.proof`.
    """
    if len(data) < BOX_OVERHEAD_BYTES:
        raise ThresholdError("box.length", "box", show(data), f"at least {BOX_OVERHEAD_BYTES} bytes")
    ephemeral, proof, body = data[:_PROOF_AT], data[_PROOF_AT:_BODY_AT], data[_BODY_AT:]
    point = group.parse_point(ephemeral, "box.ephemeral")
    if not group.schnorr_verify(point, _proof_statement(context, ephemeral, body), proof):
        raise ThresholdError("box.proof", "box.proof", show(proof), "a proof for this ephemeral, body and context")
    return Box(ephemeral, proof, body, point)


def open_with_point(key: bytes, box: Box, context: bytes, point: bytes) -> bytes | None:
    """What D (33 bytes) opens a box for B to; None where that is nothing.

    Receivers and judges use this one function, so a receiver calls a box bad exactly when everybody would.
    """
    return ecies.decrypt_body(tags.BOX_KEY(point, box.ephemeral, key, context), box.body)


def open_with_secret(secret: bytes, key: bytes, box: Box, context: bytes) -> bytes | None:
    """What b = `secret` opens a box for B = `key` to; None where that is nothing. Constant time in b."""
    return open_with_point(key, box, context, group.multiply_secret(box.point, secret))


def _opened_statement(key: bytes, box: Box, context: bytes, point: bytes) -> bytes:
    return tags.BOX_OPENED_STATEMENT(context, key, box.ephemeral, box.proof, point)


def prove_opened(secret: bytes, box: Box, context: bytes, nonce_seed: bytes) -> tuple[bytes, bytes, bytes]:
    """(D, c, z): D = bE, 33 bytes, and the proof that it is. Constant time in b and in the nonce.

    The nonce hashes `nonce_seed` (secret, 32 bytes) and the statement.
    """
    if len(nonce_seed) != NONCE_SEED_BYTES:
        raise UsageError(f"a nonce's seed is {NONCE_SEED_BYTES} bytes, not {len(nonce_seed)}")
    point = group.multiply_secret(box.point, secret)
    statement = _opened_statement(group.generator_multiply_secret(secret), box, context, point)
    nonce = group.reduce_scalar(tags.BOX_OPENED_NONCE(nonce_seed, statement))
    return point, *ecies.prove_opened(secret, box.point, statement, nonce, tags.BOX_OPENED_CHALLENGE)


def verify_opened(key: bytes, box: Box, context: bytes, point: bytes, c: bytes, z: bytes) -> bool:
    """Whether (c, z) show that `point` is bE for B = `key`; False for bytes that are no points or scalars."""
    if not group.is_scalar(c) or not group.is_scalar(z):
        return False
    try:
        points = group.parse_point(key, "box.key"), box.point, group.parse_point(point, "opened.point")
        return ecies.verify_opened(
            *points, _opened_statement(key, box, context, point), c, z, tags.BOX_OPENED_CHALLENGE
        )
    except (ThresholdError, UsageError):  # no point; a challenge of zero, once in 2^256
        return False
