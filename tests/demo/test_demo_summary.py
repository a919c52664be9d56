"""The demo's figures: nearest-rank percentiles, counts of what f+1 members reported, balances from fills."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.client.reports import ExecutedReport
from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.core.actions import BUY, GTC, SELL
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.demo.plan import PlannedOrder
from mpc_sequencer.demo.settle import Withdrawn, expected_balances
from mpc_sequencer.demo.summary import Latencies, Summary, count_orders, latencies, percentile
from mpc_sequencer.devnet.layout import BTCUSDT

ENVELOPE = Envelope(version=1, label=bytes(101), ciphertext=b"c", sponsor_signature=bytes(65))


def record(number: int, code: str, lots: int, height: int = 4) -> OrderRecord:
    made = OrderRecord(bytes((number,)) * 32, ENVELOPE, frozenset((0,)), submitted_ns=0)
    made.receipts_ns, made.final_ns, made.executed_ns = 1_000_000, 2_000_000, 3_500_000
    made.final = (height, bytes(32))
    made.executed = ExecutedReport(height, code, lots, 618_000, lots * 618_000)
    return made


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_a_value_with_at_least_that_part_at_or_below_it(
    values: list[float], part: float
) -> None:
    ordered = sorted(values)
    found = percentile(ordered, part)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= part * len(ordered)
    assert sum(value < found for value in ordered) < part * len(ordered)


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_orders_batches_fills_and_malformed_are_counted_once() -> None:
    resting = record(3, "resting", 0)
    resting.updates = [
        ExecutedReport(6, "partly_filled", 2, 618_010, 1_236_020, 0, 1),
        ExecutedReport(9, "filled", 1, 618_020, 618_020),
    ]
    records = [record(1, "filled", 5), record(2, "malformed", 0, height=5), resting]
    counts = count_orders(4, records)
    assert (counts.sealed, counts.final, counts.filled, counts.malformed) == (4, 3, 2, 1)
    assert (counts.batches, counts.fills) == (2, 3)
    assert counts.prices == ((4, 618_000), (6, 618_010), (9, 618_020))


def test_latencies_of_fills_are_those_of_orders_filled_at_once() -> None:
    times = latencies([record(1, "filled", 5), record(2, "unfilled", 0)])
    assert times == Latencies((1.0, 1.0), (2.0, 2.0), (3.5,))


def test_the_json_object_has_exactly_the_promised_fields() -> None:
    summary = Summary(4, count_orders(1, [record(1, "filled", 5)]), latencies([]), 1, 5, 400, "pass", 2_500, ())
    document = summary.as_json()
    assert list(document) == [
        *("nodes", "orders_sealed", "orders_final", "orders_filled", "orders_malformed", "batches", "fills"),
        *("settlements", "latency_ms", "cpu_us_per_order_per_node", "audit", "key_ms"),
    ]
    assert document["latency_ms"] == {
        name: {"p50": None, "p99": None} for name in ("receipt", "final", "fill")
    }
    assert document["key_ms"] == 2_500
    assert summary.succeeded


@pytest.mark.parametrize("change", [{"audit": "fail"}, {"problems": ("a balance is off",)}, {"counts": None}])
def test_a_demo_with_any_fault_has_not_succeeded(change: dict[str, object]) -> None:
    good = Summary(4, count_orders(1, [record(1, "filled", 5)]), latencies([]), 1, 5, 400, "pass", 2_500, ())
    if "counts" in change:
        change = {"counts": count_orders(2, [record(1, "filled", 5)])}
    assert not dataclasses.replace(good, **change).succeeded  # type: ignore[arg-type]


def test_expected_balances_go_by_the_cost_of_an_order_with_fills_at_several_prices() -> None:
    committee = type("C", (), {"genesis": type("G", (), {"markets": (BTCUSDT,)})})
    swept = record(1, "filled", 5)
    swept.executed = ExecutedReport(4, "filled", 5, 618_000, 2 * 617_000 + 3 * 618_000)
    sent = {swept.order_id: PlannedOrder(0, 0, 1, BUY, GTC, 618_005, 5)}
    after = expected_balances(committee, {(0, 0): 0, (0, 1): 10**12}, sent, {swept.order_id: swept}, [])  # type: ignore[arg-type]
    assert after == {(0, 0): 500_000, (0, 1): 10**12 - (2 * 617_000 + 3 * 618_000) * 100}


def test_expected_balances_move_with_fills_and_conserve_every_asset() -> None:
    committee = type("C", (), {"genesis": type("G", (), {"markets": (BTCUSDT,)})})
    start = {(account, asset): 10**15 for account in (0, 1) for asset in (0, 1)}
    buy, sell = record(1, "filled", 5), record(2, "partly_filled", 5)
    sent = {
        buy.order_id: PlannedOrder(0, 0, 1, BUY, GTC, 618_005, 5),
        sell.order_id: PlannedOrder(0, 1, 1, SELL, GTC, 618_000, 9),
    }
    records = {one.order_id: one for one in (buy, sell)}
    after = expected_balances(committee, start, sent, records, [Withdrawn(1, 0, 7)])  # type: ignore[arg-type]
    quote = 5 * 618_000 * 100
    assert after == {
        (0, 0): 10**15 + 500_000,
        (0, 1): 10**15 - quote,
        (1, 0): 10**15 - 500_000 - 7,
        (1, 1): 10**15 + quote,
    }
