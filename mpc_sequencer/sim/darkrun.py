"""Runs with a dark market beside the plain one: traders that seal dark orders, members that lie about them.

Timeline: load and faults as in any run, or over a longer time, dark orders among the load as soon as a client can know
the keys. After the heal the members must agree on keys within KEYS_MS_MAX; then a batch is sent to all of them, and
every dark order that was taken in must have ended everywhere within BATCH_MS_MAX.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import ClassVar, Final

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.limits import DARK_RUN_MS, DARK_WINDOW_MS
from mpc_sequencer.dark.keys import AgreedKeys
from mpc_sequencer.sim.byzantine import BEHAVIOURS, Behaviour, dark_behaviours
from mpc_sequencer.sim.checkers import CHECKERS, Checker
from mpc_sequencer.sim.checkers.base import Watched
from mpc_sequencer.sim.checkers.dark import DarkBatches
from mpc_sequencer.sim.darktrade import WRONG_KINDS, DarkTerms, dark_order
from mpc_sequencer.sim.deployment import DARK_MARKET, START_MS, Deployment
from mpc_sequencer.sim.generation import Pace
from mpc_sequencer.sim.network import FAULTS_END_MS, FaultPlan, make_plan
from mpc_sequencer.sim.run import INTERVAL_MS, Harness, RunReport, on_all_cores
from mpc_sequencer.sim.simulation import Sent, Simulation
from mpc_sequencer.sim.workload import LOAD_MS, RICH_TRADERS, Workload

KEYS_MS_MAX: Final = 8 * DARK_WINDOW_MS
"""Two attempts in which every phase takes its window, and what lies between."""
BATCH_MS_MAX: Final = 3 * (3 * DARK_WINDOW_MS + DARK_RUN_MS)
DARK_EVERY_MS: Final = (60, 300)
PROBES: Final = 6
LOTS_MAX: Final = 15
LATER: Final = Pace(begin_ms=2_000, numerator=3, denominator=1)


class DarkSimulation(Simulation):
    kinds: ClassVar[Mapping[str, type[Behaviour]]] = BEHAVIOURS | dark_behaviours()


class DarkWorkload(Workload):
    """Traders that send dark orders as well; ``watched`` knows what they say."""

    watched: Watched

    def schedule(self) -> None:
        super().schedule()
        at_ms = self.cluster.now_ms
        end_ms = at_ms + LOAD_MS
        while (at_ms := at_ms + self.rng.randint(*DARK_EVERY_MS)) < end_ms:
            self.cluster.call(at_ms, self.send_any)

    def keys(self) -> AgreedKeys | None:
        """What a client learns of the first correct member that is up."""
        up = sorted(self.watched.correct - self.cluster.stopped)
        desk = self.cluster.cores[up[0]].dark.desk if up else None
        return None if desk is None else desk.keys

    def send_any(self) -> None:
        """Some dark order to some members."""
        self.send_dark()

    def send_dark(self, kind: str | None = None, targets: list[int] | None = None) -> bytes | None:
        """A dark order, where there are keys, and its id: three in four are good."""
        keys, grid = self.keys(), DARK_MARKET.dark
        assert grid is not None
        if keys is None:
            return None
        chosen = self.rng.choice(("valid", "known", "known", self.rng.choice(WRONG_KINDS))) if kind is None else kind
        terms = DarkTerms(
            self.rng.choice((BUY, SELL)),
            grid.price_first_ticks + grid.price_step_ticks * self.rng.randrange(grid.ticks),
            self.rng.randint(0, LOTS_MAX),
            chosen,
            self.rng.randrange(self._deployment.committee.n),
        )
        trader = self.rng.choice(self._deployment.traders[:RICH_TRADERS])
        sent = dark_order(self._deployment, DARK_MARKET, keys, trader, self.cluster.now_ms, terms)
        self.watched.dark[sent.envelope.order_id()] = sent
        self.submit(sent.envelope, self._targets() if targets is None else targets)
        return sent.envelope.order_id()


def dark_plan(seed: int, nodes: int, faults: frozenset[str]) -> FaultPlan:
    """The plan of any run; two seeds in three have their faults later and further apart, when there are keys and
    batches under way."""
    plan = make_plan(seed, nodes, faults)
    return LATER.moved_plan(plan, lambda outage: outage) if seed % 3 else plan


class DarkHarness(Harness):
    """One run."""

    def __init__(
        self,
        seed: int,
        nodes: int,
        faults: frozenset[str],
        trace: Callable[[Sent], None] | None = None,
        *,
        shared: bool | None = None,
        plan: FaultPlan | None = None,
    ) -> None:
        super().__init__(seed, nodes, faults, trace, shared=shared, plan=plan or dark_plan(seed, nodes, faults))

    def _trouble(self, simulation: Simulation, workload: Workload) -> None:
        """Load and faults, until the network is whole."""
        ends_ms = START_MS + max(self.plan.end_ms, FAULTS_END_MS)
        while True:
            workload.schedule()
            self._advance(simulation, LOAD_MS)
            if simulation.now_ms + LOAD_MS > ends_ms:  # no order is sent after the heal
                self._advance(simulation, max(INTERVAL_MS, ends_ms - simulation.now_ms))
                return

    def _deployment(self, *, key_refresh_ms: int = 0, joiners: int = 0, dark: bool = True) -> Deployment:
        return super()._deployment(key_refresh_ms=key_refresh_ms, joiners=joiners, dark=dark)

    def _checker_kinds(self) -> tuple[type[Checker], ...]:
        return (*CHECKERS, DarkBatches)

    def _simulation(self) -> Simulation:
        return DarkSimulation(
            self.watched.deployment, self.plan, seed=self.seed, observe=self._observe, trace=self._trace
        )

    def _workload(self, simulation: Simulation) -> Workload:
        workload = DarkWorkload(simulation, random.Random(f"{self.seed}/{self.nodes}/load"), self.watched.sent)
        workload.watched = self.watched
        return workload

    def _probe(self, simulation: Simulation, workload: Workload) -> None:
        super()._probe(simulation, workload)
        assert isinstance(workload, DarkWorkload)
        if not self._until(simulation, KEYS_MS_MAX, self._has_keys):
            phases = [core.dark.desk and core.dark.desk.agreement.phase.name for core in simulation.cores]
            self.watched.report("progress", 0, f"no dark keys {KEYS_MS_MAX} ms after the heal; phases {phases}")
            return
        everybody = list(range(self.nodes))
        sent = {workload.send_dark(None if turn % 2 else "known", everybody) for turn in range(PROBES)}
        if not self._until(simulation, BATCH_MS_MAX, partial(self._all_ended, sent - {None})):
            states = [core.dark.desk and core.dark.desk.book(DARK_MARKET.id).state.number for core in simulation.cores]
            self.watched.report("progress", 0, f"dark batches go on {BATCH_MS_MAX} ms after the heal; {states}")

    def _until(self, simulation: Simulation, most_ms: int, holds: Callable[[Simulation], bool]) -> bool:
        ends_ms = simulation.now_ms + most_ms
        while not holds(simulation):
            if simulation.now_ms >= ends_ms:
                return False
            self._advance(simulation, INTERVAL_MS)
        return True

    def _has_keys(self, simulation: Simulation) -> bool:
        desks = [simulation.cores[node].dark.desk for node in self.watched.correct - simulation.stopped]
        return all(desk is not None and desk.keys is not None for desk in desks)

    def _all_ended(self, sent: set[bytes | None], simulation: Simulation) -> bool:
        """Whether every correct member has executed the orders ``sent``, and has none that waits."""
        members = self.watched.correct - simulation.stopped
        desks = [simulation.cores[node].dark.desk for node in members]
        if any(desk is None or any(True for _ in desk.locks()) for desk in desks):
            return False
        return all(self._certified(simulation, one, members) for one in sent if one is not None)


def simulate_dark(seed: int, nodes: int, faults: frozenset[str]) -> RunReport:
    """Run one seed with a dark market; ``faults`` as :func:`mpc_sequencer.sim.plan.parse_faults` gives them with
    ``dark``."""
    return DarkHarness(seed, nodes, faults).run()


def _task(task: tuple[int, int, frozenset[str]]) -> RunReport:
    return simulate_dark(*task)


def simulate_many_dark(
    tasks: Iterable[tuple[int, int, frozenset[str]]], *, workers: int | None = None
) -> Iterator[RunReport]:
    """Reports as they come, from ``workers`` processes (all cores by default; 1 runs in this process)."""
    yield from on_all_cores(_task, tasks, workers=workers)
