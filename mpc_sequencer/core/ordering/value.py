"""An ordering state as a canonical value, for a member's own snapshot.

Nothing here is agreed on: a snapshot is read back by the member that wrote it. Equal states give equal values, so that
tests can compare a restored member with one that never stopped.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Annotated, Final, TypeVar

from immutables import Map
from msgspec import Meta

from mpc_sequencer.core.ordering.chainstate import ChainState
from mpc_sequencer.core.ordering.state import OrderingState, Queued
from mpc_sequencer.core.types import Address, Hash32, NodeIndex, Uint, Value

Serial = Annotated[int, Meta(ge=0)]
AMOUNT_BYTES: Final = 33  # a sum of inputs, each of 32
Amount = Annotated[bytes, Meta(min_length=AMOUNT_BYTES, max_length=AMOUNT_BYTES)]


PositionsRow = tuple[Hash32, tuple[tuple[NodeIndex, Serial, Uint], ...]]
"""An order and where members listed it: (member, list serial, index)."""


class QueuedValue(Value, frozen=True):
    """:class:`~mpc_sequencer.core.ordering.state.Queued`, field by field."""

    order_id: Hash32
    lifted_height: Uint
    carry: Hash32
    valid_from_ms: Uint
    valid_until_ms: Uint
    sponsor: Address
    size_bytes: Uint


class StateValue(Value, frozen=True):
    """:class:`~mpc_sequencer.core.ordering.state.OrderingState`, maps as rows ascending by key."""

    block_id: Hash32
    height: Uint
    view: Uint
    time_ms: Uint
    last_lists: tuple[tuple[Uint, Hash32], ...]
    incarnations: tuple[Uint, ...]
    listings: tuple[tuple[Hash32, tuple[tuple[NodeIndex, Uint], ...]], ...]
    lifted: tuple[tuple[Hash32, Uint], ...]
    listed: tuple[Uint, ...]
    queue: tuple[QueuedValue, ...]
    expiries: tuple[tuple[Uint, tuple[tuple[Hash32, ...], ...]], ...]
    purged_bucket: Uint
    charged_wei: tuple[tuple[Address, Uint], ...]
    counting: tuple[Uint, ...]
    reports: tuple[tuple[tuple[Uint, Hash32], Uint], ...]
    certified_height: Uint
    sequenced: Uint
    positions: tuple[PositionsRow, ...]
    handovers: tuple[tuple[Hash32, Uint], ...]
    handover: Annotated[bytes, Meta(max_length=32)]
    ended: bool
    chain: ChainState
    bonded_wei: tuple[tuple[Address, Amount], ...]
    last_counting: Uint


_Key = TypeVar("_Key", bytes, int, tuple[int, bytes])
_Row = TypeVar("_Row")


def _rows(entries: Map[_Key, _Row]) -> tuple[tuple[_Key, _Row], ...]:
    return tuple(sorted(entries.items(), key=itemgetter(0)))  # keys differ: to compare rows would take twice as long


def value_of(state: OrderingState) -> StateValue:
    """The value of a state."""
    return StateValue(
        block_id=state.block_id,
        height=state.height,
        view=state.view,
        time_ms=state.time_ms,
        last_lists=state.last_lists,
        incarnations=state.incarnations,
        listings=_rows(state.listings),
        lifted=_rows(state.lifted),
        listed=state.listed,
        queue=tuple(
            QueuedValue(
                o.order_id, o.lifted_height, o.carry, o.valid_from_ms, o.valid_until_ms, o.sponsor, o.size_bytes
            )
            for o in state.queue
        ),
        expiries=_rows(state.expiries),
        purged_bucket=state.purged_bucket,
        charged_wei=_rows(state.charged_wei),
        counting=state.counting,
        reports=_rows(state.reports),
        certified_height=state.certified_height,
        sequenced=state.sequenced,
        positions=_rows(state.positions),
        handovers=_rows(state.handovers),
        handover=state.handover,
        ended=state.ended,
        chain=state.chain,
        bonded_wei=tuple((one, wei.to_bytes(AMOUNT_BYTES, "big")) for one, wei in sorted(state.bonded_wei.items())),
        last_counting=state.last_counting,
    )


def state_of(value: StateValue) -> OrderingState:
    """The state a value describes."""
    return OrderingState(
        block_id=value.block_id,
        height=value.height,
        view=value.view,
        time_ms=value.time_ms,
        last_lists=value.last_lists,
        incarnations=value.incarnations,
        listings=Map(value.listings),
        lifted=Map(value.lifted),
        listed=value.listed,
        queue=tuple(
            Queued(o.order_id, o.lifted_height, o.carry, o.valid_from_ms, o.valid_until_ms, o.sponsor, o.size_bytes)
            for o in value.queue
        ),
        expiries=Map(value.expiries),
        purged_bucket=value.purged_bucket,
        charged_wei=Map(value.charged_wei),
        counting=value.counting,
        reports=Map(value.reports),
        certified_height=value.certified_height,
        sequenced=value.sequenced,
        positions=Map(value.positions),
        handovers=Map(value.handovers),
        handover=value.handover,
        ended=value.ended,
        chain=value.chain,
        bonded_wei=Map((one, int.from_bytes(wei, "big")) for one, wei in value.bonded_wei),
        last_counting=value.last_counting,
    )
