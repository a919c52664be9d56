"""A trader's side of a dark order: its row shared among the parties, and each party's shares in a box of its own.

The rule. The row (:mod:`mpc_sequencer.dark.layout`) is Shamir-shared with degree t. Party j's shares, 12 bytes each,
are sealed to j's key of the epoch's agreement in a provable box (:mod:`threshold.boxes`) whose context names keys,
market, account, nonce and j (:func:`mpc_sequencer.dark.keys.order_context`), so that nobody passes a box off as another
order's or party's. A party without a key gets an empty one. The boxes stand in the signed action, so receipts, lists,
fairness, reveal and replay protection of a dark order are those of any order, and once it is revealed everybody holds
all boxes. A party whose box holds no row opens it to everybody (:func:`judge_opened`); t open boxes tell nothing of the
row.

Randomness is a value: 32 fresh bytes of the caller. All of sharing, mask and ephemeral keys follow from it *and* from
what is shared (as RFC 6979 does it for nonces), so that a seed used again by mistake for another order does not put two
rows on one polynomial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark import messages, tags
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements, from_bytes, to_bytes
from mpc_sequencer.dark.keys import order_context
from mpc_sequencer.dark.layout import Deposit, Layout, check_deposit, encode_order
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.dark.sharing import SEED_BYTES, seeded, share
from threshold import boxes
from threshold.errors import ThresholdError
from threshold.group import reduce_scalar

if TYPE_CHECKING:
    from mpc_sequencer.core.actions import DarkOrder
    from mpc_sequencer.dark.keys import AgreedKeys
    from mpc_sequencer.market.types import DarkGrid


@dataclass(frozen=True, slots=True)
class Parties:
    """Who computes an epoch's dark batches: ``members`` are the committee's consensus addresses, party i is member i,
    and ``faults_t`` of them may be corrupt."""

    genesis_id: bytes
    epoch: int
    members: tuple[bytes, ...]
    faults_t: int

    @property
    def count(self) -> int:
        """n."""
        return len(self.members)

    @property
    def topic(self) -> bytes:
        """The session of key messages under which these parties speak."""
        return messages.topic(self.genesis_id, self.epoch)


@lru_cache(maxsize=64)
def params_of(grid: DarkGrid, parties: int, faults_t: int) -> DarkParams:
    """The sizes of a dark market on a committee. Raises ``ValueError`` where it cannot compute the market."""
    return DarkParams(
        parties=parties,
        faults_t=faults_t,
        ticks=grid.ticks,
        quantity_bits=grid.quantity_bits,
        slack_bits=grid.slack_bits,
        orders_max=grid.orders_max,
        price_first_ticks=grid.price_first_ticks,
        price_step_ticks=grid.price_step_ticks,
        demonstration=bool(grid.demonstration),
    )


def dark_params(grid: DarkGrid, parties: Parties) -> DarkParams:
    """The sizes of a dark market with these parties. Raises ``ValueError`` where they cannot compute it."""
    return params_of(grid, parties.count, parties.faults_t)


def box_bytes(params: DarkParams) -> int:
    """The length of a box of a market's orders."""
    return boxes.BOX_OVERHEAD_BYTES + ELEMENT_BYTES * Layout.of(params).columns


def context_of(action: DarkOrder, party: int) -> bytes:
    """The context of an order's box for a party."""
    return order_context(action.keys, action.market, action.account, action.nonce, party)


def check_boxes(action: DarkOrder) -> bool:
    """Whether every box of an order that is not empty is a box in its context. Takes no state: it needs no key."""
    try:
        for party, box in enumerate(action.boxes):
            if box:
                boxes.parse(box, context_of(action, party))
    except ThresholdError:
        return False
    return True


def row_in(params: DarkParams, plaintext: bytes | None) -> Elements | None:
    """The shares (L,) in an opened box; None where it holds no row."""
    if plaintext is None:
        return None
    try:
        return from_bytes(plaintext, Layout.of(params).columns)
    except ProtocolError:
        return None


