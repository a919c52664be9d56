"""What follows when a block is final, and when its batch is executed: the parts that were waiting go on, in this order.

The log tells of the block first. Its key messages go to their session, for who releases a share must know which sharing
opens the batch; its certified results go to execution, and through it to the settlement ranges; its batch goes to the
reveal, which may release shares from here on and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc_sequencer.core.chain import FinalBlock, Finality
from mpc_sequencer.core.execution import Executed
from mpc_sequencer.core.genesis import add_bonds

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore


def on_final(core: NodeCore, final: FinalBlock, now_ms: int) -> None:
    """A block is final: what was waiting for it goes on. Blocks come in height order."""
    core.last_final_ms = now_ms
    entry = final.entry
    height, batch = entry.state.height, entry.block.batch
    core.last_batch_orders = len(batch)
    core.publisher.final(final)
    core.keygen.final(height, entry.state.time_ms, entry.key_messages)
    core.execution.certified(entry.block.certified)
    if entry.block.certified:
        core.statements.results_changed()
    add_bonds(core.bonds_wei, entry.taken)
    core.arrivals += 1  # the block may bring the key or the bodies that another waits for
    state = entry.state
    core.ranges.final(entry.block.header, entry.block_id, state.counts, state.chain, last=state.ended)
    if state.counts and not batch:
        core.reveal.final(final.finality, (), now_ms)  # inputs, or what is due, in its turn
    if batch:
        core.keygen.drain()
        order_ids = [one.order_id for one in batch]
        core.gateway.final(height, entry.block_id, order_ids)
        core.board.sequenced += len(batch)
        open_batch(core, final.finality, now_ms)
    if entry.state.ended:
        core.keygen.drain()
        core.statements.cut_list()  # the epoch is over: receipts given in it are kept by this list
    core.publisher.settle()


def open_batch(core: NodeCore, final: Finality, now_ms: int) -> None:
    """Hand a final batch, whose bodies are held, to the reveal."""
    orders = []
    for one in final.block.batch:
        core.pool.sequence(one.order_id, final.height)
        pooled = core.pool.get(one.order_id)
        assert pooled is not None, "no block is accepted without the bodies it batches"
        orders.append(pooled.order)
    core.reveal.final(final, orders, now_ms)


def on_executed(core: NodeCore, executed: Executed) -> None:
    """A batch is executed: heads, ranges, clients and the log say so."""
    core.statements.results_changed()
    core.ranges.executed(executed.outcome)
    core.publisher.executed(executed.outcome)
    core.publisher.settle()
