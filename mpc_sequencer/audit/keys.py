"""Rules of key messages: each is signed by its member and stands before the block that lifts it; what they make.

Where the committee file has no threshold key, the log makes it: the sessions that the key messages of its blocks run,
one attempt after the other, are functions of the log (:mod:`threshold.dkg`). The first attempt begins at the first
block: its windows count from height 0 and that block's time. An attempt that aborts is followed by the next one at
the block that ended it. The key is there once a session is done; only then can an envelope be in the log.

Later sharings of the key are made the same way: a refresh begins at the first block at or after its time, which is the
refresh interval after the sharing before, or a retry after a sharing that not all were ready for or a failed attempt.
A sharing opens the batches above the block that completed it.

Where q members want another committee to follow (:mod:`mpc_sequencer.audit.rotation`) the key is shared anew among
that one, from the block after the one that brought the q-th word; a session that runs then ends first. It is the next
epoch's first sharing, unless by its end q members want otherwise: then it is void, like one that aborts.

What a session finds wrong with a member's message is told in the report, and is no finding: such messages are in
every member's log and convict their authors, not the log. A log that ends before the key is there is a good log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.report import DETAIL_CHARACTERS_MAX, KeyCulprit, KeyReport, Recorder
from mpc_sequencer.audit.rotation import Approval, Handover, Outcome, Rotation
from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.types import KeyMessage, NextCommittee
from threshold.dkg import Culprit, Message, MessageType, Phase, Plan, Result, Role, Session

RETRY_DOUBLINGS = 10  # retries grow to this power of two times the first pause
WAITING = "waiting"  # no block yet
DEALERS_TYPES = frozenset(kind.value for kind in MessageType if kind.role is Role.DEALER)


class Keys:
    """The key messages of the log, and the sessions they run. ``pending`` are those since the last block, by id;
    ``rotation`` is what the current epoch's have said of the next."""

    def __init__(self, epochs: Epochs, recorder: Recorder) -> None:
        self._epochs = epochs
        self._recorder = recorder
        self._generates = self._committee.keys is None
        self._session: Session | None = None
        self._target: NextCommittee | None = None
        """For whom the session under way, or the last one, shares the key; None for the committee as it is."""
        self._attempt = 0
        self._number = 0 if self._generates else 1
        self._shortfalls = 0
        self._refreshes = 0
        self._due_ms: int | None = None
        self._first: tuple[int, Result, int] | None = None
        """Of the generation: attempts, result, height."""
        if not self._generates:
            self._plan_next(self._committee.genesis.time_ms, soon=False)
        self._culprits: dict[tuple[int, int, str, str], KeyCulprit] = {}
        self.pending: dict[bytes, KeyMessage] = {}
        self._said: dict[bytes, Approval | Handover] = {}
        """What pending messages say of the next epoch."""
        self.rotation = Rotation(epochs.current)

    @property
    def _committee(self) -> Committee:
        return self._epochs.current.committee

    def begin_epoch(self, time_ms: int) -> None:
        """The current epoch has begun, at the time of its predecessor's last block, with the resharing to it."""
        outcome = self.rotation.outcome
        assert outcome is not None, "an epoch begins with a sharing"
        self.rotation = Rotation(self._epochs.current)
        self._number, self._attempt, self._session, self._target = outcome.sharing + 1, 0, None, None
        self._shortfalls = int(outcome.result.refresh_advised)
        self._plan_next(time_ms, soon=outcome.result.refresh_advised)

    # --- entries ----------
    def add(self, message: KeyMessage) -> None:
        """Judge a key message and keep it for the block that follows."""
        where = f"member {message.node}, session {message.session.hex()[:16]}"
        self._recorder.done("key_signatures")
        epoch, message_id = self._epochs.current, message.message_id()
        address = self.rotation.address(message.node)
        if address is None or message.epoch != epoch.number:
            self._recorder.fail("key.member", f"{where}, epoch {message.epoch}")
        elif not epoch.signatures.is_signers(
            address, epoch.committee.digest(message.struct_hash()), message.signature
        ):
            self._recorder.fail("key.signature", where)
        if message.session == self.rotation.topic:
            said = self.rotation.read(message)
            self._recorder.done("rotation_messages")
            if isinstance(said, tuple):
                self._recorder.fail(f"rotation.{said[0]}", f"member {message.node}: {said[1]}")
            else:
                self._said[message_id] = said
        if message.session == epoch.committee.dark_topic and message.node >= epoch.committee.n:
            self._recorder.fail("key.member", f"{where}: of dark markets members speak only")
        self.pending[message_id] = message

    def among(self, lifted: Iterable[bytes]) -> list[bytes]:
        """Those of the ids that a block lifts which are key messages."""
        return [one for one in lifted if one in self.pending]

    def words(self, lifted: Iterable[bytes]) -> list[tuple[int, bytes]]:
        """Which members give their word for which handover in the messages that a block lifts."""
        said = [(self.pending[one].node, self._said.get(one)) for one in lifted]
        return [(node, one.digest) for node, one in said if isinstance(one, Handover)]

    def dark_words(self, lifted: Iterable[bytes]) -> list[tuple[int, bytes]]:
        """What members say of dark markets in the messages that a block lifts: (member, payload), in their order."""
        topic, messages = self._committee.dark_topic, [self.pending[one] for one in lifted]
        return [(one.node, one.payload) for one in messages if topic is not None and one.session == topic]

    def close_block(self, height: int, time_ms: int, lifted: Sequence[bytes]) -> None:
        """Judge the messages since the last block, and let the session take those that the block lifts, in the order
        in which they count."""
        wanted = set(lifted)
        for message_id, message in self.pending.items():
            if message_id not in wanted:
                self._recorder.fail("key.unneeded", f"member {message.node}, {message_id.hex()}", height=height)
        messages = [self.pending[message_id] for message_id in lifted]
        said = [(self.pending[one].node, self._said[one]) for one in lifted if one in self._said]
        self._recorder.done("key_messages", len(messages))
        self.pending, self._said = {}, {}
        agreed = [self.rotation.take(node, one) for node, one in said]
        ran = self._session is not None
        if ran or (self._generates and self._first is None):
            self._step(height, time_ms, messages)
        elif self._due_ms is not None and time_ms >= self._due_ms:
            self._target = self.rotation.target
            self._session = self._begin(height, time_ms)
        if self._session is None and self._waits(changed=any(agreed), ended=ran):
            self._due_ms = time_ms

    def _waits(self, *, changed: bool, ended: bool) -> bool:
        """Whether a rotation is to be begun with the next block: one that this block brought, or one that waited for
        the end of a session for others."""
        wanted = self.rotation.target
        if wanted is None or self.rotation.outcome is not None:
            return False
        return changed or (ended and self._target != wanted)

    # --- sessions ----------
    def _begin(self, height: int, time_ms: int) -> Session:
        """The attempt's session, its windows counted from this height and time."""
        return Session.begin(self._plan(), height, time_ms)

    def _plan(self) -> Plan:
        committee = self._committee
        name = domains.KEY_SESSION(
            committee.genesis_id,
            committee.epoch.to_bytes(8, "big"),
            self._number.to_bytes(4, "big") + self._attempt.to_bytes(4, "big"),
        )
        members = [node + 1 for node in range(committee.n)]
        windows = {"window_heights": limits.KEY_WINDOW_HEIGHTS, "window_ms": limits.KEY_WINDOW_MS}
        sizes = {"threshold": committee.t, "faults": committee.f}
        if not self._number:
            return Plan.generate(name, members, **sizes, **windows)
        before = committee.sharing(self._number - 1).verification_keys
        if self._target is not None:
            return self.rotation.plan(name, self._target, before)
        return Plan.reshare(
            name,
            {index: before[index - 1] for index in members},
            members,
            public_key=committee.sealing_key.public_key,
            dealer_threshold=committee.t,
            dealer_faults=committee.f,
            **sizes,
            **windows,
        )

    def _part(self, message: KeyMessage) -> int | None:
        """The index under which a message's author speaks in the session, as a dealer or as a receiver; None where it
        has no such part."""
        if self._target is None or message.payload[0] in DEALERS_TYPES:
            return message.node + 1 if message.node < self._committee.n else None
        receivers = self.rotation.authors(self._target)
        return receivers.index(message.node) + 1 if message.node in receivers else None

    def _step(self, height: int, time_ms: int, messages: Sequence[KeyMessage]) -> None:
        before = self._session if self._session is not None else self._begin(height - 1, time_ms)
        time_ms = max(time_ms, before.time_ms)  # a block with too low a time is a finding already
        spoken = [(self._part(one), one.payload) for one in messages if one.session == before.plan.session]
        session = before.block(
            height, time_ms, [Message(index, payload) for index, payload in spoken if index is not None]
        )
        for culprit in session.culprits[len(before.culprits) :]:
            self._name(culprit)
        self._recorder.done("key_session_blocks")
        self._session = session
        unwanted = self._target is not None and self._target != self.rotation.target
        if session.phase is Phase.ABORTED or (session.result is not None and unwanted):
            self._attempt += 1
            self._session = None if self._number else self._begin(height, time_ms)
            if self._number:
                self._shortfalls += 1
                self._plan_next(time_ms, soon=True)
        elif session.result is not None and self._target is not None:
            self.rotation.outcome = Outcome(self._target, self._number, self._attempt, session.result)
            self._session, self._due_ms = None, None  # the key is not shared anew before it is handed over
        elif session.result is not None:
            self._complete(session.result, height, time_ms)

    def _complete(self, result: Result, height: int, time_ms: int) -> None:
        """A sharing is made, for the batches above this block."""
        keys = [result.verification_keys[node + 1] for node in range(self._committee.n)]
        self._committee.establish(
            result.public_key, keys, number=self._number, from_height=height + 1, name=result.hash()
        )
        if self._first is None and self._generates:
            self._first = self._attempt + 1, result, height
        else:
            self._refreshes += 1
        self._number, self._attempt, self._session = self._number + 1, 0, None
        self._shortfalls = self._shortfalls + 1 if result.refresh_advised else 0
        self._plan_next(time_ms, soon=result.refresh_advised)

    def _plan_next(self, time_ms: int, *, soon: bool) -> None:
        interval_ms = self._committee.genesis.key_refresh_ms
        retry_ms = limits.KEY_RETRY_MS * 2 ** min(self._shortfalls - 1, RETRY_DOUBLINGS) if soon else None
        self._due_ms = min([time_ms + ms for ms in (interval_ms or None, retry_ms) if ms is not None], default=None)

    def _name(self, culprit: Culprit) -> None:
        author = culprit.index - 1
        if self._target is not None and culprit.role is Role.RECEIVER:
            author = self.rotation.authors(self._target)[author]
        named = self._committee.epoch, author, culprit.role.value, culprit.code
        known = self._culprits.get(named)
        if known is None:
            detail = culprit.detail[:DETAIL_CHARACTERS_MAX]
            self._culprits[named] = KeyCulprit(*named, 1, self._attempt, culprit.height, detail)
        else:
            self._culprits[named] = replace(known, times=known.times + 1)

    def report(self) -> KeyReport | None:
        """How the key came about; None where the committee file has it."""
        if not self._generates:
            return None
        session = self._session
        if self._first is None:
            phase = WAITING if session is None else session.phase.value
            attempts = self._attempt + (session is not None)
            return KeyReport(attempts, phase, (), None, None, 0, tuple(self._culprits.values()))
        attempts, result, height = self._first
        return KeyReport(
            attempts=attempts,
            phase=Phase.DONE.value if session is None else session.phase.value,
            qualified=tuple(index - 1 for index in result.qualified),
            height=height,
            public_key=result.public_key,
            refreshes=self._refreshes,
            culprits=tuple(self._culprits.values()),
        )
