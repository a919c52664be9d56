"""The cancels phase of a height (docs/protocol-execution.md, "Cancels"): Cancel, CancelAll and what a Replace ends.

It comes before any order of the batch enters, so nobody's cancel is late for the orders it travels with. What a
target has filled is carried along: the total that a Replace names covers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpc_sequencer.audit.height import Height
from mpc_sequencer.audit.state import OpenOrder
from mpc_sequencer.audit.terms import may_rest, refusal
from mpc_sequencer.core.actions import EVERY_MARKET, LIMIT, Action, Cancel, CancelAll, DarkOrder, Order, Replace


@dataclass(frozen=True, slots=True)
class Entering:
    """A Replace that has ended its target and is yet to enter."""

    order_id: bytes
    order: Order
    filled_lots: int
    """What its target had filled."""
    place_of: OpenOrder | None
    """The order whose place in the book it takes; None where it arrives anew."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """A target: what it had filled, the order where it was open, whether this batch has (or had) it."""

    filled_lots: int
    was: OpenOrder | None
    here: bool


class Cancels:
    """Runs the phase, and knows what it leaves for the entry of the batch's orders."""

    def __init__(self, height: Height, actions: Mapping[bytes, Action]) -> None:
        self._height = height
        self._actions = actions
        self._nonces = {(action.account, action.nonce) for action in actions.values()}
        self._entering: dict[tuple[bytes, int], Entering] = {}
        self._voided: dict[tuple[bytes, int], str] = {}
        self._swept: dict[tuple[bytes, int], int] = {}

    def run(self) -> None:
        """Go through all of them: by account, then nonce, then draw."""
        rows = [
            (action.account, action.nonce, self._height.draw(order_id), order_id, action)
            for order_id, action in self._actions.items()
            if isinstance(action, Cancel | CancelAll | Replace)
        ]
        for *_, order_id, action in sorted(rows, key=lambda row: row[:3]):
            outcome = self._judge(order_id, action)
            if outcome is not None:
                self._height.result.outcomes[order_id] = outcome

    # --- what it leaves ----------
    def entering(self) -> dict[bytes, Entering]:
        """The Replaces that are yet to enter, by order id."""
        return {each.order_id: each for each in self._entering.values()}

    def voided(self, action: Action) -> str | None:
        """The code of an action whose nonce was used up by a Cancel or Replace before the action came to it."""
        return self._voided.get((action.account, action.nonce))

    def swept(self, order: Order | DarkOrder) -> bool:
        """Whether a CancelAll with a higher nonce ends the order before it enters."""
        bounds = [self._swept.get((order.account, market), 0) for market in (order.market, EVERY_MARKET)]
        return order.nonce < max(bounds)

    # --- one of them ----------
    def _judge(self, order_id: bytes, action: Cancel | CancelAll | Replace) -> str | None:
        """The outcome; None for a Replace that is to enter."""
        voided = self.voided(action)
        if voided is not None:
            return voided
        refused = self._height.state.account(action.account).use_nonce(action.nonce)
        if refused is not None:
            return refused
        if isinstance(action, CancelAll):
            return self._cancel_all(action)
        if isinstance(action, Cancel):
            ended = self._end(action.account, action.target_nonce, "cancelled")
            if isinstance(ended, str):
                return ended
            return "cancelled" if ended.here else "cancelled_unseen"
        return self._replace(order_id, action)

    def _cancel_all(self, action: CancelAll) -> str:
        every = action.market == EVERY_MARKET
        if not every and action.market not in self._height.markets:
            return "market"
        for order in self._height.state.open_of(action.account):
            if every or order.terms.market == action.market:
                self._height.close(order, "cancelled")
        self._swept[action.account, action.market] = action.nonce
        return "cancelled"

    def _replace(self, order_id: bytes, action: Replace) -> str | None:
        order = action.order()
        refused = refusal(order, self._height.markets, self._height.time_ms)
        if refused is not None:
            return refused
        ended = self._end(action.account, action.target_nonce, "replaced")
        if isinstance(ended, str):
            return ended
        open_lots = order.quantity_lots - ended.filled_lots
        if open_lots <= 0:
            return "filled_before"
        keeps = ended.was is not None and _keeps_place(order, open_lots, ended.was)
        entering = Entering(order_id, order, ended.filled_lots, ended.was if keeps else None)
        self._entering[order.account, order.nonce] = entering
        return None

    def _end(self, account: bytes, nonce: int, code: str) -> _Ended | str:
        """End the account's order of a nonce with ``code``; an outcome code where there is nothing to end."""
        for order in self._height.state.open_of(account):
            if order.terms.nonce == nonce:
                self._height.close(order, code)
                return _Ended(order.filled_lots, order, here=True)
        entering = self._entering.pop((account, nonce), None)
        if entering is not None:
            self._height.result.outcomes[entering.order_id] = code
            return _Ended(entering.filled_lots, None, here=True)
        refused = self._height.state.account(account).use_nonce(nonce)
        if refused is not None:
            return "not_open" if refused == "nonce_consumed" else refused
        self._voided[account, nonce] = code
        return _Ended(0, None, here=(account, nonce) in self._nonces)


def _keeps_place(order: Order, open_lots: int, was: OpenOrder) -> bool:
    """Whether a Replace asks for nothing but less of what its target had in the book (where every limit order that is
    open is; a stop is none before it joins)."""
    terms = was.terms
    return (
        may_rest(order)
        and order.kind == terms.kind == LIMIT
        and order.market == terms.market
        and order.side == terms.side
        and order.price_ticks == terms.price_ticks
        and order.display_lots == terms.display_lots
        and open_lots <= was.remaining_lots
    )
