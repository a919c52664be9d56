"""What was said in a run of a program: every opening of every party, and how to run the program again from it.

The transcript of a session is the list of the messages it counted, by round and party. Its openings are public, and a
program's course depends on public values alone, so whoever has the transcript can replay the run *without any share*:
:func:`replay` drives the same program on shares of zero, decodes each round from the transcript and sends the
program what was opened. The outcome is the parties' outcome, and every liar is named again. What a replay cannot tell:
whether the shares that were opened are those of the traders' inputs and of honest randomness. That is what t + 1 honest
parties stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final, Generic, TypeVar

import numpy as np
from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Hash32, Value
from mpc_sequencer.dark.decoding import Decoder
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements, from_bytes, to_bytes
from mpc_sequencer.dark.tags import TRANSCRIPT

if TYPE_CHECKING:
    from mpc_sequencer.dark.program import Program, Round

T = TypeVar("T")

ROUNDS_MAX: Final = 128
"""Rounds of one session; a program that wants more is not run to its end."""
PAYLOAD_BYTES_MAX: Final = 1 << 18
"""Bytes of one party's message of one round: 21,845 elements."""
MESSAGE_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 64
TRANSCRIPT_BYTES_MAX: Final = 1 << 26

MESSAGES_MAX: Final = ROUNDS_MAX * limits.COMMITTEE_MEMBERS_MAX
"""Messages of one transcript: a reader makes no more objects of it, however small each is said to be."""

RoundNumber = Annotated[int, Meta(ge=0, lt=ROUNDS_MAX)]
PartyIndex = Annotated[int, Meta(ge=0, lt=limits.COMMITTEE_MEMBERS_MAX)]


class RoundShares(Value, frozen=True):
    """A party's message of one round: its shares of all values that are opened, 12 bytes each."""

    session_id: Hash32
    round: RoundNumber
    payload: Annotated[bytes, Meta(max_length=PAYLOAD_BYTES_MAX)]


class Said(Value, frozen=True):
    """One message as it counted."""

    round: RoundNumber
    party: PartyIndex
    payload: Annotated[bytes, Meta(max_length=PAYLOAD_BYTES_MAX)]


class Transcript(Value, frozen=True):
    """All messages that counted in a session, by round, then party."""

    session_id: Hash32
    said: Annotated[tuple[Said, ...], Meta(max_length=MESSAGES_MAX)]

    def encode(self) -> bytes:
        """The canonical encoding, for the log."""
        return encode(self)

    def digest(self) -> bytes:
        """32 bytes that name this transcript. Parties that met time-outs may have counted different messages, so it is
        one party's; the outcome is everyone's."""
        return TRANSCRIPT(encode(self))

    def rounds(self) -> dict[int, dict[int, bytes]]:
        """Payloads by round and party. Raises ProtocolError ``dark.transcript`` where they are out of order."""
        by_round: dict[int, dict[int, bytes]] = {}
        last = (-1, -1)
        for one in self.said:
            if (one.round, one.party) <= last:
                raise ProtocolError("dark.transcript", "said", (one.round, one.party), f"behind {last}")
            last = (one.round, one.party)
            by_round.setdefault(one.round, {})[one.party] = one.payload
        return by_round


def decode_transcript(data: bytes) -> Transcript:
    """The strict inverse of :meth:`Transcript.encode`."""
    transcript: Transcript = decode(Transcript, data, bytes_max=TRANSCRIPT_BYTES_MAX)
    transcript.rounds()
    return transcript


def payload_of(step: Round) -> bytes:
    """One party's message of a round: the shares of all its openings, one after the other."""
    return b"".join(to_bytes(opening.shares) for opening in step.openings)


def payload_bytes(step: Round) -> int:
    """The only length that a message of the round may have."""
    return ELEMENT_BYTES * sum(len(opening.shares) for opening in step.openings)


def open_round(
    step: Round, received: Mapping[int, Elements], parties: int, faults_t: int
) -> tuple[tuple[Elements, ...], frozenset[int]]:
    """The values that a round opens, and who lied about any of them, from what each party sent (all openings' shares in
    one vector). Openings of one degree are decoded together. ``faults_t`` bounds the liars among ``received``. Raises
    :class:`Undecodable`."""
    ends = np.cumsum([0] + [len(opening.shares) for opening in step.openings])
    spans = [slice(int(start), int(end)) for start, end in pairwise(ends)]
    values: list[Elements | None] = [None] * len(spans)
    liars: frozenset[int] = frozenset()
    for degree in sorted({opening.degree for opening in step.openings}):
        chosen = [at for at, opening in enumerate(step.openings) if opening.degree == degree]
        together = {
            party: np.concatenate([shares[spans[at]] for at in chosen])
            for party, shares in received.items()
        }
        decoded = Decoder(parties, degree, faults_t).decode(together)
        liars |= decoded.liars
        start = 0
        for at in chosen:
            size = spans[at].stop - spans[at].start
            values[at] = decoded.values[start : start + size]
            start += size
    return tuple(value for value in values if value is not None), liars


@dataclass(frozen=True, slots=True)
class Replayed(Generic[T]):
    """What a transcript leads to: the program's outcome, and the parties whose shares are off what was opened."""

    outcome: T
    liars: frozenset[int]
    opened: tuple[tuple[str, Elements], ...] = field(repr=False)
    """Every opening by name, in the order of the rounds."""


def replay(transcript: Transcript, program: Program[T], parties: int, faults_t: int) -> Replayed[T]:
    """Run ``program``, made on any shares of the right shape (zeros), on what the transcript opened.

    Raises ProtocolError ``dark.transcript`` where rounds are missing or left over, or a message is of a party that the
    committee has not; ``dark.length`` or ``dark.element`` for malformed payloads; :class:`Undecodable` where a round
    does not decode or shows more than ``faults_t`` liars in all, as no session counts such; and what the program
    raises.

    It knows of the liars that the shares show and not of the parties that were convicted of malformed or contradicting
    messages, which no transcript has. So it reckons with ``faults_t`` liars where the session reckoned with fewer, and
    refuses a round that only this made decodable: more silent parties beside convicted ones than ``faults_t`` in all.
    """
    rounds = transcript.rounds()
    last = max((one.party for one in transcript.said), default=0)
    if last >= parties:
        raise ProtocolError("dark.transcript", "Said.party", last, f"below {parties}")
    liars: frozenset[int] = frozenset()
    opened: list[tuple[str, Elements]] = []
    try:
        step = next(program)
        for number in range(ROUNDS_MAX):
            said = rounds.pop(number, None)
            if said is None:
                raise ProtocolError("dark.transcript", f"round {number}", "no message", "shares of the round")
            size = payload_bytes(step) // ELEMENT_BYTES
            received = {party: from_bytes(payload, size) for party, payload in said.items() if party not in liars}
            values, found = open_round(step, received, parties, faults_t - len(liars))
            liars |= found
            if len(liars) > faults_t:
                raise Undecodable(f"{len(liars)} liars, expected at most {faults_t}", suspects=liars)
            opened.extend((opening.name, value) for opening, value in zip(step.openings, values, strict=True))
            step = program.send(values)
    except StopIteration as ended:
        if rounds:
            raise ProtocolError("dark.transcript", "rounds", f"{len(rounds)} more", "the program's rounds") from None
        return Replayed(ended.value, liars, tuple(opened))
    raise ProtocolError("dark.transcript", "rounds", f"more than {ROUNDS_MAX}", f"at most {ROUNDS_MAX}")
