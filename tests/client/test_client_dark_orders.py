"""Orders for a dark market: sealed to the members' keys, of one size, refused before they are sent, sent again as they
are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dark_trading_kit import GRID, dark_deployment, own_keys, row_of, sealing
from msgspec.structs import replace

from mpc_sequencer.client import OrderTracker, build, limit_terms, typed_data
from mpc_sequencer.client.build import SealedOrder, dark_bucket_bytes
from mpc_sequencer.client.dark_orders import DarkSealing
from mpc_sequencer.client.dark_terms import DepositRule, Deposits, price_last_ticks
from mpc_sequencer.client.desk import OrderDesk
from mpc_sequencer.client.inspection import inspect_envelope
from mpc_sequencer.client.terms import OrderTerms, check_action
from mpc_sequencer.core import eip712
from mpc_sequencer.core.actions import BUY, FOK, SELL, Action, DarkOrder, label_hash
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import ExecutedRow
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.orders import params_of
from mpc_sequencer.sim.deployment import DARK_MARKET

COMMITTEE = dark_deployment().committee
SIGNER = dark_deployment().traders[0].signer
NOW_MS = 1_700_000_000_000
assert GRID is not None
PRICE = GRID.price_first_ticks + 3 * GRID.price_step_ticks
TERMS = limit_terms(DARK_MARKET.id, BUY, PRICE, 5)
LAYOUT = Layout.of(params_of(GRID, COMMITTEE.n, COMMITTEE.f))


def seal(
    terms: OrderTerms = TERMS, dark: DarkSealing | None = None, nonce: int = 1, now_ms: int = NOW_MS
) -> SealedOrder:
    label = build.make_label(COMMITTEE, SIGNER.address, (now_ms, now_ms + 60_000), market=terms.market)
    dark = sealing(COMMITTEE) if dark is None else dark
    action = build.place_order(COMMITTEE, label, terms, account=SIGNER.address, nonce=nonce, dark=dark)
    signed = build.sign_action(COMMITTEE, action, SIGNER)
    return build.seal_order(COMMITTEE, label, signed, SIGNER, sigma=now_ms.to_bytes(32, "big"))


def action_of(sealed: SealedOrder) -> DarkOrder:
    assert isinstance(sealed.signed.action, DarkOrder)
    return sealed.signed.action


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(ProtocolError) as caught:
        call()
    assert caught.value.code == code


@pytest.mark.parametrize("side", [BUY, SELL])
def test_members_hold_shares_of_the_order_and_the_action_tells_its_deposits_alone(side: int) -> None:
    sealed = seal(replace_side(side))
    action = action_of(sealed)
    row = row_of(COMMITTEE, action, own_keys(COMMITTEE))
    half = LAYOUT.buy if side == BUY else LAYOUT.sell
    assert [int(one) for one in row[half]] == [0, 0, 0, 5, 0, 0, 0, 0]
    assert sum(int(one) for one in row[LAYOUT.entries]) == 5
    assert (action.quote_tick_lots, action.base_lots) == (8 * price_last_ticks(GRID), 8)
    assert action.keys == own_keys(COMMITTEE).id and len(action.boxes) == COMMITTEE.n
    envelope = inspect_envelope(COMMITTEE, encode(sealed.envelope), NOW_MS)
    assert envelope.valid, envelope.first_refusal


def replace_side(side: int) -> OrderTerms:
    return limit_terms(DARK_MARKET.id, side, PRICE, 5)


def test_all_orders_of_a_market_are_of_one_size() -> None:
    one = seal(limit_terms(DARK_MARKET.id, BUY, PRICE, 1), nonce=1).envelope
    other = seal(limit_terms(DARK_MARKET.id, SELL, PRICE + 10, 15), nonce=1 << 60).envelope
    assert len(one.ciphertext) == len(other.ciphertext)
    assert one.decoded_label().size_bucket == dark_bucket_bytes(COMMITTEE, DARK_MARKET.id) > 256
    assert build.make_label(COMMITTEE, SIGNER.address, (1, 2), market=0).size_bucket == 256


def test_a_member_without_a_key_gets_an_empty_box() -> None:
    keys = own_keys(COMMITTEE, without=(4,))
    action = action_of(seal(dark=DarkSealing(keys, bytes(32))))
    assert not action.boxes[4] and all(action.boxes[:4])
    assert int(row_of(COMMITTEE, action, keys, (1, 2))[LAYOUT.buy][3]) == 5


@pytest.mark.parametrize(
    ("terms", "dark", "code"),
    [
        (limit_terms(DARK_MARKET.id, BUY, PRICE + 1, 5), sealing(COMMITTEE), "order.price_tick"),
        (limit_terms(DARK_MARKET.id, BUY, PRICE, 16), sealing(COMMITTEE), "order.quantity_max"),
        (limit_terms(DARK_MARKET.id, BUY, PRICE, 5, time_in_force=FOK), sealing(COMMITTEE), "order.time_in_force"),
        (TERMS, sealing(COMMITTEE, deposits=Deposits(1, 5)), "dark.unfunded"),
        (TERMS, sealing(COMMITTEE, deposits=Deposits(1 << 50, 5)), "dark.deposit"),
    ],
)
def test_what_the_members_would_reject_is_refused_before_it_is_sealed(
    terms: OrderTerms, dark: DarkSealing, code: str
) -> None:
    refused(code, lambda: seal(terms, dark))


def test_an_order_in_the_open_for_a_dark_market_is_refused() -> None:
    label = build.make_label(COMMITTEE, SIGNER.address, (1, 2))
    account = SIGNER.address
    refused("market.dark", lambda: build.place_order(COMMITTEE, label, TERMS, account=account, nonce=1))
    refused(
        "market.dark",
        lambda: build.replace_order(COMMITTEE, label, TERMS, account=account, nonce=2, target_nonce=1),
    )
    open_terms = limit_terms(0, BUY, 618_000, 1)
    made = build.place_order(COMMITTEE, label, open_terms, account=account, nonce=1, dark=sealing(COMMITTEE))
    assert not isinstance(made, DarkOrder), "a market in the open makes no use of keys"


def test_a_dark_order_for_a_market_in_the_open_or_with_wrong_boxes_is_refused() -> None:
    action = action_of(seal())
    refused("market.dark", lambda: check_action(COMMITTEE, replace(action, market=0)))
    refused("dark.boxes", lambda: check_action(COMMITTEE, replace(action, boxes=action.boxes[:4])))
    refused("dark.boxes", lambda: check_action(COMMITTEE, replace(action, boxes=(b"x", *action.boxes[1:]))))
    refused("dark.deposit", lambda: check_action(COMMITTEE, replace(action, base_lots=16)))


def test_keys_of_another_epoch_are_refused() -> None:
    keys = own_keys(COMMITTEE)
    old = replace(keys.agreed, topic=bytes(32))
    stale = DarkSealing(type(keys)(old, old.id, 0, 1), bytes(32))
    refused("dark.keys", lambda: seal(dark=stale))


def test_orders_of_one_seed_share_no_box() -> None:
    one = action_of(seal(dark=sealing(COMMITTEE, 5)))
    other = action_of(seal(limit_terms(DARK_MARKET.id, BUY, PRICE, 6), sealing(COMMITTEE, 5)))
    assert not set(one.boxes) & set(other.boxes)


def test_a_wallet_signs_what_the_members_check() -> None:
    action = action_of(seal())
    document = typed_data(COMMITTEE, action)
    assert document["primaryType"] == "DarkOrder" and set(document["message"]) == {
        *("account", "nonce", "labelHash", "market", "keys", "quoteTickLots", "baseLots", "boxesHash"),
    }
    assert document["message"]["boxesHash"] == "0x" + action.boxes_hash().hex()
    assert build.account_digest(COMMITTEE, action) == eip712.digest(COMMITTEE.separator, action.struct_hash())
    other = replace(action, boxes=(action.boxes[1], action.boxes[0], *action.boxes[2:]))
    assert build.account_digest(COMMITTEE, other) != build.account_digest(COMMITTEE, action)


# --- its life -------------------------------------------------------------------------------------------------------
def report(sealed: SealedOrder, code: str, lots: int = 0, price_ticks: int = 0) -> list[ExecutedRow]:
    notional = (lots * price_ticks).to_bytes(16, "big")
    return [ExecutedRow(sealed.order_id, code, lots, price_ticks, notional)]


def placed() -> tuple[OrderDesk, OrderTracker, SealedOrder]:
    tracker = OrderTracker(COMMITTEE.f)
    desk, sealed = OrderDesk(SIGNER.address, tracker), seal()
    desk.place(sealed)
    tracker.add(sealed.order_id, sealed.envelope, range(5), 0)
    return desk, tracker, sealed


def test_an_order_waits_in_the_dark_until_f_plus_one_members_report_its_end() -> None:
    desk, tracker, sealed = placed()
    for node in range(2):
        tracker.executed(node, 4, report(sealed, "dark"), 5)
    view = desk.view(1)
    assert (view.code, view.end, view.open, view.filled_lots) == ("dark", None, True, 0)
    assert tracker.open == {sealed.order_id: tracker.orders[sealed.order_id]} and desk.open() == [view]
    refused("order.unended", lambda: desk.forget(1))
    tracker.filled(0, 9, report(sealed, "filled", 3, PRICE), 7)
    tracker.filled(0, 9, report(sealed, "filled", 3, PRICE), 7)
    assert desk.view(1).open, "one member's word, however often"
    tracker.filled(1, 9, report(sealed, "filled", 3, PRICE), 8)
    view = desk.view(1)
    assert (view.end, view.open, view.filled_lots, view.notional_tick_lots) == ("filled", False, 3, 3 * PRICE)
    assert not tracker.open and tracker.orders[sealed.order_id].ended_ns == 8
    desk.forget(1)


@pytest.mark.parametrize("code", ["unfilled", "dark_bad", "dark_rejected", "dark_aborted", "dark_epoch"])
def test_every_end_of_a_dark_order_ends_it(code: str) -> None:
    desk, tracker, sealed = placed()
    for node in range(2):
        tracker.executed(node, 4, report(sealed, "dark"), 5)
        tracker.filled(node, 9, report(sealed, code), 7)
    assert desk.view(1).end == code and not desk.view(1).open


def test_an_order_that_was_refused_at_entry_has_ended() -> None:
    desk, tracker, sealed = placed()
    for node in range(2):
        tracker.executed(node, 4, report(sealed, "dark_keys"), 5)
    assert desk.view(1).end == "dark_keys" and not tracker.open
    assert tracker.orders[sealed.order_id].ended_ns == 5


def test_an_order_is_sent_again_in_the_same_boxes_under_a_new_label() -> None:
    desk, _, sealed = placed()

    def reseal(action: Action) -> SealedOrder:
        later = NOW_MS + 90_000
        label = build.make_label(COMMITTEE, SIGNER.address, (later, later + 60_000), market=DARK_MARKET.id)
        bound = replace(action, label_hash=label_hash(label.encode()))
        signed = build.sign_action(COMMITTEE, bound, SIGNER)
        return build.seal_order(COMMITTEE, label, signed, SIGNER, sigma=bytes(31) + b"\x09")

    assert desk.again(1, NOW_MS + 1, reseal) is sealed
    again = desk.again(1, NOW_MS + 70_000, reseal)
    assert again.order_id != sealed.order_id and action_of(again).boxes == action_of(sealed).boxes
    other = seal(dark=sealing(COMMITTEE, 2), now_ms=NOW_MS + 200_000)
    refused("order.resealed", lambda: desk.again(1, NOW_MS + 190_000, lambda _: other))


def test_the_default_hides_the_side() -> None:
    assert sealing(COMMITTEE).deposits is DepositRule.HIDE
