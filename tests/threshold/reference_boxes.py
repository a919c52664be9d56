"""Provable boxes a second time: plain integers, from the layout's text alone. Imports nothing of `threshold`."""

from __future__ import annotations

import hashlib

from reference import Affine, N, add, aead_encrypt, compress, decompress, negate, tagged
from reference import G as GENERATOR
from reference import multiply as slow_multiply
from reference_dkg import b32, base, bip340_sign

NAME = "MPCSEQ/v1/box"


def multiply(k: int, p: Affine) -> bytes:
    return compress(slow_multiply(k, p))


def proof_statement(context: bytes, ephemeral: bytes, body: bytes) -> bytes:
    return tagged(NAME + "/proof", context + ephemeral + hashlib.sha256(body).digest())


def seal(key: bytes, plaintext: bytes, k: int, context: bytes) -> bytes:
    ephemeral = base(k)
    aead_key = tagged(NAME, multiply(k, decompress(key)) + ephemeral + key + context)
    body = aead_encrypt(aead_key, b"", plaintext)
    return ephemeral + bip340_sign(k, proof_statement(context, ephemeral, body), bytes(32)) + body


def opened_statement(key: bytes, box: bytes, context: bytes, point: bytes) -> bytes:
    return tagged(NAME + "/opened/statement", context + key + box[:33] + box[33:97] + point)


def challenge(statement: bytes, a: bytes, a2: bytes) -> int:
    return int.from_bytes(tagged(NAME + "/opened/challenge", statement + a + a2), "big") % N


def prove_opened(
    b: int, box: bytes, context: bytes, nonce_seed: bytes, point: bytes = b""
) -> tuple[bytes, bytes, bytes]:
    """`point`: another one than D, "proven" all the same."""
    ephemeral = decompress(box[:33])
    point = point or multiply(b, ephemeral)
    statement = opened_statement(base(b), box, context, point)
    nonce = int.from_bytes(tagged(NAME + "/opened/nonce", nonce_seed + statement), "big") % N
    c = challenge(statement, base(nonce), multiply(nonce, ephemeral))
    return point, b32(c), b32(nonce + c * b)


def verify_opened(key: bytes, box: bytes, context: bytes, point: bytes, c: bytes, z: bytes) -> bool:
    cc, zz = int.from_bytes(c, "big"), int.from_bytes(z, "big")

    def left(of: Affine, image: Affine) -> Affine:
        return add(slow_multiply(zz, of), negate(slow_multiply(cc, image)))

    a, a2 = left(GENERATOR, decompress(key)), left(decompress(box[:33]), decompress(point))
    if a is None or a2 is None:
        return False
    return challenge(opened_statement(key, box, context, point), compress(a), compress(a2)) == cc
