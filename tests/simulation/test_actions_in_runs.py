"""Simulated traders use the whole market: every kind of action, and what becomes of them, comes about in a few runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mpc_sequencer.market import Engine, HeightResult
from mpc_sequencer.market import types as market
from mpc_sequencer.sim.run import simulate

SEEDS = range(6)
KINDS = {"Order", "Cancel", "CancelAll", "Replace"}
CODES = {
    *(market.FILLED, market.PARTLY_FILLED, market.RESTING, market.UNFILLED, market.WAITING),
    *(market.CANCELLED, market.NOT_OPEN, market.REPLACED, market.EXPIRED, market.POST_ONLY),
}


def test_every_kind_of_action_comes_about_and_idle_committees_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    woken = 0
    execute = Engine.execute

    def counting(self: Engine, height: int, time_ms: int, coin: bytes, prepared: Any, *more: Any) -> HeightResult:
        nonlocal woken
        outcome = execute(self, height, time_ms, coin, prepared, *more)
        kinds.update(type(one.action).__name__ for one in prepared if one.action is not None)
        codes.update(one.code for one in (*outcome.outcomes, *outcome.updates))
        woken += not prepared and bool(outcome.updates)
        return outcome

    monkeypatch.setattr(Engine, "execute", counting)
    for seed in SEEDS:
        report = simulate(seed, 4, frozenset())
        assert not report.violations
    assert kinds.keys() >= KINDS and codes.keys() >= CODES, (kinds, codes)
    assert woken, "no height came about for an expiry or a stop alone"
