"""Sessions under parties that lie, die, stall, repeat themselves and send rubbish, one message at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from dark_runs import (
    SESSION,
    Run,
    book_batches,
    elements,
    one_more,
    params_of,
    payload_changed,
    run_local,
    shared_of,
    shares_of,
    with_coin,
)

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.clearing import Batch, Plan
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import SharedRows
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.program import Opening, Program, ProgramFault, Round, reveal
from mpc_sequencer.dark.rule import DarkOutcome, PlainOrder, clear_openly
from mpc_sequencer.dark.session import Aborted, Begin, Blame, Clock, DarkSession, Done, Expired, Heard, Say, TimedOut
from mpc_sequencer.dark.transcript import (
    ROUNDS_MAX,
    RoundShares,
    Said,
    Transcript,
    decode_transcript,
    replay,
)

BOOK = [PlainOrder(BUY, 1, 2), PlainOrder(SELL, 0, 1), PlainOrder(BUY, 1, 3), PlainOrder(SELL, 1, 3)]
PRIORITY = [2, 0, 3, 1]
ROUNDS = 9
"""Of the batch below, and a test sees to it."""


@lru_cache
def params(parties: int) -> DarkParams:
    return params_of(parties, 1, ticks=2, orders_max=4, bits=2)


@lru_cache
def batches(parties: int) -> list[Batch]:
    return book_batches(params(parties), BOOK, PRIORITY)


def programs(parties: int) -> list[Program[DarkOutcome]]:
    market = params(parties)
    plan = Plan.of(market, 1, 1)
    return [with_coin(market, plan, one, batches(parties)[at]) for at, one in enumerate(shared_of(parties, 1))]


EXPECTED = clear_openly(BOOK, 2, PRIORITY)


def lying(liar: int, number: int, change: Callable[[bytes], bytes], only: int | None = None) -> Any:
    """A hook by which ``liar`` sends another payload in one round, to all or to one party only."""

    def hook(sender: int, receiver: int, round_number: int, message: bytes) -> Sequence[bytes]:
        if sender == liar and round_number == number and only in (None, receiver):
            return [payload_changed(message, change)]
        return [message]

    return hook


def shifted(payload: bytes) -> bytes:
    """Every share one larger."""
    values = [int.from_bytes(payload[at : at + 12], "little") for at in range(0, len(payload), 12)]
    return b"".join(((value + 1) % PRIME).to_bytes(12, "little") for value in values)


def last_changed(payload: bytes) -> bytes:
    return payload[:-12] + one_more(payload[-12:])


def honest_end(run: Run, parties: int, without: Sequence[int] = ()) -> None:
    honest = [party for party in range(parties) if party not in without]
    assert not [party for party in honest if party in run.aborts]
    assert {party: run.outcomes[party] for party in honest} == dict.fromkeys(honest, EXPECTED)


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
    degrees: list[set[int]] = []
    step_program = programs(4)

    def watch(program: Program[Any]) -> Program[Any]:
        step = next(program)
        while True:
            degrees.append({opening.degree for opening in step.openings})
            try:
                step = program.send((yield step))
            except StopIteration as ended:
                return ended.value

    run = run_local([watch(step_program[0]), *step_program[1:]], 1, hook=lying(3, number, one_more))
    for party in range(3):
        assert run.outcomes.get(party, EXPECTED) == EXPECTED
        if degrees[number] == {2}:
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


def message_of(effect: object) -> bytes:
    assert isinstance(effect, Say)
    return effect.message


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
    assert {(blame.party, blame.fault, blame.round) for blame in blames} == {(2, "equivocation", 1)}


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
