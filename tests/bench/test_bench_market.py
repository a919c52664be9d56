"""The market benchmark: its flow is a seed's, its checks refuse what is wrong, its figures add up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from mpc_sequencer.bench import market_case, market_peer
from mpc_sequencer.bench.market import measure, ratios
from mpc_sequencer.bench.market_case import Case, run_case
from mpc_sequencer.bench.market_check import (
    WrongResult,
    check_height,
    check_money,
    depth_of,
    totals,
    uniform_price,
)
from mpc_sequencer.bench.market_flow import ACCOUNTS_MIN, FEE_ACCOUNT, FUNDS_UNITS, Batch, Flow, bench_market
from mpc_sequencer.bench.market_plot import draw_market
from mpc_sequencer.bench.market_stages import STAGES, StageMeter
from mpc_sequencer.cli.app import app
from mpc_sequencer.core.actions import BUY
from mpc_sequencer.core.limits import PPM
from mpc_sequencer.market import Engine, Market
from mpc_sequencer.market.types import AUCTION, SHUFFLE, HeightResult

ORDERS = 600
"""Enough for the engine to take them in columns."""


def funded(flow: Flow, policy: int) -> tuple[Market, Engine]:
    market = bench_market(policy)
    engine = Engine([market], (market.base_asset, market.quote_asset), bytes(32), FEE_ACCOUNT)
    for account in flow.accounts:
        for asset in (market.base_asset, market.quote_asset):
            engine.credit(account, asset, FUNDS_UNITS)
    return market, engine


def one_height(policy: int) -> tuple[Market, Any, int, Batch, HeightResult]:
    """A height on a book of resting orders, and what :func:`check_height` is given."""
    flow = Flow(3)
    market, engine = funded(flow, policy)
    engine.execute(1, 1, bytes(32), flow.resting(ORDERS).prepared)
    depth, reference, batch = depth_of(engine, market), engine.reference_price_ticks(market.id), flow.orders(ORDERS)
    return market, depth, reference, batch, engine.execute(2, 2, bytes(32), batch.prepared)


def test_a_seed_is_a_flow_and_its_resting_orders_meet_nobody() -> None:
    first, again, other = Flow(1), Flow(1), Flow(2)
    batch = first.orders(50)
    assert batch.prepared == again.orders(50).prepared
    assert batch.prepared != other.orders(50).prepared
    resting = first.resting(500)
    assert resting.rests.all() and resting.prices[resting.buys].max() < resting.prices[~resting.buys].min()
    actions = [one.action for one in (*batch.prepared, *resting.prepared)]
    assert len({(action.account, action.nonce) for action in actions if action is not None}) == 550


@pytest.mark.parametrize("policy", [AUCTION, SHUFFLE])
def test_a_true_height_passes_and_has_takers_makers_and_resting_orders_in_it(policy: int) -> None:
    market, depth, reference, batch, result = one_height(policy)
    check_height(market, depth, reference, batch, result)
    assert {outcome.code for outcome in result.outcomes} >= {"filled", "unfilled", "resting"}
    assert result.clearing and result.updates, "orders of the book before are among those that trade"


def changed_fill(result: HeightResult, **fields: Any) -> HeightResult:
    fills = list(result.fills)
    place = next(at for at, fill in enumerate(fills) if fill.side == BUY)
    fills[place] = msgspec.structs.replace(fills[place], **fields)
    return rebuilt(result, fills=tuple(fills))


def rebuilt(result: HeightResult, **fields: Any) -> HeightResult:
    names = ("height", "state_root", "fills_root", "fills", "outcomes", "updates", "deltas", "clearing")
    return HeightResult(**{**{name: getattr(result, name) for name in names}, **fields})


def test_a_clearing_at_the_wrong_price_is_refused() -> None:
    market, depth, reference, batch, result = one_height(AUCTION)
    ((number, price, volume),) = result.clearing
    for wrong in ((number, price + 1, volume), (number, price - 1, volume), (number, price, volume - 1)):
        with pytest.raises(WrongResult, match=r"cleared at|volume"):
            check_height(market, depth, reference, batch, rebuilt(result, clearing=(wrong,)))


def test_fills_and_deltas_that_are_off_by_one_are_refused() -> None:
    market, depth, reference, batch, result = one_height(AUCTION)
    lots = next(fill.quantity_lots for fill in result.fills if fill.side == BUY)
    price = result.clearing[0][1] + 1_000_000
    fee = price * lots * market.quote_units_per_tick_lot * market.taker_fee_ppm // PPM
    account, asset, total, withdrawable = result.deltas[0]
    unpaid = msgspec.structs.replace(result.fills[0], fee=bytes(16))
    wrong = {
        "bought": changed_fill(result, quantity_lots=lots + 1, fee=bytes(16)),
        "worse than its limit": changed_fill(result, price_ticks=price, fee=fee.to_bytes(16, "big"), maker=0),
        "paid a fee": rebuilt(result, fills=(unpaid, *result.fills[1:])),
        "no outcome": rebuilt(result, outcomes=result.outcomes[1:]),
        "deltas do not sum": rebuilt(result, deltas=((account, asset, total + 1, withdrawable), *result.deltas[1:])),
    }
    for match, one in wrong.items():
        with pytest.raises(WrongResult, match=match):
            check_height(market, depth, reference, batch, one)


def test_a_unit_that_appears_or_a_lock_without_an_order_is_refused() -> None:
    flow = Flow(3)
    market, engine = funded(flow, AUCTION)
    before = totals(engine, market, flow.accounts)
    engine.execute(1, 1, bytes(32), flow.resting(ORDERS).prepared)
    after, depth = totals(engine, market, flow.accounts), depth_of(engine, market)
    check_money(market, depth, before, after, ORDERS)
    units, locked = after[market.quote_asset]
    for quote, match in (((units + 1, locked), "units and has"), ((units, locked - 1_000), "lock")):
        with pytest.raises(WrongResult, match=match):
            check_money(market, depth, before, {**after, market.quote_asset: quote}, ORDERS)


@pytest.mark.parametrize(
    ("bids", "asks", "reference", "expected"),
    [
        ([0, 0, 5, 0], [0, 5, 0, 0], 0, (1, 5)),  # no imbalance between them: nearest to the reference
        ([0, 0, 5, 0], [0, 5, 0, 0], 3, (2, 5)),
        ([0, 0, 6, 0], [0, 5, 0, 0], 0, (2, 5)),  # more to buy: the highest
        ([0, 0, 5, 0], [0, 6, 0, 0], 3, (1, 5)),  # more to sell: the lowest
        ([3, 0, 0, 0], [0, 0, 0, 3], 1, None),
    ],
)
def test_the_uniform_price_by_its_own_words(
    bids: list[int], asks: list[int], reference: int, expected: tuple[int, int] | None
) -> None:
    assert uniform_price(np.array(bids), np.array(asks), reference) == expected


def test_stages_add_up_to_the_height() -> None:
    flow = Flow(1)
    _, engine = funded(flow, AUCTION)
    batch = flow.orders(ORDERS)
    with StageMeter() as meter:
        result, spent = meter.measure(lambda: engine.execute(1, 1, bytes(32), batch.prepared))
    assert result.fills and all(spent[stage] > 0 for stage in STAGES)
    assert sum(spent[stage] for stage in STAGES) == spent["height"]


def test_the_peer_that_trades_one_lot_otherwise_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(SHUFFLE, resting=300, batches=(40,), rounds=2, seed=5, accounts=100, with_peer=True)
    steps: list[str] = []
    (row,) = run_case(case, steps.append)
    assert len(steps) == case.steps and row["peer"]["per_s"] > 0 and row["fills"] > 10

    def off_by_one(self: market_peer.Peer, done: Any) -> list[market_peer.Row]:
        (order_id, price, lots, maker), *others = rows(self, done)
        return [(order_id, price, lots + 1, maker), *others]

    rows = market_peer.Peer._rows
    monkeypatch.setattr(market_peer.Peer, "_rows", off_by_one)
    with pytest.raises(WrongResult, match="peer"):
        run_case(case, steps.append)


def test_a_wrong_engine_gives_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = market_case._Run.execute

    def bent(self: Any, height: int, batch: Batch) -> HeightResult:
        result = execute(self, height, batch)
        return rebuilt(result, clearing=()) if result.clearing else result

    monkeypatch.setattr(market_case._Run, "execute", bent)
    with pytest.raises(WrongResult):
        run_case(Case(AUCTION, 0, (40,), 1, 5, 100, with_peer=False), lambda _: None)


def test_the_command_measures_both_policies_beside_the_peer_and_draws_them(tmp_path: Path) -> None:
    out = tmp_path / "market.svg"
    arguments = ["bench", "market", "--batches", "450,50", "--resting", "0,500", "--rounds", "1", "--plot", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["accounts"] == ACCOUNTS_MIN and value["peer"].startswith("lightmatchingengine ")
    found = [(row["policy"], row["before"], row["batch"], "peer" in row) for row in value["rows"]]
    assert found == [
        (policy, before, size, policy == "continuous")
        for policy in ("auction", "continuous")
        for before in (0, 500)
        for size in (50, 450)
    ]
    assert all(row["cleared_per_s"] > row["height_per_s"] > 0 and row["peak_mb"] > 10 for row in value["rows"])
    assert [row["resting"] >= row["before"] for row in value["rows"]] == [True] * 8
    assert len(value["ratios"]) == 4
    root = ElementTree.fromstring(out.read_text(encoding="utf-8"))
    assert len(root.findall("{*}polyline")) == 4 + 6, "two curves a case, three beside the peer"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for line in root.findall("{*}polyline"):
        numbers = [float(one) for one in re.findall(r"[\d.]+", line.attrib["points"])]
        assert all(0 < x < width for x in numbers[::2]) and all(0 < y < height for y in numbers[1::2])
    assert CliRunner().invoke(app, arguments).exit_code != 0, "the plot is not overwritten"


@pytest.mark.parametrize(
    "wrong", [["--batches", "0"], ["--batches", "5,5"], ["--resting", "-1"], ["--resting", "9999999999"],
              ["--policy", "dark"]]
)  # fmt: skip
def test_options_out_of_bounds_are_refused(wrong: list[str]) -> None:
    assert CliRunner().invoke(app, ["bench", "market", *wrong]).exit_code != 0


def test_ratios_compare_the_fullest_book_with_the_emptiest() -> None:
    rows = [
        {"policy": "auction", "batch": 10, "before": before, "cleared_ms": ms, "ms": {"height": 2 * ms}, "fills": 4,
         "met": before, "emptied": {"cleared_ms": 1.25}}
        for before, ms in ((0, 1.0), (50, 9.0), (100, 1.5))
    ]
    assert ratios(rows) == [
        {"policy": "auction", "batch": 10, "from": 0, "to": 100, "cleared": 1.5, "height": 1.5, "fills": 1.0,
         "met": 100, "emptied": 1.2}
    ]  # fmt: skip
    assert ratios(rows[:1]) == []


def test_a_plot_needs_two_batch_sizes() -> None:
    with pytest.raises(ValueError):
        draw_market({"rows": [{"policy": "auction", "batch": 10}]})


def test_a_case_tells_each_step() -> None:
    assert Case(AUCTION, 250_000, (1, 2), 3, 0, 100, with_peer=False).steps == 3 + 6 + 6
    assert Case(AUCTION, 0, (1, 2), 3, 0, 100, with_peer=False).steps == 6


def test_a_case_runs_again_on_the_emptied_book_where_no_order_meets_one_of_before() -> None:
    steps: list[str] = []
    case = Case(AUCTION, 3_000, (40, 450), 2, 5, 100, with_peer=False)
    rows = run_case(case, steps.append)
    assert len(steps) == case.steps
    assert sum(row["met"] for row in rows) > 0
    assert all(row["emptied"]["met"] == 0 < row["emptied"]["fills"] for row in rows)
    assert all(row["emptied"]["cleared_ms"] > 0 for row in rows)


def test_all_stages_are_told_of_a_small_batch() -> None:
    result = measure((40,), (0,), rounds=1, policies=("auction",))
    assert set(result["rows"][0]["ms"]) == {*STAGES, "height"} and result["ratios"] == []
