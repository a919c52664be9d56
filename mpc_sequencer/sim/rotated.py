"""Runs in which the committee is replaced, under load and faults: their timeline, and what their checkers need to
know.

Timeline: a key generation in some runs, then load, faults and wishes (:mod:`mpc_sequencer.sim.rotations`) at once.
After the heal every correct member of the last committee that was wished for must be in one epoch, that committee's,
within ROTATION_MS_MAX, and then orders to its members must be certified everywhere, as in any run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.ordering import OrderingState
from mpc_sequencer.core.rotation import is_same
from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.sim.checkers import ROTATED_CHECKERS, Checker, Watched
from mpc_sequencer.sim.deployment import START_MS
from mpc_sequencer.sim.epochs import STRANGER
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.rotating import RotatingSimulation
from mpc_sequencer.sim.rotations import RotationPlan, Wish, rotated_plan
from mpc_sequencer.sim.run import (
    INTERVAL_MS,
    PROBES,
    SLICE_MS,
    Harness,
    RunReport,
    on_all_cores,
)
from mpc_sequencer.sim.simulation import Sent, Simulation
from mpc_sequencer.sim.workload import LOAD_MS, Workload

ROTATION_MS_MAX: Final = 300_000
"""From the heal until the last committee is in its epoch: attempts in which phases take their windows, and one that
failed before."""
SETTLE_MS: Final = 5_000
"""Until logs are durable, and old shares erased."""
ASK_EVERY_MS: Final = 250
"""How often operators look whether their committee is the one they want."""


@dataclass(slots=True)
class RotatedWatched(Watched):
    """People of a run: members of the first epoch, then joiners."""

    hosts: list[Host] = field(default_factory=list)
    committees: dict[int, Committee] = field(default_factory=dict)
    """By epoch."""

    def __post_init__(self) -> None:
        people = len(self.deployment.signers) + len(self.deployment.joiners)
        self.honest = frozenset(range(people)) - self.plan.byzantine
        self.correct = self.honest - self.plan.faulty
        self.committees = {0: self.deployment.committee}

    def epoch(self, node: int) -> int:
        return self.hosts[node].epoch if self.hosts else 0

    def committee(self, epoch: int) -> Committee | None:
        return self.committees.get(epoch)

    def number(self, node: int) -> int:
        return self.hosts[node].core.node if self.hosts else node

    def person(self, node: int, number: int) -> int | None:
        if number >= STRANGER:
            return number - STRANGER
        committee = self.hosts[node].core.committee
        keys = [one.consensus_key for one in committee.genesis.members]
        keys += [one.consensus_key for one in committee.joiners]
        signers = [*self.deployment.signers, *self.deployment.joiners]
        if number >= len(keys):
            return None
        return next(place for place, signer in enumerate(signers) if signer.public_key == keys[number])

    def people_of(self, committee: Committee) -> tuple[int, ...]:
        signers = [*self.deployment.signers, *self.deployment.joiners]
        places = {signer.public_key: place for place, signer in enumerate(signers)}
        return tuple(places[member.consensus_key] for member in committee.genesis.members)

    def state_after(self, node: int, block_id: bytes) -> OrderingState | None:
        entry = self.hosts[node].core.chain.entry(block_id)
        return None if entry is None else entry.state

    def handed_over(self, node: int, block_id: bytes) -> bool | None:
        state = self.state_after(node, block_id)
        return None if state is None else bool(state.handover)

    def begun(self, host: Host) -> None:
        """A member is in its next epoch."""
        self.committees.setdefault(host.epoch, host.core.committee)


class RotatedWorkload(Workload):
    """Traders ask who is a member of the newest epoch, or of the one before, as they know no better."""

    def _members(self) -> list[int]:
        hosts = self.cluster.hosts
        members = [host.place for host in hosts if host.core.node < host.core.committee.n]
        return members or list(range(self._deployment.committee.n))


class RotatedHarness(Harness):
    """One run. ``audited``: an honest member's log is audited across epochs as well."""

    def __init__(
        self,
        seed: int,
        nodes: int,
        faults: frozenset[str] = frozenset(),
        trace: Callable[[Sent], None] | None = None,
        *,
        shared: bool | None = None,
        rotation: RotationPlan | None = None,
        audited: bool = False,
    ) -> None:
        self.rotation = rotated_plan(seed, nodes, faults) if rotation is None else rotation
        self._audited = audited
        self.targets: list[tuple[Wish, NextCommittee]] = []
        """What is wished for, in order of time."""
        super().__init__(
            seed,
            nodes,
            faults,
            trace,
            shared=shared,
            plan=self.rotation.faults,
            generated=self.rotation.generated,
        )
        self.settle_ms = SETTLE_MS

    # --- parts --------------------------------------------------------------------------------------------------
    def _watch(self) -> RotatedWatched:
        rotation = self.rotation
        deployment = self._deployment(key_refresh_ms=rotation.refresh_ms, joiners=rotation.joiners)
        self.targets = [(one, deployment.next_committee(one.people, one.threshold)) for one in rotation.wishes]
        first_ms = min(one.at_ms for one in rotation.wishes)
        late = frozenset(person for person, at_ms in rotation.joins if at_ms >= first_ms)
        return RotatedWatched(deployment, self.plan, {}, late=late, strict_chain=False)

    def _checker_kinds(self) -> tuple[type[Checker], ...]:
        from mpc_sequencer.sim.checkers.audit import Audited

        return (*ROTATED_CHECKERS, Audited) if self._audited else ROTATED_CHECKERS

    def _simulation(self) -> RotatingSimulation:
        watched = self.watched
        assert isinstance(watched, RotatedWatched)
        simulation = RotatingSimulation(
            watched.deployment,
            self.rotation,
            seed=self.seed,
            observe=self._observe,
            trace=self._trace,
            begun=self._on_begun,
        )
        watched.hosts = simulation.hosts
        simulation.call(simulation.now_ms, partial(self._ask, simulation))
        return simulation

    def _on_begun(self, host: Host) -> None:
        assert isinstance(self.watched, RotatedWatched) and self.simulation is not None
        self.watched.begun(host)
        for tell in self.begun:
            tell(self.simulation.now_ms, host)

    def _workload(self, simulation: Simulation) -> Workload:
        return RotatedWorkload(simulation, random.Random(f"{self.seed}/{self.nodes}/load"), self.watched.sent)

    def _summary(self) -> str:
        return self.rotation.summary()

    # --- wishes -------------------------------------------------------------------------------------------------
    def _wanted(self, simulation: Simulation) -> NextCommittee | None:
        since_ms = simulation.now_ms - START_MS
        due = [target for wish, target in self.targets if wish.at_ms <= since_ms]
        return due[-1] if due else None

    def _ask(self, simulation: RotatingSimulation) -> None:
        """Operators say again what they want, until it is so."""
        wanted = self._wanted(simulation)
        if wanted is not None:
            simulation.wish(wanted)
        later = [START_MS + wish.at_ms for wish, _ in self.targets if START_MS + wish.at_ms > simulation.now_ms]
        simulation.call(min([simulation.now_ms + ASK_EVERY_MS, *later]), partial(self._ask, simulation))

    # --- timeline -----------------------------------------------------------------------------------------------
    def _trouble(self, simulation: Simulation, workload: Workload) -> None:
        """Load, faults and wishes, until the network is whole and everything has been wished for."""
        last_ms = max(wish.at_ms for wish in self.rotation.wishes)
        end_ms = START_MS + max(self.plan.end_ms, last_ms + INTERVAL_MS)
        while simulation.now_ms < end_ms:
            workload.schedule()
            self._advance(simulation, min(LOAD_MS, max(INTERVAL_MS, end_ms - simulation.now_ms)))

    def _settled(self, simulation: Simulation, last: NextCommittee, members: frozenset[int]) -> bool:
        """Whether all correct members of the last committee are in one epoch, and it is theirs."""
        hosts = [simulation.hosts[node] for node in members]
        return len({host.epoch for host in hosts}) == 1 and all(is_same(host.core.committee, last) for host in hosts)

    def _quiet(self, simulation: Simulation, members: frozenset[int]) -> bool:
        cores = [simulation.hosts[node].core for node in members]
        return all(core.succession.target is None and core.succession.outcome is None for core in cores)

    def _probe(self, simulation: Simulation, workload: Workload) -> None:
        healed_ms = simulation.now_ms
        wish, last = self.targets[-1]
        members = self.watched.correct & frozenset(wish.people)
        while not (self._settled(simulation, last, members) and self._quiet(simulation, members)):
            if simulation.now_ms - healed_ms >= ROTATION_MS_MAX:
                states = [
                    (host.place, host.epoch, host.core.chain.final_height, host.core.keygen.phase, host.core.over)
                    for host in simulation.hosts
                ]
                what = "(person, epoch, height, phase, over)"
                detail = f"no rotation {ROTATION_MS_MAX} ms after the heal; {what} {states}"
                self.watched.report("progress", max(one[2] for one in states), detail)
                return
            simulation.run(SLICE_MS * 4)
            if not (simulation.now_ms - healed_ms) % INTERVAL_MS:
                self._look(simulation)
        settled_ms = simulation.now_ms
        for turn in range(PROBES):
            if not self._probe_once(simulation, workload, turn, settled_ms, members):
                return
        self._progress_ms = simulation.now_ms - healed_ms

    def _certified(self, simulation: Simulation, order_id: bytes, members: frozenset[int]) -> bool:
        for node in members:
            core = simulation.hosts[node].core
            pooled = core.pool.get(order_id)
            if pooled is None or not pooled.sequenced_height:
                return False
            if min(core.execution.executed_height, core.execution.certified_height) < pooled.sequenced_height:
                return False
        return True


def simulate_rotated(seed: int, nodes: int, faults: frozenset[str]) -> RunReport:
    """Run one seed in which the committee is replaced; ``faults`` as :func:`mpc_sequencer.sim.plan.parse_faults` gives
    them with ``rotated``."""
    return RotatedHarness(seed, nodes, faults).run()


def _task(task: tuple[int, int, frozenset[str]]) -> RunReport:
    return simulate_rotated(*task)


def simulate_many_rotated(
    tasks: Iterable[tuple[int, int, frozenset[str]]], *, workers: int | None = None
) -> Iterator[RunReport]:
    """Reports as they come, from ``workers`` processes (all cores by default; 1 runs in this process)."""
    yield from on_all_cores(_task, tasks, workers=workers)
