"""Logs that lead through several epochs: every member's passes, an old member's and a joiner's too, also where a
rotation was called off; a message about the next epoch that is not a good one is a finding of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mpc_sequencer.audit.rotation import Approval, Handover
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.signing import Signer, address_of
from mpc_sequencer.core.transcript import KeyEntry, LogEntry, ReceiptEntry
from mpc_sequencer.core.types import NO_SIGNATURE, KeyMessage, NextCommittee, NextMember
from mpc_sequencer.sim import Cluster, make_deployment
from tests.audit.audited_deployment import flip, replace
from tests.audit.audited_epochs_kit import (
    KEEPER,
    Log,
    Rotated,
    audited,
    blocks,
    codes,
    first_block,
    grown,
    last_block,
    log_of,
    log_public_key,
    named_topic,
    received,
    shrunk,
)

REPLACED, STAYING, PASSING = 3, 1, 6
"""Of those of the first run: a member of the first committee only, one of all three, one of the second only."""
LEFT, JOINER = 1, 7
"""Of those of the second run: a member of the first committee only, one of the second only."""


# --- logs that pass -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("person", [REPLACED, STAYING, PASSING, 7])
def test_everybodys_log_passes_where_the_key_is_generated_and_the_committee_changes_twice(person: int) -> None:
    audit = audited(grown(), log_of(grown(), person))
    assert not audit.recorder.findings
    assert [(len(one.committee.addresses), one.committee.t) for one in audit.epochs.all] == [(4, 3), (7, 5), (4, 3)]


@pytest.mark.parametrize("person", [KEEPER, LEFT, JOINER])
def test_everybodys_log_passes_where_seven_hand_a_given_key_over_to_four(person: int) -> None:
    audit = audited(shrunk(), log_of(shrunk(), person))
    assert not audit.recorder.findings
    assert [len(one.committee.addresses) for one in audit.epochs.all] == [7, 4]
    assert audit.recorder.checks["openings"] == audit.recorder.checks["batch_orders"] > 12


@pytest.mark.parametrize("person", [KEEPER, 5])
def test_a_log_passes_where_orders_wait_for_their_places_by_receipt_in_two_epochs(person: int) -> None:
    run = received()
    entries = log_of(run, person)
    at_the_end = audited(run, entries[: last_block(entries, 0) + 2]).ordering
    assert at_the_end.queue and at_the_end.places == {key: {} for key in at_the_end.queue}
    audit = audited(run, entries)
    assert not audit.recorder.findings and not audit.ordering.queue
    assert audit.recorder.checks["openings"] == audit.recorder.checks["batch_orders"]


@pytest.mark.parametrize("run", [grown, shrunk])
def test_the_runs_cover_what_an_end_of_an_epoch_is_about(run: Callable[[], Rotated]) -> None:
    """Orders are opened by every epoch; some are lifted in one and batched in the next; receipts are kept in each."""
    entries = log_of(run(), KEEPER if run is shrunk else STAYING)
    batched = {one.block.header.epoch for _, one in blocks(entries) if one.block.batch}
    assert batched == set(range(len(run().committees)))
    end = last_block(entries, 0)
    assert audited(run(), entries[: end + 2]).ordering.queue
    assert {one.receipt.epoch for one in entries if isinstance(one, ReceiptEntry)} >= {0}
    assert [one for _, one in blocks(entries) if one.block.header.epoch == 0][-1].block.batch == ()


@pytest.mark.parametrize("person", [KEEPER, 7])
def test_a_log_that_ends_anywhere_near_the_end_of_an_epoch_passes(person: int) -> None:
    entries = log_of(shrunk(), person)
    last = last_block(entries, 0)
    before = [at for at, _ in blocks(entries) if at < last]
    for end in (before[-1] + 2, last + 1, last + 2, first_block(entries, 1), first_block(entries, 1) + 1):
        assert codes(shrunk(), entries[:end]) == []


# --- findings: messages about the next epoch ----------------------------------------------------------------------
def said(run: Rotated, payload: bytes, node: int = 1) -> KeyEntry:
    """A message of the first epoch's topic that its author has signed."""
    return KeyEntry(run.signed(KeyMessage(0, named_topic(run, 0), node, payload, NO_SIGNATURE)))


