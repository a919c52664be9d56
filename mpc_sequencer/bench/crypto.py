"""What the cryptography of one order costs, beside its floor: the bare libsecp256k1 calls each step needs.

Everything but the bare calls is overhead: parsing, hashing, encryption, Python. The floor of each step, with
prepared arguments and no hash or cipher at all:

    encrypt      2 `ec_pubkey_create` (rG, sG); 3 `ecdh` (r G2, s G2, rY) with the library's own hash
                 function, because returning the point takes a callback into Python
    check        2 `ec_pubkey_parse` (u, v); 2 `ec_pubkey_tweak_mul` (eu, ev); 2 `ec_pubkey_combine` of the
                 table entries of zG and zG2 with them; 2 `ec_pubkey_serialize`
    share        1 `ecdh` with the library's own hash function
    combine      t `ec_pubkey_parse`; the multiples of the shares by the scaled Lagrange coefficients; 1
                 `ec_pubkey_combine`; `ec_pubkey_tweak_mul` by the inverse denominator where there is one; 1
                 serialize
    open         2 `ec_pubkey_combine` of table entries (rG, rY), 2 `ec_pubkey_serialize`
    signatures   2 `ecdsa_recover` with their parse, of prepared 32-byte digests

The tables of G, G2 and Y make this floor lower than four full multiplications would. Combining takes the last
t of n members' shares; which coefficients these need, and whether there is a denominator, depends on n and t,
and the floor follows it. `ratio` is (check + share + combine + open) over the floor of the same four.

Measured and floor rounds alternate within one run and each figure is the median of the rounds' means, so that
the noise of a shared machine falls on both. A round is short, well inside a scheduler's time slice: most
rounds are then not interrupted at all, and the median is one of those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from time import perf_counter
from typing import Any, Final

from coincurve import PrivateKey, PublicKey

import threshold
from mpc_sequencer.bench.peer import measure_decryption
from mpc_sequencer.core.eip712 import keccak256
from threshold import group, shamir
from threshold.group import FixedBase
from threshold.hash_to_curve import second_generator

SIZES_DEFAULT: Final = ((4, 3), (7, 5), (31, 21))
ROUNDS_DEFAULT: Final = 51
CALLS_PER_ROUND: Final = 8
SIZE_BUCKET_BYTES: Final = 256
STEPS: Final = ("encrypt", "check", "share", "combine", "open", "signatures")
_RATIO_STEPS: Final = ("check", "share", "combine", "open")

_ffi: Final = group.ffi
_lib: Final = group.lib
_CONTEXT: Final = group._CONTEXT


def seeded(name: str) -> bytes:
    return hashlib.sha256(b"mpc_sequencer bench " + name.encode()).digest()


def numbered(name: str, number: int) -> str:
    """``name`` for the first order; further ones get a number."""
    return f"{name} {number}" if number else name


@dataclass(frozen=True, slots=True)
class SampleOrder:
    """One order at one committee size, with everything its steps take."""

    t: int
    key: threshold.SealingKey
    label: threshold.Label
    message: bytes
    sealed: bytes
    checked: threshold.CheckedCiphertext
    secret: threshold.SecretShare
    shares: dict[int, bytes]
    point: bytes


def make_order(n: int, t: int, number: int = 0) -> SampleOrder:
    dealing = threshold.deal(n, t, secret=None, entropy=seeded(f"deal {n} {t}"))
    key = threshold.SealingKey(dealing.public_key, 31337, bytes(20))
    key.prepare()
    label = threshold.Label(
        31337, bytes(20), key.key_id, b"\x11" * 20, 1_700_000_000_000, 1_700_000_060_000, SIZE_BUCKET_BYTES
    )
    message = b"order".ljust(200, b"\x01")
    sealed = threshold.seal(key, label, message, sigma=seeded(numbered("sigma", number)))
    checked = threshold.check(key, label.encode(), sealed, buckets=(SIZE_BUCKET_BYTES,))
    shares = {secret.index: threshold.share(secret, checked) for secret in dealing.shares[n - t :]}
    point = threshold.combine(shares, t)
    return SampleOrder(t, key, label, message, sealed, checked, dealing.shares[-1], shares, point)


# -- the steps as the project runs them -------------------------------------------------------------------


def _measured(order: SampleOrder) -> dict[str, Callable[[], object]]:
    label_bytes = order.label.encode()
    sigma = seeded("sigma")
    buckets = (SIZE_BUCKET_BYTES,)
    return {
        "encrypt": lambda: threshold.seal(order.key, order.label, order.message, sigma=sigma),
        "check": lambda: threshold.check(order.key, label_bytes, order.sealed, buckets=buckets),
        "share": lambda: threshold.share(order.secret, order.checked),
        "combine": lambda: threshold.combine(order.shares, order.t),
        "open": lambda: threshold.open_ciphertext(order.key, order.checked, order.point),
        "signatures": _signature_checks(),
    }


def _typed_digest(type_hash: bytes, words: Sequence[bytes]) -> bytes:
    """An EIP-712 digest: the struct's hash under a domain separator."""
    return keccak256(b"\x19\x01" + bytes(32) + keccak256(type_hash + b"".join(words)))


