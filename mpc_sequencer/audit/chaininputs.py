"""What blocks take from the settlement chain (docs/protocol.md, "Chain inputs"): checkpoint, inputs, forced orders.

The log tells the inputs: before the first block whose checkpoint covers them, all of them, and they must lead to that
checkpoint by the queue's hash chain. From there everything follows. This judges checkpoint and inputs itself; which
forced orders are due and what becomes of them it tells :mod:`mpc_sequencer.audit.blocks`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Genesis
from mpc_sequencer.core.transcript import ChainInput, InputsEntry
from mpc_sequencer.core.types import Checkpoint, Head
from threshold import Label

DEPOSIT, BOND, FORCED = 1, 2, 3


def queue_hash(before: bytes, one: ChainInput) -> bytes:
    """The contract's: ``sha256(hash || kind u8 || account || asset u16 || amount u256)``."""
    return sha256(before + bytes((one.kind,)) + one.account + one.asset.to_bytes(2, "big") + one.amount).digest()


@dataclass(frozen=True, slots=True)
class Forced:
    """A forced order: when it is due (a block number of the chain), its id, and its label where its envelope holds."""

    due: int
    order_id: bytes
    label: Label | None


class ChainInputs:
    """The chain's part of what a block's ancestors leave behind. ``judge`` says of an envelope as queued which order it
    is, and its label where it passes every check that does not hang on time."""

    def __init__(
        self, genesis: Genesis, recorder: Recorder, judge: Callable[[bytes], tuple[bytes, Label | None]]
    ) -> None:
        self._recorder = recorder
        self._judge = judge
        self._delay, self._spacing = genesis.forced_delay_blocks, genesis.forced_spacing_blocks
        self.checkpoint = genesis.checkpoint
        self.taken_count, self.taken_hash = genesis.checkpoint.inputs_count, genesis.checkpoint.inputs_hash
        self._told: list[ChainInput] = []
        """Since the last block."""
        self._carried: deque[ChainInput] = deque()
        self._oldest_number = genesis.checkpoint.number + 1
        """No input that is not taken was queued in a block before it."""
        self._bodies: deque[tuple[int, bytes]] = deque()
        """Forced orders that wait: when they are due, and their envelopes."""
        self._last_due = 0
        self.forced_done = 0
        self.cleared_number = genesis.checkpoint.number

    def start(self, inputs: Sequence[ChainInput]) -> None:
        """Forced orders up to the genesis checkpoint are due with the next one."""
        for one in inputs:
            if one.kind == FORCED:
                self._last_due = self.checkpoint.number + 1
                self._bodies.append((self._last_due, one.body))

    def tell(self, entry: InputsEntry) -> None:
        """Take inputs of the log."""
        count = self.checkpoint.inputs_count + len(self._told)
        if entry.first_index != count:
            self._recorder.halt("inputs.chain", f"inputs from {entry.first_index}, expected {count}")
        for index, one in enumerate(entry.inputs, count):
            body_hash = sha256(one.body).digest() if one.kind == FORCED else one.amount
            if body_hash != one.amount or (one.body and one.kind != FORCED):
                self._recorder.halt("inputs.chain", f"input {index}: its amount is not the hash of its body")
        self._told += entry.inputs

    def agreed(self, heads: Sequence[Head], f: int) -> Checkpoint:
        """The highest checkpoint above the last that f+1 heads name alike, or the last."""
        best = self.checkpoint
        for one in {head.checkpoint for head in heads}:
            backers = sum(head.checkpoint == one for head in heads)
            enough = backers > f and one.inputs_count >= self.checkpoint.inputs_count
            if enough and one.number > self.checkpoint.number and _rank(one) > _rank(best):
                best = one
        return best

    def advance(self, checkpoint: Checkpoint, height: int, stands: bool) -> list[ChainInput]:
        """Go on to a block's checkpoint and take its inputs; none where all ``stands`` still. Halts where the log's
        inputs do not lead to it."""
        reached = self.checkpoint.inputs_hash
        for one in self._told:
            reached = queue_hash(reached, one)
        count = self.checkpoint.inputs_count + len(self._told)
        if (count, reached) != (checkpoint.inputs_count, checkpoint.inputs_hash):
            detail = f"{count} inputs with hash {reached.hex()}, the checkpoint has {checkpoint.inputs_count}"
            self._recorder.halt("inputs.chain", detail, height=height)
        self._recorder.done("inputs", len(self._told))
        self._carried.extend(self._told)
        self._told = []
        self.checkpoint = checkpoint
        if stands:
            return []
        taken = [self._carried.popleft() for _ in range(min(len(self._carried), limits.INPUTS_PER_BLOCK_MAX))]
        for one in taken:
            self.taken_hash = queue_hash(self.taken_hash, one)
            if one.kind == FORCED:
                self._last_due = max(self._oldest_number + self._delay, self._last_due + self._spacing)
                self._bodies.append((self._last_due, one.body))
        self.taken_count += len(taken)
        if not self._carried:
            self._oldest_number = checkpoint.number + 1
        return taken

    def due(self, stands: bool) -> list[Forced]:
        """The forced orders that are due at the block's checkpoint, in the queue's order."""
        waiting = [] if stands else [one for one in self._bodies if one[0] <= self.checkpoint.number]
        return [Forced(due, *self._judge(body)) for due, body in waiting]

    def let_go(self, count: int) -> None:
        """The block is done with so many of them."""
        for _ in range(count):
            self._bodies.popleft()
        self.forced_done += count
        owed = bool(self._bodies) and self._bodies[0][0] <= self.checkpoint.number
        if not owed and not self._carried:
            self.cleared_number = self.checkpoint.number


def _rank(checkpoint: Checkpoint) -> tuple[int, bytes]:
    return checkpoint.number, encode(checkpoint)
