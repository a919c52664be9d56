"""The market's values: what goes into a height, what comes out of it (docs/protocol-execution.md).

Prices are ticks, quantities lots, amounts base units of an asset; all are Python integers, so nothing
overflows. :class:`Fill`, :class:`OrderValue` and :class:`AccountValue` are hashed into the result, so
their encodings are part of the protocol; the others stay inside one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import astuple

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.actions import AMOUNT_BYTES, Action
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.types import ZERO_HASH, Address, Hash32, Uint, Value
from mpc_sequencer.market.grid import check_grid

ASSET_ID_MAX: Final = (1 << 16) - 1
MARKET_ID_MAX: Final = (1 << 32) - 1
SYMBOL_CHARACTERS_MAX: Final = 32
NONCE_WINDOW_BYTES: Final = limits.NONCE_WINDOW // 8

MarketId = Annotated[int, Meta(ge=0, le=MARKET_ID_MAX)]
AssetId = Annotated[int, Meta(ge=0, le=ASSET_ID_MAX)]
Side = Annotated[int, Meta(ge=1, le=2)]
PriceTicks = Annotated[int, Meta(ge=1, le=limits.PRICE_TICKS_MAX)]
QuantityLots = Annotated[int, Meta(ge=1, le=limits.QUANTITY_LOTS_MAX)]
FeePpm = Annotated[int, Meta(ge=0, le=limits.FEE_PPM_MAX)]
AmountBytes = Annotated[bytes, Meta(min_length=AMOUNT_BYTES, max_length=AMOUNT_BYTES)]

AUCTION: Final = 1
"""One uniform price for the whole batch; position decides nothing but remainders."""
SHUFFLE: Final = 2
"""One after the other in an order drawn by the block's coin."""
RECEIVE: Final = 3
"""One after the other in the order in which members received them, by their lists."""
DARK: Final = 4
"""Batches computed over secret shares (docs/dark.md): nobody sees an order."""
POLICY_NAMES: Final[Mapping[int, str]] = {AUCTION: "auction", SHUFFLE: "shuffle", RECEIVE: "receive", DARK: "dark"}
OrderPolicy = Literal[1, 2, 3, 4]

STATUS_RESTING: Final = 1
STATUS_WAITING: Final = 2
"""A stop before its trigger."""
STATUS_TRIGGERED: Final = 3
"""A stop that joins the next counting height."""
OrderStatus = Literal[1, 2, 3]

Precedence = Callable[[Sequence[bytes]], list[bytes]]
"""The order in which a RECEIVE market takes new orders: a permutation of the order ids it is given, which come
in draw order."""

MALFORMED: Final = "malformed"
PLAINTEXT: Final = "plaintext"
LABEL: Final = "label"
SIGNATURE: Final = "signature"
NONCE_TOO_HIGH: Final = "nonce_too_high"
NONCE_CONSUMED: Final = "nonce_consumed"
MARKET: Final = "market"
SIDE: Final = "side"
KIND: Final = "kind"
TIME_IN_FORCE: Final = "time_in_force"
EXPIRY: Final = "expiry"
EXPIRED: Final = "expired"
POST_ONLY_TERMS: Final = "post_only_terms"
SELF_TRADE_MODE: Final = "self_trade_mode"
PRICE: Final = "price"
STOP_PRICE: Final = "stop_price"
QUANTITY: Final = "quantity"
DISPLAY: Final = "display"
DUPLICATE_CLIENT_ID: Final = "duplicate_client_id"
TOO_MANY_OPEN: Final = "too_many_open"
ASSET: Final = "asset"
AMOUNT: Final = "amount"
BALANCE: Final = "balance"
NOT_OPEN: Final = "not_open"
FILLED_BEFORE: Final = "filled_before"
WITHDRAWN: Final = "withdrawn"
FILLED: Final = "filled"
PARTLY_FILLED: Final = "partly_filled"
RESTING: Final = "resting"
UNFILLED: Final = "unfilled"
WAITING: Final = "waiting"
CANCELLED: Final = "cancelled"
CANCELLED_UNSEEN: Final = "cancelled_unseen"
REPLACED: Final = "replaced"
SELF_TRADE: Final = "self_trade"
POST_ONLY: Final = "post_only"
IN_DARK: Final = "dark"
DARK_BOXES: Final = "dark_boxes"
DARK_KEYS: Final = "dark_keys"
DARK_TERMS: Final = "dark_terms"
DARK_FULL: Final = "dark_full"
DARK_ACCOUNT_FULL: Final = "dark_account_full"
DARK_BAD: Final = "dark_bad"
DARK_REJECTED: Final = "dark_rejected"
DARK_ABORTED: Final = "dark_aborted"
DARK_EPOCH: Final = "dark_epoch"

