"""Every kind of order and every cancellation is built, checked like execution would, and sealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.client import AssetUnits, MarketUnits, build, protection_ticks, typed_data
from mpc_sequencer.client.terms import (
    OrderTerms,
    check_action,
    limit_terms,
    market_terms,
    stop_limit_terms,
    stop_terms,
)
from mpc_sequencer.core.actions import (
    BUY,
    CANCEL_BOTH,
    FOK,
    GTC,
    GTD,
    IOC,
    MARKET,
    SELL,
    STOP,
    STOP_LIMIT,
    Action,
    Cancel,
    CancelAll,
    Order,
    Replace,
    SignedAction,
)
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import check_envelope
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.signing import Signer, recover_address
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT

NOW_MS = 1_700_000_000_000
WINDOW_MS = (NOW_MS, NOW_MS + 60_000)
LIMIT_TERMS = limit_terms(0, BUY, 618_000, 100)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ProtocolError) as caught:
        call()
    return caught.value.code


def actions(committee: Committee, trader: Signer) -> list[Action]:
    label = build.make_label(committee, trader.address, WINDOW_MS)
    named = {"account": trader.address, "nonce": 7}
    most = (1 << 48) - 1
    largest = replace_terms(LIMIT_TERMS, price_ticks=most, quantity_lots=most, client_id=(1 << 63) - 1)
    terms = [
        largest,
        limit_terms(0, SELL, 618_000, 100, post_only=True),
        limit_terms(0, SELL, 618_000, 100, time_in_force=GTD, expires_ms=NOW_MS + 1, display_lots=10),
        limit_terms(0, SELL, 618_000, 100, time_in_force=FOK).preventing_self_trade(CANCEL_BOTH),
        market_terms(0, BUY, 630_000, 5),
        stop_terms(0, SELL, 600_000, 590_000, 5, time_in_force=FOK),
        stop_limit_terms(0, SELL, 600_000, 599_000, 5, display_lots=2),
    ]
    made: list[Action] = [build.place_order(committee, label, one, **named) for one in terms]
    made += [build.replace_order(committee, label, one, **named, target_nonce=(1 << 63) - 1) for one in terms]
    return [
        *made,
        build.cancel(committee, label, **named, target_nonce=6),
        build.cancel_all(committee, label, **named),
        build.cancel_all(committee, label, **named, market=0),
        build.withdrawal(committee, label, **named, asset=0, amount_units=5),
    ]


def replace_terms(terms: OrderTerms, **changes: Any) -> OrderTerms:
    return dataclasses.replace(terms, **changes)


def test_every_action_is_sealed_and_a_wallet_signs_the_same_digest(committee: Committee, trader: Signer) -> None:
    label = build.make_label(committee, trader.address, WINDOW_MS)
    made = actions(committee, trader)
    assert {type(one) for one in made} >= {Order, Replace, Cancel, CancelAll}
    for number, action in enumerate(made):
        signed = build.sign_action(committee, action, trader)
        sealed = build.seal_order(committee, label, signed, trader, sigma=number.to_bytes(32, "big"))
        check_envelope(committee, sealed.envelope, NOW_MS)
        assert decode(SignedAction, encode(signed)) == signed
        wallet = Account.from_key(b"\x11" * 32)
        message = encode_typed_data(full_message=typed_data(committee, action))
        signature = bytes(wallet.sign_message(message).signature)
        digest = build.account_digest(committee, action)
        assert recover_address(digest, signature, "signature") == trader.address


BAD: list[tuple[dict[str, Any], str]] = [
    ({"market": 9}, "market.unknown"),
    ({"side": 3}, "order.side"),
    ({"kind": 5}, "order.kind"),
    ({"time_in_force": 5}, "order.time_in_force"),
    ({"kind": MARKET, "time_in_force": GTC}, "order.time_in_force"),
    ({"kind": STOP, "time_in_force": GTD, "expires_ms": NOW_MS + 1}, "order.time_in_force"),
    ({"time_in_force": GTD}, "order.expiry"),
    ({"expires_ms": NOW_MS + 1}, "order.expiry"),
    ({"time_in_force": GTD, "expires_ms": NOW_MS}, "order.expired"),
    ({"post_only": True, "time_in_force": IOC}, "order.post_only"),
    ({"post_only": True, "kind": STOP_LIMIT, "stop_ticks": 5}, "order.post_only"),
    ({"self_trade": 4}, "order.self_trade"),
    ({"price_ticks": 0}, "order.price"),
    ({"price_ticks": 1 << 48}, "order.price"),
    ({"kind": MARKET, "time_in_force": IOC, "price_ticks": 0}, "order.protection"),
    ({"kind": STOP, "time_in_force": IOC, "price_ticks": 0, "stop_ticks": 5}, "order.protection"),
    ({"stop_ticks": 5}, "order.stop_price"),
    ({"kind": STOP_LIMIT}, "order.stop_price"),
    ({"quantity_lots": 0}, "order.quantity"),
    ({"quantity_lots": 9}, "order.quantity_min"),
    ({"quantity_lots": 1_001}, "order.quantity_max"),
    ({"display_lots": 101}, "order.display"),
    ({"display_lots": 9}, "order.display"),
    ({"display_lots": 15, "quantity_lots": 1_000}, "order.display"),
    ({"display_lots": 50, "time_in_force": IOC}, "order.display"),
    ({"client_id": 1 << 63}, "wire.bound"),
]


@pytest.mark.parametrize(("changes", "code"), BAD)
def test_terms_are_refused_by_the_code_of_what_is_wrong(
    committee: Committee, trader: Signer, changes: dict[str, Any], code: str
) -> None:
    sized = replace(BTCUSDT, quantity_min_lots=10, quantity_max_lots=1_000)
    small = Committee(replace(committee.genesis, markets=(sized,)))
    label = build.make_label(small, trader.address, WINDOW_MS)
    named = {"account": trader.address, "nonce": 1}
    build.place_order(small, label, LIMIT_TERMS, **named)
    bad = replace_terms(LIMIT_TERMS, **changes)
    assert refused(lambda: build.place_order(small, label, bad, **named)) == code
    assert refused(lambda: build.replace_order(small, label, bad, **named, target_nonce=2)) == code


def test_no_action_cancels_or_replaces_itself_and_markets_are_known(committee: Committee, trader: Signer) -> None:
    label = build.make_label(committee, trader.address, WINDOW_MS)
    named = {"account": trader.address, "nonce": 1}
    assert refused(lambda: build.cancel(committee, label, **named, target_nonce=1)) == "cancel.target"
    assert refused(lambda: build.cancel(committee, label, **named, target_nonce=-1)) == "wire.bound"
    assert refused(lambda: build.cancel_all(committee, label, **named, market=5)) == "market.unknown"
    assert (
        refused(lambda: build.replace_order(committee, label, LIMIT_TERMS, **named, target_nonce=1)) == "cancel.target"
    )
    gtd = replace_terms(LIMIT_TERMS, time_in_force=GTD, expires_ms=5).order(trader.address, 1, bytes(32))
    check_action(committee, gtd)
    assert refused(lambda: check_action(committee, gtd, 5)) == "order.expired"


UNITS = MarketUnits(replace(BTCUSDT, quantity_min_lots=10, quantity_max_lots=1_000), ASSETS[0], ASSETS[1])


@pytest.mark.parametrize(
    ("quantity", "code"),
    [
        ("0", "order.quantity"),
        ("0.0009", "order.dust"),
        ("0.0105", "order.quantity_lot"),
        ("0.009", "order.quantity_min"),
        ("1.001", "order.quantity_max"),
        ("ten", "order.quantity"),
    ],
)
def test_a_quantity_is_refused_at_the_edge_by_its_own_code(quantity: str, code: str) -> None:
    assert refused(lambda: UNITS.quantity_lots(quantity)) == code
    assert UNITS.quantity_lots("0.01") == 10 and UNITS.quantity_lots(Decimal("1")) == 1_000


def test_a_price_off_the_tick_is_told_from_one_out_of_range() -> None:
    assert refused(lambda: UNITS.price_ticks("61800.35")) == "order.price_tick"
    assert refused(lambda: UNITS.price_ticks("0")) == "order.price"
    assert refused(lambda: UNITS.price_ticks("1" + 20 * "0")) == "order.price"


@given(st.integers(1, 10**9), st.decimals(0, 1, places=4), st.sampled_from((BUY, SELL)))
def test_a_protection_price_is_never_worse_than_the_slippage_allows(
    reference: int, slippage: Decimal, side: int
) -> None:
    exact = Decimal(reference) * (1 + slippage if side == BUY else 1 - slippage)
    if side == SELL and exact == 0:
        assert refused(lambda: protection_ticks(side, reference, slippage)) == "order.protection"
        return
    ticks = protection_ticks(side, reference, slippage)
    assert (ticks <= exact < ticks + 1) if side == BUY else (ticks - 1 < exact <= ticks)


def test_slippage_is_a_plain_part_of_the_price() -> None:
    assert UNITS.protection_price_ticks(BUY, "61800.37", "0.005") == 621_093
    assert UNITS.protection_price_ticks(SELL, "61800.37", "0.005") == 614_914
    for slippage in ("1.1", "-0.1", "1%", "NaN"):
        assert refused(lambda slippage=slippage: protection_ticks(BUY, 100, slippage)) == "order.protection"
    assert refused(lambda: protection_ticks(BUY, (1 << 48) - 1, "0.1")) == "order.protection"
    assert refused(lambda: protection_ticks(3, 1, "0.1")) == "order.side"
    assert AssetUnits(0, "X", 2).units("0.01") == 1
