"""Rules of key messages: each is signed by its member and stands before the block that lifts it; what they make.

Where the committee file has no threshold key, the log makes it: the sessions that the key messages of its blocks run,
one attempt after the other, are functions of the log (:mod:`threshold.dkg`). The first attempt begins at the first
block: its windows count from height 0 and that block's time. An attempt that aborts is followed by the next one at
the block that ended it. The key is there once a session is done; only then can an envelope be in the log.

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
from threshold.dkg import Culprit, Message, Phase, Plan, Session

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
        if self._generates and self._committee.keys is None:
            self._step(height, time_ms, messages)

    # --- sessions ----------
    def _begin(self, height: int, time_ms: int) -> Session:
        """The attempt's session, its windows counted from this height and time."""
        committee = self._committee
        name = domains.KEY_SESSION(
            committee.genesis_id, committee.epoch.to_bytes(8, "big"), self._attempt.to_bytes(4, "big")
        )
        plan = Plan.generate(
            name,
            [node + 1 for node in range(committee.n)],
            threshold=committee.t,
            faults=committee.f,
            window_heights=limits.KEY_WINDOW_HEIGHTS,
            window_ms=limits.KEY_WINDOW_MS,
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
            self._session = self._begin(height, time_ms)
        elif session.result is not None:
            keys = session.result.verification_keys
            self._committee.establish(session.result.public_key, [keys[node + 1] for node in range(self._committee.n)])

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
        result = None if session is None else session.result
        return KeyReport(
            attempts=self._attempt + (session is not None),
            phase=WAITING if session is None else session.phase.value,
            qualified=() if result is None else tuple(index - 1 for index in result.qualified),
            height=None if session is None or result is None else session.height,
            public_key=None if result is None else result.public_key,
            culprits=tuple(self._culprits.values()),
        )
