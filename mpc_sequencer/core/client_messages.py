"""What clients say to members, :data:`ClientRequest`, and hear from them, :data:`ClientReply`. Tags from 32 on."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.resultproof import Identifier, ProofKind, ResultProof
from mpc_sequencer.core.types import (
    Envelope,
    EpochStart,
    Hash32,
    KeyCertificate,
    NextCommittee,
    NodeIndex,
    PlaceIndex,
    Receipt,
    Uint,
    Value,
)
from mpc_sequencer.market.types import Market, MarketId

Code = Annotated[str, Meta(max_length=64)]
NotionalBytes = Annotated[bytes, Meta(min_length=AMOUNT_BYTES, max_length=AMOUNT_BYTES)]
"""The sum of price in ticks times lots over fills, 16 bytes, big-endian; in quote units it is that times the market's
``quote_units_per_tick_lot``."""
Text = Annotated[str, Meta(max_length=256)]


# --- client to member -------------------------------------------------------------------------------------------
class Submit(Value, frozen=True, tag=32):
    """Sealed orders for admission. With ``watch``, the member reports their finality and execution here."""

    request: Uint
    envelopes: Annotated[tuple[Envelope, ...], Meta(min_length=1, max_length=limits.SUBMIT_ENVELOPES_MAX)]
    watch: bool


class OrderQuery(Value, frozen=True, tag=33):
    """Ask what became of an order, and what heights after ``after_height`` did to it. With ``watch``, the member
    reports here what later ones do while it is open, as for a :class:`Submit`."""

    request: Uint
    order_id: Hash32
    after_height: Uint = 0
    watch: bool = False


class StatusQuery(Value, frozen=True, tag=34):
    request: Uint


class KeyQuery(Value, frozen=True, tag=35):
    """Ask for the threshold key of this deployment."""

    request: Uint


class EpochsQuery(Value, frozen=True, tag=36):
    """Ask how the epochs after ``after_epoch`` began, and for the rotation under way."""

    request: Uint
    after_epoch: Uint


class ProofQuery(Value, frozen=True, tag=37):
    """Ask for the proof of an account, an open order or a market as it is now, or of an order's fills of ``height``
    (0 for the others). It is answered when the height is certified."""

    request: Uint
    kind: ProofKind
    identifier: Identifier
    height: Uint


class MarketQuery(Value, frozen=True, tag=38):
    """Ask for a market's terms, prices and the best ``levels`` levels of its book."""

    request: Uint
    market: MarketId
    levels: Annotated[int, Meta(ge=0, le=limits.BOOK_LEVELS_MAX)]


class DarkKeysQuery(Value, frozen=True, tag=39):
    """Ask for the keys that dark orders are sealed to now."""

    request: Uint


ClientRequest = Submit | OrderQuery | StatusQuery | KeyQuery | EpochsQuery | ProofQuery | MarketQuery | DarkKeysQuery


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
    """What a height made of an order: an outcome code of the execution rules, lots filled, the worst price they were
    filled at (an auction's only one; 0 where none were), what they cost or brought, the fee in quote units, and the
    lots that are open afterwards: 0 where the order has ended."""

    order_id: Hash32
    code: Code
    filled_lots: Uint
    price_ticks: Uint
    notional: NotionalBytes
    fee: NotionalBytes = bytes(AMOUNT_BYTES)
    remaining_lots: Uint = 0


class OrdersExecuted(Value, frozen=True, tag=50):
    """Watched orders that a height executed. Resting orders may fill later: see :class:`OrdersFilled`."""

    height: Uint
    rows: Annotated[tuple[ExecutedRow, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]


class OrdersFilled(Value, frozen=True, tag=51):
    """Watched open orders that a later height filled, wholly or in part, or ended."""

    height: Uint
    rows: Annotated[tuple[ExecutedRow, ...], Meta(max_length=limits.CLIENT_WATCH_ORDERS_MAX)]


class OrderReply(Value, frozen=True, tag=52):
    """State of one order: ``unknown``, ``pending``, ``final`` or ``executed`` with what its height made of it.
    ``updates`` are what later heights did, each with its height, ascending; with ``more`` there are more after them."""

    request: Uint
    order_id: Hash32
    state: Code
    height: Uint
    code: Code
    filled_lots: Uint
    price_ticks: Uint
    notional: NotionalBytes
    fee: NotionalBytes = bytes(AMOUNT_BYTES)
    remaining_lots: Uint = 0
    updates: Annotated[tuple[tuple[Uint, ExecutedRow], ...], Meta(max_length=limits.UPDATES_MAX)] = ()
    more: bool = False


class DarkMarketStatus(Value, frozen=True):
    """A dark market as a member has it: what its batch waits for (``collecting`` where none is under way), the number
    of the last batch that was closed, the orders in it that are left, and those that collect for the next one. Of the
    last orders that ended here since this start: height, outcome code of the first of them, price and volume, 0 where
    nothing traded."""

    market: MarketId
    phase: Code
    batch: Uint
    orders: Uint
    collecting: Uint
    last: tuple[Uint, Code, Uint, Uint] | None


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
    dark_phase: Code = ""
    """What the agreement on dark markets' keys waits for; ``done`` where there are keys, empty if nothing is dark."""
    dark_keys: Annotated[tuple[NodeIndex, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)] = ()
    """Members that have a key which dark orders are sealed to."""
    dark: Annotated[tuple[DarkMarketStatus, ...], Meta(max_length=limits.DARK_MARKETS_MAX)] = ()


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


class ProofReply(Value, frozen=True, tag=57):
    """``proven`` with the proof; ``absent`` where nothing is there (the member's word alone); ``unavailable`` for a
    height that this member cannot prove, ``busy`` where it holds as many questions as it may."""

    request: Uint
    state: Code
    proof: ResultProof | None


BookRow = tuple[Uint, Uint, Uint]
"""(price_ticks, lots, orders)"""
BookSide = Annotated[tuple[BookRow, ...], Meta(max_length=limits.BOOK_LEVELS_MAX)]


class MarketReply(Value, frozen=True, tag=58):
    """A market as this member has it after ``height``; ``terms`` is None where there is no such market. ``clearing`` is
    (height, price_ticks, volume_lots) of its last clearing, if this member remembers one."""

    request: Uint
    market: MarketId
    terms: Market | None
    height: Uint
    reference_price_ticks: Uint
    bids: BookSide
    asks: BookSide
    clearing: tuple[Uint, Uint, Uint] | None


class DarkKeysReply(Value, frozen=True, tag=59):
    """The keys of :class:`mpc_sequencer.dark.agreement.AgreedKeys` in ``epoch``, in the state after ``height``: by
    party the key that its boxes are sealed to, empty for a party without; the hash of all else that was agreed. No
    box keys at all where none are agreed on (or no market is dark); ``phase`` says what the agreement waits for. The
    member's word alone: the id of the keys is in the leaf of each dark market."""

    request: Uint
    epoch: Uint
    height: Uint
    phase: Code
    attempt: Uint
    box_keys: Annotated[
        tuple[Annotated[bytes, Meta(max_length=33)], ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)
    ]
    rest_hash: Hash32


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
    | ProofReply
    | MarketReply
    | DarkKeysReply
    | Refused
)
