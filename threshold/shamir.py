"""Shamir's sharing (1979) of a scalar mod N, and interpolation in the exponent.

Member i holds x_i = f(i) of a random polynomial f of degree t - 1 with f(0) = x; any t points give f(0), and
x * u is the same combination of the shares x_i * u, without anybody learning x.

Interpolation. The Lagrange coefficients lambda_i are fractions of small integers, full-size only mod N. Times
their common denominator D they are small integers again, and a small multiple of a point is a few additions:
so D * P is summed first (coefficients up to `REPEAT_MAX` by repeating the point in one sum, 0.25 us each;
larger ones by `tweak_mul`, 6 us when small), then multiplied once by D^-1, 37 us, or not at all when D = 1,
which is so for the indexes 1..t. At (4, 3) this takes one sum, against three full multiplications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import gcd, prod
from typing import Final

from threshold import group, tags
from threshold.errors import ThresholdError, UsageError
from threshold.group import SCALAR_BYTES, N, Point
from threshold.secret_share import INDEX_MAX, SecretShare

REPEAT_MAX: Final = 16
SUBSETS_CACHED_MAX: Final = 1024
ENTROPY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ScaledCoefficients:
    """lambda_i * D for one subset of indexes: (index, magnitude, negative), and D^-1, None when D = 1."""

    terms: tuple[tuple[int, int, bool], ...]
    inverse_denominator: bytes | None


def lagrange_at_zero(indexes: tuple[int, ...]) -> tuple[int, ...]:
    """lambda_i mod N for strictly ascending indexes: f(0) = sum lambda_i f(i) for f of degree below their
    number."""
    coefficients = scaled_coefficients(indexes)
    inverse = int.from_bytes(coefficients.inverse_denominator or b"\x01", "big")
    return tuple((-size if negative else size) * inverse % N for _, size, negative in coefficients.terms)


@lru_cache(maxsize=SUBSETS_CACHED_MAX)
def scaled_coefficients(indexes: tuple[int, ...]) -> ScaledCoefficients:
    if (
        not indexes
        or not 1 <= indexes[0] <= indexes[-1] <= INDEX_MAX
        or any(a >= b for a, b in pairwise(indexes))
    ):
        raise UsageError(f"indexes ascend strictly within 1..{INDEX_MAX}")
    fractions: list[tuple[int, int]] = []
    for i in indexes:
        numerator = prod(j for j in indexes if j != i)
        denominator = prod(j - i for j in indexes if j != i)
        common = gcd(numerator, denominator) * (-1 if denominator < 0 else 1)
        fractions.append((numerator // common, denominator // common))
    least = 1
    for _, denominator in fractions:
        least = least * denominator // gcd(least, denominator)
    scaled = [numerator * (least // denominator) for numerator, denominator in fractions]
    # An index is below 2^16, so no factor of D is a multiple of the prime N; a coefficient that is as large
    # as N (many scattered indexes) is reduced, which keeps its meaning.
    return ScaledCoefficients(
        tuple((i, abs(value) % N, value < 0) for i, value in zip(indexes, scaled, strict=True)),
        None if least == 1 else pow(least, -1, N).to_bytes(SCALAR_BYTES, "big"),
    )


def interpolate_at_zero(points: Mapping[int, Point]) -> Point | None:
    """sum lambda_i P_i over all given indexes; None when it is infinity."""
    coefficients = scaled_coefficients(tuple(sorted(points)))
    summands: list[Point] = []
    for index, size, negative in coefficients.terms:
        point = group.negate(points[index]) if negative else points[index]
        if size <= REPEAT_MAX:
            summands += [point] * size
        else:
            summands.append(group.multiply(point, size.to_bytes(SCALAR_BYTES, "big")))
    total = group.add(summands)
    if total is None or coefficients.inverse_denominator is None:
        return total
    return group.multiply(total, coefficients.inverse_denominator)


def evaluate_secret(polynomial: Sequence[bytes], at: int) -> bytes:
    """f(at) for secret coefficients (32 bytes each, lowest degree first) and an index 1..65535, by Horner's rule.

    Constant time in the coefficients, not in the index; `UsageError` when a step gives zero.
    """
    index = at.to_bytes(SCALAR_BYTES, "big")
    value = polynomial[-1]
    for coefficient in reversed(polynomial[:-1]):
        value = group.scalar_multiply_add_secret(value, index, coefficient)
    return value


def evaluate_in_exponent(coefficients: Sequence[Point | None], at: int) -> Point | None:
    """sum at^k A_k for public points A_k (None is infinity) and an index 1..65535, by Horner's rule."""
    value = coefficients[-1]
    scalar = at.to_bytes(SCALAR_BYTES, "big")
    for coefficient in reversed(coefficients[:-1]):
        summands: list[Point] = []
        if value is not None:
            summands = [value] * at if at <= REPEAT_MAX else [group.multiply(value, scalar)]
        if coefficient is not None:
            summands.append(coefficient)
        value = group.add(summands) if summands else None
    return value


