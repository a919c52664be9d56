"""A session of key generation or resharing: a pure function of its plan and of the log.

Generation is that of Gennaro, Jarecki, Krawczyk, Rabin, "Secure distributed key generation for discrete-log based
cryptosystems" (J. Cryptology 20, 2007): Pedersen's commitments first, which hide the dealers' contributions until it is
fixed who qualifies, Feldman's after, which make the public key; so nobody bends the key by dropping out late. Resharing
is that of Desmedt and Jajodia, with Feldman's commitments, whose first one is known: the old verification key.

    phase       who speaks                what                               closes at a block's end
    KEYS        receivers                 session key B_j                    all, or q [fast], or the window
    DEALS       dealers                   deal to all that have a key        all, or q [fast, resharing], or the window
    ANSWERS     receivers with a key      complaints, possibly none          all, or q [fast], or the window
    FELDMAN     qualified dealers         A_ik with proof       [generation] all, or the window
    EXTRACTION  receivers with a key      points that open the deals of qualified dealers that were silent or wrong in
                                          FELDMAN               [generation] t right values for each, all, or the window
    READY       receivers with a key      hash of the result                 all, or the window

The window has passed when W heights and T milliseconds of block time have, both; silence is then acceptance. [fast]
is where t <= n - 2f, so that t honest members are among any q. A generation's DEALS never close on q, because q of
them must qualify in the end; FELDMAN never does, because that would publish slow dealers' polynomials. Where
ANSWERS closed on q, dealers that deal wrong to receivers who are slow at that very time can leave fewer than q of
them ready: that costs an attempt, and never gives a wrong key.

Judged by everybody alike. Of each member and type the first message in log order counts, if its phase is open; what
comes early or late is ignored, as is a second one (a different second one is noted). A message that fails a public
check is refused and names its author as culprit. A complaint is judged by opening the deal with the point it
proves: wrong values disqualify the dealer, right ones convict the author, whose later complaints are not looked at.
A convicted receiver keeps its role, a disqualified dealer does not. Who qualified is fixed when ANSWERS closes,
before any Feldman message counts. Extraction needs no second round of complaints: what passes FELDMAN's proof is
right by the binding of Pedersen's commitments, and what does not is interpolated from t opened values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from threshold.dkg import judge
from threshold.dkg.plan import Kind, Phase, Plan, Role
from threshold.dkg.result import Result, make_result
from threshold.dkg.wire import Deal, Feldman, MessageType, SessionKey
from threshold.errors import ThresholdError, UsageError
from threshold.group import SCALAR_BYTES
from threshold.shamir import interpolate_polynomial

OWED: Final[Mapping[Phase, MessageType]] = {
    Phase.KEYS: MessageType.SESSION_KEY,
    Phase.DEALS: MessageType.DEAL,
    Phase.ANSWERS: MessageType.ANSWER,
    Phase.FELDMAN: MessageType.FELDMAN,
    Phase.EXTRACTION: MessageType.EXTRACT,
    Phase.READY: MessageType.READY,
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the log: its author's index in the role that the payload's type has, and the payload.

    The caller has verified that the member of that index signed it for this session.
    """

    index: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Culprit:
    """A fault and who is named for it. `dkg.silent` is no evidence of bad intent, every other code is."""

    role: Role
    index: int
    code: str
    detail: str
    height: int

    @property
    def is_evidence(self) -> bool:
        """Whether the log proves the fault; silence may be a crash or a slow network."""
        return self.code != "dkg.silent"


