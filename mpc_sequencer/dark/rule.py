"""The dark rule: what a dark batch clears to, in the plain. The committee computes the same over shares
(:mod:`mpc_sequencer.dark.clearing`), and its result is tested against this one.

An order buys or sells a number of lots at its tick or better. With P ticks let D(k) be the lots of all buys at tick k
or above and S(k) the lots of all sells at tick k or below; D(P) = S(-1) = 0.

* *Crossed.* The batch is crossed where at some tick both D and S are above 0. Otherwise nobody trades, and no tick is
  told: in an uncrossed book it would be somebody's price.
* *Crossing.* Between the ticks lie the steps of one falling staircase: going up from tick k-1, first the sells at k
  join (position 2k, excess D(k) - S(k-1)), then its buys leave (position 2k+1, excess D(k) - S(k)). The excess never
  rises, is at least 0 at position 0 and below 0 behind the last one of a crossed batch. The *crossing position* is the
  last whose excess is at least 0.
* *At position 2k+1* the batch clears at tick k with the buys at k as marginal side: all S(k) lots of sells at k or
  below trade, all buys above k, and of the buys at k the rest, S(k) - D(k+1), which is above 0.
* *At position 2k* it clears at tick k with the sells at k as marginal side: all D(k) lots of buys at k or above
  trade, all sells below k, and of the sells at k the rest, D(k) - S(k-1), which may be 0.
* *Rationing.* The marginal orders are filled one after the other in a priority order that everyone knows (the batch
  coin's) until the rest is used up; the last of them in part, perhaps. It is the *last marginal* order; there is none
  where the rest is 0.

Everyone trades at the one clearing tick. The volume is the largest that any tick allows. Where a whole range of ticks
balances exactly, the highest position of excess 0 counts, so the range's upper end is the price. The plain auction's
finer tie-breaks (the middle of the range, shares in proportion) would need bits that the tick does not imply, and a
dark batch opens nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpc_sequencer.core.actions import BUY, SELL


@dataclass(frozen=True, slots=True)
class PlainOrder:
    """An order in the plain: ``side`` (BUY or SELL), ``tick`` (column, from 0), ``quantity_lots`` (may be 0: cover)."""

    side: int
    tick: int
    quantity_lots: int


@dataclass(frozen=True, slots=True)
class DarkFill:
    """What one order traded: ``order`` is its index in the batch, ``lots`` are above 0."""

    order: int
    side: int
    lots: int


@dataclass(frozen=True, slots=True)
class DarkOutcome:
    """What a dark batch makes public. ``tick`` and ``marginal_side`` are None and ``fills`` empty where the batch is
    not crossed; ``fills`` ascend by order; ``rejected`` are the indices of malformed orders, ascending;
    ``last_marginal`` is the index of the last marginal order that traded."""

    crossed: bool
    tick: int | None
    marginal_side: int | None
    volume_lots: int
    fills: tuple[DarkFill, ...]
    rejected: tuple[int, ...]
    last_marginal: int | None

    @classmethod
    def uncrossed(cls, rejected: tuple[int, ...] = ()) -> DarkOutcome:
        """Nobody trades."""
        return cls(False, None, None, 0, (), rejected, None)


def marginal(position: int) -> tuple[int, int]:
    """Clearing tick and marginal side of a crossing position."""
    return position // 2, BUY if position % 2 else SELL


def clear_openly(orders: Sequence[PlainOrder], ticks: int, priority: Sequence[int]) -> DarkOutcome:
    """Clear ``orders`` by the dark rule; ``priority`` lists all their indices, first served first."""
    if sorted(priority) != list(range(len(orders))):
        raise ValueError("the priority is no permutation of the orders")
    bought, sold = [0] * ticks, [0] * ticks
    for order in orders:
        (bought if order.side == BUY else sold)[order.tick] += order.quantity_lots
    demand, supply = [0] * (ticks + 1), [0] * (ticks + 1)  # supply[k + 1] is S(k)
    for tick in range(ticks):
        supply[tick + 1] = supply[tick] + sold[tick]
        demand[ticks - 1 - tick] = demand[ticks - tick] + bought[ticks - 1 - tick]
    if not any(demand[tick] and supply[tick + 1] for tick in range(ticks)):
        return DarkOutcome.uncrossed()
    excess = [demand[position // 2] - supply[(position + 1) // 2] for position in range(2 * ticks)]
    position = max(place for place, left in enumerate(excess) if left >= 0)
    tick, side = marginal(position)
    rest = supply[tick + 1] - demand[tick + 1] if side == BUY else demand[tick] - supply[tick]
    traded = [0] * len(orders)
    last_marginal = None
    for index in priority:
        order = orders[index]
        if order.tick == tick and order.side == side:
            traded[index] = min(order.quantity_lots, rest)
            rest -= traded[index]
            last_marginal = index if traded[index] else last_marginal
        elif order.tick >= tick if order.side == BUY else order.tick <= tick:
            traded[index] = order.quantity_lots
    fills = tuple(DarkFill(index, orders[index].side, lots) for index, lots in enumerate(traded) if lots)
    volume_lots = sum(fill.lots for fill in fills if fill.side == SELL)
    return DarkOutcome(True, tick, side, volume_lots, fills, (), last_marginal)
