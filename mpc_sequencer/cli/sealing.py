"""From the words of a command line to a sealed action."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_sequencer.cli.options import market_names
from mpc_sequencer.client import AssetUnits, MarketUnits, SealedOrder, build, make_label, seal_order, sign_action
from mpc_sequencer.client.dark_terms import check_dark_terms
from mpc_sequencer.client.keys import load_assets
from mpc_sequencer.client.terms import KINDS, SELF_TRADE_MODES, SIDES, TIMES_IN_FORCE, OrderTerms
from mpc_sequencer.core.actions import EVERY_MARKET, GTC, IOC, MARKET, STOP, STOP_LIMIT, Action
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.market import Market
from threshold import Label

EVERY: Final = "every"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealOptions:
    """What ``mpcseq order seal`` was asked for."""

    nonce: int
    lifetime_s: float
    side: str | None
    kind: str
    market: str
    time_in_force: str | None
    price: str | None
    quantity: str | None
    price_ticks: int | None
    quantity_lots: int | None
    reference_price: str | None
    slippage: str | None
    stop_price: str | None
    stop_ticks: int | None
    display: str | None
    display_lots: int | None
    post_only: bool
    self_trade: str
    client_id: int
    expires_ms: int
    cancel: int | None
    cancel_all: str | None
    replace: int | None
    withdraw: str | None
    amount: str | None


def dark_order_of(committee: Committee, options: SealOptions) -> Market | None:
    """The dark market that ``options`` place an order in; None for whatever else they ask for."""
    if any(one is not None for one in (options.cancel, options.cancel_all, options.withdraw, options.replace)):
        return None
    market = find_market(committee, options.market)
    return None if market.dark is None else market


def dark_terms_of(
    committee: Committee, market: Market, options: SealOptions, assets_path: Path
) -> tuple[OrderTerms, MarketUnits]:
    """The terms that ``options`` say, and the market's units. Raises :class:`ConfigError` or a refusal."""
    terms = _terms(committee, options, assets_path)
    check_dark_terms(market, terms)
    return terms, _Reader(market, assets_path).units


