"""The desk: batches of honest parties come to what the dark rule says, entry, time, epochs and parties that restart."""

from __future__ import annotations

import random
from itertools import product

import pytest
from desk_kit import BLOCK_MS, GRID, MARKET, Floor, account_of, dark_market, dark_parties, order_id_of, party_seed
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark import codes
from mpc_sequencer.dark.bookstate import OPENINGS, REPORTS, RUN
from mpc_sequencer.dark.desk import Compute, SayAnswer, SayDeal, SayKey, SayOpenings, SayReport
from mpc_sequencer.dark.facts import priority
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import ResultSaid, encode_word
from mpc_sequencer.dark.party import DarkParty, result_of
from mpc_sequencer.dark.rule import PlainOrder, clear_openly
from mpc_sequencer.market import types
from mpc_sequencer.market.types import DARK_EPOCH, FILLED, UNFILLED
from threshold import UsageError

OTHER = 8


def agreed(n: int = 5, t: int = 1) -> Floor:
    floor = Floor(dark_parties(n, t), {MARKET: dark_market(), OTHER: dark_market(OTHER)})
    floor.agree()
    return floor


def test_the_codes_are_those_of_the_market() -> None:
    names = [name for name in vars(codes) if name.isupper()]
    assert names and all(getattr(types, name) == getattr(codes, name) for name in names)
    assert {getattr(codes, name) for name in names} <= set(types.OUTCOME_CODES)


# --- honest batches -------------------------------------------------------------------------------------------------


def test_a_batch_of_honest_parties_is_settled_at_the_clearing_price() -> None:
    floor = agreed()
    buy, sell, low = floor.order(BUY, 120, 5), floor.order(SELL, 110, 3), floor.order(BUY, 100, 2)
    assert sorted(floor.desk.locks()) == sorted(
        (account_of(nonce), MARKET, quote, base) for nonce, quote, base in ((1, 600, 5), (2, 330, 3), (3, 200, 2))
    )
    (ended,) = floor.settle()
    assert (ended.market, ended.batch, ended.volume_lots) == (MARKET, 1, 3)
    assert {one.order_id: (one.code, one.side, one.lots) for one in ended.orders} == {
        buy: (FILLED, BUY, 3),
        sell: (FILLED, SELL, 3),
        low: (UNFILLED, 0, 0),
    }
    assert [(one.quote_tick_lots, one.base_lots) for one in ended.orders if one.order_id == buy] == [(600, 5)]
    assert floor.desk.owes(0) == () and not list(floor.desk.locks())


@pytest.mark.parametrize("seed", range(8))
def test_random_books_come_to_what_the_dark_rule_says_in_the_order_of_the_opened_coin(seed: int) -> None:
    """Two markets at once, of which each has batches of its own."""
    floor, draw = agreed(*((9, 2) if seed == 7 else (5, 1))), random.Random(seed)
    plain: dict[bytes, PlainOrder] = {}
    entered: dict[int, list[tuple[int, bytes]]] = {MARKET: [], OTHER: []}
    for market, _ in product(entered, range(draw.randrange(3, 14))):
        order = PlainOrder(draw.choice((BUY, SELL)), draw.randrange(8), draw.randrange(16))
        price_ticks = GRID.price_first_ticks + GRID.price_step_ticks * order.tick
        order_id = floor.order(order.side, price_ticks, order.quantity_lots, market=market)
        plain[order_id] = order
        entered[market].append((floor.height_number + 1, order_id))
        if draw.random() < 0.3:
            floor.height()
    for ended in floor.settle():
        ids = [order_id for _, order_id in sorted(entered[ended.market])]
        ran = floor.computed[ended.market, ended.batch].runs
        outcomes = {run.outcome() for run in ran.values()}
        assert len(outcomes) == 1
        outcome = outcomes.pop()
        assert outcome is not None and [one.order_id for one in ended.orders] == ids
        expected = clear_openly([plain[order_id] for order_id in ids], 8, priority(outcome.coin, tuple(ids)))
        assert ended.volume_lots == expected.volume_lots
        price_ticks = None if expected.tick is None else 100 + 5 * expected.tick
        assert ended.price_ticks == price_ticks
        lots = {fill.order: (FILLED, fill.side, fill.lots) for fill in expected.fills}
        for index, one in enumerate(ended.orders):
            assert (one.code, one.side, one.lots) == lots.get(index, (UNFILLED, 0, 0))


