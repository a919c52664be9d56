"""Order commits and rotations as a committee signs them, and a submitter that posts them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from mpc_sequencer.core import domains
from mpc_sequencer.core.eip712 import digest, domain_separator, keccak256
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.claims import OrderCommit, SignedCommit
from mpc_sequencer.settlement.contract import SettlementContract
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.kept import KeptRanges, KeptTransactions
from mpc_sequencer.settlement.payloads import ZERO_HASH, SignedResult
from mpc_sequencer.settlement.sender import Sender
from mpc_sequencer.settlement.steps import Rotation
from mpc_sequencer.settlement.submitter import SubmitterState
from mpc_sequencer.settlement.submitter_events import CommitKnown, ResultKnown, Settled, SubmitterTerms
from mpc_sequencer.settlement.submitter_run import News, run_submitter

TERMS = SubmitterTerms(turn_ms=3_000, ask_ms=100, stuck_ms=2_000)


def separator(deployment: Any) -> bytes:
    return domain_separator(deployment.chain.chain_id(), deployment.chain.settlement)


def signed_commits(
    deployment: Any, results: Sequence[SignedResult], later: Mapping[int, Sequence[Signer]] | None = None
) -> list[SignedCommit]:
    """The order commits of the ranges of ``results``; ``later`` are members of later epochs."""
    made, prev_hash = [], ZERO_HASH
    l1_head = deployment.chain.block_number() - 1
    for signed in results:
        result = signed.result
        root = hashlib.sha256(b"orders %d" % result.last_height).digest()
        commit = OrderCommit(result.epoch, result.last_height, prev_hash, root, l1_head, 0)
        prev_hash = commit.struct_hash()
        members = (later or {}).get(result.epoch, deployment.members)
        said = digest(separator(deployment), commit.struct_hash())
        made.append(SignedCommit(commit, tuple((node, members[node].sign_digest(said)) for node in (0, 2, 3))))
    return made


def signed_rotation(deployment: Any, epoch: int) -> tuple[Rotation, list[Signer]]:
    """The next committee of four, in the old members' words."""
    successors = sorted(
        (Signer(hashlib.sha256(b"successor %d" % i).digest()) for i in range(4)), key=lambda one: one.address
    )
    signers = tuple(one.address for one in successors)
    committee, sharing = hashlib.sha256(b"committee").digest(), hashlib.sha256(b"sharing").digest()
    hashed = keccak256(b"".join(one.rjust(32, b"\x00") for one in signers))
    said = digest(separator(deployment), domains.ROTATION_TYPE(epoch, hashed, 2, committee, sharing))
    signatures = tuple((node, deployment.members[node].sign_digest(said)) for node in (0, 1, 3))
    return Rotation(epoch, signers, 2, committee, sharing, signatures), successors


def known(deployment: Any, results: Sequence[SignedResult]) -> list[News]:
    """Commits and results as a core gives them out."""
    news: list[News] = []
    for number, (commit, result) in enumerate(zip(signed_commits(deployment, results), results, strict=True), 1):
        news += [CommitKnown(number, commit), ResultKnown(number, result)]
    return news


def post(
    deployment: Any,
    news: Sequence[News],
    folder: Path,
    expected: int,
    *,
    chain: Any = None,
    secret: bytes = DEV_SECRET,
    confirmations: int = 0,
    terms: SubmitterTerms = TERMS,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[list[Settled], list[str]]:
    """Run one submitter of one until ``expected`` ranges are settled, ``meanwhile`` beside it; what it reported."""
    assert deployment.chain.settlement is not None
    client = SettlementContract(deployment.chain.url, deployment.chain.settlement) if chain is None else chain
    kept = KeptTransactions(folder, Signer(secret).address, deployment.chain.chain_id())
    slots, problem = kept.load()
    assert not problem
    reported: list[Settled] = []
    warnings: list[str] = []

    async def main() -> None:
        send_news, receive_news = trio.open_memory_channel[News](len(news) + 1)
        send_settled, receive_settled = trio.open_memory_channel[Settled](100)
        for one in news:
            send_news.send_nowait(one)
        state = SubmitterState(1, 0, terms, slots)
        sender = Sender(client, secret, kept, confirmations)
        with trio.fail_after(40):
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    await run_submitter(
                        state, sender, KeptRanges(folder), receive_news, send_settled, warn=warnings.append
                    )

                nursery.start_soon(run)
                nursery.start_soon(partial(trio.to_thread.run_sync, meanwhile, abandon_on_cancel=True))
                while len(reported) < expected:
                    reported.append(await receive_settled.receive())
                nursery.cancel_scope.cancel()

    trio.run(main)
    return reported, warnings
