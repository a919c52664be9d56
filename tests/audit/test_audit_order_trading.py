"""Orders of every kind as they trade, by the auditor: fees, self-trade prevention, fill-or-kill, post-only, icebergs
and stops, in auctions and one after the other; numbers by hand.

A lot is 10 base units, a tick and lot 100 quote units; markets last traded at 100.
"""

from __future__ import annotations

import pytest

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import (
    BUY,
    CANCEL_BOTH,
    CANCEL_MAKER,
    CANCEL_TAKER,
    FOK,
    GTC,
    IOC,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    STOP_LIMIT,
)
from mpc_sequencer.market.types import AUCTION, RECEIVE, SHUFFLE
from tests.audit.audited_deployment import secret
from tests.audit.floor_kit import ADDRESSES, BASE, FEES, HOUSE, QUOTE, Floor, cancel, market, order

EACH_MODE = pytest.mark.parametrize("policy", [AUCTION, SHUFFLE, RECEIVE])
ONE_AFTER_THE_OTHER = pytest.mark.parametrize("policy", [SHUFFLE, RECEIVE])


# --- fees ----------
def test_maker_and_taker_pay_their_fees_on_one_clearing_price_and_the_rest_of_a_lock_is_free() -> None:
    floor = Floor(market(**FEES))
    floor.run(rest=order("alice", 1, BUY, 101, 7))
    assert floor.held("alice", QUOTE) == (-70_877, 70_877)  # 70,700 and 176.75
    seen = floor.run(take=order("bob", 1, SELL, 100, 3, time_in_force=IOC))
    # at 101, for more is bid: 30,300 units, 30.3 for the maker and 75.75 for the taker
    assert floor.fills("rest") == [(101, 3, 30, 1)] and floor.fills("take") == [(101, 3, 75, 0)]
    assert floor.held("alice", QUOTE) == (-70_831, 40_501)  # 40,400 and 101 stay locked; 30,330 are gone
    assert floor.held("bob", QUOTE) == (30_225, 0) and floor.held(HOUSE, QUOTE) == (105, 0)
    assert seen.deltas == {
        (BASE, ADDRESSES["alice"]): (30, 0),
        (BASE, ADDRESSES["bob"]): (-30, 0),
        (QUOTE, ADDRESSES["alice"]): (-30_330, 0),
        (QUOTE, ADDRESSES["bob"]): (30_225, 0),
        (QUOTE, HOUSE): (105, 0),
    }
    assert (floor.code("take"), floor.update("rest"), floor.reference()) == ("filled", ("partly_filled", 4), 101)


def test_of_two_new_orders_the_one_that_is_met_is_the_maker() -> None:
    floor = Floor(market(RECEIVE, **FEES))
    floor.run("met", "arrives", met=order("alice", 1, SELL, 100, 2), arrives=order("bob", 1, BUY, 102, 2))
    assert floor.fills("met") == [(100, 2, 20, 1)] and floor.fills("arrives") == [(100, 2, 50, 0)]


def test_in_an_auction_two_new_orders_are_takers_both() -> None:
    floor = Floor(market(**FEES))
    floor.run(one=order("alice", 1, SELL, 100, 2), two=order("bob", 1, BUY, 100, 2))
    assert floor.fills("one") == floor.fills("two") == [(100, 2, 50, 0)]


def test_an_order_that_takes_and_is_met_at_one_price_has_a_row_for_each_and_the_takers_first() -> None:
    floor = Floor(market(RECEIVE, **FEES))
    floor.run("rest", rest=order("carol", 1, SELL, 100, 1))
    floor.run("both", "last", both=order("alice", 1, BUY, 100, 3), last=order("bob", 1, SELL, 100, 2))
    assert floor.fills("both") == [(100, 1, 25, 0), (100, 2, 20, 1)]
    assert floor.code("both") == "filled"


