"""Runs of dark programs in one process: dealt keys, shared books, and sessions whose network can be made to lie."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpc_sequencer.core.actions import BUY
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.dark.clearing import Batch, Plan, run
from mpc_sequencer.dark.field import Elements, SharedRows, to_bytes
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.dark.primitives import Shared
from mpc_sequencer.dark.program import Program
from mpc_sequencer.dark.prss import Prss, PrssKeys, prss_context, subsets, subsets_of
from mpc_sequencer.dark.rule import DarkOutcome, PlainOrder
from mpc_sequencer.dark.session import (
    Aborted,
    Begin,
    Blame,
    Clock,
    DarkSession,
    Done,
    Effect,
    Expired,
    Heard,
    Say,
    TimedOut,
)
from mpc_sequencer.dark.sharing import interpolate, share
from mpc_sequencer.dark.transcript import RoundShares, open_round

SESSION = bytes(range(32))
COIN = hashlib.sha256(b"coin").digest()


def params_of(parties: int = 5, faults_t: int = 1, ticks: int = 4, orders_max: int = 16, bits: int = 4) -> DarkParams:
    """A small market; prices 1..ticks."""
    slack = (ticks << bits).bit_length() + bits
    demonstration = parties < 4 * faults_t + 1
    return DarkParams(parties, faults_t, ticks, bits, slack, orders_max, 1, demonstration=demonstration)


def dealt_keys(parties: int, faults_t: int) -> list[PrssKeys]:
    """Keys as an agreement would leave them."""
    keys = {subset: hashlib.sha256(repr(subset).encode()).digest() for subset in subsets(parties, faults_t)}
    return [
        PrssKeys(parties, faults_t, party, {subset: keys[subset] for subset in subsets_of(parties, faults_t, party)})
        for party in range(parties)
    ]


def shared_of(parties: int, faults_t: int, attempt: int = 0) -> list[Shared]:
    """Every party's source of shared randomness for one attempt."""
    context = prss_context(bytes(32), 1, 1, 1, attempt)
    keys = dealt_keys(parties, faults_t)
    return [Shared(Prss(keys[party], parties, faults_t, party, context), faults_t) for party in range(parties)]


def elements(values: Sequence[int]) -> Elements:
    """Values, negative ones too, as field elements."""
    out = np.empty(len(values), dtype=object)
    out[:] = [int(value) % PRIME for value in values]
    return out


def shares_of(values: Elements, parties: int, degree: int, seed: int = 0) -> list[Elements]:
    """A sharing by a dealer of the test."""
    draw = random.Random(seed)
    return share(values, degree, parties, lambda count: elements([draw.randrange(PRIME) for _ in range(count)]))


def deposit_of(params: DarkParams, order: PlainOrder) -> Deposit:
    """A deposit that covers the order on either side, so that it does not tell which."""
    price = params.price_first_ticks + order.tick
    return Deposit(price * order.quantity_lots, order.quantity_lots)


def row_of(params: DarkParams, order: PlainOrder) -> Elements:
    """The row of a well-formed order."""
    price = params.price_first_ticks + order.tick
    return encode_order(params, order.side, price, order.quantity_lots, deposit_of(params, order), 7)


def batches_of(
    params: DarkParams, rows: Sequence[Elements], deposits: Sequence[Deposit], priority: Sequence[int], seed: int = 0
) -> list[Batch]:
    """Every party's batch."""
    columns = Layout.of(params).columns
    whole = np.concatenate([np.zeros(0, dtype=object), *rows])
    parts = shares_of(whole, params.parties, params.faults_t, seed)
    return [
        Batch(SharedRows.from_bytes(to_bytes(part), len(rows), columns), tuple(deposits), COIN, tuple(priority))
        for part in parts
    ]


def book_batches(params: DarkParams, orders: Sequence[PlainOrder], priority: Sequence[int]) -> list[Batch]:
    """Every party's batch of well-formed orders."""
    rows, deposits = [row_of(params, order) for order in orders], [deposit_of(params, order) for order in orders]
    return batches_of(params, rows, deposits, priority)


def random_book(seed: int, orders: int, ticks: int, quantity_max: int) -> tuple[list[PlainOrder], list[int]]:
    """Orders around the middle, and a priority."""
    draw = random.Random(seed)
    book = []
    for _ in range(orders):
        side = draw.choice((1, 2))
        middle = ticks / 2 + (1 if side == BUY else -1) * ticks / 16
        tick = min(max(int(draw.gauss(middle, ticks / 6)), 0), ticks - 1)
        book.append(PlainOrder(side, tick, draw.randint(1, quantity_max)))
    return book, draw.sample(range(orders), orders)


def with_coin(params: DarkParams, plan: Plan, shared: Shared, batch: Batch) -> Program[DarkOutcome]:
    """A whole batch, as parties compute it, whose coin and priority are the batch's, whatever was opened for them."""
    return (yield from run(params, plan, shared, lambda opened: batch))[1]


# --- in lockstep ------------------------------------------------------------------------------------------------------


@dataclass
class Lockstep:
    """The outcome that all parties agree on, and every opening by name: its values and each party's shares."""

    outcome: Any
    rounds: int
    opened: list[tuple[str, Elements]]
    shares: dict[str, tuple[int, list[Elements]]]


