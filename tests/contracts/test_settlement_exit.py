"""Exits without any member, pauses that stop neither them nor the freeze, and the chain's own coin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import boa
import pytest
from eth.exceptions import Revert
from settlement_house import (
    ALICE,
    BOB,
    CAROL,
    GENESIS_ROOT,
    GUARDIAN,
    ROOT,
    TERMS,
    TOKENS,
    House,
    as_address,
    deploy_house,
    load,
)

from mpc_sequencer.settlement.payloads import Delta

TRADE = (Delta(ALICE, 0, -100, 0), Delta(BOB, 0, 60, 40))
NATIVE = 2
ZERO = as_address(bytes(20))


@pytest.fixture
def rich() -> Iterator[House]:
    """Like ``house``, with the chain's coin as asset 2, of which Alice and Bob have 1,000 too, and a bond of 7."""
    with boa.env.anchor():
        house = deploy_house(native=True)
        for account in (ALICE, BOB):
            house.fund(account, 0, 1_000)
            house.contract.deposit_native(NATIVE, as_address(account), value=1_000)
        house.contract.bond(as_address(CAROL), value=7)
        house.start()
        yield house


def wei(account: bytes) -> int:
    return int(boa.env.get_balance(as_address(account)))


# ----------------------------------------------------------------------------------------------------------- exits


def test_exits_work_when_every_member_is_gone(rich: House) -> None:
    contract = rich.contract
    rich.post(rich.sign(rich.result(Delta(ALICE, 0, -300, 300), Delta(ALICE, 2, -300, 200), Delta(BOB, 2, 100, 0))))
    for asset in (0, NATIVE):
        with boa.reverts("exit: not frozen"):
            contract.exit(asset, as_address(ALICE))
    with boa.reverts("exit: not frozen"):
        contract.exit_bond(as_address(CAROL))
    rich.freeze()
    with boa.env.prank(as_address(CAROL)):
        contract.claim(0, as_address(ALICE))
        contract.exit(0, as_address(ALICE))
        contract.exit(NATIVE, as_address(ALICE))
        contract.exit(NATIVE, as_address(BOB))
        contract.exit_bond(as_address(CAROL))
    assert rich.tokens[0].balanceOf(as_address(ALICE)) == 1_000
    assert (wei(ALICE), wei(BOB), wei(CAROL)) == (900, 1_100, 7)
    for asset, account in ((0, ALICE), (NATIVE, ALICE), (NATIVE, BOB), (5, BOB), (64, BOB)):
        with boa.reverts("exit: nothing to pay"):
            contract.exit(asset, as_address(account))
    with boa.reverts("exit: nothing to pay"):
        contract.exit_bond(as_address(CAROL))
    with boa.reverts("claim: nothing to claim"):
        contract.claim(NATIVE, as_address(ALICE))
    contract.exit(0, as_address(BOB))
    assert rich.tokens[0].balanceOf(contract.address) == 0
    # What is left is the fee of the forced order.
    assert boa.env.get_balance(contract.address) == TERMS.forced_fee_wei


def test_exits_of_a_deployment_that_never_started() -> None:
    with boa.env.anchor():
        house = deploy_house()
        house.fund(ALICE, 0, 50)
        house.freeze()
        house.contract.exit(0, as_address(ALICE))
        assert house.tokens[0].balanceOf(as_address(ALICE)) == 50
        with boa.reverts("settlement: frozen"):
            house.contract.start(GENESIS_ROOT, 1)


