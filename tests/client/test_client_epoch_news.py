"""How a trader's client learns that the committee was replaced: by asking, by a link that ends, a refusal, a receipt or
a status, and with its proof alone.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio
from epoch_kit import first_era, next_era, person
from epoch_world import NEW, OLD, World, client_of, eventually

from mpc_sequencer.client import MemberFault, ReceiptStore, membership, read_receipts
from mpc_sequencer.client.receipts import check_receipt
from mpc_sequencer.client.sync import SyncSequencerClient

pytestmark = pytest.mark.usefixtures("quick_poll")


@pytest.mark.usefixtures("no_poll")
async def test_a_link_that_fails_and_comes_back_brings_the_news(world: World) -> None:
    async with client_of(world) as client:
        await client.wait_connected(4)
        await trio.sleep(0.05)
        world.enter(1)
        world.actors[3].cut()
        await eventually(lambda: world.persons(client) == set(range(2, 9)))


async def test_a_member_that_is_gone_makes_the_client_ask_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "EPOCH_POLL_S", 1e6)
    async with client_of(world) as client:
        await client.wait_connected(4)
        await trio.sleep(0.05)
        world.enter(1)
        world.actors[0].up = False
        world.actors[0].cut()
        await eventually(lambda: world.persons(client) == set(range(2, 9)))


@pytest.mark.usefixtures("no_poll")
async def test_a_refusal_of_a_member_that_leaves_brings_the_news_and_ends_no_order(world: World) -> None:
    async with client_of(world) as client:
        await client.wait_connected(4)
        await trio.sleep(0.05)
        world.enter(1)
        for number in (0, 1):
            world.actors[number].epoch = 1  # they have followed to the end
            world.actors[number].refusal = "intake.leaving"
        for number in range(4, 9):
            world.actors[number].executes = True
        sealed = world.order()
        client.send([sealed.envelope])
        (record,) = await client.wait_executed([sealed.order_id], 5)
        assert not record.refused and world.persons(client) == set(range(2, 9))


@pytest.mark.usefixtures("no_poll")
async def test_an_order_that_a_whole_leaving_committee_refuses_is_not_refused() -> None:
    era0 = first_era(OLD, 3)
    era1, start = next_era(era0, [person(number) for number in range(4, 8)], 3)
    world = World([era0, era1], [start])
    for actor in world.actors.values():
        actor.refusal = "intake.leaving"
    async with client_of(world) as client:
        await client.wait_connected(4)
        sealed = world.order()
        client.send([sealed.envelope])
        record = client.tracker.orders[sealed.order_id]
        await eventually(lambda: len(record.refusals) == 4)
        assert not record.refused
        for number in range(4):
            world.actors[number].epoch = 1
        for number in range(4, 8):
            world.actors[number].epoch, world.actors[number].refusal = 1, ""
            world.actors[number].executes = True
        await client.epochs(0)
        await client.wait_executed([sealed.order_id], 5)
        assert record.nodes == {4, 5, 6, 7} and not record.refusals


@pytest.mark.usefixtures("no_poll")
async def test_a_receipt_of_an_epoch_that_is_not_known_yet_is_judged_once_it_is(world: World, tmp_path: Path) -> None:
    with ReceiptStore(tmp_path / "receipts", world.first.committee) as store:
        async with client_of(world, receipts=store) as client:
            await client.wait_connected(4)
            await trio.sleep(0.05)
            world.enter(1)
            sealed = world.order()
            client.send([sealed.envelope])
            record = client.tracker.orders[sealed.order_id]
            stay = {world.first.index(person(number)) for number in (2, 3)}
            await eventually(lambda: stay <= set(record.receipts), 2.0)
            assert client.committee.epoch == 1 and not client.faults
    stored = list(read_receipts(tmp_path / "receipts"))
    assert {one.receipt.epoch for one in stored} >= {1}
    for one in stored:
        committee = world.eras[one.receipt.epoch].committee
        check_receipt(committee, one.receipt, sealed.order_id, one.receipt.node)


async def test_a_status_of_a_later_epoch_is_believed_with_its_proof_alone(world: World) -> None:
    async with client_of(world) as client:
        await client.wait_connected(4)
        liar = world.eras[0].index(person(3))
        world.actors[3].claims_epoch = 5
        with pytest.raises(MemberFault, match=r"epoch\.unknown"):
            await client.status(liar)
        assert client.committee.epoch == 0 and [fault.node for fault in client.faults] == [liar]
        world.actors[3].claims_epoch = None
        world.enter(1)
        assert (await client.status(liar)).epoch == 1 and client.committee.epoch == 1


async def test_a_member_that_names_another_s_index_is_at_fault(world: World) -> None:
    world.enter(1)
    async with client_of(world) as client:
        await eventually(lambda: world.persons(client) == set(range(2, 9)))
        place = world.eras[0].index(person(2))
        world.actors[2].claims_epoch = 0  # its index is that of epoch 1
        assert world.eras[0].index(person(2)) != world.eras[1].index(person(2))
        with pytest.raises(MemberFault, match=r"member\.sender"):
            await client.status(place)


async def test_the_key_comes_with_a_proof_where_the_first_committee_had_none() -> None:
    era0 = first_era(OLD, 3, keyed=False)
    era1, start = next_era(era0, NEW, 5)
    world = World([era0, era1], [start])
    world.enter(1)
    async with client_of(world) as client:
        key = await client.key(5)
        assert (key.epoch, key.threshold, key.certificate) == (1, 5, None)
        assert key.public_key == first_era(OLD, 3).committee.sealing_key.public_key
        assert client.committee.keys is not None


def test_the_blocking_client_follows_too(world: World) -> None:
    with SyncSequencerClient(world.first.committee, world.connector, newcomers=world.newcomers) as client:
        client.wait_connected(4)
        assert client.committee.epoch == 0
        world.enter(1)
        deadline = time.monotonic() + 5
        while client.committee.epoch == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.committee.epoch == 1
        assert len(client.wait_connected(7)) == 7
