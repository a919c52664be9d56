"""Receive order: which orders' places are settled, and in which order a batch's orders were received.

After Kelkar, Deb, Long, Juels and Kannan, "Themis: Fast, Strong Order-Fairness in Byzantine Consensus" (CCS 2023,
ePrint 2021/1465), with gamma = 1 and n >= 4f+1: if all honest members list a before b, b is in no earlier batch than
a, and inside a batch b is not before a unless both are in one cycle of such contradictory claims.

A member places a before b if its included lists name a first, or name a and not b: its lists are cumulative and
chained, so b can only follow, and what a member said of a pair never changes. ``weight(a, b)`` counts these members.
An order listed by f+1 members is *shaded*, by ``n - 2f`` *solid*. Two relations follow:

* a *binds* b if ``weight(a, b) > f`` and ``weight(b, a) <= f``: all honest members may have a before b. If they have,
  then at the latest when b is solid at least ``n - 3f >= f+1`` of them have named both, so a is lifted and binds b.
* a *leads* b if ``weight(a, b) > f`` and ``weight(a, b) > weight(b, a)``: the majority. What binds also leads.

**Which orders are eligible.** Solid ones that no shaded order binds, directly or through other solid ones; the rest is
deferred. All positions that decide a batch are in its block and its ancestors, before anything is decrypted.

**Their order.** The leading relation's strongly connected components in topological order; inside a component those
of the binding relation; what is then in one cycle, or not related at all, in the order given (a draw nobody could
know). A batch that overflows is cut along the same order, whole components as long as they fit.

Where this deviates from Themis, and why:

* Themis puts shaded orders into a proposal and finalizes their order later. Here a final batch is decrypted at once:
  a place found afterwards would be found by members that have read the order. So shaded orders wait.
* Themis has one relation, by majority. Deferring by it, a shaded order that some honest members refuse to list could
  hold others until it expires. The binding relation defers only for what gamma = 1 promises, and the wait ends: once
  every honest member's listing of b is included, at least f+1 honest members have b and lack any shaded order, so
  none binds b directly. A chain goes on only while new orders keep reaching nearly all members before the last one
  that holds b does.
* Equal weights relate nothing: an edge by a fixed rule, such as the smaller id, could be ground for.
* A cycle of majorities is split by the binding relation before a draw decides. With all honest members' listings a
  binding cycle takes four orders or more, of which each member contradicts a pair; three races do not make one.

numpy compares ranks for all pairs of one member at once; graphs are walked over rows as bit sets, so that a dense
graph costs a pass over its rows and not over its edges. Milliseconds of one core for orders that five members list
within jitter of each other:

    orders                              32    128    512   1024
    fair_order                         0.4    1.8     16     50
    the same in plain Python loops     0.6     19    350   1700
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering.state import Positions

_Flags = NDArray[np.bool_]
_Counts = NDArray[np.uint8]
_Ranks = list[NDArray[np.int16]]
"""Per member: each order's place among those it listed; one beyond all of them for an order it did not list."""


def eligible(
    order_ids: Iterable[bytes], positions: Mapping[bytes, Positions], *, faults: int, solid: int
) -> list[bytes]:
    """Of lifted orders (in queue order, each valid now and covered) those whose place is settled, in queue order.

    Only the first RECEIVE_WINDOW_ORDERS solid and as many shaded ones are compared: beyond them solid orders wait,
    and shaded ones hold nothing back.
    """
    settled: list[bytes] = []
    shaded: list[bytes] = []
    for order_id in order_ids:
        group = settled if len(positions[order_id]) >= solid else shaded
        if len(group) < limits.RECEIVE_WINDOW_ORDERS:
            group.append(order_id)
    if not settled or not shaded:
        return settled
    ranks = _ranks([*settled, *shaded], positions)
    front, back = [r[: len(settled)] for r in ranks], [r[len(settled) :] for r in ranks]
    deferred: _Flags = np.logical_or.reduce(_binds(_weights(back, front), _weights(front, back), faults), axis=0)
    if deferred.any():
        weights = _weights(front, front)
        _spread(_binds(weights, weights, faults), deferred)
    return [settled[i] for i in np.flatnonzero(~deferred).tolist()]


def fair_order(ids: Sequence[bytes], positions: Mapping[bytes, Positions], faults: int) -> list[bytes]:
    """All of ``ids`` in the order in which members received them; ``ids`` come in the order that decides ties."""
    return [ids[i] for i in chain.from_iterable(_components(ids, positions, faults))]


def prefix(
    ids: Sequence[bytes], positions: Mapping[bytes, Positions], faults: int, orders_max: int
) -> list[bytes]:
    """As many of ``ids`` (in queue order, which decides ties) as a batch holds, so that none left binds one taken.

    Components of the fair order are taken whole until one does not fit; only one that is larger than the batch
    itself is cut, in the order of ``ids``.
    """
    if len(ids) <= orders_max:
        return list(ids)
    taken: list[int] = []
    for component in _components(ids, positions, faults):
        if len(taken) + len(component) > orders_max:
            taken = taken or component[:orders_max]
            break
        taken += component
    return [ids[i] for i in taken]