def open_box(params: DarkParams, action: DarkOrder, party: int, secret: bytes, key: bytes) -> bytes | None:
    """A party's shares, 12 bytes each, out of its box of an order that :func:`check_boxes` passed; None where the box
    is bad. ``key`` is the party's box key, ``secret`` the scalar of it."""
    context = context_of(action, party)
    plaintext = boxes.open_with_secret(secret, key, boxes.parse(action.boxes[party], context), context)
    return None if row_in(params, plaintext) is None else plaintext


def prove_box(action: DarkOrder, party: int, secret: bytes, index: int, nonce_seed: bytes) -> messages.OpenedBox:
    """What opens a party's box to everybody, in a word that names the order by ``index``."""
    context = context_of(action, party)
    box = boxes.parse(action.boxes[party], context)
    return messages.OpenedBox(index, *boxes.prove_opened(secret, box, context, nonce_seed))


def judge_opened(
    params: DarkParams, action: DarkOrder, party: int, key: bytes, opened: messages.OpenedBox
) -> tuple[bool, Elements | None]:
    """Of a box that was opened to everybody: whether its proof holds (else it says nothing), and the row in it."""
    context = context_of(action, party)
    box = boxes.parse(action.boxes[party], context)
    if not boxes.verify_opened(key, box, context, opened.point, opened.c, opened.z):
        return False, None
    return True, row_in(params, boxes.open_with_point(key, box, context, opened.point))


# --- what the trader does -----------------------------------------------------------------------------------------


def seal_dark_order(
    grid: DarkGrid,
    n: int,
    t: int,
    keys: AgreedKeys,
    account: bytes,
    nonce: int,
    market: int,
    side: int,
    price_ticks: int,
    quantity_lots: int,
    deposit: Deposit,
    seed: bytes,
) -> tuple[bytes, ...]:
    """The boxes of an order to buy or sell ``quantity_lots`` at ``price_ticks`` or better, one for each of the n
    parties. ``seed`` is 32 bytes, fresh and secret.

    Raises ProtocolError for an order that the committee would reject (:func:`mpc_sequencer.dark.layout.encode_order`)
    and ``ValueError`` for a seed of another size or a committee that cannot compute the market.
    """
    params = params_of(grid, n, t)
    terms = encode((keys.id, market, account, nonce, deposit.quote_tick_lots, deposit.base_lots))
    mask_seed = _order_seed(seed, terms, encode((side, price_ticks, quantity_lots)))
    mask = int(seeded(mask_seed, b"mask")(1)[0])
    row = encode_order(params, side, price_ticks, quantity_lots, deposit, mask)
    return seal_row(params, keys, account, nonce, market, row, _order_seed(seed, terms, to_bytes(row)))


def seal_row(
    params: DarkParams, keys: AgreedKeys, account: bytes, nonce: int, market: int, row: Elements, seed: bytes
) -> tuple[bytes, ...]:
    """The boxes of ``row`` (L elements, mask included); ``seed`` is used for this row alone."""
    return seal_shares(
        keys, account, nonce, market, share(row, params.faults_t, params.parties, seeded(seed, b"share")), seed
    )


def seal_shares(
    keys: AgreedKeys, account: bytes, nonce: int, market: int, shares: Sequence[Elements], seed: bytes
) -> tuple[bytes, ...]:
    """The boxes of each party's ``shares``, whatever they are shares of."""
    sealed = []
    for party, (key, part) in enumerate(zip(keys.box_keys, shares, strict=True)):
        ephemeral = reduce_scalar(tags.ORDER_SECRET(seed, party.to_bytes(2, "big")))
        context = order_context(keys.id, market, account, nonce, party)
        sealed.append(boxes.seal(key, to_bytes(part), ephemeral, context) if key else b"")
    return tuple(sealed)


def check_terms(params: DarkParams, keys: AgreedKeys, action: DarkOrder) -> bool:
    """Whether deposits are in their bounds, and every party with a key has a box of a row's length, and no other."""
    try:
        check_deposit(Layout.of(params), Deposit(action.quote_tick_lots, action.base_lots))
    except ProtocolError:
        return False
    size = box_bytes(params)
    return [len(box) for box in action.boxes] == [size if key else 0 for key in keys.box_keys]


def _order_seed(seed: bytes, terms: bytes, secrets: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed of {len(seed)} bytes, expected {SEED_BYTES}")
    return tags.ORDER_SEED(seed, len(terms).to_bytes(4, "big"), terms, secrets)
