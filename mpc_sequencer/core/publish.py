"""What leaves a member once a block is final, executed or settled: log entries, news, settlement signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.chain import FinalBlock
from mpc_sequencer.core.effects import Append, Broadcast, CommitReady, CommitRecord, Fault, Outcomes, Persist, Settle
from mpc_sequencer.core.messages import ExecutedRow
from mpc_sequencer.core.pool import PooledOrder
from mpc_sequencer.core.transcript import (
    SETTLEMENT_DELTAS_BYTES_MAX,
    BlockEntry,
    CommitEntry,
    DeltasEntry,
    EnvelopeEntry,
    FinalityEntry,
    KeyEntry,
    ListEntry,
    LogEntry,
    SettlementEntry,
    input_entries,
)
from mpc_sequencer.market import HeightResult
from mpc_sequencer.market.types import IN_DARK, Outcome, Update
from mpc_sequencer.settlement.payloads import SignedResult, deltas_hash, pack_deltas

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore


class Publisher:
    """Log entries in the order docs/protocol-log.md gives, and news for clients."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._told_stopped = False

    def final(self, final: FinalBlock) -> None:
        """The entries of a final block."""
        core, entry = self._core, final.entry
        first_index = entry.state.chain.checkpoint.inputs_count - len(entry.told)
        core.effects += [Append(one) for one in input_entries(first_index, entry.told)]
        core.effects += [Append(ListEntry(one)) for one in entry.lists]
        for order_id in entry.lifted:
            pooled = core.pool.get(order_id)
            if pooled is not None:  # again where it was lifted before: who reads on from here may lack it
                self._log_variant(pooled, pooled.first_variant())
            elif (held := core.keybook.get(order_id)) is not None:
                core.effects.append(Append(KeyEntry(held.message)))
        for one in entry.block.batch:
            pooled = core.pool.get(one.order_id)
            if pooled is not None and one.envelope_hash not in pooled.logged:
                self._log_variant(pooled, one.envelope_hash)
        core.effects.append(Append(BlockEntry(entry.block)))
        core.effects.append(Append(FinalityEntry(entry.block_id, final.finality.certificate, final.finality.path)))

    def _log_variant(self, pooled: PooledOrder, envelope_hash: bytes) -> None:
        pooled.logged.add(envelope_hash)
        self._core.effects.append(Append(EnvelopeEntry(pooled.variants[envelope_hash])))

    def executed(self, outcome: HeightResult) -> None:
        """Tell clients what became of the height's orders, and of earlier ones that it filled or ended."""
        core, height = self._core, outcome.height
        rows: dict[bytes, ExecutedRow] = {}
        lasting: set[bytes] = set()
        for one in outcome.outcomes:
            still = core.execution.engine.open_order(one.order_id)
            rows[one.order_id] = _row(one, 0 if still is None else still.remaining_lots)
            if still is not None or one.code == IN_DARK:
                lasting.add(one.order_id)
        earlier: dict[bytes, ExecutedRow] = {}
        for update in outcome.updates:
            earlier[update.order_id] = _row(update, update.remaining_lots)
            if update.remaining_lots:
                lasting.add(update.order_id)
        core.gateway.executed(height, rows, lasting)
        core.gateway.filled(height, earlier, lasting)
        core.board.executed(outcome, rows, () if core.dark.desk is None else core.dark.desk.markets)
        if rows or earlier:
            core.effects.append(Outcomes(height, tuple(rows.values()), tuple(earlier.values())))

    def settle(self) -> None:
        """Sign ranges that are certified, and hand over those with q signatures."""
        core = self._core
        for commit, recalled in core.ranges.take_commits():
            if not recalled:
                core.effects.append(Persist(CommitRecord(commit)))
            core.effects.append(Broadcast(commit))
        core.effects += [
            Broadcast(share) for share in core.ranges.sign(core.execution.certified_height)
        ]
        stopped = core.ranges.stopped
        if stopped is not None and not self._told_stopped:
            self._told_stopped = True
            core.effects.append(Fault(core.node, stopped.code, f"settlement stops: {stopped}"))
        for number, signed_commit in core.ranges.ready_commits():
            core.effects.append(Append(CommitEntry(signed_commit.commit, signed_commit.signatures)))
            core.effects.append(CommitReady(number, signed_commit))
        for number, signed in core.ranges.ready():
            core.effects += [Append(entry) for entry in settlement_entries(signed)]
            core.effects.append(Settle(number, signed))


def _row(one: Outcome | Update, remaining_lots: int) -> ExecutedRow:
    """A height's outcome for an order, as clients hear it."""
    return ExecutedRow(
        order_id=one.order_id,
        code=one.code,
        filled_lots=one.filled_lots,
        price_ticks=one.price_ticks or 0,
        notional=one.notional_tick_lots.to_bytes(AMOUNT_BYTES, "big"),
        fee=one.fee_units.to_bytes(AMOUNT_BYTES, "big"),
        remaining_lots=remaining_lots,
    )


def settlement_entries(signed: SignedResult) -> list[LogEntry]:
    """The log's form of a signed result: as many deltas before as one entry cannot hold."""
    result = signed.result
    packed = pack_deltas(result.deltas)
    size = SETTLEMENT_DELTAS_BYTES_MAX
    parts = [packed[start : start + size] for start in range(0, len(packed), size)] or [b""]
    entries: list[LogEntry] = [DeltasEntry(result.first_height, part) for part in parts[:-1]]
    return [*entries, _settlement_entry(signed, deltas_hash(packed), parts[-1])]


def _settlement_entry(signed: SignedResult, signed_hash: bytes, deltas: bytes) -> SettlementEntry:
    result = signed.result
    return SettlementEntry(
        first_height=result.first_height,
        last_height=result.last_height,
        prev_state_root=result.prev_state_root,
        state_root=result.state_root,
        fills_root=result.fills_root,
        data_hash=result.data_hash,
        inputs_count=result.inputs_count,
        inputs_hash=result.inputs_hash,
        deltas_hash=signed_hash,
        deltas=deltas,
        signatures=signed.signatures,
    )
