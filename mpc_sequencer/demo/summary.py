"""The figures at the end of a demo, as one JSON object and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpc_sequencer.client.tracker import OrderRecord

NANOSECONDS_PER_MS = 1_000_000
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds from submission, each sorted: to receipts of f+1 members, to finality, to the report of
    a fill.
    """

    receipt: tuple[float, ...]
    final: tuple[float, ...]
    fill: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """What became of the orders, as f+1 members reported it."""

    sealed: int
    final: int
    filled: int
    malformed: int
    batches: int
    fills: int
    outcomes: Mapping[str, int]
    prices: tuple[tuple[int, int], ...]
    """(height, price in ticks), ascending, each once: the auction's price, elsewhere the worst of each order."""


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """The nearest-rank percentile of sorted values; None of nothing."""
    if not ordered:
        return None
    rank = max(1, -(-len(ordered) * part // 1))
    return ordered[int(rank) - 1]


def latencies(records: Iterable[OrderRecord]) -> Latencies:
    """Latencies of all orders that reached each state; fills of the height that executed the order count
    alone.
    """
    receipt, final, fill = [], [], []
    for record in records:
        if record.receipts_ns is not None:
            receipt.append((record.receipts_ns - record.submitted_ns) / NANOSECONDS_PER_MS)
        if record.final_ns is not None:
            final.append((record.final_ns - record.submitted_ns) / NANOSECONDS_PER_MS)
        if record.executed is not None and record.executed_ns is not None and record.executed[2] > 0:
            fill.append((record.executed_ns - record.submitted_ns) / NANOSECONDS_PER_MS)
    return Latencies(tuple(sorted(receipt)), tuple(sorted(final)), tuple(sorted(fill)))


def count_orders(sealed: int, records: Iterable[OrderRecord]) -> OrderCounts:
    """Count states, outcomes, batches and fills."""
    outcomes: dict[str, int] = {}
    heights: set[int] = set()
    prices: set[tuple[int, int]] = set()
    final = filled = fills = 0
    for record in records:
        final += record.final is not None or record.executed is not None
        if record.executed is not None:
            heights.add(record.executed[0])
            outcomes[record.executed[1]] = outcomes.get(record.executed[1], 0) + 1
        rows = record.fills()
        filled += bool(rows)
        fills += len(rows)
        prices |= {(height, price_ticks) for height, _, price_ticks, _ in rows}
    return OrderCounts(
        sealed=sealed,
        final=final,
        filled=filled,
        malformed=outcomes.get(MALFORMED, 0),
        batches=len(heights),
        fills=fills,
        outcomes=dict(sorted(outcomes.items())),
        prices=tuple(sorted(prices)),
    )


def pair(ordered: Sequence[float]) -> dict[str, float | None]:
    """p50 and p99 in milliseconds, to a tenth."""
    return {name: _rounded(percentile(ordered, part)) for name, part in (("p50", 0.5), ("p99", 0.99))}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything the demo found."""

    nodes: int
    counts: OrderCounts
    latencies: Latencies
    settlements: int
    settlement_gas: int
    cpu_us_per_order_per_node: int | None
    audit: str
    key_ms: int | None
    """From the committee's start until its generated key was known; None where the committee file has the key."""
    problems: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether every order became final, all balances are right and the audit passed."""
        return not self.problems and self.audit == "pass" and self.counts.final == self.counts.sealed

    def as_json(self) -> dict[str, Any]:
        """The object `mpcseq demo --json` prints."""
        return {
            "nodes": self.nodes,
            "orders_sealed": self.counts.sealed,
            "orders_final": self.counts.final,
            "orders_filled": self.counts.filled,
            "orders_malformed": self.counts.malformed,
            "batches": self.counts.batches,
            "fills": self.counts.fills,
            "settlements": self.settlements,
            "latency_ms": {
                "receipt": pair(self.latencies.receipt),
                "final": pair(self.latencies.final),
                "fill": pair(self.latencies.fill),
            },
            "cpu_us_per_order_per_node": self.cpu_us_per_order_per_node,
            "audit": self.audit,
            "key_ms": self.key_ms,
        }
