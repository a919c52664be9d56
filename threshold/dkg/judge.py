"""Hearing one message of a session: what counts, what is ignored, who is named. The rules are in `session`.

A refused message changes the session by its culprit and by the mark that its author has spoken, and by nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from threshold import group
from threshold.dkg import deals, wire
from threshold.dkg.plan import Kind, Role
from threshold.dkg.wire import Deal, MessageType, Opened
from threshold.errors import ThresholdError, UsageError
from threshold.group import Point

if TYPE_CHECKING:
    from threshold.dkg.session import Session


def hear(session: Session, index: int, payload: bytes) -> Session:
    """The session after one message. Nothing in it raises."""
    try:
        kind = wire.message_type(payload)
    except ThresholdError:
        return session  # belongs to no role, so there is nobody to name; the caller admits known types only
    slot = kind, index
    digest = hashlib.sha256(payload).digest()
    if slot in session.heard:
        return session if session.heard[slot] == digest else replace(session, repeated=session.repeated | {slot})
    if session.wants(kind.role, index) is not kind:
        return session
    heard = replace(session, heard={**session.heard, slot: digest})
    try:
        return _JUDGE[kind](heard, index, payload)
    except ThresholdError as error:
        return heard.named(kind.role, index, error.code, str(error))
    except UsageError as error:  # a hash that is zero mod N: nobody can bring it about
        return heard.named(kind.role, index, "dkg.type", str(error))


def _session_key(session: Session, receiver: int, payload: bytes) -> Session:
    key = wire.decode_session_key(payload)
    statement = deals.key_statement(session.plan.session, receiver, key.key)
    if not group.schnorr_verify(key.point, statement, key.proof):
        raise ThresholdError("dkg.key_proof", "session_key.proof", key.proof.hex(), "a proof for this key and index")
    return replace(session, keys={**session.keys, receiver: key})


def _deal(session: Session, dealer: int, payload: bytes) -> Session:
    plan = session.plan
    deal = wire.decode_deal(payload, plan.kind, session.receivers, plan.threshold)
    if plan.kind is Kind.RESHARE and deal.commitments[0] != plan.verification_key(dealer):
        expected = f"the verification key {plan.verification_key(dealer).hex()}"
        raise ThresholdError("dkg.deal_constant", "commitments[0]", deal.commitments[0].hex(), expected)
    fresh = {sealed.ephemeral for sealed in deal.sealed.values()}
    # Only valid deals' points are remembered: whoever copies a point without knowing its logarithm must not be able to
    # have the deal refused that it belongs to.
    if len(fresh) != len(deal.sealed) or not fresh.isdisjoint(session.ephemerals):
        raise ThresholdError("dkg.deal_reused", "ephemeral", "a point used before", "a fresh point for each receiver")
    committed = deals.commitments_hash(plan.session, dealer, deal.commitments)
    for j, sealed in deal.sealed.items():
        statement = deals.deal_statement(
            plan.session, dealer, j, session.keys[j].key, sealed.ephemeral, sealed.body, committed
        )
        if not group.schnorr_verify(sealed.point, statement, sealed.proof):
            expected = "a proof for this deal and receiver"
            raise ThresholdError("dkg.deal_proof", f"sealed[{j}].proof", sealed.proof.hex(), expected)
    return replace(session, deals={**session.deals, dealer: deal}, ephemerals=session.ephemerals | fresh)


def _require_opened(session: Session, receiver: int, opened: Opened, deal: Deal, code: str) -> None:
    key = session.keys[receiver]
    if not deals.verify_opened(session.plan.session, receiver, key.key, key.point, deal, opened):
        raise ThresholdError(code, f"opened[{opened.dealer}]", opened.encoded.hex(), "a point proved to open the deal")


def _answer(session: Session, receiver: int, payload: bytes) -> Session:
    complaints = wire.decode_opened(payload, MessageType.ANSWER, len(session.plan.dealers))
    for complaint in complaints:
        if complaint.dealer not in session.deals:
            raise ThresholdError("dkg.complaint_dealer", "complaint.dealer", str(complaint.dealer), "one with a deal")
    for complaint in complaints:
        if complaint.dealer in session.disqualified:
            continue
        try:
            session = _complaint(session, receiver, complaint)
        except ThresholdError as error:
            # What came before it in this answer stands: it convicted its dealer by itself.
            return session.named(Role.RECEIVER, receiver, error.code, str(error))
    return session


def _complaint(session: Session, receiver: int, complaint: Opened) -> Session:
    dealer = complaint.dealer
    deal = session.deals[dealer]
    _require_opened(session, receiver, complaint, deal, "dkg.complaint_proof")
    if deals.open_values(deal, session.plan.session, dealer, receiver, complaint.encoded) is not None:
        seen = f"dealer {dealer}'s values match its commitments"
        raise ThresholdError("dkg.complaint_false", f"opened[{dealer}]", seen, "a share that is wrong")
    disqualified = replace(session, disqualified=session.disqualified | {dealer})
    return disqualified.named(Role.DEALER, dealer, "dkg.deal_wrong", f"the share of receiver {receiver}")


def _feldman(session: Session, dealer: int, payload: bytes) -> Session:
    feldman = wire.decode_feldman(payload, session.plan.threshold)
    if not deals.verify_feldman(session.plan.session, dealer, session.deals[dealer], feldman):
        raise ThresholdError("dkg.feldman_proof", "feldman.c", feldman.c.hex(), "a proof for the deal's commitments")
    return replace(session, feldman={**session.feldman, dealer: feldman})


def _extract(session: Session, receiver: int, payload: bytes) -> Session:
    entries = wire.decode_opened(payload, MessageType.EXTRACT, len(session.to_extract))
    named = tuple(entry.dealer for entry in entries)
    if named != session.to_extract:
        raise ThresholdError("dkg.extract_dealers", "extract.dealers", str(named), str(session.to_extract))
    found: dict[int, Mapping[int, tuple[bytes, ...]]] = dict(session.opened_values)
    for entry in entries:
        deal = session.deals[entry.dealer]
        _require_opened(session, receiver, entry, deal, "dkg.extract_proof")
        values = deals.open_values(deal, session.plan.session, entry.dealer, receiver, entry.encoded)
        if values is not None:  # else the dealer was at fault and nobody complained in time: no value, no fault here
            found[entry.dealer] = {**found.get(entry.dealer, {}), receiver: values}
    return replace(session, opened_values=found)


def _ready(session: Session, receiver: int, payload: bytes) -> Session:
    declared = wire.decode_ready(payload)
    expected = b"" if session.candidate is None else session.candidate.hash()
    if declared != expected:
        raise ThresholdError("dkg.ready_hash", "ready.hash", declared.hex(), expected.hex())
    return replace(session, ready=session.ready | {receiver})


def feldman_commitments(session: Session) -> dict[int, Sequence[Point | None]]:
    """A_ik of every qualified dealer: published, dealt in a resharing, or computed from an extracted polynomial.

    None is infinity: a coefficient of zero, which can be committed to but not published, so it is extracted.
    """
    commitments: dict[int, Sequence[Point | None]] = {}
    for dealer in session.qualified:
        if dealer in session.polynomials:
            commitments[dealer] = [
                group.generator_point_secret(a) if any(a) else None for a in session.polynomials[dealer]
            ]
        elif session.plan.kind is Kind.RESHARE:
            commitments[dealer] = session.deals[dealer].points
        else:
            commitments[dealer] = session.feldman[dealer].points
    return commitments


_JUDGE: Final[Mapping[MessageType, Callable[[Session, int, bytes], Session]]] = {
    MessageType.SESSION_KEY: _session_key,
    MessageType.DEAL: _deal,
    MessageType.ANSWER: _answer,
    MessageType.FELDMAN: _feldman,
    MessageType.EXTRACT: _extract,
    MessageType.READY: _ready,
}
