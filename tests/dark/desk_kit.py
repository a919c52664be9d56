"""A desk with its parties in one process: heights with words, and computations whose messages are passed in memory.

:class:`Floor` drives ``n`` parties over one :class:`~mpc_sequencer.dark.desk.Desk`: :meth:`Floor.order` enters an order
at the next height, :meth:`Floor.height` executes one, and :meth:`Floor.settle` goes on until no order waits. What a
party says is put through :attr:`Floor.speak`, what it sends in a computation through :attr:`Floor.send`: tests make
liars and silent parties of honest ones there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, DarkOrder
from mpc_sequencer.dark.desk import Compute, Desk, Ended, Parties, Task, check_boxes
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements
from mpc_sequencer.dark.keys import order_context
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.messages import OutcomeValue, ResultSaid, Word, encode_word
from mpc_sequencer.dark.orders import seal_dark_order, seal_shares
from mpc_sequencer.dark.party import DarkParty, result_of
from mpc_sequencer.dark.run import DarkRun
from mpc_sequencer.dark.session import Clock, Effect, Say
from mpc_sequencer.dark.sharing import seeded, share
from mpc_sequencer.market.types import DARK, DarkGrid, Market
from threshold import boxes

GENESIS_ID = bytes(range(32))
GRID = DarkGrid(
    ticks=8,
    price_first_ticks=100,
    price_step_ticks=5,
    quantity_bits=4,
    slack_bits=20,
    orders_max=256,
    interval_ms=1_000,
)
BLOCK_MS = 250
MARKET = 3

Speak = Callable[[int, Task, Word], Sequence[bytes]]
"""``speak(party, task, word)``: the payloads that a party has listed instead of the honest word."""
Send = Callable[[int, int, int, bytes], Sequence[bytes]]
"""``send(sender, receiver, round, message)``: what reaches the receiver instead of the message."""


def dark_market(number: int = MARKET, grid: DarkGrid = GRID) -> Market:
    return Market(number, 1, 2, 1, 1, 100, f"DARK{number}", DARK, dark=grid)


def dark_parties(n: int = 5, t: int = 1, epoch: int = 0) -> Parties:
    members = tuple(hashlib.sha256(f"member {index}".encode()).digest()[:20] for index in range(n))
    return Parties(GENESIS_ID, epoch, members, t)


def party_seed(epoch: int, party: int) -> bytes:
    return hashlib.sha256(f"seed of {party} in {epoch}".encode()).digest()


def account_of(number: int) -> bytes:
    return hashlib.sha256(f"account {number}".encode()).digest()[:20]


def order_id_of(action: DarkOrder) -> bytes:
    return hashlib.sha256(action.account + action.nonce.to_bytes(8, "big") + action.struct_hash()).digest()


def honest(party: int, task: Task, word: Word) -> Sequence[bytes]:
    return [encode_word(word)]


def delivered(sender: int, receiver: int, number: int, message: bytes) -> Sequence[bytes]:
    return [message]


@dataclass
class Ran:
    """A computation: every participant's run, by party."""

    runs: dict[int, DarkRun] = field(default_factory=dict)
    effects: dict[int, list[Effect]] = field(default_factory=dict)


def run_all(runs: Mapping[int, DarkRun], send: Send = delivered) -> Ran:
    """Drive all runs to their end: clocks run out when no message is under way, and runs without a clock expire."""
    ran = Ran(dict(runs), {party: [] for party in runs})
    queue: list[tuple[int, int, bytes]] = []
    clocks: dict[int, int] = {}

    def apply(party: int, effects: Sequence[Effect]) -> None:
        ran.effects[party] += effects
        for effect in effects:
            if isinstance(effect, Say):
                for receiver in runs:
                    if receiver != party:
                        sent = send(party, receiver, effect.round, effect.message)
                        queue.extend((receiver, party, message) for message in sent)
            elif isinstance(effect, Clock):
                clocks[party] = effect.round

    for party, one in runs.items():
        apply(party, one.begin())
    while True:
        while queue:
            receiver, sender, message = queue.pop(0)
            apply(receiver, runs[receiver].heard(sender, message))
        pending = [party for party, one in runs.items() if not one.over]
        if not pending:
            return ran
        ringing = [party for party in pending if clocks.get(party) == runs[party].round]
        for party in ringing or pending:
            apply(party, runs[party].timed_out(clocks[party]) if ringing else runs[party].expire())


