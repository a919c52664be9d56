"""The book of key messages: how many it holds of an author, and what gives way once a session is over."""

from __future__ import annotations

import pytest
from refresh_kit import REFRESH_MS, committee_of_four, refreshed

from mpc_sequencer.core import limits
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.keybook import KeyBook
from mpc_sequencer.core.types import NO_SIGNATURE, KeyMessage, with_signature
from mpc_sequencer.sim import Cluster


def junk(cluster: Cluster, author: int, number: int, session: bytes) -> KeyMessage:
    d = cluster.deployment
    unsigned = KeyMessage(0, session, author, b"\x02" + number.to_bytes(4, "big"), NO_SIGNATURE)
    return with_signature(unsigned, d.signers[author].sign_digest(d.committee.digest(unsigned.struct_hash())))


def test_a_member_holds_a_bounded_number_of_messages_that_nobody_waits_for() -> None:
    cluster = committee_of_four()
    book = cluster.cores[0].keybook
    for number in range(limits.KEY_MESSAGES_PER_MEMBER_MAX):
        book.add(junk(cluster, 2, number, bytes(32)))
    with pytest.raises(ProtocolError) as refusal:
        book.add(junk(cluster, 2, 99, bytes(32)), running=(bytes(32),))
    assert refusal.value.code == "key.full"
    book.add(junk(cluster, 1, 0, bytes(32)))
    book.add(junk(cluster, 2, 99, bytes(32)), needed=True)  # a block lifts it
    before = cluster.cores[0].own_lists.number
    cluster.run(500)
    assert not cluster.cores[0].keybook.to_list(()) and cluster.cores[0].own_lists.number == before


def test_a_member_lists_a_bounded_number_of_messages_of_a_running_session() -> None:
    cluster = committee_of_four()
    assert cluster.run(2 * REFRESH_MS, until=lambda c: c.cores[1].keygen.running is not None)
    core = cluster.cores[1]
    session = core.keygen.running
    assert session is not None
    for number in range(2 * limits.KEY_MESSAGES_LISTED_MAX):
        core.keybook.add(junk(cluster, 2, number, session), needed=True)
    cluster.run(300)
    listed = [one for one in core.keybook.kept() if (one.message.node, one.message.session) == (2, session)]
    listed = [one for one in listed if one.list_number]
    assert len(listed) == limits.KEY_MESSAGES_LISTED_MAX
    refreshed(cluster, 1)


def test_a_message_in_another_s_name_is_refused_and_changes_nothing() -> None:
    cluster = committee_of_four()
    book = cluster.cores[0].keybook
    message = junk(cluster, 2, 0, bytes(32))
    forged = KeyMessage(0, bytes(32), 1, message.payload, message.signature)
    before = len(book)
    with pytest.raises(ProtocolError) as refusal:
        book.add(forged)
    assert refusal.value.code == "signature.signer" and len(book) == before


def test_late_messages_of_sessions_that_are_over_do_not_shut_their_author_out() -> None:
    """An honest member whose messages come late, time and again: what nobody waits for any more gives way."""
    cluster = committee_of_four()
    book = cluster.cores[0].keybook
    late = [junk(cluster, 2, number, number.to_bytes(32, "big")) for number in range(40)]
    for message in late:
        book.add(message, running=())
    assert sum(one.message.node == 2 and not one.included_height for one in book.kept()) <= (
        limits.KEY_MESSAGES_PER_MEMBER_MAX
    )
    assert late[-1].message_id() in book and late[0].message_id() not in book


def test_a_message_that_an_accepted_block_lifts_does_not_give_way() -> None:
    cluster = committee_of_four()
    book = cluster.cores[0].keybook
    lifted = junk(cluster, 2, 0, bytes(32))
    book.add(lifted)
    book.note_lifted([lifted.message_id()], 6)
    for number in range(1, 40):
        book.add(junk(cluster, 2, number, number.to_bytes(32, "big")))
    assert book.include(lifted.message_id(), 7) == lifted


def test_a_listed_message_of_a_session_that_is_over_goes_when_its_listing_counts_no_more() -> None:
    """Of 7 members a cheater's message that one honest member lists is never lifted: nobody keeps it for ever."""
    cluster = committee_of_four()
    book = KeyBook(cluster.deployment.committee)
    session, later = bytes(32), b"\x01" * 32
    message = junk(cluster, 2, 0, session)
    book.add(message)
    book.note_listed(message.message_id(), 3)
    over_ms = 7 * limits.VALIDITY_MS_MAX
    book.prune(10, over_ms, (session,), 3)
    book.prune(20, 2 * over_ms, (session,), 3)  # its session runs
    book.prune(30, 3 * over_ms, (later,), 2)  # the list that names it is in no final block yet
    book.prune(40, 4 * over_ms, (later,), 3)
    book.prune(50, 4 * over_ms + limits.VALIDITY_MS_MAX - 1, (later,), 3)
    assert message.message_id() in book
    book.prune(60, 4 * over_ms + limits.VALIDITY_MS_MAX, (later,), 3)
    assert message.message_id() not in book and not book.kept()
    for number in range(limits.KEY_MESSAGES_PER_MEMBER_MAX):  # its place is free again, and counted once
        book.add(junk(cluster, 2, number, session), running=(session,))
    with pytest.raises(ProtocolError):
        book.add(junk(cluster, 2, 99, session), running=(session,))
