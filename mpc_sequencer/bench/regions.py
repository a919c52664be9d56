"""Latency of a committee spread over named regions, beside what the network alone would take.

Members sit in regions of ``sim/regions.json`` and a client in each of these regions; a link's one-way delay is half
the p50 ping between its ends. As the SDK does, a client sends each order to all members and calls it final, or
filled, when f+1 of them have reported the same. Two loads: *idle*, one order at a time into a quiet committee, and
*load*, orders at random times at a given rate. One maker's large resting order fills every order of the runs.

Beside each measured latency stand the floors of :mod:`mpc_sequencer.bench.floor`: for idle orders the floor of that
very order under the leader that took it, for the load the whole run on the network alone. ``ratio`` is the median over
the floor's median. Computing is charged by the fixed table of :mod:`mpc_sequencer.bench.costs`, or by the time really
taken.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from mpc_sequencer.bench.costs import COSTS_US
from mpc_sequencer.bench.floor import Geometry, Order, Reached, network_run, order_floor
from mpc_sequencer.bench.wan import Wan
from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import BUY, GTC, IOC, SELL
from mpc_sequencer.core.messages import ClientReply, OrdersExecuted, OrdersFinal, Submit
from mpc_sequencer.demo.summary import pair, percentile
from mpc_sequencer.sim.deployment import START_MS, Deployment, Trader, make_deployment
from mpc_sequencer.sim.network import region_round_trips_ms

TRADERS: Final = 8
PRICE_TICKS: Final = 618_000
MAKER_LOTS: Final = 1_000_000
WARM_UP_US: Final = 8_000_000
IDLE_GAP_US: Final = (2_500_000, 5_500_000)
ANSWER_US_MAX: Final = 60_000_000
ORDERS_MAX: Final = 10_000
EXPLAINED_ORDERS_MAX: Final = 26
RATE_PER_S_MAX: Final = 1_000.0
KINDS: Final = ("final", "fill")
LOADS: Final = ("idle", "load")
ORDER_FLOOR: Final = "order_floor"
NETWORK_RUN: Final = "network_run"
FLOORS: Final = (ORDER_FLOOR, NETWORK_RUN)
TIMERS: Final = ("LIST_INTERVAL_MS_MIN", "BLOCK_INTERVAL_MS_MIN", "FETCH_DELAY_MS")
COMPUTING: Final = "computing"


def regions_of(nodes: int) -> list[str]:
    """The regions of a committee of ``nodes``: in the file's order, from the first again where there are more."""
    names = list(region_round_trips_ms())
    return [names[i % len(names)] for i in range(nodes)]


def geometry_of(deployment: Deployment, regions: Sequence[str]) -> Geometry:
    """Half the p50 ping between all members, and between each member and a client in each region."""
    trips = region_round_trips_ms()
    committee = deployment.committee
    clients = list(dict.fromkeys(regions))

    def one_way_us(a: str, b: str) -> int:
        return round(trips[a][b] * 500)

    return Geometry.of(
        tuple(
            tuple(0 if i == j else one_way_us(a, b) for j, b in enumerate(regions)) for i, a in enumerate(regions)
        ),
        tuple(tuple(one_way_us(client, region) for region in regions) for client in clients),
        f=committee.f,
        q=committee.q,
        t=committee.t,
    )


@dataclass(slots=True)
class _Watched:
    """One order and the members that have reported it, in order of arrival."""

    order: Order
    final: dict[tuple[int, bytes], int] = field(default_factory=dict)
    executed: dict[tuple[int, int], int] = field(default_factory=dict)
    final_us: int | None = None
    fill_us: int | None = None


