"""An order for a dark market from the words of a command line: sealed as any other, but not offline.

The members' keys hold for one epoch, so they are asked for and proven each time; where the deposits are to hide the
side, so is the account's free balance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from mpc_sequencer.client.account import TradingAccount
from mpc_sequencer.client.build import SealedOrder
from mpc_sequencer.client.dark_terms import DepositRule, Deposits
from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.queries import follow_epochs
from mpc_sequencer.client.sequencer import open_sequencer
from mpc_sequencer.client.terms import OrderTerms
from mpc_sequencer.client.units import MarketUnits, parse_decimal
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.node.config import CommitteeFile

EPOCHS_S_MAX: Final = 2.0
_FORMS: Final = "hide, side, or exact amounts of both assets as QUOTE:BASE, such as 20000:0.3"


@dataclass(frozen=True, slots=True)
class DarkSealOptions:
    """Who signs, who pays, for how long the envelope is valid, what the order locks."""

    account: Signer
    sponsor: Signer
    lifetime_ms: int
    deposits: DepositRule | Deposits


def parse_deposit(text: str, units: MarketUnits) -> DepositRule | Deposits:
    """``--deposit``. Raises :class:`ConfigError`, or the refusal of an amount that is no multiple of what can be
    locked."""
    if text in tuple(DepositRule):
        return DepositRule(text)
    quote, colon, base = text.partition(":")
    if not colon:
        raise ConfigError(f"--deposit is {text!r}", f"use {_FORMS}")
    unit = units.market.quote_units_per_tick_lot
    exact = parse_decimal(quote, code="dark.deposit", field="--deposit") * 10**units.quote.decimals / unit
    lots = parse_decimal(base, code="dark.deposit", field="--deposit") / units.lot_size
    if exact.denominator != 1 or lots.denominator != 1:
        expected = f"a multiple of {units.quote.show(unit)} {units.quote.symbol}, and one of {units.show_quantity(1)}"
        raise ProtocolError("dark.deposit", "--deposit", text, f"{expected} {units.base.symbol}")
    return Deposits(exact.numerator, lots.numerator)


def seal_dark(
    file: CommitteeFile, options: DarkSealOptions, terms: OrderTerms, nonce: int, timeout_s: float
) -> SealedOrder:
    """Seal an order for a dark market to the keys that the members prove now. Raises the refusal of what they would
    not take, and :class:`ClientError` where they do not answer."""

    async def run() -> SealedOrder | ClientError | ProtocolError:
        async with open_sequencer(file.committee, connector_to(file)) as client:
            await follow_epochs(client, EPOCHS_S_MAX)
            await client.wait_connected(1, timeout_s)
            trader = TradingAccount(
                client, options.account, sponsor=options.sponsor, lifetime_ms=options.lifetime_ms, keys_s=timeout_s
            )
            try:
                return await trader.seal(terms, nonce, deposits=options.deposits)
            except (ClientError, ProtocolError) as error:
                return error

    sealed = trio.run(run)
    if isinstance(sealed, SealedOrder):
        return sealed
    raise sealed
