"""Rows of dark orders: what is encoded, what is refused, and that the linear relations mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from dark_kit import (
    BUY,
    DEPOSIT,
    SELL,
    SIDES,
    CheatingRow,
    bits_of,
    cheating_rows,
    deposit_for,
    honest_row,
    refused,
    small_params,
    well_formed,
)
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.dark.layout import Deposit, Layout, encode_order, linear_checks, linear_targets, prices_ticks
from mpc_sequencer.dark.params import PRIME, DarkParams

PARAMS = small_params()
LAYOUT = Layout.of(PARAMS)


def relations_hold(row: object, deposit: Deposit) -> bool:
    left = np.asarray(row) @ linear_checks(PARAMS) % PRIME
    return bool(np.all(left == linear_targets([deposit])[0]))


def bits_and_entries_hold(row: object) -> bool:
    values = np.asarray(row)
    return sum(1 for one in values[LAYOUT.entries] if one) <= 1 and all(one in (0, 1) for one in values[LAYOUT.bits])


def test_every_column_has_one_meaning() -> None:
    parts = (LAYOUT.buy, LAYOUT.sell, LAYOUT.quantity, LAYOUT.quote_slack, LAYOUT.base_slack)
    columns = [column for part in parts for column in range(LAYOUT.columns)[part]]
    assert [*columns, LAYOUT.mask] == list(range(LAYOUT.columns))
    assert LAYOUT.columns == 2 * PARAMS.ticks + PARAMS.quantity_bits + PARAMS.slack_bits + 1
    assert (LAYOUT.bits.start, LAYOUT.bits.stop) == (LAYOUT.quantity.start, LAYOUT.mask)
    assert prices_ticks(PARAMS).tolist() == [100, 105, 110, 115, 120, 125, 130, 135]


@given(
    side=st.sampled_from(SIDES),
    column=st.integers(0, PARAMS.ticks - 1),
    quantity=st.integers(0, 63),
    quote=st.integers(0, LAYOUT.quote_tick_lots_max),
    base=st.integers(0, LAYOUT.quantity_lots_max),
    mask=st.integers(0, PRIME - 1),
)
def test_a_funded_order_is_well_formed_and_an_unfunded_one_is_refused(
    side: int, column: int, quantity: int, quote: int, base: int, mask: int
) -> None:
    price, deposit = 100 + 5 * column, Deposit(quote, base)
    if (price * quantity > quote) if side == BUY else (quantity > base):
        with refused("dark.unfunded"):
            encode_order(PARAMS, side, price, quantity, deposit, mask)
        return
    row = encode_order(PARAMS, side, price, quantity, deposit, mask)
    assert row.shape == (LAYOUT.columns,)
    assert row[column if side == BUY else PARAMS.ticks + column] == quantity
    assert row[LAYOUT.mask] == mask
    assert well_formed(PARAMS, row, deposit)
    assert relations_hold(row, deposit) and bits_and_entries_hold(row)


@given(st.data())
def test_a_row_with_one_column_changed_is_well_formed_no_more(data: st.DataObject) -> None:
    row = honest_row(PARAMS, data.draw(st.sampled_from(SIDES)))
    column = data.draw(st.integers(0, LAYOUT.mask - 1))
    row[column] = (row[column] + data.draw(st.integers(1, PRIME - 1))) % PRIME
    assert not (relations_hold(row, deposit_for(PARAMS)) and bits_and_entries_hold(row))


@pytest.mark.parametrize("case", cheating_rows(PARAMS), ids=lambda case: case.name)
def test_a_cheating_row_breaks_a_rule(case: CheatingRow) -> None:
    assert not well_formed(PARAMS, case.row, case.deposit)
    assert not (relations_hold(case.row, case.deposit) and bits_and_entries_hold(case.row))


def test_the_cheating_rows_break_each_rule_alone() -> None:
    """Some break nothing but a relation, some nothing but the bits, some nothing but the count of entries."""
    cases = cheating_rows(PARAMS)
    alone = {
        (relations_hold(case.row, case.deposit), bits_and_entries_hold(case.row)) for case in cases
    }
    assert alone >= {(True, False), (False, True)}
    by_name = {case.name: case for case in cases}
    for name, relation in (("an unfunded sell", 2), ("an unfunded buy", 1), ("a quantity that its bits deny", 0)):
        case = by_name[name]
        left = (case.row @ linear_checks(PARAMS) - linear_targets([case.deposit])[0]) % PRIME
        assert [index for index, value in enumerate(left) if value] == [relation], name


def test_a_deposit_of_quote_does_not_pay_for_what_is_sold() -> None:
    with refused("dark.unfunded"):
        encode_order(PARAMS, SELL, 100, 5, Deposit(9_000, 4), 0)
    with refused("dark.unfunded"):
        encode_order(PARAMS, BUY, 100, 5, Deposit(499, 40), 0)
    assert encode_order(PARAMS, BUY, 100, 5, Deposit(500, 0), 0)[0] == 5


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("order.side", {"side": 0}),
        ("order.side", {"side": 3}),
        ("order.price", {"price_ticks": 99}),
        ("order.price", {"price_ticks": 140}),
        ("order.price_tick", {"price_ticks": 104}),
        ("order.quantity", {"quantity_lots": 64}),
        ("order.quantity", {"quantity_lots": -1}),
        ("dark.deposit", {"deposit": Deposit(1 << 14, 0)}),
        ("dark.deposit", {"deposit": Deposit(0, 64)}),
        ("dark.deposit", {"deposit": Deposit(-1, 0)}),
        ("dark.unfunded", {"deposit": Deposit(699, 40)}),
    ],
)
def test_an_order_that_the_committee_would_reject_is_refused(code: str, changed: dict[str, object]) -> None:
    values: dict[str, object] = {
        "side": BUY, "price_ticks": 100, "quantity_lots": 7, "deposit": DEPOSIT, "mask": 5, **changed
    }  # fmt: skip
    with refused(code):
        encode_order(PARAMS, **values)  # type: ignore[arg-type]


def test_the_largest_values_fit() -> None:
    deposit = Deposit(LAYOUT.quote_tick_lots_max, LAYOUT.quantity_lots_max)
    row = encode_order(PARAMS, SELL, 135, LAYOUT.quantity_lots_max, deposit, PRIME - 1)
    assert row[LAYOUT.quantity].tolist() == [1] * 6
    assert row[LAYOUT.quote_slack].tolist() == bits_of(LAYOUT.quote_tick_lots_max, LAYOUT.quote_slack_bits)
    assert well_formed(PARAMS, row, deposit)


def test_a_slack_without_room_for_the_base_deposit_is_no_market() -> None:
    params = DarkParams(
        parties=5, faults_t=1, ticks=8, quantity_bits=6, slack_bits=6, orders_max=8, price_first_ticks=1
    )
    with pytest.raises(ValueError, match="slack_bits is 6"):
        Layout.of(params)
