"""The members' desk of dark markets and the auditor's, height by height beside each other.

:class:`Twins` is the desk tests' floor (:mod:`tests.dark.desk_kit`): whatever its parties do, both must come to the
same ends, the same refusals and the same leaf of the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from desk_kit import BLOCK_MS, Floor, order_id_of

from mpc_sequencer.audit.dark import DarkDesk
from mpc_sequencer.audit.dark_orders import DarkParties, are_boxes
from mpc_sequencer.audit.dark_state import DarkEnds
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.dark.desk import Ended, Parties, check_boxes
from mpc_sequencer.market.types import Market

Row = tuple[bytes, str, int, int]


def parties_of(parties: Parties) -> DarkParties:
    """The same parties as the auditor knows them."""
    return DarkParties(parties.topic, parties.epoch, parties.count, parties.faults_t)


def rows_of(ended: Ended) -> tuple[int, int | None, int, tuple[Row, ...]]:
    """What ended, by the members."""
    orders = tuple((one.order_id, one.code, one.side, one.lots) for one in ended.orders)
    return ended.market, ended.price_ticks, ended.volume_lots, orders


def audited_rows(ended: DarkEnds) -> tuple[int, int | None, int, tuple[Row, ...]]:
    """What ended, by the auditor."""
    orders = tuple((one.order_id, one.code, one.side, one.lots) for one in ended.orders)
    return ended.market, ended.price_ticks, ended.volume_lots, orders


class Twins(Floor):
    """A floor whose every height the auditor takes too."""

    def __init__(self, parties: Parties | None = None, markets: Mapping[int, Market] | None = None) -> None:
        super().__init__(parties, markets)
        self.audited = DarkDesk(self.markets.values(), parties_of(self.parties))
        self.heights: list[Sequence[tuple[int, bytes]]] = []

    def enter(self, action: DarkOrder) -> bytes:
        """Enter an order at the next height, on both."""
        assert self.refused(action) is None
        self.audited.wait(order_id_of(action), action, self.height_number + 1, self.time_ms + BLOCK_MS)
        return super().enter(action)

    def refused(self, action: DarkOrder) -> str | None:
        """Why an order cannot be held, by both."""
        assert are_boxes(action) == check_boxes(action)
        refused = self.desk.refusal(action)
        assert self.audited.refusal(action) == refused
        return refused

    def height(self, words: Sequence[tuple[int, bytes]] = (), later_ms: int = BLOCK_MS) -> list[Ended]:
        """Execute a height with these words, on both."""
        ended = super().height(words, later_ms)
        self.heights.append(words)
        found = self.audited.step(parties_of(self.parties), self.time_ms, words)
        assert [audited_rows(one) for one in found] == [rows_of(one) for one in ended]
        for market in self.desk.markets:
            assert self.audited.leaf(market) == self.desk.leaf(market)
        return ended
