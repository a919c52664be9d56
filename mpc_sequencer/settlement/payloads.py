"""What the committee signs for the settlement contract, byte for byte as the contract reads it. Pure.

A result's EIP-712 struct is BATCH_RESULT below; its deltas enter as SHA-256 of their packed form. A packed
delta is ``account 20 || asset u16 || free i128 || withdrawable i128``, big-endian two's complement, 54 bytes.
Deltas are strictly ascending by (asset, account), none is empty, and per asset the changes sum to zero:
trading moves money, it makes none. A result of more than RESULT_FRESH_DELTAS_MAX deltas may not fit one transaction:
its packed deltas are cut into parts of PART_DELTAS each, and what enters its struct is the SHA-256 of the parts'
SHA-256. (The contract takes RESULT_DELTAS_MAX in one transaction; but where most of them open new balances that is
beyond a transaction's gas, and a result that is signed in one piece and does not fit could never be posted.)

An OrderCommit (ORDER_COMMIT below) says which sealed orders a range has before anybody can read them, and up to which
forced entry they reach; it is signed as soon as the range's last header is final.

The contract's input queue is hash-chained: ``hash(i + 1) = sha256(hash(i) || kind u8 || account || asset u16
|| amount u256)`` from 32 zero bytes.

Signatures are those of :mod:`mpc_sequencer.core.signing`. A *signer index* is the place of a consensus
address in the contract's ascending list; a committee is in that very order, so it is the node's number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mpc_sequencer.core.eip712 import StructType, digest
from mpc_sequencer.core.signing import SIGNATURE_BYTES, recover_address
from mpc_sequencer.settlement.errors import PayloadError

ADDRESS_BYTES: Final = 20
HASH_BYTES: Final = 32
DELTA_BYTES: Final = 54
RESULT_DELTAS_MAX: Final = 1_500
PART_DELTAS: Final = 500
PARTS_MAX: Final = 64
RESULT_FRESH_DELTAS_MAX: Final = 600
"""Deltas that open a new (asset, account) balance cost four times the others; this many always fit a
transaction.
"""
SIGNERS_MAX: Final = 64
ASSETS_MAX: Final = 64
AMOUNT_MAX: Final = (1 << 128) - 1
CHANGE_MAX: Final = (1 << 127) - 1
CHANGE_MIN: Final = -(1 << 127)
UINT64_MAX: Final = (1 << 64) - 1
ZERO_HASH: Final = bytes(HASH_BYTES)
ZERO_ADDRESS: Final = bytes(ADDRESS_BYTES)

INPUT_DEPOSIT: Final = 1
INPUT_BOND: Final = 2
INPUT_FORCED: Final = 3

BATCH_RESULT: Final = StructType(
    "BatchResult(uint64 epoch,uint64 firstHeight,uint64 lastHeight,bytes32 prevStateRoot,bytes32 stateRoot,"
    "bytes32 fillsRoot,bytes32 dataHash,uint64 inputsCount,bytes32 inputsHash,bytes32 deltasHash)"
)
ORDER_COMMIT: Final = StructType(
    "OrderCommit(uint64 epoch,uint64 height,bytes32 prevHash,bytes32 ciphertextRoot,uint64 l1Head,uint64 forcedHead)"
)


@dataclass(frozen=True, slots=True)
class Delta:
    """The net change of one account (20 bytes) in one asset, in base units: to its free and withdrawable
    amounts.
    """

    account: bytes
    asset: int
    free: int
    withdrawable: int


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The settled outcome of heights first_height to last_height, both included. Roots and hashes are 32
    bytes.
    """

    epoch: int
    first_height: int
    last_height: int
    prev_state_root: bytes
    state_root: bytes
    fills_root: bytes
    data_hash: bytes
    inputs_count: int
    inputs_hash: bytes
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class SignedResult:
    """A result and (signer index, 65-byte signature) pairs, ascending by index."""

    result: BatchResult
    signatures: tuple[tuple[int, bytes], ...]


class Signatures(Protocol):
    """Whatever carries (signer index, 65-byte signature) pairs."""

    @property
    def signatures(self) -> tuple[tuple[int, bytes], ...]: ...


