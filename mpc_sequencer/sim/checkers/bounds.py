"""Memory of honest members, by named counters, each against the bound it was given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.fetch import WANTS_MAX, WANTS_PER_MEMBER_MAX
from mpc_sequencer.core.lists import HEADS_KEPT, LISTS_AHEAD_MAX
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.peers import BODIES_QUEUED_PER_MEMBER_MAX, UNCHECKED_BLOCKS_MAX
from mpc_sequencer.core.reveal import EARLY_BUNDLES_PER_MEMBER_MAX
from mpc_sequencer.core.status import OUTCOMES_KEPT
from mpc_sequencer.sim.checkers.base import Checker
from mpc_sequencer.sim.simulation import Simulation

OVERDUE_HEIGHTS: Final = 8
"""So many heights may become final between two looks at the bodies that can go."""


def overdue(core: NodeCore) -> int:
    """Bodies of executed orders that nothing keeps and that should be gone."""
    final_height = core.chain.final_height - limits.BODIES_KEPT_HEIGHTS - OVERDUE_HEIGHTS
    through = min(final_height, core.execution.executed_height - OVERDUE_HEIGHTS)
    listed_through = core.listed_through()
    return sum(
        0 < one.sequenced_height <= through and not one.pins and one.list_number <= listed_through
        for one in core.pool._orders.values()
    )


class Memory(Checker):
    """Nothing that peers or clients send makes a member hold more than the bounds say."""

    name = "memory"

    def at_interval(self, simulation: Simulation) -> None:
        for node in sorted(self.watched.honest - simulation.stopped):
            core = simulation.hosts[node].core
            for counter, held, bound in self._counters(core):
                if held > bound:
                    self.report(core.chain.final_height, f"member {node} holds {held} {counter}, bound {bound}")

    def at_end(self, simulation: Simulation) -> None:
        self.at_interval(simulation)

    def _counters(self, core: NodeCore) -> Iterator[tuple[str, int, int]]:
        n, simplex = core.committee.n, core.simplex
        yield "orders", len(core.pool) + core.pool.past_orders, len(self.watched.sent)
        yield "bodies of orders that are over", overdue(core), 0
        yield "outcomes", len(core.board._outcomes), OUTCOMES_KEPT
        yield "rounds", len(simplex._rounds), simplex.view - simplex.final_view + limits.VIEWS_AHEAD_MAX + 1
        yield "blocks", len(core.chain._entries), limits.BLOCKS_KEPT_HEIGHTS + limits.VIEWS_AHEAD_MAX
        yield "rounds before the final view", sum(view < simplex.final_view for view in simplex._rounds), 0
        final_height = core.chain.final_height
        stale = sum(state.height < final_height for state in core.chain._states.values())
        yield "states of blocks before the final one", stale, 0
        yield "block states", len(core.chain._states), limits.VIEWS_AHEAD_MAX
        yield "waiting blocks", len(core.application.waits), limits.VIEWS_AHEAD_MAX
        yield "unchecked blocks", len(core.peers._unchecked), n * UNCHECKED_BLOCKS_MAX
        yield "bodies to verify", max(count for count, _ in core.peers._queued), BODIES_QUEUED_PER_MEMBER_MAX
        yield "bodies wanted of one member", max(core.fetcher._gossiped), WANTS_PER_MEMBER_MAX
        yield "bodies wanted", len(core.fetcher._bodies), WANTS_MAX + n * WANTS_PER_MEMBER_MAX
        yield "blocks wanted", len(core.fetcher._blocks), limits.VIEWS_AHEAD_MAX
        early = max((len(bundles) for bundles in core.reveal._early.values()), default=0)
        yield "early bundles of one member", early, EARLY_BUNDLES_PER_MEMBER_MAX
        yield "own bundles", len(core.reveal._own_bundles), limits.BLOCKS_KEPT_HEIGHTS
        for author in core.lists._authors:
            yield "lists of one member", len(author.lists), LISTS_AHEAD_MAX + limits.LISTS_PER_MEMBER_MAX
            yield "orphan lists of one member", len(author.orphans), limits.ORPHAN_LISTS_MAX
            yield "list variants of one member", len(author.variants), LISTS_AHEAD_MAX
            yield "heads of one member", len(author.heads), HEADS_KEPT
