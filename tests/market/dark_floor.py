"""Dark markets for the market's tests: their terms, a committee of five, and what its members say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import count

from msgspec.structs import replace

from mpc_sequencer.core.actions import DarkOrder, label_hash
from mpc_sequencer.dark.desk import (
    Compute,
    Desk,
    Parties,
    SayAnswer,
    SayDeal,
    SayKey,
    SayOpenings,
    SayReport,
    Task,
    seal_dark_order,
)
from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.dark.keyparty import KeyParty
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import (
    DarkFillValue,
    OpeningsSaid,
    OutcomeValue,
    ReportSaid,
    ResultSaid,
    Word,
    encode_word,
)
from mpc_sequencer.market import DARK, Engine, HeightResult, Market, PreparedOrder
from mpc_sequencer.market.types import DarkGrid
from tests.market import desk

MEMBERS = 5
PARTIES = Parties(bytes(range(32)), 1, tuple(bytes((i,)) * 20 for i in range(1, MEMBERS + 1)), 1)
NEXT_PARTIES = Parties(PARTIES.genesis_id, 2, PARTIES.members, 1)
GRID = DarkGrid(
    ticks=8, price_first_ticks=8, price_step_ticks=2, quantity_bits=8, slack_bits=24, orders_max=6, interval_ms=1_000
)
DARK_SPOT = Market(4, desk.BASE, desk.QUOTE, 10, 3, 9, "BASE/QUOTE dark", DARK, taker_fee_ppm=2_500, dark=GRID)
DARK_CROSS = Market(9, desk.OTHER, desk.QUOTE, 1, 1, 5, "OTHER/QUOTE dark", DARK, dark=replace(GRID, interval_ms=3_000))
LAST_TICKS = GRID.price_first_ticks + GRID.price_step_ticks * (GRID.ticks - 1)

Speech = Callable[[Desk, int, Task], Word | None]


def outcome(
    price_ticks: int | None, fills: Sequence[tuple[int, int, int]], rejected: Sequence[int] = ()
) -> OutcomeValue:
    """What a batch came to: fills as (place, side, lots)."""
    if price_ticks is None:
        return OutcomeValue(bytes(32), 0, 0, 0, 0, (), tuple(rejected), 0)
    tick = (price_ticks - GRID.price_first_ticks) // GRID.price_step_ticks
    made = tuple(DarkFillValue(*fill) for fill in sorted(fills))
    return OutcomeValue(
        bytes(32), 1, tick + 1, 1, sum(lots for _, side, lots in fills if side == 1), made, tuple(rejected), 0
    )


def says(results: Callable[[Desk, int], OutcomeValue | None]) -> Speech:
    """Members whose boxes are all good, and who say of a batch what ``results`` says of the market's."""

    def speak(of: Desk, party: int, task: Task) -> Word | None:
        if isinstance(task, SayKey | SayDeal | SayAnswer):
            return _key_word(of, party, task)
        if isinstance(task, SayReport):
            batch = of.book(task.market).state.batch
            assert batch is not None
            return ReportSaid(task.market, task.batch, task.part, bytes(len(batch.orders) * ELEMENT_BYTES), ())
        if isinstance(task, SayOpenings):
            return OpeningsSaid(task.market, task.batch, task.part, ())
        assert isinstance(task, Compute)
        return ResultSaid(task.market, task.batch, results(of, task.market))

    return speak


def _key_word(of: Desk, party: int, task: Task) -> Word:
    key_party = KeyParty(hashlib.sha256(b"party %d of epoch %d" % (party, of.parties.epoch)).digest(), party)
    say = {SayKey: key_party.say_key, SayDeal: key_party.say_deal, SayAnswer: key_party.say_answer}[type(task)]
    word: Word = say(of.agreement)
    return word


NOTHING = says(lambda *_: outcome(None, ()))


def words(of: Desk, speech: Speech = NOTHING, speakers: Iterable[int] = range(MEMBERS)) -> list[tuple[int, bytes]]:
    """What each of ``speakers`` owes the desk, said."""
    said = [(party, speech(of, party, task)) for party in speakers for task in of.owes(party)]
    return [(party, encode_word(word)) for party, word in said if word is not None]


def engine(
    markets: Sequence[Market] = (*desk.MARKETS, DARK_SPOT, DARK_CROSS), amount: int = 10**9, parties: Parties = PARTIES
) -> Engine:
    """An engine with dark markets whose committee has not spoken yet; accounts hold ``amount`` of every asset."""
    made = Engine(markets, desk.ASSETS, desk.SEPARATOR, desk.FEES, parties)
    for account in desk.ACCOUNTS:
        for asset in desk.ASSETS:
            made.credit(account, asset, amount)
    return made


