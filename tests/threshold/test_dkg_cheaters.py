"""Random sets of at most f cheaters: the qualified set, the culprits and the honest members' shares come out right."""

from __future__ import annotations

from dataclasses import dataclass

import dkg_cheats as cheats
import pytest
from dkg_kit import assert_consistent, convicted, generation, members, play, shares_of
from hypothesis import given, settings
from hypothesis import strategies as st

from threshold.dkg import Message, Participant, Phase, Role, Session


class AllVictims(cheats.WrongShares):
    victims = frozenset(range(1, 20))


@dataclass(frozen=True)
class Outcome:
    """Whether the cheater qualifies as a dealer, what it is convicted of, and whether others must extract it."""

    kind: type[Participant]
    qualifies: bool
    convicted_of: tuple[tuple[Role, str], ...] = ()
    extracted: bool = False


OUTCOMES = (
    Outcome(AllVictims, False, ((Role.DEALER, "dkg.deal_wrong"),)),
    Outcome(cheats.Garbage, False, ((Role.DEALER, "dkg.deal_wrong"),)),
    Outcome(cheats.InconsistentCommitments, False, ((Role.DEALER, "dkg.deal_wrong"),)),
    Outcome(cheats.BadDealProof, False, ((Role.DEALER, "dkg.deal_proof"),)),
    Outcome(cheats.NoDeal, False),
    Outcome(cheats.Silent, False),
    Outcome(cheats.CrashAfterKey, False),
    Outcome(cheats.CrashAfterDeal, True, extracted=True),
    Outcome(cheats.NoFeldman, True, extracted=True),
    Outcome(cheats.BadFeldmanProof, True, ((Role.DEALER, "dkg.feldman_proof"),), extracted=True),
    Outcome(cheats.LyingComplainer, True, ((Role.RECEIVER, "dkg.complaint_false"),)),
    Outcome(cheats.NoAnswer, True),
    Outcome(cheats.NoExtract, True),
    Outcome(cheats.NotReady, True),
    Outcome(cheats.WrongReady, True, ((Role.RECEIVER, "dkg.ready_hash"),)),
)
SIZES = ((4, 3, 1), (4, 2, 1), (5, 4, 1), (7, 5, 2), (7, 3, 2), (8, 6, 2), (10, 7, 3))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_up_to_f_cheaters_are_left_out_or_outlived_and_the_caught_are_named(data: st.DataObject) -> None:
    n, t, f = data.draw(st.sampled_from(SIZES))
    cheaters = data.draw(st.dictionaries(st.integers(1, n), st.sampled_from(OUTCOMES), max_size=f))
    order = data.draw(st.randoms(use_true_random=False))

    def shuffled(_: Session, messages: list[Message]) -> list[Message]:
        order.shuffle(messages)
        return messages

    plan = generation(n, t, f)
    everybody = members(plan, {index: outcome.kind for index, outcome in cheaters.items()})
    session = play(plan, everybody, shuffled)
    assert session.phase is Phase.DONE, session.aborted
    expected = {i for i in plan.dealers if i not in cheaters or cheaters[i].qualifies}
    assert set(session.qualified) == expected
    caught = {(role, i, code) for i, outcome in cheaters.items() for role, code in outcome.convicted_of}
    # A liar that complains first about a dealer who did deal wrong is right about that one, and false about the next.
    assert {(culprit.role, culprit.index, culprit.code) for culprit in convicted(session)} == caught
    assert set(session.to_extract) == {i for i, outcome in cheaters.items() if outcome.extracted}
    honest = [member for member in everybody if member.dealer_index not in cheaters]
    assert_consistent(session, shares_of(session, honest))


@pytest.mark.parametrize("kind", [cheats.BadComplaintProof, cheats.BadExtract])
def test_f_members_that_bend_what_they_open_do_not_stop_the_others(kind: type[Participant]) -> None:
    plan = generation(7, 4, 2)
    session = play(plan, members(plan, {2: kind, 6: cheats.NoFeldman}))
    assert session.result is not None and session.qualified == plan.dealers
    assert {culprit.index for culprit in convicted(session)} == {2}