def lockstep(
    programs: Sequence[Program[Any]],
    faults_t: int,
    tamper: Callable[[str, Elements], Elements] | None = None,
) -> Lockstep:
    """Run all parties' programs without messages. Every opening must lie on one polynomial of its degree. ``tamper``
    changes opened values, for all parties alike."""
    parties = len(programs)
    steps = [next(program) for program in programs]
    seen = Lockstep(None, 0, [], {})
    while True:
        seen.rounds += 1
        received = {
            party: np.concatenate([np.zeros(0, dtype=object), *(opening.shares for opening in step.openings)])
            for party, step in enumerate(steps)
        }
        values, liars = open_round(steps[0], received, parties, faults_t)
        assert not liars
        if tamper is not None:
            values = tuple(tamper(one.name, value) for one, value in zip(steps[0].openings, values, strict=True))
        for at, opening in enumerate(steps[0].openings):
            assert all(step.openings[at].name == opening.name for step in steps)
            seen.opened.append((opening.name, values[at]))
            seen.shares[opening.name] = (opening.degree, [step.openings[at].shares for step in steps])
        following, outcomes = [], []
        for program in programs:
            try:
                following.append(program.send(values))
            except StopIteration as ended:
                outcomes.append(ended.value)
        if outcomes:
            assert not following
            seen.outcome = outcomes
            return seen
        steps = following


def opened_value(shares: Sequence[Elements]) -> Elements:
    """What all parties' shares of one vector add up to."""
    return interpolate(dict(enumerate(shares)))


# --- sessions ---------------------------------------------------------------------------------------------------------

Hook = Callable[[int, int, int, bytes], Sequence[bytes]]
"""``hook(sender, receiver, round, message)``: what reaches the receiver instead of the message."""


@dataclass
class Run:
    """What came out of a run, by party."""

    outcomes: dict[int, Any] = field(default_factory=dict)
    aborts: dict[int, Aborted] = field(default_factory=dict)
    blames: dict[int, list[Blame]] = field(default_factory=dict)
    sessions: list[DarkSession[Any]] = field(default_factory=list)
    bytes_said: dict[int, int] = field(default_factory=dict)
    time_outs: int = 0

    def blamed(self, party: int) -> set[tuple[int, str]]:
        """Whom ``party`` blames, for what."""
        return {(blame.party, blame.fault) for blame in self.blames[party]}


def run_local(
    programs: Sequence[Program[Any]],
    faults_t: int,
    hook: Hook | None = None,
    deaths: dict[int, int] | None = None,
    shuffle: int | None = None,
) -> Run:
    """Run one session per program to the end. ``deaths[party]`` is the first round whose message the party does not
    send; it does nothing more. When no message is under way, every clock that was started runs out; where there is
    none, the sessions expire. ``shuffle`` seeds a random order of delivery."""
    parties = len(programs)
    deaths = deaths or {}
    sessions = [DarkSession(SESSION, party, parties, faults_t, one) for party, one in enumerate(programs)]
    run = Run(sessions=sessions, blames={party: [] for party in range(parties)})
    run.bytes_said = dict.fromkeys(range(parties), 0)
    queue: list[tuple[int, int, bytes]] = []
    draw = random.Random(shuffle)
    dead: set[int] = set()
    clocks: dict[int, int] = {}

    def apply(party: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if party in dead:
                return
            if isinstance(effect, Say):
                if effect.round >= deaths.get(party, 1 << 30):
                    dead.add(party)
                    return
                run.bytes_said[party] += len(effect.message)
                for receiver in range(parties):
                    if receiver != party:
                        sent = [effect.message] if hook is None else hook(party, receiver, effect.round, effect.message)
                        queue.extend((receiver, party, message) for message in sent)
            elif isinstance(effect, Clock):
                clocks[party] = effect.round
            elif isinstance(effect, Blame):
                run.blames[party].append(effect)
            elif isinstance(effect, Done):
                run.outcomes[party] = effect.outcome
            else:
                assert isinstance(effect, Aborted)
                run.aborts[party] = effect

    for party, session in enumerate(sessions):
        apply(party, session.step(Begin()))
    while True:
        at = 0
        while at < len(queue):
            if shuffle is not None:
                other = draw.randrange(at, len(queue))
                queue[at], queue[other] = queue[other], queue[at]
            receiver, sender, message = queue[at]
            at += 1
            if receiver not in dead:
                apply(receiver, sessions[receiver].step(Heard(sender, message)))
        queue.clear()
        pending = [party for party, session in enumerate(sessions) if party not in dead and not session.ended]
        if not pending:
            return run
        run.time_outs += 1
        assert run.time_outs < 1000, "the run does not end"
        ringing = [party for party in pending if clocks.get(party) == sessions[party].round]
        for party in ringing or pending:
            apply(party, sessions[party].step(TimedOut(clocks[party]) if ringing else Expired()))


def payload_changed(message: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The message with another payload."""
    shares = decode(RoundShares, message)
    return encode(RoundShares(shares.session_id, shares.round, change(shares.payload)))


def one_more(payload: bytes) -> bytes:
    """The payload with its first share one larger, modulo the prime."""
    value = (int.from_bytes(payload[:12], "little") + 1) % PRIME
    return value.to_bytes(12, "little") + payload[12:]
