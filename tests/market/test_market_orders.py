"""Each order type, cancels, replacements, fees: scenarios with numbers worked by hand from the text."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from mpc_sequencer.core.actions import FOK, GTD, IOC, MARKET, STOP, STOP_LIMIT, Action
from mpc_sequencer.market import AUCTION, RECEIVE, SHUFFLE, Engine, HeightResult
from tests.market import desk, naive

A, B, C, D = desk.ACCOUNTS[:4]
T = desk.TIME_MS
CONTINUOUS = pytest.mark.parametrize("policy", [SHUFFLE, RECEIVE])
EVERY = pytest.mark.parametrize("policy", [AUCTION, SHUFFLE, RECEIVE])


def engine(policy: int = AUCTION, amount: int = 10**9, **terms: int) -> Engine:
    spot, cross = desk.markets(policy)
    return desk.engine([replace(spot, **terms), cross], amount=amount)


def run(made: Engine, height: int, *actions: Action, late_ms: int = 0) -> HeightResult:
    """Execute actions that, where they are received, came in this sequence."""
    batch = [desk.prepared((height, i), action) for i, action in enumerate(actions)]
    turn = [order.order_id for order in batch]
    return made.execute(height, T + late_ms, desk.COIN, batch, lambda ids: sorted(ids, key=turn.index))


def codes(result: HeightResult) -> list[str]:
    """Outcome codes in the sequence of :func:`run`."""
    by_id = desk.codes(result)
    return [by_id[desk.order_id((result.height, i))] for i in range(len(by_id))]


def updates(result: HeightResult) -> dict[bytes, tuple[str, int, int]]:
    return {one.order_id: (one.code, one.filled_lots, one.remaining_lots) for one in result.updates}


def name(height: int, place: int) -> bytes:
    return desk.order_id((height, place))


# --- fees and locks ----------
def test_a_buy_locks_its_cost_and_the_larger_fee_rounded_up_and_gets_back_what_it_did_not_pay():
    made = engine(maker_fee_ppm=1_000, taker_fee_ppm=2_500)
    run(made, 1, desk.buy(0, 1, 10, 7))
    # 10 ticks * 7 lots * 3 = 210 units; 0.25 % of them is 0.525, so 1
    assert made.balance(A, desk.QUOTE) == (10**9 - 211, 211)
    result = run(made, 2, desk.sell(1, 1, 9, 5, ioc=True))
    # 5 lots at 10 (more to buy): 150 units; maker floor(0.15) = 0, taker floor(0.375) = 0
    assert [fill.fee_units for fill in result.fills] == [0, 0]
    assert made.balance(A, desk.QUOTE) == (10**9 - 150 - 61, 61)  # 60 units and 1 for the two lots left
    result = run(made, 3, desk.cancel(0, 2, 1))
    assert made.balance(A, desk.QUOTE) == (10**9 - 150, 0)


def test_fees_go_to_the_fee_account_maker_and_taker_each_at_their_rate():
    made = engine(maker_fee_ppm=1_000, taker_fee_ppm=2_500)
    run(made, 1, desk.sell(1, 1, 10, 1_000))
    result = run(made, 2, desk.buy(0, 1, 10, 1_000))
    # 30,000 units: the buyer, new, pays 75 on top; the seller, resting, 30 out of proceeds
    fees = {fill.account: (fill.fee_units, fill.maker) for fill in result.fills}
    assert fees == {A: (75, 0), B: (30, 1)}
    assert made.balance(A, desk.QUOTE) == (10**9 - 30_075, 0)
    assert made.balance(B, desk.QUOTE) == (10**9 + 29_970, 0)
    assert made.balance(desk.FEES, desk.QUOTE) == (105, 0)
    assert (desk.FEES, desk.QUOTE, 105, 0) in result.deltas


@CONTINUOUS
def test_who_arrives_pays_as_taker_and_who_is_met_as_maker_even_where_both_are_new(policy):
    made = engine(policy, maker_fee_ppm=1_000, taker_fee_ppm=2_500)
    result = run(made, 1, desk.sell(1, 1, 10, 1_000), desk.buy(0, 1, 10, 1_000))
    assert sorted((fill.fee_units, fill.maker) for fill in result.fills) == [(30, 1), (75, 0)]


# --- expiry ----------
@EVERY
def test_a_gtd_order_ends_at_its_block_time_before_anyone_meets_it(policy):
    made = engine(policy)
    assert codes(run(made, 1, desk.buy(0, 1, 10, 2, time_in_force=GTD, expires_ms=T + 5))) == ["resting"]
    assert not made.due(T + 4) and made.due(T + 5)
    result = run(made, 2, desk.sell(1, 1, 10, 2), late_ms=5)
    assert codes(result) == ["resting"] and updates(result) == {name(1, 0): ("expired", 0, 0)}
    assert made.balance(A, desk.QUOTE) == (10**9, 0) and not made.due(T + 5)


def test_an_empty_height_expires_and_what_it_frees_pays_for_others():
    made = engine(amount=60)
    run(made, 1, desk.buy(0, 1, 10, 2, time_in_force=GTD, expires_ms=T + 5))  # all it has
    assert codes(run(made, 2, desk.buy(0, 2, 10, 2, ioc=True), late_ms=5)) == ["unfilled"]
    run(made, 3, desk.buy(0, 3, 10, 2, time_in_force=GTD, expires_ms=T + 9))
    result = run(made, 4, late_ms=9)
    assert updates(result) == {name(3, 0): ("expired", 0, 0)} and made.open_orders(A) == {}


# --- fill or kill, post-only ----------
def test_fill_or_kill_orders_that_do_not_fit_leave_together_and_the_rest_clears_again():
    made = engine()
    fok = {"time_in_force": FOK}
    result = run(made, 1, desk.buy(0, 1, 12, 5, **fok), desk.buy(2, 1, 11, 5, **fok), desk.sell(1, 1, 9, 7))
    assert codes(result) == ["filled", "unfilled", "partly_filled"]
    result = run(made, 2, desk.buy(3, 1, 12, 1), desk.buy(0, 2, 12, 2, **fok), desk.buy(2, 2, 12, 2, **fok))
    # two lots for three orders at 12: neither whole, both gone; then the plain one gets its lot
    assert codes(result) == ["filled", "unfilled", "unfilled"]


@CONTINUOUS
def test_a_fill_or_kill_order_is_filled_wholly_on_arrival_or_not_at_all(policy):
    made = engine(policy)
    run(made, 1, desk.sell(1, 1, 10, 3), desk.sell(2, 1, 11, 3))
    kill = {"time_in_force": FOK}
    assert codes(run(made, 2, desk.buy(0, 1, 11, 7, **kill))) == ["unfilled"]
    assert codes(run(made, 3, desk.buy(0, 2, 10, 4, **kill))) == ["unfilled"]
    result = run(made, 4, desk.buy(0, 3, 11, 6, **kill))
    assert codes(result) == ["filled"]
    assert [(f.price_ticks, f.quantity_lots) for f in result.fills if f.account == A] == [(10, 3), (11, 3)]


@CONTINUOUS
@pytest.mark.parametrize(("mode", "code"), [(0, "filled"), (1, "unfilled"), (2, "unfilled"), (3, "unfilled")])
def test_a_fill_or_kill_order_does_not_count_on_its_own_account(policy, mode, code):
    made = engine(policy)
    run(made, 1, desk.sell(1, 1, 10, 3))
    run(made, 2, desk.sell(0, 1, 11, 3))
    before = made.open_orders(A)
    assert codes(run(made, 3, desk.buy(0, 2, 11, 6, time_in_force=FOK, self_trade=mode))) == [code]
    assert mode == 0 or made.open_orders(A) == before


def test_post_only_orders_take_no_part_in_an_auction_and_leave_where_it_would_have_met_them():
    made = engine()
    result = run(
        made, 1, desk.buy(0, 1, 10, 2), desk.sell(1, 1, 10, 2), desk.buy(2, 1, 10, 1, post_only=1),
        desk.buy(3, 1, 9, 1, post_only=1), desk.sell(2, 2, 10, 1, post_only=1), desk.sell(3, 2, 11, 1, post_only=1),
    )  # fmt: skip
    assert codes(result) == ["filled", "filled", "post_only", "resting", "post_only", "resting"]
    assert codes(run(made, 2, desk.buy(0, 2, 11, 1, post_only=1))) == ["post_only"]  # no trade: against the book
    assert made.balance(A, desk.QUOTE)[1] == 0


@CONTINUOUS
def test_a_post_only_order_that_would_trade_at_once_is_cancelled(policy):
    made = engine(policy)
    run(made, 1, desk.sell(1, 1, 10, 3))
    result = run(made, 2, desk.buy(0, 1, 10, 1, post_only=1), desk.buy(0, 2, 9, 1, post_only=1))
    assert codes(result) == ["post_only", "resting"] and result.fills == ()


# --- market, stops ----------
@EVERY
def test_a_market_order_takes_no_price_beyond_its_protection(policy):
    made = engine(policy)
    run(made, 1, desk.sell(1, 1, 10, 3), desk.sell(2, 1, 14, 3))
    result = run(made, 2, desk.buy(0, 1, 12, 6, kind=MARKET, time_in_force=IOC))
    assert codes(result) == ["partly_filled"]
    assert {fill.price_ticks for fill in result.fills} <= {10, 12} and made.open_orders(A) == {}


@EVERY
def test_a_stop_joins_the_height_after_the_one_that_triggers_it(policy):
    made = engine(policy)
    stop = desk.buy(0, 1, 15, 2, kind=STOP, time_in_force=IOC, stop_ticks=13)
    assert codes(run(made, 1, stop, desk.sell(1, 1, 14, 9))) == ["waiting", "resting"]
    assert made.balance(A, desk.QUOTE)[1] == 90
    result = run(made, 2, desk.buy(2, 1, 14, 1))  # trades at 14
    assert result.clearing == ((1, 14, 1),) and name(1, 0) not in updates(result)
    assert made.open_order(name(1, 0)).status == 3 and made.due(T)
    result = run(made, 3)
    assert updates(result)[name(1, 0)] == ("filled", 2, 0) and not made.due(T)


def test_a_stop_limit_joins_as_a_limit_order_and_rests():
    made = engine()
    stop = desk.sell(0, 1, 12, 2, kind=STOP_LIMIT, stop_ticks=12)  # the reference is 12: met at once
    assert codes(run(made, 1, stop)) == ["waiting"]
    result = run(made, 2)
    assert updates(result) == {name(1, 0): ("resting", 0, 2)}
    held = made.open_order(name(1, 0))
    assert (held.kind, held.stop_ticks, held.status) == (1, 0, 1)


@EVERY
def test_stops_that_set_each_other_off_act_height_by_height(policy):
    """Crossing stop loops: each trade triggers the next stop, and no height runs more than one round."""
    made = engine(policy)
    for height, price in enumerate((13, 14, 15, 16), 1):
        run(made, height, desk.sell(1, height, price, 1))
    stops = [desk.buy(0, i, 20, 1, kind=STOP, time_in_force=IOC, stop_ticks=12 + i) for i in (1, 2, 3)]
    assert codes(run(made, 5, *stops)) == ["waiting"] * 3
    run(made, 6, desk.buy(2, 1, 13, 1))
    seen = []
    for height in range(7, 12):
        if made.due(T):
            seen.append([fill.price_ticks for fill in run(made, height).fills if fill.account == A])
    assert seen == [[14], [15], [16]]


# --- icebergs ----------
@CONTINUOUS
def test_an_iceberg_goes_behind_with_each_part_it_shows(policy):
    made = engine(policy)
    run(made, 1, desk.sell(1, 1, 10, 5, display_lots=2))
    run(made, 2, desk.sell(2, 1, 10, 3))
    assert made.book(1, 1)["asks"] == ((10, 5, 2),)
    result = run(made, 3, desk.buy(0, 1, 10, 3))  # two of the iceberg, one of the other
    assert {fill.account: fill.quantity_lots for fill in result.fills} == {A: 3, B: 2, C: 1}
    assert made.open_order(name(1, 0)).sequence == 3 and made.open_order(name(1, 0)).shown_lots == 2
    result = run(made, 4, desk.buy(0, 2, 10, 3))  # two of the other, which is first now, then one of two shown
    assert {fill.account: fill.quantity_lots for fill in result.fills} == {A: 3, B: 1, C: 2}
    assert made.open_order(name(1, 0)).shown_lots == 1


# --- self-trade prevention ----------
@EVERY
@pytest.mark.parametrize(
    ("mode", "arrival", "resting"),
    [
        (0, ("filled", 3), ("partly_filled", 2)),
        (1, ("resting", 0), ("self_trade", 0)),
        (2, ("self_trade", 0), None),
        (3, ("self_trade", 0), ("self_trade", 0)),
    ],
)
def test_the_newer_orders_mode_decides_whom_self_trade_prevention_ends(policy, mode, arrival, resting):
    made = engine(policy)
    run(made, 1, desk.sell(0, 1, 10, 5, self_trade=1 + mode % 3))
    result = run(made, 2, desk.buy(0, 2, 11, 3, self_trade=mode))
    (outcome,) = result.outcomes
    assert (outcome.code, outcome.filled_lots) == arrival
    seen = updates(result).get(name(1, 0))
    assert (seen and (seen[0], seen[2])) == resting


@CONTINUOUS
def test_an_order_ended_by_prevention_keeps_what_it_has_filled(policy):
    made = engine(policy)
    run(made, 1, desk.sell(1, 1, 10, 2))
    run(made, 2, desk.sell(0, 1, 11, 5))
    (outcome,) = run(made, 3, desk.buy(0, 2, 11, 6, self_trade=2)).outcomes
    assert (outcome.code, outcome.filled_lots) == ("self_trade", 2)
    assert made.balance(A, desk.QUOTE) == (10**9 - 60, 0)


# --- cancels and replacements ----------
@EVERY
def test_a_cancel_acts_before_the_orders_of_its_height(policy):
    made = engine(policy)
    run(made, 1, desk.buy(0, 1, 10, 2))
    result = run(made, 2, desk.sell(1, 1, 10, 2), desk.cancel(0, 2, 1))
    assert codes(result) == ["resting", "cancelled"] and updates(result) == {name(1, 0): ("cancelled", 0, 0)}
    assert made.balance(A, desk.QUOTE) == (10**9, 0)


def test_a_cancel_of_what_nobody_has_seen_uses_its_nonce_up():
    made = engine()
    assert codes(run(made, 1, desk.cancel(0, 1, 5))) == ["cancelled_unseen"]
    assert codes(run(made, 2, desk.buy(0, 5, 10, 2))) == ["nonce_consumed"]
    assert codes(run(made, 3, desk.buy(0, 7, 10, 2), desk.cancel(0, 6, 7))) == ["cancelled", "cancelled"]
    assert codes(run(made, 4, desk.cancel(0, 8, 7), desk.cancel(0, 9, 9), desk.cancel(0, 10, 2**21))) == [
        "not_open", "not_open", "nonce_too_high",
    ]  # fmt: skip


def test_nobody_cancels_anothers_order():
    made = engine()
    run(made, 1, desk.buy(0, 1, 10, 2))
    before = made.open_orders(A)
    assert codes(run(made, 2, desk.cancel(1, 2, 1), desk.cancel_all(2, 1))) == ["cancelled_unseen", "cancelled"]
    assert made.open_orders(A) == before


def test_a_cancel_all_ends_a_markets_orders_and_those_of_smaller_nonces_that_come_with_it():
    made = engine()
    run(made, 1, desk.buy(0, 1, 10, 2), desk.limit(0, 2, 1, 5, 1, market=7))
    result = run(made, 2, desk.buy(0, 3, 10, 1), desk.cancel_all(0, 4, 1), desk.buy(0, 5, 10, 1))
    assert codes(result) == ["cancelled", "cancelled", "resting"]
    assert {order.nonce for order in made.open_orders(A).values()} == {2, 5}
    assert codes(run(made, 3, desk.cancel_all(0, 6, 9), desk.cancel_all(0, 7))) == ["market", "cancelled"]
    assert made.open_orders(A) == {} and made.balance(A, desk.QUOTE) == (10**9, 0)


def test_no_race_between_a_fill_and_a_replacement_overfills():
    made = engine()
    run(made, 1, desk.buy(0, 1, 10, 5))
    run(made, 2, desk.sell(1, 1, 10, 3))
    result = run(made, 3, desk.replacement(1, desk.buy(0, 2, 11, 5)))  # 5 in all, 3 filled
    assert codes(result) == ["resting"] and updates(result) == {name(1, 0): ("replaced", 0, 0)}
    held = made.open_order(name(3, 0))
    assert (held.quantity_lots, held.filled_lots, made.balance(A, desk.QUOTE)[1]) == (5, 3, 66)
    assert codes(run(made, 4, desk.replacement(2, desk.buy(0, 3, 11, 3)))) == ["filled_before"]
    assert made.open_orders(A) == {}


@CONTINUOUS
def test_a_replacement_that_asks_for_nothing_new_keeps_its_place_and_another_does_not(policy):
    for changes, first in (({"quantity_lots": 2}, B), ({"quantity_lots": 4}, C), ({"price_ticks": 9}, C)):
        made = engine(policy)
        run(made, 1, desk.sell(1, 1, 10, 3))
        run(made, 2, desk.sell(2, 1, 10, 3))
        run(made, 3, desk.replacement(1, replace(desk.sell(1, 2, 10, 3), **changes)))
        result = run(made, 4, desk.buy(0, 1, 10, 1))
        seller = next(fill.account for fill in result.fills if fill.account != A)
        assert seller == (B if "price_ticks" in changes else first)


def test_a_replacement_whose_terms_fail_leaves_its_target_and_one_without_target_enters_nothing():
    made = engine()
    run(made, 1, desk.buy(0, 1, 10, 5))
    assert codes(run(made, 2, desk.replacement(1, desk.buy(0, 2, 0, 5)))) == ["price"]
    assert made.open_order(name(1, 0)) is not None
    run(made, 3, desk.cancel(0, 3, 1))
    assert codes(run(made, 4, desk.replacement(1, desk.buy(0, 4, 10, 5)))) == ["not_open"]
    result = run(made, 5, desk.replacement(9, desk.buy(0, 5, 10, 5)), desk.buy(0, 9, 10, 2))
    assert codes(result) == ["resting", "replaced"]
    result = run(made, 6, desk.replacement(5, desk.buy(0, 10, 9, 6)), desk.replacement(10, desk.buy(0, 11, 8, 7)))
    assert codes(result) == ["replaced", "resting"]


# --- client ids, open orders ----------
def test_a_client_id_enters_once_whatever_the_nonce():
    made = engine()
    rows = [desk.buy(0, nonce, 10, 1, client_id=7) for nonce in (1, 2)]
    assert sorted(codes(run(made, 1, *rows))) == ["duplicate_client_id", "resting"]
    run(made, 2, desk.cancel_all(0, 3))
    assert codes(run(made, 3, desk.buy(0, 4, 10, 1, client_id=7))) == ["duplicate_client_id"]
    assert codes(run(made, 4, desk.buy(1, 1, 10, 1, client_id=7))) == ["resting"]
    for nonce in range(5, 69):  # 64 later ones: 7 is forgotten
        run(made, nonce, desk.buy(0, nonce, 1, 1, client_id=nonce + 100, ioc=True))
    assert codes(run(made, 99, desk.buy(0, 99, 1, 1, client_id=7))) == ["resting"]


def test_an_account_has_so_many_open_orders_and_no_more():
    made = engine()
    rows = [desk.buy(0, nonce, 1 + nonce % 9, 1) for nonce in range(1, 514)]
    assert sorted(codes(run(made, 1, *rows)))[-1] == "too_many_open" and len(made.open_orders(A)) == 512
    seen = codes(run(made, 2, desk.buy(0, 600, 9, 1, ioc=True), desk.buy(0, 601, 9, 1)))
    assert seen == ["unfilled", "too_many_open"]
    assert codes(run(made, 3, desk.cancel(0, 602, 2), desk.buy(0, 603, 9, 1))) == ["cancelled", "resting"]


def test_more_stops_than_a_height_takes_join_by_draw_in_later_ones(monkeypatch):
    monkeypatch.setattr("mpc_sequencer.market.stops.TRIGGERED_PER_HEIGHT_MAX", 2)
    made = engine()
    stops = [desk.buy(0, i, 5, 1, kind=STOP_LIMIT, stop_ticks=12) for i in range(1, 6)]
    run(made, 1, *stops)
    joined = []
    for height in (2, 3, 4):
        coin = hashlib.sha256(bytes((height,))).digest()
        joined.append(len(made.execute(height, T, coin, []).updates))
    assert joined == [2, 2, 1] and not made.due(T)


@pytest.mark.parametrize("policy", desk.POLICIES)
@pytest.mark.parametrize(
    "other",
    (desk.cancel(0, 100, 1), desk.replacement(1, desk.buy(0, 102, 5, 9, client_id=6))),
    ids=("cancel", "replace"),
)
def test_a_client_id_that_passes_from_one_open_order_to_another_in_a_height_stays_with_the_new_one(policy, other):
    made = desk.engine(desk.markets(policy), amount=10**12)
    run(made, 1, desk.buy(0, 1, 5, 10, client_id=5), desk.buy(0, 2, 6, 10, client_id=999))
    run(made, 2, *(desk.buy(0, 10 + n, 1, 1, client_id=1_000 + n, ioc=True) for n in range(64)))  # 5 is forgotten
    run(made, 3, desk.replacement(2, desk.buy(0, 101, 6, 9, client_id=5)), other)
    run(made, 4, *(desk.buy(0, 110 + n, 1, 1, client_id=2_000 + n, ioc=True) for n in range(64)))  # and again
    assert codes(run(made, 5, desk.buy(0, 200, 5, 1, client_id=5))) == ["duplicate_client_id"]
    assert codes(run(made, 6, desk.cancel(0, 201, 101))) == ["cancelled"]
    assert codes(run(made, 7, desk.buy(0, 202, 5, 1, client_id=5))) == ["resting"]


def test_a_client_id_enters_once_in_a_batch_that_has_more_of_them_than_are_remembered():
    made = engine()
    names = sorted(range(80), key=lambda i: naive.tagged("draw", desk.COIN, desk.order_id(i)))
    batch = [desk.prepared(i, desk.buy(0, 1 + n, 9, 1, client_id=1 + n % 79)) for n, i in enumerate(names)]
    seen = desk.codes(made.execute(1, T, desk.COIN, batch))
    assert [seen[desk.order_id(i)] for i in names] == ["resting"] * 79 + ["duplicate_client_id"]


@CONTINUOUS
def test_a_replaced_iceberg_keeps_what_it_has_shown(policy):
    made = engine(policy)
    run(made, 1, desk.sell(1, 1, 10, 9, display_lots=4))
    run(made, 2, desk.buy(0, 1, 10, 3))
    assert codes(run(made, 3, desk.replacement(1, desk.sell(1, 2, 10, 8, display_lots=4)))) == ["resting"]
    held = made.open_order(name(3, 0))
    assert (held.filled_lots, held.shown_lots, held.sequence) == (3, 1, 1)
