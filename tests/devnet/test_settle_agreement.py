"""What `mpcseq devnet settle` compares: facts that agree have no finding, each that is off by one unit has its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mpc_sequencer.cli.app import app
from mpc_sequencer.devnet.agreement import (
    Changes,
    ContractFacts,
    EngineFacts,
    PostedChanges,
    add_changes,
    compare,
    compare_exits,
)
from mpc_sequencer.devnet.settle_result import Acts, Exited, Forced, SettleOptions, SettleResult
from mpc_sequencer.devnet.settling import _judge_scenario

ALICE, BOB, CAROL = b"\x0a" * 20, b"\x0b" * 20, b"\x0c" * 20
BTC, USDT = 0, 1


def engine() -> EngineFacts:
    """Two trades of Alice and Bob, one withdrawal of Bob's, a height that did nothing."""
    return EngineFacts(
        heights={
            2: {(BTC, ALICE): (-5, 0), (BTC, BOB): (5, 0), (USDT, ALICE): (50, 0), (USDT, BOB): (-50, 0)},
            3: {(BTC, ALICE): (5, 0), (BTC, BOB): (-5, 0)},
            5: {},
            7: {(BTC, ALICE): (-1, 0), (BTC, BOB): (1, 0), (USDT, BOB): (-30, 30)},
        },
        totals={(BTC, ALICE): 99, (BTC, BOB): 1, (USDT, ALICE): 50, (USDT, BOB): 920, (BTC, CAROL): 7},
    )


def first_changes() -> Changes:
    return {(USDT, ALICE): (50, 0), (USDT, BOB): (-50, 0)}


def second_changes() -> Changes:
    return {(BTC, ALICE): (-1, 0), (BTC, BOB): (1, 0), (USDT, BOB): (-30, 30)}


def contract() -> ContractFacts:
    return ContractFacts(
        posted=(PostedChanges(0, 1, 4, first_changes()), PostedChanges(1, 5, 8, second_changes())),
        deposited={(BTC, ALICE): 100, (USDT, BOB): 1_000, (BTC, CAROL): 7},
        claimed={(USDT, BOB): 20},
        balances={
            (BTC, ALICE): (99, 0),
            (BTC, BOB): (1, 0),
            (USDT, ALICE): (50, 0),
            (USDT, BOB): (920, 10),
            (BTC, CAROL): (7, 0),
        },
        held={BTC: 107, USDT: 980},
    )


def codes(seen: EngineFacts, other: ContractFacts, settled: bool = True) -> set[str]:
    return {one.code for one in compare(seen, other, settled=settled)}


def posted(first: Changes, second: Changes) -> dict[str, Any]:
    return {"posted": (PostedChanges(0, 1, 4, first), PostedChanges(1, 5, 8, second))}


def test_an_engine_and_a_contract_that_agree_have_no_finding() -> None:
    assert compare(engine(), contract(), settled=True) == []
    assert contract().rows == 5
    assert add_changes([{(BTC, ALICE): (1, 2)}, {(BTC, ALICE): (-1, -2), (BTC, BOB): (3, 0)}]) == {(BTC, BOB): (3, 0)}


def test_a_change_off_by_one_is_found_in_its_range() -> None:
    bent = first_changes() | {(USDT, ALICE): (51, 0), (USDT, BOB): (-51, 0)}
    found = [one for one in compare(engine(), replace(contract(), **posted(bent, second_changes())), settled=False)
             if one.code == "settle.change"]  # fmt: skip
    assert len(found) == 2 and all("heights 1..4" in one.detail for one in found)
    assert ALICE.hex() in found[0].detail and "(51, 0)" in found[0].detail and "(50, 0)" in found[0].detail


def test_a_withdrawal_off_by_one_is_found() -> None:
    bent = second_changes() | {(USDT, BOB): (-30, 31)}
    assert "settle.change" in codes(engine(), replace(contract(), **posted(first_changes(), bent)))


def test_an_account_that_is_missing_in_a_result_is_found() -> None:
    short = second_changes()
    del short[BTC, BOB]
    assert "settle.change" in codes(engine(), replace(contract(), **posted(first_changes(), short)))


def test_an_account_that_only_a_result_has_is_found() -> None:
    more = first_changes() | {(USDT, CAROL): (1, 0)}
    assert "settle.change" in codes(engine(), replace(contract(), **posted(more, second_changes())))


def test_changes_that_are_right_in_sum_and_in_the_wrong_range_are_found() -> None:
    """Balances agree in the end; only the comparison of each range tells."""
    swapped = replace(contract(), **posted(second_changes(), first_changes()))
    assert codes(engine(), swapped) == {"settle.change"}


def test_a_range_that_is_left_out_or_unknown_is_found() -> None:
    facts = contract()
    assert "settle.gap" in codes(engine(), replace(facts, posted=facts.posted[1:]))
    late = (*facts.posted, PostedChanges(1, 9, 12, {}))
    assert codes(engine(), replace(facts, posted=late)) == {"settle.unknown"}


