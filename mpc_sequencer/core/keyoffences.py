"""Offences in a key session: how they are found among its messages, and how one is judged by itself.

A session names whoever breaks its rules, to everybody who has the log. Three of these faults can be shown to somebody
who has the committee file alone, because what decides is under the accused's own signature and proofs:

* *bad deal*: the dealer's proof of knowledge for a receiver holds for one session key B, one ephemeral point E, one
  body and one set of commitments, so the dealer itself pinned them. A point D with a valid proof of log_G B = log_E D
  is the one that opens the body, whoever shows it. If what it opens is wrong, nobody but the dealer can be to blame.
* *false complaint*: the proof in a complaint hashes B, E and the deal's proof of knowledge, which pins the deal. If
  that deal's share is right, its receiver has called a right share wrong.
* *copied deal*: a deal that holds a point E which another dealer, under its own index, proved to know the secret of.
  Nobody can prove that about a point which an honest dealer drew.

What needs the log is no portable evidence. A deal's proof that fails, fails for a session key: a receiver may have
signed two, and only the log says which one counts. A complaint whose proof fails pins no deal, and a dealer may have
signed two. Two different messages of one type are no offence: a member that lost its seed before its first message
was in the log says it again otherwise, and the session takes the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.offences import BadDeal, CopiedDeal, DealtShare, FalseComplaint
from mpc_sequencer.core.types import KeyMessage
from threshold import ThresholdError, UsageError, group
from threshold.dkg import Culprit, MessageType, Plan, Session, deals, message_type, wire
from threshold.dkg.plan import Kind
from threshold.dkg.wire import Deal, Opened

KeyOffence = BadDeal | FalseComplaint | CopiedDeal


# --- judging ------------------------------------------------------------------------------------------------------
def judge_deal(offence: KeyOffence, plan: Plan) -> str:
    """What the accused did, in a sentence, or ProtocolError (``evidence.unrelated``, ``evidence.pinned``,
    ``evidence.legal``). ``plan`` is the attempt's; signatures are checked already."""
    try:
        deal = _dealt(offence.dealt, plan)
        if isinstance(offence, CopiedDeal):
            return _copied(offence, deal, plan)
        values = _opened(offence.dealt, offence.answer, deal, plan)
    except (ThresholdError, UsageError) as error:
        raise ProtocolError("evidence.pinned", "DealtShare", str(error), "messages that can be read") from None
    dealer, receiver = offence.dealt.deal.node, offence.dealt.receiver
    if isinstance(offence, BadDeal):
        if values is not None:
            raise ProtocolError("evidence.legal", "BadDeal.deal", "a right share", "one that is wrong")
        return f"the share dealt to member {receiver} is not what the deal commits to"
    if values is None:
        raise ProtocolError("evidence.legal", "FalseComplaint.answer", "a wrong share", "one that is right")
    return f"a complaint about the share from member {dealer}, which is what the deal commits to"


