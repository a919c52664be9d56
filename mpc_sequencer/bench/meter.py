"""Counts, and where asked times, the cryptographic calls a core makes, without touching the core's code.

While a :class:`Meter` is open, the functions by which the core reaches its cryptography are wrapped where the core
looks them up. Only outermost calls count: what one of them does inside is its own cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import wraps
from time import thread_time_ns
from typing import Any, Final

from mpc_sequencer.core import envelopes, reveal, signing

_PLACES: Final[tuple[tuple[Any, str, str], ...]] = (
    (envelopes, "check", "check"),
    (signing, "recover_key", "recover"),
    (signing.Signer, "sign_digest", "sign"),
    (reveal, "share", "share"),
    (reveal, "prove_bundle", "prove"),
    (reveal, "verify_bundle", "verify_bundle"),
    (reveal, "coin_share", "coin_share"),
    (reveal, "verify_coin_share", "verify_coin"),
    (reveal, "combine_coin", "combine_coin"),
    (reveal, "combine", "combine"),
    (reveal, "open_ciphertext", "open"),
)
CALLS: Final = tuple(name for _, _, name in _PLACES)
PROVED_SHARES: Final = "proved_share"
"""Counted beside the calls: shares that bundle proofs cover, since a proof's cost grows with them."""


class Meter:
    """``calls`` by name and, with ``timed``, nanoseconds spent in them. A context manager, one open at a time."""

    def __init__(self, *, timed: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.spent_ns: Counter[str] = Counter()
        self._timed = timed
        self._depth = 0
        self._kept: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Meter:
        for place, attribute, _ in _PLACES:
            original = getattr(place, attribute)
            if hasattr(original, "__metered__"):
                raise RuntimeError("another meter is open")
            self._kept.append((place, attribute, original))
        for place, attribute, name in _PLACES:
            setattr(place, attribute, self._wrap(getattr(place, attribute), name))
        return self

    def __exit__(self, *_: object) -> None:
        for place, attribute, original in self._kept:
            setattr(place, attribute, original)
        self._kept.clear()

    def _wrap(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._depth:
                return call(*args, **kwargs)
            self.calls[name] += 1
            if name == "prove":
                self.calls[PROVED_SHARES] += len(args[3])
            self._depth += 1
            began_ns = thread_time_ns() if self._timed else 0
            try:
                return call(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._timed:
                    self.spent_ns[name] += thread_time_ns() - began_ns

        counted.__metered__ = True  # type: ignore[attr-defined]
        return counted

    @property
    def total_ns(self) -> int:
        """Time spent in all calls."""
        return sum(self.spent_ns.values())