def test_the_opened_coin_alone_decides_who_is_served_first() -> None:
    """Of ten equal buys one trades: not the first in the log, and another one in each batch."""
    floor, served = agreed(), set()
    for _ in range(6):
        buys = [floor.order(BUY, 110, 1) for _ in range(10)]
        floor.order(SELL, 110, 1)
        (ended,) = floor.settle()
        (winner,) = [one.order_id for one in ended.orders if one.side == BUY and one.lots]
        outcome = floor.computed[MARKET, ended.batch].runs[0].outcome()
        assert outcome is not None
        ids = tuple(one.order_id for one in ended.orders)
        first = next(index for index in priority(outcome.coin, ids) if ids[index] in buys)
        assert ids[first] == winner
        served.add(first)
    assert len(served) > 2


# --- entry ----------------------------------------------------------------------------------------------------------


def test_orders_without_keys_of_other_keys_or_beyond_their_bounds_are_refused() -> None:
    floor = agreed()
    action = floor.action(BUY, 110, 3)
    refusal = floor.desk.refusal
    assert refusal(action) is None
    assert refusal(replace(action, keys=bytes(32))) == types.DARK_KEYS
    assert Floor().desk.refusal(replace(action, market=MARKET)) == types.DARK_KEYS
    for changed in (
        replace(action, quote_tick_lots=1 << 16),
        replace(action, base_lots=16),
        replace(action, boxes=action.boxes[1:]),
        replace(action, boxes=(*action.boxes, action.boxes[0])),
        replace(action, boxes=(b"", *action.boxes[1:])),
    ):
        assert refusal(changed) == types.DARK_TERMS
    assert refusal(replace(action, quote_tick_lots=(1 << 16) - 1, base_lots=15)) is None


def test_a_full_batch_and_a_full_account_take_no_more_until_it_has_closed() -> None:
    grid = replace(GRID, orders_max=limits.DARK_ORDERS_PER_ACCOUNT_MAX + 2)
    floor = Floor(markets={MARKET: dark_market(grid=grid)})
    floor.agree()
    for _ in range(limits.DARK_ORDERS_PER_ACCOUNT_MAX):
        floor.order(BUY, 110, 0, account=1, deposit=Deposit(0, 0))
    mine, another = floor.action(BUY, 110, 0, account=1), floor.action(BUY, 110, 0, account=2)
    assert floor.desk.refusal(mine) == types.DARK_ACCOUNT_FULL and floor.desk.refusal(another) is None
    floor.enter(another)
    floor.order(account=3)
    assert floor.desk.refusal(floor.action(BUY, 110, 1, account=4)) == types.DARK_FULL
    for _ in range(6):
        floor.go()
    assert floor.desk.book(MARKET).state.batch is not None
    assert floor.desk.refusal(mine) is None


def test_orders_stand_in_the_order_of_heights_then_ids_however_they_are_entered() -> None:
    floor = agreed()
    actions = [floor.action(BUY, 110, 1) for _ in range(6)]
    entered = []
    for part in (actions[:3], actions[3:]):
        entered += [(floor.height_number + 1, order_id_of(one)) for one in part]
        for one in sorted(part, key=order_id_of, reverse=True):
            floor.enter(one)
        floor.height()
    assert [(one.height, one.order_id) for one in floor.desk.book(MARKET).state.held] == sorted(entered)


# --- time -----------------------------------------------------------------------------------------------------------


