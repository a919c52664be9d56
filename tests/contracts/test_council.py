"""The council's bonds: two words of a member burn its own, and who leaves gets it back two timelocks later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from settlement_house import (
    CAROL,
    TERMS,
    TOKENS,
    Commit,
    House,
    Rotation,
    as_address,
    committee,
    deploy_house,
    header,
    load,
)

from mpc_sequencer.core.eip712 import digest
from mpc_sequencer.core.signing import GROUP_ORDER, Signer
from mpc_sequencer.settlement.payloads import BATCH_RESULT, BatchResult

BURNT = "0x000000000000000000000000000000000000dEaD"
BOND = 1_000
DELTAS = bytes([9]) * 32


def bonded(house: House, member: int = 0) -> str:
    signer = as_address(house.members[member].address)
    house.council.bond_member(signer, value=BOND)
    return signer


def sign(house: House, struct_hash: bytes, signer: Signer) -> bytes:
    return bytes(signer.sign_digest(digest(house.separator, struct_hash)))


def slash_commit(house: House, first: Commit, second: Commit, signer: Signer, other: Signer | None = None) -> None:
    house.council.slash_commit(
        first.fields,
        sign(house, first.struct_hash, signer),
        second.fields,
        sign(house, second.struct_hash, other or signer),
    )


def slash_result(
    house: House, first: BatchResult, second: BatchResult, signer: Signer, deltas: bytes = DELTAS
) -> None:
    house.council.slash_result(
        header(first),
        DELTAS,
        sign(house, BATCH_RESULT(*header(first), DELTAS), signer),
        header(second),
        deltas,
        sign(house, BATCH_RESULT(*header(second), deltas), signer),
    )


def test_bonds_of_members(house: House) -> None:
    signer = as_address(house.members[0].address)
    with boa.reverts("bond: zero amount"):
        house.council.bond_member(signer, value=0)
    with boa.reverts("bond: zero signer"):
        house.council.bond_member(as_address(bytes(20)), value=100)
    with boa.reverts("bond: below the least"):
        house.council.bond_member(signer, value=TERMS.bond_min_wei - 1)
    house.council.bond_member(signer, value=TERMS.bond_min_wei)
    house.council.bond_member(signer, value=1)
    assert house.council.member_bonds(signer) == 101 == boa.env.get_balance(house.council.address)
    assert boa.env.get_balance(house.contract.address) == 0


def test_two_commits_for_one_height_burn_the_bond(house: House) -> None:
    signer = bonded(house)
    other = bonded(house, 1)
    first = house.commit(height=3)
    second = replace(first, ciphertext_root=bytes(32))
    burnt = boa.env.get_balance(BURNT)
    with boa.env.prank(as_address(CAROL)):
        slash_commit(house, first, second, house.members[0])
    assert boa.env.get_balance(as_address(CAROL)) == BOND // 10
    assert boa.env.get_balance(BURNT) - burnt == BOND - BOND // 10
    assert house.council.member_bonds(signer) == 0 and house.council.member_bonds(other) == BOND
    with boa.reverts("slash: no bond"):
        slash_commit(house, first, second, house.members[0])


def test_two_results_for_one_first_height_burn_the_bond(house: House) -> None:
    first = house.result()
    for second, deltas in (
        (replace(first, last_height=4), DELTAS),
        (replace(first, state_root=bytes(31) + b"\x01"), DELTAS),
        (first, bytes([8]) * 32),
    ):
        with boa.env.anchor():
            bonded(house)
            with boa.env.prank(as_address(CAROL)):
                slash_result(house, first, second, house.members[0], deltas)
            assert boa.env.get_balance(as_address(CAROL)) == BOND // 10


def test_an_honest_member_is_never_slashable(house: House) -> None:
    """One digest per place is no offence, however it is shown; nor are another's, another epoch's or chain's words."""
    bonded(house)
    bonded(house, 1)
    me, other = house.members[:2]
    first = house.commit(height=3)
    for second, signer, reason in (
        (first, None, "slash: one digest"),
        (replace(first, height=4), None, "slash: not of one place"),
        (replace(first, epoch=1), None, "slash: not of one place"),
        (replace(first, l1_head=9_999), other, "slash: not of one signer"),
    ):
        with boa.reverts(reason):
            slash_commit(house, first, second, me, signer)
    result = house.result()
    for second, reason in (
        (result, "slash: one digest"),
        (replace(result, first_height=2), "slash: not of one place"),
        (replace(result, epoch=1), "slash: not of one place"),
    ):
        with boa.reverts(reason):
            slash_result(house, result, second, me)
    # A commit's signature is none of a result, and a word under another contract's domain is none here.
    second_commit = replace(first, l1_head=9_999)
    foreign = me.sign_digest(digest(bytes(32), second_commit.struct_hash))
    mine = sign(house, first.struct_hash, me)
    with boa.reverts("slash: not of one signer"):
        house.council.slash_commit(first.fields, mine, second_commit.fields, foreign)
    # Nobody can be slashed for an epoch whose signer he was not.
    late, later = replace(first, epoch=1), replace(second_commit, epoch=1)
    with boa.reverts("slash: no signer of the epoch"):
        slash_commit(house, late, later, me)
    assert house.council.member_bonds(as_address(me.address)) == BOND


