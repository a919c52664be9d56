"""Agreement of an epoch's members on the keys of its dark markets (:mod:`mpc_sequencer.dark.keys`), over the log.

A pure function of the executed heights: their block times T and the members' words that they lift. Attempts are
counted from 0; within one:

| phase   | expected          | a word                       | then                                                |
| ------- | ----------------- | ---------------------------- | --------------------------------------------------- |
| KEYS    | all parties       | a box key, proven            | DEALS; with fewer than n - t keys FAILED            |
| DEALS   | parties with keys | commitments and sealed boxes | ANSWERS; where a subset has no dealer left, FAILED  |
| ANSWERS | parties with keys | the boxes that are bad       | DONE; where a subset has no dealer left, FAILED     |
| FAILED  | nobody            |                              | KEYS of the next attempt after DARK_RETRY_MS        |

A phase closes when all that it expects have spoken, or when its window is over.

The window of a phase is DARK_WINDOW_MS from the height that opened it; of the very first one, from the epoch's first
executed height. A height's words are heard in the phase that it finds; then phases close.

* A deal counts if everything that all can see is right: numbers, lengths, every box's proof. Else its dealer is out.
* A box is bad that does not open to the contributions that its dealer committed to. Its receiver opens it, with a proof
  (:func:`threshold.boxes.prove_opened`), and everybody judges: a bad box puts its dealer out. A false complaint counts
  for nothing; it tells nobody more than its author could have told.
* Whoever says something bad is *blamed*, for others to see: nothing follows from it but what is said above.
* Words of another attempt or phase, second ones, and words of whom the phase does not expect change nothing at all.

All of an attempt that fails is thrown away, unused. A party that is silent while its bad box goes unanswered lacks
that key and sits out what follows; so it is with a party whose word comes late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Final, TypeVar

from msgspec import Meta

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX, DARK_RETRY_MS, DARK_WINDOW_MS, KEY_PAYLOAD_BYTES_MAX
from mpc_sequencer.core.types import NodeIndex, PointOrNone, Uint, Value
from mpc_sequencer.dark import keys as dark_keys
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.keys import AgreedKeys, u16
from mpc_sequencer.dark.messages import AnswerSaid, DealSaid, KeySaid, OpenedBox, Word
from mpc_sequencer.dark.prss import subsets
from threshold import ThresholdError, boxes, group

T = TypeVar("T")
TOPIC_BYTES: Final = 32

_Parties = Annotated[tuple[NodeIndex, ...], Meta(max_length=COMMITTEE_MEMBERS_MAX)]


class Phase(IntEnum):
    """Where an attempt stands."""

    KEYS = 1
    DEALS = 2
    ANSWERS = 3
    DONE = 4
    FAILED = 5


KeyWord = KeySaid | DealSaid | AnswerSaid
_SPOKEN: Final[dict[Phase, type[KeySaid] | type[DealSaid] | type[AnswerSaid]]] = {
    Phase.KEYS: KeySaid,
    Phase.DEALS: DealSaid,
    Phase.ANSWERS: AnswerSaid,
}


class DealtValue(Value, frozen=True):
    """A qualified dealer's deal."""

    dealer: NodeIndex
    deal: DealSaid


class AgreementValue(Value, frozen=True):
    """An agreement's state, to be kept. Parties ascend everywhere; ``since_ms`` is when the phase was opened, None
    before the epoch's first executed height."""

    attempt: Uint
    phase: Annotated[int, Meta(ge=1, le=5)]
    since_ms: Uint | None
    box_keys: Annotated[tuple[PointOrNone, ...], Meta(max_length=COMMITTEE_MEMBERS_MAX)]
    deals: Annotated[tuple[DealtValue, ...], Meta(max_length=COMMITTEE_MEMBERS_MAX)]
    spoken: _Parties
    blamed: _Parties


@dataclass(frozen=True)
class Held:
    """A deal of a dealer that is qualified so far, and its hash."""

    deal: DealSaid
    digest: bytes


