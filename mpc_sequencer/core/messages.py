"""What travels between members, and between clients and members: one frame is one tagged value.

A frame is a u32 length and the canonical encoding of one message; the protocol's version is agreed once per
connection (ALPN ``mpcseq/1``). Members speak :data:`PeerMessage` over mutually authenticated links, clients speak
:data:`ClientRequest` and hear :data:`ClientReply`.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.core.types import (
    Block,
    Bundle,
    Certificate,
    Envelope,
    EpochStart,
    Hash32,
    Head,
    KeyCertificate,
    KeyMessage,
    NextCommittee,
    NodeIndex,
    OrderList,
    PlaceIndex,
    Receipt,
    SignatureBytes,
    Uint,
    Value,
    Vote,
)
from mpc_sequencer.settlement.claims import ResultClaim

ALPN: Final = "mpcseq/1"

Code = Annotated[str, Meta(max_length=64)]
NotionalBytes = Annotated[bytes, Meta(min_length=AMOUNT_BYTES, max_length=AMOUNT_BYTES)]
"""The sum of price in ticks times lots over fills, 16 bytes, big-endian; in quote units it is that times the market's
``quote_units_per_tick_lot``."""
Text = Annotated[str, Meta(max_length=256)]
FetchIds = Annotated[tuple[Hash32, ...], Meta(min_length=1, max_length=limits.FETCH_IDS_MAX)]


# --- member to member -------------------------------------------------------------------------------------------
class PeerHello(Value, frozen=True, tag=1):
    """First frame of a link, both ways: which deployment, and the epoch that the sender is in (who it is, its
    certificate says). A link may bring later ones: its sender has gone over to a later epoch."""

    genesis: Hash32
    epoch: Uint


class ListMessage(Value, frozen=True, tag=2):
    """A member's new list."""

    order_list: OrderList


class HeadMessage(Value, frozen=True, tag=3):
    """A member's new head."""

    head: Head


class Proposal(Value, frozen=True, tag=4):
    """A leader's block with the certificates that make its parent extendable in this view."""

    block: Block
    parent: Certificate | None
    nullifications: Annotated[tuple[Certificate, ...], Meta(max_length=limits.VIEWS_AHEAD_MAX)]
    vote: Vote


class VoteMessage(Value, frozen=True, tag=5):
    vote: Vote


class CertificateMessage(Value, frozen=True, tag=6):
    certificate: Certificate


class BundleMessage(Value, frozen=True, tag=7):
    bundle: Bundle


class SettlementShare(Value, frozen=True, tag=8):
    """A member's signature over the BatchResult that ``claim`` describes."""

    claim: ResultClaim
    node: NodeIndex
    signature: SignatureBytes


class FetchBodies(Value, frozen=True, tag=9):
    """Ask for envelopes by order id, or by envelope hash where one signature variant is wanted."""

    ids: FetchIds


class Bodies(Value, frozen=True, tag=10):
    envelopes: Annotated[tuple[Envelope, ...], Meta(min_length=1, max_length=limits.FETCH_IDS_MAX)]


class FetchLists(Value, frozen=True, tag=11):
    """Ask for the lists ``first..last`` of ``author``; where ``last_hash`` is not zero, for those that lead to the list
    of that hash, which a block names (an author may have signed two lists of one number)."""

    author: NodeIndex
    first: Uint
    last: Uint
    last_hash: Hash32


class FetchBlock(Value, frozen=True, tag=12):
    block_id: Hash32


class BlockMessage(Value, frozen=True, tag=13):
    """A block for a member that asked for it by its id, with the certificate that finalizes it where there is one."""

    block: Block
    finalization: Certificate | None


class FetchBundle(Value, frozen=True, tag=14):
    """Ask a member for its own bundle of a final block."""

    block_id: Hash32


class FetchLog(Value, frozen=True, tag=15):
    """Ask for a part of a member's audit log: from the entries of block ``height`` on, or from ``position`` where that
    is not zero (what an earlier answer named)."""

    height: Uint
    position: Uint


class LogSlice(Value, frozen=True, tag=16):
    """Encoded log entries that blocks, openings and settlement follow from, and where the next part starts."""

    entries: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1, max_length=limits.LOG_ENTRY_BYTES_MAX)], ...],
        Meta(max_length=limits.LOG_SLICE_ENTRIES_MAX),
    ]
    next_position: Uint


class KeyBodies(Value, frozen=True, tag=17):
    """Messages of key sessions, asked for by id like envelopes."""

    messages: Annotated[tuple[KeyMessage, ...], Meta(min_length=1, max_length=limits.FETCH_IDS_MAX)]


class FetchInputs(Value, frozen=True, tag=20):
    """Ask for the chain inputs that lead up to a hash of the queue."""

    inputs_hash: Hash32


class InputsMessage(Value, frozen=True, tag=21):
    """Chain inputs that lead up to ``inputs_hash``, and the queue's hash before them: if the one is the chain's, so is
    all of it."""

    inputs_hash: Hash32
    after_hash: Hash32
    inputs: Annotated[tuple[ChainInput, ...], Meta(min_length=1, max_length=256)]


PeerMessage = (
    PeerHello
    | ListMessage
    | HeadMessage
    | Proposal
    | VoteMessage
    | CertificateMessage
    | BundleMessage
    | SettlementShare
    | FetchBodies
    | Bodies
    | FetchLists
    | FetchBlock
    | BlockMessage
    | FetchBundle
    | FetchLog
    | LogSlice
    | KeyBodies
    | FetchInputs
    | InputsMessage
)


