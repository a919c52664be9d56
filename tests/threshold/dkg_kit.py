"""Plays sessions of key generation and resharing with members that cheat, one class per way to cheat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from threshold import SecretShare, group
from threshold.dkg import Culprit, Message, Participant, Phase, Plan, Role, Session, message_type
from threshold.dkg.wire import Deal, decode_deal
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


def deal_of(session: Session, payload: bytes) -> Deal:
    return decode_deal(payload, session.plan.kind, session.receivers, session.plan.threshold)


def honest(everybody: list[Participant]) -> list[Participant]:
    return [member for member in everybody if type(member) is Participant]


def contributions(session: Session, everybody: list[Participant]) -> bytes:
    """The public key that the qualified dealers' constant terms make."""
    total = sum(
        int.from_bytes(member._polynomials(member.dealer_index)[0][0], "big")
        for member in everybody
        if member.dealer_index in session.qualified
    )
    return group.generator_multiply_secret((total % N).to_bytes(32, "big"))
