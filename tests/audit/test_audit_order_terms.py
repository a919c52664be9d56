"""Orders before they trade, by the auditor: terms, locks, expiry, what an account allows; numbers by hand.

A lot is 10 base units, a tick and lot 100 quote units; every account begins with FUNDS of both.
"""

from __future__ import annotations

from typing import Any

import pytest

from mpc_sequencer.audit.state import account_pair, order_pair
from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import BUY, FOK, GTC, GTD, IOC, MARKET, SELL, STOP, STOP_LIMIT
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.market.types import SHUFFLE, AccountValue, OrderValue
from tests.audit.audited_deployment import secret
from tests.audit.floor_kit import (
    BASE,
    FEES,
    FUNDS,
    HOUSE,
    QUOTE,
    TIME_MS,
    Floor,
    cancel,
    market,
    order,
    replacing,
)

SIZED = market(quantity_min_lots=2, quantity_max_lots=1_000)
FIRST_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("market", {"market": 9}),
    ("side", {"side": 3}),
    ("kind", {"kind": 5}),
    ("time_in_force", {"time_in_force": 5}),
    ("expiry", {"expires_ms": TIME_MS + 1}),
    ("post_only_terms", {"post_only": 2}),
    ("self_trade_mode", {"self_trade": 4}),
    ("price", {"price_ticks": 0}),
    ("stop_price", {"stop_ticks": 100}),
    ("quantity", {"quantity_lots": 1}),
    ("display", {"display_lots": 1_001}),
    ("balance", {}),
]
"""One fault per code, in the order of the checks; the last is that the order costs more than there is."""
MORE_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("side", {"side": 0}),
    ("kind", {"kind": 0}),
    ("time_in_force", {"time_in_force": 0}),
    ("time_in_force", {"kind": MARKET}),
    ("time_in_force", {"kind": STOP, "stop_ticks": 100}),
    ("time_in_force", {"kind": MARKET, "time_in_force": GTD, "expires_ms": TIME_MS + 1}),
    ("expiry", {"time_in_force": GTD}),
    ("expiry", {"time_in_force": IOC, "expires_ms": TIME_MS + 1}),
    ("expired", {"time_in_force": GTD, "expires_ms": TIME_MS}),
    ("post_only_terms", {"post_only": 1, "time_in_force": IOC}),
    ("post_only_terms", {"post_only": 1, "time_in_force": FOK}),
    ("post_only_terms", {"post_only": 1, "kind": STOP_LIMIT, "stop_ticks": 100}),
    ("price", {"price_ticks": 2**48}),
    ("stop_price", {"kind": STOP_LIMIT}),
    ("stop_price", {"kind": STOP_LIMIT, "stop_ticks": 2**48}),
    ("quantity", {"quantity_lots": 0}),
    ("quantity", {"quantity_lots": 1_001}),
    ("display", {"display_lots": 1}),  # below the market's least
    ("display", {"display_lots": 6}),  # above the order's own
    ("display", {"display_lots": 3, "time_in_force": IOC}),
    ("display", {"display_lots": 2, "quantity_lots": 129}),  # in 65 parts
]


def five_lots(changes: dict[str, Any]) -> Any:
    fields = {"side": BUY, "price_ticks": 100, "quantity_lots": 5} | changes
    return order("alice", 1, fields.pop("side"), fields.pop("price_ticks"), fields.pop("quantity_lots"), **fields)


@pytest.mark.parametrize(("code", "changes"), FIRST_FAULTS[:-1] + MORE_FAULTS)
def test_every_fault_in_an_orders_terms_has_its_code_and_costs_nothing_but_the_nonce(
    code: str, changes: dict[str, Any]
) -> None:
    floor = Floor(SIZED)
    seen = floor.run(bad=five_lots(changes))
    assert floor.code("bad") == code
    assert floor.held("alice", QUOTE) == floor.held("alice", BASE) == (0, 0)
    assert not floor.execution.state.open and not seen.fills and not seen.deltas
    floor.run(again=order("alice", 1, BUY, 100, 5))
    assert floor.code("again") == "nonce_consumed"


