"""Terms of an order that need no account to be judged (docs/protocol-execution.md, "Entry"), in the order of their
codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import (
    BUY,
    CANCEL_BOTH,
    CANCEL_MAKER,
    CANCEL_TAKER,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    SELF_TRADE_ALLOWED,
    SELL,
    STOP,
    STOP_LIMIT,
    Order,
)
from mpc_sequencer.market.types import DARK, Market

MODES: Final = (SELF_TRADE_ALLOWED, CANCEL_MAKER, CANCEL_TAKER, CANCEL_BOTH)


def is_stop(order: Order) -> bool:
    """Whether it waits for a trigger."""
    return order.kind in (STOP, STOP_LIMIT)


def may_rest(order: Order) -> bool:
    """Whether what it does not trade at once stays in the book."""
    return order.time_in_force in (GTC, GTD)


def refusal(order: Order, markets: Mapping[int, Market], time_ms: int) -> str | None:
    """The code of the first term that does not hold, in a block of time ``time_ms``; None where all do."""
    market = markets.get(order.market)
    if market is None or market.policy == DARK:
        return "market"
    if order.side not in (BUY, SELL):
        return "side"
    if order.kind not in (LIMIT, MARKET, STOP, STOP_LIMIT):
        return "kind"
    if order.time_in_force not in (GTC, IOC, FOK, GTD):
        return "time_in_force"
    if order.kind in (MARKET, STOP) and order.time_in_force not in (IOC, FOK):
        return "time_in_force"
    if (order.time_in_force == GTD) != (order.expires_ms > 0):
        return "expiry"
    if order.time_in_force == GTD and order.expires_ms <= time_ms:
        return "expired"
    if order.post_only not in (0, 1):
        return "post_only_terms"
    if order.post_only == 1 and not (order.kind == LIMIT and may_rest(order)):
        return "post_only_terms"
    if order.self_trade not in MODES:
        return "self_trade_mode"
    if not 1 <= order.price_ticks <= limits.PRICE_TICKS_MAX:
        return "price"
    if not (1 <= order.stop_ticks <= limits.PRICE_TICKS_MAX if is_stop(order) else order.stop_ticks == 0):
        return "stop_price"
    if not market.quantity_min_lots <= order.quantity_lots <= market.quantity_max_lots:
        return "quantity"
    if order.display_lots != 0 and not _displayable(order, market):
        return "display"
    return None


def _displayable(order: Order, market: Market) -> bool:
    """Whether it may be an iceberg of its display quantity."""
    return (
        order.kind in (LIMIT, STOP_LIMIT)
        and may_rest(order)
        and market.quantity_min_lots <= order.display_lots <= order.quantity_lots
        and order.display_lots * limits.ICEBERG_PARTS_MAX >= order.quantity_lots
    )
