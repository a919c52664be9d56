"""One height executed from the document (docs/protocol-execution.md, "One height"), step by step.

Every order of the batch is looked at in draw order; then each market that got a new order is cleared with
all of its resting orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from mpc_sequencer.audit.clearing import Interest, clear, crossing
from mpc_sequencer.audit.ordering import tree_root
from mpc_sequencer.audit.state import Resting, State
from mpc_sequencer.core import domains, eip712, limits, signing
from mpc_sequencer.core.actions import BUY, GTC, IOC, SELL, LimitOrder, SignedAction, Withdrawal, label_hash
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.market.types import Fill, Market


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

    def execute(self, height: int, coin: bytes, batch: Sequence[OpenedOrder]) -> Executed:
        """Execute a batch. Nothing in a plaintext raises."""
        result = Executed(height)
        accepted: dict[int, dict[bytes, LimitOrder]] = {}
        for order in sorted(batch, key=lambda order: _draw(coin, order.order_id)):
            action = self.read(order)
            outcome = action if isinstance(action, str) else self._accept(action, result)
            if outcome is None and isinstance(action, LimitOrder):
                accepted.setdefault(action.market, {})[order.order_id] = action
            else:
                result.outcomes[order.order_id] = str(outcome)
        for market in sorted(accepted):
            self._clear(self.markets[market], coin, accepted[market], result)
        leaves = [domains.FILL_LEAF(encode(fill)) for fill in result.fills]
        result.fills_root = tree_root(leaves, domains.FILL_NODE)
        result.deltas = {key: change for key, change in result.deltas.items() if change != (0, 0)}
        result.state_root = self.state.root()
        return result

    # --- steps 2 to 5 ----------
    def read(self, order: OpenedOrder) -> LimitOrder | Withdrawal | str:
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

    def _accept(self, action: LimitOrder | Withdrawal, result: Executed) -> str | None:
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

    def _terms(self, order: LimitOrder) -> str | None:
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
    def _clear(self, market: Market, coin: bytes, new: dict[bytes, LimitOrder], result: Executed) -> None:
        resting = self.state.resting[market.id]
        draw = partial(_draw, coin)
        cleared = clear(_interests(resting, new), self.state.reference_ticks[market.id], draw)
        price_ticks, fills = cleared or (0, {})
        if cleared is not None:
            self.state.reference_ticks[market.id] = price_ticks
            self.state.touched_markets.add(market.id)
        for order_id in sorted(fills, key=draw):
            order = resting.get(order_id) or new[order_id]
            fill = Fill(
                height=result.height,
                market=market.id,
                order_id=order_id,
                account=order.account,
                side=order.side,
                price_ticks=price_ticks,
                quantity_lots=fills[order_id],
            )
            result.fills.append(fill)
            self._settle(market, fill, order.price_ticks, result)
            if order_id in resting:
                resting[order_id].remaining_lots -= fill.quantity_lots
                self.state.touched_orders.add((market.id, order_id))
                if resting[order_id].remaining_lots == 0:
                    del resting[order_id]
        for order_id, action in new.items():
            result.outcomes[order_id] = self._rest(market, order_id, action, fills.get(order_id, 0))

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

    def _rest(self, market: Market, order_id: bytes, order: LimitOrder, filled_lots: int) -> str:
        """Keep or unlock what a new order has not filled; its outcome."""
        rest_lots = order.quantity_lots - filled_lots
        if rest_lots == 0:
            return "filled"
        if order.time_in_force == IOC:
            asset, amount = _cost(market, order.side, order.price_ticks, rest_lots)
            self.state.account(order.account).move(asset, free=amount, locked=-amount)
            return "partly_filled" if filled_lots else "unfilled"
        self.state.resting[market.id][order_id] = Resting(
            order.account, market.id, order.side, order.price_ticks, rest_lots
        )
        self.state.touched_orders.add((market.id, order_id))
        return "partly_filled" if filled_lots else "resting"


def _interests(resting: dict[bytes, Resting], new: dict[bytes, LimitOrder]) -> list[Interest]:
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
