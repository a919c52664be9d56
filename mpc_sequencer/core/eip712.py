"""EIP-712 typed structured data: the only form in which consensus and account keys sign.

The rule (EIP-712): ``digest = keccak256(0x1901 || domainSeparator || hashStruct(message))`` with
``hashStruct(s) = keccak256(typeHash || enc(field_1) || ... )``. Only fixed-width members are used here (unsigned
and signed integers, ``address``, ``bytes32``), so every encoded member is one 32-byte word and a struct is hashed in
one call. Variable parts (list entries, heads of a block) enter as a ``bytes32`` made by a tagged hash.

A :class:`StructType` is made from its canonical type string once; its name is unique in the process, so that a
signature over one kind of message can never be taken for another kind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import sha3

DOMAIN_NAME: Final = "mpc_sequencer"
DOMAIN_VERSION: Final = "1"

WORD_BYTES: Final = 32

Encoder = Callable[[Any], bytes]
"""One member's value as its word's layout takes it; ``ValueError`` where it does not fit."""

_STRUCT_TYPES: dict[str, StructType] = {}


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it, 32 bytes."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


class StructType:
    """One EIP-712 struct type, e.g. ``Vote(uint8 kind,uint64 view)``; calling it gives ``hashStruct``.

    Members are given positionally in the order of the type string: integers for ``uintN``/``intN``, 20 bytes for
    ``address``, 32 bytes for ``bytes32``. A value that does not fit its member raises ``ValueError``: callers have
    decoded their input before, so this is a misuse, not a peer's fault.
    """

    __slots__ = ("_encoders", "_words", "members", "name", "signature", "type_hash")

    def __init__(self, signature: str) -> None:
        name, _, rest = signature.partition("(")
        if not rest.endswith(")") or not name:
            raise ValueError(f"not an EIP-712 type: {signature!r}")
        if name in _STRUCT_TYPES:
            raise ValueError(f"EIP-712 type {name} is already registered")
        self.name = name
        self.signature = signature
        self.type_hash = keccak256(signature.encode("ascii"))
        pairs = [member.split(" ") for member in rest[:-1].split(",")]
        self.members = tuple((kind, member) for kind, member in pairs)
        kinds = [_MEMBER_KINDS[kind] for kind, _ in self.members]
        # all words in one call of the library: every statement and every order is hashed by each member
        self._words = struct.Struct(">32s" + "".join(layout for layout, _ in kinds))
        self._encoders = tuple((index, encode) for index, (_, encode) in enumerate(kinds) if encode is not None)
        _STRUCT_TYPES[name] = self

    def __call__(self, *values: int | bytes) -> bytes:
        if len(values) != len(self.members):
            raise ValueError(f"{self.name} takes {len(self.members)} members, got {len(values)}")
        fitted = list(values)
        for index, encode in self._encoders:
            fitted[index] = encode(values[index])
        try:
            return keccak256(self._words.pack(self.type_hash, *fitted))
        except struct.error as error:
            raise ValueError(f"{self.name}: {error}") from None


def registered_types() -> Mapping[str, StructType]:
    """Every struct type made so far, by name (the signing half of the domain registry)."""
    return dict(_STRUCT_TYPES)


def _uint(bits: int) -> Encoder:
    def encode(value: Any) -> bytes:
        if value >> bits:  # also not zero for a negative value
            raise ValueError(f"not a uint{bits}")
        word: bytes = value.to_bytes(WORD_BYTES, "big")
        return word

    return encode


def _int(bits: int) -> Encoder:
    def encode(value: Any) -> bytes:
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise ValueError(f"not an int{bits}")
        word: bytes = value.to_bytes(WORD_BYTES, "big", signed=True)
        return word

    return encode


def _fixed(size: int) -> Encoder:
    def encode(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != size:
            raise ValueError(f"not {size} bytes")
        return value

    return encode


_MEMBER_KINDS: Final[dict[str, tuple[str, Encoder | None]]] = {
    "uint8": ("31xB", None),
    "uint16": ("30xH", None),
    "uint32": ("28xI", None),
    "uint64": ("24xQ", None),
    "uint128": ("32s", _uint(128)),
    "uint256": ("32s", _uint(256)),
    "int128": ("32s", _int(128)),
    "address": ("12x20s", _fixed(20)),
    "bytes32": ("32s", _fixed(32)),
}
"""The layout of each kind's word for ``struct``, and what a value goes through before: ``struct`` refuses an integer
that does not fit, but cuts and pads bytes."""


_DOMAIN_TYPE_HASH: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


def domain_separator(chain_id: int, settlement: bytes) -> bytes:
    """The domain separator of one deployment: its chain and its settlement contract (20 bytes)."""
    return keccak256(
        _DOMAIN_TYPE_HASH
        + keccak256(DOMAIN_NAME.encode())
        + keccak256(DOMAIN_VERSION.encode())
        + chain_id.to_bytes(WORD_BYTES, "big")
        + settlement.rjust(WORD_BYTES, b"\x00")
    )


def digest(separator: bytes, struct_hash: bytes) -> bytes:
    """The 32-byte digest that is signed for ``struct_hash`` under ``separator``."""
    return keccak256(b"\x19\x01" + separator + struct_hash)
