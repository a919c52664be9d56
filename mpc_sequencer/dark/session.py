"""A party's run of a program: one message per party and round, every opening decoded, no round without an end.

``step(event) -> effects``; pure, and nothing that peers send raises. Rules:

* *Messages.* In each round every party sends all others one :class:`RoundShares`. Of a party the first message of a
  round counts; a second, different one is an offence. A message of another length than the round's, or with an element
  that is not below the prime, is no message: the party is an erasure of this round, and is blamed. Messages of later
  rounds are kept until their round comes, as many as a program has rounds, :data:`EARLY_BYTES_MAX` bytes of one party
  together.
* *End of a round.* A round ends when all have spoken from whom anything is awaited, and what they said decodes; or at
  its time-out, when what is there decodes. A round that does not decode at its time-out, or never can, aborts the
  session.
* *Clocks.* The clock of a round starts with :class:`Clock`, which is when n - t parties have spoken in it. Started with
  the round, it would run out for an honest party whom a corrupt one's message let go ahead, while the others still wait
  for that message in the round before; who is ahead would abort alone. All n - t honest parties speak in every round
  that one of them ends, so a clock that does not start means more than t faults, and only the deadline of the whole
  session (:class:`Expired`, the caller's) ends it. So no session hangs, and each party costs a session one time-out.
* *Who is awaited.* A party that let a time-out pass is *absent*: it is not waited for any more, but counts again in
  every round it speaks in time. A party that was found to lie, to send malformed messages or two of them, is
  *convicted*: it is neither waited for nor heard. An erasure costs the decoder half of what an error costs, and with
  each convicted party one liar less is possible among the rest, so a convicted one never takes away from what can be
  corrected. More than t convicted abort the session, even where the last round decodes: what it rests on does not
  hold. A party that finds itself convicted (a trader dealt it a wrong share, say) goes on as an observer: it must not
  count its own shares either, or one more wrong share than the decoder reckons with could change a value.
* *What is safe.* With at most t corrupt parties a value is either the true one at every honest party or refused (see
  :mod:`mpc_sequencer.dark.decoding`), so parties that count different messages still compute the same.
* *One life.* A session never resumes: who restarts has logged the attempt and sits it out. Its masks depend on the
  attempt.

Effects name what follows: :class:`Say` to all others, :class:`Clock`, and at the end :class:`Done` or :class:`Aborted`,
with :class:`Blame` before whatever it leads to. Messages are not signed here: the caller's channel signs them, and
keeps the signed form of what is blamed as evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements, from_bytes
from mpc_sequencer.dark.program import Program, ProgramFault, Round
from mpc_sequencer.dark.transcript import (
    MESSAGE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    ROUNDS_MAX,
    RoundShares,
    Said,
    Transcript,
    open_round,
    payload_bytes,
    payload_of,
)

T = TypeVar("T")

_NOTHING: Final = np.zeros(0, dtype=np.object_)
EARLY_BYTES_MAX: Final = 1 << 20
"""Payload bytes of later rounds that are kept of one party: more than all rounds of the largest batch take."""

LIE: Final = "lie"
MALFORMED: Final = "malformed"
EQUIVOCATION: Final = "equivocation"
SILENT: Final = "silent"
Fault = Literal["lie", "malformed", "equivocation", "silent"]
"""``silent`` proves nothing: the network may be slow. The others are proven by the party's signed messages."""
AbortCode = Literal["undecodable", "fault", "rounds", "expired"]


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the program."""


@dataclass(frozen=True, slots=True)
class Heard:
    """``party``, as the channel authenticated it, sent ``message``."""

    party: int
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The clock of a round has run out; without meaning when the round has ended."""

    round: int


@dataclass(frozen=True, slots=True)
class Expired:
    """The session has taken longer than its caller allows it."""


Event = Begin | Heard | TimedOut | Expired


@dataclass(frozen=True, slots=True)
class Say:
    """Send ``message`` to all other parties."""

    round: int
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Clock:
    """Start the clock of ``round``: enough have spoken, the others are waited for so long and no longer."""

    round: int


