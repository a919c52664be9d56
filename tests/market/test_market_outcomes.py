"""Every outcome code is reached, in the order the checks are made, and what it does to nonce and balance."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.signing import GROUP_ORDER
from mpc_sequencer.market import OUTCOME_CODES, BatchOrder, Engine, PreparedOrder
from tests.market import desk

HIGH = 2**63 - 1


def outcome_of(made: Engine, order: BatchOrder, height: int = 1) -> str:
    (outcome,) = made.execute(height, desk.TIME_MS, desk.COIN, [made.prepare(order)]).outcomes
    assert outcome.order_id == order.order_id
    return outcome.code


def high_s(signature: bytes) -> bytes:
    """The other signature of the same message by the same key."""
    s = GROUP_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


GOOD = desk.plaintext(0, desk.buy(0, 1, 10, 2))
OTHER_CHAIN = desk.plaintext(0, desk.buy(0, 1, 10, 2), separator=bytes(32))
UNTOUCHED = [
    ("malformed", None),
    ("plaintext", b""),
    ("plaintext", GOOD[:-1]),
    ("plaintext", GOOD + b"\x00"),
    ("plaintext", b"\x94" + GOOD[1:] + b"\x01"),
    ("plaintext", GOOD.replace(b"\x93\x01", b"\x93\xcc\x01", 1)),  # the version in a longer form
    ("plaintext", GOOD.replace(b"\x93\x01", b"\x93\x02", 1)),
    ("plaintext", b"\xc1" * 100),
    ("plaintext", b"\x91" * 255),
    ("label", desk.plaintext(0, desk.limit(0, 1, 1, 10, 2, label=bytes(101)))),
    ("signature", desk.plaintext(1, desk.buy(0, 1, 10, 2))),
    ("signature", OTHER_CHAIN),
    ("signature", GOOD[:-65] + high_s(GOOD[-65:])),
    ("signature", GOOD[:-65] + bytes(65)),
    ("signature", GOOD[:-1] + bytes((GOOD[-1] - 27,))),
    ("signature", GOOD[:-65] + b"\xff" * 32 + GOOD[-33:]),
]


@pytest.mark.parametrize(("code", "plaintext"), UNTOUCHED)
def test_what_no_account_signed_for_this_label_touches_nothing(code, plaintext):
    made = desk.engine()
    before = made.dump()
    order = BatchOrder(desk.order_id("x"), desk.LABEL, plaintext)
    assert outcome_of(made, order) == code
    assert made.dump() == before
    assert made.nonce_state(desk.ACCOUNTS[0]) == (0, 0)
    assert outcome_of(made, replace_plaintext(order, GOOD)) == "resting"


def replace_plaintext(order: BatchOrder, plaintext: bytes) -> BatchOrder:
    return BatchOrder(order.order_id, order.label, plaintext)


TERMS = [
    ("market", replace(desk.buy(0, 1, 0, 0), market=99, side=9, time_in_force=9)),
    ("side", replace(desk.buy(0, 1, 0, 0), side=3, time_in_force=9)),
    ("side", replace(desk.buy(0, 1, 10, 1), side=0)),
    ("time_in_force", replace(desk.buy(0, 1, 0, 0), time_in_force=5)),
    ("time_in_force", replace(desk.buy(0, 1, 10, 1), time_in_force=0)),
    ("kind", replace(desk.buy(0, 1, 0, 0), kind=0, time_in_force=9)),
    ("kind", replace(desk.buy(0, 1, 10, 1), kind=5)),
    ("time_in_force", desk.buy(0, 1, 10, 1, kind=2)),
    ("time_in_force", desk.buy(0, 1, 10, 1, kind=3, time_in_force=4, stop_ticks=5, expires_ms=HIGH)),
    ("expiry", desk.buy(0, 1, 0, 1, time_in_force=4, post_only=9)),
    ("expiry", desk.buy(0, 1, 10, 1, expires_ms=HIGH)),
    ("expired", desk.buy(0, 1, 0, 1, time_in_force=4, expires_ms=desk.TIME_MS, post_only=9)),
    ("post_only_terms", desk.buy(0, 1, 0, 1, post_only=2, self_trade=9)),
    ("post_only_terms", desk.buy(0, 1, 10, 1, post_only=1, ioc=True)),
    ("post_only_terms", desk.buy(0, 1, 10, 1, post_only=1, kind=4, stop_ticks=5)),
    ("self_trade_mode", desk.buy(0, 1, 0, 1, self_trade=4)),
    ("stop_price", desk.buy(0, 1, 10, 0, kind=4)),
    ("stop_price", desk.buy(0, 1, 10, 0, kind=4, stop_ticks=2**48)),
    ("stop_price", desk.buy(0, 1, 10, 0, stop_ticks=1)),
    ("display", desk.buy(0, 1, 10, 5, display_lots=6)),
    ("display", desk.buy(0, 1, 10, 65, display_lots=1)),
    ("display", desk.buy(0, 1, 10, 5, display_lots=1, ioc=True)),
    ("price", desk.buy(0, 1, 0, 0)),
    ("price", desk.buy(0, 1, 2**48, 0)),
    ("price", desk.sell(0, 1, HIGH, 1)),
    ("quantity", desk.buy(0, 1, 10, 0)),
    ("quantity", desk.sell(0, 1, 10, 2**48)),
    ("balance", desk.buy(0, 1, 2**48 - 1, 2**48 - 1)),
    ("balance", desk.buy(0, 1, 10**9 // 3 + 1, 1)),
    ("balance", desk.sell(0, 1, 1, 10**8 + 1)),
    ("asset", desk.withdrawal(0, 1, 9, 0)),
    ("amount", desk.withdrawal(0, 1, desk.BASE, 0)),
    ("amount", desk.withdrawal(0, 1, desk.BASE, 2**127)),
    ("amount", desk.withdrawal(0, 1, desk.BASE, 2**128 - 1)),
    ("balance", desk.withdrawal(0, 1, desk.BASE, 2**127 - 1)),
    ("balance", desk.withdrawal(0, 1, desk.BASE, 10**9 + 1)),
]


@pytest.mark.parametrize(("code", "action"), TERMS)
def test_a_signed_action_that_fails_its_terms_uses_its_nonce_and_nothing_else(code, action):
    made, untouched = desk.engine(), desk.engine()
    result = made.execute(1, desk.TIME_MS, desk.COIN, [made.prepare(desk.sealed("x", 0, action))])
    assert [outcome.code for outcome in result.outcomes] == [code]
    assert made.nonce_state(desk.ACCOUNTS[0]) == (1, 0b1)
    assert [made.balance(desk.ACCOUNTS[0], asset) for asset in desk.ASSETS] == [(10**9, 0)] * 3
    assert made.book(desk.SPOT.id, 5) == untouched.book(desk.SPOT.id, 5)
    assert (result.deltas, result.fills, result.clearing) == ((), (), ())
    assert outcome_of(made, desk.sealed("again", 0, action), 2) == "nonce_consumed"


def test_nonces_too_high_and_consumed_change_nothing():
    made = desk.engine()
    assert outcome_of(made, desk.sealed("a", 0, desk.buy(0, 1500, 10, 1))) == "resting"
    before = made.dump()
    for nonce, code in ((1500, "nonce_consumed"), (476, "nonce_consumed"), (1501 + 2**20, "nonce_too_high")):
        assert outcome_of(made, desk.sealed(nonce, 0, desk.buy(0, nonce, 10, 1)), 2) == code
        assert made.nonce_refusal(desk.ACCOUNTS[0], nonce) == code
        assert made.dump() == before
    assert made.nonce_refusal(desk.ACCOUNTS[0], 477) is None
    assert made.nonce_refusal(bytes(20), 0) is None
    assert made.dump() == before


def test_a_refused_nonce_leaves_no_trace_of_an_unknown_account():
    made = desk.engine(accounts=())
    before = made.dump(), made.state_root()
    assert outcome_of(made, desk.sealed("a", 0, desk.buy(0, 2**20 + 1, 10, 1))) == "nonce_too_high"
    assert (made.dump(), made.state_root()) == before


def test_an_account_without_units_keeps_its_used_nonces():
    made = desk.engine(accounts=())
    before = made.state_root()
    assert outcome_of(made, desk.sealed("a", 0, desk.buy(0, 1, 10, 1))) == "balance"
    assert made.state_root() != before
    loaded = Engine.load(made.dump())
    assert outcome_of(loaded, desk.sealed("b", 0, desk.buy(0, 1, 10, 1)), 2) == "nonce_consumed"


def test_a_balance_spent_to_nothing_leaves_no_row():
    spent, never = desk.engine(accounts=()), desk.engine(accounts=())
    spent.credit(desk.ACCOUNTS[0], desk.BASE, 5)
    assert outcome_of(spent, desk.sealed("a", 0, desk.withdrawal(0, 1, desk.BASE, 5))) == "withdrawn"
    assert outcome_of(never, desk.sealed("a", 0, desk.withdrawal(0, 1, desk.BASE, 5))) == "balance"
    assert spent.state_root() == never.state_root()
    assert spent.dump() == never.dump()


def test_an_order_may_take_the_last_unit_and_no_more():
    exact, short = desk.engine(amount=3 * 10 * 2), desk.engine(amount=3 * 10 * 2 - 1)
    assert outcome_of(exact, desk.sealed("a", 0, desk.buy(0, 1, 10, 2))) == "resting"
    assert exact.balance(desk.ACCOUNTS[0], desk.QUOTE) == (0, 60)
    assert outcome_of(short, desk.sealed("a", 0, desk.buy(0, 1, 10, 2))) == "balance"


def test_fill_outcomes_and_what_becomes_of_the_rest():
    made = desk.engine()
    result = desk.run(
        made,
        1,
        [
            desk.buy(0, 1, 10, 5),  # wholly filled
            desk.sell(1, 1, 10, 4),  # partly, and the rest rests
            desk.sell(2, 1, 10, 4, ioc=True),  # partly, and the rest lapses
            desk.sell(3, 1, 11, 1),  # no fill, rests
            desk.sell(4, 1, 12, 1, ioc=True),  # no fill, lapses
        ],
    )
    codes = desk.codes(result)
    assert [codes[desk.order_id((1, i))] for i in range(5)] == [
        "filled",
        "partly_filled",
        "partly_filled",
        "resting",
        "unfilled",
    ]
    assert result.clearing == ((desk.SPOT.id, 10, 5),)
    by_id = {outcome.order_id: outcome for outcome in result.outcomes}
    first = by_id[desk.order_id((1, 0))]
    assert (first.account, first.market, first.filled_lots, first.price_ticks) == (desk.ACCOUNTS[0], 1, 5, 10)
    filled_1 = by_id[desk.order_id((1, 1))].filled_lots
    resting = made.open_order(desk.order_id((1, 1)))
    assert resting is not None and resting.remaining_lots == 4 - filled_1
    assert made.balance(desk.ACCOUNTS[1], desk.BASE) == (10**9 - 40, 10 * (4 - filled_1))
    filled_2 = by_id[desk.order_id((1, 2))].filled_lots
    assert made.open_order(desk.order_id((1, 2))) is None
    assert made.balance(desk.ACCOUNTS[2], desk.BASE) == (10**9 - 10 * filled_2, 0)
    assert made.balance(desk.ACCOUNTS[4], desk.BASE) == (10**9, 0)
    assert by_id[desk.order_id((1, 4))].price_ticks is None
    asks = made.book(desk.SPOT.id, 5)["asks"]
    assert asks == ((10, 4 - filled_1, 1), (11, 1, 1))
    assert made.reference_price_ticks(desk.SPOT.id) == 10


def test_a_buyer_pays_the_clearing_price_and_gets_the_rest_of_its_lock_back():
    made = desk.engine()
    desk.run(made, 1, [desk.sell(1, 1, 8, 2)])
    result = desk.run(made, 2, [desk.buy(0, 1, 10, 3)])  # one more to buy at 8 to 10: pressure takes 10
    assert result.clearing == ((1, 10, 2),)
    assert made.balance(desk.ACCOUNTS[0], desk.QUOTE) == (10**9 - 90, 30)
    assert made.balance(desk.ACCOUNTS[0], desk.BASE) == (10**9 + 20, 0)
    assert made.balance(desk.ACCOUNTS[1], desk.QUOTE) == (10**9 + 60, 0)
    result = desk.run(
        made, 3, [desk.sell(1, 2, 1, 1), desk.buy(2, 1, 9, 1)]
    )  # balanced from 1 to 10: stays at 10
    assert result.clearing == ((1, 10, 1),)
    made = desk.engine()
    desk.run(made, 1, [desk.sell(1, 1, 8, 3)])
    desk.run(made, 2, [desk.buy(0, 1, 10, 2)])  # one more to sell: 8
    assert made.balance(desk.ACCOUNTS[0], desk.QUOTE) == (10**9 - 48, 0)


def test_withdrawal_leaves_free_and_shows_in_the_deltas():
    made = desk.engine()
    result = desk.run(made, 1, [desk.withdrawal(0, 1, desk.BASE, 10**9)])
    assert desk.codes(result) == {desk.order_id((1, 0)): "withdrawn"}
    assert result.deltas == ((desk.ACCOUNTS[0], desk.BASE, -(10**9), 10**9),)
    assert made.balance(desk.ACCOUNTS[0], desk.BASE) == (0, 0)


def test_locked_units_cannot_be_withdrawn_or_locked_twice():
    made = desk.engine(amount=100)
    desk.run(made, 1, [desk.sell(0, 1, 10, 6)])
    result = desk.run(made, 2, [desk.withdrawal(0, 2, desk.BASE, 41)])
    assert set(desk.codes(result).values()) == {"balance"}
    result = desk.run(made, 3, [desk.sell(0, 3, 10, 5)])
    assert set(desk.codes(result).values()) == {"balance"}
    result = desk.run(made, 4, [desk.withdrawal(0, 4, desk.BASE, 40)])
    assert set(desk.codes(result).values()) == {"withdrawn"}


def test_the_draw_decides_who_uses_a_nonce_or_a_balance_first():
    made = desk.engine(amount=60)
    batch = [desk.prepared(i, desk.buy(0, i, 10, 2)) for i in range(4)]  # each needs all
    batch += [desk.prepared(("same", i), desk.sell(1, 7, 20 + i, 1)) for i in range(4)]  # one nonce
    result = made.execute(1, desk.TIME_MS, desk.COIN, batch)
    drawn = sorted(batch, key=lambda one: domains.DRAW(desk.COIN, one.order_id))
    order = [one.order_id for one in drawn]
    codes = desk.codes(result)
    buys = [codes[o] for o in order if o in {desk.order_id(i) for i in range(4)}]
    sells = [codes[o] for o in order if o in {desk.order_id(("same", i)) for i in range(4)}]
    assert buys == ["resting", "balance", "balance", "balance"]
    assert sells == ["resting", "nonce_consumed", "nonce_consumed", "nonce_consumed"]
    other = desk.engine(amount=60).execute(1, desk.TIME_MS, bytes(32), batch)
    assert desk.codes(other) != codes


def test_every_code_of_the_table_is_reached_by_these_tests():
    reached = {code for code, _ in UNTOUCHED + TERMS}
    reached |= {
        "nonce_too_high",
        "nonce_consumed",
        "withdrawn",
        "filled",
        "partly_filled",
        "resting",
        "unfilled",
    }
    for name in ("test_market_orders.py", "test_market_dark.py", "test_market_dark_runs.py"):
        scenarios = (Path(__file__).parent / name).read_text()
        reached |= {code for code in OUTCOME_CODES if f'"{code}"' in scenarios}
    assert reached == set(OUTCOME_CODES)


def test_preparing_is_pure_and_keeps_the_signed_action():
    made = desk.engine()
    before = made.dump()
    action = desk.buy(0, 1, 10, 2)
    assert made.prepare(desk.sealed("a", 0, action)) == PreparedOrder(desk.order_id("a"), action, None)
    assert made.dump() == before
    assert encode(action) in GOOD