def test_nothing_but_exits_after_a_freeze(rich: House) -> None:
    signed, commit = rich.sign(rich.result(*TRADE)), rich.commit()
    rich.tokens[0].mint(boa.env.eoa, 5)
    rich.tokens[0].approve(rich.contract.address, 5)
    rich.freeze()
    for act in (
        lambda: rich.post(signed),
        lambda: rich.post_commit(commit),
        lambda: rich.post_commit(rich.commit()),
        lambda: rich.contract.deposit(0, 5, as_address(ALICE)),
        lambda: rich.contract.deposit_native(NATIVE, as_address(ALICE), value=5),
        lambda: rich.contract.bond(as_address(CAROL), value=1),
        rich.force,
        rich.contract.freeze,
    ):
        with boa.reverts("settlement: frozen"):
            act()
    with boa.reverts("start: already started"):
        rich.contract.start(GENESIS_ROOT, 0)
    with boa.env.prank(as_address(GUARDIAN)), boa.reverts("settlement: frozen"):
        rich.contract.pause()
    assert rich.balance(ALICE, 0) == (1_000, 0)


# ----------------------------------------------------------------------------------------------------------- pauses


def pause(house: House) -> None:
    with boa.env.prank(as_address(GUARDIAN)):
        house.contract.pause()


def test_a_pause_stops_commits_and_results_and_ends_by_itself(house: House) -> None:
    house.post(house.sign(house.result(Delta(ALICE, 0, -300, 300))))
    with boa.reverts("pause: not the guardian"):
        house.contract.pause()
    pause(house)
    assert house.contract.status()[2:] == (True, False, house.block + TERMS.pause_blocks)
    house.mine(TERMS.pause_blocks - 1)
    with boa.reverts("settlement: paused"):
        house.post_commit(house.commit())
    with boa.reverts("settlement: paused"):
        house.post(house.sign(house.result()))
    # Money goes in and out.
    house.contract.claim(0, as_address(ALICE))
    house.fund(CAROL, 0, 5)
    house.force()
    house.mine()
    house.post_commit(house.commit())
    house.post(house.sign(house.result()))
    assert house.contract.status()[2] is False


def test_a_pause_does_not_come_again_at_once(house: House) -> None:
    pause(house)
    for _ in range(2 * TERMS.pause_blocks - 1):
        house.mine()
        with boa.reverts("pause: too soon after the last"):
            pause(house)
    house.mine()
    pause(house)


def test_pause_never_stops_exits(rich: House) -> None:
    """Neither one that is called once the contract is as good as frozen, nor the exits themselves."""
    rich.force()
    due = rich.contract.forced_entry(0)[2]
    rich.mine(due + TERMS.grace_blocks + 1 - rich.block)
    pause(rich)
    rich.mine(2)
    rich.contract.freeze()
    rich.contract.exit(0, as_address(ALICE))
    rich.contract.exit(NATIVE, as_address(ALICE))
    assert wei(ALICE) == 1_000


def test_due_times_and_grace_stand_still_in_a_pause(house: House) -> None:
    """Nobody can freeze at once after a pause in which the committee could not commit."""
    pause(house)
    house.mine(3)
    house.force()  # with 5 paused blocks to come
    due = house.contract.forced_entry(0)[2]
    house.mine(due + TERMS.grace_blocks + 5 - house.block)
    with boa.reverts("freeze: nothing is late"):
        house.contract.freeze()
    # Another pause, that begins in time, stands between the entry and the freeze as a whole.
    pause(house)
    house.mine(TERMS.pause_blocks)
    with boa.reverts("freeze: nothing is late"):
        house.contract.freeze()
    house.mine()
    house.contract.freeze()


# ------------------------------------------------------------------------------------------------ the coin, claims


