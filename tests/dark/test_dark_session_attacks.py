"""Sessions under parties that lie, repeat themselves and send rubbish, one message at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from dark_runs import (
    SESSION,
    one_more,
    payload_changed,
    run_local,
)
from dark_sessions import (
    EXPECTED,
    ROUNDS,
    honest_end,
    last_changed,
    lying,
    message_of,
    programs,
    shifted,
)

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.program import Program
from mpc_sequencer.dark.session import Aborted, Begin, Blame, DarkSession, Heard, TimedOut
from mpc_sequencer.dark.transcript import (
    ROUNDS_MAX,
    RoundShares,
)

# --- lies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("change", [one_more, shifted, last_changed])
def test_a_lie_in_any_message_is_corrected_and_its_author_named(
    number: int, change: Callable[[bytes], bytes]
) -> None:
    for liar in range(5) if change is one_more else (number % 5,):
        run = run_local(programs(5), 1, hook=lying(liar, number, change))
        honest_end(run, 5, without=[liar])
        for party in set(range(5)) - {liar}:
            assert run.blamed(party) == {(liar, "lie")}
            assert run.blames[party][0].round == number
        assert run.time_outs == 0


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_lie_told_to_one_party_only_is_corrected_there(number: int) -> None:
    run = run_local(programs(5), 1, hook=lying(1, number, one_more, only=3))
    honest_end(run, 5)
    assert run.blamed(3) == {(1, "lie")}
    assert not run.blamed(0)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_below_4t_plus_1_a_lie_about_products_is_detected_and_never_computed_with(number: int) -> None:
    degrees: list[int] = []
    step_program = programs(4)

    def watch(program: Program[Any]) -> Program[Any]:
        step = next(program)
        while True:
            degrees.append(step.openings[0].degree)  # of what is lied about
            try:
                step = program.send((yield step))
            except StopIteration as ended:
                return ended.value

    run = run_local([watch(step_program[0]), *step_program[1:]], 1, hook=lying(3, number, one_more))
    for party in range(3):
        assert run.outcomes.get(party, EXPECTED) == EXPECTED
        if degrees[number] == 2:
            assert run.aborts[party].code == "undecodable"
            assert run.aborts[party].round == number
        else:
            assert run.blamed(party) >= {(3, "lie")}


def test_a_liar_in_every_round_costs_its_conviction_once() -> None:
    def hook(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
        return [payload_changed(message, shifted)] if sender == 4 else [message]

    run = run_local(programs(5), 1, hook=hook)
    honest_end(run, 5, without=[4])
    assert all(len(run.blames[party]) == 1 for party in range(4))


def test_a_convicted_party_is_not_heard_again_and_its_shares_are_not_counted() -> None:
    run = run_local(programs(5), 1, hook=lying(4, 1, one_more))
    said = run.sessions[0].transcript().said
    assert {one.round for one in said if one.party == 4} == {0, 1}
    assert {one.round for one in said if one.party == 3} == set(range(ROUNDS))


def test_two_liars_end_the_session_without_an_outcome() -> None:
    def hook(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
        return [payload_changed(message, one_more if sender == 3 else shifted)] if sender >= 3 else [message]

    run = run_local(programs(5), 1, hook=hook)
    for party in range(3):
        assert party not in run.outcomes
        assert run.aborts[party].code == "undecodable"


# --- malformed messages ---------------------------------------------------------------------------------------------


PRIME_ELEMENT = PRIME.to_bytes(12, "little")


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: payload[:-12],
        lambda payload: payload + bytes(12),
        lambda payload: payload[:-1],
        lambda payload: b"",
        lambda payload: PRIME_ELEMENT + payload[12:],
        lambda payload: payload[:-12] + b"\xff" * 12,
    ],
    ids=["an element short", "an element long", "a byte short", "empty", "the prime", "all ones"],
)
@pytest.mark.parametrize("number", [0, 4])
def test_a_malformed_payload_is_an_erasure_and_is_blamed(number: int, change: Callable[[bytes], bytes]) -> None:
    run = run_local(programs(5), 1, hook=lying(2, number, change))
    honest_end(run, 5, without=[2])
    assert run.time_outs == 0
    assert all(run.blamed(party) == {(2, "malformed")} for party in (0, 1, 3, 4))


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\x80\x04K\x01.",
        b"\x93",
        encode([SESSION, 0]),
        encode([SESSION, ROUNDS_MAX, b""]),
        encode([SESSION, -1, b""]),
        encode([SESSION, 0, b"", b""]),
        encode([SESSION, 0, "text"]),
        encode(RoundShares(SESSION, 0, b"")) + b"\x00",
        b"\x93\xc4\x20" + SESSION + b"\xcd\x00\x00\xc4\x00",
        bytes(1 << 19),
    ],
)
def test_what_is_no_message_convicts_its_sender_and_nobody_else(rubbish: bytes) -> None:
    def hook(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
        return [rubbish, message] if sender == 2 and number == 3 else [message]

    run = run_local(programs(5), 1, hook=hook)
    honest_end(run, 5, without=[2])
    assert all(run.blamed(party) == {(2, "malformed")} for party in (0, 1, 3, 4))


@pytest.mark.parametrize("number", [0, 5, ROUNDS - 1])
def test_two_different_messages_of_one_round_are_an_offence(number: int) -> None:
    def hook(sender: int, receiver: int, round_number: int, message: bytes) -> Sequence[bytes]:
        if sender == 2 and round_number == number:
            return [message, payload_changed(message, one_more)]
        return [message]

    run = run_local(programs(5), 1, hook=hook)
    honest_end(run, 5, without=[2])
    offended = [party for party in (0, 1, 3, 4) if run.blamed(party)]
    assert offended
    assert all(run.blamed(party) == {(2, "equivocation")} for party in offended)


def test_a_lie_taken_back_is_one_offence_and_none_of_it_is_counted() -> None:
    def hook(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
        return [payload_changed(message, one_more), message] if (sender, number) == (2, 0) else [message]

    run = run_local(programs(5), 1, hook=hook)
    honest_end(run, 5, without=[2])
    assert all(run.blamed(party) == {(2, "equivocation")} for party in (0, 1, 3))
    assert 2 not in {one.party for one in run.sessions[0].transcript().said}


def test_what_a_convicted_party_said_ahead_of_time_is_not_counted() -> None:
    sessions = [DarkSession(SESSION, party, 5, 1, one) for party, one in enumerate(programs(5))]
    said = [message_of(session.step(Begin())[0]) for session in sessions]
    ahead = {}
    for party in (2, 3):
        others = [other for other in range(5) if other != party]
        effects = [one for other in others for one in sessions[party].step(Heard(other, said[other]))]
        ahead[party] = message_of(effects[-1])
        assert sessions[0].step(Heard(party, ahead[party])) == []
    assert sessions[0]._early_bytes[3] > 0
    sessions[0].step(Heard(2, b""))
    for party in (1, 3, 4):
        sessions[0].step(Heard(party, said[party]))
    assert sessions[0].round == 1
    assert set(sessions[0]._shares) == {0, 3}
    assert sessions[0]._early_bytes[3] == 0


def test_a_message_of_a_past_round_that_contradicts_the_one_that_counted_is_an_offence() -> None:
    past: dict[int, bytes] = {}

    def hook(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
        if sender == 2 and number == 1:
            past[receiver] = payload_changed(message, one_more)
        return [message, past[receiver]] if sender == 2 and number == 6 else [message]

    run = run_local(programs(5), 1, hook=hook)
    honest_end(run, 5)
    blames = [blame for party in (0, 1, 3, 4) for blame in run.blames[party]]
    assert {(blame.party, blame.fault, blame.round, blame.step) for blame in blames} == {(2, "equivocation", 1, "")}


def test_a_message_of_another_session_is_nobody_s_offence() -> None:
    def hook(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
        other = replace_session(message)
        return [other, message] if sender == 2 else [message]

    def replace_session(message: bytes) -> bytes:
        shares = decode(RoundShares, message)
        return encode(RoundShares(SESSION[::-1], shares.round, one_more(shares.payload)))

    run = run_local(programs(5), 1, hook=hook)
    honest_end(run, 5)
    assert not any(run.blames.values())


def test_messages_ahead_of_time_are_kept_within_a_bound() -> None:
    session = DarkSession(SESSION, 0, 5, 1, programs(5)[0])
    payload = bytes(1 << 18)
    for number in range(4):
        assert session.step(Heard(2, encode(RoundShares(SESSION, 20 + number, payload)))) == []
    (blame,) = session.step(Heard(2, encode(RoundShares(SESSION, 30, bytes(12)))))
    assert isinstance(blame, Blame)
    assert (blame.party, blame.fault) == (2, "malformed")
    assert session.step(Heard(3, encode(RoundShares(SESSION, 30, bytes(12))))) == []


def test_nobody_speaks_for_oneself_or_from_outside() -> None:
    session = DarkSession(SESSION, 0, 5, 1, programs(5)[0])
    session.step(Begin())
    before = (dict(session._shares), session.convicted.copy())
    for sender in (0, -1, 5, 99):
        assert session.step(Heard(sender, b"rubbish")) == []
    assert (dict(session._shares), session.convicted) == before


def test_two_convicted_of_five_end_the_session() -> None:
    session = DarkSession(SESSION, 0, 5, 1, programs(5)[0])
    session.step(Begin())
    assert [type(one) for one in session.step(Heard(1, b""))] == [Blame]
    effects = session.step(Heard(2, b""))
    effects += session.step(TimedOut(0))
    assert isinstance(effects[-1], Aborted)
    assert effects[-1].detail == "2 parties convicted, expected at most 1"
