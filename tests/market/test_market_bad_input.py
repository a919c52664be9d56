"""Bad input, each by name: refused with its own code, or by an error to the caller, and nothing else changes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from mpc_sequencer.market import Engine
from tests.market import desk


def refused(made: Engine, action, code: str) -> None:
    """The action gets ``code``; but for its nonce the state is as it was."""
    twin = Engine.load(made.dump())
    result = desk.run(made, 50, [action])
    assert [one.code for one in result.outcomes] == [code]
    assert (result.fills, result.updates, result.deltas, result.clearing) == ((), (), (), ())
    if code not in ("nonce_consumed", "nonce_too_high"):
        desk.run(twin, 50, [desk.cancel_all(0, action.nonce, 7)])  # uses the nonce and nothing else
    assert made.dump() == twin.dump()


def test_overflow_of_a_lock_is_a_balance_refusal():
    refused(desk.engine(), desk.buy(0, 1, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX), "balance")
    spot = replace(desk.SPOT, base_units_per_lot=2**63 - 1, quote_units_per_tick_lot=2**63 - 1, taker_fee_ppm=100_000)
    made = desk.engine([spot, desk.CROSS], amount=2**110)
    refused(made, desk.buy(0, 1, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX), "balance")
    refused(made, desk.sell(0, 2, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX), "balance")


def test_a_lock_above_the_bound_of_amounts_is_refused_even_where_it_is_covered():
    spot = replace(desk.SPOT, base_units_per_lot=2**63 - 1)
    made = desk.engine([spot, desk.CROSS], amount=0)
    made.credit(desk.ACCOUNTS[0], desk.BASE, AMOUNT_MAX)
    assert AMOUNT_MAX >= 2**48 * (2**63 - 1)
    assert desk.codes(desk.run(made, 1, [desk.sell(0, 1, 1, QUANTITY_LOTS_MAX)]))[desk.order_id((1, 0))] == "resting"


def test_dust_below_the_markets_least_quantity():
    made = desk.engine([replace(desk.SPOT, quantity_min_lots=5), desk.CROSS])
    refused(made, desk.buy(0, 1, 10, 4), "quantity")
    refused(made, desk.buy(0, 2, 10, 9, display_lots=4), "display")


def test_zero_and_huge_quantities():
    made = desk.engine([replace(desk.SPOT, quantity_max_lots=100), desk.CROSS])
    for nonce, lots in enumerate((0, 101, QUANTITY_LOTS_MAX + 1, 2**63 - 1), 1):
        refused(made, desk.buy(0, nonce, 10, lots), "quantity")


def test_an_unknown_market_or_asset():
    refused(desk.engine(), replace(desk.buy(0, 1, 10, 1), market=8), "market")
    refused(desk.engine(), desk.withdrawal(0, 1, 9, 1), "asset")
    refused(desk.engine(), desk.cancel_all(0, 1, 8), "market")
    refused(desk.engine(), desk.replacement(2, replace(desk.buy(0, 1, 10, 1), market=8)), "market")
    with pytest.raises(ValueError, match="no credit of asset 9"):
        desk.engine().credit(desk.ACCOUNTS[0], 9, 1)


def test_a_price_off_the_ticks_of_the_market():
    """Prices are whole ticks on the wire; below one and above the bound there are none."""
    for nonce, price in enumerate((0, PRICE_TICKS_MAX + 1, 2**63 - 1), 1):
        refused(desk.engine(), desk.buy(0, nonce, price, 1), "price")


def test_a_replayed_nonce():
    made = desk.engine()
    desk.run(made, 1, [desk.buy(0, 7, 10, 1)])
    for action in (desk.buy(0, 7, 11, 2), desk.cancel(0, 7, 7), desk.cancel_all(0, 7), desk.withdrawal(0, 7, 1, 1)):
        refused(made, action, "nonce_consumed")
    refused(made, desk.buy(0, 8 + 2**20, 11, 2), "nonce_too_high")


def test_a_cancel_of_anothers_order_touches_only_the_senders_nonce():
    made = desk.engine()
    desk.run(made, 1, [desk.buy(1, 1, 10, 1)])
    held = made.open_orders(desk.ACCOUNTS[1])
    desk.run(made, 2, [desk.cancel(0, 2, 1), desk.replacement(1, desk.buy(2, 2, 10, 1))])
    assert made.open_orders(desk.ACCOUNTS[1]) == held


@pytest.mark.parametrize(
    "misuse",
    [
        {"height": -1}, {"height": 2**63}, {"time_ms": -1}, {"time_ms": 2**63}, {"coin": b""}, {"twice": True},
        {"short": True},
    ],
)  # fmt: skip
def test_a_callers_misuse_raises_and_changes_nothing(misuse):
    made = desk.engine()
    before = made.dump()
    batch = [desk.prepared("a", desk.buy(0, 1, 10, 1))] * (2 if misuse.get("twice") else 1)
    if misuse.get("short"):
        batch = [type(batch[0])(b"short", batch[0].action, None)]
    height, time_ms = misuse.get("height", 1), misuse.get("time_ms", desk.TIME_MS)
    with pytest.raises(ValueError, match=r"height|twice|32 bytes"):
        made.execute(height, time_ms, misuse.get("coin", desk.COIN), batch)
    assert made.dump() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"maker_fee_ppm": 100_001}, "maker_fee_ppm"),
        ({"taker_fee_ppm": -1}, "taker_fee_ppm"),
        ({"quantity_min_lots": 0}, "quantity_min_lots"),
        ({"quantity_min_lots": 9, "quantity_max_lots": 8}, "no quantity"),
    ],
)
def test_markets_with_terms_out_of_bounds_make_no_engine(change, says):
    with pytest.raises(ValueError, match=says):
        desk.engine([replace(desk.SPOT, **change)])


def test_fees_for_nobody_make_no_engine():
    with pytest.raises(ValueError, match="no account gets them"):
        desk.engine([replace(desk.SPOT, maker_fee_ppm=1)], fee_account=bytes(20))
    with pytest.raises(ValueError, match="19 bytes"):
        desk.engine(fee_account=bytes(19))