@dataclass(frozen=True, slots=True)
class Session:
    """The state after a block: immutable, equal for equal logs. Made by `begin`, continued by `block`.

    `candidate` is the result that receivers are asked to declare themselves ready for, `result` the same once they
    have. `culprits` are in log order. `repeated` names who sent a second, different message of a type.
    """

    plan: Plan
    height: int
    time_ms: int
    phase: Phase
    opened_height: int
    opened_time_ms: int
    keys: Mapping[int, SessionKey] = field(default_factory=dict)
    deals: Mapping[int, Deal] = field(default_factory=dict)
    disqualified: frozenset[int] = frozenset()
    qualified: tuple[int, ...] = ()
    feldman: Mapping[int, Feldman] = field(default_factory=dict)
    opened_values: Mapping[int, Mapping[int, tuple[bytes, ...]]] = field(default_factory=dict)
    polynomials: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)
    ready: frozenset[int] = frozenset()
    heard: Mapping[tuple[MessageType, int], bytes] = field(default_factory=dict)
    ephemerals: frozenset[bytes] = frozenset()
    culprits: tuple[Culprit, ...] = ()
    repeated: frozenset[tuple[MessageType, int]] = frozenset()
    candidate: Result | None = None
    result: Result | None = None
    aborted: str | None = None

    @classmethod
    def begin(cls, plan: Plan, height: int, time_ms: int) -> Session:
        """The session as the block at this height and time, in ms, opens it."""
        return cls(plan, height, time_ms, Phase.KEYS, height, time_ms)

    def block(self, height: int, time_ms: int, messages: Sequence[Message]) -> Session:
        """The session after the next block with these messages in log order. Nothing a member sends raises.

        Phases close at ends of blocks, so every block is given, also one without messages for this session.
        `UsageError` unless heights ascend and time does not go back. A session that ended stays as it is.
        """
        if height <= self.height or time_ms < self.time_ms:
            raise UsageError(f"block ({height}, {time_ms}) after ({self.height}, {self.time_ms})")
        if self.ended:
            return self
        session = replace(self, height=height, time_ms=time_ms)
        for message in messages:
            session = judge.hear(session, message.index, message.payload)
        return _CLOSE[session.phase](session)

    @property
    def ended(self) -> bool:
        """Whether the session is done or aborted."""
        return self.phase in (Phase.DONE, Phase.ABORTED)

    @property
    def phase_deadline(self) -> tuple[int, int]:
        """(height, block time in ms) both of which a block must have reached for the window to have passed."""
        return self.opened_height + self.plan.window_heights, self.opened_time_ms + self.plan.window_ms

    @property
    def window_passed(self) -> bool:
        """Whether silence in this phase is acceptance by now."""
        height, time_ms = self.phase_deadline
        return self.height >= height and self.time_ms >= time_ms

    @property
    def receivers(self) -> tuple[int, ...]:
        """Receivers that have a session key, ascending."""
        return tuple(sorted(self.keys))

    @property
    def to_extract(self) -> tuple[int, ...]:
        """Qualified dealers without a valid Feldman message, ascending, once FELDMAN has closed."""
        return tuple(i for i in self.qualified if i not in self.feldman)

    @property
    def expected(self) -> tuple[int, ...]:
        """Who is to speak in this phase, by index in the role of the message that is owed, ascending."""
        if self.phase in (Phase.KEYS, Phase.DEALS):
            return self.plan.indexes(OWED[self.phase].role)
        if self.phase is Phase.FELDMAN:
            return self.qualified
        return () if self.ended else self.receivers

    def wants(self, role: Role, index: int) -> MessageType | None:
        """The type of message that this role's member owes now, or None."""
        owed = OWED.get(self.phase)
        if owed is None or owed.role is not role or (owed, index) in self.heard or index not in self.expected:
            return None
        return owed

    def named(self, role: Role, index: int, code: str, detail: str) -> Session:
        """The session with one more culprit."""
        return replace(self, culprits=(*self.culprits, Culprit(role, index, code, detail, self.height)))

    @property
    def unheard(self) -> tuple[int, ...]:
        """Who of `expected` has not spoken in this phase."""
        owed = OWED.get(self.phase)
        return tuple(i for i in self.expected if owed is not None and (owed, i) not in self.heard)


# -- the end of a block ------------------------------------------------------------------------------------


def _open(session: Session, phase: Phase) -> Session:
    return replace(session, phase=phase, opened_height=session.height, opened_time_ms=session.time_ms)


