"""Who sends which order when: the trace laid over the demo's accounts and duration, fixed by a seed.

Without a rate the trace keeps its own pace. With one, as many orders as the duration needs are taken from a
place in the trace that the seed chooses (starting over at its end) and their times are stretched or
squeezed evenly, so bursts stay bursts.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.actions import GTC, IOC
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.demo.trace import MarketEvent

ACCOUNTS: Final = 40
MAKERS: Final = 8
"""The first accounts quote, the others take."""
FIRST_NONCE_MAX: Final = 1_000
ORDERS_MAX: Final = 200_000
NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order of account number ``account`` at ``at_s`` seconds of the run."""

    at_s: float
    account: int
    nonce: int
    side: int
    time_in_force: int
    price_ticks: int
    quantity_lots: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All orders of a run, in time order, and the first unused nonce of each account."""

    orders: tuple[PlannedOrder, ...]
    next_nonces: tuple[int, ...]


def account_secret(seed: int, number: int) -> bytes:
    """The devnet key of a trader of the demo. Derived, so that a seed gives the same accounts again."""
    return hashlib.sha256(b"mpc_sequencer demo account %d %d" % (seed, number)).digest()


def make_plan(
    trace: Sequence[MarketEvent], *, duration_s: float, rate_per_s: float | None, seed: int
) -> Plan:
    """The orders of a run. Raises :class:`ConfigError` where they would be too many."""
    rng = random.Random(seed)
    times_s, events = _at_own_pace(trace, duration_s, rng)
    if rate_per_s is not None:
        times_s, events = _at_rate(trace, duration_s, rate_per_s, rng)
    if not 0 < len(events) <= ORDERS_MAX:
        raise ConfigError(
            f"{len(events)} orders in {duration_s:g} s",
            f"choose --duration and --rate for 1 to {ORDERS_MAX} orders",
        )
    nonces = [rng.randint(1, FIRST_NONCE_MAX) for _ in range(ACCOUNTS)]
    orders = []
    for at_s, event in zip(times_s, events, strict=True):
        account = rng.randrange(MAKERS) if event.maker else rng.randrange(MAKERS, ACCOUNTS)
        orders.append(
            PlannedOrder(
                at_s=at_s,
                account=account,
                nonce=nonces[account],
                side=event.side,
                time_in_force=GTC if event.maker else IOC,
                price_ticks=event.price_ticks,
                quantity_lots=event.quantity_lots,
            )
        )
        nonces[account] += 1
    return Plan(tuple(orders), tuple(nonces))


def _at_own_pace(
    trace: Sequence[MarketEvent], duration_s: float, rng: random.Random
) -> tuple[list[float], list[MarketEvent]]:
    """The events of ``duration_s`` seconds from a place the seed chooses; a longer run starts over."""
    length_s = trace[-1].at_ns / NANOSECONDS + 0.001
    offset_s = rng.uniform(0, max(0.0, length_s - duration_s))
    times_s: list[float] = []
    events: list[MarketEvent] = []
    lap_s = 0.0
    while lap_s < offset_s + duration_s and len(events) <= ORDERS_MAX:
        for event in trace:
            at_s = event.at_ns / NANOSECONDS + lap_s - offset_s
            if 0 <= at_s < duration_s:
                times_s.append(at_s)
                events.append(event)
        lap_s += length_s
    return times_s, events


def _at_rate(
    trace: Sequence[MarketEvent], duration_s: float, rate_per_s: float, rng: random.Random
) -> tuple[list[float], list[MarketEvent]]:
    """``duration_s * rate_per_s`` successive events, their times scaled to fill the duration."""
    count = max(1, round(duration_s * rate_per_s))
    if count > ORDERS_MAX:
        raise ConfigError(
            f"{count} orders in {duration_s:g} s",
            f"choose --duration and --rate for 1 to {ORDERS_MAX} orders",
        )
    first = rng.randrange(len(trace))
    length_ns = trace[-1].at_ns + 1_000_000
    chosen = [divmod(first + index, len(trace)) for index in range(count)]
    times_ns = [lap * length_ns + trace[index].at_ns for lap, index in chosen]
    span_ns = max(1, times_ns[-1] - times_ns[0])
    scale_s = duration_s * (count - 1) / count / span_ns
    return [(at_ns - times_ns[0]) * scale_s for at_ns in times_ns], [trace[index] for _, index in chosen]
