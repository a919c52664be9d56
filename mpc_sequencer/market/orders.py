"""All open orders: by id, by account and nonce, by expiry, in their books and among the stops.

Everything here is found without a walk: an account's orders by its nonces, those that end at a block's time from the
front of a sorted list, a stop by its price. So what a height costs does not grow with the orders that rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sortedcontainers import SortedList

from mpc_sequencer.market.book import Book
from mpc_sequencer.market.handles import Handles
from mpc_sequencer.market.openorder import CLOSED, OpenOrder
from mpc_sequencer.market.stops import Stops
from mpc_sequencer.market.types import AUCTION, STATUS_RESTING, STATUS_WAITING, Market

_NONE: Mapping[int, OpenOrder] = {}


class Orders:
    """The open orders of one engine."""

    __slots__ = ("_client_ids", "_expiries", "_handles", "_held", "books", "by_id", "changed", "stops", "touched")

    def __init__(self, markets: Mapping[int, Market], handles: Handles | None = None) -> None:
        self._handles = Handles() if handles is None else handles
        self.by_id: dict[bytes, OpenOrder] = {}
        self.books = {market.id: Book(shows_anew=market.policy == AUCTION) for market in markets.values()}
        self.stops = Stops()
        self.touched: set[bytes] = set()
        """Ids of orders whose state value may have changed since somebody asked."""
        self.changed: list[OpenOrder] = []
        """Orders of which the same is true, whose ids nobody has looked at."""
        self._held: list[dict[int, OpenOrder] | None] = []
        """By handle of the account, of those up to the last that had an order."""
        self._client_ids: dict[tuple[bytes, int], OpenOrder] = {}
        self._expiries: SortedList[tuple[int, bytes]] = SortedList()

    def of_account(self, account: bytes) -> Mapping[int, OpenOrder]:
        """An account's open orders by nonce."""
        return self.of_handle(self._handles.of.get(account, len(self._held)))

    def of_handle(self, handle: int) -> Mapping[int, OpenOrder]:
        """As :meth:`of_account`, by the account's handle."""
        return (self._held[handle] if handle < len(self._held) else None) or _NONE

    def of_client_id(self, account: bytes, client_id: int) -> OpenOrder | None:
        """The open order an account knows under ``client_id`` (not 0)."""
        return self._client_ids.get((account, client_id))

    def first_expiry_ms(self) -> int | None:
        """When the first open order expires that does; None where none does."""
        return self._expiries[0][0] if self._expiries else None

    def expired(self, time_ms: int) -> list[OpenOrder]:
        """The open orders that expire at ``time_ms`` or before."""
        end = self._expiries.bisect_left((time_ms + 1, b""))
        return [self.by_id[order_id] for _, order_id in self._expiries[:end]]

    def rest(self, order: OpenOrder, sequence: int) -> None:
        """Put a new order into its book, last of its price."""
        order.status, order.sequence = STATUS_RESTING, sequence
        if order.display_lots:
            order.shown_lots = min(order.display_lots, order.remaining_lots)
        self.add(order)

    def rest_plain(self, orders: Sequence[OpenOrder], handles: Sequence[int]) -> None:
        """:meth:`rest` for many orders of one AUCTION market, and their accounts' handles, that show all of themselves.
        Raises ``ValueError``, with some of them in, where an id is open already."""
        by_id, accounts = self.by_id, self._held
        count = len(by_id)
        self._reach(max(handles))
        for order, handle in zip(orders, handles, strict=True):
            order.status = STATUS_RESTING
            by_id[order.order_id] = order
            held = accounts[handle]
            if held is None:
                accounts[handle] = {order.nonce: order}
            else:
                held[order.nonce] = order
            if order.client_id:
                self._client_ids[order.account, order.client_id] = order
        self._expiries.update([(order.expires_ms, order.order_id) for order in orders if order.expires_ms])
        if len(by_id) != count + len(orders):
            raise ValueError("an order is open already")
        self.changed += orders
        self.books[orders[0].market].add_all(orders, handles)

    def wait(self, order: OpenOrder) -> None:
        """Let a new stop wait for its trigger."""
        order.status = STATUS_WAITING
        self.add(order)

    def add(self, order: OpenOrder) -> None:
        """Take an order as its status says. Raises ``ValueError`` where its id is open already.

        An order id commits to a plaintext and so to a nonce, which is used once: no batch gets here twice.
        """
        if order.order_id in self.by_id:
            raise ValueError(f"order {order.order_id.hex()} is open already")
        handle = self._enter(order)
        if order.status == STATUS_RESTING:
            self.books[order.market].add(order, handle)
        else:
            self.stops.add(order)

    def remove(self, order: OpenOrder) -> None:
        """End an open order."""
        self._leave(order)
        if order.status == STATUS_RESTING:
            self.books[order.market].remove(order)
        else:
            self.stops.remove(order)
        order.status = CLOSED

    def swap(self, old: OpenOrder, new: OpenOrder) -> None:
        """End a resting order and let ``new`` rest in its place, with its sequence and what it showed."""
        book = self.books[old.market]
        if new.display_lots:
            new.shown_lots = min(old.shown_lots if old.sequence else new.display_lots, new.remaining_lots)
        self._leave(old)
        new.status, new.sequence = STATUS_RESTING, old.sequence
        self._enter(new)
        book.swap(old, new)
        old.status = CLOSED

    def take(self, order: OpenOrder, lots: int) -> None:
        """Take ``lots`` filled lots off a resting order, which ends when none remain."""
        self.books[order.market].take(order, lots)
        self.touched.add(order.order_id)
        if order.filled_lots == order.quantity_lots:
            self._leave(order)
            order.status = CLOSED

    def take_level(
        self, first: OpenOrder, places: Sequence[int], lots: Sequence[int]
    ) -> list[OpenOrder]:
        """:meth:`take` at many places of a level that hides nothing, of an AUCTION market; ``first`` is an order of
        it. The orders."""
        orders, done = self.books[first.market].take_level(first.side, first.price_ticks, places, lots)
        self.changed += orders
        for order in done:
            self._leave(order)
            order.status = CLOSED
        return orders

    def take_touched(self) -> set[bytes]:
        """Ids of orders whose state value may have changed since the last call."""
        touched, self.touched = self.touched, set()
        touched.update([order.order_id for order in self.changed])
        self.changed = []
        return touched

    def trigger(self, market_id: int, reference_price_ticks: int) -> None:
        """Trigger the market's stops that its reference price meets."""
        self.touched.update(order.order_id for order in self.stops.trigger(market_id, reference_price_ticks))

    def _enter(self, order: OpenOrder) -> int:
        """The handle of its account."""
        self.by_id[order.order_id] = order
        handle = self._handles.take(order.account)
        self._reach(handle)
        held = self._held[handle]
        if held is None:
            self._held[handle] = {order.nonce: order}
        else:
            held[order.nonce] = order
        if order.client_id:
            self._client_ids[order.account, order.client_id] = order
        if order.expires_ms:
            self._expiries.add((order.expires_ms, order.order_id))
        self.touched.add(order.order_id)
        return handle

    def _reach(self, handle: int) -> None:
        """Have a place for ``handle``."""
        self._held += [None] * (handle + 1 - len(self._held))

    def _leave(self, order: OpenOrder) -> None:
        del self.by_id[order.order_id]
        handle = self._handles.take(order.account)
        held = self._held[handle]
        assert held is not None, "its account has it"
        del held[order.nonce]
        if not held:
            self._held[handle] = None
        # in a height one order may end and another take up its client id, in either sequence
        if order.client_id and self._client_ids.get((order.account, order.client_id)) is order:
            del self._client_ids[order.account, order.client_id]
        if order.expires_ms:
            self._expiries.remove((order.expires_ms, order.order_id))
        self.touched.add(order.order_id)
