"""The trio shell around :class:`SubmitterState`: it carries out effects with a chain client in worker threads.

What is signed comes in as events and is kept on disk first; the state gets as much of it as it has room for, in order,
and the next once ranges are settled. So a chain that is away for days costs disk space and nothing else.

Cancelling the shell abandons a running request; its thread ends by the client's own time-outs and touches nothing of
the shell. A transaction that it may have sent is on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from mpc_sequencer.settlement.kept import KeptRanges
from mpc_sequencer.settlement.sender import Sender
from mpc_sequencer.settlement.submitter import SubmitterState
from mpc_sequencer.settlement.submitter_events import (
    Ask,
    CommitKnown,
    Effect,
    Event,
    Forget,
    Place,
    Resend,
    ResultKnown,
    RotationKnown,
    Send,
    Settled,
    Tick,
    Warn,
)

TICK_INTERVAL_S: Final = 0.1
EVENTS_BUFFERED_MAX: Final = 64
WINDOW_RANGES: Final = 256
"""How many ranges the state knows at once."""

News = Place | CommitKnown | ResultKnown | RotationKnown


class Backlog:
    """Ranges on their way from the disk to the state. Blocking where it touches the disk."""

    def __init__(self, kept: KeptRanges) -> None:
        self._kept = kept
        self._numbers = kept.numbers()
        self._given: set[int] = set()
        """Ranges that the state knows and has not told of as settled."""
        self._newest = 0
        """The last range that was given; 0 before the first, which may have any number."""

    def take(self, known: CommitKnown | ResultKnown) -> None:
        """Something is signed: keep it, or pass it over where its range was settled. Raises OSError."""
        if known.number not in self._given and known.number <= self._newest:
            return
        self._kept.put(known)
        if known.number not in self._given and known.number not in self._numbers:
            self._numbers = sorted([*self._numbers, known.number])

    def give(self, room: int) -> list[CommitKnown | ResultKnown]:
        """What is kept of the next ranges, in order, as far as there is room."""
        found: list[CommitKnown | ResultKnown] = []
        while self._numbers and room > 0:
            if self._newest and self._numbers[0] != self._newest + 1:
                break  # one between is not signed yet
            number = self._newest = self._numbers.pop(0)
            self._given.add(number)
            found += self._kept.events(number)
            room -= 1
        return found

    def is_given(self, number: int) -> bool:
        return number in self._given

    def settled(self, number: int) -> None:
        """The chain has the range for good. Raises OSError."""
        self._kept.forget([number])
        self._given.discard(number)


async def run_submitter(
    state: SubmitterState,
    sender: Sender,
    ranges: KeptRanges,
    news: trio.MemoryReceiveChannel[News],
    settled: trio.MemorySendChannel[Settled],
    *,
    warn: Callable[[str], None],
) -> None:
    """Post what comes by ``news`` until that is closed and nothing waits, or cancelled.

    A Settled goes to ``settled`` for every range that is on the chain for good, whoever posted it. ``warn`` gets one
    line per problem. Raises OSError where the disk fails.
    """
    send_event, receive_event = trio.open_memory_channel[Event | None](EVENTS_BUFFERED_MAX)
    backlog = await trio.to_thread.run_sync(Backlog, ranges)

    async def carry_out(work: Callable[[], Event]) -> None:
        await send_event.send(await trio.to_thread.run_sync(work, abandon_on_cancel=True))

    async def take_news() -> None:
        async for one in news:
            await send_event.send(one)
        await send_event.send(None)

    async def tick() -> None:
        while True:
            await send_event.send(Tick(_now_ms()))
            await trio.sleep(TICK_INTERVAL_S)

    async def perform(effect: Effect) -> None:
        match effect:
            case Ask(hashes):
                nursery.start_soon(carry_out, partial(sender.ask, hashes))
            case Send():
                nursery.start_soon(carry_out, partial(sender.send, effect))
            case Resend():
                nursery.start_soon(carry_out, partial(sender.resend, effect))
            case Forget(nonce):
                await trio.to_thread.run_sync(sender.kept.forget, nonce)
            case Settled(number):
                await trio.to_thread.run_sync(backlog.settled, number)
                await settled.send(effect)
            case Warn(message):
                warn(message)

    async def feed() -> None:
        """Give the state what it has room for."""
        room = WINDOW_RANGES - state.waiting
        if room > 0:
            for known in await trio.to_thread.run_sync(backlog.give, room):
                for effect in state.step(known):
                    await perform(effect)

    closed = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_news)
        nursery.start_soon(tick)
        while not (closed and state.idle):
            event = await receive_event.receive()
            effects = state.step(Tick(_now_ms()))
            if event is None:
                closed = True
            elif isinstance(event, CommitKnown | ResultKnown):
                await trio.to_thread.run_sync(backlog.take, event)
                if backlog.is_given(event.number):
                    effects += state.step(event)
            elif not isinstance(event, Tick):
                effects += state.step(event)
            for effect in effects:
                await perform(effect)
            await feed()
        nursery.cancel_scope.cancel()


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