def test_fees_round_down_per_row_and_an_arrivals_rows_go_from_its_best_price() -> None:
    floor = Floor(market(RECEIVE, quote_units_per_tick_lot=1, taker_fee_ppm=9_999))
    floor.run("a", "b", a=order("carol", 1, BUY, 100, 1), b=order("dave", 1, BUY, 101, 1))
    floor.run("hit", hit=order("bob", 1, SELL, 99, 2))
    assert floor.fills("hit") == [(101, 1, 1, 0), (100, 1, 0, 0)]  # 1.0099 and 0.9999
    assert floor.held("bob", QUOTE) == (200, 0) and floor.held(HOUSE, QUOTE) == (1, 0)


# --- self-trade prevention ----------
@EACH_MODE
@pytest.mark.parametrize("mode", [0, CANCEL_MAKER, CANCEL_TAKER, CANCEL_BOTH])
def test_an_account_meets_itself_by_the_newer_orders_mode(policy: int, mode: int) -> None:
    floor = Floor(market(policy, **FEES))
    floor.run("rest", rest=order("alice", 1, SELL, 100, 5, self_trade=CANCEL_BOTH))
    floor.run("new", new=order("alice", 2, BUY, 100, 5, self_trade=mode))
    rest, new = {
        0: (("filled", 0), "filled"),
        CANCEL_MAKER: (("self_trade", 0), "resting"),
        CANCEL_TAKER: (None, "self_trade"),
        CANCEL_BOTH: (("self_trade", 0), "self_trade"),
    }[mode]
    assert (floor.update("rest"), floor.code("new")) == (rest, new)
    assert floor.held("alice", BASE) == ((-50, 50) if mode == CANCEL_TAKER else (0, 0))
    spent = {0: (-175, 0), CANCEL_MAKER: (-50_125, 50_125)}  # fees of 50 and 125; a lock of 50,000 and 125
    assert floor.held("alice", QUOTE) == spent.get(mode, (0, 0))


def test_in_an_auction_cancel_both_ends_the_best_of_the_accounts_orders_and_cancel_maker_all_that_cross() -> None:
    for mode, gone in ((CANCEL_BOTH, {"best"}), (CANCEL_MAKER, {"best", "worse"})):
        floor = Floor(market())
        floor.run(
            worse=order("alice", 1, SELL, 100, 5), best=order("alice", 2, SELL, 99, 5),
            beyond=order("alice", 3, SELL, 101, 5), other=order("bob", 1, SELL, 99, 5),
        )  # fmt: skip
        floor.run(new=order("alice", 4, BUY, 100, 5, self_trade=mode))
        assert {name for name in ("worse", "best", "beyond") if not floor.is_open(name)} == gone
        assert floor.code("new") == ("self_trade" if mode == CANCEL_BOTH else "filled")


def test_in_an_auction_of_two_new_orders_the_later_draws_mode_counts() -> None:
    floor = Floor(market())
    first, second = floor.draw("one", "two")
    modes = {first: CANCEL_BOTH, second: CANCEL_TAKER}
    floor.run(
        one=order("alice", 1, SELL, 100, 5, self_trade=modes["one"]),
        two=order("alice", 2, BUY, 100, 5, self_trade=modes["two"]),
    )
    assert (floor.code(first), floor.code(second)) == ("resting", "self_trade")


def test_in_an_auction_an_order_that_is_ended_ends_no_other() -> None:
    floor = Floor(market())
    floor.run(rest=order("alice", 1, SELL, 100, 5))
    first, second = floor.draw("one", "two")
    modes = {first: CANCEL_MAKER, second: CANCEL_TAKER}
    floor.run(
        **{first: order("alice", 2, BUY, 100, 1, self_trade=modes[first])},
        **{second: order("alice", 3, BUY, 100, 1, self_trade=modes[second])},
    )
    assert (floor.update("rest"), floor.code(first), floor.code(second)) == (("self_trade", 0), "resting", "resting")


