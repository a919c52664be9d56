"""Service for clients: each bounded by itself, told why it is refused, and never able to stop the member."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from raw_links import raw_link

from mpc_sequencer.core import codec, limits, messages
from mpc_sequencer.core.types import ZERO_HASH, Envelope
from mpc_sequencer.node import client_server, link, tls, transport
from mpc_sequencer.node.framing import frame
from mpc_sequencer.node.link_events import EVENTS_MAX
from mpc_sequencer.node.transport import (
    ClientGone,
    ClientLink,
    ClientRequestEvent,
    NodeTransport,
    open_client,
)

pytestmark = pytest.mark.trio
NODE = 2


def order_reply(number: int) -> bytes:
    return codec.encode(messages.OrderReply(number, ZERO_HASH, "pending", 0, "", 0, 0, bytes(16)))


@asynccontextmanager
async def member(house: Any) -> AsyncIterator[NodeTransport]:
    served = NodeTransport(house.file, NODE, house.seeds[NODE])
    await served.bind(*house.file.endpoints[NODE])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.run)
        with trio.fail_after(15):
            yield served
        nursery.cancel_scope.cancel()


def client(house: Any) -> Any:
    return open_client(*house.file.endpoints[NODE], house.file.certificates[NODE])


def raw(house: Any) -> AbstractAsyncContextManager[Any]:
    return raw_link(house.file.endpoints[NODE], tls.client_context(house.file.certificates))


async def request_of(served: NodeTransport) -> ClientRequestEvent:
    event = await served.clients.events.receive()
    assert isinstance(event, ClientRequestEvent)
    return event


async def served_still(house: Any, served: NodeTransport) -> None:
    """The member serves a well-behaved client; what others sent before is passed over."""
    async with client(house) as other:
        await other.send(messages.OrderQuery(123_456, ZERO_HASH))
        while True:
            event = await served.clients.events.receive()
            if isinstance(event, ClientRequestEvent) and event.request.request == 123_456:
                break
        assert served.clients.reply(event.client_id, order_reply(123_456))
        assert (await anext(other)).request == 123_456


async def test_requests_and_replies_in_order(house: Any) -> None:
    async with member(house) as served, client(house) as asking:
        requests = [messages.StatusQuery(number) for number in range(500)]
        await asking.send(*requests)
        for request in requests:
            event = await request_of(served)
            assert event.request == request
            assert served.clients.reply(event.client_id, order_reply(request.request))
        assert [(await anext(asking)).request for _ in requests] == list(range(500))


@pytest.mark.parametrize(
    ("size", "most"),
    [
        (limits.FORCED_BYTES_MAX, limits.SUBMIT_ENVELOPES_MAX),
        (limits.ENVELOPE_BYTES_MAX, limits.SUBMIT_BYTES_MAX // limits.ENVELOPE_BYTES_MAX),
    ],
)
async def test_a_full_submit_fits_the_clients_bound(house: Any, size: int, most: int) -> None:
    envelope = Envelope(1, bytes(101), bytes(size), bytes(65))
    submit = messages.Submit(1, (envelope,) * most, True)
    async with member(house) as served, client(house) as asking:
        await asking.send(submit)
        assert (await request_of(served)).request == submit


async def test_a_client_that_goes_is_reported_once_and_replies_to_it_are_dropped(house: Any) -> None:
    async with member(house) as served:
        async with client(house) as asking:
            await asking.send(messages.StatusQuery(1))
            event = await request_of(served)
        assert await served.clients.events.receive() == ClientGone(event.client_id)
        assert not served.clients.reply(event.client_id, order_reply(1))
        assert served.clients.connected == 0


@pytest.mark.parametrize(
    ("garbage", "code", "field"),
    [
        (frame(b"\xc1"), "wire.malformed", ""),
        (frame(codec.encode(messages.StatusQuery(1)) + b"\0"), "wire.malformed", ""),
        (frame(codec.encode(messages.PeerHello(ZERO_HASH, 1))), "wire.type", ""),
        (frame(b"\x92\x22\xff"), "wire.bound", "StatusQuery"),
        (frame(b"\x92\x22\xcd\x00\x01"), "wire.canonical", ""),
        (b"\xff\xff\xff\xff", "wire.size", "frame.length"),
        (b"\0\0\0\0", "wire.size", "frame.length"),
    ],
    ids=["no message", "trailing byte", "a peer's message", "negative", "long integer", "oversized", "empty"],
)
async def test_a_request_that_cannot_be_read_is_refused_with_its_cause(
    house: Any, garbage: bytes, code: str, field: str
) -> None:
    async with member(house) as served:
        async with raw(house) as stream:
            await stream.send_all(frame(codec.encode(messages.StatusQuery(8))) + garbage)
            event = await request_of(served)
            assert event.request == messages.StatusQuery(8)
            replies = [reply async for reply in ClientLink(stream)]
            assert len(replies) == 1
            assert isinstance(replies[0], messages.Refused)
            assert replies[0].code == code
            assert replies[0].field
            assert replies[0].expected
        assert await served.clients.events.receive() == ClientGone(event.client_id)
        assert served.counters.client_faults == 1
        await served_still(house, served)


async def test_the_refusal_arrives_though_the_client_goes_on_sending(house: Any) -> None:
    async with member(house), raw(house) as stream, trio.open_nursery() as nursery:

        async def go_on() -> None:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(frame(b"\xc1") + bytes(3 << 20))

        nursery.start_soon(go_on)
        reply = await anext(ClientLink(stream))
        assert isinstance(reply, messages.Refused)
        nursery.cancel_scope.cancel()


async def test_a_silent_client_is_closed(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(client_server, "FIRST_REQUEST_TIMEOUT_S", 0.2)
    async with member(house) as served:
        async with client(house) as asking:
            with trio.fail_after(2):
                assert [reply async for reply in asking] == []
        await served_still(house, served)


async def test_half_a_request_and_silence_is_closed(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(link, "FRAME_TIMEOUT_S", 0.2)
    async with member(house) as served:
        async with raw(house) as stream:
            await stream.send_all(frame(codec.encode(messages.StatusQuery(1))) + b"\0\0")
            await request_of(served)
            with trio.fail_after(2):
                assert await stream.receive_some(1) == b""
        await served_still(house, served)


async def test_an_idle_client_is_closed_after_its_time(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(client_server, "CLIENT_IDLE_TIMEOUT_S", 0.3)
    async with member(house) as served, client(house) as asking:
        await asking.send(messages.StatusQuery(1))
        await request_of(served)
        with trio.fail_after(2):
            assert [reply async for reply in asking] == []


async def test_a_handshake_that_stops_is_closed(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("mpc_sequencer.node.peer_network.HANDSHAKE_TIMEOUT_S", 0.2)
    async with member(house) as served:
        tcp = await trio.open_tcp_stream(*house.file.endpoints[NODE])
        await tcp.send_all(b"\x16\x03\x01")
        with trio.fail_after(2):
            assert await tcp.receive_some(1) == b""
        assert served.counters.handshakes_failed == 1
        await served_still(house, served)


async def test_many_open_handshakes_push_out_the_oldest(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(transport, "HANDSHAKES_MAX", 3)
    async with member(house) as served:
        held = [await trio.open_tcp_stream(*house.file.endpoints[NODE]) for _ in range(4)]
        with trio.fail_after(2):
            assert await held[0].receive_some(1) == b""
        await served_still(house, served)


async def test_a_client_that_does_not_read_is_closed_and_others_are_served(
    house: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(client_server, "CLIENT_QUEUE_BYTES_MAX", 1 << 20)
    async with member(house) as served:
        async with raw(house) as stream:
            await stream.send_all(frame(codec.encode(messages.StatusQuery(1))))
            event = await request_of(served)
            reply = codec.encode(messages.OrdersFinal(1, ZERO_HASH, (ZERO_HASH,) * limits.BATCH_ORDERS_MAX))
            while served.clients.reply(event.client_id, reply):
                await trio.sleep(0)
            assert await served.clients.events.receive() == ClientGone(event.client_id)
        await served_still(house, served)


async def test_too_many_queued_replies_close_the_client(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "CLIENT_QUEUE_MESSAGES_MAX", 50)
    async with member(house) as served, client(house) as asking:
        await asking.send(messages.StatusQuery(1))
        event = await request_of(served)
        assert sum(served.clients.reply(event.client_id, order_reply(i)) for i in range(60)) == 50


async def test_a_flooding_client_is_held_back_and_loses_nothing(house: Any) -> None:
    total = 3 * EVENTS_MAX
    async with member(house) as served, client(house) as asking, trio.open_nursery() as nursery:
        nursery.start_soon(asking.send, *(messages.StatusQuery(number) for number in range(total)))
        await trio.sleep(0.3)
        assert served.clients.events.statistics().current_buffer_used == EVENTS_MAX
        for number in range(total):
            assert (await request_of(served)).request.request == number


async def test_clients_past_the_bound_are_told_so(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "CLIENTS_MAX", 2)
    async with member(house) as served, client(house) as first, client(house) as second:
        for one in (first, second):
            await one.send(messages.StatusQuery(1))
            await request_of(served)
        async with client(house) as third:
            await third.send(messages.StatusQuery(1))
            replies = [reply async for reply in third]
            assert [type(reply) for reply in replies] == [messages.Refused]
            assert replies[0].code == "intake.full"
        assert served.counters.client_refused == 1
        assert served.clients.connected == 2


async def test_a_member_that_sends_garbage_is_the_members_fault(house: Any) -> None:
    async with member(house) as served, client(house) as asking:
        await asking.send(messages.StatusQuery(1))
        event = await request_of(served)
        served.clients.reply(event.client_id, b"\xc1")
        with pytest.raises(ValueError, match=r"wire\.malformed"):
            await anext(asking)
