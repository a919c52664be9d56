"""The dark benchmark's batches: recorded orders as shared rows, dealt to a committee as an intake would leave them.

Orders are those of the recorded market (:mod:`~mpc_sequencer.bench.market_flow`), sides, sizes and distances from the
middle; what lies beyond the P ticks of the dark market is put at its end. All lock the same deposit, which covers any
order on either side, so that nothing public tells two of them apart. One dealer makes the shares and the keys of the
shared randomness; in a deployment traders make the shares and members agree on the keys, and neither is measured.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from mpc_sequencer.bench.market_flow import MIDDLE_TICKS, Flow
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.clearing import COIN_BYTES
from mpc_sequencer.dark.field import to_bytes
from mpc_sequencer.dark.layout import Deposit, encode_order
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.dark.prss import Subset, subsets, subsets_of
from mpc_sequencer.dark.rule import DarkOutcome, PlainOrder, clear_openly
from mpc_sequencer.dark.sharing import seeded, share

QUANTITY_BITS: Final = 16
REACH_TICKS: Final = 64
"""How far from the middle the columns reach, in the market's ticks."""


def params_of(parties: int, faults_t: int, ticks: int, orders: int) -> DarkParams:
    """A dark market around the recorded one's middle, for batches of up to ``orders``."""
    step_ticks = max(1, 2 * REACH_TICKS // ticks)
    first_ticks = MIDDLE_TICKS - step_ticks * (ticks // 2)
    last_ticks = first_ticks + step_ticks * (ticks - 1)
    return DarkParams(
        parties=parties,
        faults_t=faults_t,
        ticks=ticks,
        quantity_bits=QUANTITY_BITS,
        slack_bits=(last_ticks << QUANTITY_BITS).bit_length() + QUANTITY_BITS,
        orders_max=orders,
        price_first_ticks=first_ticks,
        price_step_ticks=step_ticks,
        demonstration=parties < 4 * faults_t + 1,
    )


@dataclass(frozen=True, slots=True)
class Book:
    """A batch in the open: its orders, the public deposit of each, the coin, and who is served first."""

    params: DarkParams
    orders: tuple[PlainOrder, ...]
    deposit: Deposit
    coin: bytes
    priority: tuple[int, ...]

    def expected(self) -> DarkOutcome:
        """What the rule says in the plain."""
        return clear_openly(self.orders, self.params.ticks, self.priority)


class Books:
    """Books without end, one after the other: the same calls give the same books."""

    def __init__(self, seed: int) -> None:
        self._flow = Flow(seed)
        self._name = b"mpc_sequencer bench dark %d " % seed
        self._made = 0

    def draw(self, params: DarkParams, count: int) -> Book:
        """The next book, of ``count`` orders."""
        self._made += 1
        coin = hashlib.sha256(self._name + b"%d" % self._made).digest()[:COIN_BYTES]
        batch = self._flow.orders(count)
        away = (batch.prices - MIDDLE_TICKS) // params.price_step_ticks
        columns = np.clip(away + params.ticks // 2, 0, params.ticks - 1)
        lots = np.minimum(batch.lots, (1 << QUANTITY_BITS) - 1)
        rows = zip(batch.buys.tolist(), columns.tolist(), lots.tolist(), strict=True)
        orders = tuple(PlainOrder(BUY if buys else SELL, column, size) for buys, column, size in rows)
        lots_max = (1 << QUANTITY_BITS) - 1
        deposit = Deposit(params.price_last_ticks * lots_max, lots_max)
        priority = sorted(range(count), key=lambda index: hashlib.sha256(coin + index.to_bytes(4, "big")).digest())
        return Book(params, orders, deposit, coin, tuple(priority))


def deal_rows(book: Book, seed: bytes) -> list[bytes]:
    """Each party's shares of all rows, 12 bytes an element. ``seed`` is 32 bytes and used once."""
    params = book.params
    draw = seeded(seed, b"bench rows")
    masks = draw(len(book.orders))
    rows = [
        encode_order(
            params,
            order.side,
            params.price_first_ticks + order.tick * params.price_step_ticks,
            order.quantity_lots,
            book.deposit,
            int(mask),
        )
        for order, mask in zip(book.orders, masks, strict=True)
    ]
    whole = np.concatenate([np.zeros(0, dtype=np.object_), *rows])
    return [to_bytes(part) for part in share(whole, params.faults_t, params.parties, draw)]


def deal_keys(parties: int, faults_t: int, seed: bytes) -> list[dict[Subset, bytes]]:
    """Each party's keys of the shared randomness, as an agreement would leave them."""
    keys = {subset: hashlib.sha256(seed + repr(subset).encode()).digest() for subset in subsets(parties, faults_t)}
    return [{subset: keys[subset] for subset in subsets_of(parties, faults_t, party)} for party in range(parties)]

