"""The terms an order must meet whatever the state of accounts and books (docs/protocol-execution.md, "Terms").

One code per cause, checked in the document's order, so that members and clients name the same fault first.
"""

from __future__ import annotations

from typing import Final

from mpc_sequencer.core.actions import (
    BUY,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    SELF_TRADE_NAMES,
    SELL,
    STOP,
    STOP_LIMIT,
    Order,
)
from mpc_sequencer.core.limits import ICEBERG_PARTS_MAX, PRICE_TICKS_MAX
from mpc_sequencer.market import types
from mpc_sequencer.market.types import DARK, Market

_SIDES: Final = frozenset({BUY, SELL})
_KINDS: Final = frozenset({LIMIT, MARKET, STOP, STOP_LIMIT})
_STOPS: Final = frozenset({STOP, STOP_LIMIT})
_AT_ONCE: Final = frozenset({MARKET, STOP})
_RESTING_TIMES: Final = frozenset({GTC, GTD})
_TIMES_IN_FORCE: Final = frozenset({GTC, IOC, FOK, GTD})


def is_stop(kind: int) -> bool:
    """Whether an order of this kind waits for a trigger."""
    return kind in _STOPS


def may_rest(time_in_force: int) -> bool:
    """Whether what is left of an order stays open."""
    return time_in_force in _RESTING_TIMES


def could_rest(order: Order) -> bool:
    """Whether an order may be open after its height: in the book, or as a stop that waits."""
    return may_rest(order.time_in_force) or is_stop(order.kind)


def terms_refusal(order: Order, market: Market | None, time_ms: int) -> str | None:
    """The code of the first term that fails, or None. ``market`` is None where it is unknown, and a
    dark one takes no such order; ``time_ms`` is the block's."""
    if market is None or market.policy == DARK:
        return types.MARKET
    if order.side not in _SIDES:
        return types.SIDE
    if order.kind not in _KINDS:
        return types.KIND
    return _time_refusal(order, time_ms) or _mode_refusal(order) or _number_refusal(order, market)


def _time_refusal(order: Order, time_ms: int) -> str | None:
    rests = may_rest(order.time_in_force)
    if order.time_in_force not in _TIMES_IN_FORCE or (rests and order.kind in _AT_ONCE):
        return types.TIME_IN_FORCE
    if (order.time_in_force == GTD) != bool(order.expires_ms):
        return types.EXPIRY
    if order.expires_ms and order.expires_ms <= time_ms:
        return types.EXPIRED
    return None


def _mode_refusal(order: Order) -> str | None:
    if order.post_only not in (0, 1):
        return types.POST_ONLY_TERMS
    if order.post_only and not (order.kind == LIMIT and may_rest(order.time_in_force)):
        return types.POST_ONLY_TERMS
    return None if order.self_trade in SELF_TRADE_NAMES else types.SELF_TRADE_MODE


def _number_refusal(order: Order, market: Market) -> str | None:
    if not 1 <= order.price_ticks <= PRICE_TICKS_MAX:
        return types.PRICE
    if not (1 <= order.stop_ticks <= PRICE_TICKS_MAX if is_stop(order.kind) else order.stop_ticks == 0):
        return types.STOP_PRICE
    if not market.quantity_min_lots <= order.quantity_lots <= market.quantity_max_lots:
        return types.QUANTITY
    if order.display_lots:
        shows = order.kind in (LIMIT, STOP_LIMIT) and may_rest(order.time_in_force)
        bounded = market.quantity_min_lots <= order.display_lots <= order.quantity_lots
        if not (shows and bounded and order.display_lots * ICEBERG_PARTS_MAX >= order.quantity_lots):
            return types.DISPLAY
    return None
