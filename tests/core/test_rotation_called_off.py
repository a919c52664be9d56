"""What q members want last is what happens: a rotation that is agreed while another session runs begins after it, and a
resharing to a committee that is called off, or replaced by another one, before it is done comes to nothing."""

from __future__ import annotations

import msgspec

from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

MEMBERS = range(4)


def lower(d: Deployment, port: int = 9_000) -> NextCommittee:
    """The same members with a lower threshold, at other endpoints."""
    target = d.next_committee(MEMBERS, 2)
    moved = (msgspec.structs.replace(one, endpoint=f"127.0.0.1:{port + i}") for i, one in enumerate(target.members))
    return msgspec.structs.replace(target, members=tuple(moved))


def resharing(cluster: Cluster, target: NextCommittee) -> None:
    """A cluster in which the key is being shared anew for ``target``."""
    cluster.approve(target, MEMBERS)
    assert cluster.run(5_000, until=lambda c: all(core.keygen.phase in ("deals", "answers") for core in c.cores))


def begun(cluster: Cluster) -> bool:
    return all(host.epoch == 1 for host in cluster.hosts)


def test_a_rotation_that_is_agreed_while_the_key_is_generated_begins_after_it() -> None:
    d = make_deployment(4, seed=5, generated=True)
    cluster = Cluster(d, seed=1)
    cluster.approve(lower(d), MEMBERS)
    assert cluster.run(1_000, until=lambda c: all(core.succession.target is not None for core in c.cores))
    assert not any(core.committee.sharings for core in cluster.cores)
    assert cluster.run(15_000, until=begun)
    assert {core.committee.t for core in cluster.cores} == {2}


def test_a_rotation_that_is_called_off_while_the_key_is_shared_anew_does_not_happen() -> None:
    d = make_deployment(4, seed=5)
    cluster = Cluster(d, seed=1)
    resharing(cluster, lower(d))
    cluster.approve(d.next_committee(MEMBERS, d.committee.t), MEMBERS)
    cluster.run(15_000)
    assert [host.epoch for host in cluster.hosts] == [0] * 4
    for core in cluster.cores:
        assert core.succession.target is None and core.succession.outcome is None
        assert not core.chain.final_state.handovers
    assert {fault.code for _, fault in cluster.faults} == {"key.aborted"}
    cluster.approve(lower(d, port=9_500), MEMBERS)  # another one may still follow
    assert cluster.run(15_000, until=begun)
    assert {core.committee.starts[0].attempt for core in cluster.cores} == {1}


def test_a_rotation_that_is_replaced_while_the_key_is_shared_anew_leads_to_the_later_one() -> None:
    d = make_deployment(4, seed=5)
    cluster = Cluster(d, seed=1)
    resharing(cluster, lower(d))
    cluster.approve(lower(d, port=9_500), MEMBERS)
    assert cluster.run(15_000, until=begun)
    assert {core.committee.starts[0].committee for core in cluster.cores} == {lower(d, port=9_500)}
