"""The messages of a session: fixed binary layouts, one encoding each, one leading byte that names the type.

    1 session key   B 33 || proof 64                                                     by a receiver
    2 deal          commitments 33 t || per receiver with a key, ascending: E 33 || proof 64 || body
                    body: ChaCha20-Poly1305 of s 32 || s' 32 (generation) or of s 32 (resharing)   by a dealer
    3 answer        complaints, ascending by dealer: i u16 || D 33 || c 32 || z 32       by a receiver
    4 feldman       A_0 .. A_t-1, 33 each || c 32 || z 32                                by a dealer
    5 extract       as the complaints, one for each dealer to be extracted               by a receiver
    6 ready         hash of the result 32                                                by a receiver

Author and session are not repeated: the caller has authenticated the author, and every proof hashes both. `decode_*`
refuse what `encode` would not have written, so equal messages are equal bytes. Points are parsed once, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Final

from threshold import group
from threshold.dkg.plan import Kind, Role
from threshold.ecies import AEAD_TAG_BYTES
from threshold.errors import ThresholdError, show
from threshold.group import POINT_BYTES, SCALAR_BYTES, SCHNORR_BYTES, Point

HASH_BYTES: Final = 32
INDEX_BYTES: Final = 2
OPENED_BYTES: Final = INDEX_BYTES + POINT_BYTES + 2 * SCALAR_BYTES
SESSION_KEY_BYTES: Final = 1 + POINT_BYTES + SCHNORR_BYTES
READY_BYTES: Final = 1 + HASH_BYTES


class MessageType(IntEnum):
    """The leading byte."""

    SESSION_KEY = 1
    DEAL = 2
    ANSWER = 3
    FELDMAN = 4
    EXTRACT = 5
    READY = 6

    @property
    def role(self) -> Role:
        """Whose index the author of such a message speaks under."""
        return Role.DEALER if self in (MessageType.DEAL, MessageType.FELDMAN) else Role.RECEIVER


def message_type(payload: bytes) -> MessageType:
    """The type that the leading byte names. Raises `dkg.type`; the rest is not looked at."""
    if not payload or payload[0] not in MessageType.__members__.values():
        raise ThresholdError("dkg.type", "message.type", show(payload[:1]), "one byte from 1 to 6")
    return MessageType(payload[0])


def body_bytes(kind: Kind) -> int:
    """The length of one sealed share of a deal."""
    values = 2 if kind is Kind.GENERATE else 1
    return values * SCALAR_BYTES + AEAD_TAG_BYTES


def deal_bytes(kind: Kind, receivers: int, threshold: int) -> int:
    """The length of a deal to so many receivers with keys."""
    return 1 + threshold * POINT_BYTES + receivers * (POINT_BYTES + SCHNORR_BYTES + body_bytes(kind))


def feldman_bytes(threshold: int) -> int:
    """The length of a Feldman message."""
    return 1 + threshold * POINT_BYTES + 2 * SCALAR_BYTES


def payload_bytes_max(kind: Kind, dealers: int, receivers: int, threshold: int) -> int:
    """No message of a session with so many dealers and receivers is longer."""
    return max(
        SESSION_KEY_BYTES,
        deal_bytes(kind, receivers, threshold),
        1 + dealers * OPENED_BYTES,
        feldman_bytes(threshold),
        READY_BYTES,
    )


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A receiver's key B and its proof of possession."""

    key: bytes
    proof: bytes
    point: Point = field(compare=False, repr=False)

    def encode(self) -> bytes:
        """98 bytes."""
        return bytes((MessageType.SESSION_KEY,)) + self.key + self.proof


@dataclass(frozen=True, slots=True)
class SealedShare:
    """A deal's part for one receiver: the ephemeral point E, its proof of knowledge, the sealed share."""

    ephemeral: bytes
    proof: bytes
    body: bytes
    point: Point = field(compare=False, repr=False)

    def encode(self) -> bytes:
        return self.ephemeral + self.proof + self.body


@dataclass(frozen=True, slots=True)
class Deal:
    """Commitments to a polynomial, and its values sealed to each receiver that has a key, by index."""

    commitments: tuple[bytes, ...]
    sealed: Mapping[int, SealedShare]
    points: tuple[Point, ...] = field(compare=False, repr=False)

    def encode(self) -> bytes:
        """`deal_bytes` bytes."""
        parts = (self.sealed[j].encode() for j in sorted(self.sealed))
        return b"".join((bytes((MessageType.DEAL,)), *self.commitments, *parts))


@dataclass(frozen=True, slots=True)
class Opened:
    """The point D = b_j E_ij that opens dealer i's deal to the author, with a proof (c, z) that it does."""

    dealer: int
    encoded: bytes
    c: bytes
    z: bytes
    point: Point = field(compare=False, repr=False)

    def encode(self) -> bytes:
        return self.dealer.to_bytes(INDEX_BYTES, "big") + self.encoded + self.c + self.z


