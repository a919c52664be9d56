"""Runs with a dark market: under each lie about it, under all faults, and with what the checker is to find."""

from __future__ import annotations

import pytest

from mpc_sequencer.dark import party, run
from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.market.types import FILLED
from mpc_sequencer.sim.byzantine import DARK_BEHAVIOURS
from mpc_sequencer.sim.checkers.dark import DarkBatches
from mpc_sequencer.sim.darkrun import DarkHarness
from mpc_sequencer.sim.plan import parse_faults


def checker(harness: DarkHarness) -> DarkBatches:
    return next(one for one in harness.checkers if isinstance(one, DarkBatches))


def filled(harness: DarkHarness) -> int:
    node = min(harness.watched.correct)
    return sum(row.code == FILLED for _, row in checker(harness)._ended[node].values())


@pytest.mark.parametrize(("seed", "name"), list(zip((3, 6, 9, 12), DARK_BEHAVIOURS, strict=True)))
def test_a_liar_in_a_dark_market_bends_no_batch(seed: int, name: str) -> None:
    harness = DarkHarness(seed, 5, parse_faults(name, dark=True))
    report = harness.run()
    assert report.violations == ()
    assert name in report.faults and filled(harness)


@pytest.mark.parametrize("seed", [0, 15])
def test_no_fault_bends_a_dark_batch(seed: int) -> None:
    harness = DarkHarness(seed, 5, parse_faults("all", dark=True))
    assert harness.run().violations == ()
    assert checker(harness)._entered


def test_two_runs_of_a_seed_are_the_same() -> None:
    first, second = (DarkHarness(21, 5, parse_faults("none", dark=True)).run() for _ in range(2))
    assert first == second and not first.violations


def test_another_order_of_service_than_the_coins_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = run.priority
    monkeypatch.setattr(run, "priority", lambda coin, ids: tuple(reversed(honest(coin, ids))))
    report = DarkHarness(21, 5, parse_faults("none", dark=True)).run()
    assert {one.checker for one in report.violations} == {"audit", "dark"}, "the auditor draws the order itself"
    assert all("the rule gives" in one.detail for one in report.violations if one.checker == "dark")


def test_a_member_that_says_its_shares_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = party._combined

    def telling(params, seed, rows):  # type: ignore[no-untyped-def]
        return b"".join((row or bytes(ELEMENT_BYTES))[:ELEMENT_BYTES] for row in rows) or honest(params, seed, rows)

    monkeypatch.setattr(party, "_combined", telling)
    report = DarkHarness(3, 5, parse_faults("none", dark=True)).run()
    assert any("sent a share of an order" in one.detail for one in report.violations)
