"""One height: from prepared orders to fills, outcomes and deltas (docs/protocol-execution.md, "One height").

Orders are taken one after the other by draw, so that no member and no trader chooses who is first where two
orders want the same nonce or the same balance. Clearing follows when all are in, market by market, each
order at once: within the auction the draw decides nothing but remainders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import BUY, GTC, IOC, SELL, LimitOrder, Withdrawal
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from mpc_sequencer.core.merkle import merkle_root
from mpc_sequencer.market import types
from mpc_sequencer.market.clearing import Clearing, clear
from mpc_sequencer.market.state import State, lock_of
from mpc_sequencer.market.types import Fill, HeightResult, Market, Outcome, PreparedOrder, RestingOrder

_SIDES: Final = (BUY, SELL)
_TIMES_IN_FORCE: Final = (GTC, IOC)


class Draws(dict[bytes, bytes]):
    """The height's draw of each order id, computed when first asked for."""

    def __init__(self, coin: bytes) -> None:
        super().__init__()
        self._coin = coin

    def __missing__(self, order_id: bytes) -> bytes:
        draw = self[order_id] = domains.DRAW(self._coin, order_id)
        return draw


class HeightRun:
    """The execution of one height on ``state``; used once."""

    __slots__ = ("_clearing", "_draw", "_fills", "_height", "_new", "_outcomes", "_state")

    def __init__(self, state: State, height: int, coin: bytes) -> None:
        self._state = state
        self._height = height
        self._draw = Draws(coin).__getitem__
        self._new: dict[int, dict[bytes, LimitOrder]] = {}
        self._outcomes: dict[bytes, Outcome] = {}
        self._fills: list[Fill] = []
        self._clearing: list[tuple[int, int, int]] = []

    def run(self, batch: Iterable[PreparedOrder]) -> HeightResult:
        """Execute ``batch`` (distinct order ids), whatever its order."""
        ordered = sorted(batch, key=lambda prepared: self._draw(prepared.order_id))
        for prepared in ordered:
            self._take(prepared)
        for market_id in sorted(self._new):
            self._clear(self._state.markets[market_id], self._new[market_id])
        leaves = [domains.FILL_LEAF(encode(fill)) for fill in self._fills]
        return HeightResult(
            height=self._height,
            state_root=self._state.root(),
            fills_root=merkle_root(leaves, domains.FILL_NODE),
            fills=tuple(self._fills),
            outcomes=tuple(self._outcomes[prepared.order_id] for prepared in ordered),
            deltas=self._state.ledger.take_deltas(),
            clearing=tuple(self._clearing),
        )

    def _take(self, prepared: PreparedOrder) -> None:
        """Steps 2 to 5 for one order: it is refused, a withdrawal done, or it joins the clearing."""
        action = prepared.action
        if action is None:
            self._close(prepared.order_id, prepared.refusal or types.MALFORMED, None, None)
            return
        market_id = action.market if isinstance(action, LimitOrder) else None
        code = self._state.ledger.consume_nonce(action.account, action.nonce)
        if code is None:
            code = self._withdraw(action) if isinstance(action, Withdrawal) else self._lock(action)
        if code is not None:
            self._close(prepared.order_id, code, action.account, market_id)
        elif isinstance(action, LimitOrder):
            self._new.setdefault(action.market, {})[prepared.order_id] = action

    def _withdraw(self, action: Withdrawal) -> str:
        if action.asset not in self._state.assets:
            return types.ASSET
        if not 1 <= action.amount_units <= AMOUNT_MAX:
            return types.AMOUNT
        done = self._state.ledger.withdraw(action.account, action.asset, action.amount_units)
        return types.WITHDRAWN if done else types.BALANCE

    def _lock(self, order: LimitOrder) -> str | None:
        """Check a limit order's terms and lock what backs it; the refusal, or None."""
        market = self._state.markets.get(order.market)
        if market is None:
            return types.MARKET
        if order.side not in _SIDES:
            return types.SIDE
        if order.time_in_force not in _TIMES_IN_FORCE:
            return types.TIME_IN_FORCE
        if not 1 <= order.price_ticks <= PRICE_TICKS_MAX:
            return types.PRICE
        if not 1 <= order.quantity_lots <= QUANTITY_LOTS_MAX:
            return types.QUANTITY
        asset, amount = lock_of(market, order.side, order.price_ticks, order.quantity_lots)
        return None if self._state.ledger.lock(order.account, asset, amount) else types.BALANCE

    def _clear(self, market: Market, new: Mapping[bytes, LimitOrder]) -> None:
        """Steps 6 and 7 for one market that got new orders."""
        by_price: dict[int, dict[int, dict[bytes, int]]] = {BUY: {}, SELL: {}}
        for order_id, order in new.items():
            by_price[order.side].setdefault(order.price_ticks, {})[order_id] = order.quantity_lots
        book = self._state.books[market.id]
        clearing = clear(
            book.bids(),
            book.asks(),
            by_price[BUY],
            by_price[SELL],
            reference_price_ticks=self._state.reference_prices_ticks[market.id],
            draw=self._draw,
        )
        filled: dict[bytes, int] = {}
        if clearing is not None:
            filled = {**clearing.buys, **clearing.sells}
            self._settle(market, clearing, filled, new)
        price_ticks = None if clearing is None else clearing.price_ticks
        for order_id, order in new.items():
            self._finish(market, order_id, order, filled.get(order_id, 0), price_ticks)

    def _settle(
        self, market: Market, clearing: Clearing, filled: Mapping[bytes, int], new: Mapping[bytes, LimitOrder]
    ) -> None:
        """Record a market's fills in draw order and move the balances."""
        price_ticks = clearing.price_ticks
        self._state.set_reference_price(market.id, price_ticks)
        self._clearing.append((market.id, price_ticks, clearing.volume_lots))
        for order_id in sorted(filled, key=self._draw):
            lots = filled[order_id]
            order = new.get(order_id)
            if order is None:
                resting = self._state.orders[order_id]
                self._state.reduce_order(order_id, lots)
                self._pay(market, resting, price_ticks, lots)
                account, side = resting.account, resting.side
            else:
                self._pay(market, order, price_ticks, lots)
                account, side = order.account, order.side
            self._fills.append(Fill(self._height, market.id, order_id, account, side, price_ticks, lots))

    def _pay(self, market: Market, order: LimitOrder | RestingOrder, price_ticks: int, lots: int) -> None:
        ledger = self._state.ledger
        base_units = lots * market.base_units_per_lot
        quote_units = price_ticks * lots * market.quote_units_per_tick_lot
        if order.side == BUY:
            better_ticks = order.price_ticks - price_ticks
            ledger.pay_locked(order.account, market.quote_asset, quote_units)
            ledger.release(
                order.account, market.quote_asset, better_ticks * lots * market.quote_units_per_tick_lot
            )
            ledger.receive(order.account, market.base_asset, base_units)
        else:
            ledger.pay_locked(order.account, market.base_asset, base_units)
            ledger.receive(order.account, market.quote_asset, quote_units)

    def _finish(
        self, market: Market, order_id: bytes, order: LimitOrder, filled_lots: int, price_ticks: int | None
    ) -> None:
        """What a new order left unfilled rests or lapses; its outcome."""
        rest_lots = order.quantity_lots - filled_lots
        if rest_lots and order.time_in_force == GTC:
            resting = RestingOrder(order.account, market.id, order.side, order.price_ticks, rest_lots)
            self._state.add_order(order_id, resting)
        elif rest_lots:
            asset, amount = lock_of(market, order.side, order.price_ticks, rest_lots)
            self._state.ledger.release(order.account, asset, amount)
        if not filled_lots:
            code = types.RESTING if order.time_in_force == GTC else types.UNFILLED
            self._close(order_id, code, order.account, market.id)
            return
        code = types.PARTLY_FILLED if rest_lots else types.FILLED
        self._close(
            order_id, code, order.account, market.id, filled_lots=filled_lots, price_ticks=price_ticks
        )

    def _close(
        self,
        order_id: bytes,
        code: str,
        account: bytes | None,
        market_id: int | None,
        *,
        filled_lots: int = 0,
        price_ticks: int | None = None,
    ) -> None:
        self._outcomes[order_id] = Outcome(order_id, code, account, market_id, filled_lots, price_ticks)
