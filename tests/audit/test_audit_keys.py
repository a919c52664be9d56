"""Key messages and key sessions in an audit: a log whose blocks generate the threshold key passes, and each thing wrong
with its key messages is a finding of its own code. What members did wrong in a session is told and is no finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from mpc_sequencer.audit import Report, verify_log
from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.keys import Keys
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.cli.audit import show_report
from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import Submit
from mpc_sequencer.core.transcript import BlockEntry, BundleEntry, EnvelopeEntry, KeyEntry, LogEntry
from mpc_sequencer.core.types import NO_SIGNATURE, KeyMessage, with_signature
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from tests.audit import log_samples
from tests.audit.audited_deployment import flip, replace
from tests.audit.log_files import write_log
from threshold.dkg import MessageType

Log = list[LogEntry]
NODE = 0


def with_log_keys(house: Deployment) -> Deployment:
    """The deployment with log keys that the tests hold."""
    members = tuple(
        replace(one, log_key=bytes(log_key(node).verify_key))
        for node, one in enumerate(house.committee.genesis.members)
    )
    committee = Committee(replace(house.committee.genesis, members=members))
    return type(house)(committee, house.signers, house.shares, house.inputs, house.traders, house.seed)


def log_key(node: int) -> SigningKey:
    return SigningKey(bytes((node + 1,)) * 32)


HOUSE = with_log_keys(make_deployment(4, seed=1, generated=True))


def file_committee() -> Committee:
    """What the committee file says: no key."""
    return Committee(HOUSE.committee.genesis)


def with_key(committee: Committee, cluster: Cluster) -> None:
    own = cluster.cores[NODE].committee
    sharing = own.sharing(0)
    committee.establish(own.sealing_key.public_key, sharing.verification_keys, name=sharing.name)


def trade(cluster: Cluster, house: Deployment) -> None:
    order = house.order(house.traders[0], cluster.now_ms)
    for node in range(4):
        cluster.request(node, Submit(1, (order,), True), client=1 + node)
    assert cluster.run(5_000, until=lambda c: all(core.execution.executed_height for core in c.cores))
    cluster.run(500)


@cache
def generated() -> tuple[LogEntry, ...]:
    """A log in which the key is generated and then an order opened."""
    house = make_deployment(4, seed=1, generated=True)
    house = type(house)(file_committee(), house.signers, (), house.inputs, house.traders, house.seed)
    cluster = Cluster(house, seed=2)
    assert cluster.run(60_000, until=lambda c: all(core.keygen.certificate for core in c.cores))
    with_key(house.committee, cluster)
    trade(cluster, house)
    return tuple(cluster.logs[NODE])


def audited(entries: Sequence[LogEntry], committee: Committee | None = None) -> Audit:
    return log_samples.audited(committee or file_committee(), entries)


def codes(entries: Sequence[LogEntry]) -> list[str]:
    return [finding.code for finding in audited(entries).recorder.findings]


def key_indexes() -> list[int]:
    return [index for index, one in enumerate(generated()) if isinstance(one, KeyEntry)]


def bent(change: Callable[[KeyMessage], KeyMessage], which: int = 3) -> Log:
    """The log with one of its key messages changed."""
    entries = list(generated())
    index = key_indexes()[which]
    entry = entries[index]
    assert isinstance(entry, KeyEntry)
    entries[index] = KeyEntry(change(entry.message))
    return entries


def signed(message: KeyMessage, node: int | None = None) -> KeyMessage:
    signer = HOUSE.signers[message.node if node is None else node]
    unsigned = replace(message, signature=NO_SIGNATURE)
    return with_signature(unsigned, signer.sign_digest(HOUSE.committee.digest(unsigned.struct_hash())))


# --- logs that pass -----------------------------------------------------------------------------------------------
def test_a_log_that_generates_its_key_passes_and_says_how() -> None:
    audit = audited(generated())
    assert not audit.recorder.findings
    key = audit.keys.report()
    assert key is not None and key.phase == "done" and not key.culprits
    assert (key.attempts, key.qualified) == (1, (0, 1, 2, 3))
    blocks = [index for index, one in enumerate(generated()) if isinstance(one, BlockEntry)]
    assert key.height is not None and blocks[key.height - 1] > max(key_indexes()) > blocks[key.height - 2]
    assert key.public_key == audit.committee.sealing_key.public_key
    assert audit.recorder.checks["key_messages"] == len(key_indexes()) == audit.recorder.checks["key_signatures"]
    assert audit.results.fills == 0 and audit.recorder.checks["openings"] == 1


def test_the_key_stays_within_the_audit() -> None:
    committee = file_committee()
    audited(generated(), committee)
    assert committee.keys is None


@pytest.mark.parametrize("messages", [0, 1, 5, 9, 19])
def test_a_log_that_ends_before_the_key_is_there_passes(messages: int) -> None:
    """Cut before the block that comes after so many key messages; their block is not there, so they are not judged."""
    end = key_indexes()[messages]
    while not isinstance(generated()[end], BlockEntry):
        end += 1
    audit = audited(generated()[:end])
    assert not audit.recorder.findings
    key = audit.keys.report()
    assert key is not None and key.height is None and key.public_key is None and key.qualified == ()
    assert key.attempts == (audit.blocks.last.height > 0) and key.phase not in ("done", "aborted")


def test_a_log_without_blocks_waits() -> None:
    audit = audited(generated()[:2])
    key = audit.keys.report()
    assert not audit.recorder.findings and key is not None
    assert (key.attempts, key.phase) == (0, "waiting")


def test_key_messages_in_any_order_before_their_block_make_the_same_key() -> None:
    entries = list(generated())
    indexes = key_indexes()
    together = [(a, b) for a, b in pairwise(indexes) if b == a + 1]
    assert together
    for a, b in together:
        entries[a], entries[b] = entries[b], entries[a]
    audit = audited(entries)
    assert not audit.recorder.findings and audit.keys.report() == audited(generated()).keys.report()


def test_key_messages_are_judged_and_run_no_session_where_the_committee_file_has_the_key() -> None:
    house = make_deployment(4, seed=1)
    cluster = Cluster(house)
    cluster.run(50)
    unsigned = KeyMessage(0, bytes(32), 2, b"\x01", NO_SIGNATURE)
    message = with_signature(unsigned, house.signers[2].sign_digest(house.committee.digest(unsigned.struct_hash())))
    for core in cluster.cores:  # no member that keeps to the rules lists what no session waits for
        core.keybook.add(message)
        core.keybook.note_listed(message.message_id(), core.own_lists.add(message.message_id()))
        core.arrivals += 1
    trade(cluster, house)
    audit = audited(cluster.logs[NODE], house.committee)
    assert not audit.recorder.findings and audit.keys.report() is None
    assert audit.recorder.checks["key_messages"] == 1
    assert not audit.recorder.checks["key_session_blocks"]


# --- refreshes ----------------------------------------------------------------------------------------------------
REFRESH_MS = limits.KEY_REFRESH_MS_MIN


@cache
def refreshed(generates: bool) -> tuple[Deployment, tuple[LogEntry, ...]]:
    """A log with orders opened by sharing 0 and by sharing 1."""
    house = make_deployment(4, seed=1, generated=generates, key_refresh_ms=REFRESH_MS)
    cluster = Cluster(house, seed=2)
    assert cluster.run(3_000, until=lambda c: all(core.committee.sharings for core in c.cores))
    if generates:
        with_key(house.committee, cluster)
    trade(cluster, house)
    assert cluster.run(15_000, until=lambda c: all(1 in core.committee.sharings for core in c.cores))
    trade(cluster, house)
    return house, tuple(cluster.logs[NODE])


@pytest.mark.parametrize("generates", [True, False])
def test_orders_are_opened_across_a_refresh_and_the_log_passes(generates: bool) -> None:
    house, entries = refreshed(generates)
    audit = audited(entries, Committee(house.committee.genesis))
    assert not audit.recorder.findings
    sharings = {one.bundle.sharing for one in entries if isinstance(one, BundleEntry) and one.bundle.shares}
    assert len(sharings) == 2
    report = audit.keys.report()
    assert report is None if not generates else report is not None and report.refreshes == 1
    assert audit.committee.keys is not None and set(audit.committee.sharings) == {0, 1}


@pytest.mark.parametrize("generates", [True, False])
def test_a_bundle_of_the_old_sharing_after_a_refresh_is_a_finding(generates: bool) -> None:
    house, entries = refreshed(generates)
    bundles = [one for one in entries if isinstance(one, BundleEntry) and one.bundle.shares]
    first, last = bundles[0].bundle, bundles[-1].bundle
    assert first.sharing != last.sharing
    unsigned = replace(last, sharing=first.sharing, signature=NO_SIGNATURE)
    signature = house.signers[last.node].sign_digest(house.committee.digest(unsigned.struct_hash()))
    bent = [replace(one, bundle=with_signature(unsigned, signature)) if one is bundles[-1] else one for one in entries]
    audit = audited(bent, Committee(house.committee.genesis))
    assert audit.recorder.findings[0].code == "bundle.sharing"


# --- findings -----------------------------------------------------------------------------------------------------
def moved(steps: int) -> Log:
    """The log with a key message behind its block, or before the block before."""
    entries = list(generated())
    entry = entries.pop(key_indexes()[6])
    blocks = [index for index, one in enumerate(entries) if isinstance(one, BlockEntry) and index >= key_indexes()[6]]
    earlier = [index for index, one in enumerate(entries) if isinstance(one, BlockEntry) and index < key_indexes()[6]]
    entries.insert(blocks[0] + 1 if steps > 0 else earlier[-1], entry)
    return entries


def added(message: KeyMessage) -> Log:
    """The log with one more key message."""
    entries = list(generated())
    entries.insert(key_indexes()[2], KeyEntry(message))
    return entries


def left_out() -> Log:
    entries = list(generated())
    del entries[key_indexes()[-1]]
    return entries


def unlisted() -> KeyMessage:
    """A message that its author signed and no block lifts."""
    entry = generated()[key_indexes()[0]]
    assert isinstance(entry, KeyEntry)
    return signed(replace(entry.message, payload=bytes((MessageType.ANSWER,))))


def early_envelope() -> Log:
    """The order's envelope before the key is there."""
    entries = list(generated())
    index = next(index for index, one in enumerate(entries) if isinstance(one, EnvelopeEntry))
    entries.insert(key_indexes()[-1], entries.pop(index))
    return entries


