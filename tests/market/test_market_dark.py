"""Dark orders in a height: entry and locks, what ends them, what their fills cost and bring.

What a batch comes to is said by members here, not computed: the market believes the desk, and settles it to the unit.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from msgspec.structs import replace

from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import plain_order
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.limits import DARK_ORDERS_PER_ACCOUNT_MAX, DARK_RUN_MS, DARK_WINDOW_MS
from mpc_sequencer.core.proofs import state_root_of
from mpc_sequencer.dark import codes
from mpc_sequencer.dark.desk import Parties
from mpc_sequencer.market import AUCTION, DARK, RECEIVE, SHUFFLE, Engine, types
from mpc_sequencer.market.snapshot import DarkSnapshot, Snapshot
from tests.market import dark_floor, desk
from tests.market.dark_floor import DARK_CROSS, DARK_SPOT, GRID, Floor, cover, dark_order, outcome, says

TRADES = says(lambda *_: outcome(12, [(0, 1, 3), (1, 2, 3)]))
DEPOSIT_FEE_PPM = 2_500


@pytest.fixture
def floor() -> Floor:
    return Floor(dark_floor.agreed())


def buyer_first(floor: Floor) -> list[object]:
    """A buy and a sell, behind deposits of both assets, that are places 0 and 1 of their batch."""
    names = [desk.order_id((floor.height + 1, i)) for i in range(2)]
    buy = dark_order(floor.desk, 0, 1, 1, 14, 5, deposit=(70, 9))
    sell = dark_order(floor.desk, 1, 1, 2, 10, 3, deposit=(70, 9))
    return [buy, sell] if names[0] < names[1] else [sell, buy]


def test_an_order_locks_both_deposits_and_waits(floor):
    result = floor.run([dark_order(floor.desk, 0, 1, 1, 14, 5, deposit=(70, 9))])
    assert desk.codes(result) == {floor.name(0): "dark"}
    cost = 70 * DARK_SPOT.quote_units_per_tick_lot
    fee = -(-cost * DEPOSIT_FEE_PPM // 10**6)
    assert fee == 1
    assert dark_floor.locked_by(floor.made) == {
        (desk.ACCOUNTS[0], desk.QUOTE): cost + fee,
        (desk.ACCOUNTS[0], desk.BASE): 9 * DARK_SPOT.base_units_per_lot,
    }
    assert (result.fills, result.updates, result.deltas, result.clearing) == ((), (), (), ())
    assert floor.made.open_orders(desk.ACCOUNTS[0]) == {}
    assert floor.made.open_order(floor.name(0)) is None


def test_a_batch_that_traded_pays_fills_and_fees_and_frees_the_rest():
    spot = replace(DARK_SPOT, quote_units_per_tick_lot=1_000, maker_fee_ppm=9, taker_fee_ppm=2_500)
    floor = Floor(dark_floor.agreed((spot,)), TRADES)
    floor.run(buyer_first(floor))
    result = floor.finish()
    units = 12 * 3 * 1_000
    fee = units * 2_500 // 10**6
    assert fee == 90
    assert [
        (f.height, f.market, f.account, f.side, f.price_ticks, f.quantity_lots, f.fee_units, f.maker)
        for f in result.fills
    ] == [
        (floor.height, 4, desk.ACCOUNTS[0], 1, 12, 3, fee, 0),
        (floor.height, 4, desk.ACCOUNTS[1], 2, 12, 3, fee, 0),
    ]
    assert [one.order_id for one in result.fills] == sorted(one.order_id for one in result.fills)
    assert [
        (u.code, u.filled_lots, u.price_ticks, u.notional_tick_lots, u.fee_units, u.remaining_lots)
        for u in result.updates
    ] == [("filled", 3, 12, 36, fee, 0)] * 2
    assert result.clearing == ((4, 12, 3),)
    assert floor.made.reference_price_ticks(4) == 12
    assert dark_floor.locked_by(floor.made) == {}
    assert set(result.deltas) == {
        (desk.ACCOUNTS[0], desk.BASE, 30, 0),
        (desk.ACCOUNTS[1], desk.BASE, -30, 0),
        (desk.ACCOUNTS[0], desk.QUOTE, -units - fee, 0),
        (desk.ACCOUNTS[1], desk.QUOTE, units - fee, 0),
        (desk.FEES, desk.QUOTE, 2 * fee, 0),
    }
    assert floor.made.balance(desk.ACCOUNTS[0], desk.QUOTE) == (10**9 - units - fee, 0)


def test_a_deposit_that_a_fill_uses_up_to_the_unit_is_covered_with_its_fee():
    spot = replace(DARK_SPOT, taker_fee_ppm=99_999)
    made = dark_floor.agreed((spot,), 0)
    floor = Floor(made, says(lambda *_: outcome(12, [(0, 1, 3), (1, 2, 3)])))
    lock = 12 * 3 * 3 + -(-12 * 3 * 3 * 99_999 // 10**6)
    made.credit(desk.ACCOUNTS[0], desk.QUOTE, lock)
    made.credit(desk.ACCOUNTS[1], desk.BASE, 30)
    names = [desk.order_id((11, i)) for i in range(2)]
    orders = [dark_order(floor.desk, 0, 1, 1, 12, 3), dark_order(floor.desk, 1, 1, 2, 12, 3)]
    floor.run(orders if names[0] < names[1] else orders[::-1])
    assert made.balance(desk.ACCOUNTS[0], desk.QUOTE) == (0, lock)
    floor.finish()
    fee = 108 * 99_999 // 10**6
    assert made.balance(desk.ACCOUNTS[0], desk.QUOTE) == (lock - 108 - fee, 0)
    assert made.balance(desk.ACCOUNTS[1], desk.QUOTE) == (108 - fee, 0)
    assert made.balance(desk.FEES, desk.QUOTE) == (2 * fee, 0)


def test_a_batch_that_did_not_cross_moves_nothing(floor):
    floor.run(buyer_first(floor))
    result = floor.finish()
    assert [one.code for one in result.updates] == ["unfilled"] * 2
    assert (result.fills, result.deltas, result.clearing) == ((), (), ())
    assert floor.made.reference_price_ticks(4) == DARK_SPOT.reference_price_ticks
    assert dark_floor.locked_by(floor.made) == {}


def test_a_row_that_is_not_well_formed_ends_alone(floor):
    floor.speech = says(lambda *_: outcome(None, (), rejected=(1,)))
    floor.run(buyer_first(floor))
    assert sorted(one.code for one in floor.finish().updates) == ["dark_rejected", "unfilled"]


@pytest.mark.parametrize(
    "said",
    [
        None,
        outcome(12, [(0, 1, 3), (1, 2, 2)]),  # lots out of nothing
        outcome(12, [(0, 1, 6), (1, 2, 6)]),  # beyond the deposit
        outcome(12, [(0, 1, 3), (2, 2, 3)]),  # an order that is none
        outcome(40, [(0, 1, 1), (1, 2, 1)]),  # a tick that is none
    ],
)
def test_an_outcome_that_may_not_be_settled_voids_the_batch_and_frees_its_deposits(floor, said):
    before = {account: floor.made.balance(account, desk.QUOTE) for account in desk.ACCOUNTS}
    floor.speech = says(lambda *_: said)
    floor.run(buyer_first(floor))
    result = floor.finish()
    assert [one.code for one in result.updates] == ["dark_aborted"] * 2
    assert (result.fills, result.deltas, result.clearing) == ((), (), ())
    assert dark_floor.locked_by(floor.made) == {}
    assert {account: floor.made.balance(account, desk.QUOTE) for account in desk.ACCOUNTS} == before


def test_members_that_stay_silent_void_the_batch_in_time(floor):
    floor.run(buyer_first(floor))
    floor.run(later_ms=GRID.interval_ms, speakers=())
    assert floor.run(later_ms=DARK_WINDOW_MS - 1, speakers=range(3)).updates == ()
    assert [one.code for one in floor.run(later_ms=1, speakers=()).updates] == ["dark_aborted"] * 2


def test_the_height_of_another_committee_ends_all_orders_and_its_own(floor):
    floor.run([cover(floor.desk, 0, 1, (70, 9))])
    floor.run(later_ms=GRID.interval_ms)
    floor.run([cover(floor.desk, 0, 2, (70, 9))])
    late = cover(floor.desk, 1, 1, (70, 9))
    result = floor.run([late], parties=dark_floor.NEXT_PARTIES)
    assert [one.code for one in result.updates] == ["dark_epoch"] * 2
    assert desk.codes(result) == {floor.name(0): "dark_epoch"}
    assert dark_floor.locked_by(floor.made) == {}
    assert floor.desk.parties == dark_floor.NEXT_PARTIES and floor.desk.keys is None
    floor.run([replace(late, nonce=2)])
    assert floor.codes()[floor.name(0)] == "dark_keys"
    for _ in range(4):
        floor.run()
    floor.run([cover(floor.desk, 1, 3, (70, 9))])
    assert floor.codes()[floor.name(0)] == "dark"


def test_parties_that_cannot_compute_the_markets_raise_and_change_nothing(floor):
    floor.run(buyer_first(floor))
    before = floor.made.dump()
    four = Parties(dark_floor.PARTIES.genesis_id, 2, dark_floor.PARTIES.members[:4], 1)
    batch = [desk.prepared("x", desk.buy(0, 9, 10, 1))]
    with pytest.raises(ValueError, match="4t \\+ 1"):
        floor.made.execute(20, floor.time_ms, desk.COIN, batch, parties=four)
    assert floor.made.dump() == before
    with pytest.raises(ValueError, match="4t \\+ 1"):
        dark_floor.engine(parties=four)
    with pytest.raises(ValueError, match="no parties"):
        Engine((DARK_SPOT,), desk.ASSETS, desk.SEPARATOR, desk.FEES)


# --- entry ------------------------------------------------------------------------------------------------------------


def test_orders_and_markets_of_different_kinds_do_not_meet(floor):
    wrong = [
        replace(cover(floor.desk, 0, 1, (1, 1)), market=desk.SPOT.id),
        replace(cover(floor.desk, 0, 2, (1, 1)), market=77),
        desk.buy(1, 1, 10, 1, market=DARK_SPOT.id),
        desk.replacement(9, desk.buy(2, 1, 10, 1, market=DARK_SPOT.id)),
    ]
    assert set(desk.codes(floor.run(wrong)).values()) == {"market"}
    assert dark_floor.locked_by(floor.made) == {}
    assert [floor.made.nonce_refusal(desk.ACCOUNTS[who], 1) for who in range(3)] == ["nonce_consumed"] * 3
    assert floor.made.nonce_refusal(desk.ACCOUNTS[2], 9) is None
    plain = desk.engine()
    assert set(desk.codes(desk.run(plain, 1, wrong[:1])).values()) == {"market"}


def test_the_state_refuses_other_keys_terms_and_balances_each_by_its_code(floor):
    good = dark_order(floor.desk, 0, 1, 1, 14, 5)
    cases = {
        "dark_keys": replace(good, keys=bytes(32)),
        "dark_terms": replace(good, nonce=2, quote_tick_lots=1 << (GRID.slack_bits - GRID.quantity_bits)),
        "balance": replace(cover(floor.desk, 4, 1, (70, 9))),
    }
    poor = dark_floor.agreed(amount=90)
    assert desk.codes(Floor(poor).run([cases["balance"]])) == {desk.order_id((11, 0)): "balance"}
    assert poor.balance(desk.ACCOUNTS[4], desk.QUOTE) == (90, 0)
    only_quote = dark_floor.agreed(amount=0)
    only_quote.credit(desk.ACCOUNTS[4], desk.QUOTE, 10**6)
    assert desk.codes(Floor(only_quote).run([cases["balance"]])) == {desk.order_id((11, 0)): "balance"}
    assert only_quote.balance(desk.ACCOUNTS[4], desk.QUOTE) == (10**6, 0)  # the first lock is undone
    for code in ("dark_keys", "dark_terms"):
        assert set(desk.codes(floor.run([cases[code]])).values()) == {code}
    missing = replace(good, nonce=3, boxes=good.boxes[:-1])
    longer = replace(good, nonce=4, boxes=(good.boxes[0] + b"\0", *good.boxes[1:]))
    assert set(desk.codes(floor.run([missing, longer])).values()) == {"dark_terms"}
    assert dark_floor.locked_by(floor.made) == {}


def test_before_keys_are_agreed_no_order_enters(floor):
    made = Floor(dark_floor.engine())
    made.run([cover(floor.desk, 0, 1, (1, 1))])
    assert made.codes() == {made.name(0): "dark_keys"}


def test_a_batch_has_room_for_so_many_and_the_draw_says_whose(floor):
    orders = [cover(floor.desk, who, nonce, (1, 1)) for who in range(4) for nonce in (1, 2)]
    floor.run(orders)
    by_draw = sorted(range(8), key=lambda place: domains.DRAW(desk.COIN, floor.name(place)))
    told = floor.codes()
    # an account's nonces may come in any sequence, so the draw decides among all eight
    assert [told[floor.name(place)] for place in by_draw] == ["dark"] * 6 + ["dark_full"] * 2
    floor.run([cover(floor.desk, 4, 1, (1, 1))])
    assert floor.codes()[floor.name(0)] == "dark_full"
    floor.run(later_ms=GRID.interval_ms)
    floor.run([cover(floor.desk, 4, 2, (1, 1))])
    assert floor.codes()[floor.name(0)] == "dark"


def test_an_account_has_room_for_so_many_in_a_batch():
    many = replace(DARK_SPOT, dark=replace(GRID, orders_max=80))
    floor = Floor(dark_floor.agreed((many,)))
    floor.run([cover(floor.desk, 0, nonce, (1, 1), market=many) for nonce in range(1, DARK_ORDERS_PER_ACCOUNT_MAX + 2)])
    assert sorted(floor.codes().values()) == ["dark"] * DARK_ORDERS_PER_ACCOUNT_MAX + ["dark_account_full"]
    floor.run([cover(floor.desk, 1, 1, (1, 1), market=many)])
    assert floor.codes()[floor.name(0)] == "dark"


def test_who_withdraws_first_by_draw_leaves_no_deposit(floor):
    made = dark_floor.agreed(amount=100)
    floor = Floor(made)
    names = [desk.order_id((11, i)) for i in range(2)]
    first, second = sorted(range(2), key=lambda i: domains.DRAW(desk.COIN, names[i]))
    actions: list[object] = [None, None]
    actions[first], actions[second] = desk.withdrawal(0, 1, desk.BASE, 100), cover(floor.desk, 0, 2, (0, 9))
    assert desk.codes(floor.run(actions)) == {names[first]: "withdrawn", names[second]: "balance"}


def test_a_dark_order_that_waits_cannot_be_cancelled(floor):
    floor.run([cover(floor.desk, 0, 1, (70, 9))])
    locked = dark_floor.locked_by(floor.made)
    floor.run([desk.cancel(0, 2, 1), desk.replacement(1, desk.buy(0, 3, 10, 1))])
    assert [floor.codes()[floor.name(i)] for i in range(2)] == ["not_open"] * 2
    floor.run([desk.cancel_all(0, 4), desk.cancel_all(0, 5, DARK_SPOT.id)])
    assert [floor.codes()[floor.name(i)] for i in range(2)] == ["cancelled"] * 2
    assert dark_floor.locked_by(floor.made) == locked
    assert [one.code for one in floor.finish().updates] == ["unfilled"]


def test_a_dark_order_that_is_yet_to_enter_is_cancelled_like_any_other(floor):
    orders = [cover(floor.desk, who, nonce, (70, 9)) for who, nonce in ((0, 1), (1, 1), (2, 1), (2, 9), (3, 1))]
    floor.run([*orders, desk.cancel(0, 2, 1), desk.cancel_all(2, 5, DARK_SPOT.id), desk.cancel_all(3, 5, 1)])
    told = [floor.codes()[floor.name(i)] for i in range(8)]
    assert told == ["cancelled", "dark", "cancelled", "dark", "dark", "cancelled", "cancelled", "cancelled"]
    floor.run([desk.cancel(4, 2, 1)])
    floor.run([cover(floor.desk, 4, 1, (70, 9))])
    assert floor.codes()[floor.name(0)] == "nonce_consumed"


def test_a_box_of_another_order_is_refused_before_a_nonce_is_touched(floor):
    good = dark_order(floor.desk, 0, 1, 1, 14, 5)
    made = floor.made

    def refusal(action, who=0):
        return made.prepare(desk.sealed("x", who, action)).refusal

    assert refusal(good) is None
    copied = replace(good, account=desk.ACCOUNTS[1])
    swapped = replace(good, boxes=(good.boxes[1], good.boxes[0], *good.boxes[2:]))
    garbled = replace(good, boxes=(good.boxes[0][:-1] + bytes((good.boxes[0][-1] ^ 1,)), *good.boxes[1:]))
    assert refusal(copied, 1) == "dark_boxes"
    for bent in (replace(good, nonce=2), swapped, garbled, replace(good, boxes=(b"", b"\2" * 33))):
        assert refusal(bent) == "dark_boxes"
    assert refusal(replace(good, market=desk.SPOT.id)) is None  # the state says `market`
    assert refusal(good, 1) == "signature"
    before = made.dump()
    made.execute(20, floor.time_ms, desk.COIN, [made.prepare(desk.sealed("x", 0, replace(good, nonce=2)))])
    assert made.nonce_refusal(desk.ACCOUNTS[0], 2) is None
    assert Engine.load(before).nonce_state(desk.ACCOUNTS[0]) == made.nonce_state(desk.ACCOUNTS[0])


def test_a_large_batch_takes_its_plain_orders_in_columns_and_its_dark_ones_one_by_one():
    accounts = [bytes((7, i // 256, i % 256)) + bytes(17) for i in range(450)]
    single, columns = Floor(dark_floor.agreed()), Floor(dark_floor.agreed())
    for floor in (single, columns):
        for account in accounts:
            floor.made.credit(account, desk.QUOTE, 10**6)
    plain = [
        plain_order(account, 1, bytes(32), market=1 if i % 50 else 4, side=1, time_in_force=1, price_ticks=5 + i % 7,
                    quantity_lots=1 + i % 3)
        for i, account in enumerate(accounts)
    ]  # fmt: skip
    dark = [cover(single.desk, who, 1, (70, 9)) for who in range(5)]
    batch = [*plain, *dark, desk.buy(0, 2, 10, 2), desk.withdrawal(1, 2, desk.BASE, 5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mpc_sequencer.market.height.COLUMNS_ORDERS_MIN", 10_000)
        expected = single.run(batch)
    assert columns.run(batch) == expected
    assert columns.made.dump() == single.made.dump()
    assert sorted(set(desk.codes(expected).values())) == ["dark", "market", "resting", "withdrawn"]


# --- a height that did not happen -------------------------------------------------------------------------------------


def test_an_exception_amid_a_height_leaves_dark_orders_as_they_were():
    markets = (*desk.markets(RECEIVE), DARK_SPOT)
    floor = Floor(dark_floor.agreed(markets))
    floor.run([cover(floor.desk, 0, 1, (70, 9))])
    twin = Engine.load(floor.made.dump())
    batch = [
        desk.prepared("plain", desk.buy(1, 1, 10, 1)),
        desk.prepared("dark", cover(floor.desk, 2, 1, (70, 9))),
        desk.prepared("dark too", cover(floor.desk, 0, 2, (1, 1))),
    ]

    def lost(order_ids):
        raise OSError("the log is gone")

    before = floor.made.dump(), floor.made.state_root()
    for precedence, error in ((lost, OSError), (None, ValueError), (lambda ids: [], ValueError)):
        with pytest.raises(error):
            floor.made.execute(12, floor.time_ms, desk.COIN, batch, precedence)
        assert (floor.made.dump(), floor.made.state_root()) == before
    seen = floor.made.execute(12, floor.time_ms, desk.COIN, batch, desk.received)
    assert seen == twin.execute(12, floor.time_ms, desk.COIN, batch, desk.received)
    assert sorted(desk.codes(seen).values()) == ["dark", "dark", "resting"]
    assert floor.made.dump() == twin.dump()


# --- time -------------------------------------------------------------------------------------------------------------


def test_each_transition_is_due_at_its_block_time_and_not_before(floor):
    made = floor.made

    def due_in() -> int | None:
        return next((ms for ms in range(0, 40_001, 500) if made.due(floor.time_ms + ms)), None)

    assert due_in() is None
    floor.run([cover(floor.desk, 0, 1, (70, 9))], speakers=())
    assert due_in() == GRID.interval_ms and not made.due(floor.time_ms + GRID.interval_ms - 1)
    floor.run(later_ms=GRID.interval_ms, speakers=())
    assert due_in() == DARK_WINDOW_MS and not made.due(floor.time_ms + DARK_WINDOW_MS - 1)
    floor.run(speakers=range(4))
    assert due_in() == DARK_WINDOW_MS
    floor.run(later_ms=DARK_WINDOW_MS, speakers=())
    assert due_in() == DARK_RUN_MS
    floor.run(later_ms=DARK_RUN_MS, speakers=())
    assert floor.codes()[desk.order_id((11, 0))] == "dark_aborted"
    assert due_in() is None
    new = dark_floor.engine()
    new.execute(1, desk.TIME_MS, desk.COIN, [])
    assert new.due(desk.TIME_MS + DARK_WINDOW_MS) and not new.due(desk.TIME_MS + DARK_WINDOW_MS - 1)


def test_a_height_without_anything_due_leaves_the_root(floor):
    floor.run([cover(floor.desk, 0, 1, (70, 9))], speakers=())
    root = floor.made.state_root()
    assert floor.run(later_ms=GRID.interval_ms - 1, speakers=()).state_root == root
    assert floor.run(later_ms=1, speakers=()).state_root != root


# --- several markets --------------------------------------------------------------------------------------------------


def test_markets_of_all_policies_trade_in_one_height():
    markets = (
        replace(desk.SPOT, policy=AUCTION),
        replace(desk.SPOT, id=6, policy=SHUFFLE),
        replace(desk.CROSS, policy=RECEIVE),
        DARK_SPOT,
        replace(DARK_CROSS, dark=GRID),
    )
    floor = Floor(dark_floor.agreed(markets), says(lambda _, market: outcome(12, [(0, 1, market), (1, 2, market)])))
    orders = []
    for place in range(4):
        of = markets[3 + place // 2]
        names = sorted(desk.order_id((11, at)) for at in range(place // 2 * 2, place // 2 * 2 + 2))
        buys = desk.order_id((11, place)) == names[0]
        orders.append(dark_order(floor.desk, place % 2, 1 + place // 2, 1 if buys else 2, 12, 9, market=of))
    floor.run(orders)
    floor.run(later_ms=GRID.interval_ms)
    floor.run()
    both = [
        order
        for nonce, market in ((10, 1), (11, 6), (12, 7))
        for order in (desk.buy(2, nonce, 10, 1, market=market), desk.sell(3, nonce, 10, 1, market=market))
    ]
    result = floor.run(both)
    assert [row[0] for row in result.clearing] == [1, 4, 6, 7, 9]
    assert [fill.market for fill in result.fills] == [m for m in (1, 4, 6, 7, 9) for _ in range(2)]
    assert list(result.fills) == sorted(result.fills, key=lambda fill: (fill.market, fill.order_id))
    assert result.clearing[1] == (4, 12, 4) and result.clearing[4] == (9, 12, 9)
    for asset in desk.ASSETS:
        assert sum(change for _, of, change, _ in result.deltas if of == asset) == 0
    for place, fill in enumerate(result.fills):
        proof = next(one for one in floor.made.prove_fill(fill.order_id) if one.place == place)
        assert decode(types.Fill, proof.value) == fill


def test_a_dark_clearing_price_triggers_no_stop_of_another_market(floor):
    floor.speech = TRADES
    floor.run([*buyer_first(floor), desk.buy(2, 1, 20, 1, kind=3, stop_ticks=13, ioc=True)])
    floor.finish()
    assert floor.made.reference_price_ticks(4) == 12
    assert not floor.made.due(floor.time_ms)


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_dark_markets_leaf_names_price_batch_keys_and_what_waits(floor):
    floor.speech = TRADES
    seen = []
    for later_ms, actions in ((0, buyer_first(floor)), (1_000, []), (0, []), (0, [])):
        floor.run(actions, later_ms=later_ms)
        proof = floor.made.prove_market(4)
        price, batch, keys, state = decode(tuple[int, int, bytes, bytes], proof.value)
        assert proof.value == encode((price, *floor.desk.leaf(4)))
        assert state_root_of(3, (4).to_bytes(4, "big"), proof) == floor.made.state_root()
        assert keys == floor.desk.keys.id and len(state) == 32
        seen.append((price, batch, state))
    assert [row[:2] for row in seen] == [(9, 0), (9, 1), (9, 1), (12, 1)]
    assert len({state for _, _, state in seen}) == 4
    assert decode(tuple[int, int, bytes, bytes], dark_floor.engine().prove_market(4).value)[1:3] == (0, bytes(32))


def test_a_dump_is_loaded_in_every_phase_and_goes_on_alike(floor):
    floor.speech = TRADES
    heights = [
        (0, buyer_first(floor)), (0, [cover(floor.desk, 2, 1, (5, 5), market=DARK_CROSS)]), (1_000, []),
        (0, [cover(floor.desk, 3, 1, (5, 5))]), (0, []), (0, []), (2_000, []), (0, []), (9_000, []),
    ]  # fmt: skip
    seen = set()
    for later_ms, actions in heights:
        twin = Engine.load(floor.made.dump())
        assert twin.dump() == floor.made.dump() and twin.state_root() == floor.made.state_root()
        said = dark_floor.words(floor.desk, floor.speech)
        result = floor.run(actions, later_ms=later_ms)
        batch = [desk.prepared((floor.height, i), action) for i, action in enumerate(actions)]
        assert twin.execute(floor.height, floor.time_ms, desk.COIN, batch, words=said) == result
        assert twin.dump() == floor.made.dump()
        seen |= {one.code for one in (*result.outcomes, *result.updates)}
    assert seen == {"dark", "filled", "dark_aborted"}


def bent(floor: Floor, change) -> bytes:
    return encode(change(decode(DarkSnapshot, floor.made.dump())))


def test_a_dump_whose_locks_are_not_those_of_its_dark_orders_is_refused(floor):
    floor.run(buyer_first(floor))

    def moved(snapshot: DarkSnapshot) -> DarkSnapshot:
        accounts = []
        for account, value in snapshot.plain.accounts:
            rows = [
                (asset, (int.from_bytes(free, "big") - 1).to_bytes(16, "big"),
                 (int.from_bytes(locked, "big") + 1).to_bytes(16, "big"))
                for asset, free, locked in value.balances
            ]  # fmt: skip
            accounts.append((account, replace(value, balances=tuple(rows))))
        return replace(snapshot, plain=replace(snapshot.plain, accounts=tuple(accounts)))

    for change, says_what in (
        (moved, "unlike its orders"),
        (lambda s: replace(s, desk=encode(Floor(dark_floor.agreed()).desk.dump())), "unlike its orders"),
        (lambda s: replace(s, desk=s.desk[:-1]), "DeskValue|MessagePack"),
        (lambda s: replace(s, grids=(None, *s.grids[:-1])), "dark"),
        (lambda s: replace(s, grids=s.grids[:-1]), "differ in number"),
        (lambda s: replace(s, grids=(None,) * 4), "no market is dark"),
        (lambda s: replace(s, plain=replace(s.plain, sequences=(0, 1, 0, 0))), "dark market 4 counts"),
    ):
        with pytest.raises(ValueError, match=says_what):
            Engine.load(bent(floor, change))
    with pytest.raises(ValueError, match="dark"):
        Engine.load(encode(decode(DarkSnapshot, floor.made.dump()).plain))


def test_an_open_order_in_a_dark_market_is_no_state():
    spot = desk.SPOT
    made = desk.engine((spot,))
    desk.run(made, 1, [desk.buy(0, 1, 10, 1)])
    resting = decode(Snapshot, made.dump())
    dark = decode(DarkSnapshot, dark_floor.agreed((replace(DARK_SPOT, id=1),)).dump())
    bent_plain = replace(dark.plain, accounts=resting.accounts, orders=resting.orders)
    with pytest.raises(ValueError, match=r"its terms \(market\)"):
        Engine.load(encode(replace(dark, plain=bent_plain)))


def test_a_deployment_without_dark_markets_dumps_as_it_did_before_there_were_any():
    """Its markets have twelve fields and its version is 3, so what such deployments have on their disks is read."""
    made = desk.engine()
    snapshot = decode(Snapshot, made.dump())
    assert snapshot.version == 3
    assert len(decode(list, encode(snapshot.markets[0]))) == 12
    assert Engine.load(made.dump()).dump() == made.dump()


def test_a_deployment_without_dark_markets_loads_nothing_that_computes_them():
    script = """
