"""The cryptography that the protocol asks of one member for one order: the libraries' bare calls, and how many.

What docs/protocol.md makes a member compute between an order's arrival and its execution, each operation once and at
the cheapest form the libraries offer, with its arguments prepared and without a line of protocol around it:

*   for each order: its ciphertext's check, the signatures of its sponsor and of its account, the member's own receipt,
    share and weight of the share in the bundle's proof, the combination of t shares, the opening with its two
    re-encryption checks; and the hashes and the cipher of these, over as many bytes as they are of (order id 2,
    challenge 2, weight 1, encapsulated key, message and exponents 4, variant 1, batch leaf and node 2, carry 1; typed
    digests and addresses of sponsor and account 3 each, digest of the receipt 2; one authenticated decryption);
*   for each batch, whatever it holds: the rest of the member's bundle (proof, coin share with its proof, signature),
    what is always verified of the t - 1 bundles of others that it needs (signature, coin share with its proof) and the
    coin.

Left out is what the protocol lets a member choose the number of: votes, heads and lists, which are as many as there are
views; bundles beyond t; proofs of bundles, which are verified only where an order does not open. Hashing to the curve
is counted with two square roots and an addition, which is less than it takes.

Inputs of all orders differ, so that none is found in the caches: a member sees each order once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import thread_time_ns
from typing import Any, Final

import sha3
from coincurve import PrivateKey
from nacl._sodium import ffi as sodium_ffi
from nacl._sodium import lib as sodium

from mpc_sequencer.bench.crypto import (
    SampleOrder,
    floors_of,
    make_order,
    numbered,
    opaque,
    seeded,
    table_entries,
    weighted_sum,
)
from threshold import group, shamir

ORDER_STEPS: Final = ("check", "signatures", "receipt", "share", "weight", "combine", "open", "hash")
BATCH_STEPS: Final = ("prove", "coin share", "sign", "verify", "coin")

_ffi: Final = group.ffi
_lib: Final = group.lib
_CONTEXT: Final = group._CONTEXT
_NULL: Final = _ffi.NULL
_WEIGHT_BYTES: Final = 16
_SHA256_BYTES: Final = (435, 133, 304, 265, 36, 66, 256, 165, 165, 97, 64, 64, 64)
"""Inputs of an order's SHA-256 hashes; of tagged ones what follows the tag's block, which is hashed once for all."""
_KECCAK_BYTES: Final = (64, 66, 64, 384, 66, 64, 224, 66)
_SEALED_BYTES: Final = 304
_AD_BYTES: Final = 167

Steps = Mapping[str, Callable[[], object]]


def calls(n: int, t: int) -> dict[str, dict[str, dict[str, int]]]:
    """The library's calls by step, per order and per batch, at a committee size."""
    terms = shamir.scaled_coefficients(tuple(range(n - t + 1, n + 1)))
    multiplied = sum(size > shamir.REPEAT_MAX for _, size, _ in terms.terms) + (terms.inverse_denominator is not None)
    combining = {"ec_pubkey_combine": 1, "ec_pubkey_serialize": 1}
    if multiplied:
        combining["ec_pubkey_tweak_mul"] = multiplied
    one = {"ec_pubkey_parse": 2, "ec_pubkey_tweak_mul": 2, "ec_pubkey_combine": 2, "ec_pubkey_serialize": 2}
    return {
        "order": {
            "check": one,
            "signatures": {"ecdsa_recover": 2},
            "receipt": {"ecdsa_sign_recoverable": 1},
            "share": {"ecdh": 1},
            "weight": {"ec_pubkey_tweak_mul": 1},
            "combine": {"ec_pubkey_parse": t, **combining},
            "open": {"ec_pubkey_combine": 2, "ec_pubkey_serialize": 2},
            "hash": {"sha256": len(_SHA256_BYTES), "keccak256": len(_KECCAK_BYTES), "chacha20poly1305": 1},
        },
        "batch": {
            "prove": {"ec_pubkey_combine": 1, "ec_pubkey_create": 1, "ecdh": 2, "ec_pubkey_serialize": 2},
            "coin share": {"ec_pubkey_parse": 2, "ec_pubkey_combine": 1, "ec_pubkey_create": 1, "ecdh": 2},
            "sign": {"ecdsa_sign_recoverable": 1},
            "verify": {
                "ecdsa_recover": t - 1,
                "ec_pubkey_parse": t - 1,
                "ec_pubkey_tweak_mul": 3 * (t - 1),
                "ec_pubkey_combine": 2 * (t - 1),
                "ec_pubkey_serialize": 2 * (t - 1),
            },
            "coin": combining,
        },
    }


