"""What a trader's client counts while the committee is replaced: reports of present members, and receipts of their
epochs.
"""

from __future__ import annotations

import msgspec
import pytest
import trio
from epoch_kit import first_era, person
from epoch_world import OLD, World, client_of, eventually

from mpc_sequencer.client import tracker
from mpc_sequencer.client.receipts import check_receipt
from mpc_sequencer.core.messages import ExecutedRow
from mpc_sequencer.core.types import NO_SIGNATURE, Receipt, with_signature

pytestmark = pytest.mark.usefixtures("quick_poll")


@pytest.mark.usefixtures("no_poll")
async def test_orders_without_an_outcome_go_to_the_new_members_and_f_plus_one_of_them_decide(world: World) -> None:
    async with client_of(world) as client:
        await client.wait_connected(4)
        sealed = world.order()
        await client.submit([sealed.envelope])
        record = client.tracker.orders[sealed.order_id]
        world.actors[0].report(sealed.order_id, lots=6)  # who leaves counts no more then
        world.actors[2].report(sealed.order_id)
        await eventually(lambda: len(record.executed_reports) == 2)
        world.enter(1)
        await client.epochs(world.first.index(person(2)))
        await eventually(lambda: all(sealed.order_id in world.actors[number].orders for number in range(4, 9)))
        assert list(record.executed_reports) == [world.first.index(person(2))]
        world.actors[4].report(sealed.order_id)
        await trio.sleep(0.05)
        assert record.executed is None, "f+1 of seven is three"
        world.actors[8].report(sealed.order_id)
        await client.wait_executed([sealed.order_id], 5)
        assert record.executed == (7, "filled", 5, 618_000, 5 * 618_000)
        assert not client.tracker.contradictions, "what one that left said before was never counted"
        assert {receipt.epoch for receipt in record.receipts.values()} == {0, 1}


@pytest.mark.usefixtures("no_poll")
async def test_a_receipt_of_the_epoch_before_is_its_member_s_promise_still(world: World) -> None:
    world.enter(1)
    world.actors[2].receipt_epoch = 0
    async with client_of(world) as client:
        await eventually(lambda: world.persons(client) == set(range(2, 9)))
        sealed = world.order()
        (submission,) = await client.submit([sealed.envelope])
        place = world.first.index(person(2))
        promise = submission.receipts[place]
        assert (promise.epoch, promise.node) == (0, world.first.index(person(2)))
        check_receipt(world.first.committee, promise, sealed.order_id, promise.node)
        assert not client.faults


@pytest.mark.usefixtures("no_poll")
async def test_a_receipt_under_the_index_of_another_epoch_is_a_fault(world: World) -> None:
    world.enter(1)
    actor, place = world.actors[2], world.first.index(person(2))
    now = world.eras[1].index(person(2))
    assert now != world.first.index(person(2))
    honest = actor.receipt
    actor.receipt_epoch = 0
    actor.receipt = lambda order_id: honest(order_id, index=now)  # type: ignore[method-assign, assignment]
    async with client_of(world) as client:
        await eventually(lambda: world.persons(client) == set(range(2, 9)))
        sealed = world.order()
        client.send([sealed.envelope])
        await eventually(lambda: client.faults)
        assert [fault.node for fault in client.faults] == [place]
        assert client.faults[0].refusal.code == "member.sender"


@pytest.mark.usefixtures("no_poll")
async def test_a_newcomer_has_promised_nothing_in_an_epoch_without_it(world: World) -> None:
    world.enter(1)
    stranger = world.actors[7]
    era = world.first
    unsigned = Receipt(0, 0, bytes(32), 2, 1, 5, NO_SIGNATURE)
    stranger.receipt = lambda order_id: with_signature(  # type: ignore[method-assign, assignment]
        msgspec.structs.replace(unsigned, order_id=order_id),
        stranger.who.signer.sign_digest(era.committee.digest(unsigned.struct_hash())),
    )
    async with client_of(world) as client:
        await eventually(lambda: world.persons(client) == set(range(2, 9)))
        client.send([world.order().envelope])
        await eventually(lambda: client.faults)
        assert client.faults[0].refusal.code == "member.sender"


def test_a_smaller_committee_needs_fewer_reports_of_those_that_stay() -> None:
    made = tracker.OrderTracker(2)
    order = World([first_era(OLD, 3)], []).order()
    record = made.add(order.order_id, order.envelope, range(7), 0)
    row = ExecutedRow(order.order_id, "filled", 5, 618_000, bytes(16))
    other = ExecutedRow(order.order_id, "filled", 4, 618_000, bytes(16))
    made.executed(5, 7, [other], 1)
    made.executed(6, 7, [other], 1)
    made.executed(0, 7, [row], 1)
    made.executed(1, 7, [row], 1)
    made.filled(0, 9, [row])
    made.filled(1, 9, [row])
    made.final(0, 7, b"\x05" * 32, [order.order_id], 1)
    made.final(6, 7, b"\x05" * 32, [order.order_id], 1)
    assert record.executed is None and record.final is None and not record.later_fills
    made.succeed(range(4), 1, 2)
    assert record.executed == (7, "filled", 5, 618_000, 0) and record.executed_ns == 2
    assert record.later_fills == [(9, 5, 618_000, 0)]
    assert record.final is None, "one of its two reports is of a member that left"
    assert record.nodes == {0, 1, 2, 3} and order.order_id not in made.unexecuted
    made.final(6, 7, b"\x05" * 32, [order.order_id], 3)
    assert record.final is None
    made.final(3, 7, b"\x05" * 32, [order.order_id], 3)
    assert record.final == (7, b"\x05" * 32)
