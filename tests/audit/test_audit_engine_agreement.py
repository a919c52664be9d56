"""Auditor and members' engine, two implementations of one rule: height by height the same roots, fills, outcomes,
updates and changes, for random batches of every kind of action under every policy.

One module, as short histories (they shrink) and long ones (they reach far) are of the same actions and compared alike.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.audit.execution import Executed, Execution, OpenedOrder
from mpc_sequencer.audit.state import OpenOrder, root_by_definition
from mpc_sequencer.core.actions import (
    BUY,
    EVERY_MARKET,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    STOP_LIMIT,
    Action,
)
from mpc_sequencer.core.limits import NONCE_AHEAD_MAX
from mpc_sequencer.market import BatchOrder, Engine, Fill, HeightResult, Market
from tests.audit.audited_deployment import secret
from tests.audit.floor_kit import (
    ADDRESSES,
    BASE,
    FUNDS,
    HOUSE,
    POLICIES,
    QUOTE,
    SEPARATOR,
    TIME_MS,
    cancel,
    cancel_all,
    opened,
    order,
    received,
    replacing,
    withdrawal,
)

EXAMPLES = int(os.environ.get("MPCSEQ_AGREEMENT_EXAMPLES", "150"))
HISTORIES = int(os.environ.get("MPCSEQ_AGREEMENT_HISTORIES", "18"))
ORDERS_MAX = 25
"""In a batch of a long history."""
TRADERS = ("alice", "bob", "carol")
CROSS_ID = 7


class Pair:
    """Both implementations with the same state."""

    def __init__(self, markets: list[Market], funds: int = FUNDS, fee_account: bytes = HOUSE) -> None:
        self.execution = Execution(markets, 2, SEPARATOR, fee_account)
        self.engine = Engine(markets, range(2), SEPARATOR, fee_account)
        self.supply = [0, 0]
        for address in ADDRESSES.values():
            for asset in (BASE, QUOTE):
                self.credit(address, asset, funds)
        assert self.execution.state.root() == self.engine.state_root()
        self.height = 0
        self.codes: Counter[str] = Counter()

    def credit(self, address: bytes, asset: int, amount: int) -> None:
        """A deposit."""
        self.execution.credit(address, asset, amount)
        self.engine.credit(address, asset, amount)
        self.supply[asset] += amount

    def run(self, actions: list[Action], time_ms: int) -> Executed:
        """Execute by both and compare all they say."""
        self.height += 1
        coin = secret(f"coin {self.height}")
        batch = [opened(secret(f"{self.height} {at}"), action) for at, action in enumerate(actions)]
        seen = self.execution.execute(self.height, time_ms, coin, batch, received)
        other = self._engine(coin, batch, time_ms)
        compare(seen, other)
        traded = {fill.market for fill in seen.fills}
        assert [(market, price) for market, price, _ in other.clearing] == [
            (market, self.execution.state.reference_ticks[market]) for market in sorted(traded)
        ]
        assert seen.state_root == root_by_definition(self.execution.state.pairs())
        self._check_money(seen)
        self.codes.update(seen.outcomes.values())
        self.codes.update(f"update {code}" for code, _ in seen.updates.values())
        return seen

    def _engine(self, coin: bytes, batch: list[OpenedOrder], time_ms: int) -> HeightResult:
        prepared = [self.engine.prepare(BatchOrder(each.order_id, each.label, each.plaintext)) for each in batch]
        return self.engine.execute(self.height, time_ms, coin, prepared, received)

    def _check_money(self, seen: Executed) -> None:
        """Nothing is made or lost but by withdrawal, and nobody owes."""
        sums = [0, 0]
        for account in self.execution.state.accounts.values():
            for asset, free, locked in account.rows():
                assert free >= 0 and locked >= 0
                sums[asset] += free + locked
        for (asset, _), (_, withdrawable) in seen.deltas.items():
            self.supply[asset] -= withdrawable
        assert sums == self.supply == [self.execution.state.supply[asset] for asset in (BASE, QUOTE)]


def effect(fills: list[Fill]) -> tuple[int, int | None, int, int]:
    """(lots, worst price, notional, fee) of an order's fills; they come from best to worst."""
    return (
        sum(fill.quantity_lots for fill in fills),
        fills[-1].price_ticks if fills else None,
        sum(fill.price_ticks * fill.quantity_lots for fill in fills),
        sum(fill.fee_units for fill in fills),
    )


