"""All dark markets of a log, height by height: what the words and orders of final blocks lead to.

A height's dark step comes last (docs/protocol-execution.md, "Dark markets"): with another committee all orders end and
the keys are agreed on anew; then the height's words are heard; then keys and batches go on as far as they can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mpc_sequencer.audit.dark_batches import DarkBook
from mpc_sequencer.audit.dark_keys import PHASE_NAMES, KeyAgreement
from mpc_sequencer.audit.dark_orders import DarkParties
from mpc_sequencer.audit.dark_state import DarkEnds
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.messages import AnswerSaid, DealSaid, KeySaid, decode_word
from mpc_sequencer.market.types import Market


@dataclass(slots=True)
class DarkTally:
    """What became of one market's batches and words, for the report."""

    settled: int = 0
    void: int = 0
    epoch_ended: int = 0
    orders: Counter[str] = field(default_factory=Counter)
    """How orders ended, by code."""
    ignored: int = 0
    """Words about it that did not count."""


class DarkDesk:
    """The dark markets among ``markets`` under the committees of the log's epochs."""

    def __init__(self, markets: Iterable[Market], parties: DarkParties) -> None:
        self._markets = {market.id: market for market in markets if market.dark is not None}
        self.tallies = {market: DarkTally() for market in self._markets}
        self.ignored = 0
        """Words about no market that did not count."""
        self.agreements: list[tuple[int, KeyAgreement]] = []
        """Of each epoch, by its number."""
        self._begin(parties, dict.fromkeys(self._markets, 0))

    def _begin(self, parties: DarkParties, numbers: Mapping[int, int]) -> None:
        self.parties = parties
        self.keys = KeyAgreement(parties.topic, parties.count, parties.faults_t)
        self.agreements.append((parties.epoch, self.keys))
        self.books = {number: DarkBook(market, parties, numbers[number]) for number, market in self._markets.items()}

    # --- orders ----------
    def refusal(self, action: DarkOrder) -> str | None:
        """The outcome code of an order that cannot wait for its batch; None where it can."""
        if action.market not in self.books:
            return "market"
        return self.books[action.market].refusal(self.keys, action)

    def wait(self, order_id: bytes, action: DarkOrder, height: int, time_ms: int) -> None:
        """Let an order wait."""
        self.books[action.market].wait(order_id, action, height, time_ms)

    # --- heights ----------
    def step(self, parties: DarkParties, time_ms: int, words: Sequence[tuple[int, bytes]]) -> list[DarkEnds]:
        """The dark step of an executed height of block time ``time_ms``; what ended, in order. ``words``: (member,
        payload), as its block lifts them."""
        ends: list[DarkEnds] = []
        if parties != self.parties:
            before = self.books
            ends += [one for book in before.values() for one in book.abandon()]
            self._begin(parties, {number: book.number for number, book in before.items()})
            for number, book in self.books.items():
                book.named, book.computed = before[number].named, before[number].computed
        self.keys.begin_height(time_ms)
        for party, payload in words:
            self._hear(party, payload)
        self.keys.advance(time_ms)
        for number in sorted(self.books):
            ends += self.books[number].advance(time_ms, self.keys)
        for ended in ends:
            self._count(ended)
        return ends

    def _hear(self, party: int, payload: bytes) -> None:
        try:
            word = decode_word(payload)
        except ProtocolError:
            self.ignored += 1
            return
        if isinstance(word, KeySaid | DealSaid | AnswerSaid):
            self.ignored += not (party < self.parties.count and self.keys.hear(party, word))
        elif word.market not in self.books:
            self.ignored += 1
        elif party >= self.parties.count or not self.books[word.market].hear(self.keys, party, word, payload):
            self.tallies[word.market].ignored += 1

    def _count(self, ended: DarkEnds) -> None:
        tally = self.tallies[ended.market]
        tally.orders.update(order.code for order in ended.orders)
        if ended.how == "settled":
            tally.settled += 1
        elif ended.how == "void":
            tally.void += 1
        elif ended.how == "epoch":
            tally.epoch_ended += 1

    # --- what the state root says of a market ----------
    def leaf(self, market: int) -> tuple[int, bytes, bytes]:
        """The last batch that has closed, the keys' id, and a hash of the rest."""
        book = self.books[market]
        return book.number, self.keys.keys_id, tags.DESK(self.keys.digest(), book.digest())

    def phases(self) -> list[tuple[int, int, str, bytes]]:
        """Of each epoch: its number, the attempts at its keys, the phase of the last one, and the keys' id."""
        return [
            (epoch, keys.attempt + 1, PHASE_NAMES[keys.phase], keys.keys_id) for epoch, keys in self.agreements
        ]
