"""One party's computation of a batch, and anybody's replay of it.

The program is :func:`mpc_sequencer.dark.clearing.run`: in the first round the parties open, beside their masks, a few
values that nobody knew before. Hashed with the session's name they are the batch's *coin*
(:func:`mpc_sequencer.dark.facts.priority` draws the order of service from it). No block's coin is used: a block's
proposer would know it, or keep it back, before the batch is closed.

A batch is computed once. A party that has begun and lost its state (a restart) says that it came to nothing; it must
not begin again, for the same masks would hide other messages. Who is no participant is neither awaited nor heard.

Auditors replay a transcript from public facts alone (:func:`replay_batch`): the same program on shares of zero, with
masks of zero, sent what the transcript opens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.clearing import Batch, Plan
from mpc_sequencer.dark.clearing import run as clearing
from mpc_sequencer.dark.facts import BatchFacts, outcome_value, priority
from mpc_sequencer.dark.field import LIMBS, Elements, SharedRows, to_bytes
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.prss import Prss, PrssKeys
from mpc_sequencer.dark.session import Begin, DarkSession, Done, Effect, Event, Expired, Heard, TimedOut
from mpc_sequencer.dark.transcript import Transcript, replay

if TYPE_CHECKING:
    from mpc_sequencer.dark.messages import OutcomeValue
    from mpc_sequencer.dark.program import Program
    from mpc_sequencer.dark.rule import DarkOutcome


def drawing(facts: BatchFacts, rows: SharedRows) -> Callable[[Elements], Batch]:
    """The batch that opened values draw: coin and priority for these shares."""
    session_id = facts.session_id()

    def draw(opened: Elements) -> Batch:
        coin = tags.COIN(session_id, to_bytes(opened))
        return Batch(rows, facts.deposits, coin, priority(coin, facts.order_ids))

    return draw


def _program(facts: BatchFacts, rows: SharedRows, masks: Prss) -> Program[tuple[bytes, DarkOutcome]]:
    shared = Shared(masks, facts.params.faults_t)
    return clearing(facts.params, Plan.of(facts.params), shared, drawing(facts, rows))


class DarkRun:
    """Party ``party``'s one computation of a batch; ``keys`` and ``rows`` are its own, rows in the order of the facts'
    orders. Its methods give what follows, as :class:`mpc_sequencer.dark.session.DarkSession` does; it is ``over`` after
    the first :class:`~mpc_sequencer.dark.session.Done` or :class:`~mpc_sequencer.dark.session.Aborted`."""

    def __init__(self, facts: BatchFacts, party: int, keys: PrssKeys, rows: SharedRows) -> None:
        params = facts.params
        if party not in facts.participants:
            raise ValueError(f"party {party} takes no part, {facts.participants} do")
        masks = Prss(keys, params.parties, params.faults_t, party, facts.masks_context())
        self.facts = facts
        self.session_id = facts.session_id()
        self._session: DarkSession[tuple[bytes, DarkOutcome]] = DarkSession(
            *(self.session_id, party, params.parties, params.faults_t),
            _program(facts, rows, masks),
            facts.participants,
        )
        self._outcome: OutcomeValue | None = None

    def __repr__(self) -> str:
        return f"DarkRun({self._session!r})"

    @property
    def over(self) -> bool:
        """Whether nothing follows any more."""
        return self._session.ended

    @property
    def round(self) -> int:
        """The round that is open, -1 before the first."""
        return self._session.round

    def begin(self) -> list[Effect]:
        """Start; messages that were heard before count."""
        return self._step(Begin())

    def heard(self, party: int, message: bytes) -> list[Effect]:
        """``party``, as its signature shows, sent ``message``."""
        return self._step(Heard(party, message))

    def timed_out(self, number: int) -> list[Effect]:
        """The clock of a round has run out."""
        return self._step(TimedOut(number))

    def expire(self) -> list[Effect]:
        """The batch has no more time."""
        return self._step(Expired())

    def outcome(self) -> OutcomeValue | None:
        """What the batch came to; None where the run is not over or was aborted."""
        return self._outcome

    def transcript(self) -> Transcript:
        """The messages that counted, of every round that ended."""
        return self._session.transcript()

    def _step(self, event: Event) -> list[Effect]:
        effects = self._session.step(event)
        for effect in effects:
            if isinstance(effect, Done):
                self._outcome = outcome_value(*effect.outcome)
        return effects


# --- replay ---------------------------------------------------------------------------------------------------------


class _NoMasks(Prss):
    """Shares of zero in place of masks: a replay is sent the opened values, whatever it computes itself."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def random(self, count: int, label: str) -> Elements:
        return np.zeros(count, dtype=np.object_)

    def zero(self, count: int, label: str) -> Elements:
        return np.zeros(count, dtype=np.object_)

    def bounded(self, count: int, bits: int, label: str) -> Elements:
        return np.zeros(count, dtype=np.object_)


def replay_batch(facts: BatchFacts, transcript: Transcript) -> tuple[OutcomeValue, frozenset[int]]:
    """What a computation came to, and which parties' shares are off what was opened, from public facts alone.

    Raises ProtocolError ``dark.transcript`` for another batch's transcript, or one that holds messages of a party that
    takes no part, and what :func:`mpc_sequencer.dark.transcript.replay` raises.
    """
    if transcript.session_id != facts.session_id():
        raise ProtocolError("dark.transcript", "session_id", transcript.session_id, facts.session_id().hex())
    for one in transcript.said:
        if one.party not in facts.participants:
            raise ProtocolError("dark.transcript", "party", one.party, f"one of {facts.participants}")
    params = facts.params
    limbs = np.zeros((len(facts.order_ids), Layout.of(params).columns, LIMBS), dtype=np.uint16)
    program = _program(facts, SharedRows(limbs), _NoMasks())
    replayed = replay(transcript, program, params.parties, params.faults_t)
    return outcome_value(*replayed.outcome), replayed.liars
