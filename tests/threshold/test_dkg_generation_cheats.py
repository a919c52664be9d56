"""Key generation with dealers and receivers that cheat: what each way to cheat ends with, for the cheater and for the
rest."""

import dkg_cheats as cheats
import pytest
from dkg_kit import (
    assert_consistent,
    contributions,
    convicted,
    deal_of,
    generation,
    honest,
    members,
    named,
    play,
    shares_of,
)

from threshold import Tag, tags
from threshold.dkg import Message, MessageType, Participant, Phase, Role, Session
from threshold.dkg.wire import Deal, SealedShare, SessionKey
from threshold.errors import UsageError


@pytest.mark.parametrize("cheat", [cheats.WrongShares, cheats.Garbage, cheats.InconsistentCommitments])
def test_wrong_shares_disqualify_their_dealer(cheat: type[Participant]) -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan, {3: cheat})
    session = play(plan, everybody)
    assert named(session) == {(Role.DEALER, 3, "dkg.deal_wrong")}
    assert session.qualified == (1, 2, 4)
    assert session.result is not None and session.result.public_key == contributions(session, everybody)
    assert_consistent(session, shares_of(session, everybody))


def test_one_honest_victim_is_enough_to_disqualify() -> None:
    class OneVictim(cheats.WrongShares):
        victims = frozenset((4,))

    plan = generation(4, 3, 1)
    session = play(plan, members(plan, {1: OneVictim}))
    assert named(session) == {(Role.DEALER, 1, "dkg.deal_wrong")} and session.qualified == (2, 3, 4)


def test_a_dealer_that_sends_nothing_is_no_dealer_once_the_window_has_passed() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan, {2: cheats.NoDeal})
    session = play(plan, everybody)
    assert named(session) == {(Role.DEALER, 2, "dkg.silent")} and convicted(session) == []
    assert session.qualified == (1, 3, 4)
    assert_consistent(session, shares_of(session, everybody))


def test_a_deal_whose_proof_does_not_hold_is_invalid_without_complaint() -> None:
    plan = generation(4, 3, 1)
    session = play(plan, members(plan, {4: cheats.BadDealProof}))
    assert named(session) == {(Role.DEALER, 4, "dkg.deal_proof")} and session.qualified == (1, 2, 3)


def test_a_late_deal_is_ignored() -> None:
    plan = generation(4, 3, 1)
    kept: list[Message] = []

    def late(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is Phase.DEALS:
            kept.extend(m for m in messages if m.index == 1 and m.payload[0] == MessageType.DEAL)
            return [m for m in messages if m.index != 1]
        return [*kept, *messages]

    everybody = members(plan)
    session = play(plan, everybody, late)
    assert kept and session.qualified == (2, 3, 4)
    assert named(session) == {(Role.DEALER, 1, "dkg.silent")}
    assert_consistent(session, shares_of(session, everybody))


def test_the_window_needs_both_its_heights_and_its_time() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan)
    session = Session.begin(plan, 0, 0)
    keys = [Message(i, everybody[i - 1].messages(session)[0]) for i in (1, 2, 3)]
    session = session.block(1, 10, keys)
    assert session.phase_deadline == (5, 5_000)
    many_heights = session.block(50, 4_999, [])
    assert many_heights.phase is Phase.KEYS and not many_heights.window_passed
    assert session.block(4, 9_000, []).phase is Phase.KEYS
    assert many_heights.block(51, 5_000, []).phase is Phase.DEALS
    assert session.block(5, 5_000, []).receivers == (1, 2, 3)


