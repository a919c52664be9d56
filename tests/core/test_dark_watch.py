"""A trader is told of its dark order twice: that it waits, and how it ended; one that comes back meanwhile, too."""

from __future__ import annotations

from dark_cluster_kit import dark_wire, send

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.messages import ExecutedRow, OrderQuery, OrderReply, OrdersExecuted, OrdersFilled, Submit
from mpc_sequencer.market.types import FILLED, IN_DARK

FIRST, LATER = 31, 32
"""Two connections of one trader."""


def rows_to(replies: list[tuple[int, object]], kind: type, order_id: bytes) -> list[ExecutedRow]:
    told = [one for _, one in replies if isinstance(one, kind)]
    return [row for one in told for row in one.rows if row.order_id == order_id]


def test_who_watches_a_dark_order_hears_that_it_waits_and_how_it_ended() -> None:
    cluster = dark_wire()
    mine, other = send(cluster, 0, BUY, 5, 3), send(cluster, 1, SELL, 4, 3)
    order_id = mine.envelope.order_id()
    cluster.request(2, Submit(1, (mine.envelope, other.envelope), True), FIRST)
    assert cluster.run(10_000, lambda c: bool(rows_to(c.replies.get(FIRST, []), OrdersExecuted, order_id)))
    (waits,) = rows_to(cluster.replies[FIRST], OrdersExecuted, order_id)
    assert (waits.code, waits.filled_lots, waits.remaining_lots) == (IN_DARK, 0, 0)

    cluster.request(3, OrderQuery(7, order_id, 0, True), LATER)
    cluster.run(500, lambda c: bool(c.replies.get(LATER)))
    (answer,) = [one for _, one in cluster.replies[LATER]]
    assert isinstance(answer, OrderReply) and (answer.state, answer.code) == ("executed", IN_DARK)

    told = (FIRST, LATER)
    assert cluster.run(
        30_000, lambda c: all(rows_to(c.replies.get(one, []), OrdersFilled, order_id) for one in told)
    )
    for connection in told:
        (end,) = rows_to(cluster.replies[connection], OrdersFilled, order_id)
        assert (end.code, end.filled_lots) == (FILLED, 3)