@dataclass(frozen=True, slots=True)
class Input:
    """Entry ``index`` of the contract's input queue; ``amount`` in base units, or wei for a bond, or the number that a
    forced order's envelope hashes to: the asset of both is 0."""

    index: int
    kind: int
    account: bytes
    asset: int
    amount: int
    inputs_hash: bytes


def next_inputs_hash(inputs_hash: bytes, kind: int, account: bytes, asset: int, amount: int) -> bytes:
    """The queue's hash after one more input."""
    entry = kind.to_bytes(1, "big") + account + asset.to_bytes(2, "big") + amount.to_bytes(32, "big")
    return hashlib.sha256(inputs_hash + entry).digest()


# ----------------------------------------------------------------------------------------------------- deltas


def check_deltas(deltas: Sequence[Delta]) -> None:
    """Every rule on deltas that needs no state. Raises PayloadError, one code per rule."""
    if len(deltas) > PARTS_MAX * PART_DELTAS:
        raise PayloadError("deltas.count", "deltas", len(deltas), f"at most {PARTS_MAX * PART_DELTAS}")
    previous: tuple[int, bytes] | None = None
    sums: dict[int, int] = {}
    for index, delta in enumerate(deltas):
        where = f"deltas[{index}]"
        if len(delta.account) != ADDRESS_BYTES or delta.account == ZERO_ADDRESS:
            raise PayloadError(
                "delta.account", f"{where}.account", delta.account.hex(), "a non-zero 20-byte address"
            )
        if not 0 <= delta.asset < ASSETS_MAX:
            raise PayloadError("delta.asset", f"{where}.asset", delta.asset, f"0 to {ASSETS_MAX - 1}")
        for name, change in (("free", delta.free), ("withdrawable", delta.withdrawable)):
            if not CHANGE_MIN <= change <= CHANGE_MAX:
                raise PayloadError("delta.range", f"{where}.{name}", change, "a 128-bit signed integer")
        if delta.free == 0 and delta.withdrawable == 0:
            raise PayloadError("delta.empty", where, "0, 0", "a change")
        key = (delta.asset, delta.account)
        if previous is not None and key <= previous:
            raise PayloadError(
                "deltas.order", where, f"{key[0]}/{key[1].hex()}", "strictly ascending (asset, account)"
            )
        previous = key
        sums[delta.asset] = sums.get(delta.asset, 0) + delta.free + delta.withdrawable
    for asset, total in sums.items():
        if total != 0:
            raise PayloadError("deltas.sum", f"sum over asset {asset}", total, "0")


def pack_deltas(deltas: Sequence[Delta]) -> bytes:
    """The packed form the contract reads. Raises PayloadError as :func:`check_deltas` does."""
    check_deltas(deltas)
    return b"".join(_pack(delta) for delta in deltas)


def _pack(delta: Delta) -> bytes:
    return (
        delta.account
        + delta.asset.to_bytes(2, "big")
        + delta.free.to_bytes(16, "big", signed=True)
        + delta.withdrawable.to_bytes(16, "big", signed=True)
    )


def is_staged(deltas: int) -> bool:
    """Whether a result of so many deltas is posted part by part."""
    return deltas > RESULT_FRESH_DELTAS_MAX


