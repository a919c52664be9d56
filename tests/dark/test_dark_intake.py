"""What the log makes of a dark batch's inputs: who is absent, who is heard, which orders are refused."""

from __future__ import annotations

import numpy as np
import pytest
from dark_kit import NOW_MS, UNTIL_MS, committee, order, refused
from dark_log import (
    COMPLAINTS,
    CONTEXT,
    DELIVERIES,
    OBJECTIONS,
    OPENINGS,
    ORDERS,
    Log,
    bad_for,
    complained,
    ids,
    missealed_for,
)
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.dark.inputs import BAD, MISSING, Delivery, OpenedBundle
from mpc_sequencer.dark.intake import (
    Fixed,
    fixed_orders,
)
from mpc_sequencer.dark.sharing import interpolate


# --- the plain course -----------------------------------------------------------------------------------------------
def test_orders_that_all_parties_hold_are_the_batch_in_log_order() -> None:
    log, orders = Log(), [order(CONTEXT, number=number, quantity_lots=number + 1) for number in range(3)]
    for one in reversed(orders):
        log.put(ORDERS, one.order)
        log.deliver(one)
    log.acknowledge()
    assert log.complain(COMPLAINTS) == []
    assert log.fixed() == Fixed(ids(*reversed(orders)), frozenset(), (), ())
    rows = [door.rows(log.fixed().order_ids) for door in log.doors]
    columns = interpolate({party: rows[party].take(2) for party in (0, 3)})
    assert columns.tolist() == [3, 2, 1]
    assert np.array_equal(columns, interpolate({party: rows[party].take(2) for party in range(5)}))


def test_delivery_before_the_log_and_after_it_are_the_same() -> None:
    early, late = Log(), Log()
    one = order(CONTEXT)
    early.deliver(one)
    assert early.doors[0].acknowledge() is None  # nothing is acknowledged that the log does not have
    early.put(ORDERS, one.order)
    late.put(ORDERS, one.order)
    late.deliver(one)
    for log in (early, late):
        log.acknowledge()
    assert early.items == late.items and early.fixed() == late.fixed()
    assert early.doors[0].acknowledge() is None


def test_more_orders_than_one_acknowledgement_holds_take_several(monkeypatch: pytest.MonkeyPatch) -> None:
    log, orders = Log(), [order(CONTEXT, number=number) for number in range(3)]
    log.put(ORDERS, *(one.order for one in orders))
    for one in orders:
        log.deliver(one, [0])
    monkeypatch.setattr(limits, "LIST_ENTRIES_MAX", 2)
    said = [log.doors[0].acknowledge(), log.doors[0].acknowledge()]
    assert [one.order_ids for one in said if one] == [ids(*orders[:2]), ids(orders[2])]
    assert log.doors[0].acknowledge() is None


def test_a_batch_holds_so_many_orders_and_no_more() -> None:
    of = committee(orders_max=2)
    log, orders = Log(of), [order(of.context, number=number) for number in range(3)]
    for one in orders:
        log.put(ORDERS, one.order)
        log.deliver(one)
    log.acknowledge()
    assert log.fixed() == Fixed(ids(*orders[:2]), frozenset(), ((ids(orders[2])[0], "dark.batch_full"),), ())


def test_an_order_outside_its_window_is_refused_at_the_close() -> None:
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one)
    log.acknowledge()
    assert log.fixed(UNTIL_MS - 1).order_ids == ids(one)
    assert log.fixed(UNTIL_MS).refused == ((ids(one)[0], "label.expired"),)
    assert log.fixed(0).refused == ((ids(one)[0], "label.not_yet_valid"),)


# --- silence ----------------------------------------------------------------------------------------------------
def test_silence_is_no_complaint_and_the_silent_party_is_absent() -> None:
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one, range(4))
    log.acknowledge()
    assert log.fixed() == Fixed(ids(one), frozenset({4}), (), ())
    with refused("dark.absent"):
        log.doors[4].rows(log.fixed().order_ids)


def test_no_more_than_t_parties_are_absent_over_all_orders() -> None:
    """Each order lacks one party, and together they would lack two: one liar more and nothing decodes."""
    log, first, second, third = Log(), order(CONTEXT), order(CONTEXT, nonce=2), order(CONTEXT, nonce=3)
    log.put(ORDERS, first.order, second.order, third.order)
    log.deliver(first, (0, 1, 2, 3))
    log.deliver(second, (0, 1, 2, 4))
    log.deliver(third, (0, 1, 2, 3))
    log.acknowledge()
    fixed = log.fixed()
    assert fixed.order_ids == ids(first, third) and fixed.absent == {4}
    assert fixed.refused == ((ids(second)[0], "dark.unacknowledged"),)


def test_an_order_that_two_parties_do_not_hold_is_refused() -> None:
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one, range(3))
    log.acknowledge()
    assert log.fixed() == Fixed((), frozenset(), ((ids(one)[0], "dark.unacknowledged"),), ())


# --- complaints -------------------------------------------------------------------------------------------------
def test_a_true_complaint_of_a_missing_bundle_is_answered_by_the_sealed_one() -> None:
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one, range(4))
    log.acknowledge()
    (said,) = log.complain(COMPLAINTS)
    assert (said.party, said.kind) == (4, MISSING)
    assert log.fixed().refused == ((ids(one)[0], "dark.unanswered"),)
    log.put(DELIVERIES, one.answer(said))
    log.acknowledge(DELIVERIES)
    assert log.complain(OBJECTIONS) == []
    assert log.fixed() == Fixed(ids(one), frozenset(), (), ())
    assert log.doors[4].rows(ids(one)).rows == 1
    assert not any(isinstance(item, OpenedBundle) for _, item in log.items)


