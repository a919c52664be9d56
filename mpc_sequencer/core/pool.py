"""Intake: the orders a member holds, from admission until they are executed or expired.

States of an order here: *pending* (admitted or fetched, not in a final batch), *sequenced* (in a final batch; its body
is kept until the batch is executed and BODIES_KEPT_HEIGHTS behind), *past* (known without its body,
:mod:`mpc_sequencer.core.past`), gone. An order is admitted once; a duplicate gets the first receipt again; another
signature variant of it is kept beside the first, because a block may name it.

A body that a list of this member names stays, whatever else, until that list is in a final block: nobody else may have
it, and a block that lifts the order again, late, cannot be derived without it.

Bounds: PENDING_ORDERS_MAX in all and PENDING_ORDERS_PER_SPONSOR_MAX for one sponsor, so that one sender cannot crowd
out the others; of large orders (for dark markets) also PENDING_LARGE_BYTES_MAX, PENDING_LARGE_BYTES_PER_SPONSOR_MAX for
one sponsor, by their size buckets; a sponsor's credit is checked against its bond less what final blocks charged and
what is pending.
A body that a peer lists passes the same door, else one member could fill the others' pools with orders nobody pays
for. Only a body that agreement *needs* (a block lifts it or names that variant) is held whatever the bounds say; and
what an unfinished block needs is *pinned*: it outlives its expiry until that block is final or gone.
What an attacker tries: flooding with garbage (refused before group operations where possible), flooding with valid
orders of one sponsor (its own bound), burning memory with variants (VARIANTS_MAX each).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import SealedOrder, check_envelope, check_sealed, check_sponsor
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.ordering.state import OrderFacts, is_large
from mpc_sequencer.core.past import PastOrder, PastOrders
from mpc_sequencer.core.types import Envelope, Receipt

VARIANTS_MAX: Final = 4
STALE_EXPIRIES_MIN: Final = 1_024
KEEP_AFTER_EXPIRY_MS: Final = 30_000  # peers may still fetch the body of an order that a block lifted in time


@dataclass(slots=True)
class PooledOrder:
    """One held order."""

    order: SealedOrder
    variants: dict[bytes, Envelope]
    list_number: int = 0
    """The member's own list it is in; 0 where it is in none."""
    receipt: Receipt | None = None
    received_ms: int = 0
    sequenced_height: int = 0
    expired: bool = False
    kept_until_ms: int = 0
    """Out of the journal after its expiry: kept at least so long."""
    pins: int = 0
    """Kept blocks, not final yet, that lift or name it."""
    on_disk: bool = False
    """Whether the journal holds the body."""
    logged: set[bytes] = field(default_factory=set)
    """Signature variants that are in the audit log."""
    variant_order: list[bytes] = field(default_factory=list)

    def first_variant(self) -> bytes:
        return self.variant_order[0]


@dataclass(slots=True)
class Pending:
    """What of a sponsor, or of all, is pending: orders, what batching them costs, and bytes of the large ones."""

    orders: int = 0
    wei: int = 0
    large_bytes: int = 0

    def add(self, facts: OrderFacts, sign: int = 1) -> None:
        """Count an order in, or with a ``sign`` of -1 out."""
        self.orders += sign
        self.wei += sign * facts.charge_wei
        self.large_bytes += sign * (facts.size_bytes if is_large(facts.size_bytes) else 0)


_NOTHING: Final = Pending()


