"""A party's secret side of the agreement on an epoch's keys: what it says, and the keys it gets.

Everything secret derives from one seed of 32 random bytes, used for one party and epoch, by tagged hashes that also
take the topic, the attempt and what the value is for; nonces of proofs hash the statement they are used for. So a party
that crashed says the very same words again from its seed and the log, and there is nothing else to keep.

    b               = H_party-key(seed || topic || attempt) mod N              box key B = bG
    contribution_A  = H_party-contribution(seed || topic || attempt || A)
    k_j             = H_party-ephemeral(seed || topic || attempt || j) mod N   of the box for receiver j

The caller keeps the seed encrypted and erases it when the epoch is over: whoever learns it opens every order of the
epoch as far as this party could.
"""

from __future__ import annotations

from typing import Final, NoReturn

from mpc_sequencer.dark import keys as dark_keys
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.agreement import Agreement, Phase, key_statement
from mpc_sequencer.dark.keys import u16, u64
from mpc_sequencer.dark.messages import AnswerSaid, DealSaid, KeySaid, OpenedBox
from mpc_sequencer.dark.prss import PrssKeys, Subset, subsets_of
from threshold import Tag, UsageError, boxes, group

SEED_BYTES: Final = 32


class KeyParty:
    """One party of an agreement. Shows nothing of its secrets and is neither copied nor pickled.

    ``say_*`` give the word that the agreement's phase asks of the party, the same each time; which one is owed,
    :meth:`Agreement.owes` says. UsageError where the phase asks for another, where the box key in the log is not this
    seed's (a party that lost its seed must not go on with another), and after :meth:`erase`.
    """

    __slots__ = ("_erased", "_seed", "party")

    def __init__(self, seed: bytes | bytearray, party: int) -> None:
        if len(seed) != SEED_BYTES:
            raise UsageError(f"a seed is {SEED_BYTES} bytes, not {len(seed)}")
        self.party = party
        self._seed = bytearray(seed)
        self._erased = False

    # -- secrets -------------------------------------------------------------------------------------------------------

    def box_secret(self, topic: bytes, attempt: int) -> bytes:
        """The secret b of the box key of an attempt, 32 bytes."""
        return group.reduce_scalar(self._derive(tags.PARTY_KEY, topic, attempt))

    def nonce_seed(self, topic: bytes, attempt: int) -> bytes:
        """32 secret bytes for :func:`threshold.boxes.prove_opened`."""
        return self._derive(tags.PARTY_NONCE, topic, attempt)

    def _contribution(self, agreement: Agreement, subset: Subset) -> bytes:
        return self._derive(tags.PARTY_CONTRIBUTION, agreement.topic, agreement.attempt, dark_keys.named(subset))

    def _derive(self, tag: Tag, topic: bytes, attempt: int, what: bytes = b"") -> bytes:
        if self._erased:
            raise UsageError("the party has been erased")
        return tag(bytes(self._seed), topic, u64(attempt), what)

    def fits(self, agreement: Agreement) -> bool:
        """Whether the party's box key in the log is this seed's."""
        secret = self.box_secret(agreement.topic, agreement.attempt)
        return agreement.box_keys[self.party] == group.generator_multiply_secret(secret)

    def _require(self, agreement: Agreement, phase: Phase) -> None:
        if agreement.phase is not phase:
            raise UsageError(f"the agreement is in {agreement.phase.name}, expected {phase.name}")
        if phase is not Phase.KEYS and not self.fits(agreement):
            raise UsageError(f"the log holds no box key of party {self.party} that is this seed's")

    # -- words ---------------------------------------------------------------------------------------------------------

    def say_key(self, agreement: Agreement) -> KeySaid:
        """The box key and its proof of possession."""
        self._require(agreement, Phase.KEYS)
        topic, attempt = agreement.topic, agreement.attempt
        secret = self.box_secret(topic, attempt)
        key = group.generator_multiply_secret(secret)
        statement = key_statement(topic, attempt, self.party, key)
        return KeySaid(attempt, key, group.schnorr_prove_secret(secret, statement, self.nonce_seed(topic, attempt)))

    def say_deal(self, agreement: Agreement) -> DealSaid:
        """Commitments to all contributions, and a box of them for every other party with a key."""
        self._require(agreement, Phase.DEALS)
        topic, attempt = agreement.topic, agreement.attempt
        dealt = dark_keys.dealt_by(agreement.parties, agreement.faults_t, self.party)
        commitments = tuple(
            dark_keys.commitment(topic, attempt, self.party, subset, self._contribution(agreement, subset))
            for subset in dealt
        )
        return DealSaid(attempt, commitments, tuple(self._box(agreement, j) for j in agreement.receivers(self.party)))

    def _box(self, agreement: Agreement, receiver: int) -> bytes:
        dealt = dark_keys.dealt_to(agreement.parties, agreement.faults_t, self.party, receiver)
        if not dealt:
            return b""
        topic, attempt = agreement.topic, agreement.attempt
        ephemeral = group.reduce_scalar(self._derive(tags.PARTY_EPHEMERAL, topic, attempt, u16(receiver)))
        plaintext = b"".join(self._contribution(agreement, subset) for subset in dealt)
        context = dark_keys.deal_context(topic, attempt, self.party, receiver)
        return boxes.seal(agreement.box_keys[receiver], plaintext, ephemeral, context)

    def say_answer(self, agreement: Agreement) -> AnswerSaid:
        """The bad boxes, opened."""
        self._require(agreement, Phase.ANSWERS)
        topic, attempt = agreement.topic, agreement.attempt
        secret, nonce_seed = self.box_secret(topic, attempt), self.nonce_seed(topic, attempt)
        opened = []
        for dealer in self._dealers(agreement):
            if self._contributions(agreement, dealer) is None:
                context = dark_keys.deal_context(topic, attempt, dealer, self.party)
                box = boxes.parse(agreement.box(dealer, self.party), context)
                opened.append(OpenedBox(dealer, *boxes.prove_opened(secret, box, context, nonce_seed)))
        return AnswerSaid(attempt, tuple(opened))

    def _dealers(self, agreement: Agreement) -> list[int]:
        """The qualified dealers, ascending, that this party has a box of."""
        others = (dealer for dealer, held in enumerate(agreement.deals) if held is not None and dealer != self.party)
        return [dealer for dealer in others if agreement.box(dealer, self.party)]

    def _contributions(self, agreement: Agreement, dealer: int) -> tuple[bytes, ...] | None:
        """A dealer's contributions to this party, in subset order; None where its box is bad."""
        context = dark_keys.deal_context(agreement.topic, agreement.attempt, dealer, self.party)
        box = boxes.parse(agreement.box(dealer, self.party), context)
        secret = self.box_secret(agreement.topic, agreement.attempt)
        plaintext = boxes.open_with_secret(secret, agreement.box_keys[self.party], box, context)
        return agreement.contributions(dealer, self.party, plaintext)

    # -- keys ----------------------------------------------------------------------------------------------------------

    def prss_keys(self, agreement: Agreement) -> PrssKeys:
        """This party's keys of pseudorandom sharing. UsageError where a qualified dealer's box for it is bad: it did
        not answer in time and has no such key."""
        self._require(agreement, Phase.DONE)
        parties, faults_t, agreed = agreement.parties, agreement.faults_t, agreement.keys
        if agreed is None:
            raise UsageError("nothing is agreed on")
        found: dict[Subset, dict[int, bytes]] = {subset: {} for subset in subsets_of(parties, faults_t, self.party)}
        if agreement.deals[self.party] is not None:
            for subset in dark_keys.dealt_by(parties, faults_t, self.party):
                found[subset][self.party] = self._contribution(agreement, subset)
        for dealer in self._dealers(agreement):
            contributions = self._contributions(agreement, dealer)
            if contributions is None:
                raise UsageError(f"dealer {dealer}'s box for party {self.party} is bad")
            dealt = dark_keys.dealt_to(parties, faults_t, dealer, self.party)
            for subset, one in zip(dealt, contributions, strict=True):
                found[subset][dealer] = one
        keys_id = agreed.id
        in_order = {subset: [one for _, one in sorted(dealers.items())] for subset, dealers in found.items()}
        derived = {subset: dark_keys.subset_key(keys_id, subset, ones) for subset, ones in in_order.items()}
        return PrssKeys(parties, faults_t, self.party, derived)

    def erase(self) -> None:
        """Overwrite the seed. Every later use raises UsageError."""
        self._erased = True
        self._seed[:] = bytes(SEED_BYTES)

    def __repr__(self) -> str:
        return f"KeyParty(party={self.party})"

    def _refuse(self, *_args: object) -> NoReturn:
        raise TypeError("a party is neither copied nor pickled")

    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse
    __getstate__ = _refuse
