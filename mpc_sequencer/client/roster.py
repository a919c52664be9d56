"""Whom a client knows: the committees of all epochs that were proven to it, and a lasting number for each member.

A member's index is its place in its committee, so it changes from epoch to epoch, and so may what a number in an old
receipt means. A client therefore counts *places*: a member of the first committee has its index there as its place, who
joins later gets the next one, and keeps it for good. What a member signed names its epoch and its index in that epoch's
committee; :meth:`Roster.index` leads from one to the other.

A committee is believed for q signatures of the committee before it (:func:`mpc_sequencer.core.rotation.follow`), so it
does not matter who shows the proof: a member, a file, a liar. What a liar can do is to say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.rotation import follow
from mpc_sequencer.core.types import EpochStart, NextMember


class Roster:
    """The committees from ``first`` on."""

    def __init__(self, first: Committee) -> None:
        self.newest = first
        """The committee of the latest epoch that is proven."""
        self._committees = {first.epoch: first}
        self._keys = [member.consensus_key for member in first.genesis.members]
        """By place."""
        self._members: dict[int, NextMember] = {}

    @property
    def places(self) -> tuple[int, ...]:
        """The newest committee's members by index."""
        return self.places_of(self.newest)

    def places_of(self, committee: Committee) -> tuple[int, ...]:
        """The members of a committee of this roster, by index."""
        return tuple(self._keys.index(member.consensus_key) for member in committee.genesis.members)

    def committee(self, epoch: int) -> Committee | None:
        """The committee of an epoch; None where it is not proven (or before the first that this roster has)."""
        return self._committees.get(epoch)

    def index(self, place: int, epoch: int | None = None) -> int | None:
        """The index of a member in an epoch's committee, by default the newest; None where it had no place there."""
        committee = self.newest if epoch is None else self._committees.get(epoch)
        if committee is None:
            return None
        keys = [member.consensus_key for member in committee.genesis.members]
        return keys.index(self._keys[place]) if self._keys[place] in keys else None

    def member(self, place: int) -> NextMember | None:
        """Where a member listens and its certificate, as the newest proof that names it has them; None where the first
        committee's file alone says it."""
        return self._members.get(place)

    def take(self, starts: Iterable[EpochStart]) -> bool:
        """Follow proofs of later epochs; those of known ones are passed over. Whether there was a later one. Raises
        ProtocolError, ThresholdError or ConfigError for one that does not hold; what came before it stands."""
        news = False
        for start in starts:
            if start.epoch > self.newest.epoch:
                self._begin(follow(self.newest, start), start)
                news = True
        return news

    def _begin(self, committee: Committee, start: EpochStart) -> None:
        self.newest = self._committees[committee.epoch] = committee
        for member in start.committee.members:
            if member.consensus_key not in self._keys:
                self._keys.append(member.consensus_key)
            self._members[self._keys.index(member.consensus_key)] = member
