"""One member's voice in its committee's key sessions: its secret side of the one under way, and the messages it signs.

What a member contributes is a function of a 32-byte seed per session, which is in its vault before the first message
leaves: after a crash it makes the same messages again, and who has lost its seed says nothing more in that session.
When a session is done the new share goes into the vault and the seed is erased; an old share is once nothing is opened
with it any more (:mod:`~mpc_sequencer.core.keyshares`). So a later thief of the disk can open neither the deals in the
log nor old batches. (Where a crash comes between, the restarted member comes to the same point again.)

When sessions begin and what comes of them is :mod:`~mpc_sequencer.core.keygen`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mpc_sequencer.core import domains
from mpc_sequencer.core.effects import EraseSecret, KeepSecret
from mpc_sequencer.core.keys import SEED_PREFIX, seed_name
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE, KeyMessage, with_signature
from threshold import SecretShare, ThresholdError, UsageError
from threshold.dkg import Participant, Plan, Session

if TYPE_CHECKING:
    from mpc_sequencer.core.keygen import KeySessions
    from mpc_sequencer.core.node import NodeCore

MakesParticipant = Callable[[Plan, bytes, int | None, int | None, SecretShare | None], Participant]


class KeyVoice:
    """What this member says in ``sessions``. ``secrets`` are the vault's, by name; ``entropy`` is 32 fresh random
    bytes of this start."""

    def __init__(
        self, core: NodeCore, sessions: KeySessions, signer: Signer, secrets: Mapping[str, bytes], entropy: bytes
    ) -> None:
        self._core = core
        self._sessions = sessions
        self._signer = signer
        self._seeds = {name: secret for name, secret in secrets.items() if name.startswith(SEED_PREFIX)}
        self._entropy = domains.KEY_ENTROPY(entropy)
        self._participant: Participant | None = None
        self.asked = True
        """The session has gone on since this member answered."""
        self._said: set[bytes] = set()
        self.participant_of: MakesParticipant = Participant
        """Makes this member's secret side of a session: from the plan, its seed, its index as a dealer and as a
        receiver, its old share."""

    # --- a session's course -------------------------------------------------------------------------------------
    def begin(self) -> None:
        """An attempt begins: nothing is said in it yet."""
        self._participant = None
        self._said.clear()

    def end(self, session: Session) -> None:
        """A session is over: its seed and this member's secret side of it are erased."""
        self._seeds.pop(seed_name(session.plan.session), None)
        self._core.effects.append(EraseSecret(seed_name(session.plan.session)))
        if self._participant is not None:
            self._participant.erase()
        self._participant = None

    def flush(self) -> None:
        """Say what the session under way and the succession want of this member, where they have gone on."""
        # who lost its journal may not know yet what it has said
        if self.asked and not self._core.catchup.lags and self._core.standing.may_speak():
            self.asked = False
            self._answer()
            self.say(self._core.succession.topic, self._core.succession.handover())

    # --- the secret side ----------------------------------------------------------------------------------------
    def _participation(self, session: Session, *, begin: bool) -> Participant | None:
        """This member's secret side; None where it has taken no part so far and is not to ``begin`` now."""
        sessions = self._sessions
        if self._participant is None:
            name = seed_name(session.plan.session)
            seed = self._seeds.get(name)
            old_share = sessions.shares.held(sessions.number - 1) if sessions.number else None
            dealer, receiver = self._roles(old_share)
            if (seed is None and not begin) or (dealer is None and receiver is None):
                return None
            if seed is None:
                if self._has_spoken(session.plan.session):
                    return None
                seed = domains.KEY_SEED(self._entropy, session.plan.session)
                self._entropy = domains.KEY_ENTROPY(self._entropy)  # the seed cannot be made again when it is erased
                self._seeds[name] = seed
                self._core.effects.append(KeepSecret(name, seed))
            self._participant = self.participant_of(session.plan, seed, dealer, receiver, old_share)
        return self._participant

    def _roles(self, old_share: SecretShare | None) -> tuple[int | None, int | None]:
        """This member's index as a dealer and as a receiver: what shares the key anew is dealt by those who have an old
        share."""
        index = self._core.node + 1 if self._core.node < self._core.committee.n else None
        dealer = index if old_share is not None or not self._sessions.number else None
        target = self._sessions.target
        return dealer, index if target is None else self._core.succession.own_index(target)

    def share_of(self, session: Session) -> SecretShare | None:
        """The share that a session which is done gives this member."""
        participant = self._participation(session, begin=False)
        if participant is None:
            return None
        try:
            return participant.share(session)
        except (UsageError, ThresholdError):
            return None  # it came too late to be dealt to, or has lost its seed

    def _has_spoken(self, session: bytes) -> bool:
        """Whether messages of this member in the session are known though its seed is not: it was lost, and what
        another seed says would contradict them."""
        node = self._core.succession.own_number()
        return any(one.message.node == node and one.message.session == session for one in self._core.keybook.kept())

    def forget_participant(self) -> None:
        """Make this member's secret side anew when it is next asked: it is a function of the seed."""
        self._participant = None

    # --- messages -----------------------------------------------------------------------------------------------
    def _answer(self) -> None:
        session = self._sessions.session
        if session is None or (participant := self._participation(session, begin=True)) is None:
            return
        for payload in participant.messages(session):
            self.say(session.plan.session, payload)

    def say(self, session: bytes, payload: bytes | None) -> None:
        """Sign a message of this member and hold it: it is listed, or offered, with the next flush."""
        number = self._core.succession.own_number()
        if payload is None or number is None:
            return
        unsigned = KeyMessage(self._core.committee.epoch, session, number, payload, NO_SIGNATURE)
        message_id = unsigned.message_id()
        if message_id in self._said or message_id in self._core.keybook:
            return
        if session != self._core.committee.dark_topic:  # of dark markets a member owes nothing that it has said
            self._said.add(message_id)
        digest = self._core.committee.digest(unsigned.struct_hash())
        message = with_signature(unsigned, self._signer.sign_digest(digest))
        self._core.keybook.add(message, message_id=message_id, needed=True)
        self._core.arrivals += 1
        self._core.offered_ms = 0  # a phase may close on q answers: a joiner's is not to be the late one
