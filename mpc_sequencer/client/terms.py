"""What an order may say: the terms of every kind of order, and the checks that execution would make, made first.

A trader names a kind, and the terms that kind needs; the functions here give the whole set, and what is not named
stays out. MARKET and STOP orders need a *protection price*, the worst price they take: nothing trades without a limit.
:func:`~mpc_sequencer.client.units.protection_ticks` makes one from a reference price and the slippage that is accepted.

:func:`check_action` refuses whatever execution would refuse in any state (docs/protocol-execution.md, "Terms"), each
cause with a code of its own, so that a mistake costs neither a nonce nor the charge of an order. What depends on the
state (balance, nonces, open orders) only execution knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mpc_sequencer.client.dark_terms import check_dark_order
from mpc_sequencer.core.actions import (
    BUY,
    EVERY_MARKET,
    FOK,
    GTC,
    GTD,
    IOC,
    KIND_NAMES,
    LIMIT,
    MARKET,
    SELF_TRADE_ALLOWED,
    SELF_TRADE_NAMES,
    SELL,
    SIDE_NAMES,
    STOP,
    STOP_LIMIT,
    TIME_IN_FORCE_NAMES,
    Action,
    Cancel,
    CancelAll,
    DarkOrder,
    Order,
    Replace,
    Withdrawal,
)
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import AMOUNT_MAX, PRICE_TICKS_MAX, UINT_MAX
from mpc_sequencer.market import Market

SIDES: Final = {name: number for number, name in SIDE_NAMES.items()}
KINDS: Final = {name: number for number, name in KIND_NAMES.items()}
TIMES_IN_FORCE: Final = {name: number for number, name in TIME_IN_FORCE_NAMES.items()}
SELF_TRADE_MODES: Final = {name: number for number, name in SELF_TRADE_NAMES.items()}
ICEBERG_PARTS_MAX: Final = 64
"""An iceberg shows at least one part in so many of itself."""
_AT_ONCE: Final = (IOC, FOK)
_LASTING: Final = (GTC, GTD)


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """Everything an order says beside its account, nonce and label; fields as in
    :class:`~mpc_sequencer.core.actions.Order`."""

    market: int
    side: int
    kind: int
    time_in_force: int
    price_ticks: int
    quantity_lots: int
    client_id: int = 0
    post_only: bool = False
    self_trade: int = SELF_TRADE_ALLOWED
    stop_ticks: int = 0
    display_lots: int = 0
    expires_ms: int = 0

    def naming(self, client_id: int) -> OrderTerms:
        """The same terms under the account's own name ``client_id`` (1 .. 2^63-1; 0 names none)."""
        return replace(self, client_id=client_id)

    def preventing_self_trade(self, mode: int) -> OrderTerms:
        """The same terms with a mode of self-trade prevention: what ends instead of trading with its own account."""
        return replace(self, self_trade=mode)

    def order(self, account: bytes, nonce: int, label_hash: bytes) -> Order:
        """The action, unchecked."""
        return Order(
            account=account,
            nonce=nonce,
            label_hash=label_hash,
            market=self.market,
            client_id=self.client_id,
            side=self.side,
            kind=self.kind,
            time_in_force=self.time_in_force,
            post_only=int(self.post_only),
            self_trade=self.self_trade,
            price_ticks=self.price_ticks,
            stop_ticks=self.stop_ticks,
            quantity_lots=self.quantity_lots,
            display_lots=self.display_lots,
            expires_ms=self.expires_ms,
        )


def limit_terms(
    market: int,
    side: int,
    price_ticks: int,
    quantity_lots: int,
    *,
    time_in_force: int = GTC,
    post_only: bool = False,
    display_lots: int = 0,
    expires_ms: int = 0,
) -> OrderTerms:
    """A limit order; with ``display_lots`` an iceberg that shows so many at a time, with ``post_only`` one that never
    trades on arrival, with GTD one that ends at block time ``expires_ms``."""
    return OrderTerms(
        market,
        side,
        LIMIT,
        time_in_force,
        price_ticks,
        quantity_lots,
        post_only=post_only,
        display_lots=display_lots,
        expires_ms=expires_ms,
    )


