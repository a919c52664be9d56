"""Key generation and resharing a second time: slow, in plain integers, from the layouts' text alone.

As in `reference`, nothing here imports `threshold`. It makes messages and results; it judges nothing. A message is a
dictionary of its fields in hex, in the order in which they are concatenated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from reference import Affine, N, add, aead_encrypt, compress, decompress, hash_to_curve, lagrange, negate, tagged
from reference import G as GENERATOR
from reference import multiply as slow_multiply

H = hash_to_curve(b"", b"MPCSEQ-V1-PEDERSEN")
NAME = "MPCSEQ/v1/dkg/"


@cache
def multiply(k: int, p: Affine) -> Affine:
    return slow_multiply(k, p)


def base(k: int) -> bytes:
    return compress(multiply(k, GENERATOR))


def u16(index: int) -> bytes:
    return index.to_bytes(2, "big")


def b32(number: int) -> bytes:
    return (number % N).to_bytes(32, "big")


def scalar(tag: str, data: bytes) -> int:
    return int.from_bytes(tagged(NAME + tag, data), "big") % N


def bip340_sign(secret: int, message: bytes, aux: bytes) -> bytes:
    public = multiply(secret, GENERATOR)
    assert public is not None
    d = secret if public[1] % 2 == 0 else N - secret
    x = public[0].to_bytes(32, "big")
    masked = bytes(a ^ b for a, b in zip(b32(d), tagged("BIP0340/aux", aux), strict=True))
    k = int.from_bytes(tagged("BIP0340/nonce", masked + x + message), "big") % N
    r = multiply(k, GENERATOR)
    assert r is not None
    k = k if r[1] % 2 == 0 else N - k
    rx = r[0].to_bytes(32, "big")
    e = int.from_bytes(tagged("BIP0340/challenge", rx + x + message), "big") % N
    return rx + b32(k + e * d)


def evaluate(polynomial: list[int], at: int) -> int:
    return sum(a * at**k for k, a in enumerate(polynomial)) % N


@dataclass
class Member:
    """One member with its seed; in a resharing a dealer has its old share."""

    session: bytes
    threshold: int
    seed: bytes
    old_share: int | None = None
    pedersen: bool = True

    def derive(self, tag: str, *parts: int) -> int:
        return scalar("seed/" + tag, self.seed + self.session + b"".join(u16(part) for part in parts))

    def nonce_seed(self, tag: str, statement: bytes = b"") -> bytes:
        return tagged(NAME + "seed/nonce/" + tag, self.seed + self.session + statement)

    def polynomials(self, dealer: int) -> list[list[int]]:
        first = [self.derive("coefficient", dealer, k) for k in range(self.threshold)]
        if not self.pedersen:
            assert self.old_share is not None
            return [[self.old_share, *first[1:]]]
        return [first, [self.derive("blinding", dealer, k) for k in range(self.threshold)]]

    def session_key(self, j: int) -> dict[str, object]:
        secret = self.derive("session-key", j)
        key = base(secret)
        statement = tagged(NAME + "key-proof", self.session + u16(j) + key)
        proof = bip340_sign(secret, statement, self.nonce_seed("key", statement))
        return {"type": "01", "key": key.hex(), "proof": proof.hex()}

    def deal(self, i: int, keys: dict[int, bytes], bent_for: int | None = None) -> dict[str, object]:
        """`bent_for`: the receiver whose values are one more than they should be."""
        polynomials = self.polynomials(i)
        commitments = []
        for k in range(self.threshold):
            point = multiply(polynomials[0][k], GENERATOR)
            if self.pedersen:
                point = add(point, multiply(polynomials[1][k], H))
            commitments.append(compress(point))
        committed = tagged(NAME + "commitments", self.session + u16(i) + b"".join(commitments))
        sealed = []
        for j, key in sorted(keys.items()):
            secret = self.derive("ephemeral", i, j)
            ephemeral = base(secret)
            shared = compress(multiply(secret, decompress(key)))
            aead_key = tagged("MPCSEQ/v1/deal", shared + ephemeral + self.session + u16(i) + u16(j))
            values = b"".join(b32(evaluate(p, j) + (j == bent_for)) for p in polynomials)
            body = aead_encrypt(aead_key, b"", values)
            statement = tagged(
                NAME + "deal-proof",
                self.session + u16(i) + u16(j) + key + ephemeral + hashlib.sha256(body).digest() + committed,
            )
            proof = bip340_sign(secret, statement, self.nonce_seed("deal", statement))
            sealed.append({"ephemeral": ephemeral.hex(), "proof": proof.hex(), "body": body.hex()})
        return {"type": "02", "commitments": [c.hex() for c in commitments], "sealed": sealed}

    def opened(self, kind: str, j: int, dealt: dict[int, tuple[bytes, bytes]]) -> dict[str, object]:
        """`dealt`: by dealer the ephemeral point and the proof of its deal to j."""
        secret = self.derive("session-key", j)
        entries = []
        for i, (ephemeral, proof) in sorted(dealt.items()):
            e = decompress(ephemeral)
            point = compress(multiply(secret, e))
            statement = tagged(
                NAME + "opened/statement", self.session + u16(i) + u16(j) + base(secret) + ephemeral + proof + point
            )
            nonce = scalar("opened/nonce", self.nonce_seed("opened") + statement)
            c = scalar("opened/challenge", statement + base(nonce) + compress(multiply(nonce, e)))
            entries.append(
                {"dealer": u16(i).hex(), "point": point.hex(), "c": b32(c).hex(), "z": b32(nonce + c * secret).hex()}
            )
        return {"type": kind, "opened": entries}

    def feldman(self, i: int, dealt: list[bytes]) -> dict[str, object]:
        polynomial, blinding = self.polynomials(i)
        commitments = [base(a) for a in polynomial]
        statement = tagged(NAME + "feldman/statement", self.session + u16(i) + b"".join(dealt) + b"".join(commitments))
        weights = [
            int.from_bytes(tagged(NAME + "feldman/weight", statement + u16(k))[:16], "big")
            for k in range(self.threshold)
        ]
        total: Affine = None
        for weight, before, after in zip(weights, dealt, commitments, strict=True):
            total = add(total, multiply(weight, add(decompress(before), negate(decompress(after)))))
        nonce = scalar("feldman/nonce", self.nonce_seed("feldman") + statement)
        c = scalar("feldman/challenge", statement + compress(total) + compress(multiply(nonce, H)))
        z = nonce + c * sum(w * b for w, b in zip(weights, blinding, strict=True))
        return {"type": "04", "commitments": [a.hex() for a in commitments], "c": b32(c).hex(), "z": b32(z).hex()}


def concatenated(field: object) -> bytes:
    """The payload: the fields' bytes in their order."""
    if isinstance(field, str):
        return bytes.fromhex(field)
    parts = field.values() if isinstance(field, dict) else field
    return b"".join(concatenated(part) for part in parts)  # type: ignore[attr-defined]


def result(
    session: bytes, threshold: int, polynomials: dict[int, list[int]], receivers: list[int], lagranged: bool
) -> tuple[bytes, bytes, dict[int, int]]:
    """(public key, hash of the result, share by receiver) of the qualified dealers' polynomials."""
    dealers = sorted(polynomials)
    factor = {i: lagrange(i, dealers) if lagranged else 1 for i in dealers}
    total = [sum(factor[i] * polynomials[i][k] for i in dealers) % N for k in range(threshold)]
    shares = {j: evaluate(total, j) for j in receivers}
    encoded = session + u16(threshold) + base(total[0]) + u16(len(receivers))
    encoded += b"".join(u16(j) + base(shares[j]) for j in receivers)
    encoded += u16(len(dealers)) + b"".join(u16(i) for i in dealers)
    return base(total[0]), tagged(NAME + "result", encoded), shares
