"""Building and sealing: what leaves the client passes every check of a member, and nothing bad is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from mpc_sequencer.client import build, parse_wallet_signature, typed_data
from mpc_sequencer.core.actions import SELL, Action, Order, SignedAction, with_account_signature
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import check_envelope
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import PRICE_TICKS_MAX, VALIDITY_MS_MAX
from mpc_sequencer.core.signing import Signer, recover_address
from threshold import ThresholdError

NOW_MS = 1_700_000_000_000


@contextmanager
def refused(code: str) -> Iterator[None]:
    """The block must raise a refusal with exactly this code."""
    with pytest.raises((ProtocolError, ThresholdError)) as caught:
        yield
    assert getattr(caught.value, "code", None) == code


WINDOW_MS = (NOW_MS, NOW_MS + 60_000)


def order(committee: Committee, trader: Signer, **changes: Any) -> Order:
    label = build.make_label(committee, trader.address, WINDOW_MS)
    terms: dict[str, Any] = {
        "account": trader.address,
        "nonce": 1,
        "market": 0,
        "side": SELL,
        "time_in_force": 2,
        "price_ticks": 618_000,
        "quantity_lots": 3,
    }
    return build.limit_order(committee, label, **(terms | changes))


def test_a_sealed_order_passes_every_check_of_a_member(make_order: Any, committee: Committee) -> None:
    sealed = make_order()
    checked = check_envelope(committee, sealed.envelope, NOW_MS)
    assert checked.order_id == sealed.order_id == sealed.envelope.order_id()
    assert decode(SignedAction, encode(sealed.signed)) == sealed.signed


def test_a_sealed_order_does_not_show_its_contents(make_order: Any) -> None:
    sealed = make_order()
    assert "618000" not in repr(sealed)
    assert sealed.sigma.hex() not in repr(sealed)
    assert str(sealed.sigma) not in repr(sealed)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"market": 1}, "market.unknown"),
        ({"side": 3}, "order.side"),
        ({"time_in_force": 0}, "order.time_in_force"),
        ({"price_ticks": 0}, "order.price"),
        ({"price_ticks": PRICE_TICKS_MAX + 1}, "order.price"),
        ({"quantity_lots": 0}, "order.quantity"),
        ({"nonce": -1}, "wire.bound"),
        ({"nonce": 1 << 63}, "wire.bound"),
        ({"account": b"\0" * 19}, "wire.bound"),
    ],
)
def test_terms_that_execution_would_refuse_are_refused_first(
    committee: Committee, trader: Signer, changes: dict[str, Any], code: str
) -> None:
    with refused(code):
        order(committee, trader, **changes)


@pytest.mark.parametrize(
    ("asset", "units", "code"),
    [(2, 1, "asset.unknown"), (0, 0, "withdrawal.amount"), (0, 1 << 127, "withdrawal.amount")],
)
def test_a_bad_withdrawal_is_refused(
    committee: Committee, trader: Signer, asset: int, units: int, code: str
) -> None:
    label = build.make_label(committee, trader.address, WINDOW_MS)
    with refused(code):
        build.withdrawal(committee, label, account=trader.address, nonce=1, asset=asset, amount_units=units)


def test_windows_longer_than_allowed_are_refused(committee: Committee, trader: Signer) -> None:
    assert build.validity_window(5, VALIDITY_MS_MAX) == (5, 5 + VALIDITY_MS_MAX)
    for lifetime_ms in (0, -1, VALIDITY_MS_MAX + 1):
        with refused("label.validity"):
            build.validity_window(5, lifetime_ms)
    with refused("label.validity"):
        build.make_label(committee, trader.address, (0, VALIDITY_MS_MAX + 1))
    with refused("wire.bound"):
        build.make_label(committee, trader.address, WINDOW_MS, 257)


def test_an_action_is_not_sealed_under_another_label(committee: Committee, trader: Signer) -> None:
    signed = build.sign_action(committee, order(committee, trader), trader)
    other = build.make_label(committee, trader.address, (NOW_MS, NOW_MS + 60_001))
    with refused("action.label"):
        build.seal_order(committee, other, signed, trader, sigma=bytes(32))


def test_an_action_is_not_sealed_with_a_signature_that_is_not_its_accounts(
    committee: Committee, trader: Signer
) -> None:
    stranger = Signer(b"\x12" * 32)
    action = order(committee, trader)
    with refused("action.account_signature"):
        build.sign_action(committee, action, stranger)
    forged = with_account_signature(action, stranger.sign_digest(build.account_digest(committee, action)))
    label = build.make_label(committee, trader.address, WINDOW_MS)
    with refused("signature.signer"):
        build.seal_order(committee, label, forged, trader, sigma=bytes(32))


def test_only_the_labels_sponsor_signs_for_it(committee: Committee, trader: Signer) -> None:
    signed = build.sign_action(committee, order(committee, trader), trader)
    label = build.make_label(committee, trader.address, WINDOW_MS)
    with refused("sponsor.signature"):
        build.seal_order(committee, label, signed, Signer(b"\x12" * 32), sigma=bytes(32))


def test_another_sponsor_may_pay(committee: Committee, trader: Signer) -> None:
    sponsor = Signer(b"\x13" * 32)
    label = build.make_label(committee, sponsor.address, WINDOW_MS)
    action = build.withdrawal(
        committee, label, account=trader.address, nonce=1, asset=1, amount_units=(1 << 127) - 1
    )
    sealed = build.seal_order(
        committee, label, build.sign_action(committee, action, trader), sponsor, sigma=bytes(32)
    )
    check_envelope(committee, sealed.envelope, NOW_MS)
    assert sealed.envelope.decoded_label().sponsor == sponsor.address


def test_an_ordinary_wallet_signs_the_same_digest(committee: Committee, trader: Signer) -> None:
    label = build.make_label(committee, trader.address, WINDOW_MS)
    actions: list[Action] = [
        order(committee, trader),
        build.withdrawal(committee, label, account=trader.address, nonce=9, asset=1, amount_units=10**30),
    ]
    for action in actions:
        document = typed_data(committee, action)
        wallet = Account.from_key(b"\x11" * 32)
        signature = wallet.sign_message(encode_typed_data(full_message=document)).signature
        parsed = parse_wallet_signature("0x" + bytes(signature).hex())
        digest = build.account_digest(committee, action)
        assert recover_address(digest, parsed, "signature") == trader.address
        sealed = build.seal_order(
            committee, label, with_account_signature(action, parsed), trader, sigma=bytes(32)
        )
        check_envelope(committee, sealed.envelope, NOW_MS)


def test_a_wallets_signature_with_recovery_id_zero_or_one_is_read(
    committee: Committee, trader: Signer
) -> None:
    signature = trader.sign_digest(b"\x07" * 32)
    old_style = signature[:64] + bytes((signature[64] - 27,))
    assert parse_wallet_signature(old_style.hex()) == signature
    for bad in ("", "0xzz", signature.hex()[2:], signature.hex() + "00", "00" * 64 + "1d"):
        with refused("signature.encoding"):
            parse_wallet_signature(bad)


def test_changing_any_field_changes_what_the_account_signs(committee: Committee, trader: Signer) -> None:
    action = order(committee, trader)
    digests = {build.account_digest(committee, action)}
    for name in ("nonce", "market", "side", "time_in_force", "price_ticks", "quantity_lots"):
        changed = msgspec.structs.replace(action, **{name: getattr(action, name) + 1})
        digests.add(build.account_digest(committee, changed))
    digests.add(build.account_digest(committee, msgspec.structs.replace(action, label_hash=bytes(32))))
    assert len(digests) == 8
