"""Dense random batches: most orders can trade, most cancels find something, icebergs, stops and self-trades abound."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from mpc_sequencer.core.actions import Action, Order
from tests.market import desk


class Traffic:
    """Draws batches; remembers each account's nonces."""

    def __init__(self, random: Random, prices: tuple[int, int] = (7, 11), lots_max: int = 20) -> None:
        self.random = random
        self.prices = prices
        self.lots_max = lots_max
        self.next_nonces = [1] * len(desk.ACCOUNTS)
        self.client_id = 0
        self.sent: dict[int, list[Order]] = {who: [] for who in range(4)}

    def batch(self, size: int, time_ms: int) -> list[Action | str]:
        return [self._one(time_ms) for _ in range(size)]

    def _one(self, time_ms: int) -> Action | str:
        random = self.random
        who = random.randrange(4)
        self.next_nonces[who] += 1
        nonce = self.next_nonces[who]
        choice = random.random()
        if choice < 0.01:
            return "malformed"
        if choice < 0.02:
            return desk.withdrawal(who, nonce, random.choice(desk.ASSETS), random.randint(1, 50))
        if choice < 0.06:
            return desk.cancel(who, nonce, nonce - random.randint(-2, 12))
        if choice < 0.07:
            return desk.cancel_all(who, nonce, random.choice((1, 7)))
        if choice < 0.14 and self.sent[who]:
            return self._amended(who, nonce)
        order = self._order(who, nonce, time_ms)
        self.sent[who].append(order)
        if choice < 0.2:
            return desk.replacement(nonce - random.randint(-2, 12), order)
        return order

    def _amended(self, who: int, nonce: int) -> Action:
        """A replacement much like the order it replaces, one of the last that this account sent."""
        old = self.random.choice(self.sent[who][-15:])
        lots = max(1, old.quantity_lots + self.random.choice((-3, -2, -1, 0, 0, 1)))
        order = replace(
            old,
            nonce=nonce,
            client_id=0,
            quantity_lots=lots,
            display_lots=min(old.display_lots, lots),
            post_only=0,
            kind=self.random.choice((old.kind, old.kind, 1)),
            time_in_force=self.random.choice((old.time_in_force,) * 5 + (2,)),
        )
        order = replace(order, stop_ticks=old.stop_ticks if order.kind in (3, 4) else 0)
        if order.time_in_force != 4:
            order = replace(order, expires_ms=0)
        if order.time_in_force == 2:
            order = replace(order, display_lots=0)
        self.sent[who].append(order)
        return desk.replacement(old.nonce, order)

    def _order(self, who: int, nonce: int, time_ms: int) -> Order:
        random = self.random
        kind = random.choice((1,) * 10 + (2, 3, 4))
        time_in_force = random.choice((2, 3)) if kind in (2, 3) else random.choice((1, 1, 1, 1, 2, 3, 4))
        rests = time_in_force in (1, 4)
        lots = random.randint(1, self.lots_max)
        self.client_id += 1
        terms = {
            "kind": kind,
            "post_only": int(rests and kind == 1 and random.random() < 0.15),
            "self_trade": random.choice((0, 0, 0, 0, 1, 2, 3)),
            "stop_ticks": random.randint(*self.prices) if kind in (3, 4) else 0,
            "display_lots": max(1, lots // random.randint(1, 8)) if rests and random.random() < 0.25 else 0,
            "expires_ms": time_ms + random.randint(1, 30) if time_in_force == 4 else 0,
            "client_id": random.choice((0, self.client_id, max(1, self.client_id - 3))),
        }
        side, market = random.choice((1, 2)), random.choice((1, 1, 1, 7))
        made = desk.limit(who, nonce, side, random.randint(*self.prices), lots, time_in_force=time_in_force)
        return replace(made, market=market, **terms)
