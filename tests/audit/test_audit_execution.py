"""The auditor's own execution: against brute force, against its definition, and against the members' engine."""

from __future__ import annotations

import hashlib
from collections import Counter
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.audit.clearing import Interest, clear
from mpc_sequencer.audit.execution import Executed, Execution, OpenedOrder
from mpc_sequencer.audit.matching import match
from mpc_sequencer.audit.state import Account, Resting, State, Tree, root_by_definition
from mpc_sequencer.core.actions import (
    BUY,
    GTC,
    IOC,
    SELL,
    Withdrawal,
    label_hash,
    plain_order,
    with_account_signature,
)
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.limits import NONCE_AHEAD_MAX, NONCE_WINDOW
from mpc_sequencer.market import AUCTION, RECEIVE, SHUFFLE, BatchOrder, Engine, Market
from tests.audit.audited_deployment import BASE, QUOTE, deployment, secret
from tests.audit.log_builder import LogBuilder

LABEL = LogBuilder().label().encode()
TRADERS = ("alice", "bob", "carol")
PENNILESS = "poor"


def interest(number: int, side: int, limit: int, lots: int, resting: bool) -> Interest:
    return Interest(secret(f"order {number}"), side, limit, lots, resting)


def draw(order_id: bytes) -> bytes:
    return hashlib.sha256(order_id).digest()


interests = st.lists(
    st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 12), st.integers(1, 9), st.booleans()), max_size=12
).map(lambda rows: [interest(number, *row) for number, row in enumerate(rows)])


def side_lots(orders: list[Interest], side: int, price: int) -> int:
    at_limit = (lambda limit: limit >= price) if side == BUY else (lambda limit: limit <= price)
    return sum(order.quantity_lots for order in orders if order.side == side and at_limit(order.limit_ticks))


def price_by_brute_force(orders: list[Interest], reference: int) -> int | None:
    """The four rules over every price of a range that holds all limits and one more on either side."""
    points = {
        price: (side_lots(orders, BUY, price), side_lots(orders, SELL, price)) for price in range(1, 15)
    }
    volume = max(min(point) for point in points.values())
    if volume == 0:
        return None
    kept = [price for price, point in points.items() if min(point) == volume]
    least = min(abs(points[price][0] - points[price][1]) for price in kept)
    kept = [price for price in kept if abs(points[price][0] - points[price][1]) == least]
    assert kept == list(range(kept[0], kept[-1] + 1))
    if all(points[price][0] > points[price][1] for price in kept):
        return kept[-1]
    if all(points[price][0] < points[price][1] for price in kept):
        return kept[0]
    return min(max(reference, kept[0]), kept[-1])


@settings(max_examples=300, deadline=None)
@given(interests, st.integers(1, 14))
def test_the_clearing_price_is_that_of_brute_force_over_all_prices(
    orders: list[Interest], reference: int
) -> None:
    cleared = clear(orders, reference, draw)
    assert (cleared[0] if cleared else None) == price_by_brute_force(orders, reference)


@settings(max_examples=300, deadline=None)
@given(interests, st.integers(1, 14), st.randoms())
def test_fills_keep_limits_balance_and_do_not_depend_on_position(
    orders: list[Interest], reference: int, random: Any
) -> None:
    cleared = clear(orders, reference, draw)
    shuffled = list(orders)
    random.shuffle(shuffled)
    assert clear(shuffled, reference, draw) == cleared
    if cleared is None:
        return
    price, fills = cleared
    known = {order.order_id: order for order in orders}
    sums = {BUY: 0, SELL: 0}
    for order_id, lots in fills.items():
        order = known[order_id]
        assert 1 <= lots <= order.quantity_lots
        assert order.limit_ticks >= price if order.side == BUY else order.limit_ticks <= price
        sums[order.side] += lots
    demand, supply = side_lots(orders, BUY, price), side_lots(orders, SELL, price)
    assert sums == {BUY: min(demand, supply), SELL: min(demand, supply)}
    for better in orders:
        for worse in orders:
            if (
                worse.side == better.side
                and fills.get(worse.order_id, 0)
                and (
                    (
                        (worse.limit_ticks < better.limit_ticks) == (better.side == BUY)
                        and worse.limit_ticks != better.limit_ticks
                    )
                    or (worse.limit_ticks == better.limit_ticks and better.resting and not worse.resting)
                )
            ):
                assert fills[better.order_id] == better.quantity_lots, "price, then resting before new"


