"""One height executed from the document (docs/protocol-execution.md, "One height"), step by step.

Every order of the batch is looked at in draw order; then each market that got a new order is cleared with
all of its resting orders, or lets its new orders meet them one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from mpc_sequencer.audit.clearing import Interest, clear, crossing
from mpc_sequencer.audit.matching import match, sequence_of
from mpc_sequencer.audit.ordering import tree_root
from mpc_sequencer.audit.state import Resting, State
from mpc_sequencer.core import domains, eip712, limits, signing
from mpc_sequencer.core.actions import (
    AMOUNT_BYTES,
    BUY,
    GTC,
    IOC,
    LIMIT,
    SELL,
    Action,
    Order,
    SignedAction,
    Withdrawal,
    label_hash,
)
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.market.types import AUCTION, Fill, Market, Precedence


@dataclass(frozen=True, slots=True)
class OpenedOrder:
    """An order of a final batch; ``plaintext`` is None where it is malformed."""

    order_id: bytes
    label: bytes
    plaintext: bytes | None


@dataclass(slots=True)
class Executed:
    """What a height did: roots, fills in order, outcome code per order id, changes per (asset, account)."""

    height: int
    state_root: bytes = b""
    fills_root: bytes = b""
    fills: list[Fill] = field(default_factory=list)
    outcomes: dict[bytes, str] = field(default_factory=dict)
    deltas: dict[tuple[int, bytes], tuple[int, int]] = field(default_factory=dict)
    """(change of free + locked, change of withdrawable)."""

    def change(self, account: bytes, asset: int, total: int, withdrawable: int = 0) -> None:
        """Add to the changes of an account."""
        before = self.deltas.get((asset, account), (0, 0))
        self.deltas[asset, account] = (before[0] + total, before[1] + withdrawable)


class Execution:
    """Markets, assets and state of one deployment."""

    def __init__(self, markets: Iterable[Market], assets: int, separator: bytes) -> None:
        self.markets = {market.id: market for market in markets}
        self.assets = assets
        self.state = State(self.markets.values())
        self._separator = separator

    def credit(self, account: bytes, asset: int, amount: int) -> None:
        """A deposit of ``amount`` base units."""
        self.state.account(account).move(asset, free=amount)

    def execute(
        self,
        height: int,
        time_ms: int,
        coin: bytes,
        batch: Sequence[OpenedOrder],
        precedence: Precedence | None = None,
    ) -> Executed:
        """Execute a batch of a block of time ``time_ms``. Nothing in a plaintext raises.

        ``precedence`` says in which order a market that orders by receipt takes its new orders, whose ids it is
        given in draw order. ``ValueError``, which leaves a state to be thrown away, where it is missing then or
        leaves one out.
        """
        result = Executed(height)
        accepted: dict[int, dict[bytes, Order]] = {}
        for order in sorted(batch, key=lambda order: _draw(coin, order.order_id)):
            action = self.read(order)
            outcome = action if isinstance(action, str) else self._accept(action, result)
            if outcome is None and isinstance(action, Order):
                accepted.setdefault(action.market, {})[order.order_id] = action
            else:
                result.outcomes[order.order_id] = str(outcome)
        for market_id, new in sorted(accepted.items()):
            market = self.markets[market_id]
            if market.policy == AUCTION:
                self._clear(market, coin, new, result)
            else:
                self._meet(market, coin, new, precedence, result)
        leaves = [domains.FILL_LEAF(encode(fill)) for fill in result.fills]
        result.fills_root = tree_root(leaves, domains.FILL_NODE)
        result.deltas = {key: change for key, change in result.deltas.items() if change != (0, 0)}
        result.state_root = self.state.root()
        return result

    # --- steps 2 to 5 ----------
    def read(self, order: OpenedOrder) -> Action | str:
        """The action an account signed for this label, or the outcome code."""
        if order.plaintext is None:
            return "malformed"
        try:
            signed: SignedAction = decode(SignedAction, order.plaintext)
        except ProtocolError:
            return "plaintext"
        if signed.action.label_hash != label_hash(order.label):
            return "label"
        digest = eip712.digest(self._separator, signed.action.struct_hash())
        try:
            signer = signing.recover_address(digest, signed.signature, "signature")
        except ProtocolError:
            return "signature"
        return signed.action if signer == signed.action.account else "signature"

    def _accept(self, action: Action, result: Executed) -> str | None:
        """Nonce, terms, balance; None for a limit order that goes into the clearing."""
        account = self.state.account(action.account)
        refused = account.use_nonce(action.nonce)
        if refused is not None:
            return refused
        if isinstance(action, Withdrawal):
            if action.asset >= self.assets:
                return "asset"
            if not 1 <= action.amount_units <= limits.AMOUNT_MAX:
                return "amount"
            if account.free.get(action.asset, 0) < action.amount_units:
                return "balance"
            account.move(action.asset, free=-action.amount_units)
            result.change(action.account, action.asset, -action.amount_units, action.amount_units)
            return "withdrawn"
        if not isinstance(action, Order) or action.kind != LIMIT:
            return "kind"
        refused = self._terms(action)
        if refused is not None:
            return refused
        asset, amount = _cost(
            self.markets[action.market], action.side, action.price_ticks, action.quantity_lots
        )
        if amount > limits.AMOUNT_MAX or account.free.get(asset, 0) < amount:
            return "balance"
        account.move(asset, free=-amount, locked=amount)
        return None

    def _terms(self, order: Order) -> str | None:
        if order.market not in self.markets:
            return "market"
        if order.side not in (BUY, SELL):
            return "side"
        if order.time_in_force not in (GTC, IOC):
            return "time_in_force"
        if not 1 <= order.price_ticks <= limits.PRICE_TICKS_MAX:
            return "price"
        if not 1 <= order.quantity_lots <= limits.QUANTITY_LOTS_MAX:
            return "quantity"
        return None

    # --- steps 6 and 7 ----------
    def _clear(self, market: Market, coin: bytes, new: dict[bytes, Order], result: Executed) -> None:
        draw = partial(_draw, coin)
        resting = self.state.resting[market.id]
        cleared = clear(_interests(resting, new), self.state.reference_ticks[market.id], draw)
        price_ticks, fills = cleared or (0, {})
        if cleared is not None:
            self._set_reference(market, price_ticks)
        rows = {(order_id, price_ticks, order_id not in new): lots for order_id, lots in fills.items()}
        self._fill(market, new, rows, result)
        left = {order_id: order.remaining_lots - fills.get(order_id, 0) for order_id, order in resting.items()}
        self._reduce(market, left)
        for order_id, action in new.items():
            rest_lots = action.quantity_lots - fills.get(order_id, 0)
            result.outcomes[order_id] = self._outcome(market, action, rest_lots)
            if rest_lots and action.time_in_force == GTC:
                self._rest(market, order_id, action, rest_lots, 0)

    def _meet(
        self,
        market: Market,
        coin: bytes,
        new: dict[bytes, Order],
        precedence: Precedence | None,
        result: Executed,
    ) -> None:
        draw = partial(_draw, coin)
        sequence = sequence_of(market, new, draw, precedence)
        matched = match(self.state.resting[market.id], new, sequence)
        if matched.tape:
            self._set_reference(market, matched.tape[-1])
        self._fill(market, new, matched.lots, result)
        self._reduce(market, matched.left)
        filled_lots: Counter[bytes] = Counter()
        for (order_id, _, _), lots in matched.lots.items():
            filled_lots[order_id] += lots
        for order_id, action in new.items():
            rest_lots = action.quantity_lots - filled_lots[order_id]
            result.outcomes[order_id] = self._outcome(market, action, rest_lots)
        for order_id, lots in matched.rested:
            self.state.last_sequences[market.id] += 1
            self.state.touched_markets.add(market.id)
            if lots:
                self._rest(market, order_id, new[order_id], lots, self.state.last_sequences[market.id])

    def _set_reference(self, market: Market, price_ticks: int) -> None:
        self.state.reference_ticks[market.id] = price_ticks
        self.state.touched_markets.add(market.id)

    def _fill(
        self,
        market: Market,
        new: dict[bytes, Order],
        rows: dict[tuple[bytes, int, bool], int],
        result: Executed,
    ) -> None:
        """Note and settle fills, given as lots by (order id, price, whether as maker), in the order of the document."""
        resting = self.state.resting[market.id]
        fills = []
        for (order_id, price_ticks, maker), lots in rows.items():
            order = resting.get(order_id) or new[order_id]
            best_first = price_ticks if order.side == BUY else -price_ticks
            fill = Fill(
                height=result.height,
                market=market.id,
                order_id=order_id,
                account=order.account,
                side=order.side,
                price_ticks=price_ticks,
                quantity_lots=lots,
                fee=bytes(AMOUNT_BYTES),
                maker=int(maker),
            )
            fills.append((order_id, best_first, maker, fill))
            self._settle(market, fill, order.price_ticks, result)
        result.fills += [fill for *_, fill in sorted(fills, key=lambda row: row[:3])]

    def _reduce(self, market: Market, left: dict[bytes, int]) -> None:
        """Set what the market's resting orders have left."""
        resting = self.state.resting[market.id]
        for order_id, lots in left.items():
            if lots != resting[order_id].remaining_lots:
                resting[order_id].remaining_lots = lots
                self.state.touched_orders.add((market.id, order_id))
            if lots == 0:
                del resting[order_id]

    def _settle(self, market: Market, fill: Fill, limit_ticks: int, result: Executed) -> None:
        """Move what a fill moves; a buyer's lock was made at his limit."""
        account = self.state.account(fill.account)
        base = fill.quantity_lots * market.base_units_per_lot
        quote = fill.price_ticks * fill.quantity_lots * market.quote_units_per_tick_lot
        if fill.side == BUY:
            locked = limit_ticks * fill.quantity_lots * market.quote_units_per_tick_lot
            account.move(market.quote_asset, free=locked - quote, locked=-locked)
            account.move(market.base_asset, free=base)
            base_change, quote_change = base, -quote
        else:
            account.move(market.base_asset, locked=-base)
            account.move(market.quote_asset, free=quote)
            base_change, quote_change = -base, quote
        result.change(fill.account, market.base_asset, base_change)
        result.change(fill.account, market.quote_asset, quote_change)

    def _outcome(self, market: Market, order: Order, rest_lots: int) -> str:
        """The outcome of a new order with ``rest_lots`` not filled; unlock them where they lapse."""
        if rest_lots == 0:
            return "filled"
        untouched = rest_lots == order.quantity_lots
        if order.time_in_force == IOC:
            asset, amount = _cost(market, order.side, order.price_ticks, rest_lots)
            self.state.account(order.account).move(asset, free=amount, locked=-amount)
            return "unfilled" if untouched else "partly_filled"
        return "resting" if untouched else "partly_filled"

    def _rest(self, market: Market, order_id: bytes, order: Order, lots: int, sequence: int) -> None:
        self.state.resting[market.id][order_id] = Resting(
            order.account, market.id, order.side, order.price_ticks, lots, sequence, order
        )
        self.state.touched_orders.add((market.id, order_id))


def _interests(resting: dict[bytes, Resting], new: dict[bytes, Order]) -> list[Interest]:
    """What resting and new orders bring to a clearing, without the resting orders that cannot take part."""
    limits = [(order.side, order.price_ticks) for order in resting.values()]
    between = crossing(limits + [(order.side, order.price_ticks) for order in new.values()])
    if between is None:
        return []
    best_sell, best_buy = between
    return [
        Interest(order_id, order.side, order.price_ticks, order.remaining_lots, True)
        for order_id, order in resting.items()
        if (order.price_ticks >= best_sell if order.side == BUY else order.price_ticks <= best_buy)
    ] + [
        Interest(order_id, order.side, order.price_ticks, order.quantity_lots, False)
        for order_id, order in new.items()
    ]


def _draw(coin: bytes, order_id: bytes) -> bytes:
    return domains.DRAW(coin, order_id)


def _cost(market: Market, side: int, price_ticks: int, lots: int) -> tuple[int, int]:
    """The asset an order gives up, and how much of it."""
    if side == BUY:
        return market.quote_asset, price_ticks * lots * market.quote_units_per_tick_lot
    return market.base_asset, lots * market.base_units_per_lot
