"""The dark demo: orders that its seed fixes, the figures it prints, and one short run of the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import DarkFillValue, OutcomeValue
from mpc_sequencer.demo.dark_plan import QUANTITY_LOTS_MAX, TRADERS, DarkWish, make_wave
from mpc_sequencer.demo.dark_summary import DarkSummary
from mpc_sequencer.demo.dark_view import BatchView, PartyView
from mpc_sequencer.devnet.layout import ASSETS, DARK_GRID, devnet_market
from mpc_sequencer.market.types import DARK

RUN_S_MAX = 300
IDS = (b"\1" * 32, b"\2" * 32, b"\3" * 32)


# --- what the traders want ------------------------------------------------------------------------------------------
@given(st.integers(0, 10**6), st.integers(1, 500))
def test_every_trader_has_one_order_a_batch_on_the_grid(seed: int, wave: int) -> None:
    wishes = make_wave(DARK_GRID, seed, wave)
    assert wishes == make_wave(DARK_GRID, seed, wave)
    assert [one.account for one in wishes] == list(range(TRADERS))
    for one in wishes:
        column, off = divmod(one.price_ticks - DARK_GRID.price_first_ticks, DARK_GRID.price_step_ticks)
        assert not off and 0 <= column < DARK_GRID.ticks and one.side in (BUY, SELL)
        assert 1 <= one.quantity_lots <= QUANTITY_LOTS_MAX < 1 << DARK_GRID.quantity_bits
        assert one.nonce == wave


# --- what is told of it ---------------------------------------------------------------------------------------------
def summary(**changed: Any) -> DarkSummary:
    """A batch of three: a sell and a buy trade 4 lots, a sell at a worse limit does not."""
    outcome = OutcomeValue(
        coin=bytes(32),
        crossed=1,
        tick=3,
        side=SELL,
        volume_lots=4,
        fills=(DarkFillValue(0, SELL, 4), DarkFillValue(2, BUY, 4)),
        rejected=(),
        last=0,
    )
    view = BatchView(
        batch=1,
        session=bytes(32),
        order_ids=IDS,
        deposits=(Deposit(10, 1), Deposit(20, 2), Deposit(30, 3)),
        rounds=7,
        opened=99,
        outcome=outcome,
        price_ticks=617_350,
        liars=(),
        reported=True,
        parties=(PartyView(0, IDS[1], ("aa", "bb"), 115, 0.5),),
    )
    wishes = [DarkWish(0, 1, SELL, 617_300, 4), DarkWish(1, 1, SELL, 617_800, 9), DarkWish(2, 1, BUY, 617_350, 4)]
    made = DarkSummary(
        nodes=5,
        faults=1,
        demonstration=False,
        orders=3,
        ends={"filled": 2, "unfilled": 1},
        end_ms=(5.0, 6.0, 7.0),
        batches=(view,),
        wishes=dict(zip(IDS, wishes, strict=True)),
        units=MarketUnits(devnet_market(DARK, 5), *ASSETS),
        settlements=1,
        audit="pass",
        key_ms=2_000,
        problems=(),
    )
    return replace(made, **changed)


def test_what_is_public_holds_nothing_of_an_order_that_did_not_trade() -> None:
    made = summary()
    (batch,) = made.as_json()["batches"]
    first, idle, _ = batch["public"]["orders"]
    assert (first["side"], first["lots"], first["base_lots_locked"]) == ("sell", 4, 1)
    assert idle == {
        "order_id": IDS[1].hex(),
        "trader": 1,
        "base_lots_locked": 2,
        "quote_tick_lots_locked": 20,
        "side": None,
        "lots": 0,
    }
    (unseen,) = batch["unseen"]
    assert (unseen["order_id"], unseen["side"], unseen["price_ticks"]) == (IDS[1].hex(), "sell", 617_800)
    assert unseen["quantity_lots"] == 9


@pytest.mark.parametrize(
    "changed",
    [
        {"audit": "fail"},
        {"problems": ("a balance is off",)},
        {"ends": {"filled": 2, "dark_aborted": 1}},
        {"ends": {"filled": 2}},
        {"batches": ()},
    ],
)
def test_a_demo_in_which_something_is_off_has_not_succeeded(changed: dict[str, Any]) -> None:
    assert summary().succeeded and not summary(**changed).succeeded


# --- the whole ------------------------------------------------------------------------------------------------------
def test_a_committee_of_processes_trades_in_the_dark_and_nobody_saw_what_did_not_trade(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "mpc_sequencer.cli", "demo", "--dark", "--duration", "1", "--seed", "3", "--json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [*command, "--folder", str(folder)],
        capture_output=True,
        env=environment,
        timeout=RUN_S_MAX,
        check=False,
        text=True,
    )
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["problems"], figures["audit"], done.returncode) == ([], "pass", 0), done.stderr
    assert figures["orders"] == sum(figures["outcomes"].values()) == TRADERS
    assert set(figures["outcomes"]) == {"filled", "unfilled"}
    for batch in figures["batches"]:
        assert batch["replay_agrees"] and len(batch["parties"]) == figures["nodes"] == 5
        sides = {"buy": 0, "sell": 0}
        for order in batch["public"]["orders"]:
            sides[order["side"] or "buy"] += order["lots"]
        assert sides["buy"] == sides["sell"] == batch["public"]["volume_lots"]
        assert len({tuple(one["first_shares"]) for one in batch["parties"]}) == 5, "each has shares of its own"
        assert all(0.47 < one["ones_among_bits"] < 0.53 for one in batch["parties"]), "and they look random"
        assert len(batch["unseen"]) == sum(not one["lots"] for one in batch["public"]["orders"])
    assert not list(folder.glob("node-*/pid")), "no process is left behind"
