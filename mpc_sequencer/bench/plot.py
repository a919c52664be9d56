"""The cost of an order by committee size as an SVG: both axes logarithmic, so that a power law is a straight line.

Two panels: processor time per order and member with its parts, and what travels per order and member. Dashed lines in
the background rise like n; a line as steep as they are grows like n, a flat one does not grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Any, Final

PANEL_WIDTH: Final = 520
PANEL_HEIGHT: Final = 400
LEFT: Final = 76
TOP: Final = 84
GAP: Final = 210
BOTTOM: Final = 70
LABEL_GAP: Final = 15

COLOURS: Final = {
    "in all": "#111827",
    "door": "#1d4ed8",
    "reveal": "#d97706",
    "account": "#0d9488",
    "statements": "#7c3aed",
    "coin": "#dc2626",
    "wire": "#8a8f98",
    "other": "#15803d",
    "bytes": "#1d4ed8",
    "messages x 1000": "#dc2626",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: its name and a positive value per committee size."""

    name: str
    values: tuple[float, ...]
    exponent: float | None = None


def draw_scale(result: dict[str, Any]) -> str:
    """The SVG for what :func:`mpc_sequencer.bench.scale.measure` found. Raises ``ValueError`` for fewer than two
    sizes."""
    rows = result["sizes"]
    if len(rows) < 2:
        raise ValueError("a curve needs two or more committee sizes")
    sizes, growth = [row["n"] for row in rows], result["growth"]

    def line(name: str, values: Iterable[float], key: str) -> Line:
        return Line(name, tuple(values), growth.get(key, {}).get("exponent"))

    costs = [line("in all", (row["us"] for row in rows), "us")]
    costs += [line(part, (row["parts_us"][part] for row in rows), part) for part in rows[0]["parts_us"]]
    traffic = [
        line("bytes", (row["bytes"] for row in rows), "bytes"),
        line("messages x 1000", (1_000 * row["messages"] for row in rows), "messages"),
    ]
    width = LEFT + 2 * PANEL_WIDTH + 2 * GAP
    height = TOP + PANEL_HEIGHT + BOTTOM
    title = f"Cost of an order by committee size, batches of {result['orders']} orders"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="16" y="28" font-size="17" font-weight="bold">{escape(title)}</text>',
        *_panel(LEFT, "processor time per order and member, us", sizes, costs),
        *_panel(LEFT + PANEL_WIDTH + GAP, "sent per order and member", sizes, traffic),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(left: float, heading: str, sizes: Sequence[int], lines: Sequence[Line]) -> Iterable[str]:
    shown = [line for line in lines if min(line.values) > 0]
    low = floor(log10(min(min(line.values) for line in shown)))
    high = max(low + 1, ceil(log10(max(max(line.values) for line in shown))))
    first, last = log10(sizes[0]), log10(sizes[-1])

    def x(size: float) -> float:
        return round(left + 12 + (log10(size) - first) / (last - first) * (PANEL_WIDTH - 24), 1)

    def y(value: float) -> float:
        return round(TOP + (high - log10(value)) / (high - low) * PANEL_HEIGHT, 1)

    yield f'<text x="{left}" y="{TOP - 18}" font-size="14">{escape(heading)}</text>'
    yield from _axes(left, sizes, (low, high), x, y)
    names: list[tuple[float, Line]] = []
    for line in shown:
        colour = COLOURS[line.name]
        points = [(x(size), y(value)) for size, value in zip(sizes, line.values, strict=True)]
        path = " ".join(f"{a},{b}" for a, b in points)
        thick = 3 if line.name == "in all" else 1.8
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{thick}"/>'
        yield from (f'<circle cx="{a}" cy="{b}" r="3.5" fill="{colour}"/>' for a, b in points)
        names.append((points[-1][1], line))
    yield from _names(left + PANEL_WIDTH + 6, names)


def _axes(left: float, sizes: Sequence[int], decades: tuple[int, int], x: Any, y: Any) -> Iterable[str]:
    low, high = decades
    bottom, right = TOP + PANEL_HEIGHT, left + PANEL_WIDTH
    for decade in range(low, high + 1):
        at = y(10**decade)
        label = f"{10**decade:,}" if decade >= 0 else f"{10.0**decade:g}"
        yield f'<line x1="{left}" y1="{at}" x2="{right}" y2="{at}" stroke="#d1d5db"/>'
        yield f'<text x="{left - 8}" y="{at + 4}" text-anchor="end" fill="#6b7280">{label}</text>'
        end = 10**decade * sizes[-1] / sizes[0]
        over = min(1.0, (high - decade) / (log10(end) - decade))
        if over > 0:  # the guide that rises like n, cut where it leaves the panel
            stop_x = round(x(sizes[0]) + over * (x(sizes[-1]) - x(sizes[0])), 1)
            stop_y = round(at + over * (y(end) - at), 1)
            style = 'stroke="#d1d5db" stroke-dasharray="5 5"'
            yield f'<line x1="{x(sizes[0])}" y1="{at}" x2="{stop_x}" y2="{stop_y}" {style}/>'
    for size in sizes:
        yield f'<line x1="{x(size)}" y1="{TOP}" x2="{x(size)}" y2="{bottom}" stroke="#f3f4f6"/>'
        yield f'<text x="{x(size)}" y="{bottom + 18}" text-anchor="middle" fill="#6b7280">{size}</text>'
    yield f'<text x="{left + PANEL_WIDTH / 2}" y="{bottom + 42}" text-anchor="middle">members n</text>'


def _names(left: float, names: list[tuple[float, Line]]) -> Iterable[str]:
    """Each curve's name at its right end, moved down where two would lie on each other."""
    floor_y = float("-inf")
    for end_y, line in sorted(names, key=lambda one: one[0]):
        floor_y = max(end_y + 4, floor_y + LABEL_GAP)
        grows = "" if line.exponent is None else f"  n^{line.exponent:.2f}"
        bold = ' font-weight="bold"' if line.name == "in all" else ""
        text = escape(line.name + grows)
        yield f'<text x="{left}" y="{round(floor_y, 1)}" fill="{COLOURS[line.name]}"{bold}>{text}</text>'
