"""The desk: all dark markets of an epoch's committee, as a pure function of executed heights.

The desk holds the agreement on the epoch's keys (:mod:`mpc_sequencer.dark.agreement`) and a book for each dark market
(:mod:`mpc_sequencer.dark.book`), and is part of the market engine's state. In a height orders are entered first
(:meth:`Desk.refusal`, :meth:`Desk.accept`); the dark step, :meth:`Desk.step`, comes at the height's end, after all
markets:

0. Where the height's parties are others than the desk's, every order that is held or under way ends (DARK_EPOCH), and
   an agreement begins anew, under the new parties' topic.
1. The words that the height lifts, in block order. What is no word, has an author that is no party, comes in another
   phase or for the second time changes nothing.
2. Transitions at the height's block time until none applies.

A member asks the desk what it owes (:meth:`Desk.owes`), says it by :class:`mpc_sequencer.dark.party.DarkParty`, and
lists others' words only where they would count (:meth:`Desk.wanted`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Address, Hash32, Uint, Value
from mpc_sequencer.dark import codes, tags
from mpc_sequencer.dark.agreement import Agreement, AgreementValue
from mpc_sequencer.dark.book import Book
from mpc_sequencer.dark.bookstate import OPENINGS, REPORTS, BookState, Ended, EndedOrder, check_book
from mpc_sequencer.dark.messages import AnswerSaid, DealSaid, KeySaid, Word, decode_word
from mpc_sequencer.dark.orders import Parties, check_boxes, dark_params, seal_dark_order
from threshold import ThresholdError

if TYPE_CHECKING:
    from mpc_sequencer.core.actions import DarkOrder
    from mpc_sequencer.dark.facts import BatchFacts
    from mpc_sequencer.dark.keys import AgreedKeys
    from mpc_sequencer.market.types import DarkGrid, Market

__all__ = [
    "Compute",
    "Desk",
    "DeskValue",
    "Ended",
    "EndedOrder",
    "Parties",
    "SayAnswer",
    "SayDeal",
    "SayKey",
    "SayOpenings",
    "SayReport",
    "Task",
    "check_boxes",
    "dark_params",
    "seal_dark_order",
]

NO_KEYS: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class SayKey:
    """Say a box key."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SayDeal:
    """Say a deal."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SayAnswer:
    """Say which boxes of the deals are bad."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SayReport:
    """Say what the boxes of a closed batch hold."""

    market: int
    batch: int
    part: int