def test_in_an_auction_cancel_both_ends_what_rests_before_what_is_new_whatever_their_draws() -> None:
    floor = Floor(market())
    floor.run(rest=order("alice", 1, SELL, 100, 5))
    sell, buy = [name for name in floor.draw("rest", *"abcdefgh") if name != "rest"][:2]
    assert floor.draw("rest", sell)[0] == sell
    floor.run(
        **{sell: order("alice", 2, SELL, 100, 5), buy: order("alice", 3, BUY, 100, 5, self_trade=CANCEL_BOTH)}
    )
    assert (floor.update("rest"), floor.code(sell), floor.code(buy)) == (("self_trade", 0), "resting", "self_trade")


@ONE_AFTER_THE_OTHER
def test_an_order_ended_on_meeting_itself_keeps_what_it_filled_before(policy: int) -> None:
    floor = Floor(market(policy))
    floor.run("others", "own", others=order("bob", 1, SELL, 100, 2), own=order("alice", 1, SELL, 101, 2))
    floor.run("new", new=order("alice", 2, BUY, 101, 5, self_trade=CANCEL_TAKER))
    assert (floor.code("new"), floor.fills("new")) == ("self_trade", [(100, 2, 0, 0)])
    assert floor.is_open("own") and floor.held("alice", QUOTE) == (-20_000, 0)


def test_a_met_order_ended_after_trading_in_its_own_height_keeps_its_fills() -> None:
    floor = Floor(market(RECEIVE))
    floor.run(
        "rests", "takes", "own",
        rests=order("alice", 1, SELL, 100, 5), takes=order("bob", 1, BUY, 100, 2),
        own=order("alice", 2, BUY, 100, 5, self_trade=CANCEL_MAKER),
    )  # fmt: skip
    assert (floor.code("rests"), floor.lots("rests"), floor.code("own")) == ("self_trade", 2, "resting")


# --- fill or kill ----------
@EACH_MODE
def test_fill_or_kill_is_wholly_filled_or_not_at_all(policy: int) -> None:
    for lots, code in ((6, "filled"), (7, "unfilled")):
        floor = Floor(market(policy))
        floor.run("a", "b", a=order("bob", 1, SELL, 100, 3), b=order("carol", 1, SELL, 101, 3, display_lots=1))
        floor.run("kill", kill=order("alice", 1, BUY, 101, lots, time_in_force=FOK))
        assert (floor.code("kill"), floor.lots("kill")) == (code, 6 if code == "filled" else 0)
        assert floor.held("alice", QUOTE)[1] == 0


def test_in_an_auction_what_fails_goes_and_the_rest_is_cleared_again() -> None:
    """A and B want 6 each of 6 lots: at first 101 clears, which only A pays; without B it is the reference, 100."""
    floor = Floor(market())
    floor.run(sell=order("carol", 1, SELL, 100, 6))
    floor.run(
        a=order("alice", 1, BUY, 101, 6, time_in_force=FOK), b=order("bob", 1, BUY, 100, 6, time_in_force=FOK)
    )
    assert (floor.code("a"), floor.code("b"), floor.fills("a")) == ("filled", "unfilled", [(100, 6, 0, 0)])


def test_in_an_auction_those_that_ration_each_other_fail_together() -> None:
    floor = Floor(market())
    floor.run(sell=order("carol", 1, SELL, 100, 6))
    floor.run(
        a=order("alice", 1, BUY, 100, 6, time_in_force=FOK), b=order("bob", 1, BUY, 100, 6, time_in_force=FOK)
    )
    assert floor.code("a") == floor.code("b") == "unfilled" and floor.reference() == 100


def test_after_so_many_rounds_all_fill_or_kill_orders_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FOK_ROUNDS_MAX", 1)
    floor = Floor(market())
    floor.run(sell=order("carol", 1, SELL, 100, 6))
    floor.run(
        a=order("alice", 1, BUY, 101, 6, time_in_force=FOK), b=order("bob", 1, BUY, 100, 6, time_in_force=FOK),
        c=order("dave", 1, BUY, 100, 1),
    )  # fmt: skip
    assert (floor.code("a"), floor.code("b"), floor.code("c")) == ("unfilled", "unfilled", "filled")


