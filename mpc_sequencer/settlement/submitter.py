"""Who posts a signed result to the chain, and when: a pure state machine. Nobody is trusted to post.

The rule: the result of range k is the turn of member (k mod n) from the moment it can be posted, that is,
when it is signed and its predecessor is on the chain. Each SUBMIT_TURN_MS later one more member, in order,
steps in, but only after the chain has been asked since and still lacks the result. So with every member
honest and live one transaction is sent per result, and with one live member the chain goes on.

    waiting    results not on the chain, ascending by height; only the first is ever sent
    in flight  a transaction of ours is out; nothing is sent until it is settled or has failed
    asking     the chain was asked for its last height; at most one question is out
    paused     after a failure, for a time that doubles up to BACKOFF_MS_MAX

Events are Tick, ResultReady, Posted, AskFailed, Submitted, SubmitFailed; effects are Submit, Ask, Settled,
Warn. Time enters by Tick alone. A Submit effect is answered by exactly one Submitted or SubmitFailed, an Ask
by one Posted or AskFailed. An event that does not fit raises SubmitterMisuse and changes nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mpc_sequencer.settlement.payloads import SIGNERS_MAX, SignedResult

SUBMIT_TURN_MS: Final = 3_000
ASK_INTERVAL_MS: Final = 1_000
BACKOFF_MS_MIN: Final = 500
BACKOFF_MS_MAX: Final = 30_000
RESULTS_WAITING_MAX: Final = 1_024


class SubmitterMisuse(ValueError):
    """An event that the submitter's caller must not send in this state."""


class FailReason(Enum):
    """Why a submission ended without success."""

    ALREADY_POSTED = "already posted"
    UNREACHABLE = "chain unreachable"
    REVERTED = "reverted"
    REJECTED = "rejected by the chain's node"


# ----------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Tick:
    """The local monotonic clock."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class ResultReady:
    """A result with its quorum of signatures; ``range_number`` counts ranges from 0 and turns the role."""

    range_number: int
    signed: SignedResult


@dataclass(frozen=True, slots=True)
class Posted:
    """The chain's answer: its last posted height."""

    last_height: int


@dataclass(frozen=True, slots=True)
class AskFailed:
    """The chain did not answer the question for its last height."""

    detail: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """Our transaction succeeded."""

    transaction_hash: bytes
    gas_used: int


@dataclass(frozen=True, slots=True)
class SubmitFailed:
    """Our transaction did not succeed, or nobody knows."""

    reason: FailReason
    detail: str


Event = Tick | ResultReady | Posted | AskFailed | Submitted | SubmitFailed

# ---------------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Submit:
    """Send this result and report Submitted or SubmitFailed."""

    range_number: int
    signed: SignedResult


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the chain for its last posted height and report Posted or AskFailed."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A range is on the chain; hash and gas are None when somebody else posted it."""

    range_number: int
    first_height: int
    last_height: int
    transaction_hash: bytes | None
    gas_used: int | None


@dataclass(frozen=True, slots=True)
class Warn:
    """Something an operator should see."""

    message: str


Effect = Submit | Ask | Settled | Warn


