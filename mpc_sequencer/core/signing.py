"""secp256k1 signatures over 32-byte digests, as Ethereum has them: ``r || s || v``, 65 bytes, low s, v 27 or 28.

Signing is libsecp256k1's: RFC 6979 nonces, constant time in the key. Recovery and verification are variable-time on
public values only. A consensus key signs and never does Diffie-Hellman.

Recovery calls the library straight: an order costs every member two of them and each statement one, and coincurve's
wrapper adds an eighth to each.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from coincurve import PrivateKey, PublicKey
from coincurve import _libsecp256k1 as _native
from coincurve.context import GLOBAL_CONTEXT

from mpc_sequencer.core import eip712
from mpc_sequencer.core.errors import ProtocolError

SECRET_BYTES: Final = 32
SIGNATURE_BYTES: Final = 65
DIGEST_BYTES: Final = 32
ADDRESSES_KEPT: Final = 65_536
GROUP_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER_BYTES: Final = (GROUP_ORDER // 2).to_bytes(32, "big")

_ffi: Final[Any] = _native.ffi
_lib: Final[Any] = _native.lib
_CONTEXT: Final[Any] = GLOBAL_CONTEXT.ctx
_SIGNATURE_T: Final = _ffi.typeof("secp256k1_ecdsa_recoverable_signature *")
_PUBLIC_KEY_T: Final = _ffi.typeof("secp256k1_pubkey *")
_UNCOMPRESSED_T: Final = _ffi.typeof("unsigned char [65]")
_SIZE_T: Final = _ffi.typeof("size_t *")
_UNCOMPRESSED_BYTES: Final = 65


class Signer:
    """A consensus or account key (32 bytes) that signs EIP-712 digests. Never shows its secret; ``ValueError`` for a
    secret of another size or outside the curve's order."""

    __slots__ = ("_key", "address", "public_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:  # the library pads and cuts
            raise ValueError(f"a secret of {len(secret)} bytes, expected {SECRET_BYTES}")
        self._key = PrivateKey(secret)
        self.public_key = self._key.public_key.format()
        self.address = address_of(self.public_key)

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a signer cannot be pickled")

    def sign_digest(self, digest: bytes) -> bytes:
        """``r || s || v`` over a 32-byte digest."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((raw[64] + 27,))


def address_of(public_key: bytes) -> bytes:
    """The 20-byte account address of a 33-byte compressed public key; raises ``ValueError`` off the curve."""
    return _address_of_key(PublicKey(public_key).format(compressed=False)[1:])


def check_encoding(signature: bytes, field: str) -> None:
    """Refuse a signature that is not 65 bytes with low s and v of 27 or 28 (``signature.encoding``)."""
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28) or signature[32:64] > _HALF_ORDER_BYTES:
        raise ProtocolError("signature.encoding", field, signature, "r || s || v, low s, v of 27 or 28")


def recover_key(digest: bytes, signature: bytes, field: str) -> bytes:
    """The uncompressed public key (64 bytes) that signed ``digest``; raises ``signature.encoding`` for none."""
    check_encoding(signature, field)
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest of {len(digest)} bytes, expected {DIGEST_BYTES}")
    parsed, key = _ffi.new(_SIGNATURE_T), _ffi.new(_PUBLIC_KEY_T)
    # the library reads the first 64 bytes alone; it refuses r and s of N or more
    if not (
        _lib.secp256k1_ecdsa_recoverable_signature_parse_compact(_CONTEXT, parsed, signature, signature[64] - 27)
        and _lib.secp256k1_ecdsa_recover(_CONTEXT, key, parsed, digest)
    ):
        raise ProtocolError("signature.encoding", field, signature, "a signature that recovers to a key")
    encoded, size = _ffi.new(_UNCOMPRESSED_T), _ffi.new(_SIZE_T, _UNCOMPRESSED_BYTES)
    _lib.secp256k1_ec_pubkey_serialize(_CONTEXT, encoded, size, key, _lib.SECP256K1_EC_UNCOMPRESSED)
    recovered: bytes = _ffi.buffer(encoded)[1:]
    return recovered


@lru_cache(maxsize=ADDRESSES_KEPT)
def _address_of_key(key: bytes) -> bytes:
    """Keccak from Python costs as much as a tenth of the recovery, and accounts come back."""
    return eip712.keccak256(key)[12:]


def recover_address(digest: bytes, signature: bytes, field: str) -> bytes:
    """The address that signed ``digest``; raises ``signature.encoding`` where there is none."""
    return _address_of_key(recover_key(digest, signature, field))


def check_signer(digest: bytes, signature: bytes, address: bytes, field: str) -> None:
    """Refuse a signature over ``digest`` that is not ``address``'s (``signature.signer``)."""
    seen = recover_address(digest, signature, field)
    if seen != address:
        raise ProtocolError("signature.signer", field, seen, address.hex())
