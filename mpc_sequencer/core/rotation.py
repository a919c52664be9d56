"""The rule by which one committee follows another: proposals, the handover, and what proves an epoch's committee.

An epoch is one committee. It ends when its members have agreed, in their own log, who follows and with which sharing of
the key. Everything here is a function of final blocks:

=============  =====================================================  ===============================================
state          ends with                                              then
=============  =====================================================  ===============================================
steady         q members' newest approvals name one other committee   the key is shared anew among *that* committee
resharing      the session is done                                    every member says *handover*, signed
               the session aborts                                     next attempt later; the old committee goes on
handing over   q members' handovers of one result are in a block      batches are empty from the next block on
closing        every counting result is certified in the ancestors    the next block is the epoch's last
over           the last block is final                                the next epoch begins on it, at view 1
=============  =====================================================  ===============================================

Approvals and handovers are key messages of a session of their own (:func:`topic`), so they are listed, lifted and
logged like all key messages. Of a member the newest approval counts, whatever it approved before; *newest* is by its
author's numbers, and of two with one number the first in the log. q members that approve the committee as it is call a
proposal off, and q that approve a third one replace it, until the resharing is done: a session that ends for a
committee that is not wanted any more is void.

A handover carries a signature over the EIP-712 struct ``Rotation``, which has all that a settlement contract needs to
take the new signers; q of these are an :class:`~mpc_sequencer.core.types.EpochStart`'s proof.

What an attacker tries: fewer than q approvals (nothing happens), a committee that tolerates fewer faults than it says
(:func:`check_next`), a handover with a bad signature (refused before it is held, so no honest member lists it) or of
another result (which never has q), an old approval that is held back until its author has changed its mind, a
joiner's messages before there is a rotation (nobody knows its key), two rotations at once (the session that runs ends
first).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from mpc_sequencer.core import domains, eip712, limits, signing
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee, Genesis, Member, Origin, Sharing, faults_tolerated
from mpc_sequencer.core.darkterms import check_dark
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.keys import session_id
from mpc_sequencer.core.types import (
    EpochStart,
    Hash32,
    KeyMessage,
    KeyReady,
    NextCommittee,
    NextMember,
    SignatureBytes,
    Value,
)
from threshold.dkg import Plan, Result

ENDPOINT_PORT_MAX: Final = 65_535


class Approval(Value, frozen=True, tag=1):
    """A member wants ``committee`` to follow. Of its approvals in an epoch, which it numbers from 1, the one with the
    highest number counts: a word that was held back cannot replace a later one, and one can be given again."""

    committee: NextCommittee
    number: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)]


class Handover(Value, frozen=True, tag=2):
    """A member knows the resharing to be done. ``digest`` is :func:`handover_hash`; ``signature`` is over it."""

    digest: Hash32
    signature: SignatureBytes



# --- names --------------------------------------------------------------------------------------------------------
def topic(committee: Committee) -> bytes:
    """The session that approvals and handovers of ``committee``'s epoch belong to."""
    return domains.ROTATION_TOPIC(committee.genesis_id, committee.epoch.to_bytes(8, "big"))


def rotation_session(session: bytes, target: NextCommittee) -> bytes:
    """What names an attempt at a sharing for ``target``, from what names the attempt."""
    return domains.ROTATION_SESSION(session, target.committee_hash())


def handover_hash(epoch: int, target: NextCommittee, sharing: bytes) -> bytes:
    """The struct hash that hands the key over to ``target``, the committee of ``epoch``; ``sharing`` is the hash of the
    resharing's result."""
    words = b"".join(signing.address_of(one.consensus_key).rjust(32, b"\x00") for one in target.members)
    signers = eip712.keccak256(words)
    return domains.ROTATION_TYPE(epoch, signers, target.threshold, target.committee_hash(), sharing)


# --- committees ---------------------------------------------------------------------------------------------------
def is_same(committee: Committee, target: NextCommittee) -> bool:
    """Whether ``target`` has the very members and threshold of ``committee``."""
    keys = [(one.consensus_key, one.log_key) for one in target.members]
    return target.threshold == committee.t and keys == [
        (one.consensus_key, one.log_key) for one in committee.genesis.members
    ]


