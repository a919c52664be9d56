"""A trader's client while the committee is replaced: whom it believes, whom it asks, what it counts. Members are
scripts behind the interface of the TLS link; proofs, receipts and signatures are real.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from client_key_kit import OrderMaker, status_reply
from epoch_kit import Era, Person, first_era, handed_over, next_era, person, resigned

from mpc_sequencer.client import MemberFault, NotConnected, ReceiptStore, membership, read_receipts, tracker
from mpc_sequencer.client.link import open_member
from mpc_sequencer.client.receipts import check_receipt
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.sync import SyncSequencerClient
from mpc_sequencer.core import limits
from mpc_sequencer.core.messages import (
    ClientReply,
    ClientRequest,
    EpochsQuery,
    EpochsReply,
    ExecutedRow,
    KeyQuery,
    KeyReply,
    OrdersExecuted,
    StatusQuery,
    Submit,
    SubmitReply,
    SubmitResult,
)
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE, EpochStart, NextMember, Receipt, with_signature
from mpc_sequencer.node import tls
from mpc_sequencer.node.client_link import LinkError
from threshold.dkg import Result

TRADER = Signer(b"\x11" * 32)
OLD = [person(number) for number in range(4)]
NEW = [person(number) for number in range(2, 9)]
"""Persons 0 and 1 leave, 4 to 8 join."""


class Actor:
    """One person as a member: the epoch it is in, and what it does with orders."""

    def __init__(self, world: World, who: Person) -> None:
        self.world, self.who = world, who
        self.epoch = 0
        self.up = True
        self.executes = False
        self.refusal = ""
        self.claims_epoch: int | None = None
        self.receipt_epoch: int | None = None
        self.shows: tuple[EpochStart, ...] | None = None
        self.orders: list[bytes] = []
        self.asked_after: list[int] = []
        self._replies: set[trio.MemorySendChannel[ClientReply]] = set()

    @property
    def linked(self) -> bool:
        return bool(self._replies)

    def cut(self) -> None:
        for sender in self._replies:
            sender.close()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        if not self.up:
            raise OSError("nobody listens")
        sender, receiver = trio.open_memory_channel[ClientReply](1_000)
        self._replies.add(sender)
        actor = self

        class Connection:
            async def send(self, *requests: ClientRequest) -> None:
                for request in requests:
                    for reply in actor.answer(request):
                        await sender.send(reply)

            def __aiter__(self) -> AsyncIterator[ClientReply]:
                return receiver.__aiter__()

        try:
            yield Connection()
        finally:
            self._replies.discard(sender)

    def answer(self, request: ClientRequest) -> list[ClientReply]:
        match request:
            case EpochsQuery(number, after):
                self.asked_after.append(after)
                known = self.world.starts[: self.epoch] if self.shows is None else self.shows
                starts = [start for start in known if start.epoch > after][: limits.EPOCH_STARTS_MAX]
                return [EpochsReply(number, tuple(starts), None, None, 0)]
            case StatusQuery(number):
                epoch = self.epoch if self.claims_epoch is None else self.claims_epoch
                index = self.world.eras[self.epoch].index(self.who)
                return [status_reply(index, number, epoch=epoch)]
            case KeyQuery(number):
                return [KeyReply(number, None, "given")]
            case Submit(number, envelopes):
                ids = [envelope.order_id() for envelope in envelopes]
                self.orders += ids
                if self.refusal:
                    rows = tuple(SubmitResult(one, None, self.refusal, "", "", "") for one in ids)
                    return [SubmitReply(number, rows)]
                rows = tuple(SubmitResult(one, self.receipt(one), "", "", "", "") for one in ids)
                return [SubmitReply(number, rows), *(self.outcome(ids) if self.executes else ())]
        return []

    def receipt(self, order_id: bytes, *, index: int | None = None) -> Receipt:
        epoch = self.epoch if self.receipt_epoch is None else self.receipt_epoch
        era = self.world.eras[epoch]
        node = era.index(self.who) if index is None else index
        unsigned = Receipt(epoch, 0, order_id, node, 1, 5, NO_SIGNATURE)
        return with_signature(unsigned, self.who.signer.sign_digest(era.committee.digest(unsigned.struct_hash())))

    def outcome(self, ids: Sequence[bytes], lots: int = 5) -> list[ClientReply]:
        rows = tuple(ExecutedRow(one, "filled", lots, 618_000, (lots * 618_000).to_bytes(16, "big")) for one in ids)
        return [OrdersExecuted(7, rows)]

    def report(self, order_id: bytes, lots: int = 5) -> None:
        for sender in self._replies:
            for reply in self.outcome([order_id], lots):
                sender.send_nowait(reply)


class World:
    """All persons, and the epochs that they go through."""

    def __init__(self, eras: Sequence[Era], starts: Sequence[EpochStart]) -> None:
        self.eras, self.starts = tuple(eras), tuple(starts)
        everybody = {one.number: one for era in eras for one in era.people}
        self.actors = {number: Actor(self, who) for number, who in everybody.items()}
        self._by_key = {who.signer.public_key: number for number, who in everybody.items()}

    @property
    def first(self) -> Era:
        return self.eras[0]

    def connector(self, place: int) -> Any:
        return self.actors[self.first.people[place].number].connect()

    def newcomers(self, member: NextMember) -> Any:
        return self.actors[self._by_key[member.consensus_key]].connect()

    def enter(self, epoch: int, numbers: Sequence[int] | None = None) -> None:
        """Persons who are in an epoch now; by default all of its members."""
        chosen = [one.number for one in self.eras[epoch].people] if numbers is None else numbers
        for number in chosen:
            self.actors[number].epoch = epoch

    def persons(self, client: SequencerClient) -> set[int]:
        """Whom a client is connected to, by person."""
        keys = {place: key for place, key in enumerate(client.roster._keys)}
        return {self._by_key[keys[place]] for place in client.connected()}

    def order(self) -> Any:
        return OrderMaker(self.first.committee, TRADER)(time.time_ns() // 1_000_000)


def _world() -> World:
    era0 = first_era(OLD, 3)
    era1, start = next_era(era0, NEW, 5)
    return World([era0, era1], [start])


@pytest.fixture
def world() -> World:
    return _world()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "EPOCH_POLL_S", 0.05)
    monkeypatch.setattr(membership, "EPOCH_POLL_DOWN_S", 0.02)


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what members say, or new links, make the client ask."""
    monkeypatch.setattr(membership, "EPOCH_POLL_S", 1e6)
    monkeypatch.setattr(membership, "EPOCH_POLL_DOWN_S", 1e6)