# --- client to member -------------------------------------------------------------------------------------------
class Submit(Value, frozen=True, tag=32):
    """Sealed orders for admission. With ``watch``, the member reports their finality and execution here."""

    request: Uint
    envelopes: Annotated[tuple[Envelope, ...], Meta(min_length=1, max_length=limits.SUBMIT_ENVELOPES_MAX)]
    watch: bool


class OrderQuery(Value, frozen=True, tag=33):
    request: Uint
    order_id: Hash32


class StatusQuery(Value, frozen=True, tag=34):
    request: Uint


class KeyQuery(Value, frozen=True, tag=35):
    """Ask for the threshold key of this deployment."""

    request: Uint


class EpochsQuery(Value, frozen=True, tag=36):
    """Ask how the epochs after ``after_epoch`` began, and for the rotation under way."""

    request: Uint
    after_epoch: Uint


ClientRequest = Submit | OrderQuery | StatusQuery | KeyQuery | EpochsQuery


# --- member to client -------------------------------------------------------------------------------------------
class SubmitResult(Value, frozen=True):
    """One envelope's answer: a receipt, or a refusal; a duplicate has both the first receipt and a code."""

    order_id: Hash32
    receipt: Receipt | None
    code: Code
    field: Text
    seen: Text
    expected: Text


class SubmitReply(Value, frozen=True, tag=48):
    """Answers to a :class:`Submit`, in its order. Sent after the receipts are on disk."""

    request: Uint
    results: Annotated[tuple[SubmitResult, ...], Meta(max_length=limits.SUBMIT_ENVELOPES_MAX)]


class OrdersFinal(Value, frozen=True, tag=49):
    """Watched orders that a final block sequenced."""

    height: Uint
    block_id: Hash32
    order_ids: Annotated[tuple[Hash32, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]


class ExecutedRow(Value, frozen=True):
    """What became of an order: an outcome code of the execution rules, lots filled, the worst price they were filled
    at (an auction's only one; 0 where none were) and what they cost or brought."""

    order_id: Hash32
    code: Code
    filled_lots: Uint
    price_ticks: Uint
    notional: NotionalBytes


class OrdersExecuted(Value, frozen=True, tag=50):
    """Watched orders that a height executed. Resting orders may fill later: see :class:`OrdersFilled`."""

    height: Uint
    rows: Annotated[tuple[ExecutedRow, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]


class OrdersFilled(Value, frozen=True, tag=51):
    """Watched resting orders that a later height filled, wholly or in part."""

    height: Uint
    rows: Annotated[tuple[ExecutedRow, ...], Meta(max_length=limits.CLIENT_WATCH_ORDERS_MAX)]


class OrderReply(Value, frozen=True, tag=52):
    """State of one order: ``unknown``, ``pending``, ``final`` or ``executed`` with its outcome code."""

    request: Uint
    order_id: Hash32
    state: Code
    height: Uint
    code: Code
    filled_lots: Uint
    price_ticks: Uint
    notional: NotionalBytes


class StatusReply(Value, frozen=True, tag=53):
    """A member's view of itself. ``node`` is its number in the committee of ``epoch``; the committee's size where it
    has no place there."""

    request: Uint
    node: PlaceIndex
    epoch: Uint
    view: Uint
    height_final: Uint
    height_executed: Uint
    height_certified: Uint
    height_settled: Uint
    orders_pending: Uint
    orders_sequenced: Uint
    orders_malformed: Uint
    fills: Uint
    settlements: Uint
    settlement_gas: Uint
    peers_connected: Annotated[tuple[NodeIndex, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]
    convicted: Annotated[tuple[NodeIndex, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]
    """Members that evidence convicts here since this start."""
    cpu_us: Uint
    memory_bytes: Uint
    clearing: Annotated[tuple[tuple[Uint, Uint, Uint, Uint], ...], Meta(max_length=64)]
    """The last clearings: (height, market, price_ticks, volume_lots)."""
    key_phase: Code
    """What the threshold key's generation waits for; ``done``, or ``given`` where the committee file has the key."""
    key_attempt: Uint
    """Attempts at the key that ended without one."""
    key_heard: Uint
    key_expected: Uint
    """Members that have spoken in this phase, and members that are to."""
    key_due_ms: Uint | None
    """The key is shared anew from the first block of this time on; None where a session runs or none is planned."""


class KeyReply(Value, frozen=True, tag=55):
    """The threshold key with its proof; without one while its generation, whose state ``phase`` names, goes on (or
    where the committee file itself has the key)."""

    request: Uint
    certificate: KeyCertificate | None
    phase: Code


class EpochsReply(Value, frozen=True, tag=56):
    """How the next EPOCH_STARTS_MAX epochs after the one asked for began, in order; who wants more asks again after the
    last. With them, unproven, the rotation that is under way: ``agreed`` is the committee that is to follow, or else
    ``proposed`` the one that most members want; ``approvals`` members' newest words name it."""

    request: Uint
    starts: Annotated[tuple[EpochStart, ...], Meta(max_length=limits.EPOCH_STARTS_MAX)]
    agreed: NextCommittee | None
    proposed: NextCommittee | None
    approvals: Uint


class Refused(Value, frozen=True, tag=54):
    """The request could not be read; the member closes the connection after it."""

    code: Code
    field: Text
    seen: Text
    expected: Text


ClientReply = (
    SubmitReply
    | OrdersFinal
    | OrdersExecuted
    | OrdersFilled
    | OrderReply
    | StatusReply
    | KeyReply
    | EpochsReply
    | Refused
)
