"""What the log makes of a dark batch's inputs, and a party's door: who is refused, who is heard, who is opened."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable

import numpy as np
import pytest
from dark_kit import BATCH, NOW_MS, UNTIL_MS, Committee, committee, order, refused, secret, small_params, terms, trader
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark.bundles import PreparedOrder, seal_bundles, unseal
from mpc_sequencer.dark.field import from_bytes
from mpc_sequencer.dark.inputs import BAD, MISSING, Acknowledgement, Complaint, Delivery, OpenedBundle, ShareBundle
from mpc_sequencer.dark.intake import (
    DELIVERIES_AHEAD_FACTOR,
    DELIVERIES_AHEAD_PER_TRADER_MAX,
    BatchLog,
    Fixed,
    Intake,
    LogItem,
    Phase,
    fixed_orders,
)
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.sharing import interpolate

C = committee()
CONTEXT = C.context
COLUMNS = Layout.of(CONTEXT.params).columns
ORDERS, COMPLAINTS, DELIVERIES, OBJECTIONS, OPENINGS = Phase


class Log:
    """A log with the parties that follow it."""

    def __init__(self, of: Committee = C) -> None:
        self.of = of
        self.items: list[tuple[Phase, LogItem]] = []
        self.doors = [Intake(of.context, party, of.secrets[party], of.signers[party]) for party in range(5)]

    def put(self, phase: Phase, *items: LogItem) -> None:
        for item in items:
            self.items.append((phase, item))
            for door in self.doors:
                door.logged(phase, item)

    def deliver(self, prepared: PreparedOrder, parties: Iterable[int] = range(5)) -> None:
        for party in parties:
            self.doors[party].deliver(prepared.deliveries[party])

    def acknowledge(self, phase: Phase = ORDERS, parties: Iterable[int] = range(5)) -> None:
        for party in parties:
            said = self.doors[party].acknowledge()
            if said is not None:
                self.put(phase, said)

    def complain(self, phase: Phase, parties: Iterable[int] = range(5)) -> list[Complaint]:
        said = [one for party in parties for one in self.doors[party].complaints()]
        self.put(phase, *said)
        return said

    def fixed(self, time_ms: int = NOW_MS) -> Fixed:
        return fixed_orders(self.of.context, self.items, time_ms)


def ids(*prepared: PreparedOrder) -> tuple[bytes, ...]:
    return tuple(one.order.order_id() for one in prepared)


def acknowledged(party: int, *order_ids: bytes, of: Committee = C) -> Acknowledgement:
    fields = (of.context.epoch, of.context.batch, of.context.market, party, order_ids)
    digest = of.context.digest(Acknowledgement(*fields, NO_SIGNATURE).struct_hash())
    return Acknowledgement(*fields, of.signers[party].sign_digest(digest))


def complained(party: int, order_id: bytes, kind: int, of: Committee = C) -> Complaint:
    fields = (of.context.epoch, of.context.batch, of.context.market, party, order_id, kind)
    digest = of.context.digest(Complaint(*fields, NO_SIGNATURE).struct_hash())
    return Complaint(*fields, of.signers[party].sign_digest(digest))


def bad_for(prepared: PreparedOrder, *parties: int) -> PreparedOrder:
    """The order, its trader dealing garbage to ``parties`` and signing for it."""
    plaintexts = [unseal(C.secrets[party], prepared.deliveries[party].sealed) for party in range(5)]
    for party in parties:
        plaintexts[party] = b"\xc1garbage"
    return seal_bundles(CONTEXT, trader(), prepared.order.terms, tuple(plaintexts), secret("bad"))


def missealed_for(prepared: PreparedOrder, party: int) -> PreparedOrder:
    """The order with a good bundle of ``party`` in a box that another party opens."""
    keys = list(CONTEXT.sealing_keys)
    keys[party] = keys[(party + 1) % 5]
    other = committee()
    object.__setattr__(other.context, "sealing_keys", tuple(keys))
    plaintexts = tuple(unseal(C.secrets[each], prepared.deliveries[each].sealed) for each in range(5))
    return seal_bundles(other.context, trader(), prepared.order.terms, plaintexts, secret("missealed"))


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


# --- items that break a rule --------------------------------------------------------------------------------------
def answered_log() -> tuple[Log, PreparedOrder, Complaint]:
    """A log in which party 4's complaint of a bad bundle is open."""
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one)
    log.acknowledge(parties=range(4))
    said = complained(4, ids(one)[0], BAD)
    log.put(COMPLAINTS, said)
    return log, one, said


def test_a_trader_that_opens_a_wrong_bundle_has_not_answered() -> None:
    log, one, said = answered_log()
    answer = one.answer(said)
    assert isinstance(answer, OpenedBundle)
    bundle = decode(ShareBundle, answer.plaintext)
    wrong = replace(answer, plaintext=encode(replace(bundle, shares=bytes(len(bundle.shares)))))
    log.items.append((OPENINGS, wrong))
    ignored = ((len(log.items) - 1, "dark.leaf"),)
    assert log.fixed() == Fixed((), frozenset(), ((ids(one)[0], "dark.unanswered"),), ignored)
    log.items.append((OPENINGS, answer))  # whoever logged the wrong one, the right one still counts
    assert log.fixed().order_ids == ids(one)


