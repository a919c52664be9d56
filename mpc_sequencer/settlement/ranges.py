"""Settlement ranges and their signatures: which heights one BatchResult covers, and when it may be posted.
Pure.

The rule over the log (docs/protocol.md, "Results and settlement") fixes every range's ends from final headers
alone, so an honest member never signs two results with one first height. A range is signed once its last
counting height is certified; q members' signatures make it ready for the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import SettlementShare
from mpc_sequencer.core.offences import Offence, ResultEquivocation
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import SETTLEMENT_DELTAS_BYTES_MAX
from mpc_sequencer.core.types import BlockHeader
from mpc_sequencer.market import HeightResult
from mpc_sequencer.settlement.claims import ResultClaim, claim_of
from mpc_sequencer.settlement.errors import PayloadError
from mpc_sequencer.settlement.payloads import (
    DELTA_BYTES,
    BatchResult,
    Delta,
    SignedResult,
)

SHARES_KEPT_PER_MEMBER: Final = 64
EARLY_RANGES_MAX: Final = 16
"""How many ranges of other members beyond the first one not signed here are kept, per member."""


@dataclass(slots=True)
class _Range:
    """A closed range, from closing to q signatures."""

    number: int
    first: int
    last: int
    counting: tuple[int, ...]
    block_ids: tuple[bytes, ...]
    result: BatchResult | None = None
    claim: ResultClaim | None = None
    signatures: dict[int, bytes] = field(default_factory=dict)


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
        self._outcomes: dict[int, HeightResult] = {}
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
    def final(self, header: BlockHeader, block_id: bytes, counts: bool) -> None:
        """The next final header, in height order; closes the range where the rule says so."""
        self._block_ids.append(block_id)
        if counts:
            self._counting.append((header.height, header.time_ms))
        if self._counting and (
            header.height - self._first + 1 >= limits.SETTLEMENT_RANGE_HEIGHTS
            or header.time_ms - self._counting[0][1] >= limits.SETTLEMENT_RANGE_MS
        ):
            self._number += 1
            self._closed.append(
                _Range(
                    number=self._number,
                    first=self._first,
                    last=header.height,
                    counting=tuple(height for height, _ in self._counting),
                    block_ids=tuple(self._block_ids),
                )
            )
            self._first = header.height + 1
            self._block_ids, self._counting = [], []

    def due(self, now_ms: int) -> bool:
        """Whether a block now would close a range that holds something."""
        return bool(self._counting) and now_ms - self._counting[0][1] >= limits.SETTLEMENT_RANGE_MS

    def executed(self, outcome: HeightResult) -> None:
        self._outcomes[outcome.height] = outcome

    # --- signing
    # ------------------------------------------------------------------------------------------------
    def sign(self, certified_height: int) -> list[SettlementShare]:
        """Sign every closed range whose last counting height is certified; the shares to send."""
        shares: list[SettlementShare] = []
        for closed in self._closed:
            if closed.result is not None:
                continue
            last = closed.counting[-1]
            if self.stopped or last > certified_height or last not in self._outcomes:
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
            signature = self._signer.sign_digest(self._committee.digest(claim.struct_hash()))
            closed.signatures[self._node] = signature
            shares.append(SettlementShare(claim, self._node, signature))
            for seen in self._seen.values():
                found = seen.get(closed.first)
                if found is not None and found.claim == claim:
                    closed.signatures[found.node] = found.signature
        self._own_shares += shares
        del self._own_shares[: -limits.SETTLEMENT_RANGE_HEIGHTS]
        return shares

    def _result(self, closed: _Range) -> BatchResult:
        outcomes = [self._outcomes.pop(height) for height in closed.counting]
        sums: dict[tuple[int, bytes], tuple[int, int]] = {}
        for outcome in outcomes:
            for account, asset, free, withdrawable in outcome.deltas:
                before = sums.get((asset, account), (0, 0))
                sums[asset, account] = (before[0] + free, before[1] + withdrawable)
        prev_state_root, self._state_root = self._state_root, outcomes[-1].state_root
        checkpoint = self._committee.genesis.checkpoint
        return BatchResult(
            epoch=self._committee.epoch,
            first_height=closed.first,
            last_height=closed.last,
            prev_state_root=prev_state_root,
            state_root=self._state_root,
            fills_root=domains.RANGE_FILLS(*(outcome.fills_root for outcome in outcomes)),
            data_hash=domains.RANGE_DATA(*closed.block_ids),
            inputs_count=checkpoint.inputs_count,
            inputs_hash=checkpoint.inputs_hash,
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
        while self._closed and len(self._closed[0].signatures) >= self._committee.q:
            closed = self._closed.pop(0)
            assert closed.result is not None  # signatures are counted only for a computed result
            signatures = tuple(sorted(closed.signatures.items())[: self._committee.q])
            found.append((closed.number, SignedResult(closed.result, signatures)))
        return found

    def own_shares(self) -> list[SettlementShare]:
        """The latest own signatures, to send again to a peer whose link was down."""
        return list(self._own_shares)


def _deltas(sums: Mapping[tuple[int, bytes], tuple[int, int]]) -> tuple[Delta, ...]:
    return tuple(
        Delta(account, asset, free, withdrawable)
        for (asset, account), (free, withdrawable) in sorted(sums.items())
        if free or withdrawable
    )
