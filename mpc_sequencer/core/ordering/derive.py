"""The batch function: ``(parent's state, heads, lists) -> block`` (docs/protocol.md, "The block as a function").

A leader calls it to build its block, a voter to check one: what the leader wrote must equal what follows. The rules
that hold off a leader's hand are here and nowhere else: listings by f+1 members, the queue ordered by height of
lifting and by a hash nobody can grind, block time as the lower median of the members' clocks, credit charged in
ancestors only. Where a market orders by receipt, orders wait until enough members have told their place as well
(:mod:`mpc_sequencer.core.ordering.receive`).

The function asks for the facts of an order (its label's window and sponsor) only when the order is lifted; where one
is not at hand it returns :class:`Missing`, and the caller fetches before it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
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
from mpc_sequencer.core.ordering.state import (
    EXPIRY_BUCKET_MS,
    Listing,
    OrderFacts,
    OrderingState,
    Positions,
    Queued,
    list_serial,
)
from mpc_sequencer.core.types import Checkpoint, Head, OrderList, ResultRef


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What is lifted is a message of a key session: it goes into the block that lifts it. ``handover`` is the handover
    that member ``node`` gives its word for, empty where the message does no such thing."""

    node: int = 0
    handover: bytes = b""


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

    book = _ListingBook(parent, time_ms, placed=solid is not None)
    newly_lifted = book.count(candidate, faults + 1)
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
            carry = domains.CARRY(root, order_id)
            fresh.append(
                Queued(
                    order_id, height, carry, order.valid_from_ms, order.valid_until_ms, order.sponsor
                )
            )
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
    book: _ListingBook,
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


