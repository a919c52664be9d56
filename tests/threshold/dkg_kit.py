"""Plays sessions of key generation and resharing with members that cheat, one class per way to cheat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from threshold import SecretShare, group
from threshold.dkg import Culprit, Message, MessageType, Participant, Phase, Plan, Role, Session, message_type
from threshold.dkg.wire import Deal, SealedShare, SessionKey, decode_deal, decode_feldman
from threshold.group import N
from threshold.shamir import interpolate_at_zero

WINDOW_HEIGHTS = 5
WINDOW_MS = 5_000
BLOCK_MS = 1_000


def seeded(name: str) -> bytes:
    return hashlib.sha256(b"key generation tests: " + name.encode()).digest()


def generation(n: int, t: int, f: int, session: str = "session") -> Plan:
    return Plan.generate(
        seeded(session),
        range(1, n + 1),
        threshold=t,
        faults=f,
        window_heights=WINDOW_HEIGHTS,
        window_ms=WINDOW_MS,
    )


def members(plan: Plan, kinds: Mapping[int, type[Participant]] | None = None, seed: str = "") -> list[Participant]:
    """The members of a generation; `kinds` says who is of another class."""
    kinds = kinds or {}
    return [kinds.get(i, Participant)(plan, seeded(f"{seed} member {i}"), i, i) for i in plan.receivers]


def index_of(member: Participant, payload: bytes) -> int:
    role = message_type(payload).role
    index = member.dealer_index if role is Role.DEALER else member.receiver_index
    assert index is not None
    return index


Interference = Callable[[Session, list[Message]], list[Message]]


def play(
    plan: Plan,
    everybody: Sequence[Participant],
    interfere: Interference | None = None,
    *,
    until: Phase | None = None,
    blocks_max: int = 100,
) -> Session:
    """Blocks until the session ends or enters a phase; every message lands in the block after the one that made it
    due. `interfere` sees the state and the block's messages and returns the messages to deliver."""
    session = Session.begin(plan, 10, 1_000_000)
    for _ in range(blocks_max):
        if session.ended or session.phase is until:
            return session
        messages = [
            Message(index_of(member, payload), payload)
            for member in everybody
            for payload in member.messages(session)
        ]
        if interfere is not None:
            messages = interfere(session, messages)
        session = session.block(session.height + 1, session.time_ms + BLOCK_MS, messages)
    raise AssertionError("the session does not end")


def named(session: Session) -> set[tuple[Role, int, str]]:
    return {(culprit.role, culprit.index, culprit.code) for culprit in session.culprits}


def convicted(session: Session) -> list[Culprit]:
    return [culprit for culprit in session.culprits if culprit.is_evidence]


def number(share: SecretShare) -> int:
    return int.from_bytes(share.export(), "big")


def shares_of(session: Session, everybody: Sequence[Participant]) -> dict[int, SecretShare]:
    return {share.index: share for share in (member.share(session) for member in everybody)}


def assert_consistent(session: Session, shares: Mapping[int, SecretShare]) -> None:
    """Every share has its verification key, and t of them are the key: the first t, the last t and t all over."""
    result = session.result
    assert result is not None and len(shares) >= result.threshold
    for index, share in shares.items():
        assert share.verification_key() == result.verification_keys[index]
    indexes = sorted(shares)
    t = result.threshold
    spread = list(combinations(indexes, t))
    for subset in {tuple(indexes[:t]), tuple(indexes[-t:]), spread[len(spread) // 2]}:
        points = {i: group.parse_point(result.verification_keys[i], "key") for i in subset}
        total = interpolate_at_zero(points)
        assert total is not None and group.encode_point(total) == result.public_key


def bent(scalar: bytes) -> bytes:
    return ((int.from_bytes(scalar, "big") % (N - 1)) + 1).to_bytes(32, "big")


def flipped(payload: bytes, at: int) -> bytes:
    return payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]


# -- ways to cheat ----------------------------------------------------------------------------------------


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


def deal_of(session: Session, payload: bytes) -> Deal:
    return decode_deal(payload, session.plan.kind, session.receivers, session.plan.threshold)
