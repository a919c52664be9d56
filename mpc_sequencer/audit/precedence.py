"""Receive order (docs/protocol.md, "Order policies"), by its definitions and with no care for cost.

Relations are rows of bits (bit j of row i: order i stands in the relation to order j), and everything a relation
implies is read off its transitive closure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mpc_sequencer.core import limits

Place = tuple[int, int, int]
"""Where a member listed an order: incarnation and number of its list, index in the list."""
Places = Mapping[int, Place]
"""An order's places by member."""
Relation = Callable[[Places, Places], bool]


def supporters(first: Places, second: Places) -> int:
    """How many members have the first order before the second."""
    return sum(1 for node, place in first.items() if node not in second or place < second[node])


def binds(first: Places, second: Places, f: int) -> bool:
    """Whether all honest members may have the first order before the second."""
    return supporters(first, second) >= f + 1 and supporters(second, first) <= f


def leads(first: Places, second: Places, f: int) -> bool:
    """Whether more members have the first order before the second than the other way round, f+1 at least."""
    ayes = supporters(first, second)
    return ayes >= f + 1 and ayes > supporters(second, first)


def closure(rows: Sequence[int]) -> list[int]:
    """The transitive closure (Warshall)."""
    closed = list(rows)
    for middle, _ in enumerate(closed):
        for i, row in enumerate(closed):
            if row >> middle & 1:
                closed[i] |= closed[middle]
    return closed


def settled(order_ids: Iterable[bytes], places: Mapping[bytes, Places], f: int, solid: int) -> list[bytes]:
    """Of the orders that could be batched (in queue order) those that no shaded order precedes, in any way."""
    ready = list(order_ids)
    window = limits.RECEIVE_WINDOW_ORDERS
    solids = [order_id for order_id in ready if len(places[order_id]) >= solid][:window]
    shaded = [order_id for order_id in ready if len(places[order_id]) < solid][:window]
    if not shaded:
        return solids
    holding = closure(
        [
            _row(order_id, solids, places, lambda first, second: binds(first, second, f))
            for order_id in solids
        ]
    )
    held = 0
    for order_id in shaded:
        for at, other in enumerate(solids):
            if binds(places[order_id], places[other], f):
                held |= holding[at] | 1 << at
    return [order_id for at, order_id in enumerate(solids) if not held >> at & 1]


def groups(order_ids: Sequence[bytes], places: Mapping[bytes, Places], f: int) -> list[list[bytes]]:
    """The orders in the order of their receipt, in groups of those whose claims go in a circle."""
    parted: list[list[bytes]] = []
    for circle in _parted(order_ids, places, lambda first, second: leads(first, second, f)):
        parted += _parted(circle, places, lambda first, second: binds(first, second, f))
    return parted


def fair_order(order_ids: Sequence[bytes], places: Mapping[bytes, Places], f: int) -> list[bytes]:
    """The orders of one market in the order of their receipt; they come in the order of their draws."""
    return [order_id for group in groups(order_ids, places, f) for order_id in group]


def first_groups(order_ids: Sequence[bytes], places: Mapping[bytes, Places], f: int, count_max: int) -> set[bytes]:
    """The orders (in queue order) that a batch of ``count_max`` takes: whole groups until one does not fit."""
    if len(order_ids) <= count_max:
        return set(order_ids)
    parted = groups(order_ids, places, f)
    if len(parted[0]) > count_max:
        return set(parted[0][:count_max])
    taken: set[bytes] = set()
    while len(taken) + len(parted[0]) <= count_max:
        taken.update(parted.pop(0))
    return taken


def _row(first: bytes, others: Sequence[bytes], places: Mapping[bytes, Places], relation: Relation) -> int:
    return sum(
        1 << at for at, other in enumerate(others) if other != first and relation(places[first], places[other])
    )


def _parted(order_ids: Sequence[bytes], places: Mapping[bytes, Places], relation: Relation) -> list[list[bytes]]:
    """Circles of the relation one after the other: always the first order, of those given, that nothing left over
    precedes but its own circle."""
    reach = closure([_row(order_id, order_ids, places, relation) for order_id in order_ids])
    left = list(range(len(order_ids)))
    parted = []
    while left:
        for at in left:
            before = [other for other in left if other != at and reach[other] >> at & 1]
            if all(reach[at] >> other & 1 for other in before):
                circle = sorted([at, *before])
                break
        parted.append([order_ids[i] for i in circle])
        left = [i for i in left if i not in circle]
    return parted
