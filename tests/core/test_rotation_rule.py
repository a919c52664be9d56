"""The rule of succession, function by function: which committee may follow, what a message of the topic may say, what
proves an epoch's start, and whose approvals lead where."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from core_kit import picture, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rotation_kit import as_it_is, cluster_of, rotate, target_of, word

from mpc_sequencer.core import rotation
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.rotation import Approval, Handover, check_next, follow, follow_all, read_payload
from mpc_sequencer.core.types import EpochStart, KeyReady, NextCommittee
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import Cluster, make_deployment
from threshold.dkg import Result

D = make_deployment(4, seed=3, joiners=40)
SEVEN = D.next_committee(range(7), 5)
JOINED = D.next_committee(range(3, 7), 3)
X = b"\x0a" * 32


def with_member(target: NextCommittee, place: int, **terms: Any) -> NextCommittee:
    members = list(target.members)
    members[place] = replace(members[place], **terms)
    return replace(target, members=tuple(members))


def place_of(target: NextCommittee, person: int) -> int:
    """Where ``target`` has a person: members are its first ones, joiners follow."""
    key = [*D.signers, *D.joiners][person].public_key
    return [one.consensus_key for one in target.members].index(key)


# --- which committee may follow -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "target",
    [
        D.next_committee(range(4), 2),
        D.next_committee(range(4), 3),
        JOINED,
        D.next_committee(range(40), 14),
        D.next_committee(range(40), 27),
        with_member(SEVEN, 0, endpoint="[::1]:1"),
        with_member(SEVEN, 0, endpoint="a.example:65535"),
        with_member(SEVEN, place_of(SEVEN, 5), log_key=X),  # a joiner's is its own affair
    ],
)
def test_a_committee_within_the_bounds_may_follow(target: NextCommittee) -> None:
    check_next(D.committee, target)


BAD: dict[str, Callable[[], NextCommittee]] = {
    "three members": lambda: D.next_committee(range(3), 2),
    "forty-one members": lambda: replace(SEVEN, threshold=20, members=D.next_committee(range(41), 20).members),
    "f shares open": lambda: replace(SEVEN, threshold=2),
    "more than q shares": lambda: replace(SEVEN, threshold=6),
    "no share": lambda: replace(SEVEN, threshold=0),
    "members in another order": lambda: replace(SEVEN, members=SEVEN.members[::-1]),
    "one member twice": lambda: replace(SEVEN, members=(SEVEN.members[0], *SEVEN.members[:6])),
    "one log key for two joiners": lambda: with_member(
        with_member(SEVEN, place_of(SEVEN, 4), log_key=X), place_of(SEVEN, 5), log_key=X
    ),
    "one endpoint twice": lambda: with_member(SEVEN, 0, endpoint=SEVEN.members[1].endpoint),
    "a kept member with another log key": lambda: with_member(SEVEN, place_of(SEVEN, 1), log_key=X),
    "a joiner with the log key of a member that leaves": lambda: with_member(
        JOINED, place_of(JOINED, 5), log_key=D.committee.genesis.members[0].log_key
    ),
    "a consensus key that is no point": lambda: with_member(SEVEN, 0, consensus_key=b"\x02" + b"\xff" * 32),
    "no port": lambda: with_member(SEVEN, 0, endpoint="host"),
    "an empty port": lambda: with_member(SEVEN, 0, endpoint="host:"),
    "port 0": lambda: with_member(SEVEN, 0, endpoint="host:0"),
    "port 65,536": lambda: with_member(SEVEN, 0, endpoint="host:65536"),
    "a signed port": lambda: with_member(SEVEN, 0, endpoint="host:+80"),
    "a port of other digits": lambda: with_member(SEVEN, 0, endpoint="host:\u0661"),
    "no host": lambda: with_member(SEVEN, 0, endpoint=":7000"),
    "a space in a host": lambda: with_member(SEVEN, 0, endpoint="a b:7000"),
    "a line feed in a host": lambda: with_member(SEVEN, 0, endpoint="a\n:7000"),
    "a host in other letters": lambda: with_member(SEVEN, 0, endpoint="h\u00f6st:7000"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_committee_that_may_not_follow_is_refused(name: str) -> None:
    with refused("rotation.committee"):
        check_next(D.committee, BAD[name]())


def test_where_a_market_orders_by_receipt_four_members_may_not_follow_and_five_may() -> None:
    d = make_deployment(5, seed=3, policy=RECEIVE, joiners=2)
    with refused("rotation.committee"):
        check_next(d.committee, d.next_committee(range(4), 3))
    check_next(d.committee, d.next_committee(range(5), 4))
    with refused("rotation.committee"):
        check_next(d.committee, d.next_committee(range(7), 1))  # f = 1 of 7


def test_the_committee_as_it_is_is_known_by_its_keys_and_threshold() -> None:
    same = D.next_committee(range(4), 3)
    assert rotation.is_same(D.committee, same)
    assert rotation.is_same(D.committee, with_member(same, 1, endpoint="elsewhere:1"))
    assert not rotation.is_same(D.committee, replace(same, threshold=2))
    assert not rotation.is_same(D.committee, with_member(same, 1, log_key=X))
    assert not rotation.is_same(D.committee, SEVEN)


# --- what a message may say -----------------------------------------------------------------------------------------
def test_messages_of_the_topic_are_members_only() -> None:
    cluster = cluster_of()
    core = cluster.cores[0]
    core.succession.admit(target_of(cluster, range(7)))
    said = Approval(target_of(cluster, range(7)), 1)
    with refused("member.unknown"):
        core.keybook.add(word(cluster, 4, said))  # a joiner, who may speak in its resharing
    assert core.keybook.add(word(cluster, 3, said)).handover == b""


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x00", "wire.type"),
        (b"\x93\x01\xc0\x01", "wire.type"),
        (rotation.encode_payload(Approval(SEVEN, 1)) + b"\x00", "wire.malformed"),
        (rotation.encode_payload(Approval(SEVEN, 1))[:-1] + b"\x00", "wire.bound"),
        (rotation.encode_payload(Approval(replace(SEVEN, threshold=2), 1)), "rotation.committee"),
        (rotation.encode_payload(Handover(X, bytes(65))), "signature.encoding"),
        (rotation.encode_payload(Handover(X, D.signers[1].sign_digest(D.committee.digest(X)))), "signature.signer"),
        (rotation.encode_payload(Handover(X, D.signers[0].sign_digest(X))), "signature.signer"),
    ],
)
def test_what_says_nothing_that_counts_is_not_held(payload: bytes, code: str) -> None:
    core = still()._new_core(0)
    message = word(still(), 0, Approval(SEVEN, 1))
    unsigned = replace(message, payload=payload)
    signature = D.signers[0].sign_digest(D.committee.digest(unsigned.struct_hash()))
    before = picture(core)
    with refused(code):
        core.keybook.add(replace(unsigned, signature=signature))
    assert picture(core) == before
    with refused(code):
        read_payload(D.committee, unsigned)


@cache
def still() -> Cluster:
    """A committee without joiners, from which cores are made."""
    return cluster_of(joiners=0)


# --- what proves an epoch ---------------------------------------------------------------------------------------------
@cache
def rotated() -> tuple[Committee, EpochStart, Cluster]:
    cluster = cluster_of()
    rotate(cluster, target_of(cluster, range(7)))
    starts = {host.core.committee.starts for host in cluster.hosts}
    assert len(starts) == 1, "every member has the very same start"
    return cluster.deployment.committee, starts.pop()[0], cluster


def test_whoever_knows_a_committee_verifies_the_next_one() -> None:
    committee, start, cluster = rotated()
    following = follow_all(committee.own(), [start])
    members = cluster.cores[0].committee
    assert following.addresses == members.addresses and following.genesis_id == members.genesis_id
    assert following.sharing(start.sharing).verification_keys == members.sharing(start.sharing).verification_keys
    assert [one.node for one in start.handover] == [0, 1, 2]


def bent_handover(start: EpochStart, node: int, signature: bytes) -> EpochStart:
    words = tuple(KeyReady(node, signature) if one.node == node else one for one in start.handover)
    return replace(start, handover=words)


def changed_result(start: EpochStart) -> bytes:
    """The result with two members' verification keys changed about."""
    result = Result.decode(start.result)
    first, second = result.verification_keys[1], result.verification_keys[2]
    return dataclasses.replace(result, verification_keys={**result.verification_keys, 1: second, 2: first}).encode()


