"""Evidence from key sessions: bad deals, false complaints and copied deals convict their authors by themselves, and
nobody honest is ever convicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as with_fields
from functools import cache
from typing import Any

import msgspec
import pytest
from core_kit import refused, sign
from hypothesis import given, settings
from hypothesis import strategies as st
from offences_kit import assert_a_changed_byte_convicts_nobody_else
from session_kit import Complainer, Room, WrongDealer, late_certificate, seed_of, with_part

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.evidence import decode_file, encode_file, verify, verify_file
from mpc_sequencer.core.keys import session_plan
from mpc_sequencer.core.offences import (
    KIND_NAMES,
    BadDeal,
    CopiedDeal,
    FalseComplaint,
    Offence,
    accused,
)
from mpc_sequencer.core.types import NO_SIGNATURE, KeyMessage
from mpc_sequencer.sim import make_deployment
from threshold import group
from threshold.dkg import MessageType, Participant, Phase, Session, deals, wire

D = make_deployment(4, generated=True)
GIVEN = make_deployment(4)
GUILTY, VICTIM, OTHER = 1, 2, 3
replace = msgspec.structs.replace


class Wrong(WrongDealer):
    victims = (VICTIM + 1,)


@cache
def honest() -> Room:
    return Room(D).run()


@cache
def badly_dealt() -> Room:
    """GUILTY deals wrong values to VICTIM, which complains."""
    return Room(D, kinds={GUILTY: Wrong}).run()


@cache
def complained() -> Room:
    """GUILTY complains about everybody, who dealt well."""
    return Room(D, kinds={GUILTY: Complainer}).run()


def garbled(session: Session, _: Participant, payload: bytes) -> bytes:
    """A deal whose share for VICTIM is sealed under a key of nobody."""
    if payload[0] != MessageType.DEAL:
        return payload
    deal = wire.decode_deal(payload, session.plan.kind, session.receivers, session.plan.threshold)
    secret, name, dealer, receiver = seed_of(9), session.plan.session, GUILTY + 1, VICTIM + 1
    point = group.generator_point_secret(secret)
    ephemeral, body = group.encode_point(point), bytes(80)
    committed = deals.commitments_hash(name, dealer, deal.commitments)
    key = session.keys[receiver].key
    statement = deals.deal_statement(name, dealer, receiver, key, ephemeral, body, committed)
    proof = group.schnorr_prove_secret(secret, statement, seed_of(8))
    return with_part(deal, receiver, wire.SealedShare(ephemeral, proof, body, point))


@cache
def garbled_room() -> Room:
    return Room(D, bends={GUILTY: garbled}).run()


def copying(session: Session, _: Participant, payload: bytes) -> bytes | None:
    """A deal with OTHER's whole header for VICTIM in it, once OTHER has dealt."""
    if payload[0] != MessageType.DEAL:
        return payload
    if OTHER + 1 not in session.deals:
        return None
    deal = wire.decode_deal(payload, session.plan.kind, session.receivers, session.plan.threshold)
    return with_part(deal, VICTIM + 1, session.deals[OTHER + 1].sealed[VICTIM + 1])


@cache
def copied() -> Room:
    return Room(D, bends={GUILTY: copying}).run()


def bad_deal(room: Room | None = None, **terms: Any) -> BadDeal:
    room = room or badly_dealt()
    return replace(BadDeal(room.dealt(GUILTY, VICTIM), room.said(VICTIM, MessageType.ANSWER)), **terms)


def false_complaint(dealer: int = OTHER, **terms: Any) -> FalseComplaint:
    room = complained()
    return replace(FalseComplaint(room.dealt(dealer, GUILTY), room.said(GUILTY, MessageType.ANSWER)), **terms)


def copied_deal(**terms: Any) -> CopiedDeal:
    room = copied()
    return replace(CopiedDeal(room.said(GUILTY, MessageType.DEAL), room.dealt(OTHER, VICTIM)), **terms)


