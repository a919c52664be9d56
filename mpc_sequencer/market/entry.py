"""Phase 3: nonce, terms and balance of each order, one after the other (docs/protocol-execution.md, "Entry").

By draw, whatever the markets' policies: an account may act in several markets, so no market's own sequence could
decide which of two orders gets a nonce or a balance, and by draw no member and no trader chooses. Accounts do not meet
here, so the draw is asked only where an account has several orders; but for those that send dark orders, of which a
batch has room for so many.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.actions import DarkOrder, Order, Replace, Withdrawal
from mpc_sequencer.core.limits import AMOUNT_MAX, OPEN_ORDERS_PER_ACCOUNT_MAX
from mpc_sequencer.market import types
from mpc_sequencer.market.cancels import Cancels, Entering
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.dark import enter_dark
from mpc_sequencer.market.fees import lock_asset, lock_units
from mpc_sequencer.market.openorder import KEPT, NEW, OpenOrder, opened
from mpc_sequencer.market.terms import could_rest, is_stop, terms_refusal
from mpc_sequencer.market.types import PreparedOrder

Row = tuple[bytes, Order | Withdrawal | DarkOrder | Entering]


class Entry:
    """Phase 3 of a height."""

    __slots__ = ("_cancels", "_client_ids", "_context")

    def __init__(self, context: Context, cancels: Cancels) -> None:
        self._context = context
        self._cancels = cancels
        self._client_ids: set[tuple[bytes, int]] = set()
        """Of orders accepted here that could rest."""

    def run(self, batch: Iterable[PreparedOrder]) -> None:
        """Enter the orders and withdrawals of ``batch``, and the replacements that the cancels left."""
        by_account: dict[bytes, list[Row]] = {}
        dark_accounts: set[bytes] = set()
        for one in batch:
            action = one.action
            if isinstance(action, Order | Withdrawal | DarkOrder):
                by_account.setdefault(action.account, []).append((one.order_id, action))
            if isinstance(action, DarkOrder):
                dark_accounts.add(action.account)
        for (account, _), entering in self._cancels.entering.items():
            by_account.setdefault(account, []).append((entering.order_id, entering))
        draw = self._context.draw
        together = [row for account in sorted(dark_accounts) for row in by_account.pop(account)]
        for rows in (together, *by_account.values()):
            for order_id, row in sorted(rows, key=lambda row: draw(row[0])) if len(rows) > 1 else rows:
                if isinstance(row, Withdrawal):
                    code = self._nonce_refusal(row) or self._withdraw(row)
                    self._context.close(order_id, code, row.account, None)
                elif isinstance(row, DarkOrder):
                    self._context.close(order_id, self._enter_dark(order_id, row), row.account, row.market)
                elif (refused := self._enter(order_id, row)) is not None:
                    order = row.order if isinstance(row, Entering) else row
                    self._context.close(order_id, refused, order.account, order.market)

    def _nonce_refusal(self, action: Order | Withdrawal | DarkOrder) -> str | None:
        key = action.account, action.nonce
        return self._cancels.voided.get(key) or self._context.state.ledger.consume_nonce(*key)

    def _withdraw(self, action: Withdrawal) -> str:
        state = self._context.state
        if action.asset not in state.assets:
            return types.ASSET
        if not 1 <= action.amount_units <= AMOUNT_MAX:
            return types.AMOUNT
        done = state.ledger.withdraw(action.account, action.asset, action.amount_units)
        return types.WITHDRAWN if done else types.BALANCE

    def _enter_dark(self, order_id: bytes, order: DarkOrder) -> str:
        refused = self._nonce_refusal(order)
        if refused is None and self._cancels.sweeps(order):
            refused = types.CANCELLED
        return refused or enter_dark(self._context, order_id, order)

    def _enter(self, order_id: bytes, row: Order | Entering) -> str | None:
        """The code of an order that ends here, or None where it goes on to its market."""
        if isinstance(row, Entering):
            order, filled_lots, place_of = row.order, row.filled_lots, row.place_of
            refused = types.CANCELLED if self._cancels.sweeps(order) else None
        else:
            order, filled_lots, place_of = row, 0, None
            refused = self._nonce_refusal(order)
            if refused is None and self._cancels.sweeps(order):
                refused = types.CANCELLED
            refused = refused or terms_refusal(
                order, self._context.state.markets.get(order.market), self._context.time_ms
            )
        refused = refused or self._account_refusal(order, filled_lots)
        if refused is not None:
            return refused
        self._accepted(order)
        return self._place(opened(order_id, order, filled_lots, NEW if place_of is None else KEPT), place_of)

    def _account_refusal(self, order: Order, filled_lots: int) -> str | None:
        """What the account's other orders and its balance say; locks the order's units where they say nothing."""
        context, state = self._context, self._context.state
        account, client_id = order.account, order.client_id
        if client_id and (
            (account, client_id) in self._client_ids
            or state.ledger.knows_client_id(account, client_id)
            or context.is_open(state.orders.of_client_id(account, client_id))
        ):
            return types.DUPLICATE_CLIENT_ID
        count = len(state.orders.of_account(account)) + context.opened[account]
        if count >= OPEN_ORDERS_PER_ACCOUNT_MAX and could_rest(order):
            return types.TOO_MANY_OPEN
        market = state.markets[order.market]
        amount = lock_units(market, order.side, order.price_ticks, order.quantity_lots - filled_lots)
        if amount > AMOUNT_MAX or not state.ledger.lock(account, lock_asset(market, order.side), amount):
            return types.BALANCE
        return None

    def _accepted(self, order: Order) -> None:
        if could_rest(order):
            self._context.opened[order.account] += 1
            if order.client_id:
                self._client_ids.add((order.account, order.client_id))
        if order.client_id:
            self._context.state.ledger.remember_client_ids(order.account, (order.client_id,))

    def _place(self, order: OpenOrder, place_of: OpenOrder | None) -> str | None:
        context = self._context
        if is_stop(order.kind):
            context.waiting.append(order)
            return types.WAITING
        if place_of is not None:
            context.kept.append((order, place_of))
        else:
            context.entered.setdefault(order.market, []).append(order)
        return None


def batch_accounts(batch: Iterable[PreparedOrder]) -> set[bytes]:
    """The accounts that act in ``batch``."""
    return {one.action.account for one in batch if one.action is not None}


def enters_receive_market(context: Context, batch: Iterable[PreparedOrder]) -> bool:
    """Whether some order of ``batch`` is for a market that orders by receipt."""
    by_receipt = context.state.by_receipt
    return bool(by_receipt) and any(
        isinstance(one.action, Order | Replace) and one.action.market in by_receipt for one in batch
    )


def enters_dark_market(context: Context, batch: Iterable[PreparedOrder]) -> bool:
    """Whether some order of ``batch`` is for a dark market."""
    return any(isinstance(one.action, DarkOrder) and one.action.market in context.state.dark for one in batch)
