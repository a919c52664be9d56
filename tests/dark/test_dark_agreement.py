"""Members agree on an epoch's keys over the log, whatever t of them say or leave unsaid."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import msgspec
import pytest
from agreement_kit import (
    HEIGHT_MS,
    SIZES,
    START_MS,
    TOPIC,
    Change,
    Room,
    another_key,
    complaining,
    opening,
    reboxed,
    resealed,
    say,
    seed_of,
    silent,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.dark import keys as dark_keys
from mpc_sequencer.dark.agreement import Agreement, AgreementValue, DealtValue, Phase
from mpc_sequencer.dark.keyparty import KeyParty
from mpc_sequencer.dark.messages import (
    AnswerSaid,
    DealSaid,
    KeySaid,
    OpenedBox,
    ResultSaid,
    Word,
    decode_word,
    encode_word,
)
from mpc_sequencer.dark.prss import subsets, subsets_of
from threshold import UsageError, boxes, group

PHASES = (Phase.KEYS, Phase.DEALS, Phase.ANSWERS)


def dumped(agreement: Agreement) -> bytes:
    return encode(agreement.dump())


def reloaded(agreement: Agreement) -> Agreement:
    value = decode(AgreementValue, dumped(agreement))
    return Agreement.load(agreement.topic, agreement.parties, agreement.faults_t, value)


def unchanged(agreement: Agreement, words: list[tuple[int, Word]], time_ms: int) -> bool:
    after = agreement.step(time_ms, words)
    return dumped(after) == dumped(agreement) and after.digest() == agreement.digest()


# --- honest runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parties", "t"), SIZES)
def test_honest_parties_agree_in_three_heights_and_their_shares_fit(parties: int, t: int) -> None:
    room = Room(parties, t)
    agreement = room.until(Phase.DONE)
    assert room.time_ms == START_MS + 3 * HEIGHT_MS and not agreement.blamed
    assert agreement.keys is not None and all(agreement.keys.box_keys)
    assert agreement.due_ms() is None
    assert room.shares_fit(range(parties))


@pytest.mark.parametrize(("parties", "t"), SIZES)
def test_every_subset_s_members_hold_one_key_and_nobody_else_does(parties: int, t: int) -> None:
    room = Room(parties, t)
    room.until(Phase.DONE)
    held: dict[bytes, set[int]] = {}
    for member in room.members:
        own = subsets_of(parties, t, member.party)
        for subset, key in zip(own, member.prss_keys(room.agreement).in_order(), strict=True):
            assert member.party in subset
            held.setdefault(key, set()).add(member.party)
    assert sorted(tuple(sorted(parties)) for parties in held.values()) == list(subsets(parties, t))


@pytest.mark.parametrize(("parties", "t"), [*SIZES, (13, 3)])
def test_a_subset_has_t_plus_1_dealers_of_its_own_and_deals_are_even(parties: int, t: int) -> None:
    for number, subset in enumerate(subsets(parties, t)):
        dealers = dark_keys.dealers_of(subset, number, t)
        assert len(set(dealers)) == t + 1 and set(dealers) <= set(subset)
    counts = [len(dark_keys.dealt_by(parties, t, dealer)) for dealer in range(parties)]
    assert sum(counts) == (t + 1) * len(subsets(parties, t))
    assert min(counts) >= 1 and max(counts) <= 2 * sum(counts) / parties and max(counts) <= 512
    for dealer, receiver in combinations(range(parties), 2):
        dealt = dark_keys.dealt_to(parties, t, dealer, receiver)
        assert all(dealer in subset and receiver in subset for subset in dealt)


def test_words_may_come_in_any_order_and_over_many_heights() -> None:
    one, many = Room(5, 1), Room(5, 1)
    one.until(Phase.DONE)
    for phase in PHASES:
        words = many.said()
        for word in reversed(words):
            assert many.agreement.phase is phase
            many.height([word])
    assert many.agreement.keys == one.agreement.keys


def test_deals_fit_key_messages_or_the_committee_is_refused() -> None:
    room = Room(9, 2)
    room.until(Phase.DEALS)
    longest = max(len(encode_word(word)) for _, word in room.said())
    assert longest <= dark_keys.deal_payload_bytes_max(9, 2) <= longest + 8, "but for the attempt's number"
    assert dark_keys.deal_payload_bytes_max(13, 3) <= limits.KEY_PAYLOAD_BYTES_MAX
    for parties, t in ((14, 3), (13, 4)):
        with pytest.raises(ValueError, match="does not fit"):
            Agreement.begin(TOPIC, parties, t)
    for parties, t in ((4, 0), (1, 1), (41, 1)):
        with pytest.raises(ValueError, match="faults of"):
            Agreement.begin(TOPIC, parties, t)
    with pytest.raises(ValueError, match="topic"):
        Agreement.begin(TOPIC[:31], 5, 1)


def test_the_id_names_topic_attempt_box_keys_and_commitments() -> None:
    room = Room(5, 1)
    keys = room.until(Phase.DONE).keys
    assert keys is not None
    without = (*keys.box_keys[:4], b"")
    changed = [
        msgspec.structs.replace(keys, **{name: value})
        for name, value in (
            ("topic", bytes(32)),
            ("attempt", 1),
            ("box_keys", without),
            ("box_keys", keys.box_keys[::-1]),
            ("rest_hash", bytes(32)),
        )
    ]
    assert len({keys.id, *(one.id for one in changed)}) == 6
    fewer = Room(5, 1)
    fewer.until(Phase.DONE, {Phase.DEALS: {2: silent}})
    assert fewer.agreement.keys is not None
    assert fewer.agreement.keys.box_keys == keys.box_keys and fewer.agreement.keys.rest_hash != keys.rest_hash


# --- silence and time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parties", "t"), SIZES)
@pytest.mark.parametrize("phase", PHASES)
def test_t_silent_parties_hold_nobody_up_longer_than_a_window(parties: int, t: int, phase: Phase) -> None:
    room = Room(parties, t)
    room.until(phase)
    lost = set(range(1, 1 + t))
    room.height(room.said(dict.fromkeys(lost, silent)))
    since_ms = room.agreement.since_ms
    assert room.agreement.phase is phase and since_ms is not None
    due_ms = since_ms + limits.DARK_WINDOW_MS
    assert room.agreement.due_ms() == due_ms
    assert room.agreement.step(due_ms - 1, []) == room.agreement
    assert room.agreement.step(due_ms, []).phase is Phase(phase + 1)
    room.height(after_ms=due_ms - room.time_ms)
    agreement = room.until(Phase.DONE)
    assert not agreement.blamed, "silence is no fault"
    assert agreement.keyed == tuple(sorted(set(range(parties)) - (lost if phase is Phase.KEYS else set())))
    if len(agreement.keyed) > 2 * t + 1:  # with fewer shares of a degree 2t nothing can be checked
        assert room.shares_fit(agreement.keyed)


def test_without_n_minus_t_keys_the_attempt_fails() -> None:
    room = Room(5, 1)
    room.phase({0: silent, 3: silent})
    assert room.agreement.phase is Phase.FAILED
    assert not room.agreement.keyed and room.agreement.keys is None and not room.agreement.expected


def test_with_a_subset_that_no_dealer_is_left_for_the_attempt_fails() -> None:
    """At (5,1) subset 0 is (0, 1, 2, 3), its dealers are 0 and 1."""
    assert dark_keys.dealers_of((0, 1, 2, 3), 0, 1) == (0, 1)
    room = Room(5, 1)
    room.until(Phase.DEALS)
    room.phase({0: silent, 1: silent})
    assert room.agreement.phase is Phase.FAILED
    room = Room(5, 1)
    agreement = room.until(Phase.DEALS)
    changes = {dealer: resealed(agreement, dealer, 2, bytes(32 * boxed(dealer, 2))) for dealer in (0, 1)}
    room.phase(changes)
    assert room.agreement.phase is Phase.ANSWERS
    room.phase()
    assert room.agreement.phase is Phase.FAILED and room.agreement.blamed == {0, 1}


def boxed(dealer: int, receiver: int, parties: int = 5, t: int = 1) -> int:
    return len(dark_keys.dealt_to(parties, t, dealer, receiver))


def test_a_failed_attempt_is_followed_by_another_of_fresh_keys() -> None:
    room, first = Room(5, 1), Room(5, 1)
    first.until(Phase.DONE)
    room.until(Phase.DEALS)
    old_key = room.agreement.box_keys[2]
    room.phase({0: silent, 1: silent})
    failed_ms = room.time_ms
    due_ms = room.agreement.due_ms()
    assert due_ms == failed_ms + limits.DARK_RETRY_MS
    assert room.agreement.step(due_ms - 1, []) == room.agreement
    room.height(after_ms=due_ms + 5 - failed_ms)
    agreement = room.agreement
    assert (agreement.phase, agreement.attempt, agreement.since_ms) == (Phase.KEYS, 1, due_ms + 5)
    assert not agreement.spoken and not agreement.blamed and not agreement.keyed
    agreement = room.until(Phase.DONE)
    assert agreement.keys is not None and first.agreement.keys is not None
    assert agreement.keys.attempt == 1 and agreement.box_keys[2] != old_key
    assert room.shares_fit(range(5))
    of_first = set(first.members[2].prss_keys(first.agreement).in_order())
    assert of_first.isdisjoint(room.members[2].prss_keys(agreement).in_order())


def test_the_first_window_counts_from_the_first_executed_height() -> None:
    agreement = Agreement.begin(TOPIC, 5, 1)
    assert agreement.since_ms is None and agreement.due_ms() is None
    assert agreement.owes(0) is KeySaid
    after = agreement.step(9_000_000, [])
    assert after.phase is Phase.KEYS and after.due_ms() == 9_000_000 + limits.DARK_WINDOW_MS


def test_a_word_in_the_height_that_ends_the_window_is_heard() -> None:
    room = Room(5, 1)
    words = room.said()
    room.height(words[:4])
    room.height(words[4:], after_ms=limits.DARK_WINDOW_MS)
    assert room.agreement.keyed == (0, 1, 2, 3, 4)


# --- what is not heard ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_second_word_of_a_party_changes_no_bit(phase: Phase) -> None:
    room = Room(5, 1)
    room.until(phase)
    (first, *_) = room.said()
    room.height([first])
    other = KeySaid(0, group.generator_multiply_secret(seed_of(7)), bytes(64))
    for word in (first[1], other, DealSaid(0, (), ()), AnswerSaid(0, ())):
        assert not room.agreement.wanted(0, word)
        assert unchanged(room.agreement, [(0, word)], room.time_ms)


def test_words_of_other_phases_attempts_and_authors_change_no_bit() -> None:
    room = Room(5, 1)
    spare = Room(5, 1)
    spare.until(Phase.DONE)
    every = [word for words in spare.words.values() for _, word in words]
    for phase in (*PHASES, Phase.DONE):
        room.until(phase)
        room.height()
        asked = {Phase.KEYS: KeySaid, Phase.DEALS: DealSaid, Phase.ANSWERS: AnswerSaid}.get(phase, ResultSaid)
        others = [word for word in every if not isinstance(word, asked)]
        later = [msgspec.structs.replace(word, attempt=1) for word in every]  # type: ignore[type-var]
        for word in (*others, *later, ResultSaid(1, 1, None)):
            assert not room.agreement.wanted(1, word)  # type: ignore[arg-type]
            assert unchanged(room.agreement, [(1, word)], room.time_ms)  # type: ignore[list-item]
        for author in (-1, 5, 39):
            words = [(author, word) for word in every]
            assert not any(room.agreement.wanted(author, word) for word in every)
            assert unchanged(room.agreement, words, room.time_ms)


def test_a_party_without_a_key_is_neither_awaited_nor_heard() -> None:
    room = Room(5, 1)
    room.phase({4: silent})
    for phase in (Phase.DEALS, Phase.ANSWERS):
        assert room.agreement.phase is phase and room.agreement.owes(4) is None
        word: Word = DealSaid(0, (), ()) if phase is Phase.DEALS else AnswerSaid(0, ())
        assert unchanged(room.agreement, [(4, word)], room.time_ms)
        room.height(room.said())
    assert room.agreement.phase is Phase.DONE
    with pytest.raises(UsageError, match="no box key"):
        room.members[4].prss_keys(room.agreement)


def test_a_late_word_changes_nothing() -> None:
    room = Room(5, 1)
    late = room.said()[4]
    room.phase({4: silent})
    assert unchanged(room.agreement, [late], room.time_ms)


# --- bad keys and deals -----------------------------------------------------------------------------------------------


def keys_gone_wrong() -> dict[str, Change]:
    def stolen(word: Word) -> Word:
        honest = Room(5, 1).said()[1][1]
        assert isinstance(honest, KeySaid)
        return honest

    def field(**fields: Any) -> Change:
        return lambda word: msgspec.structs.replace(word, **fields)

    return {
        "another's key and proof": stolen,
        "a key of somebody's with one's own proof": another_key,
        "no point": field(key=bytes(33)),
        "no proof": field(proof=bytes(64)),
    }


@pytest.mark.parametrize("name", list(keys_gone_wrong()))
def test_a_box_key_that_is_not_proven_is_none(name: str) -> None:
    room = Room(5, 1)
    agreement = room.phase({3: keys_gone_wrong()[name]})
    assert agreement.blamed == {3} and agreement.keyed == (0, 1, 2, 4)
    assert room.until(Phase.DONE).blamed == {3}
    assert room.shares_fit((0, 1, 2, 4))


def deals_gone_wrong(agreement: Agreement) -> dict[str, Change]:
    honest = {dealer: KeyParty(seed_of(dealer), dealer).say_deal(agreement) for dealer in (2, 3)}

    def field(**fields: Any) -> Change:
        return lambda word: msgspec.structs.replace(word, **fields)

    mine = honest[2]
    flipped = mine.boxes[0][:-1] + bytes([mine.boxes[0][-1] ^ 1])
    right = boxed(2, 0)
    return {
        "no commitments": field(commitments=()),
        "a commitment too many": field(commitments=(*mine.commitments, bytes(32))),
        "no boxes": field(boxes=()),
        "a box too few": field(boxes=mine.boxes[:-1]),
        "a box too many": field(boxes=(*mine.boxes, mine.boxes[0])),
        "two boxes exchanged": field(boxes=(mine.boxes[1], mine.boxes[0], *mine.boxes[2:])),
        "an empty box": reboxed(agreement, 2, 0, b""),
        "a longer box": resealed(agreement, 2, 0, bytes(32 * right + 1)),
        "a shorter box": resealed(agreement, 2, 0, bytes(32 * right - 1)),
        "a body that is not the proof's": reboxed(agreement, 2, 0, flipped),
        "copying another dealer's box": reboxed(agreement, 2, 0, honest[3].boxes[0]),
        "copying another dealer's deal": lambda _: honest[3],
        "a box for another attempt": resealed(
            agreement, 2, 0, bytes(32 * right), dark_keys.deal_context(TOPIC, 1, 2, 0)
        ),
        "a box for another topic": resealed(
            agreement, 2, 0, bytes(32 * right), dark_keys.deal_context(bytes(32), 0, 2, 0)
        ),
    }


@pytest.mark.parametrize("name", list(deals_gone_wrong(Room(5, 1).until(Phase.DEALS))))
def test_a_deal_that_everybody_sees_is_bad_puts_its_dealer_out(name: str) -> None:
    room = Room(5, 1)
    agreement = room.until(Phase.DEALS)
    room.phase({2: deals_gone_wrong(agreement)[name]})
    assert room.agreement.blamed == {2} and room.agreement.deals[2] is None
    assert room.until(Phase.DONE).deals[2] is None
    assert room.shares_fit(range(5)), "the dealer itself keeps its key and its part"


# --- complaints -------------------------------------------------------------------------------------------------------


def bad_boxes(agreement: Agreement, dealer: int, receiver: int, parties: int, t: int) -> dict[str, Change]:
    """Boxes of the right length and proof with something else in them."""
    count = boxed(dealer, receiver, parties, t)
    honest = KeyParty(seed_of(dealer), dealer)
    right = [honest._contribution(agreement, one) for one in dark_keys.dealt_to(parties, t, dealer, receiver)]
    context = dark_keys.deal_context(TOPIC, 0, dealer, receiver)
    k = hashlib.sha256(b"own ephemeral").digest()
    to_another = boxes.seal(group.generator_multiply_secret(k), b"".join(right), k, context)
    ephemeral, body = group.generator_multiply_secret(k), bytes(32 * count + 16)
    statement = boxes._proof_statement(context, ephemeral, body)
    garbage = ephemeral + group.schnorr_prove_secret(k, statement, bytes(32)) + body
    last = b"".join((*right[:-1], bytes(32)))
    return {
        "garbage": reboxed(agreement, dealer, receiver, garbage),
        "sealed to another key": reboxed(agreement, dealer, receiver, to_another),
        "other contributions": resealed(agreement, dealer, receiver, bytes(32 * count)),
        "one contribution of another commitment": resealed(agreement, dealer, receiver, last),
        "contributions in another order": resealed(agreement, dealer, receiver, b"".join(right[::-1])),
    }


@pytest.mark.parametrize(("parties", "t"), SIZES)
@pytest.mark.parametrize("name", list(bad_boxes(Room(5, 1).until(Phase.DEALS), 1, 0, 5, 1)))
def test_a_bad_box_is_opened_by_its_receiver_and_puts_its_dealer_out(parties: int, t: int, name: str) -> None:
    room = Room(parties, t)
    agreement = room.until(Phase.DEALS)
    dealer, receiver = 1, 2 if boxed(1, 2, parties, t) > 1 else 0
    if boxed(dealer, receiver, parties, t) < 2 and name == "contributions in another order":
        receiver = max(range(parties), key=lambda other: boxed(dealer, other, parties, t) if other != dealer else 0)
        assert boxed(dealer, receiver, parties, t) > 1
    room.phase({dealer: bad_boxes(agreement, dealer, receiver, parties, t)[name]})
    assert room.agreement.phase is Phase.ANSWERS and room.agreement.deals[dealer] is not None
    answers = {party: word for party, word in room.said() if isinstance(word, AnswerSaid)}
    assert [opened.index for opened in answers[receiver].opened] == [dealer]
    assert not any(word.opened for party, word in answers.items() if party != receiver)
    agreement = room.phase()
    assert agreement.phase is Phase.DONE
    assert agreement.blamed == {dealer} and agreement.deals[dealer] is None
    assert room.shares_fit(range(parties))


def answering() -> Room:
    room = Room(5, 1)
    room.until(Phase.ANSWERS)
    return room


def false_complaints(room: Room) -> dict[str, Change]:
    """Party 3 complains of dealer 0, whose box for it is right, and of others."""
    right, other = opening(room, 3, 0), opening(room, 3, 1)
    elsewhere = opening(room, 2, 0)
    shifted = group.encode_point(group.negate(group.parse_point(right.point, "")))
    return {
        "the right opening of a right box": complaining(right),
        "of two right boxes": complaining(right, other),
        "a point that is not the opening": complaining(OpenedBox(0, shifted, right.c, right.z)),
        "another's opening": complaining(elsewhere),
        "an opening of another dealer's box": complaining(OpenedBox(0, other.point, other.c, other.z)),
        "no proof": complaining(OpenedBox(0, right.point, bytes(32), bytes(32))),
        "no point": complaining(OpenedBox(0, bytes(33), right.c, right.z)),
        "twice": complaining(right, right),
        "out of order": complaining(other, right),
        "of itself": complaining(OpenedBox(3, right.point, right.c, right.z)),
        "of nobody": complaining(OpenedBox(5, right.point, right.c, right.z)),
        "of a dealer far out of range": complaining(OpenedBox(1535, right.point, right.c, right.z)),
    }


@pytest.mark.parametrize("name", list(false_complaints(answering())))
def test_a_false_complaint_names_its_author_and_does_nothing_else(name: str) -> None:
    honest, room = Room(5, 1), answering()
    honest.until(Phase.DONE)
    agreement = room.phase({3: false_complaints(room)[name]})
    assert agreement.phase is Phase.DONE and agreement.blamed == {3}
    assert agreement.keys == honest.agreement.keys and agreement.deals == honest.agreement.deals


def test_a_complaint_about_a_dealer_that_dealt_nothing_is_false() -> None:
    room = Room(5, 1)
    agreement = room.until(Phase.DEALS)
    room.phase({0: silent})
    point = agreement.box_keys[0]
    done = room.phase({3: complaining(OpenedBox(0, point, bytes(32), bytes(32)))})
    assert done.phase is Phase.DONE and done.blamed == {3}


def test_a_dealer_has_nothing_for_a_party_that_is_in_none_of_its_subsets() -> None:
    """At (4,1) dealers deal to two subsets of three; some pairs share none of them."""
    pairs = [(d, r) for d in range(4) for r in range(4) if d != r and not boxed(d, r, 4, 1)]
    room = Room(4, 1)
    room.until(Phase.ANSWERS)
    for dealer, receiver in pairs:
        assert room.agreement.box(dealer, receiver) == b""
    for dealer, receiver in pairs[:1]:
        opened = OpenedBox(dealer, room.agreement.box_keys[0], bytes(32), bytes(32))
        assert room.phase({receiver: complaining(opened)}).blamed == {receiver}


def test_complaints_before_a_false_one_in_the_same_answer_stand_and_two_victims_may_complain() -> None:
    room = Room(5, 1)
    agreement = room.until(Phase.DEALS)

    def both(word: Word) -> Word:
        for receiver in (2, 3):
            word = resealed(agreement, 0, receiver, bytes(32 * boxed(0, receiver)))(word) or word
        return word

    room.phase({0: both})
    bad, right = opening(room, 2, 0), opening(room, 2, 1)
    done = room.phase({2: complaining(bad, right)})
    assert done.phase is Phase.DONE
    assert done.blamed == {0, 2} and done.deals[0] is None and done.deals[1] is not None


def test_an_answer_whose_dealers_do_not_ascend_is_no_answer() -> None:
    room = Room(5, 1)
    agreement = room.until(Phase.DEALS)
    room.phase({0: resealed(agreement, 0, 2, bytes(32 * boxed(0, 2)))})
    bad, right = opening(room, 2, 0), opening(room, 2, 1)
    for opened in ((bad, bad), (right, bad)):
        words = room.said({2: complaining(*opened)})
        done = room.agreement.step(room.time_ms + HEIGHT_MS, words)
        assert done.phase is Phase.DONE and done.blamed == {2} and done.deals[0] is not None


def test_a_victim_that_does_not_answer_has_no_keys_and_the_others_go_on_without_it() -> None:
    room = Room(5, 1)
    agreement = room.until(Phase.DEALS)
    room.phase({0: resealed(agreement, 0, 3, bytes(32 * boxed(0, 3)))})
    room.phase({3: silent})
    assert room.agreement.phase is Phase.DONE and not room.agreement.blamed
    with pytest.raises(UsageError, match="dealer 0's box for party 3 is bad"):
        room.members[3].prss_keys(room.agreement)
    assert room.shares_fit((0, 1, 2, 4))


def test_what_a_corrupt_party_learns_of_deals_leaves_the_key_of_the_others_unknown() -> None:
    """Party 4 of (5,1) opens all its boxes, and its own seed is known: of the key of (0, 1, 2, 3) it holds nothing."""
    room = Room(5, 1)
    room.until(Phase.DONE)
    seen: set[bytes] = set()
    for dealer in range(4):
        seen.update(room.members[4]._contributions(room.agreement, dealer) or ())
    hidden = (0, 1, 2, 3)
    number = subsets(5, 1).index(hidden)
    for dealer in dark_keys.dealers_of(hidden, number, 1):
        contribution = room.members[dealer]._contribution(room.agreement, hidden)
        assert contribution not in seen
        held = room.agreement.deals[dealer]
        assert held is not None and not any(contribution in box for box in held.deal.boxes)
        for other in set(subsets(5, 1)) - {hidden}:
            assert contribution != room.members[dealer]._contribution(room.agreement, other)


# --- restarts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_party_that_restarts_says_the_same_bytes(phase: Phase) -> None:
    room = Room(5, 1)
    agreement = room.until(Phase.DEALS)
    bad = resealed(agreement, 0, 3, bytes(32 * boxed(0, 3)))
    room = Room(5, 1)
    room.until(phase, {Phase.DEALS: {0: bad}})
    for member in room.members:
        first = say(member, room.agreement)
        assert encode_word(say(KeyParty(seed_of(member.party), member.party), reloaded(room.agreement))) == encode_word(
            first
        )
        assert decode_word(encode_word(first)) == first


def test_a_party_that_restarts_after_the_agreement_has_the_same_keys() -> None:
    room = Room(5, 1)
    room.until(Phase.DONE, {Phase.DEALS: {1: silent}})
    again = reloaded(room.agreement)
    assert again.keys == room.agreement.keys
    for member in room.members:
        keys = KeyParty(seed_of(member.party), member.party).prss_keys(again)
        assert keys.in_order() == member.prss_keys(room.agreement).in_order()


def test_a_party_that_lost_its_seed_says_nothing_more() -> None:
    room = Room(5, 1)
    another = KeyParty(seed_of(77), 2)
    room.until(Phase.DEALS)
    assert room.members[2].fits(room.agreement) and not another.fits(room.agreement)
    for phase in (Phase.DEALS, Phase.ANSWERS):
        with pytest.raises(UsageError, match="this seed's"):
            say(another, room.until(phase))
    with pytest.raises(UsageError, match="this seed's"):
        another.prss_keys(room.until(Phase.DONE))


def test_words_are_said_in_their_phase_alone() -> None:
    room = Room(5, 1)
    member = room.members[0]
    for phase in (*PHASES, Phase.DONE):
        agreement = room.until(phase)
        ways = {Phase.KEYS: member.say_key, Phase.DEALS: member.say_deal, Phase.ANSWERS: member.say_answer}
        for other, way in {**ways, Phase.DONE: member.prss_keys}.items():
            if other is not phase:
                with pytest.raises(UsageError, match="expected"):
                    way(agreement)


def test_secrets_are_neither_shown_nor_copied_and_are_gone_when_erased() -> None:
    member = KeyParty(seed_of(0), 0)
    assert repr(member) == "KeyParty(party=0)"
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            way(member)
    with pytest.raises(UsageError, match="32 bytes"):
        KeyParty(bytes(31), 0)
    agreement = Agreement.begin(TOPIC, 5, 1)
    secret = member.box_secret(TOPIC, 0)
    assert len({secret, member.box_secret(TOPIC, 1), member.box_secret(bytes(32), 0), member.nonce_seed(TOPIC, 0)}) == 4
    member.erase()
    assert bytes(member._seed) == bytes(32)
    with pytest.raises(UsageError, match="erased"):
        member.say_key(agreement)


# --- kept -------------------------------------------------------------------------------------------------------------


def states() -> list[Agreement]:
    """One of each phase, and before and after some have spoken."""
    room = Room(5, 1)
    found = [room.agreement]
    agreement = room.until(Phase.DEALS)
    room = Room(5, 1)
    bad = resealed(agreement, 0, 3, bytes(32 * boxed(0, 3)))
    for phase in PHASES:
        assert room.agreement.phase is phase
        words = room.said({0: bad} if phase is Phase.DEALS else None)
        room.height()
        found.append(room.agreement)
        room.height(words[:2])
        found.append(room.agreement)
        room.height(words[2:])
    found.append(room.agreement)
    failed = Room(5, 1)
    failed.phase({0: silent, 1: another_key})
    found.append(failed.agreement)
    failed.height(after_ms=limits.DARK_RETRY_MS)
    return [*found, failed.agreement]


def test_every_state_is_loaded_as_it_was_dumped() -> None:
    every = states()
    assert {one.phase for one in every} == set(Phase)
    for agreement in every:
        again = reloaded(agreement)
        assert again == agreement and again.digest() == agreement.digest() and dumped(again) == dumped(agreement)
    assert len({one.digest() for one in every}) == len(every)


def test_the_digest_is_of_all_that_is_dumped() -> None:
    for agreement in states():
        value = agreement.dump()
        for name in value.__struct_fields__:
            other: Mapping[str, Any] = {
                "attempt": 7,
                "phase": 6 - value.phase if value.phase != 3 else 1,
                "since_ms": 5,
                "box_keys": (b"\2" * 33,) * 5,
                "deals": (*value.deals[1:],) if value.deals else (DealtValue(1, DealSaid(0, (), ())),),
                "spoken": (*value.spoken, 4),
                "blamed": (*value.blamed, 4),
            }
            bent = {
                "attempt": "attempt",
                "phase": "phase",
                "since_ms": "since_ms",
                "box_keys": "box_keys",
                "spoken": "spoken",
                "blamed": "blamed",
            }
            if name in bent:
                put = other[name]
                put = frozenset(put) if name in ("spoken", "blamed") else Phase(put) if name == "phase" else put
                assert _replaced(agreement, name, put).digest() != agreement.digest(), name
        if value.deals:
            assert _replaced(agreement, "deals", (None,) * 5).digest() != agreement.digest()


def _replaced(agreement: Agreement, name: str, value: Any) -> Agreement:
    fields = {one: getattr(agreement, one) for one in Agreement.__dataclass_fields__}
    return Agreement(**{**fields, name: value})


def bent_values() -> list[tuple[str, AgreementValue]]:
    """Dumps of states that nothing comes to, one thing changed in each."""
    begun, *_, done, failed, again = states()
    by_phase = {one.phase: one.dump() for one in states()[:-2]}
    keys, deals, answers = (by_phase[phase] for phase in PHASES)

    def bent(name: str, value: AgreementValue, **fields: Any) -> tuple[str, AgreementValue]:
        return name, msgspec.structs.replace(value, **fields)

    dealt = answers.deals[0]
    other = msgspec.structs.replace(dealt.deal, attempt=1)
    return [
        bent("four parties' keys", keys, box_keys=keys.box_keys[:4]),
        bent("six parties' keys", keys, box_keys=(*keys.box_keys, b"")),
        bent("a key that is no point", keys, box_keys=(bytes(33), *keys.box_keys[1:])),
        bent("a short key", keys, box_keys=(keys.box_keys[0][:32], *keys.box_keys[1:])),
        bent("a key of a party that has not spoken", keys, spoken=()),
        bent("one that has spoken without a key or a fault", keys, spoken=(*keys.spoken, 4)),
        bent("one with a key and a fault", keys, blamed=(0,)),
        bent("all have spoken and the phase goes on", deals, spoken=(0, 1, 2, 3, 4), blamed=(0, 1, 2, 3, 4)),
        bent("sets out of order", keys, spoken=keys.spoken[::-1]),
        bent("one twice", keys, spoken=(*keys.spoken, keys.spoken[-1])),
        bent("a party beyond the last", keys, blamed=(5,)),
        bent("no time", keys, since_ms=None),
        bent("no time in a later attempt", again.dump(), since_ms=None),
        bent("no time when done", done.dump(), since_ms=None),
        bent("too few keys for deals", deals, box_keys=(b"", b"", *deals.box_keys[2:]), deals=(), spoken=()),
        bent("a deal of one that has not spoken", deals, spoken=deals.spoken[1:]),
        bent("one that spoke without a deal or a fault", deals, deals=deals.deals[1:]),
        bent("deals in another order", answers, deals=answers.deals[::-1]),
        bent("a deal twice", answers, deals=(dealt, *answers.deals)),
        bent("another dealer's deal", answers, deals=(DealtValue(0, answers.deals[1].deal), *answers.deals[1:])),
        bent("a deal of another attempt", answers, deals=(DealtValue(0, other), *answers.deals[1:])),
        bent("an attempt that the deals are not of", answers, attempt=1),
        bent("a deal of nobody", answers, deals=(*answers.deals, DealtValue(39, dealt.deal))),
        bent("done, and one beyond the last is blamed", done.dump(), blamed=(5,)),
        bent("done without dealers", done.dump(), deals=()),
        bent("done, and one has spoken", done.dump(), spoken=(1,)),
        bent("failed with keys", failed.dump(), box_keys=done.box_keys),
        bent("failed with deals", failed.dump(), deals=answers.deals),
        bent("deals before keys", begun.dump(), deals=answers.deals),
        bent("no such phase", keys, phase=6),
    ]


@pytest.mark.parametrize("name", [name for name, _ in bent_values()])
def test_a_state_that_nothing_comes_to_is_not_loaded(name: str) -> None:
    value = dict(bent_values())[name]
    with pytest.raises(ValueError, match=r"."):
        Agreement.load(TOPIC, 5, 1, value)


def test_a_state_of_another_epoch_or_committee_is_not_loaded() -> None:
    value = Room(5, 1).until(Phase.ANSWERS).dump()
    for topic, parties, t in ((bytes(32), 5, 1), (TOPIC, 4, 1), (TOPIC, 9, 2)):
        with pytest.raises(ValueError, match=r"."):
            Agreement.load(topic, parties, t, value)


# --- whatever is said -------------------------------------------------------------------------------------------------

POOL = Room(4, 1)
POOL.until(Phase.DONE)
WORDS = [word for words in POOL.words.values() for _, word in words] + [
    AnswerSaid(0, (OpenedBox(0, POOL.agreement.box_keys[0], bytes(32), bytes(32)),)),
    DealSaid(0, (), ()),
    KeySaid(1, bytes(33), bytes(64)),
    ResultSaid(1, 1, None),
]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 15_000), st.lists(st.tuples(st.integers(-1, 5), st.sampled_from(WORDS)), max_size=6)
        ),
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_the_state_is_sound_and_what_is_not_wanted_changes_nothing(
    heights: list[tuple[int, list[tuple[int, Word]]]],
) -> None:
    agreement, time_ms = Agreement.begin(TOPIC, 4, 1), START_MS
    for passed_ms, words in heights:
        time_ms += passed_ms
        opened = agreement.step(time_ms, [])
        if opened == agreement:
            unwanted = [(party, word) for party, word in words if not agreement.wanted(party, word)]
            assert unchanged(agreement, unwanted, time_ms)
        after = agreement.step(time_ms, words)
        assert after.attempt >= agreement.attempt
        due_ms = after.due_ms()
        assert due_ms is None or due_ms > time_ms, "nothing is left undone"
        agreement = after
        assert reloaded(agreement) == agreement
