"""The submitter's blocking work: asking the chain for all a decision needs, signing, keeping, sending."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from mpc_sequencer.settlement.claims import SignedCommit
from mpc_sequencer.settlement.errors import ChainError, ChainMismatch, TransactionRejected, TransactionReverted
from mpc_sequencer.settlement.kept import KeptTransactions
from mpc_sequencer.settlement.payloads import SignedResult
from mpc_sequencer.settlement.steps import ContractView, Kind, Rotation, Step
from mpc_sequencer.settlement.submitter_events import (
    Answer,
    AskFailed,
    Attempt,
    Event,
    Mined,
    Refusal,
    Resend,
    Send,
    SendFailed,
    Sent,
)

if TYPE_CHECKING:  # web3 takes seconds to import, which a member that comes back should not wait for
    from mpc_sequencer.settlement.ethrpc import Call, PreparedTransaction, Receipt

CANCEL_GAS: Final = 21_000


class Chain(Protocol):
    """What is needed of a chain client; :class:`mpc_sequencer.settlement.contract.SettlementContract` has it."""

    settlement: bytes | None

    def check_chain_id(self, expected: int) -> None: ...
    def newest_block(self) -> tuple[int, bytes]: ...
    def block_hash(self, number: int) -> bytes: ...
    def code(self, address: bytes, block: int | str = "latest") -> bytes: ...
    def view_at(self, block: int) -> ContractView: ...
    def fees(self, number: int) -> tuple[int, int]: ...
    def transaction_count(self, address: bytes, block: int | str) -> int: ...
    def receipt(self, transaction_hash: bytes) -> Receipt | None: ...
    def call_of(
        self, step: Step, commit: SignedCommit | None, result: SignedResult | None, rotation: Rotation | None
    ) -> Call: ...
    def sign(
        self, secret: bytes, call: Call, nonce: int, max_fee_wei: int, priority_wei: int
    ) -> PreparedTransaction: ...
    def broadcast(self, prepared: list[PreparedTransaction]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read at a newest block. While it is the newest, only the pending nonce can change, and a question costs
    two requests instead of twenty."""

    head_hash: bytes
    hashes: tuple[bytes, ...]
    """The transactions whose receipts were asked for."""
    answer: Answer


@dataclass(slots=True)
class Sender:
    """One account's transactions; one call at a time, so no lock is needed. ``confirmations`` blocks on top of a block
    make what it holds settled."""

    chain: Chain
    secret: bytes
    kept: KeptTransactions
    confirmations: int
    _read: _Read | None = None

    def ask(self, hashes: tuple[bytes, ...]) -> Event:
        """The chain's answer, all of it at one newest block."""
        try:
            return self._ask(hashes)
        except ChainError as error:
            return AskFailed(str(error))

    def _ask(self, hashes: tuple[bytes, ...]) -> Event:
        chain, account = self.chain, self.kept.account
        head, head_hash = chain.newest_block()
        read = self._read
        if read is not None and (read.head_hash, read.hashes) == (head_hash, hashes):
            return replace(read.answer, nonce_pending=chain.transaction_count(account, "pending"))
        chain.check_chain_id(self.kept.chain_id)
        settled = max(0, head - self.confirmations)
        latest = chain.view_at(head)
        confirmed = latest if settled == head else self._confirmed(settled)
        nonce, nonce_confirmed = (chain.transaction_count(account, at) for at in (head, settled))
        nonce_pending = chain.transaction_count(account, "pending")
        base_fee, priority = chain.fees(head)
        receipts = {}
        for one in hashes:
            receipt = chain.receipt(one)
            if receipt is not None and receipt.block_number <= head:
                receipts[one] = Mined(receipt.status == 1, receipt.gas_used, receipt.block_number)
        if chain.block_hash(head) != head_hash:
            raise ChainMismatch(f"block {head} was replaced while it was read")
        answer = Answer(latest, confirmed, nonce, nonce_confirmed, nonce_pending, base_fee, priority, receipts)
        self._read = _Read(head_hash, hashes, answer)
        return answer

    def _confirmed(self, block: int) -> ContractView:
        """The contract at a block that may be before its deployment."""
        if not self.chain.code(self.chain.settlement or b"", block):
            return ContractView(block, 0, 0, 0, 0, stopped="not started")
        return self.chain.view_at(block)

    def send(self, order: Send) -> Event:
        """Sign, keep, send."""
        try:
            if order.step.kind is Kind.CANCEL:
                from mpc_sequencer.settlement.ethrpc import Call

                call = Call(self.kept.account, b"", gas=CANCEL_GAS)
            else:
                call = self.chain.call_of(order.step, *order.signed)
            prepared = self.chain.sign(self.secret, call, order.nonce, order.max_fee_wei, order.priority_wei)
        except TransactionReverted as error:
            return SendFailed(order.nonce, Refusal.REVERTED, f"{order.step}: {error.reason}")
        except TransactionRejected as error:
            return SendFailed(order.nonce, Refusal.REJECTED, f"{order.step}: {error}")
        except ChainError as error:
            return SendFailed(order.nonce, Refusal.UNREACHABLE, str(error))
        attempt = Attempt(prepared.transaction_hash, order.step, order.max_fee_wei, order.priority_wei)
        if prepared.transaction_hash not in self.kept.raw:
            try:
                self.kept.add(order.nonce, attempt, prepared.raw)
            except OSError as error:
                return SendFailed(order.nonce, Refusal.UNREACHABLE, f"the disk refuses a transaction: {error}")
        return self._broadcast(order.nonce, attempt, prepared.raw)

    def resend(self, order: Resend) -> Event:
        """The same bytes again."""
        return self._broadcast(order.nonce, order.attempt, self.kept.raw[order.attempt.transaction_hash])

    def _broadcast(self, nonce: int, attempt: Attempt, raw: bytes) -> Event:
        from mpc_sequencer.settlement.ethrpc import PreparedTransaction

        try:
            self.chain.broadcast([PreparedTransaction(raw, attempt.transaction_hash, nonce)])
        except (TransactionRejected, TransactionReverted) as error:
            return SendFailed(nonce, Refusal.REJECTED, f"{attempt.step}: {error}", attempt)
        except ChainError as error:
            return Sent(nonce, attempt, unclear=str(error))
        return Sent(nonce, attempt)
