"""The committee's key generation as one member runs it: a session in the finalized log, until it gives a key.

The session itself is :mod:`threshold.dkg`'s and a function of its plan and of the final blocks alone, so every member,
a late one and the auditor come to the same result. This feeds it the key messages that final blocks lift, in the order
in which they count, signs what this member owes it, and, where it aborts, begins the next attempt at the very block
that ended it. The first attempt begins at the first final block.

What a member contributes is a function of a 32-byte seed per session, which is in its vault before the first message
leaves: after a crash it makes the same messages again. A member that has lost its seed says nothing more in that
session. Its share goes into the vault when the session is done, and the seed is erased then: with the share known and
nothing of the session left, who steals the disk later cannot open the deals in the log.

States: *given* (the committee file has the key: nothing to do), *running*, *done*. Work is done in turns, a final
block's messages each, away from the round that finalized it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from threshold.dkg import Message, Participant, Phase, Plan, Result, Session
from threshold.dkg.wire import MessageType, decode_ready, encode_ready, message_type

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import EraseSecret, Fault, KeepSecret, KeyRecord, Persist
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.keyoffences import OffenceFinder
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import (
    NO_SIGNATURE,
    Hash32,
    KeyCertificate,
    KeyMessage,
    KeyReady,
    Uint,
    Value,
    with_signature,
)
from threshold import SecretShare, ThresholdError, UsageError

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

SEED_PREFIX: Final = "session-"
GIVEN: Final = "given"
WAITING: Final = "waiting"


class KeyBlock(Value, frozen=True):
    """A final block as a session sees it."""

    height: Uint
    time_ms: Uint
    messages: tuple[Hash32, ...]


class KeySessionsValue(Value, frozen=True):
    """What a snapshot holds: the running attempt and its blocks. Messages and the key itself are among the snapshot's
    records; ``included`` says which messages final blocks hold, and where."""

    running: bool
    attempt: Uint
    blocks: tuple[KeyBlock, ...]
    included: tuple[tuple[Hash32, Uint], ...]


def session_id(committee: Committee, attempt: int) -> bytes:
    """What names an attempt at an epoch's key: nothing of one counts in another."""
    epoch = committee.epoch.to_bytes(8, "big")
    return domains.KEY_SESSION(committee.genesis_id, epoch, attempt.to_bytes(4, "big"))


def generation_plan(committee: Committee, attempt: int) -> Plan:
    """The plan of an attempt: member i deals and receives under index i+1."""
    return Plan.generate(
        session_id(committee, attempt),
        range(1, committee.n + 1),
        threshold=committee.t,
        faults=committee.f,
        window_heights=limits.KEY_WINDOW_HEIGHTS,
        window_ms=limits.KEY_WINDOW_MS,
    )


def seed_name(session: bytes) -> str:
    """What the vault calls a session's seed."""
    return f"{SEED_PREFIX}{session[:8].hex()}"


def share_name(epoch: int) -> str:
    """What the vault calls an epoch's share."""
    return f"share-{epoch}"


def check_key_certificate(committee: Committee, certificate: KeyCertificate) -> Result:
    """The key that q members of ``committee`` say they have generated. Raises ProtocolError or ThresholdError."""
    if certificate.epoch != committee.epoch:
        raise ProtocolError("epoch.unknown", "KeyCertificate.epoch", certificate.epoch, committee.epoch)
    result = Result.decode(certificate.result)
    expected_keys = set(range(1, committee.n + 1))
    if result.threshold != committee.t or set(result.verification_keys) != expected_keys:
        expected = f"t = {committee.t} of n = {committee.n}"
        raise ProtocolError("key.result", "KeyCertificate.result", result.threshold, expected)
    nodes = [ready.node for ready in certificate.ready]
    if any(a >= b for a, b in pairwise(nodes)) or len(nodes) < committee.q:
        raise ProtocolError("key.quorum", "KeyCertificate.ready", nodes, f"{committee.q} or more, ascending")
    payload = encode_ready(result.hash())
    for ready in certificate.ready:
        message = KeyMessage(certificate.epoch, certificate.session, ready.node, payload, ready.signature)
        committee.check_value(message)
    return result


