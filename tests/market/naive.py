"""A slow, plain model of docs/protocol-execution.md, written from the text alone.

It shares no code with the engine but the action types: lists searched from end to end, every integer price
tried, exact fractions, sets for nonces, and the state root computed anew by its recursive definition. Where
engine and model differ, one of them does not do what the text says.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

import msgspec

BUY, SELL, GTC, IOC = 1, 2, 1, 2
ZERO = bytes(32)


def tagged(name: str, *parts: bytes) -> bytes:
    tag = hashlib.sha256(("MPCSEQ/v1/" + name).encode()).digest()
    return hashlib.sha256(tag + tag + b"".join(parts)).digest()


def set_root(pairs: list[tuple[bytes, bytes]], depth: int = 0) -> bytes:
    """The root of a set of (key, value) pairs, by the recursive definition."""
    if not pairs:
        return ZERO
    if len(pairs) == 1:
        return tagged("state-leaf", *pairs[0])
    halves: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]] = ([], [])
    for pair in pairs:
        halves[int.from_bytes(pair[0], "big") >> (255 - depth) & 1].append(pair)
    return tagged("state-node", set_root(halves[0], depth + 1), set_root(halves[1], depth + 1))


def sequence_root(leaves: list[bytes]) -> bytes:
    """RFC 6962's tree over a sequence, by its recursive definition."""
    if len(leaves) < 2:
        return leaves[0] if leaves else ZERO
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return tagged("fill-node", sequence_root(leaves[:split]), sequence_root(leaves[split:]))


class Order:
    def __init__(self, order_id, account, market, *, side, time_in_force, price, quantity, new, nonce=0):
        self.order_id, self.account, self.market, self.side = order_id, account, market, side
        self.time_in_force, self.price, self.quantity, self.new = time_in_force, price, quantity, new
        self.nonce, self.total = nonce, quantity
        self.filled = 0
        self.since = 0  # the number of its coming to rest, where time counts
        self.trades: dict = {}  # price to lots, in the order of trading


def demand(orders, price):
    return sum(o.quantity for o in orders if o.side == BUY and o.price >= price)


def supply(orders, price):
    return sum(o.quantity for o in orders if o.side == SELL and o.price <= price)


def clearing_price(orders, reference, price_max):
    """Every integer price up to ``price_max`` (no limit is above it) tried one by one; None where nothing
    trades."""
    volume = {p: min(demand(orders, p), supply(orders, p)) for p in range(1, price_max + 1)}
    imbalance = {p: demand(orders, p) - supply(orders, p) for p in volume}
    most = max(volume.values())
    if most == 0:
        return None
    kept = [p for p in volume if volume[p] == most]
    least = min(abs(imbalance[p]) for p in kept)
    kept = [p for p in kept if abs(imbalance[p]) == least]
    assert kept == list(range(kept[0], kept[-1] + 1))
    if all(imbalance[p] > 0 for p in kept):
        return kept[-1]
    if all(imbalance[p] < 0 for p in kept):
        return kept[0]
    return min(kept, key=lambda p: (abs(p - reference), p))


def ration(group, available, draw):
    """Pro rata by largest remainder, ties by draw, in fractions."""
    total = sum(o.quantity for o in group)
    exact = {o.order_id: Fraction(o.quantity * available, total) for o in group}
    shares = {order_id: int(share) for order_id, share in exact.items()}
    rest = available - sum(shares.values())
    by_remainder = sorted(exact, key=lambda i: (-(exact[i] - shares[i]), draw(i)))
    for order_id in by_remainder[:rest]:
        shares[order_id] += 1
    for o in group:
        o.filled = shares[o.order_id]


def one_after_the_other(orders, sequence, market, last_sequence):
    """Let each new order of ``sequence`` meet what rests; the prices of all trades as they happen, and the last
    sequence given to an order that came to rest."""
    tape = []
    for o in sequence:
        while o.filled < o.quantity:
            able = [
                r
                for r in orders
                if r.market == market and r.side != o.side and r.since and r.filled < r.quantity
                and (r.price <= o.price if o.side == BUY else r.price >= o.price)
            ]  # fmt: skip
            if not able:
                break
            best = min(able, key=lambda r: (r.price if o.side == BUY else -r.price, r.since))
            lots = min(o.quantity - o.filled, best.quantity - best.filled)
            for one in (o, best):
                one.filled += lots
                key = best.price, int(one is best)
                one.trades[key] = one.trades.get(key, 0) + lots
            tape += [best.price] * lots
        if o.filled < o.quantity and o.time_in_force == GTC:
            last_sequence += 1
            o.since = last_sequence
    return tape, last_sequence


