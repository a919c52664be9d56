"""Cancels and replacements by the auditor: what they end, and what a replacement carries on; numbers by hand.

A lot is 10 base units, a tick and lot 100 quote units; every account begins with FUNDS of both.
"""

from __future__ import annotations

from typing import Any

import pytest

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import BUY, GTD, IOC, MARKET, SELL, STOP_LIMIT
from mpc_sequencer.market.types import RECEIVE, SHUFFLE
from tests.audit.audited_deployment import secret
from tests.audit.floor_kit import (
    BASE,
    FEES,
    QUOTE,
    TIME_MS,
    Floor,
    cancel,
    cancel_all,
    market,
    order,
    replacing,
    withdrawal,
)


# --- cancels ----------
def test_a_cancel_ends_an_open_order_before_orders_of_its_own_block_can_meet_it() -> None:
    for policy in (SHUFFLE, RECEIVE):
        floor = Floor(market(policy))
        floor.run("rest", rest=order("alice", 1, SELL, 100, 5))
        floor.run("take", take=order("bob", 1, BUY, 100, 5, time_in_force=IOC), gone=cancel("alice", 2, 1))
        assert (floor.update("rest"), floor.code("gone")) == (("cancelled", 0), "cancelled")
        assert floor.code("take") == "unfilled" and floor.held("alice", BASE) == (0, 0)


def test_a_cancel_ends_an_order_of_its_own_block_whatever_their_nonces() -> None:
    floor = Floor()
    floor.run(
        older=order("alice", 1, BUY, 99, 5), first=cancel("alice", 2, 1),
        second=cancel("alice", 3, 4), newer=order("alice", 4, BUY, 99, 5),
    )  # fmt: skip
    assert {floor.code(name) for name in ("older", "first", "second", "newer")} == {"cancelled"}
    assert not floor.execution.state.open
    floor.run(late=order("alice", 4, BUY, 99, 5))
    assert floor.code("late") == "nonce_consumed"


def test_a_cancel_of_an_unseen_nonce_uses_it_up() -> None:
    floor = Floor()
    floor.run(ahead=cancel("alice", 1, 5))
    assert floor.code("ahead") == "cancelled_unseen"
    floor.run(late=order("alice", 5, BUY, 99, 5), between=order("alice", 4, BUY, 99, 5))
    assert (floor.code("late"), floor.code("between")) == ("nonce_consumed", "resting")


def test_a_cancel_voids_whatever_has_its_nonce() -> None:
    floor = Floor()
    floor.run(
        one=cancel("alice", 1, 2), two=withdrawal("alice", 2, BASE, 50),
        three=cancel("alice", 3, 4), four=cancel("alice", 4, 9), nine=order("alice", 9, BUY, 99, 1),
    )  # fmt: skip
    assert [floor.code(name) for name in ("one", "two", "three", "four")] == ["cancelled"] * 4
    assert floor.code("nine") == "resting" and floor.held("alice", BASE) == (0, 0)


def test_what_is_consumed_and_not_open_cannot_be_cancelled() -> None:
    floor = Floor()
    floor.run(rest=order("alice", 1, SELL, 100, 5), own=cancel("bob", 1, 1))
    assert floor.code("own") == "not_open"
    floor.run(take=order("bob", 2, BUY, 100, 5), own=cancel("bob", 3, 3))
    assert (floor.code("take"), floor.code("own")) == ("filled", "not_open")
    floor.run(late=cancel("alice", 2, 1), again=replacing("alice", 3, 1, SELL, 100, 9))
    assert (floor.code("late"), floor.code("again")) == ("not_open", "not_open")
    assert not floor.execution.state.open


def test_a_cancel_reaches_as_far_ahead_as_a_nonce_may_be() -> None:
    floor = Floor()
    ahead = limits.NONCE_AHEAD_MAX
    floor.run(far=cancel("alice", 1, ahead + 2), near=cancel("bob", 1, ahead + 1))
    assert (floor.code("far"), floor.code("near")) == ("nonce_too_high", "cancelled_unseen")
    assert floor.execution.state.account(order("alice", 1, BUY, 1, 1).account).highest_nonce == 1


