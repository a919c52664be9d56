"""Large batches in columns: the entry of plain limit orders for AUCTION markets without a Python object per step.

The rule is that of :mod:`~mpc_sequencer.market.entry` and nothing else; this finds the orders for which its outcome is
known without going through them one by one, and leaves all others to it. An account's orders are taken together where
all it does in the batch is to send limit orders with no further terms, each in bounds, with nonces that are usable in
any sequence, and its balance covers them all: then no draw decides anything, and all are accepted.

Integers are int64 only where a checked maximum proves that nothing overflows; other markets' orders stay with Entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc_sequencer.core.actions import BUY, GTC, IOC, LIMIT, SELL, Order
from mpc_sequencer.core.limits import NONCE_AHEAD_MAX, NONCE_WINDOW, OPEN_ORDERS_PER_ACCOUNT_MAX, PPM, PRICE_TICKS_MAX
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.fees import lock_asset
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.types import AUCTION, Market, PreparedOrder

SAFE: Final = 1 << 62

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """New orders of one AUCTION market, all accepted and locked, a row each. ``sources`` have the terms that no column
    has; ``accounts`` are places in ``account_list``."""

    order_ids: Sequence[bytes]
    sources: Sequence[Order | OpenOrder]
    account_list: Sequence[bytes]
    accounts: Ints
    buys: Bools
    rests: Bools
    prices: Ints
    lots: Ints


def int64_market(market: Market, price_ticks_max: int, lots_sum: int) -> bool:
    """Whether all products that orders of so many lots in all, at such prices, need fit an int64."""
    rate_ppm = max(market.maker_fee_ppm, market.taker_fee_ppm, 1)
    quote = price_ticks_max * lots_sum * market.quote_units_per_tick_lot
    return quote * max(rate_ppm, 2) < SAFE and lots_sum * market.base_units_per_lot < SAFE and quote + PPM < SAFE


def lots_sum(lots: Ints) -> int:
    """The sum of ``lots`` (not empty, none negative), or a bound of SAFE or more where it might not fit an int64."""
    bound = int(lots.max()) * len(lots)
    return bound if bound >= SAFE else int(lots.sum())


def lock_column(market: Market, buys: Bools, prices: Ints, lots: Ints) -> Ints:
    """What orders keep locked, as :func:`~mpc_sequencer.market.fees.lock_units`, of a market that
    :func:`int64_market` lets pass."""
    cost = prices * lots * market.quote_units_per_tick_lot
    rate_ppm = max(market.maker_fee_ppm, market.taker_fee_ppm)
    made: Ints = np.where(buys, cost + -((-cost * rate_ppm) // PPM), lots * market.base_units_per_lot)
    return made


def enter_columns(context: Context, batch: Sequence[PreparedOrder]) -> Sequence[PreparedOrder]:
    """Take what can be taken in columns; the orders of ``batch`` that are left for Entry."""
    entry = _ColumnEntry(context, batch)
    return entry.run()


class _ColumnEntry:
    """One batch's entry in columns."""

    def __init__(self, context: Context, batch: Sequence[PreparedOrder]) -> None:
        self._context = context
        self._batch = batch
        rows = [one for one in batch if type(one.action) is Order]
        actions: list[Any] = [one.action for one in rows]
        self._rows = rows
        self._actions = actions
        places: dict[bytes, int] = {}
        self._accounts = _column([places.setdefault(a.account, len(places)) for a in actions])
        self._account_list = list(places)
        self._slow = np.zeros(len(places), dtype=np.bool_)
        for one in batch:
            if one.action is not None and type(one.action) is not Order and one.action.account in places:
                self._slow[places[one.action.account]] = True
        self._nonces = _column([a.nonce for a in actions])
        self._markets = _column([a.market for a in actions])
        self._sides = _column([a.side for a in actions])
        self._times = _column([a.time_in_force for a in actions])
        self._prices = _column([a.price_ticks for a in actions])
        self._lots = _column([a.quantity_lots for a in actions])
        self._odd = _column(
            [
                a.client_id | a.post_only | a.self_trade | a.stop_ticks | a.display_lots | a.expires_ms | a.kind ^ LIMIT
                for a in actions
            ]
        )

    def run(self) -> Sequence[PreparedOrder]:
        if not self._rows:
            return self._batch
        locks, assets = self._check_terms()
        order = np.lexsort((self._nonces, self._accounts))
        starts = np.flatnonzero(np.r_[True, np.diff(self._accounts[order]) > 0])
        self._check_nonces(order, starts)
        sums = self._lock_sums(locks, assets)
        self._check_accounts(order, starts, sums)
        taken = ~self._slow[self._accounts]
        self._consume(order, starts, sums)
        self._hand_over(taken)
        kept = np.flatnonzero(~taken)
        left = [one for one in self._batch if type(one.action) is not Order]
        return [*left, *(self._rows[i] for i in kept)]

    def _check_terms(self) -> tuple[Ints, Ints]:
        """Mark accounts slow with orders that may not be plain and in bounds; what each order locks, and which
        asset."""
        good = (self._odd == 0) & ((self._sides == BUY) | (self._sides == SELL))
        good &= (self._times == GTC) | (self._times == IOC)
        good &= (self._prices >= 1) & (self._prices <= PRICE_TICKS_MAX)
        locks, assets = np.zeros_like(self._lots), np.zeros_like(self._lots)
        known = np.zeros(len(self._rows), dtype=np.bool_)
        for market_id in np.unique(self._markets).tolist():
            market = self._context.state.markets.get(market_id)
            if market is None or market.policy != AUCTION:
                continue
            here = (self._markets == market_id) & good
            here &= (self._lots >= market.quantity_min_lots) & (self._lots <= market.quantity_max_lots)
            if not here.any():
                continue
            prices, lots, buys = self._prices[here], self._lots[here], self._sides[here] == BUY
            if not int64_market(market, int(prices.max()), lots_sum(lots)):
                continue
            known |= here
            locks[here] = lock_column(market, buys, prices, lots)
            assets[here] = np.where(buys, lock_asset(market, BUY), market.base_asset)
        self._slow[self._accounts[~known]] = True
        return locks, assets

    def _check_nonces(self, order: Ints, starts: Ints) -> None:
        """Mark accounts slow whose nonces are not all new, distinct and usable in any sequence."""
        accounts, nonces = self._accounts[order], self._nonces[order]
        again = (np.diff(nonces) == 0) & (np.diff(accounts) == 0)
        self._slow[accounts[1:][again]] = True
        least, most = nonces[starts], nonces[np.r_[starts[1:], len(nonces)] - 1]
        self._slow[accounts[starts]] |= most - least >= NONCE_WINDOW
        ledger = self._context.state.ledger
        for account, low, high in zip(accounts[starts].tolist(), least.tolist(), most.tolist(), strict=True):
            if not self._slow[account]:
                highest = ledger.highest_nonce(self._account_list[account])
                self._slow[account] = low <= highest or high > highest + NONCE_AHEAD_MAX

    def _lock_sums(self, locks: Ints, assets: Ints) -> list[tuple[int, int, int]]:
        """What each account locks of each asset, as rows (account, asset, units)."""
        keys = (self._accounts << 16) | assets
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) > 0])
        firsts = keys[order][starts]
        if int(locks.max(initial=0)) * len(locks) >= SAFE:  # markets may share an asset
            self._slow[:] = True
        units = np.add.reduceat(locks[order], starts)
        return list(zip((firsts >> 16).tolist(), (firsts & 0xFFFF).tolist(), units.tolist(), strict=True))

    def _check_accounts(self, order: Ints, starts: Ints, sums: list[tuple[int, int, int]]) -> None:
        """Mark accounts slow whose balance does not cover all, or that would have too many open orders."""
        state = self._context.state
        for account, asset, units in sums:
            if not self._slow[account] and units > state.ledger.free(self._account_list[account], asset):
                self._slow[account] = True
        resting = np.add.reduceat((self._times[order] == GTC).astype(np.int64), starts)
        for account, count in zip(self._accounts[order][starts].tolist(), resting.tolist(), strict=True):
            address = self._account_list[account]
            held = len(state.orders.of_account(address)) + self._context.opened[address]
            if held + count > OPEN_ORDERS_PER_ACCOUNT_MAX:
                self._slow[account] = True

    def _consume(self, order: Ints, starts: Ints, sums: list[tuple[int, int, int]]) -> None:
        """Use the nonces of the accounts taken up, and lock."""
        ledger = self._context.state.ledger
        nonces, accounts = self._nonces[order].tolist(), self._accounts[order][starts].tolist()
        for account, start, stop in zip(accounts, starts.tolist(), [*starts[1:].tolist(), len(nonces)], strict=True):
            if not self._slow[account]:
                ledger.consume_nonces(self._account_list[account], nonces[start:stop])
        for account, asset, units in sums:
            if not self._slow[account]:
                ledger.lock(self._account_list[account], asset, units)

    def _hand_over(self, taken: Bools) -> None:
        for market_id in np.unique(self._markets[taken]).tolist():
            places = np.flatnonzero(taken & (self._markets == market_id))
            listed = places.tolist()
            self._context.columns[market_id] = Rows(
                order_ids=[self._rows[i].order_id for i in listed],
                sources=[self._actions[i] for i in listed],
                account_list=self._account_list,
                accounts=self._accounts[places],
                buys=self._sides[places] == BUY,
                rests=self._times[places] == GTC,
                prices=self._prices[places],
                lots=self._lots[places],
            )


def _column(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)
