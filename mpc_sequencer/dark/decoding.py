"""Opening a value: shares of all parties in, the values out, liars named or the opening refused.

Rule: no value leaves here that a coalition of up to t liars could have chosen. Shares of degree d at m received points
are a Reed-Solomon codeword of distance ``m - d``; the decoder corrects up to

    ``radius = min((m - d - 1) // 2, m - d - 1 - t)``

errors in each value and refuses everything else. The second bound is what makes silence safe: a word with at most t
errors is then either corrected to the truth or refused, never "corrected" to another value, even where the missing
shares are honest parties' that were only slow. Fewer than ``d + 1 + t`` shares are never opened, for they could not be
checked. With ``n >= 4t + 1`` and d = 2t this corrects t - s liars beside s missing shares; with ``3t + 1 <= n < 4t +
1`` it detects. (Plain decoding of errors and erasures would correct ``2e + s <= n - d - 1``; it trusts that whoever is
missing is among the t.)

How: first the parity check, vectorised: all windows of ``d + 2`` neighbouring points must have divided difference zero,
which for points 1..n are small integer combinations. Only positions that fail are decoded, one by one, by S. Gao's
algorithm ("A new algorithm for decoding Reed-Solomon codes", 2003). A lie in one position makes its author suspect in
all: the remaining positions are checked without the liars found so far, and what then lies on one polynomial is the
very word that decoding would give, for it is within the radius. So a party that lies everywhere costs one decoding.
More liars over all positions than the radius are refused: they are more than t, or the missing shares are an honest
party's, and then nothing tells which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import lcm, prod

import numpy as np
from numpy.typing import NDArray

from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import lagrange


@dataclass(frozen=True)
class Decoded:
    """Opened values (count,), and the parties whose shares were not those of the opened values."""

    values: Elements
    liars: frozenset[int]


class Decoder:
    """Opens vectors of shares of one degree in a committee of ``parties`` of which up to ``faults_t`` may lie."""

    def __init__(self, parties: int, degree: int, faults_t: int) -> None:
        if not 0 <= degree < parties or faults_t < 0:
            raise ValueError(f"degree {degree}, faults_t {faults_t} with {parties} parties")
        self.parties = parties
        self.degree = degree
        self.faults_t = faults_t

    @property
    def shares_min(self) -> int:
        """The least number of shares that an opening is checked with: ``degree + 1 + faults_t``."""
        return self.degree + 1 + self.faults_t

    def radius(self, received: int) -> int:
        """How many liars are corrected among so many shares; negative where so few cannot be opened."""
        spare = received - self.degree - 1
        return min(spare // 2, spare - self.faults_t)

    def decode(self, shares: Mapping[int, Elements], at: int = 0) -> Decoded:
        """The values at point ``at`` (0: the secrets) of the shares, by party index, all of one length.

        Raises :class:`Undecodable`. ``at = i + 1`` gives the share that party i should have sent.
        """
        indices = sorted(shares)
        if indices and not 0 <= indices[0] <= indices[-1] < self.parties:
            raise ValueError(f"shares of {indices} in a committee of {self.parties}")
        if len({shares[index].shape for index in indices}) > 1:
            raise ValueError("shares of different lengths: a party that sent such is missing, not lying")
        if len(indices) < self.shares_min:
            missing = sorted(set(range(self.parties)) - set(indices))
            raise Undecodable(f"{len(indices)} shares, expected at least {self.shares_min}; missing {missing}")
        vectors = [shares[index] for index in indices]
        points = tuple(index + 1 for index in indices)
        pending = np.flatnonzero(_off(points, vectors, self.degree))
        values = _value(points, vectors, self.degree, at)
        if not pending.size:
            return Decoded(values, frozenset())
        liars = self._liars(points, vectors, pending)
        honest = [place for place, point in enumerate(points) if point not in liars]
        values[pending] = _value(
            tuple(points[place] for place in honest), [vectors[place][pending] for place in honest], self.degree, at
        )
        return Decoded(values, frozenset(point - 1 for point in liars))

    def _liars(self, points: tuple[int, ...], vectors: Sequence[Elements], pending: NDArray[np.int64]) -> set[int]:
        """The points whose shares lie off the values in the failing positions; raises :class:`Undecodable`."""
        radius, failing = self.radius(len(points)), len(pending)
        liars: set[int] = set()
        while pending.size:
            word = [int(vector[pending[0]]) for vector in vectors]
            found = _locate(points, word, self.degree, radius) if radius > 0 else None
            known = frozenset(point - 1 for point in liars)
            if found is None:
                text = f"{failing} values off the polynomial of degree {self.degree}"
                raise Undecodable(f"{text}; {len(points)} shares correct {radius}", positions=failing, suspects=known)
            liars |= found
            if len(liars) > radius:
                seen = frozenset(point - 1 for point in liars)
                raise Undecodable(f"{len(liars)} liars, corrects {radius}", positions=failing, suspects=seen)
            honest = [place for place, point in enumerate(points) if point not in liars]
            off = _off(
                tuple(points[place] for place in honest), [vectors[place][pending] for place in honest], self.degree
            )
            pending = pending[off]
        return liars


def _off(points: tuple[int, ...], vectors: Sequence[Elements], degree: int) -> NDArray[np.bool_]:
    """Which positions do not lie on one polynomial of the degree."""
    off = np.zeros(vectors[0].shape, dtype=bool)
    for first, coefficients in enumerate(_windows(points, degree)):
        total = vectors[first] * coefficients[0]
        for offset, coefficient in enumerate(coefficients[1:], start=1):
            total = total + vectors[first + offset] * coefficient
        off |= (total % PRIME).astype(bool)
    return off


@lru_cache(maxsize=1024)
def _windows(points: tuple[int, ...], degree: int) -> tuple[tuple[int, ...], ...]:
    """Of each window of ``degree + 2`` points the divided difference, times what clears the denominators."""
    rows = []
    for first in range(len(points) - degree - 1):
        window = points[first : first + degree + 2]
        denominators = [prod(one - other for other in window if other != one) for one in window]
        common = lcm(*denominators)
        rows.append(tuple(common // denominator for denominator in denominators))
    return tuple(rows)


def _value(points: tuple[int, ...], vectors: Sequence[Elements], degree: int, at: int) -> Elements:
    """The polynomial's value by the first ``degree + 1`` shares."""
    weights = lagrange(points[: degree + 1], at)
    total = vectors[0] * weights[0]
    for vector, weight in zip(vectors[1 : degree + 1], weights[1:], strict=True):
        total = total + vector * weight
    return np.asarray(total % PRIME, dtype=object)