class Pool:
    """Orders by id, with the door's bounds and expiry."""

    def __init__(self, committee: Committee, bonds_wei: dict[bytes, int]) -> None:
        self._committee = committee
        self._bonds_wei = bonds_wei
        self._orders: dict[bytes, PooledOrder] = {}
        self._pending = Pending()
        self._pending_by_sponsor: dict[bytes, Pending] = {}
        self._past = PastOrders()
        self._sequenced: deque[tuple[int, list[bytes]]] = deque()
        """Orders whose bodies are held, by the height that sequenced them."""
        self._expiry: list[tuple[int, bytes]] = []
        self._by_variant: dict[bytes, bytes] = {}
        self.charged_wei: dict[bytes, int] = {}

    @property
    def pending(self) -> int:
        """Orders that are in no final batch and may yet come into one."""
        return self._pending.orders

    def get(self, order_id: bytes) -> PooledOrder | None:
        return self._orders.get(order_id)

    def __contains__(self, order_id: bytes) -> bool:
        return order_id in self._orders

    def __len__(self) -> int:
        return len(self._orders)

    def ids(self) -> list[bytes]:
        """The orders that are held and in no final batch, in the order in which they came."""
        return [order_id for order_id, pooled in self._orders.items() if not pooled.sequenced_height]

    @property
    def past_orders(self) -> int:
        """Orders that are known without their bodies."""
        return len(self._past)

    def past(self, order_id: bytes) -> PastOrder | None:
        """What is known of an order whose body is gone."""
        return self._past.get(order_id)

    def knows(self, order_id: bytes) -> bool:
        """Whether the order's body is held, or was."""
        return order_id in self._orders or order_id in self._past

    def sequenced_height(self, order_id: bytes) -> int | None:
        """The final height that batched the order, 0 while it is pending; None where it is not known."""
        pooled = self._orders.get(order_id)
        if pooled is not None:
            return pooled.sequenced_height
        past = self._past.get(order_id)
        return past.sequenced_height if past is not None else None

    def variant(self, order_id: bytes, envelope_hash: bytes) -> Envelope | None:
        """The envelope of exactly that signature variant, where held."""
        pooled = self._orders.get(order_id)
        return pooled.variants.get(envelope_hash) if pooled else None

    def find(self, key: bytes) -> Envelope | None:
        """An envelope by order id (its first variant) or by envelope hash."""
        pooled = self._orders.get(key)
        if pooled is not None:
            return pooled.variants[pooled.first_variant()]
        order_id = self._by_variant.get(key)
        return self._orders[order_id].variants[key] if order_id is not None else None

    def admit(
        self, envelope: Envelope, now_ms: int, *, order_id: bytes | None = None, doors: int = 1
    ) -> PooledOrder:
        """A client's order through the door; raises ProtocolError or ThresholdError and then holds nothing new.

        ``doors`` is by how many members' doors the sponsor's pending orders may have come: each of them has let its
        bond be committed once.
        """
        if self.pending >= limits.PENDING_ORDERS_MAX:
            raise ProtocolError(
                "intake.full", "orders", self.pending, f"fewer than {limits.PENDING_ORDERS_MAX} pending"
            )
        order = check_envelope(self._committee, envelope, now_ms, order_id)
        self._check_credit(order.facts, doors)
        self._check_bytes(order.facts)
        return self._hold(order, envelope, now_ms)

    def _check_bytes(self, facts: OrderFacts) -> None:
        """Refuse a large order where bytes of large ones, in all or of its sponsor, would pass their bound."""
        if not is_large(facts.size_bytes):
            return
        sponsors = self._pending_by_sponsor.get(facts.sponsor, _NOTHING).large_bytes + facts.size_bytes
        if sponsors > (most := limits.PENDING_LARGE_BYTES_PER_SPONSOR_MAX):
            raise ProtocolError("intake.sponsor_bytes_full", "sponsor", sponsors, f"at most {most} bytes pending")
        size = self._pending.large_bytes + facts.size_bytes
        if size > (most := limits.PENDING_LARGE_BYTES_MAX):
            raise ProtocolError("intake.bytes_full", "orders", size, f"at most {most} bytes pending")

    def _check_credit(self, facts: OrderFacts, doors: int) -> None:
        sponsor = facts.sponsor
        waiting = self._pending_by_sponsor.get(sponsor, _NOTHING)
        if waiting.orders >= limits.PENDING_ORDERS_PER_SPONSOR_MAX:
            raise ProtocolError(
                "intake.sponsor_full",
                "sponsor",
                waiting.orders,
                f"fewer than {limits.PENDING_ORDERS_PER_SPONSOR_MAX} pending",
            )
        bond = self._bonds_wei.get(sponsor, 0)
        committed = -(-(waiting.wei + facts.charge_wei) // doors)  # of one door, rounded up
        needed = self.charged_wei.get(sponsor, 0) + max(committed, facts.charge_wei)
        if needed > bond:
            raise ProtocolError("credit.exhausted", "sponsor", f"bond of {bond} wei", f"at least {needed} wei")

    def fetched(
        self, envelope: Envelope, now_ms: int, *, order_id: bytes | None = None, needed: bool = False
    ) -> PooledOrder:
        """A body a peer listed, or another signature variant of a held order; raises like :meth:`admit`.

        ``needed``: a block lifts the order or names this variant, so clock, credit and bounds do not matter.
        """
        order_id = order_id or envelope.order_id()
        held = self._orders.get(order_id)
        if held is not None:
            self._add_variant(held, envelope, needed)
            return held
        if not needed:
            if order_id in self._past:
                raise ProtocolError("intake.sequenced", "order_id", order_id, "an order not sequenced yet")
            return self.admit(envelope, now_ms, order_id=order_id, doors=self._committee.n)
        label = envelope.decoded_label()
        order = check_sealed(self._committee, envelope, label, order_id)
        check_sponsor(self._committee, order_id, label.sponsor, envelope.sponsor_signature)
        past = self._past.pop(order_id)
        if past is not None:
            # a block lifts it again, after its end: it is charged and executed no second time
            self._purge_expiry()
        pooled = self._hold(order, envelope, now_ms)
        pooled.kept_until_ms = now_ms + KEEP_AFTER_EXPIRY_MS  # it may have expired long ago
        if past is not None:
            pooled.sequenced_height, pooled.receipt = past.sequenced_height, past.receipt
            self._unpend(order.facts)
            self._note_sequenced(order_id, past.sequenced_height)
        return pooled

    def recall(self, envelope: Envelope, now_ms: int, list_number: int, receipt: Receipt | None) -> None:
        """An order out of this member's own journal: held whatever the door says. Raises as :meth:`admit` where the
        journal is not this deployment's."""
        pooled = self.fetched(envelope, now_ms, needed=True)
        pooled.on_disk = True
        pooled.list_number = pooled.list_number or list_number
        if pooled.order.facts.valid_until_ms <= now_ms and not pooled.expired:
            # a block that is final elsewhere may still need it: it is kept as long as its listing could live
            pooled.expired = True
            pooled.kept_until_ms = now_ms + limits.VALIDITY_MS_MAX
            self._unpend(pooled.order.facts)
        if receipt is not None and pooled.receipt is None:
            pooled.receipt, pooled.received_ms = receipt, receipt.received_ms

    def forget_promises(self) -> None:
        """No order is in a list of this member any more, nor has a pending one a receipt: their incarnation is over."""
        for pooled in self._orders.values():
            pooled.list_number = 0
            if not pooled.sequenced_height:
                pooled.receipt = None

    def kept(self, executed_height: int) -> list[PooledOrder]:
        """The orders a snapshot must hold: those not batched, and those whose batch is not executed yet."""
        return [
            pooled
            for pooled in self._orders.values()
            if not pooled.sequenced_height or pooled.sequenced_height > executed_height
        ]

    def _add_variant(self, held: PooledOrder, envelope: Envelope, needed: bool) -> None:
        envelope_hash = envelope.envelope_hash(held.order.order_id)
        if envelope_hash in held.variants or (len(held.variants) >= VARIANTS_MAX and not needed):
            return
        order = held.order
        check_sponsor(
            self._committee, order.order_id, order.facts.sponsor, envelope.sponsor_signature
        )
        body = held.variants[held.first_variant()]  # once in memory, whatever signatures go with it
        held.variants[envelope_hash] = replace(body, sponsor_signature=envelope.sponsor_signature)
        held.variant_order.append(envelope_hash)
        self._by_variant[envelope_hash] = order.order_id

    def _hold(self, order: SealedOrder, envelope: Envelope, now_ms: int) -> PooledOrder:
        envelope_hash = envelope.envelope_hash(order.order_id)
        pooled = PooledOrder(
            order=order,
            variants={envelope_hash: envelope},
            received_ms=now_ms,
            variant_order=[envelope_hash],
        )
        self._orders[order.order_id] = pooled
        self._by_variant[envelope_hash] = order.order_id
        self._pending.add(order.facts)
        self._pending_by_sponsor.setdefault(order.facts.sponsor, Pending()).add(order.facts)
        heapq.heappush(self._expiry, (order.facts.valid_until_ms, order.order_id))
        return pooled

    def pin(self, order_ids: Iterable[bytes]) -> None:
        """A block that is not final yet lifts or names these orders."""
        for order_id in order_ids:
            if (pooled := self._orders.get(order_id)) is not None:
                pooled.pins += 1

    def unpin(self, order_ids: Iterable[bytes]) -> None:
        for order_id in order_ids:
            if (pooled := self._orders.get(order_id)) is not None and pooled.pins:
                pooled.pins -= 1

    def sequence(self, order_id: bytes, height: int) -> None:
        """A final block batched the order: its sponsor is charged and it is pending no more."""
        pooled = self._orders[order_id]
        if pooled.sequenced_height:
            return
        pooled.sequenced_height = height
        self._note_sequenced(order_id, height)
        facts = pooled.order.facts
        if not pooled.expired:
            self._unpend(facts)
        self.charged_wei[facts.sponsor] = self.charged_wei.get(facts.sponsor, 0) + facts.charge_wei

    def _note_sequenced(self, order_id: bytes, height: int) -> None:
        if not self._sequenced or self._sequenced[-1][0] != height:
            self._sequenced.append((height, []))
        self._sequenced[-1][1].append(order_id)

    def retire(self, through_height: int, listed_through: int) -> None:
        """Let the bodies of orders go that were sequenced, and executed, up to ``through_height``, but for those that
        an unfinished block needs or an own list above ``listed_through``, the last one in a final block, names."""
        kept: list[bytes] = []
        while self._sequenced and self._sequenced[0][0] <= through_height:
            _, order_ids = self._sequenced.popleft()
            for order_id in order_ids:
                pooled = self._orders.get(order_id)
                if pooled is None:
                    continue  # it expired first
                if pooled.pins or pooled.list_number > listed_through:
                    kept.append(order_id)
                    continue
                until_ms = pooled.order.facts.valid_until_ms + KEEP_AFTER_EXPIRY_MS
                self._past.add(order_id, pooled.sequenced_height, pooled.receipt, until_ms)
                self._drop(order_id, pooled)
        if kept:
            self._sequenced.appendleft((through_height, kept))

    def _drop(self, order_id: bytes, pooled: PooledOrder) -> None:
        del self._orders[order_id]
        for envelope_hash in pooled.variants:
            del self._by_variant[envelope_hash]

    def _unpend(self, facts: OrderFacts) -> None:
        self._pending.add(facts, -1)
        left = self._pending_by_sponsor[facts.sponsor]
        left.add(facts, -1)
        if not left.orders:
            del self._pending_by_sponsor[facts.sponsor]

    def expire(self, now_ms: int, executed_height: int, listed_through: int) -> None:
        """Count expired orders as pending no more; forget them later, but never before their batch is executed and the
        own list that names them is in a final block (the last such one has the number ``listed_through``)."""
        self._past.forget(now_ms)
        if len(self._expiry) > 2 * len(self._orders) + STALE_EXPIRIES_MIN:
            self._purge_expiry()
        while self._expiry and self._expiry[0][0] <= now_ms:
            at_ms, order_id = self._expiry[0]
            pooled = self._orders.get(order_id)
            if pooled is None:  # it is past
                heapq.heappop(self._expiry)
                continue
            if not pooled.expired:
                pooled.expired = True
                if not pooled.sequenced_height:
                    self._unpend(pooled.order.facts)
            elif self._is_over(pooled, executed_height, listed_through) and pooled.kept_until_ms <= now_ms:
                heapq.heappop(self._expiry)
                self._drop(order_id, pooled)
                continue
            heapq.heapreplace(self._expiry, (max(at_ms + KEEP_AFTER_EXPIRY_MS, pooled.kept_until_ms), order_id))

    def _purge_expiry(self) -> None:
        """Drop the entries of past orders."""
        self._expiry = [one for one in self._expiry if one[1] in self._orders]
        heapq.heapify(self._expiry)

    @staticmethod
    def _is_over(pooled: PooledOrder, executed_height: int, listed_through: int) -> bool:
        listed = pooled.list_number <= listed_through
        return listed and not pooled.pins and pooled.sequenced_height <= executed_height