def test_a_deal_sent_twice_counts_once_and_a_different_second_one_is_noted() -> None:
    plan = generation(4, 3, 1)
    other = members(plan, seed="another")

    def twice(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is not Phase.DEALS:
            return messages
        second = other[0]._fresh_deal(session, 1).encode()
        return [messages[0], messages[0], Message(1, second), Message(1, second), *messages[1:]]

    everybody = members(plan)
    session = play(plan, everybody, twice)
    assert session.repeated == {(MessageType.DEAL, 1)} and session.culprits == ()
    assert session.result is not None and session.result.public_key == contributions(session, everybody)


def test_a_copied_deal_header_is_refused_without_complaint() -> None:
    plan = generation(4, 3, 1)

    def copy(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is not Phase.DEALS:
            return messages
        mine, theirs = (deal_of(session, m.payload) for m in messages[:2])
        thief = Deal(theirs.commitments, {**theirs.sealed, 3: mine.sealed[3]}, theirs.points)
        return [messages[0], Message(2, thief.encode()), *messages[2:]]

    session = play(plan, members(plan), copy)
    assert named(session) == {(Role.DEALER, 2, "dkg.deal_reused")} and session.qualified == (1, 3, 4)


def test_a_copied_header_that_comes_first_does_not_kill_the_deal_it_was_copied_from() -> None:
    plan = generation(4, 3, 1)

    def overtake(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is not Phase.DEALS:
            return messages
        mine, theirs = (deal_of(session, m.payload) for m in messages[:2])
        thief = Deal(theirs.commitments, {**theirs.sealed, 3: mine.sealed[3]}, theirs.points)
        return [Message(2, thief.encode()), messages[0], *messages[2:]]

    session = play(plan, members(plan), overtake)
    assert named(session) == {(Role.DEALER, 2, "dkg.deal_proof")} and session.qualified == (1, 3, 4)


def test_a_whole_deal_copied_under_another_index_is_refused() -> None:
    plan = generation(4, 3, 1)

    def copy(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is not Phase.DEALS:
            return messages
        return [Message(2, messages[0].payload), messages[0], *messages[2:]]

    session = play(plan, members(plan), copy)
    assert named(session) == {(Role.DEALER, 2, "dkg.deal_proof")} and session.qualified == (1, 3, 4)


def test_last_sessions_messages_are_refused() -> None:
    recorded: dict[Phase, list[Message]] = {}

    def record(session: Session, messages: list[Message]) -> list[Message]:
        recorded[session.phase] = messages
        return messages

    before = generation(4, 3, 1, "before")
    play(before, members(before), record)
    plan = generation(4, 3, 1)

    def replay(phase: Phase) -> Session:
        def interfere(session: Session, messages: list[Message]) -> list[Message]:
            return [recorded[phase][0], *messages[1:]] if session.phase is phase else messages

        return play(plan, members(plan), interfere)

    assert named(replay(Phase.KEYS)) >= {(Role.RECEIVER, 1, "dkg.key_proof")}
    assert named(replay(Phase.DEALS)) == {(Role.DEALER, 1, "dkg.deal_proof")}
    assert named(replay(Phase.ANSWERS)) == set(), "an answer without complaints is the same in every session"
    assert named(replay(Phase.FELDMAN)) == {(Role.DEALER, 1, "dkg.feldman_proof")}
    assert named(replay(Phase.READY)) == {(Role.RECEIVER, 1, "dkg.ready_hash")}


def test_an_ephemeral_point_used_twice_in_one_deal_is_refused() -> None:
    class Lazy(Participant):
        def _derive(self, tag: Tag, *parts: int) -> bytes:
            return super()._derive(tag, *((parts[0], 1) if tag is tags.DKG_SEED_EPHEMERAL else parts))

    plan = generation(4, 3, 1)
    session = play(plan, members(plan, {2: Lazy}))
    assert named(session) == {(Role.DEALER, 2, "dkg.deal_reused")}


# -- receivers that cheat ----------------------------------------------------------------------------------


def test_a_lying_complainer_convicts_itself_and_the_dealers_stay() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan, {2: cheats.LyingComplainer})
    session = play(plan, everybody)
    assert named(session) == {(Role.RECEIVER, 2, "dkg.complaint_false")} and len(session.culprits) == 1
    assert session.qualified == plan.dealers
    assert_consistent(session, shares_of(session, everybody))


def test_a_complaint_without_its_proof_disqualifies_nobody() -> None:
    plan = generation(4, 3, 1)
    session = play(plan, members(plan, {2: cheats.BadComplaintProof}))
    assert {code for _, _, code in named(session)} <= {"dkg.complaint_false", "dkg.complaint_proof"}
    assert {index for _, index, _ in named(session)} == {2} and session.qualified == plan.dealers


def test_another_receivers_opened_point_convicts_nobody_else() -> None:
    plan = generation(7, 5, 2)

    def copy(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is not Phase.ANSWERS:
            return messages
        return [Message(2, messages[0].payload) if m.index == 2 else m for m in messages]

    class OneVictim(cheats.WrongShares):
        victims = frozenset((1,))

    session = play(plan, members(plan, {7: OneVictim}), copy)
    # Receiver 1's complaint comes first and disqualifies dealer 7, so that the copy is not looked at.
    assert named(session) == {(Role.DEALER, 7, "dkg.deal_wrong")}

    def copy_first(session: Session, messages: list[Message]) -> list[Message]:
        return [Message(2, messages[0].payload), *messages] if session.phase is Phase.ANSWERS else messages

    session = play(plan, members(plan, {7: OneVictim}), copy_first)
    assert named(session) == {(Role.RECEIVER, 2, "dkg.complaint_proof"), (Role.DEALER, 7, "dkg.deal_wrong")}


def test_a_complaint_about_somebody_without_a_deal_is_refused() -> None:
    class Confused(Participant):
        def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
            if owed is MessageType.ANSWER:
                entry = self._make_opened(session, owed, index, [1])
                return entry[:1] + (2).to_bytes(2, "big") + entry[3:]
            return super()._make(session, owed, index)

    plan = generation(4, 3, 1)
    session = play(plan, members(plan, {2: cheats.NoDeal, 3: Confused}))
    assert (Role.RECEIVER, 3, "dkg.complaint_dealer") in named(session) and session.qualified == (1, 3, 4)


def test_silence_in_the_answers_is_acceptance_and_keeps_the_share_from_the_silent() -> None:
    class OneVictim(cheats.WrongShares):
        victims = frozenset((1,))

    plan = generation(4, 3, 1)
    everybody = members(plan, {1: cheats.NoAnswer, 4: OneVictim})
    session = play(plan, everybody)
    assert session.qualified == plan.dealers and convicted(session) == []
    assert session.result is not None and session.result.refresh_advised
    with pytest.raises(UsageError):
        everybody[0].share(session)
    assert_consistent(session, shares_of(session, everybody[1:]))


@pytest.mark.parametrize("cheat", [cheats.Silent, cheats.CrashAfterKey, cheats.CrashAfterDeal, cheats.NotReady])
def test_a_member_that_crashes_for_good_does_not_stop_the_others(cheat: type[Participant]) -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan, {2: cheat})
    session = play(plan, everybody)
    assert session.result is not None and session.result.refresh_advised and convicted(session) == []
    assert session.qualified == ((1, 3, 4) if cheat in (cheats.Silent, cheats.CrashAfterKey) else plan.dealers)
    assert set(session.result.verification_keys) == {1, 2, 3, 4}, "the silent one has a verification key too"
    assert_consistent(session, shares_of(session, honest(everybody)))


def test_a_receiver_ready_for_another_result_is_named() -> None:
    plan = generation(4, 3, 1)
    session = play(plan, members(plan, {2: cheats.WrongReady}))
    assert named(session) == {(Role.RECEIVER, 2, "dkg.ready_hash")}
    assert session.result is not None and session.result.refresh_advised


@pytest.mark.parametrize("value", [bytes(32), b"\xff" * 32])
def test_values_out_of_range_are_wrong_values_and_stop_nobody(value: bytes) -> None:
    class OutOfRange(Participant):
        def _seal(
            self, key: SessionKey, dealer: int, receiver: int, values: list[bytes], committed: bytes
        ) -> SealedShare:
            if receiver == 1:
                values = [values[0], value]
            return super()._seal(key, dealer, receiver, values, committed)

    plan = generation(4, 3, 1)
    everybody = members(plan, {2: OutOfRange})
    session = play(plan, everybody)
    assert named(session) == {(Role.DEALER, 2, "dkg.deal_wrong")}
    assert_consistent(session, shares_of(session, everybody))
