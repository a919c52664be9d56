"""Sealing to a key whose opening can be proven: what `boxes` and `dkg.deals` have in common.

ECIES with E = kG: the body is under a key hashed from kB, which the holder of b finds as bE and may publish as the
opened point D. That D is the right one is shown by a Chaum-Pedersen proof (CRYPTO '92) of log_G B = log_E D, in the
compact form (c, z) with A = zG - cB and A' = zE - cD:

    c = H_challenge(statement || A || A')

The statement, 32 bytes, is the caller's and hashes B, E and D. Who opens must be sure that the sealer knew k, or the
point that D is a multiple of would be a stranger's choice: both callers have a proof of it beside E.

Everything on secret scalars runs in libsecp256k1's constant-time functions (`group.*_secret`).
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt as _aead_decrypt,
)
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_encrypt as _aead_encrypt,
)
from nacl.exceptions import CryptoError

from threshold import group
from threshold.group import Point
from threshold.tags import Tag

AEAD_TAG_BYTES: Final = 16
_NONCE: Final = bytes(12)  # one key, one message: E is fresh


def encrypt_body(key: bytes, plaintext: bytes) -> bytes:
    """ChaCha20-Poly1305 under a key that is used for nothing else: AEAD_TAG_BYTES longer than the plaintext."""
    return _aead_encrypt(plaintext, None, _NONCE, key)


def decrypt_body(key: bytes, body: bytes) -> bytes | None:
    """The plaintext, or None where the key does not open the body."""
    try:
        return _aead_decrypt(body, None, _NONCE, key)
    except CryptoError:
        return None


def prove_opened(
    secret: bytes, ephemeral: Point, statement: bytes, nonce: bytes, challenge: Tag
) -> tuple[bytes, bytes]:
    """(c, z) for D = secret * E. The nonce is secret and used for this statement alone. Constant time in both."""
    commitments = group.generator_multiply_secret(nonce), group.multiply_secret(ephemeral, nonce)
    c = group.reduce_scalar(challenge(statement, *commitments))
    return c, group.scalar_multiply_add_secret(secret, c, nonce)


def verify_opened(
    key: Point, ephemeral: Point, opened: Point, statement: bytes, c: bytes, z: bytes, challenge: Tag
) -> bool:
    """Whether (c, z), two scalars in [1, N-1], show that the opened point is bE for the key B. Public values only.

    `UsageError` where a challenge is zero mod N, once in 2^256.
    """
    minus_c = group.negate_scalar(c)
    a = group.generator_table().multiply_add(z, group.multiply(key, minus_c))
    a2 = group.add([group.multiply(ephemeral, z), group.multiply(opened, minus_c)])
    if a is None or a2 is None:
        return False
    return group.reduce_scalar(challenge(statement, group.encode_point(a), group.encode_point(a2))) == c
