"""Logs of a committee with a dark market: every honest member's passes and says what became of its batches and who
lied; bent ones are found, each under its code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit import execution, verify_log
from mpc_sequencer.audit.dark_keys import KeyAgreement
from mpc_sequencer.audit.dark_report import DarkCulprit, DarkMarketReport, DarkReport, dark_report
from mpc_sequencer.audit.dark_state import DarkEnds
from mpc_sequencer.audit.report import CODES
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.cli.audit import show_report
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.transcript import DarkEntry, KeyEntry, LogEntry, ResultEntry
from mpc_sequencer.dark import signed
from mpc_sequencer.dark.messages import ReportSaid, ResultSaid, decode_word, encode_word
from mpc_sequencer.dark.signed import SignedSaid, SignedTranscript
from tests.audit.audited_dark_kit import LIAR, MARKET, darkened, transcripts
from tests.audit.audited_deployment import flip, replace
from tests.audit.audited_epochs_kit import Log, audited, codes, log_of, log_seed
from tests.audit.log_files import write_log

JOINER = 5
SETTLED, VOID, LAST = 0, 1, 2
"""The batches that were computed, by their transcript in the log: the last one in the second epoch."""


def reported(audit: Audit) -> DarkReport:
    assert audit.execution.dark is not None and audit.dark_runs is not None
    return dark_report(audit.execution.dark, audit.dark_runs)


def only_market(report: DarkReport) -> DarkMarketReport:
    [market] = report.markets
    return market


def log_of_first_batch() -> Log:
    """Up to the second batch's transcript."""
    entries = log_of(darkened())
    return entries[: transcripts(entries)[VOID]]


# --- logs that pass -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("person", [0, 1, 2, 3])
def test_every_honest_members_log_passes_and_names_the_liar(person: int) -> None:
    audit = audited(darkened(), log_of(darkened(), person))
    assert not audit.recorder.findings
    report = reported(audit)
    market = only_market(report)
    assert (market.settled, market.void, market.ended_with_epoch) == (2, 1, 1)
    assert (market.computed, market.replayed, market.without_transcript) == (3, 3, 0)
    ends = {"filled": 5, "unfilled": 1, "dark_bad": 2, "dark_rejected": 1, "dark_aborted": 2, "dark_epoch": 1}
    assert market.orders == ends
    assert report.culprits == tuple(DarkCulprit(0, MARKET, batch, LIAR, "lie", 1) for batch in (1, 2))
    assert [(one.epoch, one.attempts, one.phase) for one in report.keys] == [(0, 1, "done"), (1, 1, "done")]


def test_a_log_without_transcripts_of_an_epoch_says_so_and_passes() -> None:
    audit = audited(darkened(), log_of(darkened(), JOINER))
    assert not audit.recorder.findings
    market = only_market(reported(audit))
    assert (market.computed, market.replayed, market.without_transcript) == (3, 1, 2)
    assert not reported(audit).culprits


def test_a_log_that_ends_anywhere_passes() -> None:
    entries = log_of(darkened())
    [at, *_] = transcripts(entries)
    for end in (at - 20, at, at + 1, at + 5):
        assert codes(darkened(), entries[:end]) == []


def test_a_report_is_plain_values() -> None:
    values = reported(audited(darkened(), log_of(darkened()))).as_dict()
    assert values["markets"][0]["without_transcript"] == 0
    assert [one["fault"] for one in values["culprits"]] == ["lie", "lie"]
    assert values["keys"][0]["keys"] == darkened_keys().hex()


def test_a_report_shows_dark_markets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = darkened()
    write_log(tmp_path, [encode(one) for one in log_of_first_batch()], 0, log_seed(run.house.seed, 0), run.house)
    report = verify_log(tmp_path, run.file)
    assert report.verdict == "pass" and report.dark is not None
    assert any("dark batch" in sentence for sentence in report.not_provable)
    show_report(report)
    text = "".join(capsys.readouterr().out.split())
    assert "darkmarkets" in text and "filled:3" in text and "0/411lie1" in text


def darkened_keys() -> bytes:
    """What the first epoch's members agreed on, by an order that was taken."""
    audit = audited(darkened(), log_of(darkened()))
    assert audit.execution.dark is not None
    return audit.execution.dark.agreements[0][1].keys_id


# --- words --------------------------------------------------------------------------------------------------------
def words(entries: Log, kind: type) -> list[tuple[int, KeyEntry]]:
    """The first epoch's words of a kind, with their places."""
    topic = darkened().file.dark_topic
    named = [(at, one) for at, one in enumerate(entries) if isinstance(one, KeyEntry)]
    named = [(at, one) for at, one in named if one.message.session == topic]
    return [(at, one) for at, one in named if isinstance(decode_word(one.message.payload), kind)]


def test_a_word_removed_from_the_log_is_found() -> None:
    entries = log_of(darkened())
    at, _ = words(entries, ReportSaid)[0]
    assert codes(darkened(), [*entries[:at], *entries[at + 1 :]])[0] == "block.body"


