"""A member's eye on the settlement chain: finalized blocks and their inputs, told to the core as they come.

Each poll takes the newest block that the chain calls finalized (or that enough blocks lie upon), goes down to a
multiple of the genesis' step, and reads the queue from where the core stands. Everything is checked by the queue's
hash chain before it is told. The work is done in a worker thread: a chain node that is slow, dead or lying delays
nothing but the checkpoints that this member names.

A block that was final and is no more would mean that the chain has broken its promise, or that the endpoint serves
another chain now. Then this member names no further checkpoint until it is started again, and says so loudly: f+1
members must name one identically, so one that was led astray harms nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from mpc_sequencer.core.effects import ChainSeen
from mpc_sequencer.core.transcript import INPUT_FORCED, ChainInput
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.settlement.errors import ChainError

if TYPE_CHECKING:
    from mpc_sequencer.settlement.chain import ChainClient

BACKOFF_S_MAX: Final = 60.0
WARN_AGAIN_S: Final = 300.0

logger = logging.getLogger("mpc_sequencer.node")


class ChainTakenBack(Exception):
    """A finalized block is no block of the chain any more."""


@dataclass(slots=True)
class ChainReader:
    """The blocking part: one poll after the other. ``told`` is what the core was told of last."""

    client: ChainClient
    chain_id: int
    step_blocks: int
    confirmations: int
    told: Checkpoint
    _seen_hash: bytes = b""
    """The finalized block of the last poll: while it is the same, so is all that it builds on."""

    def poll(self) -> ChainSeen | None:
        """What is new, if anything. Raises ChainError, or ChainTakenBack."""
        from mpc_sequencer.settlement.queue import finalized_block, read_queue

        number, final_hash = finalized_block(self.client, self.confirmations)
        if final_hash == self._seen_hash:
            return None
        self.client.check_chain_id(self.chain_id)
        number -= number % self.step_blocks
        told = self.told
        if number < told.number:
            return None  # an endpoint that lags behind the one before
        seen_hash = self.client.block_hash(told.number)
        if seen_hash != told.block_hash:
            text = f"block {told.number} was {told.block_hash.hex()} and is {seen_hash.hex()}"
            raise ChainTakenBack(text)
        if number == told.number:
            self._seen_hash = final_hash
            return None
        queue = read_queue(self.client, told.inputs_count, told.inputs_hash, told.number + 1, number)
        at = queue.checkpoint
        self.told = Checkpoint(at.number, at.hash, at.inputs_count, at.inputs_hash)
        self._seen_hash = final_hash
        return ChainSeen(
            self.told,
            tuple(
                ChainInput(one.kind, one.account, one.asset, one.amount.to_bytes(32, "big"), one.envelope)
                for one in queue.inputs
            ),
            tuple(one.due_block for one in queue.inputs if one.kind == INPUT_FORCED),
        )


async def watch_chain(reader: ChainReader, poll_s: float, tell: Callable[[ChainSeen], None]) -> None:
    """Tell of every finalized block that is new, until cancelled, or until the chain takes one back."""
    failures, quiet_until = 0, 0.0
    while True:
        try:
            seen = await trio.to_thread.run_sync(reader.poll, abandon_on_cancel=True)
        except ChainTakenBack as error:
            logger.critical(
                "THE CHAIN TOOK BACK A FINALIZED BLOCK: %s. This member names no further checkpoint: find out which "
                "chain is right, correct chain_url, and start it again",
                error,
            )
            return
        except ChainError as error:
            failures += 1
            if trio.current_time() >= quiet_until:
                quiet_until = trio.current_time() + WARN_AGAIN_S
                logger.warning("the chain is not watched, orders go on: %s (%s)", error, error.hint)
        else:
            if failures:
                logger.info("the chain answers again")
            failures, quiet_until = 0, 0.0
            if seen is not None:
                tell(seen)
        await trio.sleep(min(BACKOFF_S_MAX, poll_s * 2 ** min(failures, 6)))