def compare(seen: Executed, other: HeightResult) -> None:
    """Everything the two say of a height."""
    by_order: dict[bytes, list[Fill]] = {}
    for fill in seen.fills:
        by_order.setdefault(fill.order_id, []).append(fill)
    assert {
        order_id: (code, *effect(by_order.get(order_id, []))) for order_id, code in sorted(seen.outcomes.items())
    } == {
        out.order_id: (out.code, out.filled_lots, out.price_ticks, out.notional_tick_lots, out.fee_units)
        for out in other.outcomes
    }
    assert {
        order_id: (code, open_lots, *effect(by_order.get(order_id, [])))
        for order_id, (code, open_lots) in sorted(seen.updates.items())
    } == {
        up.order_id: (
            up.code, up.remaining_lots, up.filled_lots, up.price_ticks, up.notional_tick_lots, up.fee_units,
        )
        for up in other.updates
    }  # fmt: skip
    assert [out.order_id for out in other.outcomes] == sorted(seen.outcomes)
    assert [up.order_id for up in other.updates] == sorted(seen.updates)
    assert tuple(seen.fills) == other.fills
    assert seen.fills_root == other.fills_root
    assert other.deltas == tuple(
        (account, asset, *change) for (asset, account), change in sorted(seen.deltas.items())
    )
    volumes: Counter[int] = Counter()
    for fill in seen.fills:
        volumes[fill.market] += fill.quantity_lots if fill.side == BUY else 0
    assert {market: volume for market, _, volume in other.clearing} == dict(volumes)
    assert seen.state_root == other.state_root


def two_markets(spot_policy: int, cross_policy: int, fees: tuple[int, int]) -> list[Market]:
    """The second trades the quote asset for the base asset and has bounds of its own."""
    maker_ppm, taker_ppm = fees
    return [
        Market(1, BASE, QUOTE, 10, 100, 100, "SPOT", spot_policy, 1, 10**6, maker_ppm, taker_ppm),
        Market(CROSS_ID, QUOTE, BASE, 3, 5, 100, "CROSS", cross_policy, 2, 40, taker_ppm, maker_ppm),
    ]


markets_of_any_kind = st.builds(
    two_markets,
    st.sampled_from(POLICIES),
    st.sampled_from(POLICIES),
    st.sampled_from([(0, 0), (1_000, 2_500), (3_333, 777), (100_000, 1)]),
)

# --- small batches, which shrink ----------
sides = st.sampled_from([BUY, SELL])
near_prices, odd_prices = st.integers(97, 103), st.sampled_from([0, 1, 2**48 - 1, 2**48])
prices = st.one_of(near_prices, near_prices, near_prices, odd_prices)
near_lots, odd_lots = st.integers(2, 12), st.sampled_from([0, 1, 41, 10**6, 10**6 + 1, 2**48])
quantities = st.one_of(near_lots, near_lots, near_lots, odd_lots)
time_ahead_ms = st.sampled_from([0, 0, 1, 5, 20])
terms_of_limit_orders = st.fixed_dictionaries(
    {},
    optional={
        "market": st.sampled_from([CROSS_ID, CROSS_ID, 9]),
        "client_id": st.integers(0, 3),
        "time_in_force": st.sampled_from([IOC, FOK, FOK, 7]),
        "post_only": st.sampled_from([1, 1, 2]),
        "self_trade": st.sampled_from([1, 2, 3, 3, 4]),
        "display_lots": st.integers(1, 4),
    },
)
limit_orders = st.tuples(sides, prices, quantities, terms_of_limit_orders)
dated_orders = st.tuples(
    sides,
    prices,
    quantities,
    st.fixed_dictionaries({"time_in_force": st.just(GTD), "expires_in_ms": time_ahead_ms}),
)
market_orders = st.tuples(
    sides,
    prices,
    quantities,
    st.fixed_dictionaries(
        {"kind": st.just(MARKET), "time_in_force": st.sampled_from([IOC, FOK, GTC])},
        optional={"self_trade": st.integers(0, 3)},
    ),
)
stop_orders = st.tuples(
    sides,
    prices,
    quantities,
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from([STOP, STOP_LIMIT]),
            "time_in_force": st.sampled_from([IOC, FOK, GTC]),
            "stop_ticks": st.integers(97, 103),
        },
        optional={"self_trade": st.integers(0, 3), "display_lots": st.integers(1, 4)},
    ),
)
any_order = st.one_of(limit_orders, limit_orders, limit_orders, dated_orders, market_orders, stop_orders)
steps_of_nonce = st.sampled_from([1, 1, 1, 1, 0, 2, 1, 1, 1_024, NONCE_AHEAD_MAX + 1])
near_targets = st.integers(-6, 3)
far_targets = st.sampled_from([-1_024, 1_023, 1_024, NONCE_AHEAD_MAX, NONCE_AHEAD_MAX + 1])
targets = st.one_of(near_targets, near_targets, near_targets, near_targets, far_targets)
rows = st.tuples(
    st.sampled_from(TRADERS),
    steps_of_nonce,
    st.one_of(
        st.tuples(st.just("order"), any_order),
        st.tuples(st.just("order"), any_order),
        st.tuples(st.just("order"), any_order),
        st.tuples(st.just("replace"), targets, any_order),
        st.tuples(st.just("cancel"), targets),
        st.tuples(st.just("cancel all"), st.sampled_from([1, CROSS_ID, EVERY_MARKET, 9])),
        st.tuples(st.just("withdraw"), st.sampled_from([BASE, QUOTE, 2]), st.sampled_from([0, 1, 10**5, FUNDS])),
    ),
)
histories = st.lists(st.tuples(time_ahead_ms, st.lists(rows, max_size=10)), max_size=6)