def check_next(committee: Committee, target: NextCommittee) -> None:
    """Refuse a committee that may not follow ``committee`` (``rotation.committee``)."""
    n = len(target.members)
    if not limits.COMMITTEE_MEMBERS_MIN <= n <= limits.COMMITTEE_MEMBERS_MAX:
        expected = f"{limits.COMMITTEE_MEMBERS_MIN} .. {limits.COMMITTEE_MEMBERS_MAX}"
        raise ProtocolError("rotation.committee", "NextCommittee.members", n, expected)
    f = faults_tolerated(n, committee.genesis.markets)
    if not f:
        raise ProtocolError("rotation.committee", "NextCommittee.members", n, "so many that one may fail")
    try:
        check_dark(n, f, committee.genesis.markets)
    except ValueError as error:
        raise ProtocolError("rotation.committee", "NextCommittee.members", n, f"able to run: {error}") from None
    if not f + 1 <= target.threshold <= n - f:
        expected = f"f+1 = {f + 1} .. n-f = {n - f}"
        raise ProtocolError("rotation.committee", "NextCommittee.threshold", target.threshold, expected)
    for member in target.members:
        _check_endpoint(member.endpoint)
    try:
        addresses = [signing.address_of(member.consensus_key) for member in target.members]
    except ValueError:
        raise ProtocolError("rotation.committee", "NextMember.consensus_key", "no point", "a point") from None
    if any(a >= b for a, b in pairwise(addresses)):
        expected = "strictly ascending by consensus address"
        raise ProtocolError("rotation.committee", "NextCommittee.members", "another order", expected)
    if len({member.log_key for member in target.members}) != n:
        raise ProtocolError("rotation.committee", "NextMember.log_key", "one twice", "a key of its own for each")
    if len({member.endpoint for member in target.members}) != n:
        raise ProtocolError("rotation.committee", "NextMember.endpoint", "one twice", "one of its own for each")
    _check_identities(committee, target)


def _check_identities(committee: Committee, target: NextCommittee) -> None:
    """A member that stays keeps its log key, and nobody else takes it over: a link is its TLS key's, in both epochs."""
    present = [(one.consensus_key, one.log_key) for one in committee.genesis.members]
    log_keys, consensus_keys = dict(present), {log_key: key for key, log_key in present}
    for member in target.members:
        kept = log_keys.get(member.consensus_key, member.log_key)
        owner = consensus_keys.get(member.log_key, member.consensus_key)
        if kept != member.log_key or owner != member.consensus_key:
            expected = "the key that goes with its consensus key now, or one that no member has"
            raise ProtocolError("rotation.committee", "NextMember.log_key", member.log_key, expected)


