"""What goes into the submitter and what comes out: events, effects, and the transactions it answers for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mpc_sequencer.settlement.claims import SignedCommit
from mpc_sequencer.settlement.payloads import SignedResult
from mpc_sequencer.settlement.steps import ContractView, Rotation, Step


class SubmitterMisuse(ValueError):
    """An event that the submitter's caller must not send in this state."""


class Refusal(Enum):
    """Why a transaction was not taken."""

    REVERTED = "the contract refuses it"
    REJECTED = "the chain's node refuses it"
    UNREACHABLE = "the chain's node does not answer"


@dataclass(frozen=True, slots=True)
class SubmitterTerms:
    """What an operator chooses: how long a turn lasts, how often the chain is asked, after how long without a block a
    transaction is stuck, and what it may cost per gas at most."""

    turn_ms: int = 3_000
    ask_ms: int = 1_000
    stuck_ms: int = 60_000
    max_fee_wei: int = 500 * 10**9


@dataclass(frozen=True, slots=True)
class Attempt:
    """A signed transaction of a slot that was, or may have been, sent: its hash, what it does, and what it pays per gas
    at most, in wei."""

    transaction_hash: bytes
    step: Step
    max_fee_wei: int
    priority_wei: int


@dataclass(slots=True)
class Slot:
    """A nonce of this member's account and every transaction that was signed for it: one of them is mined at most."""

    nonce: int
    step: Step
    """What the newest attempt does, or the one under way."""
    attempts: list[Attempt] = field(default_factory=list)
    sent_ms: int | None = None
    """When the newest attempt was last sent; None after a restart."""
    mined: bool = False
    """As the chain said last."""
    refused: bool = False
    """The node did not take the newest attempt, so nobody has it."""

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return tuple(attempt.transaction_hash for attempt in self.attempts)


@dataclass(frozen=True, slots=True)
class Mined:
    """A receipt: whether the transaction succeeded, what it used, and its block."""

    succeeded: bool
    gas_used: int
    block: int


# --- events -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Tick:
    """The local monotonic clock."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Place:
    """The committee has ``members`` members, this one at ``index``, or, with None, no place in it: it posts nothing."""

    members: int
    index: int | None


@dataclass(frozen=True, slots=True)
class CommitKnown:
    """The order commit of range ``number`` has its quorum."""

    number: int
    signed: SignedCommit


@dataclass(frozen=True, slots=True)
class ResultKnown:
    """The result of range ``number`` has its quorum."""

    number: int
    signed: SignedResult


@dataclass(frozen=True, slots=True)
class RotationKnown:
    """An epoch's signers have the signatures of the one before."""

    rotation: Rotation


@dataclass(frozen=True, slots=True)
class Answer:
    """What the chain says. ``latest`` is the contract at the newest block, ``confirmed`` at the newest that counts as
    settled; ``nonce``, ``nonce_confirmed``: how many transactions of this account these have; ``nonce_pending``: with
    those the node knows to wait. ``receipts`` by hash: of what was asked for, those mined."""

    latest: ContractView
    confirmed: ContractView
    nonce: int
    nonce_confirmed: int
    nonce_pending: int
    base_fee_wei: int
    priority_wei: int
    receipts: Mapping[bytes, Mined]


@dataclass(frozen=True, slots=True)
class AskFailed:
    """The chain did not answer."""

    detail: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction was signed, kept and sent; ``unclear`` where nobody knows whether it arrived."""

    nonce: int
    attempt: Attempt
    unclear: str = ""


@dataclass(frozen=True, slots=True)
class SendFailed:
    """A transaction was not taken. ``attempt`` is None where nothing was signed."""

    nonce: int
    refusal: Refusal
    detail: str
    attempt: Attempt | None = None


Event = Tick | Place | CommitKnown | ResultKnown | RotationKnown | Answer | AskFailed | Sent | SendFailed


# --- effects ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the chain and report Answer or AskFailed; ``hashes`` are transactions whose receipts are wanted."""

    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Sign ``step`` under ``nonce``, keep it on disk, then send it; report Sent or SendFailed. ``signed`` are the
    range's commit and result, and the rotation, as far as they are known."""

    nonce: int
    step: Step
    max_fee_wei: int
    priority_wei: int
    signed: tuple[SignedCommit | None, SignedResult | None, Rotation | None]


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the kept transaction of that hash again, just as it is; report Sent or SendFailed."""

    nonce: int
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Forget:
    """The nonce is used up for good: its transactions need not be kept."""

    nonce: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A range is on the chain for good; hash and gas are None where somebody else posted it."""

    range_number: int
    last_height: int
    transaction_hash: bytes | None
    gas_used: int | None


@dataclass(frozen=True, slots=True)
class Warn:
    """Something an operator should see."""

    message: str


Effect = Ask | Send | Resend | Forget | Settled | Warn
