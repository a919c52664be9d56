"""The least time an order can take over a given network: the hops of the protocol, with no computing and no timers.

All times are integers in microseconds. A hop takes the one-way delay of its link; where several members must have
done something, the step ends with the k-th fastest of them, for this client, these members and this leader. The hops
of an order that leader L of view v takes:

    body       client -> member j; or, where j is not sent the order, a list that names it, a request and the body
               from a member that has it: three hops
    listed     j's list and head -> L; the (f+1)-th fastest lifts the order, and L itself holds the body
    proposed   not before L has left view v-1 and holds q heads of that view or a newer one
    voted      i has the proposal, has left view v-1, holds the body and the f+1 lists, or has asked L for them
    notarized  q notarize votes, or a certificate that another member forwards
    final      q finalize votes, sent on notarization, or a forwarded certificate; and the block
    opened     final here, and t bundles, sent on finality
    reported   f+1 members' reports back at the client: this is when the client calls it final, or filled

Two floors follow:

* :func:`order_floor`: the order alone, every member already in the view and every head at hand. No run of this
  protocol in which that leader takes the order is faster, whatever else happens in it.
* :func:`network_run`: all orders of a workload in one run in which each view follows the one before as fast as the
  hops allow, a leader proposes at the first moment at which it has something to propose (an order, or results to
  certify), and an order that comes too late for a proposal waits for the next view. This is the pattern of the
  protocol with nothing added, waiting for a block boundary included. It is not a bound for each single order: an
  order that just misses a proposal here may catch a later one of the same view in a slower run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NEVER_US: Final = 1 << 60
FETCH_HOPS: Final = 3
VIEWS_MAX: Final = 100_000

Times = list[int]
Delays = tuple[tuple[int, ...], ...]


def kth(values: Sequence[int], k: int) -> int:
    """The k-th smallest, counted from 1."""
    return sorted(values)[k - 1]


def relayed(one_way_us: Delays) -> Delays:
    """Delays where a message may be forwarded by members on the way: the shortest paths."""
    closed = [list(row) for row in one_way_us]
    members = range(len(closed))
    for via in members:
        for i in members:
            for j in members:
                closed[i][j] = min(closed[i][j], closed[i][via] + closed[via][j])
    return tuple(tuple(row) for row in closed)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Who is how far from whom. ``one_way_us[i][j]`` is from member i to member j, zero to itself;
    ``client_us[c][j]`` between client c and member j, either way. ``q`` votes certify, ``t`` bundles open."""

    one_way_us: Delays
    client_us: Delays
    f: int
    q: int
    t: int
    short_us: Delays

    @classmethod
    def of(cls, one_way_us: Delays, client_us: Delays, *, f: int, q: int, t: int) -> Geometry:
        """Raises ``ValueError`` where the delays are not square with a zero diagonal."""
        n = len(one_way_us)
        if any(len(row) != n for row in (*one_way_us, *client_us)) or any(one_way_us[i][i] for i in range(n)):
            raise ValueError("delays are one row per member, zero from a member to itself")
        return cls(one_way_us, client_us, f, q, t, relayed(one_way_us))

    @property
    def n(self) -> int:
        return len(self.one_way_us)


@dataclass(frozen=True, slots=True)
class Order:
    """One order: when client ``client`` sends it to which members."""

    submitted_us: int
    client: int
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reached:
    """When the client knew: final, and executed, by f+1 reports. ``view`` took the order."""

    final_us: int
    fill_us: int
    view: int


@dataclass(frozen=True, slots=True)
class _View:
    notarized_us: Times
    final_us: Times


def bodies_us(g: Geometry, order: Order) -> Times:
    """When each member has the order's body."""
    direct = [NEVER_US] * g.n
    for node in order.targets:
        direct[node] = order.submitted_us + g.client_us[order.client][node]
    return [min(direct[i] + FETCH_HOPS * g.short_us[i][j] for i in range(g.n)) for j in range(g.n)]


def _fastest_lists(g: Geometry, bodies: Times, leader: int) -> list[int]:
    """The f+1 members whose lists are first at the leader."""
    return sorted(range(g.n), key=lambda j: bodies[j] + g.one_way_us[j][leader])[: g.f + 1]


def lifted_us(g: Geometry, order: Order, leader: int) -> int:
    """When ``leader`` can put the order into a block: f+1 listings and the body."""
    bodies = bodies_us(g, order)
    last = _fastest_lists(g, bodies, leader)[-1]
    return max(bodies[last] + g.one_way_us[last][leader], bodies[leader])