def seal_options(
    committee: Committee, options: SealOptions, account: Signer, sponsor: Signer, assets_path: Path
) -> SealedOrder:
    """Seal what ``options`` say, valid from now. Raises :class:`ConfigError` or a refusal."""
    window_ms = build.validity_window(time.time_ns() // 1_000_000, round(options.lifetime_s * 1_000))
    label = make_label(committee, sponsor.address, window_ms)
    action = _action(committee, label, options, account.address, assets_path)
    signed = sign_action(committee, action, account)
    return seal_order(committee, label, signed, sponsor, sigma=secrets.token_bytes(32))


def _action(committee: Committee, label: Label, options: SealOptions, account: bytes, assets_path: Path) -> Action:
    instead = {
        "--cancel": options.cancel,
        "--cancel-all": options.cancel_all,
        "--replace": options.replace,
        "--withdraw": options.withdraw,
    }
    asked = [name for name, value in instead.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} contradict each other", "seal one action at a time")
    nonce = options.nonce
    if options.cancel is not None:
        return build.cancel(committee, label, account=account, nonce=nonce, target_nonce=options.cancel)
    if options.cancel_all is not None:
        every = options.cancel_all == EVERY
        market = EVERY_MARKET if every else find_market(committee, options.cancel_all).id
        return build.cancel_all(committee, label, account=account, nonce=nonce, market=market)
    if options.withdraw is not None:
        return _withdrawal(committee, label, options, account, assets_path)
    terms = _terms(committee, options, assets_path)
    if options.replace is not None:
        target = options.replace
        return build.replace_order(committee, label, terms, account=account, nonce=nonce, target_nonce=target)
    return build.place_order(committee, label, terms, account=account, nonce=nonce)


def _terms(committee: Committee, options: SealOptions, assets_path: Path) -> OrderTerms:
    side = _named(SIDES, options.side, "order.side", "--side")
    kind = _named(KINDS, options.kind.replace("-", "_"), "order.kind", "--kind")
    at_once = kind in (MARKET, STOP)
    time_in_force = IOC if at_once else GTC
    if options.time_in_force is not None:
        time_in_force = _named(TIMES_IN_FORCE, options.time_in_force, "order.time_in_force", "--time-in-force")
    market = find_market(committee, options.market)
    reader = _Reader(market, assets_path)
    stop_ticks = 0
    if kind in (STOP, STOP_LIMIT):
        stop_ticks = reader.price("--stop-price", options.stop_price, "--stop-ticks", options.stop_ticks)
    elif options.stop_price is not None or options.stop_ticks is not None:
        raise ProtocolError("order.stop_price", "--stop-price", "given", "none: the order is no stop")
    display_lots = 0
    if options.display is not None or options.display_lots is not None:
        display_lots = reader.quantity("--display", options.display, "--display-lots", options.display_lots)
    return OrderTerms(
        market=market.id,
        side=side,
        kind=kind,
        time_in_force=time_in_force,
        price_ticks=_price(reader, options, side),
        quantity_lots=reader.quantity("--quantity", options.quantity, "--quantity-lots", options.quantity_lots),
        client_id=options.client_id,
        post_only=options.post_only,
        self_trade=_named(SELF_TRADE_MODES, options.self_trade, "order.self_trade", "--self-trade"),
        stop_ticks=stop_ticks,
        display_lots=display_lots,
        expires_ms=options.expires_ms,
    )


def _price(reader: _Reader, options: SealOptions, side: int) -> int:
    """The limit, given or from a reference price and the slippage that is accepted."""
    if options.slippage is None and options.reference_price is None:
        return reader.price("--price", options.price, "--price-ticks", options.price_ticks)
    if options.slippage is None or options.reference_price is None or options.price or options.price_ticks:
        raise ConfigError("--reference-price and --slippage go together, without --price", "give both, or --price")
    return reader.units.protection_price_ticks(side, options.reference_price, options.slippage)


class _Reader:
    """Prices and quantities of one market; the assets file is read when a decimal is."""

    def __init__(self, market: Market, assets_path: Path) -> None:
        self._market = market
        self._assets_path = assets_path
        self._units: MarketUnits | None = None

    @property
    def units(self) -> MarketUnits:
        if self._units is None:
            assets, market = load_assets(self._assets_path), self._market
            self._units = MarketUnits(market, _asset(assets, market.base_asset), _asset(assets, market.quote_asset))
        return self._units

    def price(self, name: str, text: str | None, ticks_name: str, ticks: int | None) -> int:
        _exactly_one(name, text, ticks_name, ticks)
        return self.units.price_ticks(text or "", field=name) if ticks is None else ticks

    def quantity(self, name: str, text: str | None, lots_name: str, lots: int | None) -> int:
        _exactly_one(name, text, lots_name, lots)
        return self.units.quantity_lots(text or "", field=name) if lots is None else lots


def _named(known: dict[str, int], word: str | None, code: str, field: str) -> int:
    by_name = {name.lower(): number for name, number in known.items()}
    number = by_name.get((word or "").lower())
    if number is None:
        raise ProtocolError(code, field, word, f"one of {', '.join(known)}")
    return number


def _withdrawal(committee: Committee, label: Label, options: SealOptions, account: bytes, assets_path: Path) -> Action:
    assets = load_assets(assets_path)
    wanted = options.withdraw
    found = next((units for units in assets.values() if wanted in (units.symbol, str(units.asset))), None)
    if found is None:
        known = ", ".join(units.symbol for units in assets.values())
        raise ProtocolError("asset.unknown", "--withdraw", wanted, f"one of {known}")
    if options.amount is None:
        raise ConfigError("no amount is given", "give --amount")
    return build.withdrawal(
        committee,
        label,
        account=account,
        nonce=options.nonce,
        asset=found.asset,
        amount_units=found.units(options.amount),
    )


def _exactly_one(first: str, first_value: object, second: str, second_value: object) -> None:
    if (first_value is None) == (second_value is None):
        raise ConfigError(
            f"exactly one of {first} and {second} is needed", f"give {first}, or {second} in whole units"
        )


def find_market(committee: Committee, name: str) -> Market:
    """The market of a symbol or id; refuses with ``market.unknown``."""
    for market in committee.genesis.markets:
        if name in (market.symbol, str(market.id)):
            return market
    raise ProtocolError("market.unknown", "--market", name, f"one of {market_names(committee)}")


def _asset(assets: dict[int, AssetUnits], asset: int) -> AssetUnits:
    if asset not in assets:
        raise ConfigError(f"the assets file does not name asset {asset}", "use the assets file of this deployment")
    return assets[asset]