def inserted(run: Rotated, entry: LogEntry, at: int = 60) -> Log:
    """The log with one more entry before a block of the first epoch; nothing after that block."""
    entries = log_of(run)
    block = next(index for index, _ in blocks(entries) if index > at)
    return [*entries[:block], entry, *entries[block : block + 2]]


def proposal(run: Rotated) -> NextCommittee:
    target = run.house.next_committee((0, 2, 5, 7), 3)
    people = [one.public_key for one in (*run.house.signers, *run.house.joiners)]
    log_keys = {key: log_public_key(run.house.seed, person) for person, key in enumerate(people)}
    return replace(target, members=tuple(replace(one, log_key=log_keys[one.consensus_key]) for one in target.members))


def sorted_by_address(members: Sequence[NextMember]) -> tuple[NextMember, ...]:
    return tuple(sorted(members, key=lambda one: address_of(one.consensus_key)))


def bent_proposals(run: Rotated) -> dict[str, NextCommittee]:
    """Committees that may not follow."""
    good = proposal(run)
    first, *others = good.members
    present = {one.consensus_key: one.log_key for one in run.committees[0].genesis.members}
    left = next(key for key in present.values() if key not in {one.log_key for one in good.members})
    kept = next(at for at, one in enumerate(good.members) if one.consensus_key in present)
    joiner = next(at for at, one in enumerate(good.members) if one.consensus_key not in present)

    def bent(place: int, **terms: object) -> NextCommittee:
        changed = replace(good.members[place], **terms)
        return replace(good, members=(*good.members[:place], changed, *good.members[place + 1 :]))

    strangers = [
        replace(one, consensus_key=Signer(bytes((at + 1,)) * 32).public_key, log_key=bytes((min(at, 2),)) * 32)
        for at, one in enumerate(good.members)
    ]
    return {
        "as many as may fail have the key": replace(good, threshold=1),
        "more are needed than may be there": replace(good, threshold=4),
        "three members": replace(good, members=good.members[:3], threshold=2),
        "another order": replace(good, members=good.members[::-1]),
        "a member twice": replace(good, members=(first, first, *others[:2])),
        "one log key for two joiners": replace(good, members=sorted_by_address(strangers)),
        "one endpoint for two": bent(0, endpoint=others[0].endpoint),
        "a kept member with another log key": bent(kept, log_key=bytes(range(32))),
        "a joiner with the log key of a member that leaves": bent(joiner, log_key=left),
        "no point": replace(good, members=(replace(first, consensus_key=b"\x02" + b"\xff" * 32), *others)),
        "no port": replace(good, members=(replace(first, endpoint="127.0.0.1"), *others)),
        "port 0": replace(good, members=(replace(first, endpoint="127.0.0.1:0"), *others)),
        "port too high": replace(good, members=(replace(first, endpoint="127.0.0.1:65536"), *others)),
        "a space": replace(good, members=(replace(first, endpoint="a b:1"), *others)),
    }


def test_a_good_approval_alone_is_only_unneeded() -> None:
    run = shrunk()
    entry = said(run, encode(Approval(replace(proposal(run), threshold=2), 9)))
    assert codes(run, inserted(run, entry)) == ["key.unneeded"]


@pytest.mark.parametrize("name", bent_proposals(shrunk()))
def test_approval_of_a_committee_that_may_not_follow(name: str) -> None:
    run = shrunk()
    entry = said(run, encode(Approval(bent_proposals(run)[name], 9)))
    assert codes(run, inserted(run, entry)) == ["rotation.committee", "key.unneeded"]


def test_handover_that_its_member_has_not_signed() -> None:
    run = shrunk()
    digest = bytes(range(32))
    signature = run.signer(0, 1).sign_digest(run.house.committee.digest(digest))
    good = said(run, encode(Handover(digest, signature)))
    assert codes(run, inserted(run, good)) == ["key.unneeded"]
    for bad in (Handover(digest, flip(signature)), Handover(flip(digest), signature)):
        assert codes(run, inserted(run, said(run, encode(bad)))) == ["rotation.signature", "key.unneeded"]
    other = said(run, encode(Handover(digest, signature)), node=2)
    assert codes(run, inserted(run, other)) == ["rotation.signature", "key.unneeded"]