class _Trial:
    """A run with the clients' bookkeeping."""

    def __init__(self, nodes: int, seed: int, costs: Mapping[str, int] | None, targets: int) -> None:
        self.deployment = make_deployment(nodes, seed=seed, traders=TRADERS + 1)
        self.regions = regions_of(nodes)
        self.geometry = geometry_of(self.deployment, self.regions)
        self.targets = targets
        self.rng = random.Random(f"{seed}/{nodes}/regions")
        self.wan = Wan(self.deployment, self.geometry, costs, self._on_reply)
        self.watched: dict[bytes, _Watched] = {}
        self.unanswered = 0
        self._requests = 0

    def _nearest(self, client: int) -> tuple[int, ...]:
        delays_us = self.geometry.client_us[client]
        return tuple(sorted(sorted(range(self.geometry.n), key=lambda node: delays_us[node])[: self.targets]))

    def submit(self, client: int, trader: Trader, **terms: int) -> None:
        """Seal an order and send it to the client's members now."""
        now_us = self.wan.now_us
        envelope = self.deployment.order(trader, START_MS + now_us // 1_000, **terms)
        order = Order(now_us, client, self._nearest(client))
        self.watched[envelope.order_id()] = _Watched(order)
        self.unanswered += 1
        self._requests += 1
        for node in order.targets:
            self.wan.submit(client, node, Submit(self._requests, (envelope,), True))

    def taker(self, number: int) -> None:
        """An order that the maker's resting one fills."""
        trader = self.deployment.traders[1 + number % TRADERS]
        client = number % len(self.geometry.client_us)
        self.submit(client, trader, side=BUY, price_ticks=PRICE_TICKS, quantity_lots=1, time_in_force=IOC)

    def _on_reply(self, now_us: int, _client: int, _node: int, reply: ClientReply) -> None:
        enough = self.geometry.f + 1
        if isinstance(reply, OrdersFinal):
            for order_id in reply.order_ids:
                one, block = self.watched[order_id], (reply.height, reply.block_id)
                one.final[block] = one.final.get(block, 0) + 1
                if one.final_us is None and one.final[block] >= enough:
                    one.final_us = now_us
        elif isinstance(reply, OrdersExecuted):
            for row in reply.rows:
                one, outcome = self.watched[row.order_id], (reply.height, row.filled_lots)
                one.executed[outcome] = one.executed.get(outcome, 0) + 1
                if one.fill_us is None and one.executed[outcome] >= enough:
                    one.fill_us = now_us
                    self.unanswered -= 1

    def run(self, duration_us: int) -> None:
        self.wan.run(lambda: False, duration_us)

    def prepare(self) -> None:
        """The maker's order, and time for the committee to fall quiet."""
        maker = self.deployment.traders[0]
        self.submit(0, maker, side=SELL, price_ticks=PRICE_TICKS, quantity_lots=MAKER_LOTS, time_in_force=GTC)
        self.run(WARM_UP_US)
        self.watched.clear()
        self.unanswered = 0

    def finish(self) -> None:
        """Wait for all answers. Raises ``RuntimeError`` where some do not come."""
        if not self.wan.run(lambda: not self.unanswered, ANSWER_US_MAX):
            raise RuntimeError(f"{self.unanswered} orders have no outcome after {ANSWER_US_MAX // 1_000_000} s")

    def views(self) -> dict[bytes, int]:
        """By order: the view of the block that took it."""
        return {one.order_id: block.header.view for block in self.wan.blocks for one in block.batch}


@dataclass(frozen=True, slots=True)
class Measured:
    """Each order of a trial: what was measured, its own floor, and the network-only run of all of them."""

    orders: tuple[Order, ...]
    seen: tuple[Reached, ...]
    floors: tuple[Reached, ...]
    network: tuple[Reached, ...]
    heights: int
    costs_us: dict[str, float]


def idle_trial(
    nodes: int, orders: int, seed: int, costs: Mapping[str, int] | None = COSTS_US, targets: int = 0
) -> Measured:
    """``orders`` lone orders, regions in turn, each into a quiet committee."""
    trial = _Trial(nodes, seed, costs, targets or nodes)
    with trial.wan:
        trial.prepare()
        for number in range(orders):
            trial.run(trial.rng.randint(*IDLE_GAP_US))
            trial.taker(number)
            trial.finish()
        return _measured(trial)


def load_trial(
    nodes: int,
    orders: int,
    rate_per_s: float,
    seed: int,
    costs: Mapping[str, int] | None = COSTS_US,
    targets: int = 0,
) -> Measured:
    """``orders`` orders at random times, ``rate_per_s`` on average."""
    trial = _Trial(nodes, seed, costs, targets or nodes)
    with trial.wan:
        trial.prepare()
        at_us = trial.wan.now_us
        for number in range(orders):
            at_us += round(trial.rng.expovariate(rate_per_s) * 1e6)
            trial.wan.at(at_us, partial(trial.taker, number))
        trial.run(at_us - trial.wan.now_us)
        trial.finish()
        return _measured(trial)


def _measured(trial: _Trial) -> Measured:
    g, views = trial.geometry, trial.views()
    orders: list[Order] = []
    seen: list[Reached] = []
    floors: list[Reached] = []
    for order_id, one in trial.watched.items():
        assert one.final_us is not None and one.fill_us is not None
        view = views[order_id]
        orders.append(one.order)
        seen.append(Reached(one.final_us, one.fill_us, view))
        floors.append(order_floor(g, one.order, trial.deployment.committee.leader(view), view))
    network = network_run(g, orders, first_view=min(one.view for one in seen))
    return Measured(
        tuple(orders), tuple(seen), tuple(floors), tuple(network), len(trial.wan.blocks), trial.wan.measured_us()
    )


def latencies_ms(orders: Sequence[Order], reached: Sequence[Reached], kind: str) -> list[float]:
    """Milliseconds from submission, sorted; ``kind`` is one of KINDS."""
    name = f"{kind}_us"
    return sorted((getattr(one, name) - order.submitted_us) / 1_000 for order, one in zip(orders, reached, strict=True))


def summary(measured: Measured, against: str) -> dict[str, Any]:
    """Percentiles of the measured latency and of both floors, in ms; ``ratio`` is the median over that of ``against``,
    one of FLOORS."""
    result: dict[str, Any] = {"orders": len(measured.orders), "heights": measured.heights, "floor": against}
    floors = dict(zip(FLOORS, (measured.floors, measured.network), strict=True))
    for kind in KINDS:
        own = latencies_ms(measured.orders, measured.seen, kind)
        least = {name: latencies_ms(measured.orders, reached, kind) for name, reached in floors.items()}
        p50, floor_p50 = percentile(own, 0.5), percentile(least[against], 0.5)
        assert p50 is not None and floor_p50 is not None
        result[kind] = {
            **pair(own),
            **{name: pair(values) for name, values in least.items()},
            "ratio": round(p50 / floor_p50, 3),
        }
    if measured.costs_us:
        result["costs_us"] = measured.costs_us
    return result


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. ``targets`` is how many members, the nearest first, a client sends an order to (0: all)."""

    nodes: int = 13
    orders: int = 39
    rate_per_s: float = 20.0
    seed: int = 0
    targets: int = 0
    measured: bool = False


def run_regions(options: Options, costs: Mapping[str, int] = COSTS_US) -> dict[str, Any]:
    """Both loads: the object that ``bench regions --json`` prints. Raises ``ValueError`` for options out of range."""
    f = (options.nodes - 1) // 3
    if options.targets and not f < options.targets <= options.nodes:
        raise ValueError(f"an order goes to {f + 1} .. {options.nodes} members, not to {options.targets}")
    if not 1 <= options.orders <= ORDERS_MAX or not 0.1 <= options.rate_per_s <= RATE_PER_S_MAX:
        raise ValueError(f"1 .. {ORDERS_MAX} orders at 0.1 .. {RATE_PER_S_MAX} a second")
    charged = None if options.measured else costs
    where = (options.nodes, options.orders)
    idle = idle_trial(*where, options.seed, charged, options.targets)
    load = load_trial(*where, options.rate_per_s, options.seed, charged, options.targets)
    return {
        "nodes": options.nodes,
        "regions": regions_of(options.nodes),
        "seed": options.seed,
        "targets": options.targets or options.nodes,
        "computing": "measured" if options.measured else "table" if costs else "none",
        "idle": summary(idle, ORDER_FLOOR),
        "load": {"rate_per_s": options.rate_per_s, **summary(load, NETWORK_RUN)},
    }


@contextmanager
def _at_zero(timer: str) -> Iterator[None]:
    kept = getattr(limits, timer)
    setattr(limits, timer, 0)
    try:
        yield
    finally:
        setattr(limits, timer, kept)


def explain(options: Options) -> list[dict[str, Any]]:
    """The ratios with one local rule, or all computing, taken out of the run: what each of them costs. At most
    EXPLAINED_ORDERS_MAX orders of each load."""
    options = replace(options, orders=min(options.orders, EXPLAINED_ORDERS_MAX), measured=False)
    rows = []
    for name in ("", *TIMERS, COMPUTING):
        if name in TIMERS:
            with _at_zero(name):
                result = run_regions(options)
        else:
            result = run_regions(options, {} if name == COMPUTING else COSTS_US)
        ratios = {f"{load}_{kind}": result[load][kind]["ratio"] for load in LOADS for kind in KINDS}
        rows.append({"without": name, **ratios})
    return rows
