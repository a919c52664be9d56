"""The submitter on a node with a mempool: main path, a stuck and a dropped transaction, reorganisations, a rotation
that is usable later, a shared key."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.ethrpc import Call
from mpc_sequencer.settlement.kept import KeptTransactions
from mpc_sequencer.settlement.payloads import Delta, SignedResult
from mpc_sequencer.settlement.submitter_events import CommitKnown, ResultKnown, RotationKnown, SubmitterTerms
from mpc_sequencer.settlement.submitter_run import News
from tests.anvil_node import Anvil
from tests.settlement.settled_kit import known, post, signed_commits, signed_rotation

if TYPE_CHECKING:
    from tests.settlement.deployed_kit import Deployment

ROOT = hashlib.sha256(b"genesis").digest()
ACCOUNT = Signer(DEV_SECRET).address


def two(deployment: Deployment) -> list[SignedResult]:
    alice, bob = deployment.traders
    first = deployment.result(1, 3, ROOT, Delta(alice, 0, -1, 0), Delta(bob, 0, 1, 0))
    return [first, deployment.result(4, 9, first.result.state_root, Delta(alice, 1, -9, 9))]


def wait(until: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def posted(deployment: Deployment) -> int:
    return deployment.chain.last_posted().last_height


def nonces_used(deployment: Deployment, before: int) -> int:
    return deployment.chain.transaction_count(ACCOUNT, "latest") - before


def test_commits_and_results_are_posted_and_confirmed(
    on_anvil: Deployment, anvil_node: Anvil, tmp_path: Path
) -> None:
    def blocks() -> None:
        wait(lambda: posted(on_anvil) == 9)
        assert KeptTransactions(tmp_path, ACCOUNT, 31337).load()[0], "not settled: its bytes are kept"
        anvil_node.mine(3)

    news = known(on_anvil, two(on_anvil))
    reported, warnings = post(on_anvil, news, tmp_path, 2, confirmations=3, meanwhile=blocks)
    assert [one.last_height for one in reported] == [3, 9] and warnings == []
    assert all(one.transaction_hash is not None for one in reported)


def test_a_stuck_transaction_is_replaced_by_a_dearer_one(
    on_anvil: Deployment, anvil_node: Anvil, tmp_path: Path
) -> None:
    before = on_anvil.chain.transaction_count(ACCOUNT, "latest")
    news = known(on_anvil, two(on_anvil)[:1])
    anvil_node.automine(False)
    fees: list[int] = []

    def fee_market() -> None:
        wait(lambda: len(anvil_node.waiting()) == 1)
        fees.append(int(anvil_node.waiting()[0]["maxFeePerGas"], 16))
        anvil_node.base_fee(fees[0] + 1)
        anvil_node.mine()
        assert posted(on_anvil) == 0, "what it offers is below the base fee"
        wait(lambda: any(int(one["maxFeePerGas"], 16) > fees[0] for one in anvil_node.waiting()))
        fees.append(max(int(one["maxFeePerGas"], 16) for one in anvil_node.waiting()))
        anvil_node.mine()

    (reported,), warnings = post(on_anvil, news, tmp_path, 1, meanwhile=fee_market)
    assert reported.transaction_hash is not None and posted(on_anvil) == 3
    assert fees[1] * 8 >= fees[0] * 9 and any("not mined" in one for one in warnings)
    assert nonces_used(on_anvil, before) == 1


def test_a_transaction_that_the_node_forgot_comes_again(
    on_anvil: Deployment, anvil_node: Anvil, tmp_path: Path
) -> None:
    before = on_anvil.chain.transaction_count(ACCOUNT, "latest")
    news = known(on_anvil, two(on_anvil)[:1])
    anvil_node.automine(False)

    def forgetful() -> None:
        wait(lambda: len(anvil_node.waiting()) == 1)
        anvil_node.drop_all()
        wait(lambda: len(anvil_node.waiting()) == 1)
        anvil_node.mine()

    (reported,), _ = post(on_anvil, news, tmp_path, 1, meanwhile=forgetful)
    assert reported.transaction_hash is not None and nonces_used(on_anvil, before) == 1


def test_a_result_that_a_reorganisation_takes_away_is_posted_again(
    on_anvil: Deployment, anvil_node: Anvil, tmp_path: Path
) -> None:
    before = on_anvil.chain.transaction_count(ACCOUNT, "latest")
    news = known(on_anvil, two(on_anvil))
    heights: list[int] = []

    def reorganise() -> None:
        wait(lambda: posted(on_anvil) == 9)
        anvil_node.reorganise(2)
        heights.append(posted(on_anvil))
        wait(lambda: posted(on_anvil) == 9)
        anvil_node.mine(8)

    reported, warnings = post(on_anvil, news, tmp_path, 2, confirmations=8, meanwhile=reorganise)
    assert heights == [0], "both were taken away"
    assert [one.last_height for one in reported] == [3, 9]
    assert any("reorganised" in one for one in warnings)
    assert nonces_used(on_anvil, before) == 2, "and came again under their nonces"


def test_the_next_committee_s_results_wait_for_the_rotation_to_be_usable(
    on_anvil: Deployment, anvil_node: Anvil, tmp_path: Path
) -> None:
    (first,) = two(on_anvil)[:1]
    rotation, successors = signed_rotation(on_anvil, 1)
    second = on_anvil.result(4, 9, first.result.state_root, epoch=1, members=successors)
    commits = signed_commits(on_anvil, [first, second], {1: successors})
    news: list[News] = [CommitKnown(1, commits[0]), ResultKnown(1, first), RotationKnown(rotation)]
    news += [CommitKnown(2, commits[1]), ResultKnown(2, second)]

    def blocks() -> None:
        wait(lambda: posted(on_anvil) == 3)
        wait(lambda: bool(on_anvil.chain.signers(1)[0]))
        time.sleep(0.5)
        assert posted(on_anvil) == 3, "the new signers are not usable yet"
        anvil_node.mine(3)

    reported, warnings = post(on_anvil, news, tmp_path, 2, meanwhile=blocks)
    assert [one.last_height for one in reported] == [3, 9] and warnings == []
    assert on_anvil.chain.last_posted().epoch == 1


def test_an_account_that_somebody_else_sends_from_is_noticed_and_the_result_posted(
    on_anvil: Deployment, anvil_node: Anvil, tmp_path: Path
) -> None:
    news = known(on_anvil, two(on_anvil)[:1])
    anvil_node.automine(False)

    def other() -> None:
        wait(lambda: len(anvil_node.waiting()) == 1)
        anvil_node.drop_all()
        nonce = on_anvil.chain.transaction_count(ACCOUNT, "latest")
        call = Call(ACCOUNT, b"", 0, 21_000)
        anvil_node.broadcast([anvil_node.sign(DEV_SECRET, call, nonce, 10**12, 10**10)])
        anvil_node.mine()
        wait(lambda: len(anvil_node.waiting()) == 1)
        anvil_node.mine()

    (reported,), warnings = post(on_anvil, news, tmp_path, 1, meanwhile=other, terms=SubmitterTerms(3_000, 100, 60_000))
    assert reported.transaction_hash is not None
    assert any("is its key shared?" in one for one in warnings)
