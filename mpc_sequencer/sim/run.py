"""One seed, one run: the committee under a fault plan, load, heal, probes, checkers; and many seeds on all cores.

Timeline: a run may begin with a key generation, under the same faults; load begins when there is a key. Faults and
load last until FAULTS_END_MS, or as long as the plan says; then the network is whole, and orders sent to all must be
final, executed and certified at every correct member within PROGRESS_MS_MAX. A settling time later the end is checked.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, get_args

from mpc_sequencer.core.effects import Effect
from mpc_sequencer.sim.chain import DELAY_BLOCKS, SPACING_BLOCKS, STEP_BLOCKS, ChainFeed, SimulatedChain
from mpc_sequencer.sim.checkers import CHECKERS, GENERATED_CHECKERS, Checker, Watched
from mpc_sequencer.sim.cluster import Cluster
from mpc_sequencer.sim.deployment import DARK_MARKET, START_MS, Deployment, make_deployment
from mpc_sequencer.sim.generation import KEY_MS_MAX, establish, generated_plan, key_at
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.network import FAULTS_END_MS, FaultPlan, make_plan
from mpc_sequencer.sim.sharing import shared_verdicts
from mpc_sequencer.sim.simulation import CoreFailed, Sent, Simulation
from mpc_sequencer.sim.workload import POOR_TRADERS, RICH_TRADERS, Workload

FEES_PPM: Final = (100, 250)  # the market takes, of makers and of takers
INTERVAL_MS: Final = 250
SLICE_MS: Final = 25
PROBES: Final = 3
PROGRESS_MS_MAX: Final = 30_000
SETTLE_MS: Final = 1_000
EVEN_MS_MAX: Final = 1_000
CHAIN_TAKEN_MS_MAX: Final = 10_000
UNSHARED_EVERY: Final = 64
"""One seed in so many is run with every member verifying everything itself."""
COLLECT_EVERY: Final = 100_000
"""How many objects a worker makes between two collections of garbage."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that a run broke. ``height`` is 0 where it shows at none."""

    seed: int
    """Or the scenario's number."""
    nodes: int
    checker: str
    height: int
    detail: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """What came of one run. ``digest`` (hex) covers every message sent and when: the same for the same seed."""

    seed: int
    nodes: int
    faults: str
    heights: int
    orders: int
    messages: int
    virtual_ms: int
    progress_ms: int
    """From the heal until the last probe was certified at every correct member."""
    key_ms: int
    """From the start until the first correct member had the generated key; 0 where the key was given."""
    digest: str
    violations: tuple[Violation, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Harness:
    """A run with its parts in reach, for tests and diagrams; :func:`simulate` is the short way."""

    def __init__(
        self,
        seed: int,
        nodes: int,
        faults: frozenset[str],
        trace: Callable[[Sent], None] | None = None,
        *,
        shared: bool | None = None,
        plan: FaultPlan | None = None,
        generated: bool = False,
    ) -> None:
        self._shared = seed % UNSHARED_EVERY != 0 if shared is None else shared
        self.seed = seed
        self.nodes = nodes
        self.generated = generated
        self.plan = (generated_plan if generated else make_plan)(seed, nodes, faults) if plan is None else plan
        self.watched = self._watch()
        self.checkers: list[Checker] = [kind(self.watched) for kind in self._checker_kinds()]
        self.observers: list[Callable[[int, int, Effect], None]] = []
        """Called with virtual time, member and effect."""
        self.begun: list[Callable[[int, Host], None]] = []
        """Called with virtual time and the host of a member that has begun an epoch."""
        self.simulation: Simulation | None = None
        self._honest = self.watched.honest
        self._watching = {
            kind: [checker.on_effect for checker in self.checkers if kind in checker.sees]
            for kind in get_args(Effect)
        }
        self._trace = trace
        self.settle_ms = SETTLE_MS
        """How long the run goes on after the last probe."""
        self._progress_ms = self._key_ms = 0

    # --- parts --------------------------------------------------------------------------------------------------
    def _watch(self) -> Watched:
        return Watched(self._deployment(), self.plan, {})

    def _deployment(self, *, key_refresh_ms: int = 0, joiners: int = 0, dark: bool = False) -> Deployment:
        return make_deployment(
            self.nodes,
            seed=self.seed,
            traders=RICH_TRADERS + POOR_TRADERS,
            poor_traders=POOR_TRADERS,
            generated=self.generated,
            key_refresh_ms=key_refresh_ms,
            joiners=joiners,
            chain_terms=(STEP_BLOCKS, DELAY_BLOCKS, SPACING_BLOCKS),
            fees_ppm=FEES_PPM,
            dark=DARK_MARKET if dark else None,
        )

    def _checker_kinds(self) -> tuple[type[Checker], ...]:
        return GENERATED_CHECKERS if self.generated else CHECKERS

    def _simulation(self) -> Simulation:
        return Simulation(
            self.watched.deployment, self.plan, seed=self.seed, observe=self._observe, trace=self._trace
        )

    def _workload(self, simulation: Simulation) -> Workload:
        return Workload(simulation, random.Random(f"{self.seed}/{self.nodes}/load"), self.watched.sent)

    def _summary(self) -> str:
        return self.plan.summary()

    def _observe(self, node: int, effect: Effect) -> None:
        if node in self._honest:
            for see in self._watching.get(type(effect), ()):
                see(node, effect)
        if self.observers and self.simulation is not None:
            for observer in self.observers:
                observer(self.simulation.now_ms, node, effect)

    def run(self) -> RunReport:
        """Run to the end, or to the first core that raises."""
        with shared_verdicts(self._shared):
            return self._run()

    def _run(self) -> RunReport:
        simulation = self.simulation = self._simulation()
        self._feed(simulation)
        workload = self._workload(simulation)
        began_ms = simulation.now_ms
        try:
            if not self.generated or self._generate(simulation):
                self._trouble(simulation, workload)
                self._probe(simulation, workload)
            self._hear_chain(simulation)
            self._advance(simulation, self.settle_ms)
            self._even(simulation)
            for checker in self.checkers:
                checker.at_end(simulation)
        except CoreFailed as error:
            self.watched.report("core", simulation.hosts[error.node].core.chain.final_height, str(error))
        return self._report(simulation, simulation.now_ms - began_ms)

    def _feed(self, simulation: Simulation) -> None:
        """Have a settlement chain beside the committee."""
        rng = random.Random(f"{self.seed}/{self.nodes}/chain")
        chain = self.watched.chain = SimulatedChain(self.watched.deployment, rng, self.watched.sent)
        ChainFeed(
            simulation, chain, START_MS + self.plan.end_ms, self.plan.chain_late_ms, self.plan.chain_blind
        )

    def _hear_chain(self, simulation: Simulation) -> None:
        """Until every chain node has told its last block, however late it is, and members have taken it up: what asks
        for nothing is taken up with the next heartbeat."""
        chain = self.watched.chain
        assert chain is not None
        told_ms = START_MS + self.plan.end_ms + max(self.plan.chain_late_ms, default=0) + INTERVAL_MS
        while simulation.now_ms < told_ms:
            self._advance(simulation, INTERVAL_MS)
        if not self.watched.strict_chain:
            return  # who has left the committee takes nothing up any more
        last = max(chain.blocks)
        while simulation.now_ms < told_ms + CHAIN_TAKEN_MS_MAX:
            states = [simulation.cores[node].chain.final_state for node in self.watched.correct - simulation.stopped]
            if all(one.chain.cleared_number >= last for one in states):
                return
            self._advance(simulation, INTERVAL_MS)

    def _even(self, simulation: Simulation) -> None:
        """The last interval may end amid a height: until correct members have executed the same, but no longer than
        EVEN_MS_MAX. What is not even by then is for the checkers."""
        ends_ms = simulation.now_ms + EVEN_MS_MAX
        while simulation.now_ms < ends_ms:
            hosts = [simulation.hosts[node] for node in self.watched.correct - simulation.stopped]
            newest = max((host.epoch for host in hosts), default=0)
            if len({host.core.execution.executed_height for host in hosts if host.epoch == newest}) <= 1:
                return
            self._advance(simulation, INTERVAL_MS)

    def _generate(self, simulation: Simulation) -> bool:
        """Faults, until a correct member has the key and a client has it from there; False where that takes too long.
        """
        bound_ms = START_MS + self.plan.end_ms + KEY_MS_MAX
        while simulation.now_ms < bound_ms:
            for _ in range(INTERVAL_MS // SLICE_MS):
                simulation.run(SLICE_MS)
                certificate = key_at(simulation, self.watched.correct & frozenset(range(self.nodes)))
                if certificate is not None:
                    establish(simulation.deployment, certificate)
                    self._key_ms = simulation.now_ms - START_MS
                    return True
            self._look(simulation)
        phases = [core.keygen.phase for core in simulation.cores]
        self.watched.report("progress", 0, f"no key {KEY_MS_MAX} ms after the heal; phases {phases}")
        return False

    def _trouble(self, simulation: Simulation, workload: Workload) -> None:
        """Load and faults, until the network is whole."""
        workload.schedule()
        faults_ms = START_MS + self.plan.end_ms - simulation.now_ms
        self._advance(simulation, max(FAULTS_END_MS, faults_ms))

    def _advance(self, simulation: Simulation, duration_ms: int) -> None:
        for _ in range(duration_ms // INTERVAL_MS):
            simulation.run(INTERVAL_MS)
            self._look(simulation)

    def _look(self, simulation: Simulation) -> None:
        for checker in self.checkers:
            checker.at_interval(simulation)

    def _probe(self, simulation: Simulation, workload: Workload) -> None:
        """Orders to all, until who lost its journal lists again as well; then one that it must execute too."""
        healed_ms = simulation.now_ms
        wiped = self.watched.plan.wiped
        turn = 0
        while turn < PROBES or not all(simulation.cores[node].standing.may_list() for node in wiped):
            if not self._probe_once(simulation, workload, turn, healed_ms, self.watched.correct):
                return
            turn += 1
            if simulation.now_ms - healed_ms >= PROGRESS_MS_MAX:
                muted = [node for node in sorted(wiped) if not simulation.cores[node].standing.may_list()]
                height = simulation.cores[min(self.watched.correct)].chain.final_height
                self.watched.report("progress", height, f"members {muted} do not list again after they lost their disk")
                return
        self._progress_ms = simulation.now_ms - healed_ms
        if wiped:
            self._probe_once(simulation, workload, turn, healed_ms, self.watched.correct | wiped)

    def _probe_once(
        self, simulation: Simulation, workload: Workload, turn: int, healed_ms: int, members: frozenset[int]
    ) -> bool:
        """Send an order to all and wait until it is certified at ``members``; False where that takes too long."""
        order_id = workload.probe(turn)
        while not self._certified(simulation, order_id, members):
            if simulation.now_ms - healed_ms >= PROGRESS_MS_MAX:
                views = [core.simplex.view for core in simulation.cores]
                final = [core.chain.final_height for core in simulation.cores]
                self.watched.report(
                    "progress",
                    max(final),
                    f"probe {turn} is not certified everywhere {PROGRESS_MS_MAX} ms after the heal; "
                    f"views {views}, final heights {final}",
                )
                return False
            simulation.run(SLICE_MS)
        return True

    def _certified(self, simulation: Simulation, order_id: bytes, members: frozenset[int]) -> bool:
        for node in members:
            core = simulation.cores[node]
            height = core.pool.sequenced_height(order_id)
            if not height or min(core.execution.executed_height, core.execution.certified_height) < height:
                return False
        return True

    def _report(self, cluster: Cluster, virtual_ms: int) -> RunReport:
        assert self.simulation is not None
        cores = [cluster.hosts[node].core for node in sorted(self._honest)]
        return RunReport(
            seed=self.seed,
            nodes=self.nodes,
            faults=self._summary(),
            heights=max(core.chain.final_height for core in cores),
            orders=max(core.board.sequenced for core in cores),
            messages=cluster.messages,
            virtual_ms=virtual_ms,
            progress_ms=self._progress_ms,
            key_ms=self._key_ms,
            digest=self.simulation.digest.hex(),
            violations=tuple(
                Violation(self.seed, self.nodes, one.checker, one.height, one.detail) for one in self.watched.findings
            ),
        )


def simulate(seed: int, nodes: int, faults: frozenset[str], *, generated: bool = False) -> RunReport:
    """Run one seed with ``nodes`` members; ``faults`` as :func:`mpc_sequencer.sim.plan.parse_faults` gives them.
    ``generated``: the first blocks generate the threshold key."""
    return Harness(seed, nodes, faults, generated=generated).run()


def _simulate_task(task: tuple[int, int, frozenset[str]], generated: bool) -> RunReport:
    return simulate(*task, generated=generated)


def simulate_many(
    tasks: Iterable[tuple[int, int, frozenset[str]]], *, workers: int | None = None, generated: bool = False
) -> Iterator[RunReport]:
    """Reports as they come, from ``workers`` processes (all cores by default; 1 runs in this process)."""
    yield from on_all_cores(partial(_simulate_task, generated=generated), tasks, workers=workers)


def _collect_seldom() -> None:
    """Modules live as long as their process, and a run makes few cycles: Python need not look for them all the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)


def on_all_cores(run: Callable[[Any], RunReport], tasks: Iterable[Any], *, workers: int | None) -> Iterator[RunReport]:
    """``run`` of each task, a module's function, in as many processes; reports as they come."""
    count = workers or os.cpu_count() or 1
    listed = list(tasks)
    if count == 1 or len(listed) <= 1:
        yield from map(run, listed)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(count, len(listed)), initializer=_collect_seldom) as pool:
        yield from pool.imap_unordered(run, listed)
