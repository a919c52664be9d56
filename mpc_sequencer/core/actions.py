"""What an order's plaintext says: an action signed by the trader's account (EIP-712, so an ordinary wallet can).

A plaintext is the canonical encoding of a :class:`SignedAction`. Each action names its account, the account's nonce
and the hash of the label it is sealed under, so an opened plaintext cannot be sealed again under another label.
Amounts beyond 2^63-1 travel as 16 bytes, big-endian.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import astuple

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.types import Address, Hash32, SignatureBytes, Uint, Value

BUY: Final = 1
SELL: Final = 2
SIDE_NAMES: Final = {BUY: "buy", SELL: "sell"}

LIMIT: Final = 1
MARKET: Final = 2
STOP: Final = 3
STOP_LIMIT: Final = 4
KIND_NAMES: Final = {LIMIT: "limit", MARKET: "market", STOP: "stop", STOP_LIMIT: "stop_limit"}

GTC: Final = 1
IOC: Final = 2
FOK: Final = 3
GTD: Final = 4
TIME_IN_FORCE_NAMES: Final = {GTC: "GTC", IOC: "IOC", FOK: "FOK", GTD: "GTD"}

SELF_TRADE_ALLOWED: Final = 0
CANCEL_MAKER: Final = 1
CANCEL_TAKER: Final = 2
CANCEL_BOTH: Final = 3
SELF_TRADE_NAMES: Final = {
    SELF_TRADE_ALLOWED: "allowed",
    CANCEL_MAKER: "cancel_maker",
    CANCEL_TAKER: "cancel_taker",
    CANCEL_BOTH: "cancel_both",
}

EVERY_MARKET: Final = (1 << 32) - 1
"""In a :class:`CancelAll`: all markets."""
AMOUNT_BYTES: Final = 16

MarketNumber = Annotated[int, Meta(ge=0, lt=1 << 32)]
SmallUint = Annotated[int, Meta(ge=0, lt=1 << 8)]


class Order(Value, frozen=True, tag=1):
    """Buy or sell ``quantity_lots`` at ``price_ticks`` or better. Values out of range are refused by the market, not by
    the decoder (docs/protocol-execution.md, "Terms").

    ``price_ticks`` bounds what a MARKET or STOP order takes, too: nothing is traded without a limit. ``client_id`` is
    the account's own name for it (0: none), ``stop_ticks`` where a stop triggers, ``display_lots`` what an iceberg
    shows of itself at a time (0: all), ``expires_ms`` the block time at which a GTD order ends.
    """

    account: Address
    nonce: Uint
    label_hash: Hash32
    market: MarketNumber
    client_id: Uint
    side: SmallUint
    kind: SmallUint
    time_in_force: SmallUint
    post_only: SmallUint
    self_trade: SmallUint
    price_ticks: Uint
    stop_ticks: Uint
    quantity_lots: Uint
    display_lots: Uint
    expires_ms: Uint

    def struct_hash(self) -> bytes:
        return domains.ORDER_TYPE(*astuple(self))


class Withdrawal(Value, frozen=True, tag=2):
    """Move ``amount`` base units of ``asset`` from free to withdrawable, to be claimed from the contract."""

    account: Address
    nonce: Uint
    label_hash: Hash32
    asset: Annotated[int, Meta(ge=0, lt=1 << 16)]
    amount: Annotated[bytes, Meta(min_length=AMOUNT_BYTES, max_length=AMOUNT_BYTES)]

    @property
    def amount_units(self) -> int:
        return int.from_bytes(self.amount, "big")

    def struct_hash(self) -> bytes:
        return domains.WITHDRAWAL_TYPE(self.account, self.nonce, self.label_hash, self.asset, self.amount_units)


class Cancel(Value, frozen=True, tag=3):
    """End the account's order of nonce ``target_nonce``, open or not yet seen."""

    account: Address
    nonce: Uint
    label_hash: Hash32
    target_nonce: Uint

    def struct_hash(self) -> bytes:
        return domains.CANCEL_TYPE(*astuple(self))