class SubmitterState:
    """One member's submitter. ``step`` takes an event and returns the effects to carry out, in order."""

    def __init__(self, members: int, index: int, turn_ms: int = SUBMIT_TURN_MS) -> None:
        """``members``: committee size; ``index``: this member's number; ``turn_ms``: length of a turn."""
        if not 1 <= members <= SIGNERS_MAX or not 0 <= index < members:
            raise SubmitterMisuse(
                f"index is {index} of {members}, expected 0 to members-1, members to {SIGNERS_MAX}"
            )
        if turn_ms <= 0:
            raise SubmitterMisuse(f"turn_ms is {turn_ms}, expected a positive number")
        self._members = members
        self._index = index
        self._turn_ms = turn_ms
        self.now_ms = 0
        self.posted_height: int | None = None
        self.in_flight = False
        self.halted = False
        self._waiting: deque[ResultReady] = deque()
        self._head_since_ms = 0
        self._asking = False
        self._asked_ms = 0
        self._answered_ms: int | None = None
        self._next_ask_ms = 0
        self._failures = 0
        self._ask_failures = 0
        self._paused_until_ms = 0

    @property
    def waiting(self) -> int:
        """Results known and not seen on the chain."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether another ResultReady would be refused."""
        return len(self._waiting) >= RESULTS_WAITING_MAX

    def step(self, event: Event) -> tuple[Effect, ...]:
        """Take one event. Raises SubmitterMisuse, leaving the state as it was."""
        effects: list[Effect] = []
        match event:
            case Tick(now_ms):
                if now_ms < self.now_ms:
                    raise SubmitterMisuse(f"now_ms is {now_ms}, expected at least {self.now_ms}")
                self.now_ms = now_ms
            case ResultReady():
                self._take_result(event, effects)
            case Posted(last_height):
                self._require(self._asking, "Posted without Ask")
                self._asking = False
                self._ask_failures = 0
                # The answer is as old as its question: what was posted in between it may lack.
                self._answered_ms = self._asked_ms
                # Answers may come late and never take back. While a transaction of ours is out its result
                # stays the first: what becomes of the transaction says who posted it.
                self.posted_height = max(last_height, self.posted_height or 0)
                if not self.in_flight:
                    self._drain(effects)
            case AskFailed(detail):
                self._require(self._asking, "AskFailed without Ask")
                self._asking = False
                self._ask_failures += 1
                self._next_ask_ms = self.now_ms + _backoff_ms(self._ask_failures)
                effects.append(Warn(f"cannot ask the chain: {detail}"))
            case Submitted():
                self._require(self.in_flight, "Submitted without Submit")
                self.in_flight = False
                self._failures = 0
                self.posted_height = max(self._waiting[0].signed.result.last_height, self.posted_height or 0)
                self._settle_head(event, effects)
                self._drain(effects)
            case SubmitFailed(reason, detail):
                self._require(self.in_flight, "SubmitFailed without Submit")
                self.in_flight = False
                self._fail(reason, detail, effects)
        self._act(effects)
        return tuple(effects)

    @staticmethod
    def _require(condition: bool, message: str) -> None:
        if not condition:
            raise SubmitterMisuse(message)

    def _take_result(self, ready: ResultReady, effects: list[Effect]) -> None:
        result = ready.signed.result
        if self.posted_height is not None and result.last_height <= self.posted_height and not self._waiting:
            effects.append(_settled(ready, None))
            return
        if self.full:
            raise SubmitterMisuse(f"{len(self._waiting)} results wait already")
        if self._waiting:
            last = self._waiting[-1]
            follows = result.first_height == last.signed.result.last_height + 1
            if not follows or ready.range_number != last.range_number + 1:
                raise SubmitterMisuse(f"range {ready.range_number} does not follow range {last.range_number}")
        else:
            self._head_since_ms = self.now_ms
        self._waiting.append(ready)

    def _drain(self, effects: list[Effect]) -> None:
        """Let go of what the chain is known to have."""
        posted_height = self.posted_height
        if posted_height is None:
            return
        while self._waiting and self._waiting[0].signed.result.last_height <= posted_height:
            self._settle_head(None, effects)
        if self._waiting and not self.halted:
            first = self._waiting[0].signed.result.first_height
            if first <= posted_height:
                self.halted = True
                effects.append(Warn(f"the chain posted up to {posted_height}, inside our range from {first}"))

    def _settle_head(self, ours: Submitted | None, effects: list[Effect]) -> None:
        effects.append(_settled(self._waiting.popleft(), ours))
        self._head_since_ms = self.now_ms
        self._failures = 0
        self._paused_until_ms = 0

    def _fail(self, reason: FailReason, detail: str, effects: list[Effect]) -> None:
        if reason is not FailReason.ALREADY_POSTED:
            self._failures += 1
            self._paused_until_ms = self.now_ms + _backoff_ms(self._failures)
            effects.append(Warn(f"submission failed: {reason.value}: {detail}"))
        # Whatever happened, only a new answer of the chain allows the next attempt.
        self._answered_ms = None
        self._next_ask_ms = min(self._next_ask_ms, self.now_ms)
        self._drain(effects)

    def _act(self, effects: list[Effect]) -> None:
        if not self._waiting or self.in_flight or self.halted:
            return
        head = self._waiting[0]
        turn_ms = self._head_since_ms + (self._index - head.range_number) % self._members * self._turn_ms
        due = self.now_ms >= max(turn_ms, self._paused_until_ms)
        next_on_chain = (
            self.posted_height is not None and head.signed.result.first_height == self.posted_height + 1
        )
        # The first in turn has nobody before it; anyone else needs an answer from within its own turn.
        fresh = self._answered_ms is not None and self._answered_ms >= turn_ms
        if (
            due
            and next_on_chain
            and (fresh or (turn_ms == self._head_since_ms and self._answered_ms is not None))
        ):
            self.in_flight = True
            effects.append(Submit(head.range_number, head.signed))
        elif not self._asking and self.now_ms >= self._next_ask_ms:
            self._asking = True
            self._asked_ms = self.now_ms
            self._next_ask_ms = self.now_ms + ASK_INTERVAL_MS
            effects.append(Ask())


def _settled(ready: ResultReady, ours: Submitted | None) -> Settled:
    result = ready.signed.result
    transaction_hash = None if ours is None else ours.transaction_hash
    gas_used = None if ours is None else ours.gas_used
    return Settled(ready.range_number, result.first_height, result.last_height, transaction_hash, gas_used)


def _backoff_ms(failures: int) -> int:
    return int(min(BACKOFF_MS_MAX, BACKOFF_MS_MIN << min(failures - 1, 16)))
