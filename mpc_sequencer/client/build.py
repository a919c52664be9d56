"""From a trader's wish to a sealed envelope: pure functions, randomness and time are arguments.

The order of things matters: the label is fixed first, the action names its hash and is signed by the
account, the signed action is sealed under that label, and the sponsor signs the order id. So nothing of an
envelope can be moved to another: not the plaintext to another label, not the ciphertext to another sponsor,
chain or window.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.client.committee_key import require_key
from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import (
    AMOUNT_BYTES,
    BUY,
    GTC,
    IOC,
    SELL,
    SIDE_NAMES,
    Action,
    Order,
    SignedAction,
    Withdrawal,
    label_hash,
    plain_order,
    with_account_signature,
)
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import (
    AMOUNT_MAX,
    PRICE_TICKS_MAX,
    QUANTITY_LOTS_MAX,
    SIZE_BUCKETS_BYTES,
    UINT_MAX,
    VALIDITY_MS_MAX,
)
from mpc_sequencer.core.signing import Signer, check_signer
from mpc_sequencer.core.types import Envelope
from threshold import Label, seal

SIDES: Final = {name: number for number, name in SIDE_NAMES.items()}
TIMES_IN_FORCE: Final = {"GTC": GTC, "IOC": IOC}
LIFETIME_MS_DEFAULT: Final = 60_000


@dataclass(frozen=True, slots=True)
class SealedOrder:
    """An envelope ready to submit, with what only its maker knows."""

    order_id: bytes
    envelope: Envelope
    signed: SignedAction = field(repr=False)
    """The plaintext. Who has it before the order is final can front-run the order."""
    sigma: bytes = field(repr=False)
    """The 32 random bytes of the sealing; with the plaintext they open the order."""


def validity_window(now_ms: int, lifetime_ms: int = LIFETIME_MS_DEFAULT) -> tuple[int, int]:
    """``(valid_from_ms, valid_until_ms)`` of an order made now; refuses an empty or too long lifetime."""
    if not 1 <= lifetime_ms <= VALIDITY_MS_MAX:
        raise ProtocolError("label.validity", "lifetime_ms", lifetime_ms, f"1 .. {VALIDITY_MS_MAX}")
    return now_ms, now_ms + lifetime_ms


def make_label(
    committee: Committee,
    sponsor: bytes,
    window_ms: tuple[int, int],
    size_bucket_bytes: int = SIZE_BUCKETS_BYTES[0],
) -> Label:
    """The label of an order for this deployment, paid by ``sponsor`` (20 bytes), valid in ``window_ms``. Raises
    :class:`~.errors.KeyPending` where ``committee`` does not know its threshold key yet."""
    valid_from_ms, valid_until_ms = window_ms
    if valid_until_ms - valid_from_ms > VALIDITY_MS_MAX:
        span_ms = valid_until_ms - valid_from_ms
        raise ProtocolError(
            "label.validity", "label.valid_until_ms", span_ms, f"a span of at most {VALIDITY_MS_MAX} ms"
        )
    if size_bucket_bytes not in SIZE_BUCKETS_BYTES:
        raise ProtocolError(
            "wire.bound", "label.size_bucket", size_bucket_bytes, f"one of {SIZE_BUCKETS_BYTES}"
        )
    key = require_key(committee)
    label = Label(
        chain_id=key.chain_id,
        settlement=key.settlement,
        key_id=key.key_id,
        sponsor=sponsor,
        valid_from_ms=valid_from_ms,
        valid_until_ms=valid_until_ms,
        size_bucket=size_bucket_bytes,
    )
    label.encode()  # refuses what does not fit the wire now, not after the account has signed
    return label


def limit_order(
    committee: Committee,
    label: Label,
    *,
    account: bytes,
    nonce: int,
    market: int,
    side: int,
    time_in_force: int,
    price_ticks: int,
    quantity_lots: int,
) -> Order:
    """A checked limit order bound to ``label``. Refuses with the code execution would give it."""
    order = plain_order(
        account,
        nonce,
        label_hash(label.encode()),
        market=market,
        side=side,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        quantity_lots=quantity_lots,
    )
    check_action(committee, order)
    return order


def withdrawal(
    committee: Committee, label: Label, *, account: bytes, nonce: int, asset: int, amount_units: int
) -> Withdrawal:
    """A checked withdrawal of ``amount_units`` base units bound to ``label``."""
    if not 1 <= amount_units <= AMOUNT_MAX:
        raise ProtocolError("withdrawal.amount", "amount", amount_units, "1 .. 2^127-1 base units")
    action = Withdrawal(
        account=account,
        nonce=nonce,
        label_hash=label_hash(label.encode()),
        asset=asset,
        amount=amount_units.to_bytes(AMOUNT_BYTES, "big"),
    )
    check_action(committee, action)
    return action


def check_action(committee: Committee, action: Action) -> None:
    """Refuse terms that execution would refuse whatever the state: market, side, time in force, ranges,
    asset.
    """
    if len(action.account) != 20:
        raise ProtocolError("wire.bound", "action.account", action.account, "20 bytes")
    if not 0 <= action.nonce <= UINT_MAX:
        raise ProtocolError("wire.bound", "action.nonce", action.nonce, "0 .. 2^63-1")
    if isinstance(action, Withdrawal):
        if not 0 <= action.asset < len(committee.genesis.assets):
            raise ProtocolError(
                "asset.unknown", "action.asset", action.asset, f"below {len(committee.genesis.assets)}"
            )
        if not 1 <= action.amount_units <= AMOUNT_MAX:
            raise ProtocolError(
                "withdrawal.amount", "action.amount", action.amount_units, "1 .. 2^127-1 base units"
            )
        return
    if not isinstance(action, Order):
        return
    if all(market.id != action.market for market in committee.genesis.markets):
        known = [market.id for market in committee.genesis.markets]
        raise ProtocolError("market.unknown", "action.market", action.market, f"one of {known}")
    if action.side not in (BUY, SELL):
        raise ProtocolError("order.side", "action.side", action.side, "1 (buy) or 2 (sell)")
    if action.time_in_force not in (GTC, IOC):
        raise ProtocolError(
            "order.time_in_force", "action.time_in_force", action.time_in_force, "1 (GTC) or 2 (IOC)"
        )
    if not 1 <= action.price_ticks <= PRICE_TICKS_MAX:
        raise ProtocolError(
            "order.price", "action.price_ticks", action.price_ticks, f"1 .. {PRICE_TICKS_MAX}"
        )
    if not 1 <= action.quantity_lots <= QUANTITY_LOTS_MAX:
        raise ProtocolError(
            "order.quantity", "action.quantity_lots", action.quantity_lots, f"1 .. {QUANTITY_LOTS_MAX}"
        )


def account_digest(committee: Committee, action: Action) -> bytes:
    """The EIP-712 digest the account signs (what a wallet shows is :func:`~.wallet.typed_data`)."""
    return committee.digest(action.struct_hash())


def sign_action(committee: Committee, action: Action, account: Signer) -> SignedAction:
    """The plaintext: ``action`` signed by its own account, here and now."""
    if account.address != action.account:
        raise ProtocolError(
            "action.account_signature", "action.account", action.account, account.address.hex()
        )
    return with_account_signature(action, account.sign_digest(account_digest(committee, action)))


def sponsor_digest(committee: Committee, order_id: bytes) -> bytes:
    """The EIP-712 digest the sponsor signs: its consent to pay for this order."""
    return committee.digest(domains.SPONSOR_TYPE(order_id))


def seal_order(
    committee: Committee, label: Label, signed: SignedAction, sponsor: Signer, *, sigma: bytes
) -> SealedOrder:
    """Seal a signed action under its label and have ``sponsor`` sign the order id.

    ``sigma`` is 32 fresh random bytes from the operating system; reusing it for another message is fatal to
    both. Refuses a plaintext that the members would discard: another label, a signature that is not its
    account's, terms out of range; and a sponsor key that is not the label's. Raises :class:`~.errors.KeyPending` like
    :func:`make_label`.
    """
    label_bytes = label.encode()
    action = signed.action
    if action.label_hash != label_hash(label_bytes):
        raise ProtocolError(
            "action.label", "action.label_hash", action.label_hash, label_hash(label_bytes).hex()
        )
    check_action(committee, action)
    check_signer(
        account_digest(committee, action), signed.signature, action.account, "signed_action.signature"
    )
    if sponsor.address != label.sponsor:
        raise ProtocolError("sponsor.signature", "label.sponsor", label.sponsor, sponsor.address.hex())
    ciphertext = seal(require_key(committee), label, encode(signed), sigma=sigma)
    order_id = domains.ORDER_ID(label_bytes, hashlib.sha256(ciphertext).digest())
    envelope = Envelope(
        version=1,
        label=label_bytes,
        ciphertext=ciphertext,
        sponsor_signature=sponsor.sign_digest(sponsor_digest(committee, order_id)),
    )
    return SealedOrder(order_id=order_id, envelope=envelope, signed=signed, sigma=sigma)
