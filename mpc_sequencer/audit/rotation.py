"""How the log leads to the next epoch: what members want, who joins, and what hands the key over (docs/epochs.md).

Approvals and handovers are key messages of the epoch's *topic*. Of each member the approval with the highest number
counts, of two with one number the first; once q members approve one other committee, the key is shared anew among its
members, who sign their part of that session under numbers after the old members'. Every honest member then signs that
result over to them, and the block after which q such words are lifted is the beginning of the epoch's end
(:mod:`mpc_sequencer.audit.ordering`).

What no honest member would list is a finding here and counts for nothing: a message that says nothing, a committee that
may not follow, a handover that its member has not signed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from mpc_sequencer.audit.epochs import Epoch
from mpc_sequencer.core import domains, eip712, limits, signing
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee, Member, Origin, Sharing, faults_tolerated
from mpc_sequencer.core.darkterms import check_dark
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Hash32, KeyMessage, NextCommittee, NextMember, SignatureBytes, Value
from threshold.dkg import Plan, Result

AUTHORS_MAX: Final = 2 * limits.COMMITTEE_MEMBERS_MAX
ENDPOINT: Final = re.compile(r"[!-~]+:([0-9]+)")
PORT_MAX: Final = 65_535


class Approval(Value, frozen=True, tag=1):
    """The author wants this committee to follow; its approvals in an epoch are numbered from 1."""

    committee: NextCommittee
    number: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)]


class Handover(Value, frozen=True, tag=2):
    """The author has signed ``digest``, the struct hash that hands the key over."""

    digest: Hash32
    signature: SignatureBytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """A resharing that is done for those whom q members want: the next epoch's members and their sharing."""

    target: NextCommittee
    sharing: int
    attempt: int
    result: Result


def topic(committee: Committee) -> bytes:
    """The session of approvals and handovers in the committee's epoch."""
    return domains.ROTATION_TOPIC(committee.genesis_id, committee.epoch.to_bytes(8, "big"))


def handover_hash(epoch: int, target: NextCommittee, result: Result) -> bytes:
    """What old members sign for ``target`` as the committee of ``epoch``."""
    addresses = [bytes(12) + signing.address_of(member.consensus_key) for member in target.members]
    signers = eip712.keccak256(b"".join(addresses))
    return domains.ROTATION_TYPE(epoch, signers, target.threshold, target.committee_hash(), result.hash())


def refusal(committee: Committee, target: NextCommittee) -> str | None:
    """Why ``target`` may not follow ``committee``, or None."""
    n = len(target.members)
    if not limits.COMMITTEE_MEMBERS_MIN <= n <= limits.COMMITTEE_MEMBERS_MAX:
        return f"{n} members"
    f = faults_tolerated(n, committee.genesis.markets)
    if f < 1 or not f < target.threshold <= n - f:
        return f"threshold {target.threshold} of {n} members, {f} of which may fail"
    try:
        check_dark(n, f, committee.genesis.markets)
    except ValueError as error:
        return str(error)
    for member in target.members:
        port = ENDPOINT.fullmatch(member.endpoint)
        if port is None or not 0 < int(port.group(1)) <= PORT_MAX:
            return f"endpoint {member.endpoint!r}"
    try:
        addresses = [signing.address_of(member.consensus_key) for member in target.members]
    except ValueError:
        return "a consensus key that is no point"
    if any(a >= b for a, b in pairwise(addresses)):
        return "members not ascending by consensus address"
    if len({member.log_key for member in target.members}) < n:
        return "two members with one log key"
    if len({member.endpoint for member in target.members}) < n:
        return "two members with one endpoint"
    for member in target.members:
        for present in committee.genesis.members:
            if (present.consensus_key == member.consensus_key) != (present.log_key == member.log_key):
                return "a log key that does not go with its consensus key"
    return None


