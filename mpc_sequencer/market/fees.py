"""What trading costs, and what an order must hold back for it (docs/protocol-execution.md, "Fees and locks").

A fill of ``lots`` at ``price`` is worth ``u = price * lots * quote_units_per_tick_lot`` quote units and costs
``floor(u * ppm / 1,000,000)``, the buyer on top and the seller out of his proceeds. Whether an order will pay as maker
or as taker is not known before, so a buy locks its limit's cost ``c`` and ``ceil(c * F / 1,000,000)`` with the larger
rate F. That always covers: rows of an order have sum(u_i) <= c and no rate above F, so the sum of their floors is at
most c * F / 1,000,000. And what a partial fill takes out of the lock covers it, too: with c' for the lots left,
u <= c - c' and ceil(cF) - ceil(c'F) >= floor((c - c')F) >= floor(uF), each over 1,000,000.
"""

from __future__ import annotations

from mpc_sequencer.core.actions import BUY
from mpc_sequencer.core.limits import PPM
from mpc_sequencer.market.types import Market


def fee_units(value_units: int, rate_ppm: int) -> int:
    """The fee, in quote units, on a fill worth ``value_units`` quote units."""
    return value_units * rate_ppm // PPM


def lock_asset(market: Market, side: int) -> int:
    """The asset an order of ``side`` locks."""
    return market.quote_asset if side == BUY else market.base_asset


def lock_units(market: Market, side: int, price_ticks: int, lots: int) -> int:
    """What ``lots`` open lots of an order keep locked, in base units of :func:`lock_asset`."""
    if side != BUY:
        return lots * market.base_units_per_lot
    cost_units = price_ticks * lots * market.quote_units_per_tick_lot
    rate_ppm = max(market.maker_fee_ppm, market.taker_fee_ppm)
    return cost_units - -cost_units * rate_ppm // PPM
