"""Attack: a trader seals the same order over and over until its id would come first, and sends that one.

In a SHUFFLE market an order's place is its draw, a hash over the block's coin and the order id, and no coalition of
fewer than t members knows the coin before the block is final (tests/attacks/test_share_before_finality.py). So an id
that is the smallest of all, or comes first under the coins seen so far, has an even chance against one honest order,
like any other. (Sending many orders does raise the chance that one of them is early; each costs a sponsor's charge.)

Evidence: none: ids are their senders' choice, and nothing is gained.
"""

from __future__ import annotations

import hashlib

import pytest
from core_kit import all_sequenced, check_safety, results, submit
from evidence_kit import evidence_left

from mpc_sequencer.core import domains
from mpc_sequencer.market import SHUFFLE, PreparedOrder
from mpc_sequencer.sim import Cluster, make_deployment
from tests.market import desk

SEEN_COINS = [hashlib.sha256(b"seen %d" % i).digest() for i in range(4)]
COMING_COINS = [hashlib.sha256(b"coming %d" % i).digest() for i in range(200)]
TRIES = 3_000
HONEST = desk.order_id("honest")


def ground_for_the_id() -> bytes:
    return min(desk.order_id(("ground", i)) for i in range(TRIES))


def ground_for_past_coins() -> bytes:
    """The id whose worst place under the coins seen so far is the best."""
    ids = (desk.order_id(("ground", i)) for i in range(TRIES))
    return min(ids, key=lambda order_id: max(domains.DRAW(coin, order_id) for coin in SEEN_COINS))


def wins(ground: bytes, coin: bytes) -> bool:
    """Whether the ground order takes the one lot for sale before the honest one."""
    made = desk.engine(desk.markets(SHUFFLE))
    desk.run(made, 1, [desk.sell(2, 1, 10, 1)])
    batch = [
        PreparedOrder(ground, desk.buy(0, 1, 10, 1, ioc=True), None),
        PreparedOrder(HONEST, desk.buy(1, 1, 10, 1, ioc=True), None),
    ]
    return desk.codes(made.execute(2, desk.TIME_MS, coin, batch))[ground] == "filled"


@pytest.mark.parametrize("grind", [ground_for_the_id, ground_for_past_coins])
def test_a_ground_order_id_gains_no_place_under_coins_to_come(grind):
    ground = grind()
    assert ground < HONEST or grind is ground_for_past_coins
    won = sum(wins(ground, coin) for coin in COMING_COINS)
    assert 70 <= won <= 130  # 100 expected; four standard deviations are 28


def test_whoever_knew_the_coin_would_be_first():
    """What the coin's secrecy before finality is for: with it, grinding pays."""
    coin = COMING_COINS[0]
    ground = min((desk.order_id(("ground", i)) for i in range(50)), key=lambda one: domains.DRAW(coin, one))
    assert wins(ground, coin)


def test_in_a_committee_it_is_an_order_like_any_other():
    d = make_deployment(4, policy=SHUFFLE)
    cluster = Cluster(d)
    ground = min((d.order(d.traders[0], cluster.now_ms) for _ in range(20)), key=lambda one: one.order_id())
    honest = d.order(d.traders[1], cluster.now_ms)
    submit(cluster, 0, ground, honest)
    ids = {ground.order_id(), honest.order_id()}
    assert cluster.run(5_000, until=all_sequenced(ids, set(range(4))))
    cluster.run(2_000)
    check_safety(cluster)
    assert len({frozenset(results(cluster, node).items()) for node in range(4)}) == 1
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
