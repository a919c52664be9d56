"""The keys of an epoch's dark markets, agreed on anew from the words in the log (docs/dark.md, "Keys").

Members speak in phases: box keys, deals, answers. A phase is over when all that it awaits have spoken, or a window of
block time after the height that opened it. What a dealer dealt badly an answer shows by an opened box; what an answer
says falsely changes nothing. The outcome is one id, over who has which box key and which dealers' commitments stand.

All here is public: the log has no key of pseudorandom sharing, and the auditor makes none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.messages import AnswerSaid, DealSaid, KeySaid, OpenedBox
from threshold import ThresholdError, boxes, group

KEYS: Final = 1
DEALS: Final = 2
ANSWERS: Final = 3
DONE: Final = 4
FAILED: Final = 5
PHASE_NAMES: Final = {KEYS: "keys", DEALS: "deals", ANSWERS: "answers", DONE: "done", FAILED: "failed"}
CONTRIBUTION_BYTES: Final = 32

KeyWord = KeySaid | DealSaid | AnswerSaid
_SAID_IN: Final = {KEYS: KeySaid, DEALS: DealSaid, ANSWERS: AnswerSaid}


def u16(number: int) -> bytes:
    """An index as it is hashed."""
    return number.to_bytes(2, "big")


def u64(number: int) -> bytes:
    """A number as it is hashed."""
    return number.to_bytes(8, "big")


@dataclass(frozen=True)
class Dealings:
    """Who deals what among n parties of which t may be corrupt: by dealer its subsets, ascending."""

    dealers: tuple[frozenset[int], ...]
    """Of each subset of n - t parties, in lexicographic order."""
    dealt: tuple[tuple[tuple[int, ...], ...], ...]

    def to(self, dealer: int, receiver: int) -> list[int]:
        """The places, among the dealer's subsets, of those that the receiver is in."""
        return [place for place, subset in enumerate(self.dealt[dealer]) if receiver in subset]


@lru_cache(maxsize=64)
def dealings(parties: int, faults_t: int) -> Dealings:
    """Subset number s is dealt to by its members at s, s + 1, ... s + t, counted round."""
    dealers = []
    dealt: list[list[tuple[int, ...]]] = [[] for _ in range(parties)]
    for number, subset in enumerate(combinations(range(parties), parties - faults_t)):
        chosen = {subset[(number + k) % len(subset)] for k in range(faults_t + 1)}
        dealers.append(frozenset(chosen))
        for dealer in chosen:
            dealt[dealer].append(subset)
    return Dealings(tuple(dealers), tuple(tuple(sorted(subsets)) for subsets in dealt))


