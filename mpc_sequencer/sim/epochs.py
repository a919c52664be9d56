"""Who is who to whom when a run's members are in different epochs, as the links of real members have it.

A member's number is its place in its committee, so it changes from epoch to epoch, and a message that crosses a change
must be taken for its sender's all the same. As on real links, each side knows the other's epoch: what is broadcast goes
to who is in the same epoch; across epochs the one ahead serves its log (and what it owes the epoch before), and the one
behind asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.effects import Event, FromPeer, PeerAhead, PeerUp
from mpc_sequencer.core.messages import FetchLog, PeerMessage
from mpc_sequencer.core.peers import ACROSS_EPOCHS, VISITORS_MESSAGES
from mpc_sequencer.sim.host import Host

STRANGER: Final = 1_000
"""Numbers of who is neither a member nor a joiner: this and the place."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A message on its way, from the host at ``sender``, which was in ``epoch``."""

    sender: int
    epoch: int
    message: PeerMessage


def number_of(host: Host, to: Host) -> int:
    """Under which number ``to`` knows ``host``."""
    committee, key = to.core.committee, host.core.succession.own_key
    known = [one.consensus_key for one in committee.genesis.members]
    known += [one.consensus_key for one in committee.joiners]
    return known.index(key) if key in known else STRANGER + host.place


def place_of(hosts: Sequence[Host], number: int, to: Host) -> list[int]:
    """The places of whom ``to`` knows under ``number``: who is in an epoch before is a stranger, whatever it is now."""
    if number >= STRANGER:
        return [number - STRANGER]
    return [host.place for host in hosts if number_of(host, to) == number]


def hears(hosts: Sequence[Host], sender: Host) -> list[int]:
    """The places that a broadcast goes to: members of the sender's epoch, and those who join."""
    joiners_from = sender.core.committee.n
    return [
        host.place
        for host in hosts
        if host.node != sender.node
        and host.epoch == sender.epoch
        and number_of(host, sender) < STRANGER
        and (sender.core.node < joiners_from or number_of(host, sender) < joiners_from)
    ]


def passes(sender: Host, receiver: Host, message: PeerMessage) -> bool:
    """Whether a message that is sent to one host leaves at all: a link knows the epoch of its other end."""
    return sender.epoch == receiver.epoch or isinstance(message, ACROSS_EPOCHS)


def arrival(crossing: Crossing, hosts: Sequence[Host], receiver: Host) -> Event | None:
    """What a message is to its receiver when it arrives; None where its link drops it."""
    number = number_of(hosts[crossing.sender], receiver)
    member = number < receiver.core.committee.n
    if crossing.epoch > receiver.epoch:
        return FromPeer(number, crossing.message) if member and isinstance(crossing.message, ACROSS_EPOCHS) else None
    if crossing.epoch < receiver.epoch:
        if not isinstance(crossing.message, FetchLog):
            return None
        return FromPeer(STRANGER + crossing.sender, crossing.message)
    if number >= STRANGER or (not member and not isinstance(crossing.message, VISITORS_MESSAGES)):
        return None
    return FromPeer(number, crossing.message)


def meeting(one: Host, other: Host) -> tuple[Event | None, Event | None]:
    """What a new link between two hosts is to each of them, or a link whose end has begun another epoch."""
    return _seen(other, one), _seen(one, other)


def _seen(host: Host, to: Host) -> Event | None:
    number = number_of(host, to)
    if host.epoch > to.epoch:
        return PeerAhead(number) if number < to.core.committee.n else None
    if host.epoch < to.epoch:
        return PeerUp(STRANGER + host.place)
    return PeerUp(number) if number < STRANGER else None
