"""A chain of the submitter's kind in memory: blocks that can be taken back, a mempool that drops and outbids, a
contract that takes steps in their order; and what is signed for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mpc_sequencer.settlement.claims import OrderCommit, SignedCommit
from mpc_sequencer.settlement.payloads import BatchResult, SignedResult
from mpc_sequencer.settlement.steps import ContractView, Kind, Step
from mpc_sequencer.settlement.submitter import SubmitterState
from mpc_sequencer.settlement.submitter_events import (
    Answer,
    Ask,
    AskFailed,
    Attempt,
    CommitKnown,
    Effect,
    Event,
    Forget,
    Mined,
    Refusal,
    Resend,
    ResultKnown,
    Send,
    SendFailed,
    Sent,
    Settled,
    SubmitterTerms,
    Tick,
    Warn,
)

HASH = b"\x01" * 32
HEIGHTS = 10
TERMS = SubmitterTerms(turn_ms=3_000, ask_ms=1_000, stuck_ms=20_000, max_fee_wei=1_000)


def commit(number: int) -> CommitKnown:
    return CommitKnown(number, SignedCommit(OrderCommit(0, number * HEIGHTS, HASH, HASH, 1, 0), ()))


def result(number: int, first: int | None = None) -> ResultKnown:
    first = (number - 1) * HEIGHTS + 1 if first is None else first
    made = BatchResult(0, first, number * HEIGHTS, HASH, HASH, HASH, HASH, 0, HASH, ())
    return ResultKnown(number, SignedResult(made, ()))


@dataclass(frozen=True)
class Transaction:
    """Signed bytes: whose, under which nonce, what they do and offer."""

    owner: int
    nonce: int
    step: Step
    max_fee_wei: int
    priority_wei: int

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(repr(self).encode()).digest()


@dataclass
class ModelBlock:
    included: list[tuple[Transaction, bool]]
    view: ContractView
    nonces: dict[int, int]


@dataclass
class ModelChain:
    """Blocks are lists of transactions with whether each succeeded; the newest is the last."""

    confirmations: int = 3
    base_fee_wei: int = 10
    blocks: list[ModelBlock] = field(default_factory=list)
    mempool: dict[tuple[int, int], Transaction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.blocks.append(ModelBlock([], ContractView(0, 0, 0, 0, 0), {}))

    @property
    def view(self) -> ContractView:
        return self.blocks[-1].view

    def mine(self, choose: Callable[[Transaction], bool] = lambda one: True) -> None:
        """One block of what ``choose`` takes of the mempool, as far as fees and nonces allow."""
        last = self.blocks[-1]
        view, nonces = replace(last.view, block=last.view.block + 1), dict(last.nonces)
        included = []
        for key in sorted(self.mempool):
            one = self.mempool[key]
            if one.max_fee_wei < self.base_fee_wei or one.nonce != nonces.get(one.owner, 0) or not choose(one):
                continue
            after = applied(one.step, view)
            included.append((one, after is not None))
            view = view if after is None else after
            nonces[one.owner] = one.nonce + 1
            del self.mempool[key]
        self.blocks.append(ModelBlock(included, view, nonces))

    def reorganise(self, depth: int, *, keep: bool) -> None:
        """The newest ``depth`` blocks vanish; their transactions wait again, or not."""
        gone = self.blocks[-depth:] if depth else []
        self.blocks = self.blocks[: len(self.blocks) - len(gone)]
        for block in gone if keep else ():
            for one, _ in block.included:
                self.mempool.setdefault((one.owner, one.nonce), one)

    def send(self, one: Transaction) -> str:
        """Into the mempool; empty, or why not."""
        nonce = self.blocks[-1].nonces.get(one.owner, 0)
        held = self.mempool.get((one.owner, one.nonce))
        if one.nonce < nonce:
            mined = any(one == other for block in self.blocks for other, _ in block.included)
            return "" if mined else "nonce too low"
        if held == one:
            return ""
        if held is not None and (
            one.max_fee_wei * 10 < held.max_fee_wei * 11 or one.priority_wei * 10 < held.priority_wei * 11
        ):
            return "replacement transaction underpriced"
        self.mempool[one.owner, one.nonce] = one
        return ""

    def answer(self, owner: int, hashes: tuple[bytes, ...]) -> Answer:
        latest = self.blocks[-1]
        confirmed = self.blocks[max(0, len(self.blocks) - 1 - self.confirmations)]
        receipts = {
            one.hash: Mined(succeeded, 100, block.view.block)
            for block in self.blocks
            for one, succeeded in block.included
            if one.hash in hashes
        }
        nonce = latest.nonces.get(owner, 0)
        pending = nonce
        while (owner, pending) in self.mempool:
            pending += 1
        return Answer(
            latest.view, confirmed.view, nonce, confirmed.nonces.get(owner, 0), pending, self.base_fee_wei, 2, receipts
        )


def applied(step: Step, view: ContractView) -> ContractView | None:
    """The contract after a step; None where it refuses."""
    at = step.height
    follows = at == view.result_height + HEIGHTS
    match step.kind:
        case Kind.CANCEL:
            return view
        case Kind.COMMIT if at == max(view.commit_height, view.result_height) + HEIGHTS:
            return replace(view, commit_height=at)
        case Kind.RESULT if follows and view.commit_height >= at:
            return replace(view, result_height=at)
        case Kind.BOTH if follows and view.commit_height == at - HEIGHTS:
            return replace(view, result_height=at, commit_height=at)
        case _:
            return None


@dataclass
class Member:
    """One submitter and its account; its disk outlives a restart."""

    chain: ModelChain
    index: int
    members: int = 4
    terms: SubmitterTerms = TERMS
    reachable: bool = True
    state: SubmitterState = field(init=False)
    settled: list[Settled] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    signed: dict[bytes, Transaction] = field(default_factory=dict)
    """On disk: everything that was signed, by hash."""
    forgotten: set[int] = field(default_factory=set)
    news: list[CommitKnown | ResultKnown] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = SubmitterState(self.members, self.index, self.terms)

    def know(self, *news: CommitKnown | ResultKnown) -> None:
        for one in news:
            self.news.append(one)
            self.step(one)

    def restart(self, now_ms: int) -> None:
        """A new process, from what is on disk."""
        slots = [slot for slot in self.state.slots if slot.attempts]
        for slot in slots:
            slot.sent_ms = None
            slot.mined = False
        self.state = SubmitterState(self.members, self.index, self.terms, slots)
        self.step(Tick(now_ms))
        done = self.settled[-1].range_number if self.settled else 0
        for one in self.news:
            if one.number > done:
                self.step(one)

    def step(self, event: Event) -> None:
        """An event, and all that its effects bring."""
        effects = list(self.state.step(event))
        while effects:
            effects += self._carry_out(effects.pop(0))

    def _carry_out(self, effect: Effect) -> tuple[Effect, ...]:
        match effect:
            case Ask(hashes):
                if not self.reachable:
                    return self.state.step(AskFailed("no answer"))
                return self.state.step(self.chain.answer(self.index, hashes))
            case Send(nonce, step, max_fee_wei, priority_wei):
                if not self.reachable:
                    return self.state.step(SendFailed(nonce, Refusal.UNREACHABLE, "no answer"))
                one = Transaction(self.index, nonce, step, max_fee_wei, priority_wei)
                attempt = Attempt(one.hash, step, max_fee_wei, priority_wei)
                self.check_one_nonce(step, nonce)
                self.signed[one.hash] = one
                return self._sent(nonce, attempt)
            case Resend(nonce, attempt):
                return self._sent(nonce, attempt)
            case Settled():
                self.settled.append(effect)
            case Warn(message):
                self.warnings.append(message)
            case Forget(nonce):
                self.forgotten.add(nonce)
        return ()

    def _sent(self, nonce: int, attempt: Attempt) -> tuple[Effect, ...]:
        if not self.reachable:
            return self.state.step(Sent(nonce, attempt, unclear="no answer"))
        refusal = self.chain.send(self.signed[attempt.transaction_hash])
        if refusal:
            return self.state.step(SendFailed(nonce, Refusal.REJECTED, refusal, attempt))
        return self.state.step(Sent(nonce, attempt))

    def check_one_nonce(self, step: Step, nonce: int) -> None:
        """What may still be mined under another nonce is never signed for this one."""
        for other in self.signed.values():
            if other.nonce != nonce and other.nonce not in self.forgotten:
                assert not other.step.overlaps(step), f"{step} under {nonce} and {other.nonce}"
