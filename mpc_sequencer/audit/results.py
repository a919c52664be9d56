"""Rules of results: every counting height is executed again; its roots and hash are the log's and the
certified ones.

A height is executed when all its orders have a verdict, its coin follows from the log and its turn has
come. Results the blocks certify may come before or after the member's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mpc_sequencer.audit.blocks import Blocks
from mpc_sequencer.audit.dark_orders import DarkParties
from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.execution import Executed, Execution
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.reveal import Reveal
from mpc_sequencer.core import domains
from mpc_sequencer.core.transcript import ResultEntry
from mpc_sequencer.core.types import ZERO_HASH, ResultRef
from mpc_sequencer.market.types import Precedence


def result_hash(previous: bytes, height: int, state_root: bytes, fills_root: bytes) -> bytes:
    """The result of a counting height."""
    return domains.RESULT(previous, height.to_bytes(8, "big"), state_root, fills_root)


class Results:
    """Own results so far, and what the log's blocks certify."""

    def __init__(
        self, recorder: Recorder, execution: Execution, reveal: Reveal, blocks: Blocks, epochs: Epochs
    ) -> None:
        self._recorder = recorder
        self._execution = execution
        self._reveal = reveal
        self._blocks = blocks
        self._epochs = epochs
        self.receive_order: Callable[[int], Precedence] | None = None
        """What markets that order by receipt go by, made from a height; None where there is no such market."""
        self._last_result = ZERO_HASH
        self._certified: dict[int, bytes] = {}
        self._unlogged: list[tuple[Executed, bytes]] = []
        self._logged_height = 0
        self.results: dict[int, bytes] = {}
        self.fills = 0
        self.malformed = 0

    def start(self) -> bytes:
        """Fix the genesis state; its root."""
        root = self._execution.state.root()
        self._last_result = result_hash(ZERO_HASH, 0, root, ZERO_HASH)
        return root

    def execute_open(self) -> list[Executed]:
        """Execute the heights that are open, in order, up to the first that is not; what they did."""
        done = []
        for height in self._reveal.waiting_heights():
            if not self._reveal.is_open(height):
                break
            done.append(self._execute(height))
        return done

    def _execute(self, height: int) -> Executed:
        coin = self._reveal.coin(height)
        batch = self._reveal.take(height)
        precedence = None if self.receive_order is None else self.receive_order(height)
        self._blocks.credit(height)
        words, parties = self._blocks.take_dark_words(height), DarkParties.of(self._epochs.at(height).committee)
        time_ms = self._blocks.refs[height].time_ms
        executed = self._execution.execute(height, time_ms, coin, batch, precedence, words, parties)
        self._last_result = result_hash(self._last_result, height, executed.state_root, executed.fills_root)
        self.results[height] = self._last_result
        self.fills += len(executed.fills)
        self.malformed += sum(order.plaintext is None for order in batch)
        self._unlogged.append((executed, self._last_result))
        self._recorder.done("heights_executed")
        self._recorder.done("account_signatures", sum(order.plaintext is not None for order in batch))
        if height in self._certified:
            self._compare_certified(height)
        return executed

    def certify(self, certified: Sequence[ResultRef]) -> None:
        """Note what a block certifies and compare where the own result is known."""
        for ref in certified:
            self._certified[ref.height] = ref.result
            if ref.height in self.results:
                self._compare_certified(ref.height)

    def _compare_certified(self, height: int) -> None:
        self._recorder.done("certified_compared")
        certified = self._certified.pop(height)
        if certified != self.results[height]:
            detail = f"certified {certified.hex()}, execution gives {self.results[height].hex()}"
            self._recorder.fail("result.certified", detail, height=height)

    def add(self, entry: ResultEntry) -> None:
        """Judge the member's own result of a height."""
        height = entry.height
        if not self._unlogged:
            waiting = self._reveal.waiting_heights()
            if waiting and waiting[0] == height:
                code, detail = self._reveal.lack(height)
                self._recorder.halt(code, detail, height=height)
            self._recorder.halt("result.order", f"height {height} after {self._logged_height}", height=height)
        executed, result = self._unlogged[0]
        if height != executed.height:
            self._recorder.halt("result.order", f"height {height}, expected {executed.height}", height=height)
        self._unlogged.pop(0)
        self._logged_height = height
        self._recorder.done("results")
        for code, seen, expected in (
            ("result.state_root", entry.state_root, executed.state_root),
            ("result.fills_root", entry.fills_root, executed.fills_root),
            ("result.hash", entry.result, result),
        ):
            if seen != expected:
                return self._recorder.fail(code, f"{seen.hex()}, expected {expected.hex()}", height=height)
        return None

    def open_heights(self) -> int:
        """How many counting heights have no result in the log yet."""
        return len(self._unlogged) + len(self._reveal.waiting_heights())
