"""One case of the market benchmark in a process of its own, so that its memory is its own: a policy, and how many
orders rest. It runs batches of each size, checks every height, and (for SHUFFLE) lets the peer trade the same orders in
the same sequence.

Where nothing rests before, each round starts from a new engine with funded accounts. Else rounds follow each other on
one book, smaller batches first; what comes to rest meanwhile stays. Then all orders are cancelled and batches of the
same sizes run once more, the book emptied before each (``emptied``): the same engine, accounts with the same history in
the same memory, but nothing that rests. How much longer a batch takes than there is due to the resting orders; what
it takes there beyond a new engine is not.
"""

from __future__ import annotations

import gc
import hashlib
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from mpc_sequencer.bench.market_check import (
    check_height,
    check_money,
    depth_of,
    fill_rows,
    require,
    totals,
)
from mpc_sequencer.bench.market_flow import FEE_ACCOUNT, FUNDS_UNITS, Batch, Flow, bench_market
from mpc_sequencer.bench.market_peer import Peer, Row
from mpc_sequencer.bench.market_stages import STAGES, StageMeter
from mpc_sequencer.core import domains
from mpc_sequencer.market import Engine
from mpc_sequencer.market.types import HeightResult

LOAD_ORDERS: Final = 100_000
WARM_ORDERS: Final = 500

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """``policy`` AUCTION or SHUFFLE; ``batches`` ascending."""

    policy: int
    resting: int
    batches: tuple[int, ...]
    rounds: int
    seed: int
    accounts: int
    with_peer: bool

    @property
    def steps(self) -> int:
        """How often progress is told."""
        heights = len(_loads(self.resting)) + len(self.batches) * self.rounds
        again = len(self.batches) * self.rounds if self.resting else 0
        return heights * (2 if self.with_peer else 1) + again


@dataclass(slots=True)
class _Round:
    batch: int
    resting: int
    spent_ns: dict[str, int]
    fills: int
    met: int
    digest: bytes
    peer_ns: int = 0


def run_case(case: Case, progress: Progress) -> list[dict[str, Any]]:
    """The figures of a case, a row per batch size. Raises ``WrongResult`` where a height is wrong."""
    rounds, emptied, peak_mb = _run_engine(case, progress)
    gc.collect()
    if case.with_peer:
        _run_peer(case, rounds, progress)
    rows = []
    for size in case.batches:
        rows.append(_figures([one for one in rounds if one.batch == size], peak_mb))
        if emptied:
            again = _figures([one for one in emptied if one.batch == size], peak_mb)
            rows[-1]["emptied"] = {name: again[name] for name in ("fills", "met", "ms", "cleared_ms")}
    return rows


def _loads(resting: int) -> list[int]:
    return [min(LOAD_ORDERS, resting - start) for start in range(0, resting, LOAD_ORDERS)]


def _coin(height: int) -> bytes:
    return hashlib.sha256(b"mpc_sequencer bench coin %d" % height).digest()


class _Run:
    """An engine with funded accounts, and the flow it is fed."""

    def __init__(self, case: Case, flow: Flow) -> None:
        self.market = bench_market(case.policy)
        self.flow = flow
        self.engine = Engine([self.market], (self.market.base_asset, self.market.quote_asset), bytes(32), FEE_ACCOUNT)
        for account in flow.accounts:
            self.engine.credit(account, self.market.base_asset, FUNDS_UNITS)
            self.engine.credit(account, self.market.quote_asset, FUNDS_UNITS)
        self.engine.state_root()

    def execute(self, height: int, batch: Batch) -> HeightResult:
        return self.engine.execute(height, height, _coin(height), batch.prepared)

    def measured(self, meter: StageMeter, height: int, batch: Batch) -> tuple[HeightResult, _Round]:
        """One height, measured and checked."""
        depth = depth_of(self.engine, self.market)
        reference = self.engine.reference_price_ticks(self.market.id)
        before = totals(self.engine, self.market, self.flow.accounts)
        resting = _orders_open(self.engine, self.market.id)
        gc.collect()  # what checks and flow left behind is not the engine's
        result, spent_ns = meter.measure(lambda: self.execute(height, batch))
        check_height(self.market, depth, reference, batch, result)
        after = totals(self.engine, self.market, self.flow.accounts)
        depth = depth_of(self.engine, self.market)
        check_money(self.market, depth, before, after, _orders_open(self.engine, self.market.id))
        digest = _digest(fill_rows(result))
        return result, _Round(len(batch.prepared), resting, spent_ns, len(result.fills), len(result.updates), digest)


