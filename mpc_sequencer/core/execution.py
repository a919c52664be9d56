"""Execution in height order, results for heads, and what is certified (docs/protocol.md, "Results and settlement").

The market engine does the executing; this keeps the chain of results: ``result_h`` covers the one before, so a
certified result certifies all below it. A member whose own result is not the one q members certify stops signing
and says so: its engine or its disk is wrong, and going on would only hide it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Append, Effect
from mpc_sequencer.core.reveal import OpenedBatch
from mpc_sequencer.core.transcript import ResultEntry
from mpc_sequencer.core.types import ResultRef
from mpc_sequencer.market import (
    BatchOrder,
    Engine,
    HeightResult,
    Precedence,
    PreparedOrder,
    genesis_result,
    result_hash,
)


class ResultMismatch(Exception):
    """q members certified another result than this member computed."""


@dataclass(frozen=True, slots=True)
class Executed:
    """One executed height."""

    outcome: HeightResult
    result: bytes


class Execution:
    """Executes opened batches and remembers results until they are certified."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.receive_order: Callable[[OpenedBatch], Precedence] | None = None
        """What markets that order by receipt go by, made from a batch; None where there is no such market."""
        self.genesis_state_root = engine.state_root()
        self._last_result = genesis_result(self.genesis_state_root)
        self._uncertified: dict[int, bytes] = {}
        self._awaited: dict[int, bytes] = {}
        self._preparing: list[tuple[OpenedBatch, list[PreparedOrder]]] = []
        self.executed_height = 0
        self.certified_height = 0
        self.effects: list[Effect] = []

    def opened(self, batch: OpenedBatch) -> None:
        """A batch is open; batches come in height order."""
        self._preparing.append((batch, []))

    def has_work(self) -> bool:
        return bool(self._preparing)

    def work(self) -> Executed | None:
        """Check some account signatures; execute the height once all its orders are prepared."""
        if not self._preparing:
            return None
        batch, prepared = self._preparing[0]
        start = len(prepared)
        for opened in batch.orders[start : start + limits.REVEAL_ORDERS_PER_STEP]:
            order = BatchOrder(opened.order.order_id, opened.order.label, opened.plaintext)
            prepared.append(self.engine.prepare(order))
        if len(prepared) < len(batch.orders):
            return None
        del self._preparing[0]
        height = batch.final.entry.state.height
        precedence = None if self.receive_order is None else self.receive_order(batch)
        outcome = self.engine.execute(height, batch.coin, prepared, precedence)
        result = result_hash(self._last_result, height, outcome.state_root, outcome.fills_root)
        self._last_result = result
        self.executed_height = height
        self._compare(height, result, self._awaited.pop(height, result))
        if height > self.certified_height:
            self._uncertified[height] = result
        self.effects.append(
            Append(ResultEntry(height, outcome.state_root, outcome.fills_root, result))
        )
        return Executed(outcome, result)

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

    @staticmethod
    def _compare(height: int, own: bytes, certified: bytes) -> None:
        if own != certified:
            raise ResultMismatch(f"height {height}: certified {certified.hex()}, computed {own.hex()}")

    def results(self) -> tuple[ResultRef, ...]:
        """What a head says: results of all executed heights not certified yet, ascending."""
        refs = [ResultRef(height=h, result=r) for h, r in sorted(self._uncertified.items())]
        return tuple(refs[: limits.HEAD_RESULTS_MAX])