CONVICTING: dict[str, Callable[[], Offence]] = {
    "wrong values dealt": bad_deal,
    "a share that does not open": lambda: bad_deal(garbled_room()),
    "a complaint about a right share": false_complaint,
    "a complaint about another right share": lambda: false_complaint(VICTIM),
    "a copied header": copied_deal,
}


@pytest.mark.parametrize("name", CONVICTING)
def test_an_offence_convicts_its_author_alone_and_as_a_file(name: str) -> None:
    offence = CONVICTING[name]()
    verdict = verify(offence, D.committee)
    assert (verdict.node, verdict.kind) == (GUILTY, KIND_NAMES[type(offence)])
    file = decode_file(encode_file(offence, D.committee))
    assert file.offence == offence and file.key is None
    assert verify_file(file, Committee(D.committee.genesis)).node == GUILTY


# --- near misses --------------------------------------------------------------------------------------------------
def honest_deal(**terms: Any) -> BadDeal:
    """An honest deal, opened by a receiver that complains about it."""
    room = complained()
    return replace(BadDeal(room.dealt(OTHER, GUILTY), room.said(GUILTY, MessageType.ANSWER)), **terms)


def honest_complaint(**terms: Any) -> FalseComplaint:
    room = badly_dealt()
    return replace(FalseComplaint(room.dealt(GUILTY, VICTIM), room.said(VICTIM, MessageType.ANSWER)), **terms)


def the_other_deal() -> KeyMessage:
    """A good deal that GUILTY also signs, with the points, ephemerals and commitments of its bad one."""
    room = Room(D).run(Phase.DEALS)
    member = Participant(room.plan, seed_of(GUILTY), GUILTY + 1, GUILTY + 1)
    return room.signed(GUILTY, member.messages(room.session)[0])


def reanswered(payload: bytes, node: int = VICTIM) -> KeyMessage:
    return badly_dealt().signed(node, payload)


def of_another_attempt(message: KeyMessage) -> KeyMessage:
    """The same payload, signed for the next attempt."""
    session = session_plan(D.committee, 0, 1).session
    return sign(D, message.node, replace(message, session=session, signature=NO_SIGNATURE))


def to_three() -> KeyMessage:
    """GUILTY's deal without its part for VICTIM."""
    room = badly_dealt()
    deal = room.deal_of(room.said(GUILTY, MessageType.DEAL))
    rest = {receiver: part for receiver, part in deal.sealed.items() if receiver != VICTIM + 1}
    return room.signed(GUILTY, with_fields(deal, sealed=rest).encode())


def dealt_terms(**terms: Any) -> Any:
    return replace(bad_deal().dealt, **terms)


def bent_complaint() -> KeyMessage:
    """The complaint's point swapped for another one, under the old proof."""
    room = badly_dealt()
    [opened] = wire.decode_opened(room.said(VICTIM, MessageType.ANSWER).payload, MessageType.ANSWER, 4)
    bent = with_fields(opened, encoded=room.session.keys[1].key)
    return reanswered(wire.encode_opened(MessageType.ANSWER, [bent]))


