"""Logs that lead through several epochs: every member's passes, an old member's and a joiner's too, and the report
names the epochs; each thing that is wrong with an epoch's end or the next one's beginning is a finding of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit import Report, verify_log
from mpc_sequencer.audit.chain import check_chain
from mpc_sequencer.audit.ordering import Ordering, batch_root
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.rotation import Approval, Handover
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.cli.audit import show_report
from mpc_sequencer.core import domains, limits, rotation
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.transcript import (
    BlockEntry,
    BundleEntry,
    EnvelopeEntry,
    FinalityEntry,
    GenesisEntry,
    KeyEntry,
    ListEntry,
    LogEntry,
    OpenedEntry,
    ReceiptEntry,
    SettlementEntry,
)
from mpc_sequencer.core.types import NO_SIGNATURE, BatchEntry, Bundle, Envelope, KeyMessage, NextCommittee
from mpc_sequencer.settlement.payloads import BATCH_RESULT, Input
from mpc_sequencer.sim import Cluster, make_deployment
from tests.audit.audited_epochs_kit import (
    Log,
    Rotated,
    audited,
    blocks,
    codes,
    first_block,
    grown,
    last_block,
    log_public_key,
    log_seed,
    received,
    shrunk,
)
from tests.audit.log_builder import flip, replace, write_log
from threshold import BundleContext, check, coin_share, prove_bundle, share

KEEPER = 0
REPLACED, STAYING, PASSING = 3, 1, 6
"""Of those of the first run: a member of the first committee only, one of all three, one of the second only."""
LEFT, JOINER = 1, 7
"""Of those of the second run: a member of the first committee only, one of the second only."""


def log_of(run: Rotated, person: int = KEEPER) -> Log:
    return list(run.logs[person])


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


def test_a_range_that_counts_no_height_goes_on_into_the_next_epoch_whose_members_sign_it() -> None:
    audit = audited(grown(), log_of(grown(), 1))
    end = audit.epochs.all[1].last_height
    assert end is not None
    [range_] = [one for one in audit.settlement.ranges.values() if one.first_height <= end < one.last_height]
    assert range_.settled and range_.epoch.number == 2
    assert [one for one in audit.settlement.ranges.values() if one.last_height == audit.epochs.all[0].last_height]


@pytest.mark.parametrize("person", [KEEPER, 7])
def test_a_log_that_ends_anywhere_near_the_end_of_an_epoch_passes(person: int) -> None:
    entries = log_of(shrunk(), person)
    last = last_block(entries, 0)
    before = [at for at, _ in blocks(entries) if at < last]
    for end in (before[-1] + 2, last + 1, last + 2, first_block(entries, 1), first_block(entries, 1) + 1):
        assert codes(shrunk(), entries[:end]) == []


# --- reports ------------------------------------------------------------------------------------------------------
def written(folder: Path, run: Rotated, entries: Log, person: int, keeper: int | None = None) -> Report:
    """The report on a log on disk, which ``keeper`` signs under the name of that key."""
    signing = log_seed(run.house.seed, person if keeper is None else keeper)
    house: Any = _named(run, bytes(signing.verify_key))
    write_log(folder, [encode(entry) for entry in entries], 0, signing, house)
    return verify_log(folder, run.file)


class _named:
    """What the log's writer needs of a deployment: the genesis id and the key that names the log."""

    def __init__(self, run: Rotated, log_key: bytes) -> None:
        self.committee = self
        self.genesis_id = run.house.committee.genesis_id
        self.genesis = self
        self.members = (self,)
        self.log_key = log_key


