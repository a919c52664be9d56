"""Orders that meet the book one after the other (docs/protocol-execution.md), by plain sorted lists.

Both sides of the book are written out as lists, best order first, and every arrival eats the other side's list
from its front. Integers only.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mpc_sequencer.audit.state import Resting
from mpc_sequencer.core.actions import BUY, GTC, SELL, Order
from mpc_sequencer.market.types import RECEIVE, Market, Precedence


@dataclass(slots=True)
class Matched:
    """A market's height: lots by (order id, price in ticks, whether as maker), the prices of all trades as they
    came, the lots each order that rested before has left, and the new orders that came to rest, in this sequence, each
    with the lots it has left at the end (0 where later ones of the height took them all).
    """

    lots: dict[tuple[bytes, int, bool], int] = field(default_factory=dict)
    tape: list[int] = field(default_factory=list)
    left: dict[bytes, int] = field(default_factory=dict)
    rested: list[tuple[bytes, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    order_id: bytes
    price_ticks: int
    lots: int


def sequence_of(
    market: Market, order_ids: Iterable[bytes], draw: Callable[[bytes], bytes], precedence: Precedence | None
) -> Sequence[bytes]:
    """Who comes after whom. Raises ``ValueError`` where a market orders by receipt and ``precedence``, given the
    ids in draw order, does not answer with all of them."""
    drawn = sorted(order_ids, key=draw)
    if market.policy != RECEIVE:
        return drawn
    if precedence is None:
        raise ValueError(f"market {market.id} orders by receipt, and receipts say nothing")
    received = precedence(drawn)
    if sorted(received) != sorted(drawn):
        raise ValueError(f"market {market.id}: the order by receipt is not one of the batch's orders")
    return received


def match(
    resting: Mapping[bytes, Resting], new: Mapping[bytes, Order], sequence: Sequence[bytes]
) -> Matched:
    """Let the ``new`` orders meet the ``resting`` ones of the market in ``sequence``."""
    made = Matched()
    rested: list[bytes] = []
    sides: dict[int, list[tuple[tuple[int, int], _Waiting]]] = {BUY: [], SELL: []}
    last = max((order.sequence for order in resting.values()), default=0)
    for order_id, order in resting.items():
        waiting = _Waiting(order_id, order.price_ticks, order.remaining_lots)
        sides[order.side].append((_rank(order.side, order.price_ticks, order.sequence), waiting))
    for queue in sides.values():
        queue.sort(key=lambda row: row[0])
    for order_id in sequence:
        action = new[order_id]
        left = _eat(sides[SELL if action.side == BUY else BUY], order_id, action, made)
        if left and action.time_in_force == GTC:
            last += 1
            waiting = _Waiting(order_id, action.price_ticks, left)
            row = (_rank(action.side, action.price_ticks, last), waiting)
            insort(sides[action.side], row, key=lambda row: row[0])
            rested.append(order_id)
    remaining = {waiting.order_id: waiting.lots for queue in sides.values() for _, waiting in queue}
    made.left = {order_id: remaining.get(order_id, 0) for order_id in resting}
    made.rested = [(order_id, remaining.get(order_id, 0)) for order_id in rested]
    return made


def _rank(side: int, price_ticks: int, sequence: int) -> tuple[int, int]:
    """Smaller goes first: the better price for the other side, then the earlier to rest."""
    return (-price_ticks if side == BUY else price_ticks), sequence


def _eat(
    queue: list[tuple[tuple[int, int], _Waiting]], order_id: bytes, action: Order, made: Matched
) -> int:
    """Trade an arrival with the front of the other side's queue; the lots left of it."""
    left = action.quantity_lots
    emptied = 0
    for _, waiting in queue:
        meets = (
            waiting.price_ticks <= action.price_ticks
            if action.side == BUY
            else waiting.price_ticks >= action.price_ticks
        )
        if not left or not meets:
            break
        lots = min(left, waiting.lots)
        for one, maker in ((order_id, False), (waiting.order_id, True)):
            key = (one, waiting.price_ticks, maker)
            made.lots[key] = made.lots.get(key, 0) + lots
        made.tape.append(waiting.price_ticks)
        left -= lots
        waiting.lots -= lots
        emptied += waiting.lots == 0
    del queue[:emptied]
    return left
