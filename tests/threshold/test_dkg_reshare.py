"""Resharing: another committee, another threshold, the same key; and old shares that are worth nothing after."""

from itertools import combinations

import dkg_cheats as cheats
import pytest
from dkg_kit import (
    WINDOW_HEIGHTS,
    WINDOW_MS,
    assert_consistent,
    deal_of,
    generation,
    members,
    named,
    play,
    seeded,
    shares_of,
)

import threshold
from threshold import SealingKey, SecretShare, group
from threshold.dkg import Message, Participant, Phase, Plan, Result, Role, Session
from threshold.dkg.wire import Deal
from threshold.errors import ThresholdError, UsageError


def generated(n: int, t: int, f: int) -> tuple[Result, dict[int, SecretShare]]:
    plan = generation(n, t, f)
    everybody = members(plan)
    session = play(plan, everybody)
    assert session.result is not None
    return session.result, shares_of(session, everybody)


OLD, OLD_SHARES = generated(4, 3, 1)


def resharing(
    n: int, t: int, f: int, *, dealers: tuple[int, ...] = (1, 2, 3, 4), session: str = "reshare", key: bytes = b""
) -> Plan:
    return Plan.reshare(
        seeded(session),
        {i: OLD.verification_keys[i] for i in dealers},
        range(1, n + 1),
        public_key=key or OLD.public_key,
        dealer_threshold=3,
        dealer_faults=1 if len(dealers) == 4 else 0,
        threshold=t,
        faults=f,
        window_heights=WINDOW_HEIGHTS,
        window_ms=WINDOW_MS,
    )


def committee(
    plan: Plan, kinds: dict[int, type[Participant]] | None = None, *, shift: int = 0, seed: str = ""
) -> list[Participant]:
    """Person i deals under index i and receives under i - shift, where there are such indexes. `kinds` by person."""
    people = []
    for person in range(1, max(plan.dealers[-1], plan.receivers[-1] + shift) + 1):
        dealer = person if person in plan.dealers else None
        receiver = person - shift if person - shift in plan.receivers else None
        share = SecretShare(person, OLD_SHARES[person].export()) if dealer else None
        kind = (kinds or {}).get(person, Participant)
        people.append(kind(plan, seeded(f"{seed} person {person}"), dealer, receiver, share))
    return people


def receivers(everybody: list[Participant]) -> list[Participant]:
    return [member for member in everybody if member.receiver_index is not None]


def opens(shares: dict[int, SecretShare], t: int, public_key: bytes) -> bool:
    key = SealingKey(public_key, 1, bytes(20))
    label = threshold.Label(1, bytes(20), key.key_id, bytes(20), 1, 2, 64)
    sealed = threshold.seal(key, label, b"order", sigma=bytes(32))
    checked = threshold.check(key, label.encode(), sealed, buckets=(64,))
    point = threshold.combine({index: threshold.share(share, checked) for index, share in shares.items()}, t)
    try:
        return threshold.open_ciphertext(key, checked, point).message == b"order"
    except ThresholdError:
        return False


@pytest.mark.parametrize(
    ("n", "t", "f", "shift"), [(4, 3, 1, 0), (7, 5, 2, 0), (4, 3, 1, 2), (3, 2, 0, 1), (1, 1, 0, 4)]
)
def test_another_committee_gets_shares_of_the_same_key(n: int, t: int, f: int, shift: int) -> None:
    plan = resharing(n, t, f)
    everybody = committee(plan, shift=shift)
    session = play(plan, everybody)
    assert session.result is not None and session.result.public_key == OLD.public_key
    assert session.culprits == () and session.qualified == (1, 2, 3), "the first t in log order"
    shares = shares_of(session, receivers(everybody))
    assert_consistent(session, shares)
    assert opens(dict(list(shares.items())[-t:]), t, OLD.public_key)
    assert session.height == 10 + 4, "keys, deals, answers, ready"


def test_mixed_old_and_new_shares_never_combine() -> None:
    plan = resharing(4, 3, 1)
    everybody = committee(plan)
    session = play(plan, everybody)
    new = shares_of(session, everybody)
    assert all(new[i].export() != OLD_SHARES[i].export() for i in new)
    for subset in combinations(range(1, 5), 3):
        for renewed in range(1, 8):
            mixed = {i: (new if renewed >> k & 1 else OLD_SHARES)[i] for k, i in enumerate(subset)}
            assert opens(mixed, 3, OLD.public_key) is (renewed == 7), (subset, renewed)


def test_a_dealer_whose_constant_is_not_its_verification_key_is_refused() -> None:
    class Another(Participant):
        def _polynomials(self, dealer: int) -> list[list[bytes]]:
            return [[seeded("another constant"), *super()._polynomials(dealer)[0][1:]]]

    plan = resharing(4, 3, 1)
    everybody = committee(plan, {2: Another})
    session = play(plan, everybody)
    assert named(session) == {(Role.DEALER, 2, "dkg.deal_constant")} and session.qualified == (1, 3, 4)
    assert_consistent(session, shares_of(session, everybody))


@pytest.mark.parametrize(
    ("cheat", "code"),
    [
        (cheats.WrongShares, "dkg.deal_wrong"),
        (cheats.BadDealProof, "dkg.deal_proof"),
        (cheats.NoDeal, "dkg.silent"),
    ],
)
def test_a_cheating_dealer_is_left_out_and_the_next_in_log_order_counts(cheat: type[Participant], code: str) -> None:
    plan = resharing(7, 5, 2)
    everybody = committee(plan, {1: cheat})
    session = play(plan, everybody)
    assert named(session) == {(Role.DEALER, 1, code)} and session.qualified == (2, 3, 4)
    assert_consistent(session, shares_of(session, everybody))


