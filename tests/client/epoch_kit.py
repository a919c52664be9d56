"""Committees that follow one another, with proofs as members make them: real keys, whole resharings in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import msgspec
from client_key_kit import with_key, without_key

from mpc_sequencer.core.committee import Committee, Genesis, Member
from mpc_sequencer.core.keys import session_id
from mpc_sequencer.core.rotation import follow, handover_hash, reshare_plan
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.succession import DEALERS_TYPES
from mpc_sequencer.core.types import Checkpoint, EpochStart, KeyReady, NextCommittee, NextMember
from mpc_sequencer.devnet.layout import BTCUSDT
from mpc_sequencer.node import tls
from threshold import SecretShare, deal
from threshold.dkg import Message, Participant, Phase, Plan, Result, Session


@dataclass(frozen=True)
class Person:
    """A member or joiner, by number."""

    number: int
    signer: Signer
    log_seed: bytes
    endpoint: str

    def as_next(self) -> NextMember:
        key = tls.log_key(self.log_seed)
        return NextMember(self.signer.public_key, key, self.endpoint, tls.member_certificate(self.log_seed))


@cache
def person(number: int, port: int | None = None) -> Person:
    """Person ``number``, who listens at ``port`` of this machine."""
    endpoint = f"127.0.0.1:{9_100 + number if port is None else port}"
    return Person(number, Signer(bytes((3, number)) * 16), bytes((4, number)) * 16, endpoint)


@dataclass(frozen=True)
class Era:
    """An epoch with its members' secrets, by index."""

    committee: Committee
    people: tuple[Person, ...]
    shares: tuple[SecretShare, ...]

    def index(self, who: Person) -> int:
        return [one.number for one in self.people].index(who.number)

    def signer(self, index: int) -> Signer:
        return self.people[index].signer


def _ordered(people: Sequence[Person]) -> tuple[Person, ...]:
    return tuple(sorted(people, key=lambda one: one.signer.address))


def first_era(people: Sequence[Person], threshold: int, *, settlement: bytes = b"\x5e" * 20, keyed: bool = True) -> Era:
    """The first epoch of a deployment; with ``keyed`` its committee file has the threshold key."""
    ordered = _ordered(people)
    genesis = Genesis(
        version=1,
        chain_id=31_337,
        settlement=settlement,
        epoch=0,
        threshold=threshold,
        public_key=b"",
        members=tuple(Member(one.signer.public_key, tls.log_key(one.log_seed), b"") for one in ordered),
        assets=(b"\x0a" * 20, b"\x0b" * 20),
        markets=(BTCUSDT,),
        checkpoint=Checkpoint(0, bytes(32), 0, bytes(32)),
        time_ms=0,
    )
    dealing = deal(len(people), threshold, secret=None, entropy=b"\x77" * 32)  # the key of `with_key`
    genesis = with_key(genesis) if keyed else without_key(genesis)
    return Era(Committee(genesis), ordered, tuple(dealing.shares))


def _reshared(era: Era, plan: Plan, after: Sequence[Person]) -> tuple[Result, list[SecretShare]]:
    numbers = [one.number for one in era.people], [one.number for one in after]
    everybody = []
    for number in sorted({*numbers[0], *numbers[1]}):
        deals, takes = (who.index(number) + 1 if number in who else None for who in numbers)
        share = SecretShare(deals, era.shares[deals - 1].export()) if deals else None
        everybody.append(Participant(plan, bytes((5, number)) * 16, deals, takes, share))
    session = Session.begin(plan, 0, 0)
    while not session.ended:
        said = []
        for one in everybody:
            for payload in one.messages(session):
                index = one.dealer_index if payload[0] in DEALERS_TYPES else one.receiver_index
                said.append(Message(index or 0, payload))
        session = session.block(session.height + 1, session.time_ms + 1_000, said)
    assert session.phase is Phase.DONE and session.result is not None
    shares = {one.receiver_index: one.share(session) for one in everybody if one.receiver_index is not None}
    return session.result, [shares[index] for index in sorted(shares)]


def next_era(era: Era, people: Sequence[Person], threshold: int) -> tuple[Era, EpochStart]:
    """The epoch after ``era`` with these members, and what proves it."""
    ordered = _ordered(people)
    target = NextCommittee(threshold, tuple(one.as_next() for one in ordered))
    committee = era.committee
    if committee.keys is None:  # its sharing is the one that `with_key` deals
        committee = Committee(with_key(committee.genesis))
        committee.genesis_id = era.committee.genesis_id
    sharing = max(committee.sharings) + 1
    before = committee.sharing(sharing - 1).verification_keys
    plan = reshare_plan(committee, target, session_id(committee, sharing, 0), before)
    result, shares = _reshared(era, plan, ordered)
    start = EpochStart(
        epoch=committee.epoch + 1,
        committee=target,
        sharing=sharing,
        attempt=0,
        result=result.encode(),
        handover=handed_over(era, target, result, range(committee.q)),
        anchor_id=bytes((6, committee.epoch)) * 16,
        anchor_height=100 * (committee.epoch + 1),
    )
    return Era(follow(era.committee, start), ordered, tuple(shares)), start


def handed_over(
    era: Era, target: NextCommittee, result: Result, by: Sequence[int], *, epoch: int | None = None
) -> tuple[KeyReady, ...]:
    """Signatures of members ``by`` of ``era`` over a handover."""
    digest = era.committee.digest(
        handover_hash(era.committee.epoch + 1 if epoch is None else epoch, target, result.hash())
    )
    return tuple(KeyReady(index, era.signer(index).sign_digest(digest)) for index in by)


def resigned(era: Era, start: EpochStart, by: Sequence[int], **changes: object) -> EpochStart:
    """``start`` with changed fields and handover signatures of members ``by`` that fit them."""
    bent: EpochStart = msgspec.structs.replace(start, **changes)
    signed = handed_over(era, bent.committee, Result.decode(bent.result), by, epoch=bent.epoch)
    return msgspec.structs.replace(bent, handover=signed)