# --- decoding one word, by Gao's algorithm --------------------------------------------------------------------------

Polynomial = list[int]
"""Coefficients, lowest first, without leading zeros; the empty list is zero."""


def _locate(points: tuple[int, ...], word: Sequence[int], degree: int, radius: int) -> set[int] | None:
    """The points in error in one word, at most ``radius`` of them; None where no codeword is that near."""
    vanishing: Polynomial = [1]
    for point in points:
        vanishing = _subtract([0, *vanishing], _scale(vanishing, point))
    older, newer = vanishing, _interpolate(points, word, vanishing)
    older_factor: Polynomial = []
    newer_factor: Polynomial = [1]
    while 2 * (len(newer) - 1) >= len(points) + degree + 1:
        quotient, rest = _divide(older, newer)
        older, newer = newer, rest
        older_factor, newer_factor = newer_factor, _subtract(older_factor, _multiply(quotient, newer_factor))
    message, _ = _divide(newer, newer_factor)
    if len(message) > degree + 1:
        return None
    # Of the degree and as near as this it is the codeword, however it was found.
    wrong = {point for point, value in zip(points, word, strict=True) if _evaluate(message, point) != value}
    return wrong if len(wrong) <= radius else None


def _interpolate(points: tuple[int, ...], word: Sequence[int], vanishing: Polynomial) -> Polynomial:
    total: Polynomial = []
    for point, value in zip(points, word, strict=True):
        basis, _ = _divide(vanishing, [-point % PRIME, 1])
        scale = value * pow(_evaluate(basis, point), -1, PRIME)
        total = _subtract(total, _scale(basis, -scale))
    return total


def _evaluate(polynomial: Polynomial, point: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * point + coefficient) % PRIME
    return value


def _trim(polynomial: Polynomial) -> Polynomial:
    while polynomial and polynomial[-1] == 0:
        polynomial.pop()
    return polynomial


def _scale(polynomial: Polynomial, factor: int) -> Polynomial:
    return _trim([coefficient * factor % PRIME for coefficient in polynomial])


def _subtract(one: Polynomial, other: Polynomial) -> Polynomial:
    size = max(len(one), len(other))
    padded = zip(one + [0] * (size - len(one)), other + [0] * (size - len(other)), strict=True)
    return _trim([(left - right) % PRIME for left, right in padded])


def _multiply(one: Polynomial, other: Polynomial) -> Polynomial:
    if not one or not other:
        return []
    total = [0] * (len(one) + len(other) - 1)
    for at, left in enumerate(one):
        for offset, right in enumerate(other):
            total[at + offset] += left * right
    return _trim([value % PRIME for value in total])


def _divide(dividend: Polynomial, divisor: Polynomial) -> tuple[Polynomial, Polynomial]:
    """Quotient and rest; the divisor is not zero."""
    rest, leading = list(dividend), pow(divisor[-1], -1, PRIME)
    quotient = [0] * max(len(dividend) - len(divisor) + 1, 0)
    for shift in range(len(quotient) - 1, -1, -1):
        quotient[shift] = factor = rest[shift + len(divisor) - 1] * leading % PRIME
        for offset, coefficient in enumerate(divisor):
            rest[shift + offset] = (rest[shift + offset] - factor * coefficient) % PRIME
    return _trim(quotient), _trim(rest)