def test_fill_or_kill_looks_at_so_many_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FOK_LEVELS_MAX", 2)
    for last, code in ((102, "unfilled"), (101, "filled")):
        floor = Floor(market(SHUFFLE))
        sells = {f"at {price}": price for price in (100, 101)} | {"last": last}
        floor.run(**{name: order("bob", at, SELL, price, 1) for at, (name, price) in enumerate(sells.items(), 1)})
        floor.run(kill=order("alice", 1, BUY, 105, 3, time_in_force=FOK))
        assert floor.code("kill") == code


@pytest.mark.parametrize(
    ("mode", "lots", "code"),
    [(0, 7, "filled"), (CANCEL_MAKER, 5, "filled"), (CANCEL_MAKER, 6, "unfilled"), (CANCEL_TAKER, 2, "filled"),
     (CANCEL_TAKER, 3, "unfilled"), (CANCEL_BOTH, 2, "filled"), (CANCEL_BOTH, 3, "unfilled")],
)  # fmt: skip
def test_fill_or_kill_does_not_count_on_its_own_account(mode: int, lots: int, code: str) -> None:
    """Two lots at 100, then at 101 the account's own two and one, then two at 102."""
    floor = Floor(market(RECEIVE))
    floor.run(
        "a", "own", "b", "c",
        a=order("bob", 1, SELL, 100, 2), own=order("alice", 1, SELL, 101, 2),
        b=order("bob", 2, SELL, 101, 1), c=order("bob", 3, SELL, 102, 2),
    )  # fmt: skip
    floor.run("kill", kill=order("alice", 2, BUY, 102, lots, time_in_force=FOK, self_trade=mode))
    assert floor.code("kill") == code
    assert floor.is_open("own") == (code == "unfilled" or mode in (CANCEL_TAKER, CANCEL_BOTH))


# --- post-only ----------
@EACH_MODE
def test_post_only_rests_or_is_ended_but_never_takes(policy: int) -> None:
    for price, code in ((99, "resting"), (100, "post_only"), (101, "post_only")):
        floor = Floor(market(policy))
        floor.run("rest", rest=order("alice", 1, SELL, 100, 5))
        seen = floor.run("new", new=order("bob", 1, BUY, price, 5, post_only=1))
        assert floor.code("new") == code and not seen.fills
        assert floor.held("bob", QUOTE)[1] == (49_500 if code == "resting" else 0)


def test_in_an_auction_post_only_orders_wait_beyond_the_clearing_price() -> None:
    floor = Floor(market())
    floor.run(
        sell=order("alice", 1, SELL, 100, 5), buy=order("bob", 1, BUY, 100, 5),
        at=order("carol", 1, SELL, 100, 5, post_only=1), beyond=order("carol", 2, SELL, 101, 5, post_only=1),
        below=order("dave", 1, BUY, 99, 5, post_only=1), over=order("dave", 2, BUY, 100, 5, post_only=1),
    )  # fmt: skip
    assert [floor.code(name) for name in ("at", "beyond", "below", "over")] == [
        "post_only", "resting", "resting", "post_only",
    ]  # fmt: skip


@EACH_MODE
def test_of_two_post_only_orders_that_cross_the_first_rests(policy: int) -> None:
    floor = Floor(market(policy))
    first, second = floor.draw("one", "two") if policy != RECEIVE else ("one", "two")
    floor.run(
        "one", "two", one=order("alice", 1, SELL, 100, 5, post_only=1), two=order("bob", 1, BUY, 100, 5, post_only=1)
    )
    assert (floor.code(first), floor.code(second)) == ("resting", "post_only")


