"""secp256k1 through libsecp256k1, called without coincurve's wrappers.

This is the one module that touches the C library. It does straight what the wrappers do in several steps, and
guards what the library does not forgive: it aborts the process on an empty sum, and it reports a
sum at infinity or a zero scalar only by a return value of 0.

Two families of operations, kept apart by name:

- `*_secret` run in constant time in the scalar. Multiplying a generator uses `ec_pubkey_create`; any other
  point uses `ecdh` with a hash function that returns the point itself, because `ec_pubkey_tweak_mul` is
  variable-time.
- everything else is variable-time and for public values only.

`FixedBase` serves public multiples of G, G2 and Y. Its table holds a multiple of `256^i * B` for every byte at
every position i, so a multiple is ONE call that adds 33 precomputed points, to which further points
are added for free. That costs 12 us here where `tweak_mul` costs 37. For `zG - eu` it was measured against
the other candidate, a single ECDSA recovery with R = u, s = -er, m = -zr and r = x(u): 49 us for the
recovery, and u parsed once more for the share (7 us); 37 + 12 us for a `tweak_mul` of u and the table. Equal
within noise, so the table stays: it serves G2 and Y as well, where no recovery helps, and has no exceptional
case (r = 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from sys import byteorder
from typing import Any, Final, NewType

from coincurve import _libsecp256k1 as _native
from coincurve.context import GLOBAL_CONTEXT

from threshold.errors import ThresholdError, UsageError, show

ffi: Final[Any] = _native.ffi
lib: Final[Any] = _native.lib
_CONTEXT: Final[Any] = GLOBAL_CONTEXT.ctx

Point = NewType("Point", object)
"""A parsed point, never infinity; opaque outside this module, and never written to once made."""

FIELD_PRIME: Final = 2**256 - 2**32 - 977
N: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
POINT_BYTES: Final = 33
UNCOMPRESSED_BYTES: Final = 65
SCALAR_BYTES: Final = 32
SCHNORR_BYTES: Final = 64
GENERATOR: Final = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")

_N_BYTES: Final = N.to_bytes(SCALAR_BYTES, "big")
_ZERO: Final = bytes(SCALAR_BYTES)
_COMPRESSED: Final[int] = lib.SECP256K1_EC_COMPRESSED
_UNCOMPRESSED: Final[int] = lib.SECP256K1_EC_UNCOMPRESSED
_POINT_T: Final = ffi.typeof("secp256k1_pubkey *")
_POINTER_ARRAY_T: Final = ffi.typeof("secp256k1_pubkey *[]")
_ENCODED_T: Final = ffi.typeof("unsigned char [33]")
_UNCOMPRESSED_T: Final = ffi.typeof("unsigned char [65]")
_SIZE_T: Final = ffi.typeof("size_t *")
_ADDRESS_T: Final = ffi.typeof("uintptr_t")
_ADDRESS_BYTES: Final[int] = ffi.sizeof("uintptr_t")
_ENTRY_BYTES: Final[int] = ffi.sizeof("secp256k1_pubkey")
_TERMS_BYTES: Final = (SCALAR_BYTES + 1) * _ADDRESS_BYTES
_LOWEST_BYTE: Final = 0 if byteorder == "little" else _ADDRESS_BYTES - 1
_new: Final = ffi.new
_cast: Final = ffi.cast
_from_buffer: Final = ffi.from_buffer
_buffer: Final = ffi.buffer
_parse: Final = lib.secp256k1_ec_pubkey_parse
_serialize: Final = lib.secp256k1_ec_pubkey_serialize
_combine: Final = lib.secp256k1_ec_pubkey_combine
_tweak_mul: Final = lib.secp256k1_ec_pubkey_tweak_mul


# -- scalars ---------------------------------------------------------------------------------------------


def is_scalar(data: bytes) -> bool:
    """Whether `data` is 32 bytes, big-endian, in [1, N-1]. Public values only: variable-time."""
    return len(data) == SCALAR_BYTES and _ZERO < data < _N_BYTES


def require_scalar(data: bytes, field: str) -> None:
    """Raise `ThresholdError("scalar.range")` unless `is_scalar(data)`."""
    if not is_scalar(data):
        raise ThresholdError("scalar.range", field, show(data), "32 bytes, big-endian, from 1 to N - 1")


def reduce_scalar(digest: bytes) -> bytes:
    """A 32-byte digest as an integer mod N, big-endian. Digests of N or more, one in 2^128, take another
    path."""
    if lib.secp256k1_ec_seckey_verify(_CONTEXT, digest):
        return digest
    reduced = int.from_bytes(digest, "big") % N
    if reduced == 0:
        raise UsageError("a hash is zero mod N; draw fresh randomness")
    return reduced.to_bytes(SCALAR_BYTES, "big")


def negate_scalar(scalar: bytes) -> bytes:
    """N - scalar, for a public scalar in [1, N-1]."""
    return (N - int.from_bytes(scalar, "big")).to_bytes(SCALAR_BYTES, "big")


def scalar_multiply_add_secret(a: bytes | bytearray, b: bytes, c: bytes | bytearray) -> bytes:
    """a * b + c mod N in constant time, all 32 bytes in [1, N-1]; `UsageError` when a step gives zero."""
    buffer = bytearray(a)
    view = ffi.from_buffer("unsigned char[]", buffer)
    done = lib.secp256k1_ec_seckey_tweak_mul(_CONTEXT, view, b) and lib.secp256k1_ec_seckey_tweak_add(
        _CONTEXT, view, ffi.from_buffer("unsigned char[]", c)
    )
    result = bytes(buffer)
    ffi.memmove(view, _ZERO, SCALAR_BYTES)
    if not done:
        raise UsageError("a scalar is out of range or a result is zero; draw fresh randomness")
    return result


def scalar_multiply_secret(a: bytes | bytearray, b: bytes) -> bytes:
    """a * b mod N in constant time, both 32 bytes in [1, N-1]; the product of two of these is never zero."""
    buffer = bytearray(a)
    view = ffi.from_buffer("unsigned char[]", buffer)
    done = len(view) == SCALAR_BYTES and lib.secp256k1_ec_seckey_tweak_mul(_CONTEXT, view, b)
    result = bytes(buffer)
    ffi.memmove(view, bytes(len(buffer)), len(buffer))
    if not done:
        raise UsageError("a secret scalar is not in [1, N-1]")
    return result


def scalar_add_secret(a: bytes | bytearray, b: bytes | bytearray) -> bytes:
    """a + b mod N in constant time, both 32 bytes in [1, N-1]; `UsageError` when the sum is zero."""
    buffer = bytearray(a)
    view = ffi.from_buffer("unsigned char[]", buffer)
    done = len(view) == SCALAR_BYTES and lib.secp256k1_ec_seckey_tweak_add(
        _CONTEXT, view, ffi.from_buffer("unsigned char[]", b)
    )
    result = bytes(buffer)
    ffi.memmove(view, bytes(len(buffer)), len(buffer))
    if not done:
        raise UsageError("a scalar is out of range or a sum is zero; draw fresh randomness")
    return result


# -- points ----------------------------------------------------------------------------------------------


def parse_point(data: bytes, field: str) -> Point:
    """Decode 33-byte compressed SEC1. Raises `point.encoding`, `point.off_curve` or `point.infinity`."""
    point = _new(_POINT_T)
    # libsecp256k1 also takes 65-byte forms: one encoding only is ours.
    if len(data) == POINT_BYTES and _parse(_CONTEXT, point, data, POINT_BYTES):
        return Point(point)
    if data and not any(data):
        raise ThresholdError("point.infinity", field, show(data), "a finite point")
    if len(data) != POINT_BYTES or data[0] not in (2, 3) or int.from_bytes(data[1:], "big") >= FIELD_PRIME:
        raise ThresholdError("point.encoding", field, show(data), "33 bytes of compressed SEC1")
    raise ThresholdError("point.off_curve", field, show(data), "the x coordinate of a point of secp256k1")


def encode_point(point: Point) -> bytes:
    """33 bytes of compressed SEC1."""
    out = _new(_ENCODED_T)
    _serialize(_CONTEXT, out, _new(_SIZE_T, POINT_BYTES), point, _COMPRESSED)
    encoded: bytes = _buffer(out)[:]
    return encoded


def point_from_xy(x: int, y: int) -> Point:
    """The point with these affine coordinates; `point.off_curve` unless they satisfy the curve's equation."""
    point = _new(_POINT_T)
    data = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    if not _parse(_CONTEXT, point, data, len(data)):
        raise ThresholdError("point.off_curve", "x, y", show(data), "coordinates of a point of secp256k1")
    return Point(point)