def test_rationing_at_the_margin_by_hand() -> None:
    """7 lots for three equal buyers of 5, 5 and 4: 2.5, 2.5 and 2; the odd lot goes to the smaller draw."""
    buys = [interest(0, BUY, 10, 5, False), interest(1, BUY, 10, 5, False), interest(2, BUY, 10, 4, False)]
    price, fills = clear([*buys, interest(3, SELL, 8, 7, False)], 9, draw) or (0, {})
    assert price == 10  # more demand than supply on the whole interval 8..10
    shares = {order.order_id: Fraction(7 * order.quantity_lots, 14) for order in buys}
    favoured = min(buys[:2], key=lambda order: draw(order.order_id)).order_id
    for order in buys:
        assert fills[order.order_id] == int(shares[order.order_id]) + (order.order_id == favoured)


def test_resting_orders_go_before_new_ones_at_the_margin() -> None:
    rest, new = interest(0, BUY, 10, 5, True), interest(1, BUY, 10, 50, False)
    _, fills = clear([rest, new, interest(2, SELL, 10, 7, False)], 9, draw) or (0, {})
    assert fills[rest.order_id] == 5 and fills[new.order_id] == 2


# --- nonces ----------
@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 40), st.integers(1_000, 1_100), st.integers(0, 2**21)), max_size=40))
def test_the_nonce_window_is_the_set_of_used_nonces(nonces: list[int]) -> None:
    account, used, highest = Account(), set(), 0
    for nonce in nonces:
        if nonce > highest + NONCE_AHEAD_MAX:
            expected = "nonce_too_high"
        elif nonce <= highest - NONCE_WINDOW or nonce in used:
            expected = "nonce_consumed"
        else:
            expected = None
            used.add(nonce)
            highest = max(highest, nonce)
        assert account.use_nonce(nonce) == expected
        assert account.highest_nonce == highest
        window = {highest - i for i in range(NONCE_WINDOW) if account.window >> i & 1}
        assert window == {nonce for nonce in used if nonce > highest - NONCE_WINDOW}


# --- the tree ----------
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.one_of(st.none(), st.binary(max_size=3))), max_size=60))
def test_the_tree_agrees_with_the_definition_after_every_change(
    changes: list[tuple[int, bytes | None]],
) -> None:
    tree, pairs = Tree(), {}
    for number, value in changes:
        key = bytes((number % 4,)) + bytes(30) + bytes((number,))  # keys that share up to 250 bits
        tree.put(key, value)
        pairs.pop(key, None)
        if value is not None:
            pairs[key] = value
        assert tree.root() == root_by_definition(pairs)


def test_the_root_of_nothing_and_of_one_pair() -> None:
    assert root_by_definition({}) == Tree().root() == bytes(32)
    assert State(()).root() == bytes(32)


# --- whole heights, also by the engine of the members ----------
def plaintext(trader: str, nonce: int, terms: tuple[Any, ...]) -> bytes:
    committee = deployment().committee
    account = deployment().traders[trader]
    bound = label_hash(LABEL)
    action: Any
    if terms[0] == "withdraw":
        action = Withdrawal(account.address, nonce, bound, terms[1], terms[2].to_bytes(16, "big"))
    else:
        action = plain_order(account.address, nonce, bound, **dict(zip(TERMS, terms[1:], strict=True)))
    return encode(with_account_signature(action, account.sign_digest(committee.digest(action.struct_hash()))))


TIME_MS = 1_700_000_000_000
TERMS = ("market", "side", "time_in_force", "price_ticks", "quantity_lots")