@given(
    epoch=st.integers(0, 1),
    height=st.integers(1, 3),
    fields=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    bend=st.tuples(st.integers(0, 1), st.integers(0, 2)),
)
@settings(max_examples=40, deadline=None)
def test_whatever_else_is_shown_with_the_one_word_of_an_honest_member(
    council_house: House, epoch: int, height: int, fields: tuple[int, int, int], bend: tuple[int, int]
) -> None:
    """It signs one digest per key; an adversary shows that signature for any second header it likes."""
    house = council_house
    commit = Commit(epoch, height, bytes([fields[0]]) * 32, bytes(32), fields[1], fields[2])
    word = sign(house, commit.struct_hash, house.members[0])
    other = replace(commit, epoch=commit.epoch + bend[0], height=height + bend[1], l1_head=commit.l1_head + 1)
    flipped = word[:32] + (GROUP_ORDER - int.from_bytes(word[32:64], "big")).to_bytes(32, "big")
    for first, second in ((commit, other), (other, commit), (commit, commit), (other, other)):
        for again in (word, flipped + bytes([55 - word[64]]), word[:64] + bytes([55 - word[64]]), bytes(65), b""):
            with boa.reverts():
                house.council.slash_commit(first.fields, word, second.fields, again)
    assert house.council.member_bonds(as_address(house.members[0].address)) == BOND


@pytest.fixture(scope="module")
def council_house() -> Any:
    with boa.env.anchor():
        house = deploy_house()
        bonded(house)
        yield house


def test_malleable_signatures_do_not_slash(house: House) -> None:
    bonded(house)
    first = house.commit(height=3)
    second = replace(first, l1_head=9_999)
    good = sign(house, second.struct_hash, house.members[0])
    s = GROUP_ORDER - int.from_bytes(good[32:64], "big")
    for bent in (good[:32] + s.to_bytes(32, "big") + bytes([55 - good[64]]), good[:64], good[:64] + b"\x00"):
        with boa.reverts("slash: bad signature"):
            house.council.slash_commit(
                first.fields, sign(house, first.struct_hash, house.members[0]), second.fields, bent
            )
    with boa.reverts("slash: bad signature"):
        house.council.slash_commit(first.fields, bytes(64) + b"\x1b", second.fields, bytes(64) + b"\x1b")


def test_a_reporter_that_reenters_gets_one_tenth(house: House) -> None:
    bonded(house)
    bonded(house, 1)
    first = house.commit(height=3)
    second = replace(first, l1_head=9_999)
    words = [sign(house, one.struct_hash, house.members[0]) for one in (first, second)]
    thief = load(TOKENS / "CoinThief.vy")
    attack = house.council.slash_commit.prepare_calldata(first.fields, words[0], second.fields, words[1])
    thief.arm(house.council.address, attack, True)
    with boa.env.prank(thief.address):
        house.council.slash_commit(first.fields, words[0], second.fields, words[1])
    assert thief.attempts() == 1 and thief.broke_in() == 0
    assert boa.env.get_balance(thief.address) == BOND // 10
    assert boa.env.get_balance(house.council.address) == BOND


