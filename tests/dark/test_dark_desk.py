"""The desk: batches of honest parties, and what an attack on each phase comes to."""

from __future__ import annotations

from desk_kit import MARKET, Floor

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.market.types import FILLED, UNFILLED


def test_a_batch_of_honest_parties_is_settled_at_the_clearing_price() -> None:
    floor = Floor()
    floor.agree()
    buy, sell, low = floor.order(BUY, 120, 5), floor.order(SELL, 110, 3), floor.order(BUY, 100, 2)
    (ended,) = floor.settle()
    assert (ended.market, ended.batch, ended.volume_lots) == (MARKET, 1, 3)
    assert {one.order_id: (one.code, one.side, one.lots) for one in ended.orders} == {
        buy: (FILLED, BUY, 3),
        sell: (FILLED, SELL, 3),
        low: (UNFILLED, 0, 0),
    }
    assert not floor.desk.owes(0)