def _abort(session: Session, code: str) -> Session:
    return replace(_open(session, Phase.ABORTED), aborted=code)


def _name_silent(session: Session) -> Session:
    owed = OWED[session.phase]
    for index in session.unheard:
        session = session.named(owed.role, index, "dkg.silent", owed.name.lower())
    return session


def _close_keys(session: Session) -> Session:
    plan = session.plan
    enough = len(session.keys) >= plan.quorum
    if session.unheard and not session.window_passed:
        return _open(session, Phase.DEALS) if enough and plan.closes_on_quorum else session
    session = _name_silent(session)
    return _open(session, Phase.DEALS) if enough else _abort(session, "dkg.abort_keys")


def _close_deals(session: Session) -> Session:
    plan = session.plan
    if session.unheard and not session.window_passed:
        fast = plan.deals_close_on_quorum and len(session.deals) >= plan.dealer_quorum
        return _open(session, Phase.ANSWERS) if fast else session
    session = _name_silent(session)
    enough = len(session.deals) >= plan.dealers_needed
    return _open(session, Phase.ANSWERS) if enough else _abort(session, "dkg.abort_dealers")


def _close_answers(session: Session) -> Session:
    plan = session.plan
    heard = len(session.expected) - len(session.unheard)
    fast = plan.closes_on_quorum and heard >= plan.quorum
    if session.unheard and not fast and not session.window_passed:
        return session
    standing = [i for i in session.deals if i not in session.disqualified]
    if len(standing) < plan.dealers_needed:
        return _abort(session, "dkg.abort_dealers")
    if plan.kind is Kind.GENERATE:
        return _open(replace(session, qualified=tuple(sorted(standing))), Phase.FELDMAN)
    # The first t_old in log order: deals are kept in it.
    qualified = tuple(sorted(standing[: plan.dealer_threshold]))
    return _propose(replace(session, qualified=qualified))


def _close_feldman(session: Session) -> Session:
    if session.unheard and not session.window_passed:
        return session
    session = _name_silent(session)
    missing = len(session.to_extract)
    if missing > session.plan.faults:
        return _abort(session, "dkg.abort_extraction")
    return _open(session, Phase.EXTRACTION) if missing else _propose(session)


def _close_extraction(session: Session) -> Session:
    t = session.plan.threshold
    counts = [len(session.opened_values.get(i, ())) for i in session.to_extract]
    if min(counts) < t:
        if session.unheard and not session.window_passed:
            return session
        return _abort(session, "dkg.abort_extraction")
    polynomials: dict[int, tuple[bytes, ...]] = {}
    for dealer in session.to_extract:
        opened = session.opened_values[dealer]
        some = {j: int.from_bytes(opened[j][0], "big") for j in list(opened)[:t]}
        polynomials[dealer] = tuple(a.to_bytes(SCALAR_BYTES, "big") for a in interpolate_polynomial(some))
    return _propose(replace(session, polynomials=polynomials))


def _propose(session: Session) -> Session:
    """Open READY with the result of the qualified dealers' Feldman commitments."""
    try:
        candidate = make_result(session.plan, judge.feldman_commitments(session))
    except ThresholdError as error:
        return _abort(session, error.code)
    return _open(replace(session, candidate=candidate), Phase.READY)


def _close_ready(session: Session) -> Session:
    if session.unheard and not session.window_passed:
        return session
    if len(session.ready) < session.plan.quorum or session.candidate is None:
        return _abort(session, "dkg.abort_ready")
    all_ready = len(session.ready) == len(session.plan.receivers)
    result = replace(session.candidate, refresh_advised=not all_ready)
    return _open(replace(session, result=result), Phase.DONE)


_CLOSE: Final[Mapping[Phase, Callable[[Session], Session]]] = {
    Phase.KEYS: _close_keys,
    Phase.DEALS: _close_deals,
    Phase.ANSWERS: _close_answers,
    Phase.FELDMAN: _close_feldman,
    Phase.EXTRACTION: _close_extraction,
    Phase.READY: _close_ready,
}
