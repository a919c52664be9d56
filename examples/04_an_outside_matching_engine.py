"""A matching engine of your own: pro rata, in sixty lines, over the stream of `mpcseq node run FOLDER --stream 7400`.

Run it beside the member: python examples/04_an_outside_matching_engine.py ws://127.0.0.1:7400

In every height and market it takes the price at which most lots trade (the lowest of these), and gives each order its
share of what the larger side wants. What may not rest ends, all else waits in its book for the next height. It is a
function of the batches alone, as it must be: every member runs its own, and their answers have to be equal.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import trio

from mpc_sequencer.matching import Answer, Ended, FairBatch, FillRow, OrderRow
from mpc_sequencer.matching.consumer import open_matching, run_engine

BUY, IOC, FOK = 1, 2, 3


@dataclass
class Held:
    """An order in the engine's book."""

    row: OrderRow
    lots: int


class ProRata:
    """Books by market; the values are in order of arrival."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}

    def match(self, batch: FairBatch) -> Answer:
        for order_id in batch.ended:
            self.held.pop(order_id, None)
        self.held |= {row.order_id: Held(row, row.quantity_lots) for row in batch.orders if row.time_in_force != FOK}
        fills = [fill for market in sorted({row.market for row in batch.orders}) for fill in self.clear(market, batch)]
        ended = [Ended(row.order_id, "unfilled") for row in batch.orders if row.time_in_force == FOK]
        for row in batch.orders:
            if row.time_in_force == IOC and (held := self.held.pop(row.order_id, None)) is not None:
                code = "unfilled" if held.lots == row.quantity_lots else "partly_filled"
                ended.append(Ended(row.order_id, code))
        fills.sort(key=lambda fill: (fill.order_id, fill.price_ticks, fill.maker))
        return Answer(batch.height, tuple(fills), tuple(sorted(ended, key=lambda one: one.order_id)))

    def clear(self, market: int, batch: FairBatch) -> list[FillRow]:
        """One market's fills at one price."""
        new = {row.order_id for row in batch.orders}
        buys = [one for one in self.held.values() if one.row.market == market and one.row.side == BUY]
        sells = [one for one in self.held.values() if one.row.market == market and one.row.side != BUY]
        volume, price = 0, 0
        for candidate in sorted({one.row.price_ticks for one in buys + sells}):
            wanted = sum(one.lots for one in buys if one.row.price_ticks >= candidate)
            offered = sum(one.lots for one in sells if one.row.price_ticks <= candidate)
            if min(wanted, offered) > volume:
                volume, price = min(wanted, offered), candidate
        fills = []
        for side in (
            [one for one in buys if one.row.price_ticks >= price],
            [one for one in sells if one.row.price_ticks <= price],
        ):
            for one, lots in zip(side, shares([one.lots for one in side], volume), strict=True):
                if lots:
                    fills.append(FillRow(one.row.order_id, price, lots, int(one.row.order_id not in new)))
                    one.lots -= lots
        self.held = {order_id: one for order_id, one in self.held.items() if one.lots}
        return fills


def shares(sizes: list[int], volume: int) -> list[int]:
    """``volume`` lots pro rata, rounded down; what is left over goes to the first that want more."""
    total = sum(sizes) or 1
    given = [size * volume // total for size in sizes]
    for place, size in enumerate(sizes):
        extra = min(volume - sum(given), size - given[place])
        given[place] += extra
    return given


async def main(url: str) -> None:
    async with open_matching(url) as link:  # from the first height on: the book is built anew
        await run_engine(link, ProRata(), max(link.hello.first_height, 1))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
