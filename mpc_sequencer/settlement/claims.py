"""A BatchResult as members tell each other: every field its signature covers, the deltas by their hash.

A bare digest could not be used against its signer: nobody could show which epoch and first height it is about. The
claim is at most 241 bytes whatever the number of deltas, so it travels with each signature, and two claims of one
member for one first height convict it (docs/evidence.md). An OrderCommit is small enough to travel whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc_sequencer.core.types import Hash32, Uint, Value
from mpc_sequencer.settlement.errors import PayloadError
from mpc_sequencer.settlement.payloads import (
    BATCH_RESULT,
    ORDER_COMMIT,
    ZERO_HASH,
    BatchResult,
    check_result,
    deltas_hash,
    pack_deltas,
)


class OrderCommit(Value, frozen=True):
    """The sealed orders of the range that ends at ``height``: ``ciphertext_root`` over its batches, ``l1_head`` the
    number of the chain's block up to which nothing is owed at its end, ``forced_head`` how many forced entries of the
    queue are consumed by then, ``prev_hash`` the struct hash of the range's before (zero: there is none)."""

    epoch: Uint
    height: Uint
    prev_hash: Hash32
    ciphertext_root: Hash32
    l1_head: Uint
    forced_head: Uint

    def struct_hash(self) -> bytes:
        """What a member's signature covers."""
        return ORDER_COMMIT(
            self.epoch, self.height, self.prev_hash, self.ciphertext_root, self.l1_head, self.forced_head
        )


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """An order commit and (signer index, 65-byte signature) pairs, ascending by index."""

    commit: OrderCommit
    signatures: tuple[tuple[int, bytes], ...]


def check_commit(commit: OrderCommit) -> None:
    """Every rule on an order commit that needs no state; its numbers are bounded by its type. Raises PayloadError."""
    if commit.height < 1:
        raise PayloadError("commit.height", "height", commit.height, "1 or more")
    if commit.ciphertext_root == ZERO_HASH:
        raise PayloadError("commit.ciphertext_root", "ciphertext_root", "zero", "a root")


def check_follows(before: OrderCommit, commit: OrderCommit) -> None:
    """Whether ``commit`` may come next after ``before``. Raises PayloadError."""
    if commit.prev_hash != before.struct_hash():
        raise PayloadError("commit.prev_hash", "prev_hash", commit.prev_hash.hex(), before.struct_hash().hex())
    for name in ("epoch", "l1_head", "forced_head"):
        if getattr(commit, name) < getattr(before, name):
            raise PayloadError(f"commit.{name}", name, getattr(commit, name), f"at least {getattr(before, name)}")
    if commit.height <= before.height:
        raise PayloadError("commit.height", "height", commit.height, f"above {before.height}")


class ResultClaim(Value, frozen=True):
    """The EIP-712 members of a BatchResult. ``deltas_hash`` is that of its packed deltas."""

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
        deltas_hash=deltas_hash(pack_deltas(result.deltas)),
    )
