"""Finding the threshold key: every member is asked until f+1 of them prove the same one.

A certificate says that q members were ready for a key. It cannot say that the session ended with that key: where the
last of these words came too late for the log, the attempt is void, and a liar that holds the words could still show
them. So the key must come from f+1 members (from all, where a client knows fewer): one of them is honest, and an honest
member shows the key in use. Who sends a certificate that does not hold is at fault and is asked no more; the others go
on. While the generation goes on, members name the phase that it waits for, which is told for progress alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from mpc_sequencer.client.committee_key import CommitteeKey, known_key
from mpc_sequencer.client.errors import ClientError, KeyPending, MemberFault
from threshold.dkg import Phase

if TYPE_CHECKING:
    from mpc_sequencer.client.member_client import MemberClient
    from mpc_sequencer.core.messages import StatusReply
    from mpc_sequencer.core.types import KeyCertificate

KEY_S_MAX: Final = 120.0
"""A generation in which nobody is silent takes a second or two; each phase that waits for a silent member takes
KEY_WINDOW_MS more."""
KEY_POLL_S: Final = 0.25
KEY_REPLY_S_MAX: Final = 5.0
PHASES: Final = frozenset(phase.value for phase in Phase) | {"waiting", "given"}
KEY_IN_USE: Final = frozenset({"done", "given"})
"""Phases of a member that knows the key."""

Progress = Callable[[int, str], None]
"""Gets a member and the phase that it names, each time another phase is named."""


async def follow_key(client: MemberClient, timeout_s: float, say: Callable[[str], None]) -> CommitteeKey:
    """As :meth:`MemberClient.key`, while ``say`` gets :func:`describe_phase` of a connected member's state each time
    that changes."""
    found: CommitteeKey | None = None
    failure: ClientError | None = None
    async with trio.open_nursery() as nursery:
        if client.committee.keys is None:
            nursery.start_soon(_tell, client, say)
        try:
            found = await client.key(timeout_s)
        except ClientError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if found is None:
        assert failure is not None
        raise failure
    return found


def describe_phase(status: StatusReply) -> str:
    """What the key generation waits for, such as ``deals 3 of 4``; after a failed attempt with the attempt's number."""
    words = _known(status.key_phase)
    if status.key_expected:
        words += f" {status.key_heard} of {status.key_expected}"
    again = status.key_attempt and status.key_phase not in KEY_IN_USE
    return f"{words}, attempt {status.key_attempt + 1}" if again else words


def _known(phase: str) -> str:
    """A phase's name; what a member makes up is not shown to anybody's terminal."""
    return phase if phase in PHASES else "a phase that nobody knows"


async def _tell(client: MemberClient, say: Callable[[str], None]) -> None:
    told = ""
    while True:
        for node in client.connected()[:1]:
            try:
                status = await client.status(node, KEY_REPLY_S_MAX)
            except ClientError:
                continue  # it went away; the search itself says so where that matters
            words = describe_phase(status)
            if words != told and status.key_phase not in KEY_IN_USE:
                told = words
                say(words)
        await trio.sleep(KEY_POLL_S)


class KeySearch:
    """One search by one client."""

    def __init__(self, client: MemberClient, progress: Progress | None) -> None:
        self._client = client
        self._progress = progress
        self._said: dict[int, str] = {}
        self._last: str | None = None
        self._liars: dict[int, MemberFault] = {}
        self._vouching: dict[bytes, set[int]] = {}
        """Members that proved a key, by its public key."""
        self._found: CommitteeKey | None = None

    async def run(self, timeout_s: float) -> CommitteeKey:
        """As :meth:`MemberClient.key`."""
        client = self._client
        if client.committee.keys is not None:
            return client.known or known_key(client.committee)
        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                for node in client.nodes:
                    nursery.start_soon(self._ask, node, nursery.cancel_scope)
        if self._found is not None:
            return self._found
        if len(self._liars) == len(client.nodes):
            raise next(iter(self._liars.values()))
        raise self._pending(timeout_s)

    async def _ask(self, node: int, scope: trio.CancelScope) -> None:
        client = self._client
        while True:
            try:
                reply = await client.key_reply(node, KEY_REPLY_S_MAX)
                if client.committee.keys is not None:
                    self._found = self._found or known_key(client.committee)
                    scope.cancel()
                    return
                if reply.certificate is not None:
                    self._vouched(node, reply.certificate)
                    if self._found is not None:
                        scope.cancel()
                    return
                self._note(node, reply.phase)
            except MemberFault as fault:
                self._liars[node] = fault
                self._said[node] = f"member {node} sent a certificate that does not hold ({fault.refusal.code})"
                return
            except ClientError as error:
                self._said[node] = error.cause
            await trio.sleep(KEY_POLL_S)

    def _vouched(self, node: int, certificate: KeyCertificate) -> None:
        """A member shows a certificate; enough of one key make it the key. Raises :class:`MemberFault`."""
        client = self._client
        key = client.check_key(node, certificate)
        members = self._vouching.setdefault(key.public_key, set())
        members.add(node)
        self._said[node] = f"member {node} proves the key {key.key_id.hex()[:16]}"
        if len(members) > min(client.committee.f, len(client.nodes) - 1):
            self._found = client.take_key(node, certificate)

    def _note(self, node: int, phase: str) -> None:
        phase = _known(phase)
        self._said[node] = f"member {node} waits for {phase}"
        if self._progress is not None and phase != self._last:
            self._last = phase
            self._progress(node, phase)

    def _pending(self, timeout_s: float) -> KeyPending:
        said = "; ".join(words for _, words in sorted(self._said.items()))
        return KeyPending(
            f"no member proved the committee's threshold key within {timeout_s:g} s; {said or 'no answer yet'}",
            "look at `mpcseq committee status`, then wait longer",
        )
