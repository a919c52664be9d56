"""Products of many field elements at once, without Python integers: squares of shares, and square roots.

A vector of n elements is an int64 array (4, n) of 24-bit limbs, lowest first. Limbs are *loose*: below ``2^25``, the
value not reduced below p. A product of loose limbs sums at most four terms below ``2^50``, so nothing leaves
int64. As ``2^96 = 420`` modulo p, the upper half of a product is folded back by one small product.

A root is the power ``2^92 - 27 = (p - 3) / 4`` by the addition chain ``32 (2^87 - 1) + 5``: 93 squarings and 12
products, where binary powering takes 181; see :mod:`mpc_sequencer.dark.field` for what timing gives away.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_sequencer.dark.params import PRIME, PRIME_BITS

Loose = NDArray[np.int64]

_BITS: Final = 24
_MASK: Final = (1 << _BITS) - 1
_TOP_BITS: Final = PRIME_BITS - 3 * _BITS
_FOLD: Final = (1 << PRIME_BITS) - PRIME  # 2^94 modulo p
_FOLD_96: Final = _FOLD << 2  # 2^96 modulo p
_BLOCK: Final = 2_048  # a block's intermediate values stay in the cache


def split(octets: NDArray[np.uint8]) -> Loose:
    """Limbs of elements of 12 little-endian bytes each, (n, 12)."""
    triples = octets.reshape(-1, 4, 3).astype(np.int64)
    return np.ascontiguousarray((triples[..., 0] + (triples[..., 1] << 8) + (triples[..., 2] << 16)).T)


def join(loose: Loose) -> NDArray[np.uint16]:
    """The elements in [0, p), as six 16-bit limbs each, (n, 6)."""
    limbs = loose.copy()
    _carry(limbs, 4)
    limbs[0] += (limbs[3] >> _TOP_BITS) * _FOLD
    limbs[3] &= (1 << _TOP_BITS) - 1
    _carry(limbs, 4)
    excess = limbs.copy()  # now x < 2^94 + 2^11 < 2p, and x >= p exactly where x + 2^94 - p >= 2^94
    excess[0] += _FOLD
    _carry(excess, 4)
    over = (excess[3] >> _TOP_BITS).astype(bool)
    excess[3] &= (1 << _TOP_BITS) - 1
    limbs = np.where(over, excess, limbs)
    words = (
        limbs[0] & 0xFFFF,
        (limbs[0] >> 16) | ((limbs[1] & 0xFF) << 8),
        limbs[1] >> 8,
        limbs[2] & 0xFFFF,
        (limbs[2] >> 16) | ((limbs[3] & 0xFF) << 8),
        limbs[3] >> 8,
    )
    return np.stack(words, axis=-1).astype(np.uint16)


def multiply(one: Loose, other: Loose) -> Loose:
    """The products, one by one."""
    a, b = one, other
    wide = np.empty((8, one.shape[1]), dtype=np.int64)
    wide[0] = a[0] * b[0]
    wide[1] = a[0] * b[1] + a[1] * b[0]
    wide[2] = a[0] * b[2] + a[1] * b[1] + a[2] * b[0]
    wide[3] = a[0] * b[3] + a[1] * b[2] + a[2] * b[1] + a[3] * b[0]
    wide[4] = a[1] * b[3] + a[2] * b[2] + a[3] * b[1]
    wide[5] = a[2] * b[3] + a[3] * b[2]
    wide[6] = a[3] * b[3]
    return _fold(wide)


def square(one: Loose) -> Loose:
    """The squares, one by one."""
    a, twice = one, one * 2
    wide = np.empty((8, one.shape[1]), dtype=np.int64)
    np.multiply(a[0], a[0], out=wide[0])
    np.multiply(a[0], twice[1], out=wide[1])
    np.multiply(a[0], twice[2], out=wide[2])
    wide[2] += a[1] * a[1]
    np.multiply(a[0], twice[3], out=wide[3])
    wide[3] += a[1] * twice[2]
    np.multiply(a[1], twice[3], out=wide[4])
    wide[4] += a[2] * a[2]
    np.multiply(a[2], twice[3], out=wide[5])
    np.multiply(a[3], a[3], out=wide[6])
    return _fold(wide)


def inverse_roots(values: Loose) -> Loose:
    """Of each the power ``(p - 3) / 4``: the inverse of a square root where the value is a square, and not zero."""
    parts = [_inverse_roots(values[:, first : first + _BLOCK]) for first in range(0, values.shape[1], _BLOCK)]
    return np.concatenate(parts, axis=1) if parts else values


def _inverse_roots(a: Loose) -> Loose:
    # ones is a^(2^k - 1); k goes 1, 2, 4, 5, 10, 20, 21, 42, 43, 86, 87
    ones, exponent = a, 1
    for step in (1, 2, 1, 5, 10, 1, 21, 1, 43, 1):
        ones = multiply(_squared(ones, exponent if step > 1 else 1), ones if step == exponent else a)
        exponent += step
    fifth = multiply(_squared(a, 2), a)
    return multiply(_squared(ones, 5), fifth)


def _squared(a: Loose, times: int) -> Loose:
    for _ in range(times):
        a = square(a)
    return a


def _fold(wide: NDArray[np.int64]) -> Loose:
    wide[7] = 0
    _carry(wide, 8)
    low: Loose = wide[4:] * _FOLD_96
    low += wide[:4]
    _carry(low, 4)
    low[0] += (low[3] >> _BITS) * _FOLD_96
    low[3] &= _MASK
    return low


def _carry(limbs: NDArray[np.int64], count: int) -> None:
    """Leave all limbs but the last below ``2^24``."""
    for at in range(count - 1):
        limbs[at + 1] += limbs[at] >> _BITS
        limbs[at] &= _MASK
