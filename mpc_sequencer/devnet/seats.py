"""Who sits in the committee now, as folders of a devnet.

A folder's number is a node's for good; its index in the committee changes with every epoch, and the client's *place*
of a member (:mod:`mpc_sequencer.client.roster`) is a third number for who joined later. What leads from one to the
other is the consensus key.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpc_sequencer.client.sequencer import SequencerClient
from mpc_sequencer.devnet.layout import Devnet, nodes_of
from mpc_sequencer.node.config import CommitteeFile, parse_endpoint
from mpc_sequencer.node.next_committee import load_member, members_of


class Seats:
    """The newest committee that the client has proof of, and the node folders of its members."""

    def __init__(self, devnet: Devnet, client: SequencerClient) -> None:
        self._client = client
        self._devnet = devnet
        self._members = {member.consensus_key: member for member in members_of(devnet.file)}
        self._folders = {key: number for number, key in enumerate(self._members)}

    def seat_joiners(self) -> None:
        """Take in the folders of nodes that were added since."""
        for number in nodes_of(self._devnet)[len(self._folders) :]:
            member = load_member(self._devnet.node_folder(number) / "member.json")
            self._members[member.consensus_key], self._folders[member.consensus_key] = member, number

    @property
    def folders(self) -> tuple[int, ...]:
        """The members' folders, by index."""
        return tuple(self._folders[member.consensus_key] for member in self._client.committee.genesis.members)

    def place(self, folder: int) -> int | None:
        """The client's number of a member; None for a node that is none."""
        folders = self.folders
        return self._client.roster.places[folders.index(folder)] if folder in folders else None

    def present(self) -> CommitteeFile:
        """The newest committee, with its members' endpoints and certificates."""
        committee = self._client.committee
        members = [self._members[member.consensus_key] for member in committee.genesis.members]
        return CommitteeFile(
            committee.genesis,
            committee,
            tuple(parse_endpoint(member.endpoint, "endpoint") for member in members),
            tuple(member.tls_certificate for member in members),
        )

    def ever(self, folders: Iterable[int]) -> frozenset[tuple[int, int]]:
        """Every seat, (epoch, index), that nodes have had in the epochs that the client knows."""
        wanted, roster = set(folders), self._client.roster
        seats = set()
        for epoch in range(self._devnet.file.committee.epoch, roster.newest.epoch + 1):
            committee = roster.committee(epoch)
            for index, member in enumerate(() if committee is None else committee.genesis.members):
                if self._folders[member.consensus_key] in wanted:
                    seats.add((epoch, index))
        return frozenset(seats)
