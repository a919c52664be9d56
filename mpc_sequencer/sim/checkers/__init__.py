"""What must hold in every run, whatever crashed, lagged or lied."""

from typing import Final

from mpc_sequencer.sim.checkers.agreement import Agreement, Certificates, EarlyShares
from mpc_sequencer.sim.checkers.audit import Audited
from mpc_sequencer.sim.checkers.base import Checker, Finding, Watched
from mpc_sequencer.sim.checkers.bounds import Memory
from mpc_sequencer.sim.checkers.chain import ChainTaken
from mpc_sequencer.sim.checkers.epochs import EpochInclusion, Epochs, Handovers, Kept, Together, Vaults
from mpc_sequencer.sim.checkers.keys import Keys, Secrets
from mpc_sequencer.sim.checkers.lives import Durable, Log, Recovered, SignedOnce
from mpc_sequencer.sim.checkers.promises import Accusations, Inclusion, Receipts, Results

CHECKERS: Final[tuple[type[Checker], ...]] = (
    Agreement,
    Certificates,
    EarlyShares,
    Durable,
    SignedOnce,
    Receipts,
    Accusations,
    Inclusion,
    Results,
    ChainTaken,
    Memory,
    Log,
    Recovered,
    Audited,
)
"""Beside these, a run reports under ``core`` (an honest core raised) and ``progress`` (too slow after the heal)."""
GENERATED_CHECKERS: Final[tuple[type[Checker], ...]] = (*CHECKERS, Keys, Secrets)
"""Where a run begins with a key generation."""

ROTATED_CHECKERS: Final[tuple[type[Checker], ...]] = (
    Agreement,
    Certificates,
    EarlyShares,
    Durable,
    SignedOnce,
    Receipts,
    Accusations,
    Results,
    ChainTaken,
    Memory,
    Log,
    Epochs,
    EpochInclusion,
    Handovers,
    Kept,
    Together,
    Vaults,
)
"""Where the committee is replaced."""

__all__ = ["CHECKERS", "GENERATED_CHECKERS", "ROTATED_CHECKERS", "Checker", "Finding", "Watched"]