def test_a_height_that_was_never_settled_is_found_where_all_is_to_be_settled() -> None:
    more = engine()
    more.heights[9] = {(BTC, ALICE): (-1, 0), (BTC, BOB): (1, 0)}
    more.totals[BTC, ALICE], more.totals[BTC, BOB] = 98, 2
    assert codes(more, contract()) == {"settle.unsettled", "settle.balance"}
    assert codes(more, contract(), settled=False) == set()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"balances": {(BTC, CAROL): (6, 0)}, "held": {BTC: 106}}, {"settle.balance", "settle.history"}),
        ({"balances": {(BTC, CAROL): (0, 0)}, "held": {BTC: 100}}, {"settle.balance", "settle.history"}),
        ({"balances": {(USDT, BOB): (920, 11)}, "held": {USDT: 981}}, {"settle.withdrawable", "settle.history"}),
        ({"balances": {(USDT, BOB): (921, 9)}}, {"settle.balance", "settle.withdrawable"}),
        ({"claimed": {(USDT, BOB): 19}}, {"settle.withdrawable", "settle.history"}),
        ({"deposited": {(BTC, CAROL): 8}}, {"settle.history"}),
        ({"exited": {(USDT, CAROL): 1}}, {"settle.history"}),
        ({"claimed": {(USDT, CAROL): 1}}, {"settle.withdrawable", "settle.history"}),
        ({"held": {BTC: 106}}, {"settle.held"}),
        ({"held": {BTC: 108}}, {"settle.held"}),
    ],
)
def test_a_balance_claim_deposit_or_holding_off_by_one_is_found(changed: dict[str, Any], expected: set[str]) -> None:
    facts = contract()
    bent = replace(facts, **{name: {**getattr(facts, name), **rows} for name, rows in changed.items()})
    assert codes(engine(), bent) == expected


def test_a_deposit_that_the_engine_was_never_told_of_is_found() -> None:
    facts = contract()
    more = {"deposited": {**facts.deposited, (BTC, BOB): 3}, "balances": {**facts.balances, (BTC, BOB): (4, 0)}}
    assert codes(engine(), replace(facts, **more, held={BTC: 110, USDT: 980})) == {"settle.balance"}


def test_what_the_auditors_execution_says_otherwise_is_found() -> None:
    seen = engine()
    seen.differences.append("height 3: another state root by the auditor's own execution")
    assert codes(seen, contract()) == {"settle.engines"}


# --- after a freeze -----------------------------------------------------------------------------------------------
def test_exits_pay_everybody_what_the_contract_had_and_leave_nothing() -> None:
    due = {place: sum(amounts) for place, amounts in contract().balances.items()}
    empty = ContractFacts(held={BTC: 0, USDT: 0})
    assert compare_exits(contract(), empty, due) == []
    short = due | {(USDT, BOB): due[USDT, BOB] - 1}
    assert [one.code for one in compare_exits(contract(), empty, short)] == ["settle.exit"]
    forgotten = {place: units for place, units in due.items() if place != (BTC, CAROL)}
    assert [one.code for one in compare_exits(contract(), empty, forgotten)] == ["settle.exit"]
    stranger = due | {(BTC, b"\x0d" * 20): 1}
    assert [one.code for one in compare_exits(contract(), empty, stranger)] == ["settle.exit"]
    left = ContractFacts(held={BTC: 1, USDT: 0}, balances={(BTC, ALICE): (0, 1)})
    assert [one.code for one in compare_exits(contract(), left, due)] == ["settle.left", "settle.left"]


# --- what a scenario is there to show -----------------------------------------------------------------------------
class Log:
    """What a member's log says of the forced order."""

    def __init__(self, batched: list[int], listed: bool = False) -> None:
        self.facts = self
        self.batched = {b"\x01" * 32: batched}
        self.lists = {(0, 0, 0, 1): {b"\x02" * 32: frozenset({b"\x01" * 32} if listed else ())}}


@pytest.mark.parametrize(
    ("log", "expected"),
    [(Log([4]), []), *((log, ["settle.forced"]) for log in (Log([]), Log([4, 5]), Log([4], True)))],
)
def test_the_ignored_traders_order_is_batched_once_and_came_through_no_list(log: Any, expected: list[str]) -> None:
    acts = Acts(forced=Forced(b"\x01" * 32, 10))
    found = _judge_scenario(SettleOptions("live"), acts, contract(), engine(), [log])
    assert [one.code for one in found] == expected


def test_a_rotation_without_results_of_the_new_signers_and_a_run_without_trades_are_found() -> None:
    acts = Acts(forced=Forced(b"\x01" * 32, 10))
    found = _judge_scenario(SettleOptions("rotate"), acts, contract(), engine(), [Log([4])])  # type: ignore[list-item]
    assert [one.code for one in found] == ["settle.rotation"]
    idle = _judge_scenario(SettleOptions("exit"), Acts(), ContractFacts(), EngineFacts(), [])
    assert [one.code for one in idle] == ["settle.idle"]


def test_the_figures_count_what_was_compared() -> None:
    acts = Acts(exited=Exited(20, 145, 4, {BTC: 107, USDT: 970}, 3, 10**15))
    result = SettleResult(SettleOptions("exit"), Path("x"), 1.26, acts, engine(), contract(), ("pass",), ())
    figures = result.as_json()
    assert (figures["results_compared"], figures["results_by_epoch"]) == (2, {"0": 1, "1": 1})
    assert (figures["heights_compared"], figures["changes_compared"], figures["balances_compared"]) == (4, 5, 5)
    assert figures["exit"]["paid_units"] == {"0": 107, "1": 970} and figures["findings"] == []


def test_operators_find_every_code_in_their_page() -> None:
    root = Path(__file__).parents[2]
    made = {
        code
        for path in (root / "mpc_sequencer" / "devnet").glob("*.py")
        for code in re.findall(r'"(settle\.[a-z]+)"', path.read_text(encoding="utf-8"))
    }
    page = (root / "docs" / "settlement-operations.md").read_text(encoding="utf-8")
    assert made and made == set(re.findall(r"`(settle\.[a-z]+)`", page))


def test_an_unknown_scenario_is_refused_by_name() -> None:
    refused = CliRunner().invoke(app, ["devnet", "settle", "everything"])
    assert refused.exit_code != 0 and "there is no scenario everything" in str(refused.exception)