def test_a_delivery_that_the_trader_did_not_sign_for_answers_no_complaint() -> None:
    """Whoever logs garbage as an answer makes neither the complaint void nor the trader guilty."""
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one, range(4))
    log.acknowledge()
    (said,) = log.complain(COMPLAINTS)
    for forged in (replace(one.deliveries[4], sealed=b"garbage"), replace(one.deliveries[3], party=4)):
        with refused("dark.leaf"):
            log.put(DELIVERIES, forged)
    assert log.doors[4].bad == {}
    items = [item for item in log.items if not isinstance(item[1], Delivery)]
    assert fixed_orders(CONTEXT, items, NOW_MS).refused == ((ids(one)[0], "dark.unanswered"),)
    assert log.fixed().refused == ((ids(one)[0], "dark.unanswered"),)
    for door in log.doors:
        door.logged(DELIVERIES, one.answer(said))
    assert log.doors[4].rows(ids(one)).rows == 1


def test_a_true_complaint_of_a_bad_bundle_leads_to_an_order_refused_or_opened() -> None:
    log, bad = Log(), bad_for(order(CONTEXT), 2)
    log.put(ORDERS, bad.order)
    for party in range(5):
        if party == 2:
            with refused("wire.malformed"):
                log.doors[2].deliver(bad.deliveries[2])
        else:
            log.doors[party].deliver(bad.deliveries[party])
    log.acknowledge()
    assert log.doors[2].bad == {ids(bad)[0]: "wire.malformed"}
    (said,) = log.complain(COMPLAINTS)
    assert (said.party, said.kind) == (2, BAD)
    answer = bad.answer(said)  # what it signed for is garbage, so is what it can open
    with refused("wire.malformed"):
        log.put(OPENINGS, answer)
    assert log.fixed().refused == ((ids(bad)[0], "dark.unanswered"),)


def test_a_bundle_sealed_to_another_key_is_opened_and_serves_the_party() -> None:
    log, one = Log(), missealed_for(order(CONTEXT), 2)
    log.put(ORDERS, one.order)
    with refused("dark.sealing"):
        log.doors[2].deliver(one.deliveries[2])
    log.deliver(one, (0, 1, 3, 4))
    log.acknowledge()
    (said,) = log.complain(COMPLAINTS)
    log.put(OPENINGS, one.answer(said))
    assert log.fixed() == Fixed(ids(one), frozenset(), (), ())
    columns = {party: log.doors[party].rows(ids(one)).take(2) for party in range(5)}
    assert interpolate({2: columns[2], 4: columns[4]}).tolist() == [7]


def test_a_bad_answer_to_a_missing_bundle_can_still_be_objected_to() -> None:
    """The trader answers in the last moment, with what it signed for, and that is garbage."""
    log, bad = Log(), bad_for(order(CONTEXT), 4)
    log.put(ORDERS, bad.order)
    log.deliver(bad, range(4))
    log.acknowledge()
    (said,) = log.complain(COMPLAINTS)
    log.put(DELIVERIES, bad.answer(said))
    (objection,) = log.complain(OBJECTIONS)
    assert (objection.party, objection.kind) == (4, BAD)
    assert log.fixed().refused == ((ids(bad)[0], "dark.unanswered"),)


def test_a_false_complaint_opens_the_complainer_s_own_bundle_and_the_order_stands() -> None:
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one)
    log.acknowledge(parties=(0, 1, 2, 3))
    false = complained(4, ids(one)[0], BAD)
    log.put(COMPLAINTS, false)
    log.put(OPENINGS, one.answer(false))
    assert log.fixed() == Fixed(ids(one), frozenset(), (), ())
    opened = [item for _, item in log.items if isinstance(item, OpenedBundle)]
    assert [item.party for item in opened] == [4]


def test_a_false_complaint_that_the_party_then_drops_leaves_it_absent() -> None:
    """It says nothing came, gets it in public, and says no more: it is one of the absent, and the order stands."""
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one, range(4))
    log.acknowledge()
    log.put(COMPLAINTS, complained(4, ids(one)[0], MISSING))
    log.put(DELIVERIES, one.deliveries[4])
    assert log.fixed() == Fixed(ids(one), frozenset({4}), (), ())


def test_t_plus_one_complaints_refuse_the_order_and_open_no_second_bundle() -> None:
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one, range(3))
    log.acknowledge()
    first, second = complained(3, ids(one)[0], BAD), complained(4, ids(one)[0], BAD)
    log.put(COMPLAINTS, first, second)
    log.put(OPENINGS, one.answer(first))
    with refused("dark.openings"):
        one.answer(second)
    assert log.fixed().refused == ((ids(one)[0], "dark.complaints"),)


def test_t_plus_one_answered_complaints_refuse_the_order_too() -> None:
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one, range(3))
    log.acknowledge()
    said = log.complain(COMPLAINTS)
    log.put(DELIVERIES, *(one.answer(each) for each in said))
    log.acknowledge(DELIVERIES)
    assert len(said) == 2 and log.fixed().refused == ((ids(one)[0], "dark.complaints"),)


def test_an_acknowledgement_takes_back_that_nothing_came_and_not_that_it_was_bad() -> None:
    for kind, outcome in ((MISSING, ()), (BAD, "dark.unanswered")):
        log, one = Log(), order(CONTEXT)
        log.put(ORDERS, one.order)
        log.deliver(one)
        log.put(ORDERS, complained(4, ids(one)[0], kind))
        log.acknowledge(COMPLAINTS)
        assert log.fixed().refused == (outcome and ((ids(one)[0], outcome),))
