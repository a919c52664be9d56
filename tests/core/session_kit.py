"""Key sessions driven by hand: members that deal, complain and copy as a test says, every message signed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from core_kit import sign

from mpc_sequencer.core.keyoffences import KeyOffence, OffenceFinder
from mpc_sequencer.core.keys import session_plan
from mpc_sequencer.core.offences import DealtShare
from mpc_sequencer.core.types import NO_SIGNATURE, KeyCertificate, KeyMessage, KeyReady
from mpc_sequencer.sim import Deployment
from threshold.dkg import Message, MessageType, Participant, Phase, Session, message_type
from threshold.dkg.wire import Deal, SealedShare, SessionKey, decode_deal, encode_ready

Bend = Callable[[Session, Participant, bytes], bytes | None]


class WrongDealer(Participant):
    """Deals wrong values to ``victims`` and right ones to the others."""

    victims: Collection[int] = ()

    def _seal(self, key: SessionKey, dealer: int, receiver: int, values: list[bytes], committed: bytes) -> SealedShare:
        if receiver in self.victims:
            values = values[::-1]
        return super()._seal(key, dealer, receiver, values, committed)


class Complainer(Participant):
    """Complains about every dealer there is, whatever it dealt."""

    def _make_opened(self, session: Session, kind: MessageType, receiver: int, dealers: list[int]) -> bytes:
        return super()._make_opened(session, kind, receiver, sorted(session.deals))


def seed_of(node: int, life: int = 0) -> bytes:
    return bytes((node + 1, life)) * 16


@dataclass
class Room:
    """A session among the members of a deployment. ``kinds`` says who is another participant than an honest one,
    ``bends`` what becomes of a member's payloads."""

    deployment: Deployment
    kinds: Mapping[int, type[Participant]] = field(default_factory=dict)
    bends: Mapping[int, Bend] = field(default_factory=dict)
    attempt: int = 0

    def __post_init__(self) -> None:
        committee = self.deployment.committee
        self.plan = session_plan(committee, 0, self.attempt)
        self.session = Session.begin(self.plan, 0, 0)
        self.finder = OffenceFinder(self.attempt)
        self.messages: list[KeyMessage] = []
        self.found: list[KeyOffence] = []
        self.members = [
            self.kinds.get(node, Participant)(self.plan, seed_of(node), node + 1, node + 1)
            for node in range(committee.n)
        ]

    def signed(self, node: int, payload: bytes) -> KeyMessage:
        message = KeyMessage(self.deployment.committee.epoch, self.plan.session, node, payload, NO_SIGNATURE)
        signed: KeyMessage = sign(self.deployment, node, message)
        return signed

    def owed(self) -> list[KeyMessage]:
        """What all members say now."""
        said: list[KeyMessage] = []
        for node, member in enumerate(self.members):
            for payload in member.messages(self.session):
                bend = self.bends.get(node)
                bent = payload if bend is None else bend(self.session, member, payload)
                if bent is not None:
                    said.append(self.signed(node, bent))
        return said

    def block(self, messages: list[KeyMessage], *, late: bool = False) -> None:
        """A block with these messages; ``late``: after the window of the phase."""
        before, (height, time_ms) = self.session, self.session.phase_deadline
        if late:
            height, time_ms = max(height, before.height + 1), max(time_ms, before.time_ms)
        else:
            height, time_ms = before.height + 1, before.time_ms
        self.session = before.block(height, time_ms, [Message(one.node + 1, one.payload) for one in messages])
        self.found += self.finder.block(before, self.session, messages)
        self.messages += messages

    def run(self, until: Phase = Phase.DONE) -> Room:
        """Block by block until a phase, or the end."""
        while self.session.phase is not until and not self.session.ended:
            said = self.owed()
            self.block(said, late=not said)
        return self

    def said(self, node: int, kind: MessageType) -> KeyMessage:
        return next(one for one in self.messages if one.node == node and message_type(one.payload) is kind)

    def dealt(self, dealer: int, receiver: int) -> DealtShare:
        """What a member dealt to another, by their numbers."""
        nodes = tuple(index - 1 for index in self.session.receivers)
        key = self.session.keys[receiver + 1].key
        return DealtShare(self.attempt, self.said(dealer, MessageType.DEAL), nodes, receiver, key)

    def deal_of(self, message: KeyMessage) -> Deal:
        return decode_deal(message.payload, self.plan.kind, self.session.receivers, self.plan.threshold)


def with_part(deal: Deal, receiver: int, part: SealedShare) -> bytes:
    """A deal's payload with another sealed share for one receiver (an index)."""
    return replace(deal, sealed={**deal.sealed, receiver: part}).encode()


def late_certificate(deployment: Deployment) -> KeyCertificate:
    """q members' words for the key of another attempt, which came too late for it."""
    room = Room(deployment, attempt=1).run()
    result = room.session.result
    assert result is not None
    ready = [room.signed(node, encode_ready(result.hash())) for node in range(3)]
    words = tuple(KeyReady(one.node, one.signature) for one in ready)
    return KeyCertificate(0, 0, 1, result.encode(), words)