def test_items_that_break_a_rule_are_refused_with_one_code_each_and_change_nothing() -> None:
    log, one, said = answered_log()
    answer, other = one.answer(said), order(CONTEXT, nonce=2)
    forged = replace(acknowledged(3, *ids(one)), party=4)
    cases: list[tuple[str, Phase, LogItem]] = [
        ("dark.phase", OPENINGS, other.order),
        ("dark.phase", COMPLAINTS, other.order),
        ("dark.phase", OPENINGS, complained(3, ids(one)[0], BAD)),
        ("dark.phase", DELIVERIES, complained(3, ids(one)[0], MISSING)),
        ("dark.phase", OBJECTIONS, one.deliveries[3]),
        ("dark.repeated", COMPLAINTS, said),
        ("dark.repeated", COMPLAINTS, complained(3, ids(one)[0], BAD)),
        ("dark.unknown_order", COMPLAINTS, complained(3, ids(other)[0], MISSING)),
        ("dark.unknown_order", COMPLAINTS, acknowledged(3, *ids(one, other))),
        ("dark.unknown_order", COMPLAINTS, replace(answer, order_id=ids(other)[0])),  # type: ignore[type-var]
        ("dark.unknown_order", COMPLAINTS, other.deliveries[4]),
        ("dark.uncalled", COMPLAINTS, one.deliveries[4]),
        ("dark.uncalled", OPENINGS, replace(answer, party=3)),  # type: ignore[type-var]
        ("signature.signer", COMPLAINTS, forged),
        ("signature.signer", COMPLAINTS, replace(complained(3, ids(one)[0], MISSING), party=2)),
        ("member.unknown", COMPLAINTS, replace(forged, party=5)),
        ("dark.batch", COMPLAINTS, replace(forged, batch=BATCH + 1)),
    ]
    for code, phase, item in cases:
        state = BatchLog(CONTEXT)
        for each in log.items:
            state.apply(*each)
        before = copy.deepcopy(state.standings)
        with refused(code):
            state.apply(phase, item)
        assert state.standings == before, code
        items = [*log.items, (phase, item)]
        assert fixed_orders(CONTEXT, items, NOW_MS).ignored == ((len(log.items), code),)


def test_one_nonce_is_one_order() -> None:
    first, second = order(CONTEXT), order(CONTEXT, quantity_lots=8, seed=secret("second"))
    log = Log()
    log.put(ORDERS, first.order)
    for item in (second.order, first.order):
        with refused("dark.duplicate"):
            log.put(ORDERS, item)
    assert log.fixed().ignored == ((1, "dark.duplicate"), (2, "dark.duplicate"))


def test_an_order_of_another_batch_is_refused() -> None:
    log = Log()
    with refused("dark.batch"):
        log.put(ORDERS, order(committee(batch=BATCH + 1).context).order)


def test_the_log_s_phases_do_not_go_back() -> None:
    state = BatchLog(CONTEXT)
    state.apply(COMPLAINTS, acknowledged(0, *ids_in(state)))
    with pytest.raises(ValueError, match="phase ORDERS after COMPLAINTS"):
        state.apply(ORDERS, order(CONTEXT).order)


def ids_in(state: BatchLog) -> tuple[bytes, ...]:
    one = order(CONTEXT)
    state.apply(ORDERS, one.order)
    return ids(one)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_batch_is_a_function_of_the_log_and_garbage_in_it_changes_nothing(data: st.DataObject) -> None:
    log, one, said = answered_log()
    log.items.append((OPENINGS, one.answer(said)))
    garbage: list[LogItem] = [
        replace(order(CONTEXT).order, signature=NO_SIGNATURE),
        complained(0, ids(order(CONTEXT, nonce=9))[0], MISSING),
        replace(complained(1, ids(one)[0], MISSING), signature=NO_SIGNATURE),
        replace(one.deliveries[1], party=3),
        replace(acknowledged(2, *ids(one)), party=4),
        one.order,
    ]
    items = list(log.items)
    for item in data.draw(st.lists(st.sampled_from(garbage), max_size=6)):
        place = data.draw(st.integers(0, len(items)))
        phase = items[place - 1][0] if place else ORDERS
        if item is one.order and place == 0:
            continue
        items.insert(place, (phase, item))
    clean, dirty = log.fixed(), fixed_orders(CONTEXT, items, NOW_MS)
    assert (dirty.order_ids, dirty.absent, dirty.refused) == (clean.order_ids, clean.absent, clean.refused)
    assert len(dirty.ignored) == len(items) - len(log.items)
    assert dirty == fixed_orders(CONTEXT, items, NOW_MS)


