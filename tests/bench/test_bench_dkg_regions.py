"""A key generation over simulated regions: its time follows from rules and distances, not from this machine."""

from __future__ import annotations

import pytest

from mpc_sequencer.bench import dkg_regions
from mpc_sequencer.bench.dkg_regions import measure_regions
from mpc_sequencer.bench.regions import regions_of
from mpc_sequencer.sim.network import region_round_trips_ms


def test_the_time_to_a_key_over_regions_is_repeatable_and_no_less_than_its_rounds() -> None:
    (first,), (second,) = measure_regions(((4, 3),)), measure_regions(((4, 3),))
    for name in ("n", "t", "key_ms", "heights", "bytes"):
        assert first[name] == second[name], name
    trips = region_round_trips_ms()
    places = regions_of(4)
    farthest_ms = max(trips[a][b] for a in places for b in places) / 2
    # five phases, each at least listed and final: two ways each
    assert first["key_ms"] >= 5 * farthest_ms
    assert first["heights"] >= 5 and first["bytes"] > 4 * 1_104 and first["cpu_ms"] > 0


def test_members_without_a_key_are_an_error_and_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkg_regions, "VIRTUAL_MS_MAX", 200)
    with pytest.raises(RuntimeError, match="no key"):
        measure_regions(((4, 3),))