@dataclass(frozen=True, slots=True)
class SayOpenings:
    """Open the boxes of orders in dispute."""

    market: int
    batch: int
    part: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute a batch, and say what it came to."""

    market: int
    batch: int


Task = SayKey | SayDeal | SayAnswer | SayReport | SayOpenings | Compute

_KEY_TASKS: Final[Mapping[type, type[SayKey] | type[SayDeal] | type[SayAnswer]]] = {
    KeySaid: SayKey,
    DealSaid: SayDeal,
    AnswerSaid: SayAnswer,
}


class DeskValue(Value, frozen=True):
    """A desk's whole state, books ascending by market."""

    genesis_id: Hash32
    epoch: Uint
    members: Annotated[tuple[Address, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]
    faults_t: Uint
    agreement: AgreementValue
    books: tuple[BookState, ...]


class Desk:
    """The state of all dark markets among ``markets``, by id. Raises ``ValueError`` where ``parties`` cannot compute
    one of them."""

    def __init__(self, markets: Mapping[int, Market], parties: Parties) -> None:
        grids = ((number, markets[number].dark) for number in sorted(markets))
        self._grids: dict[int, DarkGrid] = {number: grid for number, grid in grids if grid is not None}
        self._begin(parties, {number: BookState(number) for number in self._grids})

    def _begin(self, parties: Parties, states: Mapping[int, BookState]) -> None:
        self.parties = parties
        self.agreement = Agreement.begin(parties.topic, parties.count, parties.faults_t)
        self._books = {number: Book(number, grid, parties, states[number]) for number, grid in self._grids.items()}
        self._keys_id: tuple[AgreedKeys | None, bytes] = (None, NO_KEYS)

    @property
    def keys(self) -> AgreedKeys | None:
        """What the parties have agreed on, until the epoch ends."""
        return self.agreement.keys

    @property
    def markets(self) -> tuple[int, ...]:
        """The dark markets, ascending."""
        return tuple(self._books)

    # --- a height ---------------------------------------------------------------------------------------------------

    def refusal(self, action: DarkOrder) -> str | None:
        """Why an order cannot be held now: an outcome code, or None. The market is one of the desk's; the boxes have
        passed :func:`check_boxes`."""
        return self._books[action.market].refusal(action, self.keys)

    def accept(self, order_id: bytes, action: DarkOrder, height: int, time_ms: int) -> None:
        """Hold an order that :meth:`refusal` let pass, at its executed height and that block's time."""
        self._books[action.market].accept(order_id, action, height, time_ms)

    def step(self, parties: Parties, height: int, time_ms: int, words: Sequence[tuple[int, bytes]]) -> list[Ended]:
        """The end of an executed height: ``words`` are the payloads of the dark topic's key messages that it lifts, in
        block order, with their authors. What ended, in order. Raises ``ValueError``, before anything has changed, for
        parties that cannot compute the markets."""
        ended: list[Ended] = []
        if parties != self.parties:
            ended += self._change(parties)
        of_keys: list[tuple[int, Word]] = []
        for party, payload in words:
            word = self._decoded(party, payload)
            if isinstance(word, KeySaid | DealSaid | AnswerSaid):
                of_keys.append((party, word))
            elif word is not None and word.market in self._books:
                self._books[word.market].hear(party, word, payload, self.keys)
        self.agreement = self.agreement.step(time_ms, of_keys)
        for book in self._books.values():
            ended += book.advance(time_ms, self.keys)
        return ended

    def _change(self, parties: Parties) -> list[Ended]:
        """Another epoch's parties."""
        for grid in self._grids.values():
            dark_params(grid, parties)
        Agreement.begin(parties.topic, parties.count, parties.faults_t)
        ended = [one for book in self._books.values() for one in book.end_all(codes.DARK_EPOCH)]
        self._begin(parties, {number: book.state for number, book in self._books.items()})
        return ended

    def _decoded(self, party: int, payload: bytes) -> Word | None:
        if not 0 <= party < self.parties.count:
            return None
        try:
            return decode_word(payload)
        except ProtocolError:
            return None

    def due_ms(self) -> int | None:
        """The earliest block time at which :meth:`step` has something to do without words; None: no such time."""
        times = [self.agreement.due_ms(), *(book.due_ms(self.keys) for book in self._books.values())]
        return min((time_ms for time_ms in times if time_ms is not None), default=None)

    # --- members ----------------------------------------------------------------------------------------------------

    def wanted(self, party: int, payload: bytes) -> bool:
        """Whether a word would count in the next height: an honest member lists it then, and no other."""
        word = self._decoded(party, payload)
        if word is None:
            return False
        if isinstance(word, KeySaid | DealSaid | AnswerSaid):
            return self.agreement.wanted(party, word)
        return word.market in self._books and self._books[word.market].takes(party, word, self.keys)

    def owes(self, party: int) -> tuple[Task, ...]:
        """What is expected of a party now: its words, and the batches that it computes."""
        tasks: list[Task] = []
        if not 0 <= party < self.parties.count:
            return ()
        said = self.agreement.owes(party)
        if said is not None:
            tasks.append(_KEY_TASKS[said](self.agreement.attempt))
        for market, book in self._books.items():
            batch = book.state.batch
            if batch is None or party not in batch.speakers or any(one.party == party for one in batch.words()):
                continue
            if batch.phase == REPORTS:
                tasks.append(SayReport(market, batch.number, batch.part))
            elif batch.phase == OPENINGS:
                tasks.append(SayOpenings(market, batch.number, batch.part))
            else:
                tasks.append(Compute(market, batch.number))
        return tuple(tasks)

    def book(self, market: int) -> Book:
        """A market's book, to read."""
        return self._books[market]

    def facts(self, market: int) -> BatchFacts | None:
        """The batch of a market that is being computed; None where there is none."""
        return self._books[market].facts()

    # --- state ------------------------------------------------------------------------------------------------------

    def leaf(self, market: int) -> tuple[int, bytes, bytes]:
        """What the state commits to of a market: the last batch that was closed, the id of the keys (zeros before they
        are agreed on), and a hash of the states of its book and of the agreement."""
        keys = self.keys
        if self._keys_id[0] is not keys:
            self._keys_id = keys, NO_KEYS if keys is None else keys.id
        book = self._books[market]
        return book.state.number, self._keys_id[1], tags.DESK(self.agreement.digest(), book.digest())

    def locks(self) -> Iterable[tuple[bytes, int, int, int]]:
        """(account, market, quote_tick_lots, base_lots) of every order that has not ended."""
        for market, book in self._books.items():
            for one in book.orders():
                yield one.action.account, market, one.action.quote_tick_lots, one.action.base_lots

    def dump(self) -> DeskValue:
        """The whole state."""
        of = self.parties
        books = tuple(book.state for book in self._books.values())
        return DeskValue(of.genesis_id, of.epoch, of.members, of.faults_t, self.agreement.dump(), books)

    @classmethod
    def load(cls, markets: Mapping[int, Market], value: DeskValue) -> Desk:
        """The desk whose dump ``value`` is. Raises ``ValueError`` for what no dump is."""
        desk = cls(markets, Parties(value.genesis_id, value.epoch, value.members, value.faults_t))
        if [book.market for book in value.books] != list(desk._books):
            raise ValueError("the books are not those of the dark markets")
        of = desk.parties
        try:
            desk.agreement = Agreement.load(of.topic, of.count, of.faults_t, value.agreement)
        except (ThresholdError, ProtocolError) as error:
            raise ValueError(str(error)) from None
        for state in value.books:
            book = desk._books[state.market]
            check_book(state, book.params, desk.keys)
            book.state = state
        return desk
