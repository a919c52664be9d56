"""What members say of dark markets in the log, and what the shares of a round travel in.

Members' words are payloads of key messages (:class:`mpc_sequencer.core.types.KeyMessage`) under the epoch's *dark
topic*: signed by their author, listed, and lifted by a final block like any key message, so that all members and the
auditor take up the same words in the same order. Of each kind, market and batch (or attempt of the keys) the first
word of a member counts; :func:`place` names what a word is about.

What sends members' shares to each other while a batch is computed is
:class:`mpc_sequencer.core.messages.DarkShares`: signed by its member, not logged until the computation is over, and
then in the log's transcript with its signature.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.actions import MarketNumber
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.types import Hash32, PointBytes, Uint, Value
from mpc_sequencer.dark.field import ELEMENT_BYTES

SCALAR_BYTES: Final = 32
PROOF_BYTES: Final = 64
ORDERS_PER_BATCH_MAX: Final = 1_536  # so that a report fits a key message, with as many opened boxes:
BAD_OPENED_MAX: Final = 96
CONTRIBUTIONS_MAX: Final = 512  # of one dealer; (13,3) has 88

ScalarBytes = Annotated[bytes, Meta(min_length=SCALAR_BYTES, max_length=SCALAR_BYTES)]
ProofBytes = Annotated[bytes, Meta(min_length=PROOF_BYTES, max_length=PROOF_BYTES)]
OrderIndex = Annotated[int, Meta(ge=0, lt=ORDERS_PER_BATCH_MAX)]


class OpenedBox(Value, frozen=True):
    """The point that opens one box to everybody, with the proof (c, z) that it is the right one. ``index`` is the
    dealer in an agreement, and the order's place in a batch."""

    index: OrderIndex
    point: PointBytes
    c: ScalarBytes
    z: ScalarBytes


class KeySaid(Value, frozen=True, tag=1):
    """A party's box key of attempt ``attempt`` at the epoch's keys, and the proof that it knows its secret."""

    attempt: Uint
    key: PointBytes
    proof: ProofBytes


class DealSaid(Value, frozen=True, tag=2):
    """A party's contributions to the subsets it deals to: a hash of each, in subset order, and a box of contributions
    for each other party with a key, ascending (empty where that party is in none of these subsets)."""

    attempt: Uint
    commitments: Annotated[tuple[Hash32, ...], Meta(max_length=CONTRIBUTIONS_MAX)]
    boxes: Annotated[
        tuple[Annotated[bytes, Meta(max_length=limits.DARK_BOX_BYTES_MAX)], ...],
        Meta(max_length=limits.COMMITTEE_MEMBERS_MAX),
    ]


class AnswerSaid(Value, frozen=True, tag=3):
    """A party has looked at its boxes: those that are bad, opened, ascending by dealer."""

    attempt: Uint
    opened: Annotated[tuple[OpenedBox, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]


class ReportSaid(Value, frozen=True, tag=4):
    """A party has looked at a closed batch's boxes: its share of every order's combination for the degree check
    (zeros where its box is bad), and the first BAD_OPENED_MAX bad boxes, opened, ascending by order. ``part`` counts
    the reports on one batch: where there are more bad boxes, another one follows on the orders that are left."""

    market: MarketNumber
    batch: Uint
    part: Uint
    shares: Annotated[bytes, Meta(max_length=ORDERS_PER_BATCH_MAX * ELEMENT_BYTES)]
    bad: Annotated[tuple[OpenedBox, ...], Meta(max_length=BAD_OPENED_MAX)]


class OpeningsSaid(Value, frozen=True, tag=5):
    """A party in dispute opens its boxes of the orders in question, ascending, the first BAD_OPENED_MAX of them.
    ``part`` counts as in a report."""

    market: MarketNumber
    batch: Uint
    part: Uint
    opened: Annotated[tuple[OpenedBox, ...], Meta(max_length=BAD_OPENED_MAX)]


class DarkFillValue(Value, frozen=True):
    """What one order traded; ``order`` is its place among the computed orders."""

    order: OrderIndex
    side: Annotated[int, Meta(ge=1, le=2)]
    lots: Annotated[int, Meta(ge=1, le=limits.QUANTITY_LOTS_MAX)]


class OutcomeValue(Value, frozen=True):
    """What a batch came to, as :class:`mpc_sequencer.dark.rule.DarkOutcome`; ``tick`` and ``last`` are one more than
    there, 0 for none. ``coin`` is what the parties opened to draw priorities from."""

    coin: Hash32
    crossed: Annotated[int, Meta(ge=0, le=1)]
    tick: Uint
    side: Annotated[int, Meta(ge=0, le=2)]
    volume_lots: Uint
    fills: Annotated[tuple[DarkFillValue, ...], Meta(max_length=ORDERS_PER_BATCH_MAX)]
    rejected: Annotated[tuple[OrderIndex, ...], Meta(max_length=ORDERS_PER_BATCH_MAX)]
    last: Uint


class ResultSaid(Value, frozen=True, tag=6):
    """A party's computation is over: what it came to, or None where it ended without an outcome."""

    market: MarketNumber
    batch: Uint
    outcome: OutcomeValue | None


Word = KeySaid | DealSaid | AnswerSaid | ReportSaid | OpeningsSaid | ResultSaid


class _Carried(Value, frozen=True):
    word: Word


Place = tuple[str, int, int, int]
"""What a word is about: its kind; market, batch and part, or 0, the attempt at the keys and 0."""


def encode_word(word: Word) -> bytes:
    """The payload of the key message that carries ``word``."""
    return encode(_Carried(word))


def decode_word(payload: bytes) -> Word:
    """The word in a payload; raises ProtocolError."""
    carried: _Carried = decode(_Carried, payload, bytes_max=limits.KEY_PAYLOAD_BYTES_MAX)
    return carried.word


def place(word: Word) -> Place:
    """What a word is about; a member has one word at a place."""
    if isinstance(word, KeySaid | DealSaid | AnswerSaid):
        return type(word).__name__, 0, word.attempt, 0
    return type(word).__name__, word.market, word.batch, 0 if isinstance(word, ResultSaid) else word.part


def topic(genesis_id: bytes, epoch: int) -> bytes:
    """The session of key messages under which an epoch's members speak of dark markets."""
    return domains.DARK_TOPIC(genesis_id, epoch.to_bytes(8, "big"))
