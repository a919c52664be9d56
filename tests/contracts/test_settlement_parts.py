"""Results in parts: checked as a whole before anything moves, applied by anyone, never to be wedged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import boa
import pytest
from settlement_house import (
    ALICE,
    BOB,
    CAROL,
    GENESIS_ROOT,
    GUARDIAN,
    TERMS,
    House,
    as_address,
    deploy_house,
    header,
)

from mpc_sequencer.settlement.payloads import Delta, delta_parts, pack_deltas, signature_fields

WAITS = "settlement: result under way"
WHOLE = [
    Delta(ALICE, 0, -300, 200),
    Delta(BOB, 0, 60, 0),
    Delta(CAROL, 0, 40, 0),
    Delta(ALICE, 1, 500, 0),
    Delta(BOB, 1, -500, 0),
]


def pack(*deltas: Delta) -> bytes:
    return b"".join(
        d.account
        + d.asset.to_bytes(2, "big")
        + d.free.to_bytes(16, "big", signed=True)
        + d.withdrawable.to_bytes(16, "big", signed=True)
        for d in deltas
    )


PARTS = [pack(*WHOLE[:2]), pack(*WHOLE[2:4]), pack(*WHOLE[4:])]
AFTER = {(ALICE, 0): (700, 200), (BOB, 0): (1_060, 0), (CAROL, 0): (40, 0), (ALICE, 1): (1_500, 0), (BOB, 1): (500, 0)}


def balances(house: House) -> dict[tuple[bytes, int], tuple[int, int]]:
    return {key: house.balance(*key) for key in AFTER}


def check_all(house: House, parts: list[bytes]) -> None:
    for index, part in enumerate(parts):
        house.contract.stage_part(index, part)


def test_a_result_in_parts(house: House) -> None:
    before = balances(house)
    result = house.result()
    house.begin(result, PARTS)
    assert house.contract.staged() == (3, 3, False, 0, 0)
    with boa.env.prank(as_address(CAROL)):
        check_all(house, PARTS)
        assert balances(house) == before and house.contract.last_posted()[1] == 0
        assert house.contract.staged() == (3, 3, True, 0, 0)
        house.contract.apply_part(0, PARTS[0], 1)
        assert house.contract.staged() == (3, 3, True, 0, 1)
        house.contract.apply_part(0, PARTS[0], 99)
        house.contract.apply_part(1, PARTS[1], 2)
        house.contract.apply_part(2, PARTS[2], 1)
    (event,) = [log for log in house.contract.get_logs() if type(log).__name__ == "ResultPosted"]
    assert (event.first_height, event.last_height, event.state_root) == (1, 3, result.state_root)
    assert balances(house) == AFTER and house.contract.staged() == (0, 0, False, 0, 0)
    assert house.contract.last_posted() == (0, 3, result.state_root, 4)
    house.height, house.state_root = 3, result.state_root
    house.post(house.sign(house.result(Delta(ALICE, 0, -1, 1))))


def test_part_missing_duplicated_or_swapped(house: House) -> None:
    """Of the parts as signed every one is staged once, in order, as it is."""
    house.begin(house.result(), PARTS)
    contract = house.contract
    for index, part, reason in (
        (1, PARTS[1], "result: not the next part"),
        (0, PARTS[1], "result: wrong part"),
        (0, PARTS[0][:-1] + b"\x01", "result: wrong part"),
        (0, PARTS[0][:-54], "result: wrong part"),
    ):
        with boa.reverts(reason):
            contract.stage_part(index, part)
        with boa.reverts("result: none to apply"):
            contract.apply_part(index, part, 9)
    contract.stage_part(0, PARTS[0])
    for index, part, reason in (
        (0, PARTS[0], "result: not the next part"),
        (1, PARTS[0], "result: wrong part"),
        (2, PARTS[2], "result: not the next part"),
    ):
        with boa.reverts(reason):
            contract.stage_part(index, part)
    contract.stage_part(1, PARTS[1])
    with boa.reverts("result: none to apply"):
        contract.apply_part(0, PARTS[0], 9)
    contract.stage_part(2, PARTS[2])
    with boa.reverts("result: none to check"):
        contract.stage_part(0, PARTS[0])
    for index, part, rows, reason in (
        (1, PARTS[1], 9, "result: not the next part"),
        (0, PARTS[1], 9, "result: wrong part"),
        (0, PARTS[0], 0, "result: no rows"),
    ):
        with boa.reverts(reason):
            contract.apply_part(index, part, rows)
    contract.apply_part(0, PARTS[0], 2)
    with boa.reverts("result: not the next part"):
        contract.apply_part(0, PARTS[0], 2)


def test_signatures_over_the_parts(house: House) -> None:
    """A swapped or missing part is another digest, and so is the same deltas in one."""
    result = house.result()
    hashes = [hashlib.sha256(part).digest() for part in PARTS]
    good = house.sign_parts(result, PARTS)
    for bent in (hashes[::-1], hashes[:2], [*hashes, hashes[2]], [hashes[0], hashes[2], hashes[1]]):
        with boa.reverts("signatures: bad signature"):
            house.contract.begin_result(header(result), bent, *good)
    with boa.reverts("signatures: bad signature"):
        house.post_raw(result, *good, b"".join(PARTS))
    with boa.reverts("signatures: no quorum"):
        house.begin(result, PARTS, 0, 1)
    with boa.reverts("result: one part is no parts"):
        house.begin(result, [PARTS[0]])
    with boa.reverts("result: wrong predecessor"):
        house.begin(replace(result, prev_state_root=bytes(31) + b"\x01"), PARTS)
    with boa.reverts():
        house.begin(result, PARTS * 22)
    house.begin(result, PARTS)


BAD_PARTS = [
    ([PARTS[0], pack(replace(WHOLE[2], free=41), WHOLE[3]), PARTS[2]], 1, "result: deltas do not sum to zero"),
    ([*PARTS[:2], pack(replace(WHOLE[4], free=-499))], 2, "result: deltas do not sum to zero"),
    ([PARTS[0], PARTS[0], PARTS[1], PARTS[2]], 1, "result: deltas not ascending"),
    ([pack(WHOLE[1]), pack(WHOLE[0]), *PARTS[1:]], 1, "result: deltas not ascending"),
    ([PARTS[0], b"", PARTS[1], PARTS[2]], 1, "result: deltas cut off"),
    ([PARTS[0], PARTS[1] + b"\x00", PARTS[2]], 1, "result: deltas cut off"),
    ([*PARTS[:2], pack(Delta(BOB, 2, -500, 0))], 2, "result: deltas do not sum to zero"),
    ([*PARTS[:2], PARTS[2] + pack(Delta(BOB, 2, -5, 5))], 2, "result: unknown asset"),
    ([pack(replace(WHOLE[0], free=-1_001, withdrawable=901), WHOLE[1]), *PARTS[1:]], 0, "result: balance below zero"),
    ([PARTS[0] + pack(Delta(CAROL, 0, 0, 0)), *PARTS[1:]], 0, "result: empty delta"),
]


@pytest.mark.parametrize(("parts", "at", "reason"), BAD_PARTS)
def test_a_lying_quorum_signs_parts_that_cannot_be_applied(
    house: House, parts: list[bytes], at: int, reason: str
) -> None:
    """Nothing moves, and nobody is locked in: after the grace anyone freezes, and exits."""
    before = balances(house)
    house.begin(house.result(), parts)
    for index in range(at):
        house.contract.stage_part(index, parts[index])
    with boa.reverts(reason):
        house.contract.stage_part(at, parts[at])
    house.mine(TERMS.grace_blocks)
    with boa.reverts("freeze: nothing is late"):
        house.contract.freeze()
    with boa.reverts(WAITS):
        house.contract.claim(0, as_address(ALICE))
    house.mine()
    house.contract.freeze()
    assert balances(house) == before and house.contract.staged() == (0, 0, False, 0, 0)
    with boa.reverts("settlement: frozen"):
        house.contract.stage_part(at, parts[at])
    with boa.reverts("result: none to apply"):
        house.contract.apply_part(0, parts[0], 1)
    house.contract.exit(0, as_address(ALICE))
    assert house.tokens[0].balanceOf(as_address(ALICE)) == 1_000


def test_what_waits_and_what_does_not(house: House) -> None:
    house.post(house.sign(house.result(Delta(ALICE, 0, -10, 10))))
    single = house.sign(house.result())
    house.tokens[0].mint(boa.env.eoa, 100)
    house.tokens[0].approve(house.contract.address, 100)
    house.begin(house.result(), PARTS)
    waiting: list[Callable[[], object]] = [
        lambda: house.contract.claim(0, as_address(ALICE)),
        lambda: house.contract.claim_many([(0, as_address(ALICE))]),
        lambda: house.contract.deposit(0, 5, as_address(ALICE)),
        lambda: house.post(single),
        lambda: house.begin(house.result(), PARTS),
    ]
    for act in waiting:
        with boa.reverts(WAITS):
            act()
    house.post_commit(house.commit())
    house.force()
    house.contract.bond(as_address(BOB), value=3)
    check_all(house, PARTS)
    house.contract.apply_part(0, PARTS[0], 1)
    for act in [*waiting, house.contract.freeze]:
        with boa.reverts(WAITS):
            act()
    house.post_commit(house.commit())
    house.force()
    # A late forced entry cannot cut a result in two: who wants to freeze applies the rest first.
    house.mine(TERMS.forced_delay_blocks + TERMS.grace_blocks + 9)
    with boa.reverts(WAITS):
        house.contract.freeze()
    for index, part in enumerate(PARTS):
        house.contract.apply_part(index, part, 1_000)
    house.contract.freeze()
    house.contract.claim(0, as_address(ALICE))
    assert house.balance(ALICE, 0) == (690, 0)


def test_a_pause_drops_what_is_only_checked_and_lets_end_what_is_applied(house: House) -> None:
    result = house.result()
    house.begin(result, PARTS)
    house.contract.stage_part(0, PARTS[0])
    with boa.env.prank(as_address(GUARDIAN)):
        house.contract.pause()
    assert house.contract.staged() == (0, 0, False, 0, 0)
    with boa.reverts("settlement: paused"):
        house.contract.stage_part(1, PARTS[1])
    with boa.reverts("settlement: paused"):
        house.begin(result, PARTS)
    house.fund(CAROL, 0, 1)
    house.mine(2 * TERMS.pause_blocks)
    house.begin(result, PARTS)
    check_all(house, PARTS)
    with boa.env.prank(as_address(GUARDIAN)):
        house.contract.pause()
    for index, part in enumerate(PARTS):
        house.contract.apply_part(index, part, 1_000)
    assert house.balance(CAROL, 0) == (41, 0) and house.contract.last_posted()[1] == 3
    with boa.reverts("settlement: paused"):
        house.post_commit(house.commit())
    house.contract.claim(0, as_address(ALICE))


def test_many_parts_of_many_rows() -> None:
    """Two full parts of balances that exist fit their transactions; fresh ones are applied some at a time."""
    with boa.env.anchor():
        house = deploy_house()
        house.fund(ALICE, 0, 5_000)
        house.start()
        fresh = [Delta((index + 1).to_bytes(20, "big"), 0, 1, 0) for index in range(1_200)]
        rows = [*fresh, Delta(ALICE, 0, -1_200, 0)]
        parts = [pack(*rows[:1_000]), pack(*rows[1_000:])]
        for round_number in range(2):
            house.begin(house.result(first_height=house.height + 1), parts)
            for index, part in enumerate(parts):
                house.contract.stage_part(index, part)
                assert fits(house, part)
            for index, part in enumerate(parts):
                first = 600 if round_number == 0 else 1_000
                house.contract.apply_part(index, part, first)
                assert fits(house, part)
                if round_number == 0 and index == 0:
                    house.contract.apply_part(index, part, 1_000)
                    assert fits(house, part)
            _, house.height, house.state_root, _ = house.contract.last_posted()
        assert house.balance(fresh[999].account, 0) == house.balance(fresh[-1].account, 0) == (2, 0)
        assert house.balance(ALICE, 0) == (2_600, 0) and house.state_root != GENESIS_ROOT


def test_dust_sweep_of_1501_accounts(house: House) -> None:
    """*Dust sweep of 1,501 accounts*: who spreads dust over more accounts than a transaction holds would stop
    settlement with it. What members sign of such a result is what the contract takes part by part."""
    house.fund(ALICE, 0, 1_500)
    dust = [Delta((index + 1).to_bytes(20, "big"), 0, 1, 0) for index in range(1_500)]
    result = house.result(*dust, Delta(ALICE, 0, -1_500, 0))
    assert len(result.deltas) == 1_501
    packed, fields = pack_deltas(result.deltas), signature_fields(house.sign(result))
    with boa.reverts():
        house.post_raw(result, *fields, packed)
    parts = delta_parts(packed)
    house.contract.begin_result(header(result), [hashlib.sha256(part).digest() for part in parts], *fields)
    for index, part in enumerate(parts):
        house.contract.stage_part(index, part)
        assert fits(house, part)
    for index, part in enumerate(parts):
        house.contract.apply_part(index, part, 1_000)
        assert fits(house, part)
    assert house.contract.last_posted()[1:3] == (result.last_height, result.state_root)
    assert house.balance(ALICE, 0) == (1_000, 0)
    assert all(house.balance(one.account, 0) == (1, 0) for one in (dust[0], dust[-1]))


def fits(house: House, part: bytes) -> bool:
    calldata = sum(16 if byte else 4 for byte in part) + 21_000 + 2_000
    return bool(house.contract._computation.get_gas_used() + calldata < 1 << 24)
