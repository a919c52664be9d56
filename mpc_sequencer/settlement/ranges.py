"""Settlement ranges and their signatures: which heights one BatchResult covers, and when it may be posted.
Pure.

The rule over the log (docs/protocol.md, "Results and settlement") fixes every range's ends from final headers
alone, so an honest member never signs two results with one first height. A range is signed once its last
counting height is certified; q members' signatures make it ready for the chain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import SettlementShare
from mpc_sequencer.core.offences import Offence, ResultEquivocation
from mpc_sequencer.core.ordering.chainstate import ChainState
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import SETTLEMENT_DELTAS_BYTES_MAX
from mpc_sequencer.core.types import Address, BlockHeader, Hash32, NodeIndex, SignatureBytes, Uint, Value
from mpc_sequencer.market import HeightResult
from mpc_sequencer.settlement.claims import ResultClaim, claim_of
from mpc_sequencer.settlement.errors import PayloadError
from mpc_sequencer.settlement.payloads import (
    DELTA_BYTES,
    BatchResult,
    Delta,
    SignedResult,
)

UNSETTLED_MAX: Final = 256
SHARES_KEPT_PER_MEMBER: Final = 64
EARLY_RANGES_MAX: Final = 16
"""How many ranges of other members beyond the first one not signed here are kept, per member."""


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
    last: Uint
    counting: tuple[Uint, ...]
    block_ids: tuple[Hash32, ...]
    signatures: tuple[tuple[NodeIndex, SignatureBytes], ...]
    epoch: Uint
    quorum: Uint
    inputs: tuple[Uint, Hash32]


class RangesValue(Value, frozen=True):
    """:class:`Ranges` in a snapshot. ``state_root`` is that before the first of ``closed``."""

    number: Uint
    first: Uint
    block_ids: tuple[Hash32, ...]
    counting: tuple[tuple[Uint, Uint], ...]
    state_root: Hash32
    closed: tuple[RangeValue, ...]
    totals: tuple[TotalsValue, ...]
    signed: Uint
    """How many of ``closed`` this member had signed."""


@dataclass(slots=True)
class _Range:
    """A closed range, from closing until the chain has it."""

    number: int
    first: int
    last: int
    counting: tuple[int, ...]
    block_ids: tuple[bytes, ...]
    epoch: int
    quorum: int
    """Of that epoch's committee."""
    inputs: tuple[int, bytes]
    """How many of the queue's inputs its blocks and those before them take, and the queue's hash there."""
    result: BatchResult | None = None
    claim: ResultClaim | None = None
    signatures: dict[int, bytes] = field(default_factory=dict)
    prev_state_root: bytes = b""


