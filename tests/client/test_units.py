"""Decimal prices and quantities: exact, never rounded, refused with the code of the rule they break."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.client import AssetUnits, MarketUnits
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT

UNITS = MarketUnits(BTCUSDT, ASSETS[0], ASSETS[1])


def test_the_sizes_of_btcusdt_are_a_tenth_of_a_dollar_and_a_thousandth_of_a_bitcoin() -> None:
    assert str(UNITS.tick_size) == "1/10"
    assert str(UNITS.lot_size) == "1/1000"
    assert UNITS.price_ticks("61800.3") == 618_003
    assert UNITS.quantity_lots(Decimal("2.507")) == 2_507


@given(st.integers(1, PRICE_TICKS_MAX))
def test_every_price_is_shown_and_read_back(price_ticks: int) -> None:
    assert UNITS.price_ticks(UNITS.show_price(price_ticks)) == price_ticks


@given(st.integers(1, QUANTITY_LOTS_MAX))
def test_every_quantity_is_shown_and_read_back(quantity_lots: int) -> None:
    assert UNITS.quantity_lots(UNITS.show_quantity(quantity_lots)) == quantity_lots


@given(st.integers(1, AMOUNT_MAX), st.integers(0, 36))
def test_every_amount_is_shown_and_read_back(units: int, decimals: int) -> None:
    asset = AssetUnits(7, "X", decimals)
    assert asset.units(asset.show(units)) == units


@given(st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False, places=4))
def test_a_price_is_taken_exactly_or_refused(price: Decimal) -> None:
    on_tick = price * 10 == int(price * 10) and price > 0
    if on_tick:
        assert UNITS.price_ticks(price) == int(price * 10)
    else:
        with pytest.raises(ProtocolError) as refusal:
            UNITS.price_ticks(price)
        assert refusal.value.code == ("order.price_tick" if price else "order.price")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "+1",
        "-1",
        "1e3",
        "0x10",
        "nan",
        "inf",
        "1.",
        ".5",
        "1,000",
        "1_000",
        "\u0661",
        "0",
        "0.0",
        "9" * 97,
    ],
)
def test_what_is_no_plain_positive_number_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        UNITS.quantity_lots(text)
    assert refusal.value.code == "order.quantity"


@pytest.mark.parametrize(
    "value", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999999999999"), Decimal("1e-999999999999999")]
)
def test_a_decimal_that_would_fill_the_memory_is_refused(value: Decimal) -> None:
    with pytest.raises(ProtocolError) as refusal:
        UNITS.price_ticks(value)
    assert refusal.value.code == "order.price"


def test_a_price_above_the_largest_is_refused_and_the_largest_taken() -> None:
    assert UNITS.price_ticks(UNITS.show_price(PRICE_TICKS_MAX)) == PRICE_TICKS_MAX
    with pytest.raises(ProtocolError):
        UNITS.price_ticks(UNITS.show_price(PRICE_TICKS_MAX + 1))


@pytest.mark.parametrize("value", [1.5, True, None])
def test_floats_are_a_misuse(value: object) -> None:
    with pytest.raises(TypeError):
        UNITS.price_ticks(value)  # type: ignore[arg-type]


def test_an_amount_below_a_base_unit_is_refused() -> None:
    with pytest.raises(ProtocolError) as refusal:
        ASSETS[1].units("0.0000001")
    assert refusal.value.code == "withdrawal.amount"
    assert "0.000001" in refusal.value.expected