def other_outcome(entries: Log, resigned: bool) -> Log:
    """The log with another outcome in a member's word."""
    at, entry = words(entries, ResultSaid)[0]
    word = decode_word(entry.message.payload)
    assert isinstance(word, ResultSaid) and word.outcome is not None
    bent = replace(word, outcome=replace(word.outcome, volume_lots=word.outcome.volume_lots + 1))
    message = replace(entry.message, payload=encode_word(bent))
    if resigned:
        message = darkened().signed(message)
    return [*entries[:at], KeyEntry(message), *entries[at + 1 :]]


def test_an_outcome_changed_in_a_members_word_is_found() -> None:
    assert "key.signature" in codes(darkened(), other_outcome(log_of(darkened()), resigned=False))
    found = codes(darkened(), other_outcome(log_of(darkened()), resigned=True))
    assert "key.signature" not in found and "block.body" in found


# --- results ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("field", ["state_root", "fills_root"])
def test_a_dark_height_with_another_root_is_found(field: str) -> None:
    entries = log_of(darkened())
    last_word = words(entries, ResultSaid)[-1][0]
    at = next(at for at, one in enumerate(entries) if at > last_word and isinstance(one, ResultEntry))
    bent = replace(entries[at], **{field: flip(getattr(entries[at], field))})
    assert codes(darkened(), [*entries[:at], bent, *entries[at + 1 :]]) == [f"result.{field}"]


def audited_otherwise(patch: pytest.MonkeyPatch, target: object, name: str, bend: Callable[..., Any]) -> list[str]:
    """What is found in an honest log by an auditor whose rule differs from the members': as if theirs did."""
    own = getattr(target, name)
    patch.setattr(target, name, lambda *terms: bend(own, *terms))
    return list(dict.fromkeys(codes(darkened(), log_of_first_batch())))


def test_other_keys_than_the_members_agreed_on_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = audited_otherwise(monkeypatch, KeyAgreement, "_make_id", lambda own, keys: flip(own(keys)))
    assert found[:2] == ["result.state_root", "result.certified"]


def test_a_fill_moved_to_another_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two orders that did not trade alike change places."""

    def moved(settle: Callable[..., None], height: Any, market: Any, ended: DarkEnds) -> None:
        if ended.price_ticks is not None:
            traded = [(one.side, one.lots) for one in ended.orders]
            turned = zip(ended.orders, [*traded[1:], traded[0]], strict=True)
            orders = tuple(changed(one, side=side, lots=lots) for one, (side, lots) in turned)
            ended = changed(ended, orders=orders)
        settle(height, market, ended)

    found = audited_otherwise(monkeypatch, execution, "settle_dark", moved)
    assert found[:2] == ["result.state_root", "result.certified"]


# --- transcripts --------------------------------------------------------------------------------------------------
Bend = Callable[[SignedTranscript], SignedTranscript]


def bent_transcript(number: int, bend: Bend) -> Log:
    """A log with a transcript bent."""
    entries = log_of(darkened()) if number else log_of_first_batch()
    at = transcripts(entries)[number]
    entry = entries[at]
    assert isinstance(entry, DarkEntry) and entry.parts == 1
    made = signed.entries(entry.epoch, entry.market, entry.batch, bend(signed.joined([entry])))
    return [*entries[:at], *made, *entries[at + 1 :]]


def said(transcript: SignedTranscript, number: int, party: int) -> int:
    """Where a party's message of a round is."""
    return next(at for at, one in enumerate(transcript.said) if (one.round, one.party) == (number, party))


def with_said(transcript: SignedTranscript, at: int, *messages: SignedSaid) -> SignedTranscript:
    return replace(transcript, said=(*transcript.said[:at], *messages, *transcript.said[at + 1 :]))


def signed_by(transcript: SignedTranscript, one: SignedSaid, payload: bytes, epoch: int, signer: int) -> SignedSaid:
    """A message with another payload, signed by a member."""
    run = darkened()
    shares = signed.shares_of(transcript.session_id, one.party, one.round, payload, one.signature)
    digest = run.house.committee.digest(shares.struct_hash())
    return SignedSaid(one.round, one.party, payload, run.signer(epoch, signer).sign_digest(digest))


def altered(number: int, *parties: int, epoch: int, signers: dict[int, int] | None = None) -> Bend:
    """These parties' shares of a round are others, under their signatures, or another member's."""

    def bend(transcript: SignedTranscript) -> SignedTranscript:
        for party in parties:
            at = said(transcript, number, party)
            one = transcript.said[at]
            other = bytes((one.payload[0] ^ 1 << party,)) + one.payload[1:]
            signer = (signers or {}).get(party, party)
            transcript = with_said(transcript, at, signed_by(transcript, one, other, epoch, signer))
        return transcript

    return bend


def unsigned(transcript: SignedTranscript) -> SignedTranscript:
    return with_said(transcript, 0, replace(transcript.said[0], payload=flip(transcript.said[0].payload)))


