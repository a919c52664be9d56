"""A member's secret side of the desk: what it says, and the computations that it takes part in.

Everything secret follows from the epoch's seed (:class:`mpc_sequencer.dark.keyparty.KeyParty`) and the log, so a party
that restarts says the same words again. What its boxes hold is kept in memory while their orders are held, so that each
box is opened once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from mpc_sequencer.dark import degree
from mpc_sequencer.dark.bookstate import OPENINGS, REPORTS, BatchState, HeldOrder
from mpc_sequencer.dark.desk import Compute, Desk, SayAnswer, SayDeal, SayKey, SayOpenings, SayReport, Task
from mpc_sequencer.dark.field import ELEMENT_BYTES, SharedRows, to_bytes
from mpc_sequencer.dark.keyparty import KeyParty
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.messages import BAD_OPENED_MAX, OpenedBox, OpeningsSaid, ReportSaid, ResultSaid, Word
from mpc_sequencer.dark.orders import open_box, prove_box
from mpc_sequencer.dark.run import DarkRun
from threshold import UsageError

if TYPE_CHECKING:
    from mpc_sequencer.dark.keys import AgreedKeys
    from mpc_sequencer.dark.params import DarkParams
    from mpc_sequencer.dark.prss import PrssKeys


class DarkParty:
    """Party ``party`` of one epoch, by its 32-byte seed of this epoch. Shows nothing of its secrets and is neither
    copied nor pickled. UsageError where the desk does not ask for what it is to say, where the log holds another seed's
    key of this party, and after :meth:`erase`."""

    __slots__ = ("_keys", "_opened", "_prss", "party")

    def __init__(self, seed: bytes | bytearray, party: int) -> None:
        self.party = party
        self._keys = KeyParty(seed, party)
        self._opened: dict[int, dict[bytes, bytes | None]] = {}
        self._prss: tuple[bytes, PrssKeys] | None = None

    def __repr__(self) -> str:
        return f"DarkParty(party={self.party})"

    def erase(self) -> None:
        """Forget the seed and all that was opened by it. Every later use raises UsageError."""
        self._keys.erase()
        self._opened.clear()
        self._prss = None

    # --- words ------------------------------------------------------------------------------------------------------

    def say(self, desk: Desk, task: Task) -> Word:
        """The word that a task asks for. Of :class:`~mpc_sequencer.dark.desk.Compute` it is the word of a party that
        cannot, or may not any more: :meth:`run` and :func:`result_of` say what a run came to."""
        if task not in desk.owes(self.party):
            raise UsageError(f"party {self.party} does not owe {task}")
        match task:
            case SayKey():
                return self._keys.say_key(desk.agreement)
            case SayDeal():
                return self._keys.say_deal(desk.agreement)
            case SayAnswer():
                return self._keys.say_answer(desk.agreement)
            case SayReport(market, _, _):
                return self._report(desk, market)
            case SayOpenings(market, _, _):
                return self._openings(desk, market)
            case Compute(market, batch):
                return ResultSaid(market, batch, None)

    def run(self, desk: Desk, market: int, batch: int) -> DarkRun:
        """The computation of a batch that the desk asks for. To be begun once: the caller notes it down, in a way that
        outlives a crash, before anything of it leaves. UsageError as above, or where this party lacks a key of
        pseudorandom sharing; it then says that it came to nothing."""
        if Compute(market, batch) not in desk.owes(self.party):
            raise UsageError(f"party {self.party} is not asked to compute batch {batch} of market {market}")
        facts = desk.facts(market)
        assert facts is not None
        opened = self._open(desk, market)
        rows = [opened[order_id] for order_id in facts.order_ids]
        if any(row is None for row in rows):
            raise UsageError(f"party {self.party} lacks shares of batch {batch} of market {market}")
        data = b"".join(row for row in rows if row is not None)
        shared = SharedRows.from_bytes(data, len(rows), Layout.of(facts.params).columns)
        return DarkRun(facts, self.party, self._prss_keys(desk), shared)

    # --- boxes ------------------------------------------------------------------------------------------------------

    def _batch(self, desk: Desk, market: int, phase: int) -> BatchState:
        batch = desk.book(market).state.batch
        if batch is None or batch.phase != phase:
            raise UsageError(f"market {market} is in another phase")
        return batch

    def _agreed(self, desk: Desk) -> tuple[AgreedKeys, bytes, bytes]:
        """The keys, this party's secret of its box key, and a seed of nonces."""
        agreed = desk.keys
        if agreed is None or not self._keys.fits(desk.agreement):
            raise UsageError(f"the log holds no box key of party {self.party} that is this seed's")
        names = agreed.topic, agreed.attempt
        return agreed, self._keys.box_secret(*names), self._keys.nonce_seed(*names)

    def _open(self, desk: Desk, market: int) -> dict[bytes, bytes | None]:
        """By order id what this party's boxes of the batch under way hold, None for a bad one."""
        batch = desk.book(market).state.batch
        assert batch is not None
        opened = self._held(desk, market)
        self._open_boxes(desk, market, [one for one in batch.orders if one.order_id not in opened])
        return opened

    def _held(self, desk: Desk, market: int) -> dict[bytes, bytes | None]:
        """What was opened so far of the orders that the market holds now."""
        held = {one.order_id for one in desk.book(market).orders()}
        opened = self._opened.get(market, {})
        self._opened[market] = opened = {order_id: row for order_id, row in opened.items() if order_id in held}
        return opened

    def _open_boxes(self, desk: Desk, market: int, orders: Iterable[HeldOrder]) -> None:
        agreed, secret, _ = self._agreed(desk)
        key, params, opened = agreed.box_keys[self.party], desk.book(market).params, self._opened[market]
        for one in orders:
            opened[one.order_id] = open_box(params, one.action, self.party, secret, key)

    def open_some(self, desk: Desk, most: int) -> bool:
        """Open up to ``most`` boxes of orders that are held, ahead of the report on them; whether more are left."""
        for market in desk.markets:
            opened = self._held(desk, market)
            left = [one for one in desk.book(market).orders() if one.order_id not in opened]
            self._open_boxes(desk, market, left[:most])
            if len(left) >= most:
                return True
        return False

    def _report(self, desk: Desk, market: int) -> ReportSaid:
        batch, params = self._batch(desk, market, REPORTS), desk.book(market).params
        opened = self._open(desk, market)
        rows = [opened[one.order_id] for one in batch.orders]
        shares = _combined(params, batch.seed, rows)
        bad = [index for index, row in enumerate(rows) if row is None][:BAD_OPENED_MAX]
        return ReportSaid(market, batch.number, batch.part, shares, self._proven(desk, batch, bad))

    def _openings(self, desk: Desk, market: int) -> OpeningsSaid:
        batch = self._batch(desk, market, OPENINGS)
        disputed = sorted(index for index, parties in desk.book(market).disputed().items() if self.party in parties)
        opened = self._proven(desk, batch, disputed[:BAD_OPENED_MAX])
        return OpeningsSaid(market, batch.number, batch.part, opened)

    def _proven(self, desk: Desk, batch: BatchState, places: list[int]) -> tuple[OpenedBox, ...]:
        _, secret, nonce_seed = self._agreed(desk)
        return tuple(
            prove_box(batch.orders[index].action, self.party, secret, index, nonce_seed) for index in places
        )

    def _prss_keys(self, desk: Desk) -> PrssKeys:
        agreed, _, _ = self._agreed(desk)
        if self._prss is None or self._prss[0] != agreed.id:
            self._prss = agreed.id, self._keys.prss_keys(desk.agreement)
        return self._prss[1]

    def _refuse(self, *_args: object) -> NoReturn:
        raise TypeError("a party is neither copied nor pickled")

    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse


def result_of(run: DarkRun) -> ResultSaid:
    """What a party says of a run that is over."""
    return ResultSaid(run.facts.market, run.facts.batch, run.outcome())


def _combined(params: DarkParams, seed: bytes, rows: list[bytes | None]) -> bytes:
    """A party's share of every order's combination, 12 bytes each; zeros where its box is bad."""
    columns = Layout.of(params).columns
    nothing = bytes(columns * ELEMENT_BYTES)
    shared = SharedRows.from_bytes(b"".join(nothing if row is None else row for row in rows), len(rows), columns)
    return to_bytes(degree.combine(params, seed, shared))
