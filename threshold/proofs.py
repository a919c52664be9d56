"""Batch proof that all shares of a bundle were made with the member's one key.

For shares S_j = x_i u_j the member proves a single equality of discrete logarithms (Chaum and Pedersen,
"Wallet databases with observers", CRYPTO '92) between Y_i = x_i G and S = x_i U, where U and S are random
combinations of all u_j and S_j with 128-bit weights (the small exponents test of Bellare, Garay and Rabin,
EUROCRYPT '98). A wrong share survives with probability 2^-128. The weights hash everything they combine, so
they are fixed only once it is.

    seed  = H_"MPCSEQ/v1/bundle/seed"(key_id 32 || epoch u64 || block_id 32 || i u16 || Y_i 33 || k u32
                                      || u_1 33 .. u_k 33 || S_1 33 .. S_k 33)
    rho_j = the first 16 bytes of H_"MPCSEQ/v1/bundle/rho"(seed || j u32),  j = 1..k
    U = sum rho_j u_j      S = sum rho_j S_j
    a = H_"MPCSEQ/v1/bundle/nonce"(x_i 32 || 32 random bytes || seed) mod N      A = aG      B = aU
    c = H_"MPCSEQ/v1/bundle/challenge"(seed || U || S || A || B) mod N           z = a + c x_i mod N
    proof = A 33 || B 33 || z 32

Integers are big-endian. The verifier accepts iff zG = A + cY_i and zU = B + cS. Infinity is refused wherever
it appears, k is exact, and an empty batch has no proof. The prover computes S = x_i U by one constant-time
multiplication, and z by libsecp256k1's constant-time scalar operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from threshold import group, tags
from threshold.errors import ThresholdError, UsageError, show
from threshold.group import POINT_BYTES, SCALAR_BYTES, Point
from threshold.secret_share import INDEX_MAX, SecretShare
from threshold.shamir import parse_share

PROOF_BYTES: Final = 2 * POINT_BYTES + SCALAR_BYTES
BUNDLE_SHARES_MAX: Final = 2**16
ENTROPY_BYTES: Final = 32
_RHO_BYTES: Final = 16
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class BundleContext:
    """What a bundle's proof is bound to: key_id and block_id (32 bytes each), epoch (u64), the member's
    index."""

    key_id: bytes
    epoch: int
    block_id: bytes
    index: int

    def __post_init__(self) -> None:
        if len(self.key_id) != _DIGEST_BYTES or len(self.block_id) != _DIGEST_BYTES:
            raise UsageError("key_id and block_id are 32 bytes each")
        if not 0 <= self.epoch < 1 << 64 or not 1 <= self.index <= INDEX_MAX:
            raise UsageError(f"epoch is u64 and index 1..{INDEX_MAX}, not {self.epoch}, {self.index}")


@dataclass(frozen=True, slots=True)
class BatchProof:
    """A proof of 98 bytes: the commitments A, B (33-byte points) and the response z (32-byte scalar)."""

    a_point: bytes
    b_point: bytes
    z: bytes

    def encode(self) -> bytes:
        """A || B || z."""
        return self.a_point + self.b_point + self.z

    @classmethod
    def decode(cls, data: bytes) -> BatchProof:
        """Strict inverse of `encode`. Raises `proof.length`, `scalar.range` or a `point.*` code."""
        if len(data) != PROOF_BYTES:
            raise ThresholdError("proof.length", "proof", show(data), f"{PROOF_BYTES} bytes")
        proof = cls(data[:POINT_BYTES], data[POINT_BYTES : 2 * POINT_BYTES], data[2 * POINT_BYTES :])
        proof._require_valid()
        return proof

    def _require_valid(self) -> None:
        group.parse_point(self.a_point, "proof.a_point")
        group.parse_point(self.b_point, "proof.b_point")
        group.require_scalar(self.z, "proof.z")


def _points(us: Sequence[bytes | Point]) -> tuple[list[bytes], list[Point]]:
    encoded: list[bytes] = []
    parsed: list[Point] = []
    for number, u in enumerate(us):
        if isinstance(u, bytes):
            encoded.append(u)
            parsed.append(group.parse_point(u, f"us[{number}]"))
        else:
            encoded.append(group.encode_point(u))
            parsed.append(u)
    return encoded, parsed


def _require_count(us: Sequence[object], shares: Sequence[bytes]) -> None:
    if not 1 <= len(us) <= BUNDLE_SHARES_MAX:
        raise ThresholdError("bundle.count", "us", str(len(us)), f"1 to {BUNDLE_SHARES_MAX}")
    if len(shares) != len(us):
        raise ThresholdError(
            "bundle.count", "shares", str(len(shares)), f"one for each of {len(us)} ciphertexts"
        )


def _seed(
    context: BundleContext, verification_key: bytes, us: Sequence[bytes], shares: Sequence[bytes]
) -> bytes:
    return tags.BUNDLE_SEED(
        context.key_id,
        context.epoch.to_bytes(8, "big"),
        context.block_id,
        context.index.to_bytes(2, "big"),
        verification_key,
        len(us).to_bytes(4, "big"),
        *us,
        *shares,
    )


def _weights(seed: bytes, count: int) -> list[bytes]:
    """rho_1 .. rho_k as 32-byte scalars."""
    pad = bytes(SCALAR_BYTES - _RHO_BYTES)
    return [pad + tags.BUNDLE_RHO(seed, j.to_bytes(4, "big"))[:_RHO_BYTES] for j in range(1, count + 1)]


def _weighted_sum(points: Sequence[Point], weights: Sequence[bytes]) -> Point:
    total = group.add([group.multiply(point, rho) for point, rho in zip(points, weights, strict=True)])
    if total is None:
        raise UsageError("a weighted sum is infinity")
    return total


def _challenge(seed: bytes, u: bytes, s: bytes, a: bytes, b: bytes) -> bytes:
    return group.reduce_scalar(tags.BUNDLE_CHALLENGE(seed, u, s, a, b))


def prove_bundle(
    secret: SecretShare,
    context: BundleContext,
    us: Sequence[bytes | Point],
    shares: Sequence[bytes],
    *,
    entropy: bytes,
) -> BatchProof:
    """Prove shares[j] = x_i us[j] for all j. `us` are u of checked ciphertexts, encoded or parsed; entropy is
    32 fresh random bytes.

    Raises `bundle.count` for an empty batch or unequal numbers, a `point.*` code for a u that is no point,
    and `UsageError` when the context is another member's or the entropy has the wrong length. The shares are
    the caller's own; a wrong one gives a proof that does not verify.
    """
    _require_count(us, shares)
    if context.index != secret.index:
        raise UsageError(f"the context is for index {context.index}, the share has index {secret.index}")
    if len(entropy) != ENTROPY_BYTES:
        raise UsageError(f"entropy is {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    encoded, parsed = _points(us)
    seed = _seed(context, secret.verification_key(), encoded, shares)
    base = _weighted_sum(parsed, _weights(seed, len(us)))
    nonce = group.reduce_scalar(tags.BUNDLE_NONCE(secret.nonce_material(), entropy, seed))
    a_point = group.generator_multiply_secret(nonce)
    b_point = group.multiply_secret(base, nonce)
    challenge = _challenge(seed, group.encode_point(base), secret.multiply(base), a_point, b_point)
    return BatchProof(a_point, b_point, secret.respond(challenge, nonce))


def verify_bundle(
    verification_key: bytes,
    context: BundleContext,
    us: Sequence[bytes | Point],
    shares: Sequence[bytes],
    proof: BatchProof,
) -> None:
    """Accept a bundle or raise: `bundle.count`, `share.encoding` (naming the member's index), `scalar.range`
    or a `point.*` code for a malformed part, `bundle.proof` when the proof does not hold for these shares and
    context.
    """
    _require_count(us, shares)
    proof._require_valid()
    key = group.parse_point(verification_key, "verification_key")
    encoded, parsed = _points(us)
    share_points = [parse_share(data, context.index) for data in shares]
    seed = _seed(context, verification_key, encoded, shares)
    try:
        weights = _weights(seed, len(us))
        base = _weighted_sum(parsed, weights)
        image = _weighted_sum(share_points, weights)
        challenge = _challenge(
            seed, group.encode_point(base), group.encode_point(image), proof.a_point, proof.b_point
        )
    except UsageError as error:
        raise ThresholdError(
            "bundle.proof", "shares", str(error), "finite sums and scalars above 0"
        ) from error
    minus_c = group.negate_scalar(challenge)
    generator = group.parse_point(group.GENERATOR, "generator")
    for field, point, statement, commitment in (
        ("proof.a_point", generator, key, proof.a_point),
        ("proof.b_point", base, image, proof.b_point),
    ):
        found = group.add([group.multiply(point, proof.z), group.multiply(statement, minus_c)])
        if found is None or group.encode_point(found) != commitment:
            raise ThresholdError(
                "bundle.proof",
                field,
                show(commitment),
                f"the commitment that index {context.index}'s key, the shares and z determine",
            )