def _ready_us(g: Geometry, order: Order, leader: int, proposed_us: int) -> Times:
    """When each member holds what it needs to judge a block with the order, proposed at ``proposed_us``."""
    bodies = bodies_us(g, order)
    lists = _fastest_lists(g, bodies, leader)
    ready = []
    for j in range(g.n):
        asked_us = proposed_us + 2 * g.one_way_us[leader][j] + g.one_way_us[j][leader]
        parts = [bodies[j], *(bodies[i] + g.one_way_us[i][j] for i in lists)]
        ready.append(max(min(part, asked_us) for part in parts))
    return ready


def _forwarded(g: Geometry, times: Times) -> Times:
    return [min(times[i] + g.short_us[i][j] for i in range(g.n)) for j in range(g.n)]


def _votes(g: Geometry, sent_us: Times) -> Times:
    """When each member holds q votes sent at ``sent_us``, or a certificate of them."""
    columns = range(g.n)
    own = [kth([sent_us[i] + g.one_way_us[i][j] for i in columns], g.q) for j in columns]
    return _forwarded(g, own)


def _view(g: Geometry, leader: int, proposed_us: int, entered_us: Times, ready_us: Times) -> _View:
    voted = [
        max(proposed_us + g.one_way_us[leader][j], entered_us[j], ready_us[j]) if j != leader else proposed_us
        for j in range(g.n)
    ]
    notarized = _votes(g, voted)
    certified = _votes(g, notarized)
    final = [max(certified[j], proposed_us + g.short_us[leader][j], ready_us[j]) for j in range(g.n)]
    return _View(notarized, final)


def _opened(g: Geometry, final_us: Times) -> Times:
    return [
        max(final_us[j], kth([final_us[i] + g.one_way_us[i][j] for i in range(g.n)], g.t)) for j in range(g.n)
    ]


def _reported(g: Geometry, order: Order, at_us: Times) -> int:
    return kth([at_us[j] + g.client_us[order.client][j] for j in order.targets], g.f + 1)


def order_floor(g: Geometry, order: Order, leader: int, view: int = 0) -> Reached:
    """The least time for an order that ``leader`` takes; a bound for every run."""
    proposed_us = lifted_us(g, order, leader)
    ready = _ready_us(g, order, leader, proposed_us)
    done = _view(g, leader, proposed_us, [0] * g.n, ready)
    opened = _opened(g, done.final_us)
    return Reached(_reported(g, order, done.final_us), _reported(g, order, opened), view)


def network_run(g: Geometry, orders: Sequence[Order], *, first_view: int = 1) -> list[Reached]:
    """What becomes of ``orders`` (ascending by submission) when nothing but the network takes time; view v's leader
    is member ``v mod n``. Raises ``ValueError`` where they do not fit VIEWS_MAX views."""
    waiting = list(enumerate(orders))
    reached: dict[int, Reached] = {}
    before, entered = [0] * g.n, [0] * g.n  # when members entered the last view, and the present one
    opened_before = [0] * g.n
    uncertified: list[Times] = []
    for view in range(first_view, first_view + VIEWS_MAX):
        if not waiting:
            return [reached[index] for index in range(len(orders))]
        leader = view % g.n
        heads_us = kth([before[j] + g.one_way_us[j][leader] for j in range(g.n)], g.q)
        results_us = [kth([done[j] + g.one_way_us[j][leader] for j in range(g.n)], g.q) for done in uncertified]
        lifts_us = {index: lifted_us(g, order, leader) for index, order in _soon(waiting, entered[leader])}
        proposed_us = max(entered[leader], heads_us, min([*results_us, *lifts_us.values()]))
        uncertified = [done for done, at in zip(uncertified, results_us, strict=True) if at > proposed_us]
        batch = [(index, order) for index, order in waiting if lifts_us.get(index, NEVER_US) <= proposed_us]
        waiting = [(index, order) for index, order in waiting if lifts_us.get(index, NEVER_US) > proposed_us]
        ready = [0] * g.n
        for _, order in batch:
            ready = [max(pair) for pair in zip(ready, _ready_us(g, order, leader, proposed_us), strict=True)]
        done_view = _view(g, leader, proposed_us, entered, ready)
        if batch:
            opened = [max(pair) for pair in zip(_opened(g, done_view.final_us), opened_before, strict=True)]
            opened_before = opened
            uncertified.append(opened)
            for index, order in batch:
                final_us = _reported(g, order, done_view.final_us)
                reached[index] = Reached(final_us, _reported(g, order, opened), view)
        before, entered = entered, done_view.notarized_us
    raise ValueError(f"{len(waiting)} orders are left after {VIEWS_MAX} views")


SOON_US: Final = 2_000_000


def _soon(waiting: list[tuple[int, Order]], now_us: int) -> list[tuple[int, Order]]:
    """Orders that may be lifted in a view entered at ``now_us``: those sent until then, or soon after the first."""
    until_us = max(now_us, waiting[0][1].submitted_us) + SOON_US
    return [(index, order) for index, order in waiting if order.submitted_us <= until_us]
