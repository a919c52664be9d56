"""Byzantine members, one file per behaviour: each is a real core whose wire is bent."""

from typing import Final

from mpc_sequencer.sim.byzantine.amnesiac import Amnesiac
from mpc_sequencer.sim.byzantine.bad_dealer import BadDealer
from mpc_sequencer.sim.byzantine.bad_extractor import BadExtractor
from mpc_sequencer.sim.byzantine.bad_feldman import BadFeldman
from mpc_sequencer.sim.byzantine.base import Behaviour
from mpc_sequencer.sim.byzantine.bent_shares import BentShares
from mpc_sequencer.sim.byzantine.copied_header import CopiedHeader
from mpc_sequencer.sim.byzantine.double_dealer import DoubleDealer
from mpc_sequencer.sim.byzantine.drops_earliest_lists import DropsEarliestLists
from mpc_sequencer.sim.byzantine.drops_one_sender import DropsOneSender
from mpc_sequencer.sim.byzantine.early_revealer import EarlyRevealer
from mpc_sequencer.sim.byzantine.equivocating_leader import EquivocatingLeader
from mpc_sequencer.sim.byzantine.equivocating_lists import EquivocatingLists
from mpc_sequencer.sim.byzantine.equivocating_votes import EquivocatingVotes
from mpc_sequencer.sim.byzantine.false_logs import FalseLogs
from mpc_sequencer.sim.byzantine.false_ready import FalseReady
from mpc_sequencer.sim.byzantine.feldman_withholder import FeldmanWithholder
from mpc_sequencer.sim.byzantine.garbage_sender import GarbageSender
from mpc_sequencer.sim.byzantine.ignores_chain import IgnoresChain
from mpc_sequencer.sim.byzantine.inconsistent_dealer import InconsistentDealer
from mpc_sequencer.sim.byzantine.invents_ids import InventsIds
from mpc_sequencer.sim.byzantine.late_dealer import LateDealer
from mpc_sequencer.sim.byzantine.lies_about_chain import LiesAboutChain
from mpc_sequencer.sim.byzantine.lying_complainer import LyingComplainer
from mpc_sequencer.sim.byzantine.mute_dealer import MuteDealer
from mpc_sequencer.sim.byzantine.nullifier import Nullifier
from mpc_sequencer.sim.byzantine.old_deal import OldDeal
from mpc_sequencer.sim.byzantine.other_handover import OtherHandover
from mpc_sequencer.sim.byzantine.replayer import Replayer
from mpc_sequencer.sim.byzantine.silent import Silent
from mpc_sequencer.sim.byzantine.slow import Slow
from mpc_sequencer.sim.byzantine.stale_heads import StaleHeads
from mpc_sequencer.sim.byzantine.stays_behind import StaysBehind
from mpc_sequencer.sim.byzantine.two_committees import TwoCommittees
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
        LiesAboutChain,
        IgnoresChain,
    )
}
"""What any run may have."""
KEY_BEHAVIOURS: Final[dict[str, type[Behaviour]]] = {
    one.name: one
    for one in (
        BadDealer,
        InconsistentDealer,
        MuteDealer,
        LateDealer,
        DoubleDealer,
        CopiedHeader,
        OldDeal,
        LyingComplainer,
        FeldmanWithholder,
        BadFeldman,
        BadExtractor,
        FalseReady,
    )
}
"""What only a run that begins with a key generation may have."""

ROTATION_BEHAVIOURS: Final[dict[str, type[Behaviour]]] = {
    one.name: one for one in (TwoCommittees, OtherHandover, StaysBehind)
}
"""What only a run in which the committee is replaced may have, beside those."""

DARK_BEHAVIOURS: Final = ("dark_liar", "dark_equivocator", "dark_mute", "dark_false_words")
"""What only a run with a dark market may have."""


def dark_behaviours() -> dict[str, type[Behaviour]]:
    """Those, by name; numpy comes in with them."""
    from mpc_sequencer.sim.byzantine.dark_equivocator import DarkEquivocator
    from mpc_sequencer.sim.byzantine.dark_false_words import DarkFalseWords
    from mpc_sequencer.sim.byzantine.dark_liar import DarkLiar
    from mpc_sequencer.sim.byzantine.dark_mute import DarkMute

    kinds: tuple[type[Behaviour], ...] = (DarkLiar, DarkEquivocator, DarkMute, DarkFalseWords)
    return dict(zip(DARK_BEHAVIOURS, kinds, strict=True))


__all__ = ["BEHAVIOURS", "DARK_BEHAVIOURS", "KEY_BEHAVIOURS", "ROTATION_BEHAVIOURS", "Behaviour", "dark_behaviours"]
