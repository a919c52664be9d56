"""The state before the first block: deposits and bonds up to the genesis checkpoint, and the state root they give."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.darkwords import parties_of
from mpc_sequencer.core.transcript import INPUT_BOND, INPUT_DEPOSIT, ChainInput
from mpc_sequencer.market import Engine


def genesis_engine(committee: Committee, inputs: Sequence[ChainInput]) -> tuple[Engine, dict[bytes, int]]:
    """The market engine with all deposits credited, and the bonds in wei by sponsor.

    Raises ``ValueError`` for a deposit of an asset the genesis does not list, or beyond the supply bound.
    """
    genesis = committee.genesis
    assets = range(len(genesis.assets))
    engine = Engine(genesis.markets, assets, committee.separator, genesis.fee_account, parties_of(committee))
    bonds_wei: dict[bytes, int] = {}
    for one in inputs:
        if one.kind == INPUT_DEPOSIT:
            engine.credit(one.account, one.asset, one.amount_units)
    add_bonds(bonds_wei, inputs)
    return engine, bonds_wei


def genesis_state_root(committee: Committee, inputs: Sequence[ChainInput]) -> bytes:
    """What the settlement contract's ``start`` takes."""
    return genesis_engine(committee, inputs)[0].state_root()


def add_bonds(bonds_wei: dict[bytes, int], inputs: Sequence[ChainInput]) -> None:
    """Raise sponsors' bonds by those that a block takes."""
    for one in inputs:
        if one.kind == INPUT_BOND:
            bonds_wei[one.account] = bonds_wei.get(one.account, 0) + one.amount_units


def inputs_chain(inputs: Sequence[ChainInput], count: int, inputs_hash: bytes) -> tuple[int, bytes]:
    """The queue's count and hash after ``inputs``, which follow ``count`` others with that hash."""
    for one in inputs:
        inputs_hash = one.chained(inputs_hash)
    return count + len(inputs), inputs_hash


def credit_deposits(engine: Engine, inputs: Sequence[ChainInput]) -> None:
    """Credit the deposits that a block takes. One that the market cannot hold (an asset that the genesis does not list,
    a supply beyond its bound) credits nothing: it stays with the contract, where its owner has it free."""
    for one in inputs:
        if one.kind == INPUT_DEPOSIT:
            with suppress(ValueError):
                engine.credit(one.account, one.asset, one.amount_units)