@dataclass(frozen=True)
class Agreement:
    """The state of an epoch's agreement; a step gives another one. :meth:`begin` makes the first.

    ``box_keys``: 33 bytes of each party with a key, else none. ``deals``: of each party what it dealt, None where it is
    no qualified dealer. ``spoken``: parties whose word of this phase has come. ``blamed``: parties that said something
    bad in this attempt. Raises ValueError for parties that cannot agree: a deal must fit a key message.
    """

    topic: bytes
    parties: int
    faults_t: int
    attempt: int
    phase: Phase
    since_ms: int | None
    box_keys: tuple[bytes, ...]
    deals: tuple[Held | None, ...]
    spoken: frozenset[int] = frozenset()
    blamed: frozenset[int] = frozenset()

    @classmethod
    def begin(cls, topic: bytes, parties: int, faults_t: int) -> Agreement:
        """The state before the epoch's first executed height; ``topic`` is
        :func:`mpc_sequencer.dark.messages.topic`'s."""
        if len(topic) != TOPIC_BYTES:
            raise ValueError(f"a topic of {len(topic)} bytes, expected {TOPIC_BYTES}")
        if not 1 <= faults_t < parties <= COMMITTEE_MEMBERS_MAX:
            raise ValueError(f"{faults_t} faults of {parties} parties")
        if dark_keys.deal_payload_bytes_max(parties, faults_t) > KEY_PAYLOAD_BYTES_MAX:
            raise ValueError(f"a deal of {parties} parties with {faults_t} faults does not fit a key message")
        return cls(topic, parties, faults_t, 0, Phase.KEYS, None, (b"",) * parties, (None,) * parties)

    # -- what is public ------------------------------------------------------------------------------------------------

    @cached_property
    def keys(self) -> AgreedKeys | None:
        """What was agreed on; None before DONE."""
        if self.phase is not Phase.DONE:
            return None
        qualified = (
            u16(dealer) + tags.COMMITMENTS(*held.deal.commitments)
            for dealer, held in enumerate(self.deals)
            if held is not None
        )
        return AgreedKeys(self.topic, self.attempt, self.box_keys, tags.KEYS_REST(*qualified))

    @cached_property
    def keyed(self) -> tuple[int, ...]:
        """The parties with a box key, ascending."""
        return tuple(party for party, key in enumerate(self.box_keys) if key)

    @property
    def expected(self) -> tuple[int, ...]:
        """The parties that the phase waits for, those that have spoken included."""
        if self.phase is Phase.KEYS:
            return tuple(range(self.parties))
        return self.keyed if self.phase in (Phase.DEALS, Phase.ANSWERS) else ()

    def owes(self, party: int) -> type[KeySaid] | type[DealSaid] | type[AnswerSaid] | None:
        """The word that is still expected of a party; None for none."""
        return _SPOKEN[self.phase] if party in self.expected and party not in self.spoken else None

    def wanted(self, party: int, word: Word) -> bool:
        """Whether a word of a party would be heard now."""
        return (
            isinstance(word, KeySaid | DealSaid | AnswerSaid)
            and type(word) is self.owes(party)
            and word.attempt == self.attempt
        )

    def due_ms(self) -> int | None:
        """The earliest block time at which :meth:`step` has something to do without words; None where it has none."""
        if self.since_ms is None or self.phase is Phase.DONE:
            return None
        return self.since_ms + (DARK_RETRY_MS if self.phase is Phase.FAILED else DARK_WINDOW_MS)

    def digest(self) -> bytes:
        """32 bytes that name the whole state; computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        deals = tuple(b"" if held is None else held.digest for held in self.deals)
        value = (self.attempt, self.phase.value, self.since_ms, self.box_keys, deals)
        sets = (tuple(sorted(self.spoken)), tuple(sorted(self.blamed)))
        return tags.AGREEMENT(self.topic, u16(self.parties), u16(self.faults_t), encode((*value, *sets)))

    # -- steps ---------------------------------------------------------------------------------------------------------

    def step(self, time_ms: int, words: Sequence[tuple[int, Word]]) -> Agreement:
        """The state after one executed height with its words in block order; ``time_ms`` is its block time."""
        after = self if self.since_ms is not None else replace(self, since_ms=time_ms)
        for party, word in words:
            if after.wanted(party, word):
                after = after._heard(party, word)
        while (following := after._following(time_ms)) is not None:
            after = following
        return after

    def _following(self, time_ms: int) -> Agreement | None:
        """The state after the next transition that applies at this time."""
        due_ms = self.due_ms()
        over = due_ms is not None and time_ms >= due_ms
        if self.phase is Phase.FAILED:
            return self._opened(Phase.KEYS, time_ms, self.attempt + 1) if over else None
        if self.phase is Phase.DONE or not (over or self.spoken.issuperset(self.expected)):
            return None
        few_keys = len(self.keyed) < self.parties - self.faults_t
        if few_keys or (self.phase is not Phase.KEYS and self._lacks_dealers()):
            return self._opened(Phase.FAILED, time_ms, self.attempt)
        return replace(self, phase=Phase(self.phase + 1), since_ms=time_ms, spoken=frozenset())

    def _opened(self, phase: Phase, time_ms: int, attempt: int) -> Agreement:
        """An attempt is thrown away, or begins."""
        blamed = self.blamed if phase is Phase.FAILED else frozenset[int]()
        begun = self.begin(self.topic, self.parties, self.faults_t)
        return replace(begun, attempt=attempt, phase=phase, since_ms=time_ms, blamed=blamed)

    def _lacks_dealers(self) -> bool:
        """Whether some subset has no qualified dealer."""
        return any(
            all(self.deals[dealer] is None for dealer in dark_keys.dealers_of(subset, number, self.faults_t))
            for number, subset in enumerate(subsets(self.parties, self.faults_t))
        )

    # -- words ---------------------------------------------------------------------------------------------------------

    def _heard(self, party: int, word: Word) -> Agreement:
        after = replace(self, spoken=self.spoken | {party})
        match word:
            case KeySaid():
                if not key_proven(self, party, word):
                    return after._blames(party)
                return replace(after, box_keys=_put(self.box_keys, party, word.key))
            case DealSaid():
                if not self._dealt_rightly(party, word):
                    return after._blames(party)
                return replace(after, deals=_put(self.deals, party, _held(word)))
            case AnswerSaid():
                return after._answered(party, word)
            case _:
                return self

    def _blames(self, party: int) -> Agreement:
        return replace(self, blamed=self.blamed | {party})

    def receivers(self, dealer: int) -> tuple[int, ...]:
        """The parties that a dealer has a box for, ascending: all others with a key."""
        return tuple(party for party in self.keyed if party != dealer)

    def _dealt_rightly(self, dealer: int, deal: DealSaid) -> bool:
        """What everybody can check of a deal."""
        receivers = self.receivers(dealer)
        dealt = len(dark_keys.dealt_by(self.parties, self.faults_t, dealer))
        if len(deal.commitments) != dealt or len(deal.boxes) != len(receivers):
            return False
        for receiver, box in zip(receivers, deal.boxes, strict=True):
            if len(box) != dark_keys.deal_box_bytes(self.parties, self.faults_t, dealer, receiver):
                return False
            try:
                if box:
                    boxes.parse(box, dark_keys.deal_context(self.topic, self.attempt, dealer, receiver))
            except ThresholdError:
                return False
        return True

    def box(self, dealer: int, receiver: int) -> bytes:
        """The box of a qualified dealer for a party with a key; no bytes where it has nothing for it."""
        held = self.deals[dealer]
        return b"" if held is None else held.deal.boxes[self.receivers(dealer).index(receiver)]

    def contributions(self, dealer: int, receiver: int, plaintext: bytes | None) -> tuple[bytes, ...] | None:
        """A qualified dealer's contributions that its box opens to, in subset order; None where they are not those
        that it committed to. Judges and receivers use this one function."""
        held = self.deals[dealer]
        dealt = dark_keys.dealt_to(self.parties, self.faults_t, dealer, receiver)
        if held is None or plaintext is None:  # its length is that of the box, which was checked when it was dealt
            return None
        step = dark_keys.CONTRIBUTION_BYTES
        found = tuple(plaintext[at : at + step] for at in range(0, len(plaintext), step))
        committed = dict(
            zip(dark_keys.dealt_by(self.parties, self.faults_t, dealer), held.deal.commitments, strict=True)
        )
        right = all(
            dark_keys.commitment(self.topic, self.attempt, dealer, subset, one) == committed[subset]
            for subset, one in zip(dealt, found, strict=True)
        )
        return found if right else None

    def _answered(self, party: int, answer: AnswerSaid) -> Agreement:
        if any(before.index >= after.index for before, after in pairwise(answer.opened)):
            return self._blames(party)
        judged = self
        for opened in answer.opened:
            judged = judged._judged(party, opened)
        return judged

    def _judged(self, party: int, opened: OpenedBox) -> Agreement:
        """One complaint: it puts the dealer out, or blames its author."""
        dealer = opened.index
        if dealer >= self.parties or dealer == party:
            return self._blames(party)
        if self.deals[dealer] is None:  # who complains of a dealer that is out already has done nothing wrong
            return self if dealer in self.blamed else self._blames(party)
        data, context = self.box(dealer, party), dark_keys.deal_context(self.topic, self.attempt, dealer, party)
        if not data:
            return self._blames(party)
        box, key = boxes.parse(data, context), self.box_keys[party]
        if not boxes.verify_opened(key, box, context, opened.point, opened.c, opened.z):
            return self._blames(party)
        plaintext = boxes.open_with_point(key, box, context, opened.point)
        if self.contributions(dealer, party, plaintext) is not None:
            return self._blames(party)
        return replace(self, deals=_put(self.deals, dealer, None))._blames(dealer)

    # -- kept ----------------------------------------------------------------------------------------------------------

    def dump(self) -> AgreementValue:
        """The state as a value, one for each state."""
        deals = tuple(DealtValue(dealer, held.deal) for dealer, held in enumerate(self.deals) if held is not None)
        sets = tuple(sorted(self.spoken)), tuple(sorted(self.blamed))
        return AgreementValue(self.attempt, self.phase.value, self.since_ms, self.box_keys, deals, *sets)

    @classmethod
    def load(cls, topic: bytes, parties: int, faults_t: int, value: AgreementValue) -> Agreement:
        """The state whose dump ``value`` is; raises ValueError for what no dump is."""
        begun = cls.begin(topic, parties, faults_t)
        if len(value.box_keys) != parties:
            raise ValueError(f"box keys of {len(value.box_keys)} parties, expected {parties}")
        for key in value.box_keys:
            if key:
                group.parse_point(key, "agreement.box_keys")
        loaded = replace(
            begun,
            attempt=value.attempt,
            phase=Phase(value.phase),
            since_ms=value.since_ms,
            box_keys=value.box_keys,
            spoken=frozenset(value.spoken),
            blamed=frozenset(value.blamed),
        )
        for dealt in value.deals:
            if dealt.dealer not in loaded.keyed or not loaded._dealt_rightly(dealt.dealer, dealt.deal):
                raise ValueError(f"dealer {dealt.dealer}'s deal is no good one")
            loaded = replace(loaded, deals=_put(loaded.deals, dealt.dealer, _held(dealt.deal)))
        if loaded.dump() != value or not loaded._reachable():
            raise ValueError("no agreement comes to this state")
        return loaded

    def _reachable(self) -> bool:
        """Whether what is held fits the phase, for a loaded state."""
        keyed, dealers = set(self.keyed), {dealer for dealer, held in enumerate(self.deals) if held is not None}
        if self.spoken - set(self.expected) or self.blamed - set(range(self.parties)):
            return False
        if any(held is not None and held.deal.attempt != self.attempt for held in self.deals):
            return False
        if self.since_ms is None and not (self.phase is Phase.KEYS and self.attempt == 0 and not self.spoken):
            return False
        if self.phase is Phase.FAILED:
            return not keyed and not dealers
        if self.phase is not Phase.DONE and self.spoken.issuperset(self.expected):
            return False
        if self.phase is Phase.KEYS:
            return not dealers and self.spoken == keyed | self.blamed and not keyed & self.blamed
        if len(keyed) < self.parties - self.faults_t:
            return False
        if self.phase is Phase.DEALS:
            return dealers <= self.spoken and self.spoken - dealers <= self.blamed
        return self.phase is Phase.ANSWERS or not self._lacks_dealers()


def key_statement(topic: bytes, attempt: int, party: int, key: bytes) -> bytes:
    """What the proof of possession of a box key is bound to."""
    return tags.KEY_POSSESSION(topic, dark_keys.u64(attempt), u16(party), key)


def key_proven(agreement: Agreement, party: int, said: KeySaid) -> bool:
    """Whether a party knows the secret of the box key that it says."""
    try:
        point = group.parse_point(said.key, "key_said.key")
    except ThresholdError:
        return False
    return group.schnorr_verify(point, key_statement(agreement.topic, said.attempt, party, said.key), said.proof)


def _held(deal: DealSaid) -> Held:
    return Held(deal, tags.AGREEMENT_DEAL(encode(deal)))


def _put(values: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    return (*values[:index], value, *values[index + 1 :])
