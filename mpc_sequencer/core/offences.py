"""The offences that evidence can prove, one type each: everything a judge needs but the committee file.

:mod:`mpc_sequencer.core.evidence` judges them; docs/evidence.md says what each proves.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.messages import CommitShare, SettlementShare
from mpc_sequencer.core.types import (
    BatchEntry,
    BlockHeader,
    Bundle,
    Hash32,
    KeyMessage,
    NodeIndex,
    OrderList,
    PointBytes,
    Receipt,
    SignatureBytes,
    Value,
    Vote,
)

NOTE_BYTES_MAX: Final = 4_096

Note = Annotated[bytes, Meta(max_length=NOTE_BYTES_MAX)]


class ListEquivocation(Value, frozen=True, tag=1):
    """Two different lists of one (epoch, incarnation, number)."""

    first: OrderList
    second: OrderList


class NotarizeEquivocation(Value, frozen=True, tag=2):
    """Notarize votes for two blocks of one view."""

    first: Vote
    second: Vote


class FinalizeEquivocation(Value, frozen=True, tag=3):
    """Finalize votes for two blocks of one view."""

    first: Vote
    second: Vote


class NullifyAndFinalize(Value, frozen=True, tag=4):
    """A nullify and a finalize vote of one view. (Notarize and then nullify is legal.)"""

    nullify: Vote
    finalize: Vote


class BrokenReceipt(Value, frozen=True, tag=5):
    """A receipt for list k, and list k without the order."""

    receipt: Receipt
    order_list: OrderList


class FalseFinality(Value, frozen=True, tag=6):
    """A bundle whose own certificate and header path do not finalize its block."""

    bundle: Bundle


class SealedBytes(Value, frozen=True):
    """What an order id covers."""

    label: Annotated[bytes, Meta(min_length=101, max_length=101)]
    ciphertext: Annotated[bytes, Meta(min_length=1, max_length=limits.ENVELOPE_BYTES_MAX)]

    def order_id(self) -> bytes:
        return domains.ORDER_ID(self.label, hashlib.sha256(self.ciphertext).digest())


class BadShares(Value, frozen=True, tag=7):
    """A bundle whose shares are not the member's for the block's batch. ``header`` is pinned by the bundle's block id,
    ``batch`` by the header's batch root, ``orders`` (in batch order) by their ids."""

    bundle: Bundle
    header: BlockHeader
    batch: Annotated[tuple[BatchEntry, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]
    orders: Annotated[tuple[SealedBytes, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]


class ResultEquivocation(Value, frozen=True, tag=8):
    """Signatures under two different BatchResults of one epoch and first height."""

    first: SettlementShare
    second: SettlementShare


class LogFork(Value, frozen=True, tag=9):
    """Two signed checkpoints of one log with one size and different roots."""

    node: NodeIndex
    first: Note
    second: Note


class KeyPin(Value, frozen=True):
    """To which key the orders of a block are sealed: ``header`` is pinned by a block id, ``batch`` by its batch root,
    the label and the ciphertext's SHA-256 by the batch's first order id. A label names its key."""

    header: BlockHeader
    batch: Annotated[tuple[BatchEntry, ...], Meta(min_length=1, max_length=limits.BATCH_ORDERS_MAX)]
    label: Annotated[bytes, Meta(min_length=101, max_length=101)]
    ciphertext_hash: Hash32

    def order_id(self) -> bytes:
        """The id of the batch's first order."""
        return domains.ORDER_ID(self.label, self.ciphertext_hash)


class BadCoinShare(Value, frozen=True, tag=10):
    """A bundle whose coin share is not the member's for the block. The block id and the key pin it: the committee
    file's, or where the first blocks generated it, that of ``pin``."""

    bundle: Bundle
    pin: KeyPin | None = None


class DealtShare(Value, frozen=True):
    """What member ``deal.node`` dealt to ``receiver`` in an attempt at the key: the deal, the members it is to,
    ascending, and the receiver's session key. The deal's proof for the receiver holds for that key alone."""

    attempt: Annotated[int, Meta(ge=0, lt=1 << 32)]
    deal: KeyMessage
    receivers: Annotated[tuple[NodeIndex, ...], Meta(min_length=1, max_length=limits.COMMITTEE_MEMBERS_MAX)]
    receiver: NodeIndex
    session_key: PointBytes


class BadDeal(Value, frozen=True, tag=11):
    """A deal, and the receiver's answer that opens its share: it is none, or not what the deal commits to."""

    dealt: DealtShare
    answer: KeyMessage


class FalseComplaint(Value, frozen=True, tag=12):
    """An answer that complains about a deal and opens its share: it is what the deal commits to."""

    dealt: DealtShare
    answer: KeyMessage


class CopiedDeal(Value, frozen=True, tag=13):
    """A deal that holds the ephemeral point of ``dealt``, whose secret another dealer proved to know."""

    copy: KeyMessage
    dealt: DealtShare


class CommitEquivocation(Value, frozen=True, tag=14):
    """Signatures under two different OrderCommits of one epoch and height."""

    first: CommitShare
    second: CommitShare


class SaidShares(Value, frozen=True):
    """What a member signed of its shares of a round: the hash of the message."""

    message_hash: Hash32
    signature: SignatureBytes


class DarkEquivocation(Value, frozen=True, tag=15):
    """Two different messages of one round of a dark batch's computation."""

    session: Hash32
    party: NodeIndex
    round: Annotated[int, Meta(ge=0, lt=limits.DARK_ROUNDS_MAX)]
    first: SaidShares
    second: SaidShares


Offence = (
    ListEquivocation
    | NotarizeEquivocation
    | FinalizeEquivocation
    | NullifyAndFinalize
    | BrokenReceipt
    | FalseFinality
    | BadShares
    | ResultEquivocation
    | LogFork
    | BadCoinShare
    | BadDeal
    | FalseComplaint
    | CopiedDeal
    | CommitEquivocation
    | DarkEquivocation
)

KIND_NAMES: Final[dict[type, str]] = {
    ListEquivocation: "list-equivocation",
    NotarizeEquivocation: "notarize-equivocation",
    FinalizeEquivocation: "finalize-equivocation",
    NullifyAndFinalize: "nullify-and-finalize",
    BrokenReceipt: "broken-receipt",
    FalseFinality: "false-finality",
    BadShares: "bad-shares",
    ResultEquivocation: "result-equivocation",
    LogFork: "log-fork",
    BadCoinShare: "bad-coin-share",
    BadDeal: "bad-deal",
    FalseComplaint: "false-complaint",
    CopiedDeal: "copied-deal",
    CommitEquivocation: "commit-equivocation",
    DarkEquivocation: "dark-equivocation",
}


def accused(offence: Offence) -> int:
    """The member an offence names; ``evidence.verify`` says whether it is guilty."""
    match offence:
        case ListEquivocation() | NotarizeEquivocation() | FinalizeEquivocation():
            return offence.first.node
        case ResultEquivocation() | CommitEquivocation():
            return offence.first.node
        case NullifyAndFinalize():
            return offence.nullify.node
        case BrokenReceipt():
            return offence.receipt.node
        case FalseFinality() | BadShares() | BadCoinShare():
            return offence.bundle.node
        case LogFork():
            return offence.node
        case BadDeal():
            return offence.dealt.deal.node
        case FalseComplaint():
            return offence.answer.node
        case CopiedDeal():
            return offence.copy.node
        case DarkEquivocation():
            return offence.party