OUTCOME_CODES: Final[Mapping[str, str]] = {
    MALFORMED: "the ciphertext does not open to an order",
    PLAINTEXT: "the plaintext is not the canonical encoding of a signed action",
    LABEL: "the action is signed for another label than the one it was sealed under",
    SIGNATURE: "the action is not signed by its account",
    NONCE_TOO_HIGH: "the account's nonce, or the one it would cancel, is too far ahead",
    NONCE_CONSUMED: "the account's nonce was used before",
    MARKET: "no such market, or none that takes such an order",
    SIDE: "the side is neither buy nor sell",
    KIND: "the kind is none of limit, market, stop and stop-limit",
    TIME_IN_FORCE: "the time in force is none of GTC, IOC, FOK and GTD, or not one that the kind allows",
    EXPIRY: "a GTD order names no expiry, or another order names one",
    EXPIRED: "the order's expiry is not after the block's time",
    POST_ONLY_TERMS: "post-only is neither 0 nor 1, or 1 where it is not for a limit order that may rest",
    SELF_TRADE_MODE: "no such mode of self-trade prevention",
    PRICE: "the price is zero or above its bound",
    STOP_PRICE: "a stop's trigger is zero or above its bound, or another order names one",
    QUANTITY: "the quantity is outside the market's bounds",
    DISPLAY: "the display quantity is outside its bounds, or the order is not one that may rest",
    DUPLICATE_CLIENT_ID: "the account has used this client order id before",
    TOO_MANY_OPEN: "the account has as many open orders as it may have",
    ASSET: "no such asset",
    AMOUNT: "the amount is zero or above its bound",
    BALANCE: "the account's free balance does not cover the action",
    NOT_OPEN: "the order to be cancelled or replaced is not open any more",
    FILLED_BEFORE: "the order to be replaced had filled the new total already",
    WITHDRAWN: "the amount moved from free to withdrawable",
    FILLED: "the order was filled wholly; of a dark order: it traded",
    PARTLY_FILLED: "the order was filled in part; the rest lapsed or rests, by its time in force",
    RESTING: "the order rests in the book without a fill",
    UNFILLED: "the order lapsed without a fill, or with less than it demands",
    WAITING: "the stop waits for its trigger",
    CANCELLED: "the order was cancelled; of a cancellation: it did so",
    CANCELLED_UNSEEN: "the nonce is used up, so that an order with it does nothing whenever it comes",
    REPLACED: "another order took its place",
    SELF_TRADE: "the order was ended so that its account does not trade with itself",
    POST_ONLY: "the order was ended because it would have traded at once",
    IN_DARK: "the order waits for its dark batch",
    DARK_BOXES: "a box of the dark order is no sealed box of this order",
    DARK_KEYS: "the dark order is sealed to other keys than those the committee has agreed on",
    DARK_TERMS: "a deposit is outside its bounds, or the boxes are not one of the right size for each party",
    DARK_FULL: "the dark batch has as many orders as it may have",
    DARK_ACCOUNT_FULL: "the account has as many orders in the dark batch as it may have",
    DARK_BAD: "the dark order's boxes do not hold one sharing of one row",
    DARK_REJECTED: "the dark order's row is not well-formed, or its deposits do not cover it",
    DARK_ABORTED: "the dark batch ended without an outcome",
    DARK_EPOCH: "the committee changed before the dark batch was computed",
}


class DarkGrid(Value, frozen=True):
    """What a dark market's orders may say (docs/dark.md, "An order"), and how its batches are taken.

    ``ticks`` prices from ``price_first_ticks`` in steps of ``price_step_ticks``; quantities below ``2^quantity_bits``
    lots; deposits of ``slack_bits``. A batch has up to ``orders_max`` orders and closes ``interval_ms`` of block time
    after its first one came. ``demonstration``: 1 lets a committee below 4t+1 members run it, whose liars can abort it.
    """

    ticks: Annotated[int, Meta(ge=1, le=1_024)]
    price_first_ticks: PriceTicks
    price_step_ticks: PriceTicks
    quantity_bits: Annotated[int, Meta(ge=1, le=48)]
    slack_bits: Annotated[int, Meta(ge=1, le=93)]
    orders_max: Annotated[int, Meta(ge=1, le=1_536)]
    interval_ms: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)]
    demonstration: Annotated[int, Meta(ge=0, le=1)] = 0