def market_terms(
    market: int, side: int, protection_ticks: int, quantity_lots: int, *, time_in_force: int = IOC
) -> OrderTerms:
    """A market order: trades at once, at no price worse than ``protection_ticks``; FOK for all or nothing."""
    return OrderTerms(market, side, MARKET, time_in_force, protection_ticks, quantity_lots)


def stop_terms(
    market: int, side: int, stop_ticks: int, protection_ticks: int, quantity_lots: int, *, time_in_force: int = IOC
) -> OrderTerms:
    """A stop: a market order once the reference price is at or beyond ``stop_ticks``."""
    terms = market_terms(market, side, protection_ticks, quantity_lots, time_in_force=time_in_force)
    return replace(terms, kind=STOP, stop_ticks=stop_ticks)


def stop_limit_terms(
    market: int,
    side: int,
    stop_ticks: int,
    price_ticks: int,
    quantity_lots: int,
    *,
    time_in_force: int = GTC,
    display_lots: int = 0,
    expires_ms: int = 0,
) -> OrderTerms:
    """A stop-limit: a limit order once the reference price is at or beyond ``stop_ticks``."""
    terms = limit_terms(
        market,
        side,
        price_ticks,
        quantity_lots,
        time_in_force=time_in_force,
        display_lots=display_lots,
        expires_ms=expires_ms,
    )
    return replace(terms, kind=STOP_LIMIT, stop_ticks=stop_ticks)


def check_action(committee: Committee, action: Action, now_ms: int | None = None) -> None:
    """Refuse terms that execution would refuse whatever the state. With ``now_ms`` also a GTD order whose time is
    over."""
    if len(action.account) != 20:
        raise ProtocolError("wire.bound", "action.account", action.account, "20 bytes")
    _check_uint("action.nonce", action.nonce)
    match action:
        case Withdrawal():
            _check_withdrawal(committee, action)
        case Cancel():
            _check_target(action.nonce, action.target_nonce)
        case CancelAll():
            if action.market != EVERY_MARKET:
                market_of(committee, action.market)
        case DarkOrder():
            check_dark_order(committee, market_of(committee, action.market), action)
        case Replace():
            _check_target(action.nonce, action.target_nonce)
            _check_terms(market_of(committee, action.market), action.order(), now_ms)
        case Order():
            _check_terms(market_of(committee, action.market), action, now_ms)


def market_of(committee: Committee, market_id: int) -> Market:
    """The market of that id; refuses with ``market.unknown``."""
    for market in committee.genesis.markets:
        if market.id == market_id:
            return market
    known = [market.id for market in committee.genesis.markets]
    raise ProtocolError("market.unknown", "action.market", market_id, f"one of {known}")


def _check_uint(field: str, number: int) -> None:
    if not 0 <= number <= UINT_MAX:
        raise ProtocolError("wire.bound", field, number, "0 .. 2^63-1")


def _check_target(nonce: int, target_nonce: int) -> None:
    _check_uint("action.target_nonce", target_nonce)
    if target_nonce == nonce:
        raise ProtocolError("cancel.target", "action.target_nonce", target_nonce, "the nonce of another action")


def _check_withdrawal(committee: Committee, action: Withdrawal) -> None:
    assets = len(committee.genesis.assets)
    if not 0 <= action.asset < assets:
        raise ProtocolError("asset.unknown", "action.asset", action.asset, f"below {assets}")
    if not 1 <= action.amount_units <= AMOUNT_MAX:
        raise ProtocolError("withdrawal.amount", "action.amount", action.amount_units, "1 .. 2^127-1 base units")


