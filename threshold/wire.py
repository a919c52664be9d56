"""The two encodings every party must agree on to the byte: the label and the ciphertext.

    label      = version u8=1 || chain_id u64 || settlement 20 || key_id 32 || sponsor 20
                 || valid_from_ms u64 || valid_until_ms u64 || size_bucket u32                   (101 bytes)
    ciphertext = version u8=1 || u 33 || v 33 || e 32 || z 32 || c                    (179 bytes +
    size_bucket)

Integers are big-endian, points compressed SEC1, scalars 32 bytes in [1, N-1]. c is as long as its label's
size bucket fixes: 32 bytes of sigma, the padded message, a 16-byte authentication tag. Each value has one
encoding: `decode` takes nothing that `encode` would not have written, so bytes that decode can be hashed as
they came.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from threshold import group
from threshold.errors import ThresholdError, show
from threshold.group import POINT_BYTES, SCALAR_BYTES, Point

VERSION: Final = 1
ADDRESS_BYTES: Final = 20
KEY_ID_BYTES: Final = 32
SIGMA_BYTES: Final = 32
AEAD_TAG_BYTES: Final = 16
SEALED_OVERHEAD_BYTES: Final = SIGMA_BYTES + AEAD_TAG_BYTES
"""How much longer c is than its size bucket."""

LABELS_CACHED_MAX: Final = 16

_LABEL: Final = struct.Struct(">BQ20s32s20sQQI")
LABEL_BYTES: Final = _LABEL.size
CIPHERTEXT_HEAD_BYTES: Final = 1 + 2 * POINT_BYTES + 2 * SCALAR_BYTES
_U_AT: Final = 1
_V_AT: Final = _U_AT + POINT_BYTES
_E_AT: Final = _V_AT + POINT_BYTES
_Z_AT: Final = _E_AT + SCALAR_BYTES
_C_AT: Final = CIPHERTEXT_HEAD_BYTES


def ciphertext_bytes(size_bucket: int) -> int:
    """The length of a ciphertext whose label has this size bucket."""
    return CIPHERTEXT_HEAD_BYTES + SEALED_OVERHEAD_BYTES + size_bucket


@dataclass(frozen=True, slots=True)
class Label:
    """What is public about a sealed order, and bound to it. Times are Unix milliseconds, size_bucket is
    bytes."""

    chain_id: int
    settlement: bytes
    key_id: bytes
    sponsor: bytes
    valid_from_ms: int
    valid_until_ms: int
    size_bucket: int

    def encode(self) -> bytes:
        """101 bytes. Raises `label.field` or `label.validity`."""
        for name, width_bits in (
            ("chain_id", 64),
            ("valid_from_ms", 64),
            ("valid_until_ms", 64),
            ("size_bucket", 32),
        ):
            number = getattr(self, name)
            if not 0 <= number < 1 << width_bits:
                raise ThresholdError("label.field", f"label.{name}", str(number), f"0 to 2^{width_bits} - 1")
        for name, length in (
            ("settlement", ADDRESS_BYTES),
            ("key_id", KEY_ID_BYTES),
            ("sponsor", ADDRESS_BYTES),
        ):
            data = getattr(self, name)
            if len(data) != length:
                raise ThresholdError("label.field", f"label.{name}", show(data), f"{length} bytes")
        self._require_span()
        return _LABEL.pack(
            VERSION,
            self.chain_id,
            self.settlement,
            self.key_id,
            self.sponsor,
            self.valid_from_ms,
            self.valid_until_ms,
            self.size_bucket,
        )

    @classmethod
    def decode(cls, data: bytes) -> Label:
        """Strict inverse of `encode`. Raises `label.length`, `label.version` or `label.validity`."""
        if len(data) != LABEL_BYTES:
            raise ThresholdError("label.length", "label", show(data), f"{LABEL_BYTES} bytes")
        return _decode_label(data)

    def _require_span(self) -> None:
        if self.valid_from_ms >= self.valid_until_ms:
            raise ThresholdError(
                "label.validity",
                "label.valid_until_ms",
                str(self.valid_until_ms),
                f"more than valid_from_ms = {self.valid_from_ms}",
            )


@lru_cache(maxsize=LABELS_CACHED_MAX)
def _decode_label(data: bytes) -> Label:
    """Whoever checks an order looks at its label twice in a row: at its window, then with its ciphertext."""
    version, *fields = _LABEL.unpack(data)
    if version != VERSION:
        raise ThresholdError("label.version", "label.version", str(version), str(VERSION))
    label = Label(*fields)
    label._require_span()
    return label


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """A sealed message: u, v are 33-byte points, e, z 32-byte scalars, c the authenticated ciphertext."""

    u: bytes
    v: bytes
    e: bytes
    z: bytes
    c: bytes

    def encode(self) -> bytes:
        """179 bytes + size bucket. The fields are written as they are; `decode` judges them."""
        return b"".join((bytes((VERSION,)), self.u, self.v, self.e, self.z, self.c))

    @classmethod
    def decode(cls, data: bytes, size_bucket: int) -> Ciphertext:
        """Strict inverse of `encode` for a label's size bucket, in bytes.

        Raises `ciphertext.length`, `ciphertext.version`, `scalar.range` or a `point.*` code.
        """
        return decode_with_points(data, size_bucket)[0]


def decode_with_points(data: bytes, size_bucket: int) -> tuple[Ciphertext, Point, Point]:
    """As `Ciphertext.decode`, with u and v parsed, so that they are parsed once."""
    expected = ciphertext_bytes(size_bucket)
    if len(data) != expected:
        raise ThresholdError("ciphertext.length", "ciphertext", show(data), f"{expected} bytes")
    if data[0] != VERSION:
        raise ThresholdError("ciphertext.version", "ciphertext.version", str(data[0]), str(VERSION))
    parsed = Ciphertext(
        data[_U_AT:_V_AT], data[_V_AT:_E_AT], data[_E_AT:_Z_AT], data[_Z_AT:_C_AT], data[_C_AT:]
    )
    group.require_scalar(parsed.e, "ciphertext.e")
    group.require_scalar(parsed.z, "ciphertext.z")
    u = group.parse_point(parsed.u, "ciphertext.u")
    v = group.parse_point(parsed.v, "ciphertext.v")
    return parsed, u, v
