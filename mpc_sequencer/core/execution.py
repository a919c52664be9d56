"""Execution in height order, results for heads, and what is certified (docs/protocol.md, "Results and settlement").

The market engine does the executing; this keeps the chain of results: ``result_h`` covers the one before, so a
certified result certifies all below it. A member whose own result is not the one q members certify stops signing
and says so: its engine or its disk is wrong, and going on would only hide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.chain import Finality
from mpc_sequencer.core.effects import Append, Effect, Feed
from mpc_sequencer.core.feed import fed_height
from mpc_sequencer.core.genesis import credit_deposits
from mpc_sequencer.core.ordering.state import is_large
from mpc_sequencer.core.reveal_task import OpenedBatch
from mpc_sequencer.core.transcript import ResultEntry
from mpc_sequencer.core.types import Hash32, ResultRef, Uint, Value
from mpc_sequencer.market import (
    BatchOrder,
    Engine,
    HeightResult,
    Market,
    Precedence,
    PreparedOrder,
    genesis_result,
    result_hash,
)

if TYPE_CHECKING:
    from mpc_sequencer.dark.desk import Parties


LARGE_ORDER_WORK: Final = 8
"""For how many orders' checks those of a large one count: it has a box for each member, with a proof each."""


class ResultMismatch(Exception):
    """q members certified another result than this member computed."""


@dataclass(frozen=True, slots=True)
class Executed:
    """One executed height."""

    outcome: HeightResult
    result: bytes
    previous: bytes
    """The result of the counting height before."""


class ExecutionValue(Value, frozen=True):
    """:class:`Execution` in a snapshot, but for batches that are open and not executed: these are opened again."""

    engine: bytes
    last_result: Hash32
    uncertified: tuple[ResultRef, ...]
    awaited: tuple[ResultRef, ...]
    executed_height: Uint
    certified_height: Uint


class Execution:
    """Executes opened batches and remembers results until they are certified. ``faults`` is the committee's f, which
    the order by receipt goes by where a market has it; ``parties`` compute the batches of dark markets."""

    def __init__(self, engine: Engine, faults: int, parties: Parties | None = None) -> None:
        self.engine = engine
        self._faults = faults
        self._parties = parties
        self.genesis_state_root = engine.state_root()
        self._last_result = genesis_result(self.genesis_state_root)
        self._uncertified: dict[int, bytes] = {}
        self._awaited: dict[int, bytes] = {}
        self._preparing: list[tuple[OpenedBatch, list[PreparedOrder]]] = []
        self.executed_height = 0
        self.certified_height = 0
        self.effects: list[Effect] = []
        self.feeds: Sequence[Market] | None = None
        """The markets of an outside engine, where the shell feeds one."""

    def dump(self) -> ExecutionValue:
        """The state after the last executed height."""
        return ExecutionValue(
            engine=self.engine.dump(),
            last_result=self._last_result,
            uncertified=tuple(ResultRef(h, r) for h, r in sorted(self._uncertified.items())),
            awaited=tuple(ResultRef(h, r) for h, r in sorted(self._awaited.items())),
            executed_height=self.executed_height,
            certified_height=self.certified_height,
        )

    def restore(self, value: ExecutionValue) -> None:
        """Go on from a snapshot. Raises ``ValueError`` where its engine is none."""
        self.engine = Engine.load(value.engine)
        self._last_result = value.last_result
        self._uncertified = {ref.height: ref.result for ref in value.uncertified}
        self._awaited = {ref.height: ref.result for ref in value.awaited}
        self.executed_height = value.executed_height
        self.certified_height = value.certified_height

    def opened(self, batch: OpenedBatch) -> None:
        """A batch is open; batches come in height order."""
        self._preparing.append((batch, []))

    def has_work(self) -> bool:
        return bool(self._preparing)

    def finals(self) -> list[Finality]:
        """Blocks whose batches are open and not executed."""
        return [batch.final for batch, _ in self._preparing]

    def waiting(self) -> int:
        """Batches that are open and not executed."""
        return len(self._preparing)

    def work(self) -> Executed | None:
        """Check some account signatures; execute the height once all its orders are prepared."""
        if not self._preparing:
            return None
        batch, prepared = self._preparing[0]
        work = 0
        for opened in batch.orders[len(prepared) :]:
            work += LARGE_ORDER_WORK if is_large(opened.order.facts.size_bytes) else 1
            if work > limits.REVEAL_ORDERS_PER_STEP:
                break
            order = BatchOrder(opened.order.order_id, opened.order.label, opened.plaintext)
            prepared.append(self.engine.prepare(order))
        if len(prepared) < len(batch.orders):
            return None
        del self._preparing[0]
        height = batch.final.height
        credit_deposits(self.engine, batch.final.taken)
        time_ms = batch.final.block.header.time_ms
        precedence = self._precedence(batch.final)
        dark = (batch.final.words, self._parties)
        outcome = self.engine.execute(height, time_ms, batch.coin, prepared, precedence, *dark)
        previous = self._last_result
        result = self._last_result = result_hash(previous, height, outcome.state_root, outcome.fills_root)
        self.executed_height = height
        self._compare(height, result, self._awaited.pop(height, result))
        if height > self.certified_height:
            self._uncertified[height] = result
        self.effects.append(
            Append(ResultEntry(height, outcome.state_root, outcome.fills_root, result))
        )
        if self.feeds is not None:
            self.effects.append(Feed(fed_height(outcome, time_ms, batch.coin, prepared, precedence, self.feeds)))
        return Executed(outcome, result, previous)

    def certified(self, refs: tuple[ResultRef, ...]) -> None:
        """A final block certifies results. Raises :class:`ResultMismatch` where one is not this member's."""
        for ref in refs:
            if ref.height > self.executed_height:
                self._awaited[ref.height] = ref.result
            elif (own := self._uncertified.get(ref.height)) is not None:
                self._compare(ref.height, own, ref.result)
            self.certified_height = max(self.certified_height, ref.height)
        for height in [h for h in self._uncertified if h <= self.certified_height]:
            del self._uncertified[height]

    def _precedence(self, final: Finality) -> Precedence | None:
        """What markets that order by receipt go by; None where there is none, and so no positions are kept."""
        if not final.positions:
            return None

        def precedence(order_ids: Sequence[bytes]) -> list[bytes]:
            # numpy comes in only where a market orders by receipt
            from mpc_sequencer.core.ordering.receive import fair_order

            return fair_order(order_ids, final.positions, self._faults)

        return precedence

    @staticmethod
    def _compare(height: int, own: bytes, certified: bytes) -> None:
        if own != certified:
            raise ResultMismatch(f"height {height}: certified {certified.hex()}, computed {own.hex()}")

    def results(self) -> tuple[ResultRef, ...]:
        """What a head says: results of all executed heights not certified yet, ascending."""
        refs = [ResultRef(height=h, result=r) for h, r in sorted(self._uncertified.items())]
        return tuple(refs[: limits.HEAD_RESULTS_MAX])
