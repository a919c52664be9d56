"""Items of a batch's log that break a rule: each is refused with one code and changes nothing."""

from __future__ import annotations

import copy

import pytest
from dark_kit import BATCH, NOW_MS, committee, order, refused, secret
from dark_log import (
    COMPLAINTS,
    CONTEXT,
    DELIVERIES,
    OBJECTIONS,
    OPENINGS,
    ORDERS,
    Log,
    acknowledged,
    answered_log,
    complained,
    ids,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark.inputs import BAD, MISSING, OpenedBundle, ShareBundle
from mpc_sequencer.dark.intake import (
    BatchLog,
    Fixed,
    LogItem,
    Phase,
    fixed_orders,
)


# --- items that break a rule --------------------------------------------------------------------------------------
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
