"""What a member tells of its dark markets: to its operator, and to clients that seal orders for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.messages import DarkKeysReply, DarkMarketStatus
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.market import HeightResult
from mpc_sequencer.market.types import FILLED

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore
    from mpc_sequencer.dark.desk import Desk

COLLECTING: Final = "collecting"
PHASES: Final = ("", "reports", "openings", "run")
"""Of a batch, by number (:mod:`mpc_sequencer.dark.bookstate`)."""

Last = tuple[int, str, int, int]
"""Height, outcome code, price in ticks and volume in lots of orders that ended."""


class DarkBoard:
    """The last orders of each dark market that ended here."""

    def __init__(self) -> None:
        self.last: dict[int, Last] = {}

    def executed(self, outcome: HeightResult, markets: tuple[int, ...]) -> None:
        """Remember what a height ended."""
        for market in markets:
            ended = [one for one in outcome.updates if one.market == market]
            if ended:
                price, volume = next(((row[1], row[2]) for row in outcome.clearing if row[0] == market), (0, 0))
                code = FILLED if volume else ended[0].code
                self.last[market] = (outcome.height, code, price, volume)


def dark_status(core: NodeCore) -> tuple[str, tuple[int, ...], tuple[DarkMarketStatus, ...]]:
    """The agreement's phase, members that have a key, each dark market."""
    desk = core.dark.desk
    if desk is None:
        return "", (), ()
    return agreement_phase(desk), desk.agreement.keyed, tuple(_market(core, desk, market) for market in desk.markets)


def agreement_phase(desk: Desk) -> str:
    """What the agreement on keys waits for; ``done`` where there are keys."""
    return desk.agreement.phase.name.lower()


def _market(core: NodeCore, desk: Desk, market: int) -> DarkMarketStatus:
    state = desk.book(market).state
    batch, last = state.batch, core.board.dark.last.get(market)
    phase = COLLECTING if batch is None else PHASES[batch.phase]
    orders = 0 if batch is None else len(batch.orders)
    return DarkMarketStatus(market, phase, state.number, orders, len(state.held), last)


def dark_keys_reply(core: NodeCore, request: int) -> DarkKeysReply:
    """The keys that dark orders are sealed to, for a client."""
    desk, epoch, height = core.dark.desk, core.committee.epoch, core.execution.executed_height
    keys = None if desk is None else desk.keys
    phase = "" if desk is None else agreement_phase(desk)
    if keys is None:
        return DarkKeysReply(request, epoch, height, phase, 0, (), ZERO_HASH)
    return DarkKeysReply(request, epoch, height, phase, keys.attempt, keys.box_keys, keys.rest_hash)
