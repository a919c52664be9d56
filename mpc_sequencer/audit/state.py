"""The market state an auditor keeps, and its root (docs/protocol-execution.md, "State").

The root is computed by its recursive definition over the sorted keys. Roots of subtrees with two pairs or
more are remembered by the prefix they stand for; a changed pair forgets the roots of all prefixes of its
key.

No balance can outgrow its encoding: trading makes no money, and the audit refuses genesis deposits that sum
to more.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.actions import AMOUNT_BYTES, Order
from mpc_sequencer.core.codec import encode
from mpc_sequencer.market.types import AUCTION, STATUS_RESTING, Market, OrderValue

KIND_ACCOUNT: Final = 1
KIND_RESTING: Final = 2
KIND_MARKET: Final = 3

KEY_BITS: Final = 256
EMPTY_ROOT: Final = bytes(32)
WINDOW_MASK: Final = (1 << limits.NONCE_WINDOW) - 1
WINDOW_BYTES: Final = limits.NONCE_WINDOW // 8


@dataclass(slots=True)
class Account:
    """Free and locked base units per asset; nonces (bit i of the window: ``highest_nonce - i`` is used)."""

    free: dict[int, int] = field(default_factory=dict)
    locked: dict[int, int] = field(default_factory=dict)
    highest_nonce: int = 0
    window: int = 0

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
class Resting:
    """An order in the book."""

    account: bytes
    market: int
    side: int
    price_ticks: int
    remaining_lots: int
    sequence: int = 0
    """Which one it was to come to rest in its market, from 1; 0 in an auction market."""
    order: Order | None = None
    """What it was when it was new."""


class State:
    """Accounts, resting orders per market and order id, reference prices; what was touched since the root."""

    def __init__(self, markets: Iterable[Market]) -> None:
        markets = list(markets)
        self.accounts: dict[bytes, Account] = {}
        self.last_sequences = {market.id: 0 for market in markets if market.policy != AUCTION}
        self.reference_ticks = {market.id: market.reference_price_ticks for market in markets}
        self.resting: dict[int, dict[bytes, Resting]] = {market: {} for market in self.reference_ticks}
        self.touched_accounts: set[bytes] = set()
        self.touched_orders: set[tuple[int, bytes]] = set()
        self.touched_markets = set(self.reference_ticks)
        self._tree = Tree()

    def account(self, address: bytes) -> Account:
        """The account, to be changed by the caller."""
        self.touched_accounts.add(address)
        return self.accounts.setdefault(address, Account())

    def root(self) -> bytes:
        """The state root."""
        for address in self.touched_accounts:
            self._tree.put(*account_pair(address, self.accounts[address]))
        for market, order_id in self.touched_orders:
            self._tree.put(*resting_pair(order_id, self.resting[market].get(order_id)))
        for market in self.touched_markets:
            self._tree.put(*self._market_pair(market))
        self.touched_accounts.clear()
        self.touched_orders.clear()
        self.touched_markets.clear()
        return self._tree.root()

    def pairs(self) -> dict[bytes, bytes]:
        """Every (key, value) of the state, made from scratch."""
        made = [account_pair(address, account) for address, account in self.accounts.items()]
        for orders in self.resting.values():
            made += [resting_pair(order_id, order) for order_id, order in orders.items()]
        made += [self._market_pair(market) for market in self.reference_ticks]
        return {key: value for key, value in made if value is not None}

    def _market_pair(self, market: int) -> tuple[bytes, bytes]:
        return market_pair(market, self.reference_ticks[market], self.last_sequences.get(market))


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
    return key, encode([balances, account.highest_nonce, account.window.to_bytes(WINDOW_BYTES, "big")])


def resting_pair(order_id: bytes, order: Resting | None) -> tuple[bytes, bytes | None]:
    """Key and value of a resting order; no value where it rests no more."""
    key = domains.STATE_KEY(bytes((KIND_RESTING,)), order_id)
    if order is None or order.order is None:
        return key, None
    made = order.order
    filled_lots = made.quantity_lots - order.remaining_lots
    value = OrderValue(
        account=made.account,
        nonce=made.nonce,
        market=made.market,
        client_id=made.client_id,
        side=made.side,
        kind=made.kind,
        time_in_force=made.time_in_force,
        post_only=made.post_only,
        self_trade=made.self_trade,
        price_ticks=made.price_ticks,
        stop_ticks=made.stop_ticks,
        quantity_lots=made.quantity_lots,
        filled_lots=filled_lots,
        display_lots=made.display_lots,
        shown_lots=0,
        expires_ms=made.expires_ms,
        sequence=order.sequence,
        status=STATUS_RESTING,
    )
    return key, encode(value)


def market_pair(market: int, reference_ticks: int, last_sequence: int | None) -> tuple[bytes, bytes]:
    """Key and value of a market; an auction market has no last sequence."""
    key = domains.STATE_KEY(bytes((KIND_MARKET,)), market.to_bytes(4, "big"))
    return key, encode([reference_ticks] if last_sequence is None else [reference_ticks, last_sequence])


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
