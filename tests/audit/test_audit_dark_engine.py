"""Auditor and members' engine over dark markets: the same roots, fills, outcomes, updates and changes at every height,
for random orders of all kinds beside each other, faulty members, and committees that change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest
from desk_kit import GRID, dark_parties, party_seed
from msgspec.structs import replace as bent

from mpc_sequencer.audit.execution import Executed, Execution
from mpc_sequencer.audit.state import root_by_definition
from mpc_sequencer.core.actions import BUY, EVERY_MARKET, SELL, Action, DarkOrder, label_hash
from mpc_sequencer.dark.desk import Desk
from mpc_sequencer.dark.party import DarkParty
from mpc_sequencer.market import BatchOrder, Engine, Market
from mpc_sequencer.market.types import AUCTION, DARK, RECEIVE
from tests.audit.audited_deployment import secret
from tests.audit.dark_faults import Company, dealt
from tests.audit.dark_twins import parties_of
from tests.audit.floor_kit import (
    ADDRESSES,
    BASE,
    HOUSE,
    LABEL,
    QUOTE,
    SEPARATOR,
    TIME_MS,
    cancel,
    cancel_all,
    opened,
    order,
    received,
    withdrawal,
)
from tests.audit.test_audit_engine_agreement import compare

KINDS = ("valid", "valid", "valid", "valid", "box", "share", "row")
DARK_ID, OTHER_DARK_ID = 4, 9
FEES = (1_000, 2_500)


def markets(fees: tuple[int, int]) -> list[Market]:
    maker_ppm, taker_ppm = fees
    return [
        Market(1, BASE, QUOTE, 10, 100, 100, "SPOT", RECEIVE, maker_fee_ppm=maker_ppm, taker_fee_ppm=taker_ppm),
        *(
            Market(number, BASE, QUOTE, 10, 7, 100, "DARK", DARK, maker_fee_ppm=0, taker_fee_ppm=taker_ppm, dark=GRID)
            for number in (DARK_ID, OTHER_DARK_ID)
        ),
        Market(7, QUOTE, BASE, 3, 5, 100, "CROSS", AUCTION, maker_fee_ppm=taker_ppm, taker_fee_ppm=maker_ppm),
    ]


class DarkPair:
    """Both implementations with the same state; a stage for members."""

    def __init__(self, random: Random, fees: tuple[int, int], funds: int) -> None:
        self.random = random
        self.parties = dark_parties()
        self.markets: Mapping[int, Market] = {market.id: market for market in markets(fees)}
        listed = list(self.markets.values())
        self.execution = Execution(listed, 2, SEPARATOR, HOUSE, parties_of(self.parties))
        self.engine = Engine(listed, range(2), SEPARATOR, HOUSE, self.parties)
        for address in ADDRESSES.values():
            for asset in (BASE, QUOTE):
                self.execution.credit(address, asset, funds)
                self.engine.credit(address, asset, funds)
        assert self.execution.state.root() == self.engine.state_root()
        self.members: dict[int, DarkParty] = {}
        self._join()
        self.company = Company(self, random, random.sample(range(5), random.choice((0, 1, 1))))
        self.height, self.time_ms = 0, TIME_MS
        self.nonces, self.codes = Counter[str](), Counter[str]()

    def _join(self) -> None:
        epoch = self.parties.epoch
        self.members = {party: DarkParty(party_seed(epoch, party), party) for party in range(self.parties.count)}

    @property
    def desk(self) -> Desk:
        desk = self.engine.desk
        assert desk is not None
        return desk

    def next_epoch(self) -> None:
        self.parties = replace(self.parties, epoch=self.parties.epoch + 1)
        self._join()

    def action(self) -> Action:
        """Anything that a trader may send."""
        random = self.random
        who = random.choice(tuple(ADDRESSES))
        self.nonces[who] += random.choice((1, 1, 1, 1, 0, 2))
        nonce, dice = self.nonces[who], random.random()
        if dice < 0.1:
            return cancel(who, nonce, max(0, nonce - random.randint(0, 3)))
        if dice < 0.15:
            return cancel_all(who, nonce + 3, random.choice((DARK_ID, EVERY_MARKET)))
        if dice < 0.2:
            return withdrawal(who, nonce, random.choice((BASE, QUOTE)), random.randint(1, 10**5))
        if dice < 0.4 or self.desk.keys is None:
            terms = {"market": random.choice((1, 1, 7, DARK_ID))}
            return order(who, nonce, random.choice((BUY, SELL)), random.randint(97, 103), random.randint(1, 9), **terms)
        market = random.choice((DARK_ID, DARK_ID, OTHER_DARK_ID))
        made = dealt(self, random, random.choice(KINDS), market, ADDRESSES[who], nonce, label_hash(LABEL))
        return self._bent(made) if random.random() < 0.2 else made

    def sealed(self) -> DarkOrder:
        """An order that comes with, or after, the end of its keys."""
        self.nonces["erin"] += 1
        names = ADDRESSES["erin"], self.nonces["erin"], label_hash(LABEL)
        return dealt(self, self.random, "valid", DARK_ID, *names)

    def _bent(self, made: DarkOrder) -> DarkOrder:
        """An order that is refused when it enters, or a bare one."""
        random = self.random
        changes = (
            {"market": 1}, {"market": 99}, {"base_lots": 16}, {"quote_tick_lots": 1 << 40},
            {"boxes": made.boxes[:-1]}, {"boxes": (made.boxes[1], *made.boxes[1:])}, {"base_lots": 0},
        )  # fmt: skip
        return bent(made, **random.choice(changes))

    def run(self, actions: list[Action], words: list[tuple[int, bytes]]) -> Executed:
        """Execute a height by both and compare all they say."""
        self.height += 1
        coin = secret(f"coin {self.height}")
        batch = [opened(secret(f"{self.height} {at}"), action) for at, action in enumerate(actions)]
        known = parties_of(self.parties)
        seen = self.execution.execute(self.height, self.time_ms, coin, batch, received, words, known)
        prepared = [self.engine.prepare(BatchOrder(each.order_id, each.label, each.plaintext)) for each in batch]
        names = self.height, self.time_ms, coin, prepared, received
        compare(seen, self.engine.execute(*names, words, self.parties))
        assert seen.state_root == root_by_definition(self.execution.state.pairs())
        self._check_money()
        self.codes.update(seen.outcomes.values())
        self.codes.update(f"update {code}" for code, _ in seen.updates.values())
        return seen

    def _check_money(self) -> None:
        """Nothing is made or lost, and nobody owes."""
        sums = Counter[int]()
        for account in self.execution.state.accounts.values():
            for asset, free, locked in account.rows():
                assert free >= 0 and locked >= 0
                sums[asset] += free + locked
        assert sums == self.execution.state.supply


def run_history(seed: int, heights: int) -> Counter[str]:
    random = Random(seed)
    pair = DarkPair(random, random.choice(((0, 0), FEES, FEES)), random.choice((10**7, 10**6, 10**5)))
    for _ in range(heights):
        pair.time_ms += random.choice((250, 250, 1_000, 4_000, 31_000))
        if random.random() < 0.04:
            late = [pair.sealed() for _ in range(2)] if pair.desk.keys is not None else []
            pair.next_epoch()
            pair.run(late[:1], pair.company.past[-2:])
            pair.run(late[1:], [])
        actions = [pair.action() for _ in range(random.choice((0, 0, 1, 3, 6)))]
        pair.run(actions, pair.company.words() if random.random() < 0.9 else [])
    return pair.codes


def test_nobody_executes_a_dark_market_without_its_parties() -> None:
    with pytest.raises(ValueError, match="dark"):
        Execution(markets(FEES), 2, SEPARATOR, HOUSE)


def test_auditor_and_engine_agree_on_dark_markets() -> None:
    codes = Counter[str]()
    for seed in range(6):
        codes += run_history(seed, 40)
    entered = {"dark", "dark_boxes", "dark_terms", "dark_keys", "market", "balance", "cancelled"}
    ended = {"filled", "unfilled", "dark_bad", "dark_rejected", "dark_aborted", "dark_epoch"}
    assert entered | {f"update {code}" for code in ended} <= set(codes)
