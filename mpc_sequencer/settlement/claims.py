"""A BatchResult as members tell each other: every field its signature covers, the deltas by their hash.

A bare digest could not be used against its signer: nobody could show which epoch and first height it is about. The
claim is at most 241 bytes whatever the number of deltas, so it travels with each signature, and two claims of one
member for one first height convict it (docs/evidence.md).
"""

from __future__ import annotations

import hashlib

from mpc_sequencer.core.types import Hash32, Uint, Value
from mpc_sequencer.settlement.payloads import BATCH_RESULT, BatchResult, check_result, pack_deltas


class ResultClaim(Value, frozen=True):
    """The EIP-712 members of a BatchResult. ``deltas_hash`` is the SHA-256 of its packed deltas."""

    epoch: Uint
    first_height: Uint
    last_height: Uint
    prev_state_root: Hash32
    state_root: Hash32
    fills_root: Hash32
    data_hash: Hash32
    inputs_count: Uint
    inputs_hash: Hash32
    deltas_hash: Hash32

    def struct_hash(self) -> bytes:
        """What a member's signature covers; that of the BatchResult itself."""
        return BATCH_RESULT(
            self.epoch,
            self.first_height,
            self.last_height,
            self.prev_state_root,
            self.state_root,
            self.fills_root,
            self.data_hash,
            self.inputs_count,
            self.inputs_hash,
            self.deltas_hash,
        )


def claim_of(result: BatchResult) -> ResultClaim:
    """The claim of a result. Raises PayloadError for a result that breaks a rule."""
    check_result(result)
    return ResultClaim(
        epoch=result.epoch,
        first_height=result.first_height,
        last_height=result.last_height,
        prev_state_root=result.prev_state_root,
        state_root=result.state_root,
        fills_root=result.fills_root,
        data_hash=result.data_hash,
        inputs_count=result.inputs_count,
        inputs_hash=result.inputs_hash,
        deltas_hash=hashlib.sha256(pack_deltas(result.deltas)).digest(),
    )
