"""The order flow of the market benchmark: the recorded market's orders in any number, fixed by a seed.

Each order is an event of the recording (:mod:`~mpc_sequencer.demo.trace`) drawn anew, with its side, its size and
its distance from the middle of the best quotes of its moment; the market's own movement is taken out, since a batch is
one moment. Trades become IOC orders at the price they took, quotes GTC orders; the recording has only the best quotes,
so quotes step back from where they were by a random distance. Resting orders are quotes too, on their side of the
middle and spread over a wider range. Orders are made batch by batch, so that what rests is held by the engine alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.actions import BUY, EVERY_MARKET, GTC, IOC, LIMIT, SELL, CancelAll, Order
from mpc_sequencer.demo.trace import read_trace
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT
from mpc_sequencer.market import Market
from mpc_sequencer.market.types import PreparedOrder

ACCOUNTS_MIN: Final = 500
ACCOUNTS_MAX: Final = 10_000
ORDERS_PER_ACCOUNT: Final = 20
MIDDLE_TICKS: Final = 618_000
QUOTE_DEPTH_TICKS: Final = 20
"""How far quotes step back from the best price, in the mean."""
RESTING_DEPTH_TICKS: Final = 1_000
"""How far from the middle orders rest that are in the book before, in the mean."""
REACH_TICKS: Final = 50_000
"""No order is further from the middle."""
MAKER_FEE_PPM: Final = 100
TAKER_FEE_PPM: Final = 300
FEE_ACCOUNT: Final = hashlib.sha256(b"mpc_sequencer bench fees").digest()[:20]
CANCELS_PER_HEIGHT: Final = 1_000
FUNDS_UNITS: Final = 10**24
"""What each account has of either asset."""

Ints = npt.NDArray[np.int64]


def bench_market(policy: int) -> Market:
    """The demo's market with fees, under ``policy``."""
    return msgspec.structs.replace(BTCUSDT, policy=policy, maker_fee_ppm=MAKER_FEE_PPM, taker_fee_ppm=TAKER_FEE_PPM)


@dataclass(frozen=True, slots=True)
class Batch:
    """New orders, a row each; ``buys`` and ``rests`` (GTC, else IOC) are booleans."""

    prepared: list[PreparedOrder]
    buys: npt.NDArray[np.bool_]
    rests: npt.NDArray[np.bool_]
    prices: Ints
    lots: Ints


def accounts_for(orders: int) -> int:
    """How many accounts send ``orders`` orders."""
    return min(ACCOUNTS_MAX, max(ACCOUNTS_MIN, orders // ORDERS_PER_ACCOUNT))


class Flow:
    """All orders of a run, one batch after the other: the same calls give the same orders."""

    def __init__(self, seed: int, accounts: int = ACCOUNTS_MIN) -> None:
        self._rng = np.random.default_rng(seed)
        self._name = b"mpc_sequencer bench %d " % seed
        self.accounts = [hashlib.sha256(self._name + b"account %d" % at).digest()[:20] for at in range(accounts)]
        self._nonces = [0] * accounts
        self._made = 0
        events = _events()
        self._makers, self._buys, self._offsets, self._lots = events.T
        self._quotes = events[self._makers == 1]

    def resting(self, count: int) -> Batch:
        """Orders that rest: none meets another. Accounts take turns."""
        chosen = self._quotes[self._rng.integers(len(self._quotes), size=count)]
        buys = chosen[:, 1] == 1
        back = np.minimum(1 + self._rng.exponential(RESTING_DEPTH_TICKS, count).astype(np.int64), REACH_TICKS)
        accounts = (self._made + np.arange(count)) % len(self.accounts)
        prices = MIDDLE_TICKS + np.where(buys, -back, back)
        return self._batch(accounts, buys, np.ones(count, dtype=np.bool_), prices, chosen[:, 3])

    def orders(self, count: int) -> Batch:
        """Makers and takers as recorded, of any accounts."""
        chosen = self._rng.integers(len(self._makers), size=count)
        makers, buys = self._makers[chosen] == 1, self._buys[chosen] == 1
        back = np.where(makers, self._rng.exponential(QUOTE_DEPTH_TICKS, count).astype(np.int64), 0)
        offsets = np.clip(self._offsets[chosen] + np.where(buys, -back, back), -REACH_TICKS, REACH_TICKS)
        accounts = self._rng.integers(len(self.accounts), size=count)
        return self._batch(accounts, buys, makers, MIDDLE_TICKS + offsets, self._lots[chosen])

    def cancels(self) -> Iterator[list[PreparedOrder]]:
        """What empties the book, some accounts at a time."""
        for start in range(0, len(self.accounts), CANCELS_PER_HEIGHT):
            made = []
            for account in range(start, min(start + CANCELS_PER_HEIGHT, len(self.accounts))):
                self._nonces[account] = nonce = self._nonces[account] + 1
                order_id = hashlib.sha256(self._name + b"cancel %d %d" % (account, nonce)).digest()
                action = CancelAll(self.accounts[account], nonce, bytes(32), EVERY_MARKET)
                made.append(PreparedOrder(order_id, action, None))
            yield made

    def _batch(self, accounts: Ints, buys: Any, rests: Any, prices: Ints, lots: Ints) -> Batch:
        prepared = []
        label = bytes(32)
        rows = zip(accounts.tolist(), buys.tolist(), rests.tolist(), prices.tolist(), lots.tolist(), strict=True)
        for account, buy, rest, price, size in rows:
            self._made += 1
            self._nonces[account] = nonce = self._nonces[account] + 1
            order = Order(
                account=self.accounts[account],
                nonce=nonce,
                label_hash=label,
                market=BTCUSDT.id,
                client_id=0,
                side=BUY if buy else SELL,
                kind=LIMIT,
                time_in_force=GTC if rest else IOC,
                post_only=0,
                self_trade=0,
                price_ticks=price,
                stop_ticks=0,
                quantity_lots=size,
                display_lots=0,
                expires_ms=0,
            )
            order_id = hashlib.sha256(self._name + b"%d" % self._made).digest()
            prepared.append(PreparedOrder(order_id, order, None))
        return Batch(prepared, buys, rests, prices, lots)


def _events() -> Ints:
    """The recording as rows (maker, buy, ticks above the middle of the best quotes, lots)."""
    best: dict[int, int] = {}
    rows = []
    for event in read_trace(MarketUnits(BTCUSDT, *ASSETS)):
        if event.maker:
            best[event.side] = event.price_ticks
        if len(best) == 2:
            offset = event.price_ticks - (best[BUY] + best[SELL]) // 2
            rows.append((int(event.maker), int(event.side == BUY), offset, event.quantity_lots))
    return np.array(rows, dtype=np.int64)
