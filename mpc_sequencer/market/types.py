"""The market's values: what goes into a height, what comes out of it (docs/protocol-execution.md).

Prices are ticks, quantities lots, amounts base units of an asset; all are Python integers, so nothing
overflows. :class:`Fill`, :class:`RestingOrder` and :class:`AccountValue` are hashed into the result, so
their encodings are part of the protocol; the dataclasses stay inside one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.actions import AMOUNT_BYTES, Action
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.types import ZERO_HASH, Address, Hash32, Uint, Value

ASSET_ID_MAX: Final = (1 << 16) - 1
MARKET_ID_MAX: Final = (1 << 32) - 1
SYMBOL_CHARACTERS_MAX: Final = 32
NONCE_WINDOW_BYTES: Final = limits.NONCE_WINDOW // 8

MarketId = Annotated[int, Meta(ge=0, le=MARKET_ID_MAX)]
AssetId = Annotated[int, Meta(ge=0, le=ASSET_ID_MAX)]
Side = Annotated[int, Meta(ge=1, le=2)]
PriceTicks = Annotated[int, Meta(ge=1, le=limits.PRICE_TICKS_MAX)]
QuantityLots = Annotated[int, Meta(ge=1, le=limits.QUANTITY_LOTS_MAX)]
AmountBytes = Annotated[bytes, Meta(min_length=AMOUNT_BYTES, max_length=AMOUNT_BYTES)]

AUCTION: Final = 1
"""One uniform price for the whole batch; position decides nothing but remainders."""
SHUFFLE: Final = 2
"""One after the other in an order drawn by the block's coin."""
RECEIVE: Final = 3
"""One after the other in the order in which members received them, by their lists."""
POLICY_NAMES: Final[Mapping[int, str]] = {AUCTION: "auction", SHUFFLE: "shuffle", RECEIVE: "receive"}
OrderPolicy = Literal[1, 2, 3]

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
TIME_IN_FORCE: Final = "time_in_force"
PRICE: Final = "price"
QUANTITY: Final = "quantity"
ASSET: Final = "asset"
AMOUNT: Final = "amount"
BALANCE: Final = "balance"
WITHDRAWN: Final = "withdrawn"
FILLED: Final = "filled"
PARTLY_FILLED: Final = "partly_filled"
RESTING: Final = "resting"
UNFILLED: Final = "unfilled"

OUTCOME_CODES: Final[Mapping[str, str]] = {
    MALFORMED: "the ciphertext does not open to an order",
    PLAINTEXT: "the plaintext is not the canonical encoding of a signed action",
    LABEL: "the action is signed for another label than the one it was sealed under",
    SIGNATURE: "the action is not signed by its account",
    NONCE_TOO_HIGH: "the account's nonce is too far ahead",
    NONCE_CONSUMED: "the account's nonce was used before",
    MARKET: "no such market",
    SIDE: "the side is neither buy nor sell",
    TIME_IN_FORCE: "the time in force is neither GTC nor IOC",
    PRICE: "the price is zero or above its bound",
    QUANTITY: "the quantity is zero or above its bound",
    ASSET: "no such asset",
    AMOUNT: "the amount is zero or above its bound",
    BALANCE: "the account's free balance does not cover the action",
    WITHDRAWN: "the amount moved from free to withdrawable",
    FILLED: "the order was filled wholly",
    PARTLY_FILLED: "the order was filled in part; the rest lapsed (IOC) or rests (GTC)",
    RESTING: "the order rests in the book without a fill",
    UNFILLED: "the order lapsed without a fill (IOC)",
}


class Market(Value, frozen=True):
    """A market's terms. ``q`` lots are ``q * base_units_per_lot`` base units of ``base_asset`` and cost, at
    ``p`` ticks, ``p * q * quote_units_per_tick_lot`` base units of ``quote_asset``."""

    id: MarketId
    base_asset: AssetId
    quote_asset: AssetId
    base_units_per_lot: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)]
    quote_units_per_tick_lot: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)]
    reference_price_ticks: PriceTicks
    symbol: Annotated[str, Meta(min_length=1, max_length=SYMBOL_CHARACTERS_MAX)]
    policy: OrderPolicy
    """How a batch's orders meet: AUCTION, SHUFFLE or RECEIVE."""


