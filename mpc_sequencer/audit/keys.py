"""Rules of key messages: each is signed by its member and stands before the block that lifts it; what they make.

Where the committee file has no threshold key, the log makes it: the sessions that the key messages of its blocks run,
one attempt after the other, are functions of the log (:mod:`threshold.dkg`). The first attempt begins at the first
block: its windows count from height 0 and that block's time. An attempt that aborts is followed by the next one at
the block that ended it. The key is there once a session is done; only then can an envelope be in the log.

Later sharings of the key are made the same way: a refresh begins at the first block at or after its time, which is the
refresh interval after the sharing before, or a retry after a sharing that not all were ready for or a failed attempt.
A sharing opens the batches above the block that completed it.

What a session finds wrong with a member's message is told in the report, and is no finding: such messages are in
every member's log and convict their authors, not the log. A log that ends before the key is there is a good log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mpc_sequencer.audit.report import DETAIL_CHARACTERS_MAX, KeyCulprit, KeyReport, Recorder
from mpc_sequencer.audit.signatures import Signatures
from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.types import KeyMessage
from threshold.dkg import Culprit, Message, Phase, Plan, Result, Session

RETRY_DOUBLINGS = 10  # retries grow to this power of two times the first pause
WAITING = "waiting"  # no block yet


class Keys:
    """The key messages of the log, and the sessions they run. ``pending`` are those since the last block, by id."""

    def __init__(self, committee: Committee, signatures: Signatures, recorder: Recorder) -> None:
        self._committee = committee
        self._signatures = signatures
        self._recorder = recorder
        self._generates = committee.keys is None
        self._session: Session | None = None
        self._attempt = 0
        self._number = 0 if self._generates else 1
        self._shortfalls = 0
        self._due_ms: int | None = None
        self._first: tuple[int, Result, int] | None = None
        """Of the generation: attempts, result, height."""
        if not self._generates:
            self._plan_next(committee.genesis.time_ms, soon=False)
        self._culprits: dict[tuple[int, str, str], KeyCulprit] = {}
        self.pending: dict[bytes, KeyMessage] = {}

    # --- entries ----------
    def add(self, message: KeyMessage) -> None:
        """Judge a key message and keep it for the block that follows."""
        where = f"member {message.node}, session {message.session.hex()[:16]}"
        self._recorder.done("key_signatures")
        if message.node >= self._committee.n or message.epoch != self._committee.epoch:
            self._recorder.fail("key.member", f"{where}, epoch {message.epoch}")
        elif not self._signatures.is_members(message.node, message.struct_hash(), message.signature):
            self._recorder.fail("key.signature", where)
        self.pending[message.message_id()] = message

    def among(self, lifted: Iterable[bytes]) -> list[bytes]:
        """Those of the ids that a block lifts which are key messages."""
        return [one for one in lifted if one in self.pending]

    def close_block(self, height: int, time_ms: int, lifted: Sequence[bytes]) -> None:
        """Judge the messages since the last block, and let the session take those that the block lifts, in the order
        in which they count."""
        wanted = set(lifted)
        for message_id, message in self.pending.items():
            if message_id not in wanted:
                self._recorder.fail("key.unneeded", f"member {message.node}, {message_id.hex()}", height=height)
        messages = [self.pending[message_id] for message_id in lifted]
        self._recorder.done("key_messages", len(messages))
        self.pending = {}
        if self._session is not None or (self._generates and self._first is None):
            self._step(height, time_ms, messages)
        elif self._due_ms is not None and time_ms >= self._due_ms:
            self._session = self._begin(height, time_ms)

    # --- sessions ----------
    def _begin(self, height: int, time_ms: int) -> Session:
        """The attempt's session, its windows counted from this height and time."""
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
            return Session.begin(Plan.generate(name, members, **sizes, **windows), height, time_ms)
        before = committee.sharing(self._number - 1).verification_keys
        plan = Plan.reshare(
            name,
            {index: before[index - 1] for index in members},
            members,
            public_key=committee.sealing_key.public_key,
            dealer_threshold=committee.t,
            dealer_faults=committee.f,
            **sizes,
            **windows,
        )
        return Session.begin(plan, height, time_ms)

    def _step(self, height: int, time_ms: int, messages: Sequence[KeyMessage]) -> None:
        before = self._session if self._session is not None else self._begin(height - 1, time_ms)
        time_ms = max(time_ms, before.time_ms)  # a block with too low a time is a finding already
        session = before.block(
            height,
            time_ms,
            [Message(one.node + 1, one.payload) for one in messages if one.session == before.plan.session],
        )
        for culprit in session.culprits[len(before.culprits) :]:
            self._name(culprit)
        self._recorder.done("key_session_blocks")
        self._session = session
        if session.phase is Phase.ABORTED:
            self._attempt += 1
            self._session = None if self._number else self._begin(height, time_ms)
            if self._number:
                self._shortfalls += 1
                self._plan_next(time_ms, soon=True)
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
        self._number, self._attempt, self._session = self._number + 1, 0, None
        self._shortfalls = self._shortfalls + 1 if result.refresh_advised else 0
        self._plan_next(time_ms, soon=result.refresh_advised)

    def _plan_next(self, time_ms: int, *, soon: bool) -> None:
        interval_ms = self._committee.genesis.key_refresh_ms
        retry_ms = limits.KEY_RETRY_MS * 2 ** min(self._shortfalls - 1, RETRY_DOUBLINGS) if soon else None
        self._due_ms = min([time_ms + ms for ms in (interval_ms or None, retry_ms) if ms is not None], default=None)

    def _name(self, culprit: Culprit) -> None:
        named = culprit.index - 1, culprit.role.value, culprit.code
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
            refreshes=self._number - 1,
            culprits=tuple(self._culprits.values()),
        )