def lift_x(x: int) -> int | None:
    """The even y with y^2 = x^3 + 7, for x in [0, FIELD_PRIME); None where no point of secp256k1 has this x.

    One square root by the library: 6 us here, where `pow` takes 90.
    """
    point = _new(_POINT_T)
    if not _parse(_CONTEXT, point, b"\x02" + x.to_bytes(32, "big"), POINT_BYTES):
        return None
    out = _new(_UNCOMPRESSED_T)
    _serialize(_CONTEXT, out, _new(_SIZE_T, UNCOMPRESSED_BYTES), point, _UNCOMPRESSED)
    return int.from_bytes(_buffer(out)[POINT_BYTES:], "big")


def multiply(point: Point, scalar: bytes) -> Point:
    """scalar * point for a public scalar in [1, N-1]. Never infinity: the group's order is prime."""
    result = _new(_POINT_T, point[0])  # type: ignore[index]
    if not _tweak_mul(_CONTEXT, result, scalar):
        raise UsageError("a scalar is not in [1, N-1]")
    return Point(result)


def negate(point: Point) -> Point:
    """-point."""
    result = _new(_POINT_T, point[0])  # type: ignore[index]
    lib.secp256k1_ec_pubkey_negate(_CONTEXT, result)
    return Point(result)


def add(points: Sequence[Point]) -> Point | None:
    """The sum of one or more points, repeated ones included; None when it is infinity."""
    if not points:
        raise UsageError("a sum of no points")
    result = _new(_POINT_T)
    if not _combine(_CONTEXT, result, _new(_POINTER_ARRAY_T, points), len(points)):
        return None
    return Point(result)


