"""The submitter's shell on the embedded chain, over restarts, and with a chain that hangs."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.contract import SettlementContract
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.errors import ChainMismatch, ChainUnreachable
from mpc_sequencer.settlement.kept import KeptRanges, KeptTransactions, write_synced
from mpc_sequencer.settlement.payloads import Delta, SignedResult
from mpc_sequencer.settlement.sender import Sender
from mpc_sequencer.settlement.steps import Kind, Step
from mpc_sequencer.settlement.submitter_events import (
    Answer,
    CommitKnown,
    Resend,
    ResultKnown,
    RotationKnown,
    Send,
    Sent,
)
from mpc_sequencer.settlement.submitter_run import Backlog, News
from tests.settlement.settled_kit import known, post, signed_commits, signed_rotation
from tests.settlement.submitter_kit import commit

if TYPE_CHECKING:
    from tests.settlement.deployed_kit import Deployment

ROOT = hashlib.sha256(b"genesis").digest()
def three(deployment: Deployment) -> list[SignedResult]:
    alice, bob = deployment.traders
    first = deployment.result(1, 3, ROOT, Delta(alice, 0, -1, 0), Delta(bob, 0, 1, 0))
    second = deployment.result(4, 4, first.result.state_root)
    third = deployment.result(5, 9, second.result.state_root, Delta(alice, 1, -9, 9))
    return [first, second, third]


def test_it_posts_commits_and_results_in_order(bound: Deployment, tmp_path: Path) -> None:
    results = three(bound)
    reported, warnings = post(bound, known(bound, results), tmp_path, 3)
    assert [(one.range_number, one.last_height) for one in reported] == [(1, 3), (2, 4), (3, 9)]
    assert warnings == []
    posted = bound.chain.results()
    assert [entry.transaction_hash for entry in posted] == [one.transaction_hash for one in reported]
    for one in reported:
        receipt = bound.chain.receipt(one.transaction_hash or b"")
        assert receipt is not None and receipt.gas_used == one.gas_used
    assert KeptRanges(tmp_path).numbers() == [], "what is settled is not kept"


def test_results_that_others_posted_are_reported_without_a_transaction(
    bound: Deployment, tmp_path: Path
) -> None:
    results = three(bound)[:2]
    news = known(bound, results)
    post(bound, news[:2], tmp_path / "other", 1)
    reported, _ = post(bound, news, tmp_path / "own", 2)
    assert reported[0].transaction_hash is None and reported[1].transaction_hash is not None


def test_what_is_kept_is_posted_after_a_restart_and_nothing_twice(bound: Deployment, tmp_path: Path) -> None:
    results = three(bound)
    for one in known(bound, results):
        assert isinstance(one, CommitKnown | ResultKnown)
        KeptRanges(tmp_path).put(one)
    before = bound.chain.transaction_count(Signer(DEV_SECRET).address, "latest")
    reported, _ = post(bound, [], tmp_path, 3)
    assert [one.range_number for one in reported] == [1, 2, 3]
    assert bound.chain.transaction_count(Signer(DEV_SECRET).address, "latest") == before + 3
    again, _ = post(bound, known(bound, results)[-2:], tmp_path, 1)
    assert again[0].transaction_hash is None or again[0].transaction_hash == reported[2].transaction_hash
    assert bound.chain.transaction_count(Signer(DEV_SECRET).address, "latest") == before + 3


def test_a_crash_between_keeping_and_sending_sends_the_kept_bytes(bound: Deployment, tmp_path: Path) -> None:
    results = three(bound)[:1]

    class Dying(SettlementContract):
        def broadcast(self, prepared: Any) -> None:
            raise ChainUnreachable("the process ended here")

    dying = Dying(bound.chain.url, bound.chain.settlement)
    with pytest.raises((trio.TooSlowError, ExceptionGroup)):
        post_briefly(bound, known(bound, results), tmp_path, dying)
    kept = KeptTransactions(tmp_path, Signer(DEV_SECRET).address, bound.chain.chain_id())
    (slot,), _ = kept.load()
    assert slot.attempts[0].step == Step(Kind.BOTH, 3)
    reported, _ = post(bound, [], tmp_path, 1)
    assert reported[0].transaction_hash in slot.hashes


def test_a_transaction_that_the_disk_refused_is_not_sent_at_the_next_attempt(
    bound: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signing gives the same bytes again; they must be on disk before the node gets them, each time."""
    full = [True]
    sent_unkept: list[Any] = []

    def write(path: Path, data: bytes) -> None:
        if full[0]:
            raise OSError("no space left")
        write_synced(path, data)

    class Watched(SettlementContract):
        def broadcast(self, prepared: Any) -> None:
            on_disk = KeptTransactions(tmp_path, account, chain_id).load()[0]
            hashes = {one for slot in on_disk for one in slot.hashes}
            sent_unkept.extend(one for one in prepared if one.transaction_hash not in hashes)

    account, chain_id = Signer(DEV_SECRET).address, bound.chain.chain_id()
    kept = KeptTransactions(tmp_path, account, chain_id)
    kept.load()
    sender = Sender(Watched(bound.chain.url, bound.chain.settlement), DEV_SECRET, kept, 0)
    monkeypatch.setattr("mpc_sequencer.settlement.kept.write_synced", write)
    order = Send(0, Step(Kind.CANCEL, 0), 10**10, 1, (None, None, None))
    for _ in range(2):
        assert "disk" in sender.send(order).detail  # type: ignore[union-attr]
    full[0] = False
    sent = sender.send(order)
    assert isinstance(sent, Sent) and sent_unkept == []
    assert sender.resend(Resend(0, sent.attempt)) == Sent(0, sent.attempt)


