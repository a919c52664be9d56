"""Byzantine members, one file per behaviour: each is a real core whose wire is bent."""

from typing import Final

from mpc_sequencer.sim.byzantine.amnesiac import Amnesiac
from mpc_sequencer.sim.byzantine.base import Behaviour
from mpc_sequencer.sim.byzantine.bent_shares import BentShares
from mpc_sequencer.sim.byzantine.drops_earliest_lists import DropsEarliestLists
from mpc_sequencer.sim.byzantine.drops_one_sender import DropsOneSender
from mpc_sequencer.sim.byzantine.early_revealer import EarlyRevealer
from mpc_sequencer.sim.byzantine.equivocating_leader import EquivocatingLeader
from mpc_sequencer.sim.byzantine.equivocating_lists import EquivocatingLists
from mpc_sequencer.sim.byzantine.equivocating_votes import EquivocatingVotes
from mpc_sequencer.sim.byzantine.false_logs import FalseLogs
from mpc_sequencer.sim.byzantine.garbage_sender import GarbageSender
from mpc_sequencer.sim.byzantine.invents_ids import InventsIds
from mpc_sequencer.sim.byzantine.nullifier import Nullifier
from mpc_sequencer.sim.byzantine.replayer import Replayer
from mpc_sequencer.sim.byzantine.silent import Silent
from mpc_sequencer.sim.byzantine.slow import Slow
from mpc_sequencer.sim.byzantine.stale_heads import StaleHeads
from mpc_sequencer.sim.byzantine.withholds_shares import WithholdsShares
from mpc_sequencer.sim.byzantine.wrong_result import WrongResult

BEHAVIOURS: Final[dict[str, type[Behaviour]]] = {
    one.name: one
    for one in (
        EquivocatingLeader,
        EquivocatingLists,
        EquivocatingVotes,
        DropsOneSender,
        DropsEarliestLists,
        StaleHeads,
        InventsIds,
        WithholdsShares,
        BentShares,
        EarlyRevealer,
        WrongResult,
        Nullifier,
        Replayer,
        Silent,
        Slow,
        GarbageSender,
        Amnesiac,
        FalseLogs,
    )
}

__all__ = ["BEHAVIOURS", "Behaviour"]
