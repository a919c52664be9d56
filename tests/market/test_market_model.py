"""The engine against the slow model of the text, over random histories of all actions, under all order policies.

``MARKET_STEPS`` in the environment sets how many steps the state machine takes (``make soak`` takes 10,000).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec.structs import replace

from mpc_sequencer.core.actions import Action, Order, Replace
from mpc_sequencer.market import Engine, Market, PreparedOrder
from tests.market import desk, naive
from tests.market.traffic import Traffic

PRICE_MAX = 16
STEPS_PER_RUN = 40
STEPS = int(os.environ.get("MARKET_STEPS", "2400"))
FUNDED = desk.ACCOUNTS[:4]  # the last account has a nonce to use and nothing else

who = st.integers(0, 3) | st.integers(0, 4)
nonces = st.integers(1, 60)
times = st.just(0) | st.integers(1, 12).map(lambda late: desk.TIME_MS + late)
price = st.integers(7, 10) | st.integers(1, PRICE_MAX)
lots = st.integers(1, 6) | st.integers(1, 300)


@st.composite
def good_terms(draw) -> dict[str, int]:
    """Terms most of which fit each other."""
    kind = draw(st.sampled_from((1, 1, 1, 1, 2, 3, 4)))
    time_in_force = draw(st.sampled_from((2, 3) if kind in (2, 3) else (1, 1, 1, 2, 3, 4)))
    rests = time_in_force in (1, 4)
    quantity = draw(lots)
    shows = rests and draw(st.integers(0, 3)) == 0
    return {
        "kind": kind,
        "time_in_force": time_in_force,
        "quantity_lots": quantity,
        "post_only": int(rests and kind == 1 and draw(st.integers(0, 4)) == 0),
        "self_trade": draw(st.sampled_from((0, 0, 0, 1, 2, 3))),
        "stop_ticks": draw(price) if kind in (3, 4) else 0,
        "display_lots": draw(st.integers(max(1, -(-quantity // 64)), quantity)) if shows else 0,
        "expires_ms": desk.TIME_MS + draw(st.integers(0, 9)) if time_in_force == 4 else 0,
        "client_id": draw(st.sampled_from((0, 0, 0, 1, 2, 3))),
        "side": draw(st.sampled_from((1, 2))),
        "price_ticks": draw(price),
        "market": draw(st.sampled_from((1, 1, 1, 7))),
    }


bad_terms = st.fixed_dictionaries(
    {
        "side": st.integers(0, 3),
        "price_ticks": st.integers(0, PRICE_MAX) | st.sampled_from((2**48, 2**63 - 1)),
        "quantity_lots": st.sampled_from((0, 1, 2, 200, 2**48 - 1, 2**48, 2**63 - 1)),
        "time_in_force": st.integers(0, 5),
        "market": st.sampled_from((0, 1, 7)),
        "kind": st.integers(0, 5),
        "post_only": st.integers(0, 2),
        "self_trade": st.integers(0, 4),
        "stop_ticks": st.sampled_from((0, 0, 3, 2**48)),
        "display_lots": st.sampled_from((0, 0, 1, 200, 2**63 - 1)),
        "expires_ms": times,
        "client_id": st.integers(0, 3),
    }
)
terms = st.one_of(good_terms(), good_terms(), good_terms(), good_terms(), bad_terms)


def order_of(who: int, nonce: int, terms: dict[str, int]) -> Order:
    return replace(desk.limit(who, nonce, 1, 1, 1), **terms)


orders = st.builds(order_of, who, nonces | st.sampled_from((0, 2**20, 2**20 + 61, 3000, 2**63 - 1)), terms)
withdrawals = st.builds(
    desk.withdrawal,
    who=st.integers(0, 4),
    nonce=nonces,
    asset=st.integers(0, 4),
    amount=st.integers(0, 4000) | st.sampled_from((2**127 - 1, 2**127, 2**128 - 1)),
)
cancels = st.builds(desk.cancel, who, nonces, nonces | st.sampled_from((2**20 + 99, 3000)))
sweeps = st.builds(desk.cancel_all, who, nonces, st.sampled_from((0, 1, 7, 2**32 - 1)))
replacements = st.builds(desk.replacement, nonces, orders)
refusals = st.sampled_from(("malformed", "plaintext", "label", "signature"))
verdicts = st.one_of(orders, orders, orders, orders, orders, cancels, replacements, sweeps, withdrawals, refusals)
histories = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.lists(verdicts, max_size=14)), max_size=6
)


def prepared_batch(height: int, verdicts: Sequence[Action | str]) -> list[PreparedOrder]:
    return [
        PreparedOrder(desk.order_id((height, i)), None, verdict)
        if isinstance(verdict, str)
        else desk.prepared((height, i), verdict)
        for i, verdict in enumerate(verdicts)
    ]


def pair(markets: Sequence[Market], amount: int) -> tuple[Engine, naive.Model]:
    made = desk.engine(markets, amount=amount, accounts=FUNDED)
    model = naive.Model(markets, desk.ASSETS, PRICE_MAX, desk.FEES)
    for account in FUNDED:
        for asset in desk.ASSETS:
            model.credit(account, asset, amount)
    return made, model


def totals(made: Engine) -> dict[int, int]:
    accounts = {*desk.ACCOUNTS, desk.FEES}
    return {asset: sum(sum(made.balance(account, asset)) for account in accounts) for asset in desk.ASSETS}


def mix(spot: int, cross: int, fees: tuple[int, int], bounds: tuple[int, int]) -> tuple[Market, ...]:
    markets = desk.markets(spot, cross)
    return (
        replace(markets[0], maker_fee_ppm=fees[0], taker_fee_ppm=fees[1]),
        replace(markets[1], quantity_min_lots=bounds[0], quantity_max_lots=bounds[1]),
    )


policies = st.sampled_from(desk.POLICIES)
mixes = st.builds(
    mix, policies, policies, st.sampled_from(((0, 0), (100, 250), (100_000, 0), (33_333, 77_777))),
    st.sampled_from(((1, 2**48 - 1), (2, 100))),
)  # fmt: skip


class Histories(RuleBasedStateMachine):
    """Actions gather to batches; every height is executed by engine and model, which must not differ in anything."""

    @initialize(markets=mixes, amount=st.sampled_from((2_000, 10**6)))
    def start(self, markets: tuple[Market, ...], amount: int) -> None:
        self.made, self.model = pair(markets, amount)
        self.next_nonces = [1] * len(desk.ACCOUNTS)
        self.batch: list[Action | str] = []
        self.height, self.time_ms = 0, desk.TIME_MS
        self.before = totals(self.made)

    def _nonce(self, who: int, skip: int) -> int:
        self.next_nonces[who] += 1 + skip
        return self.next_nonces[who] - 1

    skips = st.sampled_from((0, 0, 0, 0, -1, 2))

    @rule(rows=st.lists(st.tuples(who, skips, terms), min_size=1, max_size=6))
    def orders(self, rows: list[tuple[int, int, dict[str, int]]]) -> None:
        self.batch += [order_of(who, self._nonce(who, skip), terms) for who, skip, terms in rows]

    @rule(who=who, skip=skips, back=st.integers(-2, 8))
    def cancel(self, who: int, skip: int, back: int) -> None:
        nonce = self._nonce(who, skip)
        self.batch.append(desk.cancel(who, nonce, max(0, nonce - back)))

    @rule(who=who, skip=skips, market=st.sampled_from((0, 1, 7, 2**32 - 1)))
    def cancel_all(self, who: int, skip: int, market: int) -> None:
        self.batch.append(desk.cancel_all(who, self._nonce(who, skip), market))

    @rule(who=who, skip=skips, back=st.integers(-2, 8), terms=terms)
    def replace(self, who: int, skip: int, back: int, terms: dict[str, int]) -> None:
        nonce = self._nonce(who, skip)
        self.batch.append(desk.replacement(max(0, nonce - back), order_of(who, nonce, terms)))

    @rule(who=who, skip=skips, less=st.integers(0, 3), back=st.integers(1, 4))
    def lessen(self, who: int, skip: int, less: int, back: int) -> None:
        """Replace an open order by one like it, of no more lots."""
        mine = [o for o in self.model.orders if o.account == desk.ACCOUNTS[who] and o.quantity_lots > less]
        if mine:
            old, nonce = mine[-back % len(mine)], self._nonce(who, skip)
            terms = {
                name: getattr(old, name)
                for name in ("market", "side", "kind", "time_in_force", "price_ticks", "stop_ticks", "expires_ms")
            }
            display_lots = min(old.display_lots, old.quantity_lots - less)
            quantity_lots = old.quantity_lots - less
            order = order_of(who, nonce, {**terms, "display_lots": display_lots, "quantity_lots": quantity_lots})
            self.batch.append(desk.replacement(old.nonce, order))

    @rule(verdict=withdrawals | refusals)
    def other(self, verdict: Action | str) -> None:
        self.batch.append(verdict)

    @rule(coin=st.binary(min_size=32, max_size=32), later=st.integers(0, 4))
    def execute(self, coin: bytes, later: int) -> None:
        self.height, self.time_ms = self.height + 1, self.time_ms + later
        batch, self.batch = prepared_batch(self.height, self.batch), []
        due = self.made.due(self.time_ms)
        state_root = self.made.state_root()
        assert state_root == self.model.state_root()
        seen = self.made.execute(self.height, self.time_ms, coin, batch, desk.received)
        expected = self.model.execute(self.height, self.time_ms, coin, batch, desk.received)
        for mine, theirs in zip(desk.plain(seen)[2:], expected[2:], strict=True):
            assert mine == theirs
        assert desk.plain(seen) == expected
        assert due or batch or seen.state_root == state_root

    @rule()
    def reload(self) -> None:
        dump = self.made.dump()
        self.made = Engine.load(dump)
        assert self.made.dump() == dump

    def teardown(self) -> None:
        if hasattr(self, "made"):
            self.execute(bytes(32), 1)


Histories.TestCase.settings = settings(
    max_examples=max(1, STEPS // STEPS_PER_RUN), stateful_step_count=STEPS_PER_RUN, deadline=None
)
TestHistories = Histories.TestCase


@settings(max_examples=100, deadline=None)
@given(mixes, histories, st.sampled_from((2_000, 10**6)))
def test_engine_equals_the_naive_model_height_by_height(markets, history, amount):
    made, model = pair(markets, amount)
    assert made.state_root() == model.state_root()
    for height, (coin, verdicts) in enumerate(history, 1):
        batch = prepared_batch(height, verdicts)
        seen = made.execute(height, desk.TIME_MS + height, coin, batch, desk.received)
        assert desk.plain(seen) == model.execute(height, desk.TIME_MS + height, coin, batch, desk.received)


@settings(max_examples=80, deadline=None)
@given(mixes, histories)
def test_every_asset_is_conserved_and_every_delta_accounts_for_it(markets, history):
    made = desk.engine(markets, amount=4_000)
    everyone = (*desk.ACCOUNTS, desk.FEES)
    withdrawn = dict.fromkeys(desk.ASSETS, 0)
    before = totals(made)
    for height, (coin, verdicts) in enumerate(history, 1):
        held = {(a, s): sum(made.balance(a, s)) for a in everyone for s in desk.ASSETS}
        batch = prepared_batch(height, verdicts)
        result = made.execute(height, desk.TIME_MS + height, coin, batch, desk.received)
        for asset in desk.ASSETS:
            rows = [row for row in result.deltas if row[1] == asset]
            assert sum(free + withdrawable for _, _, free, withdrawable in rows) == 0
            withdrawn[asset] += sum(row[3] for row in rows)
        for account, asset, free, _ in result.deltas:
            assert sum(made.balance(account, asset)) == held.pop((account, asset)) + free
        for (account, asset), total in held.items():
            assert sum(made.balance(account, asset)) == total
        for account in everyone:
            assert all(amount >= 0 for asset in desk.ASSETS for amount in made.balance(account, asset))
    assert {asset: total + withdrawn[asset] for asset, total in totals(made).items()} == before


@settings(max_examples=80, deadline=None)
@given(mixes, histories, st.randoms(use_true_random=False))
def test_permuting_a_batch_changes_nothing(markets, history, random):
    one, other = desk.engine(markets, amount=4_000), desk.engine(markets, amount=4_000)
    for height, (coin, verdicts) in enumerate(history, 1):
        batch = prepared_batch(height, verdicts)
        shuffled = list(batch)
        random.shuffle(shuffled)
        seen = one.execute(height, desk.TIME_MS + height, coin, batch, desk.received)
        assert seen == other.execute(height, desk.TIME_MS + height, coin, shuffled, desk.received)
    assert one.dump() == other.dump()


@settings(max_examples=80, deadline=None)
@given(mixes, histories)
def test_no_fill_is_worse_than_its_limit_and_none_exceeds_its_order(markets, history):
    made = desk.engine(markets, amount=10**6)
    limits: dict[bytes, Order] = {}
    open_lots: dict[bytes, int] = {}
    for height, (coin, verdicts) in enumerate(history, 1):
        batch = prepared_batch(height, verdicts)
        for order in batch:
            if isinstance(order.action, Order | Replace):
                limits[order.order_id] = order.action.order() if isinstance(order.action, Replace) else order.action
                open_lots[order.order_id] = order.action.quantity_lots
        for fill in made.execute(height, desk.TIME_MS + height, coin, batch, desk.received).fills:
            order = limits[fill.order_id]
            assert (fill.account, fill.side, fill.market) == (order.account, order.side, order.market)
            buys = fill.side == 1
            assert fill.price_ticks <= order.price_ticks if buys else fill.price_ticks >= order.price_ticks
            open_lots[fill.order_id] -= fill.quantity_lots
            assert open_lots[fill.order_id] >= 0 < fill.quantity_lots


@settings(max_examples=80, deadline=None)
@given(mixes, histories, histories)
def test_a_loaded_dump_is_the_same_state_bit_by_bit_and_goes_on_alike(markets, history, continuation):
    made = desk.engine(markets, amount=4_000)
    for height, (coin, verdicts) in enumerate(history, 1):
        made.execute(height, desk.TIME_MS + height, coin, prepared_batch(height, verdicts), desk.received)
    loaded = Engine.load(made.dump())
    assert loaded.dump() == made.dump()
    assert loaded.state_root() == made.state_root()
    for height, (coin, verdicts) in enumerate(continuation, len(history) + 1):
        batch = prepared_batch(height, verdicts)
        seen = made.execute(height, desk.TIME_MS + height, coin, batch, desk.received)
        assert seen == loaded.execute(height, desk.TIME_MS + height, coin, batch, desk.received)
    assert loaded.dump() == made.dump()


@pytest.mark.parametrize("policy", desk.POLICIES)
@pytest.mark.parametrize("seed", range(3))
def test_engine_equals_the_naive_model_over_dense_histories(policy, seed):
    random = Random(f"{policy} {seed}")
    other = random.choice(desk.POLICIES)
    made, model = pair(mix(policy, other, random.choice(((0, 0), (33_333, 77_777))), (1, 10**6)), 40_000)
    traffic, seen_codes = Traffic(random), set()
    for height in range(1, 31):
        time_ms = desk.TIME_MS + 7 * height
        batch = prepared_batch(height, traffic.batch(random.randint(0, 40), time_ms))
        coin = random.randbytes(32)
        seen = made.execute(height, time_ms, coin, batch, desk.received)
        expected = model.execute(height, time_ms, coin, batch, desk.received)
        for mine, theirs in zip(desk.plain(seen)[2:], expected[2:], strict=True):
            assert mine == theirs
        assert made.state_root() == model.state_root()
        seen_codes |= {outcome.code for outcome in seen.outcomes} | {update.code for update in seen.updates}
    assert seen_codes >= {
        "filled", "partly_filled", "resting", "unfilled", "waiting", "cancelled", "replaced", "self_trade",
        "post_only", "expired", "not_open",
    }  # fmt: skip
