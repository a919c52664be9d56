"""Decimal prices and quantities at the edge, integer ticks and lots inside; nothing is ever rounded.

A market fixes what a lot is in base units of its base asset and what one tick of one lot costs in base
units of its quote asset. Together with the decimals of the two assets that gives the decimal sizes:

    lot size  = base_units_per_lot / 10^base_decimals                             (base asset)
    tick size = (quote_units_per_tick_lot / 10^quote_decimals) / lot size         (quote asset per base asset)

Decimals are no part of the deployment (members compute in base units alone), so a trader's software brings
them. A value that is no whole multiple is refused, never rounded: rounding a price is trading at a price
nobody asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Final

from mpc_sequencer.client.dark_terms import check_price, price_last_ticks, quantity_lots_max
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX
from mpc_sequencer.market import Market
from mpc_sequencer.market.types import DarkGrid

DECIMALS_MAX: Final = 36
DECIMAL_CHARACTERS_MAX: Final = 96
_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def parse_decimal(text: str | Decimal | int, *, code: str, field: str) -> Fraction:
    """An exact non-negative number from plain digits with at most one point; ``code`` names the refusal.

    Signs, exponents, spaces, NaN and floats are refused: they hide what is meant.
    """
    if isinstance(text, bool) or not isinstance(text, str | Decimal | int):
        raise TypeError(f"{field} is {type(text).__name__}; give a string or a Decimal, floats are not exact")
    # Checked before it is written out: Decimal("1e999999999") would fill the memory.
    if isinstance(text, Decimal) and (not text.is_finite() or abs(text.adjusted()) > DECIMAL_CHARACTERS_MAX):
        raise ProtocolError(code, field, text, "a finite decimal number")
    written = format(text, "f") if isinstance(text, Decimal) else str(text)
    if len(written) > DECIMAL_CHARACTERS_MAX or not _DECIMAL.fullmatch(written):
        raise ProtocolError(code, field, written, "a decimal number such as 61800.3")
    return Fraction(written)


def show_decimal(value: Fraction, decimals: int) -> str:
    """``value`` with trailing zeros cut, exact where it has at most ``decimals`` decimals."""
    scaled = value * 10**decimals
    whole, rest = divmod(round(scaled), 10**decimals)
    tail = f"{rest:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{whole}.{tail}" if tail else str(whole)


@dataclass(frozen=True, slots=True)
class AssetUnits:
    """An asset's name and decimals; ``asset`` is its id in the deployment."""

    asset: int
    symbol: str
    decimals: int

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= DECIMALS_MAX:
            raise ValueError(f"decimals is {self.decimals}, expected 0 .. {DECIMALS_MAX}")

    def units(self, amount: str | Decimal | int) -> int:
        """Base units, 1 .. 2^127-1; refuses with ``withdrawal.amount`` what is not a whole number of them."""
        exact = parse_decimal(amount, code="withdrawal.amount", field="amount") * 10**self.decimals
        if exact.denominator != 1:
            raise ProtocolError(
                "withdrawal.amount",
                "amount",
                amount,
                f"a multiple of {show_decimal(Fraction(1, 10**self.decimals), 36)}",
            )
        if not 1 <= exact.numerator <= AMOUNT_MAX:
            raise ProtocolError(
                "withdrawal.amount", "amount", amount, "more than zero and at most 2^127-1 base units"
            )
        return int(exact.numerator)

    def show(self, units: int) -> str:
        """``units`` base units as a decimal amount."""
        return show_decimal(Fraction(units, 10**self.decimals), self.decimals)


