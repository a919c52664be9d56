"""A slow, plain model of docs/protocol-execution.md, written from the text alone.

It shares no code with the engine but the action types: lists searched from end to end, every integer price
tried, exact fractions, sets for nonces, and the state root computed anew by its recursive definition. Where
engine and model differ, one of them does not do what the text says.

Of dark markets it has entry, locks and settlement; which orders a batch ends, and how, a desk of its own says.

One long module, as the text is one: every step of a height is found here by reading on.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import ceil

import msgspec

BUY, SELL = 1, 2
LIMIT, MARKET, STOP, STOP_LIMIT = 1, 2, 3, 4
GTC, IOC, FOK, GTD = 1, 2, 3, 4
MAKER, TAKER, BOTH = 1, 2, 3  # whom self-trade prevention ends
AUCTION, SHUFFLE, RECEIVE, DARK = 1, 2, 3, 4
ZERO = bytes(32)
TOP = 2**127 - 1


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
    """An order with everything the text says of it; ``since`` is its sequence, ``place`` when it got there."""

    def __init__(self, order_id, action, filled=0):
        self.order_id = order_id
        for name in (
            "account", "nonce", "market", "client_id", "side", "kind", "time_in_force", "post_only", "self_trade",
            "price_ticks", "stop_ticks", "quantity_lots", "display_lots", "expires_ms",
        ):  # fmt: skip
            setattr(self, name, getattr(action, name))
        self.price, self.filled = self.price_ticks, filled
        self.status = self.since = self.shown = 0
        self.new, self.batch = True, True
        self.code = None
        self.trades: dict = {}  # (price, whether as maker) to lots

    @property
    def left(self):
        return self.quantity_lots - self.filled

    def trade(self, price, lots, maker):
        self.filled += lots
        self.trades[price, maker] = self.trades.get((price, maker), 0) + lots


def meets(order, price):
    """Whether an order may trade at a price."""
    return order.price >= price if order.side == BUY else order.price <= price


def crossing(one, other):
    return one.side != other.side and meets(one, other.price)


def demand(orders, price):
    return sum(o.left for o in orders if o.side == BUY and o.price >= price)


def supply(orders, price):
    return sum(o.left for o in orders if o.side == SELL and o.price <= price)


def clearing_price(orders, reference, price_max):
    """Every integer price up to ``price_max`` (no limit is above it) tried one by one; None where nothing trades."""
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


def ration(asked, available, draw):
    """``available`` lots pro rata over ``asked`` (lots by order id), by largest remainder, ties by draw, in
    fractions."""
    total = sum(asked.values())
    exact = {order_id: Fraction(lots * available, total) for order_id, lots in asked.items()}
    shares = {order_id: int(share) for order_id, share in exact.items()}
    rest = available - sum(shares.values())
    for order_id in sorted(exact, key=lambda i: (-(exact[i] - shares[i]), draw(i)))[:rest]:
        shares[order_id] += 1
    return shares


def allocate(orders, price, draw):
    """The volume at ``price`` and the lots of each order by id."""
    volume = min(demand(orders, price), supply(orders, price))
    given = {}
    for side in (BUY, SELL):
        left = volume
        able = [o for o in orders if o.side == side and meets(o, price)]
        for limit in sorted({o.price for o in able}, reverse=side == BUY):
            for hidden in (False, True):
                for new in (False, True):
                    asked = {}
                    for o in able:
                        shown = min(o.display_lots, o.left) if o.display_lots else o.left
                        if o.price == limit and o.new == new:
                            asked[o.order_id] = o.left - shown if hidden else shown
                    lots = sum(asked.values())
                    if lots > left:
                        asked, lots = ration(asked, left, draw), left
                    for order_id, some in asked.items():
                        given[order_id] = given.get(order_id, 0) + some
                    left -= lots
        assert left == 0
    return volume, {order_id: lots for order_id, lots in given.items() if lots}


class Model:
    def __init__(self, markets, assets, price_max, fee_account=bytes(20), desk=None):
        self.markets = {m.id: m for m in markets}
        self.assets = set(assets)
        self.price_max = price_max
        self.fee_account = fee_account
        self.free: dict = {}
        self.locked: dict = {}
        self.used: dict = {}
        self.client_ids: dict = {}
        self.orders: list[Order] = []  # open ones, and those of the height under way
        self.reference = {m.id: m.reference_price_ticks for m in markets}
        self.last_sequence = dict.fromkeys(self.markets, 0)
        self.desk = desk
        self.in_dark: dict = {}  # action by order id

    # --- money ----------
    def credit(self, account, asset, amount):
        self.free[account, asset] = self.free.get((account, asset), 0) + amount

    def total(self, account, asset):
        return self.free.get((account, asset), 0) + self.locked.get((account, asset), 0)

    def move_to_locked(self, account, asset, amount):
        if amount > TOP or amount > self.free.get((account, asset), 0):
            return False
        self.free[account, asset] -= amount
        self.locked[account, asset] = self.locked.get((account, asset), 0) + amount
        return True

    def lock(self, o, lots):
        """Asset and units that ``lots`` open lots of an order keep locked."""
        m = self.markets[o.market]
        if o.side == SELL:
            return m.base_asset, lots * m.base_units_per_lot
        cost = o.price * lots * m.quote_units_per_tick_lot
        return m.quote_asset, cost + ceil(Fraction(cost * max(m.maker_fee_ppm, m.taker_fee_ppm), 10**6))

    def unlock(self, o, lots):
        """Free what an order with ``lots`` open lots keeps locked."""
        asset, amount = self.lock(o, lots)
        self.locked[o.account, asset] -= amount
        self.credit(o.account, asset, amount)

    def deposits(self, action):
        """Assets and units that a dark order keeps locked."""
        m = self.markets[action.market]
        cost = action.quote_tick_lots * m.quote_units_per_tick_lot
        fee = ceil(Fraction(cost * max(m.maker_fee_ppm, m.taker_fee_ppm), 10**6))
        return [(m.quote_asset, cost + fee), (m.base_asset, action.base_lots * m.base_units_per_lot)]

    # --- state ----------
    def timed(self, market):
        return self.markets[market].policy in (SHUFFLE, RECEIVE)

    def state_root(self):
        pairs = []
        owners = {a for a, _ in self.free} | {a for a, _ in self.locked} | set(self.used)
        for account in owners:
            rows = []
            for asset in sorted(self.assets):
                free, locked = self.free.get((account, asset), 0), self.locked.get((account, asset), 0)
                assert free >= 0 <= locked
                if free or locked:
                    rows.append([asset, free.to_bytes(16, "big"), locked.to_bytes(16, "big")])
            used = self.used.get(account, set())
            highest = max(used, default=0)
            window = sum(1 << (highest - n) for n in used if highest - n < 1024)
            value = [rows, highest, window.to_bytes(128, "big")]
            ids = self.client_ids.get(account)
            if rows or used:
                pairs.append((1, account, [*value, ids] if ids else value))
        for o in self.orders:
            value = [o.account, o.nonce, o.market, o.client_id, o.side, o.kind, o.time_in_force, o.post_only]
            value += [o.self_trade, o.price, o.stop_ticks, o.quantity_lots, o.filled, o.display_lots, o.shown]
            pairs.append((2, o.order_id, [*value, o.expires_ms, o.since, o.status]))
        for market in self.markets:
            value = [self.reference[market]]
            if self.markets[market].policy == DARK:
                value += self.desk.leaf(market)
            pairs.append((3, market.to_bytes(4, "big"), value + [self.last_sequence[market]] * self.timed(market)))
        return set_root(
            [(tagged("state-key", bytes([k]), name), msgspec.msgpack.encode(value)) for k, name, value in pairs]
        )

    # --- the height ----------
    def execute(self, height, time_ms, coin, prepared, precedence=None, words=(), parties=None):
        """``(state_root, fills_root, fills, outcomes, updates, deltas, clearing)`` as plain tuples."""
        self.draw = lambda order_id: tagged("draw", coin, order_id)
        self.height, self.time_ms, self.batch, self.precedence = height, time_ms, prepared, precedence
        self.outcomes, self.updates, self.withdrawn, self.fills, self.clearing = {}, {}, {}, [], []
        before = {key: self.total(*key) for key in set(self.free) | set(self.locked)}
        for o in self.orders:
            o.new = o.batch = False
        for o in [o for o in self.orders if o.expires_ms and o.expires_ms <= time_ms]:
            self.end_earlier(o, "expired")
        for p in prepared:
            if p.action is None:
                self.outcome(p.order_id, p.refusal)
        self.cancels()
        self.entry()
        self.join()
        for market in sorted({o.market for o in self.orders if o.new and o.status == 0}):
            here = [o for o in self.orders if o.market == market and o.status in (0, 1)]
            (self.meet if self.timed(market) else self.auction)(market, here)
            self.close(market, here, height)
        for o in self.orders:
            if o.batch and o.order_id not in self.outcomes:
                self.outcome(o.order_id, "waiting" if o.status == 2 else "resting")
            price = self.reference[o.market]
            if o.status == 2 and (price >= o.stop_ticks if o.side == BUY else price <= o.stop_ticks):
                o.status = 3
        if self.desk:
            self.end_dark(height, words, parties or self.desk.parties)
        deltas = []
        for key in set(self.free) | set(self.locked):
            change, out = self.total(*key) - before.get(key, 0), self.withdrawn.get(key, 0)
            if change or out:
                deltas.append((*key, change, out))
        return (
            self.state_root(),
            sequence_root([tagged("fill-leaf", msgspec.msgpack.encode(f)) for f in self.fills]),
            [tuple(f) for f in self.fills],
            [self.outcomes[order_id] for order_id in sorted(self.outcomes)],
            [self.updates[order_id] for order_id in sorted(self.updates)],
            sorted(deltas, key=lambda row: (row[1], row[0])),
            self.clearing,
        )

    def outcome(self, order_id, code, filled=0, worst=None, notional=0, fee=0):
        assert order_id not in self.outcomes
        self.outcomes[order_id] = (order_id, code, filled, worst, notional, fee)

    def end_earlier(self, o, code):
        """End an open order before new ones enter."""
        self.unlock(o, o.left)
        self.orders.remove(o)
        self.updates[o.order_id] = (o.order_id, code, 0, None, 0, 0, 0)

    def nonce(self, account, nonce):
        used = self.used.get(account, set())
        highest = max(used, default=0)
        if nonce > highest + 2**20:
            return "nonce_too_high"
        if nonce <= highest - 1024 or nonce in used:
            return "nonce_consumed"
        self.used[account] = used | {nonce}
        return None

    # --- phase 2 ----------
    def cancels(self):
        self.voided, self.entering, self.sweeps = {}, {}, []
        acting = [p for p in self.batch if type(p.action).__name__ in ("Cancel", "CancelAll", "Replace")]
        for p in sorted(acting, key=lambda p: (p.action.account, p.action.nonce, self.draw(p.order_id))):
            action, kind = p.action, type(p.action).__name__
            code = self.voided.get((action.account, action.nonce)) or self.nonce(action.account, action.nonce)
            if code is None and kind == "CancelAll":
                code = self.sweep(action)
            elif code is None and kind == "Cancel":
                code = self.target(action, "cancelled")[0]
            elif code is None:
                code = self.replace(p)
            if code:
                self.outcome(p.order_id, code)

    def sweep(self, action):
        everywhere = action.market == 2**32 - 1
        if not everywhere and action.market not in self.markets:
            return "market"
        for o in [o for o in self.orders if o.account == action.account]:
            if everywhere or o.market == action.market:
                self.end_earlier(o, "cancelled")
        self.sweeps.append(action)
        return "cancelled"

    def replace(self, p):
        code = self.terms(p.action)
        if code:
            return code
        code, filled, target = self.target(p.action, "replaced")
        if code in ("not_open", "nonce_too_high"):
            return code
        o = Order(p.order_id, p.action, filled)
        if o.left <= 0:
            return "filled_before"
        if (
            target
            and target.status == 1
            and o.kind == target.kind == LIMIT
            and o.time_in_force in (GTC, GTD)
            and (o.market, o.side, o.price, o.display_lots)
            == (target.market, target.side, target.price, target.display_lots)
            and o.left <= target.left
        ):
            o.new, o.since = False, target.since
            o.shown = min(target.shown if self.timed(o.market) else o.display_lots, o.left)
        self.entering[o.account, o.nonce] = o
        return None

    def target(self, action, code):
        key = action.account, action.target_nonce
        if key in self.entering:
            o = self.entering.pop(key)
            self.outcome(o.order_id, code)
            return "cancelled", o.filled, None
        for o in self.orders:
            if (o.account, o.nonce) == key:
                self.end_earlier(o, code)
                return "cancelled", o.filled, o
        refused = self.nonce(*key)
        if refused:
            return ("nonce_too_high" if refused == "nonce_too_high" else "not_open"), 0, None
        self.voided[key] = code
        seen = any(p.action is not None and (p.action.account, p.action.nonce) == key for p in self.batch)
        return ("cancelled" if seen else "cancelled_unseen"), 0, None

    # --- phase 3 ----------
    def entry(self):
        self.accepted = []
        entering = {o.order_id: o for o in self.entering.values()}
        for p in sorted(self.batch, key=lambda p: self.draw(p.order_id)):
            kind = type(p.action).__name__
            if p.order_id in entering:
                o = entering[p.order_id]
                code = "cancelled" if self.swept(o) else None
            elif kind in ("Order", "Withdrawal"):
                key = p.action.account, p.action.nonce
                code = self.voided.get(key) or self.nonce(*key)
                if kind == "Withdrawal":
                    self.outcome(p.order_id, code or self.withdraw(p.action))
                    continue
                o = Order(p.order_id, p.action)
                if not code and self.swept(o):
                    code = "cancelled"
                code = code or self.terms(p.action)
            elif kind == "DarkOrder":
                self.outcome(p.order_id, self.enter_dark(p.order_id, p.action))
                continue
            else:
                continue
            code = code or self.admit(o)
            if code:
                self.outcome(o.order_id, code)

    def enter_dark(self, order_id, action):
        key = action.account, action.nonce
        code = self.voided.get(key) or self.nonce(*key)
        if not code and self.swept(action):
            code = "cancelled"
        m = self.markets.get(action.market)
        if not code and not (m and m.policy == DARK):
            code = "market"
        code = code or self.desk.refusal(action)
        if code:
            return code
        deposits = self.deposits(action)
        if any(amount > self.free.get((action.account, asset), 0) for asset, amount in deposits):
            return "balance"
        for asset, amount in deposits:
            assert self.move_to_locked(action.account, asset, amount)
        self.in_dark[order_id] = action
        self.desk.accept(order_id, action, self.height, self.time_ms)
        return "dark"

    def end_dark(self, height, words, parties):
        for ended in self.desk.step(parties, height, self.time_ms, words):
            m, price = self.markets[ended.market], ended.price_ticks
            lots = {BUY: 0, SELL: 0}
            for one in ended.orders:
                action = self.in_dark.pop(one.order_id)
                for asset, amount in self.deposits(action):
                    self.locked[action.account, asset] -= amount
                    self.credit(action.account, asset, amount)
                fee, told = 0, (0, None, 0, 0)
                if one.lots:
                    lots[one.side] += one.lots
                    units = price * one.lots * m.quote_units_per_tick_lot
                    fee = units * m.taker_fee_ppm // 10**6
                    sign = 1 if one.side == BUY else -1
                    self.credit(action.account, m.base_asset, sign * one.lots * m.base_units_per_lot)
                    self.credit(action.account, m.quote_asset, -sign * units - fee)
                    if fee:
                        self.credit(self.fee_account, m.quote_asset, fee)
                    row = [height, m.id, one.order_id, action.account, one.side, price, one.lots]
                    self.fills.append([*row, fee.to_bytes(16, "big"), 0])
                    told = (one.lots, price, price * one.lots, fee)
                if one.order_id in self.outcomes:
                    self.outcomes[one.order_id] = (one.order_id, one.code, *told)
                else:
                    self.updates[one.order_id] = (one.order_id, one.code, *told, 0)
            assert lots[BUY] == lots[SELL] == ended.volume_lots
            if ended.volume_lots:
                self.reference[m.id] = price
                self.clearing.append((m.id, price, ended.volume_lots))
        self.fills = [f for m in sorted(self.markets) for f in self.of_market(m)]
        self.clearing.sort()

    def of_market(self, market):
        fills = [f for f in self.fills if f[1] == market]
        return sorted(fills, key=lambda f: f[2]) if self.markets[market].policy == DARK else fills

    def swept(self, o):
        return any(
            a.account == o.account and o.nonce < a.nonce and a.market in (o.market, 2**32 - 1) for a in self.sweeps
        )

    def withdraw(self, action):
        amount = int.from_bytes(action.amount, "big")
        if action.asset not in self.assets:
            return "asset"
        if not 0 < amount <= TOP:
            return "amount"
        key = action.account, action.asset
        if amount > self.free.get(key, 0):
            return "balance"
        self.free[key] -= amount
        self.withdrawn[key] = self.withdrawn.get(key, 0) + amount
        return "withdrawn"

    def terms(self, a):
        m = self.markets.get(a.market)
        rests = a.time_in_force in (GTC, GTD)
        stop = a.kind in (STOP, STOP_LIMIT)
        for code, good in (
            ("market", lambda: m and m.policy != DARK),
            ("side", lambda: a.side in (BUY, SELL)),
            ("kind", lambda: a.kind in (LIMIT, MARKET, STOP, STOP_LIMIT)),
            ("time_in_force", lambda: a.time_in_force in (IOC, FOK) or (rests and a.kind in (LIMIT, STOP_LIMIT))),
            ("expiry", lambda: a.expires_ms >= 1 if a.time_in_force == GTD else a.expires_ms == 0),
            ("expired", lambda: a.time_in_force != GTD or a.expires_ms > self.time_ms),
            ("post_only_terms", lambda: a.post_only == 0 or (a.post_only == 1 and a.kind == LIMIT and rests)),
            ("self_trade_mode", lambda: a.self_trade in (0, 1, 2, 3)),
            ("price", lambda: 1 <= a.price_ticks < 2**48),
            ("stop_price", lambda: 1 <= a.stop_ticks < 2**48 if stop else a.stop_ticks == 0),
            ("quantity", lambda: m.quantity_min_lots <= a.quantity_lots <= m.quantity_max_lots),
            (
                "display",
                lambda: a.display_lots == 0
                or (
                    rests
                    and m.quantity_min_lots <= a.display_lots <= a.quantity_lots <= 64 * a.display_lots
                ),
            ),
        ):
            if not good():
                return code
        return None

    def admit(self, o):
        """The code of an order that the account's others or its balance refuse; else it is taken."""
        rests = o.time_in_force in (GTC, GTD) or o.kind in (STOP, STOP_LIMIT)
        mine = [
            other
            for other in self.orders
            if other.account == o.account
            and (not other.batch or other.time_in_force in (GTC, GTD) or other.kind in (STOP, STOP_LIMIT))
        ]
        known = self.client_ids.get(o.account, [])
        if o.client_id and (o.client_id in known or any(other.client_id == o.client_id for other in mine)):
            return "duplicate_client_id"
        if rests and len(mine) >= 512:
            return "too_many_open"
        if not self.move_to_locked(o.account, *self.lock(o, o.left)):
            return "balance"
        if o.client_id:
            self.client_ids[o.account] = [*known, o.client_id][-64:]
        o.status = 2 if o.kind in (STOP, STOP_LIMIT) else 0 if o.new else 1
        self.orders.append(o)
        return None

    def join(self):
        waiting = sorted((o for o in self.orders if o.status == 3), key=lambda o: self.draw(o.order_id))
        for o in waiting[:1024]:
            o.kind, o.stop_ticks = (MARKET if o.kind == STOP else LIMIT), 0
            o.status, o.new = 0, True

    # --- an auction ----------
    def auction(self, market, here):
        def by_draw(orders):
            return sorted(orders, key=lambda o: self.draw(o.order_id))

        taking = by_draw(o for o in here if o.status == 0 and not o.post_only)
        for i, o in enumerate(taking):
            if o.self_trade:
                others = [r for r in here if r.status == 1] + taking[:i]
                met = [x for x in others if x.account == o.account and not x.code and crossing(o, x)]
                met.sort(
                    key=lambda x: (x.price if x.side == SELL else -x.price, x.new, x.since, self.draw(x.order_id))
                )
                if met and o.self_trade in (TAKER, BOTH):
                    o.code = "self_trade"
                for x in {MAKER: met, TAKER: [], BOTH: met[:1]}[o.self_trade]:
                    x.code = "self_trade"
        live = [o for o in here if (not o.code and not o.post_only) or (o.status == 1 and not o.code)]
        rounds = 0
        while True:
            price = clearing_price(live, self.reference[market], self.price_max) if live else None
            volume, given = (0, {}) if price is None else allocate(live, price, self.draw)
            short = [o for o in live if o.status == 0 and o.time_in_force == FOK and given.get(o.order_id, 0) < o.left]
            if not short:
                break
            rounds += 1
            if rounds == 8:
                short = [o for o in live if o.status == 0 and o.time_in_force == FOK]
            live = [o for o in live if o not in short]
        if price is not None:
            self.reference[market] = price
            self.clearing.append((market, price, volume))
        for o in live:
            if o.order_id in given:
                o.trade(price, given[o.order_id], int(not o.new))
        for o in live:
            if o.left and (o.status == 1 or o.time_in_force in (GTC, GTD)):
                o.status, o.shown = 1, min(o.display_lots, o.left)
        for o in by_draw(o for o in here if o.status == 0 and o.post_only):
            resting = [r for r in here if r.status == 1 and r.left and not r.code]
            if (price is not None and meets(o, price)) or any(crossing(o, r) for r in resting):
                o.code = "post_only"
            else:
                o.status, o.shown = 1, min(o.display_lots, o.left)

    # --- one after the other ----------
    def meet(self, market, here):
        new = sorted((o for o in here if o.status == 0), key=lambda o: self.draw(o.order_id))
        if self.markets[market].policy == RECEIVE:
            named = {o.order_id: o for o in new if o.batch}
            placed = self.precedence(list(named)) if named else []
            new = [named[order_id] for order_id in placed] + [o for o in new if not o.batch]
        tape = []
        for o in new:
            self.arrive(market, here, o, tape)
        if tape:
            self.reference[market] = tape[-1][0]
            self.clearing.append((market, tape[-1][0], sum(lots for _, lots in tape)))

    def first(self, here, o):
        """The resting order that an arrival meets."""
        able = [r for r in here if r.status == 1 and r.left and not r.code and crossing(o, r)]
        return min(able, key=lambda r: (r.price if o.side == BUY else -r.price, r.since), default=None)

    def next_sequence(self, market):
        self.last_sequence[market] += 1
        return self.last_sequence[market]

    def arrive(self, market, here, o, tape):
        if o.post_only and self.first(here, o):
            o.code = "post_only"
            return
        if o.time_in_force == FOK and not self.whole(here, o):
            return
        while o.left and (r := self.first(here, o)):
            if o.self_trade and r.account == o.account:
                if o.self_trade in (MAKER, BOTH):
                    r.code = "self_trade"
                if o.self_trade in (TAKER, BOTH):
                    o.code = "self_trade"
                    return
                continue
            lots = min(o.left, r.shown if r.display_lots else r.left)
            o.trade(r.price, lots, 0)
            r.trade(r.price, lots, 1)
            tape.append((r.price, lots))
            if r.display_lots:
                r.shown -= lots
                if not r.shown and r.left:
                    r.shown, r.since = min(r.display_lots, r.left), self.next_sequence(market)
        if o.left and o.time_in_force in (GTC, GTD):
            o.status, o.shown, o.since = 1, min(o.display_lots, o.left), self.next_sequence(market)

    def whole(self, here, o):
        able = [r for r in here if r.status == 1 and r.left and not r.code and r.side != o.side]
        prices = sorted({r.price for r in able}, reverse=o.side == SELL)[:1024]
        own = [r.price for r in able if r.account == o.account and crossing(o, r)]
        found = 0
        for price in prices:
            if not meets(o, price) or (o.self_trade in (TAKER, BOTH) and price in own):
                break
            for r in able:
                if r.price == price and not (o.self_trade == MAKER and r.account == o.account):
                    found += r.left
        return found >= o.left

    # --- after a market ----------
    def close(self, market, here, height):
        m = self.markets[market]
        for o in sorted(here, key=lambda o: o.order_id):
            stays = o.status == 1 and o.left and not o.code
            filled, fees, notional = sum(o.trades.values()), 0, 0
            was, now = self.lock(o, o.left + filled), self.lock(o, o.left if stays else 0)
            self.locked[o.account, was[0]] -= was[1] - now[1]
            self.credit(o.account, was[0], was[1] - now[1])
            for price, maker in sorted(o.trades, key=lambda row: (row[0] if o.side == BUY else -row[0], row[1])):
                lots = o.trades[price, maker]
                units = price * lots * m.quote_units_per_tick_lot
                fee = units * (m.maker_fee_ppm if maker else m.taker_fee_ppm) // 10**6
                fees, notional = fees + fee, notional + price * lots
                row = [height, market, o.order_id, o.account, o.side, price, lots, fee.to_bytes(16, "big"), maker]
                self.fills.append(row)
                sign = 1 if o.side == BUY else -1
                self.credit(o.account, m.base_asset, sign * lots * m.base_units_per_lot)
                self.credit(o.account, m.quote_asset, -sign * units - fee)
                if fee:
                    self.credit(self.fee_account, m.quote_asset, fee)
            worst = (max if o.side == BUY else min)((price for price, _ in o.trades), default=None)
            code = o.code or ("filled" if not o.left else "partly_filled" if filled else None)
            code = code or ("resting" if o.time_in_force in (GTC, GTD) else "unfilled")
            if o.batch:
                self.outcome(o.order_id, code, filled, worst, notional, fees)
            elif o.new or filled or o.code:
                left = o.left if stays else 0
                self.updates[o.order_id] = (o.order_id, code, filled, worst, notional, fees, left)
            o.trades = {}
            if not stays:
                self.orders.remove(o)
