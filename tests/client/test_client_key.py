"""The threshold key as a trader comes to know it: from any member, believed for q members' signatures alone.
Members are scripts behind the interface of the TLS link, as in the tests of the client.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from client_key_kit import Answering, Signers, certify, generated, status_reply, with_key
from key_forgeries import of_another_epoch, of_fewer, with_a_bent_result, with_a_bent_signature

from mpc_sequencer.client import KeyPending, MemberFault, inspect_envelope, load_key, make_label, save_key, tracker
from mpc_sequencer.client.committee_key import check_certificate, take_certificate
from mpc_sequencer.client.keysearch import describe_phase
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.sync import SyncSequencerClient
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import (
    ClientReply,
    ClientRequest,
    KeyQuery,
    KeyReply,
    Submit,
    SubmitReply,
    SubmitResult,
)
from mpc_sequencer.core.types import KeyCertificate

Script = Callable[[KeyQuery], KeyReply | None]


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
            client.take_key(1, with_a_bent_signature(keyless, member_signers))
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
    lie = of_fewer(keyless, member_signers)
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
    lies = [proving(bend(keyless, member_signers)) for bend in (of_fewer, with_a_bent_result, of_another_epoch)]
    async with clients(Members(keyless, [*lies, generating("answers")])) as client:
        with pytest.raises(KeyPending, match=r"member 1 sent .* \(signature\.signer\).* member 3 waits for answers"):
            await client.key(0.4)
        assert sorted(fault.node for fault in client.faults) == [0, 1, 2]
        assert client.committee.keys is None


async def test_where_every_member_asked_lies_the_first_is_named(keyless: Committee, member_signers: Signers) -> None:
    lie = proving(with_a_bent_signature(keyless, member_signers))
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
