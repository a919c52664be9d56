"""The market state an auditor keeps, and its root (docs/protocol-execution.md, "State").

The root is computed by its recursive definition over the sorted keys. Roots of subtrees with two pairs or
more are remembered by the prefix they stand for; a changed pair forgets the roots of all prefixes of its
key.

No balance can outgrow its encoding: trading makes no money, the audit refuses genesis deposits that sum to more, and
later deposits credit nothing where they would.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.actions import AMOUNT_BYTES, Order
from mpc_sequencer.core.codec import encode
from mpc_sequencer.market.types import RECEIVE, SHUFFLE, STATUS_RESTING, Market, OrderStatus

KIND_ACCOUNT: Final = 1
KIND_ORDER: Final = 2
KIND_MARKET: Final = 3

KEY_BITS: Final = 256
EMPTY_ROOT: Final = bytes(32)
WINDOW_MASK: Final = (1 << limits.NONCE_WINDOW) - 1
WINDOW_BYTES: Final = limits.NONCE_WINDOW // 8


@dataclass(slots=True)
class Account:
    """Free and locked base units per asset; nonces (bit i of the window: ``highest_nonce - i`` is used); the last
    accepted client ids, newest last."""

    free: dict[int, int] = field(default_factory=dict)
    locked: dict[int, int] = field(default_factory=dict)
    highest_nonce: int = 0
    window: int = 0
    client_ids: list[int] = field(default_factory=list)

    def use_nonce(self, nonce: int) -> str | None:
        """Use a nonce; the outcome code where it cannot be."""
        if nonce > self.highest_nonce + limits.NONCE_AHEAD_MAX:
            return "nonce_too_high"
        if nonce > self.highest_nonce:
            self.window = self.window << (nonce - self.highest_nonce) & WINDOW_MASK
            self.highest_nonce = nonce
        age = self.highest_nonce - nonce
        if age >= limits.NONCE_WINDOW or self.window >> age & 1:
            return "nonce_consumed"
        self.window |= 1 << age
        return None

    def remember_client_id(self, client_id: int) -> None:
        """Keep the client id of an accepted order; 0 is none."""
        if client_id:
            self.client_ids = [*self.client_ids, client_id][-limits.CLIENT_IDS_KEPT :]

    def move(self, asset: int, free: int = 0, locked: int = 0) -> None:
        """Add to free and locked."""
        self.free[asset] = self.free.get(asset, 0) + free
        self.locked[asset] = self.locked.get(asset, 0) + locked

    def rows(self) -> list[tuple[int, int, int]]:
        """(asset, free, locked) ascending by asset, without rows of zeros."""
        rows = [
            (asset, self.free.get(asset, 0), self.locked.get(asset, 0))
            for asset in sorted({*self.free, *self.locked})
        ]
        return [row for row in rows if row[1] or row[2]]


@dataclass(slots=True)
class OpenOrder:
    """An accepted order: new in a height, in the book, or a stop."""

    order_id: bytes
    terms: Order
    """What was signed; a stop that has joined is a market or limit order here."""
    filled_lots: int = 0
    """Of the total in ``terms``, with what an order it replaced had filled."""
    shown_lots: int = 0
    """What an iceberg in the book shows."""
    sequence: int = 0
    """Which one it was to come to rest in its market, from 1; 0 in an auction market and for stops."""
    status: OrderStatus = STATUS_RESTING

    @property
    def account(self) -> bytes:
        return self.terms.account

    @property
    def remaining_lots(self) -> int:
        """What is open of it."""
        return self.terms.quantity_lots - self.filled_lots


class State:
    """Accounts, open orders by id, by account and (those in the book) by market, reference prices; what was touched
    since the root."""

    def __init__(self, markets: Iterable[Market]) -> None:
        markets = list(markets)
        self.accounts: dict[bytes, Account] = {}
        self.supply: dict[int, int] = {}
        """Per asset: what all accounts hold, free and locked. Only deposits and withdrawals change it."""
        self.last_sequences = {market.id: 0 for market in markets if market.policy in (SHUFFLE, RECEIVE)}
        self.dark_leaves: dict[int, tuple[int, bytes, bytes]] = {}
        """Of each dark market: the last batch that has closed, the id of the keys, the hash of the rest."""
        self.reference_ticks = {market.id: market.reference_price_ticks for market in markets}
        self.open: dict[bytes, OpenOrder] = {}
        self.resting: dict[int, dict[bytes, OpenOrder]] = {market: {} for market in self.reference_ticks}
        self._by_account: dict[bytes, dict[bytes, OpenOrder]] = {}
        self.touched_accounts: set[bytes] = set()
        self.touched_orders: set[bytes] = set()
        self.touched_markets = set(self.reference_ticks)
        self._tree = Tree()

    def account(self, address: bytes) -> Account:
        """The account, to be changed by the caller."""
        self.touched_accounts.add(address)
        return self.accounts.setdefault(address, Account())

    def open_of(self, address: bytes) -> list[OpenOrder]:
        """The account's open orders."""
        return list(self._by_account.get(address, {}).values())

    def put(self, order: OpenOrder) -> None:
        """Add an open order, or note that it has changed."""
        self.open[order.order_id] = order
        self._by_account.setdefault(order.account, {})[order.order_id] = order
        if order.status == STATUS_RESTING:
            self.resting[order.terms.market][order.order_id] = order
        self.touched_orders.add(order.order_id)

    def remove(self, order: OpenOrder) -> None:
        """Take an order out, if it is there."""
        if self.open.pop(order.order_id, None) is not None:
            del self._by_account[order.account][order.order_id]
            self.resting[order.terms.market].pop(order.order_id, None)
            self.touched_orders.add(order.order_id)

    def root(self) -> bytes:
        """The state root."""
        for address in self.touched_accounts:
            self._tree.put(*account_pair(address, self.accounts[address]))
        for order_id in self.touched_orders:
            self._tree.put(*order_pair(order_id, self.open.get(order_id)))
        for market in self.touched_markets:
            self._tree.put(*self._market_pair(market))
        self.touched_accounts.clear()
        self.touched_orders.clear()
        self.touched_markets.clear()
        return self._tree.root()

    def pairs(self) -> dict[bytes, bytes]:
        """Every (key, value) of the state, made from scratch."""
        made = [account_pair(address, account) for address, account in self.accounts.items()]
        made += [order_pair(order_id, order) for order_id, order in self.open.items()]
        made += [self._market_pair(market) for market in self.reference_ticks]
        return {key: value for key, value in made if value is not None}

    def _market_pair(self, market: int) -> tuple[bytes, bytes]:
        last_sequence = self.last_sequences.get(market)
        further = self.dark_leaves.get(market, () if last_sequence is None else (last_sequence,))
        return market_pair(market, self.reference_ticks[market], further)

    def put_dark_leaf(self, market: int, leaf: tuple[int, bytes, bytes]) -> None:
        """Note where a dark market's orders and batches stand."""
        if self.dark_leaves.get(market) != leaf:
            self.dark_leaves[market] = leaf
            self.touched_markets.add(market)


