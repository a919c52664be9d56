"""The committee's key sessions as one member runs them: generation first, then refreshes, in the finalized log.

A session is :mod:`threshold.dkg`'s and a function of its plan and of the final blocks alone, so every member, a late
one and the auditor come to the same result. This feeds it the key messages that final blocks lift, in the order in
which they count; :mod:`~mpc_sequencer.core.keyvoice` says what this member owes it.

When sessions begin, a rule over the log as well: the generation at the first final block, and where it aborts its next
attempt at the very block that ended it. A refresh at the first block whose time reaches ``due_ms``:
``genesis.key_refresh_ms`` after the sharing before it (0: never), and soon (KEY_RETRY_MS, doubled each time) where not
every member was ready for that one, or an attempt has failed: then the old sharing goes on. A sharing made by block h
opens the batches above h. Shares leave after finality only, so whoever releases one knows which sharing it is of.

Work is done in turns, a final block's messages each, away from the round that finalized it, unless a batch waits for
it to be known which sharing opens it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Fault, KeyRecord, Persist
from mpc_sequencer.core.keyoffences import OffenceFinder
from mpc_sequencer.core.keys import establish, session_plan
from mpc_sequencer.core.keyshares import KeyShares
from mpc_sequencer.core.keyvoice import KeyVoice
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import (
    Hash32,
    KeyCertificate,
    KeyMessage,
    KeyReady,
    NextCommittee,
    Uint,
    Value,
)
from threshold import SecretShare
from threshold.dkg import Message, Phase, Plan, Result, Role, Session
from threshold.dkg.wire import encode_ready

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

GIVEN: Final = "given"
WAITING: Final = "waiting"
DOUBLINGS_MAX: Final = 10


class KeyBlock(Value, frozen=True):
    """A final block as a session sees it."""

    height: Uint
    time_ms: Uint
    messages: tuple[Hash32, ...]


class KeySessionsValue(Value, frozen=True):
    """What a snapshot holds: the next sharing's number, its attempt and what is known of it. Messages and sharings are
    among the snapshot's records; ``included`` says which messages final blocks hold, and where."""

    number: Uint
    attempt: Uint
    shortfalls: Uint
    due_ms: Uint | None
    running: bool
    blocks: tuple[KeyBlock, ...]
    waiting: tuple[KeyBlock, ...]
    """Final blocks that no session has looked at yet."""
    included: tuple[tuple[Hash32, Uint], ...]
    target: NextCommittee | None
    """For whom the session under way shares the key; None for the committee as it is."""


