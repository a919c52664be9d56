"""Links between members in different epochs, and with those who have no place: what passes, and what a liar gets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from coincurve import PrivateKey
from house_kit import MEMBERS, House, secret
from raw_links import closed, raw_link

from mpc_sequencer.core import codec, messages
from mpc_sequencer.core.committee import Committee, Origin, Sharing
from mpc_sequencer.core.effects import ChainSeen, FromPeer, SettlementSeen
from mpc_sequencer.core.rotation import successor_genesis
from mpc_sequencer.core.signing import address_of
from mpc_sequencer.core.types import (
    NO_SIGNATURE,
    ZERO_HASH,
    Checkpoint,
    EpochStart,
    KeyReady,
    NextCommittee,
    NextMember,
    Vote,
)
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.node import peer_network, tls
from mpc_sequencer.node.config import format_endpoint
from mpc_sequencer.node.directory import VISITOR, Directory
from mpc_sequencer.node.framing import frame
from mpc_sequencer.node.inbox import Inbox
from mpc_sequencer.node.transport import NodeTransport, PeerAhead, PeerDown, PeerMessage, PeerUp

pytestmark = pytest.mark.trio
JOINER_SEED = secret("log", 77)
JOINER_KEY = PrivateKey(secret("consensus", 77)).public_key.format()
LOG_QUESTION = messages.FetchLog(1, 0)


@dataclass(frozen=True)
class Town:
    """A house whose member 3 is to be replaced by a joiner."""

    house: House
    joiner: NextMember
    later: Committee
    """Of the next epoch."""

    @property
    def first(self) -> Committee:
        return self.house.file.committee.own()

    def later_number(self, log_key: bytes) -> int:
        return [one.log_key for one in self.later.genesis.members].index(log_key)

    def log_key(self, node: int) -> bytes:
        return self.house.file.genesis.members[node].log_key

    def hello(self, epoch: int, genesis: bytes | None = None) -> bytes:
        genesis = self.house.file.committee.genesis_id if genesis is None else genesis
        return frame(codec.encode(messages.PeerHello(genesis, epoch)))


def make_town(house: House) -> Town:
    file = house.file
    (port,) = free_ports(1)
    certificate = tls.member_certificate(JOINER_SEED)
    joiner = NextMember(JOINER_KEY, tls.log_key(JOINER_SEED), f"127.0.0.1:{port}", certificate)
    rows = zip(file.genesis.members, file.endpoints, file.certificates, strict=True)
    founders = [NextMember(m.consensus_key, m.log_key, format_endpoint(at), cert) for m, at, cert in rows]
    people = [*founders[:3], joiner]
    people.sort(key=lambda one: address_of(one.consensus_key))
    ready = (KeyReady(0, NO_SIGNATURE),)
    start = EpochStart(1, NextCommittee(3, tuple(people)), 1, 0, b"", ready, ZERO_HASH, 9)
    keys = tuple(member.verification_key for member in file.genesis.members)
    sharing = Sharing(1, 10, keys, ZERO_HASH, None)
    origin = Origin(file.committee.genesis_id, ZERO_HASH, 9, file.genesis.public_key, sharing, (start,))
    return Town(house, joiner, Committee(successor_genesis(file.genesis, start), origin))


@pytest.fixture
def town(house: House) -> Town:
    return make_town(house)


def framed(message: messages.PeerMessage) -> bytes:
    return frame(codec.encode(message))


def vote(view: int) -> messages.VoteMessage:
    return messages.VoteMessage(Vote(2, 0, view, ZERO_HASH, 0, NO_SIGNATURE))


@asynccontextmanager
async def serving(town: Town, node: int, committee: Committee | None = None) -> AsyncIterator[NodeTransport]:
    """Member ``node``, in the epoch of ``committee``, which dials nobody that listens."""
    transport = NodeTransport(town.house.file, node, town.house.seeds[node])
    if committee is not None:
        transport.enter(committee)
    async with trio.open_nursery() as nursery:
        await transport.bind(*town.house.file.endpoints[node])
        nursery.start_soon(transport.run)
        with trio.fail_after(10):
            yield transport
        nursery.cancel_scope.cancel()


def calling(town: Town, seed: bytes, target: int) -> contextlib.AbstractAsyncContextManager[Any]:
    """A raw TLS connection with the key of that seed."""
    return raw_link(town.house.file.endpoints[target], tls.peer_context(seed, town.house.file.certificates))


async def heard(stream: Any) -> list[messages.PeerMessage]:
    """What has come, hellos included."""
    from mpc_sequencer.node.framing import FrameSplitter

    splitter, found = FrameSplitter(1 << 20), []
    with trio.move_on_after(0.3):
        while True:
            data = await stream.receive_some(65_536)
            found += [codec.decode(messages.PeerMessage, one) for one in splitter.feed(data)]
    return found


async def nothing_more(transport: NodeTransport, passed_over: int) -> None:
    while transport.counters.peer_passed_over < passed_over:
        await trio.sleep(0.01)
    with pytest.raises(trio.WouldBlock):
        transport.peers.events.receive_nowait()


# --- who is let in ------------------------------------------------------------------------------------------------
async def test_a_stranger_is_let_in_once_a_rotation_has_named_it(town: Town) -> None:
    committee = town.first
    async with serving(town, 1, committee) as one:
        async with calling(town, JOINER_SEED, 1) as stream:
            assert await closed(stream)
        assert one.counters.handshakes_failed == 1 and not one.counters.peer_links
        committee.joiners.append(town.joiner)
        one.know_joiners()
        async with calling(town, JOINER_SEED, 1) as stream:
            await stream.send_all(town.hello(0))
            assert await one.peers.events.receive() == PeerUp(MEMBERS)
        async with calling(town, secret("log", 99), 1) as stream:
            assert await closed(stream), "nobody else is"


async def test_a_joiner_with_another_keys_certificate_is_let_in_nowhere(town: Town) -> None:
    committee = town.first
    forged = msgspec.structs.replace(town.joiner, tls_certificate=tls.member_certificate(secret("log", 99)))
    broken = msgspec.structs.replace(town.joiner, log_key=secret("log", 98), tls_certificate=b"\x30")
    committee.joiners += [forged, broken]
    async with serving(town, 1, committee) as one:
        for seed in (JOINER_SEED, secret("log", 99)):
            async with calling(town, seed, 1) as stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(town.hello(0))
                assert await closed(stream)
        assert not one.counters.peer_links and one.counters.handshakes_failed == 2


async def test_who_left_is_a_visitor_and_is_heard_no_more_in_the_same_epoch(town: Town) -> None:
    async with serving(town, 0, town.later) as zero, calling(town, town.house.seeds[3], 0) as stream:
        await stream.send_all(town.hello(1) + framed(vote(1)) + framed(LOG_QUESTION))
        await nothing_more(zero, 2)
        zero.peers.broadcast(codec.encode(vote(2)))
        assert [type(one) for one in await heard(stream)] == [messages.PeerHello]


# --- what passes --------------------------------------------------------------------------------------------------
async def test_a_laggards_votes_are_passed_over_and_its_question_for_the_log_is_a_visitors(town: Town) -> None:
    async with serving(town, 1, town.later) as one, calling(town, town.house.seeds[0], 1) as stream:
        await stream.send_all(town.hello(0))
        up = await one.peers.events.receive()
        assert isinstance(up, PeerUp) and up.node >= VISITOR and up.epoch == 1
        await stream.send_all(framed(vote(1)) + framed(messages.LogSlice((), 0)) + framed(LOG_QUESTION))
        assert await one.peers.events.receive() == PeerMessage(up.node, LOG_QUESTION, 1)
        assert one.counters.peer_passed_over == 2 and not one.counters.peer_faults
        one.peers.broadcast(codec.encode(vote(2)))
        number = town.later_number(town.log_key(0))
        for called in (up.node, number):
            assert not one.peers.send(called, codec.encode(vote(3)))
        assert one.peers.send(up.node, codec.encode(messages.LogSlice((), 7)), across=True)
        hello, answer = await heard(stream)
        assert hello == messages.PeerHello(town.first.genesis_id, 1) and answer == messages.LogSlice((), 7)


async def test_of_a_member_that_is_ahead_only_its_log_passes(town: Town) -> None:
    async with serving(town, 1) as one, calling(town, town.house.seeds[0], 1) as stream:
        await stream.send_all(town.hello(7) + framed(vote(1)) + framed(messages.LogSlice((), 3)))
        assert await one.peers.events.receive() == PeerAhead(0)
        assert await one.peers.events.receive() == PeerMessage(0, messages.LogSlice((), 3))
        await nothing_more(one, 1)
        one.peers.broadcast(codec.encode(vote(2)))
        assert one.peers.send(0, codec.encode(LOG_QUESTION), across=True)
        assert [type(one) for one in await heard(stream)] == [messages.PeerHello, messages.FetchLog]


async def test_a_joiner_asks_and_offers_and_does_not_vote(town: Town) -> None:
    committee = town.first
    committee.joiners.append(town.joiner)
    async with serving(town, 1, committee) as one, calling(town, JOINER_SEED, 1) as stream:
        await stream.send_all(town.hello(0) + framed(vote(1)) + framed(LOG_QUESTION))
        assert await one.peers.events.receive() == PeerUp(MEMBERS)
        assert await one.peers.events.receive() == PeerMessage(MEMBERS, LOG_QUESTION)
        await nothing_more(one, 1)
        one.peers.broadcast(codec.encode(vote(2)))
        assert [type(one) for one in await heard(stream)] == [messages.PeerHello, messages.VoteMessage]


# --- going over ---------------------------------------------------------------------------------------------------
async def test_who_goes_over_says_so_on_every_link_and_is_met_again_when_the_other_end_follows(town: Town) -> None:
    async with serving(town, 1, town.first) as one, calling(town, town.house.seeds[0], 1) as stream:
        await stream.send_all(town.hello(0))
        assert await one.peers.events.receive() == PeerUp(0)
        (behind,) = one.enter(town.later)
        assert isinstance(behind, PeerUp) and behind.node >= VISITOR
        assert [message.epoch for message in await heard(stream)] == [0, 1]
        await stream.send_all(town.hello(1) + framed(vote(4)))
        number = town.later_number(town.log_key(0))
        assert await one.peers.events.receive() == PeerUp(number, 1)
        assert await one.peers.events.receive() == PeerMessage(number, vote(4), 1)
        assert one.peers.send(number, codec.encode(vote(5)))
        assert await heard(stream) == [vote(5)]
    assert one.counters.peer_links == 1, "on the same link"


async def test_a_member_that_follows_meets_who_was_ahead(town: Town) -> None:
    async with serving(town, 1, town.first) as one, calling(town, town.house.seeds[0], 1) as stream:
        await stream.send_all(town.hello(1))
        assert await one.peers.events.receive() == PeerAhead(0)
        assert one.enter(town.later) == [PeerUp(town.later_number(town.log_key(0)), 1)]


@pytest.mark.parametrize("epoch", [0, 2, 3])
async def test_a_hello_that_goes_back_or_says_nothing_new_is_a_fault(town: Town, epoch: int) -> None:
    async with serving(town, 1) as one, calling(town, town.house.seeds[0], 1) as stream:
        await stream.send_all(town.hello(3) + town.hello(epoch))
        assert await closed(stream)
        assert one.counters.peer_faults == 1


async def test_a_later_hello_of_another_deployment_is_a_fault(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_network, "PEER_PAUSE_S", 0.0)
    async with serving(town, 1) as one, calling(town, town.house.seeds[0], 1) as stream:
        await stream.send_all(town.hello(0) + town.hello(1, ZERO_HASH))
        assert await closed(stream)
        assert one.counters.peer_faults == 1


async def test_what_was_said_to_an_epoch_that_is_over_is_dropped() -> None:
    inbox = Inbox()
    send, receive = trio.open_memory_channel[Any](10)
    for event in (PeerUp(1), PeerMessage(1, LOG_QUESTION)):
        send.send_nowait(event)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.pump, receive, inbox.peers)
        await trio.testing.wait_all_tasks_blocked()
        assert len(inbox.peers) == 2
        inbox.enter(1, [PeerUp(2, 1)])
        for late in (PeerMessage(3, LOG_QUESTION), PeerDown(1, "", 0), PeerMessage(2, LOG_QUESTION, 1)):
            send.send_nowait(late)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [one.node for one in inbox.take()] == [2, 2]  # type: ignore[union-attr]


async def test_what_the_own_chain_said_before_the_cutover_is_not_lost() -> None:
    """The watcher says nothing twice: without it no later word would follow, and the member would name no checkpoint
    until it is started again."""
    inbox = Inbox()
    told = ChainSeen(Checkpoint(8, bytes(32), 0, bytes(32)), (), ())
    settled = SettlementSeen(3, bytes(32), 0)
    for event in (FromPeer(1, LOG_QUESTION), told, settled):
        inbox.put(inbox.peers, event)
    inbox.enter(1, [])
    assert inbox.take() == [told, settled]


# --- numbers and dialling -----------------------------------------------------------------------------------------
async def test_who_dials_whom_is_the_same_seen_from_any_epoch(town: Town) -> None:
    people = {town.log_key(node): node for node in range(MEMBERS)} | {town.joiner.log_key: MEMBERS}
    committee = town.first
    committee.joiners.append(town.joiner)
    seen: dict[tuple[int, bytes], Directory] = {}
    for epoch, of in ((0, committee), (1, town.later)):
        for key in people:
            directory = seen[epoch, key] = Directory(town.house.file, key)
            directory.enter(of)
    for one in people:
        for other in people:
            for epoch, later in ((0, 0), (0, 1), (1, 1)):
                a, b = seen[epoch, one], seen[later, other]
                if one == other:
                    assert not a.dials(other) and not a.answers(other)
                    continue
                linked = (a.dials(other) and b.answers(one)) or (b.dials(one) and a.answers(other))
                founders = people[one] < MEMBERS and people[other] < MEMBERS
                if epoch == later and (a.is_member or b.is_member):
                    assert linked, "two of one epoch, one of them a member, come to a link"
                if epoch != later and founders:
                    assert linked, "and so do a laggard and whoever was in its committee"


async def test_numbers_are_those_of_the_epoch(town: Town) -> None:
    directory = Directory(town.house.file, town.log_key(0))
    assert [directory.number(town.log_key(node)) for node in range(MEMBERS)] == list(range(MEMBERS))
    directory.enter(town.later)
    numbers = [directory.number(town.log_key(node)) for node in range(3)] + [directory.number(town.joiner.log_key)]
    assert sorted(numbers) == list(range(MEMBERS))
    assert directory.number(town.log_key(3)) == directory.visitor(town.log_key(3)) >= VISITOR