def allocate(orders, price, draw):
    """Set ``filled`` on every order; the volume."""
    volume = min(demand(orders, price), supply(orders, price))
    for side in (BUY, SELL):
        able = [
            o for o in orders if o.side == side and (o.price >= price if side == BUY else o.price <= price)
        ]
        if sum(o.quantity for o in able) == volume:
            for o in able:
                o.filled = o.quantity
            continue
        left = volume
        for limit in sorted({o.price for o in able}, reverse=side == BUY):
            for new in (False, True):
                group = [o for o in able if o.price == limit and o.new == new]
                lots = sum(o.quantity for o in group)
                if lots <= left:
                    for o in group:
                        o.filled = o.quantity
                    left -= lots
                elif left:
                    ration(group, left, draw)
                    left = 0
    return volume


class Model:
    def __init__(self, markets, assets, price_max):
        self.markets = {m.id: m for m in markets}
        self.assets = set(assets)
        self.price_max = price_max
        self.free: dict = {}
        self.locked: dict = {}
        self.used: dict = {}
        self.orders: list[Order] = []
        self.reference = {m.id: m.reference_price_ticks for m in markets}
        self.last_sequence = dict.fromkeys(self.markets, 0)

    def credit(self, account, asset, amount):
        self.free[account, asset] = self.free.get((account, asset), 0) + amount

    def state_root(self):
        pairs = []
        owners = {a for a, _ in self.free} | {a for a, _ in self.locked} | set(self.used)
        for account in owners:
            rows = []
            for asset in sorted(self.assets):
                free, locked = self.free.get((account, asset), 0), self.locked.get((account, asset), 0)
                if free or locked:
                    rows.append([asset, free.to_bytes(16, "big"), locked.to_bytes(16, "big")])
            used = self.used.get(account, set())
            highest = max(used, default=0)
            window = sum(1 << (highest - n) for n in used if highest - n < 1024)
            if rows or used:
                pairs.append((1, account, [rows, highest, window.to_bytes(128, "big")]))
        for o in self.orders:
            value = [o.account, o.nonce, o.market, 0, o.side, 1, o.time_in_force, 0, 0, o.price, 0]
            pairs.append((2, o.order_id, [*value, o.total, o.total - o.quantity, 0, 0, 0, o.since, 1]))
        for market in self.markets:
            value = [self.reference[market]]
            pairs.append((3, market.to_bytes(4, "big"), value + [self.last_sequence[market]] * self.timed(market)))
        return set_root(
            [
                (tagged("state-key", bytes([k]), name), msgspec.msgpack.encode(value))
                for k, name, value in pairs
            ]
        )

    def timed(self, market):
        return self.markets[market].policy != 1

    def total(self, account, asset):
        return self.free.get((account, asset), 0) + self.locked.get((account, asset), 0)

    def take_free(self, account, asset, amount):
        if amount > 2**127 - 1 or amount > self.free.get((account, asset), 0):
            return False
        self.free[account, asset] -= amount
        return True

    def cost(self, o_market, side, price, quantity):
        m = self.markets[o_market]
        if side == BUY:
            return m.quote_asset, price * quantity * m.quote_units_per_tick_lot
        return m.base_asset, quantity * m.base_units_per_lot

    def nonce(self, account, nonce):
        used = self.used.get(account, set())
        highest = max(used, default=0)
        if nonce > highest + 2**20:
            return "nonce_too_high"
        if nonce <= highest - 1024 or nonce in used:
            return "nonce_consumed"
        self.used[account] = used | {nonce}
        return None

    def admit(self, order_id, action, withdrawn):
        code = self.nonce(action.account, action.nonce)
        if code:
            return code
        if type(action).__name__ == "Withdrawal":
            amount = int.from_bytes(action.amount, "big")
            if action.asset not in self.assets:
                return "asset"
            if not 0 < amount < 2**127:
                return "amount"
            if not self.take_free(action.account, action.asset, amount):
                return "balance"
            withdrawn[action.account, action.asset] = (
                withdrawn.get((action.account, action.asset), 0) + amount
            )
            return "withdrawn"
        for code, good in (
            ("market", action.market in self.markets),
            ("side", action.side in (BUY, SELL)),
            ("time_in_force", action.time_in_force in (GTC, IOC)),
            ("price", 0 < action.price_ticks < 2**48),
            ("quantity", 0 < action.quantity_lots < 2**48),
        ):
            if not good:
                return code
        asset, amount = self.cost(action.market, action.side, action.price_ticks, action.quantity_lots)
        if not self.take_free(action.account, asset, amount):
            return "balance"
        self.locked[action.account, asset] = self.locked.get((action.account, asset), 0) + amount
        self.orders.append(
            Order(
                order_id,
                action.account,
                action.market,
                nonce=action.nonce,
                side=action.side,
                time_in_force=action.time_in_force,
                price=action.price_ticks,
                quantity=action.quantity_lots,
                new=True,
            )
        )
        return None

    def execute(self, height, time_ms, coin, prepared, precedence=None):
        """``(state_root, fills_root, fills, outcomes, deltas, clearing)`` as plain tuples."""

        def draw(order_id):
            return tagged("draw", coin, order_id)

        before = {key: self.total(*key) for key in set(self.free) | set(self.locked)}
        outcomes, withdrawn, fills, clearing = {}, {}, [], []
        batch = sorted(prepared, key=lambda p: draw(p.order_id))
        for p in batch:
            code = p.refusal or self.admit(p.order_id, p.action, withdrawn)
            outcomes[p.order_id] = (p.order_id, code, 0, None, 0)
        for market in sorted({o.market for o in self.orders if o.new}):
            if self.timed(market):
                self.meet(market, draw, precedence, clearing)
            else:
                self.clear(market, draw, clearing)
            self.close(market, height, fills, outcomes)
        deltas = []
        for key in set(self.free) | set(self.locked):
            change, out = self.total(*key) - before.get(key, 0), withdrawn.get(key, 0)
            if change or out:
                deltas.append((*key, change, out))
        return (
            self.state_root(),
            sequence_root([tagged("fill-leaf", msgspec.msgpack.encode(f)) for f in fills]),
            [tuple(f) for f in fills],
            [outcomes[order_id] for order_id in sorted(outcomes)],
            sorted(deltas, key=lambda row: (row[1], row[0])),
            clearing,
        )

    def clear(self, market, draw, clearing):
        here = [o for o in self.orders if o.market == market]
        price = clearing_price(here, self.reference[market], self.price_max)
        if price is not None:
            clearing.append((market, price, allocate(here, price, draw)))
            self.reference[market] = price
        for o in here:
            o.trades = {(price, int(not o.new)): o.filled} if o.filled else {}

    def meet(self, market, draw, precedence, clearing):
        new = {o.order_id: o for o in self.orders if o.market == market and o.new}
        ids = sorted(new, key=draw)
        if self.markets[market].policy == 3:
            ids = precedence(ids)
        tape, self.last_sequence[market] = one_after_the_other(
            self.orders, [new[order_id] for order_id in ids], market, self.last_sequence[market]
        )
        if tape:
            clearing.append((market, tape[-1], len(tape)))
            self.reference[market] = tape[-1]

    def close(self, market, height, fills, outcomes):
        for o in sorted((o for o in self.orders if o.market == market), key=lambda o: o.order_id):
            for price, maker in sorted(o.trades, key=lambda row: (row[0] if o.side == BUY else -row[0], row[1])):
                lots = o.trades[price, maker]
                fills.append([height, market, o.order_id, o.account, o.side, price, lots, bytes(16), maker])
                self.settle(o, price, lots)
            rest = o.quantity - o.filled
            if o.new:
                code = "filled" if not rest else "partly_filled" if o.filled else None
                code = code or ("resting" if o.time_in_force == GTC else "unfilled")
                worst = (max if o.side == BUY else min)((price for price, _ in o.trades), default=None)
                cost = sum(price * lots for (price, _), lots in o.trades.items())
                outcomes[o.order_id] = (o.order_id, code, o.filled, worst, cost)
            if rest and o.new and o.time_in_force == IOC:
                asset, amount = self.cost(market, o.side, o.price, rest)
                self.locked[o.account, asset] -= amount
                self.free[o.account, asset] += amount
                rest = 0
            o.quantity, o.filled, o.new, o.trades = rest, 0, False, {}
        self.orders = [o for o in self.orders if o.quantity]

    def settle(self, o, price, lots):
        m = self.markets[o.market]
        asset, locked = self.cost(o.market, o.side, o.price, lots)
        self.locked[o.account, asset] -= locked
        base, quote = lots * m.base_units_per_lot, price * lots * m.quote_units_per_tick_lot
        if o.side == BUY:
            self.credit(o.account, asset, locked - quote)
            self.credit(o.account, m.base_asset, base)
        else:
            self.credit(o.account, m.quote_asset, quote)