@dataclass(frozen=True, slots=True)
class Burst:
    """The steps of some orders that differ, and those of their batch."""

    orders: Sequence[Steps]
    batch: Steps

    def order_ns(self) -> dict[str, int]:
        """Processor time of each step for all orders in turn, as a member does with what has arrived."""
        return {step: spent_ns(self.orders, (step,)) for step in ORDER_STEPS}

    def batch_ns(self) -> dict[str, int]:
        """Processor time of each of the batch's steps."""
        return {step: spent_ns([self.batch], (step,)) for step in BATCH_STEPS}


def spent_ns(rows: Sequence[Steps], steps: Sequence[str]) -> int:
    """Processor time of each of ``steps`` for all rows in turn."""
    began_ns = thread_time_ns()
    for step in steps:
        for one in rows:
            one[step]()
    return thread_time_ns() - began_ns


def make_burst(n: int, t: int, orders: int) -> Burst:
    """A burst of a committee of n members whose key needs t shares."""
    samples = [make_order(n, t, number) for number in range(orders)]
    rows = []
    for number, sample in enumerate(samples):
        steps = floors_of(sample, number)
        own = {"receipt": _signing(number), "weight": _weighting(sample, number), "hash": _hashing(number)}
        rows.append({**steps, **own})
    return Burst(rows, _batch(samples, t))


# -- per order ---------------------------------------------------------------------------------------------


def _signing(number: int) -> Callable[[], object]:
    digest, secret = seeded(numbered("receipt", number)), seeded("signer")
    signature = _ffi.new("secp256k1_ecdsa_recoverable_signature *")
    return lambda: _lib.secp256k1_ecdsa_sign_recoverable(_CONTEXT, signature, digest, secret, _NULL, _NULL)


def _weighting(sample: SampleOrder, number: int) -> Callable[[], object]:
    """One order's term of the sum that the bundle's proof is about, by a weight of 128 bits."""
    rho = bytes(32 - _WEIGHT_BYTES) + seeded(numbered("rho", number))[:_WEIGHT_BYTES]
    u: Any = sample.checked.u_point
    scratch = _ffi.new("secp256k1_pubkey *")

    def run() -> None:
        scratch[0] = u[0]
        _lib.secp256k1_ec_pubkey_tweak_mul(_CONTEXT, scratch, rho)

    return run


def _hashing(number: int) -> Callable[[], object]:
    filler = seeded(numbered("hashed", number)) * 14
    hashed, typed = [filler[:size] for size in _SHA256_BYTES], [filler[:size] for size in _KECCAK_BYTES]
    key, nonce, ad, message = filler[:32], bytes(12), filler[:_AD_BYTES], filler[: _SEALED_BYTES - 16]
    sealed, opened = sodium_ffi.new("unsigned char[]", _SEALED_BYTES), sodium_ffi.new("unsigned char[]", len(message))
    none = sodium_ffi.NULL
    sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
        sealed, none, message, len(message), ad, len(ad), none, nonce, key
    )

    def run() -> None:
        for data in hashed:
            sha256(data).digest()
        for data in typed:
            sha3.keccak_256(data).digest()
        sodium.crypto_aead_chacha20poly1305_ietf_decrypt(
            opened, none, none, sealed, _SEALED_BYTES, ad, _AD_BYTES, nonce, key
        )

    return run