import sys
from tests.market import desk
made = desk.engine()
batch = [desk.prepared(i, action) for i, action in enumerate((desk.buy(0, 1, 10, 2), desk.sell(1, 1, 10, 2)))]
made.execute(1, desk.TIME_MS, desk.COIN, batch)
made.due(0), type(made).load(made.dump())
print(sorted(name for name in sys.modules if name == "numpy" or name == "mpc_sequencer.dark.desk"))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# --- terms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "says_what"),
    [
        ({"policy": AUCTION}, "is dark without the terms"),
        ({"dark": None}, "is dark without the terms"),
        ({"quantity_min_lots": 2}, "nobody sees"),
        ({"quantity_max_lots": 254}, "nobody sees"),
        ({"dark": replace(GRID, slack_bits=8)}, "slack_bits"),
        ({"dark": replace(GRID, ticks=1_025)}, "is 1025"),
        ({"dark": replace(GRID, ticks=0)}, "is 0"),
        ({"dark": replace(GRID, orders_max=1_537)}, "is 1537"),
        ({"dark": replace(GRID, interval_ms=0)}, "is 0"),
        ({"dark": replace(GRID, quantity_bits=48, slack_bits=49)}, "below the prime"),
        ({"dark": replace(GRID, slack_bits=93, price_first_ticks=2**47, quantity_bits=46)}, "below the prime"),
        ({"dark": replace(GRID, price_first_ticks=2**48 - 1)}, "its last price"),
    ],
)
def test_markets_that_no_committee_could_compute_make_no_engine(terms, says_what):
    with pytest.raises(ValueError, match=says_what):
        Engine((replace(DARK_SPOT, **terms),), desk.ASSETS, desk.SEPARATOR, desk.FEES, dark_floor.PARTIES)


def test_the_desks_codes_are_those_of_the_table():
    told = {code for name, code in vars(codes).items() if name.isupper()}
    assert told <= set(types.OUTCOME_CODES)
    assert types.POLICY_NAMES[DARK] == "dark"
