"""What a trader's client believes of a next committee: what q of the present one's members signed, and no forgery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
import trio
from epoch_kit import first_era, handed_over, next_era, person, resigned
from epoch_world import NEW, OLD, World, client_of, eventually

from mpc_sequencer.core.messages import EpochsReply
from mpc_sequencer.core.types import EpochStart
from threshold.dkg import Result

pytestmark = pytest.mark.usefixtures("quick_poll")

Forge = Callable[[World], EpochStart]


def _of_fewer_than_q(world: World) -> EpochStart:
    return resigned(world.first, world.starts[0], by=(0, 1))


def _with_a_repeated_signer(world: World) -> EpochStart:
    return resigned(world.first, world.starts[0], by=(0, 1, 1))


def _with_signers_out_of_order(world: World) -> EpochStart:
    return resigned(world.first, world.starts[0], by=(1, 0, 2))


def _of_a_later_epoch(world: World) -> EpochStart:
    return resigned(world.first, world.starts[0], by=(0, 1, 2), epoch=2)


def _of_another_deployment(world: World) -> EpochStart:
    other = first_era(OLD, 3, settlement=b"\x5f" * 20)
    return next_era(other, NEW, 5)[1]


def _of_other_members(world: World) -> EpochStart:
    strangers = first_era([person(number) for number in range(20, 24)], 3)
    return resigned(strangers, world.starts[0], by=(0, 1, 2))


def _signed_by_the_new_members(world: World) -> EpochStart:
    start, era = world.starts[0], world.eras[1]
    signed = handed_over(era, start.committee, Result.decode(start.result), range(era.committee.q), epoch=1)
    return msgspec.structs.replace(start, handover=signed)


def _with_a_bent_result(world: World) -> EpochStart:
    """As q old members have not signed it: another key for member 1 of the next committee."""
    made = Result.decode(world.starts[0].result)
    keys = {**made.verification_keys, 2: made.verification_keys[1]}
    return msgspec.structs.replace(world.starts[0], result=replace(made, verification_keys=keys).encode())


def _with_another_key(world: World) -> EpochStart:
    """Signed by q old members even: the key of a deployment stays."""
    made = Result.decode(world.starts[0].result)
    bent = replace(made, public_key=made.verification_keys[1]).encode()
    return resigned(world.first, world.starts[0], by=(0, 1, 2), result=bent)


def _with_another_member(world: World) -> EpochStart:
    """Somebody puts its own endpoint into the committee that q members signed."""
    committee = world.starts[0].committee
    bent = msgspec.structs.replace(committee.members[0], endpoint="127.0.0.1:6666")
    members = (bent, *committee.members[1:])
    return msgspec.structs.replace(world.starts[0], committee=msgspec.structs.replace(committee, members=members))


def _unsafe(world: World) -> EpochStart:
    """Three members, which tolerate no fault."""
    committee = world.starts[0].committee
    bent = msgspec.structs.replace(committee, threshold=2, members=committee.members[:3])
    return resigned(world.first, world.starts[0], by=(0, 1, 2), committee=bent)


def _with_a_result_that_is_none(world: World) -> EpochStart:
    return msgspec.structs.replace(world.starts[0], result=b"\x00\x01")


def _of_another_attempt(world: World) -> EpochStart:
    return resigned(world.first, world.starts[0], by=(0, 1, 2), attempt=1)


FORGERIES = [
    _of_fewer_than_q,
    _with_a_repeated_signer,
    _with_signers_out_of_order,
    _of_a_later_epoch,
    _of_another_deployment,
    _of_other_members,
    _signed_by_the_new_members,
    _with_a_bent_result,
    _with_another_key,
    _with_another_member,
    _unsafe,
    _with_a_result_that_is_none,
    _of_another_attempt,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
async def test_a_forged_proof_makes_no_committee(world: World, forge: Forge) -> None:
    liar = world.first.index(person(1))
    world.actors[1].shows = (forge(world),)
    async with client_of(world) as client:
        await eventually(lambda: client.faults)
        assert {fault.node for fault in client.faults} == {liar}
        assert client.committee is client.roster.newest and client.committee.genesis == world.first.committee.genesis
        assert set(client.nodes) == {0, 1, 2, 3}
        world.enter(1, range(2, 9))  # the liar goes on, and the truth comes through all the same
        await eventually(lambda: world.persons(client) == set(range(2, 9)))
        assert client.committee.genesis == world.eras[1].committee.genesis


async def test_what_holds_before_a_forged_proof_stands(world: World) -> None:
    forged = msgspec.structs.replace(world.starts[0], epoch=2)
    world.actors[2].shows = (world.starts[0], forged)
    async with client_of(world) as client:
        await eventually(lambda: client.faults)
        assert client.committee.epoch == 1 and client.faults[0].node == world.first.index(person(2))
        await eventually(lambda: len(world.persons(client) & set(range(3, 9))) == 6)


async def test_a_member_that_nobody_asked_is_not_heard(world: World) -> None:
    async with client_of(world) as client:
        await client.wait_connected(4)
        await trio.sleep(0.1)
        client._on_reply(1, EpochsReply(9_999, world.starts, None, None, 0))
        assert client.committee.epoch == 0
