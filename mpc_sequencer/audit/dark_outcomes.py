"""What a dark batch came to: the computation that its facts name, whether an outcome may be settled, and the replay of
a transcript (docs/dark.md, "What an auditor can check").

A replay runs the program of the computation on shares and masks of zero and is sent what the messages of the
transcript open. So the auditor computes what the members computed, from what they said, and sees whose shares were off.
It sees no row: that what was opened is of the traders' rows, t + 1 members' agreement stands for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mpc_sequencer.audit.dark_keys import u64
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark import clearing, tags
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import LIMBS, Elements, SharedRows, to_bytes
from mpc_sequencer.dark.layout import Deposit, Layout
from mpc_sequencer.dark.messages import DarkFillValue, OutcomeValue
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.prss import Prss
from mpc_sequencer.dark.transcript import Transcript, replay


@dataclass(frozen=True, slots=True)
class Computation:
    """A batch that is to be computed: of whom, and of which orders."""

    params: DarkParams
    topic: bytes
    epoch: int
    market: int
    batch: int
    participants: tuple[int, ...]
    order_ids: tuple[bytes, ...]
    deposits: tuple[Deposit, ...]

    @property
    def session_id(self) -> bytes:
        """What its messages are signed for."""
        members = sum(1 << party for party in self.participants)
        return tags.SESSION(
            self.topic, self.market.to_bytes(4, "big") + u64(self.batch), u64(members), *self.order_ids
        )


def price_ticks(params: DarkParams, outcome: OutcomeValue) -> int | None:
    """The clearing price; None where the batch is not crossed."""
    if not outcome.crossed:
        return None
    return params.price_first_ticks + (outcome.tick - 1) * params.price_step_ticks


def may_settle(computation: Computation, outcome: OutcomeValue) -> bool:
    """Whether an outcome is one of its batch, buys what it sells, and is covered by the deposits."""
    params, count = computation.params, len(computation.order_ids)
    fills = {fill.order: fill for fill in outcome.fills}
    rejected = set(outcome.rejected)
    if list(outcome.rejected) != sorted(rejected) or [fill.order for fill in outcome.fills] != sorted(fills):
        return False
    if rejected & set(fills) or any(order >= count for order in rejected | set(fills)):
        return False
    price = price_ticks(params, outcome)
    if price is None:
        return (outcome.tick, outcome.side, outcome.volume_lots, len(fills), outcome.last) == (0, 0, 0, 0, 0)
    if not (1 <= outcome.tick <= params.ticks and outcome.side in (BUY, SELL) and outcome.volume_lots > 0):
        return False
    traded = Counter[int]()
    for fill in outcome.fills:
        deposit = computation.deposits[fill.order]
        traded[fill.side] += fill.lots
        affordable = deposit.quote_tick_lots // price if fill.side == BUY else deposit.base_lots
        if fill.lots > min(affordable, (1 << params.quantity_bits) - 1):
            return False
    if traded[BUY] != outcome.volume_lots or traded[SELL] != outcome.volume_lots:
        return False
    last = fills.get(outcome.last - 1)
    return outcome.last == 0 or (last is not None and last.side == outcome.side)


class _Nothing(Prss):
    """Zeros for shared randomness: a replay is sent what was opened, whatever it has itself."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def random(self, count: int, label: str) -> Elements:
        return np.zeros(count, dtype=np.object_)

    zero = random

    def bounded(self, count: int, bits: int, label: str) -> Elements:
        return np.zeros(count, dtype=np.object_)


def replayed(computation: Computation, transcript: Transcript) -> tuple[OutcomeValue, frozenset[int]]:
    """What a transcript leads to, and the parties whose shares are off what was opened.

    A party that was convicted of a broken message is neither in the transcript nor among the liars that its session
    still reckoned with. So where too few shares are there to reckon with t liars, it is read with fewer.

    Raises what :func:`mpc_sequencer.dark.transcript.replay` does where it leads to nothing: ProtocolError, Undecodable
    or ProgramFault.
    """
    for liars_most in range(computation.params.faults_t, 0, -1):
        try:
            return _replayed(computation, transcript, liars_most)
        except Undecodable:
            continue
    return _replayed(computation, transcript, 0)


def _replayed(
    computation: Computation, transcript: Transcript, liars_most: int
) -> tuple[OutcomeValue, frozenset[int]]:
    params, ids, session_id = computation.params, computation.order_ids, computation.session_id
    rows = SharedRows(np.zeros((len(ids), Layout.of(params).columns, LIMBS), dtype=np.uint16))

    def draw(opened: Elements) -> clearing.Batch:
        coin = tags.COIN(session_id, to_bytes(opened))
        first_served = sorted(range(len(ids)), key=lambda index: tags.PRIORITY(coin, ids[index]))
        return clearing.Batch(rows, computation.deposits, coin, tuple(first_served))

    program = clearing.run(params, clearing.Plan.of(params), Shared(_Nothing(), params.faults_t), draw)
    run = replay(transcript, program, params.parties, liars_most)
    coin, found = run.outcome
    outcome = OutcomeValue(
        coin=coin,
        crossed=int(found.crossed),
        tick=0 if found.tick is None else found.tick + 1,
        side=found.marginal_side or 0,
        volume_lots=found.volume_lots,
        fills=tuple(DarkFillValue(fill.order, fill.side, fill.lots) for fill in found.fills),
        rejected=found.rejected,
        last=0 if found.last_marginal is None else found.last_marginal + 1,
    )
    return outcome, run.liars