# --- icebergs ----------
@pytest.mark.parametrize(
    ("bought", "given"),
    [(4, (1, 3, 0, 0)), (6, (2, 4, 0, 0)), (12, (2, 4, 4, 2)), (15, (5, 4, 4, 2)), (26, (10, 4, 4, 8))],
)
def test_an_auction_gives_out_shown_lots_before_hidden_ones(bought: int, given: tuple[int, ...]) -> None:
    """Resting: 10 with 2 shown, and 4; new: 4, and 8 with 2 shown. 4 among the resting shown 2 and 4 are 1.33 and
    2.67; 15 are all shown ones and 3 of the resting hidden ones."""
    floor = Floor(market())
    floor.run(a=order("alice", 1, SELL, 100, 10, display_lots=2), b=order("bob", 1, SELL, 100, 4))
    floor.run(
        c=order("carol", 1, SELL, 100, 4), d=order("dave", 1, SELL, 100, 8, display_lots=2),
        buy=order("erin", 1, BUY, 100, bought),
    )  # fmt: skip
    assert tuple(floor.lots(name) for name in "abcd") == given
    if floor.is_open("a"):
        assert floor.execution.state.open[secret("a")].shown_lots == 2


def test_an_iceberg_goes_to_the_end_of_its_level_with_every_part() -> None:
    floor = Floor(market(RECEIVE))
    floor.run("ice", "plain", ice=order("alice", 1, SELL, 100, 6, display_lots=2), plain=order("bob", 1, SELL, 100, 3))
    ice = floor.execution.state.open[secret("ice")]
    floor.run("buy", buy=order("carol", 1, BUY, 100, 3))
    assert (floor.lots("ice"), floor.lots("plain")) == (2, 1)
    assert (ice.shown_lots, ice.sequence, ice.remaining_lots) == (2, 3, 4)
    floor.run("buy", buy=order("carol", 2, BUY, 100, 3))
    assert (floor.lots("ice"), floor.lots("plain")) == (1, 2)
    assert (ice.shown_lots, ice.sequence, ice.remaining_lots) == (1, 3, 3)
    floor.run("buy", buy=order("carol", 3, BUY, 100, 2))
    assert floor.fills("ice") == [(100, 2, 0, 1)] and (ice.shown_lots, ice.sequence) == (1, 4)
    assert floor.execution.state.last_sequences[1] == 4


def test_an_arriving_iceberg_trades_all_it_has_and_then_shows_its_part() -> None:
    floor = Floor(market(RECEIVE))
    floor.run("sell", sell=order("alice", 1, SELL, 100, 5))
    floor.run("ice", ice=order("bob", 1, BUY, 100, 12, display_lots=3))
    ice = floor.execution.state.open[secret("ice")]
    assert (floor.code("ice"), ice.remaining_lots, ice.shown_lots) == ("partly_filled", 7, 3)


# --- market orders ----------
@EACH_MODE
def test_a_market_order_takes_up_to_its_protection_price_and_never_rests(policy: int) -> None:
    floor = Floor(market(policy))
    floor.run("a", "b", a=order("bob", 1, SELL, 100, 2), b=order("bob", 2, SELL, 103, 2))
    floor.run("buy", buy=order("alice", 1, BUY, 102, 4, kind=MARKET, time_in_force=IOC))
    assert (floor.code("buy"), floor.lots("buy"), floor.is_open("buy")) == ("partly_filled", 2, False)
    assert floor.held("alice", QUOTE)[1] == 0


# --- stops ----------
def reach(floor: Floor, price: int, nonce: int) -> None:
    """Let the market trade one lot at a price."""
    floor.run("s", "b", s=order("dave", nonce, SELL, price, 1), b=order("erin", nonce, BUY, price, 1))
    assert floor.reference() == price


