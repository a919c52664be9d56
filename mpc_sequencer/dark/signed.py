"""A computation's transcript as a member's log holds it: every message that counted, with its author's signature.

What a party sends in a round is signed (:class:`mpc_sequencer.core.messages.DarkShares`), so its part of the transcript
is its own word, whoever keeps the log. :func:`entries` cuts the encoding into log entries, :func:`joined` puts it
together again. A transcript is one participant's: parties that met time-outs may have counted different messages, and
the outcome is the same all the same (:mod:`mpc_sequencer.dark.session`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from msgspec import Meta

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import DarkShares
from mpc_sequencer.core.transcript import DARK_PART_BYTES_MAX, DarkEntry
from mpc_sequencer.core.types import Hash32, SignatureBytes, Value
from mpc_sequencer.dark.transcript import (
    PAYLOAD_BYTES_MAX,
    TRANSCRIPT_BYTES_MAX,
    PartyIndex,
    RoundNumber,
    RoundShares,
    Said,
    Transcript,
)

CheckSignature = Callable[[int, bytes, bytes, str], None]
"""Refuses what is not the member's signature over a struct hash; takes member, struct hash, signature, field."""


class SignedSaid(Value, frozen=True):
    """One message as it counted, with its author's signature over the :class:`DarkShares` that it came in."""

    round: RoundNumber
    party: PartyIndex
    payload: Annotated[bytes, Meta(max_length=PAYLOAD_BYTES_MAX)]
    signature: SignatureBytes


class SignedTranscript(Value, frozen=True):
    """All messages that counted in a session, by round, then party."""

    session_id: Hash32
    said: tuple[SignedSaid, ...]

    def plain(self) -> Transcript:
        """Without signatures, for a replay. Raises ProtocolError ``dark.transcript`` where they are out of order."""
        transcript = Transcript(self.session_id, tuple(Said(one.round, one.party, one.payload) for one in self.said))
        transcript.rounds()
        return transcript

    def check(self, check_signature: CheckSignature) -> None:
        """Refuse a message that its party did not sign. Raises what ``check_signature`` does."""
        for one in self.said:
            shares = shares_of(self.session_id, one.party, one.round, one.payload, one.signature)
            check_signature(one.party, shares.struct_hash(), one.signature, "SignedSaid")


def shares_of(session_id: bytes, party: int, number: int, payload: bytes, signature: bytes) -> DarkShares:
    """The message that a payload travelled in."""
    message = encode(RoundShares(session_id, number, payload))
    return DarkShares(session_id, party, number, message, signature)


def signed(transcript: Transcript, signatures: Mapping[tuple[int, int], bytes]) -> SignedTranscript:
    """A session's transcript with the signatures of its messages, by round and party."""
    said = tuple(
        SignedSaid(one.round, one.party, one.payload, signatures[one.round, one.party]) for one in transcript.said
    )
    return SignedTranscript(transcript.session_id, said)


def entries(epoch: int, market: int, batch: int, transcript: SignedTranscript) -> list[DarkEntry]:
    """The log entries that hold a transcript, in order."""
    data = encode(transcript)
    size = DARK_PART_BYTES_MAX
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return [
        DarkEntry(epoch, market, batch, transcript.session_id, number, len(parts), part)
        for number, part in enumerate(parts)
    ]


def joined(parts: Sequence[DarkEntry]) -> SignedTranscript:
    """The transcript that these entries hold: all of one, in order. Raises ProtocolError ``dark.transcript``, or of the
    decoder, where they do not fit together."""
    if not parts:
        raise ProtocolError("dark.transcript", "parts", 0, "the parts of a transcript")
    first = parts[0]
    for number, one in enumerate(parts):
        about = (one.epoch, one.market, one.batch, one.session, one.part, one.parts)
        expected = (first.epoch, first.market, first.batch, first.session, number, len(parts))
        if about != expected:
            raise ProtocolError("dark.transcript", f"part {number}", about, expected)
    transcript: SignedTranscript = decode(
        SignedTranscript, b"".join(one.data for one in parts), bytes_max=TRANSCRIPT_BYTES_MAX
    )
    if transcript.session_id != first.session:
        raise ProtocolError("dark.transcript", "session", transcript.session_id, first.session.hex())
    return transcript
