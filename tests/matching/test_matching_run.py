"""A height executed through an outside engine's fills: money is conserved, and a wrong answer moves none of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matching_kit import MARKET, example, name
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, GTC, IOC, SELL, Cancel, Order, plain_order
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.market import PreparedOrder
from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.matching import Answer, FairBatch, FillRow
from mpc_sequencer.matching.run import ExternalMarketRun

FEES = b"\xfe" * 20
ACCOUNTS = [bytes((number,)) * 20 for number in (1, 2, 3)]
COIN = b"\x07" * 32
RICH = 10**9


def run_of(units: int = RICH) -> ExternalMarketRun:
    ledger = Ledger()
    for account in ACCOUNTS:
        for asset in (0, 1):
            ledger.credit(account, asset, units)
    return ExternalMarketRun([MARKET], ledger, FEES)


def prepared(number: int, action: Any) -> PreparedOrder:
    return PreparedOrder(bytes.fromhex(name(number)), action, None)


def order(account: int, nonce: int, side: int, price_ticks: int, lots: int, tif: int = GTC) -> Order:
    return plain_order(
        ACCOUNTS[account],
        nonce,
        bytes(32),
        market=0,
        side=side,
        time_in_force=tif,
        price_ticks=price_ticks,
        quantity_lots=lots,
    )


def supply(run: ExternalMarketRun) -> dict[int, int]:
    total = {0: 0, 1: 0}
    for _, held in run.ledger:
        for asset, (free, locked) in held.balances.items():
            assert free >= 0 and locked >= 0
            total[asset] += free + locked
    return total


def locked(run: ExternalMarketRun) -> int:
    return sum(row[1] for _, held in run.ledger for row in held.balances.values())


def test_a_height_is_executed_by_an_outside_engine_s_fills() -> None:
    run = run_of()
    batch = run.begin(
        4, 1_000, COIN, [prepared(1, order(0, 1, BUY, 52, 10)), prepared(2, order(1, 1, SELL, 50, 4, IOC))]
    )
    assert isinstance(batch, FairBatch) and {row.order_id for row in batch.orders} == {name(1), name(2)}
    result = run.finish(example().ProRata().match(batch))
    assert [(fill.side, fill.price_ticks, fill.quantity_lots) for fill in result.fills] == [(BUY, 50, 4), (SELL, 50, 4)]
    value = 50 * 4 * 7
    fee = value * 2_500 // 1_000_000
    rows = {(account, asset): change for account, asset, change, _ in result.deltas}
    assert rows == {
        (ACCOUNTS[0], 0): 400,
        (ACCOUNTS[1], 0): -400,
        (ACCOUNTS[0], 1): -value - fee,
        (ACCOUNTS[1], 1): value - fee,
        (FEES, 1): 2 * fee,
    }
    assert supply(run) == {0: 3 * RICH, 1: 3 * RICH} and result.refusals == {}


def test_a_wrong_answer_moves_nothing_and_a_right_one_may_follow() -> None:
    run = run_of()
    batch = run.begin(4, 1_000, COIN, [prepared(1, order(0, 1, BUY, 52, 10)), prepared(2, order(1, 1, SELL, 50, 10))])
    before = {account: held.value() for account, held in run.ledger}
    with pytest.raises(ProtocolError) as caught:
        run.finish(Answer(4, (FillRow(name(1), 51, 10, 0), FillRow(name(2), 50, 10, 0)), ()))
    assert caught.value.code == "match.conservation"
    assert {account: held.value() for account, held in run.ledger} == before
    with pytest.raises(ProtocolError):
        run.begin(5, 2_000, COIN, [])
    assert len(run.finish(example().ProRata().match(batch)).fills) == 2


def test_admission_refuses_what_is_not_covered_and_a_cancelled_order_gives_its_lock_back() -> None:
    run = run_of(1_000)
    batch = run.begin(
        1,
        1_000,
        COIN,
        [
            prepared(1, order(0, 1, BUY, 50, 2)),
            prepared(2, order(1, 1, BUY, 50, 200)),
            prepared(3, replace(order(2, 1, SELL, 50, 2), display_lots=1)),
            prepared(4, replace(order(2, 2, SELL, 50, 2), market=9)),
            PreparedOrder(bytes(32), None, "malformed"),
        ],
    )
    assert [row.order_id for row in batch.orders] == [name(1)] and locked(run) > 0
    result = run.finish(Answer(1, (), ()))
    codes = {one.hex(): code for one, code in result.refusals.items()}
    assert codes == {name(2): "balance", name(3): "kind", name(4): "market", name(0): "malformed"}
    second = run.begin(2, 2_000, COIN, [prepared(5, Cancel(ACCOUNTS[0], 2, bytes(32), 1))])
    assert second.ended == (name(1),) and locked(run) == 0 and run.book.open == {}
    assert run.finish(Answer(2, (), ())).refusals == {bytes.fromhex(name(5)): "cancelled"}


ROWS = st.lists(
    st.tuples(
        *(st.integers(0, 2), st.sampled_from((BUY, SELL)), st.integers(1, 60)),
        *(st.integers(1, 30), st.sampled_from((GTC, IOC))),
    ),
    max_size=8,
)


@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from((3_000, RICH)))
def test_no_unit_is_made_or_lost_and_no_balance_is_negative(heights: list[list[tuple[int, ...]]], units: int) -> None:
    run, engine, number = run_of(units), example().ProRata(), 0
    for height, rows in enumerate(heights, 1):
        actions = []
        for account, side, price, lots, tif in rows:
            number += 1
            actions.append(prepared(number, order(account, number, side, price, lots, tif)))
        result = run.finish(engine.match(run.begin(height, height, COIN, actions)))
        assert supply(run) == {0: 3 * units, 1: 3 * units}
        for asset in (0, 1):
            assert sum(change for _, one, change, _ in result.deltas if one == asset) == 0
    for held in list(run.book.open.values()):
        run._release(held, held.open_lots)
    assert locked(run) == 0
