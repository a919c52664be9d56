"""Pseudorandom secret sharing: sharings of random values and of zero without a message.

Construction: R. Cramer, I. Damgard, Y. Ishai, "Share conversion, pseudorandom secret-sharing and applications to
secure computation", TCC 2005. For every subset A of n - t parties there is a key that exactly the members of A hold.
With ``f_A`` the polynomial of degree t with ``f_A(0) = 1`` and ``f_A = 0`` at the points of all parties outside A,
party i's share is ``sum over A with i in A of r_A f_A(i)``, ``r_A`` pseudorandom under A's key: a sharing of the sum
of all ``r_A``. Whatever t parties are corrupt, one subset avoids them all, and its summand hides the sum. A sharing of
zero of degree 2t is ``sum over A of (r_A1 x + ... + r_At x^t) f_A(x)``: to any t parties as good as uniform among
those of zero.

One use: a :class:`Prss` is made for one context (session of the keys, epoch, market, batch, attempt) and hands out
every label once, whatever the kind; :class:`LabelReused` otherwise. The context and the label, the kind and the sizes
enter the stream, so that two attempts never share a mask. The caller logs an attempt before its first message and never
resumes it.

Streams: a tagged SHA-256 of key, context and label seeds one SHAKE-256 stream per key and label; an element is 160 bits
of it reduced modulo p.

Keys come from :mod:`mpc_sequencer.dark.agreement`. Whatever t parties are corrupt, the key of the subset that avoids
them all is the honest dealers' alone.

Timing: see :mod:`mpc_sequencer.dark.field`; keys enter nothing but hash functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_sequencer.dark.errors import LabelReused
from mpc_sequencer.dark.field import UNIFORM_BYTES, Elements, combine, weight_limbs
from mpc_sequencer.dark.params import PRIME, PRIME_BITS
from mpc_sequencer.dark.tags import PRSS_CONTEXT, PRSS_STREAM

Subset = tuple[int, ...]
"""Indices of n - t parties, ascending."""

KEY_BYTES: Final = 32
LABEL_BYTES_MAX: Final = 128
COUNT_MAX: Final = 1 << 20
_RANDOM, _ZERO, _BOUNDED = 1, 2, 3
_UNIFORM_LIMBS: Final = UNIFORM_BYTES // 2


@lru_cache(maxsize=64)
def subsets(parties: int, faults_t: int) -> tuple[Subset, ...]:
    """All C(n,t) subsets of n - t parties, in lexicographic order."""
    return tuple(combinations(range(parties), parties - faults_t))


@lru_cache(maxsize=256)
def subsets_of(parties: int, faults_t: int, party: int) -> tuple[Subset, ...]:
    """The subsets that a party is a member of, in lexicographic order."""
    return tuple(subset for subset in subsets(parties, faults_t) if party in subset)


class PrssKeys:
    """The keys that one party holds, one for each subset it is a member of. Shows none of them."""

    __slots__ = ("_keys", "faults_t", "parties", "party")

    def __init__(self, parties: int, faults_t: int, party: int, keys: Mapping[Subset, bytes]) -> None:
        expected = subsets_of(parties, faults_t, party)
        if set(keys) != set(expected):
            raise ValueError(f"{len(keys)} keys, expected one for each of the {len(expected)} subsets of party {party}")
        if any(len(key) != KEY_BYTES for key in keys.values()) or len(set(keys.values())) != len(keys):
            raise ValueError(f"keys are {KEY_BYTES} bytes each and no two are the same")
        self.parties = parties
        self.faults_t = faults_t
        self.party = party
        self._keys = tuple(bytes(keys[subset]) for subset in expected)

    def __repr__(self) -> str:
        return f"PrssKeys(parties={self.parties}, faults_t={self.faults_t}, party={self.party})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("keys are not pickled")

    def in_order(self) -> tuple[bytes, ...]:
        """The keys in the order of :func:`subsets_of`."""
        return self._keys


def prss_context(session: bytes, epoch: int, market: int, batch: int, attempt: int) -> bytes:
    """The context of one attempt at one batch; ``session`` is the 32-byte id of the agreed keys.

    The market is in it: markets of one epoch number their batches alike, and two that share a mask show the
    difference of what it hides.
    """
    numbers = epoch.to_bytes(8, "big") + market.to_bytes(4, "big") + batch.to_bytes(8, "big")
    return PRSS_CONTEXT(_session(session), numbers + attempt.to_bytes(4, "big"))


class Prss:
    """One party's source of shares for one context. Every party that asks for the same labels gets shares that fit."""

    __slots__ = ("_consumed", "_context", "_keys", "_random_factor", "_zero_factor", "faults_t", "party")

    def __init__(self, keys: PrssKeys, parties: int, t: int, party: int, context: bytes) -> None:
        if (keys.parties, keys.faults_t, keys.party) != (parties, t, party):
            raise ValueError(f"{keys!r} for party {party} of ({parties},{t})")
        if len(context) != 32:
            raise ValueError(f"a context of {len(context)} bytes, expected 32: use prss_context")
        self.faults_t = t
        self.party = party
        self._keys = keys.in_order()
        self._context = context
        self._consumed: set[str] = set()
        self._random_factor, self._zero_factor = _factors(parties, t, party)

    def __repr__(self) -> str:
        return f"Prss(party={self.party}, consumed={len(self._consumed)})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a source of masks is not pickled: two copies would hand out the same ones")

    def random(self, count: int, label: str) -> Elements:
        """Shares (count,) of degree t of ``count`` uniform values that nobody knows."""
        streams = self._streams(_RANDOM, 0, count, count * UNIFORM_BYTES, label)
        limbs = np.concatenate([stream.reshape(count, _UNIFORM_LIMBS) for stream in streams], axis=1)
        return combine(limbs, self._random_factor)[:, 0]

    def zero(self, count: int, label: str) -> Elements:
        """Shares (count,) of degree 2t of ``count`` zeros, to re-randomise products before they are opened."""
        streams = self._streams(_ZERO, 0, count, count * UNIFORM_BYTES * self.faults_t, label)
        limbs = np.concatenate([stream.reshape(count, _UNIFORM_LIMBS * self.faults_t) for stream in streams], axis=1)
        return combine(limbs, self._zero_factor)[:, 0]

    def bounded(self, count: int, bits: int, label: str) -> Elements:
        """Shares (count,) of degree t of integers that are each the sum of C(n,t) summands uniform below ``2^bits``.

        To t parties one summand is unknown: the sum of this and a value below ``2^b`` is within ``2^(b - bits)`` of
        independent of the value. The caller keeps ``C(n,t) 2^bits`` below what may wrap around the prime.
        """
        if not 1 <= bits < PRIME_BITS:
            raise ValueError(f"bits is {bits}, expected 1..{PRIME_BITS - 1}")
        limbs = -(-bits // 16)
        streams = self._streams(_BOUNDED, bits, count, count * limbs * 2, label)
        whole = np.stack([stream.reshape(count, limbs) for stream in streams], axis=1)
        whole[:, :, -1] &= (1 << (bits - 16 * (limbs - 1))) - 1
        factor = self._random_factor.reshape(len(self._keys), _UNIFORM_LIMBS, 4)[:, :limbs].reshape(-1, 4)
        return combine(whole.reshape(count, -1), factor)[:, 0]

    def _streams(self, kind: int, bits: int, count: int, size: int, label: str) -> list[NDArray[np.uint16]]:
        """16-bit limbs for each key. Consumes the label, before anything could go wrong with its use."""
        name = label.encode("utf-8")
        if not 1 <= len(name) <= LABEL_BYTES_MAX or not 0 <= count <= COUNT_MAX:
            raise ValueError(f"label of {len(name)} bytes for {count} values")
        if label in self._consumed:
            raise LabelReused(label)
        self._consumed.add(label)
        sizes = bytes([kind, bits]) + count.to_bytes(4, "big")
        seeds = (PRSS_STREAM(key, self._context, sizes, name) for key in self._keys)
        return [np.frombuffer(hashlib.shake_256(seed).digest(size), dtype="<u2") for seed in seeds]


@lru_cache(maxsize=64)
def _factors(parties: int, t: int, party: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The public linear maps from a party's streams to its shares, for ``random`` and ``bounded``, and for ``zero``."""
    point = party + 1
    values = []
    for subset in subsets_of(parties, t, party):
        value = 1
        for other in set(range(1, parties + 1)) - {member + 1 for member in subset}:
            value = value * (other - point) * pow(other, -1, PRIME) % PRIME
        values.append(value)
    random = np.array([[value] for value in values], dtype=object)
    zero = np.array([[value * point**power % PRIME] for value in values for power in range(1, t + 1)], dtype=object)
    return weight_limbs(random, _UNIFORM_LIMBS), weight_limbs(zero, _UNIFORM_LIMBS)


def _session(session: bytes) -> bytes:
    if len(session) != 32:
        raise ValueError(f"a session's name of {len(session)} bytes, expected 32")
    return session