# --- the door -------------------------------------------------------------------------------------------------------
def test_what_the_trader_did_not_sign_for_has_not_come() -> None:
    """Whoever passes bundles on can garble them: that is a bundle missing, never a bad one, and the true one serves."""
    one, door = order(CONTEXT), Log().doors[2]
    sealed, foreign = one.deliveries[2].sealed, order(CONTEXT, number=1).order.signature
    for code, bad in (
        ("dark.leaf", replace(one.deliveries[2], sealed=sealed[:-1] + b"\x00")),
        ("dark.party", one.deliveries[1]),
        ("dark.leaf", replace(one.deliveries[1], party=2)),
        ("signature.signer", replace(one.deliveries[2], order=replace(one.order, signature=foreign))),
    ):
        with refused(code):
            door.deliver(bad)
    assert door.bad == {}
    door.logged(ORDERS, one.order)
    assert [said.kind for said in door.complaints()] == [MISSING]
    door.deliver(one.deliveries[2])
    assert door.complaints() == ()
    with refused("dark.delivered"):
        door.deliver(one.deliveries[2])


def test_a_copied_bundle_leads_to_a_complaint_against_the_copier() -> None:
    victim, log = order(CONTEXT), Log()
    plaintexts = tuple(unseal(C.secrets[party], victim.deliveries[party].sealed) for party in range(5))
    copied = seal_bundles(CONTEXT, trader(1), terms(CONTEXT, 1), plaintexts, secret("thief"))
    log.put(ORDERS, victim.order, copied.order)
    log.deliver(victim)
    for party in range(5):
        with refused("dark.trader"):
            log.doors[party].deliver(copied.deliveries[party])
    log.acknowledge()
    said = log.complain(COMPLAINTS)
    assert {(one.order_id, one.kind) for one in said} == {(ids(copied)[0], BAD)} and len(said) == 5
    fixed = log.fixed()
    assert fixed.order_ids == ids(victim) and fixed.refused == ((ids(copied)[0], "dark.complaints"),)


def test_a_bundle_for_another_batch_is_refused_at_the_door() -> None:
    other = committee(batch=BATCH + 1)
    with refused("dark.batch"):
        Log().doors[0].deliver(order(other.context).deliveries[0])


def test_the_door_holds_so_much_ahead_of_the_log_and_no_more() -> None:
    of = committee(orders_max=8)
    door = Log(of).doors[0]
    of_one = [order(of.context, nonce=nonce) for nonce in range(DELIVERIES_AHEAD_PER_TRADER_MAX + 1)]
    for one in of_one[:-1]:
        door.deliver(one.deliveries[0])
    with refused("dark.trader_full"):
        door.deliver(of_one[-1].deliveries[0])
    most = DELIVERIES_AHEAD_FACTOR * 8
    others = [order(of.context, number=number) for number in range(1, most - len(of_one) + 3)]
    for one in others[:-1]:
        door.deliver(one.deliveries[0])
    with refused("dark.full"):
        door.deliver(others[-1].deliveries[0])
    door.logged(ORDERS, of_one[0].order)
    door.deliver(of_one[-1].deliveries[0])
    assert others[-1].order.order_id() not in door.log.standings
    door.logged(ORDERS, others[-1].order)  # what the log has is taken however full the door is
    door.deliver(others[-1].deliveries[0])


def test_a_party_takes_its_own_opened_bundle_from_the_log() -> None:
    log, one = Log(), missealed_for(order(CONTEXT), 0)
    log.put(ORDERS, one.order)
    with refused("dark.sealing"):
        log.doors[0].deliver(one.deliveries[0])
    said = log.complain(COMPLAINTS, [0])
    with refused("dark.absent"):
        log.doors[0].rows(ids(one))
    log.put(OPENINGS, *(one.answer(each) for each in said))
    taken = log.doors[0].rows(ids(one))
    opened = log.items[-1][1]
    assert isinstance(opened, OpenedBundle)
    shares = decode(ShareBundle, opened.plaintext).shares
    assert taken.take(2)[0] == from_bytes(shares, COLUMNS)[2]


def test_a_door_shows_and_pickles_nothing_and_is_its_own_party_s() -> None:
    door = Log().doors[0]
    door.deliver(order(CONTEXT).deliveries[0])
    assert repr(door) == "Intake(batch=17, party=0, orders=1)"
    with pytest.raises(TypeError):
        pickle.dumps(door)
    with pytest.raises(ValueError, match="not party 1"):
        Intake(CONTEXT, 1, C.secrets[1], C.signers[0])


def test_a_demonstration_committee_has_the_same_door() -> None:
    of = committee(small_params(parties=4))
    one = order(of.context)
    doors = [Intake(of.context, party, of.secrets[party], of.signers[party]) for party in range(4)]
    items: list[tuple[Phase, LogItem]] = [(ORDERS, one.order)]
    for party, door in enumerate(doors):
        door.logged(ORDERS, one.order)
        door.deliver(one.deliveries[party])
        said = door.acknowledge()
        assert said is not None
        items.append((ORDERS, said))
    assert fixed_orders(of.context, items, NOW_MS) == Fixed(ids(one), frozenset(), (), ())
    assert isinstance(one.deliveries[0], Delivery)
