"""A member's secret side: the same again after a crash, nothing without its seed, nothing shown, nothing left."""

import copy
import pickle
from dataclasses import replace

import dkg_cheats as cheats
import pytest
from dkg_kit import generation, members, play, seeded, shares_of

from threshold import group
from threshold.dkg import Message, Participant, Phase, Plan, Role, Session, deals
from threshold.dkg.wire import MessageType
from threshold.errors import UsageError


def recorded(plan: Plan, everybody: list[Participant]) -> tuple[Session, dict[Phase, Session]]:
    states: dict[Phase, Session] = {}

    def keep(session: Session, messages: list[Message]) -> list[Message]:
        states.setdefault(session.phase, session)
        return messages

    return play(plan, everybody, keep), states


def test_after_a_crash_at_any_step_it_makes_the_same_messages_again() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan, {3: cheats.NoFeldman})
    session, states = recorded(plan, everybody)
    assert len(states) == 6, "every phase"
    for state in states.values():
        fresh = Participant(plan, seeded(" member 2"), 2, 2)
        first = fresh.messages(state)
        assert len(first) == 1 and fresh.messages(state) == first == everybody[1].messages(state)
    restarted = Participant(plan, seeded(" member 2"), 2, 2)
    assert restarted.share(session).export() == everybody[1].share(session).export()


def test_nothing_more_is_owed_once_it_is_in_the_log() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan)
    session = Session.begin(plan, 0, 0)
    (payload,) = everybody[0].messages(session)
    assert session.wants(Role.RECEIVER, 1) is MessageType.SESSION_KEY
    after = session.block(1, 0, [Message(1, payload)])
    assert after.wants(Role.RECEIVER, 1) is None and everybody[0].messages(after) == ()
    assert after.wants(Role.RECEIVER, 2) is MessageType.SESSION_KEY and after.wants(Role.DEALER, 2) is None
    assert after.wants(Role.RECEIVER, 9) is None


def test_everything_depends_on_the_seed_and_on_the_session() -> None:
    plan, other_plan = generation(4, 3, 1), generation(4, 3, 1, "other")
    _, states = recorded(plan, members(plan))
    _, other_states = recorded(other_plan, members(other_plan))
    for phase in (Phase.KEYS, Phase.DEALS, Phase.FELDMAN):
        mine = Participant(plan, seeded(" member 2"), 2, 2).messages(states[phase])
        another_seed = Participant(plan, seeded("another"), 2, 2).messages(states[phase])
        another_session = Participant(other_plan, seeded(" member 2"), 2, 2).messages(other_states[phase])
        assert len({mine, another_seed, another_session}) == 3


def test_no_secret_is_derived_twice_and_no_two_members_share_one() -> None:
    plan = generation(7, 5, 2)
    everybody = members(plan)
    secrets: list[bytes] = []
    for member in everybody:
        index = member.dealer_index or 0
        secrets.append(member._session_key(index))
        secrets += [scalar for polynomial in member._polynomials(index) for scalar in polynomial]
    session = play(plan, everybody, until=Phase.ANSWERS)
    points = [sealed.ephemeral for deal in session.deals.values() for sealed in deal.sealed.values()]
    points += [key.key for key in session.keys.values()]
    proofs = [sealed.proof[:32] for deal in session.deals.values() for sealed in deal.sealed.values()]
    for values in (secrets, points, proofs):
        assert len(set(values)) == len(values)


def test_a_thief_of_all_long_term_keys_after_the_cutover_cannot_open_a_deal_in_the_log() -> None:
    """The log and each share's successor are known; seeds are erased. No known secret opens any sealed share."""
    plan = generation(4, 3, 1)
    everybody = members(plan)
    session = play(plan, everybody)
    shares = shares_of(session, everybody)
    known = [share.export() for share in shares.values()]
    known += [seeded(f"consensus key {i}") for i in range(1, 5)]
    for dealer, deal in session.deals.items():
        for receiver, sealed in deal.sealed.items():
            for secret in known:
                point = group.multiply_secret(sealed.point, secret)
                assert deals.open_values(deal, plan.session, dealer, receiver, point) is None
            right = group.multiply_secret(sealed.point, everybody[receiver - 1]._session_key(receiver))
            assert deals.open_values(deal, plan.session, dealer, receiver, right) is not None, "the seed does open it"
    for member in everybody:
        member.erase()
        assert not any(member._seed) and member._opened == {} and member._deal is None and member._old_share is None
        for use in (member.messages, member.share):
            with pytest.raises(UsageError):
                use(session)


def test_it_shows_nothing_and_is_neither_copied_nor_pickled() -> None:
    member = Participant(generation(4, 3, 1), seeded(" member 2"), 2, 2)
    assert repr(member) == "Participant(dealer_index=2, receiver_index=2)"
    for leak in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            leak(member)


def test_the_callers_buffer_is_not_the_participants() -> None:
    seed = bytearray(seeded(" member 2"))
    plan = generation(4, 3, 1)
    member = Participant(plan, seed, 2, 2)
    seed[:] = bytes(32)
    assert member.messages(Session.begin(plan, 0, 0)) == members(plan)[1].messages(Session.begin(plan, 0, 0))


@pytest.mark.parametrize(
    ("seed", "dealer", "receiver"), [(31, 2, 2), (33, 2, 2), (32, 2, 3), (32, 5, 5), (32, None, 2)]
)
def test_a_participant_that_does_not_fit_the_plan_is_refused(seed: int, dealer: int | None, receiver: int) -> None:
    with pytest.raises(UsageError):
        Participant(generation(4, 3, 1), bytes(seed), dealer, receiver)


def test_another_plans_session_is_refused() -> None:
    member = members(generation(4, 3, 1))[0]
    with pytest.raises(UsageError):
        member.messages(Session.begin(generation(4, 3, 1, "other"), 0, 0))


def test_there_is_no_share_before_the_result() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan)
    session = play(plan, everybody, until=Phase.FELDMAN)
    with pytest.raises(UsageError):
        everybody[0].share(session)
    ready = play(plan, everybody, until=Phase.READY)
    assert ready.result is None and ready.candidate is not None
    assert everybody[0].share(ready).verification_key() == ready.candidate.verification_keys[1]


def test_a_receiver_without_a_key_has_no_share_and_owes_nothing_more() -> None:
    plan = generation(4, 3, 1)

    class NoKey(cheats.Silent):
        types = frozenset((MessageType.SESSION_KEY,))

    everybody = members(plan, {4: NoKey})
    session = play(plan, everybody)
    assert session.qualified == (1, 2, 3, 4), "it deals all the same"
    assert session.receivers == (1, 2, 3) and session.result is not None and session.result.refresh_advised
    with pytest.raises(UsageError):
        everybody[3].share(session)


def test_a_share_that_is_not_its_verification_keys_is_not_given_out() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan)
    session = play(plan, everybody, until=Phase.READY)
    assert session.candidate is not None
    keys = {**session.candidate.verification_keys, 2: session.candidate.verification_keys[3]}
    other = replace(session, candidate=replace(session.candidate, verification_keys=keys))
    with pytest.raises(UsageError, match="verification key"):
        everybody[1].share(other)
    assert everybody[1].messages(other) == (), "nor is it declared ready"
    assert len(everybody[0].messages(other)) == 1
