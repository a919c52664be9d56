"""The client against members that answer, lie, stay silent and go away. Members here are scripts behind
the same connection interface the TLS link has; the wire itself is tested with the transport.

One module, as all of it is the scripted members at its head answering one way or another.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from mpc_sequencer.client import MemberFault, NotConnected, ReceiptStore, TimedOut, read_receipts, sequencer, tracker
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.sync import SyncSequencerClient
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import (
    ClientReply,
    ClientRequest,
    EpochsQuery,
    EpochsReply,
    ExecutedRow,
    OrderQuery,
    OrderReply,
    OrdersExecuted,
    OrdersFinal,
    Submit,
    SubmitReply,
    SubmitResult,
)

BLOCK = b"\x05" * 32
REFUSED = ("credit.exhausted", "label.sponsor", "bond 0", "1000000000000")


def notional(tick_lots: int) -> bytes:
    return tick_lots.to_bytes(16, "big")


class ScriptedMember:
    """One member: answers each request by ``script``, counts connections, can be cut off."""

    def __init__(self, node: int, script: Callable[[int, ClientRequest], list[ClientReply]]) -> None:
        self.node = node
        self.script = script
        self.requests: list[ClientRequest] = []
        self.connections = 0
        self.reachable = True
        self._replies: trio.MemorySendChannel[ClientReply] | None = None

    def cut(self) -> None:
        if self._replies is not None:
            self._replies.close()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        if not self.reachable:
            raise OSError("nobody listens")
        self.connections += 1
        sender, receiver = trio.open_memory_channel[ClientReply](1_000)
        self._replies = sender
        member = self

        class Connection:
            async def send(self, *requests: ClientRequest) -> None:
                for request in requests:
                    if isinstance(request, EpochsQuery):
                        await sender.send(EpochsReply(request.request, (), None, None, 0))
                        continue
                    member.requests.append(request)
                    for reply in member.script(member.node, request):
                        await sender.send(reply)

            def __aiter__(self) -> AsyncIterator[ClientReply]:
                return receiver.__aiter__()

        yield Connection()


class Committee4:
    """Four scripted members and how an honest one answers."""

    def __init__(self, committee: Committee, make_receipt: Any) -> None:
        self.committee = committee
        self.make_receipt = make_receipt
        self.members = [ScriptedMember(node, self.honest) for node in range(4)]

    def connector(self, node: int) -> Any:
        return self.members[node].connect()

    def receipts_only(self, node: int, request: ClientRequest) -> list[ClientReply]:
        if not isinstance(request, Submit):
            return []
        ids = [envelope.order_id() for envelope in request.envelopes]
        rows = tuple(SubmitResult(i, self.make_receipt(i, node), "", "", "", "") for i in ids)
        return [SubmitReply(request.request, rows)]

    def honest(self, node: int, request: ClientRequest) -> list[ClientReply]:
        replies = self.receipts_only(node, request)
        if isinstance(request, Submit):
            ids = tuple(envelope.order_id() for envelope in request.envelopes)
            replies.append(OrdersFinal(7, BLOCK, ids))
            rows = (ExecutedRow(i, "filled", 5, 618_000, notional(5 * 618_000)) for i in ids)
            replies.append(OrdersExecuted(7, tuple(rows)))
        return replies

    def refuse(self, node: int, request: ClientRequest) -> list[ClientReply]:
        if not isinstance(request, Submit):
            return []
        ids = [envelope.order_id() for envelope in request.envelopes]
        return [SubmitReply(request.request, tuple(SubmitResult(i, None, *REFUSED) for i in ids))]


@pytest.fixture
def house(committee: Committee, make_receipt: Any) -> Committee4:
    return Committee4(committee, make_receipt)


@pytest.fixture
def fresh_order(make_order: Any) -> Callable[[], Any]:
    return lambda: make_order(time.time_ns() // 1_000_000)


@asynccontextmanager
async def connected(house: Committee4, **options: Any) -> AsyncIterator[SequencerClient]:
    async with open_sequencer(house.committee, house.connector, **options) as client:
        await client.wait_connected(4, 5)
        yield client


async def test_an_order_gets_four_verified_receipts_and_an_outcome(
    house: Committee4, fresh_order: Any, tmp_path: Any
) -> None:
    sealed = fresh_order()
    with ReceiptStore(tmp_path / "receipts", house.committee) as store:
        async with connected(house, receipts=store) as client:
            (submission,) = await client.submit([sealed.envelope])
            assert sorted(submission.receipts) == [0, 1, 2, 3] and not submission.refusals
            (record,) = await client.wait_executed([sealed.order_id], 5)
            assert record.executed == (7, "filled", 5, 618_000, 3_090_000)
            assert record.final == (7, BLOCK)
            assert not client.faults
    assert sorted(row.receipt.node for row in read_receipts(tmp_path / "receipts")) == [0, 1, 2, 3]


async def test_a_bad_envelope_is_not_sent_to_anybody(house: Committee4, fresh_order: Any) -> None:
    good, bad = fresh_order().envelope, fresh_order().envelope
    bad = msgspec.structs.replace(bad, ciphertext=bad.ciphertext[:-1] + b"\0")
    async with connected(house) as client:
        with pytest.raises(ValueError, match=r"tdh2\.proof"):
            client.send([good, bad])
        assert not client.tracker.orders
    assert not any(member.requests for member in house.members)


async def test_a_forged_receipt_is_its_senders_fault_and_does_not_count(
    house: Committee4, fresh_order: Any
) -> None:
    def forge(node: int, request: ClientRequest) -> list[ClientReply]:
        if not isinstance(request, Submit):
            return []
        ids = [envelope.order_id() for envelope in request.envelopes]
        rows = tuple(SubmitResult(i, house.make_receipt(i, node, signed_by=0), "", "", "", "") for i in ids)
        return [SubmitReply(request.request, rows)]

    house.members[3].script = forge
    sealed = fresh_order()
    async with connected(house) as client:
        await client.submit([sealed.envelope], timeout_s=1)
        assert sorted(client.tracker.orders[sealed.order_id].receipts) == [0, 1, 2]
        assert [(fault.node, fault.refusal.code) for fault in client.faults[:1]] == [(3, "signature.signer")]


async def test_one_liar_alone_makes_no_outcome(house: Committee4, fresh_order: Any) -> None:
    for member in house.members[1:]:
        member.script = house.receipts_only
    sealed = fresh_order()
    async with connected(house) as client:
        await client.submit([sealed.envelope])
        with pytest.raises(TimedOut):
            await client.wait_executed([sealed.order_id], 0.3)


async def test_an_order_every_member_refuses_ends_with_the_members_refusal(
    house: Committee4, fresh_order: Any
) -> None:
    for member in house.members:
        member.script = house.refuse
    sealed = fresh_order()
    async with connected(house) as client:
        (submission,) = await client.submit([sealed.envelope])
        assert {refusal.code for refusal in submission.refusals.values()} == {"credit.exhausted"}
        with pytest.raises(ProtocolError) as refusal:
            await client.wait_final([sealed.order_id], 5)
        assert refusal.value.code == "credit.exhausted"


async def test_after_a_reconnect_open_orders_are_submitted_again(house: Committee4, fresh_order: Any) -> None:
    for member in house.members:
        member.script = house.receipts_only
    sealed = fresh_order()
    async with connected(house) as client:
        await client.submit([sealed.envelope])
        for member in house.members[:2]:
            member.script = house.honest
            member.cut()
        await client.wait_executed([sealed.order_id], 5)
        assert house.members[0].connections == 2
        assert [type(request) for request in house.members[0].requests] == [Submit, Submit]
        assert house.members[2].connections == 1


async def test_an_order_sequenced_meanwhile_is_asked_for(house: Committee4, fresh_order: Any) -> None:
    def sequenced(node: int, request: ClientRequest) -> list[ClientReply]:
        if isinstance(request, Submit):
            ids = [envelope.order_id() for envelope in request.envelopes]
            rows = tuple(SubmitResult(i, None, "intake.sequenced", "order_id", "", "") for i in ids)
            return [SubmitReply(request.request, rows)]
        if isinstance(request, OrderQuery):
            return [OrderReply(request.request, request.order_id, "executed", 9, "filled", 2, 3, notional(6))]
        return []

    for member in house.members:
        member.script = sequenced
    sealed = fresh_order()
    async with connected(house) as client:
        client.send([sealed.envelope])
        with trio.fail_after(5):
            while client.tracker.orders[sealed.order_id].executed is None:
                await trio.sleep(0.01)
        assert client.tracker.orders[sealed.order_id].executed == (9, "filled", 2, 3, 6)


async def test_an_answer_to_a_question_nobody_asked_ends_the_link(
    house: Committee4, fresh_order: Any
) -> None:
    house.members[2].script = lambda node, request: [SubmitReply(10_000, ())]
    async with connected(house) as client:
        await client.submit([fresh_order().envelope], timeout_s=1)
        assert client.faults and client.faults[0].node == 2


async def test_a_status_for_another_order_is_the_members_fault(house: Committee4) -> None:
    house.members[1].script = lambda node, request: [
        OrderReply(request.request, b"\x09" * 32, "pending", 0, "", 0, 0, bytes(16))
    ]
    async with connected(house) as client:
        with pytest.raises(MemberFault):
            await client.order(1, b"\x08" * 32, 2)


async def test_members_that_cannot_be_reached_are_named(house: Committee4) -> None:
    for member in house.members[2:]:
        member.reachable = False
    async with open_sequencer(house.committee, house.connector) as client:
        assert await client.wait_connected(2, 5) == [0, 1]
        with pytest.raises(NotConnected, match="nobody listens"):
            await client.wait_connected(3, 0.3)
        with pytest.raises(NotConnected, match="nobody listens"):
            await client.status(3, 0.3)


async def test_a_silent_member_costs_a_timeout_and_nothing_else(house: Committee4, fresh_order: Any) -> None:
    house.members[0].script = lambda node, request: []
    sealed = fresh_order()
    async with connected(house) as client:
        with pytest.raises(TimedOut):
            await client.status(0, 0.2)
        (submission,) = await client.submit([sealed.envelope], timeout_s=0.5)
        assert sorted(submission.receipts) == [1, 2, 3]
        await client.wait_executed([sealed.order_id], 5)


def test_the_blocking_client_does_the_same_and_closes(house: Committee4, fresh_order: Any) -> None:
    sealed = fresh_order()
    with SyncSequencerClient(house.committee, house.connector) as client:
        client.wait_connected(4, 5)
        (submission,) = client.submit([sealed.envelope])
        assert len(submission.receipts) == 4
        assert client.wait_executed([sealed.order_id], 5)[0].state == "executed"
    with pytest.raises(NotConnected):
        client.wait_connected(1)
    client.close()


def test_a_misuse_of_the_blocking_client_is_raised_where_it_is_made(house: Committee4) -> None:
    with pytest.raises(ValueError, match="distinct members"):
        SyncSequencerClient(house.committee, house.connector, [0, 0])


async def test_a_duplicate_of_an_executed_order_is_asked_for(house: Committee4, fresh_order: Any) -> None:
    def duplicate(node: int, request: ClientRequest) -> list[ClientReply]:
        if isinstance(request, Submit):
            ids = [envelope.order_id() for envelope in request.envelopes]
            rows = tuple(
                SubmitResult(i, house.make_receipt(i, node), "intake.duplicate", "", "", "") for i in ids
            )
            return [SubmitReply(request.request, rows)]
        if isinstance(request, OrderQuery):
            return [OrderReply(request.request, request.order_id, "executed", 9, "unfilled", 0, 0, bytes(16))]
        return []

    for member in house.members:
        member.script = duplicate
    sealed = fresh_order()
    async with connected(house) as client:
        await client.submit([sealed.envelope])
        (record,) = await client.wait_executed([sealed.order_id], 5)
        assert record.executed == (9, "unfilled", 0, 0, 0) and len(record.receipts) == 4


def sequenced_already(node: int, request: ClientRequest) -> list[ClientReply]:
    """How a member answers that restarted and has forgotten everything of the order but that it was batched."""
    if isinstance(request, Submit):
        ids = [envelope.order_id() for envelope in request.envelopes]
        rows = tuple(SubmitResult(i, None, "intake.sequenced", "order_id", "", "") for i in ids)
        return [SubmitReply(request.request, rows)]
    return []


async def test_an_order_sequenced_already_is_refused_by_nobody_and_nobody_is_blamed(
    house: Committee4, fresh_order: Any
) -> None:
    for member in house.members:
        member.script = sequenced_already
    sealed = fresh_order()
    async with connected(house) as client:
        (submission,) = await client.submit([sealed.envelope], timeout_s=5)
        assert (submission.receipts, submission.refusals) == ({}, {})
        record = client.tracker.orders[sealed.order_id]
        assert not record.refused and record.sequenced == {0, 1, 2, 3}
        with pytest.raises(TimedOut):
            await client.wait_executed([sealed.order_id], 0.2)
        assert not client.faults and client.connected() == [0, 1, 2, 3]


async def test_an_order_is_sent_again_to_members_that_were_recovering_and_not_to_those_that_refused_it(
    house: Committee4, fresh_order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "RESEND_TICK_S", 0.02)
    monkeypatch.setattr(tracker, "_RESEND_NS", 50_000_000)

    def recovering(node: int, request: ClientRequest) -> list[ClientReply]:
        if not isinstance(request, Submit):
            return []
        ids = [envelope.order_id() for envelope in request.envelopes]
        rows = tuple(SubmitResult(i, None, "intake.recovering", "member", "", "") for i in ids)
        return [SubmitReply(request.request, rows)]

    house.members[0].script = house.members[1].script = recovering
    house.members[2].script = house.refuse
    house.members[3].script = house.receipts_only
    sealed = fresh_order()
    async with connected(house) as client:
        await client.submit([sealed.envelope])
        for member in house.members[:2]:
            member.script = house.honest
        (record,) = await client.wait_executed([sealed.order_id], 5)
        assert sorted(record.receipts) == [0, 1, 3]
        assert len(house.members[2].requests) == 1
        assert [member.connections for member in house.members] == [1, 1, 1, 1]


async def test_what_every_member_refused_is_not_sent_after_a_reconnect(house: Committee4, fresh_order: Any) -> None:
    for member in house.members:
        member.script = house.refuse
    async with connected(house) as client:
        await client.submit([fresh_order().envelope])
        for member in house.members:
            member.script = house.honest
            member.cut()
        with trio.fail_after(5):
            while any(member.connections < 2 for member in house.members):
                await trio.sleep(0.01)
        await trio.sleep(0.05)
        assert [len(member.requests) for member in house.members] == [1, 1, 1, 1]


async def test_a_member_that_comes_back_without_its_disk_gives_a_second_receipt_and_both_are_kept(
    house: Committee4, fresh_order: Any, tmp_path: Any
) -> None:
    def reborn(node: int, request: ClientRequest) -> list[ClientReply]:
        if not isinstance(request, Submit):
            return []
        ids = [envelope.order_id() for envelope in request.envelopes]
        receipts = [house.make_receipt(i, node, incarnation=1, list_number=5) for i in ids]
        rows = [SubmitResult(i, receipt, "", "", "", "") for i, receipt in zip(ids, receipts, strict=True)]
        return [SubmitReply(request.request, tuple(rows))]

    for member in house.members:
        member.script = house.receipts_only
    sealed = fresh_order()
    with ReceiptStore(tmp_path / "receipts", house.committee) as store:
        async with connected(house, receipts=store) as client:
            await client.submit([sealed.envelope])
            house.members[0].script = reborn
            house.members[0].cut()
            record = client.tracker.orders[sealed.order_id]
            with trio.fail_after(5):
                while record.receipts[0].incarnation == 0:
                    await trio.sleep(0.01)
            assert [(one.node, one.incarnation) for one in record.earlier_receipts] == [(0, 0)]
    held = [(row.receipt.node, row.receipt.incarnation) for row in read_receipts(tmp_path / "receipts")]
    assert sorted(held) == [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)]
