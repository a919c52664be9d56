"""The coin of a block: 32 bytes that nobody knew before t members let them be known, and that t cannot bend.

The coin is that of Cachin, Kursawe and Shoup, "Random oracles in Constantinople" (J. Cryptology 18, 2005):
member i multiplies a point that the block determines by its share of the threshold key, and any t of these
interpolate to the same point. Each comes with a proof of equality of two discrete logarithms (Chaum and
Pedersen, CRYPTO '92), made non-interactive.

    H = hash_to_curve(key_id 32 || block_id 32, DST="MPCSEQ-V1-COIN")          C_i = x_i H
    statement = H_"MPCSEQ/v1/coin/statement"(key_id 32 || epoch u64 || block_id 32 || i u16
                                             || Y_i 33 || H 33 || C_i 33)
    a = H_"MPCSEQ/v1/coin/nonce"(x_i 32 || 32 random bytes || statement) mod N      A = aG      B = aH
    c = H_"MPCSEQ/v1/coin/challenge"(statement || A 33 || B 33) mod N               z = a + c x_i mod N
    coin share = C_i 33 || c 32 || z 32
    coin = H_"MPCSEQ/v1/coin"(compressed(sum lambda_i C_i))

Integers are big-endian. The verifier computes A = zG - cY_i and B = zH - cC_i and accepts iff they hash to c;
infinity is refused wherever it appears. Sending (c, z) where a bundle's proof sends (A, B, z) saves 34
bytes; both bind the same and cost the verifier the same four multiples, of which G's comes from its table.

Nothing behind the coin would catch a bent share: a wrong opening shows itself, a wrong coin does not. So
every share is verified before use, and the types say so: `verify_coin_share` alone makes a
`VerifiedCoinShare`, and `combine_coin` takes nothing else. C_i and B are computed in constant time in x_i and
a, z by libsecp256k1's constant-time scalar operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NoReturn

from threshold import group, tags
from threshold.errors import ThresholdError, UsageError, show
from threshold.group import POINT_BYTES, SCALAR_BYTES, Point
from threshold.hash_to_curve import hash_to_curve
from threshold.proofs import ENTROPY_BYTES, BundleContext
from threshold.secret_share import SecretShare
from threshold.shamir import interpolate_at_zero, parse_share

COIN_DST: Final = b"MPCSEQ-V1-COIN"
COIN_BYTES: Final = 32
COIN_SHARE_BYTES: Final = POINT_BYTES + 2 * SCALAR_BYTES
BASES_CACHED_MAX: Final = 256
_C_AT: Final = slice(POINT_BYTES, POINT_BYTES + SCALAR_BYTES)
_Z_AT: Final = slice(POINT_BYTES + SCALAR_BYTES, COIN_SHARE_BYTES)


class VerifiedCoinShare:
    """A coin share whose proof holds, made by `verify_coin_share` alone: the only thing coins are made of."""

    __slots__ = ("context", "encoded", "point")

    context: BundleContext
    encoded: bytes
    point: Point

    def __init__(self, *_args: object, **_fields: object) -> None:
        raise TypeError("a verified coin share comes from verify_coin_share() alone")

    def _refuse(self, *_args: object) -> NoReturn:
        raise TypeError("a verified coin share is neither changed, copied nor pickled")

    __setattr__ = _refuse
    __delattr__ = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse
    __getstate__ = _refuse

    def __repr__(self) -> str:
        return f"VerifiedCoinShare(index={self.context.index}, point={self.encoded[:POINT_BYTES].hex()})"


@lru_cache(maxsize=BASES_CACHED_MAX)
def _base(key_id: bytes, block_id: bytes) -> tuple[bytes, Point]:
    """H, encoded and parsed: the same for all members, so hashed to the curve once per block."""
    encoded = hash_to_curve(key_id + block_id, COIN_DST)
    return encoded, group.parse_point(encoded, "coin.base")


def _statement(context: BundleContext, verification_key: bytes, base: bytes, image: bytes) -> bytes:
    return tags.COIN_STATEMENT(
        context.key_id,
        context.epoch.to_bytes(8, "big"),
        context.block_id,
        context.index.to_bytes(2, "big"),
        verification_key,
        base,
        image,
    )


def _challenge(statement: bytes, a: bytes, b: bytes) -> bytes:
    return group.reduce_scalar(tags.COIN_CHALLENGE(statement, a, b))


def coin_share(secret: SecretShare, context: BundleContext, *, entropy: bytes) -> bytes:
    """This member's share of the coin of `context.block_id` with its proof, 97 bytes; entropy is 32 fresh
    random bytes.

    The caller has verified that the block is final. `UsageError` when the context is another member's or the
    entropy has the wrong length.
    """
    if context.index != secret.index:
        raise UsageError(f"the context is for index {context.index}, the share has index {secret.index}")
    if len(entropy) != ENTROPY_BYTES:
        raise UsageError(f"entropy is {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    base, base_point = _base(context.key_id, context.block_id)
    image = secret.multiply(base_point)
    statement = _statement(context, secret.verification_key(), base, image)
    nonce = group.reduce_scalar(tags.COIN_NONCE(secret.nonce_material(), entropy, statement))
    a = group.generator_multiply_secret(nonce)
    challenge = _challenge(statement, a, group.multiply_secret(base_point, nonce))
    return image + challenge + secret.respond(challenge, nonce)


def verify_coin_share(verification_key: bytes, context: BundleContext, data: bytes) -> VerifiedCoinShare:
    """A member's coin share, its proof verified against the member's key Y_i (33 bytes) and the block.

    Raises `coin.length`, `share.encoding` (naming the member's index), `scalar.range`, a `point.*` code for a
    verification key that is none, or `coin.proof` when the proof does not hold for this key and context.
    """
    if len(data) != COIN_SHARE_BYTES:
        raise ThresholdError("coin.length", "coin_share", show(data), f"{COIN_SHARE_BYTES} bytes")
    encoded_image, challenge, z = data[:POINT_BYTES], data[_C_AT], data[_Z_AT]
    image = parse_share(encoded_image, context.index)
    group.require_scalar(challenge, "coin_share.c")
    group.require_scalar(z, "coin_share.z")
    key = group.parse_point(verification_key, "verification_key")
    base, base_point = _base(context.key_id, context.block_id)
    minus_c = group.negate_scalar(challenge)
    a = group.generator_table().multiply_add(z, group.multiply(key, minus_c))
    b = group.add([group.multiply(base_point, z), group.multiply(image, minus_c)])
    if a is None or b is None:
        raise ThresholdError("coin.proof", "coin_share.z", "a commitment at infinity", "finite commitments")
    statement = _statement(context, verification_key, base, encoded_image)
    if _challenge(statement, group.encode_point(a), group.encode_point(b)) != challenge:
        raise ThresholdError(
            "coin.proof",
            "coin_share.c",
            show(challenge),
            f"the hash that index {context.index}'s key, the block, the share and z determine",
        )
    verified = object.__new__(VerifiedCoinShare)
    put = object.__setattr__
    put(verified, "context", context)
    put(verified, "encoded", data)
    put(verified, "point", image)
    return verified


def combine_coin(shares: Sequence[VerifiedCoinShare], t: int) -> bytes:
    """The coin, 32 bytes: the same for any t members' shares of one block.

    Raises `share.count` unless there are exactly t, `share.sum` when they interpolate to infinity (the
    threshold key would be zero), `UsageError` for two of one member or of different blocks, keys or epochs.
    """
    for verified in shares:
        if type(verified) is not VerifiedCoinShare:
            raise TypeError("a coin is made of verified coin shares alone")
    if len(shares) != t or t < 1:
        raise ThresholdError("share.count", "shares", str(len(shares)), f"exactly {t}")
    if len({(of.context.key_id, of.context.epoch, of.context.block_id) for of in shares}) != 1:
        raise UsageError("the coin shares are of more than one block, key or epoch")
    points = {verified.context.index: verified.point for verified in shares}
    if len(points) != len(shares):
        raise UsageError("two coin shares are of one member")
    total = interpolate_at_zero(points)
    if total is None:
        raise ThresholdError("share.sum", "shares", "infinity", "a finite point")
    return tags.COIN(group.encode_point(total))
