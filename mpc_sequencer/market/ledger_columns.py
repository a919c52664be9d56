"""The ledger for many accounts at once: what :class:`~mpc_sequencer.market.accounts.Ledger` does for one, over its
arrays.

Amounts are int64 where those of a call together are below 2^62, and Python's integers in arrays of objects where they
may not be; a balance is 128 bits, two words of 64, added with a carry, so nothing is lost in either. Handles of a call
are distinct unless it says otherwise.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mpc_sequencer.core.limits import AMOUNT_MAX, NONCE_AHEAD_MAX, NONCE_WINDOW
from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.market.types import NONCE_WINDOW_BYTES

SAFE: Final = 1 << 62
_WORD: Final = np.dtype("<u8")
_WORDS: Final = NONCE_WINDOW_BYTES // 8
_WORD_MASK: Final = (1 << 64) - 1
_UINT16: Final = 1 << 16
_FREE: Final = 0
_LOCKED: Final = 2

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Amounts = Any
"""An array of int64, or of Python's integers."""


def exact(column: Amounts, factor: int) -> Amounts:
    """``column`` to be multiplied by ``factor`` and summed. Its amounts are 0 or more, and together below SAFE where
    they are of int64."""
    if column.dtype != object and max(int(column.sum()), 1) * factor >= SAFE:
        return column.astype(object)  # of zeros, too: int64 is multiplied by no larger factor
    return column


def scaled(column: Amounts, factor: int) -> Amounts:
    """``column`` times ``factor``, as :func:`exact`."""
    return exact(column, factor) * factor


def handles_of(ledger: Ledger, accounts: list[bytes]) -> Ints:
    """The handles of accounts; -1 for those unknown."""
    of = ledger.handles.of.get
    return np.array([of(account, -1) for account in accounts], dtype=np.int64)


class Needs:
    """What accounts, by their places in a batch, are to lock of each asset."""

    __slots__ = ("_most", "units")

    def __init__(self) -> None:
        self._most: dict[int, int] = {}
        self.units: dict[int, Amounts] = {}

    def add(self, asset: int, units: Amounts) -> None:
        """Add units, 0 or more, an account."""
        held = self.units.get(asset)
        most = self._most[asset] = self._most.get(asset, 0) + int(units.sum())
        if held is None:
            self.units[asset] = units
        else:
            self.units[asset] = held + (units if most < SAFE else units.astype(object))


def covered(ledger: Ledger, handles: Ints, needs: Needs, places: Ints) -> Bools:
    """Which of the accounts at ``places``, whose handles these are, have free what they need."""
    good = np.ones(len(handles), dtype=np.bool_)
    for asset, all_units in needs.units.items():
        units = all_units[places]
        if units.dtype == object:
            good &= (units <= AMOUNT_MAX).astype(np.bool_)
            units = np.where(good, units, 0)
        rows = _rows(ledger.held(asset))[handles]
        _, high = _sum(rows[:, _FREE], rows[:, _FREE + 1], *_words(-units))
        good &= high >> 63 == 0
    return good


def lock(ledger: Ledger, handles: Ints, needs: Needs, places: Ints) -> None:
    """Lock what the accounts at ``places``, whose handles these are, need and have."""
    for asset, units in needs.units.items():
        some = units[places]
        _move(ledger, asset, handles, -some, some)
    ledger.touched.add_all(handles)


def nonces_ahead(ledger: Ledger, handles: Ints, lowest: Ints, highest: Ints) -> Bools:
    """Whose nonces, from ``lowest`` to ``highest``, are all above those used and none too far ahead, so that they may
    come in any sequence."""
    used = np.frombuffer(ledger.highest, dtype=np.int64)[handles]
    good: Bools = (lowest > used) & (highest - used <= NONCE_AHEAD_MAX)
    return good


def windows_of(places: Ints, behind: Ints, count: int) -> Words:
    """``count`` nonce windows: a bit for each row, ``behind`` the highest nonce of the account at ``places``."""
    windows = np.zeros(count * _WORDS, dtype=np.uint64)
    bits = np.left_shift(np.uint64(1), (behind & 63).astype(np.uint64))
    np.add.at(windows, places * _WORDS + (behind >> 6), bits)  # each bit is set once
    return windows.reshape(count, _WORDS)


def use_nonces(ledger: Ledger, handles: Ints, highest: Ints, windows: Words) -> None:
    """Use up nonces for which :func:`nonces_ahead`; ``windows`` are theirs."""
    used = np.frombuffer(ledger.highest, dtype=np.int64)
    held = np.frombuffer(ledger.windows, dtype=_WORD).reshape(-1, _WORDS)
    ahead = np.minimum(highest - used[handles], NONCE_WINDOW)
    held[handles] = _shifted(held[handles], ahead) | windows
    used[handles] = highest
    ledger.touched.add_all(handles)


