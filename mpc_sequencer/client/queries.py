"""One question to several members at once; a member that does not answer is an answer too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import trio

from mpc_sequencer.client.committee_key import CommitteeKey
from mpc_sequencer.client.errors import ClientError, MemberFault, NotConnected
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import DarkMarketStatus, EpochsReply, MarketReply, OrderReply, StatusReply
from mpc_sequencer.core.resultproof import ResultProof
from mpc_sequencer.core.types import NextMember
from mpc_sequencer.node.config import CommitteeFile
from mpc_sequencer.node.next_committee import members_of

if TYPE_CHECKING:
    from mpc_sequencer.client.dark_keys import DarkKeys

CONNECT_POLL_S: Final = 0.02
FOLLOW_S_MAX: Final = 3.0
T = TypeVar("T")
Question = Callable[[SequencerClient, int, float], Awaitable[T]]


async def ask_status(
    file: CommitteeFile, nodes: Sequence[int], timeout_s: float
) -> dict[int, StatusReply | str]:
    """Each member's state, or why there is none."""
    return await _ask_each(file, nodes, timeout_s, lambda client, node, limit_s: client.status(node, limit_s))


async def ask_order(
    file: CommitteeFile, chosen: Callable[[int], Sequence[int]], order_id: bytes, timeout_s: float
) -> tuple[Committee, dict[int, OrderReply | str]]:
    """The present committee, and what its members say of an order, by index, or why they say nothing. ``chosen`` is as
    for :func:`ask_committee`."""

    async def question(client: SequencerClient, node: int, limit_s: float) -> OrderReply:
        return await client.order(node, order_id, limit_s)

    async with open_sequencer(file.committee, connector_to(file)) as client:
        return await _ask_present(client, chosen, timeout_s, question)


async def ask_proof(
    file: CommitteeFile, kind: int, identifier: bytes, height: int, timeout_s: float
) -> tuple[Committee, ResultProof]:
    """The newest proven committee and a proof, judged, of the first member that gives one: what it shows needs no
    second member. Raises the last member's :class:`~.errors.ClientError` where none does."""
    failure: ClientError = NotConnected("no member answered", "start the nodes, or check the committee file")
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await follow_epochs(client, timeout_s)
        await client.wait_connected(1, timeout_s)
        for node in client.connected():
            try:
                proof = await client.prove(node, kind, identifier, height, timeout_s)
            except ClientError as error:
                failure = error
            else:
                return client.committee, proof
    raise failure


async def ask_market(
    file: CommitteeFile, market: int, levels: int, timeout_s: float
) -> tuple[Committee, dict[int, MarketReply | str]]:
    """The present committee, and a market as its members have it, by index, or why they say nothing."""

    async def question(client: SequencerClient, node: int, limit_s: float) -> MarketReply:
        return await client.market(node, market, levels, limit_s)

    async with open_sequencer(file.committee, connector_to(file)) as client:
        return await _ask_present(client, range, timeout_s, question)


@dataclass(frozen=True, slots=True)
class DarkView:
    """What the members show of dark markets: the keys that orders are sealed to, proven, or why there are none, and
    what most members say of ``market``'s batch; None where none of them says anything."""

    keys: DarkKeys | None
    pending: str
    status: DarkMarketStatus | None


async def ask_dark(file: CommitteeFile, market: int, timeout_s: float) -> DarkView:
    """The state of a dark market. Never raises for what members do not say."""
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await follow_epochs(client, timeout_s)
        places = client.roster.places
        answers = await _ask_over(client, places, timeout_s, lambda one, node, limit_s: one.status(node, limit_s))
        said = [one for reply in answers.values() if not isinstance(reply, str) for one in reply.dark]
        said = [one for one in said if one.market == market]
        status = max(said, key=said.count, default=None)
        try:
            return DarkView(await client.dark_keys(timeout_s), "", status)
        except ClientError as error:
            return DarkView(None, error.cause, status)


@dataclass(frozen=True, slots=True)
class KeyState:
    """A member's state and the key that it proves; ``fault`` says what is wrong with its proof."""

    status: StatusReply
    key: CommitteeKey | None
    fault: MemberFault | None


