"""Vectors of field elements, and one party's shares of a whole batch of orders, fast.

Two representations of integers modulo ``p = 2^94 - 105`` (:data:`mpc_sequencer.dark.params.PRIME`):

- :data:`Elements`, numpy object arrays of Python ints in ``[0, p)``: what programs compute with. The wire form of an
  element is 12 bytes, little-endian, below p; nothing else is accepted.
- :class:`SharedRows`, a batch's shares as they came: 16-bit limbs, six to an element. Linear maps on them never become
  Python ints one by one. A map ``x -> sum x_l w_l`` is a float64 matrix product of the 16-bit limbs with the 24-bit
  limbs of ``w_l 2^(16 j) mod p``; with at most :data:`PRODUCT_TERMS_MAX` terms every partial sum is an integer below
  ``2^53``, hence exact in any order of summation (and with fused multiply-add). Only the four sums of each result
  become Python ints.

Timing: neither Python ints nor numpy run in constant time, and this is not claimed. What varies with secrets is the
time of a party's own arithmetic on *shares* and masks: through lengths of integers and rare carries, not through
branches. Each share is uniform by itself and fresh in every batch. To use the variation an attacker would have to see
nanoseconds per element inside the rounds of one member, for values that are never computed on twice, and have that of
so many members that with the corrupt ones they are t + 1, in one batch; who is that close to a member's processor reads
its memory. Long-lived secrets, the keys of pseudorandom sharing, only enter hash functions, whose time does not depend
on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark import limbs as limbs24
from mpc_sequencer.dark.params import PRIME, PRIME_BITS

Elements = NDArray[np.object_]

ELEMENT_BYTES: Final = 12
LIMBS: Final = 6
UNIFORM_BYTES: Final = 20  # reduced modulo p: the distance from uniform is below 2^-66 for each element
PRODUCT_TERMS_MAX: Final = 1 << 13  # terms of 16 times 24 bits that a float64 sums exactly
# One matrix product stays in the cache and below the size from which BLAS starts threads, which on a loaded machine
# wait for each other up to a hundred times as long as the product takes.
_PRODUCT_SIZE_MAX: Final = 1 << 19
_SIDE_MAX: Final = 1 << 16  # rows and columns whose limbs sum up below 2^32
_FOLD: Final = (1 << PRIME_BITS) - PRIME  # 2^94 modulo p
_FOLD_96: Final = _FOLD << 2  # 2^96 modulo p
_PRIME_WORDS: Final = tuple((PRIME >> shift) & 0xFFFFFFFF for shift in (0, 32, 64))


def elements(values: Iterable[int]) -> Elements:
    """The values as a vector, each reduced modulo p."""
    return np.array([value % PRIME for value in values], dtype=object)


def to_bytes(values: Elements) -> bytes:
    """12 bytes for each value, little-endian, in C order."""
    return b"".join([value.to_bytes(ELEMENT_BYTES, "little") for value in values.ravel().tolist()])


def from_bytes(data: bytes, count: int) -> Elements:
    """The inverse of :func:`to_bytes`. Raises :class:`ProtocolError` ``dark.length`` or ``dark.element``."""
    return _limbs_to_elements(_checked_limbs(data, count))


def uniform(data: bytes, count: int) -> Elements:
    """``count`` elements out of ``count * UNIFORM_BYTES`` pseudorandom bytes."""
    if len(data) != count * UNIFORM_BYTES:
        raise ValueError(f"{len(data)} bytes for {count} uniform elements")
    whole = [int.from_bytes(data[at : at + UNIFORM_BYTES], "little") for at in range(0, len(data), UNIFORM_BYTES)]
    return np.array(whole, dtype=object) % PRIME


def inverse(values: Elements) -> Elements:
    """The inverses, by one inversion and three products each (Montgomery). Raises :class:`ValueError` for a zero."""
    flat = values.ravel().tolist()
    products, running = [], 1
    for value in flat:
        products.append(running)
        running = running * value % PRIME
    if running == 0:
        raise ValueError("zero has no inverse")
    running = pow(running, -1, PRIME)
    inverses = [0] * len(flat)
    for at in range(len(flat) - 1, -1, -1):
        inverses[at] = running * products[at] % PRIME
        running = running * flat[at] % PRIME
    return np.array(inverses, dtype=object).reshape(values.shape)


def sqrt_blum(values: Elements) -> Elements:
    """Of each square the root that is a square itself, ``a^((p+1)/4)``; raises :class:`ValueError` for a non-square."""
    return _roots(values, zeros=True)[0]


def inverse_sqrt_blum(values: Elements) -> Elements:
    """``1 / sqrt_blum``, at the same price: ``a^((p-3)/4)``. Raises :class:`ValueError` for zero or a non-square."""
    return _roots(values, zeros=False)[1]


def _roots(values: Elements, *, zeros: bool) -> tuple[Elements, Elements]:
    octets = np.frombuffer(to_bytes(values), dtype=np.uint8).reshape(-1, ELEMENT_BYTES)
    loose = limbs24.split(octets)
    inverses = limbs24.inverse_roots(loose)
    roots = limbs24.multiply(inverses, loose)
    # The product of both is the value's Legendre symbol: 1, -1, or 0 for zero.
    symbols = _limbs_to_elements(limbs24.join(limbs24.multiply(roots, inverses)))
    if not bool(np.all((symbols == 1) | (zeros & (symbols == 0)))):
        raise ValueError("a value is no square" if zeros else "a value is zero or no square")
    shape = values.shape
    roots_out, inverses_out = (_limbs_to_elements(limbs24.join(one)).reshape(shape) for one in (roots, inverses))
    return roots_out, inverses_out


def canonical(limbs: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Which elements are below p, of limbs of shape (..., 6)."""
    words = np.ascontiguousarray(limbs).view("<u4")
    low, middle, high = words[..., 0], words[..., 1], words[..., 2]
    below: NDArray[np.bool_] = high < _PRIME_WORDS[2]
    if not below.all():  # one element in 2^30, or one that was made so
        equal = high == _PRIME_WORDS[2]
        below = below | (equal & (middle < _PRIME_WORDS[1]))
        below |= equal & (middle == _PRIME_WORDS[1]) & (low < _PRIME_WORDS[0])
    return below


