"""Shamir sharing (How to share a secret, 1979) of vectors: party i of n holds the polynomial's value at ``i + 1``.

Parties are named by index 0..n-1 everywhere but here and in :mod:`mpc_sequencer.dark.decoding`, where an index becomes
its point. Any ``degree`` shares are independent of the secret as long as the coefficients come from a uniform source
that is used once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from mpc_sequencer.dark.field import UNIFORM_BYTES, Elements, uniform
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.tags import SHARE_STREAM

SEED_BYTES: Final = 32


def seeded(seed: bytes, label: bytes) -> Callable[[int], Elements]:
    """Uniform elements out of a secret 32-byte seed, other ones at every call. A seed and label are used once."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed of {len(seed)} bytes, expected {SEED_BYTES}")
    root = SHARE_STREAM(seed, label)
    calls = 0

    def draw(count: int) -> Elements:
        nonlocal calls
        stream = hashlib.shake_256(root + calls.to_bytes(8, "little"))
        calls += 1
        return uniform(stream.digest(count * UNIFORM_BYTES), count)

    return draw


def share(secrets: Elements, degree: int, parties: int, random: Callable[[int], Elements]) -> list[Elements]:
    """Shares of a vector for every party in order; ``random(count)`` gives fresh uniform elements."""
    if not 0 <= degree < parties:
        raise ValueError(f"degree {degree} with {parties} parties")
    coefficients = random(degree * secrets.size).reshape(degree, *secrets.shape)
    shares = []
    for point in range(1, parties + 1):
        value = np.zeros(secrets.shape, dtype=object)
        for coefficient in coefficients[::-1]:
            value = (value + coefficient) * point
        shares.append((value + secrets) % PRIME)
    return shares


@lru_cache(maxsize=4096)
def lagrange(points: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Weights of the values at distinct points that give the value at ``at``, each in (-p/2, p/2)."""
    if len(set(points)) != len(points):
        raise ValueError(f"points {points} are not distinct")
    weights = []
    for one in points:
        numerator = denominator = 1
        for other in points:
            if other != one:
                numerator = numerator * (at - other) % PRIME
                denominator = denominator * (one - other) % PRIME
        weights.append(centred(numerator * pow(denominator, -1, PRIME)))
    return tuple(weights)


def centred(value: int) -> int:
    """The representative in (-p/2, p/2): products with small ones are cheaper."""
    value %= PRIME
    return value - PRIME if value > PRIME // 2 else value


def interpolate(shares: Mapping[int, Elements], at: int = 0) -> Elements:
    """The value at point ``at`` (0: the secret) of the polynomial of least degree through *all* given shares.

    Nothing is checked: shares of a computation go through :class:`mpc_sequencer.dark.decoding.Decoder`.
    """
    indices = sorted(shares)
    weights = lagrange(tuple(index + 1 for index in indices), at)
    total = np.zeros(shares[indices[0]].shape, dtype=object)
    for index, weight in zip(indices, weights, strict=True):
        total = total + shares[index] * weight
    return total % PRIME