@dataclass(frozen=True, slots=True)
class CommitteeView:
    """The present committee, as the members that answered prove it, and what each of its members says of itself."""

    committee: Committee
    endpoints: tuple[str, ...]
    """Where its members listen, by index."""
    members: tuple[NextMember, ...]
    """As a proposal names them, by index."""
    answers: dict[int, KeyState | str]
    """By index: a member's state, or why there is none."""
    rotation: EpochsReply | None
    """What most members say of the rotation under way; None where none has said anything."""


async def ask_committee(file: CommitteeFile, chosen: Callable[[int], Sequence[int]], timeout_s: float) -> CommitteeView:
    """Follow the epochs from a committee file to the present committee and ask its members for their state.
    ``chosen`` gives the indexes to ask, from the committee's size; it may raise."""
    async with open_sequencer(file.committee, connector_to(file)) as client:
        committee, answers = await _ask_present(client, chosen, timeout_s, _key_state)
        roster = client.roster
        places = roster.places_of(committee)
        listed = members_of(file)
        members = tuple(roster.member(place) or listed[place] for place in places)
        told = [reply for place in places if (reply := client.told(place)) is not None]
        return CommitteeView(
            committee=committee,
            endpoints=tuple(member.endpoint for member in members),
            members=members,
            answers=answers,
            rotation=_most_said(told),
        )


def states_of(view: CommitteeView) -> dict[int, StatusReply | str]:
    """Each member's state alone."""
    return {node: one if isinstance(one, str) else one.status for node, one in view.answers.items()}


async def follow_epochs(client: SequencerClient, timeout_s: float) -> None:
    """Wait until every member that the client talks to has said how later epochs began or cannot be reached, at most
    FOLLOW_S_MAX: :attr:`SequencerClient.committee` is the newest that any of them proves."""
    with trio.move_on_after(min(timeout_s, FOLLOW_S_MAX)):
        while any(client.told(node) is None and client.failure(node) is None for node in client.nodes):
            await trio.sleep(CONNECT_POLL_S)


def _most_said(told: Sequence[EpochsReply]) -> EpochsReply | None:
    """Members see final blocks at slightly different times: what most say, and of these who has seen most."""
    said = [msgspec.structs.replace(reply, request=0, starts=()) for reply in told]
    return max(said, key=lambda one: (said.count(one), one.approvals), default=None)


async def _key_state(client: SequencerClient, node: int, timeout_s: float) -> KeyState:
    status = await client.status(node, timeout_s)
    reply = await client.key_reply(node, timeout_s)
    if reply.certificate is None:
        return KeyState(status, None, None)
    try:
        return KeyState(status, client.take_key(node, reply.certificate), None)
    except MemberFault as fault:
        return KeyState(status, None, fault)


async def _ask_present(
    client: SequencerClient, chosen: Callable[[int], Sequence[int]], timeout_s: float, question: Question[T]
) -> tuple[Committee, dict[int, T | str]]:
    """Ask the newest committee that any member proves, by index."""
    await follow_epochs(client, timeout_s)
    committee, places = client.committee, client.roster.places
    indexes = chosen(committee.n)
    by_place = await _ask_over(client, [places[index] for index in indexes], timeout_s, question)
    return committee, {index: by_place[places[index]] for index in indexes}


async def _ask_each(
    file: CommitteeFile, nodes: Sequence[int], timeout_s: float, question: Question[T]
) -> dict[int, T | str]:
    async with open_sequencer(file.committee, connector_to(file), nodes) as client:
        return await _ask_over(client, nodes, timeout_s, question)


async def _ask_over(
    client: SequencerClient, nodes: Sequence[int], timeout_s: float, question: Question[T]
) -> dict[int, T | str]:
    answers: dict[int, T | str] = {}

    async def ask(node: int) -> None:
        with trio.move_on_after(timeout_s):
            # The first failed attempt is an answer; nobody wants to wait for a member that is down.
            while node not in client.connected() and client.failure(node) is None:
                await trio.sleep(CONNECT_POLL_S)
        try:
            answers[node] = await question(client, node, timeout_s)
        except ClientError as error:
            answers[node] = error.cause

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(ask, node)
    return dict(sorted(answers.items()))