class Floor:
    """A desk, its parties and the log between them."""

    def __init__(
        self, parties: Parties | None = None, markets: Mapping[int, Market] | None = None, time_ms: int = 1_000_000
    ) -> None:
        self.parties = parties or dark_parties()
        self.markets = dict(markets or {MARKET: dark_market()})
        self.desk = Desk(self.markets, self.parties)
        self.height_number = 0
        self.time_ms = time_ms
        self.speak: Speak = honest
        self.send: Send = delivered
        self.ended: list[Ended] = []
        self.outcomes: dict[tuple[int, int], OutcomeValue | None] = {}
        self.computed: dict[tuple[int, int], Ran] = {}
        self._nonces = 0
        self._join()

    def _join(self) -> None:
        epoch = self.parties.epoch
        self.members = {party: DarkParty(party_seed(epoch, party), party) for party in range(self.parties.count)}

    # --- orders -----------------------------------------------------------------------------------------------------

    def action(
        self,
        side: int,
        price_ticks: int,
        quantity_lots: int,
        *,
        market: int = MARKET,
        account: int | None = None,
        deposit: Deposit | None = None,
    ) -> DarkOrder:
        """A sealed order under the desk's keys; its deposit covers it on either side where none is given."""
        keys, grid = self.desk.keys, self.markets[market].dark
        assert keys is not None and grid is not None
        self._nonces += 1
        nonce = self._nonces
        owner = account_of(nonce if account is None else account)
        deposit = deposit or Deposit(price_ticks * quantity_lots, quantity_lots)
        seed = hashlib.sha256(f"trader {nonce}".encode()).digest()
        names = (grid, self.parties.count, self.parties.faults_t, keys, owner, nonce, market)
        sealed = seal_dark_order(*names, side, price_ticks, quantity_lots, deposit, seed)
        lots = deposit.quote_tick_lots, deposit.base_lots
        return DarkOrder(owner, nonce, bytes(32), market, keys.id, *lots, sealed)

    def dealt(self, change: Callable[[list[Elements]], None], side: int = BUY, **terms: Any) -> DarkOrder:
        """An order whose trader deals what ``change`` makes of the parties' shares, each in a box that opens."""
        action = self.action(side, 110, 3, **terms)
        keys, params = self.desk.keys, self.desk.book(action.market).params
        assert keys is not None
        deposit = Deposit(action.quote_tick_lots, action.base_lots)
        seed = hashlib.sha256(b"dealt" + action.account).digest()
        row = encode_order(params, side, 110, 3, deposit, int(seeded(seed, b"mask")(1)[0]))
        shares = share(row, params.faults_t, params.parties, seeded(seed, b"share"))
        change(shares)
        return replace(action, boxes=seal_shares(keys, action.account, action.nonce, action.market, shares, seed))

    def boxed(self, action: DarkOrder, plaintexts: Mapping[int, bytes]) -> DarkOrder:
        """The order with other plaintexts in some parties' boxes, sealed as they should be."""
        keys, sealed = self.desk.keys, list(action.boxes)
        assert keys is not None
        for party, plaintext in plaintexts.items():
            context = order_context(action.keys, action.market, action.account, action.nonce, party)
            ephemeral = hashlib.sha256(b"other" + context).digest()
            sealed[party] = boxes.seal(keys.box_keys[party], plaintext, ephemeral, context)
        return replace(action, boxes=tuple(sealed))

    def bad(self, *victims: int, **terms: Any) -> DarkOrder:
        """An order whose boxes for some parties hold no row: every element is as large as 12 bytes can be."""
        action = self.action(BUY, 110, 3, **terms)
        size = ELEMENT_BYTES * Layout.of(self.desk.book(action.market).params).columns
        return self.boxed(action, dict.fromkeys(victims, b"\xff" * size))

    def enter(self, action: DarkOrder) -> bytes:
        """Enter an order at the next height, as the engine does; its id."""
        assert check_boxes(action)
        assert self.desk.refusal(action) is None, self.desk.refusal(action)
        order_id = order_id_of(action)
        self.desk.accept(order_id, action, self.height_number + 1, self.time_ms + BLOCK_MS)
        return order_id

    def order(self, side: int = BUY, price_ticks: int = 110, quantity_lots: int = 3, **terms: Any) -> bytes:
        """Seal and enter an order; its id."""
        return self.enter(self.action(side, price_ticks, quantity_lots, **terms))

    # --- heights ----------------------------------------------------------------------------------------------------

    def height(self, words: Sequence[tuple[int, bytes]] = (), later_ms: int = BLOCK_MS) -> list[Ended]:
        """Execute a height with these words; what ended."""
        self.height_number += 1
        self.time_ms += later_ms
        ended = self.desk.step(self.parties, self.height_number, self.time_ms, words)
        self.ended += ended
        return ended

    def words(self) -> list[tuple[int, bytes]]:
        """What all parties say that owe something, computations included."""
        said = []
        for party, member in self.members.items():
            for task in self.desk.owes(party):
                word = self.result(party, task) if isinstance(task, Compute) else member.say(self.desk, task)
                said += [(party, payload) for payload in self.speak(party, task, word)]
        return said

    def result(self, party: int, task: Compute) -> ResultSaid:
        """What a party's computation came to; the first that asks has all participants compute."""
        place = task.market, task.batch
        if place not in self.computed:
            asked = [one for one in self.members if task in self.desk.owes(one)]
            runs = {one: self.members[one].run(self.desk, *place) for one in asked}
            self.computed[place] = run_all(runs, self.send)
        return result_of(self.computed[place].runs[party])

    def go(self) -> list[Ended]:
        """One height in which everybody says what it owes."""
        return self.height(self.words())

    def agree(self) -> None:
        """Go on until the epoch's keys are agreed on."""
        for _ in range(200):
            if self.desk.keys is not None:
                return
            self.go()
        raise AssertionError("no keys were agreed on")

    def settle(self, heights_max: int = 400) -> list[Ended]:
        """Go on until no order waits; all that ended."""
        first = len(self.ended)
        for _ in range(heights_max):
            if not any(self.desk.locks()):
                return self.ended[first:]
            self.go()
        raise AssertionError("orders are still waiting")

    def rotate(self, parties: Parties) -> list[Ended]:
        """The first height of another epoch."""
        self.parties = parties
        self._join()
        return self.height()