@EACH_MODE
def test_a_stop_waits_for_its_price_and_joins_the_height_after(policy: int) -> None:
    floor = Floor(market(policy, **FEES))
    floor.run(
        "sell", "stop", "far",
        sell=order("bob", 1, SELL, 106, 5),
        stop=order("alice", 1, BUY, 107, 5, kind=STOP, time_in_force=IOC, stop_ticks=105),
        far=order("alice", 2, BUY, 107, 5, kind=STOP, time_in_force=IOC, stop_ticks=106),
    )  # fmt: skip
    assert floor.code("stop") == floor.code("far") == "waiting"
    assert floor.held("alice", QUOTE)[1] == 2 * (53_500 + 134)  # 133.75 rounded up
    reach(floor, 104, 1)
    assert floor.execution.state.open[secret("stop")].status == 2
    reach(floor, 105, 2)
    assert floor.update("stop") is None and floor.execution.state.open[secret("stop")].status == 3
    floor.run()
    # 106 * 5 * 100 = 53,000: 132 as taker, 53 as maker
    assert floor.update("stop") == floor.update("sell") == ("filled", 0)
    assert floor.fills("stop") == [(106, 5, 132, 0)] and floor.fills("sell") == [(106, 5, 53, 1)]
    assert floor.execution.state.open[secret("far")].status == 3
    floor.run()
    assert floor.update("far") == ("unfilled", 0) and floor.held("alice", QUOTE) == (-53_132, 0)


def test_a_stop_whose_price_is_there_already_joins_the_next_height() -> None:
    floor = Floor(market())
    stop = {"kind": STOP_LIMIT, "time_in_force": GTC}
    floor.run(
        sell=order("alice", 1, SELL, 99, 5, stop_ticks=100, **stop),
        no=order("alice", 2, SELL, 99, 5, stop_ticks=99, **stop),
    )
    assert floor.code("sell") == floor.code("no") == "waiting" and floor.last.updates == {}
    floor.run()
    assert floor.last.updates == {secret("sell"): ("resting", 5)}
    rest = floor.execution.state.open[secret("sell")]
    assert (rest.status, rest.terms.kind, rest.terms.stop_ticks) == (1, LIMIT, 0)
    floor.run(buy=order("bob", 1, BUY, 99, 5))
    assert floor.update("sell") == ("filled", 0) and floor.execution.state.open[secret("no")].status == 3


def test_of_many_triggered_stops_a_height_takes_so_many_by_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRIGGERED_PER_HEIGHT_MAX", 2)
    floor = Floor(market(), market(id=2))
    stop = {"kind": STOP_LIMIT, "stop_ticks": 100}
    floor.run(**{name: order("alice", at, BUY, 90, 1, market=1 + at % 2, **stop) for at, name in enumerate("abc", 1)})
    first, second, third = floor.draw(*"abc")
    floor.run()
    assert floor.update(first) == floor.update(second) == ("resting", 1) and floor.update(third) is None
    floor.run()
    assert floor.last.updates == {secret(third): ("resting", 1)}


def test_a_triggered_stop_can_still_be_cancelled() -> None:
    floor = Floor(market())
    floor.run(stop=order("alice", 1, BUY, 90, 1, kind=STOP_LIMIT, stop_ticks=100))
    floor.run(gone=cancel("alice", 2, 1))
    assert (floor.update("stop"), floor.code("gone")) == (("cancelled", 0), "cancelled")
    assert floor.held("alice", QUOTE) == (0, 0)


@ONE_AFTER_THE_OTHER
def test_stops_arrive_by_draw_and_where_receipt_counts_after_all_received(policy: int) -> None:
    floor = Floor(market(policy))
    floor.run("sell", "stop", sell=order("bob", 1, SELL, 101, 1),
              stop=order("alice", 1, BUY, 101, 1, kind=STOP, time_in_force=IOC, stop_ticks=100))  # fmt: skip
    names = floor.draw("stop", "new")
    floor.run("new", new=order("carol", 1, BUY, 101, 1))
    first = "new" if policy == RECEIVE else names[0]
    assert floor.fills(first) == [(101, 1, 0, 0)] and len(floor.last.fills) == 2
