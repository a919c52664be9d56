"""Links between members: one each, authenticated, and a hostile or slow member loses only its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from raw_links import closed, raw_link

from mpc_sequencer.core import codec, messages
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Vote
from mpc_sequencer.node import link, peer_network, tls
from mpc_sequencer.node.framing import FrameSplitter, frame
from mpc_sequencer.node.transport import NodeTransport, PeerDown, PeerMessage, PeerUp

pytestmark = pytest.mark.trio


def vote(view: int) -> bytes:
    return codec.encode(messages.VoteMessage(Vote(2, 0, view, ZERO_HASH, 0, NO_SIGNATURE)))


def hello(house: Any, epoch: int = 0) -> bytes:
    return frame(codec.encode(messages.PeerHello(house.file.committee.genesis_id, epoch)))


@asynccontextmanager
async def serving(house: Any, *nodes: int) -> AsyncIterator[list[NodeTransport]]:
    transports = [NodeTransport(house.file, node, house.seeds[node]) for node in nodes]
    async with trio.open_nursery() as nursery:
        for node, transport in zip(nodes, transports, strict=True):
            await transport.bind(*house.file.endpoints[node])
            nursery.start_soon(transport.run)
        with trio.fail_after(15):
            yield transports
        nursery.cancel_scope.cancel()


def rogue(house: Any, node: int, target: int) -> AbstractAsyncContextManager[Any]:
    """A raw TLS connection with the key of member ``node``."""
    context = tls.peer_context(house.seeds[node], house.file.certificates)
    return raw_link(house.file.endpoints[target], context)


async def until(events: Any, kind: type) -> Any:
    while True:
        event = await events.receive()
        if isinstance(event, kind):
            return event


async def test_members_find_each_other_and_broadcast_reaches_all(house: Any) -> None:
    async with serving(house, 0, 1, 2, 3) as transports:
        for transport in transports:
            ups = {(await until(transport.peers.events, PeerUp)).node for _ in range(3)}
            assert len(ups) == 3
        assert [t.peers.connected for t in transports] == [(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)]
        transports[1].peers.broadcast(vote(9))
        for node in (0, 2, 3):
            event = await transports[node].peers.events.receive()
            assert event.node == 1
            assert event.message.vote.view == 9


async def test_messages_keep_their_order_and_large_ones_arrive(house: Any) -> None:
    big = codec.encode(messages.FetchBodies(tuple(bytes([i % 256]) * 32 for i in range(1024))))
    async with serving(house, 0, 1) as (zero, one):
        await until(zero.peers.events, PeerUp)
        await until(one.peers.events, PeerUp)
        for view in range(3000):
            assert zero.peers.send(1, vote(view))
            if view % 100 == 0:
                assert zero.peers.send(1, big)
        views = []
        while len(views) < 3000:
            event = await until(one.peers.events, PeerMessage)
            if isinstance(event.message, messages.VoteMessage):
                views.append(event.message.vote.view)
        assert views == list(range(3000))


async def test_send_without_a_link_says_so(house: Any) -> None:
    async with serving(house, 1) as (one,):
        assert not one.peers.send(0, vote(1))
        assert not one.peers.send(3, vote(1))
        one.peers.broadcast(vote(1))


@pytest.mark.parametrize(
    "garbage",
    [frame(b"\xc1"), frame(b"\x93\x05"), b"\xff\xff\xff\xff", b"\0\0\0\0", frame(vote(1) + b"\0")],
    ids=["no message", "cut message", "oversized length", "empty frame", "trailing byte"],
)
async def test_a_peer_that_sends_garbage_is_kept_out_for_a_while(house: Any, garbage: bytes) -> None:
    async with serving(house, 1, 2) as (one, two):
        await until(one.peers.events, PeerUp)
        async with rogue(house, 0, 1) as stream:
            await stream.send_all(hello(house))
            assert await until(one.peers.events, PeerUp) == PeerUp(0)
            await stream.send_all(frame(vote(5)) + garbage)
            assert (await until(one.peers.events, PeerMessage)).message.vote.view == 5
            down = await until(one.peers.events, PeerDown)
            assert down.node == 0
            assert "wire." in down.reason
            assert await closed(stream)
        assert one.counters.peer_faults == 1
        async with rogue(house, 0, 1) as stream:
            assert await closed(stream)
        assert one.counters.peer_refused == 1
        assert one.peers.connected == (2,)
        assert one.peers.send(2, vote(6))
        assert (await until(two.peers.events, PeerMessage)).message.vote.view == 6


async def test_a_hello_of_another_deployment_is_refused(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(peer_network, "PEER_PAUSE_S", 0.0)
    wrong = [
        frame(codec.encode(messages.PeerHello(ZERO_HASH, 0))),
        frame(vote(1)),
    ]
    async with serving(house, 1) as (one,):
        for count, first in enumerate(wrong, 1):
            async with rogue(house, 0, 1) as stream:
                await stream.send_all(first)
                assert await closed(stream)
            assert one.counters.peer_faults == count
        assert one.counters.peer_links == 0
        with pytest.raises(trio.WouldBlock):
            one.peers.events.receive_nowait()


async def test_a_second_hello_is_a_fault(house: Any) -> None:
    async with serving(house, 1) as (one,):
        async with rogue(house, 0, 1) as stream:
            await stream.send_all(hello(house) + hello(house))
            assert await closed(stream)
        assert one.counters.peer_faults == 1


async def test_a_member_of_higher_index_may_not_dial(house: Any) -> None:
    async with serving(house, 1) as (one,):
        for node in (1, 2):
            async with rogue(house, node, 1) as stream:
                assert await closed(stream)
        assert one.counters.peer_refused == 2
        assert one.counters.peer_links == 0


async def test_a_new_link_replaces_the_old_one(house: Any) -> None:
    async with serving(house, 1) as (one,), rogue(house, 0, 1) as old, rogue(house, 0, 1) as new:
        await old.send_all(hello(house))
        assert await one.peers.events.receive() == PeerUp(0)
        await new.send_all(hello(house))
        assert (await one.peers.events.receive()).node == 0
        assert await one.peers.events.receive() == PeerUp(0)
        assert await closed(old)
        await new.send_all(frame(vote(3)))
        assert (await one.peers.events.receive()).message.vote.view == 3
        assert one.peers.connected == (0,)


async def test_a_peer_without_hello_is_dropped(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(peer_network, "HELLO_TIMEOUT_S", 0.2)
    async with serving(house, 1) as (one,):
        async with rogue(house, 0, 1) as stream:
            with trio.fail_after(2):
                assert await closed(stream)
        assert one.counters.peer_links == 0


async def test_half_a_frame_and_silence_is_dropped(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(link, "FRAME_TIMEOUT_S", 0.2)
    async with serving(house, 1) as (one,), rogue(house, 0, 1) as stream:
        await stream.send_all(hello(house) + frame(vote(1))[:-1])
        assert await one.peers.events.receive() == PeerUp(0)
        with trio.fail_after(2):
            down = await one.peers.events.receive()
        assert "silent" in down.reason


async def test_dripping_bytes_does_not_keep_a_half_frame_alive(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(link, "FRAME_TIMEOUT_S", 0.4)
    async with serving(house, 1) as (one,), rogue(house, 0, 1) as stream, trio.open_nursery() as nursery:
        await stream.send_all(hello(house))
        await until(one.peers.events, PeerUp)

        async def drip() -> None:
            try:
                for byte in frame(bytes(200)):
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(0.05)
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(drip)
        with trio.fail_after(3):
            assert "silent" in (await until(one.peers.events, PeerDown)).reason


async def test_an_idle_link_stays(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(peer_network, "HELLO_TIMEOUT_S", 0.2)
    monkeypatch.setattr(link, "FRAME_TIMEOUT_S", 0.2)
    async with serving(house, 0, 1) as (zero, one):
        await until(one.peers.events, PeerUp)
        await until(zero.peers.events, PeerUp)
        await trio.sleep(0.6)
        assert zero.peers.connected == (1,)
        assert one.peers.connected == (0,)


async def test_a_peer_that_does_not_read_overflows_its_own_queue_only(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(peer_network, "PEER_QUEUE_BYTES_MAX", 1 << 20)
    async with serving(house, 1, 2) as (one, two):
        await until(one.peers.events, PeerUp)
        async with rogue(house, 0, 1) as stream:
            await stream.send_all(hello(house))
            await until(one.peers.events, PeerUp)
            data = codec.encode(messages.FetchBodies(tuple(bytes(32) for _ in range(1024))))
            sent = 0
            while one.peers.send(0, data):
                sent += 1
                await trio.sleep(0)
            assert sent < 2_000, "more was queued than the byte bound allows"
            down = await until(one.peers.events, PeerDown)
            assert down == PeerDown(0, "its queue overflowed")
        assert one.peers.send(2, vote(8))
        assert (await until(two.peers.events, PeerMessage)).message.vote.view == 8


async def test_a_peer_that_reads_too_slowly_is_dropped(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(link, "WRITE_TIMEOUT_S", 0.3)
    async with serving(house, 1) as (one,), rogue(house, 0, 1) as stream:
        await stream.send_all(hello(house))
        await until(one.peers.events, PeerUp)
        data = codec.encode(messages.FetchBodies(tuple(bytes(32) for _ in range(1024))))
        for _ in range(800):
            one.peers.send(0, data)
        assert (await until(one.peers.events, PeerDown)).reason == "the other side read too slowly"


async def test_a_flooding_peer_is_held_back_and_others_get_through(house: Any) -> None:
    async with serving(house, 1, 2) as (one, two):
        await until(one.peers.events, PeerUp)
        await until(two.peers.events, PeerUp)
        async with rogue(house, 0, 1) as stream, trio.open_nursery() as nursery:
            await stream.send_all(hello(house))
            await until(one.peers.events, PeerUp)
            sent = 0

            async def flood() -> None:
                nonlocal sent
                while True:
                    await stream.send_all(frame(vote(1)) * 1000)
                    sent += 1000

            nursery.start_soon(flood)
            with trio.move_on_after(0.7):
                await trio.sleep_forever()
            held_back = sent
            await trio.sleep(0.3)
            assert sent == held_back, "the reader went on without room for what it read"
            two.peers.send(1, vote(77))
            while (event := await until(one.peers.events, PeerMessage)).message.vote.view != 77:
                pass
            assert event.node == 2
            nursery.cancel_scope.cancel()


async def test_a_restarted_member_is_linked_again(house: Any) -> None:
    async with serving(house, 0) as (zero,):
        async with serving(house, 1):
            assert await until(zero.peers.events, PeerUp) == PeerUp(1)
        assert (await until(zero.peers.events, PeerDown)).node == 1
        assert zero.peers.connected == ()
        async with serving(house, 1) as (one,):
            assert await until(zero.peers.events, PeerUp) == PeerUp(1)
            await until(one.peers.events, PeerUp)
            assert zero.peers.send(1, vote(2))
            assert (await until(one.peers.events, PeerMessage)).node == 0


async def test_a_member_that_was_away_for_long_is_dialled_soon_after_it_is_back(house: Any) -> None:
    async with serving(house, 0) as (zero,):
        await trio.sleep(2.5)  # attempts would be up to 3 s apart by now, were the pause not bounded
        async with serving(house, 1):
            with trio.fail_after(2 * peer_network.UNREACHED_BACKOFF_S_MAX):
                assert await until(zero.peers.events, PeerUp) == PeerUp(1)


async def test_another_member_at_a_members_address_is_not_linked(house: Any) -> None:
    impostor = NodeTransport(house.file, 2, house.seeds[2])
    await impostor.bind(*house.file.endpoints[1])
    async with serving(house, 0) as (zero,), trio.open_nursery() as nursery:
        nursery.start_soon(impostor.run)
        while not zero.counters.handshakes_failed:
            await trio.sleep(0.01)
        assert zero.counters.peer_links == 0
        assert zero.peers.connected == ()
        nursery.cancel_scope.cancel()


async def test_a_used_port_is_a_config_error(house: Any) -> None:
    async with serving(house, 1):
        second = NodeTransport(house.file, 1, house.seeds[1])
        with pytest.raises(ConfigError, match=r"^port \d+ at 127\.0\.0\.1 is in use$") as caught:
            await second.bind(*house.file.endpoints[1])
        assert "listen" in caught.value.hint


async def test_a_keystore_of_another_member_is_a_config_error(house: Any) -> None:
    with pytest.raises(ConfigError, match="log key"):
        NodeTransport(house.file, 1, house.seeds[2])
    with pytest.raises(ConfigError, match="index 4"):
        NodeTransport(house.file, 4, house.seeds[1])


async def test_both_sides_say_hello_first(house: Any) -> None:
    async with serving(house, 1), rogue(house, 0, 1) as stream:
        splitter = FrameSplitter(1000)
        frames: list[bytes] = []
        while not frames:
            frames = splitter.feed(await stream.receive_some(1000))
        assert frames[0] == hello(house)[4:]
