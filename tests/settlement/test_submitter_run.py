"""The submitter's trio shell: on the embedded chain, and on chains that fail, hang or lose answers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mpc_sequencer.settlement.chain import LastPosted
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.errors import ChainUnreachable, TransactionReverted
from mpc_sequencer.settlement.ethrpc import PreparedTransaction, Receipt
from mpc_sequencer.settlement.payloads import BatchResult, Delta, SignedResult
from mpc_sequencer.settlement.submitter import ResultReady, Settled, SubmitterState
from mpc_sequencer.settlement.submitter_run import ResultChain, run_submitter

if TYPE_CHECKING:
    from conftest import Deployment

ROOT = hashlib.sha256(b"genesis").digest()


def post_all(
    chain: ResultChain, results: list[SignedResult], index: int = 0
) -> tuple[list[Settled], list[str]]:
    """Run one submitter of one until all results are settled; returns what it reported."""
    reported: list[Settled] = []
    warnings: list[str] = []

    async def main() -> None:
        send_result, receive_result = trio.open_memory_channel[ResultReady](0)
        send_settled, receive_settled = trio.open_memory_channel[Settled](len(results))

        async def produce() -> None:
            async with send_result:
                for number, signed in enumerate(results):
                    await send_result.send(ResultReady(number, signed))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(produce)
                state = SubmitterState(1, index)
                await run_submitter(
                    state, chain, DEV_SECRET, receive_result, send_settled, warn=warnings.append
                )
        send_settled.close()
        async for settled in receive_settled:
            reported.append(settled)

    trio.run(main)
    return reported, warnings


def test_it_posts_results_in_order_on_the_embedded_chain(deployment: Deployment) -> None:
    alice, bob = deployment.traders
    first = deployment.result(1, 3, ROOT, Delta(alice, 0, -1, 0), Delta(bob, 0, 1, 0))
    second = deployment.result(4, 4, first.result.state_root)
    third = deployment.result(5, 9, second.result.state_root, Delta(alice, 1, -9, 9))
    reported, warnings = post_all(deployment.chain, [first, second, third])
    assert [(s.range_number, s.first_height, s.last_height) for s in reported] == [
        (0, 1, 3),
        (1, 4, 4),
        (2, 5, 9),
    ]
    assert warnings == []
    posted = deployment.chain.results()
    assert [entry.transaction_hash for entry in posted] == [settled.transaction_hash for settled in reported]
    for settled in reported:
        receipt = deployment.chain.receipt(settled.transaction_hash or b"")
        assert receipt is not None and receipt.gas_used == settled.gas_used


def test_results_that_others_posted_are_reported_without_a_transaction(deployment: Deployment) -> None:
    first = deployment.result(1, 3, ROOT)
    deployment.chain.wait_receipt(deployment.chain.post_result(first, DEV_SECRET))
    reported, _ = post_all(deployment.chain, [first, deployment.result(4, 5, first.result.state_root)])
    assert reported[0].transaction_hash is None and reported[0].gas_used is None
    assert reported[1].transaction_hash is not None


@dataclass
class ScriptedChain:
    """A chain that does as told; it keeps every transaction it was sent."""

    height: int = 0
    prepared: int = 0
    sent: list[bytes] = field(default_factory=list)
    on_broadcast: Callable[[ScriptedChain, SignedResult], None] = lambda chain, signed: None
    signed: SignedResult | None = None

    def last_posted(self) -> LastPosted:
        return LastPosted(0, self.height, ROOT, 0)

    def prepare_result(self, signed: SignedResult, secret: bytes) -> PreparedTransaction:
        if signed.result.first_height != self.height + 1:
            raise TransactionReverted("result: wrong first height")
        self.prepared += 1
        self.signed = signed
        return PreparedTransaction(b"raw", hashlib.sha256(b"%d" % self.prepared).digest(), 0)

    def broadcast(self, prepared: list[PreparedTransaction]) -> None:
        assert self.signed is not None
        self.sent.append(prepared[0].transaction_hash)
        self.on_broadcast(self, self.signed)
        self.height = self.signed.result.last_height

    def wait_receipt(self, transaction_hash: bytes) -> Receipt:
        return Receipt(transaction_hash, 1, 5, 1, None)


def result(first: int, last: int) -> SignedResult:
    return SignedResult(BatchResult(0, first, last, ROOT, ROOT, ROOT, ROOT, 0, ROOT, ()), ())


def test_an_unclear_failure_repeats_the_same_bytes() -> None:
    def fail_once(chain: ScriptedChain, signed: SignedResult) -> None:
        if len(chain.sent) == 1:
            raise ChainUnreachable("lost")

    chain = ScriptedChain(on_broadcast=fail_once)
    (settled,), warnings = post_all(chain, [result(1, 2)])
    assert chain.prepared == 1 and chain.sent == [settled.transaction_hash] * 2
    assert len(warnings) == 1 and "chain unreachable: lost" in warnings[0]


def test_a_lost_answer_to_a_transaction_that_arrived_ends_the_matter() -> None:
    def arrive_and_fail(chain: ScriptedChain, signed: SignedResult) -> None:
        chain.height = signed.result.last_height
        raise ChainUnreachable("lost")

    chain = ScriptedChain(on_broadcast=arrive_and_fail)
    (settled,), _ = post_all(chain, [result(1, 2)])
    assert len(chain.sent) == 1 and settled.transaction_hash is None


def test_cancelling_does_not_wait_for_a_chain_that_hangs() -> None:
    release = threading.Event()

    class Hanging(ScriptedChain):
        def last_posted(self) -> LastPosted:
            release.wait(20)
            return super().last_posted()

    async def main() -> None:
        send_result, receive_result = trio.open_memory_channel[ResultReady](1)
        send_settled, _ = trio.open_memory_channel[Settled](1)
        await send_result.send(ResultReady(0, result(1, 2)))
        with trio.move_on_after(0.3):
            await run_submitter(
                SubmitterState(1, 0), Hanging(), DEV_SECRET, receive_result, send_settled, warn=print
            )

    started = time.monotonic()
    trio.run(main)
    assert time.monotonic() - started < 5
    release.set()