class CancelAll(Value, frozen=True, tag=4):
    """End all open orders of the account in ``market``, or with :data:`EVERY_MARKET` in all."""

    account: Address
    nonce: Uint
    label_hash: Hash32
    market: MarketNumber

    def struct_hash(self) -> bytes:
        return domains.CANCEL_ALL_TYPE(*astuple(self))


class Replace(Value, frozen=True, tag=5):
    """End the account's order of nonce ``target_nonce`` and enter another; the fields from ``market`` on are those of
    an :class:`Order`, and ``quantity_lots`` is the total, what the target has filled included. (Said again, not
    inherited: on the wire and in the signed type ``target_nonce`` stands before them.)"""

    account: Address
    nonce: Uint
    label_hash: Hash32
    target_nonce: Uint
    market: MarketNumber
    client_id: Uint
    side: SmallUint
    kind: SmallUint
    time_in_force: SmallUint
    post_only: SmallUint
    self_trade: SmallUint
    price_ticks: Uint
    stop_ticks: Uint
    quantity_lots: Uint
    display_lots: Uint
    expires_ms: Uint

    def struct_hash(self) -> bytes:
        return domains.REPLACE_TYPE(*astuple(self))

    def order(self) -> Order:
        """The order it enters, under its own nonce."""
        account, nonce, bound, _, *terms = astuple(self)
        return Order(account, nonce, bound, *terms)


class DarkOrder(Value, frozen=True, tag=6):
    """An order for a dark market: side, price and quantity are in the boxes, shared among the committee's members.

    Public is what it locks, whatever its side: ``quote_tick_lots`` (lots times ticks) of the quote asset and
    ``base_lots`` of the base asset. ``keys`` names the agreement whose keys the boxes are sealed to, ``boxes`` are one
    for each party of it, in party order (:mod:`mpc_sequencer.dark.boxes`).
    """

    account: Address
    nonce: Uint
    label_hash: Hash32
    market: MarketNumber
    keys: Hash32
    quote_tick_lots: Uint
    base_lots: Uint
    boxes: Annotated[
        tuple[Annotated[bytes, Meta(max_length=limits.DARK_BOX_BYTES_MAX)], ...],
        Meta(min_length=1, max_length=limits.COMMITTEE_MEMBERS_MAX),
    ]

    def boxes_hash(self) -> bytes:
        """What the signed struct has in the boxes' place."""
        return domains.DARK_BOXES(*(hashlib.sha256(box).digest() for box in self.boxes))

    def struct_hash(self) -> bytes:
        *terms, _ = astuple(self)
        return domains.DARK_ORDER_TYPE(*terms, self.boxes_hash())


Action = Order | Withdrawal | Cancel | CancelAll | Replace | DarkOrder


def plain_order(
    account: bytes,
    nonce: int,
    label_hash: bytes,
    *,
    market: int,
    side: int,
    time_in_force: int,
    price_ticks: int,
    quantity_lots: int,
) -> Order:
    """A limit order that uses none of the other terms."""
    return Order(
        account=account,
        nonce=nonce,
        label_hash=label_hash,
        market=market,
        client_id=0,
        side=side,
        kind=LIMIT,
        time_in_force=time_in_force,
        post_only=0,
        self_trade=SELF_TRADE_ALLOWED,
        price_ticks=price_ticks,
        stop_ticks=0,
        quantity_lots=quantity_lots,
        display_lots=0,
        expires_ms=0,
    )


class SignedAction(Value, frozen=True):
    """The plaintext of an order."""

    version: Literal[1]
    action: Action
    signature: SignatureBytes


def label_hash(label: bytes) -> bytes:
    """The hash of an encoded label (101 bytes) that an action names."""
    return domains.LABEL_HASH(label)


def with_account_signature(action: Action, signature: bytes) -> SignedAction:
    """The plaintext value of ``action`` signed by its account."""
    return SignedAction(version=1, action=action, signature=signature)