def test_a_cancel_of_an_open_order_does_not_ask_how_old_its_nonce_is() -> None:
    floor = Floor()
    floor.run(rest=order("alice", 1, BUY, 90, 5))
    floor.run(jump=withdrawal("alice", 5_000, BASE, 1))
    floor.run(gone=cancel("alice", 5_001, 1))
    assert (floor.code("gone"), floor.update("rest")) == ("cancelled", ("cancelled", 0))


def test_a_cancel_all_ends_what_is_open_in_its_market_and_what_was_signed_before_it() -> None:
    other = {"market": 2}
    floor = Floor(market(), market(id=2))
    floor.run(
        here=order("alice", 1, BUY, 90, 5),
        stop=order("alice", 2, BUY, 90, 5, kind=STOP_LIMIT, stop_ticks=200),
        there=order("alice", 3, BUY, 90, 5, **other),
        bobs=order("bob", 1, BUY, 90, 5),
    )
    floor.run(
        before=order("alice", 4, BUY, 91, 5), elsewhere=order("alice", 5, BUY, 91, 5, **other),
        all=cancel_all("alice", 6, 1), after=order("alice", 7, BUY, 92, 5),
    )  # fmt: skip
    assert floor.update("here") == floor.update("stop") == ("cancelled", 0)
    assert [floor.code(name) for name in ("before", "elsewhere", "all", "after")] == [
        "cancelled", "resting", "cancelled", "resting",
    ]  # fmt: skip
    assert floor.is_open("there") and floor.is_open("bobs")
    floor.run(all=cancel_all("alice", 9), unknown=order("alice", 8, BUY, 92, 5, market=77), no=cancel_all("bob", 2, 77))
    assert floor.update("there") == floor.update("after") == ("cancelled", 0)
    assert (floor.code("unknown"), floor.code("no")) == ("cancelled", "market")


def test_a_cancel_all_ends_a_replacement_that_was_signed_before_it_and_its_target() -> None:
    floor = Floor()
    floor.run(rest=order("alice", 1, BUY, 90, 5))
    floor.run(new=replacing("alice", 2, 1, BUY, 91, 5), all=cancel_all("alice", 3, 1))
    assert (floor.code("new"), floor.update("rest"), floor.code("all")) == ("cancelled", ("replaced", 0), "cancelled")
    assert floor.held("alice", QUOTE) == (0, 0)


# --- replacements ----------
def test_a_replacements_total_counts_what_its_target_had_filled() -> None:
    floor = Floor()
    floor.run(rest=order("alice", 1, SELL, 100, 10))
    floor.run(take=order("bob", 1, BUY, 100, 4))
    floor.run(seven=replacing("alice", 2, 1, SELL, 102, 7))
    assert (floor.update("rest"), floor.code("seven")) == (("replaced", 0), "resting")
    assert floor.open_lots("seven") == 3 and floor.held("alice", BASE) == (-70, 30)
    floor.run(four=replacing("alice", 3, 2, SELL, 102, 4))
    assert (floor.update("seven"), floor.code("four")) == (("replaced", 0), "filled_before")
    assert not floor.execution.state.open and floor.held("alice", BASE) == (-40, 0)


LESS: dict[str, Any] = {"side": SELL, "price_ticks": 100, "quantity_lots": 4}