def test_terms_at_their_bounds_are_taken() -> None:
    floor = Floor(SIZED, funds=2**110)
    floor.run(
        dated=order("alice", 1, BUY, 1, 2, time_in_force=GTD, expires_ms=TIME_MS + 1),
        dear=order("alice", 2, SELL, 2**48 - 1, 1_000),
        parts=order("alice", 3, SELL, 2**48 - 1, 128, display_lots=2),
        whole=order("alice", 4, SELL, 2**48 - 1, 128, display_lots=128),
        stop=order("alice", 5, SELL, 1, 2, kind=STOP, time_in_force=FOK, stop_ticks=2**48 - 1),
    )
    assert [floor.code(name) for name in ("dated", "dear", "parts", "whole")] == ["resting"] * 4
    assert floor.code("stop") == "waiting"


@pytest.mark.parametrize("first", range(len(FIRST_FAULTS) - 1))
def test_of_two_faults_the_first_in_the_table_is_the_outcome(first: int) -> None:
    for second in range(first + 1, len(FIRST_FAULTS)):
        floor = Floor(SIZED, funds=10 if FIRST_FAULTS[second][0] == "balance" else FUNDS)
        floor.run(bad=five_lots(FIRST_FAULTS[second][1] | FIRST_FAULTS[first][1]))
        assert floor.code("bad") == FIRST_FAULTS[first][0]


# --- locks ----------
def test_a_buy_locks_its_limit_and_the_higher_fee_rounded_up_and_a_sell_its_lots() -> None:
    floor = Floor(market(**FEES))
    floor.run(buy=order("alice", 1, BUY, 99, 7), sell=order("bob", 1, SELL, 101, 7))
    # 99 * 7 * 100 = 69,300, and 2,500 ppm of that 173.25
    assert floor.held("alice", QUOTE) == (-69_474, 69_474)
    assert floor.held("bob", BASE) == (-70, 70)
    floor.run(gone=cancel("alice", 2, 1))
    assert floor.held("alice", QUOTE) == (0, 0)


def test_a_balance_that_covers_the_lock_to_the_unit_is_enough_and_one_less_is_not() -> None:
    for funds, code in ((69_474, "resting"), (69_473, "balance")):
        floor = Floor(market(**FEES), funds=funds)
        floor.run(buy=order("alice", 1, BUY, 99, 7))
        assert floor.code("buy") == code


def test_a_lock_beyond_the_greatest_amount_is_refused_whatever_is_held() -> None:
    floor = Floor(market(quote_units_per_tick_lot=2**40), funds=2**128 - 1)
    floor.run(most=order("alice", 1, BUY, 2**39, 2**48 - 1), more=order("bob", 1, BUY, 2**40, 2**48 - 1))
    assert (floor.code("most"), floor.code("more")) == ("resting", "balance")


# --- expiry ----------
def test_an_order_expires_with_the_first_block_whose_time_is_its_expiry() -> None:
    floor = Floor()
    dated = {"time_in_force": GTD, "expires_ms": TIME_MS + 10}
    floor.run(
        rest=order("alice", 1, BUY, 90, 5, **dated),
        stop=order("alice", 2, BUY, 90, 5, kind=STOP_LIMIT, stop_ticks=200, **dated),
    )
    floor.run(time_ms=TIME_MS + 9)
    assert floor.last.updates == {} and floor.held("alice", QUOTE) == (-90_000, 90_000)
    floor.run(time_ms=TIME_MS + 10)
    assert floor.update("rest") == floor.update("stop") == ("expired", 0)
    assert floor.held("alice", QUOTE) == (0, 0) and not floor.execution.state.open


def test_an_expired_order_meets_nobody_and_its_money_is_free_for_orders_of_the_same_block() -> None:
    floor = Floor()
    all_lots = FUNDS // 10
    floor.run(old=order("alice", 1, SELL, 100, all_lots, time_in_force=GTD, expires_ms=TIME_MS + 1))
    floor.run(new=order("alice", 2, SELL, 105, all_lots), take=order("bob", 1, BUY, 100, 1), time_ms=TIME_MS + 1)
    assert (floor.update("old"), floor.code("new"), floor.code("take")) == (("expired", 0), "resting", "resting")


# --- what an account allows ----------
def test_a_client_id_is_taken_once() -> None:
    floor = Floor()
    floor.run(one=order("alice", 1, BUY, 90, 5, client_id=7, time_in_force=IOC))
    floor.run(two=order("alice", 2, BUY, 90, 5, client_id=7), others=order("bob", 1, BUY, 90, 5, client_id=7))
    assert (floor.code("two"), floor.code("others")) == ("duplicate_client_id", "resting")
    floor.run(none=order("alice", 3, BUY, 90, 1), nil=order("alice", 4, BUY, 90, 1))
    assert floor.code("none") == floor.code("nil") == "resting"
    floor.run(new=replacing("bob", 2, 1, BUY, 90, 6, client_id=7))
    assert floor.code("new") == "duplicate_client_id" and floor.update("others") == ("replaced", 0)