# --- weights --------------------------------------------------------------------------------------------------------
def _ranks(ids: Sequence[bytes], positions: Mapping[bytes, Positions]) -> _Ranks:
    listed: dict[int, list[tuple[int, int, int]]] = {}
    for i, order_id in enumerate(ids):
        for node, serial, index in positions[order_id]:
            listed.setdefault(node, []).append((serial, index, i))
    ranks = []
    for places in listed.values():
        rank = np.full(len(ids), len(ids), dtype=np.int16)
        rank[[i for _, _, i in sorted(places)]] = np.arange(len(places), dtype=np.int16)
        ranks.append(rank)
    return ranks or [np.full(len(ids), len(ids), dtype=np.int16)]  # forced orders that nobody lists


def _weights(first: _Ranks, second: _Ranks) -> _Counts:
    """How many members have each order of ``first`` (rows) before each of ``second`` (columns)."""
    counts: _Counts = np.zeros((len(first[0]), len(second[0])), dtype=np.uint8)
    for rows, columns in zip(first, second, strict=True):
        counts += rows[:, None] < columns[None, :]
    return counts


def _binds(forward: _Counts, backward: _Counts, faults: int) -> _Flags:
    """``forward`` counts members for row before column, ``backward`` (columns by rows) those against."""
    found: _Flags = (forward > faults) & (backward <= faults).T
    return found


def _leads(weights: _Counts, faults: int) -> _Flags:
    found: _Flags = (weights > faults) & (weights > weights.T)
    return found


def _spread(edges: _Flags, marked: _Flags) -> None:
    """Mark all that follows from marked rows; each row is looked at once."""
    frontier = marked.copy()
    while frontier.any():
        frontier = edges[frontier].any(axis=0) & ~marked
        marked |= frontier


# --- order ----------------------------------------------------------------------------------------------------------
def _components(ids: Sequence[bytes], positions: Mapping[bytes, Positions], faults: int) -> list[list[int]]:
    """Indices into ``ids``: the components in their order, each ascending."""
    if len(ids) < 2:
        return [[i] for i in range(len(ids))]
    ranks = _ranks(ids, positions)
    weights = _weights(ranks, ranks)
    binding: _Flags | None = None
    found: list[list[int]] = []
    for component in _condensed(_leads(weights, faults)):
        if len(component) == 1:
            found.append(component)
            continue
        if binding is None:
            binding = _binds(weights, weights, faults)
        inside = binding[np.ix_(component, component)]
        found += [[component[i] for i in part] for part in _condensed(inside)]
    return found


def _condensed(edges: _Flags) -> list[list[int]]:
    """Strongly connected components in topological order: of those that may come next, the one with the lowest
    index. Indices inside a component ascend."""
    components = sorted(_strongly_connected(_bit_rows(edges), _bit_rows(edges.T)))
    if len(components) < len(edges):
        starts = np.cumsum([0, *(len(component) for component in components[:-1])])
        grouped = edges[np.ix_(*[list(chain.from_iterable(components))] * 2)]
        edges = np.logical_or.reduceat(np.logical_or.reduceat(grouped, starts, axis=0), starts, axis=1)
        np.fill_diagonal(edges, False)
    before = edges.sum(axis=0, dtype=np.int32)
    free = np.flatnonzero(before == 0).tolist()
    found: list[list[int]] = []
    while free:
        at = heapq.heappop(free)
        found.append(components[at])
        followers = np.flatnonzero(edges[at])
        before[followers] -= 1
        for follower in followers[before[followers] == 0].tolist():
            heapq.heappush(free, follower)
    return found


def _bit_rows(edges: _Flags) -> list[int]:
    packed = np.packbits(edges, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _strongly_connected(ahead: list[int], behind: list[int]) -> list[list[int]]:
    """Kosaraju's and Sharir's two searches, over rows as bit sets: forward for the order in which vertices finish,
    then backward from the last to finish. (Tarjan's single search has to look at every edge.)"""
    everything = (1 << len(ahead)) - 1
    finished: list[int] = []
    unseen = everything
    while unseen:
        path = [_lowest(unseen)]
        unseen ^= 1 << path[0]
        while path:
            onward = ahead[path[-1]] & unseen
            if onward:
                path.append(_lowest(onward))
                unseen ^= 1 << path[-1]
            else:
                finished.append(path.pop())
    components = []
    unseen = everything
    for root in reversed(finished):
        if not unseen >> root & 1:
            continue
        unseen ^= 1 << root
        component, looked_at = [root], 0
        while looked_at < len(component):
            found = behind[component[looked_at]] & unseen
            unseen ^= found
            looked_at += 1
            while found:
                component.append(_lowest(found))
                found &= found - 1
        components.append(sorted(component))
    return components


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
