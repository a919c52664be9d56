"""From a trader's wish to a sealed envelope: pure functions, randomness and time are arguments.

The order of things matters: the label is fixed first, the action names its hash and is signed by the
account, the signed action is sealed under that label, and the sponsor signs the order id. So nothing of an
envelope can be moved to another: not the plaintext to another label, not the ciphertext to another sponsor,
chain or window.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec.structs import astuple

from mpc_sequencer.client.committee_key import require_key
from mpc_sequencer.client.terms import OrderTerms, check_action, limit_terms, market_of
from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import (
    AMOUNT_BYTES,
    EVERY_MARKET,
    Action,
    Cancel,
    CancelAll,
    DarkOrder,
    Order,
    Replace,
    SignedAction,
    Withdrawal,
    label_hash,
    with_account_signature,
)
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.darkterms import dark_markets, order_bytes
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import AMOUNT_MAX, VALIDITY_MS_MAX
from mpc_sequencer.core.signing import Signer, check_signer
from mpc_sequencer.core.types import Envelope
from threshold import Label, seal

if TYPE_CHECKING:
    from mpc_sequencer.client.dark_orders import DarkSealing

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
    size_bucket_bytes: int | None = None,
    *,
    market: int | None = None,
) -> Label:
    """The label of an order for this deployment, paid by ``sponsor`` (20 bytes), valid in ``window_ms``. Orders for a
    dark market are larger: name the ``market``, or the bucket. (By default the smallest, which holds all else.) Raises
    :class:`~.errors.KeyPending` where ``committee`` does not know its threshold key yet."""
    if size_bucket_bytes is None:
        size_bucket_bytes = committee.size_buckets[0]
        if market is not None and market_of(committee, market).dark is not None:
            size_bucket_bytes = dark_bucket_bytes(committee, market)
    valid_from_ms, valid_until_ms = window_ms
    if valid_until_ms - valid_from_ms > VALIDITY_MS_MAX:
        span_ms = valid_until_ms - valid_from_ms
        raise ProtocolError(
            "label.validity", "label.valid_until_ms", span_ms, f"a span of at most {VALIDITY_MS_MAX} ms"
        )
    if size_bucket_bytes not in committee.size_buckets:
        raise ProtocolError(
            "wire.bound", "label.size_bucket", size_bucket_bytes, f"one of {committee.size_buckets}"
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


def dark_bucket_bytes(committee: Committee, market: int) -> int:
    """The smallest size bucket that every order for a dark market fits, whatever it says: so that its size tells the
    market and nothing else. Raises ProtocolError (``market.unknown``) where there is no such dark market."""
    for one, grid in dark_markets(committee.genesis.markets):
        if one.id == market:
            needed = order_bytes(committee.n, committee.f, grid)
            return min(size for size in committee.size_buckets if size >= needed)
    raise ProtocolError("market.unknown", "market", market, "a dark market")


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
    """A checked limit order bound to ``label`` that uses none of the other terms; see :func:`place_order`. For a market
    in the open."""
    terms = limit_terms(market, side, price_ticks, quantity_lots, time_in_force=time_in_force)
    return _open_order(committee, label, terms, account, nonce)


def place_order(
    committee: Committee,
    label: Label,
    terms: OrderTerms,
    *,
    account: bytes,
    nonce: int,
    dark: DarkSealing | None = None,
) -> Order | DarkOrder:
    """A checked order of any kind bound to ``label``. Refuses what execution would refuse, each cause with its code; a
    GTD order's time is judged at the label's start. For a dark market ``dark`` says to which keys it is sealed; one in
    the open makes no use of it."""
    market = market_of(committee, terms.market)
    if market.dark is None or dark is None:
        return _open_order(committee, label, terms, account, nonce)
    from mpc_sequencer.client.dark_orders import dark_order  # computes with numpy, which other markets do without

    bound = label_hash(label.encode())
    return dark_order(committee, market, terms, dark, account=account, nonce=nonce, label_hash=bound)


def _open_order(committee: Committee, label: Label, terms: OrderTerms, account: bytes, nonce: int) -> Order:
    order = terms.order(account, nonce, label_hash(label.encode()))
    check_action(committee, order, label.valid_from_ms)
    return order


def replace_order(
    committee: Committee, label: Label, terms: OrderTerms, *, account: bytes, nonce: int, target_nonce: int
) -> Replace:
    """A checked replacement of the account's order of nonce ``target_nonce``. ``terms.quantity_lots`` is the total,
    what the target has filled included: so nothing is filled twice, however the two meet."""
    bound = label_hash(label.encode())
    _, _, _, *stated = astuple(terms.order(account, nonce, bound))
    action = Replace(account, nonce, bound, target_nonce, *stated)
    check_action(committee, action, label.valid_from_ms)
    return action


def cancel(committee: Committee, label: Label, *, account: bytes, nonce: int, target_nonce: int) -> Cancel:
    """A checked cancellation of the account's action of nonce ``target_nonce``: it ends where it is open, and never
    begins where it has not arrived."""
    action = Cancel(account, nonce, label_hash(label.encode()), target_nonce)
    check_action(committee, action)
    return action


def cancel_all(
    committee: Committee, label: Label, *, account: bytes, nonce: int, market: int = EVERY_MARKET
) -> CancelAll:
    """A checked cancellation of all open orders of the account, in one market or in all."""
    action = CancelAll(account, nonce, label_hash(label.encode()), market)
    check_action(committee, action)
    return action


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