class KeySessions:
    """One member's side of its committee's key sessions. ``secrets`` are the vault's, by name; ``share`` is this
    member's share where the committee file gives the key."""

    def __init__(
        self, core: NodeCore, signer: Signer, secrets: Mapping[str, bytes], share: SecretShare | None, entropy: bytes
    ) -> None:
        self._core = core
        self.shares = KeyShares(core, secrets, share if core.committee.keys is not None else None)
        self.voice = KeyVoice(core, self, signer, secrets, entropy)
        self.number = 0
        """Of the sharing that is made now, or comes next."""
        self._attempt = 0
        self._shortfalls = 0
        """Refreshes in a row that were needed since not every member was ready, or an attempt failed."""
        self.due_ms: int | None = 0
        """The block time at which the next session begins; None where none is planned."""
        self._blocks: list[KeyBlock] = []
        self._queue: deque[tuple[KeyBlock, list[KeyMessage]]] = deque()
        self.session: Session | None = None
        """The one under way."""
        self.target: NextCommittee | None = None
        """For whom it shares the key; None for the committee as it is."""
        self._ready: dict[int, KeyMessage] = {}
        self._finder = OffenceFinder(0)
        if core.committee.keys is None:
            self.session = Session.begin(session_plan(core.committee, 0, 0), 0, 0)
        else:
            self.number = max(core.committee.sharings) + 1
            self._plan_next(core.committee.genesis.time_ms, advised=False)

    # --- state --------------------------------------------------------------------------------------------------
    @property
    def running(self) -> bytes | None:
        """The session under way."""
        return self.session.plan.session if self.session is not None else None

    @property
    def live(self) -> tuple[bytes, ...]:
        """Sessions whose messages are listed: the one under way, the epoch's topic of succession, and what is said of
        dark markets, as far as it is wanted."""
        dark = self._core.committee.dark_topic
        topics = (self._core.succession.topic,) if dark is None else (self._core.succession.topic, dark)
        return topics if self.session is None else (self.session.plan.session, *topics)

    @property
    def certificate(self) -> KeyCertificate | None:
        """The newest sharing with its proof; None before, and where the committee file gives it."""
        sharings = self._core.committee.sharings
        return sharings[max(sharings)].certificate if sharings else None

    @property
    def phase(self) -> str:
        """What the session under way waits for, in a word; ``done`` or ``given`` where there is none."""
        if self.session is None:
            return Phase.DONE.value if self.certificate is not None else GIVEN
        return self.session.phase.value if self._blocks else WAITING

    @property
    def progress(self) -> tuple[int, int, int]:
        """(the attempt, from 0; members whose message of this phase counts already; members it is expected of)."""
        if self.session is None:
            return self._attempt, 0, 0
        expected = len(self.session.expected)
        return self._attempt, expected - len(self.session.unheard), expected

    def due(self, now_ms: int) -> bool:
        """Whether blocks are wanted for a session's sake: the first one, those that end a phase by its window, and one
        that begins a resharing to another committee."""
        if self.session is None:
            resharing = self._core.succession.target is not None and self._core.succession.outcome is None
            return resharing and self.due_ms is not None and now_ms >= self.due_ms
        return not self._blocks or now_ms >= self.session.phase_deadline[1]

    def has_work(self) -> bool:
        return bool(self._queue)

    # --- blocks -------------------------------------------------------------------------------------------------
    def final(self, height: int, time_ms: int, message_ids: tuple[bytes, ...]) -> None:
        """A block is final; it lifts these key messages, in the order in which they count. What they say of dark
        markets is execution's."""
        lifted = [(one, self._core.keybook.include(one, height)) for one in message_ids]
        spoken = [(one, message) for one, message in lifted if message.session != self._core.committee.dark_topic]
        messages = [message for _, message in spoken]
        due = self.due_ms is not None and time_ms >= self.due_ms
        if self.session is not None or self._queue or due or messages:
            self._queue.append((KeyBlock(height, time_ms, tuple(one for one, _ in spoken)), messages))
        if message_ids or not height % limits.BLOCKS_KEPT_HEIGHTS:
            self._core.keybook.prune(height, time_ms, self.live, self._core.listed_through())

    def work(self) -> None:
        """Let the session take one final block."""
        if not self._queue:
            return
        block, messages = self._queue.popleft()
        succession = self._core.succession
        wanted = [succession.take(one) for one in messages if one.session == succession.topic]
        ran = self.session is not None
        if ran:
            self._take(block, messages)
        elif self.due_ms is not None and block.time_ms >= self.due_ms:
            self.target = succession.target if self.number else None
            self._begin(block)
        if self.session is None and self._rotation_waits(agreed=any(wanted), ended=ran):
            self.due_ms = block.time_ms  # with the next block
        self.voice.asked = True

    def _rotation_waits(self, *, agreed: bool, ended: bool) -> bool:
        """Whether the key is to be shared anew for another committee at once: a block has just agreed on one, or ended
        a session that ran for others when it was agreed on."""
        target = self._core.succession.target
        if target is None or self._core.succession.outcome is not None:
            return False
        return agreed or (ended and self.target != target)

    def drain(self) -> None:
        """Let the session take all final blocks there are: only then is it clear which sharing the next height has."""
        while self._queue:
            self.work()

    def _begin(self, anchor: KeyBlock) -> None:
        """Begin an attempt at the block where its windows count from."""
        plan = self._plan()
        self.session = Session.begin(plan, anchor.height, anchor.time_ms)
        self._blocks, self._ready = [anchor], {}
        self._finder = OffenceFinder(self._attempt)
        self.voice.begin()
        self.due_ms = None

    def _plan(self) -> Plan:
        if self.target is None:
            return session_plan(self._core.committee, self.number, self._attempt)
        return self._core.succession.plan(self.target, self.number, self._attempt)

    def _take(self, block: KeyBlock, messages: list[KeyMessage]) -> None:
        if not self._blocks:  # nobody knows how long before the first block members came up
            self._begin(KeyBlock(block.height - 1, block.time_ms, ()))
        before = self.session
        assert before is not None
        self._blocks.append(block)
        succession = self._core.succession
        spoken = [(succession.index(self.target, one), one) for one in messages if one.session == before.plan.session]
        counting = [(index, one) for index, one in spoken if index is not None]
        session = before.block(block.height, block.time_ms, [Message(index, one.payload) for index, one in counting])
        for index, one in counting:
            # what it said too early, or said otherwise, is no word for the key
            if index in session.ready and one.payload == _ready_payload(session):
                self._ready.setdefault(one.node, one)
        for culprit in session.culprits[len(before.culprits) :]:
            detail = f"key session {self.number}.{self._attempt}, {culprit.role.value}: {culprit.detail}"
            self._name(culprit.role, culprit.index, culprit.code, detail)
        for kind, index in sorted(session.repeated - before.repeated):
            detail = f"key session {self.number}.{self._attempt}: two different messages of type {kind.name.lower()}"
            self._name(kind.role, index, "key.repeated", detail)
        if not self.number:  # what deals of a refresh can prove by themselves is not worked out: the log names culprits
            for offence in self._finder.block(before, session, [one for _, one in counting]):
                self._core.effects += self._core.convictions.take(offence)
        self.session = session
        if session.phase is Phase.ABORTED:
            self._abort(session, block, str(session.aborted))
        elif session.phase is Phase.DONE and self.target is not None and self.target != succession.target:
            self._abort(session, block, "this committee is wanted no more")
        elif session.phase is Phase.DONE:
            self._done(session, block)

    def _name(self, role: Role, index: int, code: str, detail: str) -> None:
        author = self._core.succession.author(self.target, role, index)
        self._core.effects.append(Fault(author, code, detail))

    def _abort(self, session: Session, block: KeyBlock, why: str) -> None:
        detail = f"key session {self.number}.{self._attempt} is void: {why}"
        self._core.effects.append(Fault(self._core.node, "key.aborted", detail))
        self._end(session)
        self._attempt += 1
        if self.number:
            self._shortfalls += 1
            self._plan_next(block.time_ms, advised=True)
        else:
            self._begin(KeyBlock(block.height, block.time_ms, ()))

    def _done(self, session: Session, block: KeyBlock) -> None:
        """The sharing is known: batches above this block are opened with it."""
        core, result = self._core, session.result
        assert result is not None
        if self.target is not None:
            self._done_for_others(session, self.target, result, block.time_ms)
            return
        certificate = KeyCertificate(
            epoch=core.committee.epoch,
            sharing=self.number,
            attempt=self._attempt,
            result=result.encode(),
            ready=tuple(KeyReady(one.node, one.signature) for _, one in sorted(self._ready.items())),
        )
        if self.number not in core.committee.sharings:
            core.effects.append(Persist(KeyRecord(certificate, block.height + 1)))
            establish(core.committee, certificate, block.height + 1)
        core.committee.sealing_key.prepare()  # tables that would hold up the first orders otherwise
        self.shares.made(self.number, self.voice.share_of(session))
        self._end(session)
        self.number, self._attempt = self.number + 1, 0
        self._shortfalls = self._shortfalls + 1 if result.refresh_advised else 0
        self._plan_next(block.time_ms, advised=result.refresh_advised)

    def _done_for_others(self, session: Session, target: NextCommittee, result: Result, time_ms: int) -> None:
        """The next epoch's sharing is known: this epoch's heights are opened with the old one to their end. It is void
        where another committee is wanted since, or none."""
        if target != self._core.succession.target:
            self._end(session)
            self._attempt += 1
            self._plan_next(time_ms, advised=self._shortfalls > 0)
            return
        self.shares.made_for_later(self.number, self.voice.share_of(session))
        self._core.succession.done(target, self.number, self._attempt, result)
        self._end(session)
        self.due_ms = None  # nothing is shared anew before the handover

    def _plan_next(self, time_ms: int, *, advised: bool) -> None:
        wanted = self._core.succession.target
        if wanted is not None and wanted != self.target:
            self.due_ms = time_ms  # with the next block; a session for it that failed waits
            return
        shortfalls = self._shortfalls if advised else 0
        self.due_ms = key_due_ms(self._core.committee, time_ms, shortfalls=shortfalls)

    def _end(self, session: Session) -> None:
        self.voice.end(session)
        self.session, self._blocks = None, []

    def flush(self) -> None:
        """Erase shares that are over; say what the session and the succession want of this member."""
        self.shares.retire()
        if not self._queue:  # old blocks ask for nothing any more
            self.voice.flush()

    # --- snapshots ----------------------------------------------------------------------------------------------
    def dump(self) -> KeySessionsValue:
        """The state after the last final block."""
        kept = self._core.keybook.kept()
        return KeySessionsValue(
            number=self.number,
            attempt=self._attempt,
            shortfalls=self._shortfalls,
            due_ms=self.due_ms,
            running=self.session is not None,
            blocks=tuple(self._blocks),
            waiting=tuple(block for block, _ in self._queue),
            included=tuple((one.message.message_id(), one.included_height) for one in kept if one.included_height),
            target=self.target if self.session is not None else None,
        )

    def know(self, certificate: KeyCertificate, from_height: int) -> None:
        """A sharing, out of this member's own journal. Raises ProtocolError or ThresholdError where it is none."""
        establish(self._core.committee, certificate, from_height)

    def restore(self, value: KeySessionsValue) -> None:
        """Go on from a snapshot, whose records are taken in already."""
        core = self._core
        for message_id, height in value.included:
            core.keybook.include(message_id, height)
        self.shares.use_kept()
        self.number, self._attempt = value.number, value.attempt
        self._shortfalls, self.due_ms = value.shortfalls, value.due_ms
        self.session, self._blocks = None, []
        if value.running:
            self.session = Session.begin(session_plan(core.committee, self.number, self._attempt), 0, 0)
        if value.blocks:
            self.target = value.target
            self._begin(value.blocks[0])
        for block in value.blocks[1:]:  # what they said of the succession is in the snapshot
            self._queue.append((block, [one for one in self._held(block) if one.session == self.running]))
        for block in value.waiting:
            self._queue.append((block, self._held(block)))

    def _held(self, block: KeyBlock) -> list[KeyMessage]:
        """A block's messages; what is not held any more is of sessions before."""
        held = (self._core.keybook.get(message_id) for message_id in block.messages)
        return [one.message for one in held if one is not None]


def _ready_payload(session: Session) -> bytes:
    return b"" if session.candidate is None else encode_ready(session.candidate.hash())


def key_due_ms(committee: Committee, time_ms: int, *, shortfalls: int) -> int | None:
    """The block time at which the key is to be shared anew after a session that ended at ``time_ms``; None for never.
    ``shortfalls``: sessions in a row that left something to be made good, this one among them; 0 where it did not."""
    refresh_ms = committee.genesis.key_refresh_ms
    planned = [time_ms + refresh_ms] if refresh_ms else []
    if shortfalls:
        planned.append(time_ms + (limits.KEY_RETRY_MS << min(shortfalls - 1, DOUBLINGS_MAX)))
    return min(planned, default=None)