# -- per batch ---------------------------------------------------------------------------------------------


def _batch(samples: Sequence[SampleOrder], t: int) -> Steps:
    points = [sample.checked.u_point for sample in samples]
    scalar, base = seeded("batch scalar"), points[0]
    result = _ffi.new("secp256k1_pubkey *")
    out, size = _ffi.new("unsigned char[33]"), _ffi.new("size_t *", 33)
    terms = _ffi.new("secp256k1_pubkey *[]", points)
    encoded = [sample.checked.ciphertext.u for sample in samples[:2]]

    def serialize() -> None:
        _lib.secp256k1_ec_pubkey_serialize(_CONTEXT, out, size, result, _lib.SECP256K1_EC_COMPRESSED)

    def secret_multiples() -> None:
        """A nonce's commitments to G and to a base, and the base's multiple by the member's share."""
        _lib.secp256k1_ec_pubkey_create(_CONTEXT, result, scalar)
        for _ in range(2):
            _lib.secp256k1_ecdh(_CONTEXT, out, base, scalar, _NULL, _NULL)

    def prove() -> None:
        _lib.secp256k1_ec_pubkey_combine(_CONTEXT, result, terms, len(points))
        serialize()
        secret_multiples()
        serialize()

    def coin_share() -> None:
        for data in encoded:
            _lib.secp256k1_ec_pubkey_parse(_CONTEXT, result, data, 33)
        _lib.secp256k1_ec_pubkey_combine(_CONTEXT, result, terms, 2)
        secret_multiples()

    return {
        "prove": prove,
        "coin share": coin_share,
        "sign": _signing(len(samples)),
        "verify": _verifying(samples, t, serialize, result),
        "coin": _coin(samples[0], serialize, result),
    }


def _verifying(
    samples: Sequence[SampleOrder], t: int, serialize: Callable[[], None], result: Any
) -> Callable[[], object]:
    """Signature and coin share of t - 1 bundles: A = zG - cY and B = zH - cC."""
    digest, z, c = seeded("bundle"), seeded("z"), seeded("c")
    made = PrivateKey(seeded("signer")).sign_recoverable(digest, hasher=None)
    parsed = _ffi.new("secp256k1_ecdsa_recoverable_signature *")
    scratch = _ffi.new("secp256k1_pubkey *")
    points: list[Any] = [sample.checked.u_point for sample in samples[:3]]
    from_table, table_terms = table_entries(group.generator_table(), z, points[0])
    pair = _ffi.new("secp256k1_pubkey *[2]", points[:2])
    image = samples[0].checked.ciphertext.v

    def run() -> None:
        for _ in range(t - 1):
            _lib.secp256k1_ecdsa_recoverable_signature_parse_compact(_CONTEXT, parsed, made[:64], made[64])
            _lib.secp256k1_ecdsa_recover(_CONTEXT, result, parsed, digest)
            _lib.secp256k1_ec_pubkey_parse(_CONTEXT, scratch, image, 33)
            for point, factor in zip(points, (c, z, c), strict=True):
                scratch[0] = point[0]
                _lib.secp256k1_ec_pubkey_tweak_mul(_CONTEXT, scratch, factor)
            for terms, count in ((from_table, table_terms), (pair, 2)):
                _lib.secp256k1_ec_pubkey_combine(_CONTEXT, result, terms, count)
                serialize()

    return run


def _coin(sample: SampleOrder, serialize: Callable[[], None], result: Any) -> Callable[[], object]:
    """The sum of t parsed points by their Lagrange coefficients."""
    add_up = weighted_sum(sorted(sample.shares), opaque(sample.point), result)

    def run() -> None:
        add_up()
        serialize()

    return run
