"""A height executed through an outside engine: admission and locks here, matching there, and money moved by its answer.

This is the execution that a market with an outside engine has: nonces, locks, fees and deltas by the same ledger as the
built-in engine's, fills by the answer, after :class:`~mpc_sequencer.matching.checker.ExternalBook` has found it within
the rules. Orders are admitted by draw, each with its nonce, terms and lock; cancellations come before, as in
docs/protocol-execution.md. Replacements, stops and client ids are the built-in engine's alone: refused with ``kind``.

An answer that breaks a rule moves nothing, and the height waits for another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import AMOUNT_BYTES, BUY, LIMIT, MARKET, Cancel, Order, Withdrawal
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.feed import FedHeight
from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX
from mpc_sequencer.core.merkle import merkle_root
from mpc_sequencer.market import Fill, Market, PreparedOrder
from mpc_sequencer.market.accounts import Delta, Ledger
from mpc_sequencer.market.fees import lock_asset, lock_units
from mpc_sequencer.matching.checker import ExternalBook, OpenRow, fee_of, value_units
from mpc_sequencer.matching.values import Answer, FairBatch, FillRow, OrderRow


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """What a height came to; fields as in :class:`~mpc_sequencer.market.HeightResult`. ``refusals`` are the outcome
    codes of actions that did not become orders, by order id."""

    height: int
    fills: tuple[Fill, ...]
    fills_root: bytes
    deltas: tuple[Delta, ...]
    refusals: dict[bytes, str]


def order_row(order_id: bytes, order: Order) -> OrderRow:
    """An admitted order as an outside engine gets it."""
    return OrderRow(
        order_id=order_id.hex(),
        account=order.account.hex(),
        market=order.market,
        side=order.side,
        kind=order.kind,
        time_in_force=order.time_in_force,
        post_only=order.post_only,
        self_trade=order.self_trade,
        price_ticks=order.price_ticks,
        stop_ticks=order.stop_ticks,
        quantity_lots=order.quantity_lots,
        display_lots=order.display_lots,
        expires_ms=order.expires_ms,
    )


def fair_batch(fed: FedHeight) -> FairBatch:
    """An executed height as it crosses the seam."""
    rows = tuple(order_row(order_id, order) for order_id, order in fed.orders)
    return FairBatch(fed.height, fed.time_ms, fed.coin.hex(), rows, tuple(one.hex() for one in fed.ended))


class ExternalMarketRun:
    """The ledger and the open orders of markets that an outside engine matches."""

    def __init__(self, markets: Sequence[Market], ledger: Ledger, fee_account: bytes = bytes(20)) -> None:
        self._markets = {market.id: market for market in markets}
        self._fee_account = fee_account
        self._refusals: dict[bytes, str] = {}
        self._nonces: dict[tuple[bytes, int], str] = {}
        self.ledger = ledger
        self.book = ExternalBook(markets)

    def begin(self, height: int, time_ms: int, coin: bytes, prepared: Sequence[PreparedOrder]) -> FairBatch:
        """Admit a final batch, and say what the outside engine gets of it. Raises :class:`ProtocolError`
        (``match.height``), changing nothing, while an answer is outstanding."""
        if self.book.batch is not None or height <= self.book.height:
            raise ProtocolError("match.height", "height", height, f"above {self.book.height}, none outstanding")
        self._refusals = {}
        ordered = sorted(prepared, key=lambda one: domains.DRAW(coin, one.order_id))
        ended = [order_id for order_id, held in self.book.open.items() if 0 < held.row.expires_ms <= time_ms]
        for one in ordered:
            if isinstance(one.action, Cancel):
                ended += self._cancel(one.order_id, one.action)
        rows = [row for one in ordered if (row := self._admit(one)) is not None]
        batch = FairBatch(height, time_ms, coin.hex(), tuple(rows), tuple(sorted(set(ended))))
        for held in self.book.begin(batch):
            self._release(held, held.open_lots)
        return batch

    def finish(self, answer: Answer) -> ExternalResult:
        """Move the ledger by an answer. Raises :class:`ProtocolError` (``match.*``), changing nothing."""
        before = dict(self.book.open)
        accepted = self.book.check(answer)
        left = {order_id: held.open_lots for order_id, held in before.items()}
        fills = []
        for row in answer.fills:
            fills.append(self._settle(before[row.order_id].row, row, left[row.order_id]))
            left[row.order_id] -= row.quantity_lots
        for one in answer.ended:
            self._release(before[one.order_id], left[one.order_id])
        self.book.take(accepted)
        fills.sort(key=lambda fill: (fill.market, fill.order_id))
        leaves = [domains.FILL_LEAF(encode(fill)) for fill in fills]
        root = merkle_root(leaves, domains.FILL_NODE)
        return ExternalResult(answer.height, tuple(fills), root, self.ledger.take_deltas(), self._refusals)

    # --- admission ----------------------------------------------------------------------------------------------
    def _cancel(self, order_id: bytes, action: Cancel) -> list[str]:
        code = self.ledger.consume_nonce(action.account, action.nonce)
        target = self._nonces.get((action.account, action.target_nonce))
        found = [target] if code is None and target in self.book.open else []
        self._refusals[order_id] = code or ("cancelled" if found else "not_open")
        return [one for one in found if one is not None]

    def _admit(self, one: PreparedOrder) -> OrderRow | None:
        action = one.action
        if action is None or isinstance(action, Cancel):
            self._refusals.setdefault(one.order_id, one.refusal or "kind")
            return None
        code = self.ledger.consume_nonce(action.account, action.nonce)
        if code is None and isinstance(action, Withdrawal):
            done = self.ledger.withdraw(action.account, action.asset, action.amount_units)
            code = "withdrawn" if done else "balance"
        elif code is None:
            code = self._lock(action) if isinstance(action, Order) else "kind"
        if code is not None or not isinstance(action, Order):
            self._refusals[one.order_id] = code or "kind"
            return None
        self._nonces[action.account, action.nonce] = one.order_id.hex()
        return order_row(one.order_id, action)

    def _lock(self, order: Order) -> str | None:
        market = self._markets.get(order.market)
        if market is None:
            return "market"
        if order.kind not in (LIMIT, MARKET) or order.stop_ticks or order.display_lots:
            return "kind"
        if not 1 <= order.price_ticks <= PRICE_TICKS_MAX:
            return "price"
        if not market.quantity_min_lots <= order.quantity_lots <= market.quantity_max_lots:
            return "quantity"
        lock = lock_units(market, order.side, order.price_ticks, order.quantity_lots)
        asset = lock_asset(market, order.side)
        covered = lock <= AMOUNT_MAX and self.ledger.lock(order.account, asset, lock)
        return None if covered else "balance"

    # --- money --------------------------------------------------------------------------------------------------
    def _release(self, held: OpenRow, lots: int) -> None:
        """Free what an order that ends with ``lots`` open has locked."""
        row, market = held.row, self._markets[held.row.market]
        asset = lock_asset(market, row.side)
        self.ledger.release(bytes.fromhex(row.account), asset, lock_units(market, row.side, row.price_ticks, lots))

    def _settle(self, row: OrderRow, fill: FillRow, open_lots: int) -> Fill:
        market, account = self._markets[row.market], bytes.fromhex(row.account)
        units = value_units(market, fill.price_ticks, fill.quantity_lots)
        base_units = fill.quantity_lots * market.base_units_per_lot
        fee = fee_of(market, units, fill.maker)
        lock = lock_units(market, row.side, row.price_ticks, open_lots)
        released = lock - lock_units(market, row.side, row.price_ticks, open_lots - fill.quantity_lots)
        buys = row.side == BUY
        gives, gets = (market.quote_asset, market.base_asset) if buys else (market.base_asset, market.quote_asset)
        self.ledger.release(account, gives, released)
        self.ledger.receive(account, gives, -(units + fee) if buys else -base_units)  # out of what is free by now
        self.ledger.receive(account, gets, base_units if buys else units - fee)
        if fee:
            self.ledger.receive(self._fee_account, market.quote_asset, fee)
        return Fill(
            height=self.book.batch.height if self.book.batch is not None else 0,
            market=market.id,
            order_id=bytes.fromhex(fill.order_id),
            account=account,
            side=row.side,
            price_ticks=fill.price_ticks,
            quantity_lots=fill.quantity_lots,
            fee=fee.to_bytes(AMOUNT_BYTES, "big"),
            maker=fill.maker,
        )
