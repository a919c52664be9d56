"""Which sealed orders form the next batch: a pure function of members' lists that no leader can bend."""

from mpc_sequencer.core.ordering.derive import Candidate, Derived, KeyFacts, Missing, derive, lower_median
from mpc_sequencer.core.ordering.state import OrderFacts, OrderingState, Positions, Queued, epoch_state, genesis_state

__all__ = [
    "Candidate",
    "Derived",
    "KeyFacts",
    "Missing",
    "OrderFacts",
    "OrderingState",
    "Positions",
    "Queued",
    "derive",
    "epoch_state",
    "genesis_state",
    "lower_median",
]
