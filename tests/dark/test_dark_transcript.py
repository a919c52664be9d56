"""Transcripts: the run again without any share, and what hostile ones lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from dark_runs import (
    SESSION,
    elements,
    one_more,
    run_local,
    shared_of,
    shares_of,
    with_coin,
)
from dark_sessions import (
    EXPECTED,
    ROUNDS,
    batches,
    lying,
    params,
    programs,
)

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX
from mpc_sequencer.dark.clearing import Plan
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import SharedRows, to_bytes
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.program import Program, reveal
from mpc_sequencer.dark.rule import DarkOutcome
from mpc_sequencer.dark.transcript import (
    MESSAGES_MAX,
    ROUNDS_MAX,
    Said,
    Transcript,
    decode_transcript,
    replay,
)

# --- transcripts ----------------------------------------------------------------------------------------------------


def observed() -> Program[DarkOutcome]:
    """The program of somebody without shares."""
    market = params(5)
    rows = SharedRows.from_bytes(bytes(12 * 4 * Layout.of(market).columns), 4, Layout.of(market).columns)
    return with_coin(market, Plan.of(market, 1, 1), shared_of(5, 1, 99)[0], replace(batches(5)[0], rows=rows))


def transcript(hook: Any = None) -> Transcript:
    return run_local(programs(5), 1, hook=hook).sessions[0].transcript()


def test_a_transcript_leads_to_the_outcome_without_any_share() -> None:
    replayed = replay(decode_transcript(transcript().encode()), observed(), 5, 1)
    assert replayed.outcome == EXPECTED
    assert not replayed.liars
    assert replayed.opened[-1][0] == "fills"


def test_a_transcript_names_the_liar_again() -> None:
    replayed = replay(transcript(lying(3, 5, one_more)), observed(), 5, 1)
    assert replayed.outcome == EXPECTED
    assert replayed.liars == {3}


def test_a_changed_share_does_not_change_the_outcome_and_shows() -> None:
    original = transcript()
    said = list(original.said)
    for at in (0, 17, len(said) - 1):
        changed = [*said]
        changed[at] = Said(said[at].round, said[at].party, one_more(said[at].payload))
        replayed = replay(Transcript(SESSION, tuple(changed)), observed(), 5, 1)
        assert replayed.outcome == EXPECTED
        assert replayed.liars == {said[at].party}
        assert Transcript(SESSION, tuple(changed)).digest() != original.digest()


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said[:-5],
        lambda said: said[5:],
        lambda said: [*said, Said(ROUNDS, 0, b"")],
        lambda said: [said[1], said[0], *said[2:]],
        lambda said: [said[0], *said],
    ],
    ids=["the last round missing", "the first round missing", "a round more", "out of order", "twice"],
)
def test_a_transcript_that_is_not_the_program_s_is_refused(change: Callable[[list[Said]], list[Said]]) -> None:
    broken = Transcript(SESSION, tuple(change(list(transcript().said))))
    with pytest.raises(ProtocolError) as refused:
        replay(broken, observed(), 5, 1)
    assert refused.value.code == "dark.transcript"


def test_a_transcript_with_two_lies_in_a_round_is_not_decoded() -> None:
    said = list(transcript().said)
    for at in (0, 1):
        said[at] = Said(said[at].round, said[at].party, one_more(said[at].payload))
    with pytest.raises(Undecodable):
        replay(Transcript(SESSION, tuple(said)), observed(), 5, 1)


def test_a_transcript_is_one_canonical_encoding() -> None:
    data = transcript().encode()
    with pytest.raises(ProtocolError):
        decode_transcript(data + b"\x00")
    assert decode_transcript(data).encode() == data
    assert isinstance(shared_of(5, 1)[0], Shared)


# --- hostile transcripts ----------------------------------------------------------------------------------------------


def test_a_message_of_a_party_that_the_committee_has_not_is_refused() -> None:
    said = list(transcript().said)
    for party in (5, 39):
        broken = Transcript(SESSION, tuple(sorted([*said, Said(3, party, said[-1].payload)], key=at_place)))
        with pytest.raises(ProtocolError) as refused:
            replay(broken, observed(), 5, 1)
        assert (refused.value.code, refused.value.field) == ("dark.transcript", "Said.party")


def at_place(one: Said) -> tuple[int, int]:
    return one.round, one.party


def test_more_liars_than_t_are_refused_where_the_round_decodes() -> None:
    """Nine shares of degree 2 correct three errors, one more than a session goes on with, in its last round or not."""

    def opening(rounds: int) -> Program[int]:
        for number in range(rounds):
            yield from reveal(elements([0]), 2, f"round {number}")
        return 7

    shares = shares_of(elements([7]), 9, 2)
    for rounds in (1, 2):
        for liars in (2, 3):
            said = tuple(
                Said(number, party, to_bytes((one + (party < liars)) % PRIME if number == 0 else one))
                for number in range(rounds)
                for party, one in enumerate(shares)
            )
            if liars == 2:
                assert replay(Transcript(SESSION, said), opening(rounds), 9, 2).liars == {0, 1}
            else:
                with pytest.raises(Undecodable, match="3 liars, expected at most 2"):
                    replay(Transcript(SESSION, said), opening(rounds), 9, 2)


def test_a_transcript_of_more_messages_than_a_session_has_is_not_read() -> None:
    """Counted before one of them is made: in 64 MiB fit ten million empty ones."""
    data = encode(Transcript(SESSION, (Said(0, 0, b""),) * (MESSAGES_MAX + 1)))
    with pytest.raises(ProtocolError) as refused:
        decode_transcript(data)
    assert refused.value.code == "wire.bound"
    most = tuple(Said(number, party, b"") for number in range(ROUNDS_MAX) for party in range(COMMITTEE_MEMBERS_MAX))
    assert decode_transcript(encode(Transcript(SESSION, most))).said == most