def account_pair(address: bytes, account: Account) -> tuple[bytes, bytes | None]:
    """Key and value of an account; no value where it has no balances and its nonces are untouched."""
    key = domains.STATE_KEY(bytes((KIND_ACCOUNT,)), address)
    rows = account.rows()
    if not rows and not account.highest_nonce and not account.window:
        return key, None
    balances = [
        [asset, free.to_bytes(AMOUNT_BYTES, "big"), locked.to_bytes(AMOUNT_BYTES, "big")]
        for asset, free, locked in rows
    ]
    value = [balances, account.highest_nonce, account.window.to_bytes(WINDOW_BYTES, "big")]
    return key, encode([*value, account.client_ids] if account.client_ids else value)


def order_pair(order_id: bytes, order: OpenOrder | None) -> tuple[bytes, bytes | None]:
    """Key and value of an open order; no value where it is open no more."""
    key = domains.STATE_KEY(bytes((KIND_ORDER,)), order_id)
    if order is None:
        return key, None
    terms = order.terms
    return key, encode(
        [
            terms.account,
            terms.nonce,
            terms.market,
            terms.client_id,
            terms.side,
            terms.kind,
            terms.time_in_force,
            terms.post_only,
            terms.self_trade,
            terms.price_ticks,
            terms.stop_ticks,
            terms.quantity_lots,
            order.filled_lots,
            terms.display_lots,
            order.shown_lots,
            terms.expires_ms,
            order.sequence,
            order.status,
        ]
    )


def market_pair(market: int, reference_ticks: int, further: tuple[int | bytes, ...]) -> tuple[bytes, bytes]:
    """Key and value of a market; ``further``: the last sequence of a continuous one, a dark one's leaf, or nothing."""
    key = domains.STATE_KEY(bytes((KIND_MARKET,)), market.to_bytes(4, "big"))
    return key, encode([reference_ticks, *further])


def root_by_definition(pairs: Mapping[bytes, bytes], depth: int = 0) -> bytes:
    """The root of a set of pairs, exactly as defined; what :class:`Tree` must agree with."""
    if not pairs:
        return EMPTY_ROOT
    if len(pairs) == 1:
        [(key, value)] = pairs.items()
        return domains.STATE_LEAF(key, value)
    sides: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for key, value in pairs.items():
        sides[key[depth // 8] >> (7 - depth % 8) & 1][key] = value
    return domains.STATE_NODE(
        root_by_definition(sides[0], depth + 1), root_by_definition(sides[1], depth + 1)
    )


class Tree:
    """The set of pairs with roots of subtrees remembered."""

    def __init__(self) -> None:
        self._keys: list[int] = []
        self._leaves: dict[int, bytes] = {}
        self._roots: dict[tuple[int, int], bytes] = {}
        self._deepest = 0

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set, or with None remove, the value of a key."""
        number = int.from_bytes(key, "big")
        if value is None:
            if number in self._leaves:
                del self._leaves[number]
                del self._keys[bisect_left(self._keys, number)]
        else:
            if number not in self._leaves:
                insort(self._keys, number)
            self._leaves[number] = domains.STATE_LEAF(key, value)
        for depth in range(self._deepest + 1):
            self._roots.pop((depth, number >> (KEY_BITS - depth)), None)

    def root(self) -> bytes:
        """The root of the whole set."""
        return self._subtree(0, 0, 0, len(self._keys))

    def _subtree(self, depth: int, prefix: int, first: int, end: int) -> bytes:
        """The root of ``keys[first:end]``, which all start with the ``depth`` bits of ``prefix``."""
        if first == end:
            return EMPTY_ROOT
        if end - first == 1:
            return self._leaves[self._keys[first]]
        known = self._roots.get((depth, prefix))
        if known is not None:
            return known
        right = prefix << 1 | 1
        middle = bisect_left(self._keys, right << (KEY_BITS - depth - 1), first, end)
        root = domains.STATE_NODE(
            self._subtree(depth + 1, prefix << 1, first, middle), self._subtree(depth + 1, right, middle, end)
        )
        self._roots[depth, prefix] = root
        self._deepest = max(self._deepest, depth)
        return root