def take_changes(ledger: Ledger, asset: int, handles: list[int]) -> list[int]:
    """What changed of free + locked, which is forgotten."""
    places = np.array(handles, dtype=np.int64)
    held = np.frombuffer(ledger.changes_of(asset), dtype=_WORD).reshape(-1, 2)
    low, high = held[places, 0].view(np.int64), held[places, 1].view(np.int64)
    held[places] = 0
    if (high == low >> 63).all():
        changes: list[int] = low.tolist()
        return changes
    return [(upper << 64) + lower for upper, lower in zip(high.tolist(), low.view(np.uint64).tolist(), strict=True)]


class Trades:
    """What accounts pay and get in a market, gathered to be moved at once."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], list[tuple[Ints, tuple[Amounts, Amounts, Amounts]]]] = {}

    def add(
        self, paid_asset: int, got_asset: int, handles: Ints, paid: Amounts, locked: Amounts, got: Amounts
    ) -> None:
        """:meth:`Ledger.pay` and :meth:`Ledger.receive` for many: units paid, the locked ones they come from, units
        got. Handles may appear more than once."""
        self._parts.setdefault((paid_asset, got_asset), []).append((handles, (paid, locked, got)))

    def apply(self, ledger: Ledger) -> None:
        """Move it all."""
        for (paid_asset, got_asset), parts in self._parts.items():
            columns = (_joined([columns[at] for _, columns in parts]) for at in range(3))
            handles, (paid, locked, got) = _summed(np.concatenate([handles for handles, _ in parts]), *columns)
            _move(ledger, paid_asset, handles, locked - paid, -locked)
            _move(ledger, got_asset, handles, got, None)
            ledger.touched.add_all(handles)
            _note(ledger, paid_asset, handles, -paid)
            _note(ledger, got_asset, handles, got)


def _joined(columns: list[Amounts]) -> Amounts:
    """One after the other, so that their sum, too, is exact."""
    if len(columns) == 1:
        return columns[0]
    if sum(int(column.sum()) for column in columns) >= SAFE:
        columns = [column.astype(object) for column in columns]
    return np.concatenate(columns)


def _summed(handles: Ints, *columns: Amounts) -> tuple[Ints, tuple[Amounts, ...]]:
    """Distinct handles, and the sums of each column by them."""
    if (handles[1:] > handles[:-1]).all():
        return handles, columns
    order = np.argsort(handles.astype(np.uint16) if int(handles.max()) < _UINT16 else handles, kind="stable")
    ordered = handles[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    if len(starts) == len(handles):
        return ordered, tuple(column[order] for column in columns)
    return ordered[starts], tuple(np.add.reduceat(column[order], starts) for column in columns)


def _note(ledger: Ledger, asset: int, handles: Ints, change: Amounts) -> None:
    """Note changes of free + locked."""
    moved = np.flatnonzero(change)
    places = handles[moved]
    held = np.frombuffer(ledger.changes_of(asset), dtype=_WORD).reshape(-1, 2)
    held[places, 0], held[places, 1] = _sum(held[places, 0], held[places, 1], *_words(change[moved]))
    ledger.marks_of(asset).add_all(places)


def _move(ledger: Ledger, asset: int, handles: Ints, free: Amounts, locked: Amounts | None) -> None:
    held = _rows(ledger.held(asset))
    rows = held[handles]
    for place, change in ((_FREE, free), (_LOCKED, locked)):
        if change is not None:
            rows[:, place], rows[:, place + 1] = _sum(rows[:, place], rows[:, place + 1], *_words(change))
    held[handles] = rows


def _rows(held: bytearray) -> Words:
    """Free and locked of each account, the low word of either first."""
    return np.frombuffer(held, dtype=_WORD).reshape(-1, 4)


def _words(amounts: Amounts) -> tuple[Words, Words]:
    """The low and the high word of each, in two's complement."""
    if amounts.dtype == object:
        return (amounts & _WORD_MASK).astype(np.uint64), (amounts >> 64 & _WORD_MASK).astype(np.uint64)
    return amounts.view(np.uint64), (amounts >> 63).view(np.uint64)


def _sum(low: Words, high: Words, more_low: Words, more_high: Words) -> tuple[Words, Words]:
    """Sums modulo 2^128."""
    sums = low + more_low
    return sums, high + more_high + (sums < more_low)


def _shifted(windows: Words, ahead: Ints) -> Words:
    """Each window ``ahead`` (up to NONCE_WINDOW) bits up; what leaves it is forgotten."""
    whole = ahead >> 6
    if whole.any():
        columns = np.arange(_WORDS) - whole[:, None]
        windows = np.where(columns >= 0, np.take_along_axis(windows, np.maximum(columns, 0), axis=1), np.uint64(0))
    bits = (ahead & 63).astype(np.uint64)[:, None]
    made: Words = windows << bits
    made[:, 1:] |= windows[:, :-1] >> np.uint64(1) >> (np.uint64(63) - bits)
    return made
