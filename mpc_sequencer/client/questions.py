"""Questions to one member and their answers, matched by request number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio

from mpc_sequencer.client.errors import NotConnected, TimedOut
from mpc_sequencer.client.link import MemberLink
from mpc_sequencer.core.messages import (
    DarkKeysQuery,
    DarkKeysReply,
    EpochsQuery,
    EpochsReply,
    KeyQuery,
    KeyReply,
    MarketQuery,
    MarketReply,
    OrderQuery,
    OrderReply,
    ProofQuery,
    ProofReply,
    StatusQuery,
    StatusReply,
)

Question = OrderQuery | StatusQuery | KeyQuery | EpochsQuery | ProofQuery | MarketQuery | DarkKeysQuery
Answer = OrderReply | StatusReply | KeyReply | EpochsReply | ProofReply | MarketReply | DarkKeysReply
REPLY_S_MAX: Final = 10.0


class Questions:
    """What was asked over ``links`` and is not answered yet."""

    def __init__(self, links: Mapping[int, MemberLink]) -> None:
        self._links = links
        self._number = 0
        self._waiting: dict[tuple[int, int], trio.MemorySendChannel[Answer]] = {}

    def next_number(self) -> int:
        """A request number that no request of this client had."""
        self._number += 1
        return self._number

    async def ask(self, node: int, question: Question, timeout_s: float) -> Answer:
        """The member's answer, as it came. Raises :class:`NotConnected` or :class:`TimedOut`."""
        sender, receiver = trio.open_memory_channel[Answer](1)
        key = (node, question.request)
        self._waiting[key] = sender
        try:
            with trio.fail_after(timeout_s):
                link = self._links.get(node)
                if link is None:
                    raise _left(node)
                if not link.send(question):
                    reason = link.failure or "no answer yet"
                    raise NotConnected(f"member {node} is not connected ({reason})", "check that the node runs")
                return await receiver.receive()
        except trio.EndOfChannel:
            raise _left(node) from None
        except trio.TooSlowError:
            raise TimedOut(f"member {node} did not answer within {timeout_s:g} s", "ask another member") from None
        finally:
            self._waiting.pop(key, None)
            sender.close()
            receiver.close()

    def waits(self, node: int, request: int) -> bool:
        """Whether somebody waits for that answer of a member."""
        return (node, request) in self._waiting

    def drop(self, node: int) -> None:
        """A member has left: nobody waits for it any longer."""
        for key in [key for key in self._waiting if key[0] == node]:
            self._waiting.pop(key).close()

    def answered(self, node: int, answer: Answer) -> None:
        """Hand an answer to who waits for it; nobody may, or it may have been answered before."""
        waiting = self._waiting.get((node, answer.request))
        if waiting is not None:
            try:
                waiting.send_nowait(answer)
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                return


def _left(node: int) -> NotConnected:
    return NotConnected(f"member {node} has left the committee", "ask a member of the present one")