class Ranges:
    """Closes ranges, computes and signs their results, gathers signatures."""

    def __init__(self, committee: Committee, node: int, signer: Signer, genesis_state_root: bytes) -> None:
        self._committee = committee
        self._node = node
        self._signer = signer
        self._first = 1
        self._block_ids: list[bytes] = []
        self._counting: list[tuple[int, int]] = []
        self._state_root = genesis_state_root
        self._closed: list[_Range] = []
        self._unsettled: deque[_Range] = deque()
        """Ranges given out as ready that the chain was not seen to have, the latest UNSETTLED_MAX."""
        self._totals: dict[int, HeightTotals] = {}
        """Executed heights of ranges not settled yet."""
        self._seen: dict[int, dict[int, SettlementShare]] = {}
        """Every member's verified signatures by first height, its latest SHARES_KEPT_PER_MEMBER: what comes early is
        counted later, and a second result of one first height convicts."""
        self.offences: list[Offence] = []
        self._number = 0
        self._own_shares: list[SettlementShare] = []
        self.stopped: PayloadError | None = None
        """Why no range is signed any more: one has no form the contract takes."""

    # --- the rule
    # -----------------------------------------------------------------------------------------------
    def final(
        self, header: BlockHeader, block_id: bytes, counts: bool, chain: ChainState, *, last: bool = False
    ) -> None:
        """The next final header, in height order, and where its block stands with the chain; closes the range where the
        rule says so. ``last``: of its epoch, which no range that counts a height outlives."""
        self._block_ids.append(block_id)
        if counts:
            self._counting.append((header.height, header.time_ms))
        if self._counting and (
            header.height - self._first + 1 >= limits.SETTLEMENT_RANGE_HEIGHTS
            or header.time_ms - self._counting[0][1] >= limits.SETTLEMENT_RANGE_MS
            or last
        ):
            self._number += 1
            self._closed.append(
                _Range(
                    number=self._number,
                    first=self._first,
                    last=header.height,
                    counting=tuple(height for height, _ in self._counting),
                    block_ids=tuple(self._block_ids),
                    epoch=self._committee.epoch,
                    quorum=self._committee.q,
                    inputs=(chain.inputs_count, chain.inputs_hash),
                )
            )
            self._first = header.height + 1
            self._block_ids, self._counting = [], []

    @property
    def all_signed(self) -> bool:
        """Whether every closed range has q signatures, or can have none."""
        return not self._closed or self.stopped is not None

    @property
    def unsigned_height(self) -> int | None:
        """The last height of the first closed range that lacks signatures; None where none does."""
        return self._closed[0].last if self._closed else None

    def due(self, now_ms: int) -> bool:
        """Whether a block now would close a range that holds something."""
        return bool(self._counting) and now_ms - self._counting[0][1] >= limits.SETTLEMENT_RANGE_MS

    def executed(self, outcome: HeightResult) -> None:
        """A height was executed; heights come in order."""
        self._totals[outcome.height] = HeightTotals(
            outcome.height, outcome.state_root, outcome.fills_root, outcome.deltas
        )

    # --- signing
    # ------------------------------------------------------------------------------------------------
    def sign(self, certified_height: int) -> list[SettlementShare]:
        """Sign every closed range whose last counting height is certified; the shares to send."""
        shares: list[SettlementShare] = []
        for closed in self._closed:
            if closed.result is not None:
                continue
            last = closed.counting[-1]
            if self.stopped or last > certified_height or last not in self._totals:
                break
            result = self._result(closed)
            try:
                if len(result.deltas) * DELTA_BYTES > SETTLEMENT_DELTAS_BYTES_MAX:
                    expected = f"at most {SETTLEMENT_DELTAS_BYTES_MAX // DELTA_BYTES}"
                    raise PayloadError("deltas.count", "deltas", len(result.deltas), expected)
                claim = claim_of(result)
            except PayloadError as error:
                self.stopped = error
                break
            closed.result, closed.claim = result, claim
            self._state_root = result.state_root
            if closed.epoch != self._committee.epoch:
                continue  # its own committee has signed it
            if self._node < self._committee.n:
                shares.append(self._own_share(closed, claim))
            for seen in self._seen.values():
                found = seen.get(closed.first)
                if found is not None and found.claim == claim:
                    closed.signatures[found.node] = found.signature
        self._own_shares += shares
        del self._own_shares[: -limits.SETTLEMENT_RANGE_HEIGHTS]
        return shares

    def _own_share(self, closed: _Range, claim: ResultClaim) -> SettlementShare:
        """This member's signature, counted. (An observer has none to give.)"""
        signature = self._signer.sign_digest(self._committee.digest(claim.struct_hash()))
        closed.signatures[self._node] = signature
        return SettlementShare(claim, self._node, signature)

    def _result(self, closed: _Range) -> BatchResult:
        outcomes = [self._totals[height] for height in closed.counting]
        sums: dict[tuple[int, bytes], tuple[int, int]] = {}
        for outcome in outcomes:
            for account, asset, free, withdrawable in outcome.deltas:
                before = sums.get((asset, account), (0, 0))
                sums[asset, account] = (before[0] + free, before[1] + withdrawable)
        closed.prev_state_root = self._state_root
        return BatchResult(
            epoch=closed.epoch,
            first_height=closed.first,
            last_height=closed.last,
            prev_state_root=closed.prev_state_root,
            state_root=outcomes[-1].state_root,
            fills_root=domains.RANGE_FILLS(*(outcome.fills_root for outcome in outcomes)),
            data_hash=domains.RANGE_DATA(*closed.block_ids),
            inputs_count=closed.inputs[0],
            inputs_hash=closed.inputs[1],
            deltas=_deltas(sums),
        )

    def on_share(self, share: SettlementShare) -> None:
        """A member's signature, its sender checked. Raises ProtocolError; a second result of one first height comes
        with the evidence. One for a range not signed here yet is kept.
        """
        claim = share.claim
        if claim.epoch != self._committee.epoch:
            raise ProtocolError("epoch.unknown", "SettlementShare.claim.epoch", claim.epoch, self._committee.epoch)
        seen = self._seen.get(share.node, {})
        held = seen.get(claim.first_height)
        if held is not None:
            if held.claim == claim:
                return
            self._check(share)
            raise ProtocolError(
                "settlement.equivocation",
                "SettlementShare.claim",
                claim.struct_hash(),
                f"one result from height {claim.first_height}",
                offence=ResultEquivocation(held, share),
            )
        closed = next((one for one in self._closed if one.first == claim.first_height), None)
        if closed is None or closed.claim is None:
            next_first = self._next_first()
            early = sum(1 for first_height in seen if first_height >= next_first)
            if claim.first_height < next_first or early >= EARLY_RANGES_MAX:
                return
        self._check(share)
        seen = self._seen.setdefault(share.node, {})
        seen[claim.first_height] = share
        if len(seen) > SHARES_KEPT_PER_MEMBER:
            del seen[min(seen)]
        if closed is not None and closed.claim == claim:
            closed.signatures[share.node] = share.signature

    def _next_first(self) -> int:
        unsigned = [closed.first for closed in self._closed if closed.result is None]
        return min(unsigned, default=self._first)

    def _check(self, share: SettlementShare) -> None:
        self._committee.check_signature(
            share.node, share.claim.struct_hash(), share.signature, "SettlementShare"
        )

    def ready(self) -> list[tuple[int, SignedResult]]:
        """Ranges that have q signatures now, in order, each given out once: (range number, signed result)."""
        found: list[tuple[int, SignedResult]] = []
        while self._closed and len(self._closed[0].signatures) >= self._closed[0].quorum:
            closed = self._closed.pop(0)
            assert closed.result is not None  # signatures are counted only for a computed result
            signatures = tuple(sorted(closed.signatures.items())[: closed.quorum])
            found.append((closed.number, SignedResult(closed.result, signatures)))
            self._unsettled.append(closed)
            if len(self._unsettled) > UNSETTLED_MAX:
                self._forget(self._unsettled.popleft())
        return found

    def settled(self, last_height: int) -> None:
        """The chain has the ranges up to ``last_height``."""
        while self._unsettled and self._unsettled[0].last <= last_height:
            self._forget(self._unsettled.popleft())

    def _forget(self, gone: _Range) -> None:
        for height in gone.counting:
            del self._totals[height]

    def own_shares(self) -> list[SettlementShare]:
        """The latest own signatures, to send again to a peer whose link was down."""
        return list(self._own_shares)


    # --- snapshots
    # ----------------------------------------------------------------------------------------------
    def dump(self) -> RangesValue:
        """Everything but other members' early signatures, which they send again."""
        ranges = [*self._unsettled, *self._closed]
        signed = sum(1 for one in ranges if one.result is not None)
        return RangesValue(
            number=self._number,
            first=self._first,
            block_ids=tuple(self._block_ids),
            counting=tuple(self._counting),
            state_root=ranges[0].prev_state_root if signed else self._state_root,
            closed=tuple(
                RangeValue(
                    number=r.number,
                    first=r.first,
                    last=r.last,
                    counting=r.counting,
                    block_ids=r.block_ids,
                    signatures=tuple(sorted(r.signatures.items())),
                    epoch=r.epoch,
                    quorum=r.quorum,
                    inputs=r.inputs,
                )
                for r in ranges
            ),
            totals=tuple(_totals_value(one) for one in self._totals.values()),
            signed=signed,
        )

    def restore(self, value: RangesValue) -> list[tuple[int, SignedResult]]:
        """Go on from a snapshot; the ranges that were ready and not on the chain, to be given out again."""
        self._number, self._first = value.number, value.first
        self._block_ids, self._counting = list(value.block_ids), list(value.counting)
        self._state_root = value.state_root
        self._totals = {one.height: _totals(one) for one in value.totals}
        self._closed = [
            _Range(one.number, one.first, one.last, one.counting, one.block_ids, one.epoch, one.quorum, one.inputs)
            for one in value.closed
        ]
        if value.signed:
            self.sign(self._closed[value.signed - 1].counting[-1])
        for closed, one in zip(self._closed, value.closed, strict=True):
            closed.signatures.update(one.signatures)
        return self.ready()


_CHANGE_BYTES: Final = 17


def _totals_value(totals: HeightTotals) -> TotalsValue:
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


def _totals(value: TotalsValue) -> HeightTotals:
    deltas = tuple(
        (account, asset, int.from_bytes(free, "big", signed=True), int.from_bytes(withdrawable, "big", signed=True))
        for account, asset, free, withdrawable in value.deltas
    )
    return HeightTotals(value.height, value.state_root, value.fills_root, deltas)


def _deltas(sums: Mapping[tuple[int, bytes], tuple[int, int]]) -> tuple[Delta, ...]:
    return tuple(
        Delta(account, asset, free, withdrawable)
        for (asset, account), (free, withdrawable) in sorted(sums.items())
        if free or withdrawable
    )
