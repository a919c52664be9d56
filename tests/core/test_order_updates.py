"""What later heights do to an open order is told to who watches it, kept, and told again to who asks."""

from __future__ import annotations

from core_kit import submit

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.effects import Outcomes, Reply
from mpc_sequencer.core.limits import UPDATES_MAX
from mpc_sequencer.core.messages import ExecutedRow, MarketQuery, MarketReply, OrderQuery, OrderReply, OrdersFilled
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.status import recalled
from mpc_sequencer.market import HeightResult
from mpc_sequencer.market.types import Update
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import MARKET

CLIENT = 9


def asked(cluster: Cluster, order_id: bytes, after_height: int = 0, *, watch: bool = False) -> OrderReply:
    cluster.request(2, OrderQuery(1, order_id, after_height, watch), CLIENT)
    cluster.run(50)
    _, reply = cluster.replies[CLIENT][-1]
    assert isinstance(reply, OrderReply)
    return reply


def row(lots: int, remaining_lots: int, code: str = "partly_filled") -> ExecutedRow:
    return ExecutedRow(b"\x01" * 32, code, lots, 7, (7 * lots).to_bytes(16, "big"), bytes(16), remaining_lots)


def update(lots: int, remaining_lots: int, code: str) -> Update:
    return Update(b"\x01" * 32, b"\x02" * 20, 0, code, lots, 7 if lots else None, 7 * lots, 3, remaining_lots)


def test_an_update_is_kept_and_told_to_who_watches_and_its_end_ends_the_watch() -> None:
    core = make_cluster_core()
    core.gateway.watch(CLIENT, b"\x01" * 32, True)
    core.gateway.watch(CLIENT, b"\x03" * 32, False)  # it has ended: there is nothing to watch
    told = []
    for height, one in ((5, update(2, 3, "partly_filled")), (6, update(0, 0, "expired")), (7, update(1, 0, "filled"))):
        core.publisher.executed(HeightResult(height, bytes(32), bytes(32), (), (), (one,), (), ()))
        effects = core.collect()
        (kept,) = [effect for effect in effects if isinstance(effect, Outcomes)]
        assert (kept.height, kept.rows, len(kept.updates)) == (height, (), 1)
        told += [effect.message for effect in effects if isinstance(effect, Reply)]
    rows = [(one.height, one.rows[0].code, one.rows[0].remaining_lots) for one in told if isinstance(one, OrdersFilled)]
    assert rows == [(5, "partly_filled", 3), (6, "expired", 0)]
    assert int.from_bytes(told[0].rows[0].fee, "big") == 3  # type: ignore[union-attr]
    assert core.gateway._watchers == {}


def make_cluster_core() -> NodeCore:
    cluster = Cluster(make_deployment(4))
    core = cluster.cores[0]
    core.collect()
    return core


def test_an_answer_takes_so_many_updates_and_says_that_there_are_more() -> None:
    unknown = OrderReply(1, b"\x01" * 32, "final", 3, "", 0, 0, bytes(16))
    rows = [(height, row(1, 5)) for height in range(4, 4 + UPDATES_MAX + 1)]
    reply = recalled(unknown, (3, row(0, 9, "resting")), rows)
    assert (reply.state, reply.code, reply.remaining_lots) == ("executed", "resting", 9)
    assert reply.updates == tuple(rows[:-1]) and reply.more
    assert not recalled(unknown, None, rows[:-1]).more
    assert recalled(unknown, None, ()) == unknown


def test_later_fills_of_a_resting_order_and_its_end_are_told_to_who_asks_after_a_restart_too() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    sell = d.order(d.traders[0], cluster.now_ms, side=SELL, price_ticks=618_000, quantity_lots=5)
    submit(cluster, 2, sell)
    cluster.run(900)
    assert asked(cluster, sell.order_id(), watch=True).remaining_lots == 5
    for lots in (2, 3):
        submit(cluster, 1, d.order(d.traders[1], cluster.now_ms, side=BUY, price_ticks=618_000, quantity_lots=lots))
        cluster.run(900)
    reply = asked(cluster, sell.order_id())
    assert (reply.code, reply.filled_lots, reply.remaining_lots) == ("resting", 0, 5)
    said = [(one.code, one.filled_lots, one.remaining_lots) for _, one in reply.updates]
    assert said == [("partly_filled", 2, 3), ("filled", 3, 0)]
    heights = [height for height, _ in reply.updates]
    assert reply.height < heights[0] < heights[1]
    assert asked(cluster, sell.order_id(), heights[0]).updates == reply.updates[1:]
    news = [one for _, one in cluster.replies[CLIENT] if isinstance(one, OrdersFilled)]
    assert [(one.height, one.rows[0]) for one in news] == list(reply.updates), "watched since it was asked for"
    cluster.stop(2)
    cluster.restart(2)
    cluster.run(3_000)
    assert asked(cluster, sell.order_id()).updates == reply.updates


def test_a_market_is_shown_with_its_terms_prices_and_book() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    sell = d.order(d.traders[0], cluster.now_ms, side=SELL, price_ticks=618_010, quantity_lots=5)
    submit(cluster, 2, sell, d.order(d.traders[1], cluster.now_ms, side=BUY, price_ticks=617_990, quantity_lots=3))
    cluster.run(900)
    cluster.request(2, MarketQuery(1, MARKET.id, 5), CLIENT)
    cluster.request(2, MarketQuery(2, 77, 5), CLIENT)
    cluster.run(50)
    (_, known), (_, unknown) = cluster.replies[CLIENT]
    assert isinstance(known, MarketReply) and isinstance(unknown, MarketReply)
    assert (known.terms, known.asks, known.bids) == (MARKET, ((618_010, 5, 1),), ((617_990, 3, 1),))
    assert known.reference_price_ticks == MARKET.reference_price_ticks and known.clearing is None
    assert unknown.terms is None and unknown.asks == ()
