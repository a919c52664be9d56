"""What an order's plaintext says: an action signed by the trader's account (EIP-712, so an ordinary wallet can).

A plaintext is the canonical encoding of a :class:`SignedAction`. Each action names its account, the account's nonce
and the hash of the label it is sealed under, so an opened plaintext cannot be sealed again under another label.
Amounts beyond 2^63-1 travel as 16 bytes, big-endian.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from mpc_sequencer.core import domains
from mpc_sequencer.core.types import Address, Hash32, SignatureBytes, Uint, Value

BUY: Final = 1
SELL: Final = 2
SIDE_NAMES: Final = {BUY: "buy", SELL: "sell"}

GTC: Final = 1
IOC: Final = 2
TIME_IN_FORCE_NAMES: Final = {GTC: "GTC", IOC: "IOC"}

AMOUNT_BYTES: Final = 16


class LimitOrder(Value, frozen=True, tag=1):
    """Buy or sell up to ``quantity_lots`` at ``price_ticks`` or better; the rest stays (GTC) or lapses (IOC)."""

    account: Address
    nonce: Uint
    label_hash: Hash32
    market: Annotated[int, Meta(ge=0, lt=1 << 32)]
    side: Annotated[int, Meta(ge=0, lt=1 << 8)]
    time_in_force: Annotated[int, Meta(ge=0, lt=1 << 8)]
    price_ticks: Uint
    quantity_lots: Uint

    def struct_hash(self) -> bytes:
        return domains.LIMIT_ORDER_TYPE(
            self.account,
            self.nonce,
            self.label_hash,
            self.market,
            self.side,
            self.time_in_force,
            self.price_ticks,
            self.quantity_lots,
        )


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


Action = LimitOrder | Withdrawal


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