def by_a_joiner(start: EpochStart, cluster: Cluster) -> EpochStart:
    digest = rotation.handover_hash(start.epoch, start.committee, Result.decode(start.result).hash())
    signature = cluster.deployment.joiners[0].sign_digest(cluster.deployment.committee.digest(digest))
    return replace(start, handover=(*start.handover[:2], KeyReady(4, signature)))


NEAR_MISSES: dict[str, tuple[Callable[[EpochStart, Cluster], EpochStart], str]] = {
    "q-1 words": (lambda s, _: replace(s, handover=s.handover[:2]), "rotation.quorum"),
    "a word twice": (lambda s, _: replace(s, handover=(s.handover[0], *s.handover[:2])), "rotation.quorum"),
    "words in another order": (lambda s, _: replace(s, handover=s.handover[::-1]), "rotation.quorum"),
    "a joiner's word": (by_a_joiner, "member.unknown"),
    "another's signature": (lambda s, _: bent_handover(s, 1, s.handover[0].signature), "signature.signer"),
    "another epoch": (lambda s, _: replace(s, epoch=2), "epoch.unknown"),
    "the epoch itself": (lambda s, _: replace(s, epoch=0), "epoch.unknown"),
    "another threshold": (lambda s, _: replace(s, committee=replace(s.committee, threshold=4)), "key.result"),
    "another endpoint": (lambda s, _: replace(s, committee=with_member(s.committee, 0, endpoint="a:1")), "key.result"),
    "another attempt": (lambda s, _: replace(s, attempt=1), "key.result"),
    "another sharing": (lambda s, _: replace(s, sharing=2), "key.result"),
    "two keys changed about": (lambda s, _: replace(s, result=changed_result(s)), "signature.signer"),
    "a committee that may not follow": (
        lambda s, _: replace(s, committee=replace(s.committee, threshold=2)),
        "rotation.committee",
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_a_near_miss_of_an_epoch_s_start_is_refused(name: str) -> None:
    committee, start, cluster = rotated()
    bend, code = NEAR_MISSES[name]
    with refused(code):
        follow(committee.own(), bend(start, cluster))


def test_a_start_of_another_deployment_is_refused() -> None:
    _, start, _ = rotated()
    other = make_deployment(4, seed=4, joiners=3).committee
    with refused("key.result"):
        follow(other, start)


# --- whose approvals lead where -------------------------------------------------------------------------------------
@dataclass
class NaiveApprovals:
    """The rule's first row, with a list of everything that was ever said."""

    said: list[tuple[int, int, int]] = field(default_factory=list)
    target: int | None = None

    def take(self, node: int, which: int, number: int) -> None:
        self.said.append((node, which, number))
        newest: dict[int, tuple[int, int]] = {}
        for member, committee, counted in self.said:
            if counted > newest.get(member, (0, 0))[0]:
                newest[member] = (counted, committee)
        if newest[node] != (number, which) or (node, which, number) in self.said[:-1]:
            return
        if [committee for _, committee in newest.values()].count(which) >= 3:
            self.target = None if which == 0 else which


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 4)), max_size=24))
def test_approvals_in_any_order_lead_where_a_naive_model_says(said: list[tuple[int, int, int]]) -> None:
    cluster = still()
    core = cluster._new_core(0)
    targets = [as_it_is(cluster), SEVEN, D.next_committee(range(5), 4)]
    model = NaiveApprovals()
    for node, which, number in said:
        core.succession.take(word(cluster, node, Approval(targets[which], number)))
        model.take(node, which, number)
        assert core.succession.target == (None if model.target is None else targets[model.target])
    again = cluster._new_core(0)
    again.succession.restore(core.succession.dump())
    assert again.succession.dump() == core.succession.dump()
    assert again.committee.joiners == core.committee.joiners


def test_more_joiners_than_numbers_go_to_are_not_agreed_on() -> None:
    cluster = still()
    core = cluster._new_core(0)
    first = D.next_committee(range(4, 44), 27)
    second = make_deployment(4, seed=9, joiners=40).next_committee(range(4, 44), 27)
    for number, target in ((1, first), (2, second)):
        taken = [core.succession.take(word(cluster, node, Approval(target, number))) for node in range(3)]
        assert any(taken) is (target is first)
    assert core.succession.target == first and len(core.committee.joiners) == 40


def test_approvals_after_the_resharing_change_nothing() -> None:
    _, start, cluster = rotated()
    core = cluster._new_core(0)
    for node in range(3):
        core.succession.take(word(cluster, node, Approval(start.committee, 1)))
    core.succession.done(start.committee, start.sharing, start.attempt, Result.decode(start.result))
    for node in range(4):
        assert not core.succession.take(word(cluster, node, Approval(as_it_is(cluster), 2)))
    assert core.succession.target == start.committee and core.succession.approval(as_it_is(cluster)) is None
