"""Settlement ranges and their signatures: which heights one BatchResult covers, and when it may be posted. Pure.

The rule over the log (docs/protocol.md, "Results and settlement") fixes every range's ends from final headers
alone, so an honest member never signs two results with one first height, nor two order commits of one height. A
range's order commit is signed as soon as its last header is final, before anything of it is executed; its result once
its last counting height is certified. q members' signatures under both make the range ready for the chain.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import CommitShare, SettlementShare
from mpc_sequencer.core.offences import CommitEquivocation, Offence, ResultEquivocation
from mpc_sequencer.core.ordering.chainstate import ChainState
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import ZERO_HASH, BlockHeader
from mpc_sequencer.market import HeightResult
from mpc_sequencer.settlement.claims import OrderCommit, ResultClaim, SignedCommit, claim_of
from mpc_sequencer.settlement.errors import PayloadError
from mpc_sequencer.settlement.gathering import Gathering, Kind
from mpc_sequencer.settlement.payloads import BatchResult, SignedResult
from mpc_sequencer.settlement.range_values import (
    ClosedRange,
    HeightTotals,
    RangesValue,
    net_deltas,
    range_of,
    totals_of,
    totals_value,
)

UNSETTLED_MAX: Final = 256
RESULTS: Final[Kind[SettlementShare]] = Kind(
    "SettlementShare",
    "settlement.equivocation",
    lambda share: share.claim.first_height,
    lambda share: share.claim.struct_hash(),
    ResultEquivocation,
)
COMMITS: Final[Kind[CommitShare]] = Kind(
    "CommitShare",
    "commit.equivocation",
    lambda share: share.commit.height,
    lambda share: share.commit.struct_hash(),
    CommitEquivocation,
)


class Ranges:
    """Closes ranges, signs their order commits, computes and signs their results, gathers signatures."""

    def __init__(self, committee: Committee, node: int, signer: Signer, genesis_state_root: bytes) -> None:
        self._committee = committee
        self._node = node
        self._signer = signer
        self._first = 1
        self._block_ids: list[bytes] = []
        self._counting: list[tuple[int, int, bytes]] = []
        self._state_root = genesis_state_root
        self._commit_hash = ZERO_HASH
        self._closed: list[ClosedRange] = []
        self._unsettled: deque[ClosedRange] = deque()
        """Ranges given out as ready that the chain was not seen to have, the latest UNSETTLED_MAX."""
        self._totals: dict[int, HeightTotals] = {}
        """Executed heights of ranges not settled yet."""
        self._results = Gathering(committee, RESULTS)
        self._commits = Gathering(committee, COMMITS)
        self.offences: list[Offence] = []
        self._number = 0
        self._own_shares: list[SettlementShare] = []
        self._own_commits: list[CommitShare] = []
        self._new_commits: list[CommitShare] = []
        self._recalled: dict[int, CommitShare] = {}
        """Own signatures over order commits that the journal holds, by height."""
        self.stopped: PayloadError | None = None
        """Why no range is signed any more: one has no form the contract takes, or contradicts this member's word."""

    # --- the rule ------------------------------------------------------------------------------------------------
    def final(
        self,
        header: BlockHeader,
        block_id: bytes,
        counts: bool,
        chain: ChainState,
        *,
        last: bool = False,
    ) -> None:
        """The next final header, in height order, and where its block stands with the chain; closes the range where the
        rule says so. ``last``: of its epoch, which no range that counts a height outlives."""
        self._block_ids.append(block_id)
        if counts:
            self._counting.append((header.height, header.time_ms, header.batch_root))
        if self._counting and (
            header.height - self._first + 1 >= limits.SETTLEMENT_RANGE_HEIGHTS
            or header.time_ms - self._counting[0][1] >= limits.SETTLEMENT_RANGE_MS
            or last
        ):
            self._close(header, chain)

    def _close(self, header: BlockHeader, chain: ChainState) -> None:
        self._number += 1
        commit = OrderCommit(
            epoch=self._committee.epoch,
            height=header.height,
            prev_hash=self._commit_hash,
            ciphertext_root=domains.RANGE_ORDERS(*(root for _, _, root in self._counting)),
            l1_head=chain.cleared_number,
            forced_head=chain.forced_head,
        )
        self._commit_hash = commit.struct_hash()
        closed = ClosedRange(
            number=self._number,
            first=self._first,
            counting=tuple(height for height, _, _ in self._counting),
            block_ids=tuple(self._block_ids),
            quorum=self._committee.q,
            inputs=(chain.inputs_count, chain.inputs_hash),
            commit=commit,
        )
        self._closed.append(closed)
        self._first = header.height + 1
        self._block_ids, self._counting = [], []
        self._sign_commit(closed)

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

    # --- order commits ---------------------------------------------------------------------------------------------
    def _sign_commit(self, closed: ClosedRange) -> None:
        """Sign a range's order commit, unless the journal has this member's signature; count those that came early. (An
        observer has none to give.)"""
        struct_hash = closed.commit.struct_hash()
        for share in self._commits.at(closed.last):
            if share.commit == closed.commit:
                closed.commit_signatures[share.node] = share.signature
        if self._node >= self._committee.n or self.stopped:
            return
        recalled = self._recalled.get(closed.last)
        if recalled is not None and recalled.commit != closed.commit:
            expected = f"what was signed at height {closed.last}"
            self.stopped = PayloadError("commit.contradiction", "OrderCommit", struct_hash.hex(), expected)
            return
        own = recalled
        if own is None:
            own = CommitShare(closed.commit, self._node, self._signer.sign_digest(self._committee.digest(struct_hash)))
        closed.commit_signatures[self._node] = own.signature
        self._new_commits.append(own)
        self._own_commits.append(own)
        del self._own_commits[: -limits.SETTLEMENT_RANGE_HEIGHTS]

    def take_commits(self) -> list[tuple[CommitShare, bool]]:
        """Own new signatures over order commits, to be sent; whether each is in the journal already."""
        taken = [(share, share.commit.height in self._recalled) for share in self._new_commits]
        self._new_commits = []
        return taken

    def recall_commit(self, share: CommitShare) -> None:
        """This member's journal says that it signed this."""
        self._recalled[share.commit.height] = share
        while len(self._recalled) > limits.SETTLEMENT_RANGE_HEIGHTS:
            del self._recalled[min(self._recalled)]

    def on_commit(self, share: CommitShare) -> None:
        """A member's signature over an order commit, as :meth:`on_share`."""
        commit = share.commit
        self._check_epoch("CommitShare.commit.epoch", commit.epoch)
        closed = next((one for one in self._closed if one.last == commit.height), None)
        if not self._commits.take(share, known=closed is not None, next_place=self._first):
            return
        if closed is not None and closed.commit == commit:
            closed.commit_signatures[share.node] = share.signature

    def ready_commits(self) -> list[tuple[int, SignedCommit]]:
        """Order commits that have q signatures now, each given out once: (range number, signed commit)."""
        found = [one for one in self._closed if one.committed and not one.commit_told]
        for one in found:
            one.commit_told = True
        return [(one.number, one.signed_commit()) for one in found]

    # --- results ---------------------------------------------------------------------------------------------------
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
            for found in self._results.at(closed.first):
                if found.claim == claim:
                    closed.signatures[found.node] = found.signature
        self._own_shares += shares
        del self._own_shares[: -limits.SETTLEMENT_RANGE_HEIGHTS]
        return shares

    def _own_share(self, closed: ClosedRange, claim: ResultClaim) -> SettlementShare:
        """This member's signature, counted."""
        signature = self._signer.sign_digest(self._committee.digest(claim.struct_hash()))
        closed.signatures[self._node] = signature
        return SettlementShare(claim, self._node, signature)

    def _result(self, closed: ClosedRange) -> BatchResult:
        outcomes = [self._totals[height] for height in closed.counting]
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
            deltas=net_deltas(outcomes),
        )

    def on_share(self, share: SettlementShare) -> None:
        """A member's signature, its sender checked. Raises ProtocolError; a second result of one first height comes
        with the evidence. One for a range not signed here yet is kept.
        """
        claim = share.claim
        self._check_epoch("SettlementShare.claim.epoch", claim.epoch)
        closed = next((one for one in self._closed if one.first == claim.first_height), None)
        known = closed is not None and closed.claim is not None
        if not self._results.take(share, known=known, next_place=self._next_first()):
            return
        if closed is not None and closed.claim == claim:
            closed.signatures[share.node] = share.signature

    def _check_epoch(self, field_name: str, epoch: int) -> None:
        if epoch != self._committee.epoch:
            raise ProtocolError("epoch.unknown", field_name, epoch, self._committee.epoch)

    def _next_first(self) -> int:
        unsigned = [closed.first for closed in self._closed if closed.result is None]
        return min(unsigned, default=self._first)

    def ready(self) -> list[tuple[int, SignedResult]]:
        """Ranges that have q signatures under both now, in order, each given out once: (range number, signed
        result)."""
        found: list[tuple[int, SignedResult]] = []
        while (
            self._closed and self._closed[0].commit_told and len(self._closed[0].signatures) >= self._closed[0].quorum
        ):
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

    def _forget(self, gone: ClosedRange) -> None:
        for height in gone.counting:
            del self._totals[height]

    def own_shares(self) -> list[SettlementShare | CommitShare]:
        """The latest own signatures, to send again to a peer whose link was down."""
        return [*self._own_commits, *self._own_shares]

    def own_commits(self) -> list[CommitShare]:
        """The latest own signatures over order commits, for the journal's next beginning."""
        return list({**self._recalled, **{one.commit.height: one for one in self._own_commits}}.values())

    # --- snapshots -------------------------------------------------------------------------------------------------
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
            commit_hash=self._commit_hash,
            closed=tuple(one.value() for one in ranges),
            totals=tuple(totals_value(one) for one in self._totals.values()),
            signed=signed,
        )

    def restore(self, value: RangesValue) -> tuple[list[tuple[int, SignedCommit]], list[tuple[int, SignedResult]]]:
        """Go on from a snapshot; the commits and ranges that were ready and not on the chain, to be given out again."""
        self._number, self._first = value.number, value.first
        self._block_ids, self._counting = list(value.block_ids), list(value.counting)
        self._state_root, self._commit_hash = value.state_root, value.commit_hash
        self._totals = {one.height: totals_of(one) for one in value.totals}
        self._closed = [range_of(one) for one in value.closed]
        if value.signed:
            self.sign(self._closed[value.signed - 1].counting[-1])
        for closed, one in zip(self._closed, value.closed, strict=True):
            closed.signatures.update(one.signatures)
        for closed in self._closed:
            if closed.epoch == self._committee.epoch and (own := closed.commit_signatures.get(self._node)) is not None:
                self._own_commits.append(CommitShare(closed.commit, self._node, own))
        del self._own_commits[: -limits.SETTLEMENT_RANGE_HEIGHTS]
        return self.ready_commits(), self.ready()
