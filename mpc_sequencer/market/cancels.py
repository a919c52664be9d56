"""Cancels, cancel-alls and the cancelling half of replacements (docs/protocol-execution.md, "Cancels").

They act before any order of the height enters, by account and nonce, so an account's own sequence decides and never
the draw: who can cancel in this height is not filled in it. A target is an order of the same account by its nonce, so
nobody can name another's. One that has not been seen yet is cancelled by using up its nonce, whenever it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpc_sequencer.core.actions import EVERY_MARKET, LIMIT, Cancel, CancelAll, DarkOrder, Order, Replace
from mpc_sequencer.market import types
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.terms import may_rest, terms_refusal
from mpc_sequencer.market.types import STATUS_RESTING, PreparedOrder

Key = tuple[bytes, int]  # account and nonce


@dataclass(frozen=True, slots=True)
class Entering:
    """A replacement that has ended its target and is to enter: what that had filled, and the target itself where its
    place is kept."""

    order_id: bytes
    order: Order
    filled_lots: int
    place_of: OpenOrder | None


class Cancels:
    """Phase 2 of a height, and what it leaves for phase 3."""

    __slots__ = ("_context", "_nonces", "_sweeps", "entering", "voided")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._nonces: set[Key] = set()
        self._sweeps: dict[bytes, list[tuple[int, int]]] = {}
        self.voided: dict[Key, str] = {}
        """Nonces used up here before an order came with them, and the code of one that comes in this height."""
        self.entering: dict[Key, Entering] = {}

    def run(self, batch: Sequence[PreparedOrder]) -> None:
        """Take all cancels and replacements of ``batch`` (orders with actions)."""
        others = [one for one in batch if type(one.action) is not Order]  # most are orders: the quick test first
        cancels = [
            (one.order_id, one.action) for one in others if isinstance(one.action, (Cancel, CancelAll, Replace))
        ]
        if not cancels:
            return
        self._nonces = {(one.action.account, one.action.nonce) for one in batch if one.action is not None}
        draw = self._context.draw
        for order_id, action in sorted(cancels, key=lambda row: (row[1].account, row[1].nonce, draw(row[0]))):
            code = self._take(order_id, action)
            if code is not None:
                market_id = action.market if isinstance(action, Replace) else None
                self._context.close(order_id, code, action.account, market_id)

    def sweeps(self, order: Order | DarkOrder) -> bool:
        """Whether a cancel-all of the account ends ``order``, which is of this batch."""
        return any(
            order.nonce < nonce and market_id in (order.market, EVERY_MARKET)
            for nonce, market_id in self._sweeps.get(order.account, ())
        )

    def _take(self, order_id: bytes, action: Cancel | CancelAll | Replace) -> str | None:
        """The action's outcome code, or None for a replacement that enters."""
        key = action.account, action.nonce
        refused = self.voided.get(key) or self._context.state.ledger.consume_nonce(*key)
        if refused is not None:
            return refused
        if isinstance(action, CancelAll):
            return self._sweep(action)
        if isinstance(action, Cancel):
            return self._end_target(action, types.CANCELLED)[0]
        return self._replace(order_id, action)

    def _sweep(self, action: CancelAll) -> str:
        context = self._context
        if action.market != EVERY_MARKET and action.market not in context.state.markets:
            return types.MARKET
        for order in list(context.state.orders.of_account(action.account).values()):
            if action.market in (order.market, EVERY_MARKET) and context.is_open(order):
                context.end(order, types.CANCELLED)
        self._sweeps.setdefault(action.account, []).append((action.nonce, action.market))
        return types.CANCELLED

    def _replace(self, order_id: bytes, action: Replace) -> str | None:
        order = action.order()
        refused = terms_refusal(order, self._context.state.markets.get(order.market), self._context.time_ms)
        if refused is not None:
            return refused
        code, filled_lots, target = self._end_target(action, types.REPLACED)
        if code in (types.NOT_OPEN, types.NONCE_TOO_HIGH):
            return code
        if filled_lots >= order.quantity_lots:
            return types.FILLED_BEFORE
        kept = target if target is not None and _keeps_place(order, filled_lots, target) else None
        self.entering[order.account, order.nonce] = Entering(order_id, order, filled_lots, kept)
        return None

    def _end_target(self, action: Cancel | Replace, code: str) -> tuple[str, int, OpenOrder | None]:
        """End what ``action`` names, with ``code``: what a cancel's outcome is, what the target had filled, and the
        target where it was open."""
        context = self._context
        key = action.account, action.target_nonce
        entering = self.entering.pop(key, None)
        if entering is not None:
            context.close(entering.order_id, code, action.account, entering.order.market)
            return types.CANCELLED, entering.filled_lots, None
        order = context.state.orders.of_account(action.account).get(action.target_nonce)
        if order is not None and context.is_open(order):
            context.end(order, code)
            return types.CANCELLED, order.filled_lots, order
        refused = context.state.ledger.consume_nonce(*key)
        if refused is not None:
            return types.NONCE_TOO_HIGH if refused == types.NONCE_TOO_HIGH else types.NOT_OPEN, 0, None
        self.voided[key] = code
        return types.CANCELLED if key in self._nonces else types.CANCELLED_UNSEEN, 0, None


def _keeps_place(order: Order, filled_lots: int, target: OpenOrder) -> bool:
    """Whether a replacement asks for nothing that its target had not: then it keeps the target's time."""
    return (
        target.status == STATUS_RESTING
        and order.kind == target.kind == LIMIT
        and may_rest(order.time_in_force)
        and (order.market, order.side, order.price_ticks, order.display_lots)
        == (target.market, target.side, target.price_ticks, target.display_lots)
        and order.quantity_lots - filled_lots <= target.remaining_lots
    )
