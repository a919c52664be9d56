"""The council's changes: announced, and made no earlier than the timelock, which is longer than an exit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boa
from settlement_house import ALICE, CAROL, GOVERNOR, GUARDIAN, ROOT, TERMS, House, as_address, load, terms_fields


def as_governor(house: House, function: str, *arguments: Any) -> None:
    with boa.env.prank(as_address(GOVERNOR)):
        getattr(house.council, function)(*arguments)


def test_changes_wait_for_the_timelock(house: House) -> None:
    council = house.council
    assert [str(one).lower() for one in council.terms()] == [str(one).lower() for one in terms_fields(TERMS)]
    with boa.reverts("change: not the governor"):
        council.schedule("forced_fee_wei", 5)
    with boa.reverts("change: unknown name"):
        as_governor(house, "schedule", "grace_blocks", 5)
    with boa.reverts("change: not an address"):
        as_governor(house, "schedule", "guardian", 2**160)
    with boa.reverts("change: none scheduled"):
        council.execute("forced_fee_wei")
    as_governor(house, "schedule", "forced_fee_wei", 5)
    assert council.scheduled("forced_fee_wei") == (5, house.block + TERMS.timelock_blocks)
    house.mine(TERMS.timelock_blocks - 1)
    with boa.reverts("change: not ready"):
        council.execute("forced_fee_wei")
    assert council.forced_fee_wei() == TERMS.forced_fee_wei
    house.mine()
    council.execute("forced_fee_wei")
    assert council.forced_fee_wei() == 5 and council.scheduled("forced_fee_wei") == (0, 0)
    house.force(fee=5)
    with boa.reverts("change: none scheduled"):
        council.execute("forced_fee_wei")


def test_a_later_announcement_starts_the_timelock_anew(house: House) -> None:
    as_governor(house, "schedule", "bond_min_wei", 5)
    house.mine(TERMS.timelock_blocks)
    as_governor(house, "schedule", "bond_min_wei", 6)
    with boa.reverts("change: not ready"):
        house.council.execute("bond_min_wei")
    with boa.reverts("change: not the governor"):
        house.council.cancel("bond_min_wei")
    as_governor(house, "cancel", "bond_min_wei")
    house.mine(TERMS.timelock_blocks)
    with boa.reverts("change: none scheduled"):
        house.council.execute("bond_min_wei")
    with boa.reverts("change: none scheduled"):
        as_governor(house, "cancel", "bond_min_wei")
    assert house.council.bond_min_wei() == TERMS.bond_min_wei


def change(house: House, name: str, value: int) -> None:
    as_governor(house, "schedule", name, value)
    house.mine(TERMS.timelock_blocks)
    house.council.execute(name)


def test_every_change(house: House) -> None:
    council = house.council
    change(house, "guardian", int.from_bytes(ALICE, "big"))
    assert council.guardian().lower() == as_address(ALICE)
    with boa.env.prank(as_address(GUARDIAN)), boa.reverts("pause: not the guardian"):
        house.contract.pause()
    with boa.env.prank(as_address(ALICE)):
        house.contract.pause()
    change(house, "bond_min_wei", 7)
    assert council.bond_min_wei() == 7
    token = load(ROOT / "contracts" / "TestToken.vy", "further", "TOK", 6)
    change(house, "asset", int(token.address, 16))
    change(house, "asset", 0)
    assert list(house.contract.asset_tokens())[2:] == [token.address, as_address(bytes(20))]
    house.contract.deposit_native(3, as_address(ALICE), value=5)
    replace(house, tokens=[*house.tokens, token]).fund(ALICE, 2, 9)
    for again, reason in ((0, "asset: listed twice"), (int(token.address, 16), "asset: listed twice")):
        with boa.reverts(reason):
            change(house, "asset", again)
    with boa.reverts("asset: no contract"):
        change(house, "asset", int.from_bytes(CAROL, "big"))
    change(house, "governor", int.from_bytes(ALICE, "big"))
    assert council.governor().lower() == as_address(ALICE)
    with boa.reverts("change: not the governor"):
        as_governor(house, "schedule", "guardian", 1)
    assert tuple(council.terms())[8] == 7


def test_the_timelock_is_longer_than_an_exit(house: House) -> None:
    """Who dislikes an announced change is out before it: force, the worst of pauses, freeze, exit."""
    as_governor(house, "schedule", "forced_fee_wei", 10**30)
    announced = house.block
    house.force()
    with boa.env.prank(as_address(GUARDIAN)):
        house.contract.pause()
    house.mine(TERMS.forced_delay_blocks + TERMS.grace_blocks + TERMS.pause_blocks + 1)
    house.contract.freeze()
    house.contract.exit(0, as_address(ALICE))
    assert house.block <= announced + TERMS.timelock_blocks


def test_the_council_is_the_settlement_contracts(house: House) -> None:
    assert house.council.settlement() == house.contract.address
    assert house.contract.council() == house.council.address