class Rotation:
    """What the blocks of one epoch have said of the next."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._committee = epoch.committee
        self.topic = topic(epoch.committee)
        self._approvals: dict[int, NextCommittee] = {}
        self._numbers: dict[int, int] = {}
        self._words: dict[bytes, set[int]] = {}
        """By digest: the members that have signed it."""
        self.joiners: list[NextMember] = []
        """Who is to join, in the order in which rotations were agreed on: number k signs as n+k."""
        self.target: NextCommittee | None = None
        """Whom q members want to follow; None for the committee as it is."""
        self.outcome: Outcome | None = None

    # --- who speaks ----------
    def address(self, author: int) -> bytes | None:
        """The consensus address of a key message's author; None for nobody."""
        if author < self._committee.n:
            return self._committee.addresses[author]
        joiner = author - self._committee.n
        return signing.address_of(self.joiners[joiner].consensus_key) if joiner < len(self.joiners) else None

    def authors(self, target: NextCommittee) -> list[int]:
        """By receiver's index less one: the number under which the member of ``target`` signs in this epoch."""
        known = [member.consensus_key for member in self._committee.genesis.members]
        known += [member.consensus_key for member in self.joiners]
        return [known.index(member.consensus_key) for member in target.members]

    # --- what is said ----------
    def read(self, message: KeyMessage) -> Approval | Handover | tuple[str, str]:
        """What a message of the topic says; where no honest member lists it, (part of a finding's code, why)."""
        if message.node >= self._committee.n:
            return "message", "its author is no member"
        try:
            said: Approval | Handover = decode(Approval | Handover, message.payload)
        except ProtocolError as error:
            return "message", str(error)
        if isinstance(said, Handover):
            signed = self._epoch.signatures.is_members(message.node, said.digest, said.signature)
            return said if signed else ("signature", f"handover {said.digest.hex()}")
        why = refusal(self._committee, said.committee)
        return said if why is None else ("committee", why)

    def take(self, node: int, said: Approval | Handover) -> bool:
        """Take what a lifted message of the topic says; whether q members now want another committee than before."""
        if isinstance(said, Handover):
            self._words.setdefault(said.digest, set()).add(node)
            return False
        if said.number <= self._numbers.get(node, 0):
            return False
        self._numbers[node] = said.number
        wanted = self._approvals[node] = said.committee
        backers = sum(1 for one in self._approvals.values() if one == wanted)
        if backers < self._committee.q or self.outcome is not None or wanted == self.target:
            return False
        return self._agree(wanted)

    def _agree(self, wanted: NextCommittee) -> bool:
        if self._is_as_it_is(wanted):
            self.target = None
            return False
        known = {member.consensus_key for member in self._committee.genesis.members}
        known |= {member.consensus_key for member in self.joiners}
        new = [member for member in wanted.members if member.consensus_key not in known]
        if len(known) + len(new) > AUTHORS_MAX:
            return False
        self.joiners += new
        self.target = wanted
        return True

    def _is_as_it_is(self, wanted: NextCommittee) -> bool:
        members = [(one.consensus_key, one.log_key) for one in self._committee.genesis.members]
        return wanted.threshold == self._committee.t and members == [
            (one.consensus_key, one.log_key) for one in wanted.members
        ]

    # --- the session ----------
    def plan(self, session: bytes, target: NextCommittee, before: Sequence[bytes]) -> Plan:
        """The session that shares the key among ``target``: ``session`` names the attempt, ``before`` are the old
        members' verification keys."""
        committee, n = self._committee, len(target.members)
        return Plan.reshare(
            domains.ROTATION_SESSION(session, target.committee_hash()),
            {node + 1: key for node, key in enumerate(before)},
            range(1, n + 1),
            public_key=committee.sealing_key.public_key,
            dealer_threshold=committee.t,
            dealer_faults=committee.f,
            threshold=target.threshold,
            faults=faults_tolerated(n, committee.genesis.markets),
            window_heights=limits.KEY_WINDOW_HEIGHTS,
            window_ms=limits.KEY_WINDOW_MS,
        )

    # --- the end ----------
    def expected(self) -> bytes | None:
        """The handover that the log leads to; None where no resharing is done."""
        if self.outcome is None:
            return None
        return handover_hash(self._epoch.number + 1, self.outcome.target, self.outcome.result)

    def backers(self, digest: bytes) -> tuple[int, ...]:
        """The members that have signed a handover."""
        return tuple(sorted(self._words.get(digest, ())))

    def next_committee(self, anchor_id: bytes, anchor_height: int) -> Committee:
        """The committee of the next epoch, whose first block follows the anchor. A resharing must be done."""
        assert self.outcome is not None, "only a done resharing is handed over"
        target, result = self.outcome.target, self.outcome.result
        genesis = replace(
            self._committee.genesis,
            epoch=self._epoch.number + 1,
            threshold=target.threshold,
            members=tuple(Member(one.consensus_key, one.log_key, b"") for one in target.members),
            public_key=b"",
        )
        sharing = Sharing(
            number=self.outcome.sharing,
            from_height=anchor_height + 1,
            verification_keys=tuple(result.verification_keys[index + 1] for index in range(len(target.members))),
            name=result.hash(),
            certificate=None,
        )
        return Committee(
            genesis, Origin(self._committee.genesis_id, anchor_id, anchor_height, result.public_key, sharing, starts=())
        )
