"""What leaves a member once a block is final, executed or settled: log entries, news, settlement signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.chain import FinalBlock
from mpc_sequencer.core.effects import Append, Broadcast, Fault, Outcomes, Settle
from mpc_sequencer.core.messages import ExecutedRow
from mpc_sequencer.core.pool import PooledOrder
from mpc_sequencer.core.transcript import (
    BlockEntry,
    EnvelopeEntry,
    FinalityEntry,
    KeyEntry,
    ListEntry,
    SettlementEntry,
    input_entries,
)
from mpc_sequencer.market import HeightResult
from mpc_sequencer.settlement.payloads import SignedResult, pack_deltas

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

LASTING = frozenset({"resting", "partly_filled"})


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
        """Tell clients what became of the height's orders, and of resting ones it filled."""
        core, height = self._core, outcome.height
        rows: dict[bytes, ExecutedRow] = {}
        lasting: set[bytes] = set()
        for one in outcome.outcomes:
            notional = one.notional_tick_lots.to_bytes(AMOUNT_BYTES, "big")
            rows[one.order_id] = ExecutedRow(
                one.order_id, one.code, one.filled_lots, one.price_ticks or 0, notional
            )
            if core.execution.engine.open_order(one.order_id) is not None:
                lasting.add(one.order_id)
        earlier: dict[bytes, ExecutedRow] = {}
        for fill in outcome.fills:
            if fill.order_id not in rows:
                still = core.execution.engine.open_order(fill.order_id) is not None
                code = "partly_filled" if still else "filled"
                # Its only fill of the height: an order that rests trades at one price, an auction's or its own.
                notional = (fill.price_ticks * fill.quantity_lots).to_bytes(AMOUNT_BYTES, "big")
                earlier[fill.order_id] = ExecutedRow(
                    fill.order_id, code, fill.quantity_lots, fill.price_ticks, notional
                )
                if still:
                    lasting.add(fill.order_id)
        core.gateway.executed(height, rows, lasting)
        core.gateway.filled(height, earlier, lasting)
        core.board.executed(outcome, rows)
        if rows:
            core.effects.append(Outcomes(height, tuple(rows.values())))

    def settle(self) -> None:
        """Sign ranges that are certified, and hand over those with q signatures."""
        core = self._core
        core.effects += [
            Broadcast(share) for share in core.ranges.sign(core.execution.certified_height)
        ]
        stopped = core.ranges.stopped
        if stopped is not None and not self._told_stopped:
            self._told_stopped = True
            core.effects.append(Fault(core.node, stopped.code, f"settlement stops: {stopped}"))
        for number, signed in core.ranges.ready():
            core.effects.append(Append(settlement_entry(signed)))
            core.effects.append(Settle(number, signed))


def settlement_entry(signed: SignedResult) -> SettlementEntry:
    """The log's form of a signed result."""
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
        deltas=pack_deltas(result.deltas),
        signatures=signed.signatures,
    )
