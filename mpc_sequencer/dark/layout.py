"""A dark order as a row of field elements: which column says what, and which linear relations a well-formed row obeys.

The rule. A market of P price ticks and Q quantity bits takes an order as L columns::

    0 .. P-1          buy half: the quantity in lots at the order's tick, 0 elsewhere
    P .. 2P-1         sell half, likewise
    then Q            bits of the quantity, the lowest first
    then slack_bits   bits of what the deposit leaves over: first of the quote deposit, the last Q of the base deposit
    last              mask: a uniformly random element that the trader draws, see below

All columns between the halves and the mask are bits. Which half is used is the order's side, so no column says it in
the open. The row is well-formed when at most one entry of both halves is not zero, all bits are bits, and three linear
relations hold (:func:`linear_checks`):

* *quantity*: the entries' sum less the quantity the bits say is 0; so the one entry is below 2^Q;
* *quote*: price times entry over the buy half, plus the quote slack, is the order's quote deposit;
* *base*: the sum of the sell half plus the base slack is the order's base deposit.

Deposits are public, per asset: who locks both hides the side, and who locks one shows it. Two relations, not one over
a sum of both assets: a deposit of quote must not pay for what is sold. An order of quantity 0 is well-formed; it is
how a trader sends cover.

The mask column makes the degree check (:mod:`mpc_sequencer.dark.degree`) provable: what a party opens there follows
from the trader's own bundle alone, so a party that is accused of a wrong share can show the bundle it was given. A mask
of the parties' making would hide that. A trader whose mask is not random spoils no secret but its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.params import PRIME, DarkParams

LINEAR_CHECKS: Final = 3
"""Columns of :func:`linear_checks`: quantity, quote, base."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """What an order locks, publicly: ``quote_tick_lots`` (lots times ticks; times the market's
    ``quote_units_per_tick_lot`` in base units of the quote asset) and ``base_lots``."""

    quote_tick_lots: int
    base_lots: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a market's rows. ``buy``, ``sell`` and ``entries`` (both) are the halves; ``quantity``,
    ``quote_slack`` and ``base_slack`` the bits, together ``bits``; ``mask`` is one column's index."""

    ticks: int
    quantity_bits: int
    quote_slack_bits: int
    columns: int
    buy: slice
    sell: slice
    entries: slice
    quantity: slice
    quote_slack: slice
    base_slack: slice
    bits: slice
    mask: int

    @classmethod
    def of(cls, params: DarkParams) -> Layout:
        """The layout of ``params``. Raises ``ValueError`` where the slack has no room for the base deposit's bits."""
        ticks, quantity_bits, slack_bits = params.ticks, params.quantity_bits, params.slack_bits
        quote_slack_bits = slack_bits - quantity_bits
        if quote_slack_bits < 1:
            raise ValueError(f"slack_bits is {slack_bits}, expected more than quantity_bits = {quantity_bits}")
        quantity_at, slack_at = 2 * ticks, 2 * ticks + quantity_bits
        base_at, mask = slack_at + quote_slack_bits, slack_at + slack_bits
        return cls(
            ticks=ticks,
            quantity_bits=quantity_bits,
            quote_slack_bits=quote_slack_bits,
            columns=mask + 1,
            buy=slice(0, ticks),
            sell=slice(ticks, quantity_at),
            entries=slice(0, quantity_at),
            quantity=slice(quantity_at, slack_at),
            quote_slack=slice(slack_at, base_at),
            base_slack=slice(base_at, mask),
            bits=slice(quantity_at, mask),
            mask=mask,
        )

    @property
    def quantity_lots_max(self) -> int:
        """The largest order, and the largest base deposit."""
        return (1 << self.quantity_bits) - 1

    @property
    def quote_tick_lots_max(self) -> int:
        """The largest quote deposit."""
        return (1 << self.quote_slack_bits) - 1


def prices_ticks(params: DarkParams) -> Elements:
    """The price of each of the P columns of a half, ascending."""
    return _elements(range(params.price_first_ticks, params.price_last_ticks + 1, params.price_step_ticks))