def delta_parts(packed: bytes) -> tuple[bytes, ...]:
    """The parts of packed deltas as the contract takes them: all in one, or PART_DELTAS each."""
    if not is_staged(len(packed) // DELTA_BYTES):
        return (packed,)
    size = PART_DELTAS * DELTA_BYTES
    return tuple(packed[start : start + size] for start in range(0, len(packed), size))


def part_hashes(packed: bytes) -> tuple[bytes, ...]:
    """The SHA-256 of each part of packed deltas."""
    return tuple(hashlib.sha256(part).digest() for part in delta_parts(packed))


def deltas_hash(packed: bytes) -> bytes:
    """What packed deltas enter a result's struct as: their SHA-256, or of staged ones that of the parts' hashes."""
    hashes = part_hashes(packed)
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(b"".join(hashes)).digest()


def unpack_deltas(packed: bytes) -> tuple[Delta, ...]:
    """The deltas of a packed form, by the same rules. Raises PayloadError."""
    if len(packed) > PARTS_MAX * PART_DELTAS * DELTA_BYTES:
        raise PayloadError(
            "deltas.count", "packed length", len(packed), f"at most {PARTS_MAX * PART_DELTAS * DELTA_BYTES}"
        )
    if len(packed) % DELTA_BYTES:
        raise PayloadError("deltas.length", "packed length", len(packed), f"a multiple of {DELTA_BYTES}")
    deltas = tuple(
        Delta(
            packed[at : at + 20],
            int.from_bytes(packed[at + 20 : at + 22], "big"),
            int.from_bytes(packed[at + 22 : at + 38], "big", signed=True),
            int.from_bytes(packed[at + 38 : at + 54], "big", signed=True),
        )
        for at in range(0, len(packed), DELTA_BYTES)
    )
    check_deltas(deltas)
    return deltas


# ---------------------------------------------------------------------------------------------------- results


def check_result(result: BatchResult) -> None:
    """Every rule on a result that needs no state. Raises PayloadError."""
    for name in ("epoch", "first_height", "last_height", "inputs_count"):
        number = getattr(result, name)
        if not 0 <= number <= UINT64_MAX:
            raise PayloadError("result.number", name, number, "a 64-bit unsigned integer")
    for name in ("prev_state_root", "state_root", "fills_root", "data_hash", "inputs_hash"):
        value = getattr(result, name)
        if len(value) != HASH_BYTES:
            raise PayloadError("result.hash", name, value.hex(), f"{HASH_BYTES} bytes")
    if result.state_root == ZERO_HASH:
        raise PayloadError("result.state_root", "state_root", "zero", "a root")
    if not 1 <= result.first_height <= result.last_height:
        raise PayloadError(
            "result.heights", "first_height", result.first_height, f"1 to {result.last_height}"
        )
    check_deltas(result.deltas)


def batch_result_digest(separator: bytes, result: BatchResult) -> bytes:
    """The 32-byte EIP-712 digest that consensus keys sign. Raises PayloadError for a result that breaks a
    rule.
    """
    check_result(result)
    struct_hash = BATCH_RESULT(
        result.epoch,
        result.first_height,
        result.last_height,
        result.prev_state_root,
        result.state_root,
        result.fills_root,
        result.data_hash,
        result.inputs_count,
        result.inputs_hash,
        deltas_hash(pack_deltas(result.deltas)),
    )
    return digest(separator, struct_hash)


# ------------------------------------------------------------------------------------------------- signatures


def check_signed(signed: SignedResult, separator: bytes, signers: Sequence[bytes], quorum: int) -> None:
    """Whether the contract would accept the signatures: ``signers`` by index.

    Raises PayloadError, or ProtocolError (``signature.encoding``) for a signature that recovers to nobody.
    """
    message_digest = batch_result_digest(separator, signed.result)
    previous = -1
    for index, signature in signed.signatures:
        if index <= previous:
            raise PayloadError("signatures.order", "signer index", index, f"above {previous}")
        if not index < len(signers):
            raise PayloadError("signatures.index", "signer index", index, f"below {len(signers)}")
        seen = recover_address(message_digest, signature, f"signature of {index}")
        if seen != signers[index]:
            raise PayloadError("signatures.signer", f"signer of {index}", seen.hex(), signers[index].hex())
        previous = index
    if len(signed.signatures) < quorum:
        raise PayloadError("signatures.quorum", "signatures", len(signed.signatures), f"at least {quorum}")


def signature_fields(signed: Signatures) -> tuple[int, bytes]:
    """(bitmap, joined signatures) as the contract takes them. Raises PayloadError."""
    bitmap = 0
    previous = -1
    for index, signature in signed.signatures:
        if not previous < index < SIGNERS_MAX:
            raise PayloadError(
                "signatures.order", "signer index", index, f"above {previous}, below {SIGNERS_MAX}"
            )
        if len(signature) != SIGNATURE_BYTES:
            raise PayloadError(
                "signature.length", f"signature of {index}", len(signature), f"{SIGNATURE_BYTES} bytes"
            )
        bitmap |= 1 << index
        previous = index
    return bitmap, b"".join(signature for _, signature in signed.signatures)