def other_signature(transcript: SignedTranscript) -> SignedTranscript:
    return with_said(transcript, 0, replace(transcript.said[0], signature=transcript.said[1].signature))


def without_the_last_round(transcript: SignedTranscript) -> SignedTranscript:
    last = transcript.said[-1].round
    return replace(transcript, said=tuple(one for one in transcript.said if one.round < last))


def without_a_round(transcript: SignedTranscript) -> SignedTranscript:
    return replace(transcript, said=tuple(one for one in transcript.said if one.round != 1))


def shorter(transcript: SignedTranscript) -> SignedTranscript:
    one = transcript.said[0]
    return with_said(transcript, 0, signed_by(transcript, one, one.payload[:-12], 0, one.party))


def out_of_order(transcript: SignedTranscript) -> SignedTranscript:
    return replace(transcript, said=transcript.said[::-1])


def of_another_session(transcript: SignedTranscript) -> SignedTranscript:
    other = replace(transcript, session_id=flip(transcript.session_id))
    return replace(
        other, said=tuple(signed_by(other, one, one.payload, 0, one.party) for one in transcript.said)
    )


BENT: dict[str, tuple[int, Bend, str]] = {
    "a message altered": (SETTLED, unsigned, "dark.signature"),
    "a signature that is another member's": (SETTLED, other_signature, "dark.signature"),
    "shares signed by another member": (SETTLED, altered(3, 1, epoch=0, signers={1: 2}), "dark.signature"),
    "another session": (SETTLED, of_another_session, "dark.session"),
    "messages out of order": (SETTLED, out_of_order, "dark.transcript"),
    "a message that is too short": (SETTLED, shorter, "dark.transcript"),
    "no last round, though its keeper said an outcome": (SETTLED, without_the_last_round, "dark.outcome"),
    "a round left out": (SETTLED, without_a_round, "dark.outcome"),
    "more liars than can be": (SETTLED, altered(3, 1, 2, epoch=0), "dark.outcome"),
    "two more liars in the last batch": (LAST, altered(3, 1, 2, epoch=1), "dark.outcome"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_bent_transcript_is_found(name: str) -> None:
    number, bend, code = BENT[name]
    assert codes(darkened(), bent_transcript(number, bend)) == [code]


def test_who_lies_under_its_own_signature_is_named_and_the_log_passes() -> None:
    audit = audited(darkened(), bent_transcript(LAST, altered(3, 2, epoch=1)))
    assert not audit.recorder.findings
    assert DarkCulprit(1, MARKET, 4, 2, "lie", 1) in reported(audit).culprits


def test_a_keeper_whose_own_shares_are_not_what_it_signed_is_found() -> None:
    assert set(codes(darkened(), log_of(darkened(), LIAR))) == {"dark.signature"}


def test_a_transcript_of_what_was_not_computed_is_found() -> None:
    entries = log_of_first_batch()
    at = transcripts(entries)[SETTLED]
    entry = entries[at]
    assert isinstance(entry, DarkEntry)
    for bent in (replace(entry, batch=9), replace(entry, market=0), replace(entry, epoch=3)):
        assert codes(darkened(), [*entries[:at], bent, *entries[at + 1 :]]) == ["dark.batch"]
    assert codes(darkened(), [*entries[: at + 1], entry, *entries[at + 1 :]]) == ["dark.batch"]


def test_a_transcript_by_a_stranger_to_it_is_found() -> None:
    """The messages of a member that did not report."""

    def bend(transcript: SignedTranscript) -> SignedTranscript:
        one = transcript.said[-1]
        stranger = replace(one, party=5, signature=one.signature)
        return replace(transcript, said=(*transcript.said, stranger))

    assert codes(darkened(), bent_transcript(SETTLED, bend)) == ["dark.signature"]


def cut(entry: DarkEntry) -> tuple[DarkEntry, DarkEntry]:
    half = len(entry.data) // 2
    return replace(entry, parts=2, data=entry.data[:half]), replace(entry, part=1, parts=2, data=entry.data[half:])


def test_parts_of_a_transcript_belong_together() -> None:
    entries = log_of_first_batch()
    at = transcripts(entries)[SETTLED]
    entry = entries[at]
    assert isinstance(entry, DarkEntry)
    one, two = cut(entry)

    def found(*parts: LogEntry) -> list[str]:
        return codes(darkened(), [*entries[:at], *parts, *entries[at + 1 :]])

    assert found(one, two) == []
    assert found(one) == []  # a crash cut it off
    assert found(one, entry) == []
    assert found(two) == ["dark.part"]
    assert found(one, two, two) == ["dark.part"]
    assert found(one, replace(two, batch=3)) == ["dark.transcript"]
    assert found(one, replace(two, data=two.data[:-1])) == ["dark.transcript"]


def test_every_code_has_a_meaning() -> None:
    assert {code for code in CODES if code.startswith("dark.")} == {
        *("dark.part", "dark.transcript", "dark.batch", "dark.session", "dark.signature", "dark.outcome")
    }
