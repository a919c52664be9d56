"""Members that cheat in a session of key generation or resharing: one class per way to cheat."""

from __future__ import annotations

from dkg_kit import bent, flipped

from threshold import group
from threshold.dkg import MessageType, Participant, Session
from threshold.dkg.wire import Deal, SealedShare, SessionKey, decode_feldman


class WrongShares(Participant):
    """Seals wrong values to the receivers in `victims`, well proved."""

    victims: frozenset[int] = frozenset((1, 2))

    def _seal(
        self, key: SessionKey, dealer: int, receiver: int, values: list[bytes], committed: bytes
    ) -> SealedShare:
        if receiver in self.victims and receiver != dealer:
            values = [bent(value) for value in values]
        return super()._seal(key, dealer, receiver, values, committed)


class Garbage(Participant):
    """Seals bytes that authenticate under no key, well proved."""

    def _seal(
        self, key: SessionKey, dealer: int, receiver: int, values: list[bytes], committed: bytes
    ) -> SealedShare:
        elsewhere = SessionKey(key.key, key.proof, group.parse_point(group.GENERATOR, "g"))
        honest = super()._seal(key, dealer, receiver, values, committed)
        sealed = super()._seal(elsewhere, dealer, receiver, values, committed)
        return honest if receiver == dealer else sealed


class InconsistentCommitments(Participant):
    """Commits to another polynomial than it deals values of, well proved."""


    def _seal(
        self, key: SessionKey, dealer: int, receiver: int, values: list[bytes], committed: bytes
    ) -> SealedShare:
        return super()._seal(key, dealer, receiver, [bent(value) for value in values], committed)


class Silent(Participant):
    """Sends nothing of the types in `types`."""

    types: frozenset[MessageType] = frozenset(MessageType)

    def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
        return None if owed in self.types else super()._make(session, owed, index)


class NoDeal(Silent):
    types = frozenset((MessageType.DEAL,))


class NoFeldman(Silent):
    types = frozenset((MessageType.FELDMAN,))


class NoAnswer(Silent):
    types = frozenset((MessageType.ANSWER,))


class NoExtract(Silent):
    types = frozenset((MessageType.EXTRACT,))


class NotReady(Silent):
    types = frozenset((MessageType.READY,))


class CrashAfterKey(Silent):
    types = frozenset(MessageType) - {MessageType.SESSION_KEY}


class CrashAfterDeal(Silent):
    types = frozenset(MessageType) - {MessageType.SESSION_KEY, MessageType.DEAL}


class BadDealProof(Participant):
    """Bends the last proof of its deal."""

    def _fresh_deal(self, session: Session, dealer: int) -> Deal:
        deal = super()._fresh_deal(session, dealer)
        last = max(deal.sealed)
        part = deal.sealed[last]
        sealed = {**deal.sealed, last: SealedShare(part.ephemeral, flipped(part.proof, 40), part.body, part.point)}
        return Deal(deal.commitments, sealed, deal.points)


class LyingComplainer(Participant):
    """Complains about every dealer, with proofs that hold."""

    def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
        if owed is MessageType.ANSWER:
            return self._make_opened(session, owed, index, sorted(session.deals))
        return super()._make(session, owed, index)


class BadComplaintProof(Participant):
    """Complains about every dealer with proofs that do not hold."""

    def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
        if owed is MessageType.ANSWER:
            payload = self._make_opened(session, owed, index, sorted(session.deals))
            return flipped(payload, len(payload) - 1)
        return super()._make(session, owed, index)


class BadFeldmanProof(Participant):
    """Publishes commitments to another polynomial than the one it dealt."""

    def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
        payload = super()._make(session, owed, index)
        if owed is MessageType.FELDMAN and payload is not None:
            feldman = decode_feldman(payload, self.plan.threshold)
            moved = group.add([feldman.points[0], group.parse_point(group.GENERATOR, "g")])
            assert moved is not None
            return payload[:1] + group.encode_point(moved) + payload[34:]
        return payload


class BadExtract(Participant):
    """Bends the proof of its extraction."""

    def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
        payload = super()._make(session, owed, index)
        return flipped(payload, len(payload) - 1) if payload and owed is MessageType.EXTRACT else payload


class WrongReady(Participant):
    """Declares itself ready for another result."""

    def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
        payload = super()._make(session, owed, index)
        return flipped(payload, 20) if payload and owed is MessageType.READY else payload
