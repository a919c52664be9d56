"""A link's deadlines: who is silent or reads too slowly ends it, who is held back by this side does not."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mpc_sequencer.node.framing import frame
from mpc_sequencer.node.link import FRAME_TIMEOUT_S, WRITE_TIMEOUT_S, Link

FIRST_S, IDLE_S = 10.0, 60.0


def make_link(stream: object) -> Link:
    return Link(
        stream,  # type: ignore[arg-type]
        queue_messages_max=8,
        queue_bytes_max=1 << 20,
        frame_bytes_max=1 << 10,
        first_frame_timeout_s=FIRST_S,
        idle_timeout_s=IDLE_S,
    )


async def ends_after_s(sends: list[tuple[float, bytes]], held_back_s: float = 0.0) -> tuple[float, str, int]:
    """When and why a link ends whose other side sends ``sends`` (pause, bytes), and how many frames it brought."""
    here, there = memory_stream_pair()
    link, frames = make_link(here), 0

    async def deliver(found: list[bytes]) -> None:
        nonlocal frames
        frames += len(found)
        await trio.sleep(held_back_s)

    async with trio.open_nursery() as nursery:
        began = trio.current_time()

        async def talk() -> None:
            for pause_s, data in sends:
                await trio.sleep(pause_s)
                await there.send_all(data)

        nursery.start_soon(talk)
        await link.run(deliver)
        return trio.current_time() - began, link.reason, frames


@pytest.mark.parametrize(
    ("sends", "end_s"),
    [
        ([], FIRST_S),
        ([(5.0, b"\x00\x00")], FIRST_S),
        ([(5.0, frame(b"one"))], 5.0 + IDLE_S),
        ([(5.0, frame(b"one")), (50.0, frame(b"two"))], 55.0 + IDLE_S),
        ([(5.0, frame(b"one")), (1.0, b"\x00"), (10.0, b"\x00")], 6.0 + FRAME_TIMEOUT_S),
    ],
    ids=["silent", "no first frame", "idle", "idle after two", "a frame that does not come to its end"],
)
async def test_the_silent_end_the_link(
    autojump_clock: MockClock, sends: list[tuple[float, bytes]], end_s: float
) -> None:
    seconds, reason, frames = await ends_after_s(sends)
    assert (round(seconds, 3), reason) == (end_s, "the other side was silent too long")
    assert frames == sum(1 for _, data in sends if len(data) > 2)


async def test_who_is_held_back_here_is_not_taken_for_silent(autojump_clock: MockClock) -> None:
    seconds, reason, frames = await ends_after_s([(1.0, frame(b"one"))], held_back_s=10 * IDLE_S)
    assert (round(seconds, 3), frames) == (1.0 + 11 * IDLE_S, 1)
    assert reason == "the other side was silent too long"


async def test_who_reads_too_slowly_ends_the_link_and_a_pause_between_writes_does_not(
    autojump_clock: MockClock,
) -> None:
    here, there = memory_stream_pair()
    stuck = trio.Event()

    async def never() -> None:
        if stuck.is_set():
            await trio.sleep_forever()

    here.send_stream.send_all_hook = never
    link = make_link(here)

    async def deliver(_frames: list[bytes]) -> None:
        """Nothing is expected."""

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run, deliver)
        await there.send_all(frame(b"hello"))
        assert link.queue(frame(b"one"))
        await trio.sleep(3 * WRITE_TIMEOUT_S)
        assert link.reason == "", "idle is not slow"
        stuck.set()
        began = trio.current_time()
        assert link.queue(frame(b"two"))
        while not link.reason:
            await trio.sleep(0.5)
        assert link.reason == "the other side read too slowly"
        assert WRITE_TIMEOUT_S <= trio.current_time() - began <= WRITE_TIMEOUT_S + 1
