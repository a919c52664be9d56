"""The tracker believes what f+1 members say alike, and nothing a smaller number says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.client import OrderTracker, TooManyOrders
from mpc_sequencer.client.tracker import RESEND_MS, RESEND_ORDERS_MAX
from mpc_sequencer.core.messages import ExecutedRow, SubmitResult
from mpc_sequencer.core.types import Envelope

F = 1
NODES = range(4)
ORDER_ID = b"\x01" * 32
BLOCK = b"\x02" * 32
OTHER_BLOCK = b"\x03" * 32
ENVELOPE = Envelope(version=1, label=bytes(101), ciphertext=b"c", sponsor_signature=bytes(65))


def tracker() -> OrderTracker:
    made = OrderTracker(F)
    made.add(ORDER_ID, ENVELOPE, NODES, 0)
    return made


def row(code: str = "filled", lots: int = 5, price_ticks: int = 7) -> ExecutedRow:
    return ExecutedRow(ORDER_ID, code, lots, price_ticks, (lots * price_ticks).to_bytes(16, "big"))


def test_one_member_alone_makes_nothing_final_however_often_it_says_so() -> None:
    orders = tracker()
    for _ in range(5):
        assert orders.final(0, 3, BLOCK, [ORDER_ID], 1) == 0
    assert orders.orders[ORDER_ID].state == "submitted"


def test_two_members_that_differ_make_nothing_final_and_a_third_decides() -> None:
    orders = tracker()
    assert orders.final(0, 3, BLOCK, [ORDER_ID], 1) == 0
    assert orders.final(1, 3, OTHER_BLOCK, [ORDER_ID], 2) == 0
    assert orders.final(2, 3, OTHER_BLOCK, [ORDER_ID], 5) == 1
    record = orders.orders[ORDER_ID]
    assert (record.final, record.final_ns, record.state) == ((3, OTHER_BLOCK), 5, "final")
    assert [one.node for one in orders.contradictions] == [0]


def test_a_late_contradiction_is_noticed_and_changes_nothing() -> None:
    orders = tracker()
    for node in (0, 1):
        orders.executed(node, 4, [row()], node)
    assert orders.executed(2, 4, [row(lots=6)], 9) == 0
    assert orders.orders[ORDER_ID].executed == (4, "filled", 5, 7, 35, 0, 0)
    assert [one.node for one in orders.contradictions] == [2]


def test_executed_orders_leave_the_open_ones() -> None:
    orders = tracker()
    assert ORDER_ID in orders.unexecuted
    orders.executed(0, 4, [row()], 1)
    assert ORDER_ID in orders.unexecuted
    orders.executed(1, 4, [row()], 1)
    assert ORDER_ID not in orders.unexecuted


def test_later_fills_add_up_once_each() -> None:
    orders = tracker()
    for node in (0, 1):
        orders.executed(node, 4, [row("resting", 0, 0)], 1)
    for node in NODES:
        orders.filled(node, 6, [row(lots=2, price_ticks=8)])
        orders.filled(node, 6, [row(lots=2, price_ticks=8)])
    orders.filled(0, 7, [row(lots=3, price_ticks=9)])
    record = orders.orders[ORDER_ID]
    assert record.fills() == [(6, 2, 8, 16)]
    assert (record.filled_lots, record.notional_tick_lots) == (2, 16)


def test_a_liar_s_thousands_of_updates_keep_no_true_one_from_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpc_sequencer.client.tracker.UPDATES_PER_MEMBER_MAX", 10)
    orders = tracker()
    for node in (1, 2):
        orders.executed(node, 4, [row("resting", 0, 0)], 1)
    for height in range(1_000, 1_020):
        orders.filled(3, height, [row(lots=1)])
    assert len(orders.orders[ORDER_ID].update_reports) == 10
    for node in (1, 2):
        orders.filled(node, 6, [row(lots=2)])
    assert orders.orders[ORDER_ID].fills() == [(6, 2, 7, 14)]


def test_fills_at_several_prices_count_by_their_notional_and_members_must_agree_on_it() -> None:
    orders = tracker()
    swept = ExecutedRow(ORDER_ID, "filled", 5, 9, (3 * 8 + 2 * 9).to_bytes(16, "big"))
    lied = ExecutedRow(ORDER_ID, "filled", 5, 9, (1 << 100).to_bytes(16, "big"))
    assert orders.executed(0, 4, [lied], 1) == 0
    assert orders.executed(1, 4, [swept], 1) == 0
    assert orders.executed(2, 4, [swept], 1) == 1
    record = orders.orders[ORDER_ID]
    assert (record.fills(), record.notional_tick_lots) == ([(4, 5, 9, 42)], 42)
    assert [one.node for one in orders.contradictions] == [0]


def test_an_order_is_refused_only_when_every_member_it_went_to_refused_it() -> None:
    orders = tracker()
    refusal = SubmitResult(ORDER_ID, None, "credit.exhausted", "label.sponsor", "0", "1")
    for node in (0, 1, 2):
        orders.refusal(node, refusal)
        assert not orders.orders[ORDER_ID].refused
    orders.refusal(3, refusal)
    assert orders.orders[ORDER_ID].refused


def test_an_order_that_every_member_puts_off_in_its_cutover_is_not_refused_and_sent_again() -> None:
    orders = tracker()
    for node in NODES:
        orders.refusal(node, SubmitResult(ORDER_ID, None, "intake.cutover", "epoch", "0", "1, in a moment"))
    assert not orders.orders[ORDER_ID].refused and orders.orders[ORDER_ID].state == "submitted"
    assert all(orders.overdue(node, 2 * RESEND_MS * 1_000_000) for node in NODES)


def test_receipts_count_once_per_member_and_time_the_first_honest_promise(make_receipt: Any) -> None:
    orders = tracker()
    assert orders.receipt(0, make_receipt(ORDER_ID, 0), 10)
    assert not orders.receipt(0, make_receipt(ORDER_ID, 0), 11)
    record = orders.orders[ORDER_ID]
    assert (record.first_receipt_ns, record.receipts_ns) == (10, None)
    assert orders.receipt(2, make_receipt(ORDER_ID, 2), 12)
    assert orders.receipt(3, make_receipt(ORDER_ID, 3), 13)
    assert (record.first_receipt_ns, record.receipts_ns) == (10, 12)


def test_a_member_that_says_sequenced_has_not_refused() -> None:
    orders = tracker()
    refusal = SubmitResult(ORDER_ID, None, "credit.exhausted", "label.sponsor", "0", "1")
    for node in (0, 1, 2):
        orders.refusal(node, refusal)
    orders.sequenced(3, ORDER_ID)
    orders.sequenced(2, ORDER_ID)
    record = orders.orders[ORDER_ID]
    assert not record.refused and sorted(record.refusals) == [0, 1]


def test_an_order_that_went_to_nobody_is_not_refused() -> None:
    orders = OrderTracker(F)
    assert not orders.add(ORDER_ID, ENVELOPE, (), 0).refused


def test_orders_are_sent_again_ever_more_seldom_and_only_where_it_may_bring_news() -> None:
    orders = tracker()
    second_ns = 1_000_000_000
    record = orders.orders[ORDER_ID]
    times = []
    for second in range(60):
        if orders.overdue(0, second * second_ns):
            times.append(second)
            record.sent_again(0, second * second_ns)
    assert times == [5, 10, 20, 40]
    now_ns = 100 * second_ns
    assert [bool(orders.overdue(node, now_ns)) for node in NODES] == [True] * 4
    orders.refusal(1, SubmitResult(ORDER_ID, None, "label.expired", "", "", ""))
    orders.refusal(2, SubmitResult(ORDER_ID, None, "intake.recovering", "", "", ""))
    orders.executed(3, 4, [row()], 1)
    assert [bool(orders.overdue(node, now_ns)) for node in NODES] == [True, False, True, False]
    orders.executed(0, 4, [row()], 1)
    assert not any(orders.overdue(node, now_ns) for node in NODES)


def test_orders_are_sent_again_oldest_first_and_a_bounded_number_at_once() -> None:
    orders = OrderTracker(F)
    for number in range(RESEND_ORDERS_MAX + 5):
        orders.add(number.to_bytes(32, "big"), ENVELOPE, NODES, number)
    late_ns = 2 * RESEND_MS * 1_000_000
    first = orders.overdue(0, late_ns)
    assert [int.from_bytes(one.order_id, "big") for one in first] == list(range(RESEND_ORDERS_MAX))
    assert len(orders.overdue(0, RESEND_MS * 1_000_000 + 2)) == 3, "the younger ones are not due"


def test_a_second_receipt_of_a_member_stands_beside_the_first(make_receipt: Any) -> None:
    orders = tracker()
    first, reborn = make_receipt(ORDER_ID, 0), make_receipt(ORDER_ID, 0, incarnation=1, list_number=3)
    record = orders.orders[ORDER_ID]
    assert [orders.receipt(0, one, 1) for one in (first, reborn, first, reborn)] == [True, True, False, False]
    assert (record.receipts[0], record.earlier_receipts) == (reborn, [first])
    twice = make_receipt(ORDER_ID, 0, incarnation=1, list_number=4)
    assert orders.receipt(0, twice, 1) and record.receipts[0] == reborn, "a broken promise is not forgotten"
    assert record.earlier_receipts == [first, twice]


def test_memory_is_bounded_and_forgetting_makes_room() -> None:
    orders = OrderTracker(F, orders_max=2)
    for number in range(2):
        orders.add(bytes((number,)) * 32, ENVELOPE, NODES, 0)
    with pytest.raises(TooManyOrders):
        orders.add(b"\x09" * 32, ENVELOPE, NODES, 0)
    orders.forget(b"\x00" * 32)
    orders.add(b"\x09" * 32, ENVELOPE, NODES, 0)
    assert len(orders.orders) == len(orders.unexecuted) == 2


def test_reports_about_unknown_orders_leave_no_trace() -> None:
    orders = OrderTracker(F)
    for node in NODES:
        orders.final(node, 3, BLOCK, [ORDER_ID], 1)
        orders.executed(node, 3, [row()], 1)
        orders.filled(node, 3, [row()])
    assert not orders.orders and not orders.contradictions


reports = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([BLOCK, OTHER_BLOCK])), max_size=20)


@given(reports)
def test_a_final_block_always_has_f_plus_1_first_reports_behind_it(said: list[tuple[int, bytes]]) -> None:
    orders = tracker()
    first: dict[int, bytes] = {}
    for node, block in said:
        orders.final(node, 3, block, [ORDER_ID], 1)
        first.setdefault(node, block)
    agreed = orders.orders[ORDER_ID].final
    if agreed is not None:
        assert sum(block == agreed[1] for block in first.values()) >= F + 1
    else:
        assert all(list(first.values()).count(block) <= F for block in (BLOCK, OTHER_BLOCK))