def test_the_chains_coin_is_an_asset(rich: House) -> None:
    contract = rich.contract
    assert list(contract.asset_tokens())[NATIVE] == ZERO
    assert rich.balance(ALICE, NATIVE) == (1_000, 0)
    for call, reason in (
        (lambda: contract.deposit(NATIVE, 5, as_address(ALICE)), "deposit: native asset"),
        (lambda: contract.deposit_native(0, as_address(ALICE), value=5), "deposit: not the native asset"),
        (lambda: contract.deposit_native(3, as_address(ALICE), value=5), "deposit: unknown asset"),
        (lambda: contract.deposit_native(64, as_address(ALICE), value=5), "deposit: unknown asset"),
        (lambda: contract.deposit_native(NATIVE, as_address(ALICE), value=0), "deposit: zero amount"),
        (lambda: contract.deposit_native(NATIVE, ZERO, value=5), "deposit: zero account"),
    ):
        with boa.reverts(reason):
            call()
    with pytest.raises(Revert):
        boa.env.raw_call(contract.address, value=5)
    rich.post(rich.sign(rich.result(Delta(ALICE, NATIVE, -10, 0), Delta(BOB, NATIVE, 0, 10))))
    contract.claim(NATIVE, as_address(BOB))
    assert wei(BOB) == 10 and rich.balance(BOB, NATIVE) == (1_000, 0)


def test_claims_of_many(rich: House) -> None:
    rich.post(rich.sign(rich.result(Delta(ALICE, 0, -5, 5), Delta(BOB, 0, -6, 6), Delta(BOB, NATIVE, -7, 7))))
    rows = [(0, as_address(ALICE)), (0, as_address(BOB)), (NATIVE, as_address(BOB))]
    with boa.reverts("claim: nothing to claim"):
        rich.contract.claim_many([*rows, rows[0]])
    assert wei(BOB) == 0 and rich.tokens[0].balanceOf(as_address(ALICE)) == 0
    rich.contract.claim_many(rows)
    assert wei(BOB) == 7 and rich.tokens[0].balanceOf(as_address(ALICE)) == 5


def test_an_account_that_reenters_when_it_is_paid(rich: House) -> None:
    """The chain's coin calls its receiver: at every way in, nothing is to be had there."""
    contract = rich.contract
    thief = load(TOKENS / "CoinThief.vy")
    account = bytes.fromhex(thief.address[2:])
    contract.deposit_native(NATIVE, thief.address, value=900)
    rich.post(rich.sign(rich.result(Delta(account, NATIVE, -400, 400))))
    attacks = [
        contract.claim.prepare_calldata(NATIVE, thief.address),
        contract.claim_many.prepare_calldata([(NATIVE, thief.address)]),
        contract.exit.prepare_calldata(NATIVE, thief.address),
        contract.deposit_native.prepare_calldata(NATIVE, thief.address),
        contract.force.prepare_calldata(b"sealed"),
        contract.freeze.prepare_calldata(),
        contract.balance_of.prepare_calldata(NATIVE, thief.address),
    ]
    for attack in attacks:
        with boa.env.anchor():
            thief.arm(contract.address, attack, True)
            contract.claim(NATIVE, thief.address)
            assert thief.attempts() == 1 and thief.broke_in() == 0
            assert boa.env.get_balance(thief.address) == 400 and rich.balance(account, NATIVE) == (500, 0)
    thief.arm(contract.address, attacks[0], False)
    with boa.reverts("claim: account refused the coin"):
        contract.claim(NATIVE, thief.address)
    assert rich.balance(account, NATIVE) == (500, 400)
    rich.freeze()
    thief.arm(contract.address, attacks[2], True)
    contract.exit(NATIVE, thief.address)
    assert thief.broke_in() == 0 and boa.env.get_balance(thief.address) == 900


def test_a_token_that_lies_about_balances_costs_its_own_asset_only() -> None:
    with boa.env.anchor():
        plain = load(ROOT / "contracts" / "TestToken.vy", "plain", "TOK", 6)
        house = deploy_house(tokens=[load(TOKENS / "LyingToken.vy"), plain], native=True)
        house.fund(ALICE, 0, 10)  # it says a million came
        house.fund(ALICE, 1, 10)
        house.contract.deposit_native(2, as_address(ALICE), value=10)
        house.start()
        assert house.balance(ALICE, 0) == (1_000_000, 0)
        house.post(house.sign(house.result(Delta(ALICE, 0, -500, 500), Delta(ALICE, 1, -5, 5))))
        with boa.reverts():
            house.contract.claim(0, as_address(ALICE))
        house.contract.claim(1, as_address(ALICE))
        house.freeze()
        with boa.reverts():
            house.contract.exit(0, as_address(ALICE))
        house.contract.exit(1, as_address(ALICE))
        house.contract.exit(2, as_address(ALICE))
        assert plain.balanceOf(as_address(ALICE)) == 10 and wei(ALICE) == 10


