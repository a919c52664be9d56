"""Twins: two instances of one identity, both by the rules, under every split: the others agree and stay unconvicted."""

from __future__ import annotations

import json

import pytest

from mpc_sequencer.cli.app import run as command
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.offences import accused
from mpc_sequencer.sim import run as sim_run
from mpc_sequencer.sim import twins as sim_twins
from mpc_sequencer.sim.plan import parse_faults
from mpc_sequencer.sim.run import simulate
from mpc_sequencer.sim.twins import TwinsHarness, make_scenario, run_scenario, scenario_count


def test_every_number_is_another_scenario_and_few_show_every_twin_and_split() -> None:
    assert scenario_count(4) == 2 * 4 * 16**4
    numbers = [*range(3_000), *range(200_000, 203_000), scenario_count(4) - 1]
    drawn = {number: make_scenario(number, 4) for number in numbers}
    assert len({(one.twinned, one.sides, one.lists) for one in drawn.values()}) == len(numbers)
    first = [drawn[number] for number in range(64)]
    assert {one.twinned for one in first} == {(0,), (1,), (2,), (3,)}
    for turn in range(4):
        assert len({one.sides[turn] for one in first}) > 10, "the first numbers spread over the splits"
    with pytest.raises(ValueError, match=f"scenario {scenario_count(4)}, expected 0 .. {scenario_count(4) - 1}"):
        make_scenario(scenario_count(4), 4)


def test_a_split_parts_the_sides_and_nothing_is_apart_after_the_last_round() -> None:
    scenario = next(one for one in map(lambda i: make_scenario(i, 7), range(99)) if 1 < len(one.sides[0]) < 9)
    apart, side = scenario.apart(0), scenario.sides[0]
    assert len(scenario.twinned) == 2
    assert len(apart) == len(side) * (9 - len(side))
    assert all((low in side) != (high in side) for low, high in apart)
    assert scenario.apart(7) == frozenset()


def test_a_scenario_is_a_run_with_and_without_shared_verdicts() -> None:
    shared, alone = (TwinsHarness(5, 4, shared=how).run() for how in (True, False))
    assert shared == alone
    assert run_scenario(6, 4).digest != shared.digest


def test_what_twins_do_harms_nobody_and_convicts_only_them() -> None:
    kinds: set[str] = set()
    for number in range(1, 11):
        harness = TwinsHarness(number, 4)
        report = harness.run()
        assert report.violations == ()
        assert report.heights >= 3
        assert harness.simulation is not None
        twins = set(harness.scenario.twinned)
        assert len(twins) == 1
        for _, evidence in harness.simulation.evidence:
            assert {evidence.node} == {accused(evidence.offence)} == twins
            kinds.add(evidence.kind)
    assert kinds >= {"list-equivocation", "notarize-equivocation"}, "the twins did contradict themselves"


def test_two_identities_of_seven_may_be_twinned() -> None:
    report = run_scenario(3, 7)
    assert report.violations == ()
    assert report.faults.startswith("twins@")
    assert report.faults.count("twins@") == 2


def test_twins_that_list_nothing_both_get_ahead() -> None:
    number = next(number for number in range(9) if not make_scenario(number, 4).lists)
    harness = TwinsHarness(number, 4)
    assert harness.run().violations == ()
    simulation = harness.simulation
    assert simulation is not None
    (twin,) = harness.scenario.twinned
    hosts = [simulation.hosts[place] for place in simulation.places(twin)]
    assert [host.place for host in hosts] == [twin, 4]
    assert all(host.core.chain.final_height >= 5 for host in hosts)
    assert hosts[0].disk.log != hosts[1].disk.log


def test_a_quorum_of_f_plus_1_is_caught_by_twins_which_no_seed_of_the_other_faults_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Committee.__init__

    def weak(self: Committee, genesis: object, origin: object = None) -> None:
        honest(self, genesis, origin)  # type: ignore[arg-type]
        self.q = self.f + 1

    monkeypatch.setattr(Committee, "__init__", weak)
    assert not any(simulate(seed, 4, parse_faults("all")).violations for seed in range(1, 5))
    for number in range(24):  # 3 is the first
        found = {one.checker for one in run_scenario(number, 4).violations}
        if "agreement" in found:
            return
    pytest.fail("no scenario noticed")


def test_sim_twins_prints_what_sim_run_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sim", "twins", "--nodes", "4", "--first", "8", "--scenarios", "1", "--workers", "1", "--json"]
    assert command(words) == 0
    clean = json.loads(capsys.readouterr().out)
    assert clean.keys() == {"runs", "heights", "violations"}
    assert (clean["runs"], clean["violations"]) == (1, [])
    monkeypatch.setattr(sim_run, "PROGRESS_MS_MAX", 0)
    assert command(words) == 1
    violations = json.loads(capsys.readouterr().out)["violations"]
    assert ("progress", 8, 4) in {(one["checker"], one["seed"], one["nodes"]) for one in violations}


def test_sim_twins_refuses_more_scenarios_than_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["sim", "twins", "--nodes", "4", "--first", str(scenario_count(4))]) == 2
    assert capsys.readouterr().err.startswith("error: --first and --scenarios")
    assert sim_twins.scenario_count(7) > 10**18
