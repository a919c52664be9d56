"""What an auditor can see of a dark order, and of a box that was opened (docs/dark.md, "Boxes" and "Degree check")."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from mpc_sequencer.audit.dark_keys import u16, u64
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.decoding import Decoder
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import ELEMENT_BYTES, UNIFORM_BYTES, Elements, from_bytes, uniform
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.messages import OpenedBox
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.market.types import DarkGrid
from threshold import ThresholdError, boxes


@dataclass(frozen=True, slots=True)
class DarkParties:
    """Who computes in an epoch: so many members, of which so many may be corrupt, who speak under a topic."""

    topic: bytes
    epoch: int
    count: int
    faults_t: int

    @classmethod
    def of(cls, committee: Committee) -> DarkParties | None:
        """A committee's; None where no market is dark."""
        topic = committee.dark_topic
        return None if topic is None else cls(topic, committee.epoch, committee.n, committee.f)


def sizes(grid: DarkGrid, parties: DarkParties) -> DarkParams:
    """A dark market's sizes in an epoch. Raises ``ValueError`` where its parties cannot compute it."""
    return DarkParams(
        parties=parties.count,
        faults_t=parties.faults_t,
        ticks=grid.ticks,
        quantity_bits=grid.quantity_bits,
        slack_bits=grid.slack_bits,
        orders_max=grid.orders_max,
        price_first_ticks=grid.price_first_ticks,
        price_step_ticks=grid.price_step_ticks,
        demonstration=bool(grid.demonstration),
    )


def box_context(action: DarkOrder, party: int) -> bytes:
    """What a party's box of an order is sealed for."""
    return tags.DARK_BOX(action.keys, action.market.to_bytes(4, "big"), action.account, u64(action.nonce), u16(party))


def are_boxes(action: DarkOrder) -> bool:
    """Whether each of an order's boxes is one that was made for this order and its party."""
    for party, box in enumerate(action.boxes):
        try:
            if box:
                boxes.parse(box, box_context(action, party))
        except ThresholdError:
            return False
    return True


def are_terms(params: DarkParams, box_keys: Sequence[bytes], action: DarkOrder) -> bool:
    """Whether deposits are in their bounds, and there is a box of a row's size for just the parties with a key."""
    layout = Layout.of(params)
    if action.quote_tick_lots >= 1 << layout.quote_slack_bits or action.base_lots >= 1 << params.quantity_bits:
        return False
    size = boxes.BOX_OVERHEAD_BYTES + ELEMENT_BYTES * layout.columns
    expected = [size * bool(key) for key in box_keys]
    return [len(box) for box in action.boxes] == expected


def elements_in(data: bytes | None, count: int) -> Elements | None:
    """As many elements as are expected; None for anything else."""
    if data is None:
        return None
    try:
        return from_bytes(data, count)
    except ProtocolError:
        return None


@dataclass(frozen=True, slots=True)
class Shown:
    """What an opening that holds shows of a box: the row in it, None where there is none."""

    row: Elements | None


def shown_by(params: DarkParams, action: DarkOrder, party: int, key: bytes, opened: OpenedBox) -> Shown | None:
    """What everybody sees in a party's box by what it opened; None where that proves nothing."""
    context = box_context(action, party)
    box = boxes.parse(action.boxes[party], context)
    if not boxes.verify_opened(key, box, context, opened.point, opened.c, opened.z):
        return None
    plaintext = boxes.open_with_point(key, box, context, opened.point)
    return Shown(elements_in(plaintext, Layout.of(params).columns))


# --- the degree check -------------------------------------------------------------------------------------------------


def degree_seed(keys_id: bytes, market: int, batch: int, order_ids: Sequence[bytes]) -> bytes:
    """What the weights of a closed batch follow from."""
    return tags.DEGREE(keys_id, market.to_bytes(4, "big"), u64(batch), *order_ids)


def weigh(params: DarkParams, seed: bytes, row: Elements) -> int:
    """What a party with this row should have said."""
    layout = Layout.of(params)
    drawn = uniform(hashlib.shake_256(seed).digest(UNIFORM_BYTES * layout.columns), layout.columns)
    total = sum(int(weight) * int(element) for weight, element in zip(drawn, row, strict=True))
    return (total - (int(drawn[layout.mask]) - 1) * int(row[layout.mask])) % PRIME


def _decoder(params: DarkParams) -> Decoder:
    return Decoder(params.parties, params.faults_t, params.faults_t)


def off_the_polynomial(params: DarkParams, shares: dict[int, Elements]) -> list[frozenset[int] | None]:
    """Of each order the parties whose shares are off the polynomial of the others'; None where there is no polynomial.

    Order by order, where not all are of one polynomial each.
    """
    decoder, count = _decoder(params), len(next(iter(shares.values())))
    try:
        if not decoder.decode(shares).liars:
            return [frozenset()] * count
    except Undecodable:
        pass
    found: list[frozenset[int] | None] = []
    for index in range(count):
        try:
            found.append(decoder.decode({party: said[index : index + 1] for party, said in shares.items()}).liars)
        except Undecodable:
            found.append(None)
    return found


def due_share(params: DarkParams, shares: dict[int, Elements], index: int, party: int) -> int:
    """What a party's share of an order is on the polynomial of the others."""
    said = {one: values[index : index + 1] for one, values in shares.items()}
    return int(_decoder(params).decode(said, party + 1).values[0])