def check_deposit(layout: Layout, deposit: Deposit) -> None:
    """Refuse a deposit that the slack bits cannot hold (``dark.deposit``)."""
    bounds = (("quote_tick_lots", layout.quote_tick_lots_max), ("base_lots", layout.quantity_lots_max))
    for name, most in bounds:
        seen = getattr(deposit, name)
        if not 0 <= seen <= most:
            raise ProtocolError("dark.deposit", name, seen, f"between 0 and {most}")


def encode_order(
    params: DarkParams, side: int, price_ticks: int, quantity_lots: int, deposit: Deposit, mask: int
) -> Elements:
    """The row (L elements) of an order to buy or sell ``quantity_lots`` at ``price_ticks`` or better.

    ``mask`` is drawn uniformly below the prime, for this order alone. What the committee would reject raises
    ProtocolError (``order.side``, ``order.price``, ``order.price_tick``, ``order.quantity``, ``dark.deposit``,
    ``dark.unfunded``).
    """
    layout = Layout.of(params)
    check_deposit(layout, deposit)
    column, off_step = divmod(price_ticks - params.price_first_ticks, params.price_step_ticks)
    if side not in (BUY, SELL):
        raise ProtocolError("order.side", "side", side, "1 or 2")
    if not 0 <= column < layout.ticks:
        allowed = f"{params.price_first_ticks} to {params.price_last_ticks}"
        raise ProtocolError("order.price", "price_ticks", price_ticks, allowed)
    if off_step:
        expected = f"{params.price_first_ticks} and whole steps of {params.price_step_ticks}"
        raise ProtocolError("order.price_tick", "price_ticks", price_ticks, expected)
    if not 0 <= quantity_lots <= layout.quantity_lots_max:
        raise ProtocolError("order.quantity", "quantity_lots", quantity_lots, f"at most {layout.quantity_lots_max}")
    quote_left = deposit.quote_tick_lots - (price_ticks * quantity_lots if side == BUY else 0)
    base_left = deposit.base_lots - (quantity_lots if side == SELL else 0)
    for name, left, locked in (
        ("quote_tick_lots", quote_left, deposit.quote_tick_lots),
        ("base_lots", base_left, deposit.base_lots),
    ):
        if left < 0:
            raise ProtocolError("dark.unfunded", name, locked, f"at least {locked - left}")
    row = np.zeros(layout.columns, dtype=np.object_)
    row[column + (0 if side == BUY else layout.ticks)] = quantity_lots
    row[layout.quantity] = _bits(quantity_lots, layout.quantity_bits)
    row[layout.quote_slack] = _bits(quote_left, layout.quote_slack_bits)
    row[layout.base_slack] = _bits(base_left, layout.quantity_bits)
    row[layout.mask] = mask
    return row


def linear_checks(params: DarkParams) -> Elements:
    """L x 3 weights: a row times them is (0, quote deposit, base deposit) modulo the prime, where it is well-formed."""
    layout = Layout.of(params)
    weights = np.zeros((layout.columns, LINEAR_CHECKS), dtype=np.object_)
    weights[layout.entries, 0] = 1
    weights[layout.quantity, 0] = [PRIME - (1 << bit) for bit in range(layout.quantity_bits)]
    weights[layout.buy, 1] = prices_ticks(params)
    weights[layout.quote_slack, 1] = [1 << bit for bit in range(layout.quote_slack_bits)]
    weights[layout.sell, 2] = 1
    weights[layout.base_slack, 2] = [1 << bit for bit in range(layout.quantity_bits)]
    return weights


def linear_targets(deposits: Sequence[Deposit]) -> Elements:
    """N x 3: what the rows of orders with these deposits times :func:`linear_checks` must be."""
    targets = np.zeros((len(deposits), LINEAR_CHECKS), dtype=np.object_)
    for index, deposit in enumerate(deposits):
        targets[index, 1:] = deposit.quote_tick_lots, deposit.base_lots
    return targets


def _bits(value: int, count: int) -> list[int]:
    return [value >> bit & 1 for bit in range(count)]


def _elements(values: Sequence[int]) -> Elements:
    elements = np.empty(len(values), dtype=np.object_)
    elements[:] = list(values)
    return elements