def test_unbonding_waits_until_two_timelocks_after_leaving(house: House) -> None:
    signer = bonded(house)
    me = house.members[0]
    new = committee(11)[4:]

    def ask() -> None:
        with boa.env.prank(signer):
            house.council.begin_unbonding()

    with boa.reverts("unbond: still a signer"):
        ask()
    house.rotate(Rotation(1, tuple(member.address for member in new)))
    with boa.reverts("unbond: still a signer"):
        ask()
    house.mine(TERMS.rotation_delay_blocks)
    next_house = replace(house, members=new, quorum=5)
    next_house.post(next_house.sign(next_house.result(epoch=1)))
    with boa.reverts("unbond: no bond"):
        house.council.begin_unbonding()
    with boa.reverts("unbond: too early"):
        house.council.unbond(signer)
    ask()
    with boa.reverts("unbond: already begun"):
        ask()
    house.mine(2 * TERMS.timelock_blocks - 1)
    with boa.reverts("unbond: too early"):
        house.council.unbond(signer)
    house.mine()
    with boa.env.anchor():
        # Up to the last moment its two words of the old epoch burn the bond.
        first = house.commit(epoch=0, height=3)
        slash_commit(house, first, replace(first, l1_head=9_999), me)
        with boa.reverts("unbond: no bond"):
            house.council.unbond(signer)
    house.council.unbond(signer)
    assert boa.env.get_balance(signer) == BOND and house.council.member_bonds(signer) == 0
    with boa.reverts("unbond: too early"):
        house.council.unbond(signer)


def ask_for_bond(house: House, signer: str) -> None:
    with boa.env.prank(signer):
        house.council.begin_unbonding()


def handed_over(house: House, epoch: int, members: list[Signer], quorum: int) -> House:
    """The house after a rotation to ``members`` and their first result."""
    house.rotate(Rotation(epoch, tuple(member.address for member in members)))
    house.mine(TERMS.rotation_delay_blocks)
    after = replace(house, members=members, quorum=quorum)
    after.post(after.sign(after.result(epoch=epoch)))
    return after


@pytest.mark.parametrize("called", [False, True])
def test_a_member_that_came_back_cannot_leave_with_its_bond_on_an_old_request(house: House, called: bool) -> None:
    """It asks, serves again for as long as it likes, signs two words, and would be paid the moment it has left."""
    signer = bonded(house)
    me, others = house.members[0], committee(11)[4:]
    away = handed_over(house, 1, others, 5)
    ask_for_bond(house, signer)
    back = handed_over(away, 2, committee(4), 3)
    assert house.council.unbond_block(signer) == 0
    house.mine(2 * TERMS.timelock_blocks)
    if called:
        with boa.reverts("unbond: too early"):
            house.council.unbond(signer)
    word = house.commit(epoch=2, height=30)
    gone = handed_over(back, 3, others, 5)
    with boa.reverts("unbond: too early"):
        house.council.unbond(signer)
    ask_for_bond(gone, signer)
    house.mine(2 * TERMS.timelock_blocks - 1)
    with boa.reverts("unbond: too early"):
        house.council.unbond(signer)
    slash_commit(house, word, replace(word, l1_head=9_999), me)
    assert house.council.member_bonds(signer) == 0 and boa.env.get_balance(signer) == 0


def test_a_freeze_does_not_keep_the_members_bonds_for_ever(house: House) -> None:
    """No epoch follows a freeze, so nobody would ever leave the committee."""
    signer, liar = bonded(house), bonded(house, 1)
    house.freeze()
    assert house.council.is_serving(signer)
    for one in (signer, liar):
        ask_for_bond(house, one)
    house.mine(2 * TERMS.timelock_blocks - 1)
    with boa.reverts("unbond: too early"):
        house.council.unbond(signer)
    word = house.commit(height=3)
    slash_commit(house, word, replace(word, l1_head=9_999), house.members[1])
    house.mine()
    house.council.unbond(signer)
    assert boa.env.get_balance(signer) == BOND and house.council.member_bonds(signer) == 0
    with boa.reverts("unbond: no bond"):
        house.council.unbond(liar)
