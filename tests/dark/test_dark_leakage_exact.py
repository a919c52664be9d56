"""What t parties see of a dark batch: parts 1 and 2 of the argument in test_dark_leakage.py, which are exact."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from dark_runs import COIN, book_batches, dealt_keys, lockstep, params_of, shared_of, with_coin
from dark_views import (
    BOOK,
    CONTEXT,
    DEPOSIT,
    IDLE,
    TRADED,
    encoded,
)

from mpc_sequencer.dark.clearing import Batch, Plan
from mpc_sequencer.dark.field import Elements, SharedRows, to_bytes
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.prss import KEY_BYTES, Prss, PrssKeys, Subset, subsets, subsets_of
from mpc_sequencer.dark.sharing import interpolate


class Stirred(Prss):
    """Draws the kinds of randomness named in ``stirred`` from other keys than the rest."""

    def __init__(self, keys: PrssKeys, others: PrssKeys, stirred: Sequence[str]) -> None:
        arguments = (keys.parties, keys.faults_t, keys.party, CONTEXT)
        super().__init__(keys, *arguments)
        self._other, self._stirred = Prss(others, *arguments), stirred

    def zero(self, count: int, label: str) -> Elements:
        return self._other.zero(count, label) if "zero" in self._stirred else super().zero(count, label)

    def random(self, count: int, label: str) -> Elements:
        return self._other.random(count, label) if "random" in self._stirred else super().random(count, label)

    def bounded(self, count: int, bits: int, label: str) -> Elements:
        source = self._other if "bounded" in self._stirred else super()
        return source.bounded(count, bits, label)


def stirred_run(parties: int, faults_t: int, blind: Subset, stirred: Sequence[str]) -> Any:
    """A batch in which the key of ``blind`` is another one for what is ``stirred``."""
    params = params_of(parties, faults_t, ticks=3, orders_max=8, bits=2)
    programs = []
    for keys, batch in zip(dealt_keys(parties, faults_t), book_batches(params, *BOOK), strict=True):
        held = dict(zip(subsets_of(parties, faults_t, keys.party), keys.in_order(), strict=True))
        held.update({blind: bytes(KEY_BYTES)} if blind in held else {})
        others = PrssKeys(parties, faults_t, keys.party, held)
        shared = Shared(Stirred(keys, others, stirred), faults_t)
        programs.append(with_coin(params, Plan.of(params, 1, 1), shared, batch))
    return lockstep(programs, faults_t)


BLINDS = [(5, 1, blind) for blind in subsets(5, 1)] + [(9, 2, subsets(9, 2)[at]) for at in (0, 17)]


@pytest.mark.parametrize(("parties", "faults_t", "blind"), BLINDS)
def test_the_key_outside_any_coalition_re_randomises_every_doubled_opening(
    parties: int, faults_t: int, blind: Subset
) -> None:
    plain, other = (stirred_run(parties, faults_t, blind, stirred) for stirred in ((), ("zero",)))
    assert plain.outcome == other.outcome
    for (name, values), (_, others) in zip(plain.opened, other.opened, strict=True):
        assert (values == others).all(), name
    for name, (degree, shares) in plain.shares.items():
        for party, (one, two) in enumerate(zip(shares, other.shares[name][1], strict=True)):
            moves = degree == 2 * faults_t and party in blind
            assert ((one != two) if moves else (one == two)).all(), (name, party)


@pytest.mark.parametrize(("parties", "faults_t", "blind"), BLINDS[::3])
def test_the_key_outside_any_coalition_masks_every_value_that_the_outcome_does_not_tell(
    parties: int, faults_t: int, blind: Subset
) -> None:
    plain, other = (stirred_run(parties, faults_t, blind, stirred) for stirred in ((), ("random", "bounded")))
    assert plain.outcome == other.outcome
    told = {"validity", "crossing/0", "cut/0", "fills"}
    for (name, values), (_, others) in zip(plain.opened, other.opened, strict=True):
        assert (values == others).all() if name in told else (values != others).all(), name


@pytest.mark.parametrize(("parties", "faults_t"), [(5, 1), (9, 2)])
def test_polynomials_of_the_fills_say_nothing_beside_the_fills(parties: int, faults_t: int) -> None:
    """Books of the same outcome, dealt so that the coalition has the same shares: the same shares of all parties."""
    params = params_of(parties, faults_t, ticks=3, orders_max=8, bits=2)
    plan = Plan.of(params, 1, 1)
    draw, columns = random.Random(31), Layout.of(params).columns
    held = [np.array([draw.randrange(PRIME) for _ in range(3 * columns)], dtype=object) for _ in range(faults_t)]
    seen = []
    for idle in IDLE:
        whole = np.concatenate([encoded(params, order) for order in (*TRADED, idle)])
        # party -1 stands at point 0
        fixed = {-1: whole, **dict(enumerate(held))}
        programs = []
        for party, shared in enumerate(shared_of(parties, faults_t)):
            part = held[party] if party < faults_t else interpolate(fixed, party + 1)
            rows = SharedRows.from_bytes(to_bytes(part), 3, columns)
            batch = Batch(rows, (DEPOSIT,) * 3, COIN, (2, 0, 1))
            programs.append(with_coin(params, plan, shared, batch))
        seen.append(lockstep(programs, faults_t))
    assert seen[0].outcome[0].crossed
    for other in seen[1:]:
        assert other.outcome == seen[0].outcome
        for one, two in zip(seen[0].shares["fills"][1], other.shares["fills"][1], strict=True):
            assert (one == two).all()
    degree, shares = seen[0].shares["fills"]
    assert degree == faults_t
    assert len({tuple(one) for one in shares}) == parties  # they are sharings, not the values themselves
