"""Whom a trader's client talks to while the committee is replaced: members that stay, join, move or leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import trio
from epoch_kit import first_era, next_era, person
from epoch_world import OLD, World, client_of, eventually

from mpc_sequencer.client import NotConnected
from mpc_sequencer.client.link import open_member
from mpc_sequencer.client.sequencer import SequencerClient
from mpc_sequencer.core import limits
from mpc_sequencer.core.types import NextMember
from mpc_sequencer.node import tls
from mpc_sequencer.node.client_link import LinkError

pytestmark = pytest.mark.usefixtures("quick_poll")


async def test_from_the_first_committee_s_file_a_client_comes_to_the_present_members(world: World) -> None:
    world.enter(1)
    async with client_of(world) as client:
        await eventually(lambda: world.persons(client) == set(range(2, 9)))
        assert client.committee.epoch == 1 and client.committee.genesis == world.eras[1].committee.genesis
        assert not world.actors[0].linked and not world.actors[1].linked, "they have left"
        sealed = world.order()
        for number in range(2, 9):
            world.actors[number].executes = True
        (submission,) = await client.submit([sealed.envelope])
        assert len(submission.receipts) == 7
        (record,) = await client.wait_executed([sealed.order_id], 5)
        assert record.executed is not None and not client.faults


async def test_one_member_that_stays_is_enough_to_find_the_others(world: World) -> None:
    world.enter(1)
    for number in (0, 1, 3):
        world.actors[number].up = False
    async with client_of(world) as client:
        await eventually(lambda: world.persons(client) == {2, 4, 5, 6, 7, 8})


async def test_a_member_s_number_stays_when_its_index_changes(world: World) -> None:
    world.enter(1)
    async with client_of(world) as client:
        await eventually(lambda: world.persons(client) == set(range(2, 9)))
        for place in client.nodes:
            status = await client.status(place)
            number = world._by_key[client.roster._keys[place]]
            assert status.node == world.eras[1].index(person(number)) == client.roster.index(place)
            if number < 4:
                assert place == world.eras[0].index(person(number)) == client.roster.index(place, 0)
            else:
                assert place >= 4 and client.roster.index(place, 0) is None
        left = world.eras[0].index(person(0))
        assert client.roster.index(left) is None
        with pytest.raises(NotConnected, match="has left the committee"):
            await client.status(left)
        assert client.failure(left) == "it has left the committee"


@pytest.mark.usefixtures("no_poll")
async def test_whoever_waits_for_a_member_that_leaves_is_told(world: World) -> None:
    async with client_of(world) as client:
        await client.wait_connected(4)
        left = world.eras[0].index(person(0))
        world.actors[0].answer = lambda request: []  # type: ignore[method-assign]

        async def wait() -> None:
            with pytest.raises(NotConnected, match="has left the committee"):
                await client.status(left, 5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.05)
            world.enter(1)
            await client.epochs(world.eras[0].index(person(2)))


@pytest.mark.usefixtures("no_poll")
async def test_a_long_history_is_followed_page_by_page() -> None:
    eras, starts = [first_era(OLD, 3)], []
    for _ in range(limits.EPOCH_STARTS_MAX + 2):
        era, start = next_era(eras[-1], OLD, 3)
        eras.append(era)
        starts.append(start)
    world = World(eras, starts)
    world.enter(len(starts))
    async with client_of(world) as client:
        await eventually(lambda: client.committee.epoch == len(starts))
        assert client.committee.starts == tuple(starts)
        assert max(after for actor in world.actors.values() for after in actor.asked_after) >= limits.EPOCH_STARTS_MAX


async def test_a_client_of_some_members_keeps_to_those_that_stay_while_they_are_enough() -> None:
    era0 = first_era(OLD, 3)
    era1, start = next_era(era0, [person(number) for number in (0, 1, 2, 4)], 3)
    for chosen, stays in (((0, 1), {0, 1}), ((2, 3), {0, 1, 2, 4})):
        world = World([era0, era1], [start])
        async with client_of(world, nodes=[era0.index(person(number)) for number in chosen]) as client:
            await client.wait_connected(2)
            assert world.persons(client) == set(chosen)
            world.enter(1)
            await eventually(lambda c=client, w=world, who=stays: w.persons(c) == who)  # type: ignore[misc]


async def test_members_outside_the_committee_cannot_be_chosen(world: World) -> None:
    for nodes in ([], [0, 0], [4], [-1]):
        with pytest.raises(ValueError, match="distinct members"):
            SequencerClient(world.first.committee, world.connector, nodes)


async def test_a_new_key_of_a_member_that_left_and_came_back_and_its_endpoint_are_used() -> None:
    """A member that stays keeps its log key; the client may have missed the epoch in which it was none."""
    era0 = first_era(OLD, 3)
    back = replace(person(0), endpoint="127.0.0.1:9999", log_seed=b"\x0e" * 32)
    era1, without = next_era(era0, [person(5), *OLD[1:]], 3)
    era2, start = next_era(era1, [back, *OLD[1:]], 3)
    world = World([era0, era1, era2], [without, start])
    seen: list[NextMember] = []

    def newcomers(member: NextMember) -> Any:
        seen.append(member)
        return world.newcomers(member)

    async with client_of(world, newcomers=newcomers) as client:
        await client.wait_connected(4)
        world.enter(2)
        await eventually(lambda: seen and len(client.connected()) == 4)
        assert seen == [back.as_next()], "the others' links stay"
        world.actors[1].cut()
        await eventually(lambda: len(seen) == 2)
        assert seen[1] == person(1).as_next()


async def test_a_member_that_stays_is_dialled_at_its_new_endpoint_once_its_link_ends() -> None:
    era0 = first_era(OLD, 3)
    moved = replace(person(0), endpoint="127.0.0.1:9999")
    era1, start = next_era(era0, [moved, *OLD[1:]], 2)
    world = World([era0, era1], [start])
    seen: list[NextMember] = []

    def newcomers(member: NextMember) -> Any:
        seen.append(member)
        return world.newcomers(member)

    async with client_of(world, newcomers=newcomers) as client:
        await client.wait_connected(4)
        world.enter(1)
        await eventually(lambda: client.committee.epoch == 1)
        assert not seen and len(client.connected()) == 4
        world.actors[0].cut()
        await eventually(lambda: seen and len(client.connected()) == 4)
        assert seen == [moved.as_next()]


def test_a_certificate_that_is_not_of_the_member_s_log_key_is_not_dialled() -> None:
    good = person(5).as_next()
    open_member(good)
    other = tls.member_certificate(person(6).log_seed)
    with pytest.raises(LinkError, match="not of its log key"):
        open_member(msgspec.structs.replace(good, tls_certificate=other))
    with pytest.raises(LinkError, match="no certificate is known"):
        open_member(msgspec.structs.replace(good, tls_certificate=b""))
