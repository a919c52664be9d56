"""What an outside matching engine gets of an executed height (docs/trading.md, "An outside engine"): the orders that
execution admitted, in the order that is fair in their market, and the earlier orders that ended without it.

The order is by draw; where a market orders by receipt, its orders stand in that order in the places they have by draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import Order, Replace
from mpc_sequencer.market import RECEIVE, HeightResult, Market, Precedence, PreparedOrder
from mpc_sequencer.market import types as codes

ADMITTED: Final = frozenset(
    {
        codes.FILLED,
        codes.PARTLY_FILLED,
        codes.RESTING,
        codes.UNFILLED,
        codes.WAITING,
        codes.SELF_TRADE,
        codes.POST_ONLY,
    }
)
"""Outcomes of orders that passed nonce, terms and balance."""
WITHDRAWN_BEFORE: Final = frozenset({codes.CANCELLED, codes.REPLACED, codes.EXPIRED})


@dataclass(frozen=True, slots=True)
class FedHeight:
    """An executed height as it leaves the core."""

    height: int
    time_ms: int
    coin: bytes
    orders: tuple[tuple[bytes, Order], ...]
    ended: tuple[bytes, ...]


def fed_height(
    outcome: HeightResult,
    time_ms: int,
    coin: bytes,
    prepared: Iterable[PreparedOrder],
    precedence: Precedence | None,
    markets: Sequence[Market],
) -> FedHeight:
    """The height's admitted orders in fair order."""
    admitted = {one.order_id for one in outcome.outcomes if one.code in ADMITTED}
    ordered = sorted(prepared, key=lambda one: domains.DRAW(coin, one.order_id))
    rows: list[tuple[bytes, Order]] = []
    for one in ordered:
        if one.order_id in admitted and isinstance(one.action, Order | Replace):
            action = one.action
            rows.append((one.order_id, action.order() if isinstance(action, Replace) else action))
    for market in markets:
        if market.policy == RECEIVE and precedence is not None:
            places = [place for place, (_, order) in enumerate(rows) if order.market == market.id]
            by_id = {rows[place][0]: rows[place] for place in places}
            if by_id:
                for place, order_id in zip(places, precedence(list(by_id)), strict=True):
                    rows[place] = by_id[order_id]
    ended = tuple(update.order_id for update in outcome.updates if update.code in WITHDRAWN_BEFORE)
    return FedHeight(outcome.height, time_ms, coin, tuple(rows), ended)
