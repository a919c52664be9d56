"""Money in and out: deployment, deposits, bonds, the input queue, claims, and tokens that misbehave."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import boa
import pytest
from settlement_house import (
    ALICE,
    BOB,
    CAROL,
    GENESIS_ROOT,
    ROOT,
    TOKENS,
    House,
    as_address,
    committee,
    deploy_contract,
    deploy_house,
    load,
)

from mpc_sequencer.settlement.payloads import INPUT_BOND, INPUT_DEPOSIT, Delta, next_inputs_hash

ZERO = "0x" + "00" * 20


def build_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contracts_build", ROOT / "contracts" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_artifacts_are_what_the_sources_compile_to() -> None:
    assert build_script().stale_artifacts() == []


def test_a_stale_artifact_is_noticed(tmp_path: Path) -> None:
    build = build_script()
    build.ARTIFACTS = tmp_path
    build.artifact_text = lambda name: f"compiled {name}"
    assert build.main(["--check"]) == 1
    assert build.main([]) == 0 and build.main(["--check"]) == 0
    (tmp_path / "Settlement.json").write_text("compiled  Settlement", encoding="utf-8")
    assert build.stale_artifacts() == ["Settlement"]


# ------------------------------------------------------------------------------------------------- deployment


def deploy(members: list[str], quorum: int, tokens: list[str]) -> object:
    return deploy_contract(members, quorum, tokens)


def test_deployment_refuses_a_bad_committee_or_asset_list(base_house: House) -> None:
    members = [as_address(member.address) for member in committee(4)]
    tokens = [token.address for token in base_house.tokens]
    with boa.env.anchor():
        deploy(members, 3, tokens)
        for bent in (members[::-1], [members[0], members[0], *members[1:]], [ZERO, *members]):
            with boa.reverts("deploy: signers not ascending"):
                deploy(bent, 3, tokens)
        for quorum in (0, 2, 5):
            with boa.reverts("deploy: quorum out of range"):
                deploy(members, quorum, tokens)
        with boa.reverts("deploy: quorum out of range"):
            deploy([], 0, tokens)
        with boa.reverts("deploy: no assets"):
            deploy(members, 3, [])
        with boa.reverts("deploy: asset listed twice"):
            deploy(members, 3, [tokens[0], tokens[1], tokens[0]])
        with boa.reverts("deploy: asset is no contract"):
            deploy(members, 3, [as_address(ALICE)])


def test_deployment_is_readable(base_house: House) -> None:
    contract = base_house.contract
    assert [bytes.fromhex(signer[2:]) for signer in base_house.council.signers_of(0)] == [
        m.address for m in committee(4)
    ]
    assert contract.quorum_of(0) == 3
    assert base_house.council.signers_of(1) == [] and contract.quorum_of(1) == 0
    assert list(contract.asset_tokens()) == [token.address for token in base_house.tokens]
    assert contract.last_posted() == (0, 0, bytes(32), 0) and not contract.started()


def test_start_happens_once_and_by_the_deployer() -> None:
    with boa.env.anchor():
        house = deploy_house()
        house.fund(ALICE, 0, 10)
        with boa.env.prank(as_address(BOB)), boa.reverts("start: not the deployer"):
            house.contract.start(GENESIS_ROOT, 1)
        with boa.reverts("start: inputs not queued"):
            house.contract.start(GENESIS_ROOT, 2)
        with boa.reverts("start: zero state root"):
            house.contract.start(bytes(32), 1)
        house.contract.start(GENESIS_ROOT, 1)
        assert house.contract.started() and house.contract.last_posted() == (0, 0, GENESIS_ROOT, 1)
        with boa.reverts("start: already started"):
            house.contract.start(GENESIS_ROOT, 1)


# --------------------------------------------------------------------------------------------------- deposits


def test_deposit_credits_free_and_queues_an_input(house: House) -> None:
    count = house.contract.inputs_count()
    before = house.contract.inputs_hash_at(count)
    house.fund(CAROL, 1, 77)
    (event,) = [log for log in house.contract.get_logs() if type(log).__name__ == "InputQueued"]
    expected = next_inputs_hash(before, INPUT_DEPOSIT, CAROL, 1, 77)
    assert house.balance(CAROL, 1) == (77, 0)
    assert house.contract.inputs_count() == count + 1
    assert house.contract.inputs_hash_at(count + 1) == expected == event.inputs_hash
    assert (event.index, event.kind, event.account.lower(), event.asset, event.amount) == (
        count,
        INPUT_DEPOSIT,
        as_address(CAROL),
        1,
        77,
    )


def test_the_input_queue_starts_at_zero_and_chains() -> None:
    with boa.env.anchor():
        house = deploy_house()
        assert house.contract.inputs_hash_at(0) == bytes(32)
        house.fund(ALICE, 0, 5)
        house.contract.bond(as_address(BOB), value=9)
        first = next_inputs_hash(bytes(32), INPUT_DEPOSIT, ALICE, 0, 5)
        assert house.contract.inputs_hash_at(1) == first
        assert house.contract.inputs_hash_at(2) == next_inputs_hash(first, INPUT_BOND, BOB, 0, 9)


def test_deposits_that_are_refused(house: House) -> None:
    contract, token = house.contract, house.tokens[0]
    token.mint(boa.env.eoa, 2**128)
    token.approve(contract.address, 2**129)
    count = contract.inputs_count()
    with boa.reverts("deposit: unknown asset"):
        contract.deposit(2, 1, as_address(ALICE))
    with boa.reverts("deposit: zero amount"):
        contract.deposit(0, 0, as_address(ALICE))
    with boa.reverts("deposit: zero account"):
        contract.deposit(0, 1, ZERO)
    with boa.reverts("deposit: balance above 2^128-1"):
        contract.deposit(0, 2**128 - 1_000, as_address(ALICE))
    assert contract.inputs_count() == count and house.balance(ALICE, 0) == (1_000, 0)
    contract.deposit(0, 2**128 - 1 - 1_000, as_address(ALICE))
    assert house.balance(ALICE, 0) == (2**128 - 1, 0)


def test_a_deposit_never_touches_the_withdrawable_half(house: House) -> None:
    house.post(house.sign(house.result(Delta(ALICE, 0, -600, 600))))
    house.fund(ALICE, 0, 2**128 - 1 - 400)
    assert house.balance(ALICE, 0) == (2**128 - 1, 600)


def test_bond_counts_wei_per_sponsor(house: House) -> None:
    contract = house.contract
    contract.bond(as_address(CAROL), value=3)
    contract.bond(as_address(CAROL), value=4)
    assert contract.bonds(as_address(CAROL)) == 7 and boa.env.get_balance(contract.address) == 7
    with boa.reverts("bond: zero amount"):
        contract.bond(as_address(CAROL), value=0)
    with boa.reverts("bond: zero sponsor"):
        contract.bond(ZERO, value=1)


# ----------------------------------------------------------------------------------------------------- claims


def test_claim_pays_the_account_and_only_once(house: House) -> None:
    house.post(house.sign(house.result(Delta(ALICE, 0, -300, 300))))
    with boa.env.prank(as_address(CAROL)):
        house.contract.claim(0, as_address(ALICE))
    assert house.tokens[0].balanceOf(as_address(ALICE)) == 300
    assert house.tokens[0].balanceOf(as_address(CAROL)) == 0
    assert house.balance(ALICE, 0) == (700, 0)
    with boa.reverts("claim: nothing to claim"):
        house.contract.claim(0, as_address(ALICE))
    with boa.reverts("claim: nothing to claim"):
        house.contract.claim(1, as_address(ALICE))
    with boa.reverts("claim: unknown asset"):
        house.contract.claim(2, as_address(ALICE))


def token_house(source: str) -> House:
    plain = load(ROOT / "contracts" / "TestToken.vy", "plain", "TOK", 6)
    house = deploy_house(tokens=[load(TOKENS / source), plain])
    house.fund(ALICE, 0, 1_000)
    house.fund(ALICE, 1, 1_000)
    house.start()
    return house


def test_fee_on_transfer_token_credits_what_arrived() -> None:
    with boa.env.anchor():
        house = token_house("FeeToken.vy")
        assert house.balance(ALICE, 0) == (990, 0)
        assert house.tokens[0].balanceOf(house.contract.address) == 990
        house.post(house.sign(house.result(Delta(ALICE, 0, -990, 990))))
        house.contract.claim(0, as_address(ALICE))
        assert house.tokens[0].balanceOf(house.contract.address) == 0
        assert house.tokens[0].balanceOf(as_address(ALICE)) == 981


def test_a_token_that_returns_nothing_works_and_one_that_returns_false_is_refused() -> None:
    with boa.env.anchor():
        house = token_house("OddToken.vy")
        assert house.balance(ALICE, 0) == (1_000, 0)
        house.post(house.sign(house.result(Delta(ALICE, 0, -100, 100), Delta(ALICE, 1, -100, 100))))
        house.tokens[0].behave(True, False)
        with boa.reverts("deposit: token refused the transfer"):
            house.fund(ALICE, 0, 1)
        with boa.reverts("claim: token refused the transfer"):
            house.contract.claim(0, as_address(ALICE))
        house.tokens[0].behave(False, True)
        with boa.reverts("odd token reverts"):
            house.contract.claim(0, as_address(ALICE))
        # A broken token costs its own claims only, and nothing of those is lost.
        house.contract.claim(1, as_address(ALICE))
        house.tokens[0].behave(False, False)
        house.contract.claim(0, as_address(ALICE))
        assert house.tokens[0].balanceOf(as_address(ALICE)) == 100
        assert house.tokens[1].balanceOf(as_address(ALICE)) == 100


def test_a_transfer_that_moves_nothing_credits_nothing_and_queues_nothing() -> None:
    with boa.env.anchor():
        house = token_house("OddToken.vy")
        count = house.contract.inputs_count()
        house.tokens[0].be_idle(True)
        with boa.reverts("deposit: nothing arrived"):
            house.fund(ALICE, 0, 5)
        assert house.contract.inputs_count() == count and house.balance(ALICE, 0) == (1_000, 0)


def test_a_token_without_code_costs_its_own_claims_only() -> None:
    with boa.env.anchor():
        house = token_house("OddToken.vy")
        house.post(house.sign(house.result(Delta(ALICE, 0, -100, 100), Delta(ALICE, 1, -100, 100))))
        boa.env.set_code(house.tokens[0].address, b"")
        with boa.reverts():
            house.contract.claim(0, as_address(ALICE))
        assert house.balance(ALICE, 0) == (900, 100)
        house.contract.claim(1, as_address(ALICE))


def reentrant_house() -> House:
    house = token_house("ReentrantToken.vy")
    house.post(house.sign(house.result(Delta(ALICE, 0, -400, 400))))
    return house


@pytest.mark.parametrize("inner", ["claim", "deposit", "post_result", "bond", "balance_of"])
@pytest.mark.parametrize("swallow", [True, False])
def test_reentrant_token_gets_nothing_twice(inner: str, swallow: bool) -> None:
    with boa.env.anchor():
        house = reentrant_house()
        contract, token = house.contract, house.tokens[0]
        empty = (0, 4, 4, bytes(32), bytes(32), bytes(32), bytes(32), 0, bytes(32))
        attacks = {
            "claim": contract.claim.prepare_calldata(0, as_address(ALICE)),
            "deposit": contract.deposit.prepare_calldata(0, 1, as_address(BOB)),
            "post_result": contract.post_result.prepare_calldata(empty, 0, b"", b""),
            "bond": contract.bond.prepare_calldata(as_address(BOB)),
            "balance_of": contract.balance_of.prepare_calldata(0, as_address(ALICE)),
        }
        token.arm(contract.address, attacks[inner], swallow)
        if not swallow:
            with boa.reverts("reentry refused"):
                contract.claim(0, as_address(ALICE))
            assert house.balance(ALICE, 0) == (600, 400)
            return
        contract.claim(0, as_address(ALICE))
        assert token.attempts() == 1 and token.broke_in() == 0
        assert token.balanceOf(as_address(ALICE)) == 400
        token.mint(boa.env.eoa, 10)
        contract.deposit(0, 10, as_address(BOB))
        assert token.attempts() == 2 and token.broke_in() == 0
        assert house.balance(BOB, 0) == (10, 0)
        assert token.balanceOf(contract.address) == 610
