"""Money: what the contract must hold after the fills the members reported, and that it holds exactly that.

The expectation is computed here from the deposits, the sealed orders and the fills that f+1 members
reported, without asking any member for a balance. So a wrong fill, a wrong net change or a lost settlement
shows as a difference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.core.actions import BUY
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.chain import ChainClient

SETTLED_S_MAX: Final = 60.0
POLL_S: Final = 0.25

Balances = dict[tuple[int, int], int]
"""Base units by (account number, asset id)."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A withdrawal of the demo: account number, asset id, base units."""

    account: int
    asset: int
    units: int


class Traded(Protocol):
    """An order of the demo, as far as balances go."""

    @property
    def account(self) -> int: ...

    @property
    def side(self) -> int: ...


def expected_balances(
    committee: Committee,
    deposits: Balances,
    sent: Mapping[bytes, Traded],
    records: Mapping[bytes, OrderRecord],
    withdrawn: Sequence[Withdrawn],
) -> Balances:
    """What the contract must hold free per account and asset."""
    market = committee.genesis.markets[0]
    balances = dict(deposits)
    for order_id, order in sent.items():
        record = records[order_id]
        sign = 1 if order.side == BUY else -1
        for _, lots, _, notional_tick_lots in record.fills():
            base = sign * lots * market.base_units_per_lot
            quote = sign * notional_tick_lots * market.quote_units_per_tick_lot
            balances[order.account, market.base_asset] += base
            balances[order.account, market.quote_asset] -= quote
    for one in withdrawn:
        balances[one.account, one.asset] -= one.units
    return balances


def balance_differences(
    chain: ChainClient, signers: Sequence[Signer], expected: Balances, withdrawn: Sequence[Withdrawn]
) -> list[str]:
    """Where the contract differs, in words; empty when every balance is right. Blocking."""
    withdrawable = {(one.account, one.asset): one.units for one in withdrawn}
    differences = []
    for (account, asset), units in sorted(expected.items()):
        free, open_units = chain.balance(signers[account].address, asset)
        if (free, open_units) != (units, withdrawable.get((account, asset), 0)):
            differences.append(
                f"account {account}, asset {asset}: the contract has {free} free, {open_units} withdrawable,"
                f" expected {units} and {withdrawable.get((account, asset), 0)}"
            )
    return differences


def wait_settled(chain: ChainClient, height: int, timeout_s: float = SETTLED_S_MAX) -> bool:
    """Wait until the contract's chain of results reaches ``height``; False when it does not in time.
    Blocking.
    """
    deadline = time.monotonic() + timeout_s
    while chain.last_posted().last_height < height:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def claim_all(
    chain: ChainClient,
    payer_secret: bytes,
    committee: Committee,
    signers: Sequence[Signer],
    withdrawn: Sequence[Withdrawn],
) -> list[str]:
    """Claim every withdrawal on the chain; what did not arrive, in words. Blocking."""
    problems = []
    for one in withdrawn:
        address = signers[one.account].address
        token = committee.genesis.assets[one.asset]
        before = chain.token_balance(token, address)
        chain.claim(payer_secret, one.asset, address)
        arrived = chain.token_balance(token, address) - before
        if arrived != one.units:
            problems.append(
                f"account {one.account} claimed {arrived} of asset {one.asset}, expected {one.units}"
            )
    return problems


def settlement_gas(chain: ChainClient) -> tuple[int, int]:
    """(results posted, gas they used in all), read from the chain. Blocking."""
    results = chain.results()
    gas = 0
    for result in results:
        receipt = chain.receipt(result.transaction_hash)
        gas += 0 if receipt is None else receipt.gas_used
    return len(results), gas
