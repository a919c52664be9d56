"""Key generation: what honest members get, and what each way to cheat ends with."""

import hashlib

import dkg_cheats as cheats
import pytest
from dkg_kit import BLOCK_MS, assert_consistent, convicted, deal_of, generation, members, named, play, shares_of

import threshold
from threshold import SealingKey, Tag, group, tags
from threshold.dkg import Message, MessageType, Participant, Phase, Plan, Role, Session
from threshold.dkg.wire import Deal, SealedShare, SessionKey, encode_opened
from threshold.errors import ThresholdError, UsageError
from threshold.group import N
from threshold.hash_to_curve import hash_to_curve, pedersen_generator


def honest(everybody: list[Participant]) -> list[Participant]:
    return [member for member in everybody if type(member) is Participant]


def contributions(session: Session, everybody: list[Participant]) -> bytes:
    """The public key that the qualified dealers' constant terms make."""
    total = sum(
        int.from_bytes(member._polynomials(member.dealer_index)[0][0], "big")
        for member in everybody
        if member.dealer_index in session.qualified
    )
    return group.generator_multiply_secret((total % N).to_bytes(32, "big"))


@pytest.mark.parametrize(("n", "t", "f"), [(1, 1, 0), (4, 3, 1), (4, 2, 1), (7, 5, 2)])
def test_honest_members_get_shares_of_the_key_that_all_contributed_to(n: int, t: int, f: int) -> None:
    plan = generation(n, t, f)
    everybody = members(plan)
    session = play(plan, everybody)
    assert session.result is not None and session.phase is Phase.DONE
    assert session.culprits == () and not session.result.refresh_advised
    assert session.qualified == plan.dealers
    assert session.result.public_key == contributions(session, everybody)
    assert_consistent(session, shares_of(session, everybody))
    assert session.height == 10 + 5, "one block for each of keys, deals, answers, feldman and ready"


def test_any_t_shares_open_what_t_minus_1_do_not() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan)
    session = play(plan, everybody)
    assert session.result is not None
    shares = shares_of(session, everybody)
    key = SealingKey(session.result.public_key, 1, bytes(20))
    label = threshold.Label(1, bytes(20), key.key_id, bytes(20), 1, 2, 64)
    sealed = threshold.seal(key, label, b"order", sigma=bytes(32))
    checked = threshold.check(key, label.encode(), sealed, buckets=(64,))
    parts = {index: threshold.share(share, checked) for index, share in shares.items()}
    for left_out in parts:
        some = {index: part for index, part in parts.items() if index != left_out}
        opening = threshold.open_ciphertext(key, checked, threshold.combine(some, 3))
        assert opening.message == b"order"
        fewer = dict(list(some.items())[:2])
        with pytest.raises(ThresholdError, match=r"opening\.failed"):
            threshold.open_ciphertext(key, checked, threshold.combine(fewer, 2))


def test_the_pedersen_generator_is_hashed_to_the_curve_and_is_none_of_the_others() -> None:
    assert pedersen_generator() == hash_to_curve(b"", b"MPCSEQ-V1-PEDERSEN")
    assert len({pedersen_generator(), threshold.second_generator(), group.GENERATOR}) == 3


# -- dealers that cheat -----------------------------------------------------------------------------------


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


# -- extraction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cheat", [cheats.NoFeldman, cheats.BadFeldmanProof])
def test_extraction_gives_the_key_that_was_fixed_before(cheat: type[Participant]) -> None:
    plan = generation(4, 3, 1)
    expected = play(plan, members(plan)).result
    everybody = members(plan, {3: cheat})
    session = play(plan, everybody)
    assert session.result is not None and expected is not None
    assert session.to_extract == (3,) and session.qualified == plan.dealers
    assert session.result.public_key == expected.public_key
    assert session.result.verification_keys == expected.verification_keys
    code = "dkg.silent" if cheat is cheats.NoFeldman else "dkg.feldman_proof"
    assert named(session) == {(Role.DEALER, 3, code)}
    assert_consistent(session, shares_of(session, everybody))


def test_an_extracted_polynomial_gives_also_a_slow_receiver_its_share() -> None:
    class Cheat(cheats.WrongShares, cheats.NoFeldman):
        victims = frozenset((1,))

    plan = generation(7, 4, 2)
    everybody = members(plan, {1: cheats.NoAnswer, 4: Cheat})
    session = play(plan, everybody)
    assert session.qualified == plan.dealers and session.to_extract == (4,)
    assert_consistent(session, shares_of(session, everybody))


