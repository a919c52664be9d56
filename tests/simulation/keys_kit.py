"""Runs that are a key generation and nothing else, for tests of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mpc_sequencer.sim.checkers.keys import Keys
from mpc_sequencer.sim.network import FaultPlan
from mpc_sequencer.sim.outages import HostPlan, Outage
from mpc_sequencer.sim.run import SETTLE_MS, Harness
from mpc_sequencer.sim.simulation import Simulation
from mpc_sequencer.sim.workload import Workload
from threshold.dkg import Result


def quiet(nodes: int, **more: Any) -> FaultPlan:
    """A plan in which nothing goes wrong but what is named."""
    return replace(FaultPlan.quiet(nodes), **more)


def outage(node: int, at_ms: int, until_ms: int, **terms: Any) -> Outage:
    given = {"cause": "power", "moment": "between", "part_percent": 50, "linger_ms": 0, **terms}
    return Outage(node, at_ms, until_ms, **given)


class Generation(Harness):
    """A run that ends some time after the first member has the key: no orders."""

    def __init__(self, nodes: int, *, seed: int = 1, settle_ms: int = SETTLE_MS, **plan: Any) -> None:
        super().__init__(seed, nodes, frozenset(), plan=quiet(nodes, **plan), shared=True, generated=True)
        self._settle_ms = settle_ms

    def _trouble(self, simulation: Simulation, workload: Workload) -> None:
        self._advance(simulation, self._settle_ms)

    def _probe(self, simulation: Simulation, workload: Workload) -> None:
        pass

    @property
    def keys(self) -> Keys:
        """The checker of the key, with what it saw."""
        return next(one for one in self.checkers if isinstance(one, Keys))

    @property
    def result(self) -> Result:
        """The key as every member has it."""
        assert self.keys.certificate is not None
        return Result.decode(self.keys.certificate.result)

    def named(self) -> set[tuple[int, str]]:
        """(member, code): whom the members name, all the same, or the run has a violation."""
        return set().union(*self.keys.culprits.values())


def with_outages(*outages: Outage) -> dict[str, Any]:
    return {"hosts": HostPlan(outages)}
