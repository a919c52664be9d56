"""Dark orders among all others, against the slow model of the text: entry, locks and settlement, over random histories.

What batches come to is made up, whatever was ordered: any outcome that may be settled, and some that may not. The model
has a desk of its own, which hears the same words; everything else it does by itself.

``MARKET_STEPS`` in the environment sets how many steps the state machine takes.
"""

from __future__ import annotations

import os
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec.structs import replace

from mpc_sequencer.core.actions import Action
from mpc_sequencer.core.limits import DARK_RUN_MS, DARK_WINDOW_MS
from mpc_sequencer.dark.desk import Desk, Parties
from mpc_sequencer.dark.messages import OutcomeValue
from mpc_sequencer.market import DARK, Engine, Market, PreparedOrder
from tests.market import dark_floor, desk, naive
from tests.market.dark_floor import DARK_CROSS, DARK_SPOT, GRID

PRICE_MAX = 24
STEPS_PER_RUN = 40
STEPS = int(os.environ.get("MARKET_STEPS", "1600"))
AMOUNTS = (2_000, 10**6)


def terms(policy: int, fees: tuple[int, int]) -> tuple[Market, ...]:
    """An open market, and two dark ones with fees and without."""
    spot = replace(desk.SPOT, policy=policy, maker_fee_ppm=fees[0], taker_fee_ppm=fees[1])
    return spot, replace(DARK_SPOT, maker_fee_ppm=fees[0], taker_fee_ppm=fees[1]), DARK_CROSS


def made_up(random: Random, of: Desk, market: int) -> OutcomeValue | None:
    """Some outcome that may be settled, whatever was ordered."""
    batch = of.book(market).state.batch
    assert batch is not None
    price = GRID.price_first_ticks + GRID.price_step_ticks * random.randrange(GRID.ticks)
    most: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    rejected = []
    for place, one in enumerate(batch.orders):
        side = random.choice((1, 1, 1, 2, 2, 2, 0))
        lots = one.action.quote_tick_lots // price if side == 1 else one.action.base_lots
        if not side:
            rejected.append(place)
        elif lots:
            most[side].append((place, min(lots, 255)))
    covered = min(sum(lots for _, lots in rows) for rows in most.values())
    if not covered:
        return dark_floor.outcome(None, (), rejected)
    fills = []
    volume = random.randint(1, covered)
    for side, rows in most.items():
        left = volume
        for place, lots in rows:
            if left:
                fills.append((place, side, min(lots, left)))
                left -= min(lots, left)
    return dark_floor.outcome(price, fills, rejected)


who = st.integers(0, 4)
tick_lots = st.sampled_from((0, 0, 8, 100, 200)) | st.integers(0, 700)
lots = st.sampled_from((0, 0, 1, 9, 40)) | st.integers(0, 255)