class KeyGeneration:
    """One member's side of its committee's key sessions. ``secrets`` are the vault's, by name."""

    def __init__(self, core: NodeCore, signer: Signer, secrets: Mapping[str, bytes], entropy: bytes) -> None:
        self._core = core
        self._signer = signer
        self._secrets = dict(secrets)
        self._entropy = entropy
        self._attempt = 0
        self._blocks: list[KeyBlock] = []
        self._queue: deque[tuple[KeyBlock, list[KeyMessage]]] = deque()
        self._tidied = False
        self._session: Session | None = None
        self._participant: Participant | None = None
        self._said: set[bytes] = set()
        self._ready: dict[int, KeyMessage] = {}
        self._finder = OffenceFinder(0)
        self.certificate: KeyCertificate | None = None
        """The generated key with its proof; None before, and where the committee file has the key."""
        if core.committee.keys is None:
            self._session = Session.begin(generation_plan(core.committee, 0), 0, 0)

    # --- state --------------------------------------------------------------------------------------------------
    @property
    def running(self) -> bytes | None:
        """The session under way."""
        return self._session.plan.session if self._session is not None else None

    @property
    def phase(self) -> str:
        """What the generation waits for, in a word."""
        if self._session is None:
            return GIVEN if self.certificate is None else Phase.DONE.value
        return WAITING if not self._blocks else self._session.phase.value

    def due(self, now_ms: int) -> bool:
        """Whether blocks are wanted for the session's sake: the first one, and those that end a phase by its window."""
        if self._session is None:
            return False
        return not self._blocks or now_ms >= self._session.phase_deadline[1]

    def has_work(self) -> bool:
        return bool(self._queue)

    # --- blocks -------------------------------------------------------------------------------------------------
    def final(self, height: int, time_ms: int, message_ids: tuple[bytes, ...]) -> None:
        """A block is final; it lifts these key messages, in the order in which they count."""
        messages = [self._core.keybook.include(message_id, height) for message_id in message_ids]
        if self._session is not None:
            self._queue.append((KeyBlock(height, time_ms, message_ids), messages))
        if message_ids or not height % limits.BLOCKS_KEPT_HEIGHTS:
            self._core.keybook.prune(height, self.running)

    def work(self) -> None:
        """Let the session take one final block."""
        if not self._queue:
            return
        block, messages = self._queue.popleft()
        self._take(block, messages)
        if self._session is None:
            self._queue.clear()
        elif not self._queue:  # what an old block asked for is asked no more
            self._answer()

    def _begin(self, anchor: KeyBlock) -> None:
        """Begin the attempt where windows count from."""
        plan = generation_plan(self._core.committee, self._attempt)
        self._session = Session.begin(plan, anchor.height, anchor.time_ms)
        self._blocks, self._ready = [anchor], {}
        self._finder = OffenceFinder(self._attempt)

    def _take(self, block: KeyBlock, messages: list[KeyMessage]) -> None:
        if not self._blocks:  # windows count from the first block: nobody knows how long before it members came up
            self._begin(KeyBlock(block.height - 1, block.time_ms, ()))
        before = self._session
        assert before is not None
        self._blocks.append(block)
        counting = [one for one in messages if one.session == before.plan.session]
        for one in counting:
            if _is_ready(one):
                self._ready.setdefault(one.node, one)
        session = before.block(block.height, block.time_ms, [Message(one.node + 1, one.payload) for one in counting])
        for culprit in session.culprits[len(before.culprits) :]:
            detail = f"key generation, {culprit.role.value} {culprit.index}: {culprit.detail}"
            self._core.effects.append(Fault(culprit.index - 1, culprit.code, detail))
        for offence in self._finder.block(before, session, counting):
            self._core.effects += self._core.convictions.take(offence)
        self._session = session
        if session.phase is Phase.ABORTED:
            self._abort(session)
        elif session.phase is Phase.DONE:
            self._done(session)

    def _abort(self, session: Session) -> None:
        detail = f"key generation {self._attempt} is void ({session.aborted}); the next attempt begins"
        self._core.effects.append(Fault(self._core.node, "key.aborted", detail))
        self._erase(session.plan.session)
        self._attempt += 1
        last = self._blocks[-1]
        self._participant = None
        self._said.clear()
        self._begin(KeyBlock(last.height, last.time_ms, ()))

    def _done(self, session: Session) -> None:
        """The key is known: orders are admitted from now on, and this member's share is in use."""
        core, result = self._core, session.result
        assert result is not None
        payload = encode_ready(result.hash())
        agreed = [self._ready[node] for node in sorted(self._ready) if self._ready[node].payload == payload]
        certificate = KeyCertificate(
            epoch=core.committee.epoch,
            session=session.plan.session,
            result=result.encode(),
            ready=tuple(KeyReady(one.node, one.signature) for one in agreed),
        )
        if self.certificate is None:
            core.effects.append(Persist(KeyRecord(certificate)))
        self.certificate = certificate
        core.committee.establish(result.public_key, _by_member(result), certificate)
        share = self._share_of(session)
        if share is not None:
            core.effects.append(KeepSecret(share_name(core.committee.epoch), share.export()))
        self._use(share)
        self._erase(session.plan.session)
        self._session, self._blocks, self._participant = None, [], None

    def _share_of(self, session: Session) -> SecretShare | None:
        participant = self._participation(session, begin=False)
        if participant is None:
            return None
        try:
            return participant.share(session)
        except (UsageError, ThresholdError):
            return None  # it came too late to be dealt to, or has lost its seed

    def _use(self, share: SecretShare | None) -> None:
        core = self._core
        if share is None:
            share = self._kept_share()
        if share is None:
            detail = "this member has no share of the key: it opens no orders until the key is shared anew"
            core.effects.append(Fault(core.node, "key.no_share", detail))
        core.reveal.secret = share

    def _kept_share(self) -> SecretShare | None:
        """The epoch's share out of the vault, where it is the one that the others know of."""
        kept = self._secrets.get(share_name(self._core.committee.epoch))
        if kept is None:
            return None
        share = SecretShare(self._core.node + 1, kept)
        fits = share.verification_key() == self._core.committee.verification_key(self._core.node)
        return share if fits else None

    def _erase(self, session: bytes) -> None:
        self._secrets.pop(seed_name(session), None)
        self._core.effects.append(EraseSecret(seed_name(session)))

    # --- this member's messages ---------------------------------------------------------------------------------
    def flush(self) -> None:
        """Say what the session wants of this member, the first time it is asked; erase seeds of sessions that ended
        before a crash."""
        if not self._tidied:
            self._tidied = True
            current = seed_name(self.running) if self.running is not None else ""
            for name in [one for one in self._secrets if one.startswith(SEED_PREFIX) and one != current]:
                self._core.effects.append(EraseSecret(name))
        if self._session is not None and not self._queue and not self._said:
            self._answer()

    def _participation(self, session: Session, *, begin: bool) -> Participant | None:
        """This member's secret side; None where it has taken no part so far and is not to ``begin`` now."""
        if self._participant is None:
            name = seed_name(session.plan.session)
            seed = self._secrets.get(name)
            if seed is None and not begin:
                return None
            if seed is None:
                seed = domains.KEY_SEED(self._entropy, session.plan.session)
                self._secrets[name] = seed
                self._core.effects.append(KeepSecret(name, seed))
            index = self._core.node + 1
            self._participant = Participant(session.plan, seed, dealer_index=index, receiver_index=index)
        return self._participant

    def _answer(self) -> None:
        session = self._session
        if session is None or (participant := self._participation(session, begin=True)) is None:
            return
        for payload in participant.messages(session):
            unsigned = KeyMessage(
                self._core.committee.epoch, session.plan.session, self._core.node, payload, NO_SIGNATURE
            )
            message_id = unsigned.message_id()
            if message_id in self._said or message_id in self._core.keybook:
                continue
            self._said.add(message_id)
            digest = self._core.committee.digest(unsigned.struct_hash())
            message = with_signature(unsigned, self._signer.sign_digest(digest))
            self._core.keybook.add(message, message_id=message_id, needed=True)
            self._core.arrivals += 1

    # --- snapshots ----------------------------------------------------------------------------------------------
    def dump(self) -> KeySessionsValue:
        """The state after the last final block."""
        included = [
            (held.message.message_id(), held.included_height)
            for held in self._core.keybook.kept()
            if held.included_height
        ]
        blocks = (*self._blocks, *(block for block, _ in self._queue)) if self._session is not None else ()
        return KeySessionsValue(self._session is not None, self._attempt, blocks, tuple(included))

    def know(self, certificate: KeyCertificate) -> None:
        """The key, out of this member's own journal. Raises ProtocolError or ThresholdError where it is none."""
        result = check_key_certificate(self._core.committee, certificate)
        self.certificate = certificate
        self._core.committee.establish(result.public_key, _by_member(result), certificate)

    def restore(self, value: KeySessionsValue) -> None:
        """Go on from a snapshot, whose records are taken in already."""
        core = self._core
        for message_id, height in value.included:
            core.keybook.include(message_id, height)
        if core.committee.genesis.public_key:
            return
        self._attempt = value.attempt
        if not value.running:
            self._session = None
            self._use(None)
            return
        if value.blocks:
            self._begin(value.blocks[0])
        for block in value.blocks[1:]:  # what is not held any more is of sessions before
            held = [one for message_id in block.messages if (one := core.keybook.get(message_id)) is not None]
            self._queue.append((block, [one.message for one in held]))


def _by_member(result: Result) -> list[bytes]:
    return [key for _, key in sorted(result.verification_keys.items())]


def _is_ready(message: KeyMessage) -> bool:
    try:
        return message_type(message.payload) is MessageType.READY and bool(decode_ready(message.payload))
    except ThresholdError:
        return False
