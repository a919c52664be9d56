"""The threshold key as a trader comes to know it: from any member, believed for q members' signatures alone; and the
key file. Members are scripts behind the interface of the TLS link, as in the tests of the client.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from client_key_kit import Answering, certify, generated, status_reply, with_key, without_key
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.client import KeyPending, MemberFault, inspect_envelope, load_key, make_label, save_key, tracker
from mpc_sequencer.client.committee_key import check_certificate, known_key, take_certificate
from mpc_sequencer.client.keysearch import describe_phase
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.sync import SyncSequencerClient
from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.keys import check_key_certificate
from mpc_sequencer.core.messages import (
    ClientReply,
    ClientRequest,
    KeyQuery,
    KeyReply,
    Submit,
    SubmitReply,
    SubmitResult,
)
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import KeyCertificate
from threshold import ThresholdError
from threshold.dkg import Result

Signers = tuple[Signer, ...]
Script = Callable[[KeyQuery], KeyReply | None]
Bend = Callable[[Committee, Signers], KeyCertificate]


@pytest.fixture
def certificate(keyless: Committee, member_signers: Signers) -> KeyCertificate:
    return certify(keyless, member_signers)


# --- the certificate ----------------------------------------------------------------------------------------------
def test_a_quorum_s_certificate_gives_a_key_that_orders_are_sealed_to(
    keyless: Committee, certificate: KeyCertificate, trader: Signer
) -> None:
    with pytest.raises(KeyPending):
        known_key(keyless)
    key = take_certificate(keyless, certificate)
    made = generated(keyless)
    assert (key.public_key, key.threshold, key.epoch) == (made.public_key, 3, 0)
    assert (key.qualified, key.signers) == ((0, 1, 2, 3), (0, 1, 2))
    label = make_label(keyless, trader.address, (1_000, 2_000))
    assert label.key_id == key.key_id == keyless.sealing_key.key_id
    held = list(keyless.sharing(0).verification_keys)
    assert held == [made.verification_keys[i] for i in range(1, 5)]


def test_all_members_signatures_and_a_later_attempt_prove_a_key_as_well(
    keyless: Committee, member_signers: Signers
) -> None:
    later = certify(keyless, member_signers, attempt=3, by=range(4))
    assert take_certificate(keyless, later).public_key == generated(keyless, 3).public_key


def _of_fewer(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, by=range(committee.q - 1))


def _of_one_member_twice(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, by=(0, 1, 1))


def _of_members_out_of_order(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, by=(1, 0, 2))


def _of_a_member_that_is_none(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, (*signers, signers[0]), by=(0, 1, 4))


def _with_a_bent_signature(committee: Committee, signers: Signers) -> KeyCertificate:
    good = certify(committee, signers)
    bent = bytearray(good.ready[1].signature)
    bent[40] ^= 1  # in s: the signature stays one, of somebody else
    ready = (good.ready[0], msgspec.structs.replace(good.ready[1], signature=bytes(bent)), good.ready[2])
    return msgspec.structs.replace(good, ready=ready)


def _with_another_member_s_signature(committee: Committee, signers: Signers) -> KeyCertificate:
    good = certify(committee, signers)
    ready = (*good.ready[:2], msgspec.structs.replace(good.ready[2], node=3))
    return msgspec.structs.replace(good, ready=ready)


def _with_a_bent_result(committee: Committee, signers: Signers) -> KeyCertificate:
    other = generated(committee, 1).public_key
    bent = replace(generated(committee), public_key=other).encode()
    return msgspec.structs.replace(certify(committee, signers), result=bent)


def _with_a_bent_verification_key(committee: Committee, signers: Signers) -> KeyCertificate:
    made = generated(committee)
    keys = {**made.verification_keys, 2: made.verification_keys[1]}
    bent = replace(made, verification_keys=keys).encode()
    return msgspec.structs.replace(certify(committee, signers), result=bent)


def _with_a_key_that_is_no_point(committee: Committee, signers: Signers) -> KeyCertificate:
    made = generated(committee)
    bent = replace(made, public_key=b"\x02" + bytes(31) + b"\x05").encode()  # 5^3 + 7 is no square
    return msgspec.structs.replace(certify(committee, signers), result=bent)


def _with_bytes_behind_the_result(committee: Committee, signers: Signers) -> KeyCertificate:
    good = certify(committee, signers)
    return msgspec.structs.replace(good, result=good.result + b"\0")


def _of_another_epoch(committee: Committee, signers: Signers) -> KeyCertificate:
    return msgspec.structs.replace(certify(committee, signers), epoch=1)


def _under_another_session(committee: Committee, signers: Signers) -> KeyCertificate:
    """The result of one session, passed off as that of another."""
    return msgspec.structs.replace(certify(committee, signers), attempt=1)


def _of_another_sharing(committee: Committee, signers: Signers) -> KeyCertificate:
    return msgspec.structs.replace(certify(committee, signers), sharing=1)


def _of_a_deployment_on_another_chain(committee: Committee, signers: Signers) -> KeyCertificate:
    other = Committee(msgspec.structs.replace(committee.genesis, chain_id=1))
    return certify(other, signers)


def _of_a_deployment_of_the_same_members_and_contract(committee: Committee, signers: Signers) -> KeyCertificate:
    """Only the committee file differs: the signatures alone do not tell the two apart."""
    other = Committee(msgspec.structs.replace(committee.genesis, time_ms=1))
    return certify(other, signers)


def _at_another_threshold(committee: Committee, signers: Signers) -> KeyCertificate:
    other = Committee(msgspec.structs.replace(committee.genesis, threshold=2))
    return certify(other, signers)


def _signed_at_another_threshold(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, result=replace(generated(committee), threshold=2).encode())


def _signed_without_a_member_s_verification_key(committee: Committee, signers: Signers) -> KeyCertificate:
    made = generated(committee)
    keys = {index: key for index, key in made.verification_keys.items() if index != 4}
    return certify(committee, signers, result=replace(made, verification_keys=keys).encode())


NEAR_MISSES: Sequence[tuple[Bend, str]] = (
    (_of_fewer, "key.quorum"),
    (_of_one_member_twice, "key.quorum"),
    (_of_members_out_of_order, "key.quorum"),
    (_of_a_member_that_is_none, "member.unknown"),
    (_with_a_bent_signature, "signature.signer"),
    (_with_another_member_s_signature, "signature.signer"),
    (_with_a_bent_result, "signature.signer"),
    (_with_a_bent_verification_key, "signature.signer"),
    (_with_a_key_that_is_no_point, "point.off_curve"),
    (_with_bytes_behind_the_result, "dkg.length"),
    (_of_another_epoch, "epoch.unknown"),
    (_under_another_session, "key.result"),
    (_of_another_sharing, "key.result"),
    (_of_a_deployment_on_another_chain, "key.result"),
    (_of_a_deployment_of_the_same_members_and_contract, "key.result"),
    (_at_another_threshold, "key.result"),
    (_signed_at_another_threshold, "key.result"),
    (_signed_without_a_member_s_verification_key, "key.result"),
)


@pytest.mark.parametrize(("bend", "code"), NEAR_MISSES, ids=lambda value: getattr(value, "__name__", value).strip("_"))
def test_a_near_miss_of_a_certificate_gives_no_key(
    keyless: Committee, member_signers: Signers, bend: Bend, code: str
) -> None:
    false = bend(keyless, member_signers)
    with pytest.raises((ProtocolError, ThresholdError)) as refusal:
        take_certificate(keyless, false)
    assert getattr(refusal.value, "code") == code  # noqa: B009 - two families share the attribute, not a base
    assert keyless.keys is None
    with pytest.raises(KeyPending):
        make_label(keyless, bytes(20), (1_000, 2_000))


def test_a_session_that_signers_name_beside_another_s_result_gives_no_key(
    keyless: Committee, member_signers: Signers
) -> None:
    """q signatures over one session's name and another session's result: the result is not that session's."""
    mixed = certify(keyless, member_signers, attempt=1, result=generated(keyless).encode())
    with pytest.raises(ProtocolError) as refusal:
        check_key_certificate(keyless, mixed)
    assert refusal.value.code == "key.result"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_bit_of_a_certificate_can_be_changed(data: st.DataObject, devnet: Any, member_signers: Signers) -> None:
    committee = Committee(without_key(devnet.file.genesis))
    good = certify(committee, member_signers)
    bent = bytearray(good.result)
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((ProtocolError, ThresholdError)):
        take_certificate(committee, msgspec.structs.replace(good, result=bytes(bent)))
    assert committee.keys is None


