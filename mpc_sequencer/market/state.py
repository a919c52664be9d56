"""Everything a height starts from: accounts, books, reference prices, and the tree over them.

The tree follows lazily: what a height or a deposit touches is noted, and :meth:`State.root` brings those
leaves up to date, in work proportional to what was touched. A snapshot holds the state and nothing derived
from it, in one canonical form: two members in the same state write the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

from msgspec import Meta

from mpc_sequencer.core.actions import BUY, Order
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.limits import MARKETS_MAX
from mpc_sequencer.core.types import Address, Hash32, Uint, Value
from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.market.book import Book
from mpc_sequencer.market.tree import ACCOUNT_KIND, MARKET_KIND, ORDER_KIND, StateTree, state_key
from mpc_sequencer.market.types import (
    ASSET_ID_MAX,
    AUCTION,
    STATUS_RESTING,
    AccountValue,
    AssetId,
    Market,
    OrderValue,
    PriceTicks,
    checked_market,
)

ACCOUNT_BYTES: Final = 20


class Snapshot(Value, frozen=True):
    """A state with the terms it runs under; markets by id, assets ascending, accounts by address, orders by
    id, reference prices and last sequences in the order of the markets."""

    version: Literal[3]
    domain_separator: Hash32
    fee_account: Address
    markets: Annotated[tuple[Market, ...], Meta(max_length=MARKETS_MAX)]
    assets: tuple[AssetId, ...]
    reference_prices_ticks: tuple[PriceTicks, ...]
    sequences: tuple[Uint, ...]
    accounts: tuple[tuple[Address, AccountValue], ...]
    orders: tuple[tuple[Hash32, OrderValue], ...]


def checked_terms(
    markets: Sequence[Market], assets: Sequence[int], fee_account: bytes
) -> tuple[dict[int, Market], frozenset[int]]:
    """Markets by id, ascending, and the assets. Raises ``ValueError`` (of which a ``ProtocolError`` is one)
    where a market is out of bounds or trades an unlisted asset, an id is listed twice, or fees go to nobody."""
    if len(fee_account) != ACCOUNT_BYTES:
        raise ValueError(f"a fee account of {len(fee_account)} bytes, expected {ACCOUNT_BYTES}")
    if not any(fee_account) and any(market.maker_fee_ppm or market.taker_fee_ppm for market in markets):
        raise ValueError("a market takes fees, and no account gets them")
    for asset in assets:
        if not 0 <= asset <= ASSET_ID_MAX:
            raise ValueError(f"asset id {asset} is outside 0 .. {ASSET_ID_MAX}")
    if len(set(assets)) != len(assets) or len({market.id for market in markets}) != len(markets):
        raise ValueError("an asset id or a market id is listed twice")
    if len(markets) > MARKETS_MAX:
        raise ValueError(f"{len(markets)} markets, expected at most {MARKETS_MAX}")
    for market in markets:
        checked_market(market)
        if not {market.base_asset, market.quote_asset} <= set(assets):
            raise ValueError(f"market {market.id} trades an asset that is not listed")
    return {market.id: market for market in sorted(markets, key=lambda market: market.id)}, frozenset(assets)


def lock_of(market: Market, side: int, price_ticks: int, quantity_lots: int) -> tuple[int, int]:
    """The asset and the base units that back an order: a buy locks its whole cost at the limit, a sell its
    base."""
    if side == BUY:
        return market.quote_asset, price_ticks * quantity_lots * market.quote_units_per_tick_lot
    return market.base_asset, quantity_lots * market.base_units_per_lot


class State:
    """The mutable state of the market engine. Only a height under way and deposits change it."""

    __slots__ = (
        "_touched_markets",
        "_touched_orders",
        "_tree",
        "assets",
        "books",
        "fee_account",
        "ledger",
        "markets",
        "orders",
        "reference_prices_ticks",
        "sequences",
    )  # fmt: skip

    def __init__(self, markets: Mapping[int, Market], assets: frozenset[int], fee_account: bytes) -> None:
        self.fee_account = fee_account
        self.markets = dict(markets)
        self.assets = assets
        self.ledger = Ledger()
        self.orders: dict[bytes, OrderValue] = {}
        self.books = {market_id: Book(self.orders) for market_id in self.markets}
        self.reference_prices_ticks = {
            market_id: market.reference_price_ticks for market_id, market in self.markets.items()
        }
        self.sequences = dict.fromkeys(self.markets, 0)
        """How many orders have come to rest in each market, where that is counted."""
        self._tree = StateTree()
        self._touched_orders: set[bytes] = set()
        self._touched_markets: set[int] = set(self.markets)

    def set_reference_price(self, market_id: int, price_ticks: int) -> None:
        self.reference_prices_ticks[market_id] = price_ticks
        self._touched_markets.add(market_id)

    def rest_order(self, order_id: bytes, order: Order, lots: int) -> None:
        """Put what is left of a new order, whose lock is made already, into its market's book, last of its
        price."""
        sequence = 0
        if self.markets[order.market].policy != AUCTION:
            sequence = self.sequences[order.market] = self.sequences[order.market] + 1
            self._touched_markets.add(order.market)
        self._add_order(
            order_id,
            OrderValue(
                account=order.account,
                nonce=order.nonce,
                market=order.market,
                client_id=order.client_id,
                side=order.side,
                kind=order.kind,
                time_in_force=order.time_in_force,
                post_only=order.post_only,
                self_trade=order.self_trade,
                price_ticks=order.price_ticks,
                stop_ticks=order.stop_ticks,
                quantity_lots=order.quantity_lots,
                filled_lots=order.quantity_lots - lots,
                display_lots=order.display_lots,
                shown_lots=0,
                expires_ms=order.expires_ms,
                sequence=sequence,
                status=STATUS_RESTING,
            ),
        )

    def _add_order(self, order_id: bytes, order: OrderValue) -> None:
        self.books[order.market].add(order_id, order)
        self._touched_orders.add(order_id)

    def reduce_order(self, order_id: bytes, lots: int) -> None:
        """Take filled lots off a resting order."""
        self.books[self.orders[order_id].market].reduce(order_id, lots)
        self._touched_orders.add(order_id)

    def root(self) -> bytes:
        """The state root, 32 bytes."""
        values: dict[bytes, bytes | None] = {}
        for account in self.ledger.take_touched():
            held = self.ledger.get(account)
            value = None if held is None else held.value()
            values[state_key(ACCOUNT_KIND, account)] = None if value is None else value.state_value()
        for order_id in self._touched_orders:
            order = self.orders.get(order_id)
            values[state_key(ORDER_KIND, order_id)] = None if order is None else encode(order)
        for market_id in self._touched_markets:
            key = state_key(MARKET_KIND, market_id.to_bytes(4, "big"))
            values[key] = self._market_value(market_id)
        self._touched_orders.clear()
        self._touched_markets.clear()
        self._tree.update(values)
        return self._tree.root()

    def _market_value(self, market_id: int) -> bytes:
        price_ticks = self.reference_prices_ticks[market_id]
        if self.markets[market_id].policy == AUCTION:
            return encode((price_ticks,))
        return encode((price_ticks, self.sequences[market_id]))

    def snapshot(self, domain_separator: bytes) -> Snapshot:
        """The state as a canonical value; equal states give equal encodings."""
        accounts = ((account, held.value()) for account, held in self.ledger)
        return Snapshot(
            version=3,
            domain_separator=domain_separator,
            fee_account=self.fee_account,
            markets=tuple(self.markets.values()),
            assets=tuple(sorted(self.assets)),
            reference_prices_ticks=tuple(self.reference_prices_ticks.values()),
            sequences=tuple(self.sequences.values()),
            accounts=tuple(sorted((account, value) for account, value in accounts if value is not None)),
            orders=tuple(sorted(self.orders.items())),
        )

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot) -> State:
        """The state a snapshot describes. Raises ``ValueError`` where it describes none that heights could
        reach."""
        markets, assets = checked_terms(snapshot.markets, snapshot.assets, snapshot.fee_account)
        for name, ids in (
            ("markets", [market.id for market in snapshot.markets]),
            ("assets", snapshot.assets),
            ("accounts", [account for account, _ in snapshot.accounts]),
            ("orders", [order_id for order_id, _ in snapshot.orders]),
        ):
            _check_ascending(name, ids)
        if not len(snapshot.reference_prices_ticks) == len(snapshot.sequences) == len(markets):
            raise ValueError("reference prices or last sequences and markets differ in number")
        state = cls(markets, assets, snapshot.fee_account)
        for market_id, price_ticks in zip(markets, snapshot.reference_prices_ticks, strict=True):
            state.set_reference_price(market_id, price_ticks)
        for account, value in snapshot.accounts:
            state.ledger.restore(account, value)
        state._restore_sequences(snapshot)
        state._restore_orders(snapshot)
        return state

    def _restore_sequences(self, snapshot: Snapshot) -> None:
        self.sequences = dict(zip(self.markets, snapshot.sequences, strict=True))
        for market in self.markets.values():
            if market.policy == AUCTION and self.sequences[market.id]:
                raise ValueError(f"auction market {market.id} counts the orders that came to rest")
        held: set[tuple[int, int]] = set()
        for order_id, order in snapshot.orders:
            market_id, sequence = order.market, order.sequence
            if market_id not in self.markets:
                raise ValueError(f"order {order_id.hex()} rests in unknown market {market_id}")
            counted = self.markets[market_id].policy != AUCTION
            if not counted <= sequence <= self.sequences[market_id] or (market_id, sequence) in held:
                raise ValueError(f"order {order_id.hex()} cannot have sequence {sequence} in its market")
            if counted:
                held.add((market_id, sequence))

    def _restore_orders(self, snapshot: Snapshot) -> None:
        locked: Counter[tuple[bytes, int]] = Counter()
        for order_id, order in sorted(snapshot.orders, key=lambda row: row[1].sequence):
            asset, amount = lock_of(
                self.markets[order.market], order.side, order.price_ticks, order.remaining_lots
            )
            locked[order.account, asset] += amount
            self._add_order(order_id, order)
        for account, value in snapshot.accounts:
            for asset, _, amount_bytes in value.balances:
                amount = int.from_bytes(amount_bytes, "big")
                if asset not in self.assets or locked.pop((account, asset), 0) != amount:
                    raise ValueError(
                        f"account {account.hex()} locks {amount} of asset {asset}, unlike its orders"
                    )
        if locked or any(book.is_crossed() for book in self.books.values()):
            raise ValueError("an order rests without its lock, or a book is crossed")


def dump_snapshot(snapshot: Snapshot) -> bytes:
    """The canonical encoding."""
    return encode(snapshot)


def load_snapshot(data: bytes) -> Snapshot:
    """Decode a snapshot; raises :class:`~mpc_sequencer.core.errors.ProtocolError`."""
    return decode(Snapshot, data, bytes_max=len(data))


def _check_ascending(name: str, ids: Iterable[int] | Iterable[bytes]) -> None:
    listed = list(ids)
    if any(first >= second for first, second in pairwise(listed)):  # type: ignore[operator]
        raise ValueError(f"{name} are not strictly ascending")
