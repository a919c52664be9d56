"""The batch function: ``(parent's state, heads, lists) -> block`` (docs/protocol.md, "The block as a function").

A leader calls it to build its block, a voter to check one: what the leader wrote must equal what follows. The rules
that hold off a leader's hand are in this package and nowhere else: listings by f+1 members
(:mod:`mpc_sequencer.core.ordering.listings`), the queue ordered by height of lifting and by a hash nobody can grind,
block time as the lower median of the members' clocks, credit charged in ancestors only. Where a market orders by
receipt, orders wait until enough members have told their place as well (:mod:`mpc_sequencer.core.ordering.receive`).

The function asks for the facts of an order (its label's window and sponsor) only when the order is lifted; where one
is not at hand it returns :class:`Missing`, and the caller fetches before it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from immutables import Map

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.ordering.inputs import (
    AT_ONCE,
    Between,
    Credit,
    Forced,
    ForcedTerms,
    Forcing,
    Intake,
    force,
    none_between,
    none_forced,
    take_inputs,
    wakes,
)
from mpc_sequencer.core.ordering.listings import ListingBook
from mpc_sequencer.core.ordering.state import OrderFacts, OrderingState, Positions, Queued, is_large
from mpc_sequencer.core.types import Checkpoint, Head, OrderList, ResultRef


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What is lifted is a message of a key session: it goes into the block that lifts it. ``handover`` is the handover
    that member ``node`` gives its word for, empty where the message does no such thing; ``dark``: it is a word of dark
    markets, which execution takes up with the block's height."""

    node: int = 0
    handover: bytes = b""
    dark: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """Inputs of a block of ``view``: heads ascending by member, and the new lists of each, in order.

    The caller has checked signatures, chaining and that every list follows the ancestors'.
    """

    view: int
    heads: tuple[Head, ...]
    lists: tuple[tuple[OrderList, ...], ...]
    head_hashes: tuple[bytes, ...]
    list_hashes: tuple[tuple[bytes, ...], ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """Orders that the candidate lifts and whose bodies are not at hand, or the checkpoint whose inputs are not. Neither
    where a forced order cannot be judged yet."""

    order_ids: tuple[bytes, ...]
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """Everything that follows from a candidate. ``lists`` holds (member, new list) pairs in order."""

    time_ms: int
    inputs_root: bytes
    certified: tuple[ResultRef, ...]
    lifted: tuple[bytes, ...]
    key_messages: tuple[bytes, ...]
    """Ids of key sessions' messages that the block lifts, in the order in which they count."""
    batch: tuple[bytes, ...]
    positions: Mapping[bytes, Positions]
    """Of the batch's orders, as far as this block and its ancestors include them; empty without receive order."""
    intake: Intake
    forced: Mapping[bytes, bytes]
    """Forced orders of the batch that no list has lifted: their envelopes as queued, by order."""
    state: OrderingState
    """Without ``block_id``, which the caller fills in once the header is known."""

    def advances(self, parent: OrderingState) -> bool:
        """Whether the block takes up another checkpoint than its parent."""
        return self.state.chain.checkpoint != parent.chain.checkpoint

    @property
    def counts(self) -> bool:
        """Whether the height counts: it is executed and has a result."""
        return self.state.counts


def lower_median(values: Sequence[int]) -> int:
    """Of k sorted values number ``(k-1)//2``, counted from 0."""
    return sorted(values)[(len(values) - 1) // 2]


def inputs_root(candidate: Candidate, taken: Iterable[bytes] = ()) -> bytes:
    """The hash that pins heads and lists of a block and the chain inputs it takes (:meth:`Intake.root_part`), and that
    the carry hash starts from."""
    count = len(candidate.heads).to_bytes(2, "big")
    lists = [one for member in candidate.list_hashes for one in member]
    return domains.BLOCK_INPUTS(count, *candidate.head_hashes, *lists, *taken)


def derive(
    parent: OrderingState,
    candidate: Candidate,
    *,
    faults: int,
    quorum: int,
    bonds_wei: Mapping[bytes, int],
    facts: Callable[[bytes], OrderFacts | KeyFacts | None],
    solid: int | None = None,
    between: Between = none_between,
    forced: Forced = none_forced,
    terms: ForcedTerms = AT_ONCE,
) -> Derived | Missing:
    """The block that ``candidate`` makes on ``parent``; pure, the parent's state is untouched. ``bonds_wei`` are those
    at genesis; ``between`` and ``forced`` tell what the chain holds.

    ``solid`` is how many members must have listed an order before it is batched where a market orders by receipt
    (``n - 2f``), None where none does.
    """
    time_ms = max(parent.time_ms, lower_median([head.time_ms for head in candidate.heads]))
    height = parent.height + 1
    certified, reports = _certify(parent, candidate.heads, quorum)
    certified_height = certified[-1].height if certified else parent.certified_height
    counting = tuple(h for h in parent.counting if h > certified_height)
    reports = _drop_reports(reports, certified_height)
    lagging = bool(parent.handover) or len(counting) >= limits.RESULT_LAG_HEIGHTS
    intake = take_inputs(parent.chain, candidate.heads, faults, lagging, between, terms)
    if isinstance(intake, Checkpoint):
        return Missing((), intake)
    root = inputs_root(candidate, intake.root_part())
    if parent.bonded_wei:
        bonds_wei = Credit(bonds_wei, parent.bonded_wei)

    book = ListingBook(parent, time_ms, placed=solid is not None)
    newly_lifted = book.count(candidate.heads, candidate.lists, faults + 1)
    fresh: list[Queued] = []
    missing: list[bytes] = []
    key_messages: list[bytes] = []
    words: list[KeyFacts] = []
    for order_id in newly_lifted:
        order = facts(order_id)
        if order is None:
            missing.append(order_id)
        elif isinstance(order, KeyFacts):
            key_messages.append(order_id)
            words.append(order)
        elif order.valid_until_ms > time_ms:
            carry, window = domains.CARRY(root, order_id), (order.valid_from_ms, order.valid_until_ms)
            fresh.append(Queued(order_id, height, carry, *window, order.sponsor, order.size_bytes))
    if missing:
        return Missing(tuple(missing))
    fresh.sort(key=lambda order: order.carry)
    key_messages.sort(key=lambda message_id: domains.CARRY(root, message_id))

    waiting = (*parent.queue, *fresh)
    forcing = force(
        intake.chain, waiting, book.is_lifted, bonds_wei, parent.charged_wei, time_ms, lagging, forced
    )
    if forcing is None:
        return Missing(())
    for one in forcing.fresh:
        book.force(one.order_id)
    batch, queue, charged = _batch(parent, waiting, forcing, time_ms, bonds_wei, book, lagging, faults, solid)
    positions = book.take_positions(batch)
    counts = bool(batch or intake.taken) or forcing.counts(parent.chain)
    counts = counts or wakes(parent.last_counting, candidate.heads, faults, lagging)
    counts = counts or (not parent.handover and any(word.dark for word in words))
    last_lists, incarnations = list(parent.last_lists), list(parent.incarnations)
    for head in candidate.heads:
        last_lists[head.node] = (head.list_number, head.list_hash)
        incarnations[head.node] = head.incarnation
    state = OrderingState(
        block_id=b"",
        height=height,
        view=candidate.view,
        time_ms=time_ms,
        last_lists=tuple(last_lists),
        incarnations=tuple(incarnations),
        queue=queue,
        charged_wei=charged,
        counting=(*counting, height) if counts else counting,
        reports=reports,
        certified_height=certified_height,
        sequenced=parent.sequenced + len(batch),
        chain=forcing.chain,
        bonded_wei=parent.bonded_wei.update(intake.bonds_wei(bonds_wei)),
        last_counting=height if counts else parent.last_counting,
        **_hand_over(parent, words, quorum),
        **book.finish((*fresh, *forcing.fresh), key_messages),
    )
    lifted = (*newly_lifted, *(order.order_id for order in forcing.fresh))
    return Derived(
        time_ms, root, certified, lifted, tuple(key_messages), batch, positions, intake, forcing.bodies, state
    )


def _batch(
    parent: OrderingState,
    waiting: Sequence[Queued],
    forcing: Forcing,
    time_ms: int,
    bonds_wei: Mapping[bytes, int],
    book: ListingBook,
    lagging: bool,
    faults: int,
    solid: int | None,
) -> tuple[tuple[bytes, ...], tuple[Queued, ...], Map[bytes, int]]:
    """Forced orders first, then the rest as far as there is room: the batch, the queue after it, and what sponsors have
    been charged."""
    if forcing.batch:
        first = frozenset(forcing.batch)
        waiting = [order for order in waiting if order.order_id not in first]
        parent = replace(parent, charged_wei=parent.charged_wei.update(forcing.charged_wei))
    room = limits.BATCH_ORDERS_MAX - len(forcing.batch)
    if solid is None:
        rest, queue, charged = _fill_batch(parent, waiting, time_ms, bonds_wei, lagging, room)
    else:
        taken: list[Queued] = []
        if room and not lagging:
            taken = _settled(parent, waiting, time_ms, bonds_wei, book, faults, solid, room)
        rest, _, charged = _fill_batch(parent, taken, time_ms, bonds_wei, lagging, room)
        queue = _without(waiting, rest, time_ms)
    return (*forcing.batch, *rest), queue, charged


def _certify(
    parent: OrderingState, heads: Sequence[Head], quorum: int
) -> tuple[tuple[ResultRef, ...], Map[tuple[int, bytes], int]]:
    """Step 3: count reports of uncertified counting heights; those with a quorum are certified."""
    counting = frozenset(parent.counting)
    changed: dict[tuple[int, bytes], int] = {}
    for head in heads:
        for ref in head.results:
            if ref.height in counting:
                key = (ref.height, ref.result)
                before = changed.get(key, parent.reports.get(key, 0))
                changed[key] = before | 1 << head.node
    certified = sorted(key for key, bitmap in changed.items() if bitmap.bit_count() >= quorum)
    reports = parent.reports.update(changed)
    return tuple(ResultRef(height=height, result=result) for height, result in certified), reports


def _drop_reports(
    reports: Map[tuple[int, bytes], int], certified_height: int
) -> Map[tuple[int, bytes], int]:
    gone = [key for key in reports if key[0] <= certified_height]
    kept = reports.mutate()
    for key in gone:
        del kept[key]
    return kept.finish()


def _hand_over(parent: OrderingState, words: Sequence[KeyFacts], quorum: int) -> dict[str, Any]:
    """The epoch's end: agreed by q members' lifted words; the last block is the first one on a parent that knows so
    and in whose ancestors every counting result is certified."""
    changed: dict[bytes, int] = {}
    for word in words:
        if word.handover:
            before = changed.get(word.handover, parent.handovers.get(word.handover, 0))
            changed[word.handover] = before | 1 << word.node
    agreed = sorted(digest for digest, bitmap in changed.items() if bitmap.bit_count() >= quorum)
    return {
        "handovers": parent.handovers.update(changed),
        "handover": parent.handover or (agreed[0] if agreed else b""),
        "ended": bool(parent.handover) and not parent.counting,
    }


def _fill_batch(
    parent: OrderingState,
    queue: Sequence[Queued],
    time_ms: int,
    bonds_wei: Mapping[bytes, int],
    lagging: bool,
    room: int,
) -> tuple[tuple[bytes, ...], tuple[Queued, ...], Map[bytes, int]]:
    """Steps 5 and 6: the batch, the queue after it, and what sponsors have been charged."""
    batch: list[bytes] = []
    rest: list[Queued] = []
    charges: dict[bytes, int] = {}
    large_bytes = 0
    for order in queue:
        if order.valid_until_ms <= time_ms:
            continue
        if lagging or len(batch) >= room or order.valid_from_ms > time_ms:
            rest.append(order)
            continue
        sponsor, large = order.sponsor, order.size_bytes if is_large(order.size_bytes) else 0
        charged = charges.get(sponsor, parent.charged_wei.get(sponsor, 0)) + order.charge_wei
        if charged > bonds_wei.get(sponsor, 0) or large_bytes + large > limits.BATCH_LARGE_BYTES_MAX:
            rest.append(order)
            continue
        large_bytes += large
        charges[sponsor] = charged
        batch.append(order.order_id)
    return tuple(batch), tuple(rest), parent.charged_wei.update(charges)


def _settled(
    parent: OrderingState,
    queue: Sequence[Queued],
    time_ms: int,
    bonds_wei: Mapping[bytes, int],
    book: ListingBook,
    faults: int,
    solid: int,
    room: int,
) -> list[Queued]:
    """The orders that receive order lets into the batch, in queue order."""
    from mpc_sequencer.core.ordering import receive  # numpy is loaded only where a market orders by receipt

    positions = {order.order_id: book.positions[order.order_id] for order in _ready(parent, queue, time_ms, bonds_wei)}
    settled = receive.eligible(positions, positions, faults=faults, solid=solid)
    chosen = frozenset(receive.prefix(settled, positions, faults, room))
    return [order for order in queue if order.order_id in chosen]


def _ready(
    parent: OrderingState, queue: Sequence[Queued], time_ms: int, bonds_wei: Mapping[bytes, int]
) -> Iterator[Queued]:
    """Orders that could be batched but for their place: valid now, and covered with all of their sponsor's before
    them. The others take part in nothing, so that what cannot be batched holds nothing back."""
    charges: dict[bytes, int] = {}
    for order in queue:
        if not order.valid_from_ms <= time_ms < order.valid_until_ms:
            continue
        sponsor = order.sponsor
        charged = charges.get(sponsor, parent.charged_wei.get(sponsor, 0)) + order.charge_wei
        if charged <= bonds_wei.get(sponsor, 0):
            charges[sponsor] = charged
            yield order


def _without(queue: Sequence[Queued], batch: Sequence[bytes], time_ms: int) -> tuple[Queued, ...]:
    batched = frozenset(batch)
    return tuple(order for order in queue if order.valid_until_ms > time_ms and order.order_id not in batched)