# --- asking members -----------------------------------------------------------------------------------------------
class Members(Answering):
    """Four scripted members that are asked for the key, and take orders."""

    def __init__(self, committee: Committee, scripts: Sequence[Script], make_receipt: Any = None) -> None:
        super().__init__(self._answers)
        self.committee = committee
        self.scripts = list(scripts)
        self.asked = [0] * len(scripts)
        self.refusing: dict[int, int] = {}
        """Submissions that a member still refuses for want of the key."""
        self._make_receipt = make_receipt

    def _answers(self, node: int, request: ClientRequest) -> list[ClientReply]:
        if isinstance(request, KeyQuery):
            self.asked[node] += 1
            reply = self.scripts[node](request)
            return [] if reply is None else [reply]
        if not isinstance(request, Submit):
            return []
        ids = [envelope.order_id() for envelope in request.envelopes]
        if self.refusing.get(node, 0):
            self.refusing[node] -= 1
            row = ("key.pending", "threshold key", "none yet", "a key: its generation goes on")
            return [SubmitReply(request.request, tuple(SubmitResult(i, None, *row) for i in ids))]
        rows = tuple(SubmitResult(i, self._make_receipt(i, node), "", "", "", "") for i in ids)
        return [SubmitReply(request.request, rows)]


def proving(certificate: KeyCertificate) -> Script:
    return lambda query: KeyReply(query.request, certificate, "done")


