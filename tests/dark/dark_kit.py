"""What the tests of dark orders share: a small market, and the rows that cheating traders share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.params import PRIME, DarkParams

SIDES = (BUY, SELL)
DEPOSIT = Deposit(quote_tick_lots=9_000, base_lots=40)


def small_params(parties: int = 5, faults_t: int = 1, orders_max: int = 64) -> DarkParams:
    return DarkParams(
        parties=parties,
        faults_t=faults_t,
        ticks=8,
        quantity_bits=6,
        slack_bits=20,
        orders_max=orders_max,
        price_first_ticks=100,
        price_step_ticks=5,
        demonstration=parties < 4 * faults_t + 1,
    )


def secret(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(ProtocolError) as caught:
        yield
    assert caught.value.code == code, caught.value


# --- rows -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class CheatingRow:
    """A row that no honest trader shares, and the deposit it stands under."""

    name: str
    row: Elements
    deposit: Deposit


def honest_row(params: DarkParams, side: int = BUY, quantity_lots: int = 5, mask: int = 77) -> Elements:
    price_ticks = params.price_first_ticks + params.price_step_ticks
    return encode_order(params, side, price_ticks, quantity_lots, deposit_for(params), mask)


def deposit_for(params: DarkParams) -> Deposit:
    """A deposit that covers small orders on both sides, within the bounds of any parameters."""
    layout = Layout.of(params)
    return Deposit(min(layout.quote_tick_lots_max, 6 * params.price_last_ticks), layout.quantity_lots_max)


def bits_of(value: int, count: int) -> list[int]:
    return [value >> bit & 1 for bit in range(count)]


def cheating_rows(params: DarkParams) -> list[CheatingRow]:
    """One row for each way to cheat. Needs a market that takes 5 lots (``quantity_bits`` 3 or more) and covers them."""
    layout, covered = Layout.of(params), deposit_for(params)
    first = params.price_first_ticks
    cases: list[CheatingRow] = []

    def add(name: str, row: Elements, deposit: Deposit = covered) -> None:
        cases.append(CheatingRow(name, row, deposit))

    def funded(entry: dict[int, int], quantity: int, quote: int, base: int) -> Elements:
        """A row with the entries given and all bits set to fit: only what the name says is wrong with it."""
        row = np.zeros(layout.columns, dtype=np.object_)
        for column, value in entry.items():
            row[column] = value % PRIME
        row[layout.quantity] = bits_of(quantity, layout.quantity_bits)
        row[layout.quote_slack] = bits_of(quote, layout.quote_slack_bits)
        row[layout.base_slack] = bits_of(base, layout.quantity_bits)
        row[layout.mask] = 99
        return row

    second, last = first + params.price_step_ticks, layout.ticks - 1
    quote, base = covered.quote_tick_lots, covered.base_lots
    add("two ticks", funded({0: 2, 1: 3}, 5, quote - 2 * first - 3 * second, base))
    add("both sides", funded({0: 2, layout.ticks: 3}, 5, quote - 2 * first, base - 3))
    add("two that cancel", funded({0: 5, last: -5, 1: 1}, 1, quote, base))
    add("negative", funded({0: -1}, 0, quote, base))
    add("negative, under the deposit it would free", funded({0: -1}, 0, quote, base), Deposit(quote - first, base))
    large = 1 << layout.quantity_bits
    add("quantity beyond its bits", funded({layout.ticks: large}, 0, quote, 0))
    row = funded({layout.ticks: 4}, 4, quote, base - 4)
    row[layout.quantity] = [4] + [0] * (layout.quantity_bits - 1)
    add("a bit that is none", row)
    row = funded({0: 5}, 5, 0, base)
    row[layout.quote_slack.start] = (quote - 5 * first) % PRIME
    add("a quote slack bit that is none", row)
    row = funded({layout.ticks: 5}, 5, quote, 0)
    row[layout.base_slack.start] = (base - 5) % PRIME
    add("a base slack bit that is none", row)
    row = funded({0: 5}, 5, 0, base)
    row[layout.quote_slack.start] = (-first) % PRIME
    add("an unfunded buy with a negative slack", row, Deposit(4 * first, base))
    add("an unfunded buy", funded({0: 5}, 5, 0, base), Deposit(4 * first, base))
    add("an unfunded sell", funded({layout.ticks: 5}, 5, quote, 0), Deposit(quote, 4))
    add("a sell paid with quote", funded({layout.ticks: 5}, 5, quote - 5, 0), Deposit(quote, 0))
    add("a quantity that its bits deny", funded({0: 5}, 4, quote - 5 * first, base))
    add("bits without a quantity", funded({}, 5, quote, base))
    add("a slack too large", funded({0: 5}, 5, quote - 5 * first + 1, base))
    return cases


def well_formed(params: DarkParams, row: Elements, deposit: Deposit) -> bool:
    """The plain definition, of the secrets themselves, without the linear relations of the package."""
    layout = Layout.of(params)
    used = [(column, int(row[column])) for column in range(2 * layout.ticks) if row[column]]
    bits = [int(bit) for bit in row[layout.bits]]
    if len(used) > 1 or any(bit not in (0, 1) for bit in bits):
        return False
    column, quantity = used[0] if used else (0, 0)
    q, s = layout.quantity_bits, layout.quote_slack_bits

    def number(part: list[int]) -> int:
        return sum(bit << place for place, bit in enumerate(part))

    lots, quote_left, base_left = number(bits[:q]), number(bits[q : q + s]), number(bits[q + s :])
    price = params.price_first_ticks + params.price_step_ticks * (column % layout.ticks)
    cost, sold = (quantity * price, 0) if column < layout.ticks else (0, quantity)
    return (lots, quote_left, base_left) == (quantity, deposit.quote_tick_lots - cost, deposit.base_lots - sold)