def test_a_batch_closes_an_interval_after_its_first_order_and_one_at_a_time() -> None:
    floor = agreed()
    first_ms = floor.time_ms + BLOCK_MS
    floor.order(SELL, 110, 1)
    floor.go()
    assert floor.desk.due_ms() == first_ms + GRID.interval_ms
    floor.go()
    floor.order(BUY, 110, 1)  # the interval is the first order's
    while floor.time_ms + BLOCK_MS < first_ms + GRID.interval_ms:
        floor.height()
        assert floor.desk.book(MARKET).state.batch is None
    floor.height()
    batch = floor.desk.book(MARKET).state.batch
    assert batch is not None and len(batch.orders) == 2
    assert floor.desk.due_ms() == floor.time_ms + limits.DARK_WINDOW_MS
    later = floor.order(BUY, 110, 1)
    floor.height(later_ms=2 * GRID.interval_ms)
    assert floor.desk.book(MARKET).state.batch == batch  # the next one waits for this one's end
    (ended, other) = floor.settle()
    assert (ended.batch, len(ended.orders)) == (1, 2)
    assert (other.batch, [one.order_id for one in other.orders]) == (2, [later])


def test_due_is_the_earliest_time_at_which_something_follows_without_words() -> None:
    floor = Floor(markets={MARKET: dark_market(), OTHER: dark_market(OTHER)})
    assert floor.desk.due_ms() is None
    floor.height()
    for _ in range(40):
        if floor.desk.keys is None or floor.desk.due_ms() is None:
            floor.go()
            if floor.desk.keys is not None and not list(floor.desk.locks()):
                floor.order()
                floor.order(market=OTHER)
            continue
        due_ms = floor.desk.due_ms()
        assert due_ms is not None
        before = floor.desk.dump()
        floor.height(later_ms=due_ms - 1 - floor.time_ms)
        assert floor.desk.dump() == before
        floor.height(later_ms=1)
        assert floor.desk.dump() != before


# --- what is owed ---------------------------------------------------------------------------------------------------


def test_what_is_owed_is_wanted_and_is_owed_no_more_once_it_is_said() -> None:
    floor = Floor()
    kinds = set()
    for number in range(24):
        if floor.desk.keys is not None and number < 12 and not list(floor.desk.locks()):
            floor.order(BUY, 120, 2)
            floor.order(SELL, 110, 2)
            floor.enter(floor.dealt(lambda shares: shares[3].__setitem__(0, 7)))
        owed = {party: floor.desk.owes(party) for party in range(5)}
        said = floor.words()
        assert sorted(party for party, _ in said) == sorted(party for party, tasks in owed.items() for _ in tasks)
        assert all(floor.desk.wanted(*one) for one in said)
        for at, (party, payload) in enumerate(said):
            kinds |= {type(task) for task in floor.desk.owes(party)}
            if at < len(said) - 2:
                floor.height([(party, payload)], later_ms=0)
                assert not floor.desk.wanted(party, payload)
        floor.height(said)
    assert kinds == {SayKey, SayDeal, SayAnswer, SayReport, SayOpenings, Compute}
    assert floor.desk.owes(5) == floor.desk.owes(-1) == ()


# --- epochs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [None, REPORTS, OPENINGS, RUN])
def test_an_epoch_s_end_ends_every_order_in_every_phase(phase: int | None) -> None:
    floor = agreed()
    if phase is not None:
        floor.order(BUY, 120, 2)
        floor.enter(floor.dealt(lambda shares: shares[3].__setitem__(0, 7), SELL))
        while (batch := floor.desk.book(MARKET).state.batch) is None or batch.phase != phase:
            floor.go()
    waiting = [floor.order(), floor.order(market=OTHER)]
    old = floor.desk.keys
    assert old is not None
    late = [(party, payload) for party, payload in floor.words() if phase is not None]
    count = len(list(floor.desk.locks()))
    ended = floor.rotate(dark_parties(6, 1, epoch=1))
    orders = {one.order_id: (each.market, each.batch, one.code) for each in ended for one in each.orders}
    assert len(orders) == count and {code for _, _, code in orders.values()} == {DARK_EPOCH}
    assert orders[waiting[0]][:2] == (MARKET, 1 if phase is None else 2)
    assert floor.desk.keys is None and not list(floor.desk.locks())
    assert not any(floor.desk.wanted(*one) for one in late)
    assert floor.desk.owes(5) == (SayKey(0),)
    floor.agree()
    assert floor.desk.keys is not None and floor.desk.keys.id != old.id
    floor.order(BUY, 120, 2)
    (after,) = floor.settle()
    assert after.batch == orders[waiting[0]][1] + 1


