"""The entry phase of a height (docs/protocol-execution.md, "Entry"): orders, Replaces that enter and withdrawals, one
after the other by draw; each uses what those before it left.
"""

from __future__ import annotations

from collections.abc import Mapping

from mpc_sequencer.audit.cancels import Cancels, Entering
from mpc_sequencer.audit.fees import dark_locks, lock
from mpc_sequencer.audit.height import Height
from mpc_sequencer.audit.state import Account, OpenOrder
from mpc_sequencer.audit.terms import is_stop, may_rest, refusal
from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import Action, DarkOrder, Order, Withdrawal
from mpc_sequencer.market.types import AUCTION, STATUS_WAITING


class Entry:
    """Runs the phase. New orders that meet a book in this height are left in ``height.new``."""

    def __init__(self, height: Height, cancels: Cancels) -> None:
        self._height = height
        self._cancels = cancels
        self._yet_to_meet: dict[bytes, list[OpenOrder]] = {}
        """By account: orders accepted in this phase that may rest once they have met the book."""

    def run(self, actions: Mapping[bytes, Action]) -> None:
        """Let the batch's actions in."""
        entering = self._cancels.entering()
        for order_id in sorted(actions, key=self._height.draw):
            action = actions[order_id]
            if isinstance(action, Order):
                outcome = self._new_order(order_id, action)
            elif isinstance(action, Withdrawal):
                outcome = self._withdraw(action)
            elif isinstance(action, DarkOrder):
                outcome = self._dark_order(order_id, action)
            elif order_id in entering:
                outcome = self._replacement(entering[order_id])
            else:
                continue
            if outcome is not None:
                self._height.result.outcomes[order_id] = outcome

    # --- one of them: an outcome, None for an order that meets the book in this height ----------
    def _nonce_refusal(self, action: Order | Withdrawal | DarkOrder) -> str | None:
        voided = self._cancels.voided(action)
        if voided is not None:
            return voided
        return self._height.state.account(action.account).use_nonce(action.nonce)

    def _withdraw(self, action: Withdrawal) -> str:
        refused = self._nonce_refusal(action)
        if refused is not None:
            return refused
        account = self._height.state.account(action.account)
        if action.asset >= self._height.assets:
            return "asset"
        if not 1 <= action.amount_units <= limits.AMOUNT_MAX:
            return "amount"
        if account.free.get(action.asset, 0) < action.amount_units:
            return "balance"
        account.move(action.asset, free=-action.amount_units)
        self._height.state.supply[action.asset] -= action.amount_units
        self._height.result.change(action.account, action.asset, -action.amount_units, action.amount_units)
        return "withdrawn"

    def _new_order(self, order_id: bytes, order: Order) -> str | None:
        refused = self._nonce_refusal(order)
        if refused is not None:
            return refused
        if self._cancels.swept(order):
            return "cancelled"
        refused = refusal(order, self._height.markets, self._height.time_ms)
        if refused is not None:
            return refused
        made = OpenOrder(order_id, order)
        refused = self._take(made)
        if refused is not None:
            return refused
        if is_stop(order):
            made.status = STATUS_WAITING
            self._height.state.put(made)
            return "waiting"
        self._arrives(made)
        return None

    def _dark_order(self, order_id: bytes, action: DarkOrder) -> str:
        refused = self._nonce_refusal(action)
        if refused is not None:
            return refused
        if self._cancels.swept(action):
            return "cancelled"
        dark, height = self._height.dark, self._height
        refused = "market" if dark is None else dark.refusal(action)
        if refused is not None or dark is None:
            return refused or "market"
        market, account = height.markets[action.market], height.state.account(action.account)
        locks = tuple(zip((market.quote_asset, market.base_asset), dark_locks(market, action), strict=True))
        if any(units > min(limits.AMOUNT_MAX, account.free.get(asset, 0)) for asset, units in locks):
            return "balance"
        for asset, units in locks:
            account.move(asset, free=-units, locked=units)
        dark.wait(order_id, action, height.result.height, height.time_ms)
        return "dark"

    def _replacement(self, entering: Entering) -> str | None:
        order, place_of = entering.order, entering.place_of
        if self._cancels.swept(order):
            return "cancelled"
        made = OpenOrder(entering.order_id, order, entering.filled_lots)
        refused = self._take(made)
        if refused is not None:
            return refused
        if is_stop(order):
            made.status = STATUS_WAITING
            self._height.state.put(made)
            return "waiting"
        if place_of is None:
            self._arrives(made)
            return None
        made.sequence = place_of.sequence
        if self._height.markets[order.market].policy == AUCTION:
            made.shown_lots = min(order.display_lots, made.remaining_lots)
        else:
            made.shown_lots = min(place_of.shown_lots, made.remaining_lots)
        self._height.state.put(made)
        return "resting"

    def _arrives(self, order: OpenOrder) -> None:
        self._height.new.setdefault(order.terms.market, {})[order.order_id] = order
        if may_rest(order.terms):
            self._yet_to_meet.setdefault(order.account, []).append(order)

    # --- what its account allows ----------
    def _take(self, order: OpenOrder) -> str | None:
        """Lock what the order needs and remember its client id; the outcome code where it cannot be."""
        terms = order.terms
        account = self._height.state.account(order.account)
        refused = self._account_refusal(terms, account)
        if refused is not None:
            return refused
        asset, amount = lock(self._height.markets[terms.market], terms, order.remaining_lots)
        if amount > limits.AMOUNT_MAX or amount > account.free.get(asset, 0):
            return "balance"
        account.move(asset, free=-amount, locked=amount)
        account.remember_client_id(terms.client_id)
        return None

    def _account_refusal(self, terms: Order, account: Account) -> str | None:
        others = self._height.state.open_of(terms.account) + self._yet_to_meet.get(terms.account, [])
        if terms.client_id != 0 and (
            terms.client_id in account.client_ids
            or any(other.terms.client_id == terms.client_id for other in others)
        ):
            return "duplicate_client_id"
        if len(others) >= limits.OPEN_ORDERS_PER_ACCOUNT_MAX and (may_rest(terms) or is_stop(terms)):
            return "too_many_open"
        return None
