"""A member's secret side of a session: what it sends, and the share it gets.

Everything secret derives from one seed of 32 random bytes by tagged hashes, one tag each, that also hash the
session and what the value is for; nonces hash the statement they are used for too. So a participant that crashed
makes the very same messages again from its seed and the log, and there is nothing else to keep.

    b_j  = H_"MPCSEQ/v1/dkg/seed/session-key"(seed || session || j u16) mod N
    a_ik = H_"MPCSEQ/v1/dkg/seed/coefficient"(seed || session || i u16 || k u16) mod N      b_ik: seed/blinding
    k_ij = H_"MPCSEQ/v1/dkg/seed/ephemeral"(seed || session || i u16 || j u16) mod N

In a resharing a_i0 is the old share. The caller keeps the seed encrypted and erases it, with the old share, once the
epoch it was made for has begun: whoever learns it later opens every deal that the log holds for this member. Long-term
keys have no part in it, so that their theft opens none.
"""

from __future__ import annotations

from typing import Final, NoReturn

from threshold import group, tags
from threshold.dkg import deals
from threshold.dkg.plan import Kind, Phase, Plan, Role
from threshold.dkg.session import Session
from threshold.dkg.wire import (
    Deal,
    MessageType,
    Opened,
    SealedShare,
    SessionKey,
    encode_opened,
    encode_ready,
)
from threshold.errors import UsageError
from threshold.group import SCALAR_BYTES, N
from threshold.secret_share import SecretShare
from threshold.shamir import evaluate_secret, lagrange_at_zero
from threshold.tags import Tag

SEED_BYTES: Final = 32