def test_an_epoch_change_during_the_agreement_begins_another() -> None:
    floor = Floor()
    said = floor.words()
    floor.height(said[:3])
    floor.rotate(dark_parties(epoch=1))
    assert floor.desk.agreement.attempt == 0 and floor.desk.agreement.box_keys == (b"",) * 5
    assert floor.desk.wanted(0, said[0][1])  # whether it is the new topic's the key message says, not the word
    floor.height(said)
    assert floor.desk.agreement.box_keys == (b"",) * 5  # but the proof is bound to the old topic
    floor.agree()


# --- parties that restart -------------------------------------------------------------------------------------------


def test_a_party_that_restarts_in_any_phase_says_the_same_again() -> None:
    floor = Floor()
    seen = set()
    for number in range(30):
        if floor.desk.keys is not None and number < 12 and not list(floor.desk.locks()):
            floor.order(BUY, 120, 2)
            floor.enter(floor.bad(1))
            floor.enter(floor.dealt(lambda shares: shares[3].__setitem__(0, 7)))
        for party, member in floor.members.items():
            for task in floor.desk.owes(party):
                seen.add(type(task))
                again = DarkParty(party_seed(0, party), party)
                assert again.say(floor.desk, task) == member.say(floor.desk, task)
        floor.go()
    assert seen == {SayKey, SayDeal, SayAnswer, SayReport, SayOpenings, Compute}


def test_a_party_that_lost_its_run_says_so_and_the_others_settle() -> None:
    floor = agreed()
    floor.order(BUY, 120, 2)
    floor.order(SELL, 110, 2)
    while Compute(MARKET, 1) not in floor.desk.owes(0):
        floor.go()
    restarted = DarkParty(party_seed(0, 2), 2)
    lost = restarted.say(floor.desk, Compute(MARKET, 1))
    assert lost == ResultSaid(MARKET, 1, None)
    floor.height([(2, encode_word(lost))])
    (ended,) = floor.settle()
    assert {one.code for one in ended.orders} == {FILLED}


def test_a_party_with_another_seed_says_nothing_under_the_old_one_s_key() -> None:
    floor = agreed()
    floor.order()
    while not floor.desk.owes(1):
        floor.go()
    stranger = DarkParty(bytes(32), 1)
    with pytest.raises(UsageError, match="this seed's"):
        stranger.say(floor.desk, floor.desk.owes(1)[0])
    with pytest.raises(UsageError, match="does not owe"):
        floor.members[1].say(floor.desk, SayReport(MARKET, 1, 3))
    floor.members[1].erase()
    with pytest.raises(UsageError, match="erased"):
        floor.members[1].say(floor.desk, floor.desk.owes(1)[0])
    for refused in ("__reduce__", "__copy__"):
        with pytest.raises(TypeError):
            getattr(floor.members[1], refused)()
    assert repr(stranger) == "DarkParty(party=1)"


def test_results_say_what_a_run_came_to() -> None:
    floor = agreed()
    floor.order(BUY, 120, 2)
    floor.settle()
    run = floor.computed[MARKET, 1].runs[0]
    assert result_of(run) == ResultSaid(MARKET, 1, run.outcome()) and run.over