def _related(name: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise ProtocolError("evidence.unrelated", name, seen, expected)


def _dealt(dealt: DealtShare, plan: Plan) -> Deal:
    """The deal, where its proof for the receiver holds."""
    _related("DealtShare.deal.session", dealt.deal.session, plan.session)
    receivers = dealt.receivers
    ascending = all(a < b for a, b in pairwise(receivers)) and receivers[-1] < len(plan.receivers)
    if not ascending or dealt.receiver not in receivers:
        expected = "members, ascending, the receiver among them"
        raise ProtocolError("evidence.pinned", "DealtShare.receivers", receivers, expected)
    deal = wire.decode_deal(dealt.deal.payload, Kind.GENERATE, [node + 1 for node in receivers], plan.threshold)
    dealer, receiver = dealt.deal.node + 1, dealt.receiver + 1
    sealed = deal.sealed[receiver]
    committed = deals.commitments_hash(plan.session, dealer, deal.commitments)
    statement = deals.deal_statement(
        plan.session, dealer, receiver, dealt.session_key, sealed.ephemeral, sealed.body, committed
    )
    if not group.schnorr_verify(sealed.point, statement, sealed.proof):
        raise ProtocolError("evidence.pinned", "DealtShare.deal", sealed.proof, "a proof for this receiver and key")
    return deal


def _opened(dealt: DealtShare, answer: KeyMessage, deal: Deal, plan: Plan) -> tuple[bytes, ...] | None:
    """What the answer opens the share to; None where it is wrong."""
    _related("answer.session", answer.session, plan.session)
    _related("answer.node", answer.node, dealt.receiver)
    dealer, receiver = dealt.deal.node + 1, dealt.receiver + 1
    complaint = _complaint(answer, dealer, plan)
    if complaint is None:
        raise ProtocolError("evidence.unrelated", "answer.payload", "no complaint", f"one about dealer {dealer}")
    key_point = group.parse_point(dealt.session_key, "session_key")
    if not deals.verify_opened(plan.session, receiver, dealt.session_key, key_point, deal, complaint):
        raise ProtocolError("evidence.pinned", "answer.payload", complaint.encoded, "a point proved to open this deal")
    return deals.open_values(deal, plan.session, dealer, receiver, complaint.encoded)


def _complaint(answer: KeyMessage, dealer: int, plan: Plan) -> Opened | None:
    """The answer's complaint about a dealer. Raises ThresholdError."""
    complaints = wire.decode_opened(answer.payload, MessageType.ANSWER, len(plan.dealers))
    return next((one for one in complaints if one.dealer == dealer), None)


def _copied(offence: CopiedDeal, deal: Deal, plan: Plan) -> str:
    copy, dealt = offence.copy, offence.dealt
    _related("CopiedDeal.copy.session", copy.session, plan.session)
    if copy.node == dealt.deal.node:
        raise ProtocolError("evidence.legal", "CopiedDeal.copy", "its own point", "another dealer's")
    ephemeral = deal.sealed[dealt.receiver + 1].ephemeral
    if message_type(copy.payload) is not MessageType.DEAL or ephemeral not in ephemerals(copy.payload, plan):
        raise ProtocolError("evidence.legal", "CopiedDeal.copy", "a deal without the point", ephemeral.hex())
    return f"a deal with the ephemeral point of member {dealt.deal.node}'s share for member {dealt.receiver}"


def ephemerals(payload: bytes, plan: Plan) -> set[bytes]:
    """The ephemeral points of a deal, whoever it is to and whatever else is wrong with it."""
    first = wire.deal_bytes(Kind.GENERATE, 0, plan.threshold)
    step = wire.deal_bytes(Kind.GENERATE, 1, plan.threshold) - first
    return {payload[at : at + group.POINT_BYTES] for at in range(first, len(payload), step)}


# --- finding ------------------------------------------------------------------------------------------------------
class OffenceFinder:
    """What the messages of one attempt convict their authors of, block by block."""

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._deals: dict[int, KeyMessage] = {}
        """The deals that the session heard, by dealer."""

    def block(self, before: Session, after: Session, messages: Sequence[KeyMessage]) -> Iterator[KeyOffence]:
        """Offences that show in a block: the session before and after it, and the session's messages in it."""
        heard = [one for one in messages if _is_heard(one, after)]
        dealt = [one for one in heard if message_type(one.payload) is MessageType.DEAL]
        self._deals.update((one.node + 1, one) for one in dealt)
        if dealt:
            yield from self._copies(after)
        answers = [one for one in heard if message_type(one.payload) is MessageType.ANSWER]
        for culprit in after.culprits[len(before.culprits) :]:
            yield from self._complaints(culprit, answers, after)

    def _share(self, dealer: int, receiver: int, session: Session) -> DealtShare:
        nodes = tuple(index - 1 for index in session.receivers)
        key = session.keys[receiver].key
        return DealtShare(self._attempt, self._deals[dealer], nodes, receiver - 1, key)

    def _copies(self, session: Session) -> Iterator[KeyOffence]:
        refused = {dealer: one for dealer, one in self._deals.items() if dealer not in session.deals}
        for copier, copy in refused.items():
            points = ephemerals(copy.payload, session.plan)
            for dealer, deal in session.deals.items():
                copied = [receiver for receiver, sealed in deal.sealed.items() if sealed.ephemeral in points]
                if copied and dealer != copier:
                    yield CopiedDeal(copy, self._share(dealer, copied[0], session))

    def _complaints(self, culprit: Culprit, answers: Sequence[KeyMessage], session: Session) -> Iterator[KeyOffence]:
        """Of the answers that may have named the culprit the first which convicts it."""
        candidates: list[KeyOffence] = []
        for answer in answers:
            receiver = answer.node + 1
            if culprit.code == "dkg.deal_wrong" and _complains(answer, culprit.index, session.plan):
                candidates.append(BadDeal(self._share(culprit.index, receiver, session), answer))
            elif culprit.code == "dkg.complaint_false" and receiver == culprit.index:
                named = [dealer for dealer in session.deals if _complains(answer, dealer, session.plan)]
                candidates += [FalseComplaint(self._share(dealer, receiver, session), answer) for dealer in named]
        for offence in candidates:
            try:
                judge_deal(offence, session.plan)
            except ProtocolError:
                continue
            yield offence
            return


def _is_heard(message: KeyMessage, session: Session) -> bool:
    """Whether it is the message of its type and author that the session took."""
    try:
        slot = message_type(message.payload), message.node + 1
    except ThresholdError:
        return False
    return session.heard.get(slot) == hashlib.sha256(message.payload).digest()


def _complains(answer: KeyMessage, dealer: int, plan: Plan) -> bool:
    try:
        return _complaint(answer, dealer, plan) is not None
    except ThresholdError:
        return False
