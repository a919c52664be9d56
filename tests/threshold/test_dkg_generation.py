"""Key generation: what honest members get, and that it comes to one end for all who read the same log, or to a clear
abort."""

import hashlib

import dkg_cheats as cheats
import pytest
from dkg_kit import BLOCK_MS, assert_consistent, contributions, convicted, generation, members, named, play, shares_of

import threshold
from threshold import SealingKey, group
from threshold.dkg import Message, MessageType, Participant, Phase, Plan, Role, Session
from threshold.dkg.wire import Deal, encode_opened
from threshold.errors import ThresholdError, UsageError
from threshold.group import N
from threshold.hash_to_curve import hash_to_curve, pedersen_generator


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
