"""What everybody knows of a batch that is computed, and what its outcome may be.

A batch's facts follow from the log: the orders that are left, with their deposits, and who takes part. Of them follow
the session's name, the masks' context, and, with what the parties open first, the coin: it draws the weights of the
validity test and the order in which the marginal orders are served. Nobody knows it before all rows are fixed and all
participants have answered for theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import DarkFillValue, OutcomeValue
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.dark.prss import prss_context
from mpc_sequencer.dark.rule import DarkOutcome


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """A batch to compute: whose keys (``keys_id``), which orders by id with the deposit of each, and the
    ``participants``, ascending. All else about them is in their boxes."""

    params: DarkParams
    topic: bytes
    epoch: int
    keys_id: bytes
    market: int
    batch: int
    participants: tuple[int, ...]
    order_ids: tuple[bytes, ...]
    deposits: tuple[Deposit, ...]

    def session_id(self) -> bytes:
        """32 bytes that name the one computation of this batch."""
        numbers = self.market.to_bytes(4, "big") + self.batch.to_bytes(8, "big")
        bitmap = sum(1 << party for party in self.participants).to_bytes(8, "big")
        return tags.SESSION(self.topic, numbers, bitmap, *self.order_ids)

    def masks_context(self) -> bytes:
        """The context of its pseudorandom sharing: a batch is computed once, or never."""
        return prss_context(self.keys_id, self.epoch, self.market, self.batch, 0)


def priority(coin: bytes, order_ids: tuple[bytes, ...]) -> tuple[int, ...]:
    """All indices of the orders, first served first."""
    drawn = [tags.PRIORITY(coin, order_id) for order_id in order_ids]
    return tuple(sorted(range(len(order_ids)), key=drawn.__getitem__))


def outcome_value(coin: bytes, outcome: DarkOutcome) -> OutcomeValue:
    """An outcome as members say it."""
    return OutcomeValue(
        coin=coin,
        crossed=int(outcome.crossed),
        tick=0 if outcome.tick is None else outcome.tick + 1,
        side=outcome.marginal_side or 0,
        volume_lots=outcome.volume_lots,
        fills=tuple(DarkFillValue(fill.order, fill.side, fill.lots) for fill in outcome.fills),
        rejected=outcome.rejected,
        last=0 if outcome.last_marginal is None else outcome.last_marginal + 1,
    )


def price_of(params: DarkParams, outcome: OutcomeValue) -> int | None:
    """The clearing price in the market's ticks, None where nobody trades."""
    return params.price_first_ticks + params.price_step_ticks * (outcome.tick - 1) if outcome.crossed else None


def is_consistent(params: DarkParams, deposits: tuple[Deposit, ...], outcome: OutcomeValue) -> bool:
    """Whether an outcome may be settled: places in their bounds and in order, as many lots bought as sold, a tick of
    the market, and no fill beyond its order's deposit."""
    rejected = outcome.rejected
    if not _ascending(rejected, len(deposits)):
        return False
    price_ticks = price_of(params, outcome)
    if price_ticks is None:
        return not (outcome.tick or outcome.side or outcome.volume_lots or outcome.fills or outcome.last)
    if not 1 <= outcome.tick <= params.ticks or outcome.side not in (BUY, SELL) or not outcome.volume_lots:
        return False
    fills = outcome.fills
    if not _ascending(tuple(fill.order for fill in fills), len(deposits)):
        return False
    lots = {BUY: 0, SELL: 0}
    for fill in fills:
        lots[fill.side] += fill.lots
        deposit = deposits[fill.order]
        covered = (
            fill.lots * price_ticks <= deposit.quote_tick_lots if fill.side == BUY else fill.lots <= deposit.base_lots
        )
        if not covered or fill.lots >> params.quantity_bits or fill.order in rejected:
            return False
    if not lots[BUY] == lots[SELL] == outcome.volume_lots:
        return False
    return not outcome.last or (outcome.last - 1, outcome.side) in {(fill.order, fill.side) for fill in fills}


def _ascending(places: tuple[int, ...], bound: int) -> bool:
    return all(one < other for one, other in pairwise(places)) and (not places or places[-1] < bound)