@dataclass(frozen=True, slots=True)
class Feldman:
    """Commitments A_k = a_k G to a dealer's polynomial, with a proof (c, z) that its deal committed to the same."""

    commitments: tuple[bytes, ...]
    c: bytes
    z: bytes
    points: tuple[Point, ...] = field(compare=False, repr=False)

    def encode(self) -> bytes:
        """`feldman_bytes` bytes."""
        return b"".join((bytes((MessageType.FELDMAN,)), *self.commitments, self.c, self.z))


def encode_opened(kind: MessageType, opened: Sequence[Opened]) -> bytes:
    """An answer's complaints or an extraction."""
    return b"".join((bytes((kind,)), *(entry.encode() for entry in opened)))


def encode_ready(result_hash: bytes) -> bytes:
    """33 bytes."""
    return bytes((MessageType.READY,)) + result_hash


def _require(payload: bytes, kind: MessageType, length: int) -> None:
    if message_type(payload) is not kind:
        raise ThresholdError("dkg.type", "message.type", str(payload[0]), str(int(kind)))
    if len(payload) != length:
        raise ThresholdError("dkg.length", kind.name.lower(), f"{len(payload)} bytes", f"{length} bytes")


def decode_session_key(payload: bytes) -> SessionKey:
    """Raises `dkg.type`, `dkg.length` or a `point.*` code."""
    _require(payload, MessageType.SESSION_KEY, SESSION_KEY_BYTES)
    key = payload[1 : 1 + POINT_BYTES]
    return SessionKey(key, payload[1 + POINT_BYTES :], group.parse_point(key, "session_key"))


def _commitments(payload: bytes, threshold: int) -> tuple[tuple[bytes, ...], tuple[Point, ...]]:
    encoded = tuple(payload[1 + k * POINT_BYTES : 1 + (k + 1) * POINT_BYTES] for k in range(threshold))
    return encoded, tuple(group.parse_point(data, f"commitments[{k}]") for k, data in enumerate(encoded))


def decode_deal(payload: bytes, kind: Kind, receivers: Sequence[int], threshold: int) -> Deal:
    """A deal to exactly `receivers`, ascending. Raises `dkg.type`, `dkg.length` or a `point.*` code."""
    _require(payload, MessageType.DEAL, deal_bytes(kind, len(receivers), threshold))
    commitments, points = _commitments(payload, threshold)
    step = POINT_BYTES + SCHNORR_BYTES + body_bytes(kind)
    at = 1 + threshold * POINT_BYTES
    sealed: dict[int, SealedShare] = {}
    for j in receivers:
        part = payload[at : at + step]
        at += step
        ephemeral = part[:POINT_BYTES]
        sealed[j] = SealedShare(
            ephemeral,
            part[POINT_BYTES : POINT_BYTES + SCHNORR_BYTES],
            part[POINT_BYTES + SCHNORR_BYTES :],
            group.parse_point(ephemeral, f"ephemeral[{j}]"),
        )
    return Deal(commitments, sealed, points)


def decode_opened(payload: bytes, kind: MessageType, dealers_max: int) -> tuple[Opened, ...]:
    """The complaints of an answer, or an extraction: at most `dealers_max`, ascending by dealer.

    Raises `dkg.type`, `dkg.length`, `dkg.order`, `scalar.range` or a `point.*` code.
    """
    count, rest = divmod(len(payload) - 1, OPENED_BYTES)
    _require(payload, kind, 1 + min(count + bool(rest), dealers_max) * OPENED_BYTES)
    opened: list[Opened] = []
    for number in range(count):
        part = payload[1 + number * OPENED_BYTES :][:OPENED_BYTES]
        dealer = int.from_bytes(part[:INDEX_BYTES], "big")
        encoded = part[INDEX_BYTES : INDEX_BYTES + POINT_BYTES]
        c, z = part[-2 * SCALAR_BYTES : -SCALAR_BYTES], part[-SCALAR_BYTES:]
        group.require_scalar(c, f"opened[{dealer}].c")
        group.require_scalar(z, f"opened[{dealer}].z")
        opened.append(Opened(dealer, encoded, c, z, group.parse_point(encoded, f"opened[{dealer}].point")))
    for before, after in pairwise(opened):
        if before.dealer >= after.dealer:
            raise ThresholdError("dkg.order", "opened.dealer", str(after.dealer), f"more than {before.dealer}")
    return tuple(opened)


def decode_feldman(payload: bytes, threshold: int) -> Feldman:
    """Raises `dkg.type`, `dkg.length`, `scalar.range` or a `point.*` code."""
    _require(payload, MessageType.FELDMAN, feldman_bytes(threshold))
    c, z = payload[-2 * SCALAR_BYTES : -SCALAR_BYTES], payload[-SCALAR_BYTES:]
    group.require_scalar(c, "feldman.c")
    group.require_scalar(z, "feldman.z")
    commitments, points = _commitments(payload, threshold)
    return Feldman(commitments, c, z, points)


def decode_ready(payload: bytes) -> bytes:
    """The hash, 32 bytes. Raises `dkg.type` or `dkg.length`."""
    _require(payload, MessageType.READY, READY_BYTES)
    return payload[1:]
