"""The trio shell around :class:`SubmitterState`: it carries out effects with a chain client in worker
threads.

A transaction is signed once per result and the same bytes are sent again after an unclear failure, so that
one result is never in two transactions of ours. It is signed anew only when the chain's node refuses those
bytes for good.

Cancelling the shell abandons a running request; its thread ends by the client's own time-outs and touches
nothing of the shell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from mpc_sequencer.settlement.errors import (
    ALREADY_POSTED_REASON,
    ChainError,
    TransactionRejected,
    TransactionReverted,
)
from mpc_sequencer.settlement.payloads import SignedResult
from mpc_sequencer.settlement.submitter import (
    RESULTS_WAITING_MAX,
    Ask,
    AskFailed,
    Effect,
    Event,
    FailReason,
    Posted,
    ResultReady,
    Settled,
    Submit,
    SubmitFailed,
    Submitted,
    SubmitterState,
    Tick,
    Warn,
)

if TYPE_CHECKING:  # web3 takes a second to import, which a member that comes back should not wait for
    from mpc_sequencer.settlement.chain import LastPosted
    from mpc_sequencer.settlement.ethrpc import PreparedTransaction, Receipt

TICK_INTERVAL_S: Final = 0.1
EVENTS_BUFFERED_MAX: Final = 64


class ResultChain(Protocol):
    """What the shell needs of a chain client."""

    def last_posted(self) -> LastPosted: ...
    def prepare_result(self, signed: SignedResult, secret: bytes) -> PreparedTransaction: ...
    def broadcast(self, prepared: list[PreparedTransaction]) -> None: ...
    def wait_receipt(self, transaction_hash: bytes) -> Receipt: ...


@dataclass(slots=True)
class _Sender:
    """Blocking work of the shell; one submission at a time, so no lock is needed."""

    chain: ResultChain
    secret: bytes
    prepared_range: int | None = None
    prepared: PreparedTransaction | None = None

    def ask(self) -> Event:
        try:
            return Posted(self.chain.last_posted().last_height)
        except ChainError as error:
            return AskFailed(str(error))

    def submit(self, range_number: int, signed: SignedResult) -> Event:
        try:
            if self.prepared is None or self.prepared_range != range_number:
                self.prepared = self.chain.prepare_result(signed, self.secret)
                self.prepared_range = range_number
            self.chain.broadcast([self.prepared])
            receipt = self.chain.wait_receipt(self.prepared.transaction_hash)
        except TransactionReverted as error:
            return self._reverted(error.reason)
        except TransactionRejected as error:
            self.prepared = None
            return SubmitFailed(FailReason.REJECTED, str(error))
        except ChainError as error:
            return SubmitFailed(FailReason.UNREACHABLE, str(error))
        if receipt.status != 1:
            self.prepared = None
            return SubmitFailed(FailReason.REVERTED, f"transaction {receipt.transaction_hash.hex()} reverted")
        return Submitted(receipt.transaction_hash, receipt.gas_used)

    def _reverted(self, reason: str) -> Event:
        self.prepared = None
        if reason == ALREADY_POSTED_REASON:
            return SubmitFailed(FailReason.ALREADY_POSTED, reason)
        return SubmitFailed(FailReason.REVERTED, reason)


async def run_submitter(
    state: SubmitterState,
    chain: ResultChain,
    secret: bytes,
    results: trio.MemoryReceiveChannel[ResultReady],
    settled: trio.MemorySendChannel[Settled],
    *,
    warn: Callable[[str], None],
) -> None:
    """Post results until ``results`` is closed and nothing waits, or cancelled.

    ``secret`` (32 bytes) pays for the transactions. A Settled goes to ``settled`` for every range that is on
    the chain, whoever posted it. ``warn`` gets one line per problem. Results are taken only while the state
    has room, so a full state shows to the sender as back pressure.
    """
    sender = _Sender(chain, secret)
    send_event, receive_event = trio.open_memory_channel[Event | None](EVENTS_BUFFERED_MAX)
    room = trio.Event()

    async def carry_out(work: Callable[[], Event]) -> None:
        await send_event.send(await trio.to_thread.run_sync(work, abandon_on_cancel=True))

    async def take_results() -> None:
        nonlocal room
        async for ready in results:
            # What is on its way to the state counts too, or two results could meet one free place.
            while state.waiting + receive_event.statistics().current_buffer_used >= RESULTS_WAITING_MAX:
                room = trio.Event()
                await room.wait()
            await send_event.send(ready)
        await send_event.send(None)

    async def tick() -> None:
        while True:
            await send_event.send(Tick(_now_ms()))
            await trio.sleep(TICK_INTERVAL_S)

    async def perform(effect: Effect) -> None:
        match effect:
            case Ask():
                nursery.start_soon(carry_out, sender.ask)
            case Submit(range_number, signed):
                nursery.start_soon(carry_out, partial(sender.submit, range_number, signed))
            case Settled():
                await settled.send(effect)
            case Warn(message):
                warn(message)

    closed = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_results)
        nursery.start_soon(tick)
        while not (closed and state.waiting == 0):
            event = await receive_event.receive()
            if event is None:
                closed = True
                continue
            effects = state.step(Tick(_now_ms()))
            if not isinstance(event, Tick):
                effects += state.step(event)
            for effect in effects:
                await perform(effect)
            room.set()
        nursery.cancel_scope.cancel()


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
