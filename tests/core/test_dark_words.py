"""Words of dark markets among a member's key messages: what is held, listed and forgotten, and what attackers gain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from core_kit import freeze, refused
from dark_words_kit import GRID, dark_deployment, dark_market, key_word, result, said, signed

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.keybook import WORDS_KEPT_HEIGHTS, KeyBook
from mpc_sequencer.core.messages import KeyBodies
from mpc_sequencer.core.rotation import joiners
from mpc_sequencer.core.types import KeyMessage
from mpc_sequencer.dark.messages import ReportSaid, ResultSaid
from mpc_sequencer.sim import make_deployment

D = dark_deployment(joiners=1)
TOPIC = D.committee.dark_topic
assert TOPIC is not None
RUNNING = (TOPIC,)
Wanted = Callable[[bytes, KeyMessage], bool]


def book(wanted: Wanted = lambda message_id, message: True) -> KeyBook:
    held = KeyBook(D.committee)
    held.wanted = wanted
    return held


def listable(held: KeyBook) -> list[KeyMessage]:
    return [one.message for _, one in held.to_list(RUNNING)]


def list_all(held: KeyBook, number: int = 1) -> None:
    for message_id, _ in held.to_list(RUNNING):
        held.note_listed(message_id, number)


def test_a_word_is_listed_and_worked_for_only_while_it_is_wanted() -> None:
    word, wanted = result(D, 2, 1), set[bytes]()
    held = book(lambda message_id, message: message_id in wanted)
    held.add(word, running=RUNNING)
    assert not listable(held) and not held.waiting(RUNNING)
    wanted.add(word.message_id())
    assert listable(held) == [word] and held.waiting(RUNNING)
    assert not held.to_list(()) and not held.waiting(())
    list_all(held)
    assert not listable(held) and held.waiting(RUNNING)
    wanted.clear()
    assert not held.waiting(RUNNING)
    wanted.add(word.message_id())
    held.include(word.message_id(), 3)
    assert not held.waiting(RUNNING)


def test_two_words_of_a_member_about_one_thing_are_listed_and_no_third() -> None:
    """Somebody who signs word after word about one thing fills no log with them."""
    held = book()
    about_one = [said(D, 2, ReportSaid(7, 1, 0, bytes(12 * number), ())) for number in range(6)]
    for word in about_one:
        held.add(word, running=RUNNING)
    assert listable(held) == about_one[: limits.DARK_WORDS_LISTED_MAX]
    list_all(held)
    assert not listable(held)
    others = [
        said(D, 2, ReportSaid(7, 1, 1, b"", ())),
        said(D, 2, ReportSaid(7, 2, 0, b"", ())),
        said(D, 2, ReportSaid(8, 1, 0, b"", ())),
        said(D, 2, ResultSaid(7, 1, None)),
        said(D, 3, ReportSaid(7, 1, 0, b"", ())),
    ]
    for word in others:
        held.add(word, running=RUNNING)
    assert listable(held) == others


def test_listings_out_of_the_journal_count_and_those_of_a_lost_incarnation_do_not() -> None:
    held = book()
    words = [said(D, 2, ReportSaid(7, 1, 0, bytes(12 * number), ())) for number in range(4)]
    for word in words[:2]:
        held.add(word, needed=True)
        held.note_listed(word.message_id(), 1)
    for word in words[2:]:
        held.add(word, running=RUNNING)
    assert not listable(held)
    held.forget_promises()
    assert listable(held) == words[:2]


@pytest.mark.parametrize("needed", [False, True])
def test_who_is_no_member_has_no_word(needed: bool) -> None:
    """A joiner signs key messages of its resharing; of dark markets it says nothing that anybody holds."""
    committee = D.committee.own()
    committee.joiners += joiners(committee, D.next_committee((0, 1, 2, 3, 5), 4))
    held = KeyBook(committee)
    word = result(D, committee.n, 1)
    before = freeze(held)
    with refused("member.unknown"):
        held.add(word, running=RUNNING, needed=needed)
    assert freeze(held) == before and len(held) == 0
    held.add(signed(D, committee.n, b"\x02", session=bytes(32)))  # what it may say


@pytest.mark.parametrize("payload", [b"\x00", b"\x02" * 40, encode((9, 9)), b"\x91\x94\x06\x07\x01\xc0\x00"])
def test_what_is_no_word_is_not_held(payload: bytes) -> None:
    held = book()
    before = freeze(held)
    for needed in (False, True):
        with pytest.raises(ValueError, match=r"wire\."):
            held.add(signed(D, 2, payload), running=RUNNING, needed=needed)
    assert freeze(held) == before and len(held) == 0


def test_an_oversized_word_is_not_even_decoded() -> None:
    word = signed(D, 2, bytes(limits.KEY_PAYLOAD_BYTES_MAX + 1))
    with refused("wire.bound"):
        decode(KeyBodies, encode(KeyBodies((word,))))


def test_a_word_in_another_s_name_is_refused() -> None:
    word = result(D, 2, 1)
    held = book()
    with refused("signature.signer"):
        held.add(KeyMessage(0, word.session, 1, word.payload, word.signature))
    assert len(held) == 0


def test_a_word_of_another_epoch_s_topic_is_nobody_s_to_list() -> None:
    d = dark_deployment(seed=1)
    held = book()
    assert d.committee.dark_topic != TOPIC
    held.add(signed(D, 2, b"\x01", session=d.committee.dark_topic), running=RUNNING)
    assert not listable(held) and not held.waiting(RUNNING)


def test_a_flood_of_unwanted_words_leaves_room_for_the_wanted_ones() -> None:
    """What nobody waits for gives way, though its session runs; what is wanted does not."""
    flood = [result(D, 2, 1_000 + number) for number in range(3 * limits.KEY_MESSAGES_PER_MEMBER_MAX)]
    unwanted = {one.message_id() for one in flood}
    held = book(lambda message_id, message: message_id not in unwanted)
    for word in flood:
        held.add(word, running=RUNNING)
    assert len(held) == limits.KEY_MESSAGES_PER_MEMBER_MAX
    wanted = [result(D, 2, number) for number in range(1, limits.KEY_MESSAGES_PER_MEMBER_MAX + 1)]
    for word in wanted:
        held.add(word, running=RUNNING)
    assert listable(held) == wanted and len(held) == len(wanted)
    with refused("key.full"):
        held.add(result(D, 2, 99), running=RUNNING)
    assert listable(held) == wanted


def test_included_words_are_forgotten_though_their_topic_runs_on() -> None:
    held = book()
    words = [result(D, 2, number) for number in (1, 2, 3)]
    for word in words:
        held.add(word, running=RUNNING)
    list_all(held)
    first, again, late = (word.message_id() for word in words)
    held.include(first, 10)
    held.include(again, 10)
    held.note_lifted([again], 20)  # a block that is not final yet lifts it once more
    held.include(late, 11)
    held.prune(10 + WORDS_KEPT_HEIGHTS, 1_000, RUNNING, 1)
    assert {first, again, late} <= held._held.keys()
    held.prune(11 + WORDS_KEPT_HEIGHTS, 1_000, RUNNING, 1)
    assert first not in held and again in held and late in held
    held.prune(21 + WORDS_KEPT_HEIGHTS, 1_000, RUNNING, 1)
    assert len(held) == 0 and not held._listed


def test_a_listed_word_that_nobody_wants_any_more_goes_when_its_listing_counts_no_more() -> None:
    wanted = True
    held = book(lambda message_id, message: wanted)
    held.add(result(D, 2, 1), running=RUNNING)
    list_all(held)
    held.prune(10, 1_000, RUNNING, 1)
    held.prune(20, 2 * limits.VALIDITY_MS_MAX, RUNNING, 1)
    assert len(held) == 1
    wanted = False
    held.prune(30, 3 * limits.VALIDITY_MS_MAX, RUNNING, 1)
    held.prune(40, 4 * limits.VALIDITY_MS_MAX - 1, RUNNING, 1)
    assert len(held) == 1
    held.prune(50, 4 * limits.VALIDITY_MS_MAX, RUNNING, 1)
    assert len(held) == 0


def test_a_deployment_without_dark_markets_lists_no_words() -> None:
    d = make_deployment(5)
    core = d.first_core(0, bytes(32))
    assert d.committee.dark_topic is None and core.dark.desk is None and core.execution.engine.desk is None
    assert core.keygen.live == (core.succession.topic,)
    assert not core.dark.wanted(bytes(32), result(D, 2, 1))


def test_a_member_wants_what_its_desk_wants() -> None:
    """The first words of an epoch are wanted before any height is executed, and no others."""
    core = D.first_core(0, bytes(32))
    word = key_word(D, core, 2)
    assert TOPIC in core.keygen.live
    assert core.keybook.wanted(word.message_id(), word)
    other = result(D, 2, 1)
    assert not core.keybook.wanted(other.message_id(), other)


def test_what_is_wanted_is_judged_anew_when_a_height_is_executed() -> None:
    core = D.first_core(0, bytes(32))
    word = key_word(D, core, 2)
    assert core.dark.wanted(word.message_id(), word)
    core.execution.executed_height = 5
    desk = core.dark.desk
    assert desk is not None and core.dark.parties is not None
    desk.step(core.dark.parties, 5, 1_000, [(2, word.payload)])
    assert not core.dark.wanted(word.message_id(), word)  # it has been said


def test_an_epoch_s_first_words_are_judged_by_its_own_desk_and_not_by_the_one_before() -> None:
    core = D.first_core(0, bytes(32))
    old = core.execution.engine.desk
    assert core.dark.parties is not None
    assert old is not None and core.dark.desk is old
    old.step(old.parties, 1, 1_000, [(2, key_word(D, core, 2).payload)])
    core.dark.parties = replace(core.dark.parties, epoch=1)
    following = core.dark.desk
    assert following is not None and following is not old and following is core.dark.desk
    assert following.parties == core.dark.parties
    word = key_word(D, core, 2)
    assert following.wanted(2, word.payload) and not old.wanted(2, word.payload)
    assert core.dark.wanted(word.message_id(), word)


def test_the_terms_of_a_committee_with_dark_markets() -> None:
    assert D.committee.f == 1 and dark_deployment(9).committee.f == 2
    assert D.committee.size_buckets == (*limits.SIZE_BUCKETS_BYTES, *limits.DARK_SIZE_BUCKETS_BYTES)
    assert make_deployment(5).committee.size_buckets == limits.SIZE_BUCKETS_BYTES
    assert isinstance(D.committee, Committee) and dark_market(GRID).dark == GRID


def test_what_a_final_block_lifts_of_dark_markets_is_no_word_of_a_key_session_or_of_the_succession() -> None:
    core = D.first_core(0, bytes(32))
    word = result(D, 2, 1)
    core.keybook.add(word, running=RUNNING)
    core.keygen.final(3, 1_000, (word.message_id(),))
    assert not core.keygen.has_work() and not core.keygen.dump().waiting
    held = core.keybook.get(word.message_id())
    assert held is not None and held.included_height == 3


def test_once_the_handover_is_agreed_no_word_is_listed() -> None:
    core = D.first_core(0, bytes(32))
    word = key_word(D, core, 2)
    core.keybook.add(word, running=RUNNING)
    assert core.keybook.to_list(RUNNING)
    core.chain.restore(replace(core.chain.final_state, handover=bytes(32)), None)
    assert not core.keybook.to_list(RUNNING) and not core.keybook.waiting(RUNNING)