def test_a_committed_zero_coefficient_is_extracted_and_does_no_harm() -> None:
    class Zero(cheats.NoFeldman):
        """Deals a polynomial whose constant term and leading coefficient are zero; its values are those of a_1 x."""

        def _fresh_deal(self, session: Session, dealer: int) -> Deal:
            from threshold.dkg import deals
            from threshold.dkg.deals import pedersen_point

            (_, a, _), blinding = self._polynomials(dealer)
            points = [
                group.multiply(pedersen_point(), blinding[0]),
                deals.commit_secret(a, blinding[1]),
                group.multiply(pedersen_point(), blinding[2]),
            ]
            commitments = tuple(group.encode_point(point) for point in points)
            committed = deals.commitments_hash(self.plan.session, dealer, commitments)
            sealed = {}
            for j in session.receivers:
                values = [group.scalar_multiply_secret(a, j.to_bytes(32, "big"))]
                b0, b1, b2 = (int.from_bytes(b, "big") for b in blinding)
                values.append(((b0 + b1 * j + b2 * j * j) % N).to_bytes(32, "big"))
                sealed[j] = self._seal(session.keys[j], dealer, j, values, committed)
            return Deal(commitments, sealed, tuple(points))

    plan = generation(4, 3, 1)
    everybody = members(plan, {2: Zero})
    session = play(plan, everybody)
    assert session.result is not None and session.polynomials[2][0] == session.polynomials[2][2] == bytes(32)
    assert_consistent(session, shares_of(session, everybody))


def test_an_extraction_without_its_proof_is_refused_and_the_others_suffice() -> None:
    plan = generation(7, 4, 2)
    everybody = members(plan, {3: cheats.NoFeldman, 5: cheats.BadExtract})
    session = play(plan, everybody)
    assert named(session) == {(Role.DEALER, 3, "dkg.silent"), (Role.RECEIVER, 5, "dkg.extract_proof")}
    assert_consistent(session, shares_of(session, everybody))


def test_an_extraction_of_other_dealers_is_refused() -> None:
    class Curious(Participant):
        def _make(self, session: Session, owed: MessageType, index: int) -> bytes | None:
            if owed is MessageType.EXTRACT:
                return self._make_opened(session, owed, index, [1, 2])
            return super()._make(session, owed, index)

    plan = generation(7, 4, 2)
    session = play(plan, members(plan, {3: cheats.NoFeldman, 5: Curious}))
    assert (Role.RECEIVER, 5, "dkg.length") in named(session)
    session = play(plan, members(plan, {3: cheats.NoFeldman, 4: cheats.NoFeldman, 5: Curious}))
    assert (Role.RECEIVER, 5, "dkg.extract_dealers") in named(session) and session.result is not None


# -- aborts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (cheats.Silent, "dkg.abort_keys"),
        (cheats.NoDeal, "dkg.abort_dealers"),
        (cheats.BadDealProof, "dkg.abort_dealers"),
        (cheats.WrongShares, "dkg.abort_dealers"),
        (cheats.NoFeldman, "dkg.abort_extraction"),
        (cheats.NotReady, "dkg.abort_ready"),
    ],
)
def test_more_than_f_faults_end_in_a_clear_abort(kind: type[Participant], code: str) -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan, {3: kind, 4: kind})
    session = play(plan, everybody)
    assert session.phase is Phase.ABORTED and session.aborted == code and session.result is None
    assert not any(member.messages(session) for member in everybody)
    with pytest.raises(UsageError):
        everybody[0].share(session)
    assert session.block(session.height + 1, session.time_ms, []) is session
    answered = (MessageType.ANSWER, 1) in session.heard
    too_few_deals = kind in (cheats.Silent, cheats.NoDeal, cheats.BadDealProof)
    assert answered is not too_few_deals, "too few deals end it before anybody answers"


def test_too_few_openings_abort_the_extraction() -> None:
    plan = generation(4, 3, 1)
    session = play(plan, members(plan, {2: cheats.NoFeldman, 3: cheats.NoExtract, 4: cheats.NoExtract}))
    assert session.aborted == "dkg.abort_extraction"


def test_another_try_after_an_abort_has_nothing_in_common_with_the_first() -> None:
    first, second = generation(4, 3, 1, "attempt 0"), generation(4, 3, 1, "attempt 1")
    results = [play(plan, members(plan)).result for plan in (first, second)]
    assert results[0] is not None and results[1] is not None
    assert results[0].public_key != results[1].public_key and results[0].hash() != results[1].hash()


# -- the log alone ------------------------------------------------------------------------------------------


def test_two_overlapping_generations_do_not_disturb_each_other() -> None:
    plans = [generation(4, 3, 1, name) for name in ("one", "two")]
    alone = [play(plan, members(plan)) for plan in plans]
    sessions = [Session.begin(plan, 10, 1_000_000) for plan in plans]
    groups = [members(plan) for plan in plans]
    while not all(session.ended for session in sessions):
        sent = [
            [Message(m.dealer_index or 0, payload) for m in group_ for payload in m.messages(session)]
            for session, group_ in zip(sessions, groups, strict=True)
        ]
        sessions = [s.block(s.height + 1, s.time_ms + BLOCK_MS, sent[k]) for k, s in enumerate(sessions)]
    assert [s.result for s in sessions] == [s.result for s in alone]