class Participant:
    """One member of a session, in one or both roles. Shows nothing of its secrets and cannot be copied or pickled.

    `seed` is 32 random bytes, used for no other member. `dealer_index` and `receiver_index` are the member's in the
    plan, or None. A dealer of a resharing has `old_share`, its share of the old sharing; the caller erases that.
    `UsageError` when these do not fit the plan.
    """

    __slots__ = ("_deal", "_erased", "_old_share", "_opened", "_seed", "dealer_index", "plan", "receiver_index")

    def __init__(
        self,
        plan: Plan,
        seed: bytes | bytearray,
        dealer_index: int | None,
        receiver_index: int | None,
        old_share: SecretShare | None = None,
    ) -> None:
        if len(seed) != SEED_BYTES:
            raise UsageError(f"a seed is {SEED_BYTES} bytes, not {len(seed)}")
        for role, index in ((Role.DEALER, dealer_index), (Role.RECEIVER, receiver_index)):
            if index is not None and index not in plan.indexes(role):
                raise UsageError(f"{index} is no {role.value} of the plan")
        if plan.kind is Kind.GENERATE:
            if dealer_index != receiver_index or old_share is not None:
                raise UsageError("a generation's member has one index for both roles and no old share")
        elif (dealer_index is None) != (old_share is None):
            raise UsageError("a dealer of a resharing has an old share, and nobody else has")
        elif old_share is not None and dealer_index is not None:
            fits = old_share.index == dealer_index
            if not fits or old_share.verification_key() != plan.verification_key(dealer_index):
                raise UsageError("the old share is not that of the plan's verification key")
        self.plan = plan
        self.dealer_index = dealer_index
        self.receiver_index = receiver_index
        self._seed = bytearray(seed)
        self._old_share = old_share
        self._opened: dict[tuple[int, bytes], tuple[bytes, ...] | None] = {}
        self._deal: tuple[tuple[bytes, ...], bytes] | None = None
        self._erased = False

    def messages(self, session: Session) -> tuple[bytes, ...]:
        """The payloads this member owes in this state of the session: at most one for each role, the same each time.

        Constant time in all secrets; which dealers it complains about is public once sent. A receiver without a share
        that matches its verification key owes nothing in the last phase.
        """
        self._require_live(session)
        if not self._is_its_own(session):
            return ()
        payloads: list[bytes] = []
        for role, index in ((Role.DEALER, self.dealer_index), (Role.RECEIVER, self.receiver_index)):
            owed = None if index is None else session.wants(role, index)
            payload = None if owed is None or index is None else self._make(session, owed, index)
            if payload is not None:
                payloads.append(payload)
        return tuple(payloads)

    def _is_its_own(self, session: Session) -> bool:
        """Whether what the log holds of this member came from this seed: one that lost its seed must not go on with
        another, for what it says would contradict what it said."""
        j, i = self.receiver_index, self.dealer_index
        if j is not None and j in session.keys:
            own = group.encode_point(group.generator_point_secret(self._session_key(j)))
            if session.keys[j].key != own:
                return False
        if i is not None and i in session.deals and self.plan.kind is Kind.GENERATE:
            polynomial, blinding = self._polynomials(i)
            last = deals.commit_secret(polynomial[-1], blinding[-1])
            return last is not None and session.deals[i].commitments[-1] == group.encode_point(last)
        return True

    def share(self, session: Session) -> SecretShare:
        """This receiver's share of the session's candidate or result, which it has been verified against.

        Constant time in the share's parts. `UsageError` when there is no result, or when some qualified dealer's values
        for this receiver are wrong: it did not complain in time, and gets its share with the next resharing.
        """
        self._require_live(session)
        candidate, j = session.candidate, self.receiver_index
        if candidate is None or j is None or session.phase not in (Phase.READY, Phase.DONE):
            raise UsageError("there is no result that this participant has a share of")
        factors = lagrange_at_zero(session.qualified) if self.plan.kind is Kind.RESHARE else None
        total: bytes | None = None
        for position, dealer in enumerate(session.qualified):
            value = self._value(session, dealer, j)
            if value is None:
                continue
            if factors is not None:
                value = group.scalar_multiply_secret(value, factors[position].to_bytes(SCALAR_BYTES, "big"))
            total = value if total is None else group.scalar_add_secret(total, value)
        if total is None:
            raise UsageError("the sum of no values")
        share = SecretShare(j, total)
        if share.verification_key() != candidate.verification_keys[j]:
            raise UsageError("the share does not match its verification key")
        return share

    def erase(self) -> None:
        """Overwrite the seed and drop what derives from it. Every later use raises `UsageError`."""
        self._erased = True
        self._seed[:] = bytes(SEED_BYTES)
        self._opened.clear()
        self._deal = None
        self._old_share = None

    # -- what derives from the seed ---------------------------------------------------------------------------

    def _derive(self, tag: Tag, *parts: int) -> bytes:
        context = b"".join(deals.u16(part) for part in parts)
        return group.reduce_scalar(tag(bytes(self._seed), self.plan.session, context))

    def _nonce_seed(self, tag: Tag, statement: bytes = b"") -> bytes:
        return tag(bytes(self._seed), self.plan.session, statement)

    def _session_key(self, receiver: int) -> bytes:
        return self._derive(tags.DKG_SEED_SESSION_KEY, receiver)

    def _polynomials(self, dealer: int) -> list[list[bytes]]:
        """[a_i0 .. a_it-1], and in a generation [b_i0 .. b_it-1]."""
        degrees = range(self.plan.threshold)
        polynomial = [self._derive(tags.DKG_SEED_COEFFICIENT, dealer, k) for k in degrees]
        if self._old_share is not None:
            return [[self._old_share.export(), *polynomial[1:]]]
        return [polynomial, [self._derive(tags.DKG_SEED_BLINDING, dealer, k) for k in degrees]]

    # -- messages ---------------------------------------------------------------------------------------------

    def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
        match owed:
            case MessageType.SESSION_KEY:
                return self._make_session_key(index)
            case MessageType.DEAL:
                return self._make_deal(session, index)
            case MessageType.ANSWER:
                wrong = [i for i in sorted(session.deals) if self._values(session, i, index) is None]
                return self._make_opened(session, MessageType.ANSWER, index, wrong)
            case MessageType.FELDMAN:
                polynomial, blinding = self._polynomials(index)
                nonce_seed = self._nonce_seed(tags.DKG_SEED_NONCE_FELDMAN)
                deal = session.deals[index]
                return deals.prove_feldman(self.plan.session, index, deal, polynomial, blinding, nonce_seed).encode()
            case MessageType.EXTRACT:
                return self._make_opened(session, MessageType.EXTRACT, index, list(session.to_extract))
            case MessageType.READY:
                return self._make_ready(session)

    def _make_session_key(self, receiver: int) -> bytes:
        secret = self._session_key(receiver)
        point = group.generator_point_secret(secret)
        key = group.encode_point(point)
        statement = deals.key_statement(self.plan.session, receiver, key)
        entropy = self._nonce_seed(tags.DKG_SEED_NONCE_KEY, statement)
        return SessionKey(key, group.schnorr_prove_secret(secret, statement, entropy), point).encode()

    def _make_deal(self, session: Session, dealer: int) -> bytes:
        keys = tuple(session.keys[j].key for j in session.receivers)
        if self._deal is None or self._deal[0] != keys:
            self._deal = keys, self._fresh_deal(session, dealer).encode()
        return self._deal[1]

    def _fresh_deal(self, session: Session, dealer: int) -> Deal:
        polynomials = self._polynomials(dealer)
        blinding = polynomials[1] if len(polynomials) == 2 else None
        points = [
            deals.commit_secret(a, None if blinding is None else blinding[k]) for k, a in enumerate(polynomials[0])
        ]
        finite = tuple(point for point in points if point is not None)
        if len(finite) != len(points):
            raise UsageError("a commitment is infinity; draw a fresh seed")
        commitments = tuple(group.encode_point(point) for point in finite)
        committed = deals.commitments_hash(self.plan.session, dealer, commitments)
        sealed: dict[int, SealedShare] = {}
        for j in session.receivers:
            values = [evaluate_secret(polynomial, j) for polynomial in polynomials]
            sealed[j] = self._seal(session.keys[j], dealer, j, values, committed)
        return Deal(commitments, sealed, finite)

    def _seal(
        self, key: SessionKey, dealer: int, receiver: int, values: list[bytes], committed: bytes
    ) -> SealedShare:
        secret, name = self._derive(tags.DKG_SEED_EPHEMERAL, dealer, receiver), self.plan.session
        point = group.generator_point_secret(secret)
        ephemeral = group.encode_point(point)
        body = deals.seal_values(values, group.multiply_secret(key.point, secret), ephemeral, name, dealer, receiver)
        statement = deals.deal_statement(name, dealer, receiver, key.key, ephemeral, body, committed)
        entropy = self._nonce_seed(tags.DKG_SEED_NONCE_DEAL, statement)
        return SealedShare(ephemeral, group.schnorr_prove_secret(secret, statement, entropy), body, point)

    def _make_opened(self, session: Session, kind: MessageType, receiver: int, dealers: list[int]) -> bytes:
        nonce_seed = self._nonce_seed(tags.DKG_SEED_NONCE_OPENED)
        secret = self._session_key(receiver)
        opened: list[Opened] = []
        for dealer in dealers:
            deal = session.deals[dealer]
            opened.append(deals.prove_opened(self.plan.session, dealer, receiver, secret, deal, nonce_seed))
        return encode_opened(kind, opened)

    def _make_ready(self, session: Session) -> bytes | None:
        if session.candidate is None:
            return None
        try:
            self.share(session).erase()
        except UsageError:
            return None
        return encode_ready(session.candidate.hash())

    # -- values from dealers ----------------------------------------------------------------------------------

    def _values(self, session: Session, dealer: int, receiver: int) -> tuple[bytes, ...] | None:
        """What the dealer's valid deal opens to for this receiver; None when that is wrong."""
        deal = session.deals[dealer]
        cached = dealer, deal.sealed[receiver].proof  # a valid deal's proof is bound to all of it
        if cached not in self._opened:
            point = group.multiply_secret(deal.sealed[receiver].point, self._session_key(receiver))
            self._opened[cached] = deals.open_values(deal, self.plan.session, dealer, receiver, point)
        return self._opened[cached]

    def _value(self, session: Session, dealer: int, receiver: int) -> bytes | None:
        """The dealer's part of this receiver's share; None for a zero that an extracted polynomial gives."""
        if dealer in session.polynomials:
            value = 0
            for coefficient in reversed(session.polynomials[dealer]):
                value = (value * receiver + int.from_bytes(coefficient, "big")) % N
            return value.to_bytes(SCALAR_BYTES, "big") if value else None
        values = self._values(session, dealer, receiver) if receiver in session.deals[dealer].sealed else None
        if values is None:
            raise UsageError(f"dealer {dealer}'s values for receiver {receiver} are wrong or missing")
        return values[0]

    def _require_live(self, session: Session) -> None:
        if self._erased:
            raise UsageError("the participant has been erased")
        if session.plan != self.plan:
            raise UsageError("the session is another plan's")

    def __repr__(self) -> str:
        return f"Participant(dealer_index={self.dealer_index}, receiver_index={self.receiver_index})"

    def _refuse(self, *_args: object) -> NoReturn:
        raise TypeError("a participant is neither copied nor pickled")

    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse
    __getstate__ = _refuse