class RestingOrder(Value, frozen=True):
    """An order in the book, named by its order id elsewhere."""

    account: Address
    market: MarketId
    side: Side
    price_ticks: PriceTicks
    remaining_lots: QuantityLots
    sequence: Uint
    """Time priority: 1 for the first order that came to rest in its market, and so on. Always 0 in an AUCTION
    market, which knows no time among resting orders."""

    def state_value(self) -> bytes:
        """Its value in the state tree: an array of the fields, without a sequence of 0."""
        fields = (self.account, self.market, self.side, self.price_ticks, self.remaining_lots)
        return encode((*fields, self.sequence) if self.sequence else fields)


class AccountValue(Value, frozen=True):
    """An account's value in the state tree: balance rows ``(asset, free, locked)`` ascending by asset
    without rows of zeros (amounts 16 bytes, big-endian), the highest nonce and the window of consumed
    nonces (128 bytes)."""

    balances: tuple[tuple[AssetId, AmountBytes, AmountBytes], ...]
    highest_nonce: Uint
    window: Annotated[bytes, Meta(min_length=NONCE_WINDOW_BYTES, max_length=NONCE_WINDOW_BYTES)]


class Fill(Value, frozen=True):
    """What one order traded in one height at one price. An AUCTION market has one price per height; in the others
    an order that arrives may have a fill at each of several prices."""

    height: Uint
    market: MarketId
    order_id: Hash32
    account: Address
    side: Side
    price_ticks: PriceTicks
    quantity_lots: QuantityLots


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one order of the batch; ``code`` is a key of :data:`OUTCOME_CODES`.

    ``account`` is None where no account signed the plaintext; ``market`` is the one a limit order names;
    Where ``filled_lots`` is not 0, ``price_ticks`` is the worst price it traded at (an AUCTION market's clearing
    price). ``notional_tick_lots`` is the sum of price times lots over its fills, so what they cost or brought is
    ``notional_tick_lots * quote_units_per_tick_lot``, whatever the prices.
    """

    order_id: bytes
    code: str
    account: bytes | None
    market: int | None
    filled_lots: int
    price_ticks: int | None
    notional_tick_lots: int


@dataclass(frozen=True, slots=True)
class HeightResult:
    """Everything that follows from one height.

    ``fills`` by market, then draw, then price from the order's best; ``outcomes`` in draw order; ``deltas`` are
    rows ``(account, asset, change of free + locked, change of withdrawable)`` without rows of zeros, by (asset,
    account); ``clearing`` has a row ``(market, price_ticks, volume_lots)`` per market that traded, ascending,
    with the clearing price or, where orders meet one after the other, the last trade's.
    """

    height: int
    state_root: bytes
    fills_root: bytes
    fills: tuple[Fill, ...]
    outcomes: tuple[Outcome, ...]
    deltas: tuple[tuple[bytes, int, int, int], ...]
    clearing: tuple[tuple[int, int, int], ...]


def checked_market(market: Market) -> Market:
    """``market`` itself; raises :class:`~mpc_sequencer.core.errors.ProtocolError` where a field is out of
    bounds, ``ValueError`` where it trades an asset against itself. (Constructing a value checks no bounds;
    decoding does.)"""
    decode(Market, encode(market))
    if market.base_asset == market.quote_asset:
        raise ValueError(f"market {market.id} trades asset {market.base_asset} against itself")
    return market


def result_hash(previous: bytes, height: int, state_root: bytes, fills_root: bytes) -> bytes:
    """The result of a counting height: 32 bytes over the previous counting height's result and this one's
    roots."""
    return domains.RESULT(previous, height.to_bytes(8, "big"), state_root, fills_root)


def genesis_result(state_root: bytes) -> bytes:
    """The result before the first counting height, over the genesis state."""
    return result_hash(ZERO_HASH, 0, state_root, ZERO_HASH)
