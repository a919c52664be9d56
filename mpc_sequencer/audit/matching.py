"""Orders that meet the book in a sequence (docs/protocol-execution.md, "One after the other"), by plain sorted lists.

Both sides of the book are written out as lists, best order first, and every arrival eats the other side's list
from its front. An iceberg stands in the list with what it shows; used up, it goes to the end of its level with the
next part. Integers only.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mpc_sequencer.audit.state import OpenOrder
from mpc_sequencer.audit.terms import may_rest
from mpc_sequencer.audit.trades import Traded
from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import (
    BUY,
    CANCEL_BOTH,
    CANCEL_MAKER,
    CANCEL_TAKER,
    FOK,
    SELF_TRADE_ALLOWED,
    SELL,
)
from mpc_sequencer.market.types import RECEIVE, Market, Precedence


@dataclass(slots=True)
class _Waiting:
    """An order in the book."""

    order: OpenOrder
    lots: int
    """All that is open of it."""
    shown_lots: int
    """What can be traded at its place; all, of an order that hides nothing."""
    sequence: int

    @property
    def price_ticks(self) -> int:
        return self.order.terms.price_ticks

    def rank(self) -> tuple[int, int]:
        """Smaller goes first: the better price for the other side, then the earlier to rest."""
        return (-self.price_ticks if self.order.terms.side == BUY else self.price_ticks), self.sequence


def sequence_of(
    market: Market,
    received: Iterable[bytes],
    joined: Iterable[bytes],
    draw: Callable[[bytes], bytes],
    precedence: Precedence | None,
) -> list[bytes]:
    """Who comes after whom: orders of the batch and stops that join all by draw, or the batch's as received and then
    the stops by draw.

    Raises ``ValueError`` where a market orders by receipt and ``precedence``, given the ids in draw order, does not
    answer with all of them.
    """
    if market.policy != RECEIVE:
        return sorted([*received, *joined], key=draw)
    drawn = sorted(received, key=draw)
    answer: list[bytes] = []
    if drawn:
        if precedence is None:
            raise ValueError(f"market {market.id} orders by receipt, and receipts say nothing")
        answer = precedence(drawn)
        if sorted(answer) != sorted(drawn):
            raise ValueError(f"market {market.id}: the order by receipt is not one of the batch's orders")
    return [*answer, *sorted(joined, key=draw)]


def match(resting: Mapping[bytes, OpenOrder], arrivals: Sequence[OpenOrder], last_sequence: int) -> Traded:
    """Let the ``arrivals`` meet the ``resting`` orders of the market, in which ``last_sequence`` orders (and parts of
    icebergs) came to rest before."""
    return _Book(resting, last_sequence).run(arrivals)


class _Book:
    """The two sides, and what has happened."""

    def __init__(self, resting: Mapping[bytes, OpenOrder], last_sequence: int) -> None:
        self._made = Traded()
        self._last_sequence = last_sequence
        self._sides: dict[int, list[_Waiting]] = {BUY: [], SELL: []}
        for order in resting.values():
            lots = order.remaining_lots
            shown_lots = order.shown_lots if order.terms.display_lots else lots
            self._sides[order.terms.side].append(_Waiting(order, lots, shown_lots, order.sequence))
        for queue in self._sides.values():
            queue.sort(key=_Waiting.rank)

    def run(self, arrivals: Sequence[OpenOrder]) -> Traded:
        for order in arrivals:
            self._arrive(order)
        for queue in self._sides.values():
            for waiting in queue:
                shown_lots = waiting.shown_lots if waiting.order.terms.display_lots else 0
                self._made.book[waiting.order.order_id] = (waiting.sequence, shown_lots)
        self._made.last_sequence = self._last_sequence
        return self._made

    def _arrive(self, order: OpenOrder) -> None:
        others = self._sides[SELL if order.terms.side == BUY else BUY]
        if order.terms.post_only and others and _meets(order, others[0]):
            self._made.ended[order.order_id] = "post_only"
            return
        if order.terms.time_in_force == FOK and _fillable_lots(order, others) < order.remaining_lots:
            return
        left_lots = self._trade(order, others)
        if left_lots and may_rest(order.terms) and order.order_id not in self._made.ended:
            self._rest(order, left_lots)

    def _trade(self, order: OpenOrder, others: list[_Waiting]) -> int:
        """Trade with the front of the other side; the lots left."""
        left_lots = order.remaining_lots
        while left_lots and others and _meets(order, others[0]):
            waiting = others[0]
            mode = order.terms.self_trade
            if waiting.order.account == order.account and mode != SELF_TRADE_ALLOWED:
                if mode in (CANCEL_MAKER, CANCEL_BOTH):
                    others.pop(0)
                    self._made.ended[waiting.order.order_id] = "self_trade"
                if mode in (CANCEL_TAKER, CANCEL_BOTH):
                    self._made.ended[order.order_id] = "self_trade"
                    break
                continue
            lots = min(left_lots, waiting.shown_lots)
            self._made.add(order.order_id, waiting.price_ticks, False, lots)
            self._made.add(waiting.order.order_id, waiting.price_ticks, True, lots)
            self._made.price_ticks = waiting.price_ticks
            left_lots -= lots
            waiting.lots -= lots
            waiting.shown_lots -= lots
            if waiting.shown_lots == 0:
                others.pop(0)
                if waiting.lots:
                    self._rest(waiting.order, waiting.lots)
        return left_lots

    def _rest(self, order: OpenOrder, lots: int) -> None:
        """Put an order, or an iceberg's next part, at the end of its level."""
        self._last_sequence += 1
        shown_lots = min(order.terms.display_lots, lots) if order.terms.display_lots else lots
        insort(
            self._sides[order.terms.side],
            _Waiting(order, lots, shown_lots, self._last_sequence),
            key=_Waiting.rank,
        )


def _meets(order: OpenOrder, waiting: _Waiting) -> bool:
    if order.terms.side == BUY:
        return waiting.price_ticks <= order.terms.price_ticks
    return waiting.price_ticks >= order.terms.price_ticks


def _fillable_lots(order: OpenOrder, others: Sequence[_Waiting]) -> int:
    """What a fill-or-kill order can count on: all lots of the first levels that meet its limit, without its account's
    own where its mode cancels them, and nothing from the level on at which its mode would end itself."""
    mode = order.terms.self_trade
    own_levels = [waiting.price_ticks for waiting in others if waiting.order.account == order.account]
    ends_at = own_levels[0] if own_levels and mode in (CANCEL_TAKER, CANCEL_BOTH) else None
    levels: set[int] = set()
    lots = 0
    for waiting in others:
        levels.add(waiting.price_ticks)
        if (
            not _meets(order, waiting)
            or waiting.price_ticks == ends_at
            or len(levels) > limits.FOK_LEVELS_MAX
        ):
            break
        if mode != CANCEL_MAKER or waiting.order.account != order.account:
            lots += waiting.lots
    return lots
