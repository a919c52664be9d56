"""Where a block and its ancestors stand with the settlement chain: one value of their ordering state."""

from __future__ import annotations

from collections.abc import Sequence

from mpc_sequencer.core.transcript import INPUT_FORCED, ChainInput
from mpc_sequencer.core.types import ZERO_HASH, Checkpoint, Hash32, Uint, Value


class ForcedOrder(Value, frozen=True):
    """A forced order that no block has let go yet: the chain block at which it is due, and its envelope as queued."""

    due_number: Uint
    body: bytes


class ChainState(Value, frozen=True):
    """What ordering remembers of the chain. ``inputs_count`` of the queue's inputs are taken, up to the hash
    ``inputs_hash``; what the checkpoint covers beyond them is carried."""

    checkpoint: Checkpoint
    inputs_count: Uint
    inputs_hash: Hash32
    queued_from: Uint
    """No input that is not taken was queued in a chain block below it."""
    forced: tuple[ForcedOrder, ...]
    """Taken forced orders that wait until they are due, in the queue's order."""
    forced_head: Uint
    """How many forced orders blocks have let go: batched, or done with otherwise."""
    last_due: Uint
    """When the last taken forced order is due."""
    cleared_number: Uint
    """The chain block up to which all inputs are taken and all due forced orders let go."""


NO_CHECKPOINT = Checkpoint(0, ZERO_HASH, 0, ZERO_HASH)


def chain_at(checkpoint: Checkpoint, inputs: Sequence[ChainInput] = ()) -> ChainState:
    """The state at the genesis checkpoint, with the inputs up to it. Forced orders among them are due with the next
    checkpoint, which nobody names before there is a threshold key to judge them by."""
    forced = tuple(ForcedOrder(checkpoint.number + 1, one.body) for one in inputs if one.kind == INPUT_FORCED)
    return ChainState(
        checkpoint=checkpoint,
        inputs_count=checkpoint.inputs_count,
        inputs_hash=checkpoint.inputs_hash,
        queued_from=checkpoint.number + 1,
        forced=forced,
        forced_head=0,
        last_due=checkpoint.number + 1 if forced else 0,
        cleared_number=checkpoint.number,
    )
