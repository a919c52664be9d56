"""One question to several members at once; a member that does not answer is an answer too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import trio

from mpc_sequencer.client.committee_key import CommitteeKey
from mpc_sequencer.client.errors import ClientError, MemberFault
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.core.messages import OrderReply, StatusReply
from mpc_sequencer.node.config import CommitteeFile

CONNECT_POLL_S = 0.02
T = TypeVar("T")


async def ask_status(
    file: CommitteeFile, nodes: Sequence[int], timeout_s: float
) -> dict[int, StatusReply | str]:
    """Each member's state, or why there is none."""
    return await _ask_each(file, nodes, timeout_s, lambda client, node: client.status(node, timeout_s))


async def ask_order(
    file: CommitteeFile, nodes: Sequence[int], order_id: bytes, timeout_s: float
) -> dict[int, OrderReply | str]:
    """What each member says of an order, or why it says nothing."""
    return await _ask_each(
        file, nodes, timeout_s, lambda client, node: client.order(node, order_id, timeout_s)
    )


@dataclass(frozen=True, slots=True)
class KeyState:
    """A member's state and the key that it proves; ``fault`` says what is wrong with its proof."""

    status: StatusReply
    key: CommitteeKey | None
    fault: MemberFault | None


async def ask_key_state(
    file: CommitteeFile, nodes: Sequence[int], timeout_s: float
) -> dict[int, KeyState | str]:
    """How far each member is with the threshold key, or why it says nothing."""

    async def question(client: SequencerClient, node: int) -> KeyState:
        status = await client.status(node, timeout_s)
        reply = await client.key_reply(node, timeout_s)
        if reply.certificate is None:
            return KeyState(status, None, None)
        try:
            return KeyState(status, client.take_key(node, reply.certificate), None)
        except MemberFault as fault:
            return KeyState(status, None, fault)

    return await _ask_each(file, nodes, timeout_s, question)


async def _ask_each(
    file: CommitteeFile,
    nodes: Sequence[int],
    timeout_s: float,
    question: Callable[[SequencerClient, int], Awaitable[T]],
) -> dict[int, T | str]:
    answers: dict[int, T | str] = {}
    async with open_sequencer(file.committee, connector_to(file), nodes) as client:

        async def ask(node: int) -> None:
            with trio.move_on_after(timeout_s):
                # The first failed attempt is an answer; nobody wants to wait for a member that is down.
                while node not in client.connected() and client.failure(node) is None:
                    await trio.sleep(CONNECT_POLL_S)
            try:
                answers[node] = await question(client, node)
            except ClientError as error:
                answers[node] = error.cause

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(ask, node)
    return dict(sorted(answers.items()))