@pytest.mark.parametrize("inner", ["exit", "claim", "deposit", "freeze", "force", "exit_bond"])
def test_a_token_that_reenters_at_exit(inner: str) -> None:
    with boa.env.anchor():
        plain = load(ROOT / "contracts" / "TestToken.vy", "plain", "TOK", 6)
        house = deploy_house(tokens=[load(TOKENS / "ReentrantToken.vy"), plain])
        house.fund(ALICE, 0, 70)
        house.start()
        house.freeze()
        contract, token = house.contract, house.tokens[0]
        attacks = {
            "exit": contract.exit.prepare_calldata(0, as_address(ALICE)),
            "claim": contract.claim.prepare_calldata(0, as_address(ALICE)),
            "deposit": contract.deposit.prepare_calldata(0, 1, as_address(ALICE)),
            "freeze": contract.freeze.prepare_calldata(),
            "force": contract.force.prepare_calldata(b"sealed"),
            "exit_bond": contract.exit_bond.prepare_calldata(as_address(ALICE)),
        }
        token.arm(contract.address, attacks[inner], True)
        contract.exit(0, as_address(ALICE))
        assert token.attempts() == 1 and token.broke_in() == 0
        assert token.balanceOf(as_address(ALICE)) == 70 and token.balanceOf(contract.address) == 0


@pytest.mark.parametrize("manner", ["false", "reverts", "nothing"])
def test_a_token_that_fails_at_exit(manner: str) -> None:
    with boa.env.anchor():
        plain = load(ROOT / "contracts" / "TestToken.vy", "plain", "TOK", 6)
        house = deploy_house(tokens=[load(TOKENS / "OddToken.vy"), plain])
        house.fund(ALICE, 0, 70)
        house.fund(ALICE, 1, 70)
        house.start()
        house.freeze()
        if manner != "nothing":
            house.tokens[0].behave(manner == "false", manner == "reverts")
            with boa.reverts("claim: token refused the transfer" if manner == "false" else "odd token reverts"):
                house.contract.exit(0, as_address(ALICE))
            assert house.balance(ALICE, 0) == (70, 0)
            house.contract.exit(1, as_address(ALICE))
            house.tokens[0].behave(False, False)
        house.contract.exit(0, as_address(ALICE))
        assert house.tokens[0].balanceOf(as_address(ALICE)) == 70


def test_terms_that_no_contract_is_deployed_with() -> None:
    from settlement_house import committee, deploy_contract

    members = [as_address(member.address) for member in committee(4)]
    with boa.env.anchor():
        for changes, reason in (
            ({"timelock_blocks": 38}, "deploy: timelock within the exit time"),
            ({"grace_blocks": 0}, "deploy: term out of range"),
            ({"pause_blocks": 0}, "deploy: term out of range"),
            ({"forced_per_block_max": 0}, "deploy: term out of range"),
            ({"quorum_divisor": 2}, "deploy: term out of range"),
            ({"rotation_delay_blocks": 2**32}, "deploy: term out of range"),
        ):
            bent = _unchecked(changes)
            with boa.reverts(reason):
                deploy_contract(members, 3, [ZERO], bent)
        deploy_contract(members, 3, [ZERO], replace(TERMS, timelock_blocks=39))


def _unchecked(changes: dict[str, int]) -> object:
    """Terms as our own code would never pass them on."""
    terms = replace(TERMS)
    for name, value in changes.items():
        object.__setattr__(terms, name, value)
    return terms