def test_the_report_lists_the_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = grown()
    report = written(tmp_path, run, log_of(run), KEEPER)
    assert report.verdict == "pass" and report.node == KEEPER
    said = report.as_dict()
    assert said["keeper"] == log_public_key(run.house.seed, KEEPER).hex()
    first, second, third = said["epochs"]
    assert (first["epoch"], first["first_height"], first["proven_by"], first["threshold"]) == (0, 1, None, 3)
    assert second["first_height"] == first["last_height"] + 1 and third["first_height"] == second["last_height"] + 1
    assert third["last_height"] is None and (second["threshold"], len(second["members"])) == (5, 7)
    assert (first["sharing"], second["sharing"], third["sharing"]) == (0, 1, 2)
    assert len(second["proven_by"]) >= 3 and len(third["proven_by"]) >= 5
    assert third["members"] == ["0x" + address.hex() for address in run.committees[2].addresses]
    show_report(report)
    text = "".join(capsys.readouterr().out.split())
    assert "thecommitteefile" in text and f"{first['first_height']}..{first['last_height']}" in text
    assert "5of7" in text and "ofepoch1" in text


def test_a_joiners_log_is_opened_by_the_key_in_its_first_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shrunk()
    report = written(tmp_path, run, log_of(run, 7), 7)
    assert (report.verdict, report.node, report.keeper) == ("pass", None, log_public_key(run.house.seed, 7))
    show_report(report)
    assert log_public_key(run.house.seed, 7).hex() in "".join(capsys.readouterr().out.split())


# --- attack: a log under a stranger's key -------------------------------------------------------------------------
def strangers_log(run: Rotated) -> Log:
    """A true log that somebody else passes off as that of a member, under a key of its own."""
    entries = [one for one in log_of(run, 7) if not isinstance(one, ReceiptEntry)]
    entries[0] = GenesisEntry(run.house.committee.genesis_id, log_public_key(run.house.seed, 99))
    return entries


def test_log_signed_by_who_never_was_a_member(tmp_path: Path) -> None:
    run = shrunk()
    assert [one.code for one in written(tmp_path, run, strangers_log(run), 99).findings] == ["log.keeper"]


def test_log_whose_name_is_of_another_key_than_its_first_entrys(tmp_path: Path) -> None:
    run = shrunk()
    report = written(tmp_path / "stranger", run, log_of(run, 7), 7, keeper=99)
    assert [one.code for one in report.findings] == ["log.origin"]
    report = written(tmp_path / "member", run, log_of(run, 7), 7, keeper=1)
    assert [one.code for one in report.findings] == ["log.genesis"]
    entries = log_of(run, 7)
    entries[0] = BundleEntry(next(one.bundle for one in entries if isinstance(one, BundleEntry)))
    report = written(tmp_path / "no genesis", run, entries, 7)
    assert [one.code for one in report.findings] == ["log.origin"]


def test_joiners_log_that_ends_before_anybody_wants_it() -> None:
    """As long as no rotation with it is agreed on a joiner is a stranger; then its log is one of the epoch's."""
    run = shrunk()
    entries = log_of(run, 7)
    at = [index for index, one in enumerate(entries) if is_of_topic(run, one)]
    assert codes(run, entries[: at[0]]) == ["log.keeper"]
    agreed = next(index for index, _ in blocks(entries) if index > at[4])
    assert audited(run, entries[: agreed + 2]).keys.rotation.target is not None
    assert codes(run, entries[: agreed + 2]) == []


def is_of_topic(run: Rotated, entry: LogEntry, epoch: int = 0) -> bool:
    return isinstance(entry, KeyEntry) and entry.message.session == named_topic(run, epoch)


def named_topic(run: Rotated, epoch: int) -> bytes:
    return domains.ROTATION_TOPIC(run.house.committee.genesis_id, epoch.to_bytes(8, "big"))


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
    return run.house.next_committee((0, 2, 5, 7), 3)


