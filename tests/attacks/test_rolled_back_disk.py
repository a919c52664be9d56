"""Attack: rolled back disk. An operator (or whoever holds the machine's images) puts an old copy of a member's disk
back. Every checksum in it is right, and the member would sign again, otherwise, what it signed since.

It meets its own word at its peers, mutes itself before it signs anything because of it, and comes back like one that
lost its disk.

Evidence: none: it meets its own words at its peers and is muted before it signs; what it signed before its first link
was up is its own word and may convict it.
"""

from __future__ import annotations

import copy
import random

import msgspec
import pytest
from core_kit import make_certificate, make_head, make_list, submit
from evidence_kit import evidence_left
from test_vote_equivocation_after_restart import Witness

from mpc_sequencer.core.effects import MutedRecord, RolledBack
from mpc_sequencer.core.messages import ListMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.types import FINALIZE, NO_SIGNATURE, NOTARIZE, NULLIFY, ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.host import Disk

VICTIM = 3


def drive(cluster: Cluster, rng: random.Random, turns: int, nodes: tuple[int, ...]) -> None:
    for _ in range(turns):
        order = cluster.deployment.order(rng.choice(cluster.deployment.traders), cluster.now_ms)
        for node in nodes:
            submit(cluster, node, order)
        cluster.run(rng.randint(20, 80))


def image(disk: Disk) -> Disk:
    """A copy of a disk, as of now."""
    return copy.deepcopy(disk)


@pytest.mark.parametrize("seed", range(6))
def test_rolled_back_disk(seed: int) -> None:
    cluster = Witness(seed)
    rng = random.Random(seed)
    drive(cluster, rng, 6, (0, 1, 2, VICTIM))
    if seed % 2:
        cluster.hosts[VICTIM].disk.take_snapshot(cluster.cores[VICTIM])
    old = image(cluster.hosts[VICTIM].disk)
    drive(cluster, rng, 6, (0, 1, 2, VICTIM))
    number = cluster.cores[VICTIM].own_lists.number
    cluster.stop(VICTIM)
    cluster.hosts[VICTIM].disk = old
    old.synced, old.checkpointed = len(old.records), len(old.log)
    cluster.restart(VICTIM)
    core = cluster.cores[VICTIM]
    assert not core.standing.muted and core.own_lists.number < number, "by itself it cannot know"
    drive(cluster, rng, 20, (0, 1, 2))
    assert "standing.rolled_back" in {fault.code for node, fault in cluster.faults if node == VICTIM}
    assert any(isinstance(record, MutedRecord) for record in old.records)
    cluster.run(8_000)
    assert not core.standing.muted and core.standing.incarnation == 1
    drive(cluster, rng, 4, (VICTIM,))
    cluster.run(4_000)
    cluster.check()
    assert cluster.cores[0].chain.final_state.incarnations == (0, 0, 0, 1)
    assert core.own_lists.number > 0, "it lists again"
    assert len({one.chain.final_id for one in cluster.cores}) == 1
    assert not evidence_left(cluster)


def fresh() -> tuple[Cluster, NodeCore]:
    cluster = Cluster(make_deployment(4))
    cluster.run(20)
    return cluster, cluster.cores[VICTIM]


def rolled_back(core: NodeCore) -> bool:
    return any(isinstance(effect, RolledBack) for effect in core.effects)


@pytest.mark.parametrize("kind", [NOTARIZE, NULLIFY, FINALIZE])
def test_an_own_vote_in_a_certificate_mutes_before_the_certificate_is_answered(kind: int) -> None:
    cluster, core = fresh()
    view = core.simplex.view
    block_id = ZERO_HASH if kind == NULLIFY else b"\x07" * 32
    others = make_certificate(cluster.deployment, kind, view, block_id, nodes=(0, 1, 2))
    with_it = make_certificate(cluster.deployment, kind, view, block_id, nodes=(0, 1, VICTIM))
    core.simplex.on_certificate(with_it, cluster.now_ms)
    assert core.standing.muted and rolled_back(core)
    assert not core.simplex.kept_votes(), "it signed nothing because of it"
    again, other = fresh()
    other.simplex.on_certificate(others, again.now_ms)
    assert not other.standing.muted


def test_its_newest_list_at_a_peer_mutes_a_member_that_does_not_know_it() -> None:
    cluster, core = fresh()
    theirs = make_list(cluster.deployment, VICTIM, 1, ZERO_HASH, (b"\x01" * 32,))
    core.peers.handle(0, ListMessage(theirs), cluster.now_ms)
    assert core.standing.muted and rolled_back(core)
    assert not core.standing.may_vote(10**6) and not core.standing.may_list()


def test_nobody_can_mute_a_member_with_words_it_did_not_say() -> None:
    cluster, core = fresh()
    d = cluster.deployment
    forged = msgspec.structs.replace(make_list(d, 0, 1, ZERO_HASH, (b"\x01" * 32,)), node=VICTIM)
    for one in (forged, msgspec.structs.replace(forged, signature=NO_SIGNATURE)):
        core.standing.seen_list(one)
    head = msgspec.structs.replace(make_head(d, 0, 1, 5), node=VICTIM, list_number=9)
    core.standing._seen(head, head.list_number, head.list_hash)
    assert not core.standing.muted and not rolled_back(core)


def test_what_a_muted_member_heard_before_does_not_let_it_resume() -> None:
    _, core = fresh()
    core.standing.mute()
    core.standing.floor_view, core.standing.muted = 5, False
    core.standing._heard = {0, 1, 2}
    core.standing.mute()
    assert core.standing.floor_view == 0 and not core.standing._heard
