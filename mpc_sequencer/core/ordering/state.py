"""What the ordering rule remembers of a block's ancestors.

One :class:`OrderingState` belongs to one block. States are immutable and share structure (hash-array mapped tries of
the ``immutables`` library), so each notarized block keeps its own at a cost that grows with the block and not with
history, forks included, and nothing has to be rolled back.

Bounds: ``listings`` dies after VALIDITY_MS_MAX of block time, ``lifted`` at an order's valid_until (itself at most
VALIDITY_MS_MAX ahead), ``positions`` holds at most one per live listing and n per queued order, ``reports`` holds
counting heights above the certified one, at most RESULT_LAG_HEIGHTS plus the heights in flight. ``expiries`` names
per second of block time which ids to look at, so that purging costs what was once added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from immutables import Map
from msgspec import Struct

from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering.chainstate import NO_CHECKPOINT, ChainState, chain_at
from mpc_sequencer.core.types import ZERO_HASH, OrderList

EXPIRY_BUCKET_MS: Final = 1_000

Listing = tuple[tuple[int, int], ...]
"""Live and dead listings of an id: (member, block time in ms at which the listing was included)."""


LIST_NUMBER_BITS: Final = 63

Positions = tuple[tuple[int, int, int], ...]
"""Where members' lists have an order: (member, serial of its list, index in that list), each member once. Of one
member's positions the smaller (serial, index) is the earlier."""


def list_serial(order_list: OrderList) -> int:
    """A list's number, with its incarnation above it: numbers start again with each incarnation, serials do not."""
    return order_list.incarnation << LIST_NUMBER_BITS | order_list.number


def charge_wei(size_bytes: int) -> int:
    """What an order of that size bucket costs its sponsor when it is batched."""
    return limits.ORDER_CHARGE_WEI * (size_bytes // limits.SIZE_BUCKETS_BYTES[0])


def is_large(size_bytes: int) -> bool:
    """Whether an order of that size bucket counts for the bounds in bytes: what is sealed for a dark market."""
    return size_bytes > limits.SIZE_BUCKETS_BYTES[-1]


class OrderFacts(Struct, frozen=True, gc=False):
    """What ordering needs of an order's label. ``size_bytes`` is its bucket."""

    valid_from_ms: int
    valid_until_ms: int
    sponsor: bytes
    size_bytes: int

    @property
    def charge_wei(self) -> int:
        return charge_wei(self.size_bytes)


class Queued(Struct, frozen=True, gc=False):
    """A lifted order that waits for its batch."""

    order_id: bytes
    lifted_height: int
    carry: bytes
    valid_from_ms: int
    valid_until_ms: int
    sponsor: bytes
    size_bytes: int

    @property
    def charge_wei(self) -> int:
        return charge_wei(self.size_bytes)


@dataclass(frozen=True, slots=True)
class OrderingState:
    """The ordering rule's memory after one block."""

    block_id: bytes
    height: int
    view: int
    time_ms: int
    last_lists: tuple[tuple[int, bytes], ...]
    """Per member: number and hash of its last included list, in its incarnation."""
    incarnations: tuple[int, ...]
    """Per member: the incarnation its lists are of."""
    listings: Map[bytes, Listing]
    lifted: Map[bytes, int]
    """Ids lifted by a block, queued or sequenced, with their order's valid_until_ms."""
    listed: tuple[int, ...]
    """Per member: its live listings of ids that are not lifted, at most LISTINGS_PER_MEMBER_MAX."""
    queue: tuple[Queued, ...]
    expiries: Map[int, tuple[tuple[bytes, ...], ...]]
    """Bucket of block time -> groups of ids whose listing or lifting ends in it."""
    purged_bucket: int
    charged_wei: Map[bytes, int]
    counting: tuple[int, ...]
    """Counting heights that are not certified yet, ascending."""
    reports: Map[tuple[int, bytes], int]
    """(counting height, result) -> bitmap of the members that reported it."""
    certified_height: int
    sequenced: int
    """Orders batched by this block and all ancestors."""
    positions: Map[bytes, Positions]
    """Of ids with live listings and of queued orders. Empty where no market orders by receipt."""
    handovers: Map[bytes, int] = Map()  # noqa: RUF009 - immutable
    """Handover hash -> bitmap of the members whose word for it is lifted in this epoch."""
    handover: bytes = b""
    """The handover that q members have given their word for: batches above this block are empty."""
    ended: bool = False
    """This block is the epoch's last, or comes after it and counts for nothing."""
    chain: ChainState = chain_at(NO_CHECKPOINT)  # noqa: RUF009 - immutable
    bonded_wei: Map[bytes, int] = Map()  # noqa: RUF009 - immutable
    """Bonds of sponsors for whom taken inputs have raised them since genesis."""
    last_counting: int = 0
    """The last height that counts; 0 where none does yet."""

    @property
    def counts(self) -> bool:
        """Whether this block's height counts: it has a batch or inputs, lets a forced order go, or wakes."""
        return self.last_counting == self.height > 0

    def last_list(self, node: int, incarnation: int) -> tuple[int, bytes] | None:
        """The list (number, hash) that a member's lists of an incarnation follow: its last included one, or none yet
        where it starts its next incarnation. None where a head of that incarnation has no place here."""
        current = self.incarnations[node]
        if incarnation == current:
            return self.last_lists[node]
        return (0, ZERO_HASH) if incarnation == current + 1 else None


def genesis_state(
    genesis_id: bytes, time_ms: int, members: int, chain: ChainState | None = None
) -> OrderingState:
    """The state of the genesis block, at its checkpoint (without ``chain``: of no chain yet)."""
    return OrderingState(
        block_id=genesis_id,
        height=0,
        view=0,
        time_ms=time_ms,
        last_lists=((0, ZERO_HASH),) * members,
        incarnations=(0,) * members,
        listings=Map(),
        lifted=Map(),
        listed=(0,) * members,
        queue=(),
        expiries=Map(),
        purged_bucket=time_ms // EXPIRY_BUCKET_MS,
        charged_wei=Map(),
        counting=(),
        reports=Map(),
        certified_height=0,
        sequenced=0,
        positions=Map(),
        chain=chain_at(NO_CHECKPOINT) if chain is None else chain,
    )


def epoch_state(last: OrderingState, members: int, *, placed: bool) -> OrderingState:
    """The state that the next epoch begins with, after its predecessor's ``last`` block: what concerns orders,
    credit and the chain stays, what concerns the old members' lists, listings and results is gone. ``placed``: a
    market orders by receipt, so queued orders wait for the new members' places."""
    return replace(
        last,
        view=0,
        last_lists=((0, ZERO_HASH),) * members,
        incarnations=(0,) * members,
        listings=Map(),
        listed=(0,) * members,
        reports=Map(),
        positions=Map({order.order_id: () for order in last.queue} if placed else {}),
        handovers=Map(),
        handover=b"",
        ended=False,
    )