NEAR_MISSES: dict[str, tuple[Callable[[], Offence], str]] = {
    "an honest deal": (honest_deal, "evidence.legal"),
    "an honest complaint": (honest_complaint, "evidence.legal"),
    "an honest complaint beside the dealer's other deal": (
        lambda: honest_complaint(dealt=replace(honest_complaint().dealt, deal=the_other_deal())),
        "evidence.pinned",
    ),
    "an honest deal beside another session key of its receiver": (
        lambda: honest_deal(dealt=replace(honest_deal().dealt, session_key=complained().session.keys[1].key)),
        "evidence.pinned",
    ),
    "an honest deal beside other receivers": (
        lambda: honest_deal(dealt=replace(honest_deal().dealt, receivers=(0, 2, 3), receiver=2)),
        "evidence.pinned",
    ),
    "receivers in another order": (lambda: bad_deal(dealt=dealt_terms(receivers=(1, 0, 2, 3))), "evidence.pinned"),
    "receivers that are no members": (lambda: bad_deal(dealt=dealt_terms(receivers=(0, 2, 3, 9))), "evidence.pinned"),
    "a deal that is not to the receiver": (
        lambda: bad_deal(dealt=dealt_terms(receivers=(0, 1, 3), deal=to_three())),
        "evidence.pinned",
    ),
    "a deal of another attempt": (lambda: bad_deal(dealt=dealt_terms(attempt=1)), "evidence.unrelated"),
    "an answer of another attempt": (
        lambda: bad_deal(answer=of_another_attempt(bad_deal().answer)),
        "evidence.unrelated",
    ),
    "a deal signed for another attempt": (
        lambda: bad_deal(dealt=dealt_terms(attempt=1, deal=of_another_attempt(bad_deal().dealt.deal))),
        "evidence.pinned",
    ),
    "a deal somebody made up": (
        lambda: bad_deal(dealt=dealt_terms(deal=replace(sign(D, OTHER, bad_deal().dealt.deal), node=GUILTY))),
        "evidence.signature",
    ),
    "an answer somebody made up": (
        lambda: false_complaint(answer=replace(sign(D, OTHER, false_complaint().answer), node=GUILTY)),
        "evidence.signature",
    ),
    "another member's answer": (
        lambda: bad_deal(answer=reanswered(bad_deal().answer.payload, 0)),
        "evidence.unrelated",
    ),
    "an answer without complaints": (lambda: bad_deal(answer=reanswered(b"\x03")), "evidence.unrelated"),
    "no answer": (lambda: bad_deal(answer=reanswered(b"\x06" + bytes(32))), "evidence.pinned"),
    "a complaint with another point": (lambda: bad_deal(answer=bent_complaint()), "evidence.pinned"),
    "a deal cut short": (
        lambda: bad_deal(dealt=dealt_terms(deal=badly_dealt().signed(GUILTY, bad_deal().dealt.deal.payload[:-1]))),
        "evidence.pinned",
    ),
    "a deal of another epoch": (
        lambda: bad_deal(dealt=dealt_terms(deal=sign(D, GUILTY, replace(bad_deal().dealt.deal, epoch=1)))),
        "evidence.epoch",
    ),
    "a deal of nobody": (
        lambda: bad_deal(dealt=dealt_terms(deal=replace(bad_deal().dealt.deal, node=9))),
        "evidence.member",
    ),
    "the deal that was copied from": (
        lambda: CopiedDeal(copied().said(OTHER, MessageType.DEAL), copied().dealt(GUILTY, VICTIM)),
        "evidence.pinned",
    ),
    "a dealer's own point": (
        lambda: CopiedDeal(copied().said(OTHER, MessageType.DEAL), copied().dealt(OTHER, VICTIM)),
        "evidence.legal",
    ),
    "a deal without the point": (
        lambda: CopiedDeal(copied().said(0, MessageType.DEAL), copied().dealt(OTHER, VICTIM)),
        "evidence.legal",
    ),
    "a message that is no deal": (
        lambda: CopiedDeal(copied().said(0, MessageType.READY), copied().dealt(OTHER, VICTIM)),
        "evidence.legal",
    ),
    "a copy of another attempt": (
        lambda: copied_deal(copy=of_another_attempt(copied_deal().copy)),
        "evidence.unrelated",
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_a_near_miss_convicts_nobody(name: str) -> None:
    make, code = NEAR_MISSES[name]
    with refused(code):
        verify(make(), D.committee)


def test_a_committee_that_was_given_its_key_runs_no_sessions() -> None:
    room = Room(GIVEN, kinds={GUILTY: Wrong}).run()
    assert room.found
    with refused("evidence.unrelated"):
        verify(room.found[0], GIVEN.committee)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(CONVICTING)), at=st.integers(0, 1 << 20), flip=st.integers(1, 255))
def test_no_change_of_a_byte_convicts_another_member(name: str, at: int, flip: int) -> None:
    offence = CONVICTING[name]()
    assert accused(offence) == GUILTY
    assert_a_changed_byte_convicts_nobody_else(offence, D.committee, at, flip)


