"""Contracts, deposits and bonds of a development network on a chain, and the genesis that follows from them.

Order: tokens, settlement contract, deposits and bonds of the traders, ether for the members' submitters;
then the checkpoint is read back from the chain (its queue's hash chain is verified on the way), the genesis
state is computed from it as every member does, and the contract is started on that state.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from mpc_sequencer.client.keys import read_account_key
from mpc_sequencer.core.committee import Committee, Genesis, fault_divisor
from mpc_sequencer.core.darkwords import parties_of
from mpc_sequencer.core.eip712 import domain_separator
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.devnet.layout import ASSETS, Devnet, write_node_config
from mpc_sequencer.market import Engine
from mpc_sequencer.node import config
from mpc_sequencer.settlement.chain import Bond, ChainClient, Deposit
from mpc_sequencer.settlement.ethrpc import Call
from mpc_sequencer.settlement.payloads import INPUT_DEPOSIT
from mpc_sequencer.settlement.terms import Terms

SUBMITTER_WEI: Final = 100 * 10**18
BOND_WEI: Final = 10**18
TRANSFER_GAS: Final = 21_000


@dataclass(frozen=True, slots=True)
class Funding:
    """What one trader's account starts with, in base units per asset id."""

    account: bytes
    units: dict[int, int]


def deploy(
    devnet: Devnet, chain: ChainClient, secret: bytes, funding: Sequence[Funding], terms: Terms | None = None
) -> Devnet:
    """Deploy everything with the deployer's ``secret`` and rewrite the committee and node files. Without ``terms`` the
    contract has those of a development chain.

    Raises :class:`ConfigError` where the chain is not fresh, and the chain client's errors.
    """
    file = devnet.file
    chain.connect()
    for asset, expected in zip(ASSETS, file.genesis.assets, strict=True):
        token = chain.deploy_token(secret, asset.symbol, asset.symbol, asset.decimals)
        _check_address(token, expected)
    committee = file.committee
    terms = terms or devnet_terms(file.genesis, secret)
    settlement = chain.deploy(secret, committee.addresses, committee.q, file.genesis.assets, terms)
    _check_address(settlement, file.genesis.settlement)
    chain.fund(
        secret,
        [Deposit(row.account, asset, units) for row in funding for asset, units in row.units.items()],
        [Bond(row.account, BOND_WEI) for row in funding],
    )
    chain.transact(
        secret,
        [
            Call(_submitter(devnet, node).address, b"", SUBMITTER_WEI, TRANSFER_GAS)
            for node in range(committee.n)
        ],
    )
    point = chain.checkpoint(chain.block_number())
    genesis = msgspec.structs.replace(
        file.genesis,
        checkpoint=Checkpoint(point.number, point.hash, point.inputs_count, point.inputs_hash),
        time_ms=time.time_ns() // 1_000_000,
        forced_delay_blocks=terms.forced_delay_blocks,
        forced_spacing_blocks=terms.forced_spacing_blocks,
    )
    chain.start(secret, genesis_state_root(genesis, chain), point.inputs_count)
    deployed = Devnet(
        devnet.folder,
        config.committee_file(genesis, file.endpoints, file.certificates),
        devnet.passphrase_file,
    )
    config.save_committee(deployed.committee_path, deployed.file)
    for node in range(committee.n):
        write_node_config(deployed, node, chain.url)
    return deployed


def devnet_terms(genesis: Genesis, secret: bytes) -> Terms:
    """Terms of a development chain; markets that need more honest members need a larger quorum (core/committee.py)."""
    deployer = Signer(secret).address
    divisor = fault_divisor(genesis.markets)
    return Terms(governor=deployer, guardian=deployer, quorum_divisor=divisor, commits_required=True)


def genesis_state_root(genesis: Genesis, chain: ChainClient) -> bytes:
    """The state root after the deposits up to the genesis checkpoint."""
    engine = Engine(
        genesis.markets,
        range(len(genesis.assets)),
        domain_separator(genesis.chain_id, genesis.settlement),
        genesis.fee_account,
        parties_of(Committee(genesis)),
    )
    for item in chain.inputs(genesis.checkpoint.number)[: genesis.checkpoint.inputs_count]:
        if item.kind == INPUT_DEPOSIT:
            engine.credit(item.account, item.asset, item.amount)
    return engine.state_root()


def _submitter(devnet: Devnet, node: int) -> Signer:
    def no_passphrase() -> str:
        raise ConfigError("a devnet's submitter key is not encrypted", "write the devnet anew")

    return read_account_key(devnet.node_folder(node) / "submitter.key", no_passphrase)


def _check_address(seen: bytes, expected: bytes) -> None:
    if seen != expected:
        raise ConfigError(
            f"a contract got the address 0x{seen.hex()}, expected 0x{expected.hex()}",
            "deploy on a fresh embedded chain: the deployer has sent transactions on this one",
        )
