"""Attack: a deposit that nobody made. A leader cannot credit it, for inputs follow from a checkpoint's hash; a peer
that is asked for inputs cannot slip it in; a log that holds it convinces neither a member that catches up nor an
auditor.

Evidence: none: inputs travel unsigned and are judged by the hash they lead to (`chain.inputs`, `log.incomplete`,
`log.order`); the next member is asked.
"""

from __future__ import annotations

from functools import partial

import pytest
from chain_kit import HandChain, deposit, taken_up
from core_kit import refused
from evidence_kit import evidence_left
from msgspec.structs import replace

from mpc_sequencer.audit.report import Stop
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.messages import InputsMessage, PeerMessage
from mpc_sequencer.core.replay import Replay
from mpc_sequencer.core.transcript import InputsEntry, LogEntry
from mpc_sequencer.sim import Cluster, Network, make_deployment
from mpc_sequencer.sim.deployment import DEPOSIT_UNITS

D = make_deployment(4, seed=61)
ACCOUNT = D.traders[0].address


def finished(network: Network | None = None, *told: int) -> Cluster:
    cluster, chain = Cluster(D, seed=61, network=network), HandChain(D)
    chain.block(deposit(ACCOUNT, 0, 9), deposit(ACCOUNT, 1, 4))
    chain.tell(cluster, *told)
    assert cluster.run(20_000, partial(taken_up, chain))
    return cluster


def test_a_peer_that_serves_invented_inputs_is_named_and_another_one_asked() -> None:
    bent: list[int] = []

    def bend(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage:
        if isinstance(message, InputsMessage) and not bent:
            bent.append(sender)
            return replace(message, inputs=(deposit(ACCOUNT, 0, 10**15), *message.inputs[1:]))
        return message

    cluster = finished(Network(tamper=bend), 0, 1)
    for core in cluster.cores:
        assert core.execution.engine.balance(ACCOUNT, 0) == (DEPOSIT_UNITS + 9, 0)
    assert bent, "the two members that see no chain have asked"
    assert {(fault.node, fault.code) for _, fault in cluster.faults} == {(bent[0], "chain.inputs")}
    assert evidence_left(cluster) == set()


def bent_log(log: list[LogEntry], change: str) -> list[LogEntry]:
    """The log with the inputs after the genesis ones changed."""
    at = [i for i, entry in enumerate(log) if isinstance(entry, InputsEntry)][-1]
    entry = log[at]
    assert isinstance(entry, InputsEntry) and entry.first_index == len(D.inputs)
    changed = {
        "invented": replace(entry, inputs=(*entry.inputs, deposit(ACCOUNT, 0, 10**15))),
        "raised": replace(entry, inputs=(deposit(ACCOUNT, 0, 10**15), *entry.inputs[1:])),
        "left out": replace(entry, inputs=entry.inputs[:1]),
        "swapped": replace(entry, inputs=entry.inputs[::-1]),
        "moved": replace(entry, first_index=entry.first_index + 1),
        "gone": None,
    }[change]
    return [*log[:at], *([] if changed is None else [changed]), *log[at + 1 :]]


CHANGES = ("invented", "raised", "left out", "swapped", "moved", "gone")


@pytest.fixture(scope="module")
def log() -> list[LogEntry]:
    return finished().logs[0]


@pytest.mark.parametrize("change", CHANGES)
def test_an_auditor_finds_it(change: str, log: list[LogEntry]) -> None:
    def codes(entries: list[LogEntry]) -> list[str]:
        audit = Audit(D.committee)
        try:
            for entry in entries:
                audit.add(entry)
            audit.finish()
        except Stop:
            pass
        return [finding.code for finding in audit.recorder.findings]

    assert codes(log) == []
    assert codes(bent_log(log, change)) == ["inputs.chain"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_member_that_catches_up_follows_no_such_log(change: str, log: list[LogEntry]) -> None:
    def follow(entries: list[LogEntry]) -> int:
        core = Cluster(D, seed=62).cores[1]
        replay = Replay(core, own=False)
        for entry in entries:
            replay.feed(encode(entry), 1)
        return core.chain.final_state.chain.inputs_count

    assert follow(log) == len(D.inputs) + 2
    with refused({"gone": "log.incomplete", "moved": "log.order"}.get(change, "chain.inputs")):
        follow(bent_log(log, change))
