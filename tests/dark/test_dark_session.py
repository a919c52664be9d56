"""Sessions of honest parties, of parties that die or stall, and of programs that end otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from dark_runs import (
    SESSION,
    elements,
    one_more,
    run_local,
    shares_of,
)
from dark_sessions import (
    EXPECTED,
    ROUNDS,
    honest_end,
    lying,
    message_of,
    programs,
)

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.dark.program import Opening, Program, ProgramFault, Round, reveal
from mpc_sequencer.dark.session import Aborted, Begin, Blame, Clock, DarkSession, Done, Expired, Heard, Say, TimedOut
from mpc_sequencer.dark.transcript import (
    ROUNDS_MAX,
    RoundShares,
)

# --- the honest run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parties", [4, 5])
def test_honest_parties_end_with_the_rule_s_outcome_in_any_order_of_delivery(parties: int) -> None:
    assert EXPECTED.crossed
    for shuffle in (None, 1, 2, 3):
        run = run_local(programs(parties), 1, shuffle=shuffle)
        honest_end(run, parties)
        assert run.time_outs == 0
        assert not any(run.blames.values())
        assert {session.round + 1 for session in run.sessions} == {ROUNDS}
        assert len({session.transcript().digest() for session in run.sessions}) == 1


def test_a_repeated_message_changes_nothing() -> None:
    run = run_local(programs(5), 1, hook=lambda sender, receiver, number, message: [message] * 3)
    honest_end(run, 5)
    assert not any(run.blames.values())


# --- deaths and delays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_death_in_any_round_costs_one_time_out(number: int) -> None:
    run = run_local(programs(5), 1, deaths={number % 5: number})
    honest_end(run, 5, without=[number % 5])
    assert run.time_outs == 1
    for party in set(range(5)) - {number % 5}:
        assert run.blamed(party) == {(number % 5, "silent")}


@pytest.mark.parametrize("number", range(ROUNDS))
def test_below_4t_plus_1_a_death_ends_the_session_at_the_next_product(number: int) -> None:
    run = run_local(programs(4), 1, deaths={3: number})
    assert run.time_outs <= 2
    assert not run.outcomes or number == ROUNDS - 1  # the fills are of degree t
    assert set(run.outcomes) | set(run.aborts) == {0, 1, 2}


def test_two_deaths_end_every_other_session() -> None:
    run = run_local(programs(5), 1, deaths={3: 2, 4: 4})
    assert {(party, one.code) for party, one in run.aborts.items()} == {(0, "expired"), (1, "expired"), (2, "expired")}
    assert run.time_outs == 2


@pytest.mark.parametrize("number", range(0, ROUNDS, 3))
@pytest.mark.parametrize("told", [(0,), (0, 1), (0, 1, 2)])
def test_a_message_kept_from_some_leaves_nobody_behind(number: int, told: tuple[int, ...]) -> None:
    """Who is told goes ahead; its clock must not run out on the others, who wait in the round before."""

    def hook(sender: int, receiver: int, round_number: int, message: bytes) -> Sequence[bytes]:
        return [message] if sender != 4 or round_number < number or receiver in told else []

    for shuffle in (None, 5):
        honest_end(run_local(programs(5), 1, hook=hook, shuffle=shuffle), 5, without=[4])


def test_a_death_and_a_lie_are_detected_together() -> None:
    """Two faults are more than t: nothing is corrected that a missing honest party could have contradicted."""
    run = run_local(programs(5), 1, hook=lying(3, 4, one_more), deaths={4: 2})
    assert not run.outcomes
    assert all(run.aborts[party].code == "undecodable" and run.aborts[party].round == 4 for party in range(3))


def test_who_is_not_heard_in_time_follows_the_others_and_ends_alike() -> None:
    held: list[tuple[int, int, bytes]] = []

    def hook(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
        if sender == 4:
            held.append((receiver, number, message))
            return []
        return [message]

    run = run_local(programs(5), 1, hook=hook)
    honest_end(run, 5)
    assert run.time_outs == 1
    for receiver, _, message in held:  # what comes after the end changes nothing
        assert run.sessions[receiver].step(Heard(4, message)) == []


def test_an_absent_party_that_speaks_in_time_counts_again_and_a_late_one_is_no_offence() -> None:
    sessions = [DarkSession(SESSION, party, 5, 1, one) for party, one in enumerate(programs(5))]
    said = {party: session.step(Begin())[0] for party, session in enumerate(sessions)}
    first = sessions[0]
    assert first.step(Heard(1, message_of(said[1]))) == []
    assert first.step(Heard(2, message_of(said[2]))) == []
    assert first.step(Heard(3, message_of(said[3]))) == [Clock(0)]
    effects = first.step(TimedOut(0))
    assert [type(one) for one in effects] == [Blame, Say]
    assert first.absent == {4}
    assert first.step(Heard(4, message_of(said[4]))) == []  # round 0 is over
    assert first.convicted == set()
    later = encode(RoundShares(SESSION, 1, bytes(len(decode(RoundShares, message_of(effects[1])).payload))))
    assert first.step(Heard(4, later)) == []
    assert 4 in first._shares


def test_a_time_out_of_another_round_has_no_effect() -> None:
    session = DarkSession(SESSION, 0, 5, 1, programs(5)[0])
    session.step(Begin())
    assert session.step(TimedOut(1)) == []
    assert session.absent == set()
    assert session.step(Begin()) == []


def test_nothing_but_the_time_is_needed_for_a_session_to_end() -> None:
    session = DarkSession(SESSION, 0, 5, 1, programs(5)[0])
    session.step(Begin())
    effects = session.step(TimedOut(0))
    assert [one.party for one in effects if isinstance(one, Blame)] == [1, 2, 3, 4]
    assert isinstance(effects[-1], Aborted)
    assert session.ended
    assert session.step(TimedOut(0)) == []


def test_a_session_that_took_too_long_ends() -> None:
    session = DarkSession(SESSION, 0, 5, 1, programs(5)[0])
    session.step(Begin())
    assert session.step(Expired()) == [Aborted("expired", 0, "1 of 5 parties were heard in the last round")]
    assert session.step(Expired()) == []


# --- programs that end otherwise ------------------------------------------------------------------------------------


def test_a_fault_of_the_program_aborts_with_its_words() -> None:
    def faulty(shares: Any) -> Program[None]:
        yield from reveal(shares, 1, "first")
        raise ProgramFault("first", "seen 7")

    shares = shares_of(elements([7]), 5, 1)
    run = run_local([faulty(one) for one in shares], 1)
    assert {one.code for one in run.aborts.values()} == {"fault"}
    assert all(one.detail == "first: seen 7" for one in run.aborts.values())


def test_a_program_without_a_round_is_done_at_once() -> None:
    def quiet() -> Program[int]:
        return 7
        yield Round(())

    assert DarkSession(SESSION, 0, 5, 1, quiet()).step(Begin()) == [Done(7)]


@pytest.mark.parametrize("size", [1, 30_000], ids=["too many rounds", "too large a round"])
def test_a_program_beyond_a_session_s_bounds_aborts(size: int) -> None:
    def endless() -> Program[None]:
        while True:
            yield Round((Opening(elements([1] * size), 0, "endless"),))

    run = run_local([endless() for _ in range(4)], 1)
    assert {(one.code, one.round) for one in run.aborts.values()} == {("rounds", ROUNDS_MAX if size == 1 else 0)}


def test_a_session_shows_no_share() -> None:
    session = DarkSession(SESSION, 0, 5, 1, programs(5)[0])
    (said,) = session.step(Begin())
    assert repr(session) == "DarkSession(party=0, round=0, ended=False)"
    assert repr(said) == "Say(round=0)"
    assert repr(Heard(1, b"12")) == "Heard(party=1)"
    assert "shares" not in repr(Opening(elements([5]), 1, "x"))
