"""What every measured height of the market benchmark must satisfy; a figure of a wrong engine is none.

Nothing here uses the engine's clearing: the auction's price is found by looking at every price there is, over sums of
lots per price (docs/protocol-execution.md, "Uniform price"), and money is counted over all accounts before and after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from mpc_sequencer.bench.market_flow import FEE_ACCOUNT, MIDDLE_TICKS, REACH_TICKS, Batch
from mpc_sequencer.core.actions import BUY
from mpc_sequencer.core.limits import PPM
from mpc_sequencer.market import Engine, Market
from mpc_sequencer.market.types import AUCTION, HeightResult

LEVELS: Final = 2 * REACH_TICKS + 2
_LOWEST_TICKS: Final = MIDDLE_TICKS - REACH_TICKS - 1

Ints = npt.NDArray[np.int64]
Depth = tuple[Ints, Ints]
"""Lots of bids and of asks per price, upwards from the lowest price of the flow."""


class WrongResult(Exception):
    """A measured height broke a rule of the market."""


def require(holds: bool, what: str) -> None:
    """Raise :class:`WrongResult` naming ``what`` unless it ``holds``."""
    if not holds:
        raise WrongResult(what)


def depth_of(engine: Engine, market: Market) -> Depth:
    """The resting lots per price."""
    sides = engine.book(market.id, LEVELS)
    found = []
    for name in ("bids", "asks"):
        lots = np.zeros(LEVELS, dtype=np.int64)
        for price_ticks, shown_lots, _ in sides[name]:
            lots[price_ticks - _LOWEST_TICKS] = shown_lots
        found.append(lots)
    return found[0], found[1]


def totals(engine: Engine, market: Market, accounts: Sequence[bytes]) -> dict[int, tuple[int, int]]:
    """By asset: the units of all accounts, free and locked together, and those locked."""
    found = {}
    for asset in (market.base_asset, market.quote_asset):
        held = [engine.balance(account, asset) for account in (*accounts, FEE_ACCOUNT)]
        found[asset] = sum(free + locked for free, locked in held), sum(locked for _, locked in held)
    return found


def check_height(market: Market, before: Depth, reference_ticks: int, batch: Batch, result: HeightResult) -> None:
    """Fills, outcomes and deltas of one height. Raises :class:`WrongResult`."""
    require(len(result.outcomes) == len(batch.prepared), "an order has no outcome, or one twice")
    codes = {outcome.code for outcome in result.outcomes}
    require(codes <= {"filled", "partly_filled", "resting", "unfilled"}, f"orders that end with {sorted(codes)}")
    deltas: dict[int, int] = {}
    for _, asset, total, withdrawable in result.deltas:
        require(not withdrawable, "something became withdrawable")
        deltas[asset] = deltas.get(asset, 0) + total
    require(not any(deltas.values()), f"deltas do not sum to nothing: {deltas}")
    bought = sum(fill.quantity_lots for fill in result.fills if fill.side == BUY)
    sold = sum(fill.quantity_lots for fill in result.fills if fill.side != BUY)
    volume = sum(row[2] for row in result.clearing)
    require(bought == sold == volume, f"bought {bought} lots, sold {sold}, volume {volume}")
    for fill in result.fills:
        rate_ppm = market.maker_fee_ppm if fill.maker else market.taker_fee_ppm
        value = fill.price_ticks * fill.quantity_lots * market.quote_units_per_tick_lot
        require(fill.fee_units == value * rate_ppm // PPM, f"a fill worth {value} units paid a fee of {fill.fee_units}")
    filled = _filled_lots(batch, result)
    require(bool(np.all(filled <= batch.lots)), "an order got more than it asked for")
    if market.policy == AUCTION:
        _check_price(before, reference_ticks, batch, result, filled)


def _filled_lots(batch: Batch, result: HeightResult) -> Ints:
    """The lots of each new order by its fills; checks their limits and what its outcome says on the way."""
    limits = {one.order_id: price for one, price in zip(batch.prepared, batch.prices.tolist(), strict=True)}
    for fill in result.fills:
        limit = limits.get(fill.order_id, fill.price_ticks)
        require((limit - fill.price_ticks) * (1 if fill.side == BUY else -1) >= 0, "a fill is worse than its limit")
    rows: dict[bytes, tuple[int, int]] = {}
    for fill in result.fills:
        lots, fees = rows.get(fill.order_id, (0, 0))
        rows[fill.order_id] = lots + fill.quantity_lots, fees + fill.fee_units
    said = {outcome.order_id: outcome for outcome in result.outcomes}
    filled = np.zeros_like(batch.lots)
    for at, one in enumerate(batch.prepared):
        outcome = said[one.order_id]
        lots, fees = rows.get(one.order_id, (0, 0))
        require((outcome.filled_lots, outcome.fee_units) == (lots, fees), "an outcome is not what the fills say")
        filled[at] = lots
    return filled


def _check_price(before: Depth, reference_ticks: int, batch: Batch, result: HeightResult, filled: Ints) -> None:
    bids, asks = (side.copy() for side in before)
    places = batch.prices - _LOWEST_TICKS
    np.add.at(bids, places[batch.buys], batch.lots[batch.buys])
    np.add.at(asks, places[~batch.buys], batch.lots[~batch.buys])
    expected = uniform_price(bids, asks, reference_ticks - _LOWEST_TICKS)
    found = [(row[1] - _LOWEST_TICKS, row[2]) for row in result.clearing]
    require(found == ([] if expected is None else [expected]), f"cleared at {found}, expected {expected}")
    if expected is None:
        return
    price_ticks = expected[0] + _LOWEST_TICKS
    require(all(fill.price_ticks == price_ticks for fill in result.fills), "a fill is not at the clearing price")
    new = {one.order_id for one in batch.prepared}
    require(all((fill.order_id in new) != fill.maker for fill in result.fills), "a new order is a maker, or none")
    ahead = np.where(batch.buys, places > expected[0], places < expected[0])
    behind = np.where(batch.buys, places < expected[0], places > expected[0])
    require(bool(np.all(filled[ahead] == batch.lots[ahead])), "an order with a better limit is not filled wholly")
    require(not filled[behind].any(), "an order that does not take the price is filled")


def uniform_price(bids: Ints, asks: Ints, reference: int) -> tuple[int, int] | None:
    """Place of the clearing price and its volume, by the rule's own words over every price; None where nothing trades.

    Most volume; of these the least imbalance; of these, with more to buy at all the highest, with more to sell at all
    the lowest, else the nearest to the reference.
    """
    demand = np.cumsum(bids[::-1])[::-1]
    supply = np.cumsum(asks)
    volume = np.minimum(demand, supply)
    if not volume.max():
        return None
    places = np.flatnonzero(volume == volume.max())
    imbalance = demand[places] - supply[places]
    places = places[np.abs(imbalance) == np.abs(imbalance).min()]
    signs = demand[places] - supply[places]
    if np.all(signs > 0):
        at = int(places[-1])
    elif np.all(signs < 0):
        at = int(places[0])
    else:
        at = min(max(reference, int(places[0])), int(places[-1]))
    return at, int(volume[at])


def check_money(
    market: Market, depth: Depth, before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]],
    orders_open: int,
) -> None:  # fmt: skip
    """All units are still there, and what is locked is what the book needs. Raises :class:`WrongResult`."""
    for asset, (units, _) in before.items():
        require(after[asset][0] == units, f"asset {asset} had {units} units and has {after[asset][0]}")
    bids, asks = depth
    prices = np.flatnonzero(bids) + _LOWEST_TICKS
    cost = sum(
        price * lots * market.quote_units_per_tick_lot
        for price, lots in zip(prices.tolist(), bids[bids > 0].tolist(), strict=True)
    )
    fees = cost * max(market.maker_fee_ppm, market.taker_fee_ppm)
    locked = after[market.quote_asset][1]
    least = cost + fees // PPM
    require(least <= locked <= least + 1 + orders_open, f"bids lock {locked} units, expected {least} or a little more")
    base = int(asks.sum()) * market.base_units_per_lot
    require(after[market.base_asset][1] == base, f"asks lock {after[market.base_asset][1]} units, expected {base}")


def fill_rows(result: HeightResult) -> list[tuple[bytes, int, int, int]]:
    """The fills as sorted rows (order id, price, lots, maker)."""
    return sorted((fill.order_id, fill.price_ticks, fill.quantity_lots, fill.maker) for fill in result.fills)
