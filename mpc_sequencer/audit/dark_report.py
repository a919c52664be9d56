"""What an audit says of dark markets: their batches and words, and the members that they name. None of it is a finding:
every honest member's log holds the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mpc_sequencer.audit.dark import DarkDesk
    from mpc_sequencer.audit.dark_runs import DarkRuns

DARK_NOT_PROVABLE: Final = (
    "That the shares opened for a dark batch are those of its traders' orders: t+1 members agree on the outcome.",
    "That no t+1 members put the boxes of dark orders together in private: it leaves no trace.",
    "That a dark order which did not trade should not have: only its trader can show what it had ordered.",
)

FAULTS: Final[Mapping[str, str]] = {
    "key": "a box key without a proof that its secret is known",
    "deal": "contributions to the keys that all could see, or an opened box has shown, to be wrong",
    "answer": "a complaint about a deal that was good, or not shown to be bad",
    "complaint": "a complaint about an order's box that was good, or not shown to be bad",
    "share": "a share off the polynomial of the others in the degree check, not shown to have been dealt so",
    "result": "another outcome than the batch was settled by",
    "lie": "shares in a computation that are off what was opened",
}
"""What members are named for, by code."""


@dataclass(frozen=True, slots=True)
class DarkCulprit:
    """A member that is named: its number in the epoch, for a code of :data:`FAULTS`, ``times`` in all. ``market`` and
    ``batch`` are None where it is about the epoch's keys."""

    epoch: int
    market: int | None
    batch: int | None
    node: int
    fault: str
    times: int


@dataclass(frozen=True, slots=True)
class DarkMarketReport:
    """One market: batches that were settled, that ended without an outcome, and that ended with their epoch; how orders
    ended, by outcome code; words that did not count. Of the ``computed`` batches that are over, those whose transcript
    in this log was replayed to an outcome, and those whose transcript leads to none; the others have none here."""

    market: int
    settled: int
    void: int
    ended_with_epoch: int
    orders: Mapping[str, int]
    words_ignored: int
    computed: int
    replayed: int
    without_outcome: int

    @property
    def without_transcript(self) -> int:
        """Computed batches that this log has no transcript of: its keeper took no part, or lost it."""
        return self.computed - self.replayed - self.without_outcome


@dataclass(frozen=True, slots=True)
class DarkKeysReport:
    """An epoch's agreement on keys: attempts begun, the phase of the last, and what was agreed on (None: nothing)."""

    epoch: int
    attempts: int
    phase: str
    keys: bytes | None


@dataclass(frozen=True, slots=True)
class DarkReport:
    """All dark markets of a log. ``words_ignored`` are those about keys, or about no market, that did not count."""

    keys: tuple[DarkKeysReport, ...]
    words_ignored: int
    markets: tuple[DarkMarketReport, ...]
    culprits: tuple[DarkCulprit, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        keys = [{**asdict(one), "keys": None if one.keys is None else one.keys.hex()} for one in self.keys]
        markets = [
            {**asdict(one), "orders": dict(one.orders), "without_transcript": one.without_transcript}
            for one in self.markets
        ]
        culprits = [{**asdict(one), "meaning": FAULTS[one.fault]} for one in self.culprits]
        return {"keys": keys, "words_ignored": self.words_ignored, "markets": markets, "culprits": culprits}


def dark_report(desk: DarkDesk, runs: DarkRuns) -> DarkReport:
    """The report at a log's end."""
    keys = tuple(
        DarkKeysReport(epoch, attempts, phase, keys_id if any(keys_id) else None)
        for epoch, attempts, phase, keys_id in desk.phases()
    )
    markets = []
    for market, tally in desk.tallies.items():
        run = runs.tallies[market]
        markets.append(
            DarkMarketReport(
                market=market,
                settled=tally.settled,
                void=tally.void,
                ended_with_epoch=tally.epoch_ended,
                orders=dict(sorted(tally.orders.items())),
                words_ignored=tally.ignored,
                computed=run.computed,
                replayed=run.replayed,
                without_outcome=run.fruitless,
            )
        )
    return DarkReport(keys, desk.ignored, tuple(markets), _culprits(desk, runs))


def _culprits(desk: DarkDesk, runs: DarkRuns) -> tuple[DarkCulprit, ...]:
    found = [
        DarkCulprit(epoch, None, None, party, fault, times)
        for epoch, keys in desk.agreements
        for (party, fault), times in sorted(keys.named.items())
    ]
    named = Counter[tuple[int, int, int, int, str]]()
    for market, book in desk.books.items():
        for (epoch, batch, party, fault), times in book.named.items():
            named[epoch, market, batch, party, fault] += times
    for (market, epoch, batch, party), times in runs.liars.items():
        named[epoch, market, batch, party, "lie"] += times
    return (*found, *(DarkCulprit(*name, times) for name, times in sorted(named.items())))
