"""What the tests of leakage share: two inputs with the same public outcome, and what a coalition sees of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from dark_runs import dealt_keys, params_of, shares_of

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark import primitives
from mpc_sequencer.dark.clearing import Plan
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.layout import Deposit, encode_order
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.program import Program
from mpc_sequencer.dark.prss import Prss, Subset, prss_context, subsets_of
from mpc_sequencer.dark.rule import PlainOrder

CONTEXT = prss_context(bytes(32), 1, 1, 1, 0)
PARTIES, FAULTS_T = 5, 1
BLIND: Subset = (1, 2, 3, 4)
"""The key that the coalition, party 0 alone, does not hold."""
SEEN = 3
"""Parties that are run: their shares determine all polynomials of degree 2t, so the other two's are a repetition."""
SAMPLES = 600
PARAMS = params_of(ticks=3, orders_max=8, bits=2)
BITS = 6
TRADED = [PlainOrder(BUY, 1, 2), PlainOrder(SELL, 1, 1)]
IDLE = [PlainOrder(BUY, 0, 2), PlainOrder(SELL, 2, 2), PlainOrder(SELL, 2, 0)]
"""With any of them the same trades at tick 1."""
DEPOSIT = Deposit(quote_tick_lots=8, base_lots=3)
FIRST, SECOND = "first", "second"
PLAN = Plan.of(PARAMS, 1, 1)
BOOK = ([*TRADED, IDLE[0]], [2, 0, 1])

# --- one polynomial, and what a coalition knows of it -----------------------------------------------------------------


def coefficients(shares: Sequence[Elements]) -> tuple[Elements, Elements]:
    """The value at 0 and the leading coefficient of polynomials of degree 2 through three shares."""
    one, two, three = shares
    return (3 * one - 3 * two + three) % PRIME, (one - 2 * two + three) * ((PRIME + 1) // 2) % PRIME


class Blinded(Prss):
    """What the coalition knows of a party's shared randomness: everything but the stream of :data:`BLIND`."""

    def _streams(self, kind: int, bits: int, count: int, size: int, label: str) -> list[Any]:
        streams = super()._streams(kind, bits, count, size, label)
        own = subsets_of(PARTIES, FAULTS_T, self.party)
        return [stream * 0 if subset == BLIND else stream for subset, stream in zip(own, streams, strict=True)]


def sources(kind: type[Prss] = Prss) -> list[Prss]:
    keys = dealt_keys(PARTIES, FAULTS_T)
    return [kind(keys[party], PARTIES, FAULTS_T, party, CONTEXT) for party in range(SEEN)]


@dataclass
class View:
    """Of every opening by name: value and leading coefficient, and both less what the hypothesis explains."""

    value: dict[str, Elements] = field(default_factory=dict)
    lead: dict[str, Elements] = field(default_factory=dict)
    unexplained: dict[str, Elements] = field(default_factory=dict)
    joined: list[tuple[Elements, Elements]] = field(default_factory=list)
    """The coalition's own shares of what it joined: less, equal."""


def observe(make: Callable[[Shared, int], Program[Any]], suppose: Callable[[Shared, int], Program[Any]]) -> View:
    """Run a program, and beside it what the coalition supposes the others compute; both are sent what was opened."""
    view = View()
    with recorded_joins(view):
        real = [make(Shared(source, FAULTS_T), party) for party, source in enumerate(sources())]
        supposed = [suppose(Shared(source, FAULTS_T), party) for party, source in enumerate(sources(Blinded))]
        steps, guesses = [next(one) for one in real], [next(one) for one in supposed]
        while True:
            opened = []
            for at, opening in enumerate(steps[0].openings):
                shares = [step.openings[at].shares for step in steps]
                guessed = [guess.openings[at].shares for guess in guesses]
                assert (shares[0] == guessed[0]).all()
                view.value[opening.name], view.lead[opening.name] = coefficients(shares)
                assert opening.degree == 2 or not view.lead[opening.name].any()
                view.unexplained[opening.name] = (view.lead[opening.name] - coefficients(guessed)[1]) % PRIME
                opened.append(view.value[opening.name])
            try:
                steps = [one.send(tuple(opened)) for one in real]
            except StopIteration:
                return view
            guesses = [one.send(tuple(opened)) for one in supposed]


@contextmanager
def recorded_joins(view: View) -> Iterator[None]:
    original = primitives._join

    def join(shared: Shared, less: Elements, equal: Elements, name: str) -> Program[Any]:
        result = yield from original(shared, less, equal, name)
        if shared.prss.party == 0 and not isinstance(shared.prss, Blinded):
            view.joined += [(less, equal), result]
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(primitives, "_join", join)
        yield


def own(kind: str, count: int, label: str) -> Elements:
    """The coalition's share of shared randomness."""
    return getattr(sources()[0], kind)(count, label)


def known(kind: str, count: int, *rest: Any) -> tuple[Elements, Elements]:
    """Value and leading coefficient of what the coalition's keys contribute."""
    return coefficients([getattr(source, kind)(count, *rest) for source in sources(Blinded)])


def sharing(value: int, seed: int) -> list[Elements]:
    """Shares of many samples of one value."""
    return shares_of(np.array([value] * SAMPLES, dtype=object), PARTIES, FAULTS_T, seed)


def supposed_shares(share: Elements, value: int | Elements, party: int) -> Elements:
    """What ``party`` holds if the coalition's share is ``share`` and the value ``value``."""
    return (value + (share - value) * (party + 1)) % PRIME


def encoded(params: DarkParams, order: PlainOrder) -> Elements:
    """The order's row under a deposit that is the same for all."""
    return encode_order(params, order.side, 1 + order.tick, order.quantity_lots, DEPOSIT, 7)