@asynccontextmanager
async def client_of(world: World, **options: Any) -> AsyncIterator[SequencerClient]:
    options.setdefault("newcomers", world.newcomers)
    async with open_sequencer(world.first.committee, world.connector, **options) as client:
        yield client


async def eventually(done: Callable[[], object], seconds: float = 5.0) -> None:
    with trio.fail_after(seconds):
        while not done():
            await trio.sleep(0.01)


# --- whom it talks to -----------------------------------------------------------------------------------------------
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


# --- how it learns --------------------------------------------------------------------------------------------------
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


# --- what it believes -----------------------------------------------------------------------------------------------
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


# --- what it counts -------------------------------------------------------------------------------------------------
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
        assert record.executed == (7, "filled", 5, 618_000, 5 * 618_000, 0, 0)
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
    assert record.executed is None and record.final is None and not record.updates
    made.succeed(range(4), 1, 2)
    assert record.executed == (7, "filled", 5, 618_000, 0, 0, 0) and record.executed_ns == 2
    assert record.updates == [(9, "filled", 5, 618_000, 0, 0, 0)]
    assert record.final is None, "one of its two reports is of a member that left"
    assert record.nodes == {0, 1, 2, 3} and order.order_id not in made.unexecuted
    made.final(6, 7, b"\x05" * 32, [order.order_id], 3)
    assert record.final is None
    made.final(3, 7, b"\x05" * 32, [order.order_id], 3)
    assert record.final == (7, b"\x05" * 32)