def bent_proposals(run: Rotated) -> dict[str, NextCommittee]:
    """Committees that may not follow."""
    good = proposal(run)
    first, *others = good.members
    return {
        "as many as may fail have the key": replace(good, threshold=1),
        "more are needed than may be there": replace(good, threshold=4),
        "three members": replace(good, members=good.members[:3], threshold=2),
        "another order": replace(good, members=good.members[::-1]),
        "a member twice": replace(good, members=(first, first, *others[:2])),
        "one log key for two": replace(good, members=(first, replace(others[0], log_key=first.log_key), *others[1:])),
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


# --- findings: the end of an epoch --------------------------------------------------------------------------------
def with_block(run: Rotated, at: int, block: Any, **finality: Any) -> Log:
    """The log up to a block in the place of the one that stands there, final by its members' word."""
    return [*log_of(run)[:at], BlockEntry(block), run.finality(block.header, **finality)]


def envelope_of(run: Rotated, order_id: bytes) -> Envelope:
    """The order as it stands in the log."""
    found = (one.envelope for one in log_of(run) if isinstance(one, EnvelopeEntry))
    return next(one for one in found if one.order_id() == order_id)


def dead_block(run: Rotated, order_ids: tuple[bytes, ...] = ()) -> Any:
    """A block that the old members have made after their epoch's last one, with these orders."""
    entries = log_of(run)
    last: Any = entries[last_block(entries, 0)]
    batch = tuple(BatchEntry(one, envelope_of(run, one).envelope_hash()) for one in order_ids)
    header = replace(
        last.block.header,
        height=last.block.header.height + 1,
        view=last.block.header.view + 1,
        parent_id=last.block.header.block_id(),
        batch_root=batch_root(batch),
    )
    return replace(last.block, header=header, batch=batch)


def waiting_at_the_end(run: Rotated) -> list[bytes]:
    entries = log_of(run)
    return list(audited(run, entries[: last_block(entries, 0) + 2]).ordering.queue)


def closing_block(run: Rotated) -> tuple[int, bytes]:
    """Where a block stands whose parent knows that the handover is agreed, and an order that it lifts."""
    audit = Audit(run.file)
    for at, entry in enumerate(log_of(run)):
        closing = audit.ordering.handover is not None
        audit.add(entry)
        if closing and isinstance(entry, BlockEntry) and audit.ordering.queue:
            return at, next(iter(audit.ordering.queue))
    raise AssertionError("no order waits while the epoch ends")


def test_batch_after_the_handover_is_agreed() -> None:
    run = shrunk()
    entries = log_of(run)
    at, order_id = closing_block(run)
    envelope = envelope_of(run, order_id)
    block: Any = entries[at]
    batch = (BatchEntry(order_id, envelope.envelope_hash()),)
    bent = replace(block.block, header=replace(block.block.header, batch_root=batch_root(batch)), batch=batch)
    assert codes(run, with_block(run, at, bent)) == ["block.handover"]


def test_block_of_an_epoch_after_its_last_one() -> None:
    run = shrunk()
    entries = log_of(run)
    end = last_block(entries, 0) + 2
    dead = dead_block(run)
    assert codes(run, [*entries[:end], BlockEntry(dead), run.finality(dead.header)]) == ["block.beyond"]


def test_epoch_that_ends_too_early_or_not_in_time() -> None:
    run = shrunk()
    entries = log_of(run)
    at = last_block(entries, 0)
    early: Any = entries[at]
    assert codes(run, with_block(run, at, replace(early.block, header=replace(early.block.header, epoch=1)))) == [
        "block.chain"
    ]
    first: Any = entries[first_block(entries, 1)]
    late = replace(first.block, header=replace(first.block.header, epoch=0))
    assert codes(run, with_block(run, first_block(entries, 1), late)) == ["block.beyond"]


FIRST_BLOCKS: dict[str, dict[str, Any]] = {
    "view 0": {"view": 0},
    "the epoch after": {"epoch": 2},
    "on a block that counts for nothing": {"parent_id": bytes(32)},
    "a height left out": {"height": 1_000},
}


@pytest.mark.parametrize("name", FIRST_BLOCKS)
def test_first_block_that_does_not_follow_the_last_one(name: str) -> None:
    run = shrunk()
    entries = log_of(run)
    at = first_block(entries, 1)
    block: Any = entries[at]
    bent = replace(block.block, header=replace(block.block.header, **FIRST_BLOCKS[name]))
    assert codes(run, [*entries[:at], BlockEntry(bent)]) == ["block.chain"]


def test_first_block_leaves_out_an_order_that_waited() -> None:
    run = shrunk()
    entries = log_of(run)
    at = first_block(entries, 1)
    block: Any = entries[at]
    assert {entry.order_id for entry in block.block.batch} >= set(waiting_at_the_end(run))
    batch = block.block.batch[1:]
    bent = replace(block.block, header=replace(block.block.header, batch_root=batch_root(batch)), batch=batch)
    assert codes(run, with_block(run, at, bent)) == ["block.skipped"]


def test_block_of_the_new_epoch_made_final_by_the_old_members() -> None:
    run = shrunk()
    at = first_block(log_of(run), 1)
    block: Any = log_of(run)[at]
    assert codes(run, with_block(run, at, block.block)) == []
    assert codes(run, with_block(run, at, block.block, epoch=0)) == ["finality.signature"]
    assert codes(run, with_block(run, at, block.block, signers=2)) == ["finality.quorum"]
    run = grown()
    at = first_block(log_of(run), 1)
    block = log_of(run)[at]
    assert codes(run, with_block(run, at, block.block, signers=run.committees[0].q)) == ["finality.quorum"]


def test_last_block_made_final_by_the_new_members() -> None:
    run = shrunk()
    at = last_block(log_of(run), 0)
    block: Any = log_of(run)[at]
    assert codes(run, with_block(run, at, block.block, epoch=1)) == ["finality.quorum"]
    assert codes(run, log_of(run)[: at + 1]) == []
    rest = [one for one in log_of(run)[at + 1 :] if not isinstance(one, FinalityEntry)]
    assert codes(run, [*log_of(run)[: at + 1], *rest])[0] == "finality.missing"


def test_last_block_final_by_a_block_that_counts_for_nothing() -> None:
    """Leaders propose blocks until the last one is final; the next epoch's block of that height is another one."""
    run = shrunk()
    entries = log_of(run)
    at = last_block(entries, 0)
    dead = dead_block(run).header
    certified = run.finality(dead)
    last: Any = entries[at]
    entries[at + 1] = FinalityEntry(last.block.header.block_id(), certified.certificate, (dead,))
    audit = audited(run, entries)
    assert not audit.recorder.findings and len(audit.blocks.refs) > dead.height


def test_bundle_whose_path_leads_over_the_last_block_before_the_log_has_it() -> None:
    """Whoever made an old height final by a block that counts for nothing says so in its bundle."""
    run = shrunk()
    entries = log_of(run)
    headers = [one.block.header for _, one in blocks(entries) if one.block.header.epoch == 0]
    dead = dead_block(run).header
    at = next(at for at, one in enumerate(entries) if isinstance(one, BundleEntry))
    bundle: Any = entries[at]
    path = (*headers[bundle.bundle.height :], dead)
    entries[at] = BundleEntry(
        run.signed(replace(bundle.bundle, certificate=run.finality(dead).certificate, path=path))
    )
    audit = audited(run, entries)
    assert not audit.recorder.findings and len(audit.blocks.refs) > dead.height


def test_list_of_the_epoch_before() -> None:
    run = shrunk()
    entries = log_of(run)
    end = last_block(entries, 0)
    old: Any = next(one for one in reversed(entries[:end]) if isinstance(one, ListEntry) and one.order_list.node == 2)
    later = replace(old.order_list, number=old.order_list.number + 1, prev_hash=old.order_list.struct_hash())
    assert codes(run, [*entries[: end + 2], ListEntry(run.signed(later))]) == ["list.member"]


# --- attack: handovers that the log does not lead to --------------------------------------------------------------
@cache
def misled() -> Rotated:
    """A committee whose members all sign their key over to a lower threshold than they have agreed on."""
    true_hash = rotation.handover_hash
    house = make_deployment(4, seed=5)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("rotation", "succession"):
            patch.setattr(
                f"mpc_sequencer.core.{module}.handover_hash",
                lambda epoch, target, sharing: true_hash(epoch, replace(target, threshold=1), sharing),
            )
        cluster = Cluster(house, seed=1)
        cluster.approve(house.next_committee(range(4), 2), range(4))
        assert cluster.run(15_000, until=lambda c: all(host.epoch for host in c.hosts))
        cluster.run(1_000)
    return Rotated(house, tuple(tuple(host.disk.log) for host in cluster.hosts), (house.committee,))


def test_q_members_hand_over_what_their_log_does_not_lead_to() -> None:
    audit = audited(misled(), misled().logs[0])
    assert [one.code for one in audit.recorder.findings] == ["rotation.handover"]
    assert len(audit.epochs.all) == 1


# --- attack: an order skipped at an epoch's end yet decrypted -----------------------------------------------------
def shares_of(run: Rotated, order_id: bytes, header: Any, node: int) -> Any:
    """A bundle with a member's true share of an order, for a block that its committee has certified."""
    key = run.house.committee.sealing_key
    envelope = envelope_of(run, order_id)
    checked = check(key, envelope.label, envelope.ciphertext, buckets=limits.SIZE_BUCKETS_BYTES)
    secret = run.house.share(node)
    assert secret is not None
    own = share(secret, checked)
    context = BundleContext(key.key_id, 0, header.block_id(), node + 1)
    proof = prove_bundle(secret, context, [checked.u_point], (own,), entropy=bytes(32)).encode()
    coin = coin_share(secret, context, entropy=bytes(32))
    certificate = run.finality(header).certificate
    unsigned = Bundle(
        0, header.height, header.block_id(), node, bytes(32), certificate, (), (own,), proof, coin, NO_SIGNATURE
    )
    return run.signed(unsigned)


def test_order_skipped_at_an_epochs_end_yet_decrypted() -> None:
    """The old members put an order into a block after their last one, certify it and give their shares: whoever has
    them reads the order before the new members batch it."""
    run = shrunk()
    entries = log_of(run)
    order_id = waiting_at_the_end(run)[0]
    dead = dead_block(run, (order_id,)).header
    bundles = [BundleEntry(shares_of(run, order_id, dead, node)) for node in range(run.committees[0].t)]
    end = last_block(entries, 0) + 2
    opened = next(one.opened for one in entries if isinstance(one, OpenedEntry) and one.opened.order_id == order_id)
    shown = [*entries[:end], *bundles, OpenedEntry(dead.height, opened)]
    assert codes(run, shown) == ["bundle.beyond"] * len(bundles) + ["opening.beyond"]
    # and as well where the new epoch has a block of that height by now
    later = first_block(entries, 1) + 2
    assert codes(run, [*entries[:later], *bundles]) == ["bundle.beyond"] * len(bundles)


def test_bundles_are_judged_by_the_members_and_the_sharing_of_their_height() -> None:
    run = shrunk()
    entries = log_of(run)
    old = [at for at, one in enumerate(entries) if isinstance(one, BundleEntry) and one.bundle.shares]
    first, last = old[0], old[-1]
    one, other = entries[first], entries[last]
    assert isinstance(one, BundleEntry) and isinstance(other, BundleEntry)
    assert (one.bundle.epoch, other.bundle.epoch) == (0, 1)
    assert codes(run, [*entries, one]) == []  # who comes late may log it late
    wrong = replace(one.bundle, sharing=other.bundle.sharing)
    assert codes(run, [*entries[:first], BundleEntry(run.signed(wrong))]) == ["bundle.sharing"]
    newer = replace(one.bundle, epoch=1, node=1)
    assert codes(run, [*entries, BundleEntry(run.signed(newer))]) == ["bundle.member"]
    older = replace(other.bundle, epoch=0)
    assert codes(run, [*entries[:last], BundleEntry(run.signed(older))]) == ["bundle.beyond"]
    stranger = replace(other.bundle, node=run.committees[1].n)
    signer = run.signer(0, run.committees[1].n)
    assert codes(run, [*entries[:last], BundleEntry(run.signed(stranger, signer))]) == ["bundle.member"]


# --- findings: settlements and receipts ---------------------------------------------------------------------------
def settlements(entries: Log) -> list[int]:
    return [at for at, one in enumerate(entries) if isinstance(one, SettlementEntry)]


def resettled(run: Rotated, at: int, epoch: int, signers: int, **changes: Any) -> Log:
    """The log up to a settlement that members of ``epoch``, as many as ``signers`` has for q, have signed for it."""
    entry: Any = replace(log_of(run)[at], **changes)
    digest = BATCH_RESULT(
        epoch, entry.first_height, entry.last_height, entry.prev_state_root, entry.state_root, entry.fills_root,
        entry.data_hash, entry.inputs_count, entry.inputs_hash, entry.deltas_hash,
    )  # fmt: skip
    digest = run.house.committee.digest(digest)
    committee = run.committees[signers]
    signed = tuple((node, run.signer(signers, node).sign_digest(digest)) for node in range(committee.q))
    return [*log_of(run)[:at], replace(entry, signatures=signed)]


def test_settlement_signed_for_or_by_another_epoch() -> None:
    run = shrunk()
    first, second, *_ = settlements(log_of(run))
    assert codes(run, resettled(run, first, 0, 0)) == codes(run, resettled(run, second, 1, 1)) == []
    assert codes(run, resettled(run, second, 0, 1)) == ["settlement.signature"]
    assert codes(run, resettled(run, second, 1, 0)) == ["settlement.signature"]
    assert codes(run, resettled(run, first, 0, 1)) == ["settlement.quorum"]


def test_settlement_that_spans_the_end_of_an_epoch() -> None:
    run = shrunk()
    first, second, *_ = settlements(log_of(run))
    later: Any = log_of(run)[second]
    whole = resettled(run, second, 1, 1, first_height=1)
    assert codes(run, whole) == ["settlement.range"]
    assert codes(run, resettled(run, first, 0, 0, last_height=later.last_height)) == ["settlement.range"]


def receipts(entries: Log, epoch: int) -> list[tuple[int, Any]]:
    found = [(at, one.receipt) for at, one in enumerate(entries) if isinstance(one, ReceiptEntry)]
    return [(at, receipt) for at, receipt in found if receipt.epoch == epoch]


@pytest.mark.parametrize("epoch", [0, 1])
def test_receipt_without_listing_in_its_epoch(epoch: int) -> None:
    run = shrunk()
    entries = log_of(run, 7 if epoch else KEEPER)
    (at, one), (_, other), *_ = receipts(entries, epoch)
    assert one.list_number != other.list_number
    entries[at] = ReceiptEntry(run.signed(replace(one, list_number=other.list_number)))
    assert codes(run, entries) == ["receipt.broken"]


def test_receipt_of_one_epoch_is_not_kept_by_a_list_of_another() -> None:
    """Numbers begin again: the list of that number in the next epoch holds other orders."""
    run = shrunk()
    entries = log_of(run)
    at, one = receipts(entries, 0)[0]
    node = run.committees[1].addresses.index(run.signer(0, one.node).address)
    entries[at] = ReceiptEntry(run.signed(replace(one, epoch=1, node=node)))
    entries.append(entries.pop(at))
    assert codes(run, entries) == ["receipt.broken"]


def test_receipt_of_an_epoch_in_which_its_member_has_no_place() -> None:
    run = shrunk()
    entries = log_of(run, 1)  # who left
    [(_, one), *_] = receipts(entries, 0)
    entries.append(ReceiptEntry(run.signed(replace(one, epoch=1))))
    assert codes(run, entries) == ["receipt.member"]
    entries[-1] = ReceiptEntry(run.signed(replace(one, epoch=2), run.signer(0, 1)))
    assert codes(run, entries) == ["receipt.member"]


def test_a_receipt_whose_list_no_block_of_its_epoch_includes_is_counted_and_no_finding() -> None:
    audit = audited(shrunk(), log_of(shrunk()))
    checks = audit.recorder.checks
    assert checks["receipts"] == checks["receipts_kept"] + checks["receipts_outlived"]
    assert checks["receipts_outlived"] and audit.epochs.current.number == 1


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


# --- the settlement contract --------------------------------------------------------------------------------------
class Contract:
    """A settlement contract that knows the signers of these epochs and nothing else."""

    def __init__(self, run: Rotated, signers: dict[int, tuple[list[bytes], int]]) -> None:
        self._checkpoint = run.house.committee.genesis.checkpoint
        self._inputs = [
            Input(at, one.kind, one.account, one.asset, int.from_bytes(one.amount, "big"), self._checkpoint.inputs_hash)
            for at, one in enumerate(run.house.inputs)
        ]
        self._signers = signers

    def block_number(self) -> int:
        return self._checkpoint.number

    def block_hash(self, block: int) -> bytes:
        return self._checkpoint.block_hash

    def signers(self, epoch: int = 0) -> tuple[list[bytes], int]:
        return self._signers.get(epoch, ([], 0))

    def inputs(self, up_to_block: int) -> list[Any]:
        return self._inputs

    def results(self, up_to_block: int | None = None) -> list[Any]:
        return []

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        return 0, 0


def test_the_contracts_signers_are_those_of_their_epochs() -> None:
    run = grown()
    true = {one.epoch: (list(one.addresses), one.q) for one in run.committees}
    unheard = {0: true[0]}
    swapped = {**true, 1: true[2]}
    no_first = {1: true[1], 2: true[2]}
    audit = audited(run, log_of(run))
    for signers, expected in ((true, []), (unheard, []), (swapped, ["chain.signers"]), (no_first, ["chain.signers"])):
        recorder = Recorder()
        check_chain(Contract(run, signers), audit.epochs, audit.settlement, recorder)
        assert [one.code for one in recorder.findings] == expected


# --- what stays and what goes -------------------------------------------------------------------------------------
def test_a_new_epoch_keeps_orders_and_charges_and_forgets_who_listed_and_reported() -> None:
    order_id, other = b"\x01" * 32, b"\x02" * 32
    ordering = Ordering(1, 3, {}, solid=4)
    ordering.listings_ms[other] = {1: 5}
    ordering.by_time.append((5, other, 1))
    ordering.live_listings[1] = 1
    ordering.lifted_until_ms[order_id] = 9
    ordering.queue[order_id] = (3, b"carry")
    ordering.places[order_id] = {0: (0, 1, 0)}
    ordering.places[other] = {1: (0, 1, 1)}
    ordering.charged_wei[b"sponsor"] = 7
    ordering.certified_height = 3
    ordering.reporters[3, b"result"] = {0, 1}
    ordering.hand_over([(0, b"h"), (1, b"h"), (1, b"h")])
    assert ordering.handover is None
    ordering.hand_over([(3, b"h")])
    assert ordering.handover == b"h" and ordering.ends() and ordering.batch(9, {}) == []
    ordering.begin_epoch(2, 5, None)
    kept = (ordering.queue, ordering.lifted_until_ms, ordering.charged_wei, ordering.certified_height)
    assert kept == ({order_id: (3, b"carry")}, {order_id: 9}, {b"sponsor": 7}, 3)
    assert not ordering.listings_ms and not ordering.by_time and not ordering.live_listings
    assert not ordering.reporters and not ordering.words and not ordering.places and not ordering.ends()
    assert (ordering.f, ordering.q, ordering.solid, ordering.handover) == (2, 5, None, None)
    ordering.begin_epoch(1, 3, 4)
    assert ordering.places == {order_id: {}}
