"""Reading the contract's input queue from where one stands: entries, forced orders' envelopes and due blocks.

What a chain node says is checked against the queue's own hash chain: every entry continues the hash before it, the last
one is the hash that the contract has at the block, and an envelope is what its entry's amount is the hash of. So a node
can withhold, which the count tells, and can invent nothing but a whole chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mpc_sequencer.settlement.chain import ChainClient, Checkpoint
from mpc_sequencer.settlement.errors import ChainError, ChainMismatch, ChainUnreachable
from mpc_sequencer.settlement.payloads import INPUT_FORCED, next_inputs_hash


@dataclass(frozen=True, slots=True)
class QueuedInput:
    """One entry: kind, account (20 bytes), asset, amount (base units, wei, or the envelope's SHA-256 as a number), and
    of a forced order its envelope and due block; else empty and 0."""

    kind: int
    account: bytes
    asset: int
    amount: int
    envelope: bytes
    due_block: int


@dataclass(frozen=True, slots=True)
class QueueAt:
    """The queue up to ``checkpoint``, as far as it was not known before."""

    checkpoint: Checkpoint
    inputs: tuple[QueuedInput, ...]


def read_queue(client: ChainClient, known_count: int, known_hash: bytes, from_block: int, to_block: int) -> QueueAt:
    """The entries after the first ``known_count``, whose hash is ``known_hash``, up to ``to_block``; they were queued
    in ``from_block`` or later. Blocking. Raises ChainError; ChainMismatch where the queue does not follow."""
    checkpoint = client.checkpoint(to_block)
    inputs: list[QueuedInput] = []
    if checkpoint.inputs_count > known_count:
        inputs = list(_entries(client, known_count, known_hash, from_block, to_block))
    last_hash = known_hash
    for one in inputs:
        last_hash = next_inputs_hash(last_hash, one.kind, one.account, one.asset, one.amount)
    if (known_count + len(inputs), last_hash) != (checkpoint.inputs_count, checkpoint.inputs_hash):
        seen = f"{known_count} + {len(inputs)} inputs are known up to block {to_block}"
        raise ChainMismatch(f"{seen}, the contract counts {checkpoint.inputs_count} with another hash or number")
    return QueueAt(checkpoint, tuple(inputs))


def _entries(
    client: ChainClient, known_count: int, known_hash: bytes, from_block: int, to_block: int
) -> Iterator[QueuedInput]:
    forced = {
        int(one["args"]["index"]): (bytes(one["args"]["envelope"]), int(one["args"]["due"]))
        for one in client.events("ForcedQueued", from_block, to_block)
    }
    index, inputs_hash = known_count, known_hash
    for event in client.events("InputQueued", from_block, to_block):
        fields: Any = event["args"]
        if fields["index"] < index:
            continue
        account = bytes.fromhex(fields["account"][2:])
        kind, asset, amount = fields["kind"], fields["asset"], fields["amount"]
        inputs_hash = next_inputs_hash(inputs_hash, kind, account, asset, amount)
        if fields["index"] != index or bytes(fields["inputs_hash"]) != inputs_hash:
            raise ChainMismatch(f"input {fields['index']} does not continue the queue's {index} inputs")
        envelope, due_block = b"", 0
        if kind == INPUT_FORCED:
            envelope, due_block = forced.get(index, (b"", 0))
            if hashlib.sha256(envelope).digest() != amount.to_bytes(32, "big"):
                raise ChainMismatch(f"the envelope of forced input {index} is missing, or another one")
        yield QueuedInput(kind, account, asset, amount, envelope, due_block)
        index += 1


def finalized_block(client: ChainClient, confirmations: int) -> tuple[int, bytes]:
    """Number and hash of the newest block that the chain calls finalized; where it knows no such thing, of the one that
    ``confirmations`` blocks lie upon. Raises ChainError."""
    try:
        found = client.block("finalized")
    except (ChainUnreachable, ChainMismatch):
        raise
    except ChainError:
        found = None  # it does not know the tag
    if found is not None:
        return found
    newest, newest_hash = client.newest_block()
    number = max(0, newest - confirmations)
    return number, newest_hash if number == newest else client.block_hash(number)
