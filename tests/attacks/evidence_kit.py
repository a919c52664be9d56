"""What an attack leaves behind: the convictions of a run, each verified alone as a file that anybody may hold."""

from __future__ import annotations

from collections.abc import Callable

from mpc_sequencer.core.evidence import decode_file, encode_file, verify_file
from mpc_sequencer.core.messages import OrdersExecuted, PeerMessage
from mpc_sequencer.sim import Cluster

Convicted = set[tuple[int, str]]


def evidence_left(cluster: Cluster) -> Convicted:
    """(member, kind) of all evidence that other members of a run have kept. Each piece is written as a file, read back
    and judged with nothing but the committee; a file that does not convict whom it names fails the test. (The core
    behind a bent wire knows what it did not send, so what it holds against itself is nobody's.)"""
    committee = cluster.deployment.committee
    found: Convicted = set()
    for seer, one in cluster.evidence:
        if seer == one.node:
            continue
        verdict = verify_file(decode_file(encode_file(one.offence, committee)), committee)
        assert (verdict.node, verdict.kind) == (one.node, one.kind)
        found.add((verdict.node, verdict.kind))
    return found


def charged(cluster: Cluster, seers: set[int]) -> set[tuple[int, str]]:
    """(member, code) of all faults that ``seers`` reported."""
    return {(fault.node, fault.code) for seer, fault in cluster.faults if seer in seers}


def outcomes(cluster: Cluster, client: int = 1) -> dict[bytes, set[str]]:
    """By order id the outcome codes that a client was told, by all members together."""
    told: dict[bytes, set[str]] = {}
    for _, reply in cluster.replies.get(client, ()):
        if isinstance(reply, OrdersExecuted):
            for row in reply.rows:
                told.setdefault(row.order_id, set()).add(row.code)
    return told


def from_member(
    liar: int, bend: Callable[[int, PeerMessage], PeerMessage | None]
) -> Callable[[int, int, PeerMessage], PeerMessage | None]:
    """A wire on which ``bend(receiver, message)`` is what the liar's messages become; all others are as they are."""
    return lambda sender, receiver, message: bend(receiver, message) if sender == liar else message