def action_of(who: str, nonce: int, time_ms: int, what: tuple[Any, ...]) -> Action:
    """The action of a row; targets are relative to the nonce."""
    if what[0] == "cancel":
        return cancel(who, nonce, max(0, nonce + what[1]))
    if what[0] == "cancel all":
        return cancel_all(who, nonce, what[1])
    if what[0] == "withdraw":
        return withdrawal(who, nonce, what[1], what[2])
    side, price_ticks, quantity_lots, terms = what[-1]
    terms = dict(terms)
    if "expires_in_ms" in terms:
        terms["expires_ms"] = time_ms + terms.pop("expires_in_ms")
    if what[0] == "order":
        return order(who, nonce, side, price_ticks, quantity_lots, **terms)
    return replacing(who, nonce, max(0, nonce + what[1]), side, price_ticks, quantity_lots, **terms)


def run_history(pair: Pair, history: list[Any]) -> None:
    time_ms, nonces = TIME_MS, Counter[str]()
    for ahead_ms, batch in history:
        time_ms += ahead_ms
        actions = []
        for who, step, what in batch:
            nonces[who] += step
            actions.append(action_of(who, nonces[who], time_ms, what))
        pair.run(actions, time_ms)


@settings(max_examples=EXAMPLES, deadline=None)
@given(markets_of_any_kind, st.sampled_from([FUNDS, 10**5]), histories)
def test_auditor_and_engine_agree_on_batches_of_every_kind_of_action(
    markets: list[Market], funds: int, history: list[Any]
) -> None:
    run_history(Pair(markets, funds), history)


# --- long histories, which reach far ----------
def random_order(random: Random) -> tuple[Any, ...]:
    terms: dict[str, Any] = {}
    kind = random.choice((LIMIT, LIMIT, LIMIT, LIMIT, MARKET, STOP, STOP_LIMIT))
    terms["kind"] = kind
    resting = kind in (LIMIT, STOP_LIMIT)
    terms["time_in_force"] = random.choice((GTC, GTC, GTC, GTD, IOC, FOK) if resting else (IOC, FOK))
    terms["self_trade"] = random.choice((0, 0, 1, 2, 3))
    if terms["time_in_force"] == GTD:
        terms["expires_in_ms"] = random.randint(0, 60)
    if kind in (STOP, STOP_LIMIT):
        terms["stop_ticks"] = random.randint(96, 104)
    rests = terms["time_in_force"] in (GTC, GTD)
    if rests and kind == LIMIT and random.random() < 0.2:
        terms["post_only"] = 1
    if rests and random.random() < 0.3:
        terms["display_lots"] = random.randint(1, 8)
    if random.random() < 0.3:
        terms["market"] = CROSS_ID
    if random.random() < 0.3:
        terms["client_id"] = random.randint(1, 200)
    return random.choice((BUY, SELL)), random.randint(96, 104), random.randint(2, 40), terms


TERMS_KEPT = ("market", "kind", "time_in_force", "self_trade", "display_lots", "expires_ms")


def random_target(random: Random, pair: Pair, who: str, nonce: int) -> tuple[int, OpenOrder | None]:
    """Mostly an open order of the trader: its nonce relative to ``nonce``, and the order."""
    open_orders = pair.execution.state.open_of(ADDRESSES[who])
    if not open_orders or random.random() < 0.3:
        return random.randint(-8, 1), None
    chosen = random.choice(open_orders)
    return chosen.terms.nonce - nonce, chosen


def random_replacement(random: Random, chosen: OpenOrder | None) -> tuple[Any, ...]:
    """Any order, or one like the target with other lots."""
    if chosen is None or random.random() < 0.3:
        return random_order(random)
    lots = max(1, chosen.terms.quantity_lots + random.randint(-8, 2))
    terms = {name: getattr(chosen.terms, name) for name in TERMS_KEPT}
    return chosen.terms.side, chosen.terms.price_ticks, lots, terms


