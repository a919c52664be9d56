"""What settlement ranges are made of: an executed height's totals, a closed range, their forms in a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core.types import Address, Hash32, NodeIndex, SignatureBytes, Uint, Value
from mpc_sequencer.settlement.claims import OrderCommit, ResultClaim, SignedCommit
from mpc_sequencer.settlement.payloads import BatchResult, Delta


@dataclass(frozen=True, slots=True)
class HeightTotals:
    """What a range needs of an executed height. Deltas: (account, asset, change of free, of withdrawable)."""

    height: int
    state_root: bytes
    fills_root: bytes
    deltas: tuple[tuple[bytes, int, int, int], ...]


class TotalsValue(Value, frozen=True):
    """:class:`HeightTotals` in a snapshot; changes are 17 bytes, signed and big-endian."""

    height: Uint
    state_root: Hash32
    fills_root: Hash32
    deltas: tuple[tuple[Address, Uint, bytes, bytes], ...]


class RangeValue(Value, frozen=True):
    """A closed range in a snapshot, with the signatures counted so far. Its result is computed again."""

    number: Uint
    first: Uint
    counting: tuple[Uint, ...]
    block_ids: tuple[Hash32, ...]
    quorum: Uint
    inputs: tuple[Uint, Hash32]
    commit: OrderCommit
    commit_signatures: tuple[tuple[NodeIndex, SignatureBytes], ...]
    signatures: tuple[tuple[NodeIndex, SignatureBytes], ...]


class RangesValue(Value, frozen=True):
    """:class:`Ranges` in a snapshot. ``state_root`` is that before the first of ``closed``."""

    number: Uint
    first: Uint
    block_ids: tuple[Hash32, ...]
    counting: tuple[tuple[Uint, Uint, Hash32], ...]
    """Height, time and batch root."""
    state_root: Hash32
    commit_hash: Hash32
    """Struct hash of the last closed range's order commit."""
    closed: tuple[RangeValue, ...]
    totals: tuple[TotalsValue, ...]
    signed: Uint
    """How many of ``closed`` this member had signed."""


@dataclass(slots=True)
class ClosedRange:
    """A closed range, from closing until the chain has it."""

    number: int
    first: int
    counting: tuple[int, ...]
    block_ids: tuple[bytes, ...]
    quorum: int
    """Of its epoch's committee."""
    inputs: tuple[int, bytes]
    """How many of the queue's inputs its blocks and those before them take, and the queue's hash there."""
    commit: OrderCommit
    commit_signatures: dict[int, bytes] = field(default_factory=dict)
    commit_told: bool = False
    """Its order commit was given out as ready."""
    result: BatchResult | None = None
    claim: ResultClaim | None = None
    signatures: dict[int, bytes] = field(default_factory=dict)
    prev_state_root: bytes = b""

    @property
    def last(self) -> int:
        return self.commit.height

    @property
    def epoch(self) -> int:
        return self.commit.epoch

    @property
    def committed(self) -> bool:
        return len(self.commit_signatures) >= self.quorum

    def signed_commit(self) -> SignedCommit:
        return SignedCommit(self.commit, tuple(sorted(self.commit_signatures.items())[: self.quorum]))

    def value(self) -> RangeValue:
        """Its snapshot form."""
        return RangeValue(
            number=self.number,
            first=self.first,
            counting=self.counting,
            block_ids=self.block_ids,
            quorum=self.quorum,
            inputs=self.inputs,
            commit=self.commit,
            commit_signatures=tuple(sorted(self.commit_signatures.items())),
            signatures=tuple(sorted(self.signatures.items())),
        )


def range_of(value: RangeValue) -> ClosedRange:
    """A closed range of its snapshot form, but for the signatures under its result, which is computed first."""
    return ClosedRange(
        value.number,
        value.first,
        value.counting,
        value.block_ids,
        value.quorum,
        value.inputs,
        value.commit,
        dict(value.commit_signatures),
    )


_CHANGE_BYTES: Final = 17


def totals_value(totals: HeightTotals) -> TotalsValue:
    """The snapshot form of a height's totals."""
    deltas = tuple(
        (
            account,
            asset,
            free.to_bytes(_CHANGE_BYTES, "big", signed=True),
            withdrawable.to_bytes(_CHANGE_BYTES, "big", signed=True),
        )
        for account, asset, free, withdrawable in totals.deltas
    )
    return TotalsValue(totals.height, totals.state_root, totals.fills_root, deltas)


def totals_of(value: TotalsValue) -> HeightTotals:
    """Inverse of :func:`totals_value`."""
    deltas = tuple(
        (account, asset, int.from_bytes(free, "big", signed=True), int.from_bytes(withdrawable, "big", signed=True))
        for account, asset, free, withdrawable in value.deltas
    )
    return HeightTotals(value.height, value.state_root, value.fills_root, deltas)


def net_deltas(outcomes: Iterable[HeightTotals]) -> tuple[Delta, ...]:
    """The changes of several heights together as a result has them: ascending by (asset, account), none empty."""
    sums: dict[tuple[int, bytes], tuple[int, int]] = {}
    for outcome in outcomes:
        for account, asset, free, withdrawable in outcome.deltas:
            before = sums.get((asset, account), (0, 0))
            sums[asset, account] = (before[0] + free, before[1] + withdrawable)
    return tuple(
        Delta(account, asset, free, withdrawable)
        for (asset, account), (free, withdrawable) in sorted(sums.items())
        if free or withdrawable
    )
