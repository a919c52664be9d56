"""Twins: members that run twice under one identity, under every partition of all instances, one scenario per number.

After Bano, Sonnino, Chursin, Perelman, Li, Ching and Malkhi, "Twins: BFT Systems Made Robust" (OPODIS 2021). Two
instances with the same keys that both keep to the rules do together what a Byzantine member may do: propose and vote
twice, forget, contradict themselves, and they do it systematically where behaviours written by hand do it as their
author thought of it. f members are twinned, so what holds with f Byzantine members must hold for the others: agreement
and all the other checkers, and progress once the network is whole. What the twins sign convicts them or harms nobody;
the others are never convicted.

A *scenario* says which members are twinned and, for each of n rounds, how the n+f instances are split in two sides
(one of them may be empty). Every leader so has a turn under a split. A round lasts until an instance enters a view
that none had entered in it, at most ROUND_MS_MAX, since a split without a quorum on either side ends no view. A link
across the split is down: what is in flight is lost, and both ends start anew when the sides change. In half of the
scenarios the twins list orders; once a block names lists that one of them did not sign, that one can judge no further
block, as a member takes its own lists from nobody. In the other half they list nothing, and both can vote and
lead until they are convicted: then the others serve neither.

Departures from the paper. Leaders follow from the view and are not enumerated. Rounds follow each other for the whole
network rather than by the round number inside each message, because members here recover what a link lost when it
comes back and not else. Two sides suffice to part any two quorums.

All scenarios are numbered ``0 .. scenario_count(nodes) - 1``: the number, times a fixed stride that is prime to the
count, is read in mixed radix, so that each scenario has one number and any run of numbers spreads over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import comb, gcd
from typing import Final

from mpc_sequencer.core.lists import OwnLists
from mpc_sequencer.sim.network import FaultPlan, Pair
from mpc_sequencer.sim.run import Harness, RunReport, on_all_cores
from mpc_sequencer.sim.simulation import Simulation
from mpc_sequencer.sim.workload import Workload

ROUND_MS_MAX: Final = 1_800
"""More than a view's time-out."""
LOAD_EVERY_MS: Final = 35
STEP_MS: Final = 5
GOLDEN: Final = (618_033_988, 1_000_000_000)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who is twinned, and by round the places of the side that has place 0 (see :class:`Cluster` for places)."""

    number: int
    nodes: int
    twinned: tuple[int, ...]
    sides: tuple[frozenset[int], ...]
    lists: bool
    """Whether the twins list orders."""

    def apart(self, round_number: int) -> frozenset[Pair]:
        """The pairs of places that the split of a round parts; none after the last."""
        if round_number >= len(self.sides):
            return frozenset()
        side, places = self.sides[round_number], range(self.nodes + len(self.twinned))
        return frozenset(pair for pair in combinations(places, 2) if (pair[0] in side) != (pair[1] in side))


def scenario_count(nodes: int) -> int:
    """How many scenarios there are with ``nodes`` members."""
    faults = (nodes - 1) // 3
    splits: int = _splits(nodes) ** nodes
    return 2 * comb(nodes, faults) * splits


def _splits(nodes: int) -> int:
    """Splits of all instances in two sides, of which the one without place 0 may be empty."""
    places = nodes + (nodes - 1) // 3
    return 1 << (places - 1)


def make_scenario(number: int, nodes: int) -> Scenario:
    """The scenario of a number. Raises ``ValueError`` for a number past the last."""
    count = scenario_count(nodes)
    if not 0 <= number < count:
        raise ValueError(f"scenario {number}, expected 0 .. {count - 1} with {nodes} members")
    stride = count * GOLDEN[0] // GOLDEN[1]
    while gcd(stride, count) != 1:
        stride += 1
    splits, faults = _splits(nodes), (nodes - 1) // 3
    rest, lists = divmod(number * stride % count, 2)
    rest, who = divmod(rest, comb(nodes, faults))
    sides = []
    for _ in range(nodes):
        rest, split = divmod(rest, splits)
        others = [place for place in range(1, nodes + faults) if split >> (place - 1) & 1]
        sides.append(frozenset((0, *others)))
    return Scenario(number, nodes, list(combinations(range(nodes), faults))[who], tuple(sides), bool(lists))


class _NoLists(OwnLists):
    """An open list that stays empty."""

    def add(self, order_id: bytes) -> int:
        return self.number + 1


class TwinsHarness(Harness):
    """One scenario's run. Its ``seed`` is the scenario's number."""

    def __init__(self, number: int, nodes: int, *, shared: bool | None = None) -> None:
        self.scenario = make_scenario(number, nodes)
        plan = replace(FaultPlan.quiet(nodes), twinned=self.scenario.twinned)
        super().__init__(number, nodes, frozenset(), shared=shared, plan=plan)
        self._loaded = True

    def _trouble(self, simulation: Simulation, workload: Workload) -> None:
        d = simulation.deployment
        for host in simulation.hosts:
            if host.node in self.scenario.twinned and not self.scenario.lists:
                host.core.own_lists = _NoLists(d.committee, host.node, d.signers[host.node])
        self._load(simulation, workload)
        apart: frozenset[Pair] = frozenset()
        for round_number in range(len(self.scenario.sides)):
            wanted = self.scenario.apart(round_number)
            simulation.split(wanted - apart, apart - wanted)
            apart = wanted
            entered = _last_view(simulation)
            for _ in range(ROUND_MS_MAX // STEP_MS):
                simulation.run(STEP_MS)
                if _last_view(simulation) > entered:
                    break
            for checker in self.checkers:
                checker.at_interval(simulation)
        self._loaded = False
        simulation.split(frozenset(), apart)

    def _load(self, simulation: Simulation, workload: Workload) -> None:
        """Orders all the time, so that views go on."""
        if self._loaded:
            workload.submit_some()
            simulation.call(simulation.now_ms + LOAD_EVERY_MS, partial(self._load, simulation, workload))


def _last_view(simulation: Simulation) -> int:
    return max(host.core.simplex.view for host in simulation.hosts)


def run_scenario(number: int, nodes: int) -> RunReport:
    """Run one scenario."""
    return TwinsHarness(number, nodes).run()


def _run_task(task: tuple[int, int]) -> RunReport:
    return run_scenario(*task)


def run_scenarios(tasks: Iterable[tuple[int, int]], *, workers: int | None = None) -> Iterator[RunReport]:
    """Reports of (number, nodes) scenarios as they come, from ``workers`` processes (all cores by default)."""
    yield from on_all_cores(_run_task, tasks, workers=workers)
