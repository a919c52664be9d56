"""One height: from prepared orders to fills, outcomes and deltas (docs/protocol-execution.md, "One height").

Orders are taken one after the other by draw, whatever their markets' policies: an account may act in several
markets, so no market's own sequence could decide which of two orders gets a nonce or a balance, and by draw no
member and no trader chooses. Clearing follows when all are in, market by market: at one price for all, where
the draw decides nothing but remainders; or one order after the other, by draw (SHUFFLE) or in the sequence the
caller derives from members' lists (RECEIVE). That sequence comes from outside, so it is asked for and checked
before anything but nonces and balances has moved, and those move back where it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY, GTC, IOC, LIMIT, SELL, Order, Withdrawal
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from mpc_sequencer.core.merkle import merkle_root
from mpc_sequencer.market import types
from mpc_sequencer.market.clearing import clear
from mpc_sequencer.market.matching import Traded, match
from mpc_sequencer.market.state import State, lock_of
from mpc_sequencer.market.types import (
    AUCTION,
    RECEIVE,
    Fill,
    HeightResult,
    Market,
    OrderValue,
    Outcome,
    Precedence,
    PreparedOrder,
)

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
        self._new: dict[int, dict[bytes, Order]] = {}
        self._outcomes: dict[bytes, Outcome] = {}
        self._fills: list[Fill] = []
        self._clearing: list[tuple[int, int, int]] = []

    def run(self, batch: Iterable[PreparedOrder], precedence: Precedence | None) -> HeightResult:
        """Execute ``batch`` (distinct order ids), whatever its order. Raises ``ValueError``, changing nothing,
        where a RECEIVE market needs ``precedence`` and does not get it."""
        ordered = sorted(batch, key=lambda prepared: self._draw(prepared.order_id))
        received = self._accept(ordered, precedence)
        for market_id, new in sorted(self._new.items()):
            market = self._state.markets[market_id]
            if market.policy == AUCTION:
                self._clear(market, new)
            else:
                self._match(market, new, received.get(market_id, list(new)))
        leaves = [domains.FILL_LEAF(encode(fill)) for fill in self._fills]
        return HeightResult(
            height=self._height,
            state_root=self._state.root(),
            fills_root=merkle_root(leaves, domains.FILL_NODE),
            fills=tuple(self._fills),
            outcomes=tuple(outcome for _, outcome in sorted(self._outcomes.items())),
            updates=(),
            deltas=self._state.ledger.take_deltas(),
            clearing=tuple(self._clearing),
        )

    def _accept(
        self, ordered: Sequence[PreparedOrder], precedence: Precedence | None
    ) -> dict[int, list[bytes]]:
        """Steps 2 to 5 for all orders; the sequences of the RECEIVE markets that got new ones."""
        if not any(self._by_receipt(prepared) for prepared in ordered):
            for prepared in ordered:
                self._take(prepared)
            return {}
        ledger = self._state.ledger
        savepoint = ledger.savepoint(one.action.account for one in ordered if one.action is not None)
        try:
            for prepared in ordered:
                self._take(prepared)
            return {
                market_id: _received(market_id, list(self._new[market_id]), precedence)
                for market_id in sorted(self._new)
                if self._state.markets[market_id].policy == RECEIVE
            }
        except BaseException:
            ledger.roll_back(savepoint)
            raise

    def _by_receipt(self, prepared: PreparedOrder) -> bool:
        action = prepared.action
        market = self._state.markets.get(action.market) if isinstance(action, Order) else None
        return market is not None and market.policy == RECEIVE

    def _take(self, prepared: PreparedOrder) -> None:
        """Steps 2 to 5 for one order: it is refused, a withdrawal done, or it joins the clearing."""
        action = prepared.action
        if action is None:
            self._close(prepared.order_id, prepared.refusal or types.MALFORMED, None, None)
            return
        market_id = action.market if isinstance(action, Order) else None
        code = self._state.ledger.consume_nonce(action.account, action.nonce)
        if code is None:
            code = types.KIND
            if isinstance(action, Withdrawal):
                code = self._withdraw(action)
            elif isinstance(action, Order):
                code = self._lock(action)
        if code is not None:
            self._close(prepared.order_id, code, action.account, market_id)
        elif isinstance(action, Order):
            self._new.setdefault(action.market, {})[prepared.order_id] = action

    def _withdraw(self, action: Withdrawal) -> str:
        if action.asset not in self._state.assets:
            return types.ASSET
        if not 1 <= action.amount_units <= AMOUNT_MAX:
            return types.AMOUNT
        done = self._state.ledger.withdraw(action.account, action.asset, action.amount_units)
        return types.WITHDRAWN if done else types.BALANCE

    def _lock(self, order: Order) -> str | None:
        """Check a limit order's terms and lock what backs it; the refusal, or None."""
        market = self._state.markets.get(order.market)
        if market is None:
            return types.MARKET
        if order.side not in _SIDES:
            return types.SIDE
        if order.kind != LIMIT:
            return types.KIND
        if order.time_in_force not in _TIMES_IN_FORCE:
            return types.TIME_IN_FORCE
        if not 1 <= order.price_ticks <= PRICE_TICKS_MAX:
            return types.PRICE
        if not 1 <= order.quantity_lots <= QUANTITY_LOTS_MAX:
            return types.QUANTITY
        asset, amount = lock_of(market, order.side, order.price_ticks, order.quantity_lots)
        return None if self._state.ledger.lock(order.account, asset, amount) else types.BALANCE

    def _clear(self, market: Market, new: Mapping[bytes, Order]) -> None:
        """Steps 6 and 7 for one AUCTION market that got new orders."""
        state = self._state
        by_price: dict[int, dict[int, dict[bytes, int]]] = {BUY: {}, SELL: {}}
        for order_id, order in new.items():
            by_price[order.side].setdefault(order.price_ticks, {})[order_id] = order.quantity_lots
        book = state.books[market.id]
        clearing = clear(
            book.bids(),
            book.asks(),
            by_price[BUY],
            by_price[SELL],
            reference_price_ticks=state.reference_prices_ticks[market.id],
            draw=self._draw,
        )
        traded: dict[bytes, Traded] = {}
        if clearing is not None:
            for order_id, lots in (*clearing.buys.items(), *clearing.sells.items()):
                traded[order_id] = Traded(new.get(order_id) or state.orders[order_id])
                traded[order_id].add(clearing.price_ticks, lots, order_id not in new)
                if order_id not in new:
                    state.reduce_order(order_id, lots)
            self._settle(market, traded, clearing.price_ticks, clearing.volume_lots)
        for order_id, order in new.items():
            rest_lots = self._finish(market, order_id, order, traded.get(order_id))
            if rest_lots and order.time_in_force == GTC:
                state.rest_order(order_id, order, rest_lots)

    def _match(self, market: Market, new: Mapping[bytes, Order], sequence: Iterable[bytes]) -> None:
        """Steps 6 and 7 for one market whose new orders meet the book in ``sequence``."""
        made = match(self._state, [(order_id, new[order_id]) for order_id in sequence])
        if made.last_price_ticks is not None:
            self._settle(market, made.traded, made.last_price_ticks, made.volume_lots)
        for order_id, order in new.items():
            self._finish(market, order_id, order, made.traded.get(order_id))

    def _settle(
        self, market: Market, traded: Mapping[bytes, Traded], price_ticks: int, volume_lots: int
    ) -> None:
        """Record a market's price, volume and fills, these by order id, and move the balances."""
        self._state.set_reference_price(market.id, price_ticks)
        self._clearing.append((market.id, price_ticks, volume_lots))
        for order_id in sorted(traded):
            order = traded[order_id].order
            for fill_ticks, lots, maker in traded[order_id].rows:
                self._pay(market, order, fill_ticks, lots)
                self._fills.append(
                    Fill(
                        self._height, market.id, order_id, order.account, order.side, fill_ticks, lots,
                        bytes(AMOUNT_BYTES), int(maker),
                    )
                )

    def _pay(self, market: Market, order: Order | OrderValue, price_ticks: int, lots: int) -> None:
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

    def _finish(self, market: Market, order_id: bytes, order: Order, traded: Traded | None) -> int:
        """Close a new order with its outcome and unlock what lapses of it; the lots not filled."""
        rows = [] if traded is None else traded.rows
        filled_lots = sum(lots for _, lots, _ in rows)
        rest_lots = order.quantity_lots - filled_lots
        if rest_lots and order.time_in_force == IOC:
            asset, amount = lock_of(market, order.side, order.price_ticks, rest_lots)
            self._state.ledger.release(order.account, asset, amount)
        if not filled_lots:
            code = types.RESTING if order.time_in_force == GTC else types.UNFILLED
        else:
            code = types.PARTLY_FILLED if rest_lots else types.FILLED
        self._outcomes[order_id] = Outcome(
            order_id,
            code,
            order.account,
            market.id,
            filled_lots=filled_lots,
            price_ticks=rows[-1][0] if rows else None,
            notional_tick_lots=sum(price_ticks * lots for price_ticks, lots, _ in rows),
            fee_units=0,
        )
        return rest_lots

    def _close(self, order_id: bytes, code: str, account: bytes | None, market_id: int | None) -> None:
        self._outcomes[order_id] = Outcome(
            order_id, code, account, market_id, filled_lots=0, price_ticks=None, notional_tick_lots=0, fee_units=0
        )


def _received(market_id: int, order_ids: list[bytes], precedence: Precedence | None) -> list[bytes]:
    """The sequence of a RECEIVE market's new orders, which come in draw order."""
    if precedence is None:
        raise ValueError(f"market {market_id} orders by receipt, and no precedence is given")
    placed = list(precedence(tuple(order_ids)))
    if len(placed) != len(order_ids) or set(placed) != set(order_ids):
        raise ValueError(f"the precedence of market {market_id} is no permutation of its new orders")
    return placed
