"""A broken rule of the succession is caught: by which checker, within a few runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import pytest
from rotations_kit import rotation

from mpc_sequencer.core import chain, cutover
from mpc_sequencer.core.keyshares import KeyShares
from mpc_sequencer.core.ordering import state
from mpc_sequencer.sim import rotated
from mpc_sequencer.sim.rotated import RotatedHarness

Patch = pytest.MonkeyPatch
derive: Any = import_module("mpc_sequencer.core.ordering.derive")


def _batches_after_the_handover(patch: Patch) -> None:
    honest = derive._fill_batch

    def fill(parent: Any, queue: Any, time_ms: int, bonds_wei: Any, lagging: bool, room: int) -> Any:
        return honest(parent, queue, time_ms, bonds_wei, lagging and not parent.handover, room)

    patch.setattr(derive, "_fill_batch", fill)


def _counts_blocks_after_the_last(patch: Patch) -> None:
    patch.setattr(chain.Chain, "ended", property(lambda self: False))


def _ends_before_results_are_certified(patch: Patch) -> None:
    honest = derive._hand_over

    def hand_over(parent: Any, words: Any, quorum: int) -> dict[str, Any]:
        return {**honest(parent, words, quorum), "ended": bool(parent.handover)}

    patch.setattr(derive, "_hand_over", hand_over)


def _keeps_old_shares(patch: Patch) -> None:
    patch.setattr(KeyShares, "retire", lambda self: None)


def _takes_no_orders_along(patch: Patch) -> None:
    patch.setattr(cutover, "_inherited", lambda core: iter(()))


def _drops_the_queue(patch: Patch) -> None:
    honest = state.epoch_state

    def epoch_state(last: Any, members: int, *, placed: bool) -> Any:
        return replace(honest(last, members, placed=placed), queue=())

    patch.setattr(cutover, "epoch_state", epoch_state)


@dataclass(frozen=True)
class Mutation:
    """A broken rule, what it takes to show, and the checkers of which one must notice."""

    name: str
    apply: Callable[[Patch], None]
    checkers: frozenset[str]
    plan: dict[str, Any] = field(default_factory=dict)
    seeds: int = 3


def _by(*names: str) -> frozenset[str]:
    return frozenset(names)


MUTATIONS = [
    Mutation("batches after the handover", _batches_after_the_handover, _by("handover")),
    Mutation("counts blocks after the last", _counts_blocks_after_the_last, _by("progress", "epochs")),
    Mutation(
        "ends before results are certified", _ends_before_results_are_certified, _by("handover"), {"jitter_ms": 80}
    ),
    Mutation("keeps old shares", _keeps_old_shares, _by("vaults"), {"generated": True}),
    Mutation("takes no orders along", _takes_no_orders_along, _by("kept", "progress")),
    Mutation("drops the queue", _drops_the_queue, _by("kept")),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_rule_of_the_succession_is_caught(mutation: Mutation, monkeypatch: Patch) -> None:
    monkeypatch.setattr(rotated, "ROTATION_MS_MAX", 15_000)
    mutation.apply(monkeypatch)
    noticed: set[str] = set()
    for seed in range(mutation.seeds):
        report = RotatedHarness(seed, 4, rotation=rotation(seed=seed, **mutation.plan)).run()
        noticed |= {one.checker for one in report.violations}
        if mutation.checkers & noticed:
            return
    pytest.fail(f"{mutation.seeds} runs, noticed only by {sorted(noticed)}")
