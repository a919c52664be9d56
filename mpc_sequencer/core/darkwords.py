"""What members say of dark markets: what of it this member may list now, and what execution goes by.

Rule: a word is a key message under the epoch's dark topic. It is held like any other, but listed only while the desk of
the dark markets wants it there (:meth:`Desk.wanted`), so that a block lifts no word that an honest member had no use
for: f members list it in vain. The desk is a part of the market engine, a function of executed heights, and members
execute a height at different moments, so what is not wanted here yet may be wanted a moment later. A word that a block
lifts makes its height count: it is executed with the words in their order.

An epoch's first words must be judged before it has executed a height: the engine's desk is the old epoch's until then,
and a new one with the new committee takes its place, as execution will make it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.darkterms import dark_markets
from mpc_sequencer.core.types import KeyMessage

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore
    from mpc_sequencer.dark.desk import Desk, Parties


def parties_of(committee: Committee) -> Parties | None:
    """Who computes dark batches in a committee's epoch; None where no market is dark."""
    if committee.dark_topic is None:
        return None
    from mpc_sequencer.dark.desk import Parties

    return Parties(committee.genesis_id, committee.epoch, committee.addresses, committee.f)


class DarkWords:
    """The dark side of one member's core, for one epoch."""

    def __init__(self, core: NodeCore, parties: Parties | None) -> None:
        self._core = core
        self.parties = parties
        """None where no market is dark."""
        self._next: Desk | None = None
        """The desk that this epoch's first executed height begins with."""
        self._judged: dict[bytes, bool] = {}
        self._judged_height = -1

    @property
    def desk(self) -> Desk | None:
        """What this epoch's words are judged by; None where no market is dark."""
        if self.parties is None:
            return None
        held = self._core.execution.engine.desk
        if held is not None and held.parties == self.parties:
            self._next = None
            return held
        if self._next is None:
            from mpc_sequencer.dark.desk import Desk

            markets = dark_markets(self._core.committee.genesis.markets)
            self._next = Desk({market.id: market for market, _ in markets}, self.parties)
        return self._next

    def wanted(self, message_id: bytes, message: KeyMessage) -> bool:
        """Whether this member may list a word now. No height takes up words once the epoch's handover is agreed."""
        desk, height = self.desk, self._core.execution.executed_height
        if desk is None or self._core.chain.final_state.handover:
            return False
        if self._judged_height != height:
            self._judged, self._judged_height = {}, height
        found = self._judged.get(message_id)
        if found is None:
            found = self._judged[message_id] = desk.wanted(message.node, message.payload)
        return found
