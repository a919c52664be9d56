"""Sealing: the threshold cryptosystem TDH2, with a derandomised and re-checkable key encapsulation.

TDH2 is due to Shoup and Gennaro, "Securing threshold cryptosystems against chosen ciphertext attack" (J.
Cryptology 15, 2002): the encryptor encrypts to u = rG under Y = xG and proves in zero knowledge, bound to a
label, that v = r G2 has the same exponent. So a ciphertext whose proof holds was made by somebody who knows
r, under this label: a share x_i u of it helps nobody with somebody else's ciphertext. Shares are released on
nothing else: `share` takes only what `check` returned.

Two deviations, both for a log that anybody can verify:

- r and s are hashes of the plaintext and of 32 random bytes sigma that travel inside (as in Fujisaki and
  Okamoto), so whoever has (sigma, message) re-encrypts and compares the whole ciphertext. No share is needed
  to verify an opening.
- opening requires rG = u, rY = P and z = s + r e. Without the last two an encryptor with one accomplice among
  the members makes a ciphertext that opens under some subsets of shares and not under others.

Who may learn what: `seal` is constant-time in r and s. `check`, `open_ciphertext` and `verify_opening` handle
public values, or values that are public from then on, and use variable-time tables (`group.FixedBase`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Final, NoReturn

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt as _aead_decrypt,
)
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_encrypt as _aead_encrypt,
)
from nacl.exceptions import CryptoError

from threshold import group, tags
from threshold.errors import ThresholdError, UsageError, show
from threshold.group import SCALAR_BYTES, FixedBase, N, Point
from threshold.hash_to_curve import second_generator
from threshold.secret_share import SecretShare
from threshold.shamir import combine
from threshold.wire import (
    ADDRESS_BYTES,
    SIGMA_BYTES,
    Ciphertext,
    Label,
    decode_with_points,
)

__all__ = [
    "CheckedCiphertext",
    "Opening",
    "SealingKey",
    "SecretShare",
    "check",
    "combine",
    "open_ciphertext",
    "seal",
    "share",
    "verify_opening",
]

SIZE_BUCKET_SEALED_BYTES_MAX: Final = 1 << 20
"""The largest padded message `seal` makes; what is accepted is for the deployment's list of buckets to
say."""
_LENGTH_BYTES: Final = 4
_NONCE: Final = bytes(12)  # one key, one message: K is fresh with sigma


@cache
def _second_generator_point() -> Point:
    return group.parse_point(second_generator(), "second generator")


@cache
def _second_generator_table() -> FixedBase:
    return FixedBase(_second_generator_point())


class SealingKey:
    """The threshold public key Y (33 bytes) of a deployment; `key_id` binds it to chain and settlement
    contract."""

    __slots__ = ("_point", "_table", "chain_id", "key_id", "public_key", "settlement")

    def __init__(self, public_key: bytes, chain_id: int, settlement: bytes) -> None:
        """Raises a `point.*` code for a public key that is none, `UsageError` for the rest."""
        if not 0 <= chain_id < 1 << 64 or len(settlement) != ADDRESS_BYTES:
            raise UsageError(
                f"chain_id is u64 and settlement {ADDRESS_BYTES} bytes, not {chain_id}, {settlement!r}"
            )
        self._point = group.parse_point(public_key, "public_key")
        self._table: FixedBase | None = None
        self.public_key = public_key
        self.chain_id = chain_id
        self.settlement = settlement
        self.key_id = tags.KEY(public_key, chain_id.to_bytes(8, "big"), settlement)

    def prepare(self) -> None:
        """Build the tables of G, G2 and Y now, about 80 ms, instead of at the first check and opening."""
        group.generator_table()
        _second_generator_table()
        self._multiples()

    def _multiples(self) -> FixedBase:
        if self._table is None:
            self._table = FixedBase(self._point)
        return self._table

    def __repr__(self) -> str:
        return f"SealingKey({self.public_key.hex()}, {self.chain_id}, 0x{self.settlement.hex()})"


class CheckedCiphertext:
    """A ciphertext that passed `check`, which alone makes one: the only thing shares are computed of."""

    __slots__ = ("ciphertext", "encoded", "label", "label_encoded", "u_point")

    label: Label
    label_encoded: bytes
    ciphertext: Ciphertext
    encoded: bytes
    u_point: Point

    def __init__(self, *_args: object, **_fields: object) -> None:
        raise TypeError("a checked ciphertext comes from check() alone")

    def _refuse(self, *_args: object) -> NoReturn:
        raise TypeError("a checked ciphertext is neither changed, copied nor pickled")

    __setattr__ = _refuse
    __delattr__ = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse
    __getstate__ = _refuse

    def __repr__(self) -> str:
        return f"CheckedCiphertext(u={self.ciphertext.u.hex()}, label={self.label!r})"


@dataclass(frozen=True, slots=True)
class Opening:
    """A ciphertext's opening, final whatever the shares were.

    `message` is None when the encryptor sealed a bad length prefix or padding that is not zero: the order is
    then malformed, `malformed_reason` says why, and (sigma, padded) proves it to anybody.
    """

    sigma: bytes
    padded: bytes
    message: bytes | None
    malformed_reason: str | None


# -- what seal, open and verify share ---------------------------------------------------------------------


def _exponents(sigma: bytes, label: bytes, padded: bytes) -> tuple[bytes, bytes]:
    """(r, s), 32 bytes each; `UsageError` when one is zero mod N, which no known sigma brings about."""
    seed = b"".join((sigma, label, hashlib.sha256(padded).digest()))
    return group.reduce_scalar(tags.SEAL_R(seed)), group.reduce_scalar(tags.SEAL_S(seed))


def _challenge(label: bytes, uv: bytes, w: bytes, w2: bytes, c: bytes) -> bytes:
    """e, 32 bytes, in [1, N-1]; uv is u || v, and w, w2 are the commitments sG, sG2."""
    return group.reduce_scalar(tags.SEAL_PROOF(label, uv, w, w2, hashlib.sha256(c).digest()))


def _encapsulated_key(product: bytes, u: bytes) -> bytes:
    return tags.SEAL_KEM(product, u)


def _require_same_key(key: SealingKey, label: Label) -> None:
    if label.chain_id != key.chain_id:
        raise ThresholdError("label.chain", "label.chain_id", str(label.chain_id), str(key.chain_id))
    if label.settlement != key.settlement:
        raise ThresholdError(
            "label.settlement", "label.settlement", show(label.settlement), show(key.settlement)
        )
    if label.key_id != key.key_id:
        raise ThresholdError("label.key", "label.key_id", show(label.key_id), show(key.key_id))


# -- the operations -----------------------------------------------------------------------------------------


def seal(key: SealingKey, label: Label, message: bytes, *, sigma: bytes) -> bytes:
    """Encrypt a message under a label: the ciphertext's bytes. `sigma` is 32 fresh random bytes.

    Raises `label.*` when the label is not for this key or does not encode, `label.bucket` for a bucket above
    2^20 bytes, `message.length` when the message and its 4-byte length do not fit the bucket, `sigma.length`.
    """
    _require_same_key(key, label)
    label_bytes = label.encode()
    bucket = label.size_bucket
    if bucket > SIZE_BUCKET_SEALED_BYTES_MAX:
        expected = f"at most {SIZE_BUCKET_SEALED_BYTES_MAX} bytes"
        raise ThresholdError("label.bucket", "label.size_bucket", str(bucket), expected)
    if len(message) + _LENGTH_BYTES > bucket:
        expected = f"at most {bucket - _LENGTH_BYTES} bytes in a bucket of {bucket}"
        raise ThresholdError("message.length", "message", f"{len(message)} bytes", expected)
    if len(sigma) != SIGMA_BYTES:
        raise ThresholdError("sigma.length", "sigma", f"{len(sigma)} bytes", f"{SIGMA_BYTES} random bytes")
    padded = (len(message).to_bytes(_LENGTH_BYTES, "big") + message).ljust(bucket, b"\0")
    r, s = _exponents(sigma, label_bytes, padded)
    second = _second_generator_point()
    u = group.generator_multiply_secret(r)
    v = group.multiply_secret(second, r)
    k = _encapsulated_key(group.multiply_secret(key._point, r), u)
    c = _aead_encrypt(sigma + padded, label_bytes + u + v, _NONCE, k)
    w = group.generator_multiply_secret(s)
    e = _challenge(label_bytes, u + v, w, group.multiply_secret(second, s), c)
    z = group.scalar_multiply_add_secret(r, e, s)
    return Ciphertext(u, v, e, z, c).encode()


def check(key: SealingKey, label: bytes, ciphertext: bytes, *, buckets: Collection[int]) -> CheckedCiphertext:
    """Verify a ciphertext under its label: everything but validity in time, which is the caller's to judge.

    `buckets` are the sizes the deployment lists, in bytes. Raises `label.*` for a label that does not decode,
    is not for this key or has an unlisted bucket; `ciphertext.*`, `point.*` or `scalar.range` for one that
    does not decode; `tdh2.proof` when the proof does not hold under this label.
    """
    parsed_label = Label.decode(label)
    _require_same_key(key, parsed_label)
    if parsed_label.size_bucket not in buckets:
        expected = f"one of {sorted(buckets)}"
        raise ThresholdError("label.bucket", "label.size_bucket", str(parsed_label.size_bucket), expected)
    parsed, u, v = decode_with_points(ciphertext, parsed_label.size_bucket)
    minus_e = group.negate_scalar(parsed.e)
    w = group.generator_table().multiply_add(parsed.z, group.multiply(u, minus_e))
    w2 = _second_generator_table().multiply_add(parsed.z, group.multiply(v, minus_e))
    if w is None or w2 is None:
        raise ThresholdError("tdh2.proof", "ciphertext.z", "a commitment at infinity", "finite commitments")
    e = _challenge(label, parsed.u + parsed.v, group.encode_point(w), group.encode_point(w2), parsed.c)
    if e != parsed.e:
        raise ThresholdError(
            "tdh2.proof", "ciphertext.e", show(parsed.e), f"{show(e)}, from this label and u, v, c"
        )
    checked = object.__new__(CheckedCiphertext)
    put = object.__setattr__
    put(checked, "label", parsed_label)
    put(checked, "label_encoded", label)
    put(checked, "ciphertext", parsed)
    put(checked, "encoded", ciphertext)
    put(checked, "u_point", u)
    return checked


def share(secret: SecretShare, checked: CheckedCiphertext) -> bytes:
    """The decryption share x_i u, 33 bytes, in constant time in x_i.

    The caller has also verified the label's validity, and that the block holding the ciphertext is final.
    """
    if type(checked) is not CheckedCiphertext:
        raise TypeError("a share is made of a checked ciphertext alone")
    return secret.multiply(checked.u_point)


def open_ciphertext(key: SealingKey, checked: CheckedCiphertext, point: bytes) -> Opening:
    """Open a checked ciphertext with P = x u (33 bytes, from `combine`).

    Raises `opening.failed` naming the step that failed: the shares were bad, or the encryptor was dishonest.
    Which one it was, verified shares tell.
    """
    if checked.label.key_id != key.key_id:
        raise UsageError("the ciphertext was checked under another key")
    sealed = checked.ciphertext
    k = _encapsulated_key(point, sealed.u)
    try:
        plaintext = _aead_decrypt(sealed.c, checked.label_encoded + sealed.u + sealed.v, _NONCE, k)
    except CryptoError:
        raise _opening_failed("point", show(point), "a point whose key authenticates c") from None
    sigma, padded = plaintext[:SIGMA_BYTES], plaintext[SIGMA_BYTES:]
    try:
        r, s = _exponents(sigma, checked.label_encoded, padded)
    except UsageError:
        raise _opening_failed("ciphertext.c", "a zero exponent", "exponents from 1 to N - 1") from None
    if _public_multiple(group.generator_table(), r) != sealed.u:
        raise _opening_failed("ciphertext.u", show(sealed.u), "rG for the r that c determines")
    if _public_multiple(key._multiples(), r) != point:
        raise _opening_failed("point", show(point), "rY for the r that c determines")
    z = int.from_bytes(s, "big") + int.from_bytes(r, "big") * int.from_bytes(sealed.e, "big")
    if (z % N).to_bytes(SCALAR_BYTES, "big") != sealed.z:
        raise _opening_failed("ciphertext.z", show(sealed.z), "s + r e for the r and s that c determines")
    message, reason = _unpad(padded)
    return Opening(sigma, padded, message, reason)


def _opening_failed(field: str, seen: str, expected: str) -> ThresholdError:
    return ThresholdError("opening.failed", field, seen, expected)


def _public_multiple(table: FixedBase, scalar: bytes) -> bytes:
    product = table.multiply_add(scalar)
    return b"" if product is None else group.encode_point(product)


def _unpad(padded: bytes) -> tuple[bytes | None, str | None]:
    if len(padded) < _LENGTH_BYTES:
        return None, f"a padded message of {len(padded)} bytes has no length prefix"
    length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
    end = _LENGTH_BYTES + length
    if end > len(padded):
        return None, f"length prefix {length} does not fit {len(padded)} bytes"
    if padded.count(0, end) != len(padded) - end:
        return None, f"padding after byte {end} is not zero"
    return padded[_LENGTH_BYTES:end], None


def verify_opening(key: SealingKey, label: bytes, ciphertext: bytes, sigma: bytes, padded: bytes) -> bool:
    """Whether (sigma, padded message) seals to exactly this ciphertext under this label and key.

    Anybody can do it, without shares: it re-encrypts and compares every byte. True as well for an opening
    that is malformed inside; `_unpad` of it is what a malformed order is judged by. Nothing a peer sends
    raises.
    """
    try:
        parsed = Label.decode(label)
        _require_same_key(key, parsed)
        if len(sigma) != SIGMA_BYTES or len(padded) != parsed.size_bucket:
            return False
        r, s = _exponents(sigma, label, padded)
        u = _public_multiple(group.generator_table(), r)
        v = _public_multiple(_second_generator_table(), r)
        k = _encapsulated_key(_public_multiple(key._multiples(), r), u)
        c = _aead_encrypt(sigma + padded, label + u + v, _NONCE, k)
        w = _public_multiple(group.generator_table(), s)
        e = _challenge(label, u + v, w, _public_multiple(_second_generator_table(), s), c)
        z = group.scalar_multiply_add_secret(r, e, s)
    except (ThresholdError, UsageError):
        return False
    return Ciphertext(u, v, e, z, c).encode() == ciphertext
