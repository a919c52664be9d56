"""Whether a member ran through or was restored, and whether it takes a large batch in columns or one by one, decides
nothing: batches of the size that goes through columns by itself, with everything in them that orders can be."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from mpc_sequencer.core.actions import Action
from mpc_sequencer.market import Engine, HeightResult, PreparedOrder
from mpc_sequencer.market import height as height_module
from tests.market import desk
from tests.market.test_market_columns import NEVER, watched_rows
from tests.market.test_market_model import mix, prepared_batch
from tests.market.traffic import Traffic

CROWD = tuple(bytes([n]) * 20 for n in range(1, 41))
PRICES = (5, 14)


def crowd_orders(random: Random, height: int, size: int) -> list[Action]:
    """Plain orders, with nonces and client ids that are new, of many accounts, each in one market; some are unknown."""
    orders: list[Action] = []
    for n in range(size):
        who = random.randrange(len(CROWD))
        order = desk.limit(
            0, 1000 * height + n, random.choice((1, 2)), random.randint(*PRICES), random.randint(1, 40),
            market=7 if who % 3 == 0 else 1, time_in_force=random.choice((1, 1, 2)),
            client_id=random.choice((0, 0, 1000 * height + n)),
        )  # fmt: skip
        if random.random() < 0.1 and order.time_in_force == 1:
            order = replace(order, time_in_force=4, expires_ms=desk.TIME_MS + height + random.randint(1, 3))
        orders.append(replace(order, account=CROWD[who]))
    return orders


def run(made: Engine, height: int, coin: bytes, batch: list[PreparedOrder]) -> HeightResult:
    return made.execute(height, desk.TIME_MS + height, coin, batch, desk.received)


@pytest.mark.parametrize("policies", [(1, 1), (1, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("seed", range(2))
def test_a_member_that_was_restored_and_one_that_ran_through_find_the_same(monkeypatch, policies, seed):
    random = Random(f"{policies} {seed}")
    traffic, ran, codes, makers = Traffic(random, PRICES), watched_rows(monkeypatch), set(), 0
    least = height_module.COLUMNS_ORDERS_MIN
    through, plain = (
        desk.engine(mix(*policies, (33_333, 77_777), (1, 10**6)), amount=10**5, accounts=(*desk.ACCOUNTS, *CROWD[:-2]))
        for _ in "12"
    )
    for height in range(1, 7):
        news = [*traffic.batch(110, desk.TIME_MS + height), *crowd_orders(random, height, least - 60)]
        random.shuffle(news)
        coin, batch = random.randbytes(32), prepared_batch(height, news)
        assert len(batch) > least
        restored = Engine.load(through.dump())
        seen = run(through, height, coin, batch)
        assert run(restored, height, coin, batch[::-1]) == seen
        with monkeypatch.context() as patch:
            patch.setattr(height_module, "COLUMNS_ORDERS_MIN", NEVER)
            assert run(plain, height, coin, batch) == seen
        assert through.dump() == plain.dump() == restored.dump()
        codes |= {one.code for one in (*seen.outcomes, *seen.updates)}
        makers += sum(fill.maker for fill in seen.fills)
    assert codes >= {"balance", "cancelled", "expired", "filled", "partly_filled", "replaced", "resting", "waiting"}
    assert makers > 50 and (sum(ran) > 500) == (1 in policies)