class FixedBase:
    """A table for public multiples of one point: 512 KiB of points, about 25 ms to build, 10 us per
    multiple.

    Row k holds (d + 1) * 256^k * B for every byte d, so that no entry is infinity; the ones too many are taken off
    by a last term. An entry is one cache line, and its address is worked out instead of looked up: a node's tables
    do not fit its fast caches, and each access to slower memory costs as much as half an addition.
    """

    __slots__ = ("_addresses", "_storage")

    def __init__(self, base: Point) -> None:
        last = SCALAR_BYTES * 256
        self._storage = _new("unsigned char[]", (last + 2) * _ENTRY_BYTES)
        first = -(-int(_cast(_ADDRESS_T, self._storage)) // _ENTRY_BYTES) * _ENTRY_BYTES
        table = _cast(_POINT_T, first)
        pair = _new("secp256k1_pubkey *[2]")
        rows = [table + position * 256 for position in range(SCALAR_BYTES)]
        rows[0][0] = base[0]  # type: ignore[index]
        for position, row in enumerate(rows):
            if position:
                row[0] = rows[position - 1][255]
            pair[1] = row
            for digit in range(1, 256):
                pair[0] = row + (digit - 1)
                _combine(_CONTEXT, row + digit, pair, 2)
        _combine(_CONTEXT, table + last, _new(_POINTER_ARRAY_T, rows), len(rows))
        lib.secp256k1_ec_pubkey_negate(_CONTEXT, table + last)
        # the first entry of each row, the most significant first as scalars are written, and the last term
        starts = [int(_cast(_ADDRESS_T, entry)) for entry in (*reversed(rows), table + last)]
        packed = b"".join(start.to_bytes(_ADDRESS_BYTES, byteorder) for start in starts)
        self._addresses = int.from_bytes(packed, byteorder)

    def multiply_add(self, scalar: bytes, *others: Point) -> Point | None:
        """scalar * base + the other points, for a public scalar in [0, N-1]; None when the sum is
        infinity."""
        terms = self.terms(scalar, *others)
        result = _new(_POINT_T)
        if not _combine(_CONTEXT, result, _from_buffer(_POINTER_ARRAY_T, terms), len(terms) // _ADDRESS_BYTES):
            return None
        return Point(result)

    def terms(self, scalar: bytes, *others: Point) -> bytes:
        """The addresses of the points whose sum that is, as a C array; what they point to is the table's and the
        others', and lives as long as these do."""
        if len(scalar) != SCALAR_BYTES:
            raise UsageError(f"a scalar of {len(scalar)} bytes")
        digits = bytearray(_TERMS_BYTES)
        digits[_LOWEST_BYTE : SCALAR_BYTES * _ADDRESS_BYTES : _ADDRESS_BYTES] = scalar
        # every digit times the size of an entry, each onto its row's address, in one addition
        sums = self._addresses + (int.from_bytes(digits, byteorder) * _ENTRY_BYTES)
        terms = sums.to_bytes(_TERMS_BYTES, byteorder)
        if others:
            terms = b"".join((terms, *map(_address, others)))
        return terms


def _address(point: Any) -> bytes:
    """Where a point lies in memory, as an entry of a C array of pointers."""
    return int(_cast(_ADDRESS_T, point)).to_bytes(_ADDRESS_BYTES, byteorder)


@cache
def generator_table() -> FixedBase:
    """The table of G, built at the first use."""
    return FixedBase(parse_point(GENERATOR, "generator"))


# -- secret scalars --------------------------------------------------------------------------------------


@ffi.callback("int(unsigned char *, const unsigned char *, const unsigned char *, void *)")  # type: ignore[untyped-decorator]
def _return_point(output: Any, x: Any, y: Any, _data: Any) -> int:
    """The hash function given to `ecdh`: the compressed point itself, 33 bytes."""
    output[0] = 2 | (y[31] & 1)
    ffi.memmove(output + 1, x, 32)
    return 1


def multiply_secret(point: Point, scalar: bytes | bytearray) -> bytes:
    """scalar * point, compressed, in constant time in the scalar; `UsageError` unless it is in [1, N-1]."""
    out = _new(_ENCODED_T)
    view = ffi.from_buffer("unsigned char[]", scalar)
    if len(view) != SCALAR_BYTES or not lib.secp256k1_ecdh(
        _CONTEXT, out, point, view, _return_point, ffi.NULL
    ):
        raise UsageError("a secret scalar is not in [1, N-1]")
    encoded: bytes = _buffer(out)[:]
    return encoded


def generator_point_secret(scalar: bytes | bytearray) -> Point:
    """scalar * G in constant time in the scalar; `UsageError` unless it is in [1, N-1]."""
    point = _new(_POINT_T)
    view = ffi.from_buffer("unsigned char[]", scalar)
    if len(view) != SCALAR_BYTES or not lib.secp256k1_ec_pubkey_create(_CONTEXT, point, view):
        raise UsageError("a secret scalar is not in [1, N-1]")
    return Point(point)


def generator_multiply_secret(scalar: bytes | bytearray) -> bytes:
    """scalar * G, compressed, in constant time in the scalar; `UsageError` unless it is in [1, N-1]."""
    return encode_point(generator_point_secret(scalar))


# -- proofs of knowledge of a logarithm ------------------------------------------------------------------


def schnorr_prove_secret(scalar: bytes | bytearray, statement: bytes, entropy: bytes) -> bytes:
    """A proof of knowledge of the logarithm of scalar * G, 64 bytes, bound to a 32-byte statement.

    It is a BIP-340 signature of the statement: Schnorr's proof whose challenge hashes the commitment, the point's x and
    the statement. It proves the logarithm up to its sign, which is the same knowledge. Constant time in the scalar.
    The nonce hashes the scalar, the 32 bytes of entropy and the statement, as BIP-340 has it.
    """
    if not len(statement) == len(entropy) == SCALAR_BYTES:
        raise UsageError("a statement and entropy are 32 bytes each")
    pair, proof = _new("secp256k1_keypair *"), _new("unsigned char[64]")
    view = ffi.from_buffer("unsigned char[]", scalar)
    if len(view) != SCALAR_BYTES or not lib.secp256k1_keypair_create(_CONTEXT, pair, view):
        raise UsageError("a secret scalar is not in [1, N-1]")
    done = lib.secp256k1_schnorrsig_sign32(_CONTEXT, proof, statement, pair, entropy)
    _buffer(pair)[:] = bytes(ffi.sizeof("secp256k1_keypair"))
    if not done:
        raise UsageError("a nonce is zero; draw fresh randomness")
    encoded: bytes = _buffer(proof)[:]
    return encoded


def schnorr_verify(point: Point, statement: bytes, proof: bytes) -> bool:
    """Whether `proof` (64 bytes) shows knowledge of the point's logarithm, bound to the 32-byte statement."""
    if len(statement) != SCALAR_BYTES or len(proof) != SCHNORR_BYTES:
        return False
    xonly = _new("secp256k1_xonly_pubkey *")
    lib.secp256k1_xonly_pubkey_from_pubkey(_CONTEXT, xonly, ffi.NULL, point)
    return bool(lib.secp256k1_schnorrsig_verify(_CONTEXT, proof, statement, len(statement), xonly))