# --- finding ------------------------------------------------------------------------------------------------------
def test_an_honest_session_has_no_offences() -> None:
    assert honest().session.result is not None and not honest().found


@pytest.mark.parametrize(
    ("room", "kinds"),
    [
        (badly_dealt, {"bad-deal"}),
        (garbled_room, {"bad-deal"}),
        (complained, {"false-complaint"}),
        (copied, {"copied-deal"}),
    ],
)
def test_a_session_finds_what_convicts(room: Callable[[], Room], kinds: set[str]) -> None:
    verdicts = [verify(offence, D.committee) for offence in room().found]
    assert {(one.node, one.kind) for one in verdicts} == {(GUILTY, kind) for kind in kinds}
    assert room().session.result is not None, "the others make the key"


def test_a_copy_that_comes_first_is_found_when_the_deal_it_was_made_of_comes() -> None:
    room = Room(D).run(Phase.DEALS)
    said = room.owed()
    deals = {one.node: one for one in said}
    part = room.deal_of(deals[OTHER]).sealed[VICTIM + 1]
    copy = room.signed(GUILTY, with_part(room.deal_of(deals[GUILTY]), VICTIM + 1, part))
    room.block([copy])
    assert not room.found
    room.block([deals[0], deals[OTHER], deals[VICTIM]])
    assert [verify(one, D.committee).node for one in room.found] == [GUILTY]
    assert OTHER + 1 in room.session.deals, "the deal that was copied counts"


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_f_members_say_and_honest_ones_forget_nobody_honest_is_convicted(data: st.DataObject) -> None:
    """The liar deals badly to some, complains about all, signs a second deal; an honest member loses its seed at some
    block and starts over with another one. What is found, and every way to pair deals with answers, convicts no other
    than the liar."""

    class Liar(Complainer):
        victims: tuple[int, ...] = ()

        def _seal(self, key: Any, dealer: int, receiver: int, values: list[bytes], committed: bytes) -> Any:
            values = values[::-1] if receiver in self.victims else values
            return super()._seal(key, dealer, receiver, values, committed)

    liar, forgetful = data.draw(st.permutations(range(4)))[:2]
    Liar.victims = tuple(data.draw(st.sets(st.integers(1, 4))))
    forgets_at = data.draw(st.integers(0, 7))
    room = Room(D, kinds={liar: Liar})
    everything: list[KeyMessage] = []
    for step in range(12):
        said = room.owed()
        everything += said
        if step == forgets_at:  # what it said is lost on its way, or is not
            index = forgetful + 1
            room.members[forgetful] = Participant(room.plan, seed_of(forgetful, 1), index, index)
            if data.draw(st.booleans()):
                said = [one for one in said if one.node != forgetful]
            again = room.owed()
            everything += again
            said = data.draw(st.permutations([*said, *again]))
        room.block(said, late=not said)
    for offence in room.found:
        assert verify(offence, D.committee).node == liar
    dealt = [one for one in everything if one.payload[0] == MessageType.DEAL]
    answers = [one for one in everything if one.payload[0] == MessageType.ANSWER and len(one.payload) > 1]
    for deal in dealt:
        for receiver, key in room.session.keys.items():
            nodes = tuple(index - 1 for index in room.session.receivers)
            share = replace(badly_dealt().dealt(GUILTY, VICTIM), deal=deal, receivers=nodes, receiver=receiver - 1)
            share = replace(share, session_key=key.key)
            candidates: list[Offence] = [BadDeal(share, answer) for answer in answers]
            candidates += [FalseComplaint(share, answer) for answer in answers]
            candidates += [CopiedDeal(other, share) for other in dealt]
            for offence in candidates:
                try:
                    assert verify(offence, D.committee).node == liar
                except ProtocolError:
                    continue


def test_a_key_that_nothing_needs_is_refused() -> None:
    file = decode_file(encode_file(bad_deal(), D.committee))
    with refused("evidence.key"):
        verify_file(msgspec.structs.replace(file, key=late_certificate(D)), D.committee)