def _signature_checks() -> Callable[[], object]:
    """The sponsor's signature of one 32-byte word and the account's of an order of eleven words, hashed and
    recovered to addresses."""
    words = {"sponsor": [seeded("word")], "account": [seeded(f"word {i}") for i in range(11)]}
    type_hashes = {name: seeded(name) for name in words}
    signatures = {
        name: PrivateKey(seeded("signer")).sign_recoverable(
            _typed_digest(type_hashes[name], words[name]), hasher=None
        )
        for name in words
    }

    def run() -> object:
        signers = []
        for name, fields in words.items():
            digest = _typed_digest(type_hashes[name], fields)
            public = PublicKey.from_signature_and_message(signatures[name], digest, hasher=None)
            signers.append(keccak256(public.format(compressed=False)[1:])[-20:])
        return signers

    return run


# -- the floors -------------------------------------------------------------------------------------------


def opaque(data: bytes) -> Any:
    return group.parse_point(data, "floor")


def table_entries(table: FixedBase, scalar: bytes, *others: Any) -> tuple[Any, int]:
    """The argument of one `ec_pubkey_combine` as `FixedBase.multiply_add` makes it, and its length. The entries lie
    where a member's do, in a table that is larger than the fast caches."""
    terms = table.terms(scalar, *others)
    _kept.append((terms, others))  # what is pointed to must outlive the call
    pointers = _ffi.from_buffer("secp256k1_pubkey *[]", terms)
    return pointers, len(pointers)


_kept: Final[list[Any]] = []


@cache
def _key_table(public_key: bytes) -> FixedBase:
    return FixedBase(opaque(public_key))


def _second_table() -> FixedBase:
    return _key_table(second_generator())


def floors_of(order: SampleOrder, number: int = 0) -> dict[str, Callable[[], object]]:
    """The bare calls of each step for one order; orders of different numbers differ in all their inputs."""
    new, null = _ffi.new, _ffi.NULL
    result, scratch = new("secp256k1_pubkey *"), new("secp256k1_pubkey *")
    out, out_bytes = new("unsigned char[33]"), new("size_t *", 33)
    scalar = seeded(numbered("floor scalar", number))
    cipher = order.checked.ciphertext
    u = order.checked.u_point
    generator, second = group.generator_table(), _second_table()
    checked_sums = [table_entries(table, cipher.z, u) for table in (generator, second)]
    opened_sums = [table_entries(table, scalar) for table in (generator, _key_table(order.key.public_key))]
    compressed = _lib.SECP256K1_EC_COMPRESSED

    def serialize() -> None:
        _lib.secp256k1_ec_pubkey_serialize(_CONTEXT, out, out_bytes, result, compressed)

    def encrypt() -> None:
        for _ in range(2):
            _lib.secp256k1_ec_pubkey_create(_CONTEXT, result, scalar)
        for _ in range(3):
            _lib.secp256k1_ecdh(_CONTEXT, out, u, scalar, null, null)

    def check() -> None:
        for encoded, (terms, count) in zip((cipher.u, cipher.v), checked_sums, strict=True):
            _lib.secp256k1_ec_pubkey_parse(_CONTEXT, scratch, encoded, 33)
            _lib.secp256k1_ec_pubkey_tweak_mul(_CONTEXT, scratch, cipher.e)
            _lib.secp256k1_ec_pubkey_combine(_CONTEXT, result, terms, count)
            serialize()

    def open_() -> None:
        for terms, count in opened_sums:
            _lib.secp256k1_ec_pubkey_combine(_CONTEXT, result, terms, count)
            serialize()

    return {
        "encrypt": encrypt,
        "check": check,
        "share": lambda: _lib.secp256k1_ecdh(_CONTEXT, out, u, scalar, null, null),
        "combine": _combine_floor(order, serialize, result),
        "open": open_,
        "signatures": _signatures_floor(number),
    }