@pytest.mark.parametrize(
    ("changes", "sequence", "met_first"),
    [
        ({}, 1, "new"),
        ({"time_in_force": GTD, "expires_ms": TIME_MS + 9, "client_id": 5, "self_trade": 1}, 1, "new"),
        ({"quantity_lots": 5}, 1, "new"),
        ({"quantity_lots": 6}, 3, "bob"),
        ({"price_ticks": 101}, 3, "bob"),
        ({"price_ticks": 99}, 3, "new"),
        ({"display_lots": 2}, 3, "bob"),
        ({"market": 2}, 1, "bob"),  # the first of another market
    ],
)
def test_a_replacement_keeps_its_place_where_it_asks_for_no_more(
    changes: dict[str, Any], sequence: int, met_first: str
) -> None:
    """Alice rests before Bob at one price and replaces hers."""
    floor = Floor(market(SHUFFLE), market(SHUFFLE, id=2))
    floor.run(alice=order("alice", 1, SELL, 100, 5))
    floor.run(bob=order("bob", 1, SELL, 100, 5))
    floor.run(new=replacing("alice", 2, 1, **(LESS | changes)))
    assert floor.code("new") == "resting"
    assert floor.execution.state.open[secret("new")].sequence == sequence
    floor.run(take=order("carol", 1, BUY, 100, 3))
    assert floor.lots(met_first) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"side": BUY},
        {"time_in_force": IOC},
        {"kind": STOP_LIMIT, "stop_ticks": 100},
        {"kind": MARKET, "time_in_force": IOC},
    ],
)
def test_a_replacement_of_another_kind_or_side_arrives_anew(changes: dict[str, Any]) -> None:
    floor = Floor(market(SHUFFLE))
    floor.run(alice=order("alice", 1, SELL, 100, 5))
    floor.run(bob=order("bob", 1, SELL, 100, 5))
    floor.run(new=replacing("alice", 2, 1, **(LESS | changes)))
    bought = 4 if changes.get("side") == BUY else 0
    assert floor.lots("new") == bought == floor.lots("bob")
    assert floor.code("new") == ("filled" if bought else "waiting" if "stop_ticks" in changes else "unfilled")


def test_an_iceberg_that_asks_for_less_keeps_what_it_shows() -> None:
    for policy, shown in ((SHUFFLE, 1), (1, 3)):
        floor = Floor(market(policy))
        floor.run(ice=order("alice", 1, SELL, 100, 9, display_lots=3))
        floor.run(take=order("bob", 1, BUY, 100, 2))
        floor.run(less=replacing("alice", 2, 1, SELL, 100, 8, display_lots=3))
        assert floor.execution.state.open[secret("less")].shown_lots == shown
        assert floor.open_lots("less") == 6


def test_a_replacement_that_keeps_its_place_is_a_maker_in_its_own_height() -> None:
    for policy in (1, SHUFFLE):
        floor = Floor(market(policy, **FEES))
        floor.run(rest=order("alice", 1, SELL, 100, 5))
        floor.run(less=replacing("alice", 2, 1, SELL, 100, 3), take=order("bob", 1, BUY, 100, 2))
        # 100 * 2 * 100 = 20,000: 20 as maker, 50 as taker
        assert floor.fills("less") == [(100, 2, 20, 1)] and floor.fills("take") == [(100, 2, 50, 0)]
        assert (floor.code("less"), floor.open_lots("less")) == ("partly_filled", 1)


def test_a_replacement_with_bad_terms_leaves_its_target_and_one_without_money_does_not() -> None:
    floor = Floor()
    floor.run(rest=order("alice", 1, BUY, 90, 5))
    floor.run(bad=replacing("alice", 2, 1, BUY, 0, 5))
    assert (floor.code("bad"), floor.is_open("rest")) == ("price", True)
    floor.run(dear=replacing("alice", 3, 1, BUY, 10**9, 10**9))
    assert (floor.code("dear"), floor.update("rest")) == ("balance", ("replaced", 0))
    assert floor.held("alice", QUOTE) == (0, 0)


def test_replacements_of_replacements_carry_what_was_filled() -> None:
    floor = Floor()
    floor.run(rest=order("alice", 1, SELL, 100, 10))
    floor.run(take=order("bob", 1, BUY, 100, 4))
    floor.run(one=replacing("alice", 2, 1, SELL, 101, 9), two=replacing("alice", 3, 2, SELL, 102, 6))
    assert (floor.code("one"), floor.code("two")) == ("replaced", "resting")
    assert floor.open_lots("two") == 2 and not floor.is_open("one")
    floor.run(three=replacing("alice", 4, 3, SELL, 103, 9), gone=cancel("alice", 5, 4))
    assert (floor.code("three"), floor.code("gone"), floor.update("two")) == (
        "cancelled", "cancelled", ("replaced", 0),
    )  # fmt: skip


def test_a_replacement_takes_the_place_of_an_order_of_its_own_block() -> None:
    floor = Floor()
    floor.run(new=replacing("alice", 1, 2, BUY, 95, 5), old=order("alice", 2, BUY, 90, 5))
    assert (floor.code("new"), floor.code("old"), floor.open_lots("new")) == ("resting", "replaced", 5)