def post_briefly(deployment: Deployment, news: Sequence[News], folder: Path, chain: Any) -> None:
    original = trio.fail_after
    try:
        trio.fail_after = lambda seconds: original(1.0)  # type: ignore[assignment]
        post(deployment, news, folder, 1, chain=chain)
    finally:
        trio.fail_after = original


def test_transactions_of_another_account_or_damaged_are_put_aside(bound: Deployment, tmp_path: Path) -> None:
    chain_id = bound.chain.chain_id()
    kept = KeptTransactions(tmp_path, b"\x01" * 20, chain_id)
    kept.load()
    kept._write()
    _, problem = KeptTransactions(tmp_path, b"\x02" * 20, chain_id).load()
    assert "of another account" in problem and (tmp_path / "transactions.set-aside").exists()
    (tmp_path / "transactions.json").write_text("{")
    _, problem = KeptTransactions(tmp_path, b"\x02" * 20, chain_id).load()
    assert "put aside" in problem


def many(deployment: Deployment, count: int) -> SignedResult:
    """A result of more rows than one transaction takes, most of them new balances."""
    alice, _ = deployment.traders
    fresh = sorted(hashlib.sha256(b"%d" % i).digest()[:20] for i in range(count - 1))
    rows = sorted([Delta(alice, 0, -(count - 1), 0), *(Delta(account, 0, 1, 0) for account in fresh)],
                  key=lambda one: one.account)  # fmt: skip
    return deployment.result(1, 3, ROOT, *rows)


def test_a_result_of_many_rows_is_posted_part_by_part(bound: Deployment, tmp_path: Path) -> None:
    result = many(bound, 1_001)
    (reported,), warnings = post(bound, known(bound, [result]), tmp_path, 1)
    assert warnings == [] and reported.last_height == 3
    assert bound.chain.balance(hashlib.sha256(b"7").digest()[:20], 0) == (1, 0)
    assert bound.chain.last_posted().last_height == 3


def test_the_next_committee_is_told_to_the_contract_before_its_results(bound: Deployment, tmp_path: Path) -> None:
    results = three(bound)[:1]
    rotation, successors = signed_rotation(bound, 1)
    second = bound.result(4, 9, results[0].result.state_root, epoch=1, members=successors)
    commits = signed_commits(bound, [*results, second], {1: successors})
    news: list[News] = [
        RotationKnown(rotation),
        CommitKnown(1, commits[0]), ResultKnown(1, results[0]), CommitKnown(2, commits[1]), ResultKnown(2, second),
    ]  # fmt: skip
    reported, warnings = post(bound, news, tmp_path, 2)
    assert [one.last_height for one in reported] == [3, 9], warnings
    assert bound.chain.last_posted().epoch == 1
    assert bound.chain.signers(1)[0] == [one.address for one in successors]


def test_a_wrong_chain_id_stops_everything_and_says_so(bound: Deployment, tmp_path: Path) -> None:
    client = SettlementContract(bound.chain.url, bound.chain.settlement)
    with pytest.raises(ChainMismatch, match="serves chain"):
        client.check_chain_id(bound.chain.chain_id() + 1)
    kept = KeptTransactions(tmp_path, Signer(DEV_SECRET).address, bound.chain.chain_id() + 1)
    kept.load()
    event = Sender(client, DEV_SECRET, kept, 0).ask(())
    assert "serves chain" in event.detail  # type: ignore[union-attr]


def test_an_unchanged_chain_is_read_once_and_another_question_or_block_anew(
    bound: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptTransactions(tmp_path, Signer(DEV_SECRET).address, bound.chain.chain_id())
    kept.load()
    client = SettlementContract(bound.chain.url, bound.chain.settlement)
    sender = Sender(client, DEV_SECRET, kept, 0)
    reads: list[int] = []
    view_at = client.view_at
    monkeypatch.setattr(client, "view_at", lambda block: (reads.append(block), view_at(block))[1])
    first = sender.ask(())
    assert sender.ask(()) == first and len(reads) == 1
    assert sender.ask((bytes(32),)) == first and len(reads) == 2, "a receipt that was not asked for"
    bound.chain.bond(DEV_SECRET, bound.traders[0], 1)
    after = sender.ask((bytes(32),))
    assert len(reads) == 3 and isinstance(after, Answer) and isinstance(first, Answer)
    assert after.nonce > first.nonce and after.latest.block == first.latest.block + 1


def test_cancelling_does_not_wait_for_a_chain_that_hangs(bound: Deployment, tmp_path: Path) -> None:
    release = threading.Event()

    class Hanging(SettlementContract):
        def check_chain_id(self, expected: int) -> None:
            release.wait(20)

    started = time.monotonic()
    with pytest.raises((trio.TooSlowError, ExceptionGroup)):
        hanging = Hanging(bound.chain.url, bound.chain.settlement)
        post_briefly(bound, known(bound, three(bound)[:1]), tmp_path, hanging)
    assert time.monotonic() - started < 8
    release.set()




def test_ranges_go_on_whether_or_not_the_one_before_is_settled_when_they_come(tmp_path: Path) -> None:
    for settled_first in (True, False):
        folder = tmp_path / str(settled_first)
        backlog = Backlog(KeptRanges(folder))
        given = []
        for number in range(1, 6):
            backlog.take(commit(number))
            given += [one.number for one in backlog.give(10)]
            if settled_first:
                backlog.settled(number)
        for number in () if settled_first else range(1, 6):
            backlog.settled(number)
        backlog.take(commit(6))
        given += [one.number for one in backlog.give(10)]
        assert given == [1, 2, 3, 4, 5, 6]
        backlog.take(commit(2))
        assert KeptRanges(folder).numbers() == [6], "what is settled is not kept again"