def test_a_late_joiner_derives_the_same_session_from_the_log() -> None:
    log: list[tuple[int, int, list[Message]]] = []

    def record(session: Session, messages: list[Message]) -> list[Message]:
        log.append((session.height + 1, session.time_ms + BLOCK_MS, messages))
        return messages

    plan = generation(7, 5, 2)
    session = play(plan, members(plan, {2: cheats.WrongShares, 5: cheats.BadFeldmanProof}), record)
    joined = Session.begin(plan, 10, 1_000_000)
    for height, time_ms, messages in log:
        joined = joined.block(height, time_ms, messages)
    assert joined == session
    assert session.result is not None and joined.result is not None
    assert session.result.hash() == joined.result.hash() == hashlib.sha256(
        2 * hashlib.sha256(b"MPCSEQ/v1/dkg/result").digest() + session.result.encode()
    ).digest()


def test_other_block_boundaries_and_another_order_within_blocks_give_the_same_key() -> None:
    plan = generation(7, 5, 2)
    kinds: dict[int, type[Participant]] = {2: cheats.WrongShares, 5: cheats.LyingComplainer}
    expected = play(plan, members(plan, kinds))

    def backwards(_: Session, messages: list[Message]) -> list[Message]:
        return list(reversed(messages))

    assert play(plan, members(plan, kinds), backwards).result == expected.result

    def two_at_a_time(_: Session, messages: list[Message]) -> list[Message]:
        return messages[:2]

    slow = play(plan, members(plan, kinds), two_at_a_time)
    assert slow.result == expected.result and slow.qualified == expected.qualified
    assert named(slow) == named(expected)


def test_what_comes_early_or_from_nobody_changes_nothing() -> None:
    plan = generation(4, 3, 1)
    session = Session.begin(plan, 0, 0)
    stray = [
        Message(1, b""),
        Message(1, b"\x00"),
        Message(1, b"\x07" + bytes(40)),
        Message(1, bytes([MessageType.DEAL]) + bytes(100)),
        Message(2, encode_opened(MessageType.ANSWER, [])),
        Message(9, bytes([MessageType.SESSION_KEY]) + bytes(97)),
        Message(0, bytes([MessageType.SESSION_KEY]) + bytes(97)),
    ]
    assert session.block(1, 0, stray) == session.block(1, 0, [])
    bad = session.block(1, 0, [Message(1, bytes([MessageType.SESSION_KEY]) + bytes(97))])
    assert named(bad) == {(Role.RECEIVER, 1, "point.infinity")} and bad.keys == {}


def test_nobody_knows_who_qualifies_before_feldman_opens_and_early_ones_do_not_count() -> None:
    plan = generation(4, 3, 1)
    everybody = members(plan)
    ahead = play(plan, members(plan), until=Phase.FELDMAN)
    early = [Message(m.dealer_index or 0, p) for m in everybody for p in m.messages(ahead)]
    assert all(message.payload[0] == MessageType.FELDMAN for message in early)

    def push(session: Session, messages: list[Message]) -> list[Message]:
        return [*early, *messages] if session.phase is Phase.ANSWERS else messages

    session = play(plan, everybody, push, until=Phase.FELDMAN)
    assert session == ahead, "a Feldman message before the qualified are fixed leaves no trace"


def test_phases_close_on_a_quorum_only_where_t_honest_are_among_any_quorum() -> None:
    for t, closes in ((3, False), (2, True)):
        plan = generation(4, t, 1)
        session = play(plan, members(plan, {4: cheats.Silent}), until=Phase.DEALS)
        assert (session.height == 11) is closes
        session = play(plan, members(plan, {4: cheats.NoAnswer}), until=Phase.FELDMAN)
        assert (session.height == 13) is closes
        assert not convicted(session)


@pytest.mark.parametrize(
    "change",
    [
        {"session": bytes(31)},
        {"members": (1, 2, 2, 3)},
        {"members": (0, 1, 2, 3)},
        {"members": ()},
        {"members": (1, 2, 3, 65_536)},
        {"threshold": 1},
        {"threshold": 4},
        {"faults": -1},
        {"window_heights": 0},
        {"window_ms": -1},
    ],
)
def test_a_plan_that_does_not_fit_itself_is_refused(change: dict[str, object]) -> None:
    arguments: dict[str, object] = {
        "session": bytes(32),
        "members": (1, 2, 3, 4),
        "threshold": 3,
        "faults": 1,
        "window_heights": 1,
        "window_ms": 0,
    }
    Plan.generate(**arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Plan.generate(**(arguments | change))  # type: ignore[arg-type]


def test_blocks_go_forward() -> None:
    session = Session.begin(generation(4, 3, 1), 5, 50)
    for height, time_ms in ((5, 60), (4, 60), (6, 49)):
        with pytest.raises(UsageError):
            session.block(height, time_ms, [])


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
