"""Anybody's replay of a batch from public facts, and the names that its computation has to itself."""

from __future__ import annotations

from functools import cache

import pytest
from dark_kit import refused
from dark_runs import one_more
from desk_attacks import agreed, lying_in_run
from desk_kit import GRID, MARKET, Floor, dark_parties
from msgspec.structs import replace as changed

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.facts import BatchFacts, is_consistent, outcome_value, priority
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import DarkFillValue, OutcomeValue
from mpc_sequencer.dark.orders import params_of
from mpc_sequencer.dark.rule import DarkOutcome
from mpc_sequencer.dark.run import DarkRun, replay_batch
from mpc_sequencer.dark.transcript import Transcript, decode_transcript

IDS = tuple(bytes([number]) * 32 for number in range(6))


def computed(floor: Floor, count: int = 4) -> tuple[BatchFacts, DarkRun]:
    for number in range(count):
        floor.order(BUY if number % 2 else SELL, 110, 1 + number)
    facts = None
    while facts is None:
        floor.go()
        facts = floor.desk.facts(MARKET)
    floor.settle()
    return facts, floor.computed[MARKET, 1].runs[0]


@cache
def honest() -> tuple[BatchFacts, DarkRun]:
    return computed(agreed())


def test_a_transcript_leads_everybody_to_the_outcome_and_the_coin() -> None:
    facts, run = honest()
    transcript = decode_transcript(run.transcript().encode())
    assert replay_batch(facts, transcript) == (run.outcome(), frozenset())
    outcome = run.outcome()
    assert outcome is not None and outcome.crossed and outcome.coin != bytes(32)


def test_a_replay_names_the_liars_and_comes_to_the_same() -> None:
    floor = agreed()
    floor.send = lying_in_run([3], 2)
    facts, run = computed(floor)
    assert replay_batch(facts, run.transcript()) == (run.outcome(), frozenset({3}))


def test_a_replay_without_a_silent_party_comes_to_the_same() -> None:
    floor = agreed()
    floor.send = lambda sender, receiver, number, message: [] if sender == 2 and number else [message]
    facts, run = computed(floor)
    transcript = run.transcript()
    assert {one.party for one in transcript.said if one.round == 1} == {0, 1, 3, 4}
    assert replay_batch(facts, transcript) == (run.outcome(), frozenset())


def test_a_transcript_of_another_batch_or_of_no_participant_is_refused() -> None:
    facts, run = honest()
    transcript = run.transcript()
    with refused("dark.transcript"):
        replay_batch(facts, Transcript(bytes(32), transcript.said))
    without = BatchFacts(**{**{name: getattr(facts, name) for name in facts.__slots__}, "participants": (0, 1, 2, 3)})
    with refused("dark.transcript"):
        replay_batch(without, Transcript(without.session_id(), transcript.said))
    with refused("dark.transcript"):
        replay_batch(facts, Transcript(transcript.session_id, transcript.said[:-5]))


def test_a_transcript_that_was_changed_in_t_parties_shares_shows_it_and_in_more_is_refused() -> None:
    facts, run = honest()

    def bent(*who: int) -> Transcript:
        said = [
            changed(one, payload=one_more(one.payload)) if one.party in who and one.round == 2 else one
            for one in run.transcript().said
        ]
        return Transcript(facts.session_id(), tuple(said))

    assert replay_batch(facts, bent(4)) == (run.outcome(), frozenset({4}))
    with pytest.raises(Undecodable):
        replay_batch(facts, bent(3, 4))


# --- names ----------------------------------------------------------------------------------------------------------


def test_every_part_of_a_batch_s_facts_gives_it_another_session_or_other_masks() -> None:
    facts, _ = honest()
    names = {name: getattr(facts, name) for name in facts.__slots__}
    for change in (
        {"topic": bytes(32)},
        {"market": 4},
        {"batch": 2},
        {"participants": (0, 1, 2, 3)},
        {"order_ids": facts.order_ids[:-1]},
        {"order_ids": facts.order_ids[::-1]},
    ):
        assert BatchFacts(**{**names, **change}).session_id() != facts.session_id()
    for change in ({"keys_id": bytes(32)}, {"epoch": 9}, {"market": 4}, {"batch": 2}):
        assert BatchFacts(**{**names, **change}).masks_context() != facts.masks_context()


def test_all_parties_of_a_batch_run_one_session_which_no_other_epoch_s_batch_has() -> None:
    facts, run = honest()
    floor, other = agreed(), Floor(dark_parties(epoch=1))
    computed(floor)
    sessions = {one.session_id for one in floor.computed[MARKET, 1].runs.values()}
    assert sessions == {facts.session_id(), run.session_id} and len(sessions) == 1
    other.agree()
    assert computed(other)[0].session_id() != facts.session_id()


def test_priority_is_a_permutation_that_the_coin_alone_draws() -> None:
    drawn = {priority(bytes([coin]) * 32, IDS) for coin in range(20)}
    assert len(drawn) > 15 and all(sorted(one) == list(range(6)) for one in drawn)
    assert priority(bytes(32), IDS) == priority(bytes(32), IDS)
    order = [IDS[index] for index in priority(bytes(32), IDS)]
    assert [IDS[::-1][index] for index in priority(bytes(32), IDS[::-1])] == order  # of ids, not of places


# --- outcomes -------------------------------------------------------------------------------------------------------


def test_outcomes_of_the_rule_are_consistent_and_keep_all_they_say() -> None:
    params = params_of(GRID, 5, 1)
    facts, run = honest()
    outcome = run.outcome()
    assert outcome is not None and is_consistent(params, facts.deposits, outcome)
    nobody = outcome_value(bytes(32), DarkOutcome.uncrossed((1,)))
    assert nobody == OutcomeValue(bytes(32), 0, 0, 0, 0, (), (1,), 0)
    assert is_consistent(params, facts.deposits, nobody)
    assert is_consistent(params, facts.deposits, changed(nobody, rejected=(0, 1, 2, 3)))
    for wrong in ({"rejected": (1, 1)}, {"rejected": (4,)}, {"tick": 1}, {"side": 1}, {"volume_lots": 1}, {"last": 1}):
        assert not is_consistent(params, facts.deposits, changed(nobody, **wrong))  # type: ignore[arg-type]
    assert is_consistent(params, (), changed(nobody, rejected=()))


@pytest.mark.parametrize(("lots", "holds"), [(7, True), (8, False)])
def test_a_fill_of_more_bits_than_a_quantity_has_is_none_whatever_is_deposited(lots: int, holds: bool) -> None:
    fills = (DarkFillValue(0, BUY, 2 * lots), DarkFillValue(1, SELL, lots), DarkFillValue(2, SELL, lots))
    outcome = OutcomeValue(bytes(32), 1, 1, BUY, 2 * lots, fills, (), 1)
    assert is_consistent(params_of(GRID, 5, 1), (Deposit(65_000, 15),) * 3, outcome) == holds
