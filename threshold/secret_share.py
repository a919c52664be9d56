"""One member's secret share of the threshold key, kept where it is harder to leak than to use.

It shows itself nowhere (repr, str, format), cannot be copied or pickled, has no equality beyond identity, and
can be overwritten. That is hygiene against accidents, not against somebody who reads the process's memory:
Python may have copied the bytes the share was made from, and those are the caller's to drop.
"""

from __future__ import annotations

from typing import Final, NoReturn

from threshold import group
from threshold.errors import UsageError
from threshold.group import SCALAR_BYTES, Point

INDEX_MAX: Final = 2**16 - 1
"""Indexes are u16 in every signed and hashed encoding; 0 is where the secret itself sits."""


class SecretShare:
    """The share x_i of member `index` (1..65535): 32 bytes, big-endian, in [1, N-1].

    `UsageError` for an index or secret out of range, without showing the secret.
    """

    __slots__ = ("_erased", "_secret", "index")

    def __init__(self, index: int, secret: bytes | bytearray) -> None:
        if not 1 <= index <= INDEX_MAX:
            raise UsageError(f"a share's index is 1..{INDEX_MAX}, not {index}")
        self.index = index
        self._secret = bytearray(secret)
        self._erased = False
        # Judged by the library, in constant time: making the public key fails on zero, N and above.
        group.generator_multiply_secret(self._secret)

    def verification_key(self) -> bytes:
        """Y_i = x_i G, 33 bytes."""
        return group.generator_multiply_secret(self._live())

    def multiply(self, point: Point) -> bytes:
        """x_i * point, 33 bytes, in constant time in the share."""
        return group.multiply_secret(point, self._live())

    def respond(self, challenge: bytes, nonce: bytes) -> bytes:
        """nonce + challenge * x_i mod N: a Schnorr response. The nonce is secret and used once."""
        return group.scalar_multiply_add_secret(self._live(), challenge, nonce)

    def nonce_material(self) -> bytes:
        """The share's bytes as input to a tagged hash that derives a nonce; for `threshold.proofs` alone."""
        return bytes(self._live())

    def export(self) -> bytes:
        """The share's 32 bytes, to be put into an encrypted keystore. The caller's copy cannot be erased."""
        return bytes(self._live())

    def erase(self) -> None:
        """Overwrite the share. Every later use raises `UsageError`."""
        self._erased = True
        self._secret[:] = bytes(SCALAR_BYTES)

    def _live(self) -> bytearray:
        if self._erased:
            raise UsageError(f"the secret share of index {self.index} has been erased")
        return self._secret

    def __repr__(self) -> str:
        return f"SecretShare(index={self.index})"

    def _refuse(self, *_args: object) -> NoReturn:
        raise TypeError("a secret share is neither copied nor pickled")

    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse
    __getstate__ = _refuse