class _ListingBook:
    """Step 4 on mutable copies of a parent's maps: drop what has ended, record listings, lift at f+1."""

    def __init__(self, parent: OrderingState, time_ms: int, *, placed: bool) -> None:
        self._time_ms = time_ms
        self._placed = placed
        self.positions = parent.positions.mutate()
        self._listings = parent.listings.mutate()
        self._lifted = parent.lifted.mutate()
        self._expiries = parent.expiries.mutate()
        self._listed = list(parent.listed)
        self._expiring: dict[int, list[bytes]] = {}
        self._lifted_now: set[bytes] = set()
        self._listed_now: dict[bytes, None] = {}
        now_bucket = time_ms // EXPIRY_BUCKET_MS
        if now_bucket - parent.purged_bucket > len(self._expiries):
            due = [bucket for bucket in parent.expiries if bucket <= now_bucket]
        else:
            due = list(range(parent.purged_bucket + 1, now_bucket + 1))
        for bucket in due:
            for group in self._expiries.pop(bucket, ()):
                for order_id in group:
                    self._purge(order_id, bucket)

    def _purge(self, order_id: bytes, bucket: int) -> None:
        """Drop what of an id has ended; what ends later in this very bucket is looked at again."""
        until_ms = self._lifted.get(order_id)
        if until_ms is not None and until_ms <= self._time_ms:
            del self._lifted[order_id]
            self.positions.pop(order_id, None)
            until_ms = None
        listings = self._listings.get(order_id, ())
        ends_ms = [listed_ms + limits.VALIDITY_MS_MAX for _, listed_ms in listings]
        live = tuple(entry for entry, end_ms in zip(listings, ends_ms, strict=True) if end_ms > self._time_ms)
        if len(live) < len(listings):
            for node, _ in set(listings) - set(live):
                self._listed[node] -= 1
            if self._placed:
                self._keep_positions(order_id, {node for node, _ in live})
            if live:
                self._listings[order_id] = live
            else:
                del self._listings[order_id]
        later = [end_ms for end_ms in (*ends_ms, until_ms or 0) if end_ms > self._time_ms]
        if any(end_ms // EXPIRY_BUCKET_MS == bucket for end_ms in later):
            self._expiring.setdefault(bucket, []).append(order_id)

    def count(self, candidate: Candidate, needed: int) -> list[bytes]:
        """Record every new listing; the ids that reach ``needed`` live members, in that order."""
        lifted: list[bytes] = []
        for head, lists in zip(candidate.heads, candidate.lists, strict=True):
            for one in lists:
                serial = list_serial(one)
                for index, order_id in enumerate(one.entries):
                    if self._list(order_id, (head.node, serial, index), needed):
                        lifted.append(order_id)
        return lifted

    def _list(self, order_id: bytes, position: tuple[int, int, int], needed: int) -> bool:
        node = position[0]
        if order_id in self._lifted_now or self._lifted.get(order_id, 0) > self._time_ms:
            if self._placed:
                self._add_position(order_id, position)
            return False
        listings: Listing = self._listings.get(order_id, ())
        if any(member == node for member, _ in listings):
            return False
        if self._listed[node] >= limits.LISTINGS_PER_MEMBER_MAX:
            return False  # ids that nobody else lists cost bounded memory
        if self._placed:
            self.positions[order_id] = (*self.positions.get(order_id, ()), position)
        if len(listings) + 1 >= needed:
            self._listings.pop(order_id, None)
            for member, _ in listings:
                self._listed[member] -= 1
            self._lifted_now.add(order_id)
            return True
        self._listings[order_id] = (*listings, (node, self._time_ms))
        self._listed[node] += 1
        self._listed_now[order_id] = None
        return False

    def _add_position(self, order_id: bytes, position: tuple[int, int, int]) -> None:
        """Note a listing of an order that is lifted already, unless it is batched or the member listed it before."""
        held = self.positions.get(order_id)
        if held is not None and all(node != position[0] for node, _, _ in held):
            self.positions[order_id] = (*held, position)

    def _keep_positions(self, order_id: bytes, nodes: Container[int]) -> None:
        kept = tuple(one for one in self.positions.get(order_id, ()) if one[0] in nodes)
        if kept:
            self.positions[order_id] = kept
        else:
            self.positions.pop(order_id, None)

    def take_positions(self, order_ids: Iterable[bytes]) -> dict[bytes, Positions]:
        """The positions of a batch's orders, which are kept here no longer: nothing can change them now."""
        return {order_id: self.positions.pop(order_id, ()) for order_id in order_ids} if self._placed else {}

    def is_lifted(self, order_id: bytes) -> bool:
        """Whether this block or an ancestor has lifted the id, and its order has not expired."""
        return order_id in self._lifted_now or self._lifted.get(order_id, 0) > self._time_ms

    def force(self, order_id: bytes) -> None:
        """A forced order joins the batch though no f+1 members list it: it is as one that was lifted."""
        for member, _ in self._listings.pop(order_id, ()):
            self._listed[member] -= 1
        self._lifted_now.add(order_id)

    def _expire(self, order_id: bytes, at_ms: int) -> None:
        self._expiring.setdefault(at_ms // EXPIRY_BUCKET_MS, []).append(order_id)

    def finish(self, fresh: Sequence[Queued], key_messages: Sequence[bytes]) -> dict[str, Any]:
        """Remember the lifted orders and key messages; the fields of the new state that this book kept."""
        for order in fresh:
            self._lifted[order.order_id] = order.valid_until_ms
            self._expire(order.order_id, order.valid_until_ms)
        for message_id in key_messages:
            self._lifted[message_id] = self._time_ms + limits.VALIDITY_MS_MAX
            self._expire(message_id, self._time_ms + limits.VALIDITY_MS_MAX)
        for order_id in self._lifted_now.difference(order.order_id for order in fresh):
            self.positions.pop(order_id, None)  # lifted too late: not queued
        for order_id in self._listed_now:
            if order_id in self._listings:  # most are lifted by the block that lists them
                self._expire(order_id, self._time_ms + limits.VALIDITY_MS_MAX)
        for bucket, ids in self._expiring.items():
            self._expiries[bucket] = (*self._expiries.get(bucket, ()), tuple(ids))
        return {
            "listings": self._listings.finish(),
            "lifted": self._lifted.finish(),
            "expiries": self._expiries.finish(),
            "listed": tuple(self._listed),
            "purged_bucket": self._time_ms // EXPIRY_BUCKET_MS - 1,
            "positions": self.positions.finish(),
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
    for order in queue:
        if order.valid_until_ms <= time_ms:
            continue
        if lagging or len(batch) >= room or order.valid_from_ms > time_ms:
            rest.append(order)
            continue
        sponsor = order.sponsor
        charged = charges.get(sponsor, parent.charged_wei.get(sponsor, 0)) + limits.ORDER_CHARGE_WEI
        if charged > bonds_wei.get(sponsor, 0):
            rest.append(order)
            continue
        charges[sponsor] = charged
        batch.append(order.order_id)
    return tuple(batch), tuple(rest), parent.charged_wei.update(charges)


def _settled(
    parent: OrderingState,
    queue: Sequence[Queued],
    time_ms: int,
    bonds_wei: Mapping[bytes, int],
    book: _ListingBook,
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
        charged = charges.get(sponsor, parent.charged_wei.get(sponsor, 0)) + limits.ORDER_CHARGE_WEI
        if charged <= bonds_wei.get(sponsor, 0):
            charges[sponsor] = charged
            yield order


def _without(queue: Sequence[Queued], batch: Sequence[bytes], time_ms: int) -> tuple[Queued, ...]:
    batched = frozenset(batch)
    return tuple(order for order in queue if order.valid_until_ms > time_ms and order.order_id not in batched)
