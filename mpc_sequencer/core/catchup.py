"""Catching up: a member that is far behind asks one peer after another for its audit log from what it lacks on.

States: *even* (nothing to do), *behind* (a certified block more than AHEAD_HEIGHTS_MIN ahead was seen, or a final
batch waits for bundles that its members no longer hold), in which at most one question is out. An answer is queued,
taken in by small turns (:mod:`mpc_sequencer.core.replay`), and the next question follows while little waits to be
opened, so that memory stays bounded however long the history is.

What an attacker tries: an answer nobody asked for (dropped), entries that do not follow (the answer is dropped, the
next peer is asked, the sender is named), no answer or an empty one (the next peer is asked after ANSWER_MS), answers
that lead on without end and hold nothing (EMPTY_ANSWERS_MAX). What a third member signed against itself names that
member and no other, and the log that holds it is followed further.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.effects import Effect, Send
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.logslice import SLICE_INTERVAL_MS
from mpc_sequencer.core.messages import FetchLog, LogSlice
from mpc_sequencer.core.replay import Replay
from threshold import ThresholdError

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

AHEAD_HEIGHTS_MIN: Final = 8
"""Up to so many missing blocks are fetched one by one, each from its child."""
ANSWER_MS: Final = 2_000
EMPTY_ANSWERS_MAX: Final = 16
"""Answers in a row that lead on and hold nothing: a log's own receipts may be many, but not without end."""
ENTRIES_PER_TURN: Final = 16
HEIGHTS_OPENING_MAX: Final = 64


class CatchUp:
    """The questions and the answers under way."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._target_height = 0
        self._ahead = False
        self._peer: int | None = None
        self._position = 0
        self._due_ms: int | None = None
        self._asked = False
        self._asked_ms = 0
        self._empty = 0
        self._queue: deque[bytes] = deque()
        self._replay = Replay(core, own=False)

    @property
    def behind(self) -> bool:
        return self._lacks_height() <= self._target_height

    @property
    def _seeks_end(self) -> bool:
        """Whether others' logs are asked for this epoch's end."""
        return self._ahead and not self._core.over

    def _wanted_height(self) -> int:
        """From where logs are asked for. Once an epoch's blocks are all here and open, signatures over its last ranges
        are what lacks: in every log they follow a range's last block."""
        height, unsigned = self._lacks_height(), self._core.ranges.unsigned_height
        return min(height, unsigned) if self._core.chain.ended and unsigned is not None else height

    @property
    def lags(self) -> bool:
        """Whether blocks are known to be final that are not at hand here."""
        return self._core.chain.final_height < self._target_height

    def _lacks_height(self) -> int:
        """The first height that is not final, or final and not open."""
        waiting = self._core.reveal.first_height()
        return self._core.chain.final_height + 1 if waiting is None else waiting

    def seen(self, node: int, height: int) -> None:
        """A member holds the block of that height, on the branch that is final."""
        if height > self._core.chain.final_height + AHEAD_HEIGHTS_MIN:
            self._target_height = max(self._target_height, height)
            if self._peer is None:
                self._turn_to(node)

    def stuck(self, height: int) -> None:
        """The final block of that height has waited too long, for its parts or its bundles: logs have what memories may
        have lost."""
        self._target_height = max(self._target_height, height)
        self._ahead = self._ahead or self._core.chain.ended
        if self._peer is None:
            self._turn_to((self._core.node + 1) % self._core.committee.n)

    def ahead(self, node: int) -> None:
        """A member says that it is in a later epoch: its log leads to this one's end, however far that is, and nothing
        else of it is asked for. It may lie, so all else goes on meanwhile."""
        self._ahead = True
        if self._peer is None and not self._core.over:
            self._turn_to(node)

    def _turn_to(self, node: int) -> None:
        self._peer = node if node != self._core.node else (node + 1) % self._core.committee.n
        self._position = self._empty = 0
        self._asked = False
        self._due_ms = self._core.now_ms
        self._queue.clear()
        self._replay = Replay(self._core, own=False)

    def requests(self, now_ms: int) -> list[Effect]:
        """The question that is due."""
        if self._peer is None:
            return []
        if not (self.behind or self._seeks_end):
            self._peer, self._due_ms = None, None
            self._queue.clear()
            return []
        if self._due_ms is None or now_ms < self._due_ms or self._queue:
            return []
        if self._core.reveal.pending() + self._core.execution.waiting() > HEIGHTS_OPENING_MAX:
            self._due_ms = now_ms + 1
            return []
        if self._asked:
            self._turn_to((self._peer + 1) % self._core.committee.n)  # no answer in time
        self._due_ms = now_ms + ANSWER_MS
        self._asked, self._asked_ms = True, now_ms
        return [Send(self._peer, FetchLog(self._wanted_height(), self._position))]

    def next_due_ms(self) -> int | None:
        return self._due_ms if self._peer is not None else None

    def on_slice(self, node: int, answer: LogSlice) -> None:
        """A peer's answer; one that was not asked for is dropped."""
        if node != self._peer or not self._asked:
            return
        self._asked = False
        self._queue.extend(answer.entries)
        leads_on = bool(answer.entries) or (answer.next_position > self._position and self._empty < EMPTY_ANSWERS_MAX)
        self._empty = 0 if answer.entries else self._empty + 1
        self._position = answer.next_position
        if leads_on:
            self._due_ms = max(self._core.now_ms, self._asked_ms + SLICE_INTERVAL_MS)
        else:
            self._turn_to((node + 1) % self._core.committee.n)
            self._due_ms = self._core.now_ms + ANSWER_MS // 4  # it has no more; nor may the next one yet

    def has_work(self) -> bool:
        return bool(self._queue)

    def work(self, now_ms: int) -> None:
        """Take in some entries."""
        for _ in range(min(ENTRIES_PER_TURN, len(self._queue))):
            try:
                self._replay.feed(self._queue.popleft(), now_ms)
            except (ProtocolError, ThresholdError) as error:
                assert self._peer is not None
                self._core.blame(self._peer, error)
                self._turn_to((self._peer + 1) % self._core.committee.n)
                return