FINDINGS: dict[str, tuple[Callable[[], Log], list[str]]] = {
    "a signature bent": (lambda: bent(lambda one: replace(one, signature=flip(one.signature))), ["key.signature"]),
    "a signature of another member": (
        lambda: bent(lambda one: signed(one, (one.node + 1) % 4)),
        ["key.signature"],
    ),
    "a payload bent": (
        lambda: bent(lambda one: replace(one, payload=flip(one.payload))),
        ["key.signature", "block.body"],
    ),
    "another message in its place": (
        lambda: bent(lambda one: signed(replace(one, payload=flip(one.payload)))),
        ["block.body"],
    ),
    "a message missing": (left_out, ["block.body"]),
    "a message that no block lifts": (lambda: added(unlisted()), ["key.unneeded"]),
    "a message of nobody": (lambda: added(replace(unlisted(), node=4)), ["key.member", "key.unneeded"]),
    "a message of another epoch": (
        lambda: added(signed(replace(unlisted(), epoch=1))),
        ["key.member", "key.unneeded"],
    ),
    "a message behind its block": (lambda: moved(1), ["block.body"]),
    "a message before the block before": (lambda: moved(-1), ["key.unneeded", "block.body"]),
    "an envelope before the key": (early_envelope, ["envelope.early"]),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_each_fault_is_found(name: str) -> None:
    make, expected = FINDINGS[name]
    assert codes(make()) == expected


def test_a_session_without_a_ready_message_less_gives_no_key_and_no_order() -> None:
    """The lists without their last key messages' listings would be other lists: the log cannot hide one."""
    entries = [one for one in generated() if not isinstance(one, KeyEntry)]
    assert codes(entries) == ["block.body"]


def test_a_block_whose_time_goes_back_is_a_finding_and_no_crash_of_the_session() -> None:
    keys = Keys(Epochs(file_committee()), Recorder())
    keys.close_block(1, 5_000, [])
    keys.close_block(2, 4_000, [])
    report = keys.report()
    assert report is not None and report.phase == "keys"


# --- more attempts, culprits --------------------------------------------------------------------------------------
def test_attempts_that_fail_are_counted_and_their_culprits_named_once_each() -> None:
    """Blocks without key messages: attempt after attempt ends for want of session keys."""
    keys = Keys(Epochs(file_committee()), Recorder())
    for height in range(1, 31):
        keys.close_block(height, 1_000_000 + height * 2_500, [])
    report = keys.report()
    assert report is not None and report.public_key is None
    # The first window is full at height 4 and 10,000 ms after the first block; the others begin where one ended.
    assert report.attempts == 8 and report.phase == "keys"
    assert {(one.node, one.role, one.code, one.times) for one in report.culprits} == {
        (node, "receiver", "dkg.silent", 7) for node in range(4)
    }
    assert {(one.attempt, one.height) for one in report.culprits} == {(0, 5)}


def test_messages_of_other_sessions_count_nowhere() -> None:
    session = generated()[key_indexes()[0]]
    assert isinstance(session, KeyEntry)
    for name, heard in ((session.message.session, 1), (bytes(32), 0)):
        keys = Keys(Epochs(file_committee()), Recorder())
        message = signed(replace(session.message, session=name))
        keys.add(message)
        keys.close_block(1, 1_000, [message.message_id()])
        assert keys._session is not None and len(keys._session.heard) == heard


def test_a_message_that_breaks_the_rules_names_its_author_and_no_finding() -> None:
    session = generated()[key_indexes()[0]]
    assert isinstance(session, KeyEntry)
    recorder = Recorder()
    keys = Keys(Epochs(file_committee()), recorder)
    bad = signed(replace(session.message, payload=b"\x01" + bytes(97)))
    keys.add(bad)
    keys.close_block(1, 1_000, [bad.message_id()])
    report = keys.report()
    assert not recorder.findings and report is not None
    [culprit] = report.culprits
    assert (culprit.node, culprit.role, culprit.attempt, culprit.height) == (bad.node, "receiver", 0, 1)
    assert culprit.code.startswith("point.")


# --- reports ------------------------------------------------------------------------------------------------------
def written(folder: Path, entries: Sequence[LogEntry]) -> Report:
    house: Any = HOUSE
    write_log(folder, [encode(entry) for entry in entries], NODE, log_key(NODE), house)
    return verify_log(folder, file_committee())


def test_the_report_shows_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = written(tmp_path, generated())
    assert report.verdict == "pass"
    key = report.as_dict()["key"]
    assert set(key) == {"attempts", "phase", "qualified", "height", "public_key", "refreshes", "culprits"}
    assert (key["attempts"], key["qualified"], key["culprits"]) == (1, [0, 1, 2, 3], [])
    show_report(report)
    text = "".join(capsys.readouterr().out.split())
    assert key["public_key"] in text and f"atheight{key['height']}" in text


def test_the_report_of_a_log_without_a_key_yet_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = written(tmp_path, generated()[: key_indexes()[3]])
    assert report.as_dict()["key"]["public_key"] is None
    show_report(report)
    assert "not generated yet" in capsys.readouterr().out


def test_a_bundle_of_a_height_whose_sharing_is_forgotten_is_a_finding_and_no_crash() -> None:
    house, entries = refreshed(True)
    audit = audited(entries, Committee(house.committee.genesis))
    key = audit.committee.sealing_key.public_key
    for number in range(2, limits.SHARINGS_KEPT + 3):
        audit.committee.establish(key, (), number=number, from_height=1_000 + number, name=bytes((number,)) * 32)
    old = next(one for one in entries if isinstance(one, BundleEntry) and one.bundle.shares)
    audit.add(old)
    assert [one.code for one in audit.recorder.findings] == ["bundle.sharing"]