@cache
def agreed_dump(markets: Sequence[Market], amount: int) -> bytes:
    made = engine(markets, amount)
    agree(made, 1)
    return made.dump()


def agreed(markets: Sequence[Market] = (*desk.MARKETS, DARK_SPOT, DARK_CROSS), amount: int = 10**9) -> Engine:
    """As :func:`engine`, and its committee has agreed on keys by height 3, at desk.TIME_MS."""
    return Engine.load(agreed_dump(tuple(markets), amount))


def agree(made: Engine, height: int) -> None:
    """Heights until there are keys."""
    for at in count(height):
        made.execute(at, desk.TIME_MS, desk.COIN, [], words=words(desk_of(made)))
        if desk_of(made).keys is not None:
            return


def desk_of(made: Engine) -> Desk:
    found = made.desk
    assert found is not None
    return found


def dark_order(
    of: Desk,
    who: int,
    nonce: int,
    side: int,
    price_ticks: int,
    lots: int,
    *,
    market: Market = DARK_SPOT,
    deposit: tuple[int, int] | None = None,
    **terms: object,
) -> DarkOrder:
    """An order of account number ``who``; its deposits are (tick-lots of quote, lots of base), those it needs where
    none are given."""
    assert market.dark is not None
    assert of.keys is not None
    locked = Deposit(*(deposit or ((price_ticks * lots, 0) if side == 1 else (0, lots))))
    seed = hashlib.sha256(b"order %d %d" % (who, nonce)).digest()
    parties = of.parties
    boxes = seal_dark_order(
        market.dark, parties.count, parties.faults_t, of.keys, desk.ACCOUNTS[who], nonce, market.id, side, price_ticks,
        lots, locked, seed,
    )  # fmt: skip
    made = DarkOrder(
        desk.ACCOUNTS[who], nonce, label_hash(desk.LABEL), market.id, of.keys.id, locked.quote_tick_lots,
        locked.base_lots, boxes,
    )  # fmt: skip
    return replace(made, **terms) if terms else made


def cover(of: Desk, who: int, nonce: int, deposit: tuple[int, int], *, market: Market = DARK_SPOT) -> DarkOrder:
    """An order of no lots behind ``deposit``."""
    return dark_order(of, who, nonce, 1, LAST_TICKS, 0, market=market, deposit=deposit)


def locked_by(made: Engine) -> dict[tuple[bytes, int], int]:
    """What accounts lock of each asset."""
    rows = {(account, asset): made.balance(account, asset)[1] for account in desk.ACCOUNTS for asset in desk.ASSETS}
    return {key: amount for key, amount in rows.items() if amount}


class Floor:
    """An engine whose heights go on by themselves; members owe no word for long."""

    def __init__(self, made: Engine, speech: Speech = NOTHING) -> None:
        self.made = made
        self.speech = speech
        self.height, self.time_ms = 10, desk.TIME_MS
        self.results: list[HeightResult] = []

    @property
    def desk(self) -> Desk:
        return desk_of(self.made)

    def run(
        self,
        actions: Sequence[object] = (),
        *,
        later_ms: int = 0,
        speakers: Iterable[int] = range(MEMBERS),
        parties: Parties | None = None,
    ) -> HeightResult:
        """A height of these actions, with what the speakers owe."""
        self.height, self.time_ms = self.height + 1, self.time_ms + later_ms
        batch = [PreparedOrder(desk.order_id((self.height, i)), action, None) for i, action in enumerate(actions)]
        said = words(self.desk, self.speech, speakers)
        self.results.append(
            self.made.execute(
                self.height, self.time_ms, desk.COIN, batch, desk.received, words=said, parties=parties
            )
        )
        return self.results[-1]

    def finish(self) -> HeightResult:
        """Heights, each as late as it must be, until no order waits; the last of them."""
        while list(self.desk.locks()):
            due_ms = self.desk.due_ms()
            assert due_ms is not None, "an order waits for nothing"
            self.run(later_ms=0 if words(self.desk, self.speech) else max(0, due_ms - self.time_ms))
        return self.results[-1]

    def codes(self) -> dict[bytes, str]:
        """The last code of each order."""
        return {
            one.order_id: one.code for result in self.results for one in (*result.outcomes, *result.updates)
        }

    def name(self, place: int) -> bytes:
        """The id of an order of the last height."""
        return desk.order_id((self.height, place))
