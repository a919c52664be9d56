"""The chain's side of the settlement scenarios: who pays, whose hand does what, and blocks that go on coming.

Everybody has an account of its own, so that nobody's transactions wait for another's: the deployer (new in every run,
for the contracts' addresses follow from its transaction count), the clock, which sends itself nothing at all so that
blocks come where they come with transactions only, and anyone, who claims, freezes and exits for others.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import Final

import trio

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.agreement import ContractFacts, Place, add_amounts, compare_exits
from mpc_sequencer.devnet.agreement_facts import contract_facts
from mpc_sequencer.devnet.findings import Finding
from mpc_sequencer.devnet.settle_result import Exited
from mpc_sequencer.settlement.contract import SettlementContract
from mpc_sequencer.settlement.errors import ChainError, TransactionReverted
from mpc_sequencer.settlement.ethrpc import Call
from mpc_sequencer.settlement.payloads import INPUT_BOND
from mpc_sequencer.settlement.terms import Terms

DEPLOYER_WEI: Final = 2_000 * 10**18
HAND_WEI: Final = 5 * 10**18
BOND_WEI: Final = 10**18
TRANSFER_GAS: Final = 21_000
TICK_S: Final = 0.4
FORCED_DELAY_BLOCKS: Final = 4
GRACE_BLOCKS: Final = 120
"""Some 40 seconds of the clock: an order commit comes with its result, or 10 seconds after its range."""
ROTATION_DELAY_BLOCKS: Final = 6


def short_terms(governor: bytes) -> Terms:
    """Terms under which a minute shows everything. For no chain that holds value."""
    return Terms(
        forced_delay_blocks=FORCED_DELAY_BLOCKS,
        grace_blocks=GRACE_BLOCKS,
        rotation_delay_blocks=ROTATION_DELAY_BLOCKS,
        pause_blocks=10,
        timelock_blocks=FORCED_DELAY_BLOCKS + GRACE_BLOCKS + 11,
        governor=governor,
        guardian=governor,
        commits_required=True,
    )


@dataclass(frozen=True, slots=True)
class Hands:
    """Secrets of accounts that act on the chain, 32 bytes each."""

    deployer: bytes
    clock: bytes
    anyone: bytes


def new_hands() -> Hands:
    """New accounts for one run."""
    return Hands(secrets.token_bytes(32), secrets.token_bytes(32), secrets.token_bytes(32))


def give(chain: SettlementContract, payer: bytes, wei: dict[bytes, int]) -> None:
    """Send wei to accounts. Blocking. Raises ChainError."""
    chain.transact(payer, [Call(account, b"", amount, TRANSFER_GAS) for account, amount in wei.items()])


def tick(chain: SettlementContract, clock: bytes) -> None:
    """One transaction that does nothing, so that there is a block. Blocking."""
    chain.transact(clock, [Call(Signer(clock).address, b"", 0, TRANSFER_GAS)])


async def keep_ticking(chain: SettlementContract, clock: bytes) -> None:
    """Blocks, until cancelled; a chain that is slow to answer is asked again."""
    while True:
        with contextlib.suppress(ChainError):  # the scenario's own calls say what is wrong with the chain
            await trio.to_thread.run_sync(tick, chain, clock, abandon_on_cancel=True)
        await trio.sleep(TICK_S)


def deposit_as_newcomer(chain: SettlementContract, trader: Signer, secret: bytes, asset: int, units: int) -> None:
    """What a new trader does with a wallet: test tokens, approval, a sponsor's bond, a deposit. Blocking."""
    chain.mint(secret, chain.asset_tokens()[asset], trader.address, units)
    chain.approve(secret, chain.asset_tokens()[asset], units)
    chain.bond(secret, trader.address, BOND_WEI)
    chain.deposit(secret, asset, units, trader.address)


def force(chain: SettlementContract, secret: bytes, envelope: bytes) -> int:
    """Queue a sealed order for the fee that the contract asks; the block at which it is due. Blocking."""
    return chain.force(secret, envelope, int(chain.council_view("forced_fee_wei")))


# --- the end ------------------------------------------------------------------------------------------------------
def freeze_and_exit(
    chain: SettlementContract, hands: Hands, due_block: int
) -> tuple[Exited, list[Finding], ContractFacts]:
    """Wait until a forced order that nobody covers is late, freeze, and take everything out, for everybody. What was
    there before comes back too. Blocking. Raises ChainError."""
    found: list[Finding] = []
    _wait_block(chain, hands.clock, due_block + GRACE_BLOCKS - 1)
    try:
        chain.send(hands.anyone, "freeze")
        found.append(Finding("settle.freeze", f"frozen within the grace, before block {due_block + GRACE_BLOCKS}"))
    except TransactionReverted:
        _wait_block(chain, hands.clock, due_block + GRACE_BLOCKS + 1)  # gas is estimated on the last block
        chain.send(hands.anyone, "freeze")
    frozen_block = chain.block_number()
    before = contract_facts(chain)
    places = sorted(before.balances)
    tokens = chain.asset_tokens()
    had = {place: chain.token_balance(tokens[place[0]], place[1]) for place in places}
    for asset, account in places:
        chain.send(hands.anyone, "exit", asset, account)
    received: dict[Place, int] = {
        place: chain.token_balance(tokens[place[0]], place[1]) - had[place] for place in places
    }
    bonds, more = _exit_bonds(chain, hands)
    found += more + compare_exits(before, contract_facts(chain), received)
    paid = add_amounts(((asset, b""), units) for (asset, _), units in received.items())
    wei_left = chain.balance_wei(chain.settlement or b"")
    fees_wei = chain.queue_count("forced_count") * int(chain.council_view("forced_fee_wei"))
    if wei_left != fees_wei:
        found.append(Finding("settle.left", f"{wei_left} wei are held still, forced orders' fees are {fees_wei}"))
    totals = {asset: units for (asset, _), units in paid.items()}
    return Exited(due_block, frozen_block, len(places), totals, bonds, wei_left), found, before


def _wait_block(chain: SettlementContract, clock: bytes, number: int) -> None:
    """Let blocks come up to ``number``."""
    while chain.block_number() < number:
        tick(chain, clock)


def _exit_bonds(chain: SettlementContract, hands: Hands) -> tuple[int, list[Finding]]:
    """Every sponsor's bond, back to it; how many, and those that did not arrive."""
    found = []
    inputs = chain.inputs(chain.block_number())
    bonds = add_amounts(((0, one.account), one.amount) for one in inputs if one.kind == INPUT_BOND)
    for (_, sponsor), wei in sorted(bonds.items()):
        had_wei = chain.balance_wei(sponsor)
        chain.send(hands.anyone, "exit_bond", sponsor)
        got_wei = chain.balance_wei(sponsor) - had_wei
        if got_wei != wei:
            found.append(Finding("settle.bond", f"sponsor 0x{sponsor.hex()} was paid {got_wei} wei, bonded {wei}"))
    return len(bonds), found
