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
from typing import Final

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from mpc_sequencer.market import Market

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

    def price_ticks(self, price: str | Decimal | int) -> int:
        """Ticks, 1 .. 2^48-1; refuses with ``order.price`` a price off the tick or out of range."""
        return _multiples(price, self.tick_size, PRICE_TICKS_MAX, "order.price", "price")

    def quantity_lots(self, quantity: str | Decimal | int) -> int:
        """Lots, 1 .. 2^48-1; refuses with ``order.quantity`` a quantity off the lot or out of range."""
        return _multiples(quantity, self.lot_size, QUANTITY_LOTS_MAX, "order.quantity", "quantity")

    def show_price(self, price_ticks: int) -> str:
        """The decimal price of ``price_ticks``."""
        return show_decimal(self.tick_size * price_ticks, DECIMALS_MAX)

    def show_quantity(self, quantity_lots: int) -> str:
        """The decimal quantity of ``quantity_lots``."""
        return show_decimal(self.lot_size * quantity_lots, DECIMALS_MAX)


def _multiples(value: str | Decimal | int, size: Fraction, maximum: int, code: str, field: str) -> int:
    exact = parse_decimal(value, code=code, field=field) / size
    if exact.denominator != 1:
        raise ProtocolError(code, field, value, f"a multiple of {show_decimal(size, DECIMALS_MAX)}")
    if not 1 <= exact.numerator <= maximum:
        largest = show_decimal(size * maximum, DECIMALS_MAX)
        raise ProtocolError(code, field, value, f"more than zero and at most {largest}")
    return exact.numerator