def test_log_order_and_not_index_says_which_deals_count() -> None:
    plan = resharing(4, 3, 1)

    def backwards(_: Session, messages: list[Message]) -> list[Message]:
        return list(reversed(messages))

    everybody = committee(plan)
    session = play(plan, everybody, backwards)
    assert session.qualified == (2, 3, 4)
    assert_consistent(session, shares_of(session, everybody))


def test_fewer_deals_than_the_old_threshold_void_the_resharing() -> None:
    plan = resharing(4, 3, 1)
    session = play(plan, committee(plan, {1: cheats.NoDeal, 2: cheats.BadDealProof}))
    assert session.aborted == "dkg.abort_dealers" and session.result is None
    session = play(plan, committee(plan, {1: cheats.NoDeal, 2: cheats.WrongShares}))
    assert session.aborted == "dkg.abort_dealers"


def test_a_plan_with_fewer_dealers_than_the_old_threshold_is_refused() -> None:
    with pytest.raises(UsageError):
        resharing(4, 3, 1, dealers=(1, 2))
    resharing(4, 3, 1, dealers=(1, 2, 4))
    with pytest.raises(ThresholdError, match=r"point\.encoding"):
        resharing(4, 3, 1, key=b"\x05" * 33)


def test_another_public_key_than_the_old_one_is_no_result() -> None:
    plan = resharing(4, 3, 1, key=OLD.verification_keys[1])
    assert play(plan, committee(plan)).aborted == "dkg.abort_result"


def test_a_new_member_that_is_silent_does_not_stop_the_rotation() -> None:
    plan = resharing(7, 5, 2)
    everybody = committee(plan, {6: cheats.Silent, 7: cheats.Silent})
    session = play(plan, everybody)
    assert session.result is not None and session.result.refresh_advised
    assert_consistent(session, shares_of(session, everybody[:5]))
    with pytest.raises(UsageError):
        everybody[6].share(session)


def test_old_deals_replayed_at_the_next_rotation_are_refused() -> None:
    recorded: list[Message] = []

    def record(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is Phase.DEALS:
            recorded.extend(messages)
        return messages

    before = resharing(4, 3, 1, session="before")
    play(before, committee(before), record)
    plan = resharing(4, 3, 1)

    def replay(session: Session, messages: list[Message]) -> list[Message]:
        return [recorded[3], *messages[:3]] if session.phase is Phase.DEALS else messages

    session = play(plan, committee(plan), replay)
    assert named(session) == {(Role.DEALER, 4, "dkg.deal_proof")} and session.qualified == (1, 2, 3)


def test_a_member_that_rejoins_with_an_old_share_cannot_deal() -> None:
    plan = resharing(4, 3, 1)
    with pytest.raises(UsageError):
        Participant(plan, bytes(32), 1, 1, SecretShare(1, seeded("an older share")))
    with pytest.raises(UsageError):
        Participant(plan, bytes(32), 1, 1, SecretShare(2, OLD_SHARES[2].export()))
    with pytest.raises(UsageError):
        Participant(plan, bytes(32), 1, 1, SecretShare(2, OLD_SHARES[1].export()))
    with pytest.raises(UsageError):
        Participant(plan, bytes(32), 1, 1)
    with pytest.raises(UsageError):
        Participant(plan, bytes(32), None, 1, OLD_SHARES[1])


def test_resharing_with_commitments_moved_to_another_receiver_is_refused() -> None:
    plan = resharing(4, 3, 1)

    def swap(session: Session, messages: list[Message]) -> list[Message]:
        if session.phase is not Phase.DEALS:
            return messages
        deal = deal_of(session, messages[0].payload)
        swapped = Deal(deal.commitments, {**deal.sealed, 1: deal.sealed[2], 2: deal.sealed[1]}, deal.points)
        return [Message(1, swapped.encode()), *messages[1:]]

    session = play(plan, committee(plan), swap)
    assert named(session) == {(Role.DEALER, 1, "dkg.deal_proof")}


def test_a_chain_of_rotations_keeps_the_key() -> None:
    shares, keys, t, f = OLD_SHARES, dict(OLD.verification_keys), 3, 1
    for n, new_t, new_f in ((7, 5, 2), (5, 3, 1), (4, 2, 1)):
        plan = Plan.reshare(
            seeded(f"rotation to {n}"),
            keys,
            range(1, n + 1),
            public_key=OLD.public_key,
            dealer_threshold=t,
            dealer_faults=f,
            threshold=new_t,
            faults=new_f,
            window_heights=WINDOW_HEIGHTS,
            window_ms=WINDOW_MS,
        )
        everybody = [
            Participant(
                plan,
                seeded(f"{n} {i}"),
                i if i in keys else None,
                i if i <= n else None,
                SecretShare(i, shares[i].export()) if i in keys else None,
            )
            for i in range(1, max(n, len(keys)) + 1)
        ]
        session = play(plan, everybody)
        assert session.result is not None
        shares = shares_of(session, receivers(everybody))
        assert_consistent(session, shares)
        keys, t, f = dict(session.result.verification_keys), new_t, new_f
    point = group.generator_multiply_secret(OLD_SHARES[1].export())
    assert point == OLD.verification_keys[1] and opens({i: shares[i] for i in (2, 4)}, 2, OLD.public_key)
