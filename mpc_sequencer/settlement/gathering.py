"""Members' signatures over one kind of statement about ranges: kept by member and height, counted later, and held
against each other. Pure.

A statement has a *place*, the height that names its range: a member signs one statement of a place, so two different
ones convict it (docs/evidence.md). What comes before this member can say itself what is right is kept, so much of each
member that nobody fills the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.offences import Offence

SHARES_KEPT_PER_MEMBER: Final = 64
EARLY_RANGES_MAX: Final = 16
"""How many ranges of other members beyond the first one not signed here are kept, per member."""


class Signed(Protocol):
    """A member's signature over a statement."""

    @property
    def node(self) -> int: ...
    @property
    def signature(self) -> bytes: ...


S = TypeVar("S", bound=Signed)


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """What is gathered: ``name`` of the message, ``code`` of a contradiction, a share's place and its statement's
    struct hash, and the offence of two that contradict each other."""

    name: str
    code: str
    place: Callable[[S], int]
    struct_hash: Callable[[S], bytes]
    offence: Callable[[S, S], Offence]


class Gathering(Generic[S]):
    """Every member's verified signatures by place, its latest SHARES_KEPT_PER_MEMBER."""

    def __init__(self, committee: Committee, kind: Kind[S]) -> None:
        self._committee = committee
        self._kind = kind
        self._seen: dict[int, dict[int, S]] = {}

    def take(self, share: S, *, known: bool, next_place: int) -> bool:
        """A member's signature, its sender checked; whether it is news. ``known``: this member knows the statement of
        that place; otherwise places from ``next_place`` on are kept for later. Raises ProtocolError, with the evidence
        where the member has signed another statement of the place."""
        kind, place = self._kind, self._kind.place(share)
        seen = self._seen.get(share.node, {})
        held = seen.get(place)
        if held is not None:
            if kind.struct_hash(held) == kind.struct_hash(share):
                return False
            self._check(share)
            raise ProtocolError(
                kind.code,
                kind.name,
                kind.struct_hash(share),
                f"one statement at height {place}",
                offence=kind.offence(held, share),
            )
        if not known:
            early = sum(1 for one in seen if one >= next_place)
            if place < next_place or early >= EARLY_RANGES_MAX:
                return False
        self._check(share)
        seen = self._seen.setdefault(share.node, {})
        seen[place] = share
        if len(seen) > SHARES_KEPT_PER_MEMBER:
            del seen[min(seen)]
        return True

    def at(self, place: int) -> Iterator[S]:
        """What is held of a place."""
        for seen in self._seen.values():
            if (found := seen.get(place)) is not None:
                yield found

    def _check(self, share: S) -> None:
        self._committee.check_signature(
            share.node, self._kind.struct_hash(share), share.signature, self._kind.name
        )
