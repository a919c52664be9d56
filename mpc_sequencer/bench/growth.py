"""How a cost grows with committee size: the exponent of a power law fitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

_NAMES = (
    (0.15, "does not grow"),
    (0.85, "grows slower than n"),
    (1.15, "grows like n"),
    (1.85, "grows faster than n"),
    (2.15, "grows like n^2"),
)


def power_law(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """``(exponent, factor)`` of ``cost = factor * size ** exponent``, by least squares over the logarithms. Raises
    ``ValueError`` for fewer than two different sizes, or values that are not positive."""
    if len(sizes) != len(costs) or len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError("a power law is fitted to positive costs of two or more sizes")
    xs, ys = [log(size) for size in sizes], [log(cost) for cost in costs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    exponent = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    return exponent, exp(mean_y - exponent * mean_x)


def named(exponent: float) -> str:
    """The growth rate in words."""
    return next((name for limit, name in _NAMES if exponent < limit), "grows faster than n^2")
