"""Errors of the settlement side.

Payload errors carry a code, the field, the value seen and what was expected. Chain errors carry a hint that a
command line can show after the cause.
"""

from __future__ import annotations

from typing import Final

ALREADY_POSTED_REASON: Final = "result: wrong first height"
"""The contract's words for a range that is not the next: another member has posted it."""


class PayloadError(ValueError):
    """A settlement payload breaks a rule: one ``code`` per cause, with field, value seen and what was
    expected.
    """

    def __init__(self, code: str, field: str, seen: object, expected: str) -> None:
        super().__init__(f"{code}: {field} is {str(seen)[:80]}, expected {expected}")
        self.code = code
        self.field = field
        self.seen = seen
        self.expected = expected


class ChainError(Exception):
    """Base of what the chain client raises; ``hint`` says what to do."""

    hint = "see the message"


class ChainUnreachable(ChainError):
    """The endpoint does not answer, or not with JSON-RPC. The transaction's fate, if any, is unknown."""

    hint = "check that the chain's endpoint runs and that the address is right"


class ChainMismatch(ChainError):
    """What the chain answers contradicts itself or the deployment: wrong chain, no contract, broken hash
    chain.
    """

    hint = "check the chain's address, the chain id and the settlement contract's address"


class TransactionReverted(ChainError):
    """The contract refuses the transaction; ``reason`` is the contract's own text."""

    hint = "the contract's reason says what is wrong"

    def __init__(self, reason: str) -> None:
        super().__init__(f"transaction reverted: {reason}")
        self.reason = reason


class TransactionRejected(ChainError):
    """The chain's node does not take the transaction (nonce, balance, fee, size)."""

    hint = "check the sending account's balance and that no other process sends from it"


class ReceiptTimeout(ChainError):
    """A sent transaction got no receipt in time; it may still be mined."""

    hint = "the chain is slow or the fee is too low; look the transaction up later"


class EmbeddedChainFailed(ChainError):
    """The embedded chain's process did not come up."""

    hint = "choose another port, or look at the message"
