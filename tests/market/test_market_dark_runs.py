"""Whole dark batches through the engine: sealed orders, five members' words, and their computation over shares.

The outcome is compared with the rule in the plain (:mod:`mpc_sequencer.dark.rule`), and money with the outcome.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from msgspec.structs import replace

from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.dark.desk import Compute, Desk, Task
from mpc_sequencer.dark.facts import priority
from mpc_sequencer.dark.layout import Deposit, encode_order
from mpc_sequencer.dark.messages import ResultSaid, Word
from mpc_sequencer.dark.orders import seal_shares
from mpc_sequencer.dark.party import DarkParty, result_of
from mpc_sequencer.dark.rule import PlainOrder, clear_openly
from mpc_sequencer.market import Engine
from tests.dark import desk_kit
from tests.market import dark_floor, desk
from tests.market.dark_floor import DARK_CROSS, DARK_SPOT, GRID, MEMBERS, Floor, cover, dark_order

FEE_SPOT = replace(DARK_SPOT, quote_units_per_tick_lot=1_000)
MARKETS = (*desk.MARKETS, FEE_SPOT, replace(DARK_CROSS, dark=GRID))


class Members:
    """The members of all epochs, who compute with each other."""

    def __init__(self, idle: Sequence[int] = ()) -> None:
        self._idle = idle
        self._parties: dict[tuple[int, int], DarkParty] = {}
        self._computed: dict[tuple[int, int, int], Mapping[int, ResultSaid]] = {}

    def __call__(self, of: Desk, party: int, task: Task) -> Word | None:
        if party in self._idle:
            return None
        if not isinstance(task, Compute):
            return self._party(of, party).say(of, task)
        place = of.parties.epoch, task.market, task.batch
        if place not in self._computed:
            asked = [one for one in range(MEMBERS) if task in of.owes(one) and one not in self._idle]
            runs = {one: self._party(of, one).run(of, task.market, task.batch) for one in asked}
            self._computed[place] = {one: result_of(run) for one, run in desk_kit.run_all(runs).runs.items()}
        return self._computed[place][party]

    def _party(self, of: Desk, party: int) -> DarkParty:
        place = of.parties.epoch, party
        if place not in self._parties:
            seed = hashlib.sha256(b"party %d of epoch %d" % (party, of.parties.epoch)).digest()
            self._parties[place] = DarkParty(seed, party)
        return self._parties[place]

    def coin(self, epoch: int, market: int, batch: int) -> bytes:
        said = next(iter(self._computed[epoch, market, batch].values()))
        assert said.outcome is not None
        return said.outcome.coin


def totals(made: Engine) -> dict[int, int]:
    accounts = (*desk.ACCOUNTS, desk.FEES)
    return {asset: sum(sum(made.balance(account, asset)) for account in accounts) for asset in desk.ASSETS}


@pytest.mark.parametrize("seed", range(3))
def test_batches_clear_by_the_rule_and_pay_to_the_unit(seed):
    random = Random(f"dark {seed}")
    members = Members()
    floor = Floor(dark_floor.agreed(MARKETS), members)
    before = totals(floor.made)
    for nonce in range(1, 3):
        plain: dict[bytes, PlainOrder] = {}
        actions: list[DarkOrder] = []
        for who in range(5):
            side, tick, lots = random.choice((1, 2)), random.randrange(GRID.ticks), random.randint(1, 9)
            price = GRID.price_first_ticks + GRID.price_step_ticks * tick
            deposit = (price * lots + random.randint(0, 99), lots + random.randint(0, 9))
            action = dark_order(floor.desk, who, nonce, side, price, lots, market=FEE_SPOT, deposit=deposit)
            plain[desk.order_id((floor.height + 1, who))] = PlainOrder(side, tick, lots)
            actions.append(action)
        floor.run(actions)
        held = {account: floor.made.balance(account, desk.QUOTE) for account in desk.ACCOUNTS}
        result = floor.finish()
        names = sorted(plain)
        coin = members.coin(1, FEE_SPOT.id, nonce)
        expected = clear_openly([plain[name] for name in names], GRID.ticks, priority(coin, tuple(names)))
        assert expected.crossed or seed
        told = {one.order_id: (one.code, one.filled_lots) for one in result.updates}
        lots = {names[fill.order]: fill.lots for fill in expected.fills}
        assert told == {name: ("filled", lots[name]) if name in lots else ("unfilled", 0) for name in names}
        if expected.tick is not None:
            price = GRID.price_first_ticks + GRID.price_step_ticks * expected.tick
            assert result.clearing == ((FEE_SPOT.id, price, expected.volume_lots),)
            for fill in result.fills:
                assert fill.fee_units == price * fill.quantity_lots * 1_000 * 2_500 // 10**6 > 0
                paid = price * fill.quantity_lots * 1_000
                change = -paid - fill.fee_units if fill.side == 1 else paid - fill.fee_units
                quote = floor.made.balance(fill.account, desk.QUOTE)
                assert quote == (sum(held[fill.account]) + change, 0)
        assert dark_floor.locked_by(floor.made) == {}
        assert totals(floor.made) == before


def test_two_markets_are_computed_beside_each_other_and_an_auction():
    floor = Floor(dark_floor.agreed(MARKETS), Members())
    spot = [dark_order(floor.desk, who, 1, 1 + who, 12, 4, market=FEE_SPOT) for who in range(2)]
    cross = [dark_order(floor.desk, who, 2, 1 + who, 14, 7, market=MARKETS[-1]) for who in range(2)]
    floor.run([*spot, *cross])
    floor.run(later_ms=GRID.interval_ms)
    floor.run()
    result = floor.run([desk.buy(2, 1, 10, 1), desk.sell(3, 1, 10, 1)])
    assert result.clearing == ((1, 10, 1), (4, 12, 4), (9, 14, 7))
    assert [fill.market for fill in result.fills] == [1, 1, 4, 4, 9, 9]


def test_an_order_whose_boxes_hold_no_row_is_dropped_with_proof_and_the_others_trade():
    floor = Floor(dark_floor.agreed(MARKETS), Members())
    good = [dark_order(floor.desk, who, 1, 1 + who, 12, 4, market=FEE_SPOT) for who in range(2)]
    keys = floor.desk.keys
    assert keys is not None
    row = encode_order(floor.desk.book(FEE_SPOT.id).params, 1, GRID.price_first_ticks, 0, Deposit(0, 0), 1)
    bad = cover(floor.desk, 2, 1, (70, 9), market=FEE_SPOT)
    sealed = seal_shares(keys, desk.ACCOUNTS[2], 1, FEE_SPOT.id, [row] * MEMBERS, bytes(32))
    off = list(bad.boxes)
    off[3] = sealed[3]  # one party's box holds another row: off the polynomial, and in dispute
    floor.run([*good, replace(bad, boxes=tuple(off))])
    name = floor.name(2)
    assert floor.made.prepare(desk.sealed("x", 2, replace(bad, boxes=tuple(off)))).refusal is None
    held = floor.made.balance(desk.ACCOUNTS[2], desk.QUOTE)[1]
    assert held
    floor.finish()
    told = floor.codes()
    assert told.pop(name) == "dark_bad"
    assert sorted(told.values()) == ["filled", "filled"]
    dropped = next(i for i, result in enumerate(floor.results) if any(u.code == "dark_bad" for u in result.updates))
    assert [u.order_id for u in floor.results[dropped].updates] == [name]
    assert not floor.results[dropped].deltas and dropped < len(floor.results) - 1
    assert floor.made.balance(desk.ACCOUNTS[2], desk.QUOTE)[1] == 0


def test_one_silent_member_is_not_waited_for_and_two_void_the_batch():
    for idle, expected in (((4,), "filled"), ((3, 4), "dark_aborted")):
        floor = Floor(dark_floor.agreed(MARKETS), Members(idle))
        floor.run([dark_order(floor.desk, who, 1, 1 + who, 12, 4, market=FEE_SPOT) for who in range(2)])
        floor.finish()
        assert set(floor.codes().values()) == {expected}
        assert dark_floor.locked_by(floor.made) == {}


def test_a_new_committee_agrees_anew_and_computes_what_is_sealed_to_it():
    floor = Floor(dark_floor.agreed(MARKETS), Members())
    floor.run([dark_order(floor.desk, who, 1, 1 + who, 12, 4, market=FEE_SPOT) for who in range(2)])
    floor.run(parties=dark_floor.NEXT_PARTIES)
    assert set(floor.codes().values()) == {"dark_epoch"}
    for _ in range(5):
        floor.run()
    assert floor.desk.keys is not None
    floor.run([dark_order(floor.desk, who, 2, 1 + who, 12, 4, market=FEE_SPOT) for who in range(2)])
    result = floor.finish()
    assert result.clearing == ((FEE_SPOT.id, 12, 4),)


def test_an_engine_that_is_loaded_amid_a_batch_comes_to_the_same():
    members = Members()
    floor = Floor(dark_floor.agreed(MARKETS), members)
    floor.run([dark_order(floor.desk, who, 1, 1 + who % 2, 12 + 2 * who, 4, market=FEE_SPOT) for who in range(5)])
    results = []
    for reloads in (False, True):
        again = Floor(Engine.load(floor.made.dump()), members)
        again.height, again.time_ms = floor.height, floor.time_ms
        while list(again.desk.locks()):
            again.run(later_ms=GRID.interval_ms)
            again.made = Engine.load(again.made.dump()) if reloads else again.made
        results.append((again.results, again.made.dump()))
    assert results[0] == results[1]
    assert results[0][0][-1].fills