limit_orders = st.tuples(
    st.just("limit"),
    st.sampled_from([0, 0, 0, 7, 3]),
    st.sampled_from([BUY, SELL, BUY, SELL, 3]),
    st.sampled_from([GTC, IOC, GTC, 9]),
    st.one_of(st.integers(95, 105), st.sampled_from([0, 2**48 - 1, 2**48])),
    st.one_of(st.integers(1, 30), st.sampled_from([0, 10**6, 2**48 - 1, 2**48])),
)
withdrawals = st.tuples(
    st.just("withdraw"), st.sampled_from([BASE, QUOTE, 2]), st.sampled_from([0, 1, 500, 10**11, 2**127])
)
actions = st.tuples(
    st.sampled_from(TRADERS), st.integers(0, 60), st.one_of(limit_orders, limit_orders, withdrawals)
)
spoiled = st.sampled_from([None, b"", b"\x93", "label", "signature"])
batches = st.lists(
    st.lists(st.tuples(actions, st.one_of(st.just(0), st.just(0), spoiled)), max_size=14), max_size=5
)


def opened_batch(height: int, rows: list[Any]) -> list[OpenedOrder]:
    batch = []
    for number, ((trader, nonce, terms), spoil) in enumerate(rows):
        data: bytes | None = plaintext(trader, nonce, terms)
        label = LABEL
        if spoil is None or isinstance(spoil, bytes):
            data = spoil
        elif spoil == "label":
            label = LABEL[:-1] + b"\x99"
        elif spoil == "signature" and data is not None:
            data = data[:-40] + bytes((data[-40] ^ 1,)) + data[-39:]
        batch.append(OpenedOrder(secret(f"{height} {number}"), label, data))
    return batch


POLICIES = (AUCTION, SHUFFLE, RECEIVE)


def markets_under(*policies: int) -> list[Market]:
    """The deployment's markets under other policies."""
    markets = deployment().committee.genesis.markets
    return [replace(market, policy=policy) for market, policy in zip(markets, policies, strict=True)]


def received(order_ids: Any) -> list[bytes]:
    """A precedence that has nothing to do with any draw."""
    return sorted(order_ids, key=lambda order_id: hashlib.sha256(b"received" + order_id).digest())


@settings(max_examples=200, deadline=None)
@given(st.builds(markets_under, st.sampled_from(POLICIES), st.sampled_from(POLICIES)), batches)
def test_auditor_and_engine_agree_on_every_root_fill_outcome_and_change(
    markets: list[Market], heights: list[list[Any]]
) -> None:
    house = deployment()
    execution = Execution(markets, 2, house.committee.separator)
    engine = Engine(markets, range(2), house.committee.separator)
    for trader in TRADERS:
        for asset in (BASE, QUOTE):
            execution.credit(house.traders[trader].address, asset, 10**7)
            engine.credit(house.traders[trader].address, asset, 10**7)
    assert execution.state.root() == engine.state_root()
    totals = total_units(execution)
    for height, rows in enumerate(heights, start=1):
        seen = execute_both(execution, engine, height, opened_batch(height, rows))
        assert seen.state_root == root_by_definition(execution.state.pairs())
        withdrawn = {asset: 0 for asset in totals}
        for (asset, _), (change, withdrawable) in seen.deltas.items():
            withdrawn[asset] += withdrawable
            assert change or withdrawable
        assert total_units(execution) == {asset: totals[asset] - withdrawn[asset] for asset in totals}
        totals = total_units(execution)


def execute_both(execution: Execution, engine: Engine, height: int, batch: list[OpenedOrder]) -> Executed:
    coin = secret(f"coin {height}")
    seen = execution.execute(height, TIME_MS, coin, batch, received)
    prepared = [engine.prepare(BatchOrder(order.order_id, order.label, order.plaintext)) for order in batch]
    other = engine.execute(height, TIME_MS, coin, prepared, received)
    assert seen.outcomes == {outcome.order_id: outcome.code for outcome in other.outcomes}
    assert tuple(seen.fills) == other.fills and seen.fills_root == other.fills_root
    assert rows_of(seen) == other.deltas
    assert seen.state_root == other.state_root
    return seen


