"""Runs in which the committee is replaced: drawn ones, and one for each way that matters by itself."""

from __future__ import annotations

import pytest
from rotations_kit import AT_MS, BACK, NEXT, at_cutover, rotation

from mpc_sequencer.core import limits
from mpc_sequencer.core.rotation import is_same
from mpc_sequencer.sim.outages import Outage
from mpc_sequencer.sim.plan import ROTATION_FAULT_KINDS, parse_faults
from mpc_sequencer.sim.rotated import RotatedHarness, simulate_rotated
from mpc_sequencer.sim.rotations import KINDS, RotationPlan, Wish, rotated_plan

ALL = parse_faults("all", rotated=True)
LEAVING, STAYING, JOINING = 0, 2, 4


def over(plan: RotationPlan, seed: int = 0) -> RotatedHarness:
    """The run, over and without violations."""
    harness = RotatedHarness(seed, 4, rotation=plan)
    report = harness.run()
    assert not report.violations
    return harness


def epochs(harness: RotatedHarness, people: tuple[int, ...] = NEXT) -> set[int]:
    assert harness.simulation is not None
    return {harness.simulation.hosts[person].epoch for person in people}


@pytest.mark.parametrize("seed", [1, 12, 45, 60])
def test_a_drawn_run_with_all_faults_keeps_every_promise(seed: int) -> None:
    assert simulate_rotated(seed, 4, ALL).violations == ()


def test_a_seed_is_a_run_byte_for_byte() -> None:
    assert simulate_rotated(3, 4, ALL).digest == simulate_rotated(3, 4, ALL).digest


def test_of_every_committee_at_most_f_members_are_faulty() -> None:
    for seed in range(120):
        plan = rotated_plan(seed, 4 + 3 * (seed % 2), ROTATION_FAULT_KINDS)
        for wish in plan.wishes:
            assert len(plan.faults.faulty & set(wish.people)) <= wish.faults, seed
    assert {rotated_plan(seed, 4, ALL).kind for seed in range(len(KINDS))} == set(KINDS)


def test_one_member_is_replaced_and_the_key_goes_over() -> None:
    assert epochs(over(rotation(generated=True))) == {1}


@pytest.mark.parametrize("written", [False, True], ids=["before its snapshot", "after its snapshot"])
@pytest.mark.parametrize("node", [LEAVING, STAYING, JOINING])
def test_power_is_lost_at_the_cutover(node: int, written: bool) -> None:
    harness = over(rotation(outages=(at_cutover(node, written=written),)))
    assert harness.simulation is not None and harness.simulation.hosts[node].boots == 1
    assert epochs(harness) == {1}


def test_all_lose_power_at_the_cutover_and_go_on_in_the_next_epoch() -> None:
    struck = tuple(at_cutover(node, written=bool(node % 2)) for node in range(5))
    assert epochs(over(rotation(outages=struck))) == {1}


def test_a_member_that_is_down_while_the_epoch_ends_comes_after() -> None:
    away = Outage(STAYING, AT_MS, AT_MS + 2_500, "power", "between", 0, 0)
    assert epochs(over(rotation(outages=(away,)))) == {1}


@pytest.mark.parametrize("liar", ["stays_behind", "other_handover", "two_committees", "bad_dealer", "mute_dealer"])
def test_an_old_member_lies(liar: str) -> None:
    assert epochs(over(rotation(liars=((3, liar),))), (1, 2, 4)) == {1}


@pytest.mark.parametrize("liar", ["lying_complainer", "false_ready", "silent"])
def test_who_joins_lies(liar: str) -> None:
    assert epochs(over(rotation(liars=((JOINING, liar),))), (1, 2, 3)) == {1}


def test_a_rotation_is_called_off_at_once() -> None:
    harness = over(rotation(Wish(AT_MS, NEXT, 3), Wish(AT_MS + 20, BACK, 3)))
    assert harness.simulation is not None
    committee = harness.simulation.hosts[1].core.committee
    assert is_same(committee, harness.targets[-1][1])


def test_another_committee_is_wanted_in_the_middle() -> None:
    last = (1, 2, 4, 5)
    assert len(epochs(over(rotation(Wish(AT_MS, NEXT, 3), Wish(AT_MS + 60, last, 2))), last)) == 1


def test_the_whole_committee_is_replaced_by_people_who_came_late() -> None:
    assert epochs(over(rotation(Wish(AT_MS, (4, 5, 6, 7), 3), joins_ms=600)), (4, 5, 6, 7)) == {1}


def test_a_drawn_refresh_interval_is_one_that_a_committee_takes() -> None:
    plans = [rotated_plan(seed, 4, frozenset()) for seed in range(60)]
    intervals = [one.refresh_ms for one in plans if one.kind == "refresh"]
    assert len(intervals) == 6 and min(intervals) >= limits.KEY_REFRESH_MS_MIN
    assert {one.refresh_ms for one in plans if one.kind != "refresh"} == {0}