def test_message_about_the_next_epoch_that_says_nothing() -> None:
    run = shrunk()
    payload = encode(Approval(proposal(run), 9))
    for bad in (b"\x00", payload + b"\x00", payload[:-1]):
        assert codes(run, inserted(run, said(run, bad))) == ["rotation.message", "key.unneeded"]


def joiners_messages(run: Rotated) -> list[tuple[int, KeyMessage]]:
    n = run.committees[0].n
    found = [(at, one.message) for at, one in enumerate(log_of(run)) if isinstance(one, KeyEntry)]
    return [(at, message) for at, message in found if message.epoch == 0 and message.node >= n]


def test_joiner_speaks_before_it_is_to_join() -> None:
    run = shrunk()
    _, message = joiners_messages(run)[0]
    assert codes(run, inserted(run, KeyEntry(message), at=30)) == ["key.member", "key.unneeded"]


def test_joiner_speaks_under_another_joiners_number() -> None:
    run = grown()
    at, message = joiners_messages(run)[0]
    entries = log_of(run)
    other = run.committees[0].n + (message.node - run.committees[0].n + 1) % 4
    entries[at] = KeyEntry(replace(message, node=other))
    assert codes(run, entries[: at + 1]) == ["key.signature"]
    entries[at] = KeyEntry(replace(message, node=run.committees[0].n + 4))
    assert codes(run, entries[: at + 1]) == ["key.member"]


def test_joiner_approves_whom_it_likes() -> None:
    """Who is to join has a part in the resharing, and no say in who follows."""
    run = shrunk()
    at, _ = joiners_messages(run)[0]
    joiner = run.house.joiners[0]
    message = KeyMessage(0, named_topic(run, 0), 7, encode(Approval(proposal(run), 9)), NO_SIGNATURE)
    entry = KeyEntry(run.signed(message, joiner))
    assert codes(run, [*log_of(run)[: at + 1], entry])[:1] == ["rotation.message"]


# --- rotations that are called off --------------------------------------------------------------------------------
def test_the_log_of_a_rotation_that_waited_was_called_off_and_came_about_otherwise_passes() -> None:
    """One is agreed on while the key is generated, and called off while the key is shared anew; then another one."""
    house = make_deployment(4, seed=5, generated=True)
    cluster = Cluster(house, seed=1)
    wanted = house.next_committee(range(4), 2)
    cluster.approve(wanted, range(4))
    assert cluster.run(
        10_000, until=lambda c: all(core.keygen.phase == "deals" and core.keygen.number for core in c.cores)
    )
    cluster.approve(house.next_committee(range(4), 3), range(4))
    assert cluster.run(10_000, until=lambda c: all(core.keygen.running is None for core in c.cores))
    moved = tuple(replace(one, endpoint=f"[::1]:{9_000 + at}") for at, one in enumerate(wanted.members))
    cluster.approve(replace(wanted, members=moved), range(4))
    assert cluster.run(10_000, until=lambda c: all(host.epoch for host in c.hosts))
    cluster.run(500)
    run = Rotated(house, tuple(tuple(host.disk.log) for host in cluster.hosts), (house.committee,))
    audit = audited(run, log_of(run))
    assert not audit.recorder.findings
    assert [(one.sharing, one.attempt, one.committee.t) for one in audit.epochs.all] == [(0, 0, 3), (1, 1, 2)]
    key = audit.keys.report()
    assert key is not None and (key.attempts, key.refreshes) == (1, 0)


def test_a_joiner_that_says_nothing_is_named_by_its_number_and_is_no_finding() -> None:
    """Its index among those who are to follow is another one, and so may be its number in the next epoch."""
    house = make_deployment(4, seed=6, generated=True, joiners=1)
    cluster = Cluster(house, seed=1)
    assert cluster.run(5_000, until=lambda c: all(core.committee.sharings for core in c.cores))
    cluster.approve(house.next_committee((0, 1, 2, 4), 3), range(4))
    cluster.run(16_000, until=lambda c: any(fault.code == "dkg.silent" for _, fault in c.faults))
    cluster.run(1_000)
    run = Rotated(house, tuple(tuple(host.disk.log) for host in cluster.hosts), (house.committee,))
    audit = audited(run, log_of(run))
    key = audit.keys.report()
    assert not audit.recorder.findings and key is not None
    assert {(one.epoch, one.node, one.role, one.code) for one in key.culprits} == {(0, 4, "receiver", "dkg.silent")}