class PlainTerms(Value, frozen=True):
    """What all markets have. ``q`` lots are ``q * base_units_per_lot`` base units of ``base_asset`` and cost, at
    ``p`` ticks, ``p * q * quote_units_per_tick_lot`` base units of ``quote_asset``."""

    id: MarketId
    base_asset: AssetId
    quote_asset: AssetId
    base_units_per_lot: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)]
    quote_units_per_tick_lot: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)]
    reference_price_ticks: PriceTicks
    symbol: Annotated[str, Meta(min_length=1, max_length=SYMBOL_CHARACTERS_MAX)]
    policy: OrderPolicy
    """How a batch's orders meet."""
    quantity_min_lots: QuantityLots = 1
    quantity_max_lots: QuantityLots = limits.QUANTITY_LOTS_MAX
    maker_fee_ppm: FeePpm = 0
    """Of what an order trades that rested before, in parts per million of its value in quote units."""
    taker_fee_ppm: FeePpm = 0


class Market(PlainTerms, frozen=True):
    """A market's terms."""

    dark: DarkGrid | None = None
    """Of a DARK market, and of no other."""

    def plain(self) -> PlainTerms:
        """What all markets have, of this one."""
        return PlainTerms(*astuple(self)[:-1])


class OrderValue(Value, frozen=True):
    """An open order's value in the state tree; elsewhere it is named by its order id. Terms as in
    :class:`~mpc_sequencer.core.actions.Order`."""

    account: Address
    nonce: Uint
    market: MarketId
    client_id: Uint
    side: Side
    kind: Annotated[int, Meta(ge=1, le=4)]
    time_in_force: Annotated[int, Meta(ge=1, le=4)]
    post_only: Annotated[int, Meta(ge=0, le=1)]
    self_trade: Annotated[int, Meta(ge=0, le=3)]
    price_ticks: PriceTicks
    stop_ticks: Annotated[int, Meta(ge=0, le=limits.PRICE_TICKS_MAX)]
    quantity_lots: QuantityLots
    """The total, what is filled included."""
    filled_lots: Annotated[int, Meta(ge=0, le=limits.QUANTITY_LOTS_MAX)]
    display_lots: Annotated[int, Meta(ge=0, le=limits.QUANTITY_LOTS_MAX)]
    shown_lots: Annotated[int, Meta(ge=0, le=limits.QUANTITY_LOTS_MAX)]
    """What an iceberg shows now; 0 where ``display_lots`` is 0."""
    expires_ms: Uint
    sequence: Uint
    """Time priority among resting orders of a SHUFFLE or RECEIVE market: 1 for what came to rest first. 0 under
    AUCTION, which knows no time among resting orders, and for stops."""
    status: OrderStatus

    @property
    def remaining_lots(self) -> int:
        """What is open of it."""
        return self.quantity_lots - self.filled_lots


class AccountValue(Value, frozen=True):
    """An account's value: balance rows ``(asset, free, locked)`` ascending by asset without rows of zeros (amounts 16
    bytes, big-endian), the highest nonce, the window of consumed nonces (128 bytes), and the last accepted client ids,
    newest last."""

    balances: tuple[tuple[AssetId, AmountBytes, AmountBytes], ...]
    highest_nonce: Uint
    window: Annotated[bytes, Meta(min_length=NONCE_WINDOW_BYTES, max_length=NONCE_WINDOW_BYTES)]
    client_ids: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=limits.UINT_MAX)], ...], Meta(max_length=limits.CLIENT_IDS_KEPT)
    ]

    def state_value(self) -> bytes:
        """Its value in the state tree: an array of the fields, without client ids where there are none."""
        fields = (self.balances, self.highest_nonce, self.window)
        return encode((*fields, self.client_ids) if self.client_ids else fields)


