"""Locks and fees (docs/protocol-execution.md, "Fees and locks"), written as fractions that are rounded once.

A fee rounds down and a lock up, so what a buy has locked always covers what it pays.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

from mpc_sequencer.core.actions import BUY, DarkOrder, Order
from mpc_sequencer.core.limits import PPM
from mpc_sequencer.market.types import Market


def value_units(market: Market, price_ticks: int, lots: int) -> int:
    """What ``lots`` cost at a price, in quote units and without fees."""
    return price_ticks * lots * market.quote_units_per_tick_lot


def fee_units(market: Market, traded_units: int, *, maker: bool) -> int:
    """The fee of a fill that is worth ``traded_units`` quote units."""
    ppm = market.maker_fee_ppm if maker else market.taker_fee_ppm
    return floor(Fraction(traded_units * ppm, PPM))


def lock(market: Market, terms: Order, lots: int) -> tuple[int, int]:
    """The asset an order gives up, and what it has locked of it while ``lots`` are open: a sell what it sells, a buy
    its limit's worth and the higher of the two fees on it."""
    if terms.side != BUY:
        return market.base_asset, lots * market.base_units_per_lot
    return market.quote_asset, with_highest_fee(market, value_units(market, terms.price_ticks, lots))


def with_highest_fee(market: Market, units: int) -> int:
    """What is locked to pay as many quote units, whoever's fee is on them."""
    highest_ppm = max(market.maker_fee_ppm, market.taker_fee_ppm)
    return units + ceil(Fraction(units * highest_ppm, PPM))


def dark_locks(market: Market, action: DarkOrder) -> tuple[int, int]:
    """What a dark order locks of the quote and of the base asset."""
    quote_units = action.quote_tick_lots * market.quote_units_per_tick_lot
    return with_highest_fee(market, quote_units), action.base_lots * market.base_units_per_lot
