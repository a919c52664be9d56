"""Entries of the audit log, in the order a member appends them (docs/protocol-log.md).

The first entry is :class:`GenesisEntry`, then come the chain inputs up to the genesis checkpoint. For every final
block, in height order: the inputs up to a checkpoint that it is the first to have, the lists it adds, the envelopes of
the orders it lifts (and any signature variant its batch names beside), the block, and what finalizes it. Bundles,
openings and results follow when they come about, again in height order for results. Each entry is at most
65,535 bytes, the bound of C2SP tlog-tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.types import (
    Address,
    Block,
    BlockHeader,
    Bundle,
    Certificate,
    Envelope,
    Hash32,
    KeyMessage,
    NodeIndex,
    Opened,
    OrderList,
    Receipt,
    SignatureBytes,
    Uint,
    Unopenable,
    Value,
)
from mpc_sequencer.market.types import MarketId
from mpc_sequencer.settlement.claims import OrderCommit

SETTLEMENT_DELTAS_BYTES_MAX = 54_000
INPUTS_PER_ENTRY_MAX = 256
INPUTS_ENTRY_BYTES_MAX = 48_000
DARK_PART_BYTES_MAX = 60_000
INPUT_DEPOSIT = 1
INPUT_BOND = 2
INPUT_FORCED = 3

PackedDeltas = Annotated[bytes, Meta(max_length=SETTLEMENT_DELTAS_BYTES_MAX)]
Amount = Annotated[bytes, Meta(min_length=32, max_length=32)]


class ChainInput(Value, frozen=True):
    """One entry of the contract's input queue: kind 1 deposit, kind 2 bond, kind 3 forced order; amount as 32 bytes
    big-endian. A forced order's ``body`` is its envelope as queued, its amount the SHA-256 of that; it is empty for the
    other kinds."""

    kind: Annotated[int, Meta(ge=1, le=3)]
    account: Address
    asset: Annotated[int, Meta(ge=0, lt=1 << 16)]
    amount: Amount
    body: Annotated[bytes, Meta(max_length=limits.FORCED_BYTES_MAX)] = b""

    def chained(self, inputs_hash: bytes) -> bytes:
        """The queue's hash after this entry, where it was ``inputs_hash`` before it."""
        fields = bytes((self.kind,)) + self.account + self.asset.to_bytes(2, "big") + self.amount
        return hashlib.sha256(inputs_hash + fields).digest()

    @property
    def is_whole(self) -> bool:
        """Whether the body is what the amount commits to: of a forced order its envelope, nothing of any other."""
        if self.kind == INPUT_FORCED:
            return hashlib.sha256(self.body).digest() == self.amount
        return not self.body

    @property
    def amount_units(self) -> int:
        """A deposit's base units, a bond's wei."""
        return int.from_bytes(self.amount, "big")


class GenesisEntry(Value, frozen=True, tag=1):
    """The genesis block id and the log key of who keeps this log."""

    genesis: Hash32
    keeper: Hash32


class InputsEntry(Value, frozen=True, tag=2):
    """Chain inputs ``first_index ..``, in queue order."""

    first_index: Uint
    inputs: Annotated[tuple[ChainInput, ...], Meta(min_length=1, max_length=512)]


def input_entries(first_index: int, inputs: Sequence[ChainInput]) -> Iterator[InputsEntry]:
    """Entries that hold ``inputs``, none of them too large for the log; the same ones whenever it is asked."""
    chunk: list[ChainInput] = []
    size = 0
    for one in inputs:
        if chunk and (len(chunk) >= INPUTS_PER_ENTRY_MAX or size + len(one.body) > INPUTS_ENTRY_BYTES_MAX):
            yield InputsEntry(first_index, tuple(chunk))
            first_index, chunk, size = first_index + len(chunk), [], 0
        chunk.append(one)
        size += len(one.body)
    if chunk:
        yield InputsEntry(first_index, tuple(chunk))


class ListEntry(Value, frozen=True, tag=3):
    order_list: OrderList


class EnvelopeEntry(Value, frozen=True, tag=4):
    envelope: Envelope


class BlockEntry(Value, frozen=True, tag=5):
    block: Block


class FinalityEntry(Value, frozen=True, tag=6):
    """The certificate that finalizes the block ``block_id``: directly, or its descendant at the end of ``path``."""

    block_id: Hash32
    certificate: Certificate
    path: Annotated[tuple[BlockHeader, ...], Meta(max_length=limits.HEADER_PATH_MAX)]


class BundleEntry(Value, frozen=True, tag=7):
    bundle: Bundle