def interpolate_polynomial(values: Mapping[int, int]) -> tuple[int, ...]:
    """The coefficients mod N, lowest degree first, of the polynomial of degree below len(values) through them.

    Public values only: plain integers, variable-time. Indexes are 1..65535, at least one.
    """
    master = [1]  # the product of (x - i), lowest degree first
    for index in values:
        master = [(low - index * high) % N for low, high in zip([0, *master], [*master, 0], strict=True)]
    total = [0] * len(values)
    for index, value in values.items():
        quotient, carry = [0] * len(values), 0
        for degree in range(len(values) - 1, -1, -1):
            carry = (master[degree + 1] + carry * index) % N
            quotient[degree] = carry
        weight = value * pow(prod(index - other for other in values if other != index), -1, N)
        total = [(sum_ + weight * part) % N for sum_, part in zip(total, quotient, strict=True)]
    return tuple(total)


@dataclass(frozen=True, slots=True)
class Dealing:
    """What a dealer hands out: the public key Y, Y_i and x_i for i = 1..n in this order. Points are 33
    bytes."""

    public_key: bytes
    verification_keys: tuple[bytes, ...]
    shares: tuple[SecretShare, ...]


def deal(n: int, t: int, *, secret: bytes | None, entropy: bytes) -> Dealing:
    """Share a secret scalar among n members so that any t of them can use it and t - 1 learn nothing.

    For development networks: the dealer knows the key. `secret` is 32 bytes in [1, N-1], or None to derive it
    too; `entropy` is 32 random bytes from which the polynomial follows. Secrets are computed with by
    libsecp256k1's constant-time scalar operations. `UsageError` for n, t or bytes out of range, and with
    probability below n t 2^-250 when a value hits zero.
    """
    if not 1 <= t <= n <= INDEX_MAX:
        raise UsageError(f"n and t must satisfy 1 <= t <= n <= {INDEX_MAX}, not n={n}, t={t}")
    if len(entropy) != ENTROPY_BYTES:
        raise UsageError(f"entropy is {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    polynomial = [
        group.reduce_scalar(tags.DEAL_COEFFICIENT(entropy, degree.to_bytes(2, "big"))) for degree in range(t)
    ]
    if secret is not None:
        polynomial[0] = secret
    public_key = group.generator_multiply_secret(polynomial[0])
    shares: list[SecretShare] = []
    for index in range(1, n + 1):
        shares.append(SecretShare(index, evaluate_secret(polynomial, index)))
    return Dealing(public_key, tuple(share.verification_key() for share in shares), tuple(shares))


def combine(shares: Mapping[int, bytes], t: int) -> bytes:
    """P = sum lambda_i S_i over exactly t shares, 33 bytes each, by index 1..65535; P is 33 bytes.

    Raises `share.count`, `share.index`, `share.encoding`, or `share.sum` when P is infinity. It does not
    judge whether the shares are honest: opening does.
    """
    if len(shares) != t or t < 1:
        raise ThresholdError("share.count", "shares", str(len(shares)), f"exactly {t}")
    points: dict[int, Point] = {}
    for index, data in shares.items():
        if not 1 <= index <= INDEX_MAX:
            raise ThresholdError("share.index", "shares", str(index), f"an index of 1..{INDEX_MAX}")
        points[index] = parse_share(data, index)
    total = interpolate_at_zero(points)
    if total is None:
        raise ThresholdError("share.sum", "shares", "infinity", "a finite point")
    return group.encode_point(total)


def parse_share(data: bytes, index: int) -> Point:
    """A decryption share as a point; `share.encoding` naming the reason and the index when it is none."""
    try:
        return group.parse_point(data, f"shares[{index}]")
    except ThresholdError as error:
        raise ThresholdError("share.encoding", error.field, error.seen, error.expected) from error