def _check_terms(market: Market, order: Order, now_ms: int | None) -> None:
    """In the order in which execution looks at them."""
    if market.dark is not None:
        expected = "a dark order, which `place_order` makes of terms and keys; none is replaced"
        raise ProtocolError("market.dark", "action.market", market.id, expected)
    _check_uint("action.client_id", order.client_id)
    if order.side not in (BUY, SELL):
        raise ProtocolError("order.side", "action.side", order.side, "1 (buy) or 2 (sell)")
    if order.kind not in KIND_NAMES:
        raise ProtocolError("order.kind", "action.kind", order.kind, "1 .. 4 (limit, market, stop, stop-limit)")
    _check_time(order, now_ms)
    _check_post_only(order)
    if order.self_trade not in SELF_TRADE_NAMES:
        raise ProtocolError("order.self_trade", "action.self_trade", order.self_trade, "0 .. 3")
    _check_prices(order)
    _check_quantity(market, order)


def _check_time(order: Order, now_ms: int | None) -> None:
    allowed = _AT_ONCE if order.kind in (MARKET, STOP) else tuple(TIME_IN_FORCE_NAMES)
    if order.time_in_force not in allowed:
        expected = " or ".join(f"{one} ({TIME_IN_FORCE_NAMES[one]})" for one in allowed)
        raise ProtocolError("order.time_in_force", "action.time_in_force", order.time_in_force, expected)
    dated = order.time_in_force == GTD
    if dated != bool(order.expires_ms) or not 0 <= order.expires_ms <= UINT_MAX:
        expected = "a time in Unix ms" if dated else "0: only GTD orders expire"
        raise ProtocolError("order.expiry", "action.expires_ms", order.expires_ms, expected)
    if dated and now_ms is not None and order.expires_ms <= now_ms:
        raise ProtocolError("order.expired", "action.expires_ms", order.expires_ms, f"later than {now_ms}")


def _check_post_only(order: Order) -> None:
    may = order.kind == LIMIT and order.time_in_force in _LASTING
    if order.post_only not in (0, 1) or (order.post_only and not may):
        expected = "0, or 1 for a limit order that may rest"
        raise ProtocolError("order.post_only", "action.post_only", order.post_only, expected)


def _check_prices(order: Order) -> None:
    if not 1 <= order.price_ticks <= PRICE_TICKS_MAX:
        protects = order.kind in (MARKET, STOP)
        code = "order.protection" if protects and order.price_ticks == 0 else "order.price"
        expected = f"1 .. {PRICE_TICKS_MAX}{', the worst price it takes' if protects else ''}"
        raise ProtocolError(code, "action.price_ticks", order.price_ticks, expected)
    if order.kind not in (STOP, STOP_LIMIT):
        if order.stop_ticks:
            raise ProtocolError("order.stop_price", "action.stop_ticks", order.stop_ticks, "0: the order is no stop")
    elif not 1 <= order.stop_ticks <= PRICE_TICKS_MAX:
        raise ProtocolError("order.stop_price", "action.stop_ticks", order.stop_ticks, f"1 .. {PRICE_TICKS_MAX}")


def _check_quantity(market: Market, order: Order) -> None:
    quantity, least, most = order.quantity_lots, market.quantity_min_lots, market.quantity_max_lots
    if quantity < 1:
        raise ProtocolError("order.quantity", "action.quantity_lots", quantity, f"{least} .. {most}")
    if quantity < least:
        raise ProtocolError("order.quantity_min", "action.quantity_lots", quantity, f"at least {least}")
    if quantity > most:
        raise ProtocolError("order.quantity_max", "action.quantity_lots", quantity, f"at most {most}")
    if order.display_lots == 0:
        return
    may = order.kind in (LIMIT, STOP_LIMIT) and order.time_in_force in _LASTING
    shows = max(least, -(-quantity // ICEBERG_PARTS_MAX))
    if not may or not shows <= order.display_lots <= quantity:
        expected = f"0, or {shows} .. {quantity}" if may else "0: the order cannot rest"
        raise ProtocolError("order.display", "action.display_lots", order.display_lots, expected)
