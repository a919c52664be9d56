"""Who tells the settlement contract what is signed, and when: a pure state machine. Nobody is trusted to post.

Whose turn it is: the next step (:mod:`mpc_sequencer.settlement.steps`) about range k is the turn of member (k mod n)
from the moment it is next. Each turn_ms later one more member, in order, steps in, but only after the chain has been
asked since and still lacks the step. So with every member honest and live one transaction is sent per step, and with
one live member the chain goes on.

    slot       a nonce of this member's account with all that was signed for it. The first slot that is not mined is
               the one that is worked on; a new one is opened only where every slot before is mined
    stuck      a slot that is not mined stuck_ms after its last attempt is signed anew, an eighth dearer at least, up to
               a ceiling; at the ceiling the same bytes are sent again
    overtaken  where others have told the contract what a slot was to say, its nonce is given to the next step, or, if
               there is none when it is stuck, to a transaction that does nothing
    vanished   what was mined and is no more was in a block that is none of the chain's any more: the same bytes are
               sent again. What is in a slot is never put into another nonce until the slot is used up for good
    settled    only what the contract says at a block that counts as confirmed; receipts are only told of

Decisions follow from the newest answer of the chain, never from what a transaction was thought to have done. A Send or
Resend is answered by one Sent or SendFailed, an Ask by one Answer or AskFailed. Time enters by Tick alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from mpc_sequencer.settlement.fees import offer
from mpc_sequencer.settlement.payloads import SIGNERS_MAX
from mpc_sequencer.settlement.steps import ContractView, Kind, Range, Rotation, Step, is_done, next_step
from mpc_sequencer.settlement.submitter_events import (
    Answer,
    Ask,
    AskFailed,
    Attempt,
    CommitKnown,
    Effect,
    Event,
    Forget,
    Place,
    Refusal,
    Resend,
    ResultKnown,
    RotationKnown,
    Send,
    SendFailed,
    Sent,
    Settled,
    Slot,
    SubmitterMisuse,
    SubmitterTerms,
    Tick,
    Warn,
)

BACKOFF_MS_MIN: Final = 500
BACKOFF_MS_MAX: Final = 30_000
RANGES_WAITING_MAX: Final = 1_024
ATTEMPTS_MAX: Final = 64
COMMIT_ALONE_MS: Final = 10_000
"""How long an order commit waits for its result, to go in one transaction."""
WARN_AGAIN_MS: Final = 300_000


class SubmitterState:
    """One member's submitter: an event in, effects out, to be carried out in order. ``slots`` are what it had kept when
    it stopped."""

    def __init__(
        self, members: int, index: int | None, terms: SubmitterTerms | None = None, slots: Iterable[Slot] = ()
    ) -> None:
        self._terms = SubmitterTerms() if terms is None else terms
        self._take_place(Place(members, index))
        self.now_ms = 0
        self.view: ContractView | None = None
        self.halted = False
        self.slots: list[Slot] = sorted(slots, key=lambda one: one.nonce)
        self._ranges: OrderedDict[int, Range] = OrderedDict()
        self._rotations: dict[int, Rotation] = {}
        self._answer: Answer | None = None
        self._settled_through = 0
        """Heights, as confirmed."""
        self._told_number = 0
        """The last range that was told of as settled."""
        self._done: dict[int, tuple[bytes, int]] = {}
        """By last height: the transaction of ours that completed the range, and its gas."""
        self._next: tuple[object, ...] | None = None
        self._next_since_ms = 0
        self._commit_since_ms: dict[int, int] = {}
        self._asking = self._sending = False
        self._asked_ms = 0
        self._answered_ms = 0
        self._next_ask_ms = 0
        self._failures = self._ask_failures = 0
        self._paused_until_ms = self._failed_ms = 0
        self._told: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Ranges known and not settled."""
        return len(self._ranges)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do: no range, no slot, no question."""
        return not (self._ranges or self.slots or self._sending or self._asking)

    # --- events ----------------------------------------------------------------------------------------------------
    def step(self, event: Event) -> tuple[Effect, ...]:
        """Take one event. Raises SubmitterMisuse, leaving the state as it was."""
        effects: list[Effect] = []
        match event:
            case Tick(now_ms):
                self._require(now_ms >= self.now_ms, f"now_ms is {now_ms}, expected at least {self.now_ms}")
                self.now_ms = now_ms
            case Place():
                self._take_place(event)
            case CommitKnown(number, signed):
                self._range(number, signed.commit.epoch, signed.commit.height, effects, commit=event)
            case ResultKnown(number, signed_result):
                result = signed_result.result
                self._range(number, result.epoch, result.last_height, effects, result=event)
            case RotationKnown(rotation):
                self._rotations[rotation.epoch] = rotation
            case Answer():
                self._require(self._asking, "Answer without Ask")
                self._asking, self._ask_failures = False, 0
                self._take_answer(event, effects)
            case AskFailed(detail):
                self._require(self._asking, "AskFailed without Ask")
                self._asking = False
                self._ask_failures += 1
                self._next_ask_ms = self.now_ms + _backoff_ms(self._ask_failures)
                self._warn("ask", f"cannot ask the chain, settlement waits: {detail}", effects)
            case Sent() | SendFailed():
                self._require(self._sending, f"{type(event).__name__} without Send")
                self._sending = False
                self._take_sent(event, effects)
        self._act(effects)
        return tuple(effects)

    @staticmethod
    def _require(condition: bool, message: str) -> None:
        if not condition:
            raise SubmitterMisuse(message)

    def _take_place(self, place: Place) -> None:
        members, index = place.members, place.index
        if not 1 <= members <= SIGNERS_MAX or (index is not None and not 0 <= index < members):
            expected = f"expected 0 to members-1, members to {SIGNERS_MAX}"
            raise SubmitterMisuse(f"index is {index} of {members}, {expected}")
        self._members, self._index = members, index

    def _range(
        self,
        number: int,
        epoch: int,
        last: int,
        effects: list[Effect],
        *,
        commit: CommitKnown | None = None,
        result: ResultKnown | None = None,
    ) -> None:
        known = self._ranges.get(number)
        if known is None:
            if last <= self._settled_through:
                if result is not None and number > self._told_number:
                    self._told_number = number
                    effects.append(Settled(number, last, None, None))
                return
            self._require(len(self._ranges) < RANGES_WAITING_MAX, f"{len(self._ranges)} ranges wait already")
            newest = next(reversed(self._ranges.values()), None)
            follows = newest is None or (number == newest.number + 1 and last > newest.last)
            self._require(follows, f"range {number} does not follow range {newest.number if newest else 0}")
            known = self._ranges[number] = Range(number, epoch, last)
        self._require((known.epoch, known.last) == (epoch, last), f"range {number} ends at {known.last}, not {last}")
        if commit is not None and known.commit is None:
            known.commit = commit.signed
            self._commit_since_ms[number] = self.now_ms
        if result is not None:
            known.result = result.signed

    def _take_answer(self, answer: Answer, effects: list[Effect]) -> None:
        before, self._answer, self.view = self.view, answer, answer.latest
        # An answer is as old as its question: what happened in between it may lack.
        self._answered_ms = self._asked_ms
        if before is not None and answer.latest.result_height < before.result_height:
            went = f"the chain was reorganised: its last result ends at {answer.latest.result_height}"
            effects.append(Warn(f"{went}, a moment ago at {before.result_height}; what vanished is sent again"))
        if answer.confirmed.result_height < self._settled_through:
            went = f"went back from {self._settled_through} to {answer.confirmed.result_height}"
            self._warn("deep", f"the chain took back what was confirmed: {went}; raise `confirmations`", effects)
        if answer.latest.stopped:
            self._warn("stopped", f"the contract takes nothing: {answer.latest.stopped}", effects)
        for slot in list(self.slots):
            self._follow(slot, answer, effects)
        self._settle(answer, effects)

    def _follow(self, slot: Slot, answer: Answer, effects: list[Effect]) -> None:
        """What the chain says of a slot's nonce."""
        mined = [(one, answer.receipts[one.transaction_hash]) for one in slot.attempts
                 if one.transaction_hash in answer.receipts]  # fmt: skip
        was, slot.mined = slot.mined, slot.nonce < answer.nonce
        if was and not slot.mined:
            slot.sent_ms = None  # it is sent again at once
        for attempt, receipt in mined:
            completes = attempt.step.kind in (Kind.RESULT, Kind.BOTH, Kind.APPLY)
            if receipt.succeeded and completes:
                self._done[attempt.step.height] = (attempt.transaction_hash, receipt.gas_used)
            if not receipt.succeeded and not was and slot.mined:
                self._failures += 1
                self._paused_until_ms = self.now_ms + _backoff_ms(self._failures)
                effects.append(Warn(f"a transaction reverted: {attempt.step}, 0x{attempt.transaction_hash.hex()}"))
            elif receipt.succeeded and not was:
                self._failures = 0
        if slot.nonce >= answer.nonce_confirmed:
            return
        if not mined:
            text = f"nonce {slot.nonce} was used by a transaction that this member did not send: is its key shared?"
            effects.append(Warn(text))
        self.slots.remove(slot)
        effects.append(Forget(slot.nonce))

    def _settle(self, answer: Answer, effects: list[Effect]) -> None:
        """Let go of what the contract has for good."""
        through = self._settled_through = max(self._settled_through, answer.confirmed.result_height)
        while self._ranges and next(iter(self._ranges.values())).last <= through:
            _, done = self._ranges.popitem(last=False)
            transaction, gas_used = self._done.get(done.last, (None, None))
            self._commit_since_ms.pop(done.number, None)
            self._told_number = done.number
            effects.append(Settled(done.number, done.last, transaction, gas_used))
        for height in [height for height in self._done if height <= through]:
            del self._done[height]
        for epoch in [epoch for epoch in self._rotations if epoch <= answer.confirmed.epoch]:
            del self._rotations[epoch]
        head = next((one for one in self._ranges.values() if one.last > answer.latest.result_height), None)
        if head is not None and head.first is not None and head.first <= answer.latest.result_height:
            self.halted = True
            text = f"the chain's last result ends at {answer.latest.result_height}, inside our range from {head.first}"
            self._warn("halted", f"{text}: nothing more is posted", effects)

    def _take_sent(self, event: Sent | SendFailed, effects: list[Effect]) -> None:
        slot = next((one for one in self.slots if one.nonce == event.nonce), None)
        if slot is not None and event.attempt is not None:
            slot.step = event.attempt.step
            if event.attempt.transaction_hash not in slot.hashes:
                slot.attempts.append(event.attempt)
        if slot is not None:
            slot.sent_ms = self.now_ms
            slot.refused = (
                isinstance(event, SendFailed)
                and event.refusal is Refusal.REJECTED
                and event.attempt is not None
                and "underpriced" not in event.detail
            )
        if isinstance(event, Sent):
            if event.unclear:
                self._fail(f"it is not known whether a transaction arrived: {event.unclear}", effects)
            return
        self._fail(f"{event.refusal.value}: {event.detail}", effects)
        if slot is not None and not slot.attempts:
            self.slots.remove(slot)  # nothing was signed for it

    def _fail(self, detail: str, effects: list[Effect]) -> None:
        """Whatever happened, only a new answer of the chain allows the next attempt."""
        self._failed_ms = self.now_ms
        self._failures += 1
        self._paused_until_ms = self.now_ms + _backoff_ms(self._failures)
        self._next_ask_ms = min(self._next_ask_ms, self.now_ms)
        self._warn(f"send {detail}", detail, effects)

    def _warn(self, subject: str, message: str, effects: list[Effect]) -> None:
        """Say it, once in a while."""
        if self.now_ms >= self._told.get(subject, 0):
            self._told[subject] = self.now_ms + WARN_AGAIN_MS
            while len(self._told) > RANGES_WAITING_MAX:
                del self._told[next(iter(self._told))]
            effects.append(Warn(message))

    # --- decisions -------------------------------------------------------------------------------------------------
    def _act(self, effects: list[Effect]) -> None:
        if self._sending:
            return
        answer = self._answer
        if answer is not None and self._answered_ms >= self._failed_ms and not self.halted:
            self._work(answer, effects)
        if self._sending or self._asking or self.now_ms < self._next_ask_ms:
            return
        if self._ranges or self.slots or self._rotations:
            self._asking = True
            self._asked_ms = self.now_ms
            self._next_ask_ms = self.now_ms + self._terms.ask_ms
            effects.append(Ask(tuple(one for slot in self.slots for one in slot.hashes)))

    def _work(self, answer: Answer, effects: list[Effect]) -> None:
        """Send what is to be sent by the newest answer, if anything."""
        step = self._wanted(answer.latest)
        live = next((slot for slot in self.slots if not slot.mined), None)
        if live is not None:
            self._push(live, step, answer, effects)
        elif step is not None and self.now_ms >= self._paused_until_ms and self._is_free(step) and self._is_ours(step):
            if answer.nonce_pending > answer.nonce:
                text = "transactions that this member did not send wait for the same account: is its key shared?"
                return self._warn("foreign", text, effects)
            fees = self._fees(answer, None, effects)
            if fees is not None:
                self.slots.append(Slot(answer.nonce, step))
                self._send(answer.nonce, step, fees, effects)
        return None

    def _wanted(self, view: ContractView) -> Step | None:
        """The next step that no slot has yet; notes since when it is next."""
        head = next((one for one in self._ranges.values() if one.last > view.commit_height and one.commit), None)
        since = None if head is None else self._commit_since_ms.get(head.number)
        alone = since is not None and self.now_ms - since >= COMMIT_ALONE_MS
        step = next_step(tuple(self._ranges.values()), self._rotations, view, alone=alone)
        key = None if step is None else (step.height, step.kind in (Kind.COMMIT, Kind.BOTH), step.part, step.row)
        if key != self._next:
            self._next, self._next_since_ms = key, self.now_ms
        return step

    def _is_free(self, step: Step, but: Slot | None = None) -> bool:
        """Whether no transaction of another slot would tell the contract the same."""
        others = [slot for slot in self.slots if slot is not but]
        return not any(one.step.overlaps(step) for slot in others for one in slot.attempts)

    def _is_ours(self, step: Step) -> bool:
        """Whether this member's turn at the step has come."""
        if self._index is None:
            return False
        numbers = [one.number for one in self._ranges.values() if one.last == step.height]
        number = step.height if step.kind is Kind.ROTATE or not numbers else numbers[0]
        turn_ms = self._next_since_ms + (self._index - number) % self._members * self._terms.turn_ms
        # The first in turn has nobody before it; anyone else needs an answer from within its own turn.
        first = turn_ms == self._next_since_ms
        return self.now_ms >= turn_ms and (first or self._answered_ms >= turn_ms)

    def _push(self, live: Slot, step: Step | None, answer: Answer, effects: list[Effect]) -> None:
        """See to it that the first slot that is not mined is mined."""
        if live.nonce > answer.nonce:
            text = f"transactions before nonce {live.nonce} are gone from the chain: it goes on from {answer.nonce}"
            effects.append(Warn(text))
            self.slots.remove(live)
            effects.append(Forget(live.nonce))
            return
        newest = live.attempts[-1] if live.attempts else None
        if newest is None:
            return
        if live.sent_ms is None:
            return self._resend(live, newest, effects)
        overtaken = is_done(newest.step, answer.latest) and newest.step.kind is not Kind.CANCEL
        if overtaken and step is not None and self._is_free(step, but=live) and self._is_ours(step):
            return self._replace(live, step, newest, answer, effects)
        if live.refused and answer.base_fee_wei <= newest.max_fee_wei:  # no node has it: there is nothing to outbid
            if self.now_ms >= self._paused_until_ms:
                self._resend(live, newest, effects)
            return
        if self.now_ms - live.sent_ms < self._terms.stuck_ms:
            return
        text = f"not mined for {self._terms.stuck_ms} ms: {newest.step}, nonce {live.nonce}"
        self._warn(f"stuck {live.nonce}", text, effects)
        self._replace(live, Step(Kind.CANCEL, 0) if overtaken else newest.step, newest, answer, effects)

    def _replace(self, live: Slot, step: Step, newest: Attempt, answer: Answer, effects: list[Effect]) -> None:
        """Sign ``step`` for the slot, dearer than what it has; where that is too dear, send what it has again."""
        if self.now_ms < self._paused_until_ms:
            return
        fees = self._fees(answer, newest, effects)
        if fees is not None and len(live.attempts) < ATTEMPTS_MAX:
            self._send(live.nonce, step, fees, effects)
        elif live.sent_ms is None or self.now_ms - live.sent_ms >= self._terms.stuck_ms:
            self._resend(live, newest, effects)

    def _resend(self, live: Slot, newest: Attempt, effects: list[Effect]) -> None:
        live.sent_ms = self.now_ms
        self._sending = True
        effects.append(Resend(live.nonce, newest))

    def _fees(self, answer: Answer, before: Attempt | None, effects: list[Effect]) -> tuple[int, int] | None:
        """What to pay per gas, (at most, to the block's maker); None where that is above the ceiling."""
        ceiling = self._terms.max_fee_wei
        replaced = None if before is None else (before.max_fee_wei, before.priority_wei)
        least, most, priority = offer(answer.base_fee_wei, answer.priority_wei, replaced)
        if least > ceiling:
            text = f"a transaction would cost {least} wei per gas, above the ceiling of {ceiling}: it waits"
            self._warn("ceiling", text, effects)
            return None
        return max(least, min(most, ceiling)), priority

    def _send(self, nonce: int, step: Step, fees: tuple[int, int], effects: list[Effect]) -> None:
        found = next((one for one in self._ranges.values() if one.last == step.height), None)
        rotation = self._rotations.get(step.height) if step.kind is Kind.ROTATE else None
        commit, result = (found.commit, found.result) if found is not None else (None, None)
        self._sending = True
        effects.append(Send(nonce, step, *fees, (commit, result, rotation)))


def _backoff_ms(failures: int) -> int:
    return int(min(BACKOFF_MS_MAX, BACKOFF_MS_MIN << min(failures - 1, 16)))