@dataclass(frozen=True, slots=True)
class MarketUnits:
    """Decimal prices and quantities of one market."""

    market: Market
    base: AssetUnits
    quote: AssetUnits

    def __post_init__(self) -> None:
        if (self.base.asset, self.quote.asset) != (self.market.base_asset, self.market.quote_asset):
            raise ValueError(
                f"market {self.market.symbol} trades other assets than {self.base.asset}, {self.quote.asset}"
            )

    @property
    def lot_size(self) -> Fraction:
        """One lot in the base asset."""
        return Fraction(self.market.base_units_per_lot, 10**self.base.decimals)

    @property
    def tick_size(self) -> Fraction:
        """One tick in the quote asset per unit of the base asset."""
        return Fraction(self.market.quote_units_per_tick_lot, 10**self.quote.decimals) / self.lot_size

    def price_ticks(self, price: str | Decimal | int, *, field: str = "price") -> int:
        """Ticks, 1 .. 2^48-1; refuses a price off the tick (``order.price_tick``), or out of range or no plain number
        (``order.price``)."""
        exact = parse_decimal(price, code="order.price", field=field) / self.tick_size
        largest = show_decimal(self.tick_size * PRICE_TICKS_MAX, DECIMALS_MAX)
        if not 0 < exact <= PRICE_TICKS_MAX:
            raise ProtocolError("order.price", field, price, f"more than zero and at most {largest}")
        if exact.denominator != 1:
            expected = f"a multiple of {show_decimal(self.tick_size, DECIMALS_MAX)}"
            raise ProtocolError("order.price_tick", field, price, expected)
        if self.market.dark is not None:
            self._check_grid(self.market.dark, exact.numerator, price, field)
        return exact.numerator

    def _check_grid(self, grid: DarkGrid, price_ticks: int, price: str | Decimal | int, field: str) -> None:
        """Refuse a price that a dark market's grid does not have (``order.price``, ``order.price_tick``)."""
        try:
            check_price(grid, price_ticks)
        except ProtocolError as refusal:
            first, last = self.show_price(grid.price_first_ticks), self.show_price(price_last_ticks(grid))
            step = show_decimal(self.tick_size * grid.price_step_ticks, DECIMALS_MAX)
            raise ProtocolError(refusal.code, field, price, f"one of {first} .. {last} in steps of {step}") from None

    def quantity_lots(self, quantity: str | Decimal | int, *, field: str = "quantity") -> int:
        """Lots within the market's bounds; refuses what is less than one (``order.dust``), off the lot
        (``order.quantity_lot``), below or above the market's size (``order.quantity_min``, ``order.quantity_max``), or
        zero or no plain number (``order.quantity``)."""
        exact = parse_decimal(quantity, code="order.quantity", field=field) / self.lot_size
        lot, market = show_decimal(self.lot_size, DECIMALS_MAX), self.market
        if exact == 0:
            raise ProtocolError("order.quantity", field, quantity, f"more than zero, a multiple of {lot}")
        if exact < 1:
            raise ProtocolError("order.dust", field, quantity, f"at least one lot, {lot}")
        if exact.denominator != 1:
            raise ProtocolError("order.quantity_lot", field, quantity, f"a multiple of {lot}")
        if exact < market.quantity_min_lots:
            least = self.show_quantity(market.quantity_min_lots)
            raise ProtocolError("order.quantity_min", field, quantity, f"at least {least}")
        largest = market.quantity_max_lots if market.dark is None else quantity_lots_max(market.dark)
        if exact > largest:
            most = self.show_quantity(largest)
            raise ProtocolError("order.quantity_max", field, quantity, f"at most {most}")
        return exact.numerator

    def protection_price_ticks(
        self, side: int, reference_price: str | Decimal | int, slippage: str | Decimal | int
    ) -> int:
        """:func:`protection_ticks` for a decimal reference price, which may lie between ticks."""
        exact = parse_decimal(reference_price, code="order.price", field="reference_price") / self.tick_size
        return protection_ticks(side, exact, slippage)

    def show_price(self, price_ticks: int) -> str:
        """The decimal price of ``price_ticks``."""
        return show_decimal(self.tick_size * price_ticks, DECIMALS_MAX)

    def show_quantity(self, quantity_lots: int) -> str:
        """The decimal quantity of ``quantity_lots``."""
        return show_decimal(self.lot_size * quantity_lots, DECIMALS_MAX)


def protection_ticks(side: int, reference_ticks: int | Fraction, slippage: str | Decimal | int) -> int:
    """The worst price in ticks of an order that accepts ``slippage`` (a part of the price: 0.005 is half a percent, 1
    is the most) against a reference price in ticks. Rounded to the better side, so never worse than what was said.

    Refuses with ``order.side`` or ``order.protection``.
    """
    if side not in (BUY, SELL):
        raise ProtocolError("order.side", "side", side, "1 (buy) or 2 (sell)")
    part = parse_decimal(slippage, code="order.protection", field="slippage")
    if part > 1:
        raise ProtocolError("order.protection", "slippage", slippage, "0 .. 1, a part of the price")
    exact = Fraction(reference_ticks) * (1 + part if side == BUY else 1 - part)
    ticks = floor(exact) if side == BUY else ceil(exact)
    if not 1 <= ticks <= PRICE_TICKS_MAX:
        raise ProtocolError("order.protection", "protection price", ticks, f"1 .. {PRICE_TICKS_MAX} ticks")
    return ticks
