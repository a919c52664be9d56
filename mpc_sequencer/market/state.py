"""Everything a height starts from: accounts, open orders, reference prices, and the tree over them.

The tree follows lazily: what a height or a deposit touches is noted, and :meth:`State.root` brings those leaves up to
date, in work proportional to what was touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.limits import MARKETS_MAX
from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.market.openorder import OpenOrder
from mpc_sequencer.market.orders import Orders
from mpc_sequencer.market.tree import ACCOUNT_KIND, MARKET_KIND, ORDER_KIND, StateTree, state_key
from mpc_sequencer.market.types import ASSET_ID_MAX, AUCTION, DARK, RECEIVE, Market, checked_market

if TYPE_CHECKING:
    from mpc_sequencer.dark.desk import Desk

ACCOUNT_BYTES: Final = 20


def checked_terms(
    markets: Sequence[Market], assets: Sequence[int], fee_account: bytes
) -> tuple[dict[int, Market], frozenset[int]]:
    """Markets by id, ascending, and the assets. Raises ``ValueError`` (of which a ``ProtocolError`` is one) where a
    market is out of bounds or trades an unlisted asset, an id is listed twice, or fees go to nobody."""
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


class State:
    """The mutable state of the market engine. Only a height under way and deposits change it."""

    __slots__ = (
        "_touched_markets", "_tree", "assets", "by_receipt", "dark", "desk", "fee_account", "ledger", "markets",
        "orders", "reference_prices_ticks", "sequences",
    )  # fmt: skip

    def __init__(
        self, markets: Mapping[int, Market], assets: frozenset[int], fee_account: bytes, desk: Desk | None = None
    ) -> None:
        self.markets = dict(markets)
        self.dark = frozenset(market.id for market in markets.values() if market.policy == DARK)
        """The markets whose batches are computed over shares."""
        self.desk = desk
        """Their orders and batches, where there are such markets."""
        self.assets = assets
        self.by_receipt = frozenset(market.id for market in markets.values() if market.policy == RECEIVE)
        """The markets that order by receipt."""
        self.fee_account = fee_account
        self.ledger = Ledger()
        self.orders = Orders(self.markets, self.ledger.handles)
        self.reference_prices_ticks = {
            market_id: market.reference_price_ticks for market_id, market in self.markets.items()
        }
        self.sequences = dict.fromkeys(self.markets, 0)
        """How many times orders have come to rest in each market, or icebergs have shown more, where that is
        counted."""
        self._tree = StateTree()
        self._touched_markets: set[int] = set(self.markets)

    def set_reference_price(self, market_id: int, price_ticks: int) -> None:
        self.reference_prices_ticks[market_id] = price_ticks
        self._touched_markets.add(market_id)

    def touch_dark_markets(self) -> None:
        """Note that the dark markets' batches may have changed."""
        self._touched_markets |= self.dark

    def next_sequence(self, market_id: int) -> int:
        """The time priority of whoever comes to rest now: 0 under AUCTION."""
        if self.markets[market_id].policy == AUCTION:
            return 0
        self.sequences[market_id] += 1
        self._touched_markets.add(market_id)
        return self.sequences[market_id]

    def rest_order(self, order: OpenOrder) -> None:
        """Put a new order, whose lock is made already, into its market's book, last of its price."""
        self.orders.rest(order, self.next_sequence(order.market))

    def rest_orders(self, orders: Sequence[OpenOrder], handles: Sequence[int]) -> None:
        """Put new orders of one market, which show all of themselves, into its book; their accounts' handles."""
        if orders:
            first = self.next_sequence(orders[0].market)
            assert not first, "time counts order by order"
            self.orders.rest_plain(orders, handles)

    def root(self) -> bytes:
        """The state root, 32 bytes."""
        self._follow()
        return self._tree.root()

    def prove(self, kind: int, identifier: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The value under a key and the siblings from it up to the root; None where there is none."""
        self._follow()
        value = self._value(kind, identifier)
        return None if value is None else (value, self._tree.prove(state_key(kind, identifier)))

    def _follow(self) -> None:
        """Bring the tree up to date."""
        touched: list[tuple[int, bytes]] = [(ACCOUNT_KIND, account) for account in self.ledger.take_touched()]
        touched += [(ORDER_KIND, order_id) for order_id in self.orders.take_touched()]
        touched += [(MARKET_KIND, market_id.to_bytes(4, "big")) for market_id in self._touched_markets]
        self._touched_markets.clear()
        self._tree.update({state_key(kind, name): self._value(kind, name) for kind, name in touched})

    def _value(self, kind: int, identifier: bytes) -> bytes | None:
        if kind == ACCOUNT_KIND:
            value = self.ledger.value(identifier)
            return None if value is None else value.state_value()
        if kind == ORDER_KIND:
            order = self.orders.by_id.get(identifier)
            return None if order is None else encode(order.value())
        market_id = int.from_bytes(identifier, "big")
        if market_id not in self.markets:
            return None
        price_ticks = self.reference_prices_ticks[market_id]
        if self.markets[market_id].policy == AUCTION:
            return encode((price_ticks,))
        if self.desk is not None and market_id in self.dark:
            return encode((price_ticks, *self.desk.leaf(market_id)))
        return encode((price_ticks, self.sequences[market_id]))