@dataclass(frozen=True, slots=True)
class Blame:
    """``party`` did wrong, or said nothing, in ``round``; ``step`` names its openings where it is the current round."""

    party: int
    fault: Fault
    round: int
    step: str
    detail: str


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The program's outcome."""

    outcome: T


@dataclass(frozen=True, slots=True)
class Aborted:
    """The session ended without an outcome, for one of :data:`AbortCode`: ``undecodable`` (too few shares, or lies
    beyond correction), ``fault`` (opened values that no honest run gives), ``rounds`` (more rounds, or larger ones,
    than a session has), ``expired``."""

    code: AbortCode
    round: int
    detail: str


Effect = Say | Clock | Blame | Done[Any] | Aborted


class DarkSession(Generic[T]):
    """Party ``party``'s run of ``program`` under the 32-byte ``session_id``, which names one attempt alone. Of
    ``parties``, who are no ``participants`` (all, where not given) are neither awaited nor heard."""

    def __init__(
        self,
        session_id: bytes,
        party: int,
        parties: int,
        faults_t: int,
        program: Program[T],
        participants: Iterable[int] | None = None,
    ) -> None:
        self.session_id = session_id
        self.party = party
        self.parties = parties
        self.faults_t = faults_t
        self.participants = frozenset(range(parties) if participants is None else participants)
        self.round = -1
        self.ended = False
        self._timed = -1
        self.convicted: set[int] = set()
        self.absent: set[int] = set()
        self._program = program
        self._step: Round | None = None
        self._heard: list[dict[int, bytes]] = [{} for _ in range(ROUNDS_MAX)]
        self._shares: dict[int, Elements] = {}
        self._early_bytes = [0] * parties
        self._said: list[Said] = []

    def __repr__(self) -> str:
        return f"DarkSession(party={self.party}, round={self.round}, ended={self.ended})"

    def step(self, event: Event) -> list[Effect]:
        """What follows from an event. After the end nothing does; before :class:`Begin` messages are kept."""
        if self.ended:
            return []
        if isinstance(event, Heard):
            return self._hear(event.party, event.message)
        if isinstance(event, Begin):
            return self._begin() if self.round < 0 else []
        if isinstance(event, Expired):
            return self._abort("expired", f"{len(self._shares)} of {self.parties} parties were heard in the last round")
        return self._time_out() if event.round == self.round else []

    def transcript(self) -> Transcript:
        """What counted so far: of every ended round the messages that it was decoded from."""
        return Transcript(self.session_id, tuple(self._said))

    # --- events ---------------------------------------------------------------------------------------------------

    def _begin(self) -> list[Effect]:
        try:
            first = next(self._program)
        except StopIteration as ended:
            self.ended = True
            return [Done(ended.value)]
        except ProgramFault as fault:
            return self._abort("fault", str(fault))
        effects = self._enter(first)
        return effects + self._advance()

    def _hear(self, party: int, message: bytes) -> list[Effect]:
        if party not in self.participants or party == self.party or party in self.convicted:
            return []
        try:
            shares: RoundShares = decode(RoundShares, message, bytes_max=MESSAGE_BYTES_MAX)
        except ProtocolError as error:
            return self._convict(party, MALFORMED, max(self.round, 0), str(error)) + self._advance()
        if shares.session_id != self.session_id:
            return []  # of another attempt: old or early, and no offence
        before = self._heard[shares.round].get(party)
        if before is not None:
            if before == shares.payload:
                return []
            detail = "two different messages of one round"
            return self._convict(party, EQUIVOCATION, shares.round, detail) + self._advance()
        if shares.round < self.round:
            return []  # its round ended without it
        if shares.round > self.round:
            if self._early_bytes[party] + len(shares.payload) > EARLY_BYTES_MAX:
                return self._convict(party, MALFORMED, shares.round, "too many bytes ahead of time") + self._advance()
            self._early_bytes[party] += len(shares.payload)
            self._heard[shares.round][party] = shares.payload
            return []
        self._heard[shares.round][party] = shares.payload
        return self._take(party, shares.payload) + self._advance()

    def _time_out(self) -> list[Effect]:
        effects: list[Effect] = []
        for party in sorted(self._awaited() - self.absent):
            self.absent.add(party)
            effects.append(Blame(party, SILENT, self.round, self._name(), "no message in time"))
        return effects + self._advance(final=True)

    # --- rounds ---------------------------------------------------------------------------------------------------

    def _enter(self, step: Round) -> list[Effect]:
        """The next round begins: say our shares, take what was heard early."""
        self.round += 1
        if self.round >= ROUNDS_MAX or payload_bytes(step) > PAYLOAD_BYTES_MAX:
            return self._abort("rounds", f"round {self.round} opens {payload_bytes(step)} bytes")
        self._step = step
        payload = payload_of(step)
        early = self._heard[self.round]
        self._shares = {}
        if self.party not in self.convicted:
            self._shares[self.party] = np.concatenate([_NOTHING, *(opening.shares for opening in step.openings)])
        effects: list[Effect] = [Say(self.round, encode(RoundShares(self.session_id, self.round, payload)))]
        for party in sorted(early):
            self._early_bytes[party] -= len(early[party])
            if party not in self.convicted:
                effects += self._take(party, early[party])
        early[self.party] = payload
        return effects

    def _take(self, party: int, payload: bytes) -> list[Effect]:
        """A message of the current round: its shares, or an erasure and blame."""
        assert self._step is not None
        try:
            self._shares[party] = from_bytes(payload, payload_bytes(self._step) // ELEMENT_BYTES)
        except ProtocolError as error:
            return self._convict(party, MALFORMED, self.round, str(error))
        return []

    def _awaited(self) -> frozenset[int]:
        return self.participants - self.convicted - set(self._shares)

    def _advance(self, final: bool = False) -> list[Effect]:
        """End rounds as long as they can be ended. ``final``: the current round's time is over, now or never."""
        effects: list[Effect] = []
        while not self.ended and self._step is not None:
            waiting = self._awaited()
            if waiting - self.absent and not final:
                return effects + self._clock()
            if len(self.convicted) > self.faults_t:
                return effects + self._too_many()
            try:
                values, liars = open_round(
                    self._step, self._shares, self.parties, self.faults_t - len(self.convicted)
                )
            except Undecodable as error:
                if waiting and not final:
                    return effects + self._clock()  # an absent party's shares may yet decide
                effects += [
                    blame
                    for suspect in sorted(error.suspects)
                    for blame in self._convict(suspect, LIE, self.round, error.detail)
                ]
                return effects + self._abort("undecodable", error.detail)
            final = False
            effects += self._end_round(values, liars)
        return effects

    def _clock(self) -> list[Effect]:
        if self._timed == self.round or len(self._shares) < self.parties - self.faults_t:
            return []
        self._timed = self.round
        return [Clock(self.round)]

    def _end_round(self, values: tuple[Elements, ...], liars: frozenset[int]) -> list[Effect]:
        effects: list[Effect] = []
        heard = self._heard[self.round]
        self._said += [Said(self.round, party, heard[party]) for party in sorted(self._shares)]
        for liar in sorted(liars):
            effects += self._convict(liar, LIE, self.round, "shares off the polynomial of the others")
        if len(self.convicted) > self.faults_t:
            return effects + self._too_many()
        try:
            step = self._program.send(values)
        except StopIteration as ended:
            self.ended = True
            return [*effects, Done(ended.value)]
        except ProgramFault as fault:
            return effects + self._abort("fault", str(fault))
        return effects + self._enter(step)

    # --- verdicts -------------------------------------------------------------------------------------------------

    def _convict(self, party: int, fault: Fault, number: int, detail: str) -> list[Effect]:
        self.convicted.add(party)
        self._shares.pop(party, None)
        return [Blame(party, fault, number, self._name() if number == self.round else "", detail)]

    def _too_many(self) -> list[Effect]:
        detail = f"{len(self.convicted)} parties convicted, expected at most {self.faults_t}"
        return self._abort("undecodable", detail)

    def _abort(self, code: AbortCode, detail: str) -> list[Effect]:
        self.ended = True
        self._program.close()
        return [Aborted(code, self.round, detail)]

    def _name(self) -> str:
        return "" if self._step is None else ", ".join(opening.name for opening in self._step.openings)
