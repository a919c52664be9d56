"""Large batches in columns: the entry of plain limit orders for AUCTION markets without a Python object per step.

The rule is that of :mod:`~mpc_sequencer.market.entry` and nothing else; this finds the orders for which its outcome is
known without going through them one by one, and leaves all others to it. An account's orders are taken together where
all it does in the batch is to send GTC, GTD and IOC limit orders with no further terms but client ids, each in bounds,
with nonces that are usable in any sequence and client ids that are new, and its balance covers them all: then no draw
decides anything, and all are accepted. Accounts do not meet
here, so what one of them sends, whatever it is, takes nobody else's orders out of the columns.

Integers are int64 and nothing overflows: values are summed in *tick-lots* (price times lots, before the market's
units), and of a batch of n orders only those below 2^62 / n tick-lots are taken, so that any sum of them is below 2^62.
With ``k = quote_units_per_tick_lot * ppm = k1 * 1,000,000 + k0`` and ``x = a * 1,000,000 + b`` tick-lots, the fee is
``floor(x * k / 1,000,000) = x * k1 + a * k0 + floor(b * k0 / 1,000,000)``, of which the last two terms are at most x; a
lock's ceiling likewise. What has no such bound, units of an account, is made of the sums in Python's integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from mpc_sequencer.core.actions import BUY, GTC, GTD, IOC, LIMIT, SELL, Order
from mpc_sequencer.core.limits import NONCE_WINDOW, OPEN_ORDERS_PER_ACCOUNT_MAX, PPM, PRICE_TICKS_MAX
from mpc_sequencer.market.context import Context
from mpc_sequencer.market.ledger_columns import (
    SAFE,
    Bools,
    Ints,
    Needs,
    covered,
    exact,
    handles_of,
    lock,
    nonces_ahead,
    scaled,
    use_nonces,
    windows_of,
)
from mpc_sequencer.market.types import AUCTION, Market, PreparedOrder

_UINT16: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Rows:
    """New orders of one AUCTION market, all accepted and locked, a row each. ``prepared`` have the terms that no column
    has; ``accounts`` are places in ``account_list``
    and in ``handles``, which has theirs. All lots, and all tick-lots, together are below SAFE."""

    prepared: Sequence[PreparedOrder]
    account_list: Sequence[bytes]
    handles: Ints
    accounts: Ints
    buys: Bools
    rests: Bools
    prices: Ints
    lots: Ints

    def source(self, place: int) -> Order:
        """The order of a row."""
        return cast(Order, self.prepared[place].action)  # nothing else is in columns


@dataclass(frozen=True, slots=True)
class Parts:
    """A rate on values in tick-lots: ``whole`` units on each, and ``ppm`` (below 1,000,000) millionths."""

    whole: int
    ppm: int

    def floors(self, tick_lots: Any) -> Any:
        """Of each value the millionths, rounded down; never above the value."""
        millions = tick_lots // PPM
        return millions * self.ppm + (tick_lots - millions * PPM) * self.ppm // PPM

    def ceilings(self, tick_lots: Ints) -> Ints:
        """As :meth:`floors`, rounded up."""
        millions = tick_lots // PPM
        made: Ints = millions * self.ppm - (millions * PPM - tick_lots) * self.ppm // PPM
        return made


def fee_parts(market: Market, rate_ppm: int) -> Parts:
    """The fee in quote units at ``rate_ppm`` on values in tick-lots."""
    return Parts(*divmod(market.quote_units_per_tick_lot * rate_ppm, PPM))


def lock_parts(market: Market) -> Parts:
    """What a buy locks beyond its cost, in quote units (see :func:`~mpc_sequencer.market.fees.lock_units`)."""
    return fee_parts(market, max(market.maker_fee_ppm, market.taker_fee_ppm))


def by_group(keys: Ints, keys_max: int) -> tuple[Ints, Ints]:
    """The sequence that sorts ``keys`` (0 .. ``keys_max``), equal ones as they were, and where in it each group of
    equal ones starts."""
    order = np.argsort(keys.astype(np.uint16) if keys_max < _UINT16 else keys, kind="stable")  # 16 bits: a radix sort
    ordered = keys[order]
    return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])


def enter_columns(context: Context, batch: Sequence[PreparedOrder]) -> Sequence[PreparedOrder]:
    """Take what can be taken in columns; the orders of ``batch`` that are left for Entry."""
    entry = _ColumnEntry(context, batch)
    return entry.run()


class _ColumnEntry:
    """One batch's entry in columns."""

    def __init__(self, context: Context, batch: Sequence[PreparedOrder]) -> None:
        self._context = context
        self._batch = batch
        rows: list[PreparedOrder] = []
        self._no_orders: list[PreparedOrder] = []
        for one in batch:
            (rows if type(one.action) is Order else self._no_orders).append(one)
        actions: list[Any] = [one.action for one in rows]
        self._rows = rows
        self._actions = actions
        places: dict[bytes, int] = {}
        self._accounts = _column([places.setdefault(a.account, len(places)) for a in actions])
        self._account_list = list(places)
        self._slow = np.zeros(len(places), dtype=np.bool_)
        for one in self._no_orders:
            if one.action is not None and one.action.account in places:
                self._slow[places[one.action.account]] = True
        self._nonces = _column([a.nonce for a in actions])
        self._markets = _column([a.market for a in actions])
        self._sides = _column([a.side for a in actions])
        self._times = _column([a.time_in_force for a in actions])
        self._prices = _column([a.price_ticks for a in actions])
        self._lots = _column([a.quantity_lots for a in actions])
        self._odd = _column(
            [
                a.post_only | a.self_trade | a.stop_ticks | a.display_lots | a.kind ^ LIMIT
                for a in actions
            ]
        )
        self._client_ids = _column([a.client_id for a in actions])
        self._expiries = _column([a.expires_ms for a in actions])

    def run(self) -> Sequence[PreparedOrder]:
        if not self._rows:
            return self._batch
        self._find_markets()
        self._check_terms()
        self._handles = handles_of(self._context.state.ledger, self._account_list)
        self._take_accounts()
        taken = ~self._slow[self._accounts]
        self._hand_over(taken)
        return [*self._no_orders, *(self._rows[i] for i in np.flatnonzero(~taken).tolist())]

    def _find_markets(self) -> None:
        """The AUCTION markets of the batch, others as None, and each order's place among them."""
        ids, places = self._markets[:1], np.zeros_like(self._markets)
        if (self._markets != ids).any():
            ids, places = np.unique(self._markets, return_inverse=True)
        found = (self._context.state.markets.get(market_id) for market_id in ids.tolist())
        self._auctions = [None if one is None or one.policy != AUCTION else one for one in found]
        self._market_places = places

    def _check_terms(self) -> None:
        """Mark accounts slow with orders that may not be plain and in bounds."""
        sides, prices, lots = self._sides, self._prices, self._lots
        good = (self._odd == 0) & ((sides == BUY) | (sides == SELL))
        lasts = self._times == GTD
        good &= lasts | (self._times == GTC) | (self._times == IOC)
        good &= np.where(lasts, self._expiries > self._context.time_ms, self._expiries == 0)
        good &= (prices >= 1) & (prices <= PRICE_TICKS_MAX)
        good &= lots <= SAFE // len(prices) // np.maximum(prices, 1)
        known = np.zeros(len(self._rows), dtype=np.bool_)
        for place, market in enumerate(self._auctions):
            if market is not None:
                here = self._market_places == place
                known |= here & (lots >= market.quantity_min_lots) & (lots <= market.quantity_max_lots)
        self._slow[self._accounts[~(known & good)]] = True

    def _take_accounts(self) -> None:
        """Use the nonces of, and lock for, each account of which all can be accepted; mark the others slow."""
        order, _ = by_group(self._accounts, len(self._account_list))
        apart = np.diff(self._accounts[order]) > 0
        if not (apart | (np.diff(self._nonces[order]) > 0)).all():
            order = np.lexsort((self._nonces, self._accounts))
        accounts, nonces = self._accounts[order], self._nonces[order]
        starts = np.flatnonzero(np.r_[True, accounts[1:] != accounts[:-1]])
        stops = np.r_[starts[1:], len(accounts)]
        self._slow[accounts[1:][(nonces[1:] == nonces[:-1]) & (accounts[1:] == accounts[:-1])]] = True
        lowest, highest = nonces[starts], nonces[stops - 1]
        self._slow |= highest - lowest >= NONCE_WINDOW  # sorted, accounts are in the sequence of their list
        resting = np.add.reduceat((self._times[order] != IOC).astype(np.int64), starts)
        named = np.maximum.reduceat(self._client_ids[order], starts) > 0
        self._slow |= self._handles < 0
        rested = np.flatnonzero((resting > 0) & ~self._slow)
        most = [OPEN_ORDERS_PER_ACCOUNT_MAX - count for count in self._open_counts(rested)]
        self._slow[rested] = resting[rested] > most
        needs = self._needs(order, starts)
        known = np.flatnonzero(~self._slow)
        ledger = self._context.state.ledger
        good = nonces_ahead(ledger, self._handles[known], lowest[known], highest[known])
        good &= covered(ledger, self._handles[known], needs, known)
        self._slow[known[~good]] = True
        for place in np.flatnonzero(named & ~self._slow).tolist():
            client_ids = self._new_client_ids(place, order[starts[place] : stops[place]].tolist())
            if client_ids is None:
                self._slow[place] = True
            else:
                ledger.remember_client_ids(self._account_list[place], client_ids)
        places = np.flatnonzero(~self._slow)
        if len(places) < len(starts):
            kept = ~self._slow[accounts]
            accounts, nonces = accounts[kept], nonces[kept]
        windows = windows_of(accounts, highest[accounts] - nonces, len(starts))
        use_nonces(ledger, self._handles[places], highest[places], windows[places])
        lock(ledger, self._handles[places], needs, places)

    def _open_counts(self, places: Ints) -> list[int]:
        """How many open orders accounts have, less those that ended in this height."""
        of_handle, opened = self._context.state.orders.of_handle, self._context.opened
        counts = [len(of_handle(handle)) for handle in self._handles[places].tolist()]
        if opened:
            for at, place in enumerate(places.tolist()):
                counts[at] += opened.get(self._account_list[place], 0)
        return counts

    def _new_client_ids(self, place: int, rows: list[int]) -> list[int] | None:
        """An account's client ids by draw, as they would be remembered; None where one was used before."""
        address = self._account_list[place]
        ledger, orders, draw = self._context.state.ledger, self._context.state.orders, self._context.draw
        named = [(self._rows[i].order_id, self._actions[i].client_id) for i in rows if self._actions[i].client_id]
        used = (
            ledger.knows_client_id(address, client_id) or orders.of_client_id(address, client_id) is not None
            for _, client_id in named
        )
        if len({client_id for _, client_id in named}) < len(named) or any(used):
            return None
        if len(named) > 1:
            named.sort(key=lambda row: draw(row[0]))
        return [client_id for _, client_id in named]

    def _needs(self, order: Ints, starts: Ints) -> Needs:
        """What accounts lock; nothing for those that are slow. ``order`` sorts the rows by account, each of which
        starts at its place of ``starts``."""
        needs = Needs()
        kept, buys = ~self._slow[self._accounts], self._sides == BUY
        for place, market in enumerate(self._auctions):
            here = kept & (self._market_places == place)
            if market is None:
                continue
            sold = np.where(here & ~buys, self._lots, 0)
            needs.add(market.base_asset, scaled(np.add.reduceat(sold[order], starts), market.base_units_per_lot))
            parts = lock_parts(market)
            quote_units = market.quote_units_per_tick_lot + parts.whole
            tick_lots = (self._prices * np.where(here & buys, self._lots, 0))[order]
            values = exact(np.add.reduceat(tick_lots, starts), quote_units + 1)
            ceilings = np.add.reduceat(parts.ceilings(tick_lots), starts)
            needs.add(market.quote_asset, values * quote_units + ceilings)
        return needs

    def _hand_over(self, taken: Bools) -> None:
        for place, market in enumerate(self._auctions):
            places = np.flatnonzero(taken & (self._market_places == place))
            if market is None or not len(places):
                continue
            every = len(places) == len(self._rows)
            self._context.columns[market.id] = Rows(
                prepared=self._rows if every else [self._rows[i] for i in places.tolist()],
                account_list=self._account_list,
                handles=self._handles,
                accounts=self._accounts[places],
                buys=self._sides[places] == BUY,
                rests=self._times[places] != IOC,
                prices=self._prices[places],
                lots=self._lots[places],
            )


def _column(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)