def random_batch(random: Random, pair: Pair, nonces: Counter[str], time_ms: int, orders: int) -> list[Action]:
    actions = []
    for _ in range(orders):
        who, dice = random.choice(TRADERS), random.random()
        nonces[who] += random.choice((1, 1, 1, 1, 1, 1, 1, 0, 2))
        what: tuple[Any, ...] = ("order", random_order(random))
        if dice < 0.08:
            what = ("cancel", random_target(random, pair, who, nonces[who])[0])
        elif dice < 0.1:
            what = ("cancel all", random.choice((1, CROSS_ID, EVERY_MARKET)))
        elif dice < 0.25:
            target, chosen = random_target(random, pair, who, nonces[who])
            what = ("replace", target, random_replacement(random, chosen))
        elif dice < 0.27:
            what = ("withdraw", random.choice((BASE, QUOTE)), random.randint(1, 1_000))
        actions.append(action_of(who, nonces[who], time_ms, what))
    return actions


def run_random_history(pair: Pair, random: Random, batch_orders: Iterable[int]) -> None:
    time_ms, nonces = TIME_MS, Counter[str]()
    for orders in batch_orders:
        time_ms += random.choice((0, 10, 20))
        if random.random() < 0.1:
            who = random.choice(tuple(ADDRESSES.values()))
            pair.credit(who, random.choice((BASE, QUOTE)), random.randint(1, 10**6))
        pair.run(random_batch(random, pair, nonces, time_ms, orders), time_ms)


def run_random_histories(seeds: int) -> Counter[str]:
    """Over every pair of policies, if there are enough; how often every code came."""
    codes = Counter[str]()
    for seed in range(seeds):
        random = Random(seed)
        pair = pair_of(seed, random)
        run_random_history(pair, random, [random.randint(0, ORDERS_MAX) for _ in range(25)])
        codes += pair.codes
    return codes


def pair_of(seed: int, random: Random) -> Pair:
    fees = random.choice([(0, 0), (1_000, 2_500), (3_333, 777)])
    markets = two_markets(POLICIES[seed % 3], POLICIES[(seed // 3) % 3], fees)
    return Pair(markets, random.choice((FUNDS, 10**6)), random.choice((HOUSE, HOUSE, ADDRESSES["alice"])))


def test_auditor_and_engine_agree_over_histories_of_every_kind_of_action() -> None:
    codes = run_random_histories(HISTORIES)
    ends = {"filled", "partly_filled", "cancelled", "replaced", "self_trade"}
    reached = ends | {"resting", "unfilled", "waiting", "post_only", "cancelled_unseen", "not_open", "filled_before"}
    reached |= {"nonce_consumed", "duplicate_client_id", "display", "expired", "balance", "withdrawn"}
    reached |= {f"update {code}" for code in (*ends, "resting", "unfilled", "expired")}
    assert reached <= set(codes)


def test_auditor_and_engine_agree_where_every_bound_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that histories hardly reach, made small wherever a module knows them."""
    near = {
        "FOK_ROUNDS_MAX": 1,
        "FOK_LEVELS_MAX": 2,
        "TRIGGERED_PER_HEIGHT_MAX": 1,
        "OPEN_ORDERS_PER_ACCOUNT_MAX": 6,
        "CLIENT_IDS_KEPT": 3,
        "ICEBERG_PARTS_MAX": 4,
    }
    for name, module in list(sys.modules.items()):
        for bound, value in near.items():
            if name.startswith("mpc_sequencer.") and hasattr(module, bound):
                monkeypatch.setattr(module, bound, value)
    codes = run_random_histories(9)
    assert codes["too_many_open"] and codes["display"] and codes["duplicate_client_id"]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_auditor_and_engine_agree_on_large_batches(policy: int, plain: bool) -> None:
    """As many orders as an engine may treat by columns; nearly all of them may trade with one another."""
    random = Random(policy)
    pair = Pair(two_markets(policy, random.choice(POLICIES), (1_000, 2_500)), random.choice((FUNDS, 10**7)))
    for nonces in (range(1, 1_001), range(1_001, 1_401), range(1_401, 1_801)):
        actions: list[Action] = []
        for nonce in nonces:
            who = random.choice(tuple(ADDRESSES))
            side, price_ticks, lots, terms = random_order(random)
            if plain:
                terms = {"time_in_force": random.choice((GTC, GTC, IOC)), "market": random.choice((1, 1, CROSS_ID))}
            terms["self_trade"] = int(not plain and random.random() < 0.01)
            what: tuple[Any, ...] = ("order", (side, price_ticks, lots, terms))
            if not plain and random.random() < 0.05:
                what = ("replace", -random.randint(1, 400), what[-1])
            actions.append(action_of(who, nonce, TIME_MS, what))
        pair.run(actions, TIME_MS)
    assert pair.codes["filled"] > 100 and pair.codes["resting"] > 50
