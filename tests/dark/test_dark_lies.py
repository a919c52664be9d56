"""Every message of a batch, and everything that t parties can do with it: the batch ends right, or at n < 4t+1 without
an outcome, and nobody but they is named.

One case for each committee, deed and step; a test's id names all three. At (5,1) one party does the deed, at (9,2) two
do, and one more case has one of them lie and the other die.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from dark_runs import (
    SESSION,
    Run,
    book_batches,
    dealt_keys,
    lockstep,
    one_more,
    params_of,
    payload_changed,
    run_local,
    shared_of,
    with_coin,
)

import mpc_sequencer.dark.session as session_module
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import encode
from mpc_sequencer.dark.clearing import Batch, Plan
from mpc_sequencer.dark.field import Elements, to_bytes
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.program import Opening, Program, ProgramFault, Round
from mpc_sequencer.dark.prss import Prss, PrssKeys, prss_context, subsets_of
from mpc_sequencer.dark.rule import DarkOutcome, PlainOrder, clear_openly
from mpc_sequencer.dark.session import Begin, Blame, DarkSession, Done, Heard, Say
from mpc_sequencer.dark.transcript import RoundShares

BOOK = [PlainOrder(BUY, 1, 2), PlainOrder(SELL, 0, 1), PlainOrder(BUY, 1, 3), PlainOrder(SELL, 1, 3)]
PRIORITY = [2, 0, 3, 1]
EXPECTED = clear_openly(BOOK, 2, PRIORITY)


@lru_cache
def market(parties: int, faults_t: int) -> DarkParams:
    return params_of(parties, faults_t, ticks=2, orders_max=4, bits=2)


@lru_cache
def batches(parties: int, faults_t: int) -> list[Batch]:
    return book_batches(market(parties, faults_t), BOOK, PRIORITY)


def programs(parties: int, faults_t: int, sources: Sequence[Shared] = ()) -> list[Program[DarkOutcome]]:
    params = market(parties, faults_t)
    plan = Plan.of(params, 1, 1)
    shared = sources or shared_of(parties, faults_t)
    return [with_coin(params, plan, one, batches(parties, faults_t)[at]) for at, one in enumerate(shared)]


def steps() -> list[str]:
    """The openings of each round."""
    names: list[str] = []

    def watched(program: Program[Any]) -> Iterator[Round]:
        step = next(program)
        while True:
            names.append("+".join(opening.name.replace("/", ".") for opening in step.openings))
            try:
                step = program.send((yield step))
            except StopIteration as ended:
                return ended.value

    first, *others = programs(5, 1)
    lockstep([watched(first), *others], 1)  # type: ignore[list-item]
    return names


STEPS = steps()

# --- deeds: what reaches a receiver instead of a corrupt party's message of the step ----------------------------------

Deed = Callable[[bytes], Sequence[bytes]]


def every(payload: bytes) -> bytes:
    """All shares one larger."""
    return b"".join(one_more(payload[at : at + 12]) for at in range(0, len(payload), 12))


def middle(payload: bytes) -> bytes:
    at = len(payload) // 24 * 12
    return payload[:at] + one_more(payload[at:])


DEEDS: dict[str, tuple[Deed, str]] = {
    "one element": (lambda message: [payload_changed(message, middle)], "lie"),
    "all elements": (lambda message: [payload_changed(message, every)], "lie"),
    "zeros": (lambda message: [payload_changed(message, lambda payload: bytes(len(payload)))], "lie"),
    "an element short": (lambda message: [payload_changed(message, lambda payload: payload[12:])], "malformed"),
    "no element": (
        lambda message: [payload_changed(message, lambda payload: PRIME.to_bytes(12, "little") + payload[12:])],
        "malformed",
    ),
    "rubbish": (lambda message: [message[:-1], message], "malformed"),
    "two messages": (lambda message: [message, payload_changed(message, every)], "equivocation"),
    "twice": (lambda message: [message, message], ""),
    "nothing": (lambda message: [], "silent"),
}


def doing(corrupt: Sequence[int], number: int, deed: Deed) -> Any:
    def hook(sender: int, receiver: int, at: int, message: bytes) -> Sequence[bytes]:
        return deed(message) if sender in corrupt and at == number else [message]

    return hook


def ended_right(run: Run, parties: int, corrupt: Sequence[int], fault: str) -> None:
    honest = [party for party in range(parties) if party not in corrupt]
    for party in honest:
        assert run.outcomes.get(party) == EXPECTED, run.aborts.get(party)
        assert {one for one, _ in run.blamed(party)} <= set(corrupt)
        assert {one for _, one in run.blamed(party)} <= {fault}
    if fault not in ("", "equivocation"):  # a second message may come when the batch has ended
        assert all({one for one, _ in run.blamed(party)} == set(corrupt) for party in honest)
    assert run.time_outs <= (1 if fault == "silent" else 0)


COMMITTEES = [(5, 1, (4,)), (5, 1, (0,)), (9, 2, (3, 7))]


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda at: f"{at}-{STEPS[at]}")
@pytest.mark.parametrize(
    ("committee", "deed"),
    [("5.1", deed) for deed in DEEDS] + [("9.2", deed) for deed in ("one element", "no element", "nothing")],
)
def test_the_batch_ends_right_and_names_who_did_it(committee: str, deed: str, number: int) -> None:
    parties, faults_t, corrupt = {"5.1": COMMITTEES[0], "9.2": COMMITTEES[2]}[committee]
    change, fault = DEEDS[deed]
    run = run_local(programs(parties, faults_t), faults_t, doing(corrupt, number, change))
    ended_right(run, parties, corrupt, fault)


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda at: f"{at}-{STEPS[at]}")
@pytest.mark.parametrize(("parties", "faults_t", "corrupt"), COMMITTEES[1:], ids=["5.1", "9.2"])
def test_who_dies_at_a_step_leaves_a_batch_that_ends_right(
    parties: int, faults_t: int, corrupt: Sequence[int], number: int
) -> None:
    run = run_local(programs(parties, faults_t), faults_t, deaths=dict.fromkeys(corrupt, number))
    ended_right(run, parties, corrupt, "silent")


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda at: f"{at}-{STEPS[at]}")
@pytest.mark.parametrize(("parties", "faults_t", "corrupt"), COMMITTEES[1:], ids=["5.1", "9.2"])
def test_who_is_late_at_a_step_is_no_liar(parties: int, faults_t: int, corrupt: Sequence[int], number: int) -> None:
    held: dict[tuple[int, int], bytes] = {}

    def hook(sender: int, receiver: int, at: int, message: bytes) -> Sequence[bytes]:
        if sender in corrupt and at == number:
            held[sender, receiver] = message
            return []
        return [held.pop((sender, receiver)), message] if (sender, receiver) in held else [message]

    run = run_local(programs(parties, faults_t), faults_t, hook)
    ended_right(run, parties, (), "") if not run.time_outs else ended_right(run, parties, corrupt, "silent")
    assert all(run.outcomes[party] == EXPECTED for party in corrupt)


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda at: f"{at}-{STEPS[at]}")
def test_of_nine_one_lies_and_one_dies_at_the_same_step(number: int) -> None:
    run = run_local(programs(9, 2), 2, doing((3,), number, DEEDS["one element"][0]), deaths={7: number})
    for party in set(range(9)) - {3, 7}:
        assert run.outcomes.get(party) == EXPECTED, run.aborts.get(party)
        assert run.blamed(party) == {(3, "lie"), (7, "silent")}
    assert run.time_outs == 1


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda at: f"{at}-{STEPS[at]}")
@pytest.mark.parametrize("deed", [*DEEDS, "dies"])
def test_of_four_no_deed_leads_to_a_wrong_fill_or_to_no_end(deed: str, number: int) -> None:
    """At n = 3t + 1 a lie may end the batch without an outcome; never with another one, and no honest party lied."""
    hook = None if deed == "dies" else doing((2,), number, DEEDS[deed][0])
    run = run_local(programs(4, 1), 1, hook, deaths={2: number} if deed == "dies" else {})
    for party in (0, 1, 3):
        assert (run.outcomes.get(party) == EXPECTED) != (party in run.aborts)
        assert {one for one, fault in run.blamed(party) if fault != "silent"} <= {2}
    assert run.time_outs <= 2
    if deed == "twice" or DEEDS.get(deed, ("", ""))[1] == "malformed":  # the three others then decode exactly
        assert not run.aborts


# --- keys that differ -------------------------------------------------------------------------------------------------


def with_another_key(parties: int, faults_t: int, odd: Sequence[int]) -> list[Shared]:
    """All but one key of each odd party are the ones the others have."""
    context = prss_context(bytes(32), 1, 1, 1, 0)
    sources = []
    for keys in dealt_keys(parties, faults_t):
        own = subsets_of(parties, faults_t, keys.party)
        held = dict(zip(own, keys.in_order(), strict=True))
        if keys.party in odd:
            held[own[0]] = bytes(32)
        held_keys = PrssKeys(parties, faults_t, keys.party, held)
        sources.append(Shared(Prss(held_keys, parties, faults_t, keys.party, context), faults_t))
    return sources


@pytest.mark.parametrize(("parties", "faults_t", "odd"), COMMITTEES, ids=["5.1-last", "5.1-first", "9.2"])
def test_a_key_that_others_do_not_have_makes_a_liar_of_its_holder_in_the_first_round(
    parties: int, faults_t: int, odd: Sequence[int]
) -> None:
    run = run_local(programs(parties, faults_t, with_another_key(parties, faults_t, odd)), faults_t)
    ended_right(run, parties, odd, "lie")
    assert {one.round for party in range(parties) if party not in odd for one in run.blames[party]} == {0}


def test_of_four_a_key_that_others_do_not_have_ends_the_batch() -> None:
    run = run_local(programs(4, 1, with_another_key(4, 1, (2,))), 1)
    assert not run.outcomes
    assert {run.aborts[party].code for party in (0, 1, 3)} == {"undecodable"}


# --- what a party may keep of another's messages ----------------------------------------------------------------------


def test_a_flood_of_early_messages_keeps_a_bounded_amount_and_harms_nobody() -> None:
    """In the first step a party sends as much for all later ones as it likes: it is convicted, the batch ends right."""

    def hook(sender: int, receiver: int, at: int, message: bytes) -> Sequence[bytes]:
        if sender != 3 or at:
            return [message]
        flood = [encode(RoundShares(SESSION, number, bytes(1 << 18))) for number in range(1, 8)]
        return [message, *flood]

    run = run_local(programs(5, 1), 1, hook)
    ended_right(run, 5, (3,), "malformed")
    for party in (0, 1, 2, 4):
        kept = sum(len(payload) for heard in run.sessions[party]._heard for payload in heard.values())
        assert kept < (1 << 20) + (1 << 18)


def messages(sessions: Sequence[DarkSession[Any]]) -> list[bytes]:
    """What each party says first."""
    said = [session.step(Begin())[0] for session in sessions]
    return [one.message for one in said if isinstance(one, Say)]


def test_what_a_party_said_before_it_was_convicted_does_not_count() -> None:
    """At (4,1) products need all shares that count to be right: the lie goes with its author, and the round ends."""
    sessions = [DarkSession(SESSION, party, 4, 1, one) for party, one in enumerate(programs(4, 1))]
    said = messages(sessions)
    first = sessions[0]
    assert first.step(Heard(3, payload_changed(said[3], every))) == []
    (blamed,) = first.step(Heard(3, said[3]))
    assert isinstance(blamed, Blame)
    assert (blamed.party, blamed.fault) == (3, "equivocation")
    effects = first.step(Heard(1, said[1])) + first.step(Heard(2, said[2]))
    assert [type(one) for one in effects] == [Say]


def test_who_is_ahead_in_every_round_is_no_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a party is counted while it is kept, not for ever."""
    monkeypatch.setattr(session_module, "EARLY_BYTES_MAX", 24)

    def counting() -> Program[int]:
        for number in range(6):
            yield Round((Opening(np.array([7, number], dtype=object), 0, "n"),))
        return 1

    session: DarkSession[int] = DarkSession(SESSION, 0, 4, 1, counting())
    session.step(Begin())
    payloads = [to_bytes(np.array([7, number], dtype=object)) for number in range(6)]
    spoken = [encode(RoundShares(SESSION, number, payload)) for number, payload in enumerate(payloads)]
    effects = session.step(Heard(1, spoken[0]))
    for number in range(6):
        effects += session.step(Heard(1, spoken[number + 1])) if number < 5 else []
        for party in (2, 3):
            effects += session.step(Heard(party, spoken[number]))
    assert not [one for one in effects if isinstance(one, Blame)]
    assert effects[-1] == Done(1)


@pytest.mark.parametrize("values", [[8 * 8, 4, 4, 0], [2 * 8 + 2, 2, 0, 0]], ids=["more than can be", "both sides"])
def test_fills_that_add_up_and_cannot_be_are_a_fault(values: list[int]) -> None:
    params = params_of(ticks=5, orders_max=10, bits=3)
    plan = Plan.of(params, 1, 1)
    orders = [PlainOrder(BUY, 3, 4), PlainOrder(SELL, 1, 4), *[PlainOrder(BUY, 0, 0)] * 2]
    held = book_batches(params, orders, [0, 1, 2, 3])
    made = [with_coin(params, plan, one, held[at]) for at, one in enumerate(shared_of(5, 1))]

    def tamper(name: str, opened: Elements) -> Elements:
        return np.array(values, dtype=object) if name == "fills" else opened

    with pytest.raises(ProgramFault, match="is filled by"):
        lockstep(made, 1, tamper)
