"""The members that a client talks to: its links to them, and how it comes to know who they are now.

A client starts with one committee. Whoever it reaches is asked how later epochs began: at once on every new
connection; when a member speaks of an epoch that the client does not know, or says that it is leaving; every second
while a link is down; else every EPOCH_POLL_S, one member after the other. A proof that holds makes its committee the
one that counts: new members get links, to the endpoint and certificate that the proof has for them, and links to those
that left end. Proofs that do not hold are their sender's fault and change nothing; what nobody asked for is ignored.

A client that was given some members only keeps to those that stay, and takes all where fewer than f+1 do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from mpc_sequencer.client.link import ClientConnection, Connector, MemberLink, Newcomers
from mpc_sequencer.client.questions import Questions
from mpc_sequencer.client.roster import Roster
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.limits import EPOCH_STARTS_MAX
from mpc_sequencer.core.messages import ClientReply, EpochsQuery, EpochsReply

EPOCH_POLL_S: Final = 5.0
EPOCH_POLL_DOWN_S: Final = 1.0
"""While a link is down: its member may have left."""


class Membership:
    """Links by place (:mod:`mpc_sequencer.client.roster`). Run :meth:`run`; cancelling it closes all links."""

    def __init__(
        self,
        first: Committee,
        connector: Connector,
        nodes: Sequence[int] | None,
        newcomers: Newcomers,
        *,
        connected: Callable[[int], None],
        deliver: Callable[[int, ClientReply], None],
        changed: Callable[[], None],
    ) -> None:
        chosen = list(range(first.n)) if nodes is None else list(nodes)
        if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= node < first.n for node in chosen):
            raise ValueError(f"nodes are distinct members of 0 .. {first.n - 1}, not {chosen}")
        self.roster = Roster(first)
        self._chosen = None if nodes is None else chosen
        self._connector = connector
        self._newcomers = newcomers
        self._connected = connected
        self._deliver = deliver
        self._changed = changed
        self.links: dict[int, MemberLink] = {}
        self.questions = Questions(self.links)
        self.heard: dict[int, EpochsReply] = {}
        """What each member said last of the epochs, on the connection that is up."""
        self._asked: dict[int, int] = {}
        """By place: the number of the question for epochs that is open."""
        self._log_keys: dict[int, bytes] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._turn = 0
        for place in chosen:
            self._open(place)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all links up, and ask for later epochs, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for place, link in self.links.items():
                nursery.start_soon(_keep_up, link, self._scopes[place])
            nursery.start_soon(self._poll)
            task_status.started()

    # --- links --------------------------------------------------------------------------------------------------
    def up(self) -> list[int]:
        """Members the client is connected to now."""
        return [place for place, link in self.links.items() if link.up.is_set()]

    def _dial(self, place: int) -> AbstractAsyncContextManager[ClientConnection]:
        member = self.roster.member(place)
        return self._connector(place) if member is None else self._newcomers(member)

    def _open(self, place: int) -> None:
        link = MemberLink(place, self._dial, connected=self._on_connected, deliver=self._deliver)
        self.links[place], self._scopes[place] = link, trio.CancelScope()
        self._log_keys[place] = self._log_key(place)
        if self._nursery is not None:
            self._nursery.start_soon(_keep_up, link, self._scopes[place])

    def _close(self, place: int) -> None:
        del self.links[place], self._log_keys[place]
        self.heard.pop(place, None)
        self._asked.pop(place, None)
        self.questions.drop(place)
        self._scopes.pop(place).cancel()

    def _log_key(self, place: int) -> bytes:
        index = self.roster.index(place)
        assert index is not None, "links are to members of the newest committee"
        return self.roster.newest.genesis.members[index].log_key

    def _on_connected(self, place: int) -> None:
        self.heard.pop(place, None)
        self._asked.pop(place, None)
        self.ask(place)
        self._connected(place)

    # --- epochs -------------------------------------------------------------------------------------------------
    def ask(self, place: int) -> None:
        """Ask a member how later epochs began, where no such question to it is open."""
        link = self.links.get(place)
        if link is None or place in self._asked:
            return
        request = self.questions.next_number()
        if link.send(EpochsQuery(request, self.roster.newest.epoch)):
            self._asked[place] = request

    def told(self, place: int, reply: EpochsReply) -> None:
        """Take a member's answer, and hand it to who waits for it. Raises what :meth:`Roster.take` does."""
        if self._asked.get(place) != reply.request and not self.questions.waits(place, reply.request):
            return
        if self._asked.get(place) == reply.request:
            del self._asked[place]
        self.heard[place] = reply
        before = self.roster.newest
        try:
            self.roster.take(reply.starts)
            self.questions.answered(place, reply)  # a member may prove its own leaving: its link goes in a moment
        finally:
            if self.roster.newest is not before:
                self._settle()
        if len(reply.starts) == EPOCH_STARTS_MAX:
            self.ask(place)

    def _settle(self) -> None:
        """Have links to the newest committee's members, and to nobody else."""
        wanted = self._wanted()
        for place in list(self.links):
            if place not in wanted or self._log_keys[place] != self._log_key(place):
                self._close(place)
        for place in wanted:
            if place not in self.links:
                self._open(place)
        self._changed()

    def _wanted(self) -> list[int]:
        places = list(self.roster.places)
        if self._chosen is not None:
            stay = [place for place in self._chosen if place in places]
            if len(stay) == len(self._chosen) or len(stay) > self.roster.newest.f:
                return stay
            self._chosen = None
        return places

    async def _poll(self) -> None:
        last_s = trio.current_time()
        while True:
            await trio.sleep(EPOCH_POLL_DOWN_S)
            up = self.up()
            if up and (len(up) < len(self.links) or trio.current_time() - last_s >= EPOCH_POLL_S):
                last_s = trio.current_time()
                self._turn += 1
                self.ask(up[self._turn % len(up)])


async def _keep_up(link: MemberLink, scope: trio.CancelScope) -> None:
    with scope:
        await link.run()