class Fill(Value, frozen=True):
    """What one order traded in one height at one price, as maker or as taker. An AUCTION market has one price per
    height; in the others an order that arrives may have a fill at each of several prices."""

    height: Uint
    market: MarketId
    order_id: Hash32
    account: Address
    side: Side
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    fee: AmountBytes
    maker: Annotated[int, Meta(ge=0, le=1)]
    """1 where the order was in the book for the other side to meet, and so paid the maker's fee."""

    @property
    def fee_units(self) -> int:
        """The fee in quote units."""
        return int.from_bytes(self.fee, "big")


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """An order of a final batch: its id (32 bytes), its label (101 bytes) and its opened plaintext without
    padding; ``plaintext`` is None where the order is malformed."""

    order_id: bytes
    label: bytes
    plaintext: bytes | None


@dataclass(frozen=True, slots=True)
class PreparedOrder:
    """The state-free verdict on a batch order: an action its account signed for this label, or a refusal
    code."""

    order_id: bytes
    action: Action | None
    refusal: str | None

    def __post_init__(self) -> None:
        if (self.action is None) == (self.refusal is None):
            raise ValueError("a prepared order has either an action or a refusal")


class Outcome(Struct, frozen=True, gc=False):
    """What became of one action of the batch; ``code`` is a key of :data:`OUTCOME_CODES`.

    ``account`` is None where no account signed the plaintext; ``market`` is the one an order or a replacement names.
    Where ``filled_lots`` is not 0, ``price_ticks`` is the worst price it traded at (an AUCTION market's clearing
    price). ``notional_tick_lots`` is the sum of price times lots over its fills, so what they cost or brought is
    ``notional_tick_lots * quote_units_per_tick_lot``, whatever the prices. ``fee_units`` is in quote units, too.
    """

    order_id: bytes
    code: str
    account: bytes | None
    market: int | None
    filled_lots: int
    price_ticks: int | None
    notional_tick_lots: int
    fee_units: int


class Update(Struct, frozen=True, gc=False):
    """What a height did to an order of an earlier height that traded in it or ended; fields as in :class:`Outcome`, of
    this height alone. ``remaining_lots`` is what is open of it afterwards: 0 where it is not open any more."""

    order_id: bytes
    account: bytes
    market: int
    code: str
    filled_lots: int
    price_ticks: int | None
    notional_tick_lots: int
    fee_units: int
    remaining_lots: int


@dataclass(frozen=True, slots=True)
class HeightResult:
    """Everything that follows from one height.

    ``fills`` by market, then order id, then price from the order's best, then as taker before as maker; ``outcomes`` of
    the batch's orders and ``updates`` of earlier ones by order id; ``deltas`` are
    rows ``(account, asset, change of free + locked, change of withdrawable)`` without rows of zeros, by (asset,
    account); ``clearing`` has a row ``(market, price_ticks, volume_lots)`` per market that traded, ascending,
    with the clearing price or, where orders meet one after the other, the last trade's.
    """

    height: int
    state_root: bytes
    fills_root: bytes
    fills: tuple[Fill, ...]
    outcomes: tuple[Outcome, ...]
    updates: tuple[Update, ...]
    deltas: tuple[tuple[bytes, int, int, int], ...]
    clearing: tuple[tuple[int, int, int], ...]


def checked_market(market: Market) -> Market:
    """``market`` itself; raises :class:`~mpc_sequencer.core.errors.ProtocolError` where a field is out of
    bounds, ``ValueError`` where it trades an asset against itself, no quantity fits, or it is dark and no committee
    could compute its batches. (Constructing a value checks no bounds; decoding does.)"""
    decode(Market, encode(market))
    if market.quantity_min_lots > market.quantity_max_lots:
        raise ValueError(f"market {market.id} takes no quantity: its least is above its most")
    if market.base_asset == market.quote_asset:
        raise ValueError(f"market {market.id} trades asset {market.base_asset} against itself")
    if (market.policy == DARK) != (market.dark is not None):
        raise ValueError(f"market {market.id} is dark without the terms of a dark market, or has them and is not")
    if market.dark is not None:
        check_grid(market.id, market.dark, market.quantity_min_lots, market.quantity_max_lots)
    return market


def result_hash(previous: bytes, height: int, state_root: bytes, fills_root: bytes) -> bytes:
    """The result of a counting height: 32 bytes over the previous counting height's result and this one's
    roots."""
    return domains.RESULT(previous, height.to_bytes(8, "big"), state_root, fills_root)


def genesis_result(state_root: bytes) -> bytes:
    """The result before the first counting height, over the genesis state."""
    return result_hash(ZERO_HASH, 0, state_root, ZERO_HASH)
