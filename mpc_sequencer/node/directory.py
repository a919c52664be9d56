"""Who is who on a member's links, from epoch to epoch.

A peer is known by its TLS key, which is its log key; its number is what the core calls it, and changes with the epoch:

=================  ============================================================================================
number             who
=================  ============================================================================================
0 .. n-1           the members of this epoch's committee, in its order
n + k              joiner k of this epoch: who is to be a member of the next one
VISITOR + k        everybody else that has a place in some epoch: members of an earlier one (laggards, and who left)
=================  ============================================================================================

Nobody else is let in: certificates come from the committee file, from the chain of epoch starts, and from rotations
that final blocks agreed on. A certificate that is not of its member's log key is never trusted, whoever approved it.

Who dials whom: of two members of one committee, who comes first in it. Members are in the order of their consensus
addresses, so two peers agree on this in whatever epochs they are. Who has no place in the committee, and so does not
know who will call, dials all of its members. Members also dial those of the epoch just before that come after them: one
may have missed the cutover.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import address_of
from mpc_sequencer.core.types import NextMember
from mpc_sequencer.node import tls
from mpc_sequencer.node.config import CommitteeFile, Endpoint, parse_endpoint

VISITOR: Final = 1_000
"""More than members and joiners of an epoch together."""

logger = logging.getLogger("mpc_sequencer.node")


@dataclass(frozen=True, slots=True)
class Peer:
    """What is known of a peer in all epochs. ``place`` counts peers in the order in which they became known."""

    log_key: bytes
    address: bytes
    certificate: bytes
    endpoint: Endpoint | None
    """Where it listens by the newest committee that names it; None where that is no address."""
    place: int


class Directory:
    """Peers by TLS key, and their numbers in the epoch that this member is in. ``own_key`` is its own log key.

    It begins in the first epoch.
    """

    def __init__(self, file: CommitteeFile, own_key: bytes) -> None:
        self.own_key = own_key
        self._peers: dict[bytes, Peer] = {}
        self._by_certificate: dict[bytes, bytes] = {}
        rows = zip(file.genesis.members, file.endpoints, file.certificates, strict=True)
        for member, endpoint, certificate in rows:
            self._learn(member.log_key, member.consensus_key, endpoint, certificate)
        self._enter(file.committee)

    def _learn(self, log_key: bytes, consensus_key: bytes, endpoint: Endpoint | None, certificate: bytes) -> None:
        known = self._peers.get(log_key)
        place = len(self._peers) if known is None else known.place
        self._peers[log_key] = Peer(log_key, address_of(consensus_key), certificate, endpoint, place)
        self._by_certificate[certificate] = log_key

    def learn(self, members: Iterable[NextMember]) -> None:
        """Let members of a proposal in that final blocks agreed on. One whose certificate is not its own stays out."""
        for member in members:
            try:
                good = tls.certificate_key(member.tls_certificate) == member.log_key
            except ValueError:
                good = False
            if not good:
                logger.error("who joins as %s has a TLS certificate of another key and stays out", member.endpoint)
                continue
            self._learn(member.log_key, member.consensus_key, _endpoint(member.endpoint), member.tls_certificate)

    @property
    def certificates(self) -> list[bytes]:
        """All certificates (DER) by which peers are known."""
        return list(self._by_certificate)

    # --- epochs -------------------------------------------------------------------------------------------------
    def enter(self, committee: Committee) -> None:
        """This member is in the epoch of ``committee`` from now on."""
        before: tuple[bytes, ...] = ()
        for start in committee.starts:
            self.learn(start.committee.members)
        if len(committee.starts) > 1:
            before = tuple(member.log_key for member in committee.starts[-2].committee.members)
        elif committee.starts:
            before = self._first
        self._enter(committee, before)
        self.know_joiners()

    def _enter(self, committee: Committee, before: tuple[bytes, ...] = ()) -> None:
        self.committee = committee
        self._members = tuple(member.log_key for member in committee.genesis.members)
        if not committee.starts:
            self._first = self._members
        self._numbers = {log_key: number for number, log_key in enumerate(self._members)}
        self._before = before

    def know_joiners(self) -> None:
        """Let those in that a rotation of this epoch has named by now."""
        self.learn(self.committee.joiners)
        for number, joiner in enumerate(self.committee.joiners):
            if joiner.log_key in self._peers:
                self._numbers.setdefault(joiner.log_key, self.committee.n + number)

    @property
    def epoch(self) -> int:
        return self.committee.epoch

    @property
    def is_member(self) -> bool:
        """Whether this member has a place in the committee of its epoch."""
        return self.own_key in self._members

    # --- peers --------------------------------------------------------------------------------------------------
    def of_certificate(self, certificate: bytes) -> Peer | None:
        """Whose certificate (DER) this is; None where it is a stranger's."""
        log_key = self._by_certificate.get(certificate)
        return None if log_key is None else self._peers[log_key]

    def number(self, log_key: bytes) -> int:
        """What this epoch's core calls the peer."""
        number = self._numbers.get(log_key)
        return self.visitor(log_key) if number is None else number

    def visitor(self, log_key: bytes) -> int:
        """What the core calls the peer while it is in an earlier epoch, whatever place it has in this one."""
        return VISITOR + self._peers[log_key].place

    def named(self, log_key: bytes) -> str:
        """For the log."""
        number = self.number(log_key)
        if number < self.committee.n:
            return f"member {number}"
        return f"{'joiner' if number < VISITOR else 'visitor'} {log_key.hex()[:8]}"

    # --- who dials ----------------------------------------------------------------------------------------------
    def dialled(self) -> list[Peer]:
        """Whom this member dials now."""
        wanted = [*self._members, *(key for key in self._before if key not in self._numbers)]
        return [self._peers[key] for key in wanted if self.dials(key)]

    def dials(self, log_key: bytes) -> bool:
        """Whether this member keeps a link to the peer by dialling it."""
        peer = self._peers.get(log_key)
        if peer is None or peer.endpoint is None or log_key == self.own_key:
            return False
        if not self.is_member:
            return log_key in self._members
        if log_key not in self._members and log_key not in self._before:
            return False
        return self._peers[self.own_key].address < peer.address

    def to_dial(self, log_key: bytes) -> Peer | None:
        """The peer, where this member dials it."""
        return self._peers[log_key] if self.dials(log_key) else None

    def answers(self, log_key: bytes) -> bool:
        """Whether a link that the peer opens is taken: not from itself, nor from a member that this one dials."""
        if log_key == self.own_key:
            return False
        return not (self.is_member and log_key in self._members and self.dials(log_key))


def _endpoint(text: str) -> Endpoint | None:
    try:
        return parse_endpoint(text, "NextMember.endpoint")
    except ConfigError as error:
        logger.error("a member cannot be dialled: %s", error)
        return None