class DarkHistories(RuleBasedStateMachine):
    """Actions gather to batches; every height is executed by engine and model, which must not differ in anything."""

    @initialize(
        policy=st.sampled_from(desk.POLICIES),
        fees=st.sampled_from(((0, 0), (100, 2_500), (33_333, 77_777))),
        amount=st.sampled_from(AMOUNTS),
    )
    def start(self, policy: int, fees: tuple[int, int], amount: int) -> None:
        markets = terms(policy, fees)
        self.made = dark_floor.agreed(markets, amount)
        dark = {market.id: market for market in markets if market.policy == DARK}
        twin = Desk.load(dark, dark_floor.desk_of(self.made).dump())
        self.model = naive.Model(markets, desk.ASSETS, PRICE_MAX, desk.FEES, twin)
        for account in desk.ACCOUNTS:
            for asset in desk.ASSETS:
                self.model.credit(account, asset, amount)
        self.supply = amount * len(desk.ACCOUNTS)
        self.parties = dark_floor.PARTIES
        self.next_nonces = [1] * len(desk.ACCOUNTS)
        self.batch: list[Action] = []
        self.height, self.time_ms = 10, desk.TIME_MS

    def _nonce(self, who: int) -> int:
        self.next_nonces[who] += 1
        return self.next_nonces[who] - 1

    @rule(
        rows=st.lists(
            st.tuples(who, tick_lots, lots, st.sampled_from((4, 4, 4, 9, 9, 1, 8)), st.sampled_from("gggggggkbl")),
            min_size=1,
            max_size=4,
        )
    )
    def dark_orders(self, rows: list[tuple[int, int, int, int, str]]) -> None:
        of = dark_floor.desk_of(self.made)
        for who, quote_tick_lots, base_lots, market, fault in rows:
            if of.keys is None:
                return
            dark = DARK_CROSS if market == 9 else DARK_SPOT
            nonce = self._nonce(who)
            action = dark_floor.cover(of, who, nonce, (quote_tick_lots, base_lots), market=dark)
            bent: dict[str, dict[str, object]] = {
                "k": {"keys": bytes(32)},
                "b": {"boxes": action.boxes[1:]},
                "l": {"quote_tick_lots": 1 << 17},
            }
            self.batch.append(replace(action, **{"market": market, **bent.get(fault, {})}))

    @rule(who=who, side=st.integers(1, 2), price=st.integers(8, 14), lots=st.integers(1, 40), dark=st.booleans())
    def plain_order(self, who: int, side: int, price: int, lots: int, dark: bool) -> None:
        market = desk.SPOT.id if not dark or self.height % 3 else DARK_SPOT.id
        self.batch.append(desk.limit(who, self._nonce(who), side, price, lots, market=market))

    @rule(who=who, back=st.integers(-1, 4), every=st.integers(0, 5))
    def cancel(self, who: int, back: int, every: int) -> None:
        nonce = self._nonce(who)
        if not every:
            self.batch.append(desk.cancel_all(who, nonce, back % 2 * 4 or 2**32 - 1))
        elif every == 1:
            order = desk.limit(who, nonce, 1, 10, 2)
            self.batch.append(desk.replacement(max(0, nonce - back), order))
        else:
            self.batch.append(desk.cancel(who, nonce, max(0, nonce - back)))

    @rule(who=who, asset=st.sampled_from(desk.ASSETS), amount=st.integers(1, 1_500))
    def withdraw(self, who: int, asset: int, amount: int) -> None:
        self.batch.append(desk.withdrawal(who, self._nonce(who), asset, amount))

    @rule(
        coin=st.binary(min_size=32, max_size=32),
        later_ms=st.sampled_from((0, 0, 300, 1_000, 1_000, 3_000, DARK_WINDOW_MS, DARK_RUN_MS)),
        silent=st.sampled_from((0, 0, 0, 0, 1, 2, 5)),
        agreeing=st.integers(0, 9),
        rotates=st.integers(0, 19),
    )
    def execute(self, coin: bytes, later_ms: int, silent: int, agreeing: int, rotates: int) -> None:
        self.height, self.time_ms = self.height + 1, self.time_ms + later_ms
        batch = [PreparedOrder(desk.order_id((self.height, i)), one, None) for i, one in enumerate(self.batch)]
        self.batch = []
        of = dark_floor.desk_of(self.made)
        seed = f"{self.height} {coin.hex()}"

        def results(of: Desk, market: int) -> OutcomeValue | None:
            return made_up(Random(f"{seed} {market}"), of, market) if agreeing else None

        speech = dark_floor.says(results)
        words = dark_floor.words(of, speech, range(silent, dark_floor.MEMBERS))
        if not rotates:
            last = self.parties
            self.parties = Parties(last.genesis_id, last.epoch + 1, last.members, last.faults_t)
        before = of.leaf(4), of.leaf(9)
        due = self.made.due(self.time_ms) or bool(batch or words) or not rotates
        seen = self.made.execute(self.height, self.time_ms, coin, batch, desk.received, words, self.parties)
        expected = self.model.execute(self.height, self.time_ms, coin, batch, desk.received, words, self.parties)
        for mine, theirs in zip(desk.plain(seen)[2:], expected[2:], strict=True):
            assert mine == theirs
        assert desk.plain(seen) == expected
        assert due or before == (of.leaf(4), of.leaf(9))
        self._check_units()

    def _check_units(self) -> None:
        everyone = (*desk.ACCOUNTS, desk.FEES)
        for asset in desk.ASSETS:
            rows = [self.made.balance(account, asset) for account in everyone]
            assert all(free >= 0 <= locked for free, locked in rows)
            assert sum(map(sum, rows)) <= self.supply
            for account, row in zip(everyone, rows, strict=True):
                assert row == (self.model.free.get((account, asset), 0), self.model.locked.get((account, asset), 0))
        assert not set(self.model.in_dark) ^ {
            one.order_id for market in (4, 9) for one in dark_floor.desk_of(self.made).book(market).orders()
        }

    @rule()
    def reload(self) -> None:
        dump = self.made.dump()
        self.made = Engine.load(dump)
        assert self.made.dump() == dump

    def teardown(self) -> None:
        if hasattr(self, "made"):
            self.execute(bytes(32), 1_000, 0, 1, 1)
            self.execute(bytes(32), DARK_WINDOW_MS, 0, 1, 1)
            self.execute(bytes(32), 0, 0, 1, 0)
            assert not self.model.in_dark


DarkHistories.TestCase.settings = settings(
    max_examples=max(1, STEPS // STEPS_PER_RUN), stateful_step_count=STEPS_PER_RUN, deadline=None
)
TestDarkHistories = DarkHistories.TestCase


