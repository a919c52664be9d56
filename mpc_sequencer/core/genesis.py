"""The state before the first block: deposits and bonds up to the genesis checkpoint, and the state root they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.market import Engine

INPUT_DEPOSIT: Final = 1
INPUT_BOND: Final = 2


def genesis_engine(committee: Committee, inputs: Sequence[ChainInput]) -> tuple[Engine, dict[bytes, int]]:
    """The market engine with all deposits credited, and the bonds in wei by sponsor.

    Raises ``ValueError`` for a deposit of an asset the genesis does not list, or beyond the supply bound.
    """
    genesis = committee.genesis
    engine = Engine(genesis.markets, range(len(genesis.assets)), committee.separator, genesis.fee_account)
    bonds_wei: dict[bytes, int] = {}
    for one in inputs:
        amount = int.from_bytes(one.amount, "big")
        if one.kind == INPUT_DEPOSIT:
            engine.credit(one.account, one.asset, amount)
        else:
            bonds_wei[one.account] = bonds_wei.get(one.account, 0) + amount
    return engine, bonds_wei


def genesis_state_root(committee: Committee, inputs: Sequence[ChainInput]) -> bytes:
    """What the settlement contract's ``start`` takes."""
    return genesis_engine(committee, inputs)[0].state_root()