def generating(phase: str) -> Script:
    return lambda query: KeyReply(query.request, None, phase)


def silent(_: KeyQuery) -> None:
    return None


@asynccontextmanager
async def clients(members: Members, **options: Any) -> AsyncIterator[SequencerClient]:
    async with open_sequencer(members.committee, members.connector, **options) as client:
        await client.wait_connected(len(client.nodes), 5)
        yield client


async def test_a_client_learns_the_key_on_its_own_committee_and_leaves_the_caller_s(
    keyless: Committee, certificate: KeyCertificate
) -> None:
    members = Members(keyless, [proving(certificate)] * 4)
    async with clients(members) as client:
        key = await client.key(5)
        assert key.public_key == client.committee.sealing_key.public_key == generated(keyless).public_key
        asked = list(members.asked)
        assert await client.key(5) == key and members.asked == asked, "a known key is not asked for again"
    assert keyless.keys is None and client.committee is not keyless
    assert not client.faults


@pytest.mark.parametrize("members", [4, 1])
async def test_a_certificate_s_signatures_are_verified_once_whoever_shows_it(
    keyless: Committee, certificate: KeyCertificate, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    verified: list[int] = []
    honest = Committee.check_signature

    def check_signature(self: Committee, node: int, *rest: Any) -> None:
        verified.append(node)
        honest(self, node, *rest)

    monkeypatch.setattr(Committee, "check_signature", check_signature)
    async with clients(Members(keyless, [proving(certificate)] * 4), nodes=range(members)) as client:
        assert (await client.key(5)).certificate == certificate
        assert [client.take_key(node, certificate).signers for node in client.nodes] == [(0, 1, 2)] * members
    assert verified == [0, 1, 2]


async def test_a_certificate_is_no_proof_of_another_that_differs_in_a_signature(
    keyless: Committee, member_signers: Signers, certificate: KeyCertificate
) -> None:
    async with clients(Members(keyless, [silent] * 4)) as client:
        client.check_key(0, certificate)
        with pytest.raises(MemberFault) as fault:
            client.take_key(1, _with_a_bent_signature(keyless, member_signers))
        assert fault.value.refusal.code == "signature.signer" and client.committee.keys is None


def test_reading_a_key_file_verifies_its_signatures_once(
    keyless: Committee, certificate: KeyCertificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.json"
    save_key(path, keyless, certificate)
    verified: list[int] = []
    monkeypatch.setattr(Committee, "check_signature", lambda self, node, *rest: verified.append(node))
    load_key(path, keyless)
    assert verified == [0, 1, 2]


async def test_a_false_certificate_of_the_first_member_is_refused_and_named_and_another_member_is_believed(
    keyless: Committee, member_signers: Signers, certificate: KeyCertificate
) -> None:
    lie = _of_fewer(keyless, member_signers)
    slow = time.monotonic() + 0.3
    late = lambda query: KeyReply(query.request, certificate if time.monotonic() > slow else None, "ready")  # noqa: E731
    members = Members(keyless, [proving(lie), late, proving(certificate), silent])
    async with clients(members) as client:
        key = await client.key(5)
        assert key.certificate == certificate
        assert [(fault.node, fault.refusal.code) for fault in client.faults] == [(0, "key.quorum")]
        assert members.asked[0] == 1, "who lied about the key is not asked again"


async def test_a_key_that_one_member_alone_proves_is_not_believed(
    keyless: Committee, member_signers: Signers, certificate: KeyCertificate
) -> None:
    """q members were ready for the key of a void attempt too, where the last word came too late for the log."""
    void = certify(keyless, member_signers, attempt=1)
    assert check_certificate(keyless, void).public_key != check_certificate(keyless, certificate).public_key
    async with clients(Members(keyless, [proving(void), generating("deals"), silent, silent])) as client:
        with pytest.raises(KeyPending, match="member 0 proves the key"):
            await client.key(0.6)
        assert client.committee.keys is None
    async with clients(Members(keyless, [proving(void), proving(certificate), proving(certificate), silent])) as client:
        assert (await client.key(5)).certificate == certificate


async def test_lies_of_all_members_but_one_do_not_make_a_key(keyless: Committee, member_signers: Signers) -> None:
    lies = [proving(bend(keyless, member_signers)) for bend in (_of_fewer, _with_a_bent_result, _of_another_epoch)]
    async with clients(Members(keyless, [*lies, generating("answers")])) as client:
        with pytest.raises(KeyPending, match=r"member 1 sent .* \(signature\.signer\).* member 3 waits for answers"):
            await client.key(0.4)
        assert sorted(fault.node for fault in client.faults) == [0, 1, 2]
        assert client.committee.keys is None


async def test_where_every_member_asked_lies_the_first_is_named(keyless: Committee, member_signers: Signers) -> None:
    lie = proving(_with_a_bent_signature(keyless, member_signers))
    async with clients(Members(keyless, [lie] * 4), nodes=[2]) as client:
        with pytest.raises(MemberFault) as fault:
            await client.key(5)
        assert fault.value.node == 2


async def test_the_client_waits_through_the_phases_and_tells_each_once(
    keyless: Committee, certificate: KeyCertificate
) -> None:
    phases = iter(["waiting", "keys", "keys", "deals"])

    def script(query: KeyQuery) -> KeyReply:
        phase = next(phases, None)
        return KeyReply(query.request, certificate if phase is None else None, phase or "done")

    told: list[tuple[int, str]] = []
    async with clients(Members(keyless, [silent, script, proving(certificate), silent])) as client:
        await client.key(10, lambda node, phase: told.append((node, phase)))
    assert told == [(1, "waiting"), (1, "keys"), (1, "deals")]


async def test_what_a_member_makes_up_as_a_phase_is_shown_to_nobody(keyless: Committee) -> None:
    told: list[tuple[int, str]] = []
    async with clients(Members(keyless, [generating("\x1b[2Jdone")] * 4), nodes=[0]) as client:
        with pytest.raises(KeyPending) as pending:
            await client.key(0.3, lambda node, phase: told.append((node, phase)))
    assert told == [(0, "a phase that nobody knows")]
    assert "\x1b" not in pending.value.cause + describe_phase(status_reply(0, 1, key_phase="\x1b[2J"))


async def test_a_committee_file_with_a_key_is_believed_without_a_question(committee: Committee) -> None:
    members = Members(committee, [silent] * 4)
    async with clients(members) as client:
        key = await client.key(1)
        assert client.committee is committee
        assert (key.public_key, key.certificate) == (committee.genesis.public_key, None)
    assert members.asked == [0, 0, 0, 0]


async def test_a_key_that_the_caller_brings_is_used_without_a_question(
    keyless: Committee, certificate: KeyCertificate
) -> None:
    take_certificate(keyless, certificate)
    members = Members(keyless, [silent] * 4)
    async with clients(members) as client:
        assert (await client.key(1)).key_id == keyless.sealing_key.key_id
    assert members.asked == [0, 0, 0, 0]


def test_the_blocking_client_learns_the_key_too(keyless: Committee, certificate: KeyCertificate) -> None:
    members = Members(keyless, [generating("deals"), proving(certificate), proving(certificate), silent])
    with SyncSequencerClient(keyless, members.connector) as client:
        client.wait_connected(4)
        with pytest.raises(KeyPending):
            make_label(client.committee, bytes(20), (1_000, 2_000))
        key = client.key(5)
        assert make_label(client.committee, bytes(20), (1_000, 2_000)).key_id == key.key_id
    assert keyless.keys is None


# --- orders before the key ----------------------------------------------------------------------------------------
async def test_sealing_and_submitting_before_the_key_say_what_to_do(
    keyless: Committee, devnet: Any, sealed_for: Callable[[Committee], Any]
) -> None:
    sealed = sealed_for(Committee(with_key(devnet.file.genesis)))
    with pytest.raises(KeyPending) as pending:
        sealed_for(keyless)
    assert "SequencerClient.key" in pending.value.hint and "load_key" in pending.value.hint
    async with clients(Members(keyless, [silent] * 4)) as client:
        with pytest.raises(KeyPending):
            await client.submit([sealed.envelope])
        assert not client.tracker.orders


async def test_a_member_that_does_not_know_the_key_yet_gets_the_order_again(
    keyless: Committee,
    certificate: KeyCertificate,
    sealed_for: Callable[[Committee], Any],
    make_receipt: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mpc_sequencer.client import sequencer

    monkeypatch.setattr(sequencer, "RESEND_TICK_S", 0.02)
    monkeypatch.setattr(tracker, "_RESEND_NS", 50_000_000)
    members = Members(keyless, [proving(certificate)] * 4, make_receipt)
    members.refusing = dict.fromkeys(range(4), 2)
    async with clients(members) as client:
        await client.key(5)
        sealed = sealed_for(client.committee)
        (submission,) = await client.submit([sealed.envelope])
        assert {refusal.code for refusal in submission.refusals.values()} == {"key.pending"}
        record = client.tracker.orders[sealed.order_id]
        assert not record.refused and record.state == "submitted"
        with trio.fail_after(5):
            while len(record.receipts) < 4:
                await trio.sleep(0.01)
        assert not record.refusals


def test_an_inspection_without_the_key_skips_what_needs_it(
    keyless: Committee, devnet: Any, sealed_for: Callable[[Committee], Any]
) -> None:
    data = encode(sealed_for(Committee(with_key(devnet.file.genesis))).envelope)
    inspection = inspect_envelope(keyless, data, time.time_ns() // 1_000_000)
    skipped = [check.name for check in inspection.checks if check.verdict == "skipped"]
    assert skipped == ["deployment", "sealing proof"]
    assert inspection.first_refusal is None and not inspection.valid


# --- the key file -------------------------------------------------------------------------------------------------
@pytest.fixture
def key_file(tmp_path: Path, keyless: Committee, certificate: KeyCertificate) -> Path:
    save_key(tmp_path / "key.json", keyless, certificate)
    return tmp_path / "key.json"


def test_a_key_file_gives_the_same_key_and_is_public(
    key_file: Path, keyless: Committee, certificate: KeyCertificate
) -> None:
    key = load_key(key_file, keyless)
    assert key.certificate == certificate and key.key_id == keyless.sealing_key.key_id
    assert key_file.stat().st_mode & 0o777 == 0o644
    assert key_file.stat().st_size < 2_000


def _edit(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: document | changes


def _recoded(change: Callable[[KeyCertificate], KeyCertificate]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same file with another certificate."""

    def edit(document: dict[str, Any]) -> dict[str, Any]:
        held: KeyCertificate = decode(KeyCertificate, bytes.fromhex(document["certificate"][2:]))
        return document | {"certificate": "0x" + encode(change(held)).hex()}

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_edit(version=3), "version is 3, expected 1"),
        (_edit(version=True), "version is True"),
        (_edit(extra=1), "is not an object of exactly"),
        (lambda d: {k: v for k, v in d.items() if k != "key_id"}, "is not an object of exactly"),
        (lambda d: [d], "is not an object of exactly"),
        (_edit(genesis="0x" + "00" * 32), "another deployment"),
        (_edit(genesis="00"), "genesis is '00', expected 0x"),
        (_edit(genesis=0), "genesis is 0, expected 0x"),
        (_edit(key_id="0x" + "00" * 32), "which the file proves"),
        (lambda d: d | {"certificate": d["certificate"].upper()}, "expected 0x and lower-case hex"),
        (lambda d: d | {"certificate": d["certificate"][:-2]}, "wire.malformed"),
        (lambda d: d | {"certificate": d["certificate"] + "00"}, "wire.malformed"),
        (_recoded(lambda c: msgspec.structs.replace(c, epoch=1)), "epoch.unknown"),
        (_recoded(lambda c: msgspec.structs.replace(c, result=c.result[:-1])), "dkg.length"),
        (_recoded(lambda c: msgspec.structs.replace(c, ready=c.ready[:2])), "key.quorum"),
        (_recoded(lambda c: msgspec.structs.replace(c, ready=(*c.ready, c.ready[0]))), "key.quorum"),
        (_recoded(lambda c: msgspec.structs.replace(c, ready=())), "wire.bound"),
    ],
)
def test_a_changed_key_file_is_refused_with_what_is_wrong(
    key_file: Path, keyless: Committee, edit: Callable[[Any], Any], words: str
) -> None:
    key_file.write_text(json.dumps(edit(json.loads(key_file.read_text()))))
    with pytest.raises(ConfigError) as error:
        load_key(key_file, keyless)
    assert words in error.value.cause and "mpcseq committee key" in error.value.hint
    assert keyless.keys is None


def test_a_key_file_with_a_field_twice_is_refused(key_file: Path, keyless: Committee) -> None:
    key_file.write_text(key_file.read_text().replace('"version": 1,', '"version": 1, "version": 1,'))
    with pytest.raises(ConfigError, match="version is there twice"):
        load_key(key_file, keyless)


def test_no_key_file_is_written_of_a_certificate_that_proves_nothing(
    tmp_path: Path, keyless: Committee, member_signers: Signers
) -> None:
    with pytest.raises(ProtocolError):
        save_key(tmp_path / "key.json", keyless, _of_fewer(keyless, member_signers))
    assert not (tmp_path / "key.json").exists()


def test_a_committee_file_with_a_key_takes_no_key_file(key_file: Path, committee: Committee) -> None:
    before = committee.keys
    with pytest.raises(ConfigError, match="the committee file has the threshold key itself"):
        load_key(key_file, committee)
    assert committee.keys is before


def test_the_session_of_a_committee_file_hashes_all_of_it(keyless: Committee) -> None:
    """What the certificate's binding to the committee file rests on."""
    other = Committee(msgspec.structs.replace(keyless.genesis, time_ms=1))
    assert generated(keyless).session == domains.KEY_SESSION(keyless.genesis_id, bytes(8), bytes(8))
    assert generated(other).session != generated(keyless).session
    assert Result.decode(generated(keyless).encode()).session == generated(keyless).session
