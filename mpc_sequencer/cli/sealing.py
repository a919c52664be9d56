"""From the words of a command line to a sealed order."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from mpc_sequencer.cli.options import market_names
from mpc_sequencer.client import (
    AssetUnits,
    MarketUnits,
    SealedOrder,
    limit_order,
    make_label,
    seal_order,
    sign_action,
    validity_window,
    withdrawal,
)
from mpc_sequencer.client.build import SIDES, TIMES_IN_FORCE
from mpc_sequencer.client.keys import load_assets
from mpc_sequencer.core.actions import Action
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.market import Market
from threshold import Label


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What ``mpcseq order seal`` was asked for."""

    nonce: int
    lifetime_s: float
    side: str | None
    market: str
    time_in_force: str
    price: str | None
    quantity: str | None
    price_ticks: int | None
    quantity_lots: int | None
    withdraw: str | None
    amount: str | None


def seal_terms(
    committee: Committee, terms: OrderTerms, account: Signer, sponsor: Signer, assets_path: Path
) -> SealedOrder:
    """Seal what ``terms`` say, valid from now. Raises :class:`ConfigError` or a refusal."""
    window_ms = validity_window(time.time_ns() // 1_000_000, round(terms.lifetime_s * 1_000))
    label = make_label(committee, sponsor.address, window_ms)
    make = _withdrawal if terms.withdraw is not None else _limit_order
    action = make(committee, label, terms, account.address, assets_path)
    signed = sign_action(committee, action, account)
    return seal_order(committee, label, signed, sponsor, sigma=secrets.token_bytes(32))


def _limit_order(
    committee: Committee, label: Label, terms: OrderTerms, account: bytes, assets_path: Path
) -> Action:
    side = SIDES.get((terms.side or "").lower())
    if side is None:
        raise ProtocolError("order.side", "--side", terms.side, "buy or sell")
    time_in_force = TIMES_IN_FORCE.get(terms.time_in_force.upper())
    if time_in_force is None:
        raise ProtocolError("order.time_in_force", "--time-in-force", terms.time_in_force, "GTC or IOC")
    market = find_market(committee, terms.market)
    _exactly_one("--price", terms.price, "--price-ticks", terms.price_ticks)
    _exactly_one("--quantity", terms.quantity, "--quantity-lots", terms.quantity_lots)
    price_ticks, quantity_lots = terms.price_ticks, terms.quantity_lots
    if price_ticks is None or quantity_lots is None:
        assets = load_assets(assets_path)
        units = MarketUnits(market, _asset(assets, market.base_asset), _asset(assets, market.quote_asset))
        if price_ticks is None:
            price_ticks = units.price_ticks(terms.price or "")
        if quantity_lots is None:
            quantity_lots = units.quantity_lots(terms.quantity or "")
    return limit_order(
        committee,
        label,
        account=account,
        nonce=terms.nonce,
        market=market.id,
        side=side,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        quantity_lots=quantity_lots,
    )


def _withdrawal(
    committee: Committee, label: Label, terms: OrderTerms, account: bytes, assets_path: Path
) -> Action:
    assets = load_assets(assets_path)
    wanted = terms.withdraw
    found = next((units for units in assets.values() if wanted in (units.symbol, str(units.asset))), None)
    if found is None:
        known = ", ".join(units.symbol for units in assets.values())
        raise ProtocolError("asset.unknown", "--withdraw", wanted, f"one of {known}")
    if terms.amount is None:
        raise ConfigError("no amount is given", "give --amount")
    units = found.units(terms.amount)
    return withdrawal(
        committee, label, account=account, nonce=terms.nonce, asset=found.asset, amount_units=units
    )


def find_market(committee: Committee, name: str) -> Market:
    """The market of a symbol or id; refuses with ``market.unknown``."""
    for market in committee.genesis.markets:
        if name in (market.symbol, str(market.id)):
            return market
    raise ProtocolError("market.unknown", "--market", name, f"one of {market_names(committee)}")


def _exactly_one(first: str, first_value: object, second: str, second_value: object) -> None:
    if (first_value is None) == (second_value is None):
        raise ConfigError(
            f"exactly one of {first} and {second} is needed", f"give {first}, or {second} in whole units"
        )


def _asset(assets: dict[int, AssetUnits], asset: int) -> AssetUnits:
    if asset not in assets:
        raise ConfigError(
            f"the assets file does not name asset {asset}", "use the assets file of this deployment"
        )
    return assets[asset]