def random_rows(random: Random, nonces: Counter[str]) -> list[Any]:
    """Orders most of which can trade: two markets, prices around one value."""
    rows = []
    for _ in range(random.randint(0, 20)):
        trader = random.choice((*TRADERS, *TRADERS, PENNILESS))
        nonces[trader] += random.choice((1, 1, 1, 0, 2, 1_025))
        market, side = random.choice((0, 0, 7)), random.choice((BUY, SELL))
        terms: tuple[Any, ...] = (
            "limit",
            market,
            side,
            random.choice((GTC, GTC, IOC)),
            random.randint(97, 103),
            random.randint(1, 60),
        )
        if random.random() < 0.05:
            terms = ("withdraw", random.choice((BASE, QUOTE)), random.randint(1, 10**5))
        spoil = random.choice((None, b"", "label", "signature")) if random.random() < 0.05 else 0
        rows.append(((trader, nonces[trader], terms), spoil))
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_auditor_and_engine_agree_over_long_histories(seed: int) -> None:
    house = deployment()
    markets = markets_under(POLICIES[seed % 3], POLICIES[(seed + seed // 3) % 3])
    random, nonces, outcomes = Random(seed), Counter[str](), Counter[str]()
    execution = Execution(markets, 2, house.committee.separator)
    engine = Engine(markets, range(2), house.committee.separator)
    for trader in TRADERS:
        for asset in (BASE, QUOTE):
            execution.credit(house.traders[trader].address, asset, 10**6)
            engine.credit(house.traders[trader].address, asset, 10**6)
    for height in range(1, 26):
        seen = execute_both(execution, engine, height, opened_batch(height, random_rows(random, nonces)))
        outcomes.update(seen.outcomes.values())
    assert {"filled", "partly_filled", "resting", "unfilled", "balance", "nonce_consumed"} <= set(outcomes)
    assert execution.state.root() == root_by_definition(execution.state.pairs())


def test_arrivals_eat_the_book_by_price_then_sequence_whatever_order_it_is_held_in() -> None:
    account = deployment().traders["alice"].address
    resting = {
        secret("third"): Resting(account, 0, SELL, 11, 5, 3),
        secret("second"): Resting(account, 0, SELL, 10, 5, 2),
        secret("first"): Resting(account, 0, SELL, 10, 5, 1),
    }
    arrival = plain_order(
        account, 1, bytes(32), market=0, side=BUY, time_in_force=GTC, price_ticks=11, quantity_lots=12
    )
    seen = match(resting, {secret("arrival"): arrival}, [secret("arrival")])
    assert seen.left == {secret("first"): 0, secret("second"): 0, secret("third"): 3}
    assert (seen.tape, seen.rested) == ([10, 10, 11], [])
    assert seen.lots[secret("arrival"), 10, False] == 10 and seen.lots[secret("arrival"), 11, False] == 2
    one_lot = replace(arrival, quantity_lots=1)
    assert match(resting, {secret("arrival"): one_lot}, [secret("arrival")]).left[secret("first")] == 4


@pytest.mark.parametrize("precedence", [None, lambda ids: list(ids)[1:], lambda ids: [*ids, ids[0]]])
def test_a_receive_market_without_a_whole_precedence_is_not_audited(precedence: Any) -> None:
    house = deployment()
    execution = Execution(markets_under(RECEIVE, AUCTION), 2, house.committee.separator)
    for trader in TRADERS:
        execution.credit(house.traders[trader].address, QUOTE, 10**7)
    rows = [((trader, 1, ("limit", 0, BUY, GTC, 100, 1)), 0) for trader in TRADERS]
    with pytest.raises(ValueError, match="by receipt"):
        execution.execute(1, TIME_MS, secret("coin"), opened_batch(1, rows), precedence)


def rows_of(executed: Executed) -> tuple[tuple[bytes, int, int, int], ...]:
    return tuple((account, asset, *change) for (asset, account), change in sorted(executed.deltas.items()))


def total_units(execution: Execution) -> dict[int, int]:
    totals = {BASE: 0, QUOTE: 0}
    for account in execution.state.accounts.values():
        for asset, free, locked in account.rows():
            assert free >= 0 and locked >= 0
            totals[asset] += free + locked
    return totals
