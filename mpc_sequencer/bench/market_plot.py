"""Orders per second of the market benchmark as an SVG, by batch size: a panel per policy, a curve per number of resting
orders for entry and clearing (solid) and for the whole height (dashed), and the peer's (dotted) where it was measured.
Both axes are logarithmic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any, Final

from mpc_sequencer.bench.plot import BOTTOM, GAP, LABEL_GAP, LEFT, PANEL_HEIGHT, PANEL_WIDTH, TOP

_COLOURS: Final = ("#15803d", "#1d4ed8", "#dc2626", "#7c3aed", "#d97706")
_KINDS: Final = (("cleared_per_s", "cleared", ""), ("height_per_s", "whole", "7 4"), ("peer", "peer", "2 4"))


def draw_market(result: dict[str, Any]) -> str:
    """The SVG for what :func:`mpc_sequencer.bench.market.measure` found. Raises ``ValueError`` for fewer than two batch
    sizes."""
    rows = result["rows"]
    sizes = sorted({row["batch"] for row in rows})
    if len(sizes) < 2:
        raise ValueError("a curve needs two or more batch sizes")
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    rates = [rate for row in rows for key, _, _ in _KINDS if (rate := _rate(row, key)) is not None]
    low = floor(log10(min(rates)))
    decades = low, max(low + 1, ceil(log10(max(rates))))
    width = LEFT + len(policies) * (PANEL_WIDTH + GAP)
    height = TOP + PANEL_HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<text x="16" y="28" font-size="17" font-weight="bold">Orders per second by batch and resting orders</text>',
    ]
    for number, policy in enumerate(policies):
        left = LEFT + number * (PANEL_WIDTH + GAP)
        parts += _panel(left, policy, sizes, decades, [row for row in rows if row["policy"] == policy])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rate(row: dict[str, Any], key: str) -> int | None:
    found: int | None = row["peer"]["per_s"] if key == "peer" and "peer" in row else row.get(key)
    return found


def _panel(
    left: int, policy: str, sizes: Sequence[int], decades: tuple[int, int], rows: Sequence[dict[str, Any]]
) -> Iterable[str]:
    low, high = decades
    first, last = log10(sizes[0]), log10(sizes[-1])

    def x(size: float) -> float:
        return round(left + 12 + (log10(size) - first) / (last - first) * (PANEL_WIDTH - 24), 1)

    def y(rate: float) -> float:
        return round(TOP + (high - log10(rate)) / (high - low) * PANEL_HEIGHT, 1)

    yield f'<text x="{left}" y="{TOP - 18}" font-size="14">{escape(policy)}, orders per second</text>'
    for decade in range(low, high + 1):
        at = y(10**decade)
        yield f'<line x1="{left}" y1="{at}" x2="{left + PANEL_WIDTH}" y2="{at}" stroke="#d1d5db"/>'
        yield f'<text x="{left - 8}" y="{at + 4}" text-anchor="end" fill="#6b7280">{10**decade:,}</text>'
    bottom = TOP + PANEL_HEIGHT
    for size in sizes:
        yield f'<text x="{x(size)}" y="{bottom + 18}" text-anchor="middle" fill="#6b7280">{size:,}</text>'
    yield f'<text x="{left + PANEL_WIDTH / 2}" y="{bottom + 42}" text-anchor="middle">new orders in the batch</text>'
    ends: list[tuple[float, str, str]] = []
    for number, before in enumerate(dict.fromkeys(row["before"] for row in rows)):
        colour = _COLOURS[number % len(_COLOURS)]
        for key, name, dashes in _KINDS:
            points = [(x(row["batch"]), y(rate)) for row in rows if row["before"] == before
                      and (rate := _rate(row, key)) is not None]  # fmt: skip
            if not points:
                continue
            path = " ".join(f"{a},{b}" for a, b in points)
            dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'
            ends.append((points[-1][1], f"{name}, {before:,} resting", colour))
    lowest = float("-inf")
    for end_y, name, colour in sorted(ends):
        lowest = max(end_y + 4, lowest + LABEL_GAP)
        yield f'<text x="{left + PANEL_WIDTH + 6}" y="{round(lowest, 1)}" fill="{colour}">{escape(name)}</text>'
