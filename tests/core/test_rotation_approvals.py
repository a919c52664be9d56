"""Approvals: whose word counts, which is the newest, and what a change of mind does at every step."""

from __future__ import annotations

from rotation_kit import approve, as_it_is, cluster_of, in_epoch, resharing, rotate, target_of, wait, wait_any, word

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import PeerAhead
from mpc_sequencer.core.rotation import Approval
from mpc_sequencer.sim import Cluster, make_deployment


def test_q_approvals_replace_the_committee_and_the_key_stays() -> None:
    cluster = cluster_of()
    before = cluster.cores[0].committee.sealing_key.public_key
    target = target_of(cluster, range(7))
    rotate(cluster, target, range(3))
    for host in cluster.hosts:
        committee = host.core.committee
        assert (committee.n, committee.t, committee.epoch) == (7, 5, 1)
        assert committee.sealing_key.public_key == before
    assert not cluster.faults


def test_a_proposal_that_is_called_off_amid_its_resharing_is_not_handed_over() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait_any(cluster, resharing)
    approve(cluster, as_it_is(cluster), range(4))
    wait(cluster, lambda core: core.succession.target is None)
    wait(cluster, lambda core: core.keygen.running is None)
    cluster.run(5_000)
    assert all(not core.succession.outcome and not core.chain.final_state.handover for core in cluster.cores)
    assert {host.epoch for host in cluster.hosts} == {0}
    assert not any("share-1" in host.disk.vault for host in cluster.hosts)


def test_another_proposal_amid_a_resharing_is_the_one_that_follows() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait_any(cluster, resharing)
    approve(cluster, target_of(cluster, range(5)), range(4))
    wait(cluster, in_epoch(1), places=range(5))
    assert cluster.cores[0].committee.n == 5


def test_a_proposal_amid_the_key_s_generation_is_reshared_after_it_though_no_refresh_is_planned() -> None:
    cluster = Cluster(make_deployment(4, seed=3, joiners=3, generated=True), seed=4)
    for joiner in range(3):
        cluster.join(joiner)
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, lambda core: core.succession.target is not None, places=range(4))
    assert all(core.keygen.running is not None and not core.committee.sharings for core in cluster.cores)
    wait(cluster, in_epoch(1), 15_000)


def test_a_proposal_that_was_called_off_can_be_approved_again() -> None:
    cluster = cluster_of()
    target = target_of(cluster, range(7))
    approve(cluster, target, range(2))
    cluster.run(2_000)
    approve(cluster, as_it_is(cluster), range(2))
    cluster.run(2_000)
    rotate(cluster, target, range(3))


def test_a_liar_that_says_it_is_in_a_later_epoch_stops_no_key_session() -> None:
    cluster = cluster_of()
    for node in range(3):
        cluster.at(cluster.now_ms, node, PeerAhead(3))
    cluster.run(1_000)
    rotate(cluster, target_of(cluster, range(7)), range(4))


def test_an_approval_that_is_held_back_does_not_undo_a_later_one() -> None:
    """A leader's friends list a member's first word only after it has changed its mind."""
    core = cluster_of(joiners=3).cores[0]
    cluster = cluster_of()
    old, new = target_of(cluster, range(5)), target_of(cluster, range(7))
    late = word(cluster, 0, Approval(old, 1))
    for node, said in ((0, Approval(new, 2)), (1, Approval(new, 1)), (1, Approval(old, 2)), (2, Approval(old, 7))):
        assert not core.succession.take(word(cluster, node, said))
    assert not core.succession.take(late)
    assert core.succession.target is None and core.succession.dump().approvals == (
        (0, new.committee_hash(), 2),
        (1, old.committee_hash(), 2),
        (2, old.committee_hash(), 7),
    )
    assert core.succession.take(word(cluster, 3, Approval(old, 1)))  # 1, 2 and 3
    assert core.succession.target == old


def test_who_has_changed_its_mind_as_often_as_it_may_can_still_hand_over() -> None:
    cluster = cluster_of()
    target = target_of(cluster, range(7))
    for number in range(limits.ROTATION_MESSAGES_LISTED_MAX + 1):
        approve(cluster, target if number % 2 else target_of(cluster, range(5)), [0])
        cluster.run(150)
    assert {(node, fault.code) for node, fault in cluster.faults} == {(0, "rotation.spent")}
    wait(cluster, lambda core: core.succession.dump().approvals[0][2] == 32, places=range(4))
    cluster.stop(3)  # so that 0's handover is needed
    rotate(cluster, target, [1, 2], epoch=0)
    wait(cluster, in_epoch(1), places=[0, 1, 2, 4, 5, 6])