def weight_limbs(weights: Elements, limbs: int = LIMBS) -> NDArray[np.float64]:
    """The right factor of :func:`combine` for weights (L, k): 24-bit limbs of ``w 2^(16 j)``, (L * limbs, k * 4)."""
    rows, columns = weights.shape
    shifted = [weights]
    for _ in range(limbs - 1):
        shifted.append((shifted[-1] << 16) % PRIME)
    octets = np.frombuffer(to_bytes(np.stack(shifted, axis=1)), dtype=np.uint8)
    triples = octets.reshape(rows * limbs, columns * 4, 3).astype(np.float64)
    return triples[..., 0] + triples[..., 1] * 256.0 + triples[..., 2] * 65536.0


def combine(limbs: NDArray[Any], factor: NDArray[np.float64]) -> Elements:
    """``limbs (N, L * limbs) @ weights (L, k)`` modulo p, by a factor of :func:`weight_limbs`; (N, k)."""
    count, terms = limbs.shape
    total = np.zeros((count, factor.shape[1] // 4), dtype=object)
    for first in range(0, terms, PRODUCT_TERMS_MAX):
        part, piece = limbs[:, first : first + PRODUCT_TERMS_MAX], factor[first : first + PRODUCT_TERMS_MAX]
        joined = _join(_product(part, piece).reshape(count, factor.shape[1] // 4, 4))
        total = joined if terms <= PRODUCT_TERMS_MAX else (total + joined) % PRIME
    return total


def _product(limbs: NDArray[Any], factor: NDArray[np.float64]) -> NDArray[np.int64]:
    """The exact matrix product of limbs and a factor, at most :data:`PRODUCT_TERMS_MAX` terms a sum."""
    sums = np.empty((limbs.shape[0], factor.shape[1]))
    step = max(1, _PRODUCT_SIZE_MAX // max(1, factor.size))
    for row in range(0, limbs.shape[0], step):
        np.matmul(limbs[row : row + step].astype(np.float64), factor, out=sums[row : row + step])
    return sums.astype(np.int64)


def _join(sums: NDArray[np.int64]) -> Elements:
    """``s0 + s1 2^24 + s2 2^48 + s3 2^72 mod p`` for sums below 2^53 in the last axis."""
    mask = (1 << 24) - 1
    first, second, third, fourth = (sums[..., at] for at in range(4))
    low = first + ((second & mask) << 24) + (fourth >> 24) * _FOLD_96
    high = third + (second >> 24) + ((fourth & mask) << 24)
    return np.asarray(((high.astype(object) << 48) + low.astype(object)) % PRIME, dtype=object)


def _checked_limbs(data: bytes, count: int) -> NDArray[np.uint16]:
    if len(data) != count * ELEMENT_BYTES:
        raise ProtocolError("dark.length", "elements", f"{len(data)} bytes", f"{count * ELEMENT_BYTES} bytes")
    limbs = np.frombuffer(data, dtype="<u2").reshape(count, LIMBS)
    below = canonical(limbs)
    if not below.all():
        at = int(np.argmin(below))
        raise ProtocolError("dark.element", f"elements[{at}]", "a value not below the prime", "0..p-1")
    return limbs


def _limbs_to_elements(limbs: NDArray[Any]) -> Elements:
    """Limbs (..., 6), each below 2^40, as elements."""
    wide = limbs.astype(np.int64)
    low = wide[..., 0] + (wide[..., 1] << 16)
    middle = wide[..., 2] + (wide[..., 3] << 16)
    high = wide[..., 4] + (wide[..., 5] << 16)
    whole = (((high.astype(object) << 32) + middle.astype(object)) << 32) + low.astype(object)
    return np.asarray(whole % PRIME, dtype=object)


class SharedRows:
    """One party's shares of N orders of L columns each, as 16-bit limbs (N, L, 6). Immutable; shows no share."""

    __slots__ = ("_limbs",)

    def __init__(self, limbs: NDArray[np.uint16]) -> None:
        if limbs.ndim != 3 or limbs.shape[2] != LIMBS or limbs.dtype != np.uint16:
            raise ValueError(f"limbs are {limbs.dtype} {limbs.shape}, expected uint16 (rows, columns, {LIMBS})")
        if max(limbs.shape) > _SIDE_MAX:
            raise ValueError(f"limbs are {limbs.shape}, expected at most {_SIDE_MAX} rows and columns")
        self._limbs = limbs

    def __repr__(self) -> str:
        return f"SharedRows(rows={self.rows}, columns={self.columns})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("shares are not pickled")

    @property
    def rows(self) -> int:
        """N, the number of orders."""
        return int(self._limbs.shape[0])

    @property
    def columns(self) -> int:
        """L, the columns of an order."""
        return int(self._limbs.shape[1])

    @classmethod
    def from_bytes(cls, data: bytes, rows: int, columns: int) -> SharedRows:
        """Rows one after the other, 12 bytes an element. Raises ``dark.length`` or ``dark.element``."""
        return cls(_checked_limbs(data, rows * columns).reshape(rows, columns, LIMBS))

    def to_bytes(self) -> bytes:
        """The inverse of :meth:`from_bytes`."""
        return self._limbs.tobytes()

    def weigh(self, weights: Elements, columns: slice | None = None) -> Elements:
        """``rows @ weights``: of weights (L, k) the k sums of each row, (N, k); of ``columns`` only where given."""
        part = self._limbs if columns is None else self._limbs[:, columns]
        if weights.ndim != 2 or weights.shape[0] != part.shape[1]:
            raise ValueError(f"weights are {weights.shape}, expected ({part.shape[1]}, k)")
        return combine(part.reshape(self.rows, part.shape[1] * LIMBS), weight_limbs(weights))

    def column_sums(self, rows: NDArray[np.bool_] | None = None, columns: slice | None = None) -> Elements:
        """The sum of each column over the rows, or over those marked; (L,), or as many as ``columns`` names."""
        part = self._limbs if columns is None else self._limbs[:, columns]
        if rows is not None:
            part = part[self._mask(rows)]
        return _limbs_to_elements(part.sum(axis=0, dtype=np.uint32))

    def take(self, column: int) -> Elements:
        """One column, (N,)."""
        return _limbs_to_elements(self._limbs[:, column])

    def block(self, columns: slice) -> Elements:
        """Some columns, (N, L')."""
        return _limbs_to_elements(self._limbs[:, columns])

    def squares(self, columns: slice) -> SharedRows:
        """The squares of some columns, (N, L'): local products, of twice the degree."""
        part = np.ascontiguousarray(self._limbs[:, columns])
        squared = limbs24.join(limbs24.square(limbs24.split(part.view(np.uint8).reshape(-1, ELEMENT_BYTES))))
        return SharedRows(squared.reshape(part.shape))

    def sum_columns(self, first: int, last: int) -> Elements:
        """Of each row the sum of the columns ``first <= column < last``; (N,)."""
        if not 0 <= first <= last <= self.columns:
            raise ValueError(f"columns {first}..{last} of {self.columns}")
        selector = np.tile(np.eye(LIMBS), (last - first, 1))
        words = self._limbs[:, first:last].reshape(self.rows, (last - first) * LIMBS)
        return _limbs_to_elements(_product(words, selector))

    def _mask(self, rows: NDArray[Any]) -> NDArray[Any]:
        if rows.dtype != np.bool_ or rows.shape != (self.rows,):
            raise ValueError(f"rows are {rows.dtype} {rows.shape}, expected bool ({self.rows},)")
        return rows