def test_of_accepted_client_ids_the_last_are_kept() -> None:
    floor = Floor()
    count = limits.CLIENT_IDS_KEPT
    floor.run(refused=order("alice", 1, BUY, 90, 0, client_id=1))
    floor.run(rests=order("alice", 2, BUY, 90, 1, client_id=1))
    for at in range(2, count + 2):
        floor.run(next=order("alice", at + 1, BUY, 90, 1, client_id=at, time_in_force=IOC))
    account = floor.execution.state.account(order("alice", 1, BUY, 1, 1).account)
    assert account.client_ids == list(range(2, count + 2))
    floor.run(open=order("alice", 100, BUY, 90, 1, client_id=1))
    assert floor.code("open") == "duplicate_client_id"
    floor.run(gone=cancel("alice", 101, 2))
    floor.run(free=order("alice", 102, BUY, 90, 1, client_id=1), kept=order("alice", 103, BUY, 90, 1, client_id=3))
    assert (floor.code("free"), floor.code("kept")) == ("resting", "duplicate_client_id")


def test_an_account_has_so_many_open_orders_and_others_that_do_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPEN_ORDERS_PER_ACCOUNT_MAX", 2)
    floor = Floor()
    batch = {f"order {nonce}": order("alice", nonce, BUY, 90, 1) for nonce in (1, 2, 3)}
    names = floor.draw(*batch)
    floor.run(**batch)
    assert [floor.code(name) for name in names] == ["resting", "resting", "too_many_open"]
    stop = {"kind": STOP, "stop_ticks": 200, "time_in_force": IOC}
    floor.run(stop=order("alice", 4, BUY, 90, 1, **stop), ioc=order("alice", 5, BUY, 90, 1, time_in_force=IOC))
    assert (floor.code("stop"), floor.code("ioc")) == ("too_many_open", "unfilled")


def test_the_smaller_draw_uses_nonce_and_money_first() -> None:
    floor = Floor(funds=1_000)
    first, second = floor.draw("one", "two")
    floor.run(one=order("alice", 1, BUY, 5, 1), two=order("alice", 1, BUY, 5, 1))
    assert (floor.code(first), floor.code(second)) == ("resting", "nonce_consumed")
    first, second = floor.draw("one", "two")
    floor.run(one=order("bob", 1, BUY, 10, 1), two=order("bob", 2, BUY, 10, 1))
    assert (floor.code(first), floor.code(second)) == ("resting", "balance")


# --- what the root covers ----------
def test_leaves_are_the_values_the_protocol_names() -> None:
    floor = Floor(market(SHUFFLE, **FEES))
    floor.run(rest=order("alice", 1, SELL, 100, 9, display_lots=4, client_id=8, self_trade=1))
    floor.run(take=order("bob", 1, BUY, 100, 1, client_id=9))
    rest = floor.execution.state.open[secret("rest")]
    terms = rest.terms
    value = OrderValue(
        terms.account, 1, 1, 8, SELL, 1, GTC, 0, 1, 100, 0, 9, filled_lots=1, display_lots=4, shown_lots=3,
        expires_ms=0, sequence=1, status=1,
    )  # fmt: skip
    leaf = order_pair(secret("rest"), rest)[1]
    assert leaf is not None and leaf == encode(value) and decode(OrderValue, leaf) == value
    # alice sold 1 lot for 10,000 less 10; 8 lots are locked
    free = [FUNDS - 90, FUNDS + 9_990]
    balances = (
        (BASE, free[0].to_bytes(16, "big"), (80).to_bytes(16, "big")),
        (QUOTE, free[1].to_bytes(16, "big"), bytes(16)),
    )
    account = floor.execution.state.accounts[terms.account]
    expected = AccountValue(balances, 1, (1).to_bytes(128, "big"), (8,))
    assert account_pair(terms.account, account)[1] == expected.state_value()
    house = AccountValue(((QUOTE, (35).to_bytes(16, "big"), bytes(16)),), 0, bytes(128), ())
    assert account_pair(HOUSE, floor.execution.state.accounts[HOUSE])[1] == house.state_value()