def _orders_open(engine: Engine, market: int) -> int:
    sides = engine.book(market, 1 << 30)
    return sum(row[2] for side in sides.values() for row in side)


def _digest(rows: Sequence[Row]) -> bytes:
    found = hashlib.sha256()
    for row in rows:
        found.update(b"%s %d %d %d\n" % row)
    return found.digest()


def _run_engine(case: Case, progress: Progress) -> tuple[list[_Round], list[_Round], int]:
    """The rounds, those on the emptied book, and the most memory before these (they are not what is asked for)."""
    warm = _Run(case, Flow(case.seed, case.accounts))
    warm.execute(1, warm.flow.orders(WARM_ORDERS))
    del warm
    flow = Flow(case.seed, case.accounts)
    run = _Run(case, flow)
    found = []
    with StageMeter() as meter:
        for height, batch, loads in _heights(case, flow, progress):
            if loads:
                outcomes = run.execute(height, batch).outcomes
                require({one.code for one in outcomes} == {"resting"}, "an order of the book before did not rest")
                continue
            if not case.resting:
                run = _Run(case, flow)
            found.append(run.measured(meter, height, batch)[1])
        peak_mb = peak_megabytes()
        emptied = _run_emptied(case, run, meter, progress) if case.resting else []
    return found, emptied, peak_mb


def _run_emptied(case: Case, run: _Run, meter: StageMeter, progress: Progress) -> list[_Round]:
    height = len(_loads(case.resting)) + len(case.batches) * case.rounds
    found = []
    for size in case.batches:
        for _ in range(case.rounds):
            for cancels in run.flow.cancels():
                height += 1
                run.engine.execute(height, height, _coin(height), cancels)
            require(not _orders_open(run.engine, run.market.id), "an order outlives its cancel")
            height += 1
            found.append(run.measured(meter, height, run.flow.orders(size))[1])
            progress(f"batches of {size:,}, the book emptied")
    return found


def _heights(case: Case, flow: Flow, progress: Progress) -> Iterator[tuple[int, Batch, bool]]:
    """Heights and batches in sequence; whether they are to rest before anything is measured."""
    height = 0
    for size in _loads(case.resting):
        height += 1
        yield height, flow.resting(size), True
        progress("orders come to rest")
    for size in case.batches:
        for _ in range(case.rounds):
            height += 1
            yield height, flow.orders(size), False
            progress(f"batches of {size:,}")


def _run_peer(case: Case, rounds: list[_Round], progress: Progress) -> None:
    """The same orders again, in the sequence of their draws, for the peer."""
    flow = Flow(case.seed, case.accounts)
    peer = Peer()
    measured = iter(rounds)
    for height, batch, loads in _heights(case, flow, lambda text: progress(f"the peer, {text}")):
        coin = _coin(height)
        draws = [domains.DRAW(coin, one.order_id) for one in batch.prepared]
        sequence = sorted(range(len(draws)), key=draws.__getitem__)
        if loads:
            peer.load(batch, sequence)
            continue
        if not case.resting:
            peer = Peer()
        one = next(measured)
        one.peer_ns, rows = peer.run(batch, sequence)
        require(len(rows) == one.fills, f"{one.fills} fills, where the peer has {len(rows)}")
        require(_digest(rows) == one.digest, "the peer trades something else")


def _figures(rounds: Sequence[_Round], peak_mb: int) -> dict[str, Any]:
    """The medians of one batch size's rounds."""
    size = rounds[0].batch

    def middle(ns_of: Callable[[_Round], int]) -> float:
        return median(ns_of(one) for one in rounds)

    spent = {name: middle(lambda one, name=name: one.spent_ns[name]) for name in (*STAGES, "height")}  # type: ignore[misc]
    cleared_ns = middle(lambda one: one.spent_ns["entry"] + one.spent_ns["clear"])
    row: dict[str, Any] = {
        "batch": size,
        "resting": round(median(one.resting for one in rounds)),
        "fills": round(median(one.fills for one in rounds)),
        "met": round(median(one.met for one in rounds)),
        "ms": {name: round(ns / 1e6, 2) for name, ns in spent.items()},
        "cleared_ms": round(cleared_ns / 1e6, 2),
        "cleared_per_s": round(size * 1e9 / cleared_ns),
        "height_per_s": round(size * 1e9 / spent["height"]),
        "peak_mb": peak_mb,
    }
    if rounds[0].peer_ns:
        peer_ns = middle(lambda one: one.peer_ns)
        row["peer"] = {"ms": round(peer_ns / 1e6, 2), "per_s": round(size * 1e9 / peer_ns)}
    return row


def peak_megabytes() -> int:
    """The most memory this process has had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)
