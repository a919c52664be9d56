"""Parties that agree on an epoch's keys, honestly but for what a test has them say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mpc_sequencer.dark.agreement import Agreement, Phase
from mpc_sequencer.dark.decoding import Decoder
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.keyparty import KeyParty
from mpc_sequencer.dark.keys import deal_context
from mpc_sequencer.dark.messages import AnswerSaid, DealSaid, KeySaid, OpenedBox, Word
from mpc_sequencer.dark.prss import Prss, prss_context
from threshold import boxes, group

TOPIC = hashlib.sha256(b"an epoch's dark topic").digest()
SIZES = [(4, 1), (5, 1), (9, 2)]
START_MS = 1_000_000
HEIGHT_MS = 70

Change = Callable[[Word], Word | None]
"""What a party says instead of its honest word; None for nothing."""


def seed_of(party: int) -> bytes:
    return hashlib.sha256(b"agreement seed %d" % party).digest()


def say(member: KeyParty, agreement: Agreement) -> Word:
    """The word that the phase asks for."""
    match agreement.phase:
        case Phase.KEYS:
            return member.say_key(agreement)
        case Phase.DEALS:
            return member.say_deal(agreement)
        case Phase.ANSWERS:
            return member.say_answer(agreement)
        case _:
            raise AssertionError("nothing to say")


@dataclass
class Room:
    """All parties and the state that the log gives them."""

    parties: int
    faults_t: int
    time_ms: int = START_MS
    members: list[KeyParty] = field(default_factory=list)
    words: dict[Phase, list[tuple[int, Word]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.members = [KeyParty(seed_of(party), party) for party in range(self.parties)]
        self.agreement = Agreement.begin(TOPIC, self.parties, self.faults_t)

    def said(self, changes: Mapping[int, Change] | None = None) -> list[tuple[int, Word]]:
        """What all who owe a word say in this phase."""
        words: list[tuple[int, Word]] = []
        for member in self.members:
            if self.agreement.owes(member.party) is None:
                continue
            word: Word | None = say(member, self.agreement)
            change = (changes or {}).get(member.party)
            word = change(word) if change and word else word
            if word is not None:
                words.append((member.party, word))
        return words

    def height(self, words: Sequence[tuple[int, Word]] = (), after_ms: int = HEIGHT_MS) -> Agreement:
        self.time_ms += after_ms
        self.agreement = self.agreement.step(self.time_ms, words)
        return self.agreement

    def phase(self, changes: Mapping[int, Change] | None = None) -> Agreement:
        """Everybody speaks in one height; then the window goes by, if it has to."""
        before = self.agreement.phase
        self.words[before] = self.said(changes)
        self.height(self.words[before])
        if self.agreement.phase is before:
            due_ms = self.agreement.due_ms()
            assert due_ms is not None
            self.height(after_ms=due_ms - self.time_ms)
        assert self.agreement.phase is not before
        return self.agreement

    def until(self, phase: Phase, changes: Mapping[Phase, Mapping[int, Change]] | None = None) -> Agreement:
        """Phases up to one, each with what some say in it instead."""
        while self.agreement.phase is not phase:
            assert self.agreement.phase not in (Phase.DONE, Phase.FAILED)
            self.phase((changes or {}).get(self.agreement.phase))
        return self.agreement

    def sources(self, parties: Sequence[int]) -> dict[int, Prss]:
        """Sources of pseudorandom shares on the keys that these parties got."""
        agreed = self.agreement.keys
        assert agreed is not None
        context = prss_context(agreed.id, 1, 1, 1, 0)
        return {
            party: Prss(self.members[party].prss_keys(self.agreement), self.parties, self.faults_t, party, context)
            for party in parties
        }

    def shares_fit(self, parties: Sequence[int]) -> bool:
        """Whether random values and zeros of all these parties lie on polynomials of their degrees."""
        t, sources = self.faults_t, self.sources(parties)
        random = {party: source.random(7, "r") for party, source in sources.items()}
        zero = {party: source.zero(7, "z") for party, source in sources.items()}

        def opened(shares: Mapping[int, Elements], degree: int) -> Elements:
            decoded = Decoder(self.parties, degree, t).decode(shares)
            assert not decoded.liars
            return decoded.values

        return len(set(opened(random, t).tolist())) == 7 and not opened(zero, 2 * t).any()


def silent(_word: Word) -> None:
    return None


def resealed(agreement: Agreement, dealer: int, receiver: int, plaintext: bytes, context: bytes = b"") -> Change:
    """A deal with a box of the dealer's choosing for one receiver, its proof right."""
    context = context or deal_context(TOPIC, agreement.attempt, dealer, receiver)
    box = boxes.seal(agreement.box_keys[receiver], plaintext, hashlib.sha256(b"own ephemeral").digest(), context)
    return reboxed(agreement, dealer, receiver, box)


def reboxed(agreement: Agreement, dealer: int, receiver: int, box: bytes) -> Change:
    """A deal with other bytes in place of one receiver's box."""

    def change(word: Word) -> Word:
        assert isinstance(word, DealSaid)
        at = agreement.receivers(dealer).index(receiver)
        return DealSaid(word.attempt, word.commitments, (*word.boxes[:at], box, *word.boxes[at + 1 :]))

    return change


def opening(room: Room, party: int, dealer: int) -> OpenedBox:
    """A party's opening of a dealer's box, right whatever is in it."""
    agreement, member = room.agreement, room.members[party]
    context = deal_context(TOPIC, agreement.attempt, dealer, party)
    box = boxes.parse(agreement.box(dealer, party), context)
    secret = member.box_secret(TOPIC, agreement.attempt)
    return OpenedBox(dealer, *boxes.prove_opened(secret, box, context, member.nonce_seed(TOPIC, agreement.attempt)))


def complaining(*opened: OpenedBox) -> Change:
    def change(word: Word) -> Word:
        return AnswerSaid(word.attempt, opened) if isinstance(word, AnswerSaid) else word

    return change


def another_key(word: Word) -> Word:
    """A box key of somebody else's, with the proof for one's own."""
    assert isinstance(word, KeySaid)
    return KeySaid(word.attempt, group.generator_multiply_secret(seed_of(99)), word.proof)