def _check_endpoint(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    good = host.isascii() and host.isprintable() and " " not in host and host
    if not good or not (port.isascii() and port.isdigit() and 0 < int(port) <= ENDPOINT_PORT_MAX):
        raise ProtocolError("rotation.committee", "NextMember.endpoint", endpoint, "host:port")


def joiners(committee: Committee, target: NextCommittee) -> tuple[NextMember, ...]:
    """Who is in ``target`` and not in ``committee``, in order."""
    known = {member.consensus_key for member in committee.genesis.members}
    return tuple(member for member in target.members if member.consensus_key not in known)


def authors(committee: Committee, target: NextCommittee) -> tuple[int, ...]:
    """Under which number each member of ``target``, whose joiners are known, signs key messages in ``committee``'s
    epoch: a member under its index, joiner k of the epoch under n+k."""
    known = [one.consensus_key for one in committee.genesis.members]
    known += [one.consensus_key for one in committee.joiners]
    numbers = {key: number for number, key in enumerate(known)}
    return tuple(numbers[one.consensus_key] for one in target.members)


def reshare_plan(committee: Committee, target: NextCommittee, session: bytes, before: Sequence[bytes]) -> Plan:
    """The plan by which ``committee``, whose verification keys are ``before``, deals its key to ``target``."""
    n = len(target.members)
    return Plan.reshare(
        rotation_session(session, target),
        dict(enumerate(before, 1)),
        range(1, n + 1),
        public_key=committee.sealing_key.public_key,
        dealer_threshold=committee.t,
        dealer_faults=committee.f,
        threshold=target.threshold,
        faults=faults_tolerated(n, committee.genesis.markets),
        window_heights=limits.KEY_WINDOW_HEIGHTS,
        window_ms=limits.KEY_WINDOW_MS,
    )


# --- messages -----------------------------------------------------------------------------------------------------
def read_payload(committee: Committee, message: KeyMessage) -> Approval | Handover:
    """What a message of the topic says. Raises ProtocolError where it says nothing that may count."""
    if message.node >= committee.n:
        raise ProtocolError("member.unknown", "KeyMessage.node", message.node, f"0 .. {committee.n - 1}")
    payload: Approval | Handover = decode(Approval | Handover, message.payload)
    match payload:
        case Approval(target):
            check_next(committee, target)
        case Handover(struct_hash, signature):
            committee.check_signature(message.node, struct_hash, signature, "Handover")
    return payload


def encode_payload(payload: Approval | Handover) -> bytes:
    """The payload of a message of the topic."""
    return encode(payload)


# --- epochs -------------------------------------------------------------------------------------------------------
def check_start(committee: Committee, start: EpochStart, session: bytes) -> Result:
    """The sharing with which the epoch after ``committee``'s begins, which q members of it have signed; ``session``
    names the attempt. Raises ProtocolError or ThresholdError."""
    if start.epoch != committee.epoch + 1:
        raise ProtocolError("epoch.unknown", "EpochStart.epoch", start.epoch, committee.epoch + 1)
    check_next(committee, start.committee)
    result = Result.decode(start.result)
    expected = rotation_session(session, start.committee)
    if result.session != expected:
        raise ProtocolError("key.result", "EpochStart.result", result.session, expected.hex())
    n = len(start.committee.members)
    if result.threshold != start.committee.threshold or set(result.verification_keys) != set(range(1, n + 1)):
        sharing = f"t = {start.committee.threshold} of n = {n}"
        raise ProtocolError("key.result", "EpochStart.result", result.threshold, sharing)
    if committee.keys is not None and result.public_key != committee.keys.public_key:
        raise ProtocolError("key.result", "EpochStart.result", result.public_key, committee.keys.public_key.hex())
    check_handover(committee, start.handover, handover_hash(start.epoch, start.committee, result.hash()))
    return result


def check_handover(committee: Committee, handover: Sequence[KeyReady], struct_hash: bytes) -> None:
    """Refuse a handover without q signatures of distinct members in ascending order."""
    nodes = [one.node for one in handover]
    if any(a >= b for a, b in pairwise(nodes)) or len(nodes) < committee.q:
        raise ProtocolError("rotation.quorum", "EpochStart.handover", nodes, f"{committee.q} or more, ascending")
    for one in handover:
        committee.check_signature(one.node, struct_hash, one.signature, "EpochStart.handover")


def successor_genesis(genesis: Genesis, start: EpochStart) -> Genesis:
    """What the members of a later epoch agree on: as at the start, but for members, threshold and key."""
    members = tuple(Member(one.consensus_key, one.log_key, b"") for one in start.committee.members)
    return msgspec.structs.replace(
        genesis, epoch=start.epoch, threshold=start.committee.threshold, members=members, public_key=b""
    )


def follow(committee: Committee, start: EpochStart) -> Committee:
    """The committee of the epoch that ``start`` proves to follow ``committee``'s. Raises as :func:`check_start`."""
    result = check_start(committee, start, session_id(committee, start.sharing, start.attempt))
    sharing = Sharing(
        number=start.sharing,
        from_height=start.anchor_height + 1,
        verification_keys=tuple(key for _, key in sorted(result.verification_keys.items())),
        name=result.hash(),
        certificate=None,
    )
    origin = Origin(
        genesis_id=committee.genesis_id,
        anchor_id=start.anchor_id,
        anchor_height=start.anchor_height,
        public_key=result.public_key,
        sharing=sharing,
        starts=(*committee.starts, start),
    )
    return Committee(successor_genesis(committee.genesis, start), origin)


def follow_all(committee: Committee, starts: Iterable[EpochStart]) -> Committee:
    """The committee of the last of ``starts``, from ``committee``'s epoch on. Raises as :func:`check_start`."""
    for start in starts:
        committee = follow(committee, start)
    return committee
