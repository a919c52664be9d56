"""Members that lie in their committee's key sessions, each with its own true seed and signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpc_sequencer.audit.report import KeyReport, Stop
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import Submit
from mpc_sequencer.core.transcript import KeyEntry
from mpc_sequencer.core.types import KeyMessage
from mpc_sequencer.sim import Cluster
from threshold import SecretShare
from threshold.dkg import MessageType, Participant, Session, wire

Bend = Callable[[Session, bytes], bytes | None]
"""What becomes of a payload that the rules ask for: another one, or None to hold it back for now."""


class Liar:
    """A participant whose payloads are bent on their way out."""

    def __init__(self, honest: Participant, bend: Bend) -> None:
        self._honest = honest
        self._bend = bend

    def messages(self, session: Session) -> tuple[bytes, ...]:
        bent = (self._bend(session, payload) for payload in self._honest.messages(session))
        return tuple(payload for payload in bent if payload is not None)

    def share(self, session: Session) -> SecretShare:
        return self._honest.share(session)


def corrupt(cluster: Cluster, node: int, bend: Bend, kind: type[Participant] = Participant) -> None:
    """From now on the member says in every session what ``bend`` makes of the words of a participant of ``kind``."""
    voice: Any = cluster.cores[node].keygen.voice
    honest = voice._participation

    def participation(session: Session, *, begin: bool) -> Liar | None:
        made = honest(session, begin=begin)
        if made is None:
            return None
        seed = bytes(made._seed)
        return Liar(kind(session.plan, seed, node + 1, node + 1), bend)

    voice._participation = participation


def unbent(_: Session, payload: bytes) -> bytes:
    return payload


def deal_in(session: Session, payload: bytes) -> wire.Deal | None:
    """The deal that a payload is, or None."""
    if payload[0] != MessageType.DEAL:
        return None
    return wire.decode_deal(payload, session.plan.kind, session.receivers, session.plan.threshold)


def key_messages(cluster: Cluster, node: int) -> list[KeyMessage]:
    """What the member's log holds of key sessions."""
    return [one.message for one in cluster.logs[node] if isinstance(one, KeyEntry)]


def complaints(cluster: Cluster, node: int) -> set[tuple[int, int]]:
    """(author, dealer) of all complaints in the member's log."""
    found = set()
    for message in key_messages(cluster, node):
        if message.payload[0] == MessageType.ANSWER:
            opened = wire.decode_opened(message.payload, MessageType.ANSWER, cluster.deployment.committee.n)
            found |= {(message.node, one.dealer - 1) for one in opened}
    return found


def generate(cluster: Cluster, members: tuple[int, ...], wait_ms: int = 120_000) -> None:
    """Run until these members have the key, the same one."""
    assert cluster.run(wait_ms, until=lambda c: all(c.cores[node].keygen.certificate for node in members))
    keys = {cluster.cores[node].committee.sealing_key.public_key for node in members}
    assert len(keys) == 1


def trade(cluster: Cluster, members: tuple[int, ...]) -> None:
    """An order sealed to the generated key is opened and executed by these members."""
    d = cluster.deployment
    own = cluster.cores[members[0]].committee
    sharing = own.sharing(0)
    d.committee.establish(
        own.sealing_key.public_key, sharing.verification_keys, name=sharing.name, certificate=sharing.certificate
    )
    order = d.order(d.traders[0], cluster.now_ms)
    for node in members:
        cluster.request(node, Submit(1, (order,), True), client=1 + node)
    assert cluster.run(20_000, until=lambda c: all(c.cores[node].execution.executed_height for node in members))


def audited(cluster: Cluster, node: int) -> KeyReport:
    """What an auditor says of the member's log, which passes."""
    audit = Audit(Committee(cluster.deployment.committee.genesis))
    try:
        for entry in cluster.logs[node]:
            audit.add(entry)
        audit.finish()
    except Stop:
        pass
    assert not audit.recorder.findings
    report = audit.keys.report()
    assert report is not None
    return report
