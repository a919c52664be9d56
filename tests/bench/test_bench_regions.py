"""Latency over regions: a seed is a run, no order beats its floor, and without computing a lone order meets it."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from mpc_sequencer.bench.costs import COSTS_US, OTHER, cost_us
from mpc_sequencer.bench.regions import (
    KINDS,
    NETWORK_RUN,
    ORDER_FLOOR,
    Options,
    geometry_of,
    idle_trial,
    load_trial,
    regions_of,
    run_regions,
    summary,
)
from mpc_sequencer.cli.app import app
from mpc_sequencer.sim import make_deployment


def test_members_sit_in_distinct_regions_half_a_ping_apart() -> None:
    regions = regions_of(13)
    assert len(set(regions)) == 13
    g = geometry_of(make_deployment(13), regions)
    assert g.one_way_us[regions.index("us-east-1")][regions.index("eu-west-1")] == 34_850
    assert g.client_us[regions.index("us-east-1")][regions.index("us-east-1")] == 2_750, "its own region's ping"
    assert (g.f, g.q, g.t) == (4, 9, 9)


def test_without_computing_lone_orders_take_exactly_what_the_network_takes() -> None:
    measured = idle_trial(7, 6, seed=1, costs={})
    met = [seen == least for seen, least in zip(measured.seen, measured.floors, strict=True)]
    assert sum(met) >= 4, "but for one that falls on a heartbeat"
    for seen, least in zip(measured.seen, measured.floors, strict=True):
        assert least.final_us <= seen.final_us and least.fill_us <= seen.fill_us


@pytest.mark.parametrize("targets", [0, 3])
def test_no_order_under_load_is_faster_than_its_floor(targets: int) -> None:
    measured = load_trial(7, 12, 15.0, seed=2, targets=targets)
    assert len(measured.seen) == 12
    for seen, least in zip(measured.seen, measured.floors, strict=True):
        assert seen.view == least.view
        assert least.final_us < seen.final_us and least.fill_us < seen.fill_us
        assert seen.final_us < seen.fill_us


def test_lone_orders_of_a_small_committee_stay_within_a_tenth_of_the_floor() -> None:
    result = summary(idle_trial(7, 5, seed=3), ORDER_FLOOR)
    for kind in KINDS:
        assert 1.0 < result[kind]["ratio"] < 1.1
        assert set(result[kind]) == {"p50", "p99", ORDER_FLOOR, NETWORK_RUN, "ratio"}


def test_a_seed_is_a_run_and_another_seed_another() -> None:
    options = Options(nodes=4, orders=4, rate_per_s=10.0, seed=5)
    first = run_regions(options)
    assert first == run_regions(options)
    assert first["load"]["final"] != run_regions(Options(nodes=4, orders=4, rate_per_s=10.0, seed=6))["load"]["final"]


def test_computing_is_charged_by_the_table() -> None:
    assert cost_us(Counter()) == 0
    assert cost_us(Counter(check=2, sign=1)) == 2 * COSTS_US["check"] + COSTS_US["sign"]
    assert cost_us(Counter({"FetchBlock": 3})) == 3 * COSTS_US[OTHER]
    slow = {kind: 20 * us for kind, us in COSTS_US.items()}
    usual, slowed = (summary(idle_trial(4, 2, 0, costs), ORDER_FLOOR) for costs in (COSTS_US, slow))
    assert slowed["fill"]["ratio"] > usual["fill"]["ratio"] + 0.1


def test_the_command_prints_both_loads_and_both_floors() -> None:
    result = CliRunner().invoke(app, ["bench", "regions", "--nodes", "4", "--orders", "2", "--json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert set(value) == {"nodes", "regions", "seed", "targets", "computing", "idle", "load"}
    assert (value["nodes"], value["targets"], value["computing"]) == (4, 4, "table")
    assert (value["idle"]["floor"], value["load"]["floor"]) == (ORDER_FLOOR, NETWORK_RUN)
    for load in ("idle", "load"):
        for kind in KINDS:
            assert value[load][kind]["p50"] > value[load][kind][ORDER_FLOOR]["p50"] > 0


def test_too_few_members_for_f_plus_1_reports_are_refused() -> None:
    with pytest.raises(ValueError, match=r"to 2 \.\. 4 members"):
        run_regions(Options(nodes=4, orders=2, targets=1))