def _combine_floor(order: SampleOrder, serialize: Callable[[], None], result: Any) -> Callable[[], object]:
    encoded = tuple(order.shares.values())
    scratch = _ffi.new("secp256k1_pubkey *")
    add_up = weighted_sum(sorted(order.shares), opaque(encoded[0]), result)

    def run() -> None:
        for data in encoded:
            _lib.secp256k1_ec_pubkey_parse(_CONTEXT, scratch, data, 33)
        add_up()
        serialize()

    return run


def weighted_sum(indices: Sequence[int], point: Any, result: Any) -> Callable[[], None]:
    """The calls that add up the points of these members by their Lagrange coefficients, each of them ``point``."""
    coefficients = shamir.scaled_coefficients(tuple(indices))
    scratch = _ffi.new("secp256k1_pubkey *")
    large = [size.to_bytes(32, "big") for _, size, _ in coefficients.terms if size > shamir.REPEAT_MAX]
    repeats = sum(size if size <= shamir.REPEAT_MAX else 1 for _, size, _ in coefficients.terms)
    pointers = _ffi.new("secp256k1_pubkey *[]", [point] * repeats)

    def run() -> None:
        for scalar in large:
            scratch[0] = point[0]
            _lib.secp256k1_ec_pubkey_tweak_mul(_CONTEXT, scratch, scalar)
        _lib.secp256k1_ec_pubkey_combine(_CONTEXT, result, pointers, repeats)
        if coefficients.inverse_denominator is not None:
            _lib.secp256k1_ec_pubkey_tweak_mul(_CONTEXT, result, coefficients.inverse_denominator)

    return run


def _signatures_floor(number: int) -> Callable[[], object]:
    digest = seeded(numbered("digest", number))
    signature = PrivateKey(seeded("signer")).sign_recoverable(digest, hasher=None)
    parsed = _ffi.new("secp256k1_ecdsa_recoverable_signature *")
    public = _ffi.new("secp256k1_pubkey *")

    def run() -> None:
        for _ in range(2):
            _lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
                _CONTEXT, parsed, signature[:64], signature[64]
            )
            _lib.secp256k1_ecdsa_recover(_CONTEXT, public, parsed, digest)

    return run


# -- the run ----------------------------------------------------------------------------------------------


def _mean_us(call: Callable[[], object]) -> float:
    call()  # untimed: brings code and tables back into the caches that the step before it filled
    started_s = perf_counter()
    for _ in range(CALLS_PER_ROUND):
        call()
    return (perf_counter() - started_s) / CALLS_PER_ROUND * 1e6


def _measure_size(n: int, t: int, rounds: int) -> dict[str, Any]:
    order = make_order(n, t)
    measured, floors = _measured(order), floors_of(order)
    us: dict[str, list[float]] = {step: [] for step in STEPS}
    floor_us: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(rounds):
        for step in STEPS:
            us[step].append(_mean_us(measured[step]))
            floor_us[step].append(_mean_us(floors[step]))
    medians = {step: median(us[step]) for step in STEPS}
    floor_medians = {step: median(floor_us[step]) for step in STEPS}
    ratio = sum(medians[step] for step in _RATIO_STEPS) / sum(floor_medians[step] for step in _RATIO_STEPS)
    return {
        "n": n,
        "t": t,
        "us": {step: round(value, 1) for step, value in medians.items()},
        "floor_us": {step: round(value, 1) for step, value in floor_medians.items()},
        "ratio": round(ratio, 3),
    }


def measure(sizes: Sequence[tuple[int, int]] = SIZES_DEFAULT, rounds: int = ROUNDS_DEFAULT) -> dict[str, Any]:
    """Microseconds per order for each (n, t), over `rounds` alternating rounds of `CALLS_PER_ROUND` calls.

    `{"sizes": [{"n", "t", "us": {step: us}, "floor_us": {step: us}, "ratio"}], "peer": {...}}` with the steps of
    `STEPS`; the peer's threshold decryption is that of `bench.peer`.
    Raises `ValueError` for sizes out of range or rounds below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds is at least 1, not {rounds}")
    measured = [_measure_size(n, t, rounds) for n, t in sizes]
    return {"sizes": measured, "peer": measure_decryption(rounds)}
