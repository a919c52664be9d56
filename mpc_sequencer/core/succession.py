"""How one member follows its committee's succession: approvals, the next committee, the handover, the epoch's start.

The rule is :mod:`mpc_sequencer.core.rotation`'s. This keeps what final blocks have said of it, in their order, and
signs this member's part. :class:`~mpc_sequencer.core.keygen.KeySessions` hands it the messages of the topic and asks
for whom the key is to be shared next; the epoch's last block makes it the
:class:`~mpc_sequencer.core.types.EpochStart`.

An *observer* is a joiner, or anybody else without a place in the committee, that runs this core to follow the log: it
signs nothing but its own messages of a resharing to it, once there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.effects import Persist, RotationRecord
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.keys import session_id
from mpc_sequencer.core.messages import EpochsReply
from mpc_sequencer.core.rotation import (
    Approval,
    Handover,
    authors,
    encode_payload,
    handover_hash,
    is_same,
    joiners,
    reshare_plan,
    topic,
)
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import (
    EpochStart,
    Hash32,
    KeyMessage,
    KeyReady,
    NextCommittee,
    NextMember,
    NodeIndex,
    SignatureBytes,
    Uint,
    Value,
)
from threshold.dkg import Plan, Result, Role
from threshold.dkg.wire import MessageType

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

DEALERS_TYPES = frozenset(kind.value for kind in MessageType if kind.role is Role.DEALER)
AUTHORS_MAX = 2 * limits.COMMITTEE_MEMBERS_MAX


class Outcome(Value, frozen=True):
    """A resharing that is done: for whom, under which number and attempt, and its result."""

    target: NextCommittee
    sharing: Uint
    attempt: Uint
    result: bytes
    advised: bool
    """Not every new member was ready: the next epoch shares the key anew soon."""

    @property
    def decoded(self) -> Result:
        return Result.decode(self.result)


class SuccessionValue(Value, frozen=True):
    """:class:`Succession` in a snapshot."""

    joiners: tuple[NextMember, ...]
    approvals: tuple[tuple[NodeIndex, Hash32, Uint], ...]
    proposed: tuple[NextCommittee, ...]
    target: NextCommittee | None
    outcome: Outcome | None
    words: tuple[tuple[NodeIndex, Hash32, SignatureBytes], ...]


class Succession:
    """What final blocks have said of the next epoch, as one member knows it."""

    def __init__(self, core: NodeCore, signer: Signer) -> None:
        self._core = core
        self._signer = signer
        self.own_key = signer.public_key
        self.topic = topic(core.committee)
        self._approvals: dict[int, bytes] = {}
        """By member: the hash of the committee that its newest approval names."""
        self._numbers: dict[int, int] = {}
        """By member: the number of its newest approval."""
        self._proposed: dict[bytes, NextCommittee] = {}
        self._words: dict[tuple[int, bytes], bytes] = {}
        """(member, handover) -> its signature."""
        self.target: NextCommittee | None = None
        """Whom q members want to follow; None for the committee as it is."""
        self.outcome: Outcome | None = None
        """The resharing that was done for the next epoch."""

    # --- final blocks -------------------------------------------------------------------------------------------
    def take(self, message: KeyMessage) -> bool:
        """Take a message of the topic that a final block lifts; whether another committee is wanted since."""
        said: Approval | Handover = decode(Approval | Handover, message.payload)
        if isinstance(said, Handover):
            self._words.setdefault((message.node, said.digest), said.signature)
            return False
        if said.number <= self._numbers.get(message.node, 0):
            return False  # its author has changed its mind since
        name = said.committee.committee_hash()
        self._approvals[message.node], self._numbers[message.node] = name, said.number
        self._proposed[name] = said.committee
        named = set(self._approvals.values())
        self._proposed = {one: target for one, target in self._proposed.items() if one in named}
        approving = sum(1 for one in self._approvals.values() if one == name)
        if self.outcome is not None or approving < self._core.committee.q or said.committee == self.target:
            return False
        return self._agree(said.committee)

    def _agree(self, target: NextCommittee) -> bool:
        before = self.target
        if is_same(self._core.committee, target):
            self.target = None
        elif self.admit(target):
            self.target = target
            self._core.effects.append(Persist(RotationRecord(target)))
        return self.target is not before and self.target is not None

    def admit(self, target: NextCommittee) -> bool:
        """Know the joiners of ``target``; False where an epoch would have more than the numbers go to."""
        committee = self._core.committee
        new = [one for one in joiners(committee, target) if one.consensus_key not in _keys(committee.joiners)]
        if committee.n + len(committee.joiners) + len(new) > AUTHORS_MAX:
            return False
        committee.joiners += new
        return True

    def done(self, target: NextCommittee, sharing: int, attempt: int, result: Result) -> None:
        """The resharing to ``target`` is done: every honest member comes to the same."""
        self.outcome = Outcome(target, sharing, attempt, result.encode(), result.refresh_advised)

    # --- sessions -----------------------------------------------------------------------------------------------
    def plan(self, target: NextCommittee, sharing: int, attempt: int) -> Plan:
        """The session that shares the key among ``target``."""
        committee = self._core.committee
        before = committee.sharing(sharing - 1).verification_keys
        return reshare_plan(committee, target, session_id(committee, sharing, attempt), before)

    def index(self, target: NextCommittee | None, message: KeyMessage) -> int | None:
        """The index under which a message's author speaks in a session; None where it has no such part."""
        if target is None:
            return message.node + 1 if message.node < self._core.committee.n else None
        if message.payload[0] in DEALERS_TYPES:
            return message.node + 1 if message.node < self._core.committee.n else None
        numbers = authors(self._core.committee, target)
        return numbers.index(message.node) + 1 if message.node in numbers else None

    def author(self, target: NextCommittee | None, role: Role, index: int) -> int:
        """Whose index it is, by number."""
        if target is None or role is Role.DEALER:
            return index - 1
        return authors(self._core.committee, target)[index - 1]

    def own_number(self) -> int | None:
        """Under which number this member signs key messages; None for an observer that is not to join."""
        committee = self._core.committee
        if self._core.node < committee.n:
            return self._core.node
        keys = [one.consensus_key for one in committee.joiners]
        own = self.own_key
        return committee.n + keys.index(own) if own in keys else None

    def own_index(self, target: NextCommittee) -> int | None:
        """This member's index as a receiver of ``target``'s sharing; None where it is not among them."""
        keys = [one.consensus_key for one in target.members]
        own = self.own_key
        return keys.index(own) + 1 if own in keys else None

    # --- this member's word -------------------------------------------------------------------------------------
    def approval(self, target: NextCommittee) -> bytes | None:
        """What to say where this member's operator wants ``target`` to follow; None where it has said so before, or
        where nothing would change. Raises ProtocolError (``rotation.spent``) where nobody would list it any more."""
        if self._core.node >= self._core.committee.n or self.outcome is not None:
            return None
        newest = max(self._own_approvals(), key=lambda one: one.number, default=None)
        if newest is None and is_same(self._core.committee, target):
            return None
        if newest is not None and newest.committee == target:
            return None
        said = 0 if newest is None else newest.number
        if said >= limits.ROTATION_MESSAGES_LISTED_MAX:
            expected = f"fewer than {limits.ROTATION_MESSAGES_LISTED_MAX} in an epoch"
            raise ProtocolError("rotation.spent", "Approval.number", said, expected)
        return encode_payload(Approval(target, said + 1))

    def _own_approvals(self) -> Iterator[Approval]:
        """What this member has said so far, also where no final block has it yet."""
        for held in self._core.keybook.kept():
            if held.message.node == self._core.node and held.message.session == self.topic:
                said: Approval | Handover = decode(Approval | Handover, held.message.payload)
                if isinstance(said, Approval):
                    yield said

    def handover(self) -> bytes | None:
        """What to say once the resharing is done; None before, and where this member has said so."""
        node, outcome = self._core.node, self.outcome
        if outcome is None or node >= self._core.committee.n:
            return None
        struct_hash = self.expected()
        if (node, struct_hash) in self._words:
            return None
        signature = self._signer.sign_digest(self._core.committee.digest(struct_hash))
        return encode_payload(Handover(struct_hash, signature))

    def expected(self) -> bytes:
        """The handover that this member's log leads to."""
        assert self.outcome is not None, "only a done resharing is handed over"
        epoch = self._core.committee.epoch + 1
        return handover_hash(epoch, self.outcome.target, self.outcome.decoded.hash())

    def leaving_for(self) -> NextCommittee | None:
        """The next committee, where it is agreed and this member is not in it: it gives no promise any more."""
        outcome = self.outcome
        if outcome is None or not self._core.chain.final_state.handover or self.own_index(outcome.target) is not None:
            return None
        return outcome.target

    # --- the end ------------------------------------------------------------------------------------------------
    def start(self) -> EpochStart:
        """How the next epoch begins; the chain has ended. Raises ProtocolError (``rotation.handover``) where q members
        handed over what this member's log does not lead to."""
        state, committee = self._core.chain.final_state, self._core.committee
        if self.outcome is None or state.handover != self.expected():
            raise ProtocolError("rotation.handover", "handover", state.handover, "what the log leads to")
        words = sorted((node, signature) for (node, said), signature in self._words.items() if said == state.handover)
        return EpochStart(
            epoch=committee.epoch + 1,
            committee=self.outcome.target,
            sharing=self.outcome.sharing,
            attempt=self.outcome.attempt,
            result=self.outcome.result,
            handover=tuple(KeyReady(node, signature) for node, signature in words[: committee.q]),
            anchor_id=state.block_id,
            anchor_height=state.height,
        )

    # --- clients ------------------------------------------------------------------------------------------------
    def reply(self, request: int, after_epoch: int) -> EpochsReply:
        """The answer to a client's question for the epochs after ``after_epoch``."""
        committee = self._core.committee
        starts = [start for start in committee.starts if start.epoch > after_epoch][: limits.EPOCH_STARTS_MAX]
        agreed = self.outcome.target if self.outcome is not None else self.target
        proposed = self._most_wanted() if agreed is None else None
        named = agreed if proposed is None else proposed
        name = None if named is None else named.committee_hash()
        approvals = sum(1 for one in self._approvals.values() if one == name)
        return EpochsReply(request, tuple(starts), agreed, proposed, approvals)

    def _most_wanted(self) -> NextCommittee | None:
        """The other committee that most members' newest approvals name; of several the one with the lowest hash."""
        counts: dict[bytes, int] = {}
        for name in self._approvals.values():
            if not is_same(self._core.committee, self._proposed[name]):
                counts[name] = counts.get(name, 0) + 1
        return self._proposed[min(counts, key=lambda name: (-counts[name], name))] if counts else None

    # --- snapshots ----------------------------------------------------------------------------------------------
    def dump(self) -> SuccessionValue:
        return SuccessionValue(
            joiners=tuple(self._core.committee.joiners),
            approvals=tuple((node, name, self._numbers[node]) for node, name in sorted(self._approvals.items())),
            proposed=tuple(target for _, target in sorted(self._proposed.items())),
            target=self.target,
            outcome=self.outcome,
            words=tuple((node, said, signature) for (node, said), signature in sorted(self._words.items())),
        )

    def restore(self, value: SuccessionValue) -> None:
        """Go on from a snapshot; before its records, for joiners' messages are among them."""
        self._core.committee.joiners[:] = value.joiners
        self._approvals = {node: name for node, name, _ in value.approvals}
        self._numbers = {node: number for node, _, number in value.approvals}
        self._proposed = {one.committee_hash(): one for one in value.proposed}
        self.target, self.outcome = value.target, value.outcome
        self._words = {(node, said): signature for node, said, signature in value.words}


def _keys(members: list[NextMember]) -> set[bytes]:
    return {one.consensus_key for one in members}