class OpenedEntry(Value, frozen=True, tag=8):
    height: Uint
    opened: Opened


class UnopenableEntry(Value, frozen=True, tag=9):
    height: Uint
    unopenable: Unopenable


class ResultEntry(Value, frozen=True, tag=10):
    """The member's own result of a counting height."""

    height: Uint
    state_root: Hash32
    fills_root: Hash32
    result: Hash32


class SettlementEntry(Value, frozen=True, tag=11):
    """A BatchResult with q signatures, ascending by member: header fields, ``deltas_hash`` as signed, and the packed
    deltas (54 bytes each), or what :class:`DeltasEntry` before has left of them."""

    first_height: Uint
    last_height: Uint
    prev_state_root: Hash32
    state_root: Hash32
    fills_root: Hash32
    data_hash: Hash32
    inputs_count: Uint
    inputs_hash: Hash32
    deltas_hash: Hash32
    deltas: PackedDeltas
    signatures: tuple[tuple[NodeIndex, SignatureBytes], ...]


class DeltasEntry(Value, frozen=True, tag=16):
    """The next packed deltas of the range whose SettlementEntry follows: as many entries as it takes."""

    first_height: Uint
    deltas: PackedDeltas


class CommitEntry(Value, frozen=True, tag=17):
    """A range's order commit with q signatures, in ascending order of their members."""

    commit: OrderCommit
    signatures: tuple[tuple[NodeIndex, SignatureBytes], ...]


class ReceiptEntry(Value, frozen=True, tag=12):
    """A receipt this member gave; its order must be in exactly the list it names."""

    receipt: Receipt


class SettledEntry(Value, frozen=True, tag=13):
    """The transaction in which this member saw the range ending at ``last_height`` posted."""

    last_height: Uint
    transaction: Hash32
    gas_used: Uint


class KeyEntry(Value, frozen=True, tag=14):
    """A message of a key session that the next block lifts."""

    message: KeyMessage


class DarkEntry(Value, frozen=True, tag=18):
    """A part of the transcript of a dark batch's computation in which this member took part: ``data`` is the next piece
    of the encoded :class:`mpc_sequencer.dark.signed.SignedTranscript`. All ``parts`` follow each other; parts that a
    crash cut off do not come any more."""

    epoch: Uint
    market: MarketId
    batch: Uint
    session: Hash32
    part: Annotated[int, Meta(ge=0, lt=limits.DARK_TRANSCRIPT_PARTS_MAX)]
    parts: Annotated[int, Meta(ge=1, le=limits.DARK_TRANSCRIPT_PARTS_MAX)]
    data: Annotated[bytes, Meta(min_length=1, max_length=DARK_PART_BYTES_MAX)]


LogEntry = (
    GenesisEntry
    | InputsEntry
    | ListEntry
    | EnvelopeEntry
    | BlockEntry
    | FinalityEntry
    | BundleEntry
    | OpenedEntry
    | UnopenableEntry
    | ResultEntry
    | SettlementEntry
    | ReceiptEntry
    | SettledEntry
    | KeyEntry
    | DeltasEntry
    | CommitEntry
    | DarkEntry
)


def entry_key(entry: LogEntry) -> tuple[object, ...]:
    """What an entry is about: a log holds one entry of a key, but for envelopes that several blocks lift."""
    match entry:
        case GenesisEntry():
            return ("genesis",)
        case InputsEntry(first_index):
            return ("inputs", first_index)
        case ListEntry(order_list):
            return ("list", order_list.struct_hash())
        case EnvelopeEntry(envelope):
            return ("envelope", envelope.envelope_hash())
        case BlockEntry(block):
            return ("block", block.header.block_id())
        case FinalityEntry(block_id):
            return ("finality", block_id)
        case BundleEntry(bundle):
            return ("bundle", bundle.block_id, bundle.node)
        case OpenedEntry(_, opened):
            return ("opening", opened.order_id)
        case UnopenableEntry(_, unopenable):
            return ("opening", unopenable.order_id)
        case ResultEntry(height):
            return ("result", height)
        case SettlementEntry(first_height):
            return ("settlement", first_height)
        case DeltasEntry(first_height, deltas):
            return ("deltas", first_height, deltas)
        case CommitEntry(commit):
            return ("commit", commit.height)
        case ReceiptEntry(receipt):
            return ("receipt", receipt.incarnation, receipt.order_id)
        case SettledEntry(last_height):
            return ("settled", last_height)
        case KeyEntry(message):
            return ("key", message.message_id())
        case DarkEntry(epoch, market, batch, _, part):
            return ("dark", epoch, market, batch, part)
