"""How long the stages of a market's height take: the engine's own functions, watched from outside.

``columns`` is the new orders laid out as arrays, ``entry`` the rest of what comes before any market: cancels, nonces,
terms, locks. ``clear`` is everything the markets do: price, rationing, fills, fees, balances, orders coming to rest.
``report`` makes objects of fills, outcomes and deltas, ``roots`` hashes fills and state. Times are of the processor, in
one thread that waits for nothing: what else runs on the machine does not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import wraps
from time import thread_time_ns
from typing import Any, Final

from mpc_sequencer.market import columns, engine, height
from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.market.context import Context

STAGES: Final = ("columns", "entry", "clear", "report", "roots")

_PLACES: Final = (
    (columns._ColumnEntry, "__init__", "columns"),
    (height, "_enter", "enter"),
    (engine, "run_height", "markets"),
    (Context, "all_fills", "report"),
    (Context, "all_outcomes", "report"),
    (Ledger, "take_deltas", "report"),
)


class StageMeter:
    """Watches every :meth:`Engine.execute` inside its ``with`` block. One open at a time."""

    def __init__(self) -> None:
        self._spent_ns: Counter[str] = Counter()
        self._kept: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> StageMeter:
        for place, attribute, name in _PLACES:
            original = getattr(place, attribute)
            self._kept.append((place, attribute, original))
            setattr(place, attribute, self._wrap(original, name))
        return self

    def __exit__(self, *_: object) -> None:
        for place, attribute, original in self._kept:
            setattr(place, attribute, original)
        self._kept.clear()

    def _wrap(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began_ns = thread_time_ns()
            try:
                return call(*args, **kwargs)
            finally:
                self._spent_ns[name] += thread_time_ns() - began_ns

        return timed

    def measure(self, call: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
        """What ``call``, one height, gives, and the nanoseconds of each stage and of it all (``height``)."""
        self._spent_ns.clear()
        began_ns = thread_time_ns()
        found = call()
        whole_ns = thread_time_ns() - began_ns
        spent = self._spent_ns
        return found, {
            "columns": spent["columns"],
            "entry": spent["enter"] - spent["columns"],
            "clear": spent["markets"] - spent["enter"],
            "report": spent["report"],
            "roots": whole_ns - spent["markets"] - spent["report"],
            "height": whole_ns,
        }