class KeyAgreement:
    """One epoch's agreement. :meth:`begin_height` and :meth:`hear` take a height's words, :meth:`advance` what follows.

    ``blamed`` are the parties that have said something bad in the attempt, ``named`` all of the epoch with how often,
    by (party, what).
    """

    def __init__(self, topic: bytes, parties: int, faults_t: int) -> None:
        self.topic = topic
        self.parties = parties
        self.faults_t = faults_t
        self._dealings = dealings(parties, faults_t)
        self.phase = KEYS
        self.attempt = 0
        self.since_ms: int | None = None
        self.box_keys = [b""] * parties
        self._deals: list[DealSaid | None] = [None] * parties
        self._deal_hashes = [b""] * parties
        self._spoken: set[int] = set()
        self.blamed: set[int] = set()
        self.named: dict[tuple[int, str], int] = {}
        self.keys_id = ZERO_HASH
        """What was agreed on; zeros before."""

    # --- words ----------
    def begin_height(self, time_ms: int) -> None:
        """The epoch's first executed height opens its first window."""
        if self.since_ms is None:
            self.since_ms = time_ms

    def _awaited(self) -> list[int]:
        if self.phase == KEYS:
            return list(range(self.parties))
        return self._with_key() if self.phase in (DEALS, ANSWERS) else []

    def _with_key(self) -> list[int]:
        return [party for party in range(self.parties) if self.box_keys[party]]

    def hear(self, party: int, word: KeyWord) -> bool:
        """Take up a word; whether it counts. One that does not changes nothing."""
        if type(word) is not _SAID_IN.get(self.phase) or word.attempt != self.attempt:
            return False
        if party not in self._awaited() or party in self._spoken:
            return False
        self._spoken.add(party)
        if isinstance(word, KeySaid):
            self._take_key(party, word)
        elif isinstance(word, DealSaid):
            self._take_deal(party, word)
        else:
            self._take_answer(party, word)
        return True

    def _blame(self, party: int, what: str) -> None:
        self.blamed.add(party)
        self.named[party, what] = self.named.get((party, what), 0) + 1

    def _take_key(self, party: int, said: KeySaid) -> None:
        statement = tags.KEY_POSSESSION(self.topic, u64(said.attempt), u16(party), said.key)
        try:
            proven = group.schnorr_verify(group.parse_point(said.key, "key"), statement, said.proof)
        except ThresholdError:
            proven = False
        if proven:
            self.box_keys[party] = said.key
        else:
            self._blame(party, "key")

    def _receivers(self, dealer: int) -> list[int]:
        return [party for party in self._with_key() if party != dealer]

    def _context(self, dealer: int, receiver: int) -> bytes:
        return tags.DARK_DEAL(self.topic, u64(self.attempt), u16(dealer), u16(receiver))

    def _take_deal(self, dealer: int, deal: DealSaid) -> None:
        receivers = self._receivers(dealer)
        sound = len(deal.commitments) == len(self._dealings.dealt[dealer]) and len(deal.boxes) == len(receivers)
        if sound and all(self._is_box(dealer, *one) for one in zip(receivers, deal.boxes, strict=True)):
            self._deals[dealer] = deal
            self._deal_hashes[dealer] = tags.AGREEMENT_DEAL(encode(deal))
        else:
            self._blame(dealer, "deal")

    def _is_box(self, dealer: int, receiver: int, box: bytes) -> bool:
        """Whether a box is of the right size, its proof right."""
        count = len(self._dealings.to(dealer, receiver))
        if len(box) != (boxes.BOX_OVERHEAD_BYTES + count * CONTRIBUTION_BYTES if count else 0):
            return False
        try:
            return not count or bool(boxes.parse(box, self._context(dealer, receiver)))
        except ThresholdError:
            return False

    def _take_answer(self, party: int, answer: AnswerSaid) -> None:
        named = [opened.index for opened in answer.opened]
        if named != sorted(set(named)):
            self._blame(party, "answer")
            return
        for opened in answer.opened:
            dealer = opened.index
            deal = self._deals[dealer] if dealer < self.parties else None
            if deal is None and dealer in self.blamed and dealer != party:
                continue  # out already: nothing to judge, and nothing wrong with saying so
            if deal is None or dealer == party or not self._is_dealt_badly(party, deal, opened):
                self._blame(party, "answer")
            else:
                self._deals[dealer] = None
                self._blame(dealer, "deal")

    def _is_dealt_badly(self, party: int, deal: DealSaid, opened: OpenedBox) -> bool:
        """Whether an opened box is shown not to hold what its dealer committed to."""
        dealer = opened.index
        data = deal.boxes[self._receivers(dealer).index(party)]
        if not data:
            return False
        context, key = self._context(dealer, party), self.box_keys[party]
        box = boxes.parse(data, context)
        if not boxes.verify_opened(key, box, context, opened.point, opened.c, opened.z):
            return False
        plaintext = boxes.open_with_point(key, box, context, opened.point)
        places = self._dealings.to(dealer, party)
        if plaintext is None or len(plaintext) != CONTRIBUTION_BYTES * len(places):
            return True
        for number, place in enumerate(places):
            contribution = plaintext[CONTRIBUTION_BYTES * number :][:CONTRIBUTION_BYTES]
            subset = b"".join(map(u16, self._dealings.dealt[dealer][place]))
            shown = tags.COMMITMENT(self.topic, u64(self.attempt), u16(dealer), subset, contribution)
            if shown != deal.commitments[place]:
                return True
        return False

    # --- phases ----------
    def advance(self, time_ms: int) -> None:
        """Close the phases that are over at a height's block time."""
        assert self.since_ms is not None, "a height has begun"
        while self.phase != DONE:
            if self.phase == FAILED:
                if time_ms < self.since_ms + limits.DARK_RETRY_MS:
                    return
                self.attempt, self.blamed = self.attempt + 1, set()
                self._enter(KEYS, time_ms)
                continue
            if time_ms < self.since_ms + limits.DARK_WINDOW_MS and set(self._awaited()) - self._spoken:
                return
            if self._has_failed():
                self.box_keys = [b""] * self.parties
                self._deals = [None] * self.parties
                self._enter(FAILED, time_ms)
            else:
                self._enter(self.phase + 1, time_ms)
        if self.keys_id == ZERO_HASH:
            self.keys_id = self._make_id()

    def _enter(self, phase: int, time_ms: int) -> None:
        self.phase, self.since_ms, self._spoken = phase, time_ms, set()

    def _has_failed(self) -> bool:
        if len(self._with_key()) < self.parties - self.faults_t:
            return True
        if self.phase == KEYS:
            return False
        standing = {dealer for dealer in range(self.parties) if self._deals[dealer] is not None}
        return not all(dealers & standing for dealers in self._dealings.dealers)

    # --- what it comes to ----------
    def _make_id(self) -> bytes:
        rest = [
            u16(dealer) + tags.COMMITMENTS(*deal.commitments)
            for dealer, deal in enumerate(self._deals)
            if deal is not None
        ]
        box_keys = tags.KEYS_BOXES(*(bytes((len(key),)) + key for key in self.box_keys))
        return tags.KEYS_ID(self.topic, u64(self.attempt), box_keys, tags.KEYS_REST(*rest))

    def digest(self) -> bytes:
        """What the state root says of the agreement."""
        deals = zip(self._deals, self._deal_hashes, strict=True)
        hashes = [b"" if deal is None else deal_hash for deal, deal_hash in deals]
        state = [self.attempt, self.phase, self.since_ms, self.box_keys, hashes]
        return tags.AGREEMENT(
            self.topic,
            u16(self.parties),
            u16(self.faults_t),
            encode([*state, sorted(self._spoken), sorted(self.blamed)]),
        )
